//! `almadia_write_options`: how to write, and what a caller wants to be told.
//!
//! Owns the options of every write, and where the outputs of one that waits go. What always holds: an output is written on
//! success only; a function for events is called on the threads that its struct names, never after the completion.

use std::ffi::c_void;
use std::mem::offset_of;
use std::time::Duration;

use super::boundary;
use super::extensible::{self, Extensible};
use super::handle::{HandleSlot, ValueSlot, null};
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
pub(super) struct Listener {
    on_event: unsafe extern "C" fn(*mut c_void, almadia_event, almadia_position),
    user: *mut c_void,
}

// SAFETY: the caller promises that its function may run on another thread than the one that submits, with `user`, which
// nobody here follows: on the completion thread, or on a thread that pops from the call's queue.
unsafe impl Send for Listener {}
// SAFETY: as above; one call at a time, and none beside or after the completion (`completion/ordered.rs`).
unsafe impl Sync for Listener {}

impl Listener {
    pub(super) fn tell(&self, event: WriteEvent, position: Position) {
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
    pub(super) write: WriteOptions,
    /// The events that are wanted, and who hears of them.
    pub(super) listening: Option<(Events, Listener)>,
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
        self.run(|options| store.store.write(&mut batch, options))
    }

    /// Runs a call that waits, and tells the caller what it asked for.
    pub(super) fn run(self, call: impl FnOnce(&WriteOptions) -> Result<Reply>) -> Result<Reply> {
        let reply = call(&self.write)?;
        self.tell(&reply);
        Ok(reply)
    }

    fn tell(self, reply: &Reply) {
        self.version.put(reply.version.get());
        if let Some(written) = self.written {
            written.put(almadia_written::new(reply.clone()));
        }
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
