//! What other members say to a peer.
//!
//! Owns the filtering and routing of incoming messages: what raft must not see, what it sees only sometimes,
//! and what is not for raft at all.

use raft::StateRole;
use raft::eraftpb::{Entry, Message, MessageType};

use super::Peer;
use crate::core::heartbeats::kind_of;
use crate::core::planted::{self, Fault};
use crate::core::ports::{Body, PeerMessage};
use crate::core::validator::{self, Guarded, Refusal};
use crate::types::{LogIndex, NodeId, Term};

impl Peer {
    pub(super) fn on_message(&mut self, message: PeerMessage) {
        match message.body {
            // Only a message that names them all may say what they say.
            Body::Raft(message) if kind_of(&message).is_some() => {
                self.refuse_message(&message, Refusal::Type);
            }
            Body::Raft(message) => self.on_raft_message(message),
            Body::Heartbeats(_) => unreachable!("each of them is an input of its own"),
            Body::Forward(forward) if self.is_known(forward.from, forward.to) => self.on_forward(forward),
            Body::ForwardAnswer(answer) if self.is_known(answer.from, answer.to) => {
                self.on_forward_answer(&answer)
            }
            Body::Forward(_) | Body::ForwardAnswer(_) => self.incoming.refused += 1,
        }
    }

    pub(super) fn on_raft_message(&mut self, mut message: Message) {
        if let Err(refusal) = self.validate(&message) {
            return self.refuse_message(&message, refusal);
        }
        assert_eq!(message.to, self.options.node.get(), "the validator has looked at it");
        if is_of_election(&message) {
            self.connections.on_voter(NodeId(message.from));
        }
        let passes = match message.get_msg_type() {
            _ if self.is_dropped_by_fault(&message) => false,
            // Nothing else adds to what the engine has to do, and questions carry their ids in entries.
            MessageType::MsgAppend if self.must_hold(&message) => return self.incoming.held.push(message),
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                self.cut_late_force(&mut message);
                !self.is_silent() && !self.lacks_end()
            }
            // With an engine that stands still it would serve nobody. The leader offers the leadership to another.
            MessageType::MsgTimeoutNow => {
                self.is_in_time(&message) && !self.is_stalled() && !self.must_not_lead()
            }
            // Answers to what it asked as a candidate or a leader mean nothing to a follower any more; but one that
            // carries a higher term would make it forget its leader, and the votes it owes to refuse (lease, rule 1).
            MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgAppendResponse
                if self.raw.raft.state == StateRole::Follower =>
            {
                planted::has(Fault::LateAnswersObeyedByFollowers)
            }
            MessageType::MsgAppendResponse if message.reject => self.is_news(&mut message),
            MessageType::MsgHeartbeatResponse => {
                self.cut_confirmation(&mut message);
                true
            }
            MessageType::MsgReadIndex => self.on_question(&message),
            _ => true,
        };
        if passes {
            self.step(message);
        }
    }

    /// A question of a follower: answers it by the lease, drops it, or returns true when raft is to ask the quorum.
    fn on_question(&mut self, question: &Message) -> bool {
        // raft would let a leader confirm reads before it has applied an entry of its term, and a follower pass them
        // on; the asker asks again.
        if !self.has_applied_own_term() {
            return false;
        }
        if self.answer_by_lease(question) {
            return false;
        }
        self.has_room_for(question) && self.takes_question(question)
    }

    fn step(&mut self, mut message: Message) {
        let (term, end) = (Term(message.term), end_of(&message));
        let kind = message.get_msg_type();
        let from = NodeId(message.from);
        match kind {
            MessageType::MsgHeartbeat => self.doubt_commit(&mut message),
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => self.hold_burst(&message),
            _ => {}
        }
        let before = self.term();
        // An error here is raft's way to say that it ignored the message.
        let _ = self.raw.step(message);
        assert!(self.term() >= before, "terms never fall");
        match kind {
            MessageType::MsgAppend => self.verify_up_to(term, end),
            MessageType::MsgRequestVote => self.notice_vote(from),
            MessageType::MsgHeartbeatResponse => self.ask_after_appends(from),
            _ => {}
        }
    }

    /// Whether another question of this follower may wait for the quorum. Those of others and the leader's own do not
    /// count: they come without end, and each that is refused would find them there again.
    fn has_room_for(&self, question: &Message) -> bool {
        let (raft, most) = (&self.raw.raft, self.options.limits.questions);
        let waiting = raft.read_only.pending_read_index.values();
        raft.pending_read_count() < most
            || waiting.filter(|waiting| waiting.req.from == question.from).count() < most
    }

    /// Records the question. False when its asker has asked it, or a newer one, before.
    fn takes_question(&mut self, question: &Message) -> bool {
        let asker = NodeId(question.from);
        let (questions, connections) = (&mut self.reading.questions, &self.connections);
        let count_of = |boot| connections.boot_count(asker, boot);
        let takes = |entry: &Entry| questions.take(&entry.data, asker, count_of);
        let is_new = question.entries.first().is_some_and(takes);
        is_new || planted::has(Fault::QuestionAskedAgainUnderItsId)
    }

    /// Cuts a rejection to what it may say; false when it is no news. raft takes a late one for the latest (raft-rs 557), and
    /// would go back to entries that the follower acknowledged since and that are truncated here: it could send it
    /// nothing more. Going back to what is still here does no harm.
    fn is_news(&self, rejection: &mut Message) -> bool {
        assert!(rejection.reject, "an acknowledgement is always news");
        let progress = self.raw.raft.prs().get(rejection.from);
        let matched = progress.map_or(0, |progress| progress.matched);
        let floor = matched.min(self.raw.store().truncated().0.get());
        let obeys = planted::has(Fault::LateRejectionsObeyed);
        if self.raw.raft.term != rejection.term || floor == 0 || obeys {
            return true;
        }
        if rejection.reject_hint < floor {
            rejection.reject_hint = floor;
        }
        // By the term raft would look for a place below the hint.
        rejection.log_term = 0;
        rejection.index > floor
    }

    /// The applier has more to do than this peer may add to.
    pub(super) fn is_behind(&self) -> bool {
        self.apply.is_behind()
    }

    /// The applier has more to do than any peer of the store may add to, also one that has nothing to do with it.
    pub(in crate::core) fn is_held_back_with_all(&self) -> bool {
        self.apply.is_behind_for_all()
    }

    /// Never, unless a fault is planted.
    fn is_dropped_by_fault(&self, message: &Message) -> bool {
        let drops = planted::has(Fault::ReadsDroppedBehindOthers);
        drops && !message.entries.is_empty() && self.apply.is_store_behind()
    }

    /// A member that was restarted does not know whether it just heard a leader whose lease its vote would break
    /// (lease, rule 6). It stays silent as long as it would have refused.
    fn is_silent(&self) -> bool {
        // Also if it seems to vote alone: its log may hold the change that gave others a vote.
        self.leadership.voted_before && self.timer.is_young()
    }

    /// Whether a TimeoutNow is as young as it says (lease, rule 5).
    fn is_in_time(&self, timeout_now: &Message) -> bool {
        let grown = self.raw.raft.raft_log.last_index() > timeout_now.index;
        !grown || planted::has(Fault::LateTimeoutNowAccepted)
    }

    /// Whoever obeys a TimeoutNow asks to skip the time in which a member refuses votes. Whose log is behind ours
    /// does so too late, and asks like anybody else (lease, rule 5).
    fn cut_late_force(&self, vote: &mut Message) {
        let log = &self.raw.raft.raft_log;
        let obeys = planted::has(Fault::ForceOfShorterLogsObeyed);
        if !log.is_up_to_date(vote.index, vote.log_term) && !obeys {
            vote.context.clear();
        }
    }

    /// Whoever a TimeoutNow may still mislead confirms no question (lease, rule 4).
    fn cut_confirmation(&self, heard: &mut Message) {
        let progress = self.raw.raft.prs().get(heard.from);
        let matched = LogIndex(progress.map_or(0, |progress| progress.matched));
        if !self.reading.lease.may_be_confirmed_by(matched) {
            heard.context.clear();
        }
    }

    fn refuse_message(&mut self, message: &Message, refusal: Refusal) {
        self.incoming.refused += 1;
        // At doubling intervals: a broken peer must not fill the host's log.
        if self.incoming.refused.is_power_of_two() {
            let (region, total) = (self.region.id, self.incoming.refused);
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
            turns_away: self.turns_away(NodeId(message.from)),
            term: self.term(),
            role: raft.state,
            leader: NodeId(raft.leader_id),
            last_index: LogIndex(raft.raft_log.last_index()),
        };
        validator::check(message, guarded)
    }
}

/// The last entry of an append, or the one in front of it when it has none.
fn end_of(append: &Message) -> (LogIndex, Term) {
    let before = (LogIndex(append.index), Term(append.log_term));
    append.entries.last().map_or(before, |entry| (LogIndex(entry.index), Term(entry.term)))
}

/// A question or an answer of an election, of which a member without its log's end sends none.
fn is_of_election(message: &Message) -> bool {
    use MessageType::{MsgRequestPreVote, MsgRequestPreVoteResponse, MsgRequestVote, MsgRequestVoteResponse};
    matches!(
        message.get_msg_type(),
        MsgRequestVote | MsgRequestVoteResponse | MsgRequestPreVote | MsgRequestPreVoteResponse
    )
}
