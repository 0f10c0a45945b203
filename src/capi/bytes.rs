//! Keys, values and text that cross between C and Rust.
//!
//! Owns the C types `almadia_slice` and `almadia_kv` and the conversions of `(pointer, length)` pairs, C
//! strings and caller's buffers. What always holds: NULL stands for bytes only together with length 0; text
//! from C is UTF-8.

use std::ffi::{CStr, CString, c_char, c_void};

use super::handle::{ValueSlot, null};
use crate::error::{Code, Error, Result};

/// Bytes. Those that the library returns belong to it: NULL and 0 when there are none, and never NUL-terminated.
/// Those that you pass are yours, and are copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_slice {
    /// The first byte.
    pub data: *const c_void,
    /// The number of bytes.
    pub size: usize,
}

/// A key and its value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_kv {
    /// The key.
    pub key: almadia_slice,
    /// The value.
    pub value: almadia_slice,
}

impl almadia_slice {
    /// No bytes.
    pub(super) const NONE: Self = Self { data: std::ptr::null(), size: 0 };

    /// Lends `bytes` to C.
    pub(super) fn lend(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr().cast(), size: bytes.len() }
    }
}

/// The bytes of a key or value.
///
/// # Safety
/// `data` is NULL or points to `length` bytes that nobody changes during the call.
pub(super) unsafe fn bytes<'a>(data: *const c_void, length: usize, name: &str) -> Result<&'a [u8]> {
    if data.is_null() {
        return if length == 0 { Ok(&[]) } else { Err(null(name)) };
    }
    if isize::try_from(length).is_err() {
        return Err(Error::with_detail(
            Code::InvalidArgument,
            format!("{name}: {length} bytes exceed addressable memory"),
        ));
    }
    // SAFETY: passed on to the caller; the length was checked against the most a slice may have.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) })
}

/// The bytes of several keys.
///
/// # Safety
/// `array` is NULL or points to `count` slices, each as [`bytes`] wants it.
pub(super) unsafe fn slices<'a>(
    array: *const almadia_slice,
    count: usize,
    name: &str,
) -> Result<Vec<&'a [u8]>> {
    // SAFETY: passed on to the caller.
    let slices = unsafe { elements(array, count, name) }?;
    // SAFETY: passed on to the caller.
    slices.iter().map(|slice| unsafe { bytes(slice.data, slice.size, name) }).collect()
}

/// An array of the caller's.
///
/// # Safety
/// `array` is NULL or points to `count` elements that nobody changes during the call.
pub(super) unsafe fn elements<'a, T>(array: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if array.is_null() {
        return if count == 0 { Ok(&[]) } else { Err(null(name)) };
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        let detail = format!("{name}: {count} elements exceed addressable memory");
        return Err(Error::with_detail(Code::InvalidArgument, detail));
    }
    // SAFETY: passed on to the caller; the size was checked against the most a slice may have.
    Ok(unsafe { std::slice::from_raw_parts(array, count) })
}

/// A C string.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that nobody changes during the call.
pub(super) unsafe fn c_string<'a>(pointer: *const c_char, name: &str) -> Result<&'a CStr> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: passed on to the caller.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// A C string that is UTF-8.
///
/// # Safety
/// As [`c_string`].
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: passed on to the caller.
    let string = unsafe { c_string(pointer, name) }?;
    string.to_str().map_err(|_| Error::with_detail(Code::InvalidArgument, format!("{name} is not UTF-8")))
}

/// Text for C. A NUL inside, which only damaged input brings, becomes a question mark.
pub(super) fn to_c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).expect("every NUL was replaced")
}

/// Memory of the caller that receives bytes, with the place where their length goes.
pub(super) struct Buffer {
    start: *mut u8,
    capacity: usize,
    length: ValueSlot<usize>,
}

impl Buffer {
    /// The caller's `buffer` of `capacity` bytes.
    ///
    /// # Safety
    /// `buffer` is NULL or valid for writing `capacity` bytes, `length` NULL or valid for writing, both
    /// during the call.
    pub(super) unsafe fn new(buffer: *mut c_void, capacity: usize, length: *mut usize) -> Result<Self> {
        if buffer.is_null() && capacity > 0 {
            return Err(null("buffer"));
        }
        // SAFETY: passed on to the caller.
        let length = unsafe { ValueSlot::new(length, "length") }?;
        Ok(Self { start: buffer.cast(), capacity, length })
    }

    /// Copies `bytes` when they fit; writes their length in any case.
    pub(super) fn fill(&self, bytes: &[u8]) -> Result<()> {
        self.length.put(bytes.len());
        self.copy(bytes)
    }

    /// Copies `text` and a NUL when both fit; writes the length of `text` in any case.
    pub(super) fn fill_string(&self, text: &str) -> Result<()> {
        self.length.put(text.len());
        self.copy(to_c_text(text).as_bytes_with_nul())
    }

    fn copy(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > self.capacity {
            let detail = format!("it has {} bytes, {} are needed", self.capacity, bytes.len());
            return Err(Error::with_detail(Code::BufferTooSmall, detail));
        }
        if !bytes.is_empty() {
            // SAFETY: `new` was promised `capacity` writable bytes; ours cannot overlap memory of the caller.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, bytes.len()) };
        }
        Ok(())
    }
}
