//! Writes: a batch, or one put or delete.
//!
//! Owns the C view of the write path. What always holds: a batch is emptied only by a call that answered
//! `ALMADIA_OK`, and a callback runs only for such a call.

use std::ffi::c_void;

use super::batch::almadia_batch;
use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::completion::Answered;
use super::done::{Done, almadia_done};
use super::handle::{ValueSlot, exclusive, in_process};
use super::position::almadia_position;
use super::store::almadia_store;
use super::write_options::{Options, Waiting, almadia_write_options, async_options};
use crate::completion::Reply;
use crate::error::Result;
use crate::store::batch::Batch;

/// Writes `batch`, whose keys must all belong to one region, and waits until it is durable on a majority of the
/// members and readable. On ALMADIA_OK the batch was applied and is empty, ready for the next operations, and
/// `position` (NULL if unwanted) receives its position in the log. After a failure the batch is unchanged, and the
/// code says whether it was applied: certainly not, or unknown (category 4; see almadia_code_maybe_applied). A
/// change of leader is no failure: the batch is applied exactly once, and waits for the next leader until its
/// deadline.
///
/// A batch without operations costs no entry of the log: it is answered as a linearizable read of the first region
/// is, and `position` covers every write that was acknowledged before the call.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once, each with its own batch. Codes:
/// ALMADIA_PRECONDITION_FAILED, ALMADIA_NOT_A_NUMBER (see almadia_batch_if_absent and almadia_batch_add),
/// ALMADIA_BATCH_ACROSS_REGIONS, ALMADIA_OVERLOADED, ALMADIA_NO_LEADER, ALMADIA_DEADLINE_BEFORE_START,
/// ALMADIA_REGION_CHANGED (none of them applied), ALMADIA_TIMEOUT, ALMADIA_SHUTDOWN_IN_FLIGHT, ALMADIA_FAILED_IN_FLIGHT
/// (outcome unknown), ALMADIA_READ_TIMEOUT (a batch without operations), ALMADIA_CLOSED, ALMADIA_FORKED,
/// ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_UNSUPPORTED (a field of `options` that this version does not
/// know), ALMADIA_INVALID_ARGUMENT (struct_size, or options->events, which need almadia_write_async).
///
/// # Safety
/// `store` is NULL or live; `batch` is NULL or live, and no other call uses it meanwhile; `options` is NULL or points
/// to `struct_size` readable bytes, and its outputs are NULL or writable; `position` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_write(
    store: *mut almadia_store,
    batch: *mut almadia_batch,
    options: *const almadia_write_options,
    position: *mut almadia_position,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        boundary::may_block()?;
        // SAFETY: `position` is NULL or writable.
        let position = unsafe { ValueSlot::optional(position) };
        let reply = waiting.run(|options| store.store.write(&mut batch.batch, options))?;
        position.put(reply.position.into());
        Ok(ALMADIA_OK)
    })
}

/// Starts writing `batch` and returns. On ALMADIA_OK the operations were taken, the batch is empty and ready for
/// the next ones, and the call will complete exactly once. After a failure the batch is unchanged, nothing was
/// written, and there will be no completion. The writes of one thread that succeed complete in the order in which
/// they were submitted; a failure may overtake them, and so may a batch without operations, which is a read (see
/// almadia_write). With options->events the write also reports its progress before it completes, a read none.
///
/// Blocks: no. Threads: any number at once, each with its own batch; callbacks too. Codes:
/// ALMADIA_BATCH_ACROSS_REGIONS, ALMADIA_OVERLOADED (too many calls in flight: retry after some completions),
/// ALMADIA_CLOSED, ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_UNSUPPORTED (an event or field of `options` that this
/// version does not know), ALMADIA_INVALID_ARGUMENT (struct_size, or options->version or written, which need a call that waits).
/// The completion has the other codes: those of almadia_write, ALMADIA_CANCELLED and ALMADIA_CANCELLED_IN_FLIGHT.
///
/// # Safety
/// `store` is NULL or live; `batch` is NULL or live, and no other call uses it meanwhile; `options` is NULL or points
/// to `struct_size` readable bytes, and its callback may be called on another thread until the write is answered;
/// `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on another thread, its
/// `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_write_async(
    store: *mut almadia_store,
    batch: *mut almadia_batch,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `batch` is NULL or live, and no other call uses it.
        let batch = unsafe { exclusive(batch, "batch") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its callback may be called until the
        // write is answered.
        let options = unsafe { async_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        submit(store, &mut batch.batch, options, done)
    })
}

/// Sets `key` to `value` and waits: almadia_write with a batch of one operation and default options.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        boundary::may_block()?;
        store.store.put(key, value)?;
        Ok(ALMADIA_OK)
    })
}

/// Removes `key` and waits: almadia_write with a batch of one operation and default options. It is no error if the
/// key does not exist.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_delete(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        boundary::may_block()?;
        store.store.delete(key)?;
        Ok(ALMADIA_OK)
    })
}

/// Starts setting `key` to `value` and returns: almadia_write_async with a batch of one operation and default
/// options. Both are copied before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `done` is NULL or points to `struct_size` readable bytes: its callback may be called
/// once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `key` and `value` are NULL or
/// point to `key_length` and `value_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_async(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        let mut batch = Batch::new();
        batch.put(key, value)?;
        submit(store, &mut batch, Options::default(), done)
    })
}

/// Starts removing `key` and returns: almadia_write_async with a batch of one operation and default options. The
/// key is copied before it returns.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `done` is NULL or points to `struct_size` readable bytes: its callback may be called
/// once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `key` is NULL or points to
/// `key_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_delete_async(
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
        let mut batch = Batch::new();
        batch.delete(key)?;
        submit(store, &mut batch, Options::default(), done)
    })
}

/// Sets `key` to `value` and waits: almadia_write with a batch of one operation. `options` may be NULL; `position`
/// (NULL if unwanted) receives the position of the write in the log of the key's region.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable; `position` and
/// `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_with(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    options: *const almadia_write_options,
    position: *mut almadia_position,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        // SAFETY: `position` is NULL or writable.
        let position = unsafe { ValueSlot::optional(position) };
        boundary::may_block()?;
        let reply = waiting.run(|options| store.store.put_with(key, value, options))?;
        position.put(reply.position.into());
        Ok(ALMADIA_OK)
    })
}

/// Removes `key` and waits: almadia_write with a batch of one operation. It is no error if the key does not exist.
/// `options` may be NULL; `position` (NULL if unwanted) receives the position of the write in the log of the key's
/// region.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
/// ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its outputs are NULL or writable; `position` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_delete_with(
    store: *mut almadia_store,
    key: *const c_void,
    key_length: usize,
    options: *const almadia_write_options,
    position: *mut almadia_position,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        let key = unsafe { bytes(key, key_length, "key") }?;
        // SAFETY: `position` is NULL or writable.
        let position = unsafe { ValueSlot::optional(position) };
        boundary::may_block()?;
        let reply = waiting.run(|options| store.store.delete_with(key, options))?;
        position.put(reply.position.into());
        Ok(ALMADIA_OK)
    })
}

/// Starts setting `key` to `value` and returns: almadia_write_async with a batch of one operation. Both are copied
/// before it returns. `options` may be NULL.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` and `value` are NULL or point to `key_length` and `value_length` readable bytes;
/// `options` is NULL or points to `struct_size` readable bytes, and its callback may be called on another thread until
/// the write is answered; `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on
/// another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_put_with_async(
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
        let mut batch = Batch::new();
        batch.put(key, value)?;
        submit(store, &mut batch, options, done)
    })
}

/// Starts removing `key` and returns: almadia_write_async with a batch of one operation. The key is copied before it
/// returns. `options` may be NULL.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
///
/// # Safety
/// `store` is NULL or live; `key` is NULL or points to `key_length` readable bytes; `options` is NULL or points to
/// `struct_size` readable bytes, and its callback may be called on another thread until the write is answered; `done`
/// is NULL or points to `struct_size` readable bytes: its callback may be called once, on another thread, its `cq` is
/// NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_delete_with_async(
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
        let mut batch = Batch::new();
        batch.delete(key)?;
        submit(store, &mut batch, options, done)
    })
}

/// Starts writing `batch`; its caller hears of events, if it wants any, and of the outcome.
fn submit(store: &almadia_store, batch: &mut Batch, options: Options, done: Done) -> Result<almadia_code> {
    submit_as(store, batch, options, done, Answered::from)
}

/// Starts writing the batch that `build` makes.
pub(super) fn submit_one(
    store: &almadia_store,
    options: Options,
    done: Done,
    build: impl FnOnce(&mut Batch) -> Result<()>,
) -> Result<almadia_code> {
    let mut batch = Batch::new();
    build(&mut batch)?;
    submit(store, &mut batch, options, done)
}

/// As [`submit_one`], for one operation that takes what may not be there.
pub(super) fn submit_taking(
    store: &almadia_store,
    options: Options,
    done: Done,
    build: impl FnOnce(&mut Batch) -> Result<()>,
) -> Result<almadia_code> {
    let mut batch = Batch::new();
    build(&mut batch)?;
    submit_as(store, &mut batch, options, done, Answered::of_taking)
}

fn submit_as(
    store: &almadia_store,
    batch: &mut Batch,
    Options { write, listening }: Options,
    done: Done,
    answered: fn(Result<Reply>) -> Answered,
) -> Result<almadia_code> {
    done.submit(store, |asynchronous, receiver| {
        let finished = move |answer| receiver.answer(answered(answer));
        let Some((events, listener)) = listening else {
            return asynchronous.write(batch, &write, finished);
        };
        let on_event = move |event, position| listener.tell(event, position);
        asynchronous.write_with_events(batch, &write, events, on_event, finished)
    })
}
