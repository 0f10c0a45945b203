//! The one gate between C and Rust.
//!
//! Owns what happens on the way in and out of every exported function: a panic becomes `ALMADIA_PANIC` (or
//! the fallback of a function that cannot fail), an error becomes a code and, when asked for, an
//! `almadia_error`. What always holds: nothing unwinds into C. How a panic is caught without a word on stderr
//! is left to `panics`; what a program asks of an error to `error`.

use std::ffi::{CStr, CString};

use super::bytes::to_c_text;
use crate::error::{Code, Error, Result};
use crate::panics;
use crate::thread::is_callback_thread;

/// The answer of every function that can fail: ALMADIA_OK or one of the ALMADIA_... codes above. An integer
/// and not an enum, because later versions add codes. Judge one you do not know by its category, code / 100.
pub type almadia_code = i32;

/// Success. In the header it stands with the other codes, which come from the table of codes.
///
/// cbindgen:ignore
pub const ALMADIA_OK: almadia_code = 0;

/// Why a call failed: a code, a message that names what it was about, and the leader or errno where there is
/// one.
pub struct almadia_error {
    error: Error,
    message: CString,
}

impl almadia_error {
    pub(super) fn new(error: Error) -> Self {
        let message = to_c_text(&error.to_string());
        Self { error, message }
    }

    pub(super) fn error(&self) -> &Error {
        &self.error
    }

    pub(super) fn message(&self) -> &CStr {
        &self.message
    }
}

/// Runs the body of a function that can fail and answers its code.
///
/// # Safety
/// `error` is NULL or valid for writing one pointer.
pub(super) unsafe fn call(
    error: *mut *mut almadia_error,
    body: impl FnOnce() -> Result<almadia_code>,
) -> almadia_code {
    let (code, detail) = match panics::catch(body) {
        Ok(code) => (code, std::ptr::null_mut()),
        Err(failure) => (failure.code().number(), detail_of(failure, error.is_null())),
    };
    if !error.is_null() {
        // SAFETY: the caller of `call` passes on the promise that a non-NULL `error` is writable.
        unsafe { error.write(detail) };
    }
    code
}

/// Runs the body of a function that cannot fail; a bug of ours makes it answer `fallback`.
pub(super) fn value<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    panics::catch(|| Ok(body())).unwrap_or(fallback)
}

/// Runs the body of a function without an answer.
pub(super) fn release(body: impl FnOnce()) {
    value((), body);
}

/// Refuses a call that waits for other threads when a callback makes it: it could wait for itself.
pub(super) fn may_block() -> Result<()> {
    if is_callback_thread() { Err(Error::new(Code::WouldDeadlock)) } else { Ok(()) }
}

fn detail_of(failure: Error, unwanted: bool) -> *mut almadia_error {
    if unwanted { std::ptr::null_mut() } else { Box::into_raw(Box::new(almadia_error::new(failure))) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn panicking_call(error: *mut *mut almadia_error) -> almadia_code {
        // SAFETY: `error` is NULL or points to a local variable of the test.
        unsafe { call(error, || panic!("the sky fell")) }
    }

    #[test]
    fn a_panic_becomes_a_code_and_a_message_with_its_place() {
        let mut error = std::ptr::null_mut();

        let code = panicking_call(&raw mut error);

        assert_eq!(code, Code::Panic.number());
        // SAFETY: `call` just made it with Box::into_raw.
        let error = unsafe { Box::from_raw(error) };
        let text = error.message().to_str().expect("ASCII");
        assert!(text.contains("the sky fell") && text.contains("boundary.rs"), "{text}");
    }

    #[test]
    fn a_function_that_cannot_fail_answers_its_fallback_after_a_panic() {
        assert_eq!(value(7, || panic!("bug")), 7);
    }

    #[test]
    fn the_error_output_is_cleared_by_success() {
        let mut error = std::ptr::dangling_mut();

        // SAFETY: the pointer is to a local variable, which the call only overwrites.
        let code = unsafe { call(&raw mut error, || Ok(0)) };

        assert_eq!(code, 0);
        assert!(error.is_null());
    }

    #[test]
    fn a_caught_panic_prints_nothing_and_one_of_the_host_still_does() {
        const CHILD: &str = "ALMADIA_TEST_PANIC_CHILD";
        if std::env::var_os(CHILD).is_some() {
            panicking_call(std::ptr::null_mut());
            let _ = std::panic::catch_unwind(|| panic!("of the host"));
            return;
        }

        let itself = std::env::current_exe().expect("the test binary exists");
        let (_, module) = module_path!().split_once("::").expect("the crate's name comes first");
        let test = format!("{module}::a_caught_panic_prints_nothing_and_one_of_the_host_still_does");
        let child = Command::new(itself).args(["--exact", &test, "--nocapture"]).env(CHILD, "1").output();

        let stderr = String::from_utf8(child.expect("it starts").stderr).expect("UTF-8");
        assert!(!stderr.contains("the sky fell"), "{stderr}");
        assert!(stderr.contains("of the host"), "{stderr}");
    }
}
