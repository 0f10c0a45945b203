//! A peer's writes: into its own log while it leads, to the leader while it follows.
//!
//! Owns the writes that wait to be proposed and the way of forwarded ones. What always holds: writes enter the log, or
//! leave for the leader, in the order in which they arrived here; what comes back refused goes before anything newer;
//! a write is refused only while it is certainly in no log.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

use super::options::MESSAGE_BYTES_MAX;
use super::{Peer, tell};
use crate::batch::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};
use crate::completion::{Position, WriteEvent};
use crate::core::command::{Command, operations_of, seal_group};
use crate::core::forwarding::{Forward, ForwardAnswer, Refused, RequestId};
use crate::core::input::Propose;
use crate::core::pending::Pending;
use crate::core::planted::Fault;
use crate::core::ports::Body;
use crate::core::proposals::{Proposal, Request, Requester};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, NodeId};

/// A forwarding follower asks after what was not answered for this many heartbeats.
const PROBE_HEARTBEATS: u32 = 4;
/// After a change of leader newer writes wait this many heartbeats at most for what the last one may refuse.
const ORDER_HEARTBEATS: u32 = 2;

impl Peer {
    /// True when writes wait only because the last round had its fill of them.
    #[must_use]
    pub fn has_more_to_propose(&self) -> bool {
        self.is_leader() && !self.is_handing_over() && !self.fresh.is_empty() && !self.keeps_order
    }

    /// True when writes wait to be proposed or forwarded.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Proposes or forwards this round's writes, or lets them wait for a leader.
    pub(super) fn dispatch_fresh(&mut self, sharers: usize) {
        self.keeps_order = false;
        if self.fresh.is_empty() {
            return;
        }
        match self.leader() {
            _ if self.is_leader() && !self.is_handing_over() => self.propose_fresh(sharers),
            Some(leader) if !self.is_leader() => self.forward_fresh(leader),
            _ => self.let_wait(),
        }
    }

    /// Nobody takes writes at the moment: only deadlines count.
    fn let_wait(&mut self) {
        let late = if self.leader().is_some() { Code::DeadlineBeforeStart } else { Code::NoLeader };
        self.refuse_followers();
        self.refuse_late(late);
    }

    fn refuse_late(&mut self, code: Code) {
        let late = self.fresh.take_late(self.now);
        self.refuse(late, &self.failure(code));
    }

    /// Writes of other members wait only where they can be proposed.
    fn refuse_followers(&mut self) {
        if self.is_leader() {
            return;
        }
        let theirs = self.fresh.take_of_followers();
        self.refuse(theirs, &self.failure(Code::NotLeader));
    }

    fn refuse(&mut self, refused: Vec<Pending>, error: &Error) {
        for pending in refused {
            match pending.requester {
                Requester::Caller(completion) => self.answers.push((completion, Err(error.clone()))),
                Requester::Follower(id) => {
                    self.forwarded_in_flight -= 1;
                    self.sessions.take_back(id, error.code());
                }
            }
        }
    }

    /// Hands the writes of this round to raft in one step, so that they become one append and one message a peer.
    fn propose_fresh(&mut self, sharers: usize) {
        self.refuse_late(Code::DeadlineBeforeStart);
        if self.is_behind() {
            let all = self.fresh.take_all();
            return self.refuse(all, &Error::with_detail(Code::Overloaded, "the engine is behind"));
        }
        if self.should_wait(self.options.node) {
            return;
        }
        let fresh = self.fresh.take_some(self.options.propose_bytes_max / sharers);
        if !fresh.is_empty() {
            self.propose(fresh);
        }
    }

    fn propose(&mut self, fresh: Vec<Pending>) {
        self.forwarder.close_session();
        let entries = grouped(&fresh, self.options.group_bytes_max);
        let first = LogIndex(self.raw.raft.raft_log.last_index()).next();
        if let Err(error) = self.append_as_leader(entries.iter().map(|entry| entry.data.clone())) {
            // All that waits with them: what follows a refused write in its session is refused as well.
            let leaves = self.options.planted.has(Fault::RefusedWriteLeavesTheRest);
            let rest = if leaves { Vec::new() } else { self.fresh.take_all() };
            let dropped = Error::with_detail(Code::Overloaded, format!("raft: {error}"));
            return self.refuse(fresh.into_iter().chain(rest).collect(), &dropped);
        }
        let (term, proposed_at) = (self.term(), self.now);
        let mut requests = fresh
            .into_iter()
            .map(|pending| Request { deadline: pending.deadline, requester: Some(pending.requester) });
        for (entry, index) in entries.into_iter().zip(first.get()..) {
            let position = Position { index: LogIndex(index), term };
            let requests: Vec<_> = requests.by_ref().take(entry.writes).collect();
            tell(requests.iter().map(|request| &request.requester), WriteEvent::Proposed, position);
            let index = position.index;
            self.proposals.push(Proposal { term, index, proposed_at, requests });
        }
    }

    pub(super) fn append_as_leader(&mut self, data: impl Iterator<Item = Bytes>) -> raft::Result<()> {
        let mut message = Message { from: self.options.node.get(), ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.entries = data.map(|data| Entry { data, ..Default::default() }).collect::<Vec<_>>().into();
        if message.entries.is_empty() { Ok(()) } else { self.raw.raft.step(message) }
    }

    fn forward_fresh(&mut self, leader: NodeId) {
        self.refuse_followers();
        let reachable = !self.disconnected.contains(&leader);
        self.refuse_late(if reachable { Code::DeadlineBeforeStart } else { Code::NoLeader });
        let (term, now) = (self.term(), self.now);
        let way = Some((leader, term));
        let is_gone = self.unheard == way || self.ended == way || self.leads_in_another_run(leader);
        if self.refused_by == way || is_gone || !reachable || self.should_wait(leader) {
            return;
        }
        // The rest waits for answers; until then it is certainly in no log.
        while !self.fresh.is_empty() {
            let owed = self.forwarder.bytes(leader, term);
            let room = self.options.forward_window_bytes.saturating_sub(owed);
            if room == 0 {
                return;
            }
            let writes = self.fresh.take_some(room.min(MESSAGE_BYTES_MAX as usize));
            if writes.is_empty() {
                // All that waited was given up.
                return;
            }
            let writes = writes.into_iter().map(unsent).collect();
            let forward = self.forwarder.forward(writes, leader, term, now);
            self.outgoing.push(self.dress(Body::Forward(forward)));
            if self.cautious_of == way {
                // One message a tick, until one is accepted: to send all again would bury a leader that is behind.
                self.refused_by = way;
                return;
            }
        }
    }

    /// Whether writes that would go to `leader` now wait for what went to another.
    fn should_wait(&mut self, leader: NodeId) -> bool {
        let patience = self.options.tick * (self.options.heartbeat_ticks as u32 * ORDER_HEARTBEATS);
        self.keeps_order = self.forwarder.should_wait(leader, self.term(), self.now, patience);
        self.keeps_order
    }

    /// Asks after forwarded writes of which nothing was heard for long.
    pub(super) fn probe_session(&mut self) {
        let patience = self.options.tick * (self.options.heartbeat_ticks as u32 * PROBE_HEARTBEATS);
        for probe in self.forwarder.probe(self.now - patience, self.now) {
            self.outgoing.push(self.dress(Body::Forward(probe)));
        }
    }

    /// Writes of a follower's callers.
    pub(super) fn on_forward(&mut self, forward: Forward) {
        let willing = self.may_accept();
        for (id, data) in self.sessions.accept(forward, willing) {
            if self.may_propose(&data) {
                self.forwarded_in_flight += 1;
                self.fresh.push(Pending::of_follower(id, data));
            } else {
                self.refused_messages += 1;
                self.sessions.answer(id, Err(Error::new(Code::Unsupported)));
            }
        }
    }

    /// What is in the log must be readable by every member, fit into a message, take no engine for long, and leave other
    /// regions alone. Callers of this member are checked where they call; what another member forwards is checked here.
    /// What is in the log already is not held to a bound again: a member that refused it could not go on.
    fn may_propose(&self, data: &Bytes) -> bool {
        if data.len() > BATCH_BYTES_MAX {
            return false;
        }
        let Ok(Command::Write(write)) = Command::parse(data.clone()) else { return false };
        write.operation_count() <= BATCH_OPERATIONS_MAX
            && write.operations().all(|operation| self.region.owns(operation))
    }

    fn may_accept(&self) -> std::result::Result<(), Code> {
        if !self.is_leader() {
            Err(Code::NotLeader)
        } else if self.is_handing_over() {
            Err(Code::TransferInProgress)
        } else if self.is_behind() || self.fresh.forwarded_bytes() > self.options.limits.forwarded_bytes {
            Err(Code::Overloaded)
        } else {
            Ok(())
        }
    }

    /// What became of writes this member forwarded.
    pub(super) fn on_forward_answer(&mut self, answer: ForwardAnswer) {
        let leader = answer.from;
        let accepts = answer.verdicts.iter().any(|verdict| verdict.outcome.is_ok());
        if accepts && self.cautious_of.take_if(|(refused, _)| *refused == leader).is_some() {
            self.refused_by = None;
        }
        let heard = self.forwarder.on_answer(answer);
        self.answers.extend(heard.answers);
        let Some((term, code)) = heard.over else { return };
        let way = Some((leader, term));
        if code == Refused::TERM_IS_OVER.code {
            self.ended = way;
        } else {
            (self.refused_by, self.cautious_of) = (way, way);
        }
        // Who refuses a write has certainly not accepted it: at its deadline it was certainly not applied.
        heard.retry.iter().for_each(|write| write.completion.undo_start());
        let retry = heard.retry.into_iter().map(Pending::of_caller);
        if self.options.planted.has(Fault::ForwardedRetryOvertakes) {
            retry.for_each(|pending| self.fresh.push(pending));
        } else {
            self.fresh.push_before(retry);
        }
    }

    /// The connection to another member was lost.
    pub(super) fn on_disconnected(&mut self, node: NodeId) {
        if !self.disconnected.contains(&node) {
            self.disconnected.push(node);
        }
        let unknown = self.forwarder.disconnected(node);
        self.answer_all(unknown.into_iter(), Code::LeadershipLost);
    }

    /// There is a connection to another member, perhaps to a new run of it. What its last run sent, and what came of that
    /// after the old connection was lost, is no sign that this one leads.
    pub(super) fn on_connected(&mut self, node: NodeId) {
        self.timer.on_connected(self.ticks);
        self.disconnected.retain(|other| *other != node);
        if self.leader() == Some(node) {
            self.unheard = Some((node, self.term()));
        }
    }

    /// Tells other members what became of the writes they forwarded.
    pub(super) fn answer_followers(&mut self, outcomes: Vec<(RequestId, Result<Position>)>) {
        for (id, outcome) in outcomes {
            self.forwarded_in_flight -= 1;
            self.sessions.answer(id, outcome);
        }
    }
}

/// A write that was never sent. There are no others on a follower.
fn unsent(pending: Pending) -> Propose {
    let Pending { data, deadline, requester: Requester::Caller(completion) } = pending else {
        unreachable!("writes of other members were refused");
    };
    Propose { data, deadline, completion }
}

/// The data of one entry and how many writes it carries.
struct Grouped {
    data: Bytes,
    writes: usize,
}

/// Writes in their order, packed into entries of at most `bytes_max`, and of no more operations than a batch may have; one
/// that is larger stands alone.
fn grouped(writes: &[Pending], bytes_max: usize) -> Vec<Grouped> {
    let mut entries = Vec::new();
    let mut rest = writes;
    while let [first, others @ ..] = rest {
        let (mut bytes, mut operations) = (first.data.len(), operations_of(&first.data) as usize);
        let fits = |pending: &&Pending| {
            bytes += pending.data.len();
            operations += operations_of(&pending.data) as usize;
            bytes <= bytes_max && operations <= BATCH_OPERATIONS_MAX
        };
        let count = 1 + others.iter().take_while(fits).count();
        let (group, after) = rest.split_at(count);
        let data = if count == 1 { first.data.clone() } else { seal_group(group.iter().map(|p| &p.data)) };
        entries.push(Grouped { data, writes: count });
        rest = after;
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::{CommandBuilder, Operation};

    /// Writes of so many operations of three bytes.
    fn pending(operations: &[u32]) -> Vec<Pending> {
        let write = |(number, &count): (u64, &u32)| {
            let mut builder = CommandBuilder::default();
            (0..count).for_each(|_| builder.push(Operation::Put { key: b"", value: b"" }));
            let id = RequestId { node: NodeId(2), boot_nonce: 42, session: 1, number };
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
