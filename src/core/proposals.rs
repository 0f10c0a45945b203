//! Proposals that wait for their entries to commit.
//!
//! Owns the queue of this member's proposals in one region. What always holds: it is ordered by (term, index); a
//! proposal is found by both, never by the index alone, because another leader's entry may stand at its index; a
//! proposal answered at its deadline keeps its slot until its entry is decided; a leader that steps down keeps all
//! of them, for they may still succeed.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

use crate::completion::Completion;
use crate::core::applier::CommittedProposal;
use crate::time::Timestamp;
use crate::types::{LogIndex, Term};

/// One proposed entry of this member.
#[derive(Debug)]
pub struct Proposal {
    /// Term in which it was proposed.
    pub term: Term,
    /// Index it was given.
    pub index: LogIndex,
    /// Clock when it was proposed, before any message about it left.
    pub proposed_at: Timestamp,
    /// When the caller is answered at the latest.
    pub deadline: Timestamp,
    /// None once the caller was answered.
    pub completion: Option<Completion>,
}

/// What committed entries mean for the queue.
#[derive(Debug, Default)]
pub struct Settled {
    /// Own proposals among the entries, in log order.
    pub committed: Vec<CommittedProposal>,
    /// Proposals whose place was taken by another leader's entry: certainly not applied.
    pub overwritten: Vec<Completion>,
    /// Propose time of the newest own committed entry: a quorum followed this leader at that moment.
    pub newest_proposed_at: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Proposals {
    queue: VecDeque<Proposal>,
}

impl Proposals {
    /// Adds the newest proposal.
    pub fn push(&mut self, proposal: Proposal) {
        if let Some(last) = self.queue.back() {
            assert!(
                (last.term, last.index) < (proposal.term, proposal.index),
                "a later proposal has a later term or index"
            );
        }
        self.queue.push_back(proposal);
    }

    /// Takes out every proposal that `entries`, newly committed, decide.
    pub fn settle(&mut self, entries: &[Entry]) -> Settled {
        let mut settled = Settled::default();
        if self.queue.is_empty() {
            return settled;
        }
        for entry in entries {
            let decided = (Term(entry.term), LogIndex(entry.index));
            while self.queue.front().is_some_and(|front| (front.term, front.index) <= decided) {
                let proposal = self.queue.pop_front().expect("just seen");
                settled.take(proposal, decided);
            }
        }
        settled
    }

    /// Takes out the completions whose deadline has passed; their entries stay undecided.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Completion> {
        let due = |proposal: &mut Proposal| {
            (proposal.deadline <= now).then(|| proposal.completion.take()).flatten()
        };
        self.queue.iter_mut().filter_map(due).collect()
    }

    /// Empties the queue, giving back what is still unanswered.
    pub fn abandon(&mut self) -> Vec<Completion> {
        self.queue.drain(..).filter_map(|proposal| proposal.completion).collect()
    }

    /// How many proposals are undecided.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when nothing is undecided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Settled {
    fn take(&mut self, proposal: Proposal, decided: (Term, LogIndex)) {
        if (proposal.term, proposal.index) == decided {
            self.newest_proposed_at = Some(proposal.proposed_at);
            let Proposal { index, completion, .. } = proposal;
            self.committed.push(CommittedProposal { index, completion });
        } else {
            assert!(proposal.term < decided.0, "within a term every index commits in turn");
            self.overwritten.extend(proposal.completion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::Waiter;
    use std::sync::Arc;

    fn proposals(places: &[(u64, u64)]) -> Proposals {
        let mut proposals = Proposals::default();
        for &(term, index) in places {
            proposals.push(Proposal {
                term: Term(term),
                index: LogIndex(index),
                proposed_at: Timestamp(index),
                deadline: Timestamp(1000 + index),
                completion: Some(Arc::new(Waiter::default()).completion()),
            });
        }
        proposals
    }

    fn entries(places: &[(u64, u64)]) -> Vec<Entry> {
        places.iter().map(|&(term, index)| Entry { term, index, ..Default::default() }).collect()
    }

    #[test]
    fn a_committed_entry_is_found_by_term_and_index() {
        let mut queue = proposals(&[(2, 7), (2, 8), (2, 9)]);

        let settled = queue.settle(&entries(&[(2, 7), (2, 8)]));

        assert_eq!(settled.committed.iter().map(|c| c.index.get()).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(settled.newest_proposed_at, Some(Timestamp(8)));
        assert!(settled.overwritten.is_empty());
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_entry_of_a_later_term_overwrites_every_older_proposal() {
        let mut queue = proposals(&[(2, 7), (2, 8), (5, 8)]);

        let settled = queue.settle(&entries(&[(3, 7)]));

        assert_eq!((settled.committed.len(), settled.overwritten.len()), (0, 2));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_older_entry_decides_nothing() {
        let mut queue = proposals(&[(2, 7)]);

        let settled = queue.settle(&entries(&[(1, 6)]));

        assert!(settled.committed.is_empty() && settled.overwritten.is_empty());
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_expired_proposal_keeps_its_slot_without_its_completion() {
        let mut queue = proposals(&[(2, 7), (2, 8)]);

        assert_eq!(queue.expire(Timestamp(1007)).len(), 1);
        assert_eq!(queue.expire(Timestamp(1007)).len(), 0);
        let settled = queue.settle(&entries(&[(2, 7), (2, 8)]));

        assert!(settled.committed[0].completion.is_none());
        assert!(settled.committed[1].completion.is_some());
    }
}
