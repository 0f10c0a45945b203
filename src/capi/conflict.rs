//! `almadia_conflict`: what a transaction had read, and another write changed.
//!
//! Owns the struct, and how an error is asked for it. What always holds: its bytes belong to the error.

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::almadia_slice;
use super::extensible::{self, Extensible};
use super::handle::shared;
use crate::error::{Code, Conflict};

/// What a transaction had read, and another write changed before its commit. Begin with ALMADIA_CONFLICT_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_conflict {
    /// sizeof(almadia_conflict).
    pub struct_size: usize,
    /// 0: it is `key`, which was set or removed. 1: it is one of the keys from `key` up to but not including `end`, over
    /// which the transaction had iterated: one was set or removed, or there is another one.
    pub is_range: i32,
    /// 0.
    pub reserved: i32,
    /// The key, or the first one of the range. It belongs to the error.
    pub key: almadia_slice,
    /// The end of the range; of length 0 when it is that of all keys. It belongs to the error.
    pub end: almadia_slice,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers.
unsafe impl Extensible for almadia_conflict {
    const NAME: &'static str = "conflict";
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl almadia_conflict {
    fn lend(conflict: &Conflict) -> Self {
        let (is_range, key, end) = match conflict {
            Conflict::Key(key) => (0, &key[..], &[][..]),
            Conflict::Range(range) => (1, &range.start[..], &range.end[..]),
        };
        let (key, end) = (almadia_slice::lend(key), almadia_slice::lend(end));
        Self { struct_size: size_of::<Self>(), is_range, reserved: 0, key, end }
    }
}

/// What the transaction had read, and another write changed (ALMADIA_CONFLICT). Also for the error of a completion.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (the error is about something else),
/// ALMADIA_INVALID_ARGUMENT (struct_size).
///
/// # Safety
/// `error` is NULL or live; `conflict` is NULL or points to `struct_size` writable bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_error_conflict(
    error: *const almadia_error,
    conflict: *mut almadia_conflict,
) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        // SAFETY: `error` is NULL or live.
        let error = unsafe { shared(error, "error") }?;
        let Some(found) = error.error().conflict() else { return Ok(Code::NotFound.number()) };
        // SAFETY: `conflict` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(conflict, &almadia_conflict::lend(found)) }?;
        Ok(ALMADIA_OK)
    })
}
