//! `almadia_value`: one value, read without a copy; and the gets that return it.
//!
//! Owns the C view of point reads. What always holds: a missing key is the answer `ALMADIA_NOT_FOUND`, not an
//! error with a message; a value keeps the memory it shows alive.

use std::ffi::c_void;

use super::bytes::{Buffer, bytes};
use super::error::almadia_error;
use super::handle::{HandleSlot, Home, Homebound, at_home, taken_at_home};
use super::snapshot::almadia_snapshot;
use super::store::almadia_store;
use super::{ALMADIA_OK, almadia_code, boundary};
use crate::error::Code;
use crate::snapshot::PinnedValue;

/// A value that was read. Any number of threads may use it at once. It may outlive its snapshot and its
/// store; it pins memory until it is freed.
pub struct almadia_value {
    value: PinnedValue,
    home: Home,
}

impl Homebound for almadia_value {
    fn home(&self) -> Home {
        self.home
    }
}

impl almadia_value {
    fn bytes(&self) -> &[u8] {
        self.value.as_ref()
    }
}

/// Hands a value that was found to C.
fn answer(slot: HandleSlot<almadia_value>, found: Option<PinnedValue>) -> almadia_code {
    let Some(value) = found else { return Code::NotFound.number() };
    slot.put(almadia_value { value, home: Home::here() });
    ALMADIA_OK
}

/// Reads the newest value of `key`, linearizable: almadia_snapshot_open over the region of `key` and
/// almadia_snapshot_get in one.
///
/// `value` receives the handle; free it with almadia_value_free. When the key does not exist the answer is
/// ALMADIA_NOT_FOUND, without an error object. Blocks: yes, for the timeout at most. Threads: any number at
/// once.
/// Codes: ALMADIA_NOT_FOUND, those of almadia_snapshot_open, and those of almadia_snapshot_get.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_get(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or a live store, readable bytes of the stated length and writable
    // outputs.
    unsafe {
        boundary::call(error, || {
            let slot = HandleSlot::new(value, "value")?;
            let store = at_home(store, "store")?;
            let key = bytes(key, key_length, "key")?;
            boundary::may_block()?;
            Ok(answer(slot, store.store.get(key)?))
        })
    }
}

/// Reads the value of `key` in a snapshot, without copying it.
///
/// `value` receives the handle; free it with almadia_value_free. When the key does not exist the answer is
/// ALMADIA_NOT_FOUND, without an error object. Blocks: no (it may read from the disk). Threads: any number at
/// once; callbacks too. Codes: ALMADIA_NOT_FOUND, ALMADIA_INVALID_ARGUMENT (the key is outside the
/// snapshot's range), ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_get(
    snapshot: *const almadia_snapshot,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or a live snapshot, readable bytes of the stated length and writable
    // outputs.
    unsafe {
        boundary::call(error, || {
            let slot = HandleSlot::new(value, "value")?;
            let snapshot = at_home(snapshot, "snapshot")?;
            Ok(answer(slot, snapshot.snapshot.get(bytes(key, key_length, "key")?)?))
        })
    }
}

/// Copies the value of `key` in a snapshot into `buffer`, which has `capacity` bytes. `length` receives the
/// length of the value, also when the answer is ALMADIA_BUFFER_TOO_SMALL (the buffer is then untouched).
/// `buffer` may be NULL when `capacity` is 0, to ask for the length.
///
/// Blocks: no (it may read from the disk). Threads: any number at once; callbacks too. Codes:
/// ALMADIA_NOT_FOUND (without an error object), ALMADIA_INVALID_ARGUMENT (the key is outside the snapshot's
/// range), ALMADIA_BUFFER_TOO_SMALL, ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_get_into(
    snapshot: *const almadia_snapshot,
    key: *const c_void,
    key_length: usize,
    buffer: *mut c_void,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or a live snapshot, readable bytes of the stated length, `capacity`
    // writable bytes and writable outputs.
    unsafe {
        boundary::call(error, || {
            let snapshot = at_home(snapshot, "snapshot")?;
            let key = bytes(key, key_length, "key")?;
            let buffer = Buffer::new(buffer, capacity, length)?;
            let Some(value) = snapshot.snapshot.get(key)? else { return Ok(Code::NotFound.number()) };
            buffer.fill(value.as_ref())?;
            Ok(ALMADIA_OK)
        })
    }
}

/// The bytes of a value, not NUL-terminated. They belong to the value. NULL for NULL; never NULL otherwise,
/// but with size 0 not to be read.
///
/// Blocks: no. Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_data(value: *const almadia_value) -> *const c_void {
    boundary::value(std::ptr::null(), || {
        // SAFETY: the caller passes NULL or a live value.
        unsafe { value.as_ref() }.map_or(std::ptr::null(), |value| value.bytes().as_ptr().cast())
    })
}

/// The size of a value in bytes. 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_size(value: *const almadia_value) -> usize {
    // SAFETY: the caller passes NULL or a live value.
    boundary::value(0, || unsafe { value.as_ref() }.map_or(0, |value| value.bytes().len()))
}

/// Frees a value. NULL is fine. In a child process it does nothing.
///
/// Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_free(value: *mut almadia_value) {
    // SAFETY: the caller passes NULL or a live value and does not use it again.
    boundary::release(|| drop(unsafe { taken_at_home(value) }));
}
