//! Completions: how an `_async` call is answered.
//!
//! Owns the C types `almadia_done` and `almadia_completion` and the step from a Rust closure to a C function
//! pointer. What always holds: an accepted `almadia_done` is called once, on the completion thread; what the
//! callback does not take from its completion is freed when it returns. That it is called exactly once is
//! left to the store.

use std::cell::Cell;
use std::ffi::c_void;

use super::error::almadia_error;
use super::extensible::{self, Extensible};
use super::handle::null;
use super::snapshot::almadia_snapshot;
use super::{ALMADIA_OK, almadia_code, boundary};
use crate::completion::Position;
use crate::error::{Code, Error, Result};
use crate::snapshot::Snapshot;

/// The answer of one _async call. Belongs to the library, and is valid only until the callback returns.
pub struct almadia_completion {
    position: Position,
    error: Option<Box<almadia_error>>,
    // A cell, because callbacks hold the completion and its error at the same time.
    snapshot: Cell<Option<Box<almadia_snapshot>>>,
}

/// What the library calls when an _async call is answered: exactly once, on its thread "almadia-cb". `user`
/// is the pointer of almadia_done, which the library never follows; the callback may free what it points to.
pub type almadia_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, completion: *mut almadia_completion)>;

/// A queue for completions. No function of this version makes one.
pub struct almadia_cq {
    _never_made: std::convert::Infallible,
}

/// Where the answer of an _async call goes. Begin with ALMADIA_DONE_INIT. The struct is copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_done {
    /// sizeof(almadia_done).
    pub struct_size: usize,
    /// Called with the answer; must not be NULL.
    pub callback: almadia_callback,
    /// Handed to the callback as it is.
    pub user: *mut c_void,
    /// Reserved for completion queues; must be NULL in this version.
    pub cq: *mut almadia_cq,
}

// SAFETY: repr(C), begins with struct_size, and NULL is valid for an optional function and for pointers.
unsafe impl Extensible for almadia_done {
    const NAME: &'static str = "done";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// A checked `almadia_done`.
pub(super) struct Done {
    callback: unsafe extern "C" fn(*mut c_void, *mut almadia_completion),
    user: *mut c_void,
}

// SAFETY: the caller promises that its callback may run on another thread than the one that submits, with
// `user`, which nobody here follows.
unsafe impl Send for Done {}

impl Done {
    /// Checks and copies the caller's struct.
    ///
    /// # Safety
    /// `done` is NULL or points to a struct of `struct_size` bytes, and its callback may be called once.
    pub(super) unsafe fn read(done: *const almadia_done) -> Result<Self> {
        // SAFETY: passed on to the caller.
        let done = unsafe { extensible::read(done) }?;
        if !done.cq.is_null() {
            return Err(Error::with_detail(
                Code::Unsupported,
                "almadia_done.cq must be NULL in this version",
            ));
        }
        let callback = done.callback.ok_or_else(|| null("almadia_done.callback"))?;
        Ok(Self { callback, user: done.user })
    }

    /// Answers a write.
    pub(super) fn write_finished(self, answer: Result<Position>) {
        self.finish(match answer {
            Ok(position) => almadia_completion::new(position, None),
            Err(error) => almadia_completion::failed(error),
        });
    }

    /// Answers a call that has no result but its success.
    pub(super) fn finished(self, answer: Result<()>) {
        self.write_finished(answer.map(|()| Position::default()));
    }

    /// Answers a snapshot.
    pub(super) fn snapshot_finished(self, answer: Result<Snapshot>) {
        self.finish(match answer {
            Ok(snapshot) => almadia_completion::new(snapshot.position(), Some(snapshot)),
            Err(error) => almadia_completion::failed(error),
        });
    }

    fn finish(self, mut completion: almadia_completion) {
        // SAFETY: `read` was promised that the callback may be called once, and `self` is gone after this.
        // The callback uses the completion only until it returns.
        unsafe { (self.callback)(self.user, &raw mut completion) };
    }
}

impl almadia_completion {
    fn new(position: Position, snapshot: Option<Snapshot>) -> Self {
        let snapshot = snapshot.map(|snapshot| Box::new(almadia_snapshot::new(snapshot)));
        Self { position, error: None, snapshot: Cell::new(snapshot) }
    }

    fn failed(error: Error) -> Self {
        let error = Some(Box::new(almadia_error::new(error)));
        Self { position: Position::default(), error, snapshot: Cell::new(None) }
    }

    fn error(&self) -> *const almadia_error {
        self.error.as_deref().map_or(std::ptr::null(), std::ptr::from_ref)
    }
}

/// ALMADIA_OK, or why the call failed; with almadia_code_maybe_applied it says whether a write happened.
/// ALMADIA_NULL_POINTER for NULL.
///
/// Blocks: no. Threads: the callback's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_code(completion: *const almadia_completion) -> almadia_code {
    boundary::value(Code::Panic.number(), || {
        // SAFETY: the caller passes NULL or the completion of a callback that has not returned.
        let Some(completion) = (unsafe { completion.as_ref() }) else { return Code::NullPointer.number() };
        // SAFETY: the error belongs to the completion.
        unsafe { completion.error().as_ref() }.map_or(ALMADIA_OK, almadia_error::code)
    })
}

/// The log index of the write, or the index up to which the snapshot shows the log. 0 after a failure, for a
/// snapshot over several regions, for a leader transfer and for NULL.
///
/// Blocks: no. Threads: the callback's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_index(completion: *const almadia_completion) -> u64 {
    boundary::value(0, || {
        // SAFETY: the caller passes NULL or the completion of a callback that has not returned.
        unsafe { completion.as_ref() }.map_or(0, |completion| completion.position.index.get())
    })
}

/// The raft term of the entry at almadia_completion_index. 0 where that is 0.
///
/// Blocks: no. Threads: the callback's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_term(completion: *const almadia_completion) -> u64 {
    boundary::value(0, || {
        // SAFETY: the caller passes NULL or the completion of a callback that has not returned.
        unsafe { completion.as_ref() }.map_or(0, |completion| completion.position.term.get())
    })
}

/// The details of the failure; NULL after success and for NULL. Belongs to the completion: valid until the
/// callback returns, never to be freed.
///
/// Blocks: no. Threads: the callback's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_error(
    completion: *const almadia_completion,
) -> *const almadia_error {
    boundary::value(std::ptr::null(), || {
        // SAFETY: the caller passes NULL or the completion of a callback that has not returned.
        unsafe { completion.as_ref() }.map_or(std::ptr::null(), almadia_completion::error)
    })
}

/// Takes the snapshot out of the answer of almadia_snapshot_open_async; free it with almadia_snapshot_free.
/// NULL after a failure, for every other call, the second time, and for NULL. A snapshot nobody takes is
/// freed after the callback.
///
/// Blocks: no. Threads: the callback's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_completion_take_snapshot(
    completion: *mut almadia_completion,
) -> *mut almadia_snapshot {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: the caller passes NULL or the completion of a callback that has not returned.
        let taken = unsafe { completion.as_ref() }.and_then(|completion| completion.snapshot.take());
        taken.map_or(std::ptr::null_mut(), Box::into_raw)
    })
}
