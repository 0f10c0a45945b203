//! Exit of the interpreter while other threads are in the middle of a call.
//!
//! Owns the count of threads that are inside this module and may need the GIL before they leave it. What always holds:
//! once [`begin_exit`] has returned, no such thread is left, and any other thread that enters later is parked; a child
//! process counts none of its parent's threads, which it does not have.
//!
//! Why: CPython before 3.14 ends a daemon thread that requests the GIL of a finalizing interpreter with `pthread_exit`,
//! which unwinds the thread's stack; Rust code on that stack aborts the process ("exception not rethrown").

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How long the exit waits for threads inside. They are about to leave, because every store is closed first.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of threads inside.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The thread that ends the interpreter; unset until the exit begins.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

thread_local! {
    /// How many entries of this thread are nested.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` with the GIL released.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let _inside = Inside::enter(py);
    py.detach(work)
}

/// Runs `work`, which may run Python code, with the GIL held.
pub fn attached<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let _inside = Inside::enter(py);
    work()
}

/// Lets no thread but the calling one enter from now on, and waits until none is inside. To be called last, when all
/// stores are closed.
#[pyfunction]
pub fn begin_exit(py: Python<'_>) {
    let _ = ENDING.set(thread::current().id());
    py.detach(|| {
        let until = Instant::now() + EXIT_TIMEOUT;
        while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

/// To be called first in a child process: counts only the calling thread, which is all that is left.
#[pyfunction]
pub fn begin_child() {
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
}

/// Counts its thread as inside while it lives.
struct Inside;

impl Inside {
    fn enter(py: Python<'_>) -> Self {
        let outermost = DEPTH.with(|depth| depth.replace(depth.get() + 1) == 0);
        if outermost {
            INSIDE.fetch_add(1, Ordering::SeqCst);
            if ENDING.get().is_some_and(|ending| *ending != thread::current().id()) {
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                // As CPython 3.14 itself does: the thread waits for the process to end.
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
