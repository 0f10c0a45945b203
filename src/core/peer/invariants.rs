//! What always holds of a peer between two rounds.
//!
//! Owns no state: it looks at a peer's parts and at how they fit together. Tests and the simulator ask after every round;
//! production does not pay for it. A peer with a planted fault is not looked at, so that others have to find the fault.

use raft::StateRole;

use super::Peer;
use crate::core::planted;

impl Peer {
    /// Looks at all of it.
    ///
    /// # Panics
    /// When something does not hold.
    pub(in crate::core) fn check_invariants(&self) {
        if planted::is_any() {
            return;
        }
        self.check_progress();
        self.check_writes();
        self.check_roles();
        self.check_nothing_is_left_to_say();
    }

    /// Applied, committed and logged are one behind the other, and raft and this peer agree on them.
    fn check_progress(&self) {
        let log = &self.raw.raft.raft_log;
        let applied = self.apply.index().get();
        assert_eq!(log.applied, applied, "raft knows what is applied");
        assert!(applied <= log.committed, "what is applied was committed");
        assert!(log.committed <= log.last_index(), "what is committed is in the log");
        assert!(self.apply.term() <= self.term(), "no entry is of a term that is still to come");
        assert!(
            self.truncation.allowed() <= self.apply.index(),
            "a truncation is allowed when it is applied"
        );
        let first = log.first_index();
        assert!(first <= applied + 1, "what is not applied is not truncated");
        assert!(self.outbox.told_commit() <= self.apply.index(), "followers hear of what is applied here");
    }

    /// Each write is in one place, and what is counted is there.
    fn check_writes(&self) {
        let theirs = self.writes.proposals.check_order(self.term());
        let waiting = self.writes.pending.check_bytes();
        // The rest is on its way through the applier.
        assert!(theirs + waiting <= self.writes.attempts.in_flight(), "writes of followers are counted");
        self.writes.forwarder.check_order();
        assert!(
            self.writes.forwarder.term() <= self.term(),
            "nothing is sent in a term that is still to come"
        );
        assert!(self.writes.last_own.0.get() <= self.raw.raft.raft_log.committed, "it was committed");
    }

    /// What this peer does follows from its role.
    fn check_roles(&self) {
        let role = self.raw.raft.state;
        let leads_in = (role == StateRole::Leader).then(|| self.term());
        assert_eq!(
            self.writes.attempts.term(),
            leads_in,
            "a leader accepts writes for its term, nobody else any"
        );
        if leads_in.is_none() {
            assert_eq!(
                self.writes.pending.check_bytes(),
                0,
                "only a leader has writes of followers to propose"
            );
        }
        if self.lost_end.is_some() {
            assert_eq!(role, StateRole::Follower, "who lacks the end of its log neither leads nor wants to");
        }
    }

    /// A round says all that it has to say.
    fn check_nothing_is_left_to_say(&self) {
        assert!(self.answers.is_empty(), "a round ends with its answers");
        assert!(self.outbox.queued() == 0, "what leaves without raft leaves in its round");
    }
}
