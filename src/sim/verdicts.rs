//! Reported outcomes of forwarded writes.
//!
//! Owns, for one region, the outcome of every forwarded write as first reported: by its leader, in an answer, or by the
//! member that forwarded it, from its own log. What always holds: every later report of the same write has the same
//! outcome.

use std::collections::BTreeMap;

use crate::completion::Reply;
use crate::core::forwarding::{ForwardAnswer, Origin};
use crate::error::{Refusal, Result};
use crate::sim::invariants::Check;

/// What the caller of a write is told: its place in the log, or why it had no effect.
type Outcome = std::result::Result<Reply, Refusal>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// By member, boot, and number of the write in that boot.
    outcomes: BTreeMap<(u64, u64, u64), Outcome>,
}

impl Verdicts {
    /// A leader is about to send this answer.
    pub(crate) fn on_answer(&mut self, answer: &ForwardAnswer) -> Check {
        let origin = Origin { node: answer.to, boot: answer.boot };
        answer
            .verdicts
            .iter()
            .try_for_each(|verdict| self.note(origin, verdict.number, verdict.outcome.clone()))
    }

    /// A member has found these writes of its own in its log.
    pub(crate) fn on_own_applied(&mut self, origin: Origin, own: &[(u64, Result<Reply>)]) -> Check {
        let outcome = |told: &Result<Reply>| told.clone().map_err(|error| Refusal::of(&error));
        own.iter().try_for_each(|(number, told)| self.note(origin, *number, outcome(told)))
    }

    fn note(&mut self, origin: Origin, number: u64, outcome: Outcome) -> Check {
        let first = self.outcomes.entry((origin.node.get(), origin.boot, number));
        let first = first.or_insert_with(|| outcome.clone());
        if *first == outcome {
            return Ok(());
        }
        let Origin { node, boot } = origin;
        Err(format!("write {number} of boot {boot} of {node} was told to be {first:?}, and now {outcome:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::Position;
    use crate::core::forwarding::Verdict;
    use crate::effects::Effects;
    use crate::error::{Code, Error};
    use crate::types::{LogIndex, NodeId, Term, Version};

    const ORIGIN: Origin = Origin { node: NodeId(2), boot: 42 };

    fn place(index: u64) -> Reply {
        let index = LogIndex(index);
        Reply::to_write(Position { index, term: Term(7) }, Version::of(index, 2), Effects::default())
    }

    fn answer(outcome: Outcome) -> ForwardAnswer {
        let (from, to) = (NodeId(1), ORIGIN.node);
        let verdicts = vec![Verdict { number: 3, outcome }];
        ForwardAnswer { from, to, boot: ORIGIN.boot, attempt: 1, verdicts, refused: None }
    }

    #[test]
    fn the_leader_and_the_log_report_the_same_outcome() {
        let mut verdicts = Verdicts::default();

        assert_eq!(verdicts.on_answer(&answer(Ok(place(8)))), Ok(()));

        assert_eq!(verdicts.on_own_applied(ORIGIN, &[(3, Ok(place(8)))]), Ok(()));
        assert!(verdicts.on_own_applied(ORIGIN, &[(3, Ok(place(9)))]).is_err());
        assert!(
            verdicts
                .on_answer(&answer(Err(Refusal { code: Code::RegionChanged, precondition: None })))
                .is_err()
        );
    }

    #[test]
    fn a_write_of_another_boot_is_a_different_write() {
        let mut verdicts = Verdicts::default();
        let changed = Err(Error::new(Code::RegionChanged));

        assert_eq!(verdicts.on_own_applied(ORIGIN, &[(3, changed)]), Ok(()));

        assert_eq!(verdicts.on_own_applied(Origin { boot: 43, ..ORIGIN }, &[(3, Ok(place(8)))]), Ok(()));
        assert!(verdicts.on_answer(&answer(Ok(place(8)))).is_err());
    }
}
