//! The events and the answer of one write, in order although several threads drain its queue.
//!
//! Owns what waits for one such write. What always holds: its deliveries run in the order in which they were pushed, one
//! at a time, each after the one before has returned. So no event of a write runs, or starts, once its answer was
//! delivered, and what the events use may be freed then. The queue holds one token for each of them; a thread that takes
//! one while another thread is at it leaves it to that thread and waits for nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::queue::{CompletionQueue, Delivery};

/// See the module.
pub(crate) struct Ordered {
    queue: Arc<CompletionQueue>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    is_running: bool,
    /// Taken from the queue while another delivery ran.
    owed: usize,
}

impl Ordered {
    /// Nothing waits yet.
    pub(crate) fn new(queue: Arc<CompletionQueue>) -> Self {
        Self { queue, state: Mutex::default() }
    }

    /// Adds the next one.
    pub(crate) fn push(self: &Arc<Self>, delivery: Delivery) {
        self.lock().waiting.push_back(delivery);
        self.queue.push(self.token());
    }

    fn token(self: &Arc<Self>) -> Delivery {
        let ordered = Arc::clone(self);
        Delivery::Run(Box::new(move || ordered.run_next()))
    }

    /// Runs the next delivery, and those that other threads leave to this one meanwhile; or leaves it to the thread that
    /// runs the one before. This may run user code.
    fn run_next(self: Arc<Self>) {
        let mut state = self.lock();
        if state.is_running {
            state.owed += 1;
            return;
        }
        state.is_running = true;
        loop {
            let next = state.waiting.pop_front().expect("one waits for each that was queued");
            drop(state);
            let running = Running(&self);
            next.deliver();
            std::mem::forget(running);
            state = self.lock();
            if state.owed == 0 {
                state.is_running = false;
                return;
            }
            state.owed -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No outside code runs under this lock, so its state is consistent even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives back what is owed when a callback panics.
struct Running<'a>(&'a Arc<Ordered>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_running = false;
        let owed = std::mem::take(&mut state.owed);
        drop(state);
        (0..owed).for_each(|_| self.0.queue.push(self.0.token()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::process::panics;

    const NOW: Option<Duration> = Some(Duration::ZERO);
    const HANG_TIMEOUT: Duration = Duration::from_secs(30);

    fn queue() -> Arc<CompletionQueue> {
        CompletionQueue::with_fd().expect("a descriptor is free")
    }

    #[test]
    fn a_delivery_waits_for_the_one_before_on_whichever_thread_it_was_taken() {
        let (queue, seen) = (queue(), Arc::<Mutex<Vec<u32>>>::default());
        let ordered = Arc::new(Ordered::new(Arc::clone(&queue)));
        let ((entered, is_entered), (release, released)) = (mpsc::channel(), mpsc::channel());
        let log = |number, seen: &Arc<Mutex<Vec<u32>>>| seen.lock().expect("no test panics").push(number);
        let first = Arc::clone(&seen);
        ordered.push(Delivery::Run(Box::new(move || {
            entered.send(()).expect("it is waited for");
            released.recv_timeout(HANG_TIMEOUT).expect("the other thread returns");
            log(1, &first);
        })));
        for number in 2..=3 {
            let seen = Arc::clone(&seen);
            ordered.push(Delivery::Run(Box::new(move || log(number, &seen))));
        }

        std::thread::scope(|scope| {
            scope.spawn(|| queue.run(1, Some(HANG_TIMEOUT)));
            is_entered.recv_timeout(HANG_TIMEOUT).expect("the first one runs");
            // Takes the other two, and returns although the first one has not.
            queue.run(2, NOW).expect("no callback");
            assert!(seen.lock().expect("no test panics").is_empty());
            release.send(()).expect("it waits");
        });

        assert_eq!(*seen.lock().expect("no test panics"), [1, 2, 3]);
    }

    #[test]
    fn a_delivery_that_panics_loses_none_of_those_left_to_it() {
        let (queue, seen) = (queue(), Arc::<Mutex<u32>>::default());
        let ordered = Arc::new(Ordered::new(Arc::clone(&queue)));
        let inner = Arc::clone(&queue);
        ordered.push(Delivery::Run(Box::new(move || {
            // Takes the second one on this thread, which leaves it to the first.
            inner.run(1, NOW).expect("its own queue");
            panic!("planted");
        })));
        let counted = Arc::clone(&seen);
        ordered.push(Delivery::Run(Box::new(move || *counted.lock().expect("no test panics") += 1)));

        let ran = panics::catch(|| queue.run(1, NOW));

        assert!(ran.is_err());
        assert_eq!(*seen.lock().expect("no test panics"), 0);
        queue.run(9, NOW).expect("the next consumer");
        assert_eq!(*seen.lock().expect("no test panics"), 1);
    }
}
