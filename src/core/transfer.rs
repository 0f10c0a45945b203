//! A leader that hands over.
//!
//! Owns the one transfer a leader may have under way and the question how it went. What always holds: whoever asked
//! for it is answered once; a transfer ends with its term. The TimeoutNow itself is raft's, the lease around them is
//! [`lease`](super::lease)'s.

use crate::completion::{Completion, Position};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{NodeId, Term};

/// Asks a leader to hand over.
#[derive(Debug)]
pub(crate) struct TransferRequest {
    /// Who shall lead; none leaves the choice to the leader.
    pub target: Option<NodeId>,
    /// When the caller is answered at the latest.
    pub deadline: Timestamp,
    /// Its answer.
    pub completion: Completion,
}

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Who shall lead.
    pub target: NodeId,
    /// The term it began in.
    pub term: Term,
    /// When the caller is answered at the latest.
    pub deadline: Timestamp,
    /// Its answer.
    pub completion: Completion,
}

/// What the peer knows at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CurrentLeader {
    /// Current term.
    pub term: Term,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// raft still tries to hand over.
    pub trying: bool,
}

impl Transfer {
    /// How it went; none while that is open.
    #[must_use]
    pub(crate) fn outcome(&self, leadership: CurrentLeader, now: Timestamp) -> Option<Result<Position>> {
        assert!(leadership.term >= self.term, "terms never fall");
        assert!(self.term > Term(0), "a leader began it");
        let given_up = leadership.term == self.term && !leadership.trying;
        match leadership.leader {
            Some(leader) if leadership.term > self.term && leader == self.target => {
                Some(Ok(Position::default()))
            }
            Some(leader) if leadership.term > self.term => Some(Err(Error::not_leader(leader))),
            // The TimeoutNow may still be under way to the target.
            _ if given_up || self.deadline <= now => Some(Err(Error::new(Code::Timeout))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::completion::Waiter;

    fn outcome(term: u64, leader: Option<u64>, trying: bool, now: u64) -> Option<Option<Code>> {
        let transfer = Transfer {
            target: NodeId(2),
            term: Term(7),
            deadline: Timestamp(100),
            completion: Arc::new(Waiter::default()).completion(),
        };
        let leadership = CurrentLeader { term: Term(term), leader: leader.map(NodeId), trying };
        transfer.outcome(leadership, Timestamp(now)).map(|outcome| outcome.err().map(|error| error.code()))
    }

    #[test]
    fn it_is_done_when_the_target_leads_a_later_term() {
        assert_eq!(outcome(7, Some(1), true, 50), None);
        assert_eq!(outcome(8, None, false, 50), None);
        assert_eq!(outcome(8, Some(2), false, 50), Some(None));
    }

    #[test]
    fn it_failed_when_another_member_leads() {
        assert_eq!(outcome(8, Some(3), false, 50), Some(Some(Code::NotLeader)));
    }

    #[test]
    fn it_timed_out_when_raft_gives_up_or_the_deadline_passes() {
        assert_eq!(outcome(7, Some(1), false, 50), Some(Some(Code::Timeout)));
        assert_eq!(outcome(7, Some(1), true, 100), Some(Some(Code::Timeout)));
        assert_eq!(outcome(8, None, false, 100), Some(Some(Code::Timeout)));
    }
}
