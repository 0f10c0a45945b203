//! Gets: the newest value of a key, or its value in a snapshot; of one key or of several.
//!
//! Owns the C view of point reads, those that wait beside those that do not. What always holds: a missing key is the
//! answer `ALMADIA_NOT_FOUND`, not an error with a message.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::{Buffer, almadia_slice, bytes, slices};
use super::done::{Done, almadia_done};
use super::handle::{HandleSlot, ValueSlot, in_process};
use super::position::almadia_position;
use super::snapshot::almadia_snapshot;
use super::snapshot_open::{almadia_snapshot_options, snapshot_options};
use super::store::almadia_store;
use super::value::{almadia_value, almadia_values};
use crate::error::Code;
use crate::store::snapshot::{PinnedValue, SnapshotOptions};

/// Hands a value that was found to C.
fn answer(slot: HandleSlot<almadia_value>, found: Option<PinnedValue>) -> almadia_code {
    let Some(value) = found else { return Code::NotFound.number() };
    slot.put(almadia_value::new(value));
    ALMADIA_OK
}

/// Reads the newest value of `key`, linearizable: almadia_snapshot_open over the region of `key` and
/// almadia_snapshot_get in one call.
///
/// `value` receives the handle; free it with almadia_value_free. When the key does not exist, the function returns
/// ALMADIA_NOT_FOUND, without an error object. Blocks: yes, for the timeout at most, and while it reads the disk on
/// your thread, which almadia_get_async does not. Threads: any number at once. Codes: ALMADIA_NOT_FOUND, those of
/// almadia_snapshot_open, and those of almadia_snapshot_get.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `value` and `error` are NULL or
/// writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_get(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `value` is NULL or writable.
        let slot = unsafe { HandleSlot::new(value, "value") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        boundary::may_block()?;
        Ok(answer(slot, store.store.get(key)?))
    })
}

/// Reads the value of `key` in a snapshot, without copying it.
///
/// `value` receives the handle; free it with almadia_value_free. When the key does not exist, the function returns
/// ALMADIA_NOT_FOUND, without an error object. Blocks: no (it may read from the disk). Threads: any number at once;
/// callbacks too. Codes: ALMADIA_NOT_FOUND, ALMADIA_INVALID_ARGUMENT (the key is outside the snapshot's range),
/// ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
///
/// # Safety
/// `snapshot` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `value` and `error` are NULL
/// or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_get(
    snapshot: *const almadia_snapshot,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `value` is NULL or writable.
        let slot = unsafe { HandleSlot::new(value, "value") }?;
        // SAFETY: `snapshot` is NULL or live.
        let snapshot = unsafe { in_process(snapshot, "snapshot") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        Ok(answer(slot, snapshot.snapshot.get(key)?))
    })
}

/// Copies the value of `key` in a snapshot into `buffer`, which has `capacity` bytes. `length` receives the length
/// of the value, also when the call returns ALMADIA_BUFFER_TOO_SMALL (the buffer is then untouched). To ask for the
/// length alone, pass a `capacity` of 0; `buffer` may then be NULL.
///
/// Blocks: no (it may read from the disk). Threads: any number at once; callbacks too. Codes: ALMADIA_NOT_FOUND
/// (without an error object), ALMADIA_INVALID_ARGUMENT (the key is outside the snapshot's range),
/// ALMADIA_BUFFER_TOO_SMALL, ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
///
/// # Safety
/// `snapshot` is NULL or live; `buffer` is NULL or points to `capacity` writable bytes; `key` is NULL or points to
/// `key_length` readable bytes; `length` and `error` are NULL or writable.
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
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `snapshot` is NULL or live.
        let snapshot = unsafe { in_process(snapshot, "snapshot") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `buffer` is NULL or points to `capacity` readable bytes, `length` is NULL or writable.
        let buffer = unsafe { Buffer::new(buffer, capacity, length) }?;
        let Some(value) = snapshot.snapshot.get(key)? else { return Ok(Code::NotFound.number()) };
        buffer.fill(value.as_ref())?;
        Ok(ALMADIA_OK)
    })
}

/// Reads the value of `key` as `options`, which may be NULL and must have no range, say: how recent it must be, and
/// how long to wait. With ALMADIA_LEVEL_LOCAL and min_index it is read on this member, without asking another, but
/// not before a write that the program knows of is applied here.
///
/// `value` receives the handle; free it with almadia_value_free. When the key does not exist, the function returns
/// ALMADIA_NOT_FOUND, without an error object. `position` (NULL if unwanted) is written on ALMADIA_OK and on
/// ALMADIA_NOT_FOUND. It is the position of the state that was read: the last entry in the log of the key's region
/// that the answer reflects. As min_index of a later read, on any member, it makes sure that this shows no older
/// state.
///
/// Blocks: yes, for the timeout at most, and while it reads the disk on your thread, which almadia_get_with_async
/// does not. Threads: any number at once. Codes: ALMADIA_NOT_FOUND, those of almadia_snapshot_open
/// (ALMADIA_READ_TIMEOUT too when this member has not applied min_index in time, with a message that says how far it
/// is), and those of almadia_snapshot_get; ALMADIA_INVALID_ARGUMENT (a range) too.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its keys are NULL or have their lengths; `value`, `position` and `error` are
/// NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_get_with(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    options: *const almadia_snapshot_options,
    value: *mut *mut almadia_value,
    position: *mut almadia_position,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `value` is NULL or writable.
        let slot = unsafe { HandleSlot::new(value, "value") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { snapshot_options(options) }?;
        boundary::may_block()?;
        if position.is_null() {
            return Ok(answer(slot, store.store.get_with(key, &options)?));
        }
        // SAFETY: `position` is NULL or writable.
        let place = unsafe { ValueSlot::optional(position) };
        let (found, position) = store.store.get_with_position(key, &options)?;
        place.put(position.into());
        Ok(answer(slot, found))
    })
}

/// Starts reading the newest value of `key`, linearizable, and returns. On ALMADIA_OK the call will complete
/// exactly once, with the value (almadia_completion_take_value) or ALMADIA_NOT_FOUND. The key is copied. Values
/// that are not in memory are read on threads of the library.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_OVERLOADED, ALMADIA_CLOSED,
/// ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_IO (no thread can be started), ALMADIA_INVALID_ARGUMENT (struct_size,
/// done). The completion has the other codes: those of almadia_get, and ALMADIA_CANCELLED.
///
/// # Safety
/// `store` is NULL or live; `done` is NULL or points to `struct_size` readable bytes: its callback may be called
/// once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `key` is NULL or points to
/// `key_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_get_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.get(key, &SnapshotOptions::default(), |found| receiver.answer(found))
        })
    })
}

/// Starts reading the value of `key` as `options` say and returns. On ALMADIA_OK the call will complete exactly once,
/// with the value (almadia_completion_take_value) or ALMADIA_NOT_FOUND, and with either of them the position of
/// almadia_get_with (almadia_completion_index and almadia_completion_term). The key is copied. `options` as for
/// almadia_get_with. A local read may be ready at once; it completes on the callback thread or through the queue
/// nevertheless.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: those of almadia_get_async, ALMADIA_UNSUPPORTED (a
/// level or field of `options` that this version does not know), ALMADIA_INVALID_ARGUMENT (a range) too. The
/// completion has the other codes: those of almadia_get_with, and ALMADIA_CANCELLED.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its keys are NULL or have their lengths; `done` is NULL or points to
/// `struct_size` readable bytes: its callback may be called once, on another thread, its `cq` is NULL or live, its
/// `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_get_with_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    options: *const almadia_snapshot_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { snapshot_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.get_with_position(key, &options, |found| receiver.answer(found))
        })
    })
}

/// Reads the values of `count` keys at one point in time: almadia_snapshot_open over their regions and
/// almadia_snapshot_multi_get in one call. What almadia_snapshot_open says about several regions holds here too.
/// `options`, which may be NULL, must have no range.
///
/// `values` receives the handle; free it with almadia_values_free. Blocks: yes, for the timeout at most, and while
/// it reads the disk on your thread, which almadia_multi_get_async does not. Threads: any number at once. Codes:
/// those of almadia_snapshot_open and almadia_snapshot_multi_get; ALMADIA_INVALID_ARGUMENT (a range) too.
///
/// # Safety
/// `store` is NULL or live; `keys` is NULL or points to `count` slices, each NULL or of the size it says; `options`
/// is NULL or points to `struct_size` readable bytes, and its keys are NULL or have their lengths; `values` and
/// `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_multi_get(
    store: *mut almadia_store,
    keys: *const almadia_slice,
    count: usize,
    options: *const almadia_snapshot_options,
    values: *mut *mut almadia_values,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `values` is NULL or writable.
        let slot = unsafe { HandleSlot::new(values, "values") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `keys` is NULL or points to `count` slices, each of the size it says.
        let keys = unsafe { slices(keys, count, "keys") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { snapshot_options(options) }?;
        boundary::may_block()?;
        slot.put(almadia_values::new(store.store.get_many(&keys, &options)?));
        Ok(ALMADIA_OK)
    })
}

/// Starts reading the values of `count` keys and returns. On ALMADIA_OK the call will complete exactly once, with
/// the values (almadia_completion_take_values). The keys are copied. `options` as for almadia_multi_get.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: those of almadia_get_async, and
/// ALMADIA_UNSUPPORTED (a level or field of `options` that this version does not know). The completion has the
/// other codes: those of almadia_multi_get, and ALMADIA_CANCELLED.
///
/// # Safety
/// `store` is NULL or live; `keys` is NULL or points to `count` slices, each NULL or of the size it says; `options`
/// is NULL or points to `struct_size` readable bytes, and its keys are NULL or have their lengths; `done` is NULL or
/// points to `struct_size` readable bytes: its callback may be called once, on another thread, its `cq` is NULL or
/// live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_multi_get_async(
    store: *mut almadia_store,
    keys: *const almadia_slice,
    count: usize,
    options: *const almadia_snapshot_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `keys` is NULL or points to `count` slices, each of the size it says.
        let keys = unsafe { slices(keys, count, "keys") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { snapshot_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.get_many(&keys, &options, |found| receiver.answer(found))
        })
    })
}

/// Reads the values of `count` keys in a snapshot, without copying them.
///
/// `values` receives the handle; free it with almadia_values_free. Blocks: no (it may read from the disk). Threads:
/// any number at once; callbacks too. Codes: ALMADIA_INVALID_ARGUMENT (a key is outside the snapshot's range),
/// ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
///
/// # Safety
/// `snapshot` is NULL or live; `keys` is NULL or points to `count` slices, each NULL or of the size it says; `values`
/// and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_multi_get(
    snapshot: *const almadia_snapshot,
    keys: *const almadia_slice,
    count: usize,
    values: *mut *mut almadia_values,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `values` is NULL or writable.
        let slot = unsafe { HandleSlot::new(values, "values") }?;
        // SAFETY: `snapshot` is NULL or live.
        let snapshot = unsafe { in_process(snapshot, "snapshot") }?;
        // SAFETY: `keys` is NULL or points to `count` slices, each of the size it says.
        let keys = unsafe { slices(keys, count, "keys") }?;
        slot.put(almadia_values::new(snapshot.snapshot.get_many(&keys)?));
        Ok(ALMADIA_OK)
    })
}
