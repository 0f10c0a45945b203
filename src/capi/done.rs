//! `almadia_done`: where the answer of an `_async` call goes, and how the call is cancelled.
//!
//! Owns the step from a C struct to a Rust closure. What always holds: an accepted `almadia_done` is answered once,
//! on the completion thread or through its queue; a call's number is written before its answer can be seen. That it
//! is answered exactly once is left to the store.

use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::Arc;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::calls::Calls;
use super::completion::{Answered, almadia_completion};
use super::cq::{self, almadia_cq};
use super::extensible::{self, Extensible};
use super::handle::{in_process, null};
use super::store::almadia_store;
use super::thread_sanitizer;
use crate::completion::call::Call;
use crate::completion::queue::CompletionQueue;
use crate::error::{Code, Error, Result};
use crate::store::asynchronous::Asynchronous;

/// Called when an _async call completes: exactly once, on the library's thread "almadia-cb". `user` is the pointer
/// of almadia_done, which the library never dereferences; the callback may free what it points to.
pub type almadia_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, completion: *mut almadia_completion)>;

/// Where the completion of an _async call goes: to a callback or to a completion queue. Set exactly one of them
/// (neither is ALMADIA_NULL_POINTER, both are ALMADIA_INVALID_ARGUMENT). An accepted call completes exactly once:
/// the callback is called, or the queue has a completion to pop; a call that is not accepted never completes. Begin
/// with ALMADIA_DONE_INIT. The struct is copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_done {
    /// sizeof(almadia_done).
    pub struct_size: usize,
    /// Called with the completion; NULL when there is a cq.
    pub callback: almadia_callback,
    /// Passed to the callback as it is; with a cq, what almadia_completion_user returns.
    pub user: *mut c_void,
    /// The queue that receives the completion; NULL when there is a callback. It must stay valid until the call
    /// returns.
    pub cq: *mut almadia_cq,
    /// Receives the number of the call, for almadia_cancel, before the completion can arrive; NULL if unwanted.
    pub op: *mut u64,
}

// SAFETY: repr(C), begins with struct_size, and NULL is valid for an optional function and for pointers.
unsafe impl Extensible for almadia_done {
    const NAME: &'static str = "done";
    const FIRST_SIZE: usize = offset_of!(Self, op);
}

/// A checked `almadia_done`.
pub(super) struct Done {
    queue: Option<Arc<CompletionQueue>>,
    to: To,
    op: *mut u64,
}

/// Who is answered.
enum To {
    Callback(unsafe extern "C" fn(*mut c_void, *mut almadia_completion), *mut c_void),
    /// Whoever pops.
    Queue(*mut c_void),
}

impl To {
    fn user(&self) -> *mut c_void {
        match *self {
            Self::Callback(_, user) | Self::Queue(user) => user,
        }
    }
}

// SAFETY: the caller promises that its callback may run on another thread than the one that submits, with
// `user`, which nobody here follows.
unsafe impl Send for To {}

impl Done {
    /// Checks and copies the caller's struct.
    ///
    /// # Safety
    /// `done` is NULL or points to a struct of `struct_size` bytes; its callback may be called once, its queue is NULL
    /// or live, its op is NULL or writable during the call.
    pub(super) unsafe fn read(done: *const almadia_done) -> Result<Self> {
        // SAFETY: passed on to the caller.
        let done = unsafe { extensible::read(done) }?;
        let (to, queue) = match (done.callback, done.cq.is_null()) {
            (Some(callback), true) => (To::Callback(callback, done.user), None),
            (None, false) => {
                // SAFETY: passed on to the caller.
                let cq = unsafe { in_process(done.cq.cast_const(), "almadia_done.cq") }?;
                (To::Queue(done.user), Some(Arc::clone(cq.queue())))
            }
            (None, true) => return Err(null("almadia_done.callback")),
            (Some(_), false) => {
                let detail = "almadia_done has both a callback and a cq; one answer goes to one of them";
                return Err(Error::with_detail(Code::InvalidArgument, detail));
            }
        };
        Ok(Self { queue, to, op: done.op })
    }

    /// Makes the call: `ask` gets where to submit it and what to answer.
    pub(super) fn submit(
        self,
        store: &almadia_store,
        ask: impl FnOnce(Asynchronous<'_>, CallReceiver) -> Result<Call>,
    ) -> Result<almadia_code> {
        let Self { queue, to, op } = self;
        thread_sanitizer::release(to.user());
        let asynchronous = match &queue {
            Some(queue) => store.store.on(queue),
            None => store.store.asynchronous(),
        };
        if op.is_null() {
            ask(asynchronous, CallReceiver { to, op: 0, calls: None })?;
            return Ok(ALMADIA_OK);
        }
        // Held until the number is written: an answer that overtakes waits for it in `CallReceiver::answer`.
        let mut calls = store.calls.lock();
        let number = calls.next_number();
        let call = ask(asynchronous, CallReceiver { to, op: number, calls: Some(Arc::clone(&store.calls)) })?;
        calls.add(number, call);
        // SAFETY: `read` was promised that a non-NULL op is writable during the call.
        unsafe { op.write(number) };
        Ok(ALMADIA_OK)
    }
}

/// Who gets the answer of an accepted call.
pub(super) struct CallReceiver {
    to: To,
    /// 0 when its caller has no number.
    op: u64,
    calls: Option<Arc<Calls>>,
}

impl CallReceiver {
    /// Hands the answer to the callback, or to whoever pops on this thread.
    pub(super) fn answer(self, answered: impl Into<Answered>) {
        if let Some(calls) = &self.calls {
            calls.lock().remove(self.op);
        }
        let answered = answered.into();
        thread_sanitizer::acquire(self.to.user());
        match self.to {
            To::Callback(callback, user) => {
                let mut completion = almadia_completion::new(answered, user, self.op);
                // SAFETY: `Done::read` was promised that the callback may be called once, and `self` is gone after
                // this. The callback uses the completion only until it returns.
                unsafe { callback(user, &raw mut completion) };
            }
            To::Queue(user) => {
                cq::arrived(almadia_completion::new(answered, user, self.op));
            }
        }
    }
}

/// Cancels a call that has not completed. It completes now: with ALMADIA_CANCELLED when it certainly has no effect,
/// or with ALMADIA_CANCELLED_IN_FLIGHT when a write may be applied, leadership handed over or the members changed, now
/// or later. `op` is the number that almadia_done.op received. The code may be ignored: the completion tells in any case
/// what became of the call.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_NOT_FOUND (the call has completed, and
/// its completion was delivered or is about to be; without an error object), ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `error` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_cancel(
    store: *mut almadia_store,
    op: u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        let call = store.calls.lock().find(op);
        let cancelled = call.is_some_and(|call| call.cancel());
        Ok(if cancelled { ALMADIA_OK } else { Code::NotFound.number() })
    })
}
