//! What a program asks of an `almadia_error`.
//!
//! Owns its accessors. What always holds: an error is a value of its own, valid until it is freed, whatever happened to
//! the store it came from; it also works in a child process.

use std::ffi::c_char;

use super::boundary::{self, ALMADIA_OK, almadia_code, almadia_error};
use super::handle::taken;
use crate::error::Outcome;

/// The code of an error, the same that the failed call returned. ALMADIA_OK for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `error` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_error_code(error: *const almadia_error) -> almadia_code {
    boundary::value(ALMADIA_OK, || {
        // SAFETY: `error` is NULL or live.
        unsafe { error.as_ref() }.map_or(ALMADIA_OK, |error| error.error().code().number())
    })
}

/// What happened, to what, and what to do about it, in English. "" for NULL. It belongs to the error.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `error` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_error_message(error: *const almadia_error) -> *const c_char {
    boundary::value(c"".as_ptr(), || {
        // SAFETY: `error` is NULL or live.
        unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message().as_ptr())
    })
}

/// The number of the leading member, when the error knows it (ALMADIA_NOT_LEADER); otherwise 0, also for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `error` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_error_leader(error: *const almadia_error) -> u64 {
    boundary::value(0, || {
        // SAFETY: `error` is NULL or live.
        unsafe { error.as_ref() }.and_then(|error| error.error().leader()).map_or(0, |node| node.get())
    })
}

/// The errno of the operating system's error behind this one; 0 when there is none, also for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `error` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_error_errno(error: *const almadia_error) -> i32 {
    // SAFETY: `error` is NULL or live.
    boundary::value(0, || unsafe { error.as_ref() }.and_then(|error| error.error().errno()).unwrap_or(0))
}

/// True when the write that failed with this error may have been applied, or may still be; see
/// almadia_code_maybe_applied. False for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `error` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_error_maybe_applied(error: *const almadia_error) -> bool {
    boundary::value(true, || {
        // SAFETY: `error` is NULL or live.
        unsafe { error.as_ref() }.is_some_and(|error| error.error().outcome() == Outcome::Unknown)
    })
}

/// Frees an error. NULL is fine. Not for the error of a completion, which belongs to the completion.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `error` is NULL or came from a call, not from a completion, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_error_free(error: *mut almadia_error) {
    // SAFETY: `error` is NULL or came from a call, and is not used again.
    boundary::release(|| drop(unsafe { taken(error) }));
}
