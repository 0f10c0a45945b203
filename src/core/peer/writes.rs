//! A peer's writes, and how they enter its own log while it leads.
//!
//! Owns [`Writes`], all that a peer keeps of writes, and how those that wait are proposed. What always holds: writes
//! of one member enter the log in the order in which they arrived here, and behind what it sent or proposed in older terms;
//! a write is refused only while it is certainly in no log. Those that go to another leader, or come from another
//! member, are `peer/forwards`'s.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

use super::Peer;
use crate::completion::{Position, WriteEvent};
use crate::core::command::{seal_group, weight_of};
use crate::core::forwarding::attempts::Attempts;
use crate::core::forwarding::early::EarlyForwards;
use crate::core::forwarding::forwarder::Forwarder;
use crate::core::forwarding::tags;
use crate::core::pending::{Pending, PendingWrites};
use crate::core::planted::{self, Fault};
use crate::core::ports::RoundIo;
use crate::core::proposals::{Proposal, Proposals, Request, Requester};
use crate::error::{Code, Error, Outcome};
use crate::types::{ENTRY_WRITES_MAX, LogIndex, NodeId, Term};

/// What a peer keeps of writes: of its own callers, and of others while it leads.
pub(super) struct Writes {
    /// Certainly in no log: new ones, those that came back, and all that wait for a leader, the fence, the engine or
    /// room in the window.
    pub(super) pending: PendingWrites,
    /// They wait for something other than the next round: for what may be in the log from older terms, for the engine, or
    /// for the feature level to rise.
    is_blocked: bool,
    /// Some of them came back in this round, and may go again in the next.
    pub(super) has_again: bool,
    /// In this member's log, and not committed as far as it knows.
    pub(super) proposals: Proposals,
    /// The last proposal that was committed and whose caller, of this member, waits until it is applied.
    pub(super) last_committed_own: (LogIndex, Term),
    /// Sent to a leader.
    pub(super) forwarder: Forwarder,
    /// Sent here while this member is a candidate.
    pub(super) early: EarlyForwards,
    /// Accepted as a leader.
    pub(super) attempts: Attempts,
}

impl Writes {
    pub(super) fn new(node: NodeId, boot: u64) -> Self {
        Self {
            pending: PendingWrites::default(),
            is_blocked: false,
            has_again: false,
            proposals: Proposals::default(),
            last_committed_own: (LogIndex(0), Term(0)),
            forwarder: Forwarder::new(node, boot),
            early: EarlyForwards::default(),
            attempts: Attempts::new(node),
        }
    }
}

impl Peer {
    /// True when writes wait only because the last round had its fill of them, or came back in it.
    #[must_use]
    pub(crate) fn has_more_to_propose(&self) -> bool {
        let had_its_fill = self.is_leader() && !self.is_handing_over() && !self.writes.is_blocked;
        !self.writes.pending.is_empty() && (had_its_fill || self.writes.has_again)
    }

    /// True when writes wait to be proposed or forwarded.
    #[must_use]
    pub(crate) fn has_pending(&self) -> bool {
        !self.writes.pending.is_empty()
    }

    /// Proposes or forwards the writes that are in no log, behind those that are sent again, or lets them wait.
    pub(super) fn dispatch_pending(&mut self, sharers: usize, io: &mut dyn RoundIo) {
        (self.writes.is_blocked, self.writes.has_again) = (false, false);
        if self.writes.pending.is_empty() && !self.has_to_resend() {
            return;
        }
        if self.lacks_data() || self.has_taken_snapshot() {
            // They would stand below the raft snapshot that is to come, and what becomes of them would not be known.
            self.writes.is_blocked = true;
            return self.let_wait();
        }
        if !self.may_dispatch_below_level() {
            self.writes.is_blocked = true;
            return self.let_wait();
        }
        match self.route() {
            _ if self.is_leader() && !self.is_handing_over() => self.propose_pending(sharers, io),
            Some(route) if !self.is_leader() => self.forward_pending(route),
            _ => self.let_wait(),
        }
    }

    /// Nobody takes writes at the moment: only deadlines count.
    fn let_wait(&mut self) {
        let late = if self.leader().is_some() { Code::DeadlineBeforeStart } else { Code::NoLeader };
        self.refuse_late(late);
    }

    pub(super) fn refuse_late(&mut self, code: Code) {
        let late = self.writes.pending.take_late(self.now);
        self.refuse_callers(late, &self.failure(code));
    }

    /// Answers the callers of this member. What was accepted of others waits on, and is not accepted again.
    pub(super) fn refuse_callers(&mut self, refused: Vec<Pending>, error: &Error) {
        assert_eq!(error.outcome(), Outcome::NotApplied, "what is refused is in no log");
        let mut theirs = Vec::new();
        for pending in refused {
            match pending.requester {
                Requester::Caller(completion) => self.answers.push((completion, Err(error.clone()))),
                Requester::Follower(_) => theirs.push(pending),
            }
        }
        if planted::has(Fault::RefusedWriteGoesBehind) {
            theirs.into_iter().for_each(|pending| self.writes.pending.push(pending));
        } else {
            self.writes.pending.push_before(theirs.into_iter());
        }
    }

    /// Hands the writes of this round to raft in one step, so that they become one append and one message a peer.
    fn propose_pending(&mut self, sharers: usize, io: &mut dyn RoundIo) {
        self.refuse_late(Code::DeadlineBeforeStart);
        if self.is_behind() {
            self.writes.is_blocked = true;
            let all = self.writes.pending.take_all();
            return self.refuse_callers(all, &Error::with_detail(Code::Overloaded, "the engine is behind"));
        }
        if self.must_wait_for_helped() {
            self.writes.is_blocked = true;
            let all = self.writes.pending.take_all();
            return self
                .refuse_callers(all, &Error::with_detail(Code::Overloaded, "a member is being caught up"));
        }
        self.resend_to_itself();
        let bytes_max = self.options.propose_bytes_max / sharers;
        let fresh = if self.awaits_fence() {
            // Only this member's newer writes would overtake anything.
            let fresh = self.writes.pending.start_followers(bytes_max);
            self.writes.is_blocked = !self.writes.pending.has_of_followers();
            fresh
        } else {
            self.writes.pending.start_some(bytes_max, 0)
        };
        if !fresh.is_empty() {
            self.propose(fresh, io);
            self.hurry_first_appends();
        }
    }

    fn propose(&mut self, fresh: Vec<Pending>, io: &mut dyn RoundIo) {
        assert!(self.is_leader() && !fresh.is_empty(), "a leader proposes something");
        let entries = grouped(&fresh, self.options.group_bytes_max);
        let first = LogIndex(self.raw.raft.raft_log.last_index()).next();
        let appended = entries.iter().map(|entry| (entry.data.clone(), entry.tags.clone()));
        if let Err(error) = self.append_as_leader(appended) {
            // All that waits with them: a caller's later write must not be in the log when its earlier one was refused.
            self.writes.is_blocked = true;
            let leaves = planted::has(Fault::RefusedWriteGoesBehind);
            let rest = if leaves { Vec::new() } else { self.writes.pending.take_all() };
            let dropped = Error::with_detail(Code::Overloaded, format!("raft: {error}"));
            return self.refuse_callers(fresh.into_iter().chain(rest).collect(), &dropped);
        }
        let appended = self.raw.raft.raft_log.last_index() + 1 - first.get();
        assert_eq!(appended, entries.len() as u64, "raft takes all of them or none");
        let (term, proposed_at) = (self.term(), self.now);
        let mut fresh = fresh.into_iter();
        for (Grouped { data, writes, .. }, index) in entries.into_iter().zip(first.get()..) {
            let index = LogIndex(index);
            let request = |pending| proposed(pending, Position { index, term }, io);
            let requests = fresh.by_ref().take(writes).map(request).collect();
            self.writes.proposals.push(Proposal { term, index, proposed_at, requests, data });
        }
        assert!(fresh.next().is_none(), "every write is in one of the entries");
    }

    /// Appends entries of these data and contexts.
    pub(super) fn append_as_leader(
        &mut self,
        entries: impl Iterator<Item = (Bytes, Bytes)>,
    ) -> raft::Result<()> {
        let mut message = Message { from: self.options.node.get(), ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        let entry = |(data, context)| Entry { data, context, ..Default::default() };
        message.entries = entries.map(entry).collect::<Vec<_>>().into();
        if message.entries.is_empty() { Ok(()) } else { self.raw.raft.step(message) }
    }
}

/// A write that has its place in this member's log. Its caller is told so once, whatever becomes of that place.
fn proposed(pending: Pending, position: Position, io: &mut dyn RoundIo) -> Request {
    let Pending { deadline, requester, was_proposed, .. } = pending;
    if let Requester::Caller(completion) = &requester
        && !was_proposed
    {
        io.happened(completion, WriteEvent::Proposed, position);
    }
    Request { deadline, requester: Some(requester) }
}

/// The data of one entry, how many writes it carries, and which of them other members forwarded.
struct Grouped {
    data: Bytes,
    writes: usize,
    tags: Bytes,
}

/// Writes in their order, packed into entries of at most `bytes_max`, and no heavier than a batch may be; one that is
/// larger stands alone.
fn grouped(writes: &[Pending], bytes_max: usize) -> Vec<Grouped> {
    let mut entries = Vec::new();
    let mut rest = writes;
    while let [first, others @ ..] = rest {
        let (mut bytes, mut weight) = (first.data.len(), weight_of(&first.data));
        let fits = |pending: &&Pending| {
            bytes += pending.data.len();
            weight = weight.plus(weight_of(&pending.data));
            bytes <= bytes_max && weight.fits_an_entry()
        };
        let count = 1 + others.iter().take(ENTRY_WRITES_MAX - 1).take_while(fits).count();
        let (group, after) = rest.split_at(count);
        assert!((1..=ENTRY_WRITES_MAX).contains(&count), "versions tell the writes of an entry apart");
        let data = if count == 1 { first.data.clone() } else { seal_group(group.iter().map(|p| &p.data)) };
        let tags = tags::seal(group.iter().map(Pending::forwarded_as));
        entries.push(Grouped { data, writes: count, tags });
        rest = after;
    }
    let packed: usize = entries.iter().map(|entry| entry.writes).sum();
    assert_eq!(packed, writes.len(), "each write is in one entry");
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::{CommandBuilder, Operation};
    use crate::core::forwarding::{Origin, RequestId};
    use crate::types::NodeId;

    /// Writes of so many operations of three bytes.
    fn pending(operations: &[u32]) -> Vec<Pending> {
        let write = |(number, &count): (u64, &u32)| {
            let mut builder = CommandBuilder::default();
            (0..count).for_each(|_| builder.push(Operation::Put { key: b"", value: b"" }));
            let id = RequestId { origin: Origin { node: NodeId(2), boot: 42 }, number };
            Pending::of_follower(id, builder.seal(1))
        };
        (1..).zip(operations).map(write).collect()
    }

    #[test]
    fn writes_share_an_entry_up_to_the_bytes_and_the_operations_of_one() {
        let of = |operations: &[u32], bytes_max| {
            let grouped = grouped(&pending(operations), bytes_max);
            grouped.iter().map(|entry| entry.writes).collect::<Vec<_>>()
        };

        assert_eq!(of(&[1, 1, 1], 1 << 20), [3]);
        assert_eq!(of(&[1, 1, 1], 2 * (16 + 3)), [2, 1]);
        assert_eq!(of(&[60_000, 5_536, 1], 1 << 20), [2, 1]);
        assert_eq!(of(&[60_000, 5_537, 1], 1 << 20), [1, 2]);
    }
}
