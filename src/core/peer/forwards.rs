//! Writes that are proposed by another member than the one whose caller waits.
//!
//! Owns both sides of it: a follower's way to its leader, and what a leader takes from followers. What always holds:
//! writes leave for the leader in the order in which they arrived here; what was sent before, or certainly is in no log,
//! goes again before anything newer; nothing newer leaves in a term while something of an older one may be in the log and
//! is not on its way to the leader of that term, be it forwarded or this member's own proposal; a leader proposes in the
//! term in which it accepted, or never.
//!
//! A member sends its writes already to the candidate that it votes for, so that they are there when it is elected. The
//! candidate keeps them until then ([`EarlyForwards`](crate::core::forwarding::early)).

use std::cell::Cell;

use bytes::Bytes;
use raft::eraftpb::Entry;
use raft::{GetEntriesContext, RaftLog, StateRole};

use super::Peer;
use super::options::MESSAGE_BYTES_MAX;
use crate::completion::Reply;
use crate::core::caller_write::CallerWrite;
use crate::core::command::Command;
use crate::core::forwarding::forwarder::{Heard, OVERHEAD_BYTES, Route};
use crate::core::forwarding::{Forward, ForwardAnswer, RequestId, Resend, search};
use crate::core::log::PeerLog;
use crate::core::pending::Pending;
use crate::core::planted::{self, Fault};
use crate::core::ports::Body;
use crate::core::proposals::{Overwritten, Requester};
use crate::core::region::Region;
use crate::error::{Code, Result};
use crate::time::Timestamp;
use crate::types::{BATCH_BYTES_MAX, BOOTSTRAP_REGION, LogIndex, MEMBERS_LEVEL, NodeId};

/// A member whose log is farther behind finds its writes as fast by itself.
const SEARCHED_ENTRIES_MAX: u64 = 16_384;

/// A refusal because of that. There is no error code for it, and callers see none: their member waits for the fence.
const TOO_FAR: Code = Code::NotLeader;

/// What a leader forwards to itself is of this boot.
const OWN_BOOT_COUNT: u64 = 0;

/// A leader is asked after what it did not answer for this many heartbeats.
const ASK_HEARTBEATS: u32 = 4;

impl Peer {
    /// With a fault planted, what was sent goes again too early: as soon as another leader is known, or as an entry of
    /// a later term is in this member's log, though that may go.
    pub(super) fn pass_fence_by_fault(&mut self) {
        let in_log = || self.raw.raft.raft_log.last_term() > self.writes.forwarder.term().get();
        let early = planted::has(Fault::ResentBeforeTheFence) && self.leader().is_some()
            || planted::has(Fault::FenceFromAnUncommittedEntry) && in_log();
        if early && self.writes.forwarder.awaits_fence(self.term()) {
            let heard = self.writes.forwarder.pass_fence_by_fault();
            self.act_on_heard(heard);
        }
    }

    /// Whether something that was sent or proposed in an older term may be in the log. Newer writes wait for it: terms
    /// never fall in a log, so this member's first applied entry of a later term shows what is in it. Also for what
    /// this member's applier has yet to answer, so that another leader answers nothing newer before; and a leader's own for
    /// what it has [taken from itself](Self::resend_to_itself), so that its applier answers nothing newer before.
    pub(super) fn awaits_fence(&self) -> bool {
        let term = self.term();
        let is_unanswered = self.writes.last_committed_own.1 < term
            && self.writes.last_committed_own.0 > self.reading.lease.published().answered();
        let has_taken = self.is_leader() && self.writes.forwarder.waits();
        is_unanswered
            || has_taken
            || self.writes.forwarder.awaits_fence(term)
            || self.writes.proposals.awaits_fence(term)
    }

    /// Where writes go, if this member does not lead: to the leader, or to the candidate that it votes for.
    pub(super) fn route(&self) -> Option<Route> {
        let term = self.term();
        let candidate = || self.leadership.candidate.filter(|_| self.may_resend());
        self.leader().or_else(candidate).map(|leader| Route { leader, term })
    }

    /// Whether something that was sent before is to be sent again, to another leader.
    pub(super) fn has_to_resend(&self) -> bool {
        self.route().is_some_and(|route| self.writes.forwarder.has_to_turn_to(route))
    }

    /// Whether all members know what a resend is, and keep what a candidate is sent.
    fn may_resend(&self) -> bool {
        self.region.level >= MEMBERS_LEVEL
    }

    pub(super) fn forward_pending(&mut self, route: Route) {
        assert_ne!(route.leader, self.options.node, "a leader proposes");
        let reachable = self.connections.is_up(route.leader);
        let is_elected = self.leader().is_some();
        self.refuse_late(if reachable && is_elected { Code::DeadlineBeforeStart } else { Code::NoLeader });
        self.pass_fence_by_fault();
        if !reachable {
            return;
        }
        self.resend(route);
        if self.awaits_fence() {
            return;
        }
        // The rest waits for answers; until then it is certainly in no log.
        while !self.writes.pending.is_empty() && self.writes.forwarder.may_send(route) {
            let room = self.options.forward_window_bytes.saturating_sub(self.writes.forwarder.weight());
            if room == 0 {
                return;
            }
            let writes = self.writes.pending.start_some(room.min(MESSAGE_BYTES_MAX as usize), OVERHEAD_BYTES);
            let writes: Vec<_> = writes.into_iter().filter_map(into_caller_write).collect();
            if writes.is_empty() {
                // The callers of all that waited were answered.
                return;
            }
            let forward = self.writes.forwarder.forward(writes, self.now);
            self.outbox.queue([self.addressed(Body::Forward(forward))]);
        }
    }

    /// Sends again what was sent to other leaders and is undecided, before anything newer.
    fn resend(&mut self, route: Route) {
        self.turn_to(route);
        if self.may_resend() {
            let resent = self.resent().into_iter().map(|it| self.addressed(Body::Forward(it)));
            let resent: Vec<_> = resent.collect();
            self.outbox.queue(resent);
        }
    }

    /// A leader takes what it sent to others when they led, and is undecided, as if it were another member's. Nothing of its
    /// own is proposed meanwhile: the applier answers that at once, and what is forwarded only after its report.
    pub(super) fn resend_to_itself(&mut self) {
        let route = Route { leader: self.options.node, term: self.term() };
        assert!(self.is_leader(), "others have somebody to send it to");
        let may_resend = self.may_resend() && self.may_accept().is_ok();
        if !self.writes.forwarder.has_to_turn_to(route) || !may_resend {
            return;
        }
        self.turn_to(route);
        for forward in self.resent() {
            self.accept(forward, OWN_BOOT_COUNT);
        }
        for answer in self.writes.attempts.take_answers_to(self.options.node) {
            self.on_forward_answer(&answer);
        }
    }

    fn turn_to(&mut self, route: Route) {
        let heard = self.writes.forwarder.turn_to(route, self.leader().is_some());
        self.act_on_heard(heard);
        // What that gives back goes in this round.
        self.writes.has_again = false;
    }

    fn resent(&mut self) -> Vec<Forward> {
        let bytes_max = MESSAGE_BYTES_MAX as usize;
        self.writes.forwarder.resend(self.apply.index(), bytes_max, self.now)
    }

    /// A tick has passed: a leader that is behind may get another message, and is asked about what it never answered.
    pub(super) fn go_on_forwarding(&mut self) {
        self.writes.forwarder.on_tick();
        if self.writes.forwarder.is_empty() {
            return;
        }
        let silence = self.options.tick * (self.options.heartbeat_ticks as u32 * ASK_HEARTBEATS);
        self.ask_leader(self.now - silence);
    }

    /// Asks the leader whether it has everything, when something was sent before `sent_before` and is undecided.
    pub(super) fn ask_leader(&mut self, sent_before: Timestamp) {
        let is_asked = |leader: &NodeId| *leader != self.options.node && self.connections.is_up(*leader);
        let Some(leader) = self.leader().filter(is_asked) else { return };
        let route = Route { leader, term: self.term() };
        if let Some(question) = self.writes.forwarder.ask(route, sent_before, self.now) {
            self.outbox.queue([self.addressed(Body::Forward(question))]);
        }
    }

    /// What became of writes that this member forwarded.
    pub(super) fn on_forward_answer(&mut self, answer: &ForwardAnswer) {
        assert_eq!(answer.to, self.options.node, "it was checked whose answer this is");
        let heard = self.writes.forwarder.on_answer(answer);
        self.act_on_heard(heard);
    }

    /// This member has applied entries with these writes of its own callers, up to one of the term in its apply state.
    pub(super) fn on_own_applied(&mut self, own: Vec<(u64, Result<Reply>)>) {
        if self.writes.forwarder.is_empty() {
            return;
        }
        let heard = self.writes.forwarder.on_applied(own, self.apply.term());
        self.act_on_heard(heard);
    }

    pub(super) fn act_on_heard(&mut self, heard: Heard) {
        self.answers.extend(heard.answers);
        if !heard.again.is_empty() {
            self.requeue(heard.again.into_iter().map(Pending::of_caller).collect());
        }
    }

    /// Writes that certainly are in no log go again, before anything newer.
    pub(super) fn requeue(&mut self, again: Vec<Pending>) {
        for pending in &again {
            let Requester::Caller(completion) = &pending.requester else {
                unreachable!("what others forwarded is theirs to send again");
            };
            // At its deadline it is certainly not applied, unless it is on its way again.
            completion.undo_start();
        }
        self.writes.has_again |= !again.is_empty();
        if planted::has(Fault::ForwardedRetryOvertakes) {
            again.into_iter().for_each(|pending| self.writes.pending.push(pending));
        } else {
            self.writes.pending.push_before(again.into_iter());
        }
    }

    /// Other leaders' entries took the places of these: they certainly are in no log.
    pub(super) fn requeue_overwritten(&mut self, overwritten: Vec<Overwritten>) {
        let (own, theirs): (Vec<_>, Vec<_>) =
            overwritten.into_iter().partition(|it| matches!(it.requester, Requester::Caller(_)));
        if planted::has(Fault::OverwrittenWriteAnswered) {
            for Overwritten { requester, .. } in theirs {
                if let Requester::Follower(id) = requester {
                    self.writes.attempts.answer(id, Ok(Reply::default()));
                }
            }
        } else {
            self.writes.attempts.forget(theirs.len());
        }
        self.requeue(own.into_iter().map(Pending::of_overwritten).collect());
    }

    /// Writes of a follower's callers.
    pub(super) fn on_forward(&mut self, forward: Forward) {
        let Some(count) = self.connections.boot_count(forward.from, forward.boot) else {
            // Nobody waits for it, or its sender is not who it claims to be.
            self.incoming.refused += 1;
            return;
        };
        if self.raw.raft.state == StateRole::Candidate && forward.term == self.term() {
            return self.writes.early.keep(forward, self.options.forward_window_bytes);
        }
        self.accept(forward, count);
    }

    /// Takes writes of a member's boot number `count`, if this member leads.
    fn accept(&mut self, forward: Forward, count: u64) {
        let willing = self.may_accept();
        let (region, unfit) = (&self.region, Cell::new(false));
        // Its member has applied what this one has in its log, and not applied yet.
        let is_early = !forward.writes.iter().all(|data| self.knows_write(data));
        let willing = if is_early { Err(Code::Overloaded) } else { willing };
        let (log, began_at, applied) =
            (&self.raw.raft.raft_log, self.leadership.began_at, self.apply.index());
        let is_fit = |data: &Bytes| {
            let is_fit = may_propose(region, data);
            unfit.set(unfit.get() || !is_fit);
            is_fit
        };
        let search = |origin, resend: Resend| {
            if planted::has(Fault::ResendWithoutASearch) {
                return Ok(Vec::new());
            }
            let is_cut = planted::has(Fault::SearchAboveTheApplied);
            let above = if is_cut { resend.above.max(applied) } else { resend.above };
            let entries = entries_between(log, above, began_at).ok_or(TOO_FAR)?;
            search::numbers_in(&entries, origin, resend.first).ok_or(TOO_FAR)
        };
        let accepted = self.writes.attempts.accept(forward, count, willing, is_fit, search);
        assert!(accepted.is_empty() || self.is_leader(), "only a leader accepts");
        self.incoming.refused += u64::from(unfit.get());
        accepted.into_iter().for_each(|(id, data)| self.writes.pending.push(Pending::of_follower(id, data)));
    }

    /// This member leads: takes what it was sent as a candidate.
    pub(super) fn take_early_forwards(&mut self) {
        assert!(self.is_leader(), "a candidate keeps them");
        self.writes.early.take().into_iter().for_each(|forward| self.on_forward(forward));
    }

    /// Whether a leader accepts writes of followers now. A member that does not lead is not asked: `Attempts::accept`
    /// drops what it is sent.
    fn may_accept(&self) -> std::result::Result<(), Code> {
        if self.is_handing_over() {
            Err(Code::TransferInProgress)
        } else if self.is_behind()
            || self.must_wait_for_helped()
            || self.writes.pending.forwarded_bytes() > self.options.limits.forwarded_bytes
        {
            Err(Code::Overloaded)
        } else {
            Ok(())
        }
    }

    /// The term in which writes of followers were accepted is over. None that still waits is proposed: their members
    /// find that they are in no log.
    pub(super) fn drop_forwarded(&mut self) {
        self.writes.attempts.begin_term(None);
        if !planted::has(Fault::ProposedInALaterTerm) {
            self.writes.attempts.forget(self.writes.pending.take_of_followers().len());
            assert_eq!(self.writes.pending.forwarded_bytes(), 0, "nothing of an older term is proposed");
        }
    }

    /// Tells other members what became of the writes they forwarded.
    pub(super) fn answer_followers(&mut self, outcomes: Vec<(RequestId, Result<Reply>)>) {
        let in_flight = self.writes.attempts.in_flight();
        assert!(outcomes.len() as u64 <= in_flight, "what is answered was accepted");
        for (id, outcome) in outcomes {
            if id.origin.node == self.options.node {
                // It finds it in its log.
                self.writes.attempts.forget(1);
            } else {
                self.writes.attempts.answer(id, outcome);
            }
        }
    }
}

/// The entries between these two, if there are not too many to look through at once and all are in memory.
fn entries_between(log: &RaftLog<PeerLog>, above: LogIndex, below: LogIndex) -> Option<Vec<Entry>> {
    // A leader has all that a member has applied, and an entry of its own behind that.
    let count = below.get().checked_sub(above.get())?.checked_sub(1)?;
    let is_near = count <= SEARCHED_ENTRIES_MAX && log.store.first_cached() <= above.next();
    if count == 0 || !is_near {
        return is_near.then(Vec::new);
    }
    let found = log.slice(above.next().get(), below.get(), None, GetEntriesContext::empty(false)).ok()?;
    assert_eq!(found.len() as u64, count, "what begins in memory is there up to its end");
    Some(found)
}

/// What is in the log must be readable by every member, fit into a message, take no engine for long, and leave other
/// regions alone. Callers of this member are checked where they call; what another member forwards is checked here.
/// What is in the log already is not held to a bound again: a member that refused it could not go on.
fn may_propose(region: &Region, data: &Bytes) -> bool {
    if data.len() > BATCH_BYTES_MAX {
        return false;
    }
    match Command::parse(data.clone()) {
        Ok(Command::Write(write)) => {
            let is_empty = write.operation_count() == 0;
            let owns_all = || write.operations().all(|operation| region.owns(operation));
            !is_empty && write.weight().fits_an_entry() && owns_all()
        }
        Ok(Command::Members(_)) => region.id == BOOTSTRAP_REGION,
        _ => false,
    }
}

/// A write of a caller of this member. There are no others on a follower, unless a fault is planted.
fn into_caller_write(pending: Pending) -> Option<CallerWrite> {
    let Pending { data, deadline, requester: Requester::Caller(completion), was_proposed } = pending else {
        return None;
    };
    Some(CallerWrite { data, deadline, completion, was_proposed })
}
