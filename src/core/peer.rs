//! One region's replica on this store.
//!
//! Owns the raft node of the region and everything that waits for it: proposals, reads, forwarded writes, the lease and
//! the log view. Inputs come through the `on_*` methods, effects leave through `ready`, `publish_lease` and `advance`,
//! answers are collected in between. What always holds: a proposal enters raft only while this peer leads; no message
//! leaves that tells a follower of a commit beyond this leader's own applied index; no read is answered on the word of
//! a leader whose applied term is not its current term. The order of effects is the round's, time is an argument.
//!
//! Here: the life of a peer. `peer/options`: what it is made with. `peer/ready`: what it contributes to a round.
//! `peer/appends`: how much is under way between members. `peer/connecting`: who is connected. `peer/messages`: what
//! others send. `peer/writes`: proposing. `peer/forwards`: proposing for others, and letting others propose.
//! `peer/reading`: read index and lease. `peer/leading`: gaining, losing and handing over leadership. `peer/idling`:
//! heartbeats and ticks without news. `peer/stall`: leading with an engine that stands still. `peer/truncation`: the
//! log's old end. `peer/level`: what every member knows. `peer/moving`: members that come and go. `peer/returning`: members that come back with less than they had. `peer/invariants`: what is checked
//! after each round in tests and simulations.

mod appends;
mod connecting;
mod forwards;
pub(crate) mod idling;
mod installing;
#[cfg(any(test, feature = "simulation"))]
mod invariants;
mod leading;
mod level;
mod messages;
mod moving;
mod options;
mod reading;
pub(crate) mod ready;
mod returning;
mod sending;
mod stall;
mod truncation;
mod writes;

use std::sync::Arc;

use raft::{INVALID_ID, RawNode, StateRole};

use crate::completion::{Answer, Completion, Position};
use crate::core::applier::Applied;
use crate::core::apply_backlog::ApplyBacklog;
use crate::core::apply_progress::ApplyProgress;
use crate::core::connections::Connections;
use crate::core::elections::ElectionTimer;
use crate::core::input::Input;
use crate::core::lease::PublishedRegion;
use crate::core::log::{LogState, PeerLog};
use crate::core::lost_end::LostEnd;
use crate::core::membership;
use crate::core::outbox::Outbox;
use crate::core::peer_status::{PeerStatus, Role};
use crate::core::pending::Pending;
use crate::core::planted::{self, Fault};
use crate::core::ports::{LogReader, RoundIo};
use crate::core::proposals::Requester;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::core::stall_timer::StallTimer;
use crate::core::windows::Windows;
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, LogIndex, NodeId, Term};

use self::appends::Incoming;
use self::leading::{Leadership, SeenLeader};
pub(crate) use self::options::{PROPOSE_BYTES_MAX, PeerOptions};
use self::options::{check_recovered, raft_config};
use self::reading::Reading;
use self::truncation::Truncation;
use self::writes::Writes;

/// See the module.
pub(crate) struct Peer {
    options: PeerOptions,
    region: Region,
    raw: RawNode<PeerLog>,
    /// The clock of this round.
    now: Timestamp,
    timer: ElectionTimer,
    leadership: Leadership,
    writes: Writes,
    reading: Reading,
    apply: ApplyProgress,
    truncation: Truncation,
    connections: Connections,
    outbox: Outbox,
    /// Due answers, in order.
    answers: Vec<Answer>,
    /// Set while this peer lacks entries that it may have acknowledged.
    lost_end: Option<LostEnd>,
    incoming: Incoming,
}

impl Peer {
    /// A peer that continues from what its log and engine hold. If its log begins behind a raft snapshot that the engine
    /// does not show yet, that is `pending`, and `region` is its region.
    ///
    /// # Errors
    /// `CORRUPTION` when log and engine contradict each other.
    pub(crate) fn new(
        options: PeerOptions,
        region: Region,
        applied: ApplyState,
        pending: Option<&SnapshotHead>,
        mut log: LogState,
        reader: Arc<dyn LogReader>,
        logger: &slog::Logger,
    ) -> Result<Self> {
        check_recovered(&log, applied, pending)?;
        assert!(region.level <= options.known_level, "a build that knows less opens no such directory");
        // The commit index is stored lazily: what was applied was committed, whatever the log says.
        let shown = pending.map_or(applied.index, |head| head.state.index);
        log.hard_state.commit = log.hard_state.commit.max(shown.get());
        let recorded_commit = LogIndex(log.hard_state.commit);
        let voted_before = !is_pristine(&log);
        let timer = ElectionTimer::new(options.elections, options.election_ticks);
        let config = raft_config(&options, shown, timer.window_ticks());
        let lost_end = log.lost_end.map(LostEnd::new);
        let stall = StallTimer::new(options.apply_stall_ticks, options.election_ticks as u64);
        let marked_bytes = options.log_retain_bytes.min(options.log_behind_bytes);
        let view = PeerLog::new(region.id, reader, log, region.members.clone(), marked_bytes);
        let raw = RawNode::new(&config, view, logger).map_err(|error| refused_by_raft(&error))?;
        let seen = SeenLeader { term: Term(raw.raft.term), leads: false, leader: None };
        let backlog = ApplyBacklog::new(options.backlog.clone(), options.limits);
        let windows = Windows::new(options.windows.clone(), options.limits);
        let incoming = Incoming::new(options.limits);
        let mut peer = Self {
            leadership: Leadership::new(seen, voted_before, windows),
            writes: Writes::new(options.node, options.boot),
            reading: Reading::new(&options),
            apply: ApplyProgress::new(applied, recorded_commit, backlog, stall),
            truncation: Truncation::new(applied.index),
            outbox: Outbox::new(options.limits.held_confirmations),
            options,
            region,
            raw,
            now: Timestamp(0),
            timer,
            connections: Connections::default(),
            answers: Vec::new(),
            lost_end,
            incoming,
        };
        peer.timer.redraw(&mut peer.raw.raft);
        peer.on_region_replaced();
        if let Some(head) = pending {
            peer.begin_with(head);
        } else if peer.lacks_data() && !planted::has(Fault::ReadBeforeTheData) {
            peer.published_lease().begin_replacement();
        }
        Ok(peer)
    }

    /// True when this member alone decides elections.
    #[must_use]
    pub(crate) fn is_only_voter(&self) -> bool {
        self.region.is_decided_by(self.options.node)
    }

    /// The region as of the last applied change.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// The lease as callers may see it, on any thread.
    #[must_use]
    pub(crate) fn published_lease(&self) -> Arc<PublishedRegion> {
        self.reading.lease.published()
    }

    /// True while this peer knows by its clock that nobody else leads.
    #[must_use]
    pub(crate) fn holds_lease(&self, now: Timestamp) -> bool {
        self.has_applied_own_term() && self.reading.lease.is_valid(now)
    }

    /// Messages that the validator turned away.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn refused_messages(&self) -> u64 {
        self.incoming.refused
    }

    /// True when something waits for the next apply report: a read for its index, a new leader for its first entry,
    /// another member for the outcome of what it forwarded here, an outcome from the leader for those before it, a
    /// write for what is in the log from older terms, the first replay for its end.
    #[must_use]
    pub(crate) fn awaits_report(&self) -> bool {
        let awaits_own_term = self.is_leader() && !self.has_applied_own_term();
        let asked = !self.reading.reads.is_empty()
            || self.outbox.holds_confirmations()
            || self.writes.attempts.in_flight() > 0;
        asked
            || awaits_own_term
            || self.awaits_fence()
            || self.writes.forwarder.awaits_own_log()
            || self.writes.forwarder.holds_verdicts()
            || !self.apply.is_replayed()
            || !self.incoming.held.is_empty()
    }

    /// This peer's status.
    #[must_use]
    pub(crate) fn status(&self) -> PeerStatus {
        let raft = &self.raw.raft;
        PeerStatus {
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
                StateRole::Follower => Role::Follower,
            },
            term: Term(raft.term),
            leader: self.leader(),
            is_leader_reachable: self.leader().is_some_and(|leader| self.connections.is_up(leader)),
            commit_index: LogIndex(raft.raft_log.committed),
            applied_index: self.apply.index(),
            last_index: LogIndex(raft.raft_log.last_index()),
            applied_term: self.apply.term(),
            replayed: self.apply.is_replayed(),
            lacks_end: self.lost_end.is_some(),
            installing: self.is_installing(),
            has_data: !self.lacks_data(),
            log_holder: self.log_holder(),
            helped: self.leadership.sending.count(),
            level: self.region.level,
        }
    }

    /// One tick of the raft clock, and everything that is due by it.
    pub(crate) fn on_tick(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.timer.pass(1);
        if self.tick_at_rest() {
            return;
        }
        self.wake();
        if !self.is_installing() {
            self.apply.on_tick();
        }
        if self.must_not_lead() {
            self.tick_without_campaign();
        } else {
            self.tick_raft();
            if self.timer.wants_first_leader(&self.raw.raft) {
                self.campaign();
            }
        }
        self.notice_leadership();
        self.expire();
        if self.is_leader() {
            self.tell_commit();
            self.renew_lease();
            self.look_at_helped();
            self.look_at_log_length();
            self.propose_level();
            self.look_at_members();
        }
        self.ask_again_late();
        self.seek_end();
        self.go_on_forwarding();
    }

    /// Asks for leadership, if this member may lead. raft takes nobody's word for the majority of no voters.
    fn campaign(&mut self) {
        if !self.must_not_lead() && self.raw.raft.promotable() {
            drop(self.raw.campaign());
        }
    }

    /// Anything else that reaches this peer.
    pub(crate) fn on_input(&mut self, input: Input, now: Timestamp) {
        self.advance_clock(now);
        self.wake();
        match input {
            Input::Message(message) => self.on_message(*message),
            Input::Heartbeats(_) => unreachable!("each is heard apart, by `on_heartbeat`"),
            Input::Write(write) => self.writes.pending.push(Pending::of_caller(write)),
            Input::Read(read) => self.on_read(read),
            Input::LocalRead(read) => self.on_local_read(read),
            Input::Transfer(request) => self.on_transfer(request),
            Input::Applied(applied) => self.on_applied(*applied),
            Input::Flushed(index) => self.on_flushed(index),
            Input::Exported(to, head) => self.on_exported(to, head),
            Input::SnapshotMoved(to, bytes) => self.on_snapshot_moved(to, bytes),
            Input::SnapshotEnded(to, index, is_delivered) => self.on_snapshot_ended(to, index, is_delivered),
            Input::Staged(message) => self.on_staged(*message),
            Input::Unreachable(node) => self.raw.report_unreachable(node.get()),
            Input::Disconnected(node) => self.on_disconnected(node),
            Input::Connected(node) => self.on_connected(node),
            Input::Introduced(introduction) => self.on_introduction(introduction),
            Input::Campaign => self.campaign(),
        }
        self.notice_leadership();
    }

    /// True when this round is to go on with this peer, once every input is in. What only some input other than a tick
    /// or a heartbeat can bring about is not asked for: with such an input a peer has a part in its round anyway.
    #[must_use]
    pub(crate) fn has_work(&self) -> bool {
        self.raw.has_ready()
            || !self.answers.is_empty()
            || self.outbox.has_any()
            || self.writes.attempts.has_messages()
            || self.has_pending()
            || self.has_to_resend()
            || !self.reading.reads.is_empty()
            || self.leadership.transfer.is_some()
            || self.is_stalled()
            || self.lost_end.is_some()
            || !self.incoming.held.is_empty()
            || self.leadership.sending.has_errands()
            || self.is_installing()
            || self.has_moved()
    }

    /// Hands this round's writes and reads to raft, once every input is in. `sharers` is the number of peers that share
    /// what a round may propose.
    pub(crate) fn begin_round(&mut self, now: Timestamp, sharers: usize, io: &mut dyn RoundIo) {
        self.advance_clock(now);
        self.wake();
        self.take_held();
        self.answer_transfer();
        self.hand_over_if_stalled();
        self.answer_open_reads_by_lease();
        self.dispatch_pending(sharers, io);
        self.ask_fresh();
    }

    /// How much this peer still waits for or means to say: nothing, once nobody has called for some time.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn unfinished(&self) -> usize {
        let counted = self.writes.proposals.len() + self.writes.forwarder.count() + self.apply.count();
        let waits = [!self.reading.reads.is_empty(), self.has_pending(), self.outbox.holds_confirmations()];
        let unsent = self.answers.len() + self.outbox.queued();
        counted
            + unsent
            + self.writes.attempts.in_flight() as usize
            + waits.into_iter().filter(|waits| *waits).count()
    }

    /// Whether no more is kept of what this member forwarded than its window takes, and one write.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn keeps_its_window(&self) -> bool {
        let (kept, newest) = self.writes.forwarder.kept();
        kept - newest <= self.options.forward_window_bytes
    }

    /// Takes out the answers that are due, in order.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        let has_none = self.lacks_data() && !planted::has(Fault::ReadBeforeTheData);
        if has_none || (self.is_installing() && !planted::has(Fault::ReadWhileInstalling)) {
            // The engine shows nothing that anybody may see.
            return std::mem::take(&mut self.answers);
        }
        let served_up_to = if self.has_applied_own_term() { None } else { Some(self.apply.index()) };
        let position = Position { index: self.apply.index(), term: self.apply.term() };
        let local = self.reading.reads.take_local(self.apply.index());
        let confirmed = self.reading.reads.take_answerable(served_up_to).into_iter().chain(local);
        self.answers.extend(confirmed.map(|read| (read.completion, Ok(position.into()))));
        std::mem::take(&mut self.answers)
    }

    /// Answers everything that waits because the peer ends: `unknown` for what may be in a log, `refused` for what
    /// certainly is not.
    pub(crate) fn abandon(&mut self, unknown: &Error, refused: &Error) -> Vec<Answer> {
        self.reading.lease.expire();
        let mut answers = std::mem::take(&mut self.answers);
        let undecided = callers(self.writes.proposals.abandon()).chain(self.writes.forwarder.abandon());
        let transfer = self.leadership.transfer.take().map(|transfer| transfer.completion);
        answers.extend(undecided.chain(transfer).map(|completion| (completion, Err(unknown.clone()))));
        let waiting = callers(self.writes.pending.take_all().into_iter().map(|pending| pending.requester));
        let waiting = waiting.chain(self.reading.reads.abandon());
        answers.extend(waiting.map(|completion| (completion, Err(refused.clone()))));
        assert!(self.writes.pending.is_empty() && self.reading.reads.is_empty(), "everyone is answered");
        answers
    }

    /// Proposes a membership change at once; for scripts, until changes have an interface of their own.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn propose_change(&mut self, change: raft::eraftpb::ConfChangeV2) {
        self.wake();
        // raft drops it while this leader hands over, as one does whose engine stands still.
        let _ = self.raw.propose_conf_change(Vec::new(), change);
    }

    fn advance_clock(&mut self, now: Timestamp) {
        assert!(now >= self.now, "time does not go back");
        self.now = now;
    }

    fn on_applied(&mut self, applied: Applied) {
        let behind = |index: LogIndex| index <= applied.state.index;
        assert!(applied.truncate_to.is_none_or(behind), "only what is applied is truncated");
        let committed = self.raw.raft.raft_log.committed;
        assert!(applied.state.index.get() <= committed, "what is applied was committed");
        let had_applied_own_term = self.has_applied_own_term();
        self.apply.advance(applied.state);
        if applied.installed {
            self.on_installed(applied.state);
        }
        if !self.is_installing() {
            self.follow_applied(&applied);
        }
        let kept_bytes = self.kept_bytes();
        self.raw.mut_store().evict(applied.state.index, kept_bytes);
        if let Some(index) = applied.truncate_to {
            self.truncation.allow(index);
        }
        self.answer_followers(applied.forwarded_to_here);
        self.on_own_applied(applied.forwarded_from_here);
        self.step_down_if_removed();
        self.offer_made();
        if self.has_applied_own_term() && !had_applied_own_term {
            // Members may wait for this commit: it shows them what is in the log of what they sent in older terms.
            self.tell_commit();
            // Reads that came before the term's first entry was applied were dropped by raft.
            self.ask_again(self.now);
            self.propose_truncation();
            self.propose_level();
        }
    }

    /// Region and raft follow what is applied. They need not be told of entries before a raft snapshot that they have.
    fn follow_applied(&mut self, applied: &Applied) {
        for change in &applied.conf_changes {
            match self.raw.apply_conf_change(change) {
                Ok(members) => self.region.members = members,
                Err(error) => panic!("raft refused what the applier accepted: {error}"),
            }
            self.region.epoch.conf_ver += 1;
            let version = membership::list_version(change).expect("the applier has looked at it");
            self.region.list_version = self.region.list_version.max(version);
            self.on_region_moved(None);
        }
        if let Some(version) = applied.settled {
            self.region.settled_version = version;
            self.on_region_moved(None);
        }
        if let Some(list) = &applied.list {
            self.on_region_moved(Some(list.clone()));
        }
        if let Some((level, index)) = applied.raised {
            self.on_level(level, index);
        }
        self.raw.advance_apply_to(applied.state.index.get());
    }

    fn expire(&mut self) {
        let (writes, now) = (&self.writes, self.now);
        let waits_for_writes =
            !(writes.pending.is_empty() && writes.proposals.is_empty() && writes.forwarder.is_empty());
        if !waits_for_writes && self.reading.reads.is_empty() {
            return;
        }
        let proposed = if planted::has(Fault::InFlightReportedNotApplied) {
            Code::DeadlineBeforeStart
        } else {
            Code::Timeout
        };
        self.writes.pending.drop_answered();
        let undecided = self.writes.proposals.expire(now);
        self.answer_all(callers(undecided), proposed);
        let forwarded = self.writes.forwarder.expire(now);
        self.answers.extend(forwarded);
        let late = if self.leader().is_none() { Code::NoLeader } else { Code::ReadTimeout };
        let reads = self.reading.reads.expire(now);
        self.answer_all(reads.into_iter(), late);
        for (completion, min_index) in self.reading.reads.expire_local(now) {
            let late = self.late_local_read(min_index);
            self.answers.push((completion, Err(late)));
        }
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
    fn has_applied_own_term(&self) -> bool {
        let applied = self.apply.term() == self.term() || planted::has(Fault::ReadBeforeFirstEntry);
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
