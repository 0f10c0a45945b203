//! Exactly one answer to every accepted call.
//!
//! Owns [`Completion`], the promise to answer a call, and the events that may precede the answer of a write. What always
//! holds: a completion answers once; one that is dropped unanswered answers "the store failed, outcome unknown" by
//! itself; events come in their order, each once at most, and none after the answer; neither runs user code here nor
//! blocks, so any internal thread may do it anywhere. Where both wait for their caller is [`crate::completion_queue`]'s.

use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::call::CallCell;
use crate::completion_queue::{CompletionQueue, Delivery};
use crate::error::{Code, Error, Result};
use crate::panics;
use crate::types::{LogIndex, Term};

/// Where in the log an answer stands: for a write its entry, for a read the state it may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Log index.
    pub index: LogIndex,
    /// Term of the entry at that index.
    pub term: Term,
}

/// What can be told of a write before it is answered. Only the member that leads is told of it: a write that its
/// member forwards to the leader brings none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEvent {
    /// The leader has it in its log, in memory. Its position is provisional: when another leader's entry overwrites it, the
    /// write goes to that leader, and is not told again.
    Proposed,
    /// It is on the disks of a majority and will be decided. No read need show it yet.
    Committed,
}

/// Which events a caller wants to be told of; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// [`WriteEvent::Proposed`].
    pub proposed: bool,
    /// [`WriteEvent::Committed`].
    pub committed: bool,
}

impl Events {
    /// No event.
    pub const NONE: Self = Self { proposed: false, committed: false };
    /// Every event.
    pub const ALL: Self = Self { proposed: true, committed: true };

    /// Whether `event` is one of them.
    #[must_use]
    pub fn has(self, event: WriteEvent) -> bool {
        match event {
            WriteEvent::Proposed => self.proposed,
            WriteEvent::Committed => self.committed,
        }
    }
}

/// A caller's function that is told of events.
pub type OnEvent = dyn Fn(WriteEvent, Position) + Send + Sync;

/// The receiving end of one answer.
pub trait Sink: Send {
    /// Takes the answer. Without a [`Sink::queue`] this runs on an internal thread and must neither block nor
    /// call user code; with one it runs on that queue's thread.
    fn deliver(self: Box<Self>, answer: Result<Position>);

    /// The queue whose thread must deliver the answer; none means at once.
    fn queue(&self) -> Option<Arc<CompletionQueue>> {
        None
    }

    /// Takes an event of its write. As `deliver` without a queue, it must neither block nor call user code.
    fn happened(&self, _event: WriteEvent, _position: Position) {}

    /// Its answer is about to enter the queue. A panic here costs nobody the answer.
    fn answered(&self) {}

    /// True when nobody waits for the answer any more.
    fn is_answered(&self) -> bool {
        false
    }

    /// It gets no answer: the call was never accepted. False when it has got one already.
    fn defused(self: Box<Self>) -> bool {
        true
    }
}

/// The promise to answer one accepted call, exactly once.
pub struct Completion {
    receiver: Receiver,
}

enum Receiver {
    /// It is answered.
    None,
    Sink(Box<dyn Sink>),
    /// One that others may answer as well, and what must live until the work on it ends, though it is answered.
    Call {
        cell: Arc<CallCell>,
        kept: Arc<dyn Any + Send + Sync>,
    },
}

impl Completion {
    /// A promise to answer `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self { receiver: Receiver::Sink(sink) }
    }

    /// A promise to answer a call that may be cancelled, and has a deadline.
    pub(crate) fn of_call(cell: Arc<CallCell>, kept: Arc<dyn Any + Send + Sync>) -> Self {
        Self { receiver: Receiver::Call { cell, kept } }
    }

    /// Tells of an event; `position` is that of the write's entry.
    pub fn happened(&self, event: WriteEvent, position: Position) {
        match &self.receiver {
            Receiver::None => {}
            Receiver::Sink(sink) => sink.happened(event, position),
            Receiver::Call { cell, .. } => cell.happened(event, position),
        }
    }

    /// To be asked before the call's work begins. False when it is answered: it must leave no trace then, and whatever
    /// this is answered reaches nobody.
    #[must_use]
    pub fn start(&self) -> bool {
        match &self.receiver {
            Receiver::None | Receiver::Sink(_) => true,
            Receiver::Call { cell, .. } => cell.start(),
        }
    }

    /// The counterpart of [`Completion::start`]: the work has certainly not begun after all, for whoever was to do it
    /// has refused it. It may begin again.
    pub fn undo_start(&self) {
        if let Receiver::Call { cell, .. } = &self.receiver {
            cell.undo_start();
        }
    }

    /// True when it is answered, by a cancellation or its deadline, and need not be kept any longer.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match &self.receiver {
            Receiver::None => false,
            Receiver::Sink(sink) => sink.is_answered(),
            Receiver::Call { cell, .. } => cell.is_answered(),
        }
    }

    /// Keeps the promise.
    pub fn answer(mut self, answer: Result<Position>) {
        self.send(answer);
    }

    /// Breaks the promise: for a call that was never accepted and whose caller is told so otherwise. False when it is
    /// answered, by its deadline for one: it counts as accepted then.
    #[must_use]
    pub fn defuse(mut self) -> bool {
        self.take().is_some_and(Sink::defused)
    }

    fn send(&mut self, answer: Result<Position>) {
        let Some(sink) = self.take() else { return };
        match sink.queue() {
            Some(queue) => {
                panics::aside(|| sink.answered());
                queue.push(Delivery::Answer(sink, answer));
            }
            None => sink.deliver(answer),
        }
    }

    /// The receiver, if nobody answered it before.
    fn take(&mut self) -> Option<Box<dyn Sink>> {
        match std::mem::replace(&mut self.receiver, Receiver::None) {
            Receiver::None => None,
            Receiver::Sink(sink) => Some(sink),
            Receiver::Call { cell, kept } => {
                // First, so that a caller that is woken does not meet its own permit when it calls again.
                drop(kept);
                cell.take().map(|taken| taken.sink)
            }
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.send(Err(Error::new(Code::FailedInFlight)));
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answered = matches!(self.receiver, Receiver::None);
        f.write_str(if answered { "Completion(answered)" } else { "Completion(open)" })
    }
}

/// Lets a thread wait for its own answer.
#[derive(Default)]
pub struct Waiter {
    answer: Mutex<Option<Result<Position>>>,
    answered: Condvar,
}

impl Waiter {
    /// Leaves the answer and wakes whoever waits.
    pub fn set(&self, answer: Result<Position>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.answered.notify_one();
    }

    /// A promise whose answer wakes this waiter.
    #[must_use]
    pub fn completion(self: &Arc<Self>) -> Completion {
        Completion::new(self.sink())
    }

    /// A sink that wakes this waiter.
    #[must_use]
    pub fn sink(self: &Arc<Self>) -> Box<dyn Sink> {
        Box::new(WaiterSink(Arc::clone(self)))
    }

    /// Waits for the answer of a call that has a deadline.
    ///
    /// # Errors
    /// Those of the call.
    pub fn answer(&self) -> Result<Position> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.answered.wait_while(answer, |answer| answer.is_none());
        answer.unwrap_or_else(PoisonError::into_inner).take().expect("waited for above")
    }

    /// Waits for the answer; none when it did not come within `timeout`.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Result<Position>> {
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
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        self.0.set(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_completion_answers_outcome_unknown() {
        let waiter = Arc::new(Waiter::default());

        drop(waiter.completion());

        let error = waiter.wait(Duration::ZERO).expect("answered").expect_err("nobody wrote");
        assert_eq!(error.code(), Code::FailedInFlight);
    }

    #[test]
    fn an_answered_completion_does_not_answer_again_when_dropped() {
        let waiter = Arc::new(Waiter::default());

        waiter.completion().answer(Ok(Position { index: LogIndex(7), term: Term(1) }));

        let position = waiter.wait(Duration::ZERO).expect("answered").expect("applied");
        assert_eq!(position.index, LogIndex(7));
        assert!(waiter.wait(Duration::ZERO).is_none());
    }
}
