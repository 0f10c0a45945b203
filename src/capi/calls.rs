//! The calls of a store that can be cancelled.
//!
//! Owns their numbers. What always holds: a number is never used again; a call is kept until it is answered, or until
//! nobody can answer it any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::completion::call::Call;

/// The calls of one store that have a number and no answer yet.
#[derive(Default)]
pub(super) struct Calls {
    open: Mutex<Numbered>,
}

#[derive(Default)]
pub(super) struct Numbered {
    open: HashMap<u64, Call>,
    last: u64,
    /// So many are looked through for those that nobody removes.
    looked_at: usize,
}

/// Fewer calls are never looked through.
const LOOKED_AT_MIN: usize = 1024;

impl Calls {
    pub(super) fn lock(&self) -> MutexGuard<'_, Numbered> {
        // No code of others runs under this lock, so its state is whole even after a panic elsewhere.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbered {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Keeps a call until it is answered.
    pub(super) fn add(&mut self, number: u64, call: Call) {
        if self.open.len() >= self.looked_at.max(LOOKED_AT_MIN) {
            // A queue that was freed takes its answers with it, and with them who would have removed their calls.
            self.open.retain(|_, call| call.is_open());
            // Twice what is left, so that each call pays for one look on average.
            self.looked_at = 2 * self.open.len();
        }
        self.open.insert(number, call);
    }

    /// The call of this number, unless it is answered.
    pub(super) fn find(&self, number: u64) -> Option<Call> {
        self.open.get(&number).cloned()
    }

    /// Forgets a call that is answered.
    pub(super) fn remove(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::completion::Waiter;
    use crate::completion::deadlines::any_call;

    #[test]
    fn calls_whose_answers_nobody_takes_do_not_pile_up() {
        let mut calls = Numbered::default();
        let call = || any_call(Arc::<Waiter>::default().sink());
        let (_open, first) = call();
        calls.add(1, first);

        for number in 2..=10_000 {
            let (answered, call) = call();
            drop(answered);
            calls.add(number, call);
        }

        assert!(calls.open.len() <= 2 * LOOKED_AT_MIN, "{} are kept", calls.open.len());
        assert!(calls.open[&1].is_open(), "a call without an answer is kept");
    }
}
