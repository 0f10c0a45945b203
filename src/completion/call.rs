//! A call from its acceptance to its answer.
//!
//! Owns the one place where an answer, a cancellation and a deadline race. What always holds: whichever comes first is
//! the answer, and the others have no effect; a cancellation or a deadline answers "certainly not applied" only if work
//! on the call has not begun, and then it never begins. Calling [`Completion::start`] before work begins is left to the
//! peer; which calls are open, and when one is late, to [`deadlines`](super::deadlines).

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Completion, Position, Reply, Sink, WriteEvent};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, RegionId};

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A write: it appends to the log.
    Write,
    /// A linearizable read: it shows everything acknowledged before.
    Read,
    /// A local read: it shows what this member has applied, once that is as much as it wants.
    LocalRead {
        /// It waits until this is applied; 0 for a read that does not.
        min_index: LogIndex,
    },
    /// A leader transfer.
    Transfer,
}

/// The regions that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallRegions {
    /// One, as for most calls; needs no allocation.
    One(RegionId),
    /// Several, in any order.
    Several(Box<[RegionId]>),
}

impl CallRegions {
    /// These regions, at least one.
    #[must_use]
    pub fn new(regions: &[RegionId]) -> Self {
        match regions {
            [only] => Self::One(*only),
            several => Self::Several(several.into()),
        }
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[RegionId] {
        match self {
            Self::One(region) => std::slice::from_ref(region),
            Self::Several(regions) => regions,
        }
    }
}

/// The kind and the regions of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub kind: CallKind,
    /// Its regions.
    pub regions: CallRegions,
}

/// An accepted call. Dropping it changes nothing.
#[derive(Clone)]
pub struct Call {
    cell: Arc<CallCell>,
}

impl Call {
    pub(crate) fn new(cell: Arc<CallCell>) -> Self {
        Self { cell }
    }

    /// Answers the call now: `CANCELLED` when it certainly has no effect, `CANCELLED_IN_FLIGHT` when a write may still
    /// be applied. False when it was answered before; that answer is being delivered, or was.
    pub fn cancel(&self) -> bool {
        let Some(Taken { sink, started }) = self.cell.take() else { return false };
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

/// Holds the receiver of a call until it is answered.
pub(crate) struct CallCell {
    state: Mutex<State>,
    /// Whether it is answered. Outside the lock, for code that scans many calls.
    over: AtomicBool,
    subject: Subject,
    /// The list that has it until it is answered, and its index there, which belongs to the list.
    list: Arc<dyn CallList>,
    place: AtomicUsize,
}

/// A list of open calls.
pub(crate) trait CallList: Send + Sync {
    /// Removes an answered call.
    fn forget(&self, cell: &Arc<CallCell>);
}

struct State {
    /// None once it is answered.
    sink: Option<Box<dyn Sink>>,
    started: bool,
}

/// The receiver of a call, to be answered.
pub(crate) struct Taken {
    pub(crate) sink: Box<dyn Sink>,
    /// Whether work on the call has begun.
    pub(crate) started: bool,
}

impl CallCell {
    /// A call whose answer goes to `sink`, and that `list` is about to add.
    pub(crate) fn new(sink: Box<dyn Sink>, subject: Subject, list: Arc<dyn CallList>) -> Arc<Self> {
        let state = Mutex::new(State { sink: Some(sink), started: false });
        let (over, place) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { state, over, subject, list, place })
    }

    /// Its kind and regions.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its index in the list of open calls.
    pub(crate) fn place(&self) -> &AtomicUsize {
        &self.place
    }

    /// See [`Completion::start`].
    pub(crate) fn start(&self) -> bool {
        let mut state = self.lock();
        state.started = true;
        state.sink.is_some()
    }

    /// See [`Completion::undo_start`].
    pub(crate) fn undo_start(&self) {
        self.lock().started = false;
    }

    /// Passes an event to the receiver, unless the call is answered.
    pub(crate) fn happened(&self, event: WriteEvent, position: Position) {
        if let Some(sink) = &self.lock().sink {
            sink.happened(event, position);
        }
    }

    /// See [`Completion::is_answered`].
    pub(crate) fn is_answered(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Takes the receiver, to answer it; none when the call was answered already.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Taken> {
        let taken = self.take_unlisted();
        if taken.is_some() {
            self.list.forget(self);
        }
        taken
    }

    /// Like [`CallCell::take`], for a call that its list has removed already.
    pub(crate) fn take_unlisted(&self) -> Option<Taken> {
        let mut state = self.lock();
        let sink = state.sink.take()?;
        self.over.store(true, Ordering::Relaxed);
        Some(Taken { sink, started: state.started })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, so its state is consistent even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink of a call on the side that works on it.
pub(crate) struct CallSink {
    cell: Arc<CallCell>,
    /// Kept until work on the call ends, even if the call is answered earlier.
    kept: Arc<dyn Any + Send + Sync>,
}

impl CallSink {
    pub(crate) fn new(cell: Arc<CallCell>, kept: Arc<dyn Any + Send + Sync>) -> Self {
        Self { cell, kept }
    }

    /// The receiver, unless the call was answered before.
    fn take(self) -> Option<Box<dyn Sink>> {
        let Self { cell, kept } = self;
        // First, so that a caller that is woken does not run into its own permit when it calls again.
        drop(kept);
        cell.take().map(|taken| taken.sink)
    }
}

impl Sink for CallSink {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        if let Some(sink) = self.take() {
            sink.deliver(answer);
        }
    }

    fn happened(&self, event: WriteEvent, position: Position) {
        self.cell.happened(event, position);
    }

    fn start(&self) -> bool {
        self.cell.start()
    }

    fn undo_start(&self) {
        self.cell.undo_start();
    }

    fn is_answered(&self) -> bool {
        self.cell.is_answered()
    }

    fn defused(self: Box<Self>) -> bool {
        self.take().is_some_and(Sink::defused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::deadlines::any_call;
    use std::time::Duration;

    use super::*;
    use crate::completion::Waiter;

    fn call() -> (Arc<Waiter>, Completion, Call) {
        let waiter = Arc::new(Waiter::default());
        let (completion, call) = any_call(waiter.sink());
        (waiter, completion, call)
    }

    fn code(waiter: &Waiter) -> Option<Code> {
        waiter.wait(Duration::ZERO).map(|answer| answer.expect_err("cancelled").code())
    }

    #[test]
    fn a_call_cancelled_before_work_began_never_begins() {
        let (waiter, completion, call) = call();

        assert!(call.cancel());

        assert_eq!(code(&waiter), Some(Code::Cancelled));
        assert!(!completion.start() && completion.is_answered());
        drop(completion);
        assert_eq!(code(&waiter), None, "it was answered");
    }

    #[test]
    fn a_call_cancelled_in_flight_has_an_unknown_outcome_and_is_not_answered_again() {
        let (waiter, completion, call) = call();
        assert!(completion.start());

        assert!(call.cancel());

        assert_eq!(code(&waiter), Some(Code::CancelledInFlight));
        completion.answer(Ok(Reply::default()));
        assert!(waiter.wait(Duration::ZERO).is_none());
    }

    #[test]
    fn a_refused_call_has_not_begun() {
        let (waiter, completion, call) = call();
        assert!(completion.start());
        completion.undo_start();

        assert!(call.cancel());

        assert_eq!(code(&waiter), Some(Code::Cancelled));
        assert!(!completion.start());
    }

    #[test]
    fn an_answered_call_cannot_be_cancelled() {
        let (waiter, completion, call) = call();

        completion.answer(Ok(Reply::default()));

        assert!(!call.cancel() && !call.cancel());
        assert!(waiter.wait(Duration::ZERO).expect("answered").is_ok());
    }

    #[test]
    fn a_call_that_was_never_accepted_is_not_answered() {
        let (waiter, completion, call) = call();

        assert!(completion.defuse());

        assert!(!call.is_open() && !call.cancel());
        assert!(waiter.wait(Duration::ZERO).is_none());
    }

    #[test]
    fn a_call_that_is_answered_was_accepted() {
        let (waiter, completion, call) = call();

        assert!(call.cancel());

        assert!(!completion.defuse());
        assert_eq!(code(&waiter), Some(Code::Cancelled));
    }
}
