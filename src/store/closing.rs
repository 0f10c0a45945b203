//! Closes a store, and waits for that.
//!
//! Owns the threads of an open store until they are to end, the thread "almadia-reaper" that ends them, and the wait
//! of the callers that requested it. What always holds: the reaper is there as long as the store is open, because the
//! system may refuse a thread when one is needed; from the first shutdown on, the threads, the engine and the
//! directory's lock belong to it, so no other thread waits for a hung disk or a callback that does not return; a waiting caller is notified in time whether everything has ended; even if it has not, every call has been
//! answered. The order in which the threads end is left to [`threads`](super::threads).

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::Inner;
use super::threads::Threads;
use crate::error::{Code, Error, Result};
use crate::pollers::timer::answer_late;
use crate::process::thread;
use crate::time::{Timestamp, now};

/// The part of a timeout reserved for the threads, or half of the timeout if that is less: they end within
/// milliseconds, unless the disk is slow.
const STOP_MAX: Duration = Duration::from_secs(1);
/// A shutdown with no timeout of its own waits this long for the threads: longer than typical disk stalls.
const STOP_AT_ONCE_MAX: Duration = Duration::from_secs(5);
/// While stopping, threads have this long to answer calls themselves, which may give a better answer than that the
/// store is stopping.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(100);

/// How long the parts of a shutdown may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For calls in flight, and for handing over the leaderships of this member.
    calls: Duration,
    /// For the threads to answer calls while they stop.
    answers: Duration,
    /// For the shutdown in total.
    total: Duration,
}

impl Timeouts {
    /// No time for calls, and a little for the threads.
    pub(super) const AT_ONCE: Self =
        Self { calls: Duration::ZERO, answers: LAST_ANSWERS_MAX, total: STOP_AT_ONCE_MAX };

    /// Everything within `timeout`; zero is [`Timeouts::AT_ONCE`].
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
    /// Set while the store is open.
    open: Option<OpenStore>,
    reaper: Option<JoinHandle<()>>,
    /// What the reaper is waiting for.
    stage: &'static str,
    /// The reaper has finished its work.
    is_reaped: bool,
    /// Everything has ended, including the reaper's thread.
    has_ended: bool,
}

/// What a store has until it is shut down.
struct OpenStore {
    threads: Threads,
    /// Where the reaper waits.
    reaper: Sender<Closing>,
}

/// What the reaper needs to close a store.
struct Closing {
    inner: Arc<Inner>,
    threads: Threads,
    timeouts: Timeouts,
}

impl Ending {
    /// Called once the threads of the store run.
    ///
    /// # Errors
    /// When the operating system cannot create the reaper; then the threads have ended.
    pub(super) fn begin(&self, threads: Threads) -> io::Result<()> {
        let (reaper, ordered) = bounded::<Closing>(1);
        let thread = thread::spawn("almadia-reaper", move || {
            if let Ok(Closing { inner, threads, timeouts }) = ordered.recv() {
                inner.reap(threads, timeouts);
            }
        })?;
        let mut state = self.lock();
        state.open = Some(OpenStore { threads, reaper });
        state.reaper = Some(thread);
        Ok(())
    }

    /// Sets what the reaper is waiting for from now on.
    fn tell(&self, stage: &'static str) {
        self.lock().stage = stage;
    }

    /// Waits for the end. If it has not come by `until`, returns what it is waiting for.
    fn wait(&self, until: Timestamp) -> std::result::Result<(), &'static str> {
        let mut state = self.lock();
        while !state.has_ended {
            if state.is_reaped
                && let Some(reaper) = state.reaper.take()
            {
                drop(state);
                // It is executing its last instructions.
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
        // No outside code runs under this lock, so its state is consistent even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that the reaper has finished, even if it panics.
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

    /// Called when the last handle of the store is dropped.
    pub(super) fn let_go(self: &Arc<Self>) {
        // A caller whose wait for a shutdown timed out does not wait again. A thread of a store must not wait at all,
        // because it may be the one being waited for: the callback thread, or one that drops a callback owning the
        // store because its queue was abandoned.
        let begun = self.begin_shutdown(Timeouts::AT_ONCE);
        if begun
            && !thread::is_internal()
            && let Err(stage) = self.ending.wait(now() + Timeouts::AT_ONCE.total)
        {
            log::warn!("a dropped store is still shutting down and holds its directory: waiting for {stage}");
        }
    }

    /// Starts closing the store. True for the first caller.
    fn begin_shutdown(self: &Arc<Self>, timeouts: Timeouts) -> bool {
        self.health.begin_closing();
        let Some(OpenStore { threads, reaper }) = self.ending.lock().open.take() else { return false };
        let closing = Closing { inner: Arc::clone(self), threads, timeouts };
        reaper.send(closing).expect("the reaper waits until it gets this");
        true
    }

    /// Closes the store, however long that takes.
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

    /// Drops the engine; the directory is released with the last snapshot.
    fn close_engine(&self) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock, because this may take as long as the disk needs.
        drop(engine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_covers_everything_and_reserves_a_part_for_the_threads() {
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
