//! Waiting for an answer, interruptible by Ctrl-C.
//!
//! Owns how a caller's thread waits: on a queue of its own, which it drains itself, so that no other thread is between
//! the answer and its caller. What always holds: the GIL is released during the wait, Python's signal handlers run at
//! least every [`SLICE`], and a call whose wait was ended by an exception is cancelled. That the answer arrives by the
//! call's deadline is guaranteed by the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use almadia::Call;
use almadia::CompletionQueue;
use almadia::{Code, Result};
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::exit::detached;

/// Maximum delay until Ctrl-C is noticed. A wake-up costs a few microseconds.
const SLICE: Duration = Duration::from_millis(50);

/// Where a call's callback stores the answer.
pub struct Slot<T>(Arc<Mutex<Option<Result<T>>>>);

impl<T> Slot<T> {
    /// Stores the answer.
    pub fn put(self, answer: Result<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// Submits a call and waits for its answer.
pub fn for_answer<T: Send>(
    py: Python<'_>,
    submit: impl FnOnce(&Arc<CompletionQueue>, Slot<T>) -> Result<Call> + Send,
) -> PyResult<T> {
    let queue = Arc::<CompletionQueue>::default();
    let slot = Arc::new(Mutex::new(None));
    let slice = || {
        let ran = queue.run(1, Some(SLICE));
        ran.map(|_| slot.lock().unwrap_or_else(PoisonError::into_inner).take())
    };
    let submitted = detached(py, || {
        let call = submit(&queue, Slot(Arc::clone(&slot)))?;
        slice().map(|answer| (call, answer))
    });
    let (call, mut answer) = submitted.or_raise(py)?;
    loop {
        if let Some(answer) = answer {
            return answer.or_raise(py);
        }
        if let Err(ended) = py.check_signals() {
            call.cancel();
            queue.abandon();
            return Err(ended);
        }
        answer = detached(py, slice).or_raise(py)?;
    }
}

/// Repeats `attempt`, which waits at most for the time it is given, until it succeeds, fails with a code other than
/// `again`, or `timeout` has passed.
pub fn in_slices<T: Send>(
    py: Python<'_>,
    timeout: Duration,
    again: Code,
    attempt: impl Fn(Duration) -> Result<T> + Sync,
) -> PyResult<T> {
    let until = Instant::now() + timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match detached(py, || attempt(left.min(SLICE))) {
            Err(error) if error.code() == again && left > SLICE => py.check_signals()?,
            result => return result.or_raise(py),
        }
    }
}
