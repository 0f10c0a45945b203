//! The queue in front of a poller.
//!
//! Owns one multi-producer queue that is always drained completely, and the decision when to wake its poller. What
//! always holds: a push never blocks beyond an uncontended lock; the poller's thread is woken only if it is asleep
//! and no other thread is handling new items; after `close` nothing more is accepted, but items already queued are
//! still delivered. Who may take items is left to the poller: it takes them under its own lock, so that they are
//! processed in queue order. Limits are left to the sources of the items: callers are bounded by the store's limits
//! on calls in flight, peers by a byte limit passed to [`Mailbox::push_bulk`], and reports by the work handed out
//! before.

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
    /// The poller has something to do: a queued item, or a check that a nudge asked for.
    has_work: bool,
    /// A thread is handling items, and checks for new ones before it ends.
    wakeups_held: bool,
    asleep: bool,
    closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let (items, bulk_bytes) = (Vec::new(), 0);
        let state =
            State { items, bulk_bytes, has_work: false, wakeups_held: false, asleep: false, closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Adds one item, or returns it if the mailbox is closed.
    ///
    /// # Errors
    /// The item.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        self.mark_and_wake(state);
        Ok(())
    }

    /// Adds items in one step; they are dropped if the mailbox is closed.
    pub(crate) fn push_all(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if !state.closed {
            state.items.extend(items);
            self.mark_and_wake(state);
        }
    }

    /// Adds items without waking anyone. They are taken with the next item that does, or after the poller's timeout.
    pub(crate) fn push_quietly(&self, items: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        if !state.closed {
            state.items.extend(items);
        }
    }

    /// Adds items sent by a peer, `bytes` in size. If more than `bytes_max` of such bytes would then be queued, they
    /// are dropped, and this returns false: what members say to each other may get lost.
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
        self.mark_and_wake(state);
        true
    }

    /// Makes the poller check, even if nothing was queued.
    pub(crate) fn nudge(&self) {
        self.mark_and_wake(self.lock());
    }

    /// Makes the poller check if items were queued quietly.
    pub(crate) fn nudge_if_any(&self) {
        let state = self.lock();
        if !state.items.is_empty() {
            self.mark_and_wake(state);
        }
    }

    /// Waits on the poller's thread until there is something to do, at most for `timeout`. False once the mailbox is
    /// closed and empty.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        let idle = |state: &mut State<T>| {
            let idle = (!state.has_work || state.wakeups_held) && !state.closed;
            // Set again before each sleep: a wake-up clears it, even if another thread holds wake-ups back and the
            // poller goes back to sleep.
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

    /// Until [`Mailbox::release_wakeups`], new items wake no one: the caller promises to check for them.
    pub(crate) fn hold_wakeups(&self) {
        self.lock().wakeups_held = true;
    }

    /// Swaps all queued items into `taken`, which must be empty.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "the last items were handled");
        let mut state = self.lock();
        state.has_work = false;
        state.bulk_bytes = 0;
        std::mem::swap(&mut state.items, taken);
    }

    /// Ends [`Mailbox::hold_wakeups`]: the caller will not check again.
    pub(crate) fn release_wakeups(&self) {
        let mut state = self.lock();
        state.wakeups_held = false;
        self.wake(state);
    }

    /// True when there is something to do.
    #[must_use]
    pub(crate) fn has_work(&self) -> bool {
        self.lock().has_work
    }

    /// Lets the poller end once it has taken the queued items.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asleep = false;
        drop(state);
        self.arrived.notify_all();
    }

    fn mark_and_wake(&self, mut state: MutexGuard<'_, State<T>>) {
        state.has_work = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let wake = state.has_work && !state.wakeups_held && std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No outside code runs under this lock, so its state is consistent even after a panic elsewhere.
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
    fn items_queued_before_close_are_still_delivered() {
        let mailbox = Mailbox::default();
        mailbox.push(1).expect("open");
        mailbox.close();

        assert_eq!(mailbox.push(2), Err(2));
        assert!(mailbox.wait(Duration::MAX));
        assert_eq!(taken(&mailbox), [1]);
        assert!(!mailbox.wait(Duration::MAX));
    }

    #[test]
    fn bulk_items_over_the_limit_are_dropped_until_the_queue_is_taken() {
        let mailbox = Mailbox::default();

        assert!(mailbox.push_bulk([1], 90, 100));
        assert!(!mailbox.push_bulk([2], 20, 100));
        mailbox.push(3).expect("open");

        assert_eq!(taken(&mailbox), [1, 3]);
        assert!(mailbox.push_bulk([4], 1000, 100), "a single piece larger than the bound still gets through");
    }

    #[test]
    fn a_nudged_poller_checks_once() {
        let mailbox = Mailbox::<u8>::default();

        mailbox.nudge();

        assert!(mailbox.wait(Duration::MAX));
        assert!(taken(&mailbox).is_empty());
        assert!(!mailbox.has_work());
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
    fn an_item_left_behind_by_a_thread_that_held_wakeups_back_wakes_the_poller() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.hold_wakeups();
        let other = Arc::clone(&mailbox);
        let poller = std::thread::spawn(move || {
            other.wait(Duration::from_secs(60));
            taken(&other)
        });

        mailbox.push(7).expect("open");
        mailbox.release_wakeups();

        assert_eq!(poller.join().expect("it does not panic"), [7]);
    }

    #[test]
    fn a_poller_is_woken_again_after_a_spurious_wake_up() {
        let mailbox = Arc::new(Mailbox::default());
        let other = Arc::clone(&mailbox);
        let poller = std::thread::spawn(move || {
            other.wait(Duration::from_secs(60));
            taken(&other)
        });
        while !mailbox.lock().asleep {
            std::thread::yield_now();
        }

        // A thread holds wake-ups back between the notification and the poller's check, so that the poller goes back to
        // sleep.
        let mut state = mailbox.lock();
        (state.wakeups_held, state.asleep) = (true, false);
        mailbox.arrived.notify_one();
        drop(state);
        while !mailbox.lock().asleep {
            std::thread::yield_now();
        }
        mailbox.push(7).expect("open");
        mailbox.release_wakeups();

        assert_eq!(poller.join().expect("it does not panic"), [7]);
    }

    #[test]
    fn a_quiet_item_is_no_reason_to_wake_anyone() {
        let mailbox = Mailbox::default();

        mailbox.push_quietly([1]);

        assert!(!mailbox.has_work());
        assert!(mailbox.wait(Duration::ZERO));
        assert_eq!(taken(&mailbox), [1]);
    }
}
