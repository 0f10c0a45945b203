//! Writes that are computed where they are applied.
//!
//! Owns a call for each operation of a batch that has a result, blocking and asynchronous. What always holds: each is a
//! batch of that operation alone, so all that `write.rs` says of batches is true of it; nothing to take is
//! `ALMADIA_NOT_FOUND`, without an error.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::done::{Done, almadia_done};
use super::handle::{HandleSlot, ValueSlot, in_process};
use super::store::almadia_store;
use super::value::almadia_value;
use super::write::{submit_one, submit_taking};
use super::write_options::{Waiting, almadia_write_options, async_options};
use crate::completion::Reply;
use crate::effects::OpResult;
use crate::error::Code;

/// Removes `key` and waits. `value` receives the value that it had, with its version; free it with
/// almadia_value_free. Whoever asks for a key and ends before it has the answer loses the value. `options` may be
/// NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (it did not exist),
/// those of almadia_write, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its outputs are NULL or writable; `value` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_pop(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    options: *const almadia_write_options,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `value` is NULL or writable.
        let value = unsafe { HandleSlot::new(value, "value") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        let reply = waiting.write(store, |batch| batch.pop(key))?;
        let OpResult::Value { value: removed, version, .. } = only(&reply) else {
            return Ok(Code::NotFound.number());
        };
        value.put(almadia_value::of_bytes(removed.clone(), *version));
        Ok(ALMADIA_OK)
    })
}

/// Starts almadia_pop and returns. The completion has its code, and almadia_completion_take_value gives the value.
/// `options` may be NULL. All bytes are copied before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its callback may be called on another thread until the write is answered;
/// `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on another thread, its
/// `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_pop_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_taking(store, options, done, |batch| batch.pop(key))
    })
}

/// Removes the first key from `begin` (included) to `end` (not included) and waits; an empty `end` means the end of
/// all keys. `key` and `value` receive what it was, both with its version; free them with almadia_value_free. The
/// whole range must belong to one region. Whoever takes a task so and ends before it is done loses it: a queue whose
/// takers may fail moves it to another key instead, with a batch of a condition, a delete and a put. `options` may
/// be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (there is no key),
/// ALMADIA_INVALID_ARGUMENT (begin is after an end that is not empty), those of almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `begin` and `end` are NULL or point to `begin_length` and `end_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable; `key`, `value`
/// and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_take_first(
    store: *mut almadia_store,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    options: *const almadia_write_options,
    key: *mut *mut almadia_value,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `key` is NULL or writable.
        let key = unsafe { HandleSlot::new(key, "key") }?;
        // SAFETY: `value` is NULL or writable.
        let value = unsafe { HandleSlot::new(value, "value") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        let reply = waiting.write(store, |batch| batch.take_first(begin, end))?;
        let OpResult::Value { key: first, value: removed, version } = only(&reply) else {
            return Ok(Code::NotFound.number());
        };
        key.put(almadia_value::of_bytes(first.clone(), *version));
        value.put(almadia_value::of_bytes(removed.clone(), *version));
        Ok(ALMADIA_OK)
    })
}

/// Starts almadia_take_first and returns. The completion has its code; almadia_completion_take_value gives the
/// value, and almadia_completion_take_written the key as well. `options` may be NULL. All bytes are copied before it
/// returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE,
/// ALMADIA_INVALID_ARGUMENT (begin is after an end that is not empty).
///
/// # Safety
/// `store` is NULL or live; `begin` and `end` are NULL or point to `begin_length` and `end_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its callback may be called on another thread
/// until the write is answered; `done` is NULL or points to `struct_size` readable bytes: its callback may be called
/// once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_take_first_async(
    store: *mut almadia_store,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_taking(store, options, done, |batch| batch.take_first(begin, end))
    })
}

/// Adds `delta` to the value of `key`, a number of 8 bytes, little-endian, and waits; a key that does not exist
/// counts as 0. `sum` (NULL if unwanted) receives the sum. An addition whose outcome is unknown must not be
/// repeated: it may be added twice. `options` may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_NOT_A_NUMBER (the value has
/// another length than 8 bytes, or the sum does not fit; certainly not applied), those of almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its outputs are NULL or writable; `sum` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_add(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    delta: i64,
    options: *const almadia_write_options,
    sum: *mut i64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `sum` is NULL or writable.
        let sum = unsafe { ValueSlot::optional(sum) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        let reply = waiting.write(store, |batch| batch.add(key, delta))?;
        let OpResult::Sum(found) = only(&reply) else { unreachable!("an addition has a sum: {reply:?}") };
        sum.put(*found);
        Ok(ALMADIA_OK)
    })
}

/// Starts almadia_add and returns. The completion has its code, and almadia_completion_take_written gives the sum.
/// `options` may be NULL. All bytes are copied before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its callback may be called on another thread until the write is answered;
/// `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on another thread, its
/// `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_add_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    delta: i64,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_one(store, options, done, |batch| batch.add(key, delta))
    })
}

/// Sets a new key that begins with `prefix` to `value`, as almadia_batch_put_versioned describes it, and waits.
/// `key` (NULL if unwanted) receives the key, with its version; free it with almadia_value_free. `options` may be
/// NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: those of almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `prefix` and `value` are NULL or point to `prefix_length` and `value_length` readable
/// bytes; `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable; `key`
/// and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_versioned(
    store: *mut almadia_store,
    prefix: *const c_void,
    prefix_length: usize,
    value: *const c_void,
    value_length: usize,
    options: *const almadia_write_options,
    key: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `key` is NULL or writable.
        let key = unsafe { HandleSlot::optional(key) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `prefix` and `value` are NULL or point to bytes of their stated lengths.
        let (prefix, value) =
            unsafe { (bytes(prefix, prefix_length, "prefix")?, bytes(value, value_length, "value")?) };
        let reply = waiting.write(store, |batch| batch.put_versioned(prefix, value))?;
        let OpResult::Key(made) = only(&reply) else { unreachable!("a new key is told: {reply:?}") };
        if let Some(key) = key {
            key.put(almadia_value::of_bytes(made.clone(), reply.version));
        }
        Ok(ALMADIA_OK)
    })
}

/// Starts almadia_put_versioned and returns. The completion has its code, and almadia_completion_take_written gives
/// the key. `options` may be NULL. All bytes are copied before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `prefix` and `value` are NULL or point to `prefix_length` and `value_length` readable
/// bytes; `options` is NULL or points to `struct_size` readable bytes, and its callback may be called on another
/// thread until the write is answered; `done` is NULL or points to `struct_size` readable bytes: its callback may be
/// called once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or
/// writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_versioned_async(
    store: *mut almadia_store,
    prefix: *const c_void,
    prefix_length: usize,
    value: *const c_void,
    value_length: usize,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `prefix` and `value` are NULL or point to bytes of their stated lengths.
        let (prefix, value) =
            unsafe { (bytes(prefix, prefix_length, "prefix")?, bytes(value, value_length, "value")?) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_one(store, options, done, |batch| batch.put_versioned(prefix, value))
    })
}

/// The result of the only operation.
fn only(reply: &Reply) -> &OpResult {
    let [(0, result)] = reply.results() else { unreachable!("one operation has one result: {reply:?}") };
    result
}
