//! Writes: a batch, or one put or delete.
//!
//! Owns the C view of the write path. What always holds: a batch is emptied only by a call that answered
//! `ALMADIA_OK`, and a callback runs only for such a call.

use std::ffi::c_void;
use std::mem::offset_of;
use std::time::Duration;

use super::batch::almadia_batch;
use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::completion::Answered;
use super::done::{Done, almadia_done};
use super::extensible::{self, Extensible};
use super::handle::{HandleSlot, ValueSlot, exclusive, in_process, null};
use super::position::almadia_position;
use super::store::almadia_store;
use super::thread_sanitizer;
use super::written::almadia_written;
use crate::completion::{Events, Position, Reply, WriteEvent};
use crate::error::{Code, Error, Result};
use crate::store::WriteOptions;
use crate::store::batch::Batch;

/// What can be reported of a write before its completion: one of the ALMADIA_EVENT_... constants, or several added.
pub type almadia_event = u32;

/// The leader has the write in its log, in memory. It may still be lost, or overwritten by another leader's entry.
pub const ALMADIA_EVENT_PROPOSED: almadia_event = 1;
/// The write is on the disks of a majority and its outcome is settled: it is applied, or refused for a reason that
/// its completion gives. Reads need not show it before its completion.
pub const ALMADIA_EVENT_COMMITTED: almadia_event = 2;

/// Called for an event of a write, where its completion is delivered too: on the thread "almadia-cb" by the rules
/// of callbacks, or inside almadia_cq_pop. ALMADIA_EVENT_PROPOSED, ALMADIA_EVENT_COMMITTED and the completion of
/// one write come in this order, each event at most once and none after the completion, which comes in any case. An
/// event that was not asked for, did not happen or was not seen by this member is left out. Each returns before the next one
/// begins, and before the completion can be popped, also when several threads pop one queue. The position of
/// ALMADIA_EVENT_PROPOSED is provisional: after a change of leader the write may have another one, which the
/// completion gives. `user` is the event_user of the options.
pub type almadia_event_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, event: almadia_event, position: almadia_position)>;

/// How to write a batch, or one put or delete. Begin with ALMADIA_WRITE_OPTIONS_INIT; NULL means the same.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_write_options {
    /// sizeof(almadia_write_options).
    pub struct_size: usize,
    /// Milliseconds after which the call completes in any case; 0 means the option write.timeout_ms.
    pub timeout_ms: u64,
    /// The events to report, added; 0 for none. For the _async functions only. They happen while this member leads
    /// the region: a write that it forwards to the leader has none.
    pub events: almadia_event,
    /// Must be 0.
    pub reserved: u32,
    /// Called for each of them; must not be NULL unless `events` is 0.
    pub on_event: almadia_event_callback,
    /// Passed to on_event as it is. The library never dereferences it; it must be valid until the write completes,
    /// and what it points to may be freed then.
    pub event_user: *mut c_void,
    /// Receives, on ALMADIA_OK, the version that the write gave to all keys that it set, as almadia_value_version
    /// describes it; 0 for a batch without operations. NULL if unwanted. For the calls that wait only: an _async call
    /// says it with almadia_completion_version.
    pub version: *mut u64,
    /// Receives, on ALMADIA_OK and when almadia_pop or almadia_take_first found nothing, what the write tells: its version and position, the condition that was false if the
    /// other list of the batch was applied, and the results of its operations; free it with almadia_written_free. NULL
    /// after any failure. NULL if unwanted. For the calls that wait only: an _async call has
    /// almadia_completion_take_written.
    pub written: *mut *mut almadia_written,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers, pointers and an optional function, all of which may
// be NULL.
unsafe impl Extensible for almadia_write_options {
    const NAME: &'static str = "write_options";
    const FIRST_SIZE: usize = offset_of!(Self, events);
}

/// The caller's function for events.
struct Listener {
    on_event: unsafe extern "C" fn(*mut c_void, almadia_event, almadia_position),
    user: *mut c_void,
}

// SAFETY: the caller promises that its function may run on another thread than the one that submits, with `user`, which
// nobody here follows: on the completion thread, or on a thread that pops from the call's queue.
unsafe impl Send for Listener {}
// SAFETY: as above; one call at a time, and none beside or after the completion (`completion/ordered.rs`).
unsafe impl Sync for Listener {}

impl Listener {
    fn tell(&self, event: WriteEvent, position: Position) {
        let event = match event {
            WriteEvent::Proposed => ALMADIA_EVENT_PROPOSED,
            WriteEvent::Committed => ALMADIA_EVENT_COMMITTED,
        };
        thread_sanitizer::acquire(self.user);
        // SAFETY: whoever made this was promised that it may be called until the completion of its write.
        unsafe { (self.on_event)(self.user, event, position.into()) };
        // The next event, or the completion, may be on another thread.
        thread_sanitizer::release(self.user);
    }
}

/// The Rust form of a caller's options. The default is what NULL means.
#[derive(Default)]
pub(super) struct Options {
    write: WriteOptions,
    /// The events that are wanted, and who hears of them.
    listening: Option<(Events, Listener)>,
}

/// The Rust form of the options of an _async call.
///
/// # Safety
/// `options` is NULL or points to a struct of `struct_size` bytes; its event callback may be called until the write is
/// completed.
pub(super) unsafe fn async_options(options: *const almadia_write_options) -> Result<Options> {
    // SAFETY: passed on to the caller.
    let options = unsafe { extensible::read_or_default(options) }?;
    if options.version.is_null() && options.written.is_null() {
        return checked(&options);
    }
    let detail = "almadia_write_options.version and .written are of calls that wait; the completion of an _async call has \
                  almadia_completion_version and almadia_completion_take_written";
    Err(Error::with_detail(Code::InvalidArgument, detail))
}

/// As [`async_options`], for a call that has no events.
///
/// # Safety
/// As [`async_options`].
pub(super) unsafe fn async_write_options(options: *const almadia_write_options) -> Result<WriteOptions> {
    // SAFETY: passed on to the caller.
    match unsafe { async_options(options) }? {
        Options { write, listening: None } => Ok(write),
        Options { listening: Some(_), .. } => {
            let detail = "almadia_write_options.events is not for the commit of a transaction";
            Err(Error::with_detail(Code::InvalidArgument, detail))
        }
    }
}

/// The options of a write whose caller waits for it, and what it wants to be told.
pub(super) struct Waiting {
    write: WriteOptions,
    version: ValueSlot<u64>,
    written: Option<HandleSlot<almadia_written>>,
}

impl Waiting {
    /// Checks the caller's options.
    ///
    /// # Safety
    /// `options` is NULL or points to a struct of `struct_size` bytes; its `version` and `written` are NULL or writable
    /// during the call.
    pub(super) unsafe fn read(options: *const almadia_write_options) -> Result<Self> {
        // SAFETY: passed on to the caller.
        let options = unsafe { extensible::read_or_default(options) }?;
        // SAFETY: passed on to the caller.
        let (version, written) =
            unsafe { (ValueSlot::optional(options.version), HandleSlot::optional(options.written)) };
        match checked(&options)? {
            Options { write, listening: None } => Ok(Self { write, version, written }),
            Options { listening: Some(_), .. } => {
                let detail = "almadia_write_options.events needs the _async form of the call";
                Err(Error::with_detail(Code::InvalidArgument, detail))
            }
        }
    }

    /// Writes a batch that `build` makes, waits, and tells the caller what it asked for.
    pub(super) fn write(
        self,
        store: &almadia_store,
        build: impl FnOnce(&mut Batch) -> Result<()>,
    ) -> Result<Reply> {
        boundary::may_block()?;
        let mut batch = Batch::new();
        build(&mut batch)?;
        let reply = store.store.write(&mut batch, &self.write)?;
        self.tell(&reply);
        Ok(reply)
    }

    /// Does what is asked, and tells the caller of it.
    pub(super) fn commit(self, commit: impl FnOnce(&WriteOptions) -> Result<Reply>) -> Result<almadia_code> {
        let reply = commit(&self.write)?;
        self.tell(&reply);
        Ok(ALMADIA_OK)
    }

    fn tell(self, reply: &Reply) {
        self.version.put(reply.version.get());
        if let Some(written) = self.written {
            written.put(almadia_written::new(reply.clone()));
        }
    }

    /// Tells the caller of a write where it is, and what else it asked for.
    fn answer(self, reply: &Reply, position: &ValueSlot<almadia_position>) -> almadia_code {
        position.put(reply.position.into());
        self.tell(reply);
        ALMADIA_OK
    }
}

/// The Rust form of the caller's options, but for what it wants to be told.
fn checked(options: &almadia_write_options) -> Result<Options> {
    let unknown = options.events & !(ALMADIA_EVENT_PROPOSED | ALMADIA_EVENT_COMMITTED);
    if unknown != 0 || options.reserved != 0 {
        let detail = format!("almadia_write_options asks for events {unknown:#x}, or reserved is not 0");
        return Err(Error::with_detail(Code::Unsupported, detail));
    }
    let (wanted, timeout) = (|event| options.events & event != 0, timeout(options.timeout_ms));
    let write = WriteOptions { timeout };
    if options.events == 0 {
        return Ok(Options { write, listening: None });
    }
    let events =
        Events { proposed: wanted(ALMADIA_EVENT_PROPOSED), committed: wanted(ALMADIA_EVENT_COMMITTED) };
    let on_event = options.on_event.ok_or_else(|| null("almadia_write_options.on_event"))?;
    thread_sanitizer::release(options.event_user);
    let listener = Listener { on_event, user: options.event_user };
    Ok(Options { write, listening: Some((events, listener)) })
}

/// A timeout of an options struct, where 0 leaves the choice to the configuration.
pub(super) fn timeout(timeout_ms: u64) -> Option<Duration> {
    (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms))
}

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
        let reply = store.store.write(&mut batch.batch, &waiting.write)?;
        Ok(waiting.answer(&reply, &position))
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
        let reply = store.store.put_with(key, value, &waiting.write)?;
        Ok(waiting.answer(&reply, &position))
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
        let reply = store.store.delete_with(key, &waiting.write)?;
        Ok(waiting.answer(&reply, &position))
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
