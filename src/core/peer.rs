//! One region's replica on this store.
//!
//! Owns the raft node of the region and everything that waits for it: proposals, reads and the log view. Inputs
//! come through the `on_*` methods, effects leave through the two halves of a turn, answers are collected in
//! between. What always holds: a proposal enters raft only while this peer leads; no message leaves that tells a
//! follower of a commit beyond this leader's own applied index; no read is confirmed by a leader whose applied
//! term is not its current term. The order of effects is the round's, time is an argument.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Config, INVALID_ID, RawNode, StateRole};

use crate::completion::{Completion, Position};
use crate::core::applier::{Applied, ApplyTask};
use crate::core::command::seal_truncate;
use crate::core::elections::{ElectionTimer, Elections};
use crate::core::handed_over::HandedOver;
use crate::core::input::{Input, Propose};
use crate::core::log::{LogState, PeerLog};
use crate::core::outbox::{Outbox, Sender};
use crate::core::peer_status::{PeerStatus, Role};
use crate::core::ports::{LogReader, LogWrite, PeerMessage};
use crate::core::proposals::{Proposal, Proposals};
use crate::core::reads::{Read, Reads};
use crate::core::region::Region;
use crate::core::turn::{BegunTurn, FinishedTurn};
use crate::core::validator::{self, Guarded, Refusal};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{ApplyState, LogIndex, NodeId, Term};

/// A leader looks this often whether its log may be truncated.
const TRUNCATE_CHECK_TICKS: u64 = 20;
/// An unresolved read is asked for again after this many heartbeats.
const READ_RETRY_HEARTBEATS: u32 = 2;
/// Bytes of entries in one append message; larger single entries travel alone.
const MESSAGE_BYTES_MAX: u64 = 512 * 1024;
/// Append messages a follower may leave unacknowledged: together 32 MiB unless single entries are larger, and far more
/// than the few rounds a healthy follower is behind.
const INFLIGHT_MESSAGES_MAX: usize = 64;
/// Bytes of committed entries that may wait for the applier before this peer takes no more from its leader.
const HANDED_OVER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of writes that one round proposes, unless a single one is larger: what a slow disk syncs well within an
/// election timeout, so that heartbeats get their turn in between.
const PROPOSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of committed entries one turn hands to the applier.
const COMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a peer is told when it is made.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// This member.
    pub node: NodeId,
    /// Differs in every run of this member.
    pub boot_nonce: u64,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Least ticks without a leader before a campaign.
    pub election_ticks: usize,
    /// When this peer campaigns by itself.
    pub elections: Elections,
    /// Bound of the entry cache.
    pub log_cache_bytes: usize,
    /// Bytes of entries a leader may have proposed and not committed; more are refused.
    pub uncommitted_bytes_max: u64,
    /// Applied log kept for followers that lag.
    pub log_retain_bytes: u64,
}

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
    proposals: Proposals,
    reads: Reads,
    /// Writes of this round, and those that wait for a leader to be known.
    fresh: Vec<Propose>,
    /// Due answers, in order.
    answers: Vec<Answer>,
    ticks: u64,
    /// Every member has applied the order to truncate up to here.
    truncate_allowed: LogIndex,
    /// The engine has flushed up to here.
    flushed: LogIndex,
    outbox: Outbox,
    handed_over: HandedOver,
    timer: ElectionTimer,
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
        let timer = ElectionTimer::new(options.elections, options.election_ticks);
        let config = raft_config(&options, applied.index, timer.window_ticks());
        let view = PeerLog::new(region.id, reader, log, region.members.clone(), options.log_cache_bytes);
        let raw = RawNode::new(&config, view, logger)
            .map_err(|error| Error::with_detail(Code::Internal, format!("raft: {error}")))?;
        let reads = Reads::new(options.node, options.boot_nonce);
        let mut peer = Self {
            options,
            region,
            raw,
            applied,
            recorded_commit,
            proposals: Proposals::default(),
            reads,
            fresh: Vec::new(),
            answers: Vec::new(),
            ticks: 0,
            truncate_allowed: LogIndex(0),
            flushed: applied.index,
            outbox: Outbox::default(),
            handed_over: HandedOver::default(),
            timer,
            refused_messages: 0,
        };
        peer.timer.redraw(&mut peer.raw.raft);
        Ok(peer)
    }

    /// True when this member alone decides elections.
    #[must_use]
    pub fn is_only_voter(&self) -> bool {
        let members = &self.region.members;
        members.voters == [self.options.node.get()] && members.voters_outgoing.is_empty()
    }

    /// The region as of the last applied change.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Messages that the validator turned away.
    #[must_use]
    pub fn refused_messages(&self) -> u64 {
        self.refused_messages
    }

    /// True when something waits for the next apply report: a read for its index, a new leader for its first entry,
    /// the first replay for its end.
    #[must_use]
    pub fn awaits_report(&self) -> bool {
        let unsettled_leader = self.is_leader() && !self.is_settled();
        let asked = !self.reads.is_empty() || self.outbox.holds_answers();
        asked || unsettled_leader || self.applied.index < self.recorded_commit
    }

    /// The index up to which the log waits to be truncated for a flush of the engine, if it does.
    #[must_use]
    pub fn wants_flush(&self) -> Option<LogIndex> {
        (self.truncate_allowed > self.flushed).then_some(self.truncate_allowed)
    }

    /// This peer's standing.
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
            commit_index: LogIndex(raft.raft_log.committed),
            applied_index: self.applied.index,
            last_index: LogIndex(raft.raft_log.last_index()),
            applied_term: self.applied.term,
            replayed: self.applied.index >= self.recorded_commit,
        }
    }

    /// One tick of the raft clock, and everything that is due by it.
    pub fn on_tick(&mut self, now: Timestamp) {
        self.ticks += 1;
        self.raw.tick();
        self.timer.redraw(&mut self.raw.raft);
        self.expire(now);
        if self.is_leader() {
            self.tell_commit();
            if self.ticks.is_multiple_of(TRUNCATE_CHECK_TICKS) {
                self.propose_truncate(now);
            }
        }
        let retry = self.options.tick * (self.options.heartbeat_ticks as u32 * READ_RETRY_HEARTBEATS);
        self.ask_again(now - retry, now);
    }

    /// Anything else that reaches this peer.
    pub fn on_input(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Message(message) => self.on_message(*message),
            Input::Propose(propose) => self.fresh.push(propose),
            Input::Read(read) => self.on_read(read, now),
            Input::LocalRead(read) => self.reads.push_local(read, self.recorded_commit),
            Input::Applied(applied) => self.on_applied(applied, now),
            Input::Flushed(index) => self.flushed = self.flushed.max(index),
            Input::Unreachable(node) => self.raw.report_unreachable(node.get()),
            Input::Campaign => drop(self.raw.campaign()),
        }
        self.timer.redraw(&mut self.raw.raft);
    }

    /// Hands this round's writes and reads to raft, once every input is in.
    pub fn begin_round(&mut self, now: Timestamp) {
        self.propose_fresh(now);
        if let Some(id) = self.reads.ask_fresh(now) {
            self.raw.read_index(id);
        }
    }

    /// True when writes wait only because the last round had its fill of them.
    #[must_use]
    pub fn has_more_to_propose(&self) -> bool {
        self.is_leader() && !self.fresh.is_empty()
    }

    /// First half of a turn: what must become durable, and what may leave before. None when nothing is to do.
    pub fn begin_turn(&mut self) -> Result<Option<BegunTurn>> {
        let mut turn = BegunTurn {
            messages: self.release_answers(),
            write: LogWrite::new(self.region.id),
            ready: None,
            committed: Vec::new(),
        };
        turn.write.truncate_to = self.truncation()?;
        if self.raw.has_ready() {
            self.take_ready(&mut turn);
        }
        let idle = turn.ready.is_none() && turn.write.is_empty() && turn.messages.is_empty();
        Ok(if idle { None } else { Some(turn) })
    }

    /// Second half: the write of the first is durable.
    pub fn finish_turn(&mut self, turn: BegunTurn) -> FinishedTurn {
        let BegunTurn { write, ready, mut committed, .. } = turn;
        let mut finished = FinishedTurn { messages: Vec::new(), commit_guard: None, task: None };
        let Some(mut ready) = ready else { return finished };
        let stored_commit = write.hard_state.as_ref().map_or(0, |hard_state| hard_state.commit);
        self.raw.mut_store().append(write.entries);
        let mut messages = ready.take_persisted_messages();
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().set_commit(commit);
        }
        messages.extend(light.take_messages());
        committed.extend(light.take_committed_entries());
        finished.messages = self.outgoing(messages);
        finished.commit_guard = self.commit_guard(&committed, stored_commit);
        finished.task = self.settle(committed);
        finished
    }

    /// Takes out the answers that are due, in order.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        let served_up_to = if self.is_settled() { None } else { Some(self.applied.index) };
        let position = Position { index: self.applied.index, term: self.applied.term };
        let local = self.reads.take_local(self.applied.index);
        let ready = self.reads.take_ready(served_up_to).into_iter().chain(local);
        self.answers.extend(ready.map(|read| (read.completion, Ok(position))));
        std::mem::take(&mut self.answers)
    }

    /// Answers everything that waits because the peer ends: `unknown` for what is in the log, `refused` for what
    /// certainly is not.
    pub fn abandon(&mut self, unknown: &Error, refused: &Error) -> Vec<Answer> {
        let mut answers = std::mem::take(&mut self.answers);
        let undecided = self.proposals.abandon().into_iter();
        answers.extend(undecided.map(|completion| (completion, Err(unknown.clone()))));
        let waiting = self.fresh.drain(..).map(|propose| propose.completion).chain(self.reads.abandon());
        answers.extend(waiting.map(|completion| (completion, Err(refused.clone()))));
        answers
    }

    /// Proposes a membership change at once; for scripts, until changes have an interface of their own.
    #[cfg(test)]
    pub fn propose_change(&mut self, change: raft::eraftpb::ConfChangeV2) {
        self.raw.propose_conf_change(Vec::new(), change).expect("a leader without a pending change");
    }

    fn on_message(&mut self, message: PeerMessage) {
        if let Err(refusal) = self.validate(&message.message) {
            return self.refuse_message(&message.message, refusal);
        }
        if self.handed_over.bytes() > HANDED_OVER_BYTES_MAX && !message.message.entries.is_empty() {
            // The engine is behind. What is not taken is not acknowledged, and comes again.
            return;
        }
        // raft would let an unsettled leader confirm reads, and a follower pass them on; the asker asks again.
        if message.message.get_msg_type() == MessageType::MsgReadIndex && !self.is_settled() {
            return;
        }
        // An error here is raft's way to say that it ignored the message.
        let _ = self.raw.step(message.message);
    }

    fn refuse_message(&mut self, message: &Message, refusal: Refusal) {
        self.refused_messages += 1;
        // At doubling intervals: a broken peer must not fill the host's log.
        if self.refused_messages.is_power_of_two() {
            let (region, total) = (self.region.id, self.refused_messages);
            log::warn!(
                "region {region}: dropped a message of node {}: {refusal} ({total} so far)",
                message.from
            );
        }
    }

    fn validate(&self, message: &Message) -> std::result::Result<(), Refusal> {
        let raft = &self.raw.raft;
        let guarded = Guarded {
            node: self.options.node,
            region: &self.region,
            term: Term(raft.term),
            role: raft.state,
            last_index: LogIndex(raft.raft_log.last_index()),
        };
        validator::check(message, guarded)
    }

    fn on_read(&mut self, read: Read, now: Timestamp) {
        if read.deadline <= now {
            self.answers.push((read.completion, Err(Error::new(Code::ReadTimeout))));
        } else {
            self.reads.push(read);
        }
    }

    fn on_applied(&mut self, applied: Applied, now: Timestamp) {
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
        self.handed_over.report(applied.state.index);
        self.raw.advance_apply_to(applied.state.index.get());
        self.raw.mut_store().evict(applied.state.index);
        if let Some(index) = applied.truncate_to {
            self.truncate_allowed = self.truncate_allowed.max(index);
        }
        if self.is_settled() && !was_settled {
            // Reads that came before the term's first entry was applied were dropped by raft.
            self.ask_again(now, now);
        }
    }

    /// Hands the writes of this round to raft in one step, so that they become one append and one message a peer.
    fn propose_fresh(&mut self, now: Timestamp) {
        if self.fresh.is_empty() || (self.leader().is_none() && !self.fresh.iter().any(|p| p.deadline <= now))
        {
            return;
        }
        let fresh = std::mem::take(&mut self.fresh);
        match self.leader() {
            _ if self.is_leader() => self.propose_some(fresh, now),
            Some(leader) => self.refuse(fresh, &Error::not_leader(leader)),
            None => {
                let (late, waiting) = fresh.into_iter().partition(|propose| propose.deadline <= now);
                self.fresh = waiting;
                self.refuse(late, &Error::new(Code::NoLeader));
            }
        }
    }

    fn propose_some(&mut self, mut fresh: Vec<Propose>, now: Timestamp) {
        let mut bytes = 0;
        let full = |propose: &Propose| {
            bytes += propose.data.len();
            bytes > PROPOSE_BYTES_MAX
        };
        let fits = fresh.iter().position(full).unwrap_or(fresh.len()).max(1);
        self.fresh = fresh.split_off(fits.min(fresh.len()));
        self.propose(fresh, now);
    }

    fn propose(&mut self, fresh: Vec<Propose>, now: Timestamp) {
        let (late, fresh): (Vec<_>, Vec<_>) = fresh.into_iter().partition(|propose| propose.deadline <= now);
        self.refuse(late, &Error::new(Code::DeadlineBeforeStart));
        let first = LogIndex(self.raw.raft.raft_log.last_index()).next();
        let term = Term(self.raw.raft.term);
        if let Err(error) = self.append_as_leader(fresh.iter().map(|propose| propose.data.clone())) {
            let dropped = Error::with_detail(Code::Overloaded, format!("raft: {error}"));
            return self.refuse(fresh, &dropped);
        }
        for (propose, index) in fresh.into_iter().zip(first.get()..) {
            let (index, completion) = (LogIndex(index), Some(propose.completion));
            let deadline = propose.deadline;
            self.proposals.push(Proposal { term, index, proposed_at: now, deadline, completion });
        }
    }

    fn append_as_leader(&mut self, data: impl Iterator<Item = Bytes>) -> raft::Result<()> {
        let mut message = Message { from: self.options.node.get(), ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.entries = data.map(|data| Entry { data, ..Default::default() }).collect::<Vec<_>>().into();
        if message.entries.is_empty() { Ok(()) } else { self.raw.raft.step(message) }
    }

    fn refuse(&mut self, proposals: Vec<Propose>, error: &Error) {
        self.answers.extend(proposals.into_iter().map(|propose| (propose.completion, Err(error.clone()))));
    }

    fn take_ready(&mut self, turn: &mut BegunTurn) {
        let mut ready = self.raw.ready();
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
        for state in ready.take_read_states() {
            self.reads.resolve(&state.request_ctx, LogIndex(state.index));
        }
        let messages = ready.take_messages();
        turn.messages.extend(self.outgoing(messages));
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
        self.handed_over.add(&entries);
        let settled = self.proposals.settle(&entries);
        let overwritten = settled.overwritten.into_iter();
        self.answers.extend(overwritten.map(|completion| (completion, Err(Error::new(Code::Overwritten)))));
        Some(ApplyTask { region: self.region.id, entries, proposals: settled.committed })
    }

    fn commit_guard(&self, committed: &[Entry], stored_commit: u64) -> Option<LogWrite> {
        let change = committed.iter().rfind(|entry| entry.get_entry_type() != EntryType::EntryNormal)?;
        (change.index > stored_commit).then(|| LogWrite {
            hard_state: Some(self.raw.store().hard_state().clone()),
            ..LogWrite::new(self.region.id)
        })
    }

    /// raft's messages as they leave.
    fn outgoing(&mut self, messages: Vec<Message>) -> Vec<PeerMessage> {
        let sender = self.sender();
        let sent = self.outbox.hold_back(messages, sender);
        sent.into_iter().map(|message| self.dress(message)).collect()
    }

    fn release_answers(&mut self) -> Vec<PeerMessage> {
        let sender = self.sender();
        let due = self.outbox.release_answers(sender);
        due.into_iter().map(|answer| self.dress(answer)).collect()
    }

    fn sender(&self) -> Sender {
        let raft = &self.raw.raft;
        Sender { leads: self.is_leader(), term: raft.term, applied: raft.raft_log.applied }
    }

    fn dress(&self, message: Message) -> PeerMessage {
        PeerMessage { region: self.region.id, epoch: self.region.epoch, message }
    }

    /// Followers learn a commit with the next append. When none follows they learn it here.
    fn tell_commit(&mut self) {
        if self.outbox.must_tell(self.applied.index) {
            self.raw.ping();
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let unknown = |completion| (completion, Err(Error::new(Code::Timeout)));
        self.answers.extend(self.proposals.expire(now).into_iter().map(unknown));
        let late = if self.leader().is_none() { Code::NoLeader } else { Code::ReadTimeout };
        let expired = self.reads.expire(now).into_iter();
        self.answers.extend(expired.map(|completion| (completion, Err(Error::new(late)))));
        let local = self.reads.expire_local(now).into_iter();
        self.answers.extend(local.map(|completion| (completion, Err(Error::new(Code::ReadTimeout)))));
    }

    fn ask_again(&mut self, asked_before: Timestamp, now: Timestamp) {
        if self.leader().is_some()
            && let Some(id) = self.reads.ask_again(asked_before, now)
        {
            self.raw.read_index(id);
        }
    }

    /// Orders a truncation up to what every member has, once the log is longer than it needs to be.
    fn propose_truncate(&mut self, now: Timestamp) {
        let log = self.raw.store();
        if log.retained_bytes() < 2 * self.options.log_retain_bytes
            || self.truncate_allowed > log.truncated().0
        {
            return;
        }
        let matched = self.raw.raft.prs().iter().map(|(_, progress)| progress.matched).min().unwrap_or(0);
        let index = log
            .index_before_bytes(self.options.log_retain_bytes)
            .min(LogIndex(matched))
            .min(self.applied.index);
        if index > log.truncated().0 && self.is_settled() {
            log::debug!("region {} at {now:?}: ordering truncation up to {index}", self.region.id);
            let order = seal_truncate(index, self.region.epoch.version);
            // Refused for now is fine: the next check orders again.
            let _ = self.append_as_leader(std::iter::once(order));
        }
    }

    fn truncation(&mut self) -> Result<Option<(LogIndex, Term)>> {
        let index = self.truncate_allowed.min(self.flushed);
        if index <= self.raw.store().truncated().0 {
            return Ok(None);
        }
        let truncated = self.raw.mut_store().truncate_to(index);
        truncated.map(Some).map_err(|error| Error::with_detail(Code::Corruption, error.to_string()))
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
        self.is_leader() && self.applied.term.get() == self.raw.raft.term
    }
}

fn raft_config(options: &PeerOptions, applied: LogIndex, window_ticks: (usize, usize)) -> Config {
    Config {
        id: options.node.get(),
        election_tick: options.election_ticks,
        min_election_tick: window_ticks.0,
        max_election_tick: window_ticks.1,
        heartbeat_tick: options.heartbeat_ticks,
        applied: applied.get(),
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
        max_committed_size_per_ready: COMMITTED_BYTES_MAX,
        max_uncommitted_size: options.uncommitted_bytes_max,
        check_quorum: true,
        pre_vote: true,
        skip_bcast_commit: true,
        // raft would join the messages of a follower that catches up into one without a bound; what a round proposes
        // is one append anyway.
        batch_append: false,
        ..Default::default()
    }
}

/// What the log and the engine of one directory say must fit together (DESIGN 7).
fn check_recovered(log: &LogState, applied: ApplyState) -> Result<()> {
    let (truncated, last) = (log.truncated.0, log.last.0);
    if applied.index < truncated || applied.index > last || log.hard_state.commit > last.get() {
        let said = format!(
            "the log holds entries {} to {last} with commit {}, but the engine has applied {}",
            truncated.next(),
            log.hard_state.commit,
            applied.index
        );
        return Err(Error::with_detail(Code::Corruption, said));
    }
    Ok(())
}
