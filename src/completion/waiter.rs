//! A thread that waits for its own answer.
//!
//! Owns the slot for the answer and the wake-up. What always holds: an answer is taken once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Completion, Reply, Sink};
use crate::error::Result;

/// Lets a thread wait for its own answer.
#[derive(Default)]
pub(crate) struct Waiter {
    answer: Mutex<Option<Result<Reply>>>,
    answered: Condvar,
}

impl Waiter {
    /// Stores the answer and wakes the waiting thread.
    pub(crate) fn set(&self, answer: Result<Reply>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.answered.notify_one();
    }

    /// A completion whose answer wakes this waiter.
    #[must_use]
    pub(crate) fn completion(self: &Arc<Self>) -> Completion {
        Completion::new(self.sink())
    }

    /// A sink that wakes this waiter.
    #[must_use]
    pub(crate) fn sink(self: &Arc<Self>) -> Box<dyn Sink> {
        Box::new(WaiterSink(Arc::clone(self)))
    }

    /// Waits for the answer of a call that has a deadline.
    ///
    /// # Errors
    /// Those of the call.
    pub(crate) fn answer(&self) -> Result<Reply> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.answered.wait_while(answer, |answer| answer.is_none());
        answer.unwrap_or_else(PoisonError::into_inner).take().expect("waited for above")
    }

    /// Waits for the answer; none when it did not arrive within `timeout`.
    #[must_use]
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Result<Reply>> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut answer, _) = self
            .answered
            .wait_timeout_while(answer, timeout, |answer| answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        answer.take()
    }
}

struct WaiterSink(Arc<Waiter>);

impl Sink for WaiterSink {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        self.0.set(answer);
    }
}
