//! A peer's writes: into its own log while it leads, to the leader while it follows.
//!
//! Owns the writes that wait to be proposed and the way of forwarded ones. What always holds: writes enter the log, or
//! leave for the leader, in the order in which they arrived here; what comes back refused goes before anything newer;
//! a write is refused only while it is certainly in no log.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

use super::options::MESSAGE_BYTES_MAX;
use super::{Peer, tell};
use crate::completion::{Position, WriteEvent};
use crate::core::command::{Command, seal_group};
use crate::core::forwarding::{Forward, ForwardAnswer, RequestId};
use crate::core::input::Propose;
use crate::core::planted::Fault;
use crate::core::ports::Body;
use crate::core::proposals::{Proposal, Request, Requester};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId};

/// Bytes of writes that one round proposes, unless a single one is larger: what a slow disk syncs well within an
/// election timeout, so that heartbeats get their turn in between.
const PROPOSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of forwarded writes that may wait here to be proposed; more are refused.
const FORWARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A forwarding follower asks after what was not answered for this many heartbeats.
const PROBE_HEARTBEATS: u32 = 4;

/// A write that is in no log yet.
#[derive(Debug)]
pub struct Pending {
    data: Bytes,
    deadline: Timestamp,
    pub(super) requester: Requester,
}

impl Pending {
    pub(super) fn of_caller(propose: Propose) -> Self {
        let Propose { data, deadline, completion } = propose;
        Self { data, deadline, requester: Requester::Caller(completion) }
    }

    /// Its member watches the deadline.
    fn of_follower(id: RequestId, data: Bytes) -> Self {
        Self { data, deadline: Timestamp::NEVER, requester: Requester::Follower(id) }
    }
}

impl Peer {
    /// True when writes wait only because the last round had its fill of them.
    #[must_use]
    pub fn has_more_to_propose(&self) -> bool {
        self.is_leader() && !self.is_handing_over() && !self.fresh.is_empty()
    }

    /// Proposes or forwards this round's writes, or lets them wait for a leader.
    pub(super) fn dispatch_fresh(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        match self.leader() {
            _ if self.is_leader() && !self.is_handing_over() => self.propose_fresh(),
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
        let now = self.now;
        if !self.fresh.iter().any(|pending| pending.deadline <= now) {
            return;
        }
        let late: Vec<_> = self.fresh.extract_if(.., |pending| pending.deadline <= now).collect();
        self.refuse(late, &Error::new(code));
    }

    /// Writes of other members wait only where they can be proposed.
    fn refuse_followers(&mut self) {
        if self.is_leader() {
            return;
        }
        let of_follower = |pending: &mut Pending| matches!(pending.requester, Requester::Follower(_));
        let theirs: Vec<_> = self.fresh.extract_if(.., of_follower).collect();
        self.refuse(theirs, &Error::new(Code::NotLeader));
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
    fn propose_fresh(&mut self) {
        self.refuse_late(Code::DeadlineBeforeStart);
        if self.is_behind() {
            let all = std::mem::take(&mut self.fresh);
            return self.refuse(all, &Error::with_detail(Code::Overloaded, "the engine is behind"));
        }
        let mut bytes = 0;
        let full = |pending: &Pending| {
            bytes += pending.data.len();
            bytes > PROPOSE_BYTES_MAX
        };
        let fits = self.fresh.iter().position(full).unwrap_or(self.fresh.len()).max(1);
        let rest = self.fresh.split_off(fits.min(self.fresh.len()));
        let fresh = std::mem::replace(&mut self.fresh, rest);
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
            let rest = std::mem::take(&mut self.fresh);
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
        if self.refused_by == Some((leader, term)) || !reachable {
            return;
        }
        let mut writes = Vec::new();
        let mut bytes = 0;
        for pending in std::mem::take(&mut self.fresh) {
            let Requester::Caller(completion) = pending.requester else { unreachable!("refused above") };
            if bytes > 0 && bytes + pending.data.len() > MESSAGE_BYTES_MAX as usize {
                let forward = self.forwarder.forward(std::mem::take(&mut writes), leader, term, now);
                self.outgoing.push(self.dress(Body::Forward(forward)));
                bytes = 0;
            }
            bytes += pending.data.len();
            writes.push(Propose { data: pending.data, deadline: pending.deadline, completion });
        }
        if !writes.is_empty() {
            let forward = self.forwarder.forward(writes, leader, term, now);
            self.outgoing.push(self.dress(Body::Forward(forward)));
        }
    }

    /// Asks after forwarded writes of which nothing was heard for long.
    pub(super) fn probe_session(&mut self) {
        let patience = self.options.tick * (self.options.heartbeat_ticks as u32 * PROBE_HEARTBEATS);
        if let Some(probe) = self.forwarder.probe(self.now - patience, self.now) {
            self.outgoing.push(self.dress(Body::Forward(probe)));
        }
    }

    /// Writes of a follower's callers.
    pub(super) fn on_forward(&mut self, forward: Forward) {
        // What is in the log must be readable by every member.
        if !forward.writes.iter().all(|data| matches!(Command::parse(data.clone()), Ok(Command::Write(_)))) {
            self.refused_messages += 1;
            return;
        }
        let willing = self.may_accept();
        let accepted = self.sessions.accept(forward, willing);
        self.forwarded_in_flight += accepted.len() as u64;
        self.fresh.extend(accepted.into_iter().map(|(id, data)| Pending::of_follower(id, data)));
    }

    fn may_accept(&self) -> std::result::Result<(), Code> {
        let waiting = || self.fresh.iter().map(|pending| pending.data.len()).sum::<usize>();
        if !self.is_leader() {
            Err(Code::NotLeader)
        } else if self.is_handing_over() {
            Err(Code::TransferInProgress)
        } else if self.is_behind() || waiting() > FORWARDED_BYTES_MAX {
            Err(Code::Overloaded)
        } else {
            Ok(())
        }
    }

    /// What became of writes this member forwarded.
    pub(super) fn on_forward_answer(&mut self, answer: ForwardAnswer) {
        let leader = answer.from;
        let heard = self.forwarder.on_answer(answer);
        self.answers.extend(heard.answers);
        if heard.retry.is_empty() {
            return;
        }
        self.refused_by = Some((leader, self.term()));
        let retry = heard.retry.into_iter().map(Pending::of_caller);
        if self.options.planted.has(Fault::ForwardedRetryOvertakes) {
            self.fresh.extend(retry);
        } else {
            self.fresh.splice(0..0, retry);
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

    /// Tells other members what became of the writes they forwarded.
    pub(super) fn answer_followers(&mut self, outcomes: Vec<(RequestId, Result<Position>)>) {
        for (id, outcome) in outcomes {
            self.forwarded_in_flight -= 1;
            self.sessions.answer(id, outcome);
        }
    }
}

/// The data of one entry and how many writes it carries.
struct Grouped {
    data: Bytes,
    writes: usize,
}

/// Writes in their order, packed into entries of at most `bytes_max`; one that is larger stands alone.
fn grouped(writes: &[Pending], bytes_max: usize) -> Vec<Grouped> {
    let mut entries = Vec::new();
    let mut rest = writes;
    while let [first, others @ ..] = rest {
        let mut bytes = first.data.len();
        let fits = |pending: &&Pending| {
            bytes += pending.data.len();
            bytes <= bytes_max
        };
        let count = 1 + others.iter().take_while(fits).count();
        let (group, after) = rest.split_at(count);
        let data = if count == 1 { first.data.clone() } else { seal_group(group.iter().map(|p| &p.data)) };
        entries.push(Grouped { data, writes: count });
        rest = after;
    }
    entries
}
