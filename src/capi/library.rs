//! Facts about the library and its codes.
//!
//! Owns the version functions, the limits and the texts of codes. What always holds: every text is static,
//! and a code this version does not know is judged by its category.

use std::ffi::{CStr, CString, c_char};
use std::sync::LazyLock;

use super::boundary::{self, ALMADIA_OK, almadia_code};
use super::bytes::to_c_text;
use crate::error::{CODES, Code, Outcome};
use crate::types;

/// The version of the binary interface that this header describes; the first argument of almadia_config_new.
pub const ALMADIA_ABI_VERSION: u32 = 1;

/// The longest key, in bytes.
pub const ALMADIA_KEY_BYTES_MAX: usize = 16384;
/// The longest value, in bytes.
pub const ALMADIA_VALUE_BYTES_MAX: usize = 8323072;
/// The largest batch, in bytes as almadia_batch_bytes counts them. The last ten bytes may not be usable.
pub const ALMADIA_BATCH_BYTES_MAX: usize = 8388608;
/// The most operations in a batch, as almadia_batch_count counts them. They take effect in one step, and everything
/// else waits for it: with this many operations, some tens of milliseconds.
pub const ALMADIA_BATCH_OPERATIONS_MAX: usize = 65536;

const _: () = {
    assert!(ALMADIA_KEY_BYTES_MAX == types::KEY_BYTES_MAX);
    assert!(ALMADIA_VALUE_BYTES_MAX == types::VALUE_BYTES_MAX);
    assert!(ALMADIA_BATCH_BYTES_MAX == types::BATCH_BYTES_MAX);
    assert!(ALMADIA_BATCH_OPERATIONS_MAX == types::BATCH_OPERATIONS_MAX);
};

/// Name and message of one code, for C.
struct CodeText {
    code: almadia_code,
    name: CString,
    message: CString,
}

static CODE_TEXTS: LazyLock<Vec<CodeText>> = LazyLock::new(|| {
    let ok = (ALMADIA_OK, "OK", "success");
    let rows = CODES.iter().map(|(_, number, name, message)| (*number, *name, *message));
    let text = |(code, name, message): (_, &str, _)| CodeText {
        code,
        name: to_c_text(&format!("ALMADIA_{name}")),
        message: to_c_text(message),
    };
    std::iter::once(ok).chain(rows).map(text).collect()
});

static VERSION: &CStr = version_text(concat!(env!("CARGO_PKG_VERSION"), "\0"));

const fn version_text(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("the version has no NUL but the one added to it"),
    }
}

fn number_of(part: &str) -> u32 {
    part.parse().expect("Cargo checks that the parts of a version are numbers")
}

/// The version of the running library, such as "0.1.0"; ALMADIA_VERSION_STRING is that of the header.
///
/// Static; never free it. Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_version_string() -> *const c_char {
    boundary::value(c"".as_ptr(), || VERSION.as_ptr())
}

/// The version of the running library as major * 1000000 + minor * 1000 + patch.
///
/// Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_version_number() -> u32 {
    boundary::value(0, || {
        let (major, minor, patch) = (
            env!("CARGO_PKG_VERSION_MAJOR"),
            env!("CARGO_PKG_VERSION_MINOR"),
            env!("CARGO_PKG_VERSION_PATCH"),
        );
        number_of(major) * 1_000_000 + number_of(minor) * 1000 + number_of(patch)
    })
}

/// The ALMADIA_ABI_VERSION of the running library.
///
/// Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_abi_version() -> u32 {
    boundary::value(0, || ALMADIA_ABI_VERSION)
}

/// The name of a code, such as "ALMADIA_NOT_FOUND"; "ALMADIA_?" for a number that is no code.
///
/// Static; never free it. Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_code_name(code: almadia_code) -> *const c_char {
    boundary::value(c"ALMADIA_?".as_ptr(), || {
        text_of(code).map_or(c"ALMADIA_?".as_ptr(), |text| text.name.as_ptr())
    })
}

/// What a code means and what to do about it; "unknown code" for a number that is no code.
///
/// Static; never free it. Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_code_message(code: almadia_code) -> *const c_char {
    const UNKNOWN: &CStr = c"unknown code";
    boundary::value(UNKNOWN.as_ptr(), || text_of(code).map_or(UNKNOWN.as_ptr(), |text| text.message.as_ptr()))
}

/// True when the call was certainly not applied and the same call, unchanged, can succeed later or on another
/// member.
///
/// Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_code_is_retryable(code: almadia_code) -> bool {
    boundary::value(false, || Code::from_number(code).map_or(code / 100 == 3, Code::is_retryable))
}

/// True when a write that failed with this code may have been applied, or may still be applied at any later time: a
/// read that shows the write settles the question, a read that does not settles nothing. False when the write
/// certainly was not and never will be applied (or, for ALMADIA_OK, when it was).
///
/// Blocks: no. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn almadia_code_maybe_applied(code: almadia_code) -> bool {
    boundary::value(true, || {
        Code::from_number(code).map_or(code / 100 == 4, |code| code.outcome() == Outcome::Unknown)
    })
}

fn text_of(code: almadia_code) -> Option<&'static CodeText> {
    CODE_TEXTS.iter().find(|text| text.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pointer: *const c_char) -> &'static str {
        // SAFETY: every text of this file is static and NUL-terminated.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("UTF-8")
    }

    #[test]
    fn every_code_has_its_constants_name_and_its_message() {
        for (code, number, name, message) in CODES {
            assert_eq!(text(almadia_code_name(*number)), format!("ALMADIA_{name}"));
            assert_eq!(text(almadia_code_message(*number)), *message);
            assert_eq!(almadia_code_is_retryable(*number), code.is_retryable());
            assert_eq!(almadia_code_maybe_applied(*number), code.outcome() == Outcome::Unknown);
        }
        assert_eq!(text(almadia_code_name(0)), "ALMADIA_OK");
    }

    #[test]
    fn a_code_of_a_later_version_is_judged_by_its_category() {
        assert!(almadia_code_is_retryable(399) && !almadia_code_maybe_applied(399));
        assert!(almadia_code_maybe_applied(499) && !almadia_code_is_retryable(499));
        assert_eq!(text(almadia_code_name(399)), "ALMADIA_?");
    }

    #[test]
    fn the_version_number_counts_each_part_once() {
        let parts: Vec<String> = text(almadia_version_string()).split('.').map(str::to_owned).collect();

        let number = almadia_version_number();

        assert_eq!(
            parts,
            [number / 1_000_000, number / 1000 % 1000, number % 1000].map(|part| part.to_string())
        );
    }
}
