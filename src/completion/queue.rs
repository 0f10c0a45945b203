//! The queue of answers for the thread that delivers them.
//!
//! Owns the queue between the internal threads and the thread that runs callbacks: the thread "almadia-cb" of a store,
//! or a thread of the caller that drains a queue of its own, at any time or when the queue's descriptor becomes
//! readable. What always holds: each delivery is taken once, in the order in which it was pushed; no callback runs
//! under the queue's lock; the descriptor is readable exactly while something is queued, an interruption is pending, or
//! the queue is closed. The queue has no bound of its own: each accepted call adds at most one answer and two events,
//! and accepted calls are bounded.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Completion, OnEvent, Position, Reply, WriteEvent};
use crate::error::{Code, Error, Result};
use crate::process::thread::is_callback_thread;
use crate::process::wake_fd::WakeFd;

/// The receiver of an answer, on the thread that drains the queue.
pub trait Receiver: Send {
    /// Takes the answer. This may run user code.
    fn receive(self: Box<Self>, answer: Result<Reply>);
}

/// An item of the queue.
pub enum Delivery {
    /// An answer.
    Answer(Box<dyn Receiver>, Result<Reply>),
    /// An event of a write that is not answered yet.
    Event(Arc<OnEvent>, WriteEvent, Position),
    /// An answer that carries more than a position.
    Run(Box<dyn FnOnce() + Send>),
}

impl Delivery {
    /// Hands it to its receiver. This may run user code.
    pub fn deliver(self) {
        match self {
            Self::Answer(receiver, answer) => receiver.receive(answer),
            Self::Event(on_event, event, position) => on_event(event, position),
            Self::Run(run) => run(),
        }
    }
}

/// Why [`CompletionQueue::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// This many deliveries ran; 0 when the timeout passed or the queue was interrupted.
    Some(usize),
    /// The queue is closed and nothing more will be queued.
    Closed,
}

/// See the module.
#[derive(Default)]
pub struct CompletionQueue {
    state: Mutex<State>,
    filled: Condvar,
    /// The number of accepted calls whose answer was not taken yet, plus [`CLOSED`]. Outside the lock, because each
    /// call counts itself in and out while others push and take; in one word, so that no call is counted in after
    /// closing.
    expected: AtomicUsize,
}

/// Added to `expected` once no more calls are accepted.
const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    /// None for a store's own queue and an abandoned one. Under the lock, so that it always agrees with the queue.
    fd: Option<WakeFd>,
    /// Threads that wait on `filled`.
    sleepers: usize,
    /// Notifications they have not received yet.
    woken: usize,
    /// Producers in the middle of a burst, which wake the consumer at its end.
    bursts: usize,
    /// Whether the descriptor is readable.
    raised: bool,
    interrupted: bool,
    abandoned: bool,
}

impl CompletionQueue {
    /// A queue for a thread of the caller's own, with a descriptor to poll. [`CompletionQueue::abandon`] it when nobody
    /// will drain it any more: otherwise what is queued keeps it alive.
    ///
    /// # Errors
    /// `IO` when there is no descriptor left.
    pub fn with_fd() -> Result<Arc<Self>> {
        let fd = WakeFd::new().map_err(|error| Error::system("cannot make an eventfd", &error))?;
        let state = State { fd: Some(fd), ..State::default() };
        Ok(Arc::new(Self { state: Mutex::new(state), ..Self::default() }))
    }

    /// The descriptor, readable while something is queued; to be polled only, never read, written or closed. None for a
    /// store's own queue, and for an abandoned one.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        self.lock().fd.as_ref().map(WakeFd::fd)
    }

    /// Adds one answer or event.
    pub fn push(&self, delivery: Delivery) {
        let mut state = self.lock();
        if state.abandoned {
            drop(state);
            // Outside the lock, because it may hold anything of the caller's.
            return drop(delivery);
        }
        state.waiting.push_back(delivery);
        self.wake(state);
    }

    /// Answers many calls with one wake-up of the consumer.
    pub fn answer_all(&self, answers: impl IntoIterator<Item = (Completion, Result<Reply>)>) {
        let _open = Burst::begin(self);
        answers.into_iter().for_each(|(completion, answer)| completion.answer(answer));
    }

    /// Swaps all that is queued into `taken`, waiting for the first. False when the queue is closed and nothing more
    /// will be queued, which takes until the last accepted call is answered.
    pub fn take_all(&self, taken: &mut VecDeque<Delivery>) -> bool {
        debug_assert!(taken.is_empty(), "the last ones were delivered");
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if self.is_at_end(&state) {
                return false;
            }
            state = self.sleep(state, None);
        }
        std::mem::swap(&mut state.waiting, taken);
        true
    }

    /// Runs up to `max` queued deliveries on this thread; first waits up to `timeout` for one, or forever when it is
    /// none. Any number of threads may do so at once. Callbacks may call anything, including blocking functions and
    /// this one.
    ///
    /// # Errors
    /// `WOULD_DEADLOCK` when it would wait inside a callback on a store's own thread.
    pub fn run(&self, max: usize, timeout: Option<Duration>) -> Result<Ran> {
        if timeout != Some(Duration::ZERO) && is_callback_thread() {
            return Err(Error::new(Code::WouldDeadlock));
        }
        if max == 0 {
            return Ok(Ran::Some(0));
        }
        let Some(first) = self.take_first(timeout) else {
            return Ok(if self.is_at_end(&self.lock()) { Ran::Closed } else { Ran::Some(0) });
        };
        let _woken = WakesNext(self);
        first.deliver();
        let mut ran = 1;
        // One by one, so that a callback that panics loses none of the others.
        while ran < max
            && let Some(next) = self.take_next()
        {
            next.deliver();
            ran += 1;
        }
        Ok(Ran::Some(ran))
    }

    /// Makes one waiting [`CompletionQueue::run`], or the next one that would wait, return.
    pub fn interrupt(&self) {
        let mut state = self.lock();
        state.interrupted = true;
        self.wake_anyway(state);
    }

    /// Accepts no more calls. Accepted calls are still answered; after that [`CompletionQueue::run`] returns
    /// [`Ran::Closed`], and the consumer of a store's own queue ends.
    pub fn close(&self) {
        let mut state = self.lock();
        self.expected.fetch_or(CLOSED, Ordering::SeqCst);
        state.raise();
        drop(state);
        self.filled.notify_all();
    }

    /// Closes the queue and its descriptor, and drops, undelivered, whatever is queued or still arrives: nobody will
    /// take it.
    pub fn abandon(&self) {
        let mut state = self.lock();
        self.expected.fetch_or(CLOSED, Ordering::SeqCst);
        state.abandoned = true;
        let dropped = (std::mem::take(&mut state.waiting), state.fd.take());
        drop(state);
        self.filled.notify_all();
        drop(dropped);
    }

    /// Counts a call whose answer will go to this queue.
    ///
    /// # Errors
    /// `CLOSED`.
    pub fn expect(self: &Arc<Self>) -> Result<Expected> {
        let count = |expected| (expected & CLOSED == 0).then_some(expected + 1);
        match self.expected.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(_) => Ok(Expected(Arc::clone(self))),
            Err(_) => Err(Error::with_detail(Code::Closed, "the completion queue of this call")),
        }
    }

    fn is_closed(&self) -> bool {
        self.expected.load(Ordering::SeqCst) & CLOSED != 0
    }

    fn is_at_end(&self, state: &State) -> bool {
        let is_last_taken = state.abandoned || self.expected.load(Ordering::SeqCst) == CLOSED;
        is_last_taken && state.waiting.is_empty()
    }

    fn take_first(&self, timeout: Option<Duration>) -> Option<Delivery> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.interrupted) {
                self.lower_if_quiet(&mut state);
                return None;
            }
            if let Some(delivery) = state.waiting.pop_front() {
                // A burst wakes one thread, and the callback that this one runs next may block.
                self.wake(state);
                return Some(delivery);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) || self.is_at_end(&state) {
                self.lower_if_quiet(&mut state);
                return None;
            }
            state = self.sleep(state, left);
        }
    }

    fn lower_if_quiet(&self, state: &mut State) {
        if let Some(fd) = &state.fd
            && state.waiting.is_empty()
            && !state.interrupted
            && !self.is_closed()
            && std::mem::take(&mut state.raised)
        {
            fd.lower();
        }
    }

    fn take_next(&self) -> Option<Delivery> {
        self.lock().waiting.pop_front()
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.sleepers += 1;
        let mut state = match timeout {
            None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.sleepers -= 1;
        state.woken = state.woken.saturating_sub(1);
        state
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        if state.bursts == 0 && !state.waiting.is_empty() {
            self.wake_anyway(state);
        }
    }

    fn wake_anyway(&self, mut state: MutexGuard<'_, State>) {
        state.raise();
        let wake = state.sleepers > state.woken;
        state.woken += usize::from(wake);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, so its state is consistent even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn raise(&mut self) {
        if let Some(fd) = &self.fd
            && !std::mem::replace(&mut self.raised, true)
        {
            fd.raise();
        }
    }
}

impl std::fmt::Debug for CompletionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompletionQueue({} waiting)", self.lock().waiting.len())
    }
}

/// One call whose answer will go to a queue; dropped when it was taken.
#[derive(Debug)]
pub struct Expected(Arc<CompletionQueue>);

impl Expected {
    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &Arc<CompletionQueue> {
        &self.0
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if self.0.expected.fetch_sub(1, Ordering::SeqCst) - 1 == CLOSED {
            // Under the lock, so that no consumer is between its check and its wait.
            drop(self.0.lock());
            self.0.filled.notify_all();
        }
    }
}

/// Leaves the queue ready for the next consumer, even when a callback panics.
struct WakesNext<'a>(&'a CompletionQueue);

impl Drop for WakesNext<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        self.0.lower_if_quiet(&mut state);
        self.0.wake(state);
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
        // Another producer's burst must not delay this one's answers.
        if !state.waiting.is_empty() {
            self.0.wake_anyway(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sink;
    use super::*;
    use crate::types::{LogIndex, Term};

    const NOW: Option<Duration> = Some(Duration::ZERO);
    const HANG_TIMEOUT: Duration = Duration::from_secs(30);
    const LONG: Option<Duration> = Some(HANG_TIMEOUT);

    type Seen = Arc<Mutex<Vec<u64>>>;

    struct Queued(Arc<CompletionQueue>, Seen);

    impl Sink for Queued {
        fn deliver(self: Box<Self>, answer: Result<Reply>) {
            let queue = Arc::clone(&self.0);
            queue.push(Delivery::Answer(self, answer));
        }
    }

    impl Receiver for Queued {
        fn receive(self: Box<Self>, answer: Result<Reply>) {
            self.1.lock().expect("no test panics").push(answer.expect("applied").position.index.get());
        }
    }

    fn with_fd() -> Arc<CompletionQueue> {
        CompletionQueue::with_fd().expect("a descriptor is free")
    }

    fn answer(queue: &Arc<CompletionQueue>, seen: &Seen, index: u64) {
        let sink = Box::new(Queued(Arc::clone(queue), Arc::clone(seen)));
        Completion::new(sink).answer(Ok(Position { index: LogIndex(index), term: Term(1) }.into()));
    }

    fn run(queue: &CompletionQueue, max: usize, timeout: Option<Duration>) -> Ran {
        queue.run(max, timeout).expect("not a callback")
    }

    fn readable(queue: &CompletionQueue) -> bool {
        queue.lock().raised
    }

    #[test]
    fn queued_answers_are_delivered_in_order_even_after_close() {
        let (queue, seen) = (Arc::<CompletionQueue>::default(), Seen::default());
        (1..=3).for_each(|index| answer(&queue, &seen, index));
        queue.close();

        let mut taken = VecDeque::new();
        while queue.take_all(&mut taken) {
            taken.drain(..).for_each(Delivery::deliver);
        }

        assert_eq!(*seen.lock().expect("no test panics"), [1, 2, 3]);
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_something_is_queued() {
        let (queue, seen) = (with_fd(), Seen::default());
        assert!(!readable(&queue));
        (1..=3).for_each(|index| answer(&queue, &seen, index));
        assert!(readable(&queue));

        assert_eq!(run(&queue, 2, NOW), Ran::Some(2));
        assert!(readable(&queue), "one is left");
        assert_eq!(run(&queue, 2, NOW), Ran::Some(1));

        assert!(!readable(&queue));
        assert_eq!(run(&queue, 2, NOW), Ran::Some(0));
    }

    #[test]
    fn an_interruption_is_seen_once_and_loses_no_answer() {
        let (queue, seen) = (with_fd(), Seen::default());
        answer(&queue, &seen, 1);
        queue.interrupt();

        assert_eq!(run(&queue, 9, None), Ran::Some(0));
        assert!(readable(&queue));
        assert_eq!(run(&queue, 9, None), Ran::Some(1));
        assert!(!readable(&queue));
    }

    #[test]
    fn a_closed_queue_ends_after_its_last_accepted_call() {
        let (queue, seen) = (with_fd(), Seen::default());
        let expected = queue.expect().expect("open");
        queue.close();

        assert_eq!(queue.expect().expect_err("closed").code(), Code::Closed);
        assert_eq!(run(&queue, 9, NOW), Ran::Some(0), "one is expected yet");
        answer(&queue, &seen, 1);
        assert_eq!(run(&queue, 9, NOW), Ran::Some(1));
        drop(expected);

        assert_eq!(run(&queue, 9, None), Ran::Closed);
    }

    #[test]
    fn queued_deliveries_are_dropped_with_the_consumer() {
        let queue = with_fd();
        let held = Arc::new(());
        let of = |held: &Arc<()>| {
            let held = Arc::clone(held);
            Delivery::Run(Box::new(move || drop(held)))
        };
        queue.push(of(&held));

        queue.abandon();
        queue.push(of(&held));

        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(run(&queue, 9, None), Ran::Closed);
    }

    #[test]
    fn the_consumer_of_a_closed_queue_waits_for_calls_accepted_before() {
        let (queue, seen) = (Arc::<CompletionQueue>::default(), Seen::default());
        let expected = queue.expect().expect("open");
        queue.close();

        std::thread::scope(|scope| {
            let consumer = scope.spawn(|| {
                let mut taken = VecDeque::new();
                while queue.take_all(&mut taken) {
                    taken.drain(..).for_each(Delivery::deliver);
                }
            });
            while queue.lock().sleepers == 0 && !consumer.is_finished() {
                std::thread::yield_now();
            }
            answer(&queue, &seen, 1);
            drop(expected);
        });

        assert_eq!(*seen.lock().expect("no test panics"), [1]);
    }

    #[test]
    fn a_blocking_callback_does_not_keep_the_rest_of_its_burst_from_other_threads() {
        let queue = with_fd();
        let (sender, receiver) = std::sync::mpsc::channel();
        let received = Arc::<std::sync::atomic::AtomicBool>::default();
        let (first_received, order) = (Arc::clone(&received), std::sync::atomic::Ordering::SeqCst);
        std::thread::scope(|scope| {
            let consumers = [(); 2].map(|()| scope.spawn(|| run(&queue, 9, LONG)));
            while queue.lock().sleepers < consumers.len() {
                std::thread::yield_now();
            }
            let burst = Burst::begin(&queue);
            queue.push(Delivery::Run(Box::new(move || {
                first_received.store(receiver.recv_timeout(HANG_TIMEOUT).is_ok(), order);
            })));
            queue.push(Delivery::Run(Box::new(move || sender.send(()).expect("it is waited for"))));
            drop(burst);
            consumers.into_iter().for_each(|consumer| drop(consumer.join()));
        });

        assert!(received.load(order), "the other thread slept on");
    }

    #[test]
    fn a_panicking_callback_leaves_the_queue_ready_for_the_next_consumer() {
        let queue = with_fd();
        queue.push(Delivery::Run(Box::new(|| panic!("planted"))));

        let ran = crate::process::panics::catch(|| queue.run(9, NOW));

        assert_eq!(ran.expect_err("it passes on").code(), Code::Panic);
        assert!(!readable(&queue));
    }

    #[test]
    fn every_waiting_thread_ends_with_the_queue_and_each_answer_is_taken_once() {
        const ANSWERS: u64 = 10_000;
        let (queue, seen) = (with_fd(), Seen::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while run(&queue, 7, LONG) != Ran::Closed {});
            }
            (0..ANSWERS).for_each(|index| answer(&queue, &seen, index));
            queue.close();
        });

        let mut seen = seen.lock().expect("no test panics").clone();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..ANSWERS));
    }
}
