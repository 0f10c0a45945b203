//! A shared library in Rust that keeps its state in Almadia, as somebody else would write it.

use std::ffi::{CStr, c_char, c_int};

/// How often this was called for the store in `path`; negative after a failure.
#[unsafe(no_mangle)]
pub extern "C" fn downstream_count(path: *const c_char) -> c_int {
    // SAFETY: the caller passes text that ends with a NUL.
    let path = unsafe { CStr::from_ptr(path) };
    path.to_str().ok().and_then(|path| count(path).ok()).unwrap_or(-1)
}

fn count(path: &str) -> almadia::Result<c_int> {
    let store = almadia::Store::open(path, &almadia::Config::default())?;
    let before = store.get(b"calls")?.map_or(0, |value| c_int::from(value.as_ref()[0]));
    store.put(b"calls", &[before as u8 + 1])?;
    Ok(before + 1)
}
