//! Exactly one answer to every accepted call.
//!
//! Owns [`Completion`], the promise to answer a call, and the events that may precede the answer of a write. What always
//! holds: a completion answers once; one that is dropped unanswered answers "the store failed, outcome unknown" by
//! itself; events come in their order, each once at most, and none after the answer; neither runs user code here nor
//! blocks, so any internal thread may do it anywhere.
//!
//! Who receives an answer is a [`Sink`]: a thread that waits ([`Waiter`]), a callback that goes through a [`queue`], or a
//! [`call`] in front of one of them, which may be cancelled and has a deadline ([`deadlines`]). What a store tells unasked
//! takes the same queues ([`store_events`]).

use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, Term};

pub mod call;
pub mod deadlines;
pub mod queue;
pub mod store_events;
mod waiter;

pub use waiter::Waiter;

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
    /// Takes the answer. This runs on whatever thread has it, an internal one for example, and must neither block nor call
    /// user code; a callback is put into a [`queue`] here.
    fn deliver(self: Box<Self>, answer: Result<Position>);

    /// Takes an event of its write. As `deliver`, it must neither block nor call user code.
    fn happened(&self, _event: WriteEvent, _position: Position) {}

    /// See [`Completion::start`].
    fn start(&self) -> bool {
        true
    }

    /// See [`Completion::undo_start`].
    fn undo_start(&self) {}

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
pub struct Completion(
    /// None once it is answered.
    Option<Box<dyn Sink>>,
);

impl Completion {
    /// A promise to answer `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self(Some(sink))
    }

    /// Tells of an event; `position` is that of the write's entry.
    pub fn happened(&self, event: WriteEvent, position: Position) {
        if let Some(sink) = &self.0 {
            sink.happened(event, position);
        }
    }

    /// To be asked before the call's work begins. False when it is answered: it must leave no trace then, and whatever
    /// this is answered reaches nobody.
    #[must_use]
    pub fn start(&self) -> bool {
        self.0.as_ref().is_none_or(|sink| sink.start())
    }

    /// The counterpart of [`Completion::start`]: the work has certainly not begun after all, for whoever was to do it
    /// has refused it. It may begin again.
    pub fn undo_start(&self) {
        if let Some(sink) = &self.0 {
            sink.undo_start();
        }
    }

    /// True when it is answered, by a cancellation or its deadline, and need not be kept any longer.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.0.as_ref().is_some_and(|sink| sink.is_answered())
    }

    /// Keeps the promise.
    pub fn answer(mut self, answer: Result<Position>) {
        self.send(answer);
    }

    /// Breaks the promise: for a call that was never accepted and whose caller is told so otherwise. False when it is
    /// answered, by its deadline for one: it counts as accepted then.
    #[must_use]
    pub fn defuse(mut self) -> bool {
        self.0.take().is_some_and(Sink::defused)
    }

    fn send(&mut self, answer: Result<Position>) {
        if let Some(sink) = self.0.take() {
            sink.deliver(answer);
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
        f.write_str(if self.0.is_none() { "Completion(answered)" } else { "Completion(open)" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

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
