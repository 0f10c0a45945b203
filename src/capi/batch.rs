//! `almadia_batch`: operations that are applied together or not at all.
//!
//! Owns the C view of a batch. What always holds: a failed call leaves the batch as it was.

use std::ffi::c_void;

use super::bytes::bytes;
use super::error::almadia_error;
use super::handle::{HandleSlot, exclusive, taken};
use super::{ALMADIA_OK, almadia_code, boundary};
use crate::batch::Batch;

/// A list of operations that is applied whole, in the order in which they were added, or not at all. One
/// thread at a time.
pub struct almadia_batch {
    pub(super) batch: Batch,
}

/// Makes an empty batch. It belongs to no store, and may be written to any.
///
/// `batch` receives the handle; free it with almadia_batch_free. Blocks: no. Threads: any.
/// Codes: none but ALMADIA_NULL_POINTER.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_new(
    batch: *mut *mut almadia_batch,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or writable outputs.
    unsafe {
        boundary::call(error, || {
            HandleSlot::new(batch, "batch")?.put(almadia_batch { batch: Batch::new() });
            Ok(ALMADIA_OK)
        })
    }
}

/// Adds: set `key` to `value`. Both are copied; both may be empty and may contain NULs.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE (key, value or batch; the message says
/// which).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_put(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or a live batch no other call uses, and readable bytes of the stated
    // lengths.
    unsafe {
        boundary::call(error, || {
            let batch = exclusive(batch, "batch")?;
            batch.batch.put(bytes(key, key_length, "key")?, bytes(value, value_length, "value")?)?;
            Ok(ALMADIA_OK)
        })
    }
}

/// Adds: remove `key`. That the key does not exist is no error.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_delete(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or a live batch no other call uses, and readable bytes of the stated
    // length.
    unsafe {
        boundary::call(error, || {
            exclusive(batch, "batch")?.batch.delete(bytes(key, key_length, "key")?)?;
            Ok(ALMADIA_OK)
        })
    }
}

/// Adds: remove every key from `begin` (included) to `end` (not included).
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (begin is after
/// end).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_delete_range(
    batch: *mut almadia_batch,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: the caller passes NULL or a live batch no other call uses, and readable bytes of the stated
    // lengths.
    unsafe {
        boundary::call(error, || {
            let batch = exclusive(batch, "batch")?;
            batch.batch.delete_range(bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?)?;
            Ok(ALMADIA_OK)
        })
    }
}

/// Removes all operations. NULL is fine.
///
/// Blocks: no. Threads: one at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_clear(batch: *mut almadia_batch) {
    boundary::release(|| {
        // SAFETY: the caller passes NULL or a live batch no other call uses.
        if let Some(batch) = unsafe { batch.as_mut() } {
            batch.batch.clear();
        }
    });
}

/// How many operations a batch holds. 0 for NULL.
///
/// Blocks: no. Threads: any number at once while nobody adds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_count(batch: *const almadia_batch) -> usize {
    // SAFETY: the caller passes NULL or a live batch.
    boundary::value(0, || unsafe { batch.as_ref() }.map_or(0, |batch| batch.batch.len()))
}

/// The size of a batch in bytes: its keys, its values and a few bytes for each operation.
/// ALMADIA_BATCH_BYTES_MAX at most. 0 for NULL.
///
/// Blocks: no. Threads: any number at once while nobody adds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_bytes(batch: *const almadia_batch) -> usize {
    // SAFETY: the caller passes NULL or a live batch.
    boundary::value(0, || unsafe { batch.as_ref() }.map_or(0, |batch| batch.batch.encoded_bytes()))
}

/// Frees a batch. NULL is fine.
///
/// Blocks: no. Threads: one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_free(batch: *mut almadia_batch) {
    // SAFETY: the caller passes NULL or a live batch and does not use it again.
    boundary::release(|| drop(unsafe { taken(batch) }));
}
