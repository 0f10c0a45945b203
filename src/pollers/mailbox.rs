//! The queue in front of a poller.
//!
//! Owns one many-to-one queue that is drained whole. What always holds: a push never blocks beyond an uncontended
//! lock; the consumer is woken only when it sleeps; after `close` nothing more goes in, and what is in still comes
//! out. What bounds a mailbox is where its inputs come from: callers by the store's limits on calls in flight,
//! peers by a byte limit here, reports by what was handed out before.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    bulk_bytes: usize,
    asleep: bool,
    nudged: bool,
    closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let state = State { items: Vec::new(), bulk_bytes: 0, asleep: false, nudged: false, closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Adds one item, or gives it back when the mailbox is closed.
    ///
    /// # Errors
    /// The item.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        self.wake(state);
        Ok(())
    }

    /// Adds items in one step; they are dropped when the mailbox is closed.
    pub fn push_all(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if !state.closed {
            state.items.extend(items);
            self.wake(state);
        }
    }

    /// Adds items without waking the consumer, which finds them when it next looks: at what comes behind them, or
    /// when its patience ends.
    pub fn push_quietly(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if !state.closed {
            state.items.extend(items);
        }
    }

    /// Adds what a peer sent, `bytes` in size, unless that would make more than `bytes_max` of such wait: then it
    /// is dropped, which raft repairs. False when it was.
    pub fn push_bulk(&self, items: impl IntoIterator<Item = T>, bytes: usize, bytes_max: usize) -> bool {
        let mut state = self.lock();
        if state.closed || (state.bulk_bytes > 0 && state.bulk_bytes + bytes > bytes_max) {
            return false;
        }
        state.bulk_bytes += bytes;
        state.items.extend(items);
        self.wake(state);
        true
    }

    /// Makes the consumer look around although nothing came.
    pub fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        self.wake(state);
    }

    /// Swaps everything that waits into `taken`, which must be empty; waits at most `patience` for the first item
    /// or a nudge.
    /// False when the mailbox is closed and nothing waits.
    pub fn take_all(&self, taken: &mut Vec<T>, patience: Duration) -> bool {
        debug_assert!(taken.is_empty(), "the last items were handled");
        let mut state = self.lock();
        let idle = |state: &mut State<T>| state.items.is_empty() && !state.closed && !state.nudged;
        if idle(&mut state) && !patience.is_zero() {
            state.asleep = true;
            let waited = self.arrived.wait_timeout_while(state, patience, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        state.nudged = false;
        std::mem::swap(&mut state.items, taken);
        state.bulk_bytes = 0;
        !(state.closed && taken.is_empty())
    }

    /// Lets the consumer end once it has taken what waits.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asleep = false;
        drop(state);
        self.arrived.notify_all();
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let something = !state.items.is_empty() || state.nudged;
        let wake = something && std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code of others runs under this lock, so its state is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_when_it_closes_still_comes_out() {
        let mailbox = Mailbox::default();
        mailbox.push(1).expect("open");
        mailbox.close();

        assert_eq!(mailbox.push(2), Err(2));
        let mut taken = Vec::new();
        assert!(mailbox.take_all(&mut taken, Duration::MAX));
        assert_eq!(taken, [1]);
        taken.clear();
        assert!(!mailbox.take_all(&mut taken, Duration::MAX));
    }

    #[test]
    fn bulk_beyond_its_bound_is_dropped_until_it_is_taken() {
        let mailbox = Mailbox::default();

        assert!(mailbox.push_bulk([1], 90, 100));
        assert!(!mailbox.push_bulk([2], 20, 100));
        mailbox.push(3).expect("open");
        let mut taken = Vec::new();
        mailbox.take_all(&mut taken, Duration::ZERO);

        assert_eq!(taken, [1, 3]);
        assert!(mailbox.push_bulk([4], 1000, 100), "a single piece larger than the bound still gets through");
    }

    #[test]
    fn a_nudged_consumer_returns_with_nothing_once() {
        let mailbox = Mailbox::<u8>::default();
        let mut taken = Vec::new();

        mailbox.nudge();

        assert!(mailbox.take_all(&mut taken, Duration::MAX));
        assert!(taken.is_empty());
    }

    #[test]
    fn a_waiting_consumer_is_woken() {
        let mailbox = std::sync::Arc::new(Mailbox::default());
        let other = std::sync::Arc::clone(&mailbox);
        let consumer = std::thread::spawn(move || {
            let mut taken = Vec::new();
            other.take_all(&mut taken, Duration::from_secs(60));
            taken
        });

        mailbox.push(7).expect("open");

        assert_eq!(consumer.join().expect("it does not panic"), [7]);
    }
}
