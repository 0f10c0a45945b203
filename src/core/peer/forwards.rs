//! Writes that are proposed by another member than the one whose caller waits.
//!
//! Owns both sides of it: a follower's way to its leader, and what a leader takes from followers. What always holds:
//! writes leave for the leader in the order in which they arrived here; what certainly is in no log goes again before
//! anything newer; nothing leaves in a term while something of an older one may still be in the log, be it forwarded or
//! this member's own proposal; a leader proposes in the term in which it accepted, or never.

use std::cell::Cell;

use bytes::Bytes;

use super::Peer;
use super::options::MESSAGE_BYTES_MAX;
use crate::completion::Position;
use crate::core::command::Command;
use crate::core::forwarder::{Heard, OVERHEAD_BYTES, Route};
use crate::core::forwarding::{Forward, ForwardAnswer, RequestId};
use crate::core::input::Propose;
use crate::core::pending::Pending;
use crate::core::planted::{self, Fault};
use crate::core::ports::Body;
use crate::core::proposals::{Overwritten, Requester};
use crate::core::region::Region;
use crate::error::{Code, Result};
use crate::time::Timestamp;
use crate::types::NodeId;
use crate::types::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};

/// A leader is asked after what it did not answer for this many heartbeats.
const ASK_HEARTBEATS: u32 = 4;

/// How much goes to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As much as the window takes.
    Window,
    /// One message a tick, until it accepts one, and one has left since the last tick: to send all again would bury a
    /// leader that is behind.
    Paused(Route),
    /// The same, and none has left since.
    OneMessage(Route),
}

impl Peer {
    /// With a fault planted, what was sent goes again too early: as soon as another leader is known, or as an entry of a later
    /// term is in this member's log, though that may go.
    pub(super) fn pass_fence_too_early(&mut self) {
        let in_log = || self.raw.raft.raft_log.last_term() > self.forwarder.term().get();
        let early = planted::has(Fault::ResentBeforeTheFence) && self.leader().is_some()
            || planted::has(Fault::FenceFromAnUncommittedEntry) && in_log();
        if early && self.forwarder.awaits_fence(self.term()) {
            let heard = self.forwarder.pass_fence();
            self.take_heard(heard);
        }
    }

    /// Whether something that was sent or proposed in an older term may be in the log. Newer writes wait for it: terms never
    /// fall in a log, so this member's first applied entry of this term shows what is in it.
    /// Also for what this member's applier has yet to answer, so that another leader answers nothing newer before.
    pub(super) fn awaits_fence(&self) -> bool {
        let term = self.term();
        let is_unanswered = self.last_own.1 < term && self.last_own.0 > self.lease.published().answered();
        is_unanswered || self.forwarder.awaits_fence(term) || self.proposals.awaits_fence(term)
    }

    pub(super) fn forward_fresh(&mut self, leader: NodeId) {
        let reachable = !self.disconnected.contains(&leader);
        self.refuse_late(if reachable { Code::DeadlineBeforeStart } else { Code::NoLeader });
        let route = Route { leader, term: self.term() };
        self.pass_fence_too_early();
        if !reachable || self.awaits_fence() {
            return;
        }
        // The rest waits for answers; until then it is certainly in no log.
        while !self.fresh.is_empty() && self.may_send(route) {
            let room = self.options.forward_window_bytes.saturating_sub(self.forwarder.weight(route));
            if room == 0 {
                return;
            }
            let writes = self.fresh.take_some(room.min(MESSAGE_BYTES_MAX as usize), OVERHEAD_BYTES);
            let writes: Vec<_> = writes.into_iter().filter_map(unsent).collect();
            if writes.is_empty() {
                // The callers of all that waited were answered.
                return;
            }
            let forward = self.forwarder.forward(writes, route, self.now);
            self.outgoing.push(self.dress(Body::Forward(forward)));
            if self.pace == Pace::OneMessage(route) {
                self.pace = Pace::Paused(route);
            }
        }
    }

    fn may_send(&self, route: Route) -> bool {
        match self.pace {
            Pace::Window | Pace::OneMessage(_) => true,
            Pace::Paused(paused) => paused != route,
        }
    }

    /// A tick is over: a leader that is behind gets another message.
    pub(super) fn go_on_forwarding(&mut self) {
        if let Pace::Paused(route) = self.pace {
            self.pace = Pace::OneMessage(route);
        }
        let silence = self.options.tick * (self.options.heartbeat_ticks as u32 * ASK_HEARTBEATS);
        self.ask_leader(self.now - silence);
    }

    /// Asks the leader whether it has everything, when something was sent before `sent_before` and is undecided.
    fn ask_leader(&mut self, sent_before: Timestamp) {
        let Some(leader) = self.leader().filter(|leader| !self.disconnected.contains(leader)) else { return };
        let route = Route { leader, term: self.term() };
        if let Some(question) = self.forwarder.ask(route, sent_before, self.now) {
            self.outgoing.push(self.dress(Body::Forward(question)));
        }
    }

    /// What became of writes that this member forwarded.
    pub(super) fn on_forward_answer(&mut self, answer: &ForwardAnswer) {
        let accepts = answer.verdicts.iter().any(|verdict| verdict.outcome.is_ok());
        if let Pace::Paused(route) | Pace::OneMessage(route) = self.pace
            && accepts
            && route.leader == answer.from
        {
            self.pace = Pace::Window;
        }
        let heard = self.forwarder.on_answer(answer);
        self.take_heard(heard);
    }

    /// This member has applied entries with these writes of its own callers, up to one of the term in its apply state.
    pub(super) fn on_own_applied(&mut self, own: Vec<(u64, Result<Position>)>) {
        if self.forwarder.is_empty() {
            return;
        }
        let heard = self.forwarder.on_applied(own, self.applied.term);
        self.take_heard(heard);
    }

    pub(super) fn take_heard(&mut self, heard: Heard) {
        self.answers.extend(heard.answers);
        if let Some((route, code)) = heard.refused
            && code != Code::Unsupported
        {
            self.pace = Pace::Paused(route);
        }
        if !heard.again.is_empty() {
            self.take_again(heard.again.into_iter().map(Pending::of_caller).collect());
        }
    }

    /// Writes that certainly are in no log go again, before anything newer.
    pub(super) fn take_again(&mut self, again: Vec<Pending>) {
        for pending in &again {
            if let Requester::Caller(completion) = &pending.requester {
                // At its deadline it is certainly not applied, unless it is on its way again.
                completion.undo_start();
            }
        }
        self.has_again |= !again.is_empty();
        if planted::has(Fault::ForwardedRetryOvertakes) {
            again.into_iter().for_each(|pending| self.fresh.push(pending));
        } else {
            self.fresh.push_before(again.into_iter());
        }
    }

    /// Other leaders' entries took the places of these: they certainly are in no log.
    pub(super) fn take_overwritten(&mut self, overwritten: Vec<Overwritten>) {
        let (own, theirs): (Vec<_>, Vec<_>) =
            overwritten.into_iter().partition(|it| matches!(it.requester, Requester::Caller(_)));
        // Their members find out by themselves.
        self.forwarded_in_flight -= theirs.len() as u64;
        if planted::has(Fault::OverwrittenWriteAnswered) {
            for Overwritten { requester, .. } in theirs {
                if let Requester::Follower(id) = requester {
                    self.attempts.answer(id, Ok(Position::default()));
                }
            }
        }
        self.take_again(own.into_iter().map(Pending::of_overwritten).collect());
    }

    /// The connection to another member was lost. What was sent on it is undecided, and stays so.
    pub(super) fn on_disconnected(&mut self, node: NodeId) {
        if !self.disconnected.contains(&node) {
            self.disconnected.push(node);
        }
    }

    /// There is a connection to another member. What was sent on the last one may be lost.
    pub(super) fn on_connected(&mut self, node: NodeId) {
        self.timer.on_connected(self.ticks);
        self.disconnected.retain(|other| *other != node);
        if self.leader() == Some(node) {
            self.ask_leader(Timestamp::NEVER);
        }
    }

    /// Writes of a follower's callers.
    pub(super) fn on_forward(&mut self, forward: Forward) {
        let Some(count) = self.count_of_boot(forward.from, forward.boot) else {
            // Nobody waits for it, or it is not whose it says.
            self.refused_messages += 1;
            return;
        };
        let willing = self.may_accept();
        let (region, unfit) = (&self.region, Cell::new(false));
        let accepted = self.attempts.accept(forward, count, willing, |data| {
            let is_fit = may_propose(region, data);
            unfit.set(unfit.get() || !is_fit);
            is_fit
        });
        self.refused_messages += u64::from(unfit.get());
        self.forwarded_in_flight += accepted.len() as u64;
        accepted.into_iter().for_each(|(id, data)| self.fresh.push(Pending::of_follower(id, data)));
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

    /// The term in which writes of followers were accepted is over. None that still waits is proposed: their members find
    /// that they are in no log.
    pub(super) fn drop_forwarded(&mut self) {
        self.attempts.begin_term(None);
        if !planted::has(Fault::ProposedInALaterTerm) {
            self.forwarded_in_flight -= self.fresh.take_of_followers().len() as u64;
        }
    }

    /// Tells other members what became of the writes they forwarded.
    pub(super) fn answer_followers(&mut self, outcomes: Vec<(RequestId, Result<Position>)>) {
        for (id, outcome) in outcomes {
            self.forwarded_in_flight -= 1;
            self.attempts.answer(id, outcome);
        }
    }
}

/// What is in the log must be readable by every member, fit into a message, take no engine for long, and leave other
/// regions alone. Callers of this member are checked where they call; what another member forwards is checked here. What is
/// in the log already is not held to a bound again: a member that refused it could not go on.
fn may_propose(region: &Region, data: &Bytes) -> bool {
    if data.len() > BATCH_BYTES_MAX {
        return false;
    }
    let Ok(Command::Write(write)) = Command::parse(data.clone()) else { return false };
    write.operation_count() <= BATCH_OPERATIONS_MAX
        && write.operations().all(|operation| region.owns(operation))
}

/// A write of a caller of this member. There are no others on a follower, unless a fault is planted.
fn unsent(pending: Pending) -> Option<Propose> {
    let Pending { data, deadline, requester: Requester::Caller(completion), .. } = pending else {
        return None;
    };
    Some(Propose { data, deadline, completion })
}
