//! The queue in front of a poller.
//!
//! Owns one many-to-one queue that is drained whole, and the question who must be woken for it. What always holds: a
//! push never blocks beyond an uncontended lock; the poller's thread is woken only when it sleeps and nobody else is
//! at work on what comes; after `close` nothing more goes in, and what is in still comes out. Who may take is the
//! poller's business: it takes under a lock of its own, so that the order of the queue is the order of the work. What
//! bounds a mailbox is where its inputs come from: callers by the store's limits on calls in flight, peers by a byte
//! limit here, reports by what was handed out before.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    bulk_bytes: usize,
    /// Something here wants to be looked at.
    loud: bool,
    /// Someone is at work and looks again when done.
    attended: bool,
    asleep: bool,
    closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let (items, bulk_bytes) = (Vec::new(), 0);
        let state = State { items, bulk_bytes, loud: false, attended: false, asleep: false, closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Adds one item, or gives it back when the mailbox is closed.
    ///
    /// # Errors
    /// The item.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        self.call(state);
        Ok(())
    }

    /// Adds items in one step; they are dropped when the mailbox is closed.
    pub(crate) fn push_all(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if !state.closed {
            state.items.extend(items);
            self.call(state);
        }
    }

    /// Adds items without waking anybody. They are found with what comes behind them, or when the poller's timeout
    /// ends.
    pub(crate) fn push_quietly(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if !state.closed {
            state.items.extend(items);
        }
    }

    /// Adds what a peer sent, `bytes` in size, unless that would make more than `bytes_max` of such wait: then it
    /// is dropped, which raft repairs. False when it was.
    pub(crate) fn push_bulk(
        &self,
        items: impl IntoIterator<Item = T>,
        bytes: usize,
        bytes_max: usize,
    ) -> bool {
        let mut state = self.lock();
        if state.closed || (state.bulk_bytes > 0 && state.bulk_bytes + bytes > bytes_max) {
            return false;
        }
        state.bulk_bytes += bytes;
        state.items.extend(items);
        self.call(state);
        true
    }

    /// Makes the poller look around although nothing came.
    pub(crate) fn nudge(&self) {
        self.call(self.lock());
    }

    /// Makes the poller look around if something came quietly.
    pub(crate) fn nudge_if_any(&self) {
        let state = self.lock();
        if !state.items.is_empty() {
            self.call(state);
        }
    }

    /// Waits on the poller's thread until something wants to be looked at, at most for `timeout`. False when the
    /// mailbox is closed and empty.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let idle = |state: &mut State<T>| {
            let idle = (!state.loud || state.attended) && !state.closed;
            // Said before each sleep: a wake-up that came to nothing, because someone else attended, has cleared it.
            state.asleep = idle;
            idle
        };
        if !timeout.is_zero() {
            let waited = self.arrived.wait_timeout_while(state, timeout, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        !(state.closed && state.items.is_empty())
    }

    /// From now on nobody is woken for what comes, since the caller will look; until [`Mailbox::leave`].
    pub(crate) fn attend(&self) {
        self.lock().attended = true;
    }

    /// Swaps everything that waits into `taken`, which must be empty.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "the last items were handled");
        let mut state = self.lock();
        state.loud = false;
        state.bulk_bytes = 0;
        std::mem::swap(&mut state.items, taken);
    }

    /// The caller has looked for the last time.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.attended = false;
        self.wake(state);
    }

    /// True when something wants to be looked at.
    #[must_use]
    pub(crate) fn is_loud(&self) -> bool {
        self.lock().loud
    }

    /// Lets the poller end once it has taken what waits.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asleep = false;
        drop(state);
        self.arrived.notify_all();
    }

    fn call(&self, mut state: MutexGuard<'_, State<T>>) {
        state.loud = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let wake = state.loud && !state.attended && std::mem::take(&mut state.asleep);
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
    use std::sync::Arc;

    use super::*;

    fn taken<T>(mailbox: &Mailbox<T>) -> Vec<T> {
        let mut taken = Vec::new();
        mailbox.take(&mut taken);
        taken
    }

    #[test]
    fn what_is_in_when_it_closes_still_comes_out() {
        let mailbox = Mailbox::default();
        mailbox.push(1).expect("open");
        mailbox.close();

        assert_eq!(mailbox.push(2), Err(2));
        assert!(mailbox.wait(Duration::MAX));
        assert_eq!(taken(&mailbox), [1]);
        assert!(!mailbox.wait(Duration::MAX));
    }

    #[test]
    fn bulk_beyond_its_bound_is_dropped_until_it_is_taken() {
        let mailbox = Mailbox::default();

        assert!(mailbox.push_bulk([1], 90, 100));
        assert!(!mailbox.push_bulk([2], 20, 100));
        mailbox.push(3).expect("open");

        assert_eq!(taken(&mailbox), [1, 3]);
        assert!(mailbox.push_bulk([4], 1000, 100), "a single piece larger than the bound still gets through");
    }

    #[test]
    fn a_nudged_poller_looks_once() {
        let mailbox = Mailbox::<u8>::default();

        mailbox.nudge();

        assert!(mailbox.wait(Duration::MAX));
        assert!(taken(&mailbox).is_empty());
        assert!(!mailbox.is_loud());
    }

    #[test]
    fn a_waiting_poller_is_woken() {
        let mailbox = Arc::new(Mailbox::default());
        let other = Arc::clone(&mailbox);
        let poller = std::thread::spawn(move || {
            other.wait(Duration::from_secs(60));
            taken(&other)
        });

        mailbox.push(7).expect("open");

        assert_eq!(poller.join().expect("it does not panic"), [7]);
    }

    #[test]
    fn what_comes_while_someone_attends_and_is_left_over_wakes_the_poller() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.attend();
        let other = Arc::clone(&mailbox);
        let poller = std::thread::spawn(move || {
            other.wait(Duration::from_secs(60));
            taken(&other)
        });

        mailbox.push(7).expect("open");
        mailbox.leave();

        assert_eq!(poller.join().expect("it does not panic"), [7]);
    }

    #[test]
    fn a_poller_that_was_woken_for_nothing_is_woken_again() {
        let mailbox = Arc::new(Mailbox::default());
        let other = Arc::clone(&mailbox);
        let poller = std::thread::spawn(move || {
            other.wait(Duration::from_secs(60));
            taken(&other)
        });
        while !mailbox.lock().asleep {
            std::thread::yield_now();
        }

        // Someone attends between the call and the poller's look, so that it goes back to sleep.
        let mut state = mailbox.lock();
        (state.attended, state.asleep) = (true, false);
        mailbox.arrived.notify_one();
        drop(state);
        while !mailbox.lock().asleep {
            std::thread::yield_now();
        }
        mailbox.push(7).expect("open");
        mailbox.leave();

        assert_eq!(poller.join().expect("it does not panic"), [7]);
    }

    #[test]
    fn a_quiet_item_is_no_reason_to_look() {
        let mailbox = Mailbox::default();

        mailbox.push_quietly([1]);

        assert!(!mailbox.is_loud());
        assert!(mailbox.wait(Duration::ZERO));
        assert_eq!(taken(&mailbox), [1]);
    }
}
