//! Detects that the process is a forked child.
//!
//! Owns the fork counter that identifies a child process; both the C functions and the Python module check it. What
//! always holds: a check costs one load and no system call. Treatment of a handle made in the parent is left to the
//! handle's owner: its calls return `FORKED`, and it is left untouched, because a lock it needs may have been held by a
//! thread that does not exist in the child.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

use crate::error::{Code, Error, Result};
use crate::process::logging::Records;

/// Number of forks between the process that loaded the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The process in which a handle was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(u32);

impl ProcessId {
    /// This process.
    #[must_use]
    #[allow(unsafe_code)] // Named corner: std cannot notify of a fork.
    pub fn current() -> Self {
        static WATCHING: Once = Once::new();
        // getpid() would cost a system call on every read; with the handler, a check is one load.
        WATCHING.call_once(|| {
            // SAFETY: the handler only adds to an atomic, and the library is never unloaded (-z nodelete, and Python
            // unloads no module).
            let failed = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
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

    /// This process, for opening a store. Refused in a child of a process that has opened one: the threads its engine
    /// shares between stores do not exist in the child, so waiting for them would never end.
    ///
    /// # Errors
    /// `FORKED`.
    pub fn for_store() -> Result<Self> {
        static FIRST_STORE: OnceLock<ProcessId> = OnceLock::new();
        let here = Self::current();
        FIRST_STORE.get_or_init(|| here).check()?;
        Ok(here)
    }

    /// True unless this is a child of the process that made the handle.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}

extern "C" fn count_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // Nobody reads records in the child, and their lock may be held by a thread that does not exist there.
    Records::mute();
}
