//! What one peer contributes to one round.
//!
//! Owns the way from raft's ready to effects: what must be durable, what may leave before that and what only after, and
//! what is committed and goes to the applier. What always holds: nothing that promises durability leaves before the
//! round's log write; every message of raft passes the outbox; a [`PeerReady`] is advanced in the same round, or the
//! store is poisoned.

use raft::Ready;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::Peer;
use crate::completion::{Position, WriteEvent};
use crate::core::applier::ApplyTask;
use crate::core::gathered::Gathered;
use crate::core::heartbeats::{Heartbeats, Single, kind_of};
use crate::core::outbox::{Outbox, Sender};
use crate::core::planted::{self, Fault};
use crate::core::ports::{Body, LogWrite, PeerMessage, RoundIo};
use crate::core::proposals::{CommittedProposal, Requester};
use crate::error::Result;
use crate::types::{LogIndex, Term};

/// What a peer wants done whose log write is not durable yet.
pub(crate) struct PeerReady {
    /// Messages that may leave before the log write: raft's of a leader (raft thesis 10.2.1), answers to followers'
    /// questions, forwarded writes and their answers.
    pub messages: Vec<PeerMessage>,
    /// What the round must make durable.
    pub write: LogWrite,
    /// What may leave only after it.
    persisted: Vec<Message>,
    ready: Option<Ready>,
    committed: Vec<Entry>,
}

/// What a peer wants done whose log write is durable.
pub(crate) struct PeerAdvanced {
    /// Votes, acknowledgements and what they set free.
    pub messages: Vec<PeerMessage>,
    /// A commit index that must be durable before `task` is handed on, because the task changes the configuration:
    /// otherwise power loss could bring back the old, perhaps smaller one, and let it elect itself.
    pub commit_guard: Option<LogWrite>,
    /// Newly committed entries with this member's proposals among them.
    pub task: Option<ApplyTask>,
}

impl Peer {
    /// Takes out what raft has to say of heartbeats, and may say before this round's log write, past everything that
    /// its other messages need. A leader's may always leave before. So may the answers to them: they promise nothing
    /// but the term. Whatever has a term or vote that is not on disk waits for it (`take_from_raft`).
    pub(crate) fn take_heartbeats(&mut self, gathered: &mut Gathered) {
        let raft = &self.raw.raft;
        let waits = self.term_and_vote() != (raft.term, raft.vote);
        if raft.msgs.is_empty() || (waits && !planted::has(Fault::HeartbeatBeforeItsTerm)) {
            return;
        }
        let (sender, region) = (self.sender(), &self.region);
        for mut message in self.raw.raft.msgs.extract_if(.., |message| kind_of(message).is_some()) {
            Outbox::hold_back_heartbeat(&mut message, sender);
            let single = Single::of_raft(&message).expect("it is picked out for that");
            gathered.add(region.id, region.epoch, single);
        }
    }

    /// What must become durable now, and what may leave before. None when nothing is to do.
    pub(crate) fn ready(&mut self) -> Result<Option<PeerReady>> {
        self.fill_windows();
        let mut found = PeerReady {
            messages: self.take_outgoing(),
            write: LogWrite::new(self.region.id),
            persisted: Vec::new(),
            ready: None,
            committed: Vec::new(),
        };
        found.write.truncate_to = self.carry_out_truncation()?;
        found.write.has_lost_end_back = self.try_recover_end()?;
        if self.raw.has_ready() {
            self.take_from_raft(&mut found);
        }
        let idle = found.ready.is_none() && found.write.is_empty() && found.messages.is_empty();
        Ok(if idle { None } else { Some(found) })
    }

    /// What the durable write of `ready` sets free.
    pub(crate) fn advance(&mut self, ready: PeerReady, io: &mut dyn RoundIo) -> PeerAdvanced {
        let PeerReady { write, persisted: mut messages, ready, mut committed, .. } = ready;
        let mut advanced = PeerAdvanced { messages: Vec::new(), commit_guard: None, task: None };
        let Some(ready) = ready else { return advanced };
        assert!(write.entries.is_sorted_by_key(|entry| entry.index), "what was written is a piece of a log");
        let stored_commit = write.hard_state.as_ref().map_or(0, |hard_state| hard_state.commit);
        let install = self.restore();
        self.raw.mut_store().append(write.entries);
        let mut light = self.raw.advance_append(ready);
        if let Some(head) = &install {
            // raft looks at all entries that are not applied when it asks for votes, and those are gone.
            self.raw.advance_apply_to(head.state.index.get());
        }
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().set_commit(commit);
        }
        let mut late = light.take_messages();
        self.send_snapshots(&mut late);
        self.count_appends(&late);
        messages.extend(late);
        committed.extend(light.take_committed_entries());
        advanced.messages = self.through_outbox(messages);
        advanced.commit_guard = self.commit_guard(&committed, stored_commit);
        advanced.task = self.on_committed(committed, io);
        if install.is_some() {
            let region = self.region.id;
            let task = advanced.task.take();
            let mut task = task.unwrap_or_else(|| ApplyTask::of(region));
            task.install = install;
            advanced.task = Some(task);
        }
        advanced
    }

    fn take_from_raft(&mut self, to: &mut PeerReady) {
        let mut ready = self.raw.ready();
        let before = self.term_and_vote();
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
        let term_or_vote_changed = self.term_and_vote() != before;
        for state in ready.take_read_states() {
            self.on_read_confirmed(&state.request_ctx, LogIndex(state.index));
        }
        let mut messages = ready.take_messages();
        to.persisted = ready.take_persisted_messages();
        // Among what waits for the write is also what raft made as a leader that stepped down in this round.
        self.send_snapshots(&mut messages);
        self.send_snapshots(&mut to.persisted);
        if term_or_vote_changed {
            // A sole voter leads as soon as it wants to. Its learners must not hear of a term that it could forget and
            // lead again with other entries.
            to.persisted.append(&mut messages);
        }
        messages.extend(to.persisted.extract_if(.., |message| self.leaves_early_by_fault(message)));
        to.messages.extend(self.through_outbox(messages));
        to.write.entries = ready.take_entries();
        // A commit index alone is not worth a write: it travels with the next one.
        if ready.must_sync() {
            to.write.hard_state = Some(self.raw.store().hard_state().clone());
        }
        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            assert!(to.write.truncate_to.is_none(), "the log that goes is not truncated first");
            to.write.truncate_to = Some((LogIndex(metadata.index), Term(metadata.term)));
        }
        to.committed = ready.take_committed_entries();
        to.ready = Some(ready);
    }

    fn on_committed(&mut self, entries: Vec<Entry>, io: &mut dyn RoundIo) -> Option<ApplyTask> {
        if entries.is_empty() {
            return None;
        }
        assert!(
            entries.is_sorted_by_key(|entry| entry.index),
            "entries are committed in the order of the log"
        );
        self.apply.hand_over(&entries);
        let decided = self.writes.proposals.decide(&entries);
        if let Some((term, proposed_at)) = decided.newest {
            self.renew_lease_by_commit(term, proposed_at);
        }
        self.requeue_overwritten(decided.overwritten);
        for CommittedProposal { index, requesters } in &decided.committed {
            let entry = &entries[(index.get() - entries[0].index) as usize];
            assert_eq!(entry.index, index.get(), "committed entries have no gap");
            let position = Position { index: *index, term: Term(entry.term) };
            tell(requesters, WriteEvent::Committed, position, io);
            if requesters.iter().flatten().any(|requester| matches!(requester, Requester::Caller(_))) {
                self.writes.last_committed_own = (position.index, position.term);
            }
        }
        Some(ApplyTask { entries, proposals: decided.committed, ..ApplyTask::of(self.region.id) })
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
        let due = self.outbox.release_confirmations(sender);
        let mut messages: Vec<_> = due.into_iter().map(|answer| self.addressed(Body::Raft(answer))).collect();
        messages.append(&mut self.outbox.take_queued());
        if self.writes.attempts.has_messages() {
            let answers = self.writes.attempts.take_messages().into_iter();
            messages.extend(answers.map(|answer| self.addressed(Body::ForwardAnswer(answer))));
        }
        messages
    }

    /// raft's messages as they leave.
    pub(super) fn through_outbox(&mut self, messages: Vec<Message>) -> Vec<PeerMessage> {
        // One that leads no more has no lease, and whoever obeys it now wins no election against a leader of a later
        // term: a majority has its votes in that term.
        let hands_over = messages.iter().any(|message| message.get_msg_type() == MessageType::MsgTimeoutNow);
        if hands_over && self.is_leader() {
            self.reading.lease.suspect(self.now, LogIndex(self.raw.raft.raft_log.last_index()));
        }
        let sender = self.sender();
        let sent = self.outbox.hold_back(messages, sender);
        sent.into_iter().map(|message| self.addressed(body_of(message))).collect()
    }

    pub(super) fn sender(&self) -> Sender {
        let raft = &self.raw.raft;
        let transferee = raft.lead_transferee.and_then(|target| raft.prs().get(target));
        Sender {
            leads: self.is_leader(),
            term: raft.term,
            applied: raft.raft_log.applied,
            transferee_matched: transferee.map_or(0, |progress| progress.matched),
        }
    }

    pub(super) fn addressed(&self, body: Body) -> PeerMessage {
        PeerMessage { region: self.region.id, epoch: self.region.epoch, body }
    }

    /// Term and vote as raft last handed them to the log's view.
    pub(super) fn term_and_vote(&self) -> (u64, u64) {
        let hard_state = self.raw.store().hard_state();
        (hard_state.term, hard_state.vote)
    }

    /// Never, unless a fault is planted.
    fn leaves_early_by_fault(&self, message: &Message) -> bool {
        use MessageType::{MsgAppendResponse, MsgRequestVoteResponse};
        match message.get_msg_type() {
            MsgAppendResponse => planted::has(Fault::AcknowledgeBeforeSync),
            MsgRequestVoteResponse => planted::has(Fault::VoteBeforeSync),
            _ => false,
        }
    }
}

/// What a message of raft is to the members.
fn body_of(message: Message) -> Body {
    match Single::of_raft(&message) {
        Some(single) => Body::Heartbeats(Heartbeats::of_one(single)),
        None => Body::Raft(message),
    }
}

/// Tells those of these callers who want to hear of it that their writes have reached this stage. Callers of other
/// members and those who were answered at their deadline hear nothing.
fn tell<'a>(
    requesters: impl IntoIterator<Item = &'a Option<Requester>>,
    event: WriteEvent,
    position: Position,
    io: &mut dyn RoundIo,
) {
    for requester in requesters {
        if let Some(Requester::Caller(completion)) = requester {
            io.happened(completion, event, position);
        }
    }
}
