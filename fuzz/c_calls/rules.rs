//! The rules of every call.
//!
//! Owns the header's guarantees about codes, errors and outputs of every function: there is an error object exactly
//! when the call fails, with the same code and a message; passing NULL for it changes nothing else.

use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};

use almadia::capi::error::{
    almadia_error_code, almadia_error_free, almadia_error_maybe_applied, almadia_error_message,
};
use almadia::capi::library::{almadia_code_maybe_applied, almadia_code_name};
use almadia::capi::{almadia_code, almadia_error};

use super::arguments::Input;

pub const OK: almadia_code = 0;
pub const INVALID_ARGUMENT: almadia_code = 101;
pub const NULL_POINTER: almadia_code = 102;
pub const INVALID_CONFIG: almadia_code = 103;
pub const ABI_MISMATCH: almadia_code = 104;
pub const BUFFER_TOO_SMALL: almadia_code = 105;
pub const UNSUPPORTED: almadia_code = 107;
pub const TOO_LARGE: almadia_code = 108;
pub const NOT_FOUND: almadia_code = 201;
pub const PRECONDITION_FAILED: almadia_code = 202;
pub const CONFLICT: almadia_code = 203;
pub const END: almadia_code = 204;
pub const NOT_A_NUMBER: almadia_code = 205;
pub const CLOSED: almadia_code = 501;
pub const CANCELLED: almadia_code = 502;
pub const READ_TIMEOUT: almadia_code = 507;
pub const CANCELLED_IN_FLIGHT: almadia_code = 403;
pub const LOCKED: almadia_code = 603;

pub const KEY_BYTES_MAX: usize = 16_384;
pub const VALUE_BYTES_MAX: usize = 8_323_072;
pub const BATCH_BYTES_MAX: usize = 8_388_608;

/// Makes a call with or without an error output, checks the error, and returns the code.
pub fn answer(
    input: &mut Input<'_>,
    call: impl FnOnce(*mut *mut almadia_error) -> almadia_code,
) -> almadia_code {
    if input.number().is_multiple_of(4) {
        return call(null_mut());
    }
    // The previous value must not matter.
    let mut error = NonNull::dangling().as_ptr();
    let code = call(&raw mut error);
    // CLOSED is also a normal result, of a queue at its end.
    let without_error = [OK, NOT_FOUND, END].contains(&code) || (code == CLOSED && error.is_null());
    assert_eq!(error.is_null(), without_error, "an error comes with a failure: {code}");
    if !error.is_null() {
        check_error(error, code);
    }
    code
}

/// The same for a call whose code is known.
pub fn expect(
    wanted: almadia_code,
    input: &mut Input<'_>,
    call: impl FnOnce(*mut *mut almadia_error) -> almadia_code,
) {
    let code = answer(input, call);
    assert_eq!(code, wanted, "answered {}, not {}", name_of(code), name_of(wanted));
}

fn check_error(error: *mut almadia_error, code: almadia_code) {
    // SAFETY: the error was just made, is freed once, and its message is read before.
    unsafe {
        assert_eq!(almadia_error_code(error), code);
        assert_eq!(almadia_error_maybe_applied(error), almadia_code_maybe_applied(code));
        let message = CStr::from_ptr(almadia_error_message(error));
        assert!(!message.to_str().expect("English is UTF-8").is_empty(), "{code} has a text");
        almadia_error_free(error);
    }
}

pub fn name_of(code: almadia_code) -> String {
    // SAFETY: the name is static.
    unsafe { CStr::from_ptr(almadia_code_name(code)) }.to_string_lossy().into_owned()
}
