//! Which process this is, counted in forks.
//!
//! Owns the counter by which a child process is recognised; the C functions and the Python module both ask it. What
//! always holds: asking costs one load and no system call. What follows for a handle that was made in the parent - its
//! calls answer `FORKED`, and it is left as it is, because a lock it needs may have been held by a thread that does
//! not exist in the child - is kept by whoever owns the handle.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

use crate::error::{Code, Error, Result};
use crate::process::logging::Records;

/// How many forks lie between the process that loaded the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The process a handle was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(u32);

impl ProcessId {
    /// This process.
    #[must_use]
    #[allow(unsafe_code)] // Named corner: std offers no notice of a fork.
    pub fn current() -> Self {
        static WATCHING: Once = Once::new();
        // getpid() would be a system call on every read; the handler costs one load.
        WATCHING.call_once(|| {
            // SAFETY: the handler only adds to an atomic, and the library is never unloaded (-z nodelete, and Python
            // unloads no module).
            let failed = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
            assert!(failed == 0, "pthread_atfork fails only without memory");
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Refuses the call when this is a child of the handle's process.
    ///
    /// # Errors
    /// `FORKED`.
    pub fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::new(Code::Forked)) }
    }

    /// This process, for opening a store. Refused in a child of a process that opened one: the threads its
    /// engine shares between stores do not exist in the child, and waiting for them would never end.
    ///
    /// # Errors
    /// `FORKED`.
    pub fn for_store() -> Result<Self> {
        static FIRST_STORE: OnceLock<ProcessId> = OnceLock::new();
        let here = Self::current();
        FIRST_STORE.get_or_init(|| here).check()?;
        Ok(here)
    }

    /// True unless this is a child of the handle's process.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}

extern "C" fn count_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // Nobody takes records here, and a lock of theirs may be held by a thread that does not exist.
    Records::mute();
}
