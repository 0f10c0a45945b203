//! How far a peer's entries have taken effect.
//!
//! Owns the applied position as the applier reported it, what was handed over and not reported yet, for how long
//! nothing was, and when leadership is to be handed over because of that. What always holds: the applied position only
//! rises; it is never ahead of what was handed over.

use raft::eraftpb::Entry;

use crate::core::apply_backlog::ApplyBacklog;
use crate::core::stall_timer::StallTimer;
use crate::types::{ApplyState, LogIndex, Term};

/// See the module.
#[derive(Debug)]
pub(crate) struct ApplyProgress {
    state: ApplyState,
    /// The commit index on record when the store was opened: local reads show nothing older.
    recorded_commit: LogIndex,
    /// The last entry that was handed to the applier.
    handed_over: LogIndex,
    backlog: ApplyBacklog,
    stall: StallTimer,
}

impl ApplyProgress {
    /// A peer that continues from `state`, with a log that was committed up to `recorded_commit`.
    #[must_use]
    pub(crate) fn new(
        state: ApplyState,
        recorded_commit: LogIndex,
        backlog: ApplyBacklog,
        stall: StallTimer,
    ) -> Self {
        assert!(state.index <= recorded_commit, "what is applied was committed");
        Self { state, recorded_commit, handed_over: state.index, backlog, stall }
    }

    /// The last entry that has taken effect.
    #[must_use]
    pub(crate) fn index(&self) -> LogIndex {
        self.state.index
    }

    /// Its term.
    #[must_use]
    pub(crate) fn term(&self) -> Term {
        self.state.term
    }

    /// What was committed when the store was opened, as far as was on record.
    #[must_use]
    pub(crate) fn recorded_commit(&self) -> LogIndex {
        self.recorded_commit
    }

    /// Whether everything that was on record as committed has taken effect since the store was opened.
    #[must_use]
    pub(crate) fn is_replayed(&self) -> bool {
        self.state.index >= self.recorded_commit
    }

    /// These committed entries go to the applier.
    pub(crate) fn hand_over(&mut self, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        assert_eq!(first.index, self.handed_over.next().get(), "entries are handed over without a gap");
        self.handed_over = LogIndex(last.index);
        self.backlog.add(entries);
    }

    /// What comes next is behind a raft snapshot that shows everything up to `index`.
    pub(crate) fn restore(&mut self, index: LogIndex) {
        assert!(index > self.state.index, "a snapshot shows more than what is applied");
        assert!(index >= self.handed_over, "what was handed over is in the snapshot");
        self.handed_over = index;
    }

    /// The applier reports that `state` is reached.
    pub(crate) fn advance(&mut self, state: ApplyState) {
        assert!(state.index > self.state.index, "an apply report moves on");
        assert!(state.term >= self.state.term, "terms never fall in a log");
        assert!(state.index <= self.handed_over, "only what was handed over is applied");
        self.state = state;
        self.backlog.report(state.index);
        self.stall.on_progress();
    }

    /// A tick has passed.
    pub(crate) fn on_tick(&mut self) {
        self.stall.on_tick(self.backlog.waits());
    }

    /// Whether the applier has more to do than this peer may add to.
    #[must_use]
    pub(crate) fn is_behind(&self) -> bool {
        self.backlog.is_full()
    }

    /// Whether it has more to do than any peer of the store may add to.
    #[must_use]
    pub(crate) fn is_behind_for_all(&self) -> bool {
        self.backlog.is_full_for_all()
    }

    /// Whether a leader's appends are to wait until the applier has done more.
    #[must_use]
    pub(crate) fn has_enough(&self) -> bool {
        self.backlog.is_enough()
    }

    /// Whether the applier has more to do for all regions together than it should.
    #[must_use]
    pub(crate) fn is_store_behind(&self) -> bool {
        self.backlog.is_store_full()
    }

    /// Ticks without progress while entries waited, once there are too many.
    #[must_use]
    pub(crate) fn stalled_ticks(&self) -> Option<u64> {
        self.stall.stalled_ticks()
    }

    /// The number, from 0, of the offer of leadership that is due because of a stall; it counts as made.
    pub(crate) fn take_offer(&mut self) -> Option<usize> {
        self.stall.take_offer()
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, committed: LogIndex) {
        assert!(self.state.index <= self.handed_over, "only what was handed over is applied");
        assert_eq!(self.handed_over, committed, "what is committed is handed over in its round");
        self.backlog.check_invariants(self.state.index);
        self.stall.check_invariants();
    }

    /// How many tasks are not applied as a whole.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.backlog.count()
    }
}
