//! Where a peer's log ends at its old side.
//!
//! Owns the truncation of the log: when it is proposed and how it is carried out. What always holds: nothing is dropped
//! that this member's engine has not flushed, or
//! that a member of the configuration lacks and may still ask for: one that is too far behind gets a raft snapshot
//! (`peer/sending`).

use bytes::Bytes;

use super::Peer;
use crate::core::command::seal_truncate;
use crate::core::planted::{self, Fault};
use crate::core::ports::Errand;
use crate::error::{Code, Error, Result};
use crate::types::{ApplyState, LogIndex, NodeId, Term};

/// A leader looks this often whether its log may be truncated: seldom enough for a member that catches up slowly, which
/// lets the log be truncated a little further each time.
pub(super) const TRUNCATE_CHECK_TICKS: u64 = 20;

/// What the truncation of a peer's log waits for.
#[derive(Debug)]
pub(super) struct Truncation {
    /// Every member has applied the command to truncate up to here.
    allowed: LogIndex,
    /// The engine has flushed up to here.
    flushed: LogIndex,
    /// Raft snapshots in whose place a later one came before the engine had flushed them. Their staged data stay as long
    /// as those of the later one: the engine may still be on record as emptied for them.
    superseded: Vec<ApplyState>,
}

impl Truncation {
    /// The engine has flushed up to `flushed`, and nothing is commanded.
    pub(super) fn new(flushed: LogIndex) -> Self {
        Self { allowed: LogIndex(0), flushed, superseded: Vec::new() }
    }

    /// A command to truncate up to `index` has taken effect.
    pub(super) fn allow(&mut self, index: LogIndex) {
        self.allowed = self.allowed.max(index);
    }

    /// The engine has flushed up to `index`.
    pub(super) fn on_flushed(&mut self, index: LogIndex) {
        self.flushed = self.flushed.max(index);
    }

    /// Up to where a command to truncate has taken effect.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn allowed(&self) -> LogIndex {
        self.allowed
    }
}

impl Peer {
    /// The index up to which the engine is to be flushed: the log waits for that to be truncated; or the staged data of a
    /// raft snapshot wait for it; or the level rose there, and a member that crashes must not come back, for as long as it replays its log, to what was refused below it.
    #[must_use]
    pub(crate) fn wants_flush(&self) -> Option<LogIndex> {
        if self.is_installing() {
            return None;
        }
        assert!(self.region.floor_index <= self.apply.index(), "what raised the level is applied");
        let (begins_behind, _) = self.raw.store().truncated();
        let wanted = self.truncation.allowed.max(self.region.floor_index).max(begins_behind);
        (wanted > self.truncation.flushed).then_some(wanted)
    }

    /// Whether the engine has flushed up to `index`, as far as is known here.
    pub(super) fn has_flushed(&self, index: LogIndex) -> bool {
        self.truncation.flushed >= index
    }

    /// The engine has flushed up to `index`.
    pub(super) fn on_flushed(&mut self, index: LogIndex) {
        let (begins_behind, term) = self.raw.store().truncated();
        if self.truncation.flushed < begins_behind && index >= begins_behind {
            let state = ApplyState { index: begins_behind, term };
            let superseded = std::mem::take(&mut self.truncation.superseded);
            let all = superseded.into_iter().chain([state]);
            all.for_each(|state| self.leadership.sending.ask(Errand::Discard(self.region.id, state)));
        }
        self.truncation.on_flushed(index);
    }

    /// The log is about to begin anew behind another raft snapshot. If it begins behind one that the engine has not
    /// flushed, nobody asks for the staged data of that one later.
    pub(super) fn note_superseded(&mut self) {
        let (index, term) = self.raw.store().truncated();
        if !self.has_flushed(index) {
            self.truncation.superseded.push(ApplyState { index, term });
        }
    }

    /// A tick of a leader has passed.
    pub(super) fn look_at_log_length(&mut self) {
        if self.is_log_length_due() {
            self.propose_truncation();
        }
    }

    /// Whether leaders look at the length of their logs on this tick.
    pub(super) fn is_log_length_due(&self) -> bool {
        self.ticks_until_log_length() == TRUNCATE_CHECK_TICKS
    }

    /// In how many ticks they do so next.
    pub(super) fn ticks_until_log_length(&self) -> u64 {
        TRUNCATE_CHECK_TICKS - self.timer.ticks() % TRUNCATE_CHECK_TICKS
    }

    /// Whether the log is no longer than it may be.
    pub(super) fn has_short_log(&self) -> bool {
        self.raw.store().retained_bytes() < 2 * self.options.log_retain_bytes
    }

    /// Proposes a truncation up to what every member has, if the log is longer than it needs to be. Also to be called
    /// when a leader may propose one for the first time: a process that often starts and soon ends may never live for
    /// as many ticks as lie between two looks.
    pub(super) fn propose_truncation(&mut self) {
        let log = self.raw.store();
        if self.has_short_log() || self.truncation.allowed > log.truncated().0 {
            return;
        }
        let index = log
            .index_before_bytes(self.options.log_retain_bytes)
            .min(self.needed_by_none())
            .min(self.apply.index());
        if index > log.truncated().0 && self.has_applied_own_term() {
            assert!(index <= self.apply.index(), "what is not applied stays");
            log::debug!("region {}: proposing truncation up to {index}", self.region.id);
            let command = seal_truncate(index, self.region.epoch.version);
            // Refused for now is fine: the next check proposes it again.
            let _ = self.append_as_leader(std::iter::once((command, Bytes::new())));
        }
    }

    /// A leader that a late rejection had sent back goes on behind what is gone; whoever acknowledged that has it.
    fn ask_nobody_below(&mut self, truncated: LogIndex) {
        if planted::has(Fault::LateRejectionsObeyed) {
            return;
        }
        for (_, progress) in self.raw.raft.mut_prs().iter_mut() {
            if progress.next_idx > truncated.get() {
                continue;
            }
            if progress.matched >= truncated.get() {
                progress.next_idx = truncated.get() + 1;
            }
        }
    }

    /// The member for which this leader keeps more of its log than it is to retain: the one that has the least of it.
    #[must_use]
    pub(super) fn log_holder(&self) -> Option<NodeId> {
        let (log, retain_bytes) = (self.raw.store(), self.options.log_retain_bytes);
        if !self.is_leader() || log.retained_bytes() < 2 * retain_bytes {
            return None;
        }
        let (node, progress) = self.raw.raft.prs().iter().min_by_key(|(_, progress)| progress.matched)?;
        assert!(
            progress.matched <= self.raw.raft.raft_log.last_index(),
            "nobody has what its leader has not got"
        );
        (progress.matched < log.index_before_bytes(retain_bytes).get()).then_some(NodeId(*node))
    }

    /// Up to here no member needs a leader's log; one that came back with less has it no more. Others have nobody to send
    /// it to.
    fn needed_by_none(&self) -> LogIndex {
        if !self.is_leader() {
            return LogIndex(u64::MAX);
        }
        let needs =
            self.raw.raft.prs().iter().map(|(&node, progress)| (NodeId(node), LogIndex(progress.matched)));
        needs.map(|(node, matched)| self.needed_by(node, matched)).min().unwrap_or(LogIndex(0))
    }

    /// Drops what may go. Up to where, if anything was.
    pub(super) fn carry_out_truncation(&mut self) -> Result<Option<(LogIndex, Term)>> {
        if self.is_installing() {
            return Ok(None);
        }
        let unflushed = planted::has(Fault::TruncatedAboveFlushed);
        let index =
            self.truncation.allowed.min(if unflushed { self.apply.index() } else { self.truncation.flushed });
        let index = index.min(self.needed_by_none());
        if index <= self.raw.store().truncated().0 {
            return Ok(None);
        }
        assert!(index <= self.truncation.allowed, "every member has applied the command");
        let unapplied = index > self.apply.index();
        assert!(!unapplied, "what is not applied stays");
        let truncated = self.raw.mut_store().truncate_to(index);
        self.ask_nobody_below(index);
        truncated.map(Some).map_err(|error| Error::with_detail(Code::Corruption, error.to_string()))
    }
}
