//! A call that its caller may give up.
//!
//! Owns the one place where an answer and a cancellation meet. What always holds: whichever comes first is the answer,
//! the other finds nothing to do; a call is answered "certainly not applied" by its cancellation only if the work on
//! it has not begun, and then never begins. That a call is asked for leave before its work begins is left to the peer
//! ([`crate::completion::Completion::start`]).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::completion::{Completion, Position, Sink, WriteEvent};
use crate::error::{Code, Error, Result};

/// An accepted call. Dropping it changes nothing.
#[derive(Clone)]
pub struct Call {
    cell: Arc<CallCell>,
}

impl Call {
    /// Answers the call now: `CANCELLED` when it certainly has no effect, `CANCELLED_IN_FLIGHT` when a write may be
    /// applied yet. False when it was answered before; its answer is on its way then, or was delivered.
    pub fn cancel(&self) -> bool {
        let (sink, started) = {
            let mut state = self.cell.lock();
            (state.sink.take(), state.started)
        };
        let Some(sink) = sink else { return false };
        self.cell.over.store(true, Ordering::Relaxed);
        let code = if started { Code::CancelledInFlight } else { Code::Cancelled };
        Completion::new(sink).answer(Err(Error::new(code)));
        true
    }

    /// True while it has no answer.
    pub(crate) fn is_open(&self) -> bool {
        self.cell.lock().sink.is_some()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Call(open)" } else { "Call(answered)" })
    }
}

/// Where the receiver of a call is kept until somebody answers it.
pub(crate) struct CallCell {
    state: Mutex<State>,
    /// It was given up. Beside the lock, for who looks through many calls.
    over: AtomicBool,
}

struct State {
    /// None once it is answered.
    sink: Option<Box<dyn Sink>>,
    started: bool,
}

impl CallCell {
    /// A call that `sink` is answered for. `started` when to give it up cannot undo it from the first moment.
    pub(crate) fn new(sink: Box<dyn Sink>, started: bool) -> (Arc<Self>, Call) {
        let state = Mutex::new(State { sink: Some(sink), started });
        let cell = Arc::new(Self { state, over: AtomicBool::new(false) });
        (Arc::clone(&cell), Call { cell })
    }

    /// See [`Completion::start`].
    pub(crate) fn start(&self) -> bool {
        let mut state = self.lock();
        state.started = true;
        state.sink.is_some()
    }

    /// Tells the receiver of an event, unless it is answered.
    pub(crate) fn happened(&self, event: WriteEvent, position: Position) {
        if let Some(sink) = &self.lock().sink {
            sink.happened(event, position);
        }
    }

    /// See [`Completion::is_over`].
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The receiver, to be answered; none when it was answered already.
    pub(crate) fn take(&self) -> Option<Box<dyn Sink>> {
        self.lock().sink.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so its state is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `answer` says that the call was given up.
#[must_use]
pub fn is_cancelled(answer: &Result<Position>) -> bool {
    matches!(answer, Err(error) if matches!(error.code(), Code::Cancelled | Code::CancelledInFlight))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::completion::Waiter;

    fn call() -> (Arc<Waiter>, Completion, Call) {
        let waiter = Arc::new(Waiter::default());
        let (completion, call) = Completion::cancellable(waiter.sink(), false, Arc::new(()));
        (waiter, completion, call)
    }

    fn code(waiter: &Waiter) -> Option<Code> {
        waiter.wait(Duration::ZERO).map(|answer| answer.expect_err("given up").code())
    }

    #[test]
    fn what_was_given_up_before_it_began_never_begins() {
        let (waiter, completion, call) = call();

        assert!(call.cancel());

        assert_eq!(code(&waiter), Some(Code::Cancelled));
        assert!(!completion.start() && completion.is_over());
        drop(completion);
        assert_eq!(code(&waiter), None, "it was answered");
    }

    #[test]
    fn what_was_given_up_under_way_may_have_happened_and_is_not_answered_again() {
        let (waiter, completion, call) = call();
        assert!(completion.start());

        assert!(call.cancel());

        assert_eq!(code(&waiter), Some(Code::CancelledInFlight));
        completion.answer(Ok(Position::default()));
        assert!(waiter.wait(Duration::ZERO).is_none());
    }

    #[test]
    fn what_is_answered_cannot_be_given_up() {
        let (waiter, completion, call) = call();

        completion.answer(Ok(Position::default()));

        assert!(!call.cancel() && !call.cancel());
        assert!(waiter.wait(Duration::ZERO).expect("answered").is_ok());
    }
}
