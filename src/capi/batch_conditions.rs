//! Conditions of a batch, and operations that are computed where they are applied.
//!
//! Owns the C view of what `store/conditions.rs` adds to a batch. What always holds: a failed call leaves the batch as it
//! was.

use std::ffi::c_void;

use super::batch::almadia_batch;
use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::extensible;
use super::handle::exclusive;
use super::range_digest::almadia_range_digest;
use crate::types::Version;

/// Adds a condition: the batch is applied only if `key` does not exist.
///
/// All conditions of a batch are judged on the state before it, wherever they stand in it, where the write is
/// applied: in the order of the log, on every member alike. If one is false, nothing of the batch is applied but
/// what stands behind almadia_batch_otherwise; without that the write fails with ALMADIA_PRECONDITION_FAILED,
/// certainly not applied, and almadia_error_precondition tells which condition it was. A condition counts as an
/// operation. A batch may look at 4,096 keys: its conditions, additions and keys to take.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (behind
/// almadia_batch_otherwise).
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_if_absent(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        batch.batch.if_absent(key)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds a condition: the batch is applied only if `key` exists. See almadia_batch_if_absent.
///
/// Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_if_present(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        batch.batch.if_present(key)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds a condition: the batch is applied only if `key` has this version, so that nobody has written it since it was
/// seen; with `version` 0, only if it does not exist. See almadia_value_version and almadia_batch_if_absent.
///
/// Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_if_version(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    version: u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        batch.batch.if_version(key, Version(version))?;
        Ok(ALMADIA_OK)
    })
}

/// Adds a condition: the batch is applied only if `key` has this value, which somebody may have written again. See
/// almadia_batch_if_absent.
///
/// Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` and `value` are NULL or point to `key_length`
/// and `value_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_if_value(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        batch.batch.if_value(key, value)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds a condition: the batch is applied only if the keys from `begin` (included) to `end` (not included) are those
/// that `seen` is the digest of, each with the version it had then. An empty `end` means the end of all keys. `seen`
/// comes from almadia_snapshot_digest with the same range. See almadia_batch_if_absent.
///
/// Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent, and ALMADIA_TOO_LARGE (the ranges of the
/// batch have more than 65,536 keys or 64 MiB together), ALMADIA_INVALID_ARGUMENT (begin is after an end that is not
/// empty; struct_size), ALMADIA_UNSUPPORTED.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `begin` and `end` are NULL or point to
/// `begin_length` and `end_length` readable bytes; `seen` is NULL or points to `struct_size` readable bytes; `error`
/// is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_if_range(
    batch: *mut almadia_batch,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    seen: *const almadia_range_digest,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        // SAFETY: `seen` is NULL or points to `struct_size` readable bytes.
        let seen = unsafe { extensible::read(seen) }?;
        batch.batch.if_range(begin, end, &seen.into())?;
        Ok(ALMADIA_OK)
    })
}

/// What is added from here on is applied instead, if a condition is false. The write succeeds then, and
/// almadia_written_failed tells the condition.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (the second time).
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_otherwise(
    batch: *mut almadia_batch,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        batch.batch.otherwise()?;
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that adds `delta` to the value of `key`, a number of 8 bytes, little-endian; a key that does
/// not exist counts as 0. Its result is the sum. With a value of another length, or a sum that does not fit, the
/// write fails with ALMADIA_NOT_A_NUMBER, certainly not applied.
///
/// A write whose outcome is unknown must not be repeated when it adds: it may add twice.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_add(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    delta: i64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        batch.batch.add(key, delta)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that sets a new key to `value`: `prefix`, then the version of the write (8 bytes), then the
/// number of this operation in the batch (2 bytes), both big-endian. So the keys under a prefix are in the order of
/// their writes, and writers do not meet. Its result is the key.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE (the prefix: 10 bytes less than the longest key).
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `prefix` and `value` are NULL or point to
/// `prefix_length` and `value_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_put_versioned(
    batch: *mut almadia_batch,
    prefix: *const c_void,
    prefix_length: usize,
    value: *const c_void,
    value_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `prefix` and `value` are NULL or point to bytes of their stated lengths.
        let (prefix, value) =
            unsafe { (bytes(prefix, prefix_length, "prefix")?, bytes(value, value_length, "value")?) };
        batch.batch.put_versioned(prefix, value)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that removes `key`. Its result is the value and the version that the key had, or that it did
/// not exist.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_pop(
    batch: *mut almadia_batch,
    key: *const c_void,
    key_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        batch.batch.pop(key)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that removes the first key from `begin` (included) to `end` (not included). An empty `end`
/// means the end of all keys. Its result is that key with its value and version, or that there is none. The whole
/// range must belong to the region of the batch.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (begin is after an end
/// that is not empty).
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `begin` and `end` are NULL or point to
/// `begin_length` and `end_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_take_first(
    batch: *mut almadia_batch,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        batch.batch.take_first(begin, end)?;
        Ok(ALMADIA_OK)
    })
}
