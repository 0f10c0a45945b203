//! Appends: how much a leader sends ahead, and how much a follower takes.
//!
//! Owns both ends of the flow of entries between two members. The leader lets raft send to a member until its window is
//! full ([`Windows`](crate::core::windows)); a follower whose applier has enough to do keeps what comes instead of
//! passing it to raft ([`HeldAppends`](crate::core::held_appends)), so that nothing of it is acknowledged and the
//! leader's window fills. So a member that catches up takes a bounded part of the memory of both. What always holds
//! between two rounds: what may be sent is sent; a full window is one that raft knows to be full; nobody but a leader
//! has anything under way.
//!
//! No window stays full for ever. It is settled by what raft knows of the member: an acknowledgement frees what came
//! before; raft's probing state, in which it falls after a rejection or a lost connection, frees all of it. If appends
//! were lost and nobody said so, the member's next answer to a heartbeat makes the leader ask, by an append without
//! entries, whether it has everything; it acknowledges that or rejects it.

use raft::eraftpb::{Message, MessageType};
use raft::{Progress, ProgressState, ProgressTracker};

use super::Peer;
use super::installing::Installing;
use super::options::INFLIGHT_MESSAGES_MAX;
use crate::core::held_appends::HeldAppends;
use crate::core::limits::Limits;
use crate::core::log;
use crate::core::planted::{self, Fault};
use crate::core::windows::{Sent, Windows};
use crate::types::{LogIndex, NodeId};

/// What a peer keeps of what other members send.
pub(super) struct Incoming {
    /// For raft, once the applier has caught up.
    pub(super) held: HeldAppends,
    /// Messages that were turned away.
    pub(super) refused: u64,
    /// A raft snapshot.
    pub(super) installing: Installing,
}

impl Incoming {
    pub(super) fn new(limits: Limits) -> Self {
        Self { held: HeldAppends::new(limits), refused: 0, installing: Installing::Nothing }
    }
}

/// raft's own bound on messages to a member with room in its window, and to one without.
const OPEN: usize = INFLIGHT_MESSAGES_MAX;
const CLOSED: usize = 0;

/// Who does not lead keeps so small a part of the entries that a leader keeps: still many rounds of a busy leader.
/// Whoever lags farther is sent what the next leader reads from its disk.
const CACHE_PART_OF_OTHERS: usize = 4;

impl Peer {
    /// Sends what the windows have room for, in a leader's part of a round.
    pub(super) fn fill_windows(&mut self) {
        if !self.is_leader() {
            return;
        }
        self.probe_those_below_the_log();
        let (windows, raft) = (&mut self.leadership.windows, &self.raw.raft);
        count(windows, raft.prs(), &raft.msgs);
        self.settle_windows();
        for member in self.lagging_members() {
            self.fill_window(member);
        }
        self.close_full_windows();
    }

    /// Counts appends that raft made without being asked to.
    pub(super) fn count_appends(&mut self, messages: &[Message]) {
        if self.is_leader() {
            count(&mut self.leadership.windows, self.raw.raft.prs(), messages);
        }
    }

    /// While raft steps this answer of a member that lacks more than it tells to have, it is to send nothing: it would
    /// send all that its own window has room for, and read that from the disk, before anybody could count it.
    pub(super) fn hold_burst(&mut self, answer: &Message) {
        let last = self.raw.raft.raft_log.last_index();
        let has = if answer.reject { 0 } else { answer.index };
        let lacks_more = |from: &Progress| from.next_idx.max(has + 1) <= last;
        if self.is_leader() && self.raw.raft.prs().get(answer.from).is_some_and(lacks_more) {
            self.raw.raft.adjust_max_inflight_msgs(answer.from, CLOSED);
        }
    }

    /// Asks a member that answers heartbeats, and whose window is full, whether it has everything. raft would do so by
    /// another message with entries, and make the window larger each time.
    pub(super) fn ask_after_appends(&mut self, member: NodeId) {
        if !self.is_leader() || !(self.leadership.windows.is_used(member) || self.lacks_entries(member)) {
            return;
        }
        if planted::has(Fault::FullWindowNotAskedAfter) {
            return;
        }
        self.fill_windows();
        let raft = &self.raw.raft;
        let replicates = |progress: &&Progress| progress.state == ProgressState::Replicate;
        let Some(progress) = raft.prs().get(member.get()).filter(replicates) else { return };
        if self.leadership.windows.has_room(member) {
            return;
        }
        let before = progress.next_idx - 1;
        let log_term = raft.raft_log.term(before).expect("what was sent last is not truncated");
        let mut question = Message {
            to: member.get(),
            from: self.options.node.get(),
            term: raft.term,
            index: before,
            log_term,
            commit: raft.raft_log.committed,
            ..Message::default()
        };
        question.set_msg_type(MessageType::MsgAppend);
        self.raw.raft.msgs.push(question);
    }

    /// Whether an append waits here for the applier, or for those that do. The first of a new leader does not: it tells
    /// who leads.
    pub(super) fn must_hold(&self, append: &Message) -> bool {
        let adds = !append.entries.is_empty() && self.apply.has_enough();
        append.term == self.raw.raft.term && (adds || !self.incoming.held.is_empty())
    }

    /// Passes on the appends that waited for the applier, as far as that has caught up.
    pub(super) fn take_held(&mut self) {
        if self.incoming.held.is_empty() || self.apply.has_enough() {
            return;
        }
        let limits = self.options.limits;
        let mut held = std::mem::replace(&mut self.incoming.held, HeldAppends::new(limits));
        while let Some(append) = held.pop() {
            self.on_raft_message(append);
        }
        assert!(self.incoming.held.is_empty(), "raft hands nothing to the applier before the next pass");
        self.notice_leadership();
    }

    /// How much of what is applied the log's cache keeps: what a leader sends to those that lag. Anybody else only has to
    /// be able to begin with that, and who has no others will never send anything.
    pub(super) fn kept_bytes(&self) -> usize {
        let most = self.options.log_cache_bytes;
        match self.raw.raft.prs().iter().count() {
            ..=1 => 0,
            _ if self.is_leader() => most,
            _ => most / CACHE_PART_OF_OTHERS,
        }
    }

    /// What the log's cache takes.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn cached_bytes(&self) -> usize {
        self.raw.store().cached_bytes()
    }

    fn fill_window(&mut self, member: NodeId) {
        while self.leadership.windows.has_room(member) && self.lacks_entries(member) {
            let raft = &mut self.raw.raft;
            raft.adjust_max_inflight_msgs(member.get(), OPEN);
            let count = raft.msgs.len();
            raft.send_append(member.get());
            // raft has its own bound, on messages.
            let Some((member, sent)) = raft.msgs.get(count).and_then(counted) else { return };
            self.leadership.windows.add(member, sent);
        }
    }

    /// What comes next for these members is gone. raft does not notice while it replicates to them; while it probes, it
    /// asks for a raft snapshot.
    fn probe_those_below_the_log(&mut self) {
        assert!(self.is_leader(), "only a leader replicates");
        let truncated = self.raw.store().truncated().0.get();
        let is_below = |progress: &Progress| {
            progress.state == ProgressState::Replicate && progress.next_idx <= truncated
        };
        let members = self.raw.raft.prs().iter().filter(|(_, progress)| is_below(progress));
        for member in members.map(|(&member, _)| member).collect::<Vec<_>>() {
            let raft = &mut self.raw.raft;
            raft.mut_prs().get_mut(member).expect("just seen").become_probe();
            raft.send_append(member);
        }
    }

    fn settle_windows(&mut self) {
        let (windows, members) = (&mut self.leadership.windows, self.raw.raft.prs());
        windows.keep_only(|member| members.get(member.get()).is_some());
        for (&member, progress) in members.iter() {
            if progress.state == ProgressState::Replicate {
                windows.settle(NodeId(member), LogIndex(progress.matched), LogIndex(progress.next_idx));
            } else {
                windows.clear(NodeId(member));
            }
        }
    }

    /// The others that raft replicates to and that have not been sent everything.
    fn lagging_members(&self) -> Vec<NodeId> {
        let members = self.raw.raft.prs().iter().map(|(&member, _)| NodeId(member));
        members.filter(|member| *member != self.options.node && self.lacks_entries(*member)).collect()
    }

    fn lacks_entries(&self, member: NodeId) -> bool {
        let last = self.raw.raft.raft_log.last_index();
        let progress = self.raw.raft.prs().get(member.get());
        progress
            .is_some_and(|progress| progress.state == ProgressState::Replicate && progress.next_idx <= last)
    }

    fn close_full_windows(&mut self) {
        let windows = &self.leadership.windows;
        for (&member, progress) in self.raw.raft.mut_prs().iter_mut() {
            progress.ins.set_cap(if windows.has_room(NodeId(member)) { OPEN } else { CLOSED });
        }
    }

    /// What is under way is what raft believes to be, and what may be sent is sent.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn check_appends(&self) {
        self.incoming.held.check_invariants();
        let raft = &self.raw.raft;
        let replicates = |member: NodeId| {
            let progress = raft.prs().get(member.get())?;
            let place = (LogIndex(progress.matched), LogIndex(progress.next_idx));
            (self.is_leader() && progress.state == ProgressState::Replicate).then_some(place)
        };
        self.leadership.windows.check_invariants(replicates);
        assert!(!self.is_leader() || self.incoming.held.is_empty(), "nobody sends appends to a leader");
        for member in if self.is_leader() { self.lagging_members() } else { Vec::new() } {
            let progress = raft.prs().get(member.get()).expect("just found");
            assert!(progress.ins.full(), "what may be sent to {member} is sent");
        }
    }
}

/// Counts the appends among these messages that go to members which raft replicates to. One that was counted before
/// counts once: it takes its own place.
fn count(windows: &mut Windows, members: &ProgressTracker, messages: &[Message]) {
    let replicates = |progress: &Progress| progress.state == ProgressState::Replicate;
    for (member, sent) in messages.iter().filter_map(counted) {
        if members.get(member.get()).is_some_and(replicates) {
            windows.add(member, sent);
        }
    }
}

/// To whom a message with entries goes, and what it adds to the window.
fn counted(message: &Message) -> Option<(NodeId, Sent)> {
    let (first, last) = message.entries.first().zip(message.entries.last())?;
    let is_append = message.get_msg_type() == MessageType::MsgAppend;
    let (first, last) = (LogIndex(first.index), LogIndex(last.index));
    is_append.then(|| (NodeId(message.to), Sent { first, last, bytes: log::bytes_of(&message.entries) }))
}
