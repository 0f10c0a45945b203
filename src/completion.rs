//! Exactly one answer to every accepted call.
//!
//! Owns [`Completion`], the promise to answer a call, and the queue on which answers wait for the completion
//! thread. What always holds: a completion answers once; one that is dropped unanswered answers "the store
//! failed, outcome unknown" by itself; answering never runs user code and never blocks, so the engine room may
//! do it anywhere. Who drains the queue is left to the completion thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, Term};

/// Where in the log an answer stands: for a write its entry, for a read the state it may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Log index.
    pub index: LogIndex,
    /// Term of the entry at that index.
    pub term: Term,
}

/// The receiving end of one answer.
pub trait Sink: Send {
    /// Takes the answer. Without a [`Sink::queue`] this runs on an internal thread and must neither block nor
    /// call user code; with one it runs on that queue's thread.
    fn deliver(self: Box<Self>, answer: Result<Position>);

    /// The queue whose thread must deliver the answer; none means at once.
    fn queue(&self) -> Option<Arc<CompletionQueue>> {
        None
    }
}

/// The promise to answer one accepted call, exactly once.
pub struct Completion {
    sink: Option<Box<dyn Sink>>,
}

impl Completion {
    /// A promise to answer `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink: Some(sink) }
    }

    /// Keeps the promise.
    pub fn answer(mut self, answer: Result<Position>) {
        self.send(answer);
    }

    /// Breaks the promise: for a call that was never accepted and whose caller is told so otherwise.
    pub fn defuse(mut self) {
        self.sink = None;
    }

    fn send(&mut self, answer: Result<Position>) {
        let Some(sink) = self.sink.take() else { return };
        match sink.queue() {
            Some(queue) => queue.push(Finished { sink, answer }),
            None => sink.deliver(answer),
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.sink.is_some() {
            self.send(Err(Error::new(Code::FailedInFlight)));
        }
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.sink.is_some() { "Completion(open)" } else { "Completion(answered)" })
    }
}

/// An answer on its way to the completion thread.
pub struct Finished {
    sink: Box<dyn Sink>,
    answer: Result<Position>,
}

impl Finished {
    /// Hands the answer to its receiver. This may run user code.
    pub fn deliver(self) {
        self.sink.deliver(self.answer);
    }
}

/// Answers between the engine room and the completion thread. Unbounded by itself: each accepted call adds one
/// answer at most, and accepted calls are bounded.
#[derive(Default)]
pub struct CompletionQueue {
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueState {
    finished: Vec<Finished>,
    /// The consumer waits on `filled`.
    asleep: bool,
    /// A producer is in the middle of a burst and will wake the consumer at its end.
    bursts: usize,
    closed: bool,
}

impl CompletionQueue {
    /// Adds one answer.
    pub fn push(&self, finished: Finished) {
        let mut state = self.lock();
        state.finished.push(finished);
        self.wake(state);
    }

    /// Answers many calls with one wake-up of the consumer.
    pub fn burst(&self, answers: impl IntoIterator<Item = (Completion, Result<Position>)>) {
        let _open = Burst::begin(self);
        answers.into_iter().for_each(|(completion, answer)| completion.answer(answer));
    }

    /// Swaps all waiting answers into `taken`, waiting for the first. False when the queue is closed and empty.
    pub fn take_all(&self, taken: &mut Vec<Finished>) -> bool {
        debug_assert!(taken.is_empty(), "the last answers were delivered");
        let mut state = self.lock();
        while state.finished.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(&mut state.finished, taken);
        true
    }

    /// Lets the consumer end once the queue is empty. Answers that still arrive are delivered first.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asleep = false;
        drop(state);
        self.filled.notify_all();
    }

    fn wake(&self, mut state: MutexGuard<'_, QueueState>) {
        let wake = state.asleep && state.bursts == 0 && !state.finished.is_empty();
        if wake {
            state.asleep = false;
        }
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No code of others runs under this lock, so its state is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds back wake-ups while it lives.
struct Burst<'a>(&'a CompletionQueue);

impl<'a> Burst<'a> {
    fn begin(queue: &'a CompletionQueue) -> Self {
        queue.lock().bursts += 1;
        Self(queue)
    }
}

impl Drop for Burst<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.bursts -= 1;
        // Another producer's burst is no reason to let this one's answers wait.
        let wake = !state.finished.is_empty() && std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.0.filled.notify_one();
        }
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
        Completion::new(Box::new(WaiterSink(Arc::clone(self))))
    }

    /// Waits for the answer; none when it did not come within `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<Result<Position>> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut answer, _) = self
            .answered
            .wait_timeout_while(answer, patience, |answer| answer.is_none())
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

    struct Queued(Arc<CompletionQueue>, Arc<Mutex<Vec<u64>>>);

    impl Sink for Queued {
        fn deliver(self: Box<Self>, answer: Result<Position>) {
            self.1.lock().expect("single-threaded test").push(answer.expect("applied").index.get());
        }
        fn queue(&self) -> Option<Arc<CompletionQueue>> {
            Some(Arc::clone(&self.0))
        }
    }

    #[test]
    fn queued_answers_are_delivered_in_order_even_after_close() {
        let queue = Arc::new(CompletionQueue::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for index in 1..=3 {
            let sink = Box::new(Queued(Arc::clone(&queue), Arc::clone(&seen)));
            Completion::new(sink).answer(Ok(Position { index: LogIndex(index), term: Term(1) }));
        }
        queue.close();

        let mut taken = Vec::new();
        while queue.take_all(&mut taken) {
            taken.drain(..).for_each(Finished::deliver);
        }

        assert_eq!(*seen.lock().expect("single-threaded test"), [1, 2, 3]);
    }
}
