//! Proposals that wait for their entries to commit.
//!
//! Owns the queue of this member's proposals in one region. What always holds: it is ordered by (term, index); a
//! proposal is found by both, never by the index alone, because another leader's entry may stand at its index; a
//! request answered at its deadline keeps its slot until its entry is decided; a leader that steps down keeps all
//! of them, for they may still succeed, and the bytes of their entries, because what is overwritten is proposed again.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::Entry;

use crate::completion::Completion;
use crate::core::command::{writes_in, writes_of};
use crate::core::forwarding::RequestId;
use crate::core::planted::{self, Fault};
use crate::time::Timestamp;
use crate::types::{LogIndex, Term};

/// Who waits for the outcome of a write.
#[derive(Debug)]
pub(crate) enum Requester {
    /// A caller of this member.
    Caller(Completion),
    /// A caller of another member, which forwarded the write.
    Follower(RequestId),
}

/// One write in a proposed entry.
#[derive(Debug)]
pub(crate) struct Request {
    /// When the requester is answered at the latest.
    pub deadline: Timestamp,
    /// None once it was answered.
    pub requester: Option<Requester>,
}

impl Request {
    fn is_answered(&self) -> bool {
        self.requester.as_ref().is_some_and(Requester::is_answered)
    }
}

impl Requester {
    /// True for a caller who was answered, by a cancellation or its deadline.
    #[must_use]
    pub(crate) fn is_answered(&self) -> bool {
        match self {
            Self::Caller(completion) => completion.is_answered(),
            Self::Follower(_) => false,
        }
    }
}

/// One proposed entry of this member.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// Term in which it was proposed.
    pub term: Term,
    /// Index it was given.
    pub index: LogIndex,
    /// Clock when it was proposed, before any message about it left.
    pub proposed_at: Timestamp,
    /// Its writes, in order. None for an entry of the leader itself.
    pub requests: Vec<Request>,
    /// What the entry carries.
    pub data: Bytes,
}

/// A write whose place another leader's entry took: it is in no log, and never will be.
#[derive(Debug)]
pub(crate) struct Overwritten {
    /// Its encoded command.
    pub data: Bytes,
    /// Deadline for answering the requester.
    pub deadline: Timestamp,
    /// Who asked for it.
    pub requester: Requester,
}

/// A proposal of this member whose entry is committed.
#[derive(Debug)]
pub(crate) struct CommittedProposal {
    /// Where its entry stands.
    pub index: LogIndex,
    /// Who waits for each of its writes, in order. None for who was answered before, at the deadline.
    pub requesters: Vec<Option<Requester>>,
}

/// What committed entries mean for the queue.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Own proposals among the entries, in log order.
    pub committed: Vec<CommittedProposal>,
    /// Those whose places other entries took, in order, without those that were answered before.
    pub overwritten: Vec<Overwritten>,
    /// Term and propose time of the newest own committed entry: a quorum followed this leader after that moment.
    pub newest: Option<(Term, Timestamp)>,
}

/// What a raft snapshot means for the queue.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    /// They may be applied or not.
    pub unknown: Vec<Overwritten>,
    /// They are in no log.
    pub overwritten: Vec<Overwritten>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    queue: VecDeque<Proposal>,
}

impl Proposals {
    /// Adds the newest proposal.
    pub(crate) fn push(&mut self, proposal: Proposal) {
        assert_eq!(
            proposal.requests.len(),
            writes_of(&proposal.data),
            "somebody asked for each of its writes"
        );
        if let Some(last) = self.queue.back() {
            assert!(last.proposed_at <= proposal.proposed_at, "time passes");
            assert!(
                (last.term, last.index) < (proposal.term, proposal.index),
                "a later proposal has a later term or index"
            );
        }
        self.queue.push_back(proposal);
    }

    /// True when none is undecided.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes out every proposal that `entries`, newly committed, decide.
    pub(crate) fn decide(&mut self, entries: &[Entry]) -> Decided {
        let mut outcome = Decided::default();
        if self.queue.is_empty() {
            return outcome;
        }
        assert!(
            entries.is_sorted_by(|one, next| one.index + 1 == next.index),
            "committed entries have no gap"
        );
        for entry in entries {
            let decided = (Term(entry.term), LogIndex(entry.index));
            while let Some(front) = self.queue.front()
                && self.is_decided(front, decided)
            {
                let proposal = self.queue.pop_front().expect("just seen");
                outcome.take(proposal, decided);
            }
        }
        let rises = outcome.committed.is_sorted_by(|one, next| one.index < next.index);
        assert!(rises, "proposals are committed in the order of the log");
        outcome
    }

    /// A raft snapshot that ends with the entry at `last` takes the place of the log. Takes out what it decides, without
    /// those that were answered: proposals up to there, of which nothing is known, and later ones of earlier terms, which
    /// certainly are in no log, for terms never fall in one.
    pub(crate) fn skip_to(&mut self, last: (Term, LogIndex)) -> Skipped {
        let (mut skipped, mut lost) = (Decided::default(), Decided::default());
        let nobodys = (Term(u64::MAX), LogIndex(u64::MAX));
        while self.queue.front().is_some_and(|it| it.index <= last.1 || it.term < last.0) {
            let proposal = self.queue.pop_front().expect("just seen");
            let into = if proposal.index <= last.1 { &mut skipped } else { &mut lost };
            into.take(proposal, nobodys);
        }
        assert!(self.queue.iter().all(|it| it.index > last.1), "an earlier index is of an earlier term");
        assert!(
            skipped.committed.is_empty() && lost.committed.is_empty(),
            "nothing of it is known to be committed"
        );
        Skipped { unknown: skipped.overwritten, overwritten: lost.overwritten }
    }

    /// Takes out the requesters whose deadline has passed, or who were answered; their entries stay undecided.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Requester> {
        let requests = self.queue.iter_mut().flat_map(|proposal| &mut proposal.requests);
        requests
            .filter(|request| request.deadline <= now || request.is_answered())
            .filter_map(|request| request.requester.take())
            .collect()
    }

    /// Empties the queue, giving back who is still unanswered.
    pub(crate) fn abandon(&mut self) -> Vec<Requester> {
        let requests = self.queue.drain(..).flat_map(|proposal| proposal.requests);
        requests.filter_map(|request| request.requester).collect()
    }

    /// When the newest undecided entry was proposed.
    #[must_use]
    pub(crate) fn newest_at(&self) -> Option<Timestamp> {
        self.queue.back().map(|proposal| proposal.proposed_at)
    }

    /// Whether something that was proposed before `term` is undecided, and a caller of this member waits for it.
    #[must_use]
    pub(crate) fn awaits_fence(&self, term: Term) -> bool {
        if self.queue.front().is_none_or(|oldest| oldest.term >= term) {
            return false;
        }
        let older = self.queue.iter().take_while(|proposal| proposal.term < term);
        let mut requesters =
            older.flat_map(|proposal| &proposal.requests).filter_map(|it| it.requester.as_ref());
        requesters
            .any(|requester| matches!(requester, Requester::Caller(completion) if !completion.is_answered()))
    }

    /// How many callers of other members wait.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn forwarded_count(&self) -> u64 {
        let requests = self.queue.iter().flat_map(|proposal| &proposal.requests);
        let waiting = requests.filter_map(|request| request.requester.as_ref());
        waiting.filter(|requester| matches!(requester, Requester::Follower(_))).count() as u64
    }

    /// Looks at the order of what waits in `term`, behind the last committed entry.
    ///
    /// # Panics
    /// When it is not ordered by term and index, or of a later term.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn check_invariants(&self, term: Term, committed: (Term, LogIndex)) {
        let places: Vec<_> = self.queue.iter().map(|proposal| (proposal.term, proposal.index)).collect();
        assert!(places.is_sorted_by(|one, next| one < next), "proposals are ordered by term and index");
        assert!(places.last().is_none_or(|last| last.0 <= term), "nothing is proposed in a term to come");
        assert!(places.first().is_none_or(|first| *first > committed), "what is committed is decided");
        assert!(self.queue.iter().is_sorted_by_key(|proposal| proposal.proposed_at), "time passes");
    }

    /// How many proposals are undecided.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    fn is_decided(&self, front: &Proposal, decided: (Term, LogIndex)) -> bool {
        if planted::has(Fault::ProposalsByIndexAlone) {
            return front.index <= decided.1;
        }
        (front.term, front.index) <= decided
    }
}

impl Decided {
    fn take(&mut self, proposal: Proposal, decided: (Term, LogIndex)) {
        let Proposal { term, index, proposed_at, requests, data } = proposal;
        if (term, index) == decided || (index == decided.1 && planted::has(Fault::ProposalsByIndexAlone)) {
            self.newest = Some((term, proposed_at));
            let requesters = requests.into_iter().map(|request| request.requester).collect();
            self.committed.push(CommittedProposal { index, requesters });
        } else {
            assert!(term < decided.0 || planted::is_any(), "within a term every index commits in turn");
            let writes = requests.into_iter().zip(writes_in(&data));
            self.overwritten.extend(writes.filter_map(|(request, data)| {
                Some(Overwritten { data, deadline: request.deadline, requester: request.requester? })
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::Waiter;
    use crate::core::command::CommandBuilder;
    use std::sync::Arc;

    fn proposals(places: &[(u64, u64)]) -> Proposals {
        let mut proposals = Proposals::default();
        for &(term, index) in places {
            let requester = Some(Requester::Caller(Arc::new(Waiter::default()).completion()));
            proposals.push(Proposal {
                term: Term(term),
                index: LogIndex(index),
                proposed_at: Timestamp(index),
                requests: vec![Request { deadline: Timestamp(1000 + index), requester }],
                data: CommandBuilder::default().seal(1),
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

        let decided = queue.decide(&entries(&[(2, 7), (2, 8)]));

        assert_eq!(decided.committed.iter().map(|c| c.index.get()).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(decided.newest, Some((Term(2), Timestamp(8))));
        assert!(decided.overwritten.is_empty());
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_entry_of_a_later_term_overwrites_every_older_proposal() {
        let mut queue = proposals(&[(2, 7), (2, 8), (5, 8)]);

        let decided = queue.decide(&entries(&[(3, 7)]));

        assert_eq!((decided.committed.len(), decided.overwritten.len()), (0, 2));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_older_entry_decides_nothing() {
        let mut queue = proposals(&[(2, 7)]);

        let decided = queue.decide(&entries(&[(1, 6)]));

        assert!(decided.committed.is_empty() && decided.overwritten.is_empty());
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_expired_proposal_keeps_its_slot_without_its_completion() {
        let mut queue = proposals(&[(2, 7), (2, 8)]);

        assert_eq!(queue.expire(Timestamp(1007)).len(), 1);
        assert_eq!(queue.expire(Timestamp(1007)).len(), 0);
        let decided = queue.decide(&entries(&[(2, 7), (2, 8)]));

        assert!(decided.committed[0].requesters[0].is_none());
        assert!(decided.committed[1].requesters[0].is_some());
    }
}
