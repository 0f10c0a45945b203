//! `almadia_batch`: operations that are applied together or not at all.
//!
//! Owns the C view of a batch. What always holds: a failed call leaves the batch as it was.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::{almadia_slice, bytes, elements};
use super::handle::{Boxed, HandleSlot, exclusive, taken};
use crate::error::{Code, Error, Result};
use crate::store::batch::Batch;

/// A list of operations that are applied together, in the order in which they were added, or not at all. One thread
/// at a time may use it.
pub struct almadia_batch {
    pub(super) batch: Batch,
}

impl Boxed for almadia_batch {}

/// Makes an empty batch. It belongs to no store and may be written to any.
///
/// `batch` receives the handle; free it with almadia_batch_free. Blocks: no. Threads: any. Codes: none but
/// ALMADIA_NULL_POINTER.
///
/// # Safety
/// `batch` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_new(
    batch: *mut *mut almadia_batch,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or writable.
        let slot = unsafe { HandleSlot::new(batch, "batch") }?;
        slot.put(almadia_batch { batch: Batch::new() });
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that sets `key` to `value`. Both are copied; both may be empty and may contain NULs.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE (the key, the value, or the batch in bytes or
/// operations; the message says which).
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` and `value` are NULL or point to `key_length`
/// and `value_length` readable bytes; `error` is NULL or writable.
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
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        batch.batch.put(key, value)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that removes `key`. It is no error if the key does not exist.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable
/// bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_delete(
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
        batch.batch.delete(key)?;
        Ok(ALMADIA_OK)
    })
}

/// Adds an operation that removes every key from `begin` (included) to `end` (not included). An empty `end` means
/// the end of all keys, and takes 16 KiB of the batch; if `begin` is empty too, all keys are removed.
///
/// Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (begin is after an end
/// that is not empty).
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `begin` and `end` are NULL or point to
/// `begin_length` and `end_length` readable bytes; `error` is NULL or writable.
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
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        batch.batch.delete_range(begin, end)?;
        Ok(ALMADIA_OK)
    })
}

/// What an almadia_op does: one of the ALMADIA_OP_... constants.
pub type almadia_op_kind = i32;

/// Set `key` to `value`.
pub const ALMADIA_OP_PUT: almadia_op_kind = 1;
/// Remove `key`; `value` must be empty.
pub const ALMADIA_OP_DELETE: almadia_op_kind = 2;
/// Remove every key from `key` (included) to `value` (not included); an empty `value` means the end of all keys.
pub const ALMADIA_OP_DELETE_RANGE: almadia_op_kind = 3;

/// One operation for almadia_batch_append_ops. An element of an array, so its size never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_op {
    /// What it does.
    pub kind: almadia_op_kind,
    /// Must be 0.
    pub reserved: i32,
    /// The key, or the first key of a range.
    pub key: almadia_slice,
    /// The value, or the first key after a range; empty when the range has no end.
    pub value: almadia_slice,
}

/// Adds `count` operations in one call, all or none. Keys and values are copied.
///
/// Blocks: no. Threads: one at a time. Codes: those of almadia_batch_put and almadia_batch_delete_range;
/// ALMADIA_UNSUPPORTED (a kind that this version does not know, or reserved is not 0), ALMADIA_INVALID_ARGUMENT (a
/// delete with a value). The message names the operation.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile; `ops` is NULL or points to `count` operations, whose
/// slices are NULL or have their sizes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_batch_append_ops(
    batch: *mut almadia_batch,
    ops: *const almadia_op,
    count: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `ops` is NULL or points to `count` operations.
        let ops = unsafe { elements(ops, count, "ops") }?;
        batch.batch.all_or_none(|batch| {
            ops.iter().enumerate().try_for_each(|(at, op)| {
                // SAFETY: the slices of `ops` are NULL or have their sizes.
                unsafe { append(batch, op) }.map_err(|error| naming(at, &error))
            })
        })?;
        Ok(ALMADIA_OK)
    })
}

/// Adds one operation.
///
/// # Safety
/// Its slices are as [`bytes`] wants them.
unsafe fn append(batch: &mut Batch, op: &almadia_op) -> Result<()> {
    // SAFETY: passed on to the caller.
    let (key, value) =
        unsafe { (bytes(op.key.data, op.key.size, "key")?, bytes(op.value.data, op.value.size, "value")?) };
    match op.kind {
        ALMADIA_OP_PUT if op.reserved == 0 => batch.put(key, value),
        ALMADIA_OP_DELETE if op.reserved == 0 && value.is_empty() => batch.delete(key),
        ALMADIA_OP_DELETE if op.reserved == 0 => {
            Err(Error::with_detail(Code::InvalidArgument, "a delete has no value"))
        }
        ALMADIA_OP_DELETE_RANGE if op.reserved == 0 => batch.delete_range(key, value),
        kind => {
            let detail = format!("there is no operation {kind} with reserved = {}", op.reserved);
            Err(Error::with_detail(Code::Unsupported, detail))
        }
    }
}

fn naming(at: usize, error: &Error) -> Error {
    Error::with_detail(error.code(), format!("ops[{at}]: {}", error.detail()))
}

/// Removes all operations. NULL is fine.
///
/// Blocks: no. Threads: one at a time.
///
/// # Safety
/// `batch` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_clear(batch: *mut almadia_batch) {
    boundary::release(|| {
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        if let Some(batch) = unsafe { batch.as_mut() } {
            batch.batch.clear();
        }
    });
}

/// The number of operations in a batch, ALMADIA_BATCH_OPERATIONS_MAX at most. 0 for NULL.
///
/// Blocks: no. Threads: any number at once while none adds.
///
/// # Safety
/// `batch` is NULL or live, and no other call changes it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_count(batch: *const almadia_batch) -> usize {
    // SAFETY: `batch` is NULL or live.
    boundary::value(0, || unsafe { batch.as_ref() }.map_or(0, |batch| batch.batch.len()))
}

/// The size of a batch in bytes: its keys, its values and a few bytes for each operation. ALMADIA_BATCH_BYTES_MAX
/// at most. 0 for NULL.
///
/// Blocks: no. Threads: any number at once while none adds.
///
/// # Safety
/// `batch` is NULL or live, and no other call changes it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_bytes(batch: *const almadia_batch) -> usize {
    // SAFETY: `batch` is NULL or live.
    boundary::value(0, || unsafe { batch.as_ref() }.map_or(0, |batch| batch.batch.encoded_bytes()))
}

/// Frees a batch. NULL is fine.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `batch` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_batch_free(batch: *mut almadia_batch) {
    // SAFETY: `batch` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken(batch) }));
}
