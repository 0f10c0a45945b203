//! Shrinks a history without a linearization to a few operations without one.
//!
//! Owns the minimization of a violation that exhaustive search found, which by itself points at no operation.
//! Operations are weakened while the history remains impossible: a read to an unanswered one, a write to one of unknown
//! outcome. A weaker history allows every linearization that the stronger one allows, so the original is impossible if
//! the result is.

use super::history::{Action, Operation, Verdict};
use super::violation::Violation;

/// Most checks for one history: enough to isolate a few dozen operations among 20,000.
const CHECKS_MAX: usize = 500;

/// The violation of the smallest impossible history found.
pub(crate) fn reduced(
    history: &[Operation],
    violation: Violation,
    check: impl Fn(&[Operation]) -> Result<(), Violation>,
) -> Violation {
    let mut weakest = history.to_vec();
    let mut smallest = violation;
    let mut open: Vec<usize> = (0..history.len()).filter(|&place| is_strong(&history[place])).collect();
    let mut checks = 0;
    let mut chunk = open.len().div_ceil(2);
    while chunk > 0 {
        let mut needed = Vec::new();
        for places in open.chunks(chunk) {
            let trial = weakened(&weakest, places);
            checks += 1;
            match check(&trial) {
                Err(violation) if checks < CHECKS_MAX => (weakest, smallest) = (trial, violation),
                _ => needed.extend_from_slice(places),
            }
        }
        open = needed;
        chunk = if checks < CHECKS_MAX { chunk / 2 } else { 0 };
    }
    smallest.shown_as_in(history)
}

fn is_strong(operation: &Operation) -> bool {
    operation.verdict == Verdict::Ok
}

fn weakened(history: &[Operation], places: &[usize]) -> Vec<Operation> {
    let mut trial = history.to_vec();
    for &place in places {
        let operation = &mut trial[place];
        operation.verdict = Verdict::Unknown;
        if let Action::Read { observed, .. } | Action::Transaction { observed, .. } = &mut operation.action {
            observed.clear();
        }
    }
    trial
}
