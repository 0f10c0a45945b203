//! Waiting for an answer so that Ctrl-C ends the wait.
//!
//! Owns the way a thread of the caller waits. What always holds: the GIL is released while it waits, signal handlers of
//! Python run at least every [`SLICE`], and the wait ends a moment after the call's deadline even when no answer came.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use almadia::{Code, Error, Result};
use pyo3::prelude::*;

use crate::errors::OrRaise;

/// How long Ctrl-C may take to be noticed. Waking up costs a few microseconds.
const SLICE: Duration = Duration::from_millis(50);

/// How much longer than its deadline a call waits for its answer, which only a stalled disk can delay.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// Where an answer is to be sent. Nobody may be waiting any more.
pub type Answer<T> = SyncSender<Result<T>>;

/// Submits a call and waits for its answer; `late` is what the caller is told when none came.
pub fn for_answer<T: Send>(
    py: Python<'_>,
    timeout: Duration,
    late: Code,
    submit: impl FnOnce(Answer<T>) -> Result<()> + Send,
) -> PyResult<T> {
    let until = Instant::now() + timeout + ANSWER_GRACE;
    let (answer, answered) = sync_channel(1);
    // A receiver may not be shared, so each wait takes it and gives it back.
    let submitted = py.detach(move || {
        submit(answer)?;
        Ok((answered.recv_timeout(SLICE), answered))
    });
    let (mut received, mut answered) = submitted.or_raise(py)?;
    loop {
        match received {
            Ok(answer) => return answer.or_raise(py),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::new(Code::FailedInFlight)).or_raise(py),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                return Err(Error::new(late)).or_raise(py);
            }
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
        }
        (received, answered) = py.detach(move || (answered.recv_timeout(SLICE), answered));
    }
}

/// Repeats `attempt`, which waits for at most the time it is given, until it succeeds, fails with another code than
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
        match py.detach(|| attempt(left.min(SLICE))) {
            Err(error) if error.code() == again && left > SLICE => py.check_signals()?,
            result => return result.or_raise(py),
        }
    }
}
