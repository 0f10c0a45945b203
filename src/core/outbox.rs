//! What a peer tells the others, and what it keeps to itself.
//!
//! Owns the rule that a follower never runs ahead of its leader (ARCHITECTURE.md, invariant 2): it hears of no commit
//! beyond what its leader's peer knows to be applied. What always holds: every message of raft passes here; a commit
//! index in an append or heartbeat is cut to the applied index; a read-index answer is never cut but waits; a leader's
//! vote answer carries no commit at all; a TimeoutNow says how far the target's log goes.

use raft::eraftpb::{Message, MessageType};

use crate::core::heartbeats::kind_of;
use crate::core::planted::{self, Fault};
use crate::core::ports::PeerMessage;
use crate::types::LogIndex;

/// Who sends, at this moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sender {
    /// It leads.
    pub leads: bool,
    /// Its term.
    pub term: u64,
    /// raft's own applied index, never an older copy: the append that carries the next membership change must carry a
    /// commit at or past the previous one.
    pub applied: u64,
    /// How far the log of the member that is to take over is known to go, if one is.
    pub transferee_matched: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Read-index answers for followers, which wait until the applied index has come as far.
    held_confirmations: Vec<Message>,
    held_answers_max: usize,
    /// The commit index followers were last told, and so need not be told again.
    told_commit: LogIndex,
    /// Messages that leave without raft, and may at once.
    queued: Vec<PeerMessage>,
}

impl Outbox {
    /// Nothing told yet; so many answers may wait while the engine stands still.
    #[must_use]
    pub(crate) fn new(held_answers_max: usize) -> Self {
        Self {
            held_confirmations: Vec::new(),
            held_answers_max,
            told_commit: LogIndex(0),
            queued: Vec::new(),
        }
    }

    /// A heartbeat, or the answer to one, as it may leave now.
    pub(crate) fn hold_back_heartbeat(message: &mut Message, sender: Sender) {
        assert!(kind_of(message).is_some(), "of others more is kept");
        hold_back_commit(message, sender);
    }

    /// raft's messages as they may leave now. Answers that must wait stay here.
    pub(crate) fn hold_back(&mut self, messages: Vec<Message>, sender: Sender) -> Vec<Message> {
        let mut sent = Vec::with_capacity(messages.len());
        for mut message in messages {
            if message.get_msg_type() == MessageType::MsgReadIndexResp && message.index > sender.applied {
                self.hold(message);
                continue;
            }
            hold_back_commit(&mut message, sender);
            if message.get_msg_type() == MessageType::MsgAppend {
                self.told_commit = self.told_commit.max(LogIndex(message.commit));
            }
            sent.push(message);
        }
        assert!(self.told_commit.get() <= sender.applied || planted::is_any(), "a follower hears of no more");
        sent
    }

    /// Messages that may leave as they are.
    pub(crate) fn queue(&mut self, messages: impl IntoIterator<Item = PeerMessage>) {
        self.queued.extend(messages);
    }

    /// Takes out what was [queued](Self::queue).
    pub(crate) fn take_queued(&mut self) -> Vec<PeerMessage> {
        std::mem::take(&mut self.queued)
    }

    /// True when something is queued, or an answer waits.
    #[must_use]
    pub(crate) fn has_any(&self) -> bool {
        !self.queued.is_empty() || self.holds_confirmations()
    }

    /// How many messages are queued.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Keeps an answer until it may leave. When a follower has enough of them, its newest takes the place of the one
    /// before: a later answer serves earlier questions too. The older ones stay, since they leave first; where the
    /// engine is behind for long and questions keep coming, none would leave otherwise.
    fn hold(&mut self, answer: Message) {
        let theirs = |held: &&Message| held.to == answer.to;
        if self.held_confirmations.iter().filter(theirs).count() >= self.held_answers_max {
            let before = self.held_confirmations.iter().rposition(|held| held.to == answer.to);
            self.held_confirmations.remove(before.expect("counted above"));
        }
        assert!(answer.index > 0, "an answer has a read index");
        self.held_confirmations.push(answer);
    }

    /// The read-index answers that had to wait and need not any more. An answer must not be cut to the applied index,
    /// as a commit is: the engine shows an entry before its report is here, and a leader read may have shown it
    /// already.
    pub(crate) fn release_confirmations(&mut self, sender: Sender) -> Vec<Message> {
        if self.held_confirmations.is_empty() {
            return Vec::new();
        }
        // What a leader of an older term confirmed, its follower asks for again.
        self.held_confirmations.retain(|answer| sender.leads && answer.term == sender.term);
        self.held_confirmations.extract_if(.., |answer| answer.index <= sender.applied).collect()
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, sender: Sender) {
        assert!(self.told_commit.get() <= sender.applied, "followers hear of what is applied here");
        assert!(self.queued.is_empty(), "what leaves without raft leaves in its round");
        assert!(self.held_confirmations.is_empty() || sender.leads, "only a leader answers questions");
        for held in &self.held_confirmations {
            assert!(held.index > sender.applied, "what need not wait leaves");
            assert_eq!(held.term, sender.term, "what an earlier leader confirmed is asked for again");
            let theirs = self.held_confirmations.iter().filter(|other| other.to == held.to).count();
            assert!(theirs <= self.held_answers_max, "so many wait at most");
        }
    }

    /// True while an answer waits.
    #[must_use]
    pub(crate) fn holds_confirmations(&self) -> bool {
        !self.held_confirmations.is_empty()
    }

    /// Whether followers have yet to hear of `applied`; from now on they count as told.
    pub(crate) fn mark_told(&mut self, applied: LogIndex) -> bool {
        let news = self.told_commit < applied;
        self.told_commit = self.told_commit.max(applied);
        news
    }

    /// Whether the others were told of every commit up to `applied`.
    #[must_use]
    pub(crate) fn has_told(&self, applied: LogIndex) -> bool {
        self.told_commit >= applied
    }
}

fn hold_back_commit(message: &mut Message, sender: Sender) {
    match message.get_msg_type() {
        MessageType::MsgAppend | MessageType::MsgHeartbeat if planted::has(Fault::FullCommitTold) => {}
        MessageType::MsgAppend | MessageType::MsgHeartbeat => {
            message.commit = message.commit.min(sender.applied);
        }
        // A target whose log has grown beyond this has heard of later entries: the TimeoutNow is stale (lease, rule 5).
        MessageType::MsgTimeoutNow => message.index = sender.transferee_matched,
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse
            if sender.leads && !planted::has(Fault::CommitInVoteAnswer) =>
        {
            // It may arrive late, and the asker is nobody's follower then.
            message.commit = 0;
            message.commit_term = 0;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD_MAX: usize = 8;
    const LEADER: Sender = Sender { leads: true, term: 6, applied: 10, transferee_matched: 8 };

    fn message(msg_type: MessageType, number: u64) -> Message {
        let mut message =
            Message { term: 6, index: number, commit: number, commit_term: 6, ..Message::default() };
        message.set_msg_type(msg_type);
        message
    }

    #[test]
    fn commits_are_cut_to_the_applied_index() {
        let messages = vec![message(MessageType::MsgAppend, 12), message(MessageType::MsgHeartbeat, 9)];

        let sent = Outbox::new(HELD_MAX).hold_back(messages, LEADER);

        assert_eq!(sent.iter().map(|message| message.commit).collect::<Vec<_>>(), [10, 9]);
    }

    #[test]
    fn a_leaders_vote_answer_carries_no_commit_and_a_followers_does() {
        let sent = |sender| {
            Outbox::new(HELD_MAX).hold_back(vec![message(MessageType::MsgRequestVoteResponse, 12)], sender)
        };

        assert_eq!(sent(LEADER)[0].commit, 0);
        assert_eq!(sent(Sender { leads: false, ..LEADER })[0].commit, 12);
    }

    #[test]
    fn a_read_index_answer_waits_and_is_forgotten_with_the_term() {
        let mut outbox = Outbox::new(HELD_MAX);
        assert!(outbox.hold_back(vec![message(MessageType::MsgReadIndexResp, 12)], LEADER).is_empty());

        assert!(outbox.release_confirmations(Sender { applied: 11, ..LEADER }).is_empty());
        assert_eq!(outbox.release_confirmations(Sender { applied: 12, ..LEADER })[0].index, 12);

        outbox.hold_back(vec![message(MessageType::MsgReadIndexResp, 12)], LEADER);
        assert!(outbox.release_confirmations(Sender { term: 7, applied: 12, ..LEADER }).is_empty());
        assert!(!outbox.holds_confirmations());
    }

    #[test]
    fn a_timeout_now_says_how_far_the_targets_log_goes() {
        let sent = Outbox::new(HELD_MAX).hold_back(vec![message(MessageType::MsgTimeoutNow, 0)], LEADER);

        assert_eq!(sent[0].index, 8);
    }

    #[test]
    fn only_so_many_answers_of_a_follower_wait_the_first_ones_and_the_newest() {
        let mut outbox = Outbox::new(3);
        let answer = |to, index| Message { to, ..message(MessageType::MsgReadIndexResp, index) };
        for index in 11..=20 {
            outbox.hold_back(vec![answer(2, index)], LEADER);
        }
        outbox.hold_back(vec![answer(3, 21)], LEADER);

        let first = outbox.release_confirmations(Sender { applied: 12, ..LEADER });
        let others = outbox.release_confirmations(Sender { applied: 21, ..LEADER });

        let indices = |answers: &[Message]| answers.iter().map(|answer| answer.index).collect::<Vec<_>>();
        assert_eq!((indices(&first), indices(&others)), (vec![11, 12], vec![20, 21]));
    }

    #[test]
    fn followers_are_told_once() {
        let mut outbox = Outbox::new(HELD_MAX);

        assert!(outbox.mark_told(LogIndex(10)));
        assert!(!outbox.mark_told(LogIndex(10)));
    }
}
