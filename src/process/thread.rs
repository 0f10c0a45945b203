//! How the library creates threads.
//!
//! Owns the only function that spawns, and the signal mask under which other code starts threads for us or writes
//! files. What always holds for an internal thread: it has a name, so that a debugger shows whose it is; it has a stack
//! of our size, whatever the host's environment and limits say; it blocks every signal, so that the host's handlers
//! never run on it, and that a write beyond the host's limit on the size of files (SIGXFSZ) is an error like any other;
//! it never prints, whatever goes wrong; it knows whether it is the completion thread, so that a blocking call inside a
//! callback is an error and not a deadlock. Handling a thread's panics is left to the code that spawns it, and what to
//! do when there is no thread to be had too.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

use crate::error::Error;
use crate::process::panics;

/// The stack of each thread: Rust's default. Without a size of ours the variable RUST_MIN_STACK would set it, which the
/// host may have for threads of its own, and with 16 KiB all of ours crash.
const STACK_BYTES: usize = 2 << 20;

thread_local! {
    static RUNS_CALLBACKS: Cell<bool> = const { Cell::new(false) };
    static IS_INTERNAL: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread named `name` (at most 15 bytes are shown) with all signals blocked.
///
/// # Errors
/// When the operating system cannot create another thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    #[cfg(test)]
    refusals::meet(name)?;
    without_signals(|| {
        Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || {
            IS_INTERNAL.set(true);
            // The code that starts a thread catches its panics where it can act on them; any that slip through are
            // kept off stderr here.
            drop(panics::catch(|| {
                body();
                Ok(())
            }));
        })
    })
}

/// The error of a call that needs a thread which the operating system refused.
pub(crate) fn refused(error: &io::Error) -> Error {
    Error::system("cannot start a thread", error)
        .and("raise the limit on threads, the user's (ulimit -u) or the container's (pids)")
}

/// Runs `body` with all signals blocked, on this thread and on every thread started meanwhile: a thread inherits the
/// mask of its creator, so there is no moment at which a signal could be delivered to it. A write of `body` beyond the
/// limit on the size of files fails with EFBIG, and the signal that would end the host is gone when this returns.
pub(crate) fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    let _restored = Masked { before: block_all_signals(), had_file_size_signal: has_file_size_signal() };
    body()
}

/// Restores a thread's signal mask, even if it panics.
struct Masked {
    before: libc::sigset_t,
    had_file_size_signal: bool,
}

impl Drop for Masked {
    fn drop(&mut self) {
        // One that waited before is not ours.
        if !self.had_file_size_signal {
            take_file_size_signal();
        }
        set_signal_mask(&self.before);
    }
}

/// The number that the operating system has for a thread of this process, while it counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadNumber(libc::c_long);

impl ThreadNumber {
    /// That of the calling thread.
    #[allow(unsafe_code)] // Named corner: std does not show it.
    pub(crate) fn current() -> Self {
        // SAFETY: the call takes nothing and cannot fail.
        Self(unsafe { libc::syscall(libc::SYS_gettid) })
    }

    /// True once the operating system does not count it any more, which may be a moment after it was joined.
    #[allow(unsafe_code)] // As above.
    pub(crate) fn has_left(self) -> bool {
        const NO_SIGNAL: libc::c_long = 0;
        // SAFETY: without a signal the call only says whether there is such a thread.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::c_long::from(libc::getpid()), self.0, NO_SIGNAL) != 0 }
    }
}

/// Marks the calling thread as one that runs user callbacks.
pub(crate) fn mark_callback_thread() {
    RUNS_CALLBACKS.set(true);
}

/// True on a thread made by [`spawn`]. Such a thread must not wait for a store's threads to end: it may be one of
/// them.
#[must_use]
pub(crate) fn is_internal() -> bool {
    IS_INTERNAL.get()
}

/// True inside a completion callback.
#[must_use]
pub(crate) fn is_callback_thread() -> bool {
    RUNS_CALLBACKS.get()
}

#[allow(unsafe_code)] // Named corner: std has no call for a thread's signal mask.
fn block_all_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both pointers are valid for writes; sigfillset initialises `all` before pthread_sigmask reads it,
    // and pthread_sigmask initialises `before`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

#[allow(unsafe_code)] // Named corner, as above.
fn set_signal_mask(mask: &libc::sigset_t) {
    // SAFETY: `mask` is a valid signal set; a null old-mask pointer is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// True when SIGXFSZ waits for the calling thread or for the process.
#[allow(unsafe_code)] // Named corner, as above.
fn has_file_size_signal() -> bool {
    let mut waiting = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigpending initialises `waiting` before it is read; it fails only on an invalid pointer.
    unsafe {
        libc::sigpending(waiting.as_mut_ptr());
        libc::sigismember(waiting.as_ptr(), libc::SIGXFSZ) == 1
    }
}

/// Takes SIGXFSZ, which is blocked, if it waits. The kernel sends it to the thread whose write went beyond the limit.
#[allow(unsafe_code)] // Named corner, as above.
fn take_file_size_signal() {
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: sigemptyset initialises `only` before it is used; a null pointer for information is allowed. Whatever
    // the answer is, nothing waits any more.
    unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), libc::SIGXFSZ);
        libc::sigtimedwait(only.as_ptr(), std::ptr::null_mut(), &raw const at_once);
    }
}

/// Threads that tests have refused, in the library's own test builds.
#[cfg(test)]
pub(crate) mod refusals {
    use std::io;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    static REFUSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// No thread gets this name until what is returned is dropped.
    pub(crate) fn plant(name: &str) -> Planted {
        lock().push(name.to_owned());
        Planted(name.to_owned())
    }

    /// See [`plant`].
    pub(crate) struct Planted(String);

    impl Drop for Planted {
        fn drop(&mut self) {
            lock().retain(|name| *name != self.0);
        }
    }

    /// Fails as the operating system does.
    pub(super) fn meet(name: &str) -> io::Result<()> {
        let is_refused = lock().iter().any(|refused| refused == name);
        if is_refused { Err(io::Error::from_raw_os_error(libc::EAGAIN)) } else { Ok(()) }
    }

    fn lock() -> MutexGuard<'static, Vec<String>> {
        REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
