//! One region's replica on this store.
//!
//! Owns the raft node of the region and everything that waits for it: proposals, reads, forwarded writes, the lease and
//! the log view. Inputs come through the `on_*` methods, effects leave through the two halves of a turn, answers are
//! collected in between. What always holds: a proposal enters raft only while this peer leads; no message leaves that
//! tells a follower of a commit beyond this leader's own applied index; no read is confirmed by a leader whose applied
//! term is not its current term. The order of effects is the round's, time is an argument.
//!
//! Here: the life of a peer and its turn. `peer/messages`: what others say. `peer/writes`: proposing. `peer/forwards`:
//! proposing for others, and letting others propose.
//! `peer/reading`: read index and lease. `peer/leading`: gaining, losing and handing over leadership.
//! `peer/stall`: leading with an engine that stands still. `peer/truncation`: the log's old end. `peer/returning`: members
//! that come back with less than they had.

mod forwards;
#[cfg(any(test, feature = "simulation"))]
mod invariants;
mod leading;
mod messages;
mod options;
mod reading;
mod returning;
mod stall;
mod truncation;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{INVALID_ID, RawNode, StateRole};

use crate::completion::{Completion, Position, WriteEvent};
use crate::core::applier::{Applied, ApplyTask};
use crate::core::apply_backlog::ApplyBacklog;
use crate::core::attempts::Attempts;
use crate::core::elections::ElectionTimer;
use crate::core::forwarder::Forwarder;
use crate::core::input::{Input, Introduction};
use crate::core::lease::{Lease, PublishedLease};
use crate::core::log::{LogState, PeerLog};
use crate::core::lost_end::LostEnd;
use crate::core::outbox::{Outbox, Sender};
use crate::core::peer_status::{PeerStatus, Role};
use crate::core::pending::{Pending, PendingWrites};
use crate::core::planted::{self, Fault};
use crate::core::ports::{Body, LogReader, LogWrite, PeerMessage};
use crate::core::proposals::{CommittedProposal, Proposals, Requester};
use crate::core::reads::{Questions, Read, Reads};
use crate::core::region::Region;
use crate::core::stall_timer::StallTimer;
use crate::core::transfer::Transfer;
use crate::core::turn::{BegunTurn, FinishedTurn};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, LogIndex, NodeId, Term};

use self::forwards::Pace;
pub use self::options::{PROPOSE_BYTES_MAX, PeerOptions};
use self::options::{check_recovered, raft_config};

/// An answer that is due.
pub type Answer = (Completion, Result<Position>);

/// See the module.
pub struct Peer {
    options: PeerOptions,
    region: Region,
    raw: RawNode<PeerLog>,
    applied: ApplyState,
    /// The commit index on record when the store was opened: local reads show nothing older.
    recorded_commit: LogIndex,
    /// The clock of this round.
    now: Timestamp,
    ticks: u64,
    /// This member may have followed a leader right before it started.
    voted_before: bool,
    /// Term, leadership and leader as last seen.
    seen: (Term, bool, Option<NodeId>),
    proposals: Proposals,
    reads: Reads,
    /// Of followers, in this term.
    questions: Questions,
    /// Reads confirmed by the lease in this round.
    leased: Vec<Read>,
    lease: Lease,
    /// Writes of this round, and those that wait for a leader to be known.
    fresh: PendingWrites,
    /// They wait for something else than the next round: for what may be in the log from older terms, or for the engine.
    is_blocked: bool,
    /// Some of them came back in this round, and may go again in the next.
    has_again: bool,
    forwarder: Forwarder,
    pace: Pace,
    /// Members to which there is no connection, as far as is known: nothing is forwarded to them.
    disconnected: Vec<NodeId>,
    attempts: Attempts,
    /// Accepted from followers and not answered yet.
    forwarded_in_flight: u64,
    transfer: Option<Transfer>,
    /// The last committed proposal of this member whose caller waits until it is applied.
    last_own: (LogIndex, Term),
    /// Due answers, in order.
    answers: Vec<Answer>,
    /// Every member has applied the order to truncate up to here.
    truncate_allowed: LogIndex,
    /// The engine has flushed up to here.
    flushed: LogIndex,
    outbox: Outbox,
    /// Messages that are not raft's, for the next turn.
    outgoing: Vec<PeerMessage>,
    apply_backlog: ApplyBacklog,
    stall: StallTimer,
    timer: ElectionTimer,
    /// Set while this peer lacks entries that it may have acknowledged.
    lost_end: Option<LostEnd>,
    /// What other members said when they connected.
    introductions: BTreeMap<NodeId, Introduction>,
    refused_messages: u64,
}

impl Peer {
    /// A peer that continues from what its log and engine hold.
    ///
    /// # Errors
    /// `CORRUPTION` when log and engine contradict each other.
    pub fn new(
        options: PeerOptions,
        region: Region,
        applied: ApplyState,
        mut log: LogState,
        reader: Arc<dyn LogReader>,
        logger: &slog::Logger,
    ) -> Result<Self> {
        check_recovered(&log, applied)?;
        // The commit index is stored lazily: what was applied was committed, whatever the log says.
        log.hard_state.commit = log.hard_state.commit.max(applied.index.get());
        let recorded_commit = LogIndex(log.hard_state.commit);
        let voted_before = !is_pristine(&log);
        let timer = ElectionTimer::new(options.elections, options.election_ticks);
        let config = raft_config(&options, applied.index, timer.window_ticks());
        let lost_end = log.lost_end.map(LostEnd::new);
        let stall = StallTimer::new(options.apply_stall_ticks, options.election_ticks as u64);
        let (cache_bytes, retain_bytes) = (options.log_cache_bytes, options.log_retain_bytes);
        let view = PeerLog::new(region.id, reader, log, region.members.clone(), cache_bytes, retain_bytes);
        let raw = RawNode::new(&config, view, logger).map_err(|error| refused_by_raft(&error))?;
        let PeerOptions { node, boot, lease_max, limits, .. } = options;
        let apply_backlog = ApplyBacklog::new(options.backlog.clone(), limits);
        let mut peer = Self {
            options,
            region,
            seen: (Term(raw.raft.term), false, None),
            raw,
            applied,
            recorded_commit,
            now: Timestamp(0),
            ticks: 0,
            voted_before,
            proposals: Proposals::default(),
            reads: Reads::new(node, boot),
            questions: Questions::default(),
            leased: Vec::new(),
            lease: Lease::new(lease_max),
            fresh: PendingWrites::default(),
            is_blocked: false,
            has_again: false,
            forwarder: Forwarder::new(node, boot),
            pace: Pace::Window,
            disconnected: Vec::new(),
            attempts: Attempts::new(node),
            forwarded_in_flight: 0,
            transfer: None,
            last_own: (LogIndex(0), Term(0)),
            answers: Vec::new(),
            truncate_allowed: LogIndex(0),
            flushed: applied.index,
            outbox: Outbox::new(limits.held_answers),
            outgoing: Vec::new(),
            apply_backlog,
            stall,
            timer,
            lost_end,
            introductions: BTreeMap::new(),
            refused_messages: 0,
        };
        peer.timer.redraw(&mut peer.raw.raft);
        Ok(peer)
    }

    /// True when this member alone decides elections.
    #[must_use]
    pub fn is_only_voter(&self) -> bool {
        self.region.is_decided_by(self.options.node)
    }

    /// The region as of the last applied change.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The lease as callers may see it, on any thread.
    #[must_use]
    pub fn published_lease(&self) -> Arc<PublishedLease> {
        self.lease.published()
    }

    /// True while this peer knows by its clock that nobody else leads.
    #[must_use]
    pub fn holds_lease(&self, now: Timestamp) -> bool {
        self.is_settled() && self.lease.is_valid(now)
    }

    /// Messages that the validator turned away.
    #[must_use]
    pub fn refused_messages(&self) -> u64 {
        self.refused_messages
    }

    /// True when something waits for the next apply report: a read for its index, a new leader for its first entry,
    /// a follower for its forwarded write, a write for what is in the log from older terms, the first replay for its end.
    #[must_use]
    pub fn awaits_report(&self) -> bool {
        let unsettled_leader = self.is_leader() && !self.is_settled();
        let asked = !self.reads.is_empty() || self.outbox.holds_answers() || self.forwarded_in_flight > 0;
        asked
            || unsettled_leader
            || self.awaits_fence()
            || self.forwarder.holds_verdicts()
            || self.applied.index < self.recorded_commit
    }

    /// This peer's status.
    #[must_use]
    pub fn status(&self) -> PeerStatus {
        let raft = &self.raw.raft;
        PeerStatus {
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
                StateRole::Follower => Role::Follower,
            },
            term: Term(raft.term),
            leader: self.leader(),
            is_leader_reachable: self.leader().is_some_and(|leader| !self.disconnected.contains(&leader)),
            commit_index: LogIndex(raft.raft_log.committed),
            applied_index: self.applied.index,
            last_index: LogIndex(raft.raft_log.last_index()),
            applied_term: self.applied.term,
            replayed: self.applied.index >= self.recorded_commit,
            lacks_end: self.lost_end.is_some(),
        }
    }

    /// One tick of the raft clock, and everything that is due by it.
    pub fn on_tick(&mut self, now: Timestamp) {
        self.now = now;
        self.ticks += 1;
        self.stall.on_tick(self.apply_backlog.waits());
        if self.lacks_end() {
            self.tick_without_campaign();
        } else {
            self.raw.tick();
            if self.timer.wants_first_leader(&self.raw.raft, self.ticks) {
                drop(self.raw.campaign());
            }
        }
        self.notice_leadership();
        self.expire();
        if self.is_leader() {
            self.tell_commit();
            self.renew_lease();
            self.propose_truncation(self.ticks);
        }
        self.ask_again_late();
        self.seek_end();
        self.go_on_forwarding();
    }

    /// Anything else that reaches this peer.
    pub fn on_input(&mut self, input: Input, now: Timestamp) {
        self.now = now;
        match input {
            Input::Message(message) => self.on_message(*message),
            Input::Propose(propose) => self.fresh.push(Pending::of_caller(propose)),
            Input::Read(read) => self.on_read(read),
            Input::LocalRead(read) => self.on_local_read(read),
            Input::Transfer(request) => self.on_transfer(request),
            Input::Applied(applied) => self.on_applied(applied),
            Input::Flushed(index) => self.flushed = self.flushed.max(index),
            Input::Unreachable(node) => self.raw.report_unreachable(node.get()),
            Input::Disconnected(node) => self.on_disconnected(node),
            Input::Connected(node) => self.on_connected(node),
            Input::Introduced(introduction) => self.on_introduction(introduction),
            Input::Campaign if self.lacks_end() => {}
            Input::Campaign => drop(self.raw.campaign()),
        }
        self.notice_leadership();
    }

    /// Hands this round's writes and reads to raft, once every input is in. So many peers share what a round may propose.
    pub fn begin_round(&mut self, now: Timestamp, sharers: usize) {
        self.now = now;
        self.settle_transfer();
        self.hand_over_if_stalled();
        self.answer_open_reads_by_lease();
        self.dispatch_fresh(sharers);
        self.ask_fresh();
    }

    /// First half of a turn: what must become durable, and what may leave before. None when nothing is to do.
    pub fn begin_turn(&mut self) -> Result<Option<BegunTurn>> {
        let mut turn = BegunTurn {
            messages: self.take_outgoing(),
            write: LogWrite::new(self.region.id),
            persisted: Vec::new(),
            ready: None,
            committed: Vec::new(),
        };
        turn.write.truncate_to = self.truncation()?;
        turn.write.has_lost_end_back = self.takes_end_back()?;
        if self.raw.has_ready() {
            self.take_ready(&mut turn);
        }
        // Before the round's messages leave: one of them may make another member leader.
        self.publish_lease();
        let idle = turn.ready.is_none() && turn.write.is_empty() && turn.messages.is_empty();
        Ok(if idle { None } else { Some(turn) })
    }

    /// Second half: the write of the first is durable.
    pub fn finish_turn(&mut self, turn: BegunTurn) -> FinishedTurn {
        let BegunTurn { write, persisted: mut messages, ready, mut committed, .. } = turn;
        let mut finished = FinishedTurn { messages: Vec::new(), commit_guard: None, task: None };
        let Some(ready) = ready else { return finished };
        let stored_commit = write.hard_state.as_ref().map_or(0, |hard_state| hard_state.commit);
        self.raw.mut_store().append(write.entries);
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().set_commit(commit);
        }
        messages.extend(light.take_messages());
        committed.extend(light.take_committed_entries());
        finished.messages = self.through_outbox(messages);
        finished.commit_guard = self.commit_guard(&committed, stored_commit);
        finished.task = self.settle(committed);
        finished
    }

    /// How much this peer still waits for or means to say: nothing, once nobody has called for some time.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub fn unfinished(&self) -> usize {
        let counted = self.proposals.len() + self.forwarder.count() + self.apply_backlog.count();
        let waits = [!self.reads.is_empty(), self.has_fresh(), self.outbox.holds_answers()];
        let unsent = self.answers.len() + self.outgoing.len() + self.leased.len();
        counted
            + unsent
            + self.forwarded_in_flight as usize
            + waits.into_iter().filter(|waits| *waits).count()
    }

    /// Whether no more is kept of what this member forwarded than its window takes, and one write.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub fn keeps_its_window(&self) -> bool {
        let (kept, newest) = self.forwarder.kept();
        kept - newest <= self.options.forward_window_bytes
    }

    /// Takes out the answers that are due, in order.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        let served_up_to = if self.is_settled() { None } else { Some(self.applied.index) };
        let position = Position { index: self.applied.index, term: self.applied.term };
        let local = self.reads.take_local(self.applied.index);
        let confirmed = self.leased.drain(..).chain(self.reads.take_ready(served_up_to)).chain(local);
        self.answers.extend(confirmed.map(|read| (read.completion, Ok(position))));
        std::mem::take(&mut self.answers)
    }

    /// Answers everything that waits because the peer ends: `unknown` for what may be in a log, `refused` for what
    /// certainly is not.
    pub fn abandon(&mut self, unknown: &Error, refused: &Error) -> Vec<Answer> {
        self.lease.expire();
        let mut answers = std::mem::take(&mut self.answers);
        let undecided = callers(self.proposals.abandon()).chain(self.forwarder.abandon());
        let transfer = self.transfer.take().map(|transfer| transfer.completion);
        answers.extend(undecided.chain(transfer).map(|completion| (completion, Err(unknown.clone()))));
        let leased = self.leased.drain(..).map(|read| read.completion);
        let waiting = callers(self.fresh.take_all().into_iter().map(|pending| pending.requester));
        let waiting = waiting.chain(self.reads.abandon()).chain(leased);
        answers.extend(waiting.map(|completion| (completion, Err(refused.clone()))));
        answers
    }

    /// Proposes a membership change at once; for scripts, until changes have an interface of their own.
    #[cfg(any(test, feature = "simulation"))]
    pub fn propose_change(&mut self, change: raft::eraftpb::ConfChangeV2) {
        // raft drops it while this leader hands over, as one does whose engine stands still.
        let _ = self.raw.propose_conf_change(Vec::new(), change);
    }

    fn on_applied(&mut self, applied: Applied) {
        assert!(applied.state.index > self.applied.index, "an apply report moves on");
        let was_settled = self.is_settled();
        for change in &applied.conf_changes {
            match self.raw.apply_conf_change(change) {
                Ok(members) => self.region.members = members,
                Err(error) => panic!("raft refused what the applier accepted: {error}"),
            }
            self.region.epoch.conf_ver += 1;
        }
        self.applied = applied.state;
        self.apply_backlog.report(applied.state.index);
        self.stall.on_progress();
        self.raw.advance_apply_to(applied.state.index.get());
        self.raw.mut_store().evict(applied.state.index);
        if let Some(index) = applied.truncate_to {
            self.truncate_allowed = self.truncate_allowed.max(index);
        }
        self.answer_followers(applied.forwarded);
        self.on_own_applied(applied.own);
        self.step_down_if_removed();
        if self.is_settled() && !was_settled {
            // Members may wait for this commit: it shows them what is in the log of what they sent in older terms.
            self.tell_commit();
            // Reads that came before the term's first entry was applied were dropped by raft.
            self.ask_again(self.now);
        }
    }

    fn take_ready(&mut self, turn: &mut BegunTurn) {
        let mut ready = self.raw.ready();
        let before = self.hard_state_on_disk();
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
        let elected = self.hard_state_on_disk() != before;
        for state in ready.take_read_states() {
            self.on_read_index(&state.request_ctx, LogIndex(state.index));
        }
        let mut messages = ready.take_messages();
        turn.persisted = ready.take_persisted_messages();
        if elected {
            // A sole voter leads as soon as it wants to. Its learners must not hear of a term that it could forget and
            // lead again with other entries.
            turn.persisted.append(&mut messages);
        }
        messages.extend(turn.persisted.extract_if(.., |message| self.leaves_too_early(message)));
        turn.messages.extend(self.through_outbox(messages));
        turn.write.entries = ready.take_entries();
        // A commit index alone is not worth a write: it travels with the next one.
        if ready.must_sync() {
            turn.write.hard_state = Some(self.raw.store().hard_state().clone());
        }
        turn.committed = ready.take_committed_entries();
        turn.ready = Some(ready);
    }

    fn settle(&mut self, entries: Vec<Entry>) -> Option<ApplyTask> {
        if entries.is_empty() {
            return None;
        }
        self.apply_backlog.add(&entries);
        let settled = self.proposals.settle(&entries);
        if let Some((term, proposed_at)) = settled.newest {
            self.renew_lease_by_commit(term, proposed_at);
        }
        self.take_overwritten(settled.overwritten);
        for CommittedProposal { index, requesters } in &settled.committed {
            let entry = &entries[(index.get() - entries[0].index) as usize];
            let position = Position { index: *index, term: Term(entry.term) };
            tell(requesters, WriteEvent::Committed, position);
            if requesters.iter().flatten().any(|requester| matches!(requester, Requester::Caller(_))) {
                self.last_own = (position.index, position.term);
            }
        }
        Some(ApplyTask { region: self.region.id, entries, proposals: settled.committed })
    }

    fn commit_guard(&self, committed: &[Entry], stored_commit: u64) -> Option<LogWrite> {
        let change = committed.iter().rfind(|entry| entry.get_entry_type() != EntryType::EntryNormal)?;
        if planted::has(Fault::ConfChangeBeforeCommitSync) {
            return None;
        }
        (change.index > stored_commit).then(|| LogWrite {
            hard_state: Some(self.raw.store().hard_state().clone()),
            ..LogWrite::new(self.region.id)
        })
    }

    /// Everything that leaves without raft.
    fn take_outgoing(&mut self) -> Vec<PeerMessage> {
        let sender = self.sender();
        let due = self.outbox.release_answers(sender);
        let mut messages: Vec<_> = due.into_iter().map(|answer| self.dress(Body::Raft(answer))).collect();
        messages.append(&mut self.outgoing);
        if self.attempts.has_answers() {
            let answers = self.attempts.take_answers().into_iter();
            messages.extend(answers.map(|answer| self.dress(Body::Answer(answer))));
        }
        messages
    }

    /// raft's messages as they leave.
    fn through_outbox(&mut self, messages: Vec<Message>) -> Vec<PeerMessage> {
        if messages.iter().any(|message| message.get_msg_type() == MessageType::MsgTimeoutNow) {
            self.lease.suspect(self.now, LogIndex(self.raw.raft.raft_log.last_index()));
        }
        let sender = self.sender();
        let sent = self.outbox.hold_back(messages, sender);
        sent.into_iter().map(|message| self.dress(Body::Raft(message))).collect()
    }

    fn sender(&self) -> Sender {
        let raft = &self.raw.raft;
        let transferee = raft.lead_transferee.and_then(|target| raft.prs().get(target));
        Sender {
            leads: self.is_leader(),
            term: raft.term,
            applied: raft.raft_log.applied,
            transferee_matched: transferee.map_or(0, |progress| progress.matched),
        }
    }

    fn dress(&self, body: Body) -> PeerMessage {
        PeerMessage { region: self.region.id, epoch: self.region.epoch, body }
    }

    fn expire(&mut self) {
        let now = self.now;
        let proposed = if planted::has(Fault::InFlightReportedNotApplied) {
            Code::DeadlineBeforeStart
        } else {
            Code::Timeout
        };
        self.fresh.drop_answered();
        let undecided = self.proposals.expire(now);
        self.answer_all(callers(undecided), proposed);
        let forwarded = self.forwarder.expire(now);
        self.answers.extend(forwarded);
        let late = if self.leader().is_none() { Code::NoLeader } else { Code::ReadTimeout };
        let reads = self.reads.expire(now);
        self.answer_all(reads.into_iter(), late);
        let local = self.reads.expire_local(now);
        self.answer_all(local.into_iter(), Code::ReadTimeout);
    }

    /// An error that says whom this member takes for the leader.
    fn failure(&self, code: Code) -> Error {
        Error::of_member(code, self.options.node, self.region.id, self.leader())
    }

    fn answer_all(&mut self, completions: impl Iterator<Item = Completion>, code: Code) {
        let (node, region, leader) = (self.options.node, self.region.id, self.leader());
        let failure = |completion| (completion, Err(Error::of_member(code, node, region, leader)));
        self.answers.extend(completions.map(failure));
    }

    /// Term and vote as of the last write.
    fn hard_state_on_disk(&self) -> (u64, u64) {
        let hard_state = self.raw.store().hard_state();
        (hard_state.term, hard_state.vote)
    }

    /// Never, unless a fault is planted.
    fn leaves_too_early(&self, message: &Message) -> bool {
        use MessageType::{MsgAppendResponse, MsgRequestVoteResponse};
        match message.get_msg_type() {
            MsgAppendResponse => planted::has(Fault::AcknowledgeBeforeSync),
            MsgRequestVoteResponse => planted::has(Fault::VoteBeforeSync),
            _ => false,
        }
    }

    fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    fn leader(&self) -> Option<NodeId> {
        let leader = self.raw.raft.leader_id;
        (leader != INVALID_ID).then_some(NodeId(leader))
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// A leader that has applied an entry of its own term: nothing any member acknowledged is missing here.
    fn is_settled(&self) -> bool {
        let applied = self.applied.term == self.term() || planted::has(Fault::ReadBeforeFirstEntry);
        self.is_leader() && applied
    }
}

fn refused_by_raft(error: &raft::Error) -> Error {
    Error::with_detail(Code::Internal, format!("raft: {error}"))
}

/// Nobody has led this region yet, nor asked this member for its vote.
fn is_pristine(log: &LogState) -> bool {
    let (term, vote) = (log.hard_state.term, log.hard_state.vote);
    (term, vote) == (BOOTSTRAP_TERM.get(), INVALID_ID) && log.last.0 == BOOTSTRAP_INDEX
}

/// The callers of this member among those who asked for writes. The others are told by their own member.
fn callers(requesters: impl IntoIterator<Item = Requester>) -> impl Iterator<Item = Completion> {
    requesters.into_iter().filter_map(|requester| match requester {
        Requester::Caller(completion) => Some(completion),
        Requester::Follower(_) => None,
    })
}

/// Tells those of these callers who want to hear of it that their writes came so far. Callers of other members and those
/// who were answered at their deadline hear nothing.
fn tell<'a>(
    requesters: impl IntoIterator<Item = &'a Option<Requester>>,
    event: WriteEvent,
    position: Position,
) {
    for requester in requesters {
        if let Some(Requester::Caller(completion)) = requester {
            completion.happened(event, position);
        }
    }
}
