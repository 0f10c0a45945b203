//! What always holds of a peer between two rounds.
//!
//! Owns no state: it looks at a peer's parts and at how they fit together. Tests and the simulator ask after every
//! round; production does not pay for it. A peer with a planted fault is not looked at, so that others have to find the
//! fault.

use raft::{StateRole, Storage};

use super::Peer;
use crate::core::planted;
use crate::types::{LogIndex, Term};

impl Peer {
    /// Looks at all of it.
    ///
    /// # Panics
    /// When something does not hold.
    pub(in crate::core) fn check_invariants(&self) {
        if planted::is_any() {
            return;
        }
        self.check_log();
        self.check_appends();
        self.check_progress();
        self.check_writes();
        self.check_reading();
        self.check_leadership();
        let has_nothing_to_do = !self.has_work() && self.is_in_peace();
        assert!(!self.rests() || has_nothing_to_do, "a peer that rests has nothing to do");
        self.check_lost_end();
        assert!(self.answers.is_empty(), "a round takes all answers that are due");
        self.outbox.check_invariants(self.sender());
        self.connections.check_invariants();
        self.region.check_invariants();
    }

    /// Applied, committed and logged are one behind the other, and raft and this peer agree on them.
    fn check_progress(&self) {
        let log = &self.raw.raft.raft_log;
        let applied = self.apply.index().get();
        self.apply.check_invariants(LogIndex(log.committed));
        assert!(log.applied == applied || self.is_installing(), "raft knows what is applied");
        assert!(applied <= log.committed, "what is applied was committed");
        assert!(log.committed <= log.last_index(), "what is committed is in the log");
        assert!(self.apply.term() <= self.term(), "no entry is of a term that is still to come");
        assert!(
            self.truncation.allowed() <= self.apply.index(),
            "a truncation is allowed when it is applied"
        );
        let first = log.first_index();
        assert!(first <= applied + 1 || self.is_installing(), "what is not applied is not truncated");
        assert!(!self.is_installing() || !self.is_leader(), "who takes in a snapshot does not lead");
    }

    /// raft and the view of its log agree, and nothing of a round is left to be written.
    fn check_log(&self) {
        let (raft, store) = (&self.raw.raft, self.raw.store());
        store.check_invariants();
        let hard_state = store.hard_state();
        assert_eq!((hard_state.term, hard_state.vote), (raft.term, raft.vote), "terms and votes are written");
        assert!(hard_state.commit <= raft.raft_log.committed, "a commit is known before it is written");
        assert_eq!(raft.raft_log.persisted, raft.raft_log.last_index(), "entries are written");
        assert_eq!(store.last_index().ok(), Some(raft.raft_log.last_index()), "raft and its log agree");
        assert_eq!(store.first_index().ok(), Some(raft.raft_log.first_index()), "raft and its log agree");
        assert!(!self.raw.has_ready(), "a round leaves nothing to do");
    }

    /// Reads wait for what may still come, and a lease is a leader's.
    fn check_reading(&self) {
        // Nothing can be read before there is anything, nor while a snapshot is taken in.
        let shows_nothing = self.lacks_data() || self.is_installing();
        let readable = (!shows_nothing).then(|| self.apply.index());
        self.reading.reads.check_invariants(readable);
        self.reading.questions.check_invariants();
        self.reading.lease.check_invariants();
        assert!(self.is_leader() || !self.reading.lease.is_valid(self.now), "only a leader has a lease");
        assert!(self.is_leader() || !self.reading.lease.is_suspect(), "a lease ends with its leadership");
        let shown = self.reading.lease.published().glimpse();
        assert!(
            shown.is_none() || self.has_applied_own_term(),
            "callers see the lease of a leader that has applied an entry of its term"
        );
        let of_term = shown.is_none_or(|glimpse| glimpse.position().term == self.term());
        assert!(of_term, "callers see the lease of this term");
    }

    /// Each write is in one place, and what is counted is there.
    fn check_writes(&self) {
        let log = &self.raw.raft.raft_log;
        let term = Term(log.term(log.committed).expect("what is committed last is not truncated"));
        self.writes.proposals.check_invariants(self.term(), (term, LogIndex(log.committed)));
        self.writes.pending.check_invariants();
        let counted = self.writes.proposals.forwarded_count() + self.writes.pending.forwarded_count();
        // The rest is on its way through the applier.
        assert!(counted <= self.writes.attempts.in_flight(), "writes of followers are counted");
        self.writes.forwarder.check_invariants();
        self.writes.attempts.check_invariants();
        let leads_in = self.is_leader().then(|| self.term());
        assert_eq!(
            self.writes.attempts.term(),
            leads_in,
            "a leader accepts writes for its term, nobody else any"
        );
        let has_to_propose = self.writes.pending.forwarded_count() > 0;
        assert!(self.is_leader() || !has_to_propose, "only a leader has writes of followers to propose");
        assert!(!self.writes.has_again || self.has_pending(), "what came back waits");
        assert!(
            self.writes.forwarder.term() <= self.term(),
            "nothing is sent in a term that is still to come"
        );
        assert!(
            self.writes.last_committed_own.0.get() <= self.raw.raft.raft_log.committed,
            "the last own entry that waits is committed"
        );
    }

    /// A change of leader is noticed in its round, and who leads has what a leader needs.
    fn check_leadership(&self) {
        assert!(self.leadership.raised_in <= self.term(), "nothing is proposed in a later term");
        assert!(self.region.level <= self.options.known_level, "what is applied can be read");
        let elapsed = self.raw.raft.heartbeat_elapsed();
        let keeps_time = elapsed == self.ticks_since_heartbeat();
        assert!(!self.is_leader() || keeps_time, "all heartbeats of a member leave on the same tick");
        let raft = &self.raw.raft;
        self.timer.check_invariants(raft);
        let seen = self.leadership.seen;
        assert_eq!(seen.term, self.term(), "a change of term is noticed in its round");
        assert_eq!((seen.leads, seen.leader), (self.is_leader(), self.leader()), "so is one of the leader");
        assert_eq!(self.is_leader(), self.leader() == Some(self.options.node), "who leads knows the leader");
        assert!(self.is_leader() || !self.is_handing_over(), "only a leader hands over");
        let of_term = self.leadership.transfer.as_ref().is_none_or(|transfer| transfer.term <= self.term());
        assert!(of_term, "a transfer is of no term to come");
        if self.is_leader() {
            let last = raft.raft_log.last_index();
            let is_ahead = |matched: u64| matched > last;
            let ahead = raft.prs().iter().any(|(_, progress)| is_ahead(progress.matched));
            assert!(!ahead, "nobody acknowledges what the leader has not got");
            assert!(raft.raft_log.last_term() == raft.term, "a leader begins with an entry of its term");
        }
    }

    /// Who lacks the end of its log stays out of elections.
    fn check_lost_end(&self) {
        if let Some(lost_end) = &self.lost_end {
            lost_end.check_invariants(self.term(), LogIndex(self.raw.raft.raft_log.last_index()));
            assert_eq!(
                self.raw.raft.state,
                StateRole::Follower,
                "who lacks the end of its log neither leads nor wants to"
            );
        }
    }
}
