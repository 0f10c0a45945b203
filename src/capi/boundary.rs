//! The one gate between C and Rust.
//!
//! Owns what happens on the way in and out of every exported function: a panic becomes `ALMADIA_PANIC` (or
//! the fallback of a function that cannot fail), an error becomes a code and, when asked for, an
//! `almadia_error`. What always holds: nothing unwinds into C. How a panic is caught without a word on stderr
//! is left to `panics`; what a program asks of an error to `error`.

use std::ffi::{CStr, CString};

use super::bytes::to_c_text;
use super::handle::{Boxed, given_if_any};
use crate::error::{Code, Error, Result};
use crate::process::panics;
use crate::process::thread::is_callback_thread;

/// What every function that can fail returns: ALMADIA_OK or one of the ALMADIA_... codes above. It is an integer,
/// not an enum, because later versions add codes. Judge a code that you do not know by its category, code / 100.
pub type almadia_code = i32;

/// Success. In the header it stands with the other codes, which come from the table of codes.
///
/// cbindgen:ignore
pub const ALMADIA_OK: almadia_code = 0;

/// Why a call failed: a code, a message that says what it was about, and the leader or the errno where there is
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

impl Boxed for almadia_error {}

/// Where the details of a failure go.
pub(super) struct ErrorSlot(*mut *mut almadia_error);

impl ErrorSlot {
    /// For a function whose code says everything.
    pub(super) const NONE: Self = Self(std::ptr::null_mut());

    /// The caller's slot; NULL when it does not want to know.
    ///
    /// # Safety
    /// `pointer` is NULL or valid for writing during the call.
    pub(super) unsafe fn new(pointer: *mut *mut almadia_error) -> Self {
        Self(pointer)
    }

    /// Gives the details to C; NULL after success.
    fn put(self, failure: Option<Error>) {
        if !self.0.is_null() {
            let details = given_if_any(failure.map(almadia_error::new));
            // SAFETY: `new` was promised that the pointer is valid for writing during the call.
            unsafe { self.0.write(details) };
        }
    }
}

/// Runs the body of a function that can fail and answers its code.
pub(super) fn call(error: ErrorSlot, body: impl FnOnce() -> Result<almadia_code>) -> almadia_code {
    let (code, failure) = match panics::catch(body) {
        Ok(code) => (code, None),
        Err(failure) => (failure.code().number(), Some(failure)),
    };
    error.put(failure);
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::handle::taken;
    use super::*;

    /// What a body answers, and the details of its failure.
    fn called(
        wanted: bool,
        body: impl FnOnce() -> Result<almadia_code>,
    ) -> (almadia_code, Option<Box<almadia_error>>) {
        // Neither NULL nor good for anything: it must be overwritten.
        let mut error = if wanted { std::ptr::dangling_mut() } else { std::ptr::null_mut() };
        let slot = if wanted { &raw mut error } else { std::ptr::null_mut() };

        // SAFETY: the slot is NULL or a local variable.
        let code = call(unsafe { ErrorSlot::new(slot) }, body);

        // SAFETY: it is NULL, or `call` just gave it.
        (code, unsafe { taken(error) })
    }

    fn panicking() -> Result<almadia_code> {
        panic!("the sky fell")
    }

    #[test]
    fn a_panic_becomes_a_code_and_a_message_with_its_place() {
        let (code, error) = called(true, panicking);

        assert_eq!(code, Code::Panic.number());
        let error = error.expect("it failed");
        let text = error.message().to_str().expect("ASCII");
        assert!(text.contains("the sky fell") && text.contains("boundary.rs"), "{text}");
    }

    #[test]
    fn a_function_that_cannot_fail_answers_its_fallback_after_a_panic() {
        assert_eq!(value(7, || panic!("bug")), 7);
    }

    #[test]
    fn the_error_output_is_cleared_by_success() {
        let (code, error) = called(true, || Ok(ALMADIA_OK));

        assert_eq!(code, ALMADIA_OK);
        assert!(error.is_none());
    }

    #[test]
    fn an_error_that_nobody_wants_is_only_a_code() {
        let (code, error) = called(false, || Err(Error::new(Code::Closed)));

        assert_eq!(code, Code::Closed.number());
        assert!(error.is_none());
    }

    #[test]
    fn a_caught_panic_prints_nothing_and_one_of_the_host_still_does() {
        const CHILD: &str = "ALMADIA_TEST_PANIC_CHILD";
        if std::env::var_os(CHILD).is_some() {
            called(false, panicking);
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
