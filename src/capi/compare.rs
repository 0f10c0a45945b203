//! Writes of one key that depend on what it is.
//!
//! Owns a call for each condition that is asked most often, blocking and asynchronous; larger ones are batches. What
//! always holds: each is a batch of a condition and a write, so all that `write.rs` says of batches is true of it.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::done::{Done, almadia_done};
use super::handle::{ValueSlot, in_process};
use super::store::almadia_store;
use super::write::submit_one;
use super::write_options::{Waiting, almadia_write_options, async_options};
use crate::completion::Reply;
use crate::error::{Code, Result};
use crate::store::conditions::Expected;
use crate::types::Version;

/// Sets `key` to `value` if it does not exist, and waits. `version` (NULL if unwanted) receives the version of the
/// write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not exist. It
/// may be repeated after an unknown outcome when the value tells who wrote it: whoever finds its own value there has
/// won. `options` may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
/// not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable; `version` and
/// `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_if_absent(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    options: *const almadia_write_options,
    version: *mut u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `version` is NULL or writable.
        let version = unsafe { ValueSlot::optional(version) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        judged(waiting.write(store, |batch| batch.compare_and_set(key, Expected::Absent, value)), &version)
    })
}

/// Starts almadia_put_if_absent and returns. The completion has its code, the version of the write, and with
/// ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
/// before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its callback may be called on another thread
/// until the write is answered; `done` is NULL or points to `struct_size` readable bytes: its callback may be called
/// once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_if_absent_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
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
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_one(store, options, done, |batch| batch.compare_and_set(key, Expected::Absent, value))
    })
}

/// Sets `key` to `value` if it has the version `expected`, so that nobody has written it since it was seen, and
/// waits; with `expected` 0, if it does not exist. `version` (NULL if unwanted) receives the version of the write on
/// ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not exist. `options`
/// may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
/// not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable; `version` and
/// `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_and_set(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: u64,
    value: *const c_void,
    value_length: usize,
    options: *const almadia_write_options,
    version: *mut u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `version` is NULL or writable.
        let version = unsafe { ValueSlot::optional(version) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        judged(waiting.write(store, |batch| batch.compare_and_set(key, as_seen(expected), value)), &version)
    })
}

/// Starts almadia_compare_and_set and returns. The completion has its code, the version of the write, and with
/// ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
/// before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its callback may be called on another thread
/// until the write is answered; `done` is NULL or points to `struct_size` readable bytes: its callback may be called
/// once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_and_set_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: u64,
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
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_one(store, options, done, |batch| batch.compare_and_set(key, as_seen(expected), value))
    })
}

/// Sets `key` to `value` if it has the value `expected`, which somebody may have written again, and waits. `version`
/// (NULL if unwanted) receives the version of the write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version
/// that the key has now, 0 if it does not exist. `options` may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
/// not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key`, `expected` and `value` are NULL or point to `key_length`, `expected_length` and
/// `value_length` readable bytes; `options` is NULL or points to `struct_size` readable bytes, and its outputs are
/// NULL or writable; `version` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_value_and_set(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: *const c_void,
    expected_length: usize,
    value: *const c_void,
    value_length: usize,
    options: *const almadia_write_options,
    version: *mut u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `version` is NULL or writable.
        let version = unsafe { ValueSlot::optional(version) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `expected` are NULL or point to bytes of their stated lengths.
        let (key, expected) =
            unsafe { (bytes(key, key_length, "key")?, bytes(expected, expected_length, "expected")?) };
        // SAFETY: `value` is NULL or points to `value_length` readable bytes.
        let value = unsafe { bytes(value, value_length, "value") }?;
        judged(
            waiting.write(store, |batch| batch.compare_and_set(key, Expected::Value(expected), value)),
            &version,
        )
    })
}

/// Starts almadia_compare_value_and_set and returns. The completion has its code, the version of the write, and with
/// ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
/// before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key`, `expected` and `value` are NULL or point to `key_length`, `expected_length` and
/// `value_length` readable bytes; `options` is NULL or points to `struct_size` readable bytes, and its callback may
/// be called on another thread until the write is answered; `done` is NULL or points to `struct_size` readable
/// bytes: its callback may be called once, on another thread, its `cq` is NULL or live, its `op` is NULL or
/// writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_value_and_set_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: *const c_void,
    expected_length: usize,
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
        // SAFETY: `key` and `expected` are NULL or point to bytes of their stated lengths.
        let (key, expected) =
            unsafe { (bytes(key, key_length, "key")?, bytes(expected, expected_length, "expected")?) };
        // SAFETY: `value` is NULL or points to `value_length` readable bytes.
        let value = unsafe { bytes(value, value_length, "value") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_one(store, options, done, |batch| batch.compare_and_set(key, Expected::Value(expected), value))
    })
}

/// Removes `key` if it has the version `expected`, so that nobody has written it since it was seen, and waits; with
/// `expected` 0 it does nothing but find that it does not exist. `version` (NULL if unwanted) receives the version
/// of the write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not
/// exist. `options` may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
/// not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its outputs are NULL or writable; `version` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_and_delete(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: u64,
    options: *const almadia_write_options,
    version: *mut u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `version` is NULL or writable.
        let version = unsafe { ValueSlot::optional(version) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        judged(waiting.write(store, |batch| batch.compare_and_delete(key, as_seen(expected))), &version)
    })
}

/// Starts almadia_compare_and_delete and returns. The completion has its code, the version of the write, and with
/// ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
/// before it returns.
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
pub unsafe extern "C" fn almadia_compare_and_delete_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: u64,
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
        submit_one(store, options, done, |batch| batch.compare_and_delete(key, as_seen(expected)))
    })
}

/// Removes `key` if it has the value `expected`, and waits. `version` (NULL if unwanted) receives the version of the
/// write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not exist.
/// `options` may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
/// not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `expected` are NULL or point to `key_length` and `expected_length` readable
/// bytes; `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable;
/// `version` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_value_and_delete(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: *const c_void,
    expected_length: usize,
    options: *const almadia_write_options,
    version: *mut u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `version` is NULL or writable.
        let version = unsafe { ValueSlot::optional(version) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `expected` are NULL or point to bytes of their stated lengths.
        let (key, expected) =
            unsafe { (bytes(key, key_length, "key")?, bytes(expected, expected_length, "expected")?) };
        judged(
            waiting.write(store, |batch| batch.compare_and_delete(key, Expected::Value(expected))),
            &version,
        )
    })
}

/// Starts almadia_compare_value_and_delete and returns. The completion has its code, the version of the write, and
/// with ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are
/// copied before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `expected` are NULL or point to `key_length` and `expected_length` readable
/// bytes; `options` is NULL or points to `struct_size` readable bytes, and its callback may be called on another
/// thread until the write is answered; `done` is NULL or points to `struct_size` readable bytes: its callback may be
/// called once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or
/// writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_compare_value_and_delete_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    expected: *const c_void,
    expected_length: usize,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `expected` are NULL or point to bytes of their stated lengths.
        let (key, expected) =
            unsafe { (bytes(key, key_length, "key")?, bytes(expected, expected_length, "expected")?) };
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit_one(store, options, done, |batch| batch.compare_and_delete(key, Expected::Value(expected)))
    })
}

/// What a version from C expects of its key.
fn as_seen(version: u64) -> Expected<'static> {
    if version == 0 { Expected::Absent } else { Expected::Version(Version(version)) }
}

/// Tells the caller the version of its write, or the one that kept it from writing.
fn judged(answer: Result<Reply>, version: &ValueSlot<u64>) -> Result<almadia_code> {
    match answer {
        Ok(reply) => {
            version.put(reply.version.get());
            Ok(ALMADIA_OK)
        }
        Err(error) => {
            let found = error.precondition().filter(|_| error.code() == Code::PreconditionFailed);
            if let Some(found) = found {
                version.put(found.version.get());
            }
            Err(error)
        }
    }
}
