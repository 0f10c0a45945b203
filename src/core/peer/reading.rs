//! A peer's reads and the lease under which it answers them.
//!
//! Owns the choice between lease and read index, the questions to the quorum, and the renewal of the lease. The queue
//! is [`reads`](crate::core::reads), the rules of the lease are [`lease`](crate::core::lease).

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};

use super::{Peer, PeerOptions};
use crate::completion::Position;
use crate::core::lease::Lease;
use crate::core::planted::{self, Fault};
use crate::core::proposals::Proposal;
use crate::core::reads::{Asked, Questions, Read, Reads};
use crate::error::{Code, Error};
use crate::time::Timestamp;
use crate::types::{LogIndex, Term};

/// An unresolved read is asked for again after this many heartbeats.
const READ_RETRY_HEARTBEATS: u32 = 2;

/// What a peer keeps of reads, its own and its followers'.
pub(super) struct Reading {
    /// Of this member's callers.
    pub(super) reads: Reads,
    /// Of followers, in this term.
    pub(super) questions: Questions,
    pub(super) lease: Lease,
}

impl Reading {
    pub(super) fn new(options: &PeerOptions) -> Self {
        Self {
            reads: Reads::new(options.node, options.boot),
            questions: Questions::default(),
            lease: Lease::new(options.lease_max),
        }
    }
}

impl Peer {
    pub(super) fn on_read(&mut self, read: Read) {
        if read.deadline <= self.now {
            let late = self.failure(Code::ReadTimeout);
            return self.answers.push((read.completion, Err(late)));
        }
        if self.holds_lease(self.now) {
            return self.reading.reads.push_leased(read);
        }
        let (term, now, lease, leads) = (self.term(), self.now, &self.reading.lease, self.is_leader());
        let may_join = |asked: Asked| leads && asked.term == term && lease.may_join(asked.at, now);
        if let Err(read) = self.reading.reads.join(read, may_join) {
            self.reading.reads.push(read);
        }
    }

    /// The error of a local read that did not find by its deadline what it waits for.
    pub(super) fn late_local_read(&self, min_index: LogIndex) -> Error {
        let late = self.failure(Code::ReadTimeout);
        late.of_local_read(self.options.node, self.apply.index(), min_index)
    }

    pub(super) fn on_local_read(&mut self, read: Read) {
        if read.deadline <= self.now {
            let late = self.late_local_read(read.min_index);
            return self.answers.push((read.completion, Err(late)));
        }
        let is_ignored = planted::has(Fault::MinIndexIgnored);
        let read = if is_ignored { Read { min_index: LogIndex(0), ..read } } else { read };
        self.reading.reads.push_local(read, self.apply.recorded_commit());
    }

    /// Asks for the reads that arrived in this round.
    pub(super) fn ask_fresh(&mut self) {
        if let Some(id) = self.reading.reads.ask_fresh(self.asked()) {
            self.raw.read_index(id);
        }
    }

    /// Asks again for what nobody answered for long.
    pub(super) fn ask_again_late(&mut self) {
        if !self.reading.reads.is_asking() {
            return;
        }
        let retry = self.options.tick * (self.options.heartbeat_ticks as u32 * READ_RETRY_HEARTBEATS);
        self.ask_again(self.now - retry);
    }

    pub(super) fn ask_again(&mut self, asked_before: Timestamp) {
        #[cfg(any(test, feature = "simulation"))]
        if self.leader().is_some() && planted::has(Fault::QuestionAskedAgainUnderItsId) {
            let id = self.reading.reads.ask_again_under_the_same_id(asked_before, self.now);
            return id.into_iter().for_each(|id| self.raw.read_index(id));
        }
        if self.leader().is_some()
            && let Some(id) = self.reading.reads.ask_again(asked_before, self.now)
        {
            self.raw.read_index(id);
        }
    }

    /// A quorum has confirmed a question of this leader, or a leader one of this follower.
    pub(super) fn on_read_confirmed(&mut self, id: &[u8], index: LogIndex) {
        let Some(asked) = self.reading.reads.resolve(id, index) else { return };
        if let Some(lost_end) = &mut self.lost_end {
            lost_end.confirm(index);
        }
        if self.is_leader() && asked.term == self.term() {
            self.reading.lease.renew_by_read_index(asked.at);
        }
    }

    /// Answers a follower's question without asking the quorum, if the lease allows it.
    pub(super) fn answer_by_lease(&mut self, question: &Message) -> bool {
        let holds = self.reading.lease.is_valid(self.now);
        if holds {
            assert!(
                self.has_applied_own_term(),
                "a leader confirms no read before it has applied an entry of its term"
            );
            let raft = &self.raw.raft;
            let mut answer = Message {
                from: self.options.node.get(),
                to: question.from,
                term: raft.term,
                index: raft.raft_log.committed,
                entries: question.entries.clone(),
                ..Message::default()
            };
            answer.set_msg_type(MessageType::MsgReadIndexResp);
            let leaving = self.through_outbox(vec![answer]);
            self.outbox.queue(leaving);
        }
        holds
    }

    /// Whether the lease is about to end and should be renewed on this tick: with the heartbeat before that, so that the
    /// questions of many regions leave together.
    pub(super) fn wants_renewal(&self) -> bool {
        self.reading.lease.wants_renewal(self.now + self.pace().renews_ahead(self.timer.ticks()))
    }

    /// Renews a lease that is about to end, so that a healthy leader always has one.
    pub(super) fn renew_lease(&mut self) {
        if !self.wants_renewal() || !self.has_applied_own_term() || self.is_handing_over() {
            return;
        }
        let newest_at = self.writes.proposals.newest_at();
        if self.reading.lease.is_suspect() {
            // After a transfer that came to nothing: one later entry is enough, however long its commit takes.
            if !newest_at.is_some_and(|at| self.reading.lease.is_cleared_by(at)) {
                self.propose_empty();
            }
            return;
        }
        let covered = newest_at.is_some_and(|at| self.now < at + self.reading.lease.max() / 3);
        if !covered && let Some(id) = self.reading.reads.ask_renewal(self.asked()) {
            self.raw.read_index(id);
        }
    }

    pub(super) fn renew_lease_by_commit(&mut self, term: Term, proposed_at: Timestamp) {
        if self.is_leader() && term == self.term() {
            assert!(proposed_at <= self.now, "what is committed was proposed before");
            let late = planted::has(Fault::LeaseFromAcknowledgement);
            self.reading.lease.renew_by_commit(if late { self.now } else { proposed_at }, self.now);
        }
    }

    /// A lease tells at once what the open questions would tell later.
    pub(super) fn answer_open_reads_by_lease(&mut self) {
        if self.holds_lease(self.now) {
            self.reading.reads.confirm_by_lease();
        }
    }

    /// Lets callers know of the lease, or of its end.
    pub(in crate::core) fn publish_lease(&mut self) {
        let position = Position { index: self.apply.index(), term: self.apply.term() };
        self.reading.lease.publish(self.has_applied_own_term().then_some(position));
    }

    fn propose_empty(&mut self) {
        assert!(self.is_leader(), "only a leader proposes");
        let index = LogIndex(self.raw.raft.raft_log.last_index()).next();
        if self.append_as_leader(std::iter::once(Default::default())).is_ok() {
            let (term, proposed_at) = (self.term(), self.now);
            self.writes.proposals.push(Proposal {
                term,
                index,
                proposed_at,
                requests: Vec::new(),
                data: Bytes::new(),
            });
        }
    }

    pub(super) fn asked(&self) -> Asked {
        Asked { term: self.term(), at: self.now }
    }
}
