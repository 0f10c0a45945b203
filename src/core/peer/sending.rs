//! Members whose logs are too far behind, seen by their leader.
//!
//! Owns who is helped with a raft snapshot and how far that has come: made, offered to raft, sent, and then followed until
//! the member has caught up with the log. What always holds: raft hears of the end of every sending that it began, or it
//! would wait for ever; while a member [holds](Helped::holds) the log, nothing is dropped behind the end of its snapshot
//! ([`Peer::needed_by`]).
//!
//! **Every member catches up in the end.** One that takes in less than the others write would fall behind again and again.
//! So the log that is kept for it grows to [`HELPED_PARTS`] times what a member that is behind is allowed, and there the
//! leader refuses writes of the region until the member has moved on ([`Peer::must_wait_for_helped`]).
//!
//! **No member stops a region for ever.** One that makes no progress for long, that fails again and again, or that is
//! helped for very long holds nothing any more. It is helped all the same, whenever raft asks for it.

use std::collections::BTreeMap;

use raft::eraftpb::{Message, MessageType};
use raft::{Progress, ProgressState, SnapshotStatus};

use super::Peer;
use crate::core::planted::{self, Fault};
use crate::core::ports::Errand;
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage};
use crate::types::{LogIndex, NodeId, Term};

/// How much more of the log is kept for a member that is helped than for one that is not.
const HELPED_PARTS: u64 = 2;
/// Election timeouts without progress after which the help of this moment has failed: longer than it takes a slow disk to
/// sync a large file, and not so long that callers of the others give up on a member whose disk hangs.
const PATIENCE_TIMEOUTS: u64 = 20;
/// Who has its snapshot, and answers, has another election timeout for each so many bytes of it: it is replacing data.
const INSTALL_BYTES: u64 = 64 << 20;
/// Election timeouts without progress after which a member that is not connected holds nothing: it may have died.
const GONE_TIMEOUTS: u64 = 3;
/// Election timeouts for which a member holds the log at most, from the first help until it has caught up.
const HOLD_TIMEOUTS: u64 = 3600;
/// Failures after which a member holds nothing, until it has got one snapshot and goes on.
const FAILURES_MAX: u32 = 3;
/// Election timeouts of a leader in which a member that it has not heard of holds all of its log: an earlier leader may
/// have helped it just now.
const UNHEARD_TIMEOUTS: u64 = 2;

/// How far the help for one member has come.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// It gets no help before this tick, because the last one failed.
    Waiting { until: u64 },
    /// A raft snapshot is being made, or waits for its turn.
    Exporting,
    /// It is made; raft may have it once this peer has applied as much.
    Made(Box<SnapshotHead>),
    /// raft may take it.
    Offered,
    /// It is under way.
    Sending,
    /// The member has it; the log behind it is on its way.
    Following,
}

/// A member that is helped.
#[derive(Clone, Debug)]
struct Helped {
    stage: Stage,
    /// Where its snapshot ends.
    from: LogIndex,
    /// Rises with progress: bytes of the snapshot, or the index up to which the member has the log.
    progress: u64,
    /// What it has taken of its snapshot.
    bytes: u64,
    /// The tick of the last progress.
    moved_at: u64,
    /// The tick at which it was first helped.
    begun_at: u64,
    failures: u32,
}

impl Helped {
    fn new(now: u64) -> Self {
        let (stage, from) = (Stage::Waiting { until: now }, LogIndex(0));
        Self { stage, from, progress: 0, bytes: 0, moved_at: now, begun_at: now, failures: 0 }
    }

    fn enter(&mut self, stage: Stage, now: u64) {
        assert!(now >= self.moved_at, "time passes");
        (self.stage, self.progress, self.moved_at) = (stage, 0, now);
    }

    fn fail(&mut self, now: u64, pause: u64) {
        assert!(self.stage != Stage::Following || pause > 0, "there is a pause after a failure");
        self.failures += 1;
        self.enter(Stage::Waiting { until: now + pause }, now);
    }

    /// Whether the log is kept for it from the end of its snapshot on. `is_up` says that there is a connection to it.
    fn holds(&self, now: u64, timeout: u64, is_up: bool) -> bool {
        let has_snapshot = !matches!(self.stage, Stage::Exporting | Stage::Waiting { .. });
        let is_there = is_up || now - self.moved_at <= GONE_TIMEOUTS * timeout;
        let is_hopeful = self.failures < FAILURES_MAX && now - self.begun_at <= HOLD_TIMEOUTS * timeout;
        has_snapshot && is_there && is_hopeful
    }

    /// Whether it has made no progress for so long that there will be none.
    fn is_hopeless(&self, now: u64, timeout: u64, is_heard: bool) -> bool {
        let timeouts = match self.stage {
            // It waits for its turn, and whoever makes it says when that fails.
            Stage::Exporting | Stage::Waiting { .. } => return false,
            Stage::Following if is_heard => PATIENCE_TIMEOUTS + self.bytes / INSTALL_BYTES,
            _ => PATIENCE_TIMEOUTS,
        };
        now - self.moved_at > timeouts * timeout
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sending {
    helped: BTreeMap<NodeId, Helped>,
    errands: Vec<Errand>,
    /// The tick at which this member began to lead.
    led_since: u64,
}

impl Sending {
    /// Whether something is to be done by others.
    pub(super) fn has_errands(&self) -> bool {
        !self.errands.is_empty()
    }

    /// Something is to be done by others.
    pub(super) fn ask(&mut self, errand: Errand) {
        self.errands.push(errand);
    }

    /// How many members are helped.
    pub(super) fn count(&self) -> u64 {
        self.helped.len() as u64
    }

    /// Whether `node` is helped.
    pub(super) fn helps(&self, node: NodeId) -> bool {
        self.helped.contains_key(&node)
    }
}

impl Peer {
    /// Takes out what others are to do.
    pub(crate) fn take_errands(&mut self) -> Vec<Errand> {
        self.look_at_wishes();
        std::mem::take(&mut self.leadership.sending.errands)
    }

    /// Has snapshots made for the members for which raft wants some.
    fn look_at_wishes(&mut self) {
        assert!(self.is_leader() || self.leadership.sending.helped.is_empty(), "only a leader helps");
        if !self.raw.store().offers.has_wishes() {
            return;
        }
        let wishes = self.raw.mut_store().offers.take_wishes();
        let (now, leads) = (self.timer.ticks(), self.is_leader());
        // One that has acknowledged more since raft asked lacks nothing but what is in the log.
        let truncated = self.raw.store().truncated().0;
        let needs_one = |to: &NodeId| leads && self.matched(*to) < truncated;
        for to in wishes.into_iter().filter(needs_one).collect::<Vec<_>>() {
            let helped = self.leadership.sending.helped.entry(to).or_insert_with(|| Helped::new(now));
            match helped.stage {
                Stage::Waiting { until } if now >= until => {}
                Stage::Following => {}
                _ => continue,
            }
            helped.enter(Stage::Exporting, now);
            self.leadership.sending.errands.push(Errand::Export(self.region.id, to));
        }
    }

    /// A raft snapshot was made for `to`, or could not be.
    pub(super) fn on_exported(&mut self, to: NodeId, head: Option<Box<SnapshotHead>>) {
        let (now, pause) = (self.timer.ticks(), self.timeout_ticks());
        let exporting = |helped: &&mut Helped| helped.stage == Stage::Exporting;
        let Some(helped) = self.leadership.sending.helped.get_mut(&to).filter(exporting) else {
            return self.cancel(to);
        };
        let Some(head) = head else { return helped.fail(now, pause) };
        assert_eq!(head.region.id, self.region.id, "it was made of this region");
        helped.from = head.state.index;
        helped.enter(Stage::Made(head), now);
        self.offer_made();
    }

    /// Offers raft what was made and shows no more than this peer knows to be applied: what raft tells its receiver of the
    /// configuration is then what raft itself has.
    pub(super) fn offer_made(&mut self) {
        let (applied, now, pause) = (self.apply.index(), self.timer.ticks(), self.timeout_ticks());
        let is_due = |stage: &Stage| matches!(stage, Stage::Made(head) if head.state.index <= applied);
        let helped = self.leadership.sending.helped.iter();
        let due: Vec<_> = helped.filter(|(_, helped)| is_due(&helped.stage)).map(|(to, _)| *to).collect();
        for to in due {
            let helped = self.leadership.sending.helped.get_mut(&to).expect("just seen");
            let Stage::Made(head) = std::mem::replace(&mut helped.stage, Stage::Offered) else { continue };
            if head.region.has_member(to) && head.state.index >= self.raw.store().truncated().0 {
                self.raw.mut_store().offers.offer(to, *head);
            } else {
                helped.fail(now, pause);
                self.cancel(to);
            }
        }
    }

    /// Takes the raft snapshots out of what raft sends: they travel on connections of their own.
    pub(super) fn send_snapshots(&mut self, messages: &mut Vec<Message>) {
        let now = self.timer.ticks();
        let is_snapshot = |message: &mut Message| message.get_msg_type() == MessageType::MsgSnapshot;
        for message in messages.extract_if(.., is_snapshot) {
            let to = NodeId(message.to);
            // It leads no more: what it was to send is dropped.
            let Some(helped) = self.leadership.sending.helped.get_mut(&to) else { continue };
            let head = self.raw.mut_store().offers.take(to).expect("raft sends what it was offered");
            let index = LogIndex(message.get_snapshot().get_metadata().index);
            assert_eq!(index, head.state.index, "raft sends what it was offered");
            helped.enter(Stage::Sending, now);
            let from = self.options.node;
            let message = SnapshotMessage { from, to, term: Term(message.term), head };
            self.leadership.sending.ask(Errand::Send(Box::new(message)));
        }
    }

    /// A member has taken more of its snapshot.
    pub(super) fn on_snapshot_moved(&mut self, to: NodeId, bytes: u64) {
        if let Some(helped) = self.leadership.sending.helped.get_mut(&to)
            && helped.stage == Stage::Sending
            && bytes > helped.progress
        {
            (helped.progress, helped.bytes, helped.moved_at) = (bytes, bytes, self.timer.ticks());
        }
    }

    /// The sending of a snapshot has ended.
    pub(super) fn on_snapshot_ended(&mut self, to: NodeId, index: LogIndex, is_delivered: bool) {
        let (now, pause) = (self.timer.ticks(), self.timeout_ticks());
        let is_this = |helped: &&mut Helped| helped.stage == Stage::Sending && helped.from == index;
        // Another is of an earlier leadership, or was given up.
        let Some(helped) = self.leadership.sending.helped.get_mut(&to).filter(is_this) else { return };
        if planted::has(Fault::SnapshotEndNotTold) {
            return;
        }
        assert!(helped.from > LogIndex(0), "what was sent ends somewhere");
        if is_delivered {
            helped.enter(Stage::Following, now);
            self.raw.report_snapshot(to.get(), SnapshotStatus::Finish);
        } else {
            helped.fail(now, pause);
            self.raw.report_snapshot(to.get(), SnapshotStatus::Failure);
        }
        self.cancel(to);
    }

    /// A tick of a leader has passed: who has caught up needs no more help, and with whom nothing moves the help of this
    /// moment has failed.
    pub(super) fn look_at_helped(&mut self) {
        assert!(self.is_leader(), "only a leader helps");
        if self.leadership.sending.helped.is_empty() {
            return;
        }
        let (now, timeout) = (self.timer.ticks(), self.timeout_ticks());
        let enough = self.raw.store().index_before_bytes(self.options.log_behind_bytes / HELPED_PARTS);
        let mut over = Vec::new();
        for (&to, helped) in &mut self.leadership.sending.helped {
            let progress = self.raw.raft.prs().get(to.get());
            let Some(progress) = progress else {
                over.push((to, true));
                continue;
            };
            if helped.stage == Stage::Following && progress.matched > helped.progress {
                (helped.progress, helped.moved_at) = (progress.matched, now);
                if progress.matched > helped.from.get() {
                    // It has what was sent to it, and goes on.
                    helped.failures = 0;
                }
            }
            if has_caught_up(helped, progress, enough) {
                over.push((to, true));
            } else if helped.is_hopeless(now, timeout, progress.recent_active) {
                over.push((to, false));
            }
        }
        over.into_iter().for_each(|(to, has_caught_up)| self.end_help(to, has_caught_up));
    }

    fn end_help(&mut self, to: NodeId, for_good: bool) {
        let (now, pause) = (self.timer.ticks(), self.timeout_ticks());
        self.raw.mut_store().offers.take(to);
        let helped = self.leadership.sending.helped.get_mut(&to).expect("it is helped");
        let was_sending = helped.stage == Stage::Sending;
        if for_good {
            self.leadership.sending.helped.remove(&to);
        } else {
            helped.fail(now, pause);
            // It has stood still: until it moves on it holds nothing.
            helped.failures = FAILURES_MAX;
        }
        if was_sending && !planted::has(Fault::SnapshotEndNotTold) {
            self.raw.report_snapshot(to.get(), SnapshotStatus::Failure);
        }
        self.cancel(to);
    }

    /// This member leads from now on.
    pub(super) fn begin_helping(&mut self) {
        assert!(self.leadership.sending.helped.is_empty(), "who begins to lead has helped nobody");
        self.leadership.sending.led_since = self.timer.ticks();
    }

    /// Nobody is helped: this member leads no more.
    pub(super) fn help_nobody(&mut self) {
        self.raw.mut_store().offers.clear();
        for to in std::mem::take(&mut self.leadership.sending.helped).into_keys() {
            self.cancel(to);
        }
    }

    /// Whether the leader is to take no writes until a member that is helped has moved on.
    pub(super) fn must_wait_for_helped(&self) -> bool {
        if self.leadership.sending.helped.is_empty() {
            return false;
        }
        let floor = self.raw.store().index_before_bytes(HELPED_PARTS * self.options.log_behind_bytes);
        let helped = self.leadership.sending.helped.keys();
        helped.filter_map(|to| Some(self.matched(*to).max(self.held_by(*to)?))).any(|need| need < floor)
    }

    /// Up to where the log may be dropped for all that `node` needs of it, which has it up to `matched`. A member that is
    /// behind holds as much of it as one may, and one that is helped all that its snapshot does not show.
    pub(super) fn needed_by(&self, node: NodeId, matched: LogIndex) -> LogIndex {
        assert!(self.is_leader(), "only a leader keeps its log for others");
        let (now, timeout) = (self.timer.ticks(), self.timeout_ticks());
        if matched == LogIndex(0) && now - self.leadership.sending.led_since <= UNHEARD_TIMEOUTS * timeout {
            return LogIndex(0);
        }
        let floor = self.raw.store().index_before_bytes(self.options.log_behind_bytes);
        let held = self.held_by(node).filter(|_| !planted::has(Fault::LogNotKeptForASnapshot));
        matched.max(held.map_or(floor, |from| floor.min(from)))
    }

    /// From where on `node` holds the log, if it is helped and may.
    fn held_by(&self, node: NodeId) -> Option<LogIndex> {
        let (now, timeout) = (self.timer.ticks(), self.timeout_ticks());
        assert!(now >= self.leadership.sending.led_since, "time passes");
        let helped = self.leadership.sending.helped.get(&node)?;
        helped.holds(now, timeout, self.connections.is_up(node)).then_some(helped.from)
    }

    fn matched(&self, node: NodeId) -> LogIndex {
        LogIndex(self.raw.raft.prs().get(node.get()).map_or(0, |progress| progress.matched))
    }

    fn timeout_ticks(&self) -> u64 {
        self.options.election_ticks as u64
    }

    fn cancel(&mut self, to: NodeId) {
        self.leadership.sending.ask(Errand::Cancel(self.region.id, to));
    }
}

/// Whether a member that is helped can do without: it has the log up to `enough`, or is sent it again as it is.
fn has_caught_up(helped: &Helped, progress: &Progress, enough: LogIndex) -> bool {
    match helped.stage {
        Stage::Following => {
            progress.matched >= enough.max(helped.from).get() && progress.state != ProgressState::Snapshot
        }
        Stage::Sending => false,
        _ => progress.state == ProgressState::Replicate && progress.matched >= enough.get(),
    }
}
