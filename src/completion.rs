//! Exactly one answer to every accepted call.
//!
//! Owns [`Completion`], the promise to answer a call, the events that may precede the answer of a write, and the queue
//! on which both wait for the completion thread. What always holds: a completion answers once; one that is dropped
//! unanswered answers "the store failed, outcome unknown" by itself; events come in their order, each once at most, and
//! none after the answer; neither runs user code here nor blocks, so the engine room may do it anywhere. Who drains the
//! queue is left to the completion thread.

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

/// What can be told of a write before it is answered. Only the member that leads is told of it: a write that its
/// member forwards to the leader brings none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEvent {
    /// The leader has it in its log, in memory. It may still be lost, or overwritten by another leader's entry.
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

    fn has(self, event: WriteEvent) -> bool {
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

    /// Takes an event that its completion was made for. As `deliver` without a queue, it must neither block nor call
    /// user code.
    fn happened(&self, _event: WriteEvent, _position: Position) {}
}

/// The promise to answer one accepted call, exactly once.
pub struct Completion {
    sink: Option<Box<dyn Sink>>,
    /// What the sink is told of.
    events: Events,
}

impl Completion {
    /// A promise to answer `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self::with_events(sink, Events::NONE)
    }

    /// A promise to answer `sink`, which is told of `events` before.
    #[must_use]
    pub fn with_events(sink: Box<dyn Sink>, events: Events) -> Self {
        Self { sink: Some(sink), events }
    }

    /// Tells of an event, if it is wanted; `position` is that of the write's entry.
    pub fn happened(&self, event: WriteEvent, position: Position) {
        if self.events.has(event)
            && let Some(sink) = &self.sink
        {
            sink.happened(event, position);
        }
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
            Some(queue) => queue.push(Delivery::Answer(sink, answer)),
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

/// What is on its way to the completion thread.
pub enum Delivery {
    /// An answer.
    Answer(Box<dyn Sink>, Result<Position>),
    /// An event of a write whose answer comes later.
    Event(Arc<OnEvent>, WriteEvent, Position),
}

impl Delivery {
    /// Hands it to its receiver. This may run user code.
    pub fn deliver(self) {
        match self {
            Self::Answer(sink, answer) => sink.deliver(answer),
            Self::Event(on_event, event, position) => on_event(event, position),
        }
    }
}

/// Answers and events between the engine room and the completion thread. Unbounded by itself: each accepted call adds
/// one answer and two events at most, and accepted calls are bounded.
#[derive(Default)]
pub struct CompletionQueue {
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: Vec<Delivery>,
    /// The consumer waits on `filled`.
    asleep: bool,
    /// A producer is in the middle of a burst and will wake the consumer at its end.
    bursts: usize,
    closed: bool,
}

impl CompletionQueue {
    /// Adds one answer or event.
    pub fn push(&self, delivery: Delivery) {
        let mut state = self.lock();
        state.waiting.push(delivery);
        self.wake(state);
    }

    /// Answers many calls with one wake-up of the consumer.
    pub fn burst(&self, answers: impl IntoIterator<Item = (Completion, Result<Position>)>) {
        let _open = Burst::begin(self);
        answers.into_iter().for_each(|(completion, answer)| completion.answer(answer));
    }

    /// Swaps all that waits into `taken`, waiting for the first. False when the queue is closed and empty.
    pub fn take_all(&self, taken: &mut Vec<Delivery>) -> bool {
        debug_assert!(taken.is_empty(), "the last ones were delivered");
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(&mut state.waiting, taken);
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
        let wake = state.asleep && state.bursts == 0 && !state.waiting.is_empty();
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
        let wake = !state.waiting.is_empty() && std::mem::take(&mut state.asleep);
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

    struct Counting(Arc<Mutex<Vec<WriteEvent>>>);

    impl Sink for Counting {
        fn deliver(self: Box<Self>, _: Result<Position>) {}
        fn happened(&self, event: WriteEvent, _: Position) {
            self.0.lock().expect("single-threaded test").push(event);
        }
    }

    #[test]
    fn a_sink_is_told_of_what_its_caller_wants_and_of_nothing_else() {
        let told = |events| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let completion = Completion::with_events(Box::new(Counting(Arc::clone(&seen))), events);
            completion.happened(WriteEvent::Proposed, Position::default());
            completion.happened(WriteEvent::Committed, Position::default());
            seen.lock().expect("single-threaded test").clone()
        };

        assert_eq!(told(Events::ALL), [WriteEvent::Proposed, WriteEvent::Committed]);
        assert_eq!(told(Events { committed: true, ..Events::NONE }), [WriteEvent::Committed]);
        assert_eq!(told(Events::NONE), []);
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
            taken.drain(..).for_each(Delivery::deliver);
        }

        assert_eq!(*seen.lock().expect("single-threaded test"), [1, 2, 3]);
    }
}
