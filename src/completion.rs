//! Exactly one answer to every accepted call.
//!
//! Owns [`Completion`], the promise to answer a call, and the events that may precede the answer of a write. What
//! always holds: a completion answers once; one that is dropped unanswered answers "the store failed, outcome unknown"
//! itself; events come in order, each at most once, and none after the answer; delivering either never runs user code
//! or blocks, so any internal thread may do it anywhere.
//!
//! Who receives an answer is a [`Sink`]: a thread that waits ([`Waiter`]), a callback that goes through a [`queue`], or
//! a [`call`] in front of one of them, which may be cancelled and has a deadline ([`deadlines`]). The events that a
//! store reports on its own go through the same queues ([`store_events`]), and those of a write in order with its answer
//! ([`ordered`]).

use crate::error::{Code, Error, Result};
use crate::types::{ApplyState, LogIndex, Term};

pub(crate) mod call;
pub(crate) mod deadlines;
pub(crate) mod ordered;
pub(crate) mod queue;
pub(crate) mod store_events;
mod reply;
mod waiter;

pub use reply::Reply;
pub(crate) use waiter::Waiter;

/// The position in the log that an answer refers to: for a write its entry, for a read the state it may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Log index.
    pub index: LogIndex,
    /// Term of the entry at that index.
    pub term: Term,
}

impl From<ApplyState> for Position {
    fn from(state: ApplyState) -> Self {
        Self { index: state.index, term: state.term }
    }
}

/// An answer that is due, and who waits for it.
pub(crate) type Answer = (Completion, Result<Reply>);

/// The progress of a write before it is answered. Only the leader reports it: a write that its member forwards has no
/// events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEvent {
    /// The leader has it in its log, in memory. Its position is provisional: when another leader's entry overwrites it,
    /// the write is forwarded to that leader without a second event.
    Proposed,
    /// It is on the disks of a majority and is certain to be applied. Reads need not show it yet.
    Committed,
}

/// The events that a caller subscribes to; none by default.
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

/// A caller's function that receives events.
pub(crate) type OnEvent = dyn Fn(WriteEvent, Position) + Send + Sync;

/// The receiving end of one answer.
pub trait Sink: Send {
    /// Takes the answer. This may run on any thread, internal ones included, and must neither block nor call user code;
    /// a callback is put into a queue here.
    fn deliver(self: Box<Self>, answer: Result<Reply>);

    /// Takes an event of its write. Like `deliver`, it must neither block nor call user code.
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

    /// Drops it without an answer, because the call was never accepted. False when it has been answered already.
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

    /// Reports an event; `position` is that of the write's entry.
    pub fn happened(&self, event: WriteEvent, position: Position) {
        if let Some(sink) = &self.0 {
            sink.happened(event, position);
        }
    }

    /// Must be called before work on the call begins. False when it is already answered: then the work must not begin,
    /// and any further answer is discarded.
    #[must_use]
    pub fn start(&self) -> bool {
        self.0.as_ref().is_none_or(|sink| sink.start())
    }

    /// Reverts [`Completion::start`]: the work certainly did not begin after all, because it was refused. It may be
    /// started again.
    pub fn undo_start(&self) {
        if let Some(sink) = &self.0 {
            sink.undo_start();
        }
    }

    /// True when it is answered already, by a cancellation or its deadline, and need not be kept any longer.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.0.as_ref().is_some_and(|sink| sink.is_answered())
    }

    /// Answers the call.
    pub fn answer(mut self, answer: Result<Reply>) {
        self.send(answer);
    }

    /// Drops the completion without an answer, for a call that was not accepted and whose caller learns that from an
    /// error. False when it has been answered, for example at its deadline: then it counts as accepted.
    #[must_use]
    pub fn defuse(mut self) -> bool {
        self.0.take().is_some_and(Sink::defused)
    }

    fn send(&mut self, answer: Result<Reply>) {
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

        waiter.completion().answer(Ok(Position { index: LogIndex(7), term: Term(1) }.into()));

        let reply = waiter.wait(Duration::ZERO).expect("answered").expect("applied");
        assert_eq!(reply.position.index, LogIndex(7));
        assert!(waiter.wait(Duration::ZERO).is_none());
    }
}
