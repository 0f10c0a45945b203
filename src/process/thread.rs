//! How the library creates threads.
//!
//! Owns the only function that spawns, and the signal mask under which other code starts threads for us. What always
//! holds for an internal thread: it has a name, so that a debugger shows whose it is; it blocks every signal, so that
//! the host's handlers never run on it; it never prints, whatever goes wrong; it knows whether it is the completion
//! thread, so that a blocking call inside a callback is an error and not a deadlock. Handling a thread's panics is
//! left to the code that spawns it.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

use crate::process::panics;

thread_local! {
    static RUNS_CALLBACKS: Cell<bool> = const { Cell::new(false) };
    static IS_INTERNAL: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread named `name` (at most 15 bytes are shown) with all signals blocked.
///
/// # Errors
/// When the operating system cannot create another thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    without_signals(|| {
        Builder::new().name(name.to_owned()).spawn(move || {
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

/// Runs `body` with all signals blocked, on this thread and on every thread started meanwhile: a thread inherits the
/// mask of its creator, so there is no moment at which a signal could be delivered to it.
pub(crate) fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    let _restored = Masked(block_all_signals());
    body()
}

/// Restores a thread's signal mask, even if it panics.
struct Masked(libc::sigset_t);

impl Drop for Masked {
    fn drop(&mut self) {
        set_signal_mask(&self.0);
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
