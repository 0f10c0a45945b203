//! What a peer owes whose log lost its end.
//!
//! Owns the judgement when a peer that lacks entries which it had acknowledged may take part in elections again. Until
//! then its vote, or its own candidacy, could elect a leader without entries that were committed with its help. What
//! always holds: it has them back once it holds, durably, everything up to a read index that a leader confirmed after
//! this peer started: whatever was acknowledged before lies below it, and a leader that counted an acknowledgement of
//! an earlier boot counts it no more (`peer/returning`). The end on record only adds that the leader is no older than
//! what was lost.

use crate::types::{LogIndex, Term};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostEnd {
    /// Where the log ended when that was last on record; it may have reached further.
    reached: (LogIndex, Term),
    /// The read index that a leader confirmed since this peer started.
    confirmed: Option<LogIndex>,
    /// Up to where the log is known to be that of the leader of this term.
    verified: (Term, LogIndex),
    /// Ticks without a known leader.
    leaderless_ticks: usize,
}

impl LostEnd {
    /// Nothing of a log that once reached this entry is back yet.
    #[must_use]
    pub(crate) fn new(reached: (LogIndex, Term)) -> Self {
        let verified = (Term(0), LogIndex(0));
        Self { reached, confirmed: None, verified, leaderless_ticks: 0 }
    }

    /// True until a leader has confirmed a read index.
    #[must_use]
    pub(crate) fn needs_read_index(&self) -> bool {
        self.confirmed.is_none()
    }

    /// A leader confirmed `index` as an answer to a question of this boot.
    pub(crate) fn confirm(&mut self, index: LogIndex) {
        self.confirmed.get_or_insert(index);
    }

    /// Whether a peer that holds every committed entry up to this one durably has back what it lost.
    #[must_use]
    pub(crate) fn is_back(&self, (index, term): (LogIndex, Term)) -> bool {
        let (reached, reached_term) = self.reached;
        // A log is as recent as its last entry's term, then as its length (raft paper, 5.4.1). A committed entry of a
        // later term decides what became of all entries of the earlier one.
        let covers = (term, index) >= (reached_term, reached);
        covers && self.confirmed.is_some_and(|confirmed| index >= confirmed)
    }

    /// The log matches that of the leader of `term` up to `index`.
    pub(crate) fn verify(&mut self, term: Term, index: LogIndex) {
        self.verified = self.verified.max((term, index));
    }

    /// As much of a commit index of a leader of `term` as may be believed. A leader tells what it once heard
    /// acknowledged; with its end the log may have lost an overwriting, and what was overwritten is back.
    #[must_use]
    pub(crate) fn believable(&self, term: Term, commit: LogIndex) -> LogIndex {
        if self.verified.0 == term { commit.min(self.verified.1) } else { LogIndex(0) }
    }

    /// For how many ticks in a row no leader is known.
    #[must_use]
    pub(crate) fn leaderless_ticks(&self) -> usize {
        self.leaderless_ticks
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, term: Term, last: LogIndex) {
        assert!(self.verified.0 <= term, "no leader is of a term that is still to come");
        let is_here = self.verified.0 < term || self.verified.1 <= last;
        assert!(is_here, "what is known to be the leader's is in the log");
        assert!(self.reached.1 <= term, "a term is on disk before an entry of it");
    }

    /// A tick has passed.
    pub(crate) fn tick(&mut self, has_leader: bool) {
        self.leaderless_ticks = if has_leader { 0 } else { self.leaderless_ticks + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACHED: (LogIndex, Term) = (LogIndex(20), Term(7));

    fn confirmed(index: u64) -> LostEnd {
        let mut lost_end = LostEnd::new(REACHED);
        lost_end.confirm(LogIndex(index));
        lost_end
    }

    #[test]
    fn the_end_is_back_once_a_confirmed_read_index_and_the_record_are_covered() {
        assert!(!confirmed(18).is_back((LogIndex(19), Term(7))), "the record is not covered");
        assert!(confirmed(18).is_back((LogIndex(20), Term(7))));
        assert!(!confirmed(25).is_back((LogIndex(24), Term(7))), "what others committed is not");
        assert!(confirmed(25).is_back((LogIndex(25), Term(7))));
    }

    #[test]
    fn a_commit_of_a_later_term_covers_a_longer_log_of_an_earlier_one() {
        assert!(confirmed(9).is_back((LogIndex(9), Term(8))));
        assert!(!confirmed(9).is_back((LogIndex(30), Term(6))));
    }

    #[test]
    fn a_commit_index_is_believed_as_far_as_the_leader_of_its_term_has_shown_its_log() {
        let mut lost_end = LostEnd::new(REACHED);
        assert_eq!(lost_end.believable(Term(8), LogIndex(12)), LogIndex(0));

        lost_end.verify(Term(8), LogIndex(10));
        assert_eq!(lost_end.believable(Term(8), LogIndex(12)), LogIndex(10));
        assert_eq!(lost_end.believable(Term(8), LogIndex(9)), LogIndex(9));
        assert_eq!(lost_end.believable(Term(9), LogIndex(9)), LogIndex(0), "another leader, another log");
    }

    #[test]
    fn nothing_is_back_before_a_leader_has_answered() {
        assert!(!LostEnd::new(REACHED).is_back((LogIndex(100), Term(100))));
    }
}
