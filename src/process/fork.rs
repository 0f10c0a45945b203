//! Detects that the process is a forked child.
//!
//! Owns the fork counter that identifies a child process, which the C functions and the Python module check, and the
//! count of what a child cannot use ([`Unforkable`]). What always holds: a check costs one load and no system call;
//! a store is opened only in a process that has not inherited anything unforkable, and the log's lock is free in a
//! child. Treatment of a handle made in the parent is left to the handle's owner: its calls return `FORKED`, and it is
//! left untouched, because a lock it needs may have been held by a thread that does not exist in the child.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::error::{Code, Error, Result};
use crate::process::logging::Records;

/// Number of forks between the process that loaded the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many [`Unforkable`]s there are in this process, its parent's included.
static UNFORKABLE: AtomicUsize = AtomicUsize::new(0);

/// There were any when this process, or one it descends from, was forked.
static IS_IMPAIRED: AtomicBool = AtomicBool::new(false);

/// The process in which a handle was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(u32);

impl ProcessId {
    /// This process.
    #[must_use]
    #[allow(unsafe_code)] // Named corner: std cannot notify of a fork.
    pub fn current() -> Self {
        static WATCHING: Once = Once::new();
        // getpid() would cost a system call on every read; with the handlers, a check is one load.
        WATCHING.call_once(|| {
            // SAFETY: the handlers only use atomics and a lock that is never held while a process is forked, and the
            // library is never unloaded (-z nodelete, and Python unloads no module).
            let failed = unsafe {
                libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child))
            };
            assert!(failed == 0, "pthread_atfork fails only without memory");
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Refuses the call if this is a child of the process that made the handle.
    ///
    /// # Errors
    /// `FORKED`.
    pub fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::new(Code::Forked)) }
    }

    /// This process, for opening a store. Refused in a child of a process that had one open when it forked: the engine
    /// shares threads and locks between all stores of a process. In the child the threads do not exist, so waiting for
    /// them would never end, and a lock may have been held by one of them.
    ///
    /// # Errors
    /// `FORKED`.
    pub fn for_store() -> Result<Self> {
        let here = Self::current();
        if IS_IMPAIRED.load(Ordering::Relaxed) { Err(Error::new(Code::Forked)) } else { Ok(here) }
    }

    /// True unless this is a child of the process that made the handle.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}

/// Stands for threads, or locks that they take, without which no store works. A process that is forked while one of
/// these lives cannot open a store; forgetting one makes that so for good.
#[derive(Debug)]
pub(crate) struct Unforkable(());

impl Unforkable {
    /// To be made before the first of them starts, and dropped when the last has ended.
    pub(crate) fn new() -> Self {
        // A fork from here on is noticed.
        let _ = ProcessId::current();
        UNFORKABLE.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Unforkable {
    fn drop(&mut self) {
        UNFORKABLE.fetch_sub(1, Ordering::SeqCst);
    }
}

extern "C" fn before_fork() {
    Records::hold();
}

extern "C" fn after_in_parent() {
    Records::let_go();
}

extern "C" fn after_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    if UNFORKABLE.load(Ordering::SeqCst) > 0 {
        IS_IMPAIRED.store(true, Ordering::Relaxed);
    }
    // Nobody reads records in the child.
    Records::mute();
    Records::let_go();
}
