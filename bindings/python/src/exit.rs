//! The end of the interpreter while other threads are in the middle of a call.
//!
//! Owns the count of threads that are inside this module and may need the GIL before they are out of it. What always
//! holds: once [`begin_exit`] has returned no such thread is left, and none comes in: it is stopped at the door.
//!
//! Why: CPython before 3.14 ends a daemon thread that asks for the GIL of an interpreter that is going away with
//! `pthread_exit`, which unwinds the thread's stack; Rust code on that stack aborts the process ("exception not
//! rethrown").

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How long the end waits for threads inside. They are on their way out: every store is closed before.
const PATIENCE: Duration = Duration::from_secs(5);

/// Threads inside.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The thread that ends the interpreter, once it does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

thread_local! {
    /// How many times this thread is inside.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` with the GIL released.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let _inside = Inside::enter(py);
    py.detach(work)
}

/// Runs `work`, which may run Python code.
pub fn attached<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let _inside = Inside::enter(py);
    work()
}

/// Waits until no thread is inside, and lets none in from now on but the calling one. To be called last, when all
/// stores are closed.
#[pyfunction]
pub fn begin_exit(py: Python<'_>) {
    let _ = ENDING.set(thread::current().id());
    py.detach(|| {
        let until = Instant::now() + PATIENCE;
        while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

/// One thread that is inside, while it lives.
struct Inside;

impl Inside {
    fn enter(py: Python<'_>) -> Self {
        let outermost = DEPTH.with(|depth| depth.replace(depth.get() + 1) == 0);
        if outermost {
            INSIDE.fetch_add(1, Ordering::SeqCst);
            if ENDING.get().is_some_and(|ending| *ending != thread::current().id()) {
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                // As CPython 3.14 does itself: the thread waits for the end of the process.
                py.detach(|| {
                    loop {
                        thread::park();
                    }
                });
            }
        }
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let outermost = DEPTH.with(|depth| {
            depth.set(depth.get() - 1);
            depth.get() == 0
        });
        if outermost {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
