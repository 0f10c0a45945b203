//! How a store ends, and who waits for it.
//!
//! Owns the threads of an open store until they are to end, the thread "almadia-reaper" that ends them, and the wait of
//! whoever asked for it. What always holds: threads, engine and the directory's lock belong to the reaper from the first
//! shutdown on, so that nobody else waits for a disk that hangs or a callback that does not return; whoever waits is told
//! in time whether all of it has ended; when it has not, every call was answered all the same. In which order the threads
//! end is [`threads`](super::threads)'s.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Inner;
use super::threads::Threads;
use crate::error::{Code, Error, Result};
use crate::pollers::timer::answer_late;
use crate::process::thread;
use crate::time::{Timestamp, now};

/// What is kept of a timeout for the threads, if there is that much: they end within milliseconds, unless the disk is slow.
const STOP_MAX: Duration = Duration::from_secs(1);
/// A shutdown without a timeout of its own waits this long for the threads: longer than the stalls that a disk shows.
const STOP_AT_ONCE_MAX: Duration = Duration::from_secs(5);
/// Threads that stop get this long to answer by themselves, which may be a better answer than that the store stops.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(100);

/// What a shutdown may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For calls that are under way, and for handing over what this member leads.
    calls: Duration,
    /// For answers of the threads while they stop.
    answers: Duration,
    /// For all of it.
    total: Duration,
}

impl Timeouts {
    /// No time for calls, and some for the threads.
    pub(super) const AT_ONCE: Self =
        Self { calls: Duration::ZERO, answers: LAST_ANSWERS_MAX, total: STOP_AT_ONCE_MAX };

    /// All within `timeout`; zero is [`Timeouts::AT_ONCE`].
    pub(super) fn new(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::AT_ONCE;
        }
        let stop = STOP_MAX.min(timeout / 2);
        Self { calls: timeout - stop, answers: LAST_ANSWERS_MAX.min(stop / 2), total: timeout }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ending {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Of an open store.
    threads: Option<Threads>,
    reaper: Option<JoinHandle<()>>,
    /// What the reaper waits for.
    stage: &'static str,
    /// The reaper has done its work.
    is_reaped: bool,
    /// And has ended.
    has_ended: bool,
}

impl Ending {
    /// The store is open.
    pub(super) fn begin(&self, threads: Threads) {
        self.lock().threads = Some(threads);
    }

    /// What the reaper waits for from now on.
    fn tell(&self, stage: &'static str) {
        self.lock().stage = stage;
    }

    /// Waits for the end. What is waited for, if it did not come by `until`.
    fn wait(&self, until: Timestamp) -> std::result::Result<(), &'static str> {
        let mut state = self.lock();
        while !state.has_ended {
            if state.is_reaped
                && let Some(reaper) = state.reaper.take()
            {
                drop(state);
                // It is at its last instructions.
                let _ = reaper.join();
                state = self.lock();
                state.has_ended = true;
                self.moved.notify_all();
                break;
            }
            let left = until.since(now());
            if left.is_zero() {
                return Err(state.stage);
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so its state is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells that the reaper is done, also when it panics.
struct Reaped<'a>(&'a Ending);

impl Drop for Reaped<'_> {
    fn drop(&mut self) {
        self.0.lock().is_reaped = true;
        self.0.moved.notify_all();
    }
}

impl Inner {
    /// See [`super::Store::shutdown`].
    pub(super) fn shutdown(self: &Arc<Self>, timeout: Duration) -> Result<()> {
        let timeouts = Timeouts::new(timeout);
        let until = now() + timeouts.total;
        self.begin_shutdown(timeouts);
        self.ending.wait(until).map_err(|stage| {
            self.deadlines.close(now());
            answer_late(&self.deadlines, self.node, &self.health, &self.completions);
            Error::with_detail(Code::ShuttingDown, format!("it waits for {stage}"))
        })
    }

    /// The last handle of the store goes.
    pub(super) fn let_go(self: &Arc<Self>) {
        // Whoever has waited for a shutdown in vain does not wait again. A thread of a store must not at all, for it may be
        // the one that would be waited for: the callback thread, or one that drops a callback which owns the store,
        // because its queue was abandoned.
        let begun = self.begin_shutdown(Timeouts::AT_ONCE);
        if begun
            && !thread::is_internal()
            && let Err(stage) = self.ending.wait(now() + Timeouts::AT_ONCE.total)
        {
            log::warn!("a dropped store is still shutting down and holds its directory: waiting for {stage}");
        }
    }

    /// Has the store end. True for the first who asks for it.
    fn begin_shutdown(self: &Arc<Self>, timeouts: Timeouts) -> bool {
        self.health.begin_closing();
        let Some(threads) = self.ending.lock().threads.take() else { return false };
        let inner = Arc::clone(self);
        match thread::spawn("almadia-reaper", move || inner.reap(threads, timeouts)) {
            Ok(reaper) => self.ending.lock().reaper = Some(reaper),
            Err(error) => {
                // What was moved into it was dropped, and with it the threads were joined: here, as there is no other.
                log::error!("cannot start a thread to shut a store down: {error}");
                self.close_engine();
                self.ending.lock().has_ended = true;
            }
        }
        self.ending.moved.notify_all();
        true
    }

    /// Ends the store, however long that takes.
    fn reap(&self, threads: Threads, timeouts: Timeouts) {
        let _reaped = Reaped(&self.ending);
        let until = now() + timeouts.calls;
        self.ending.tell("calls that are under way");
        self.admission.wait_idle(timeouts.calls);
        self.ending.tell("another leader");
        self.hand_over(until.since(now()));
        threads.stop(timeouts.answers, &|stage| self.ending.tell(stage));
        self.ending.tell("the files of the engine");
        self.close_engine();
    }

    /// The directory is free as soon as the last snapshot is.
    fn close_engine(&self) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock, for it may take as long as the disk likes.
        drop(engine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_covers_all_and_leaves_the_threads_their_part() {
        let parts = |timeout_ms| {
            let Timeouts { calls, answers, total } = Timeouts::new(Duration::from_millis(timeout_ms));
            [calls, answers, total].map(|part| part.as_micros())
        };

        assert_eq!(parts(0), [0, 100_000, 5_000_000]);
        assert_eq!(parts(1), [500, 250, 1_000]);
        assert_eq!(parts(1_000), [500_000, 100_000, 1_000_000]);
        assert_eq!(parts(60_000), [59_000_000, 100_000, 60_000_000]);
    }
}
