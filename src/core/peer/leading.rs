//! A peer that gains, loses or hands over leadership.
//!
//! Owns what follows from a change of role, and transfers. What always holds: a lease ends with the leadership it
//! belongs to, in the round in which it ends; proposals outlive it.

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{INVALID_ID, Progress, ProgressState, StateRole};

use super::moving::Moving;
use super::sending::Sending;
use super::{Peer, callers};
use crate::completion::Reply;
use crate::core::planted::{self, Fault};
use crate::core::proposals::Proposal;
use crate::core::transfer::{CurrentLeader, Transfer, TransferRequest};
use crate::core::windows::Windows;
use crate::error::{Code, Error};
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId, Term};

/// A member that lacks more entries than this is no good leader to be.
const LAG_ENTRIES_MAX: u64 = 10_000;

/// Who leads, as a peer last noticed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenLeader {
    pub(super) term: Term,
    /// This peer leads.
    pub(super) leads: bool,
    pub(super) leader: Option<NodeId>,
}

/// What a peer keeps of leadership.
pub(super) struct Leadership {
    /// Set while only a tick or a heartbeat can bring this peer something to do: nothing waits and nothing is under way.
    pub(super) rests: bool,
    /// The peer does not rest on the next tick, although it has no part in this round.
    pub(super) looks_again: bool,
    pub(super) seen: SeenLeader,
    /// For whom this member has voted in this term, while it follows nobody and does not want to lead itself.
    pub(super) candidate: Option<NodeId>,
    /// A leader was known since this member last had a candidate. One that does not win leaves what it was sent unknown
    /// until there is a leader, so only one is sent anything.
    may_send_early: bool,
    /// The newest term of which a leader was known: nobody else leads in it.
    led_in: Term,
    /// Where the first entry of this member's newest leadership stands.
    pub(super) began_at: LogIndex,
    /// No write was proposed yet in this leadership.
    pub(super) may_hurry: bool,
    /// This member may have followed a leader right before it started.
    pub(super) voted_before: bool,
    /// The transfer that somebody asked for and waits for.
    pub(super) transfer: Option<Transfer>,
    /// What this leader has under way to the others.
    pub(super) windows: Windows,
    /// The last term in which it has proposed to raise the feature level.
    pub(super) raised_in: Term,
    /// Members that are far behind; also what is to be done about raft snapshots by a member that does not lead.
    pub(super) sending: Sending,
    /// How far the region follows the list of members.
    pub(super) moving: Moving,
}

impl Leadership {
    pub(super) fn new(seen: SeenLeader, voted_before: bool, windows: Windows) -> Self {
        Self {
            rests: false,
            looks_again: false,
            seen,
            candidate: None,
            may_send_early: true,
            led_in: Term(0),
            began_at: LogIndex(0),
            may_hurry: false,
            voted_before,
            transfer: None,
            windows,
            raised_in: Term(0),
            sending: Sending::default(),
            moving: Moving::default(),
        }
    }
}

impl Peer {
    /// This member may have voted for `candidate`.
    pub(super) fn notice_vote(&mut self, candidate: NodeId) {
        let raft = &self.raw.raft;
        let has_voted = raft.vote == candidate.get() && raft.leader_id == INVALID_ID;
        // A late question of a candidate that has lost would make this member forget who has won.
        let may_win = Term(raft.term) > self.leadership.led_in || planted::has(Fault::LosersAreSentWrites);
        if has_voted && may_win && std::mem::take(&mut self.leadership.may_send_early) {
            self.leadership.candidate = Some(candidate);
        }
    }

    /// To be called after everything that can change raft's term or role.
    pub(super) fn notice_leadership(&mut self) {
        self.timer.redraw(&mut self.raw.raft);
        let raft = &self.raw.raft;
        let is_open = raft.state == StateRole::Follower && raft.leader_id == INVALID_ID;
        self.leadership.candidate.take_if(|candidate| !is_open || raft.vote != candidate.get());
        if !matches!(raft.state, StateRole::Candidate | StateRole::Leader)
            || self.leadership.seen.term != self.term()
        {
            self.writes.early.take();
        }
        let before = self.leadership.seen;
        let seen = SeenLeader { term: self.term(), leads: self.is_leader(), leader: self.leader() };
        if seen == before {
            return;
        }
        assert!(seen.term >= before.term, "terms never fall");
        self.leadership.seen = seen;
        let is_same = (seen.term, seen.leads) == (before.term, before.leads);
        if seen.term != before.term {
            self.incoming.held.clear();
        }
        if before.leads && !is_same {
            self.on_leadership_lost();
        }
        if seen.leads && !is_same {
            self.on_leadership_won();
        }
        if seen.leader.is_some() {
            (self.leadership.may_send_early, self.leadership.led_in) = (true, seen.term);
        }
        if !seen.leads && seen.leader.is_some() {
            // What was asked while nobody led was asked of nobody. What was sent to the leader when it was a candidate may
            // have been lost.
            self.ask_again(self.now);
            self.ask_leader(Timestamp::NEVER);
        }
    }

    fn on_leadership_won(&mut self) {
        assert!(self.lost_end.is_none() || planted::is_any(), "who lacks the end of its log never leads");
        assert!(!self.is_installing() || planted::is_any(), "who takes in a snapshot never leads");
        assert_eq!(
            self.raw.raft.raft_log.last_term(),
            self.raw.raft.term,
            "raft has appended its first entry"
        );
        assert!(!self.reading.lease.is_valid(self.now), "a lease begins after its leadership");
        self.begin_helping();
        self.forget_heard();
        self.writes.attempts.begin_term(Some(self.term()));
        self.reading.questions.begin_term();
        // raft has just appended an empty entry; its commit shows that a quorum follows.
        let (term, index) = (self.term(), LogIndex(self.raw.raft.raft_log.last_index()));
        self.writes.proposals.push(Proposal {
            term,
            index,
            proposed_at: self.now,
            requests: Vec::new(),
            data: Bytes::new(),
        });
        (self.leadership.began_at, self.leadership.may_hurry) = (index, true);
        self.keep_time();
        self.take_early_forwards();
    }

    /// raft sends a member that it knows nothing of one append, and nothing more until it has acknowledged that. The first
    /// writes of a leadership do not wait for it: an append that has not left yet takes them along, and one that has left is
    /// followed by a second one, which has the leader's first entry too.
    pub(super) fn hurry_first_appends(&mut self) {
        // Behind its first entry, whoever is asked has been away.
        if !std::mem::take(&mut self.leadership.may_hurry) || self.has_applied_own_term() {
            return;
        }
        let raft = &mut self.raw.raft;
        let is_asked =
            |(_, progress): &(&u64, &Progress)| progress.state == ProgressState::Probe && progress.paused;
        let asked: Vec<u64> = raft.prs().iter().filter(is_asked).map(|(&member, _)| member).collect();
        let is_unsent = |message: &Message| {
            message.get_msg_type() == MessageType::MsgAppend && asked.contains(&message.to)
        };
        raft.msgs.retain(|message| !is_unsent(message));
        for &member in &asked {
            raft.mut_prs().get_mut(member).expect("just seen").resume();
            raft.send_append(member);
        }
    }

    /// raft's clock of a new leader runs ahead to where those of all leaders of this member stand, so that their
    /// heartbeats leave on the same tick, in one message. It cannot reach a heartbeat by that; the first check that a
    /// quorum follows comes some ticks sooner, within an election timeout that is longer than a heartbeat.
    fn keep_time(&mut self) {
        assert_eq!(self.raw.raft.heartbeat_elapsed(), 0, "raft's clock starts with the leadership");
        for _ in 0..self.ticks_since_heartbeat() {
            self.raw.tick();
        }
        let elapsed = self.raw.raft.heartbeat_elapsed();
        assert_eq!(elapsed, self.ticks_since_heartbeat(), "no heartbeat was due meanwhile");
    }

    /// How long ago the leaders of this member were to send heartbeats.
    pub(super) fn ticks_since_heartbeat(&self) -> usize {
        let ticks = (self.timer.ticks() % self.options.heartbeat_ticks as u64) as usize;
        assert!(ticks < self.options.election_ticks, "heartbeats come more often than elections");
        ticks
    }

    fn on_leadership_lost(&mut self) {
        self.leadership.windows.clear_all();
        self.reading.lease.expire();
        self.reading.reads.drop_renewals();
        self.drop_forwarded();
        self.help_nobody();
        if planted::has(Fault::CompletionDroppedOnStepDown) {
            for completion in callers(self.writes.proposals.abandon()) {
                let _ = completion.defuse();
            }
        }
        #[cfg(any(test, feature = "simulation"))]
        if planted::has(Fault::ReadPreferredOverLeaderChange) {
            self.reading.reads.confirm_all(self.apply.index());
        }
    }

    /// A leader that is no voter any more has nothing to lead.
    pub(super) fn step_down_if_removed(&mut self) {
        let members = &self.region.members;
        let node = self.options.node.get();
        let votes = members.voters.contains(&node) || members.voters_outgoing.contains(&node);
        if self.is_leader() && !votes && !planted::has(Fault::RemovedLeaderStays) {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, INVALID_ID);
        }
    }

    /// Followers learn a commit with the next append. When none follows they learn it here.
    pub(super) fn tell_commit(&mut self) {
        if self.outbox.mark_told(self.apply.index()) {
            self.raw.ping();
        }
    }

    pub(super) fn on_transfer(&mut self, request: TransferRequest) {
        match self.choose_target(&request) {
            Ok(target) if target == self.options.node => {
                self.answers.push((request.completion, Ok(Reply::default())));
            }
            // It was cancelled, or its deadline has passed.
            Ok(_) if !request.completion.start() => {}
            Ok(target) => {
                let TransferRequest { deadline, completion, .. } = request;
                assert!(self.leadership.transfer.is_none(), "one transfer at a time");
                self.raw.transfer_leader(target.get());
                self.leadership.transfer = Some(Transfer { target, term: self.term(), deadline, completion });
            }
            Err(error) => self.answers.push((request.completion, Err(error))),
        }
    }

    /// True while raft takes no proposals because it is handing over.
    pub(super) fn is_handing_over(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// Answers who asked for a transfer, once its outcome is known.
    pub(super) fn answer_transfer(&mut self) {
        let current =
            CurrentLeader { term: self.term(), leader: self.leader(), trying: self.is_handing_over() };
        let Some(transfer) = &self.leadership.transfer else { return };
        if let Some(outcome) = transfer.outcome(current, self.now) {
            let transfer = self.leadership.transfer.take().expect("just seen");
            self.answers.push((transfer.completion, outcome.map(Reply::from)));
        }
    }

    fn choose_target(&self, request: &TransferRequest) -> Result<NodeId, Error> {
        match self.leader() {
            None => return Err(self.failure(Code::NoLeader)),
            Some(leader) if !self.is_leader() => return Err(Error::not_leader(leader)),
            Some(_) if request.deadline <= self.now => return Err(self.failure(Code::DeadlineBeforeStart)),
            Some(_) if self.leadership.transfer.is_some() => {
                return Err(Error::new(Code::TransferInProgress));
            }
            Some(_) => {}
        }
        match request.target {
            Some(target) => self.check_target(target).map(|()| target),
            None => self.best_target().ok_or_else(|| self.no_target()),
        }
    }

    fn check_target(&self, target: NodeId) -> Result<(), Error> {
        if !self.region.members.voters.contains(&target.get()) {
            let detail = format!("node {target} does not vote in region {}", self.region.id);
            return Err(Error::with_detail(Code::InvalidArgument, detail));
        }
        if target == self.options.node || self.keeps_up(target) {
            return Ok(());
        }
        Err(Error::with_detail(Code::Lagging, format!("node {target}")))
    }

    /// Why nobody can take over: only where there are other voters can that change.
    fn no_target(&self) -> Error {
        let (node, region) = (self.options.node, self.region.id);
        if self.region.members.voters.iter().any(|&voter| NodeId(voter) != node) {
            return Error::new(Code::Lagging);
        }
        let detail = format!("node {node} is the only voter of region {region}: nobody else can lead it");
        Error::with_detail(Code::InvalidArgument, detail)
    }

    /// Of the voters that were heard of, the one that needs least to catch up.
    fn best_target(&self) -> Option<NodeId> {
        let voters = self.region.members.voters.iter().map(|&voter| NodeId(voter));
        let others = voters.filter(|&voter| voter != self.options.node && self.keeps_up(voter));
        let progress = |voter: &NodeId| self.raw.raft.prs().get(voter.get());
        others.max_by_key(|voter| progress(voter).map(|progress| (progress.recent_active, progress.matched)))
    }

    /// False for a voter that is known to lag or to be unreachable. Of one that was not heard of since this leader was
    /// elected nothing is known; raft gives up by itself if it cannot take over.
    pub(super) fn keeps_up(&self, voter: NodeId) -> bool {
        if !self.connections.is_up(voter)
            || self.connections.lacks_end(voter)
            || self.leadership.sending.helps(voter)
        {
            return false;
        }
        let last = self.raw.raft.raft_log.last_index();
        self.raw.raft.prs().get(voter.get()).is_some_and(|progress| {
            let lags = last - progress.matched.min(last) > LAG_ENTRIES_MAX;
            progress.state != ProgressState::Snapshot && !(progress.recent_active && lags)
        })
    }
}
