//! How C opens a snapshot.
//!
//! Owns the levels and options of a snapshot, and the calls that take one, waiting or not.

use std::ffi::c_void;
use std::mem::offset_of;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::done::{Done, almadia_done};
use super::extensible::{self, Extensible};
use super::handle::{HandleSlot, in_process};
use super::snapshot::almadia_snapshot;
use super::store::almadia_store;
use super::write_options::timeout;
use crate::error::{Code, Error, Result};
use crate::regions::KeyRange;
use crate::store::snapshot::{Level, SnapshotOptions};

/// The guarantee of a snapshot: one of the ALMADIA_LEVEL_... constants.
pub type almadia_level = i32;

/// It shows every write that any member acknowledged before the snapshot was asked for, and the writes of a region
/// in one order. Over several regions there is no such order: see almadia_snapshot_open.
pub const ALMADIA_LEVEL_LINEARIZABLE: almadia_level = 0;
/// It shows what this member has applied. It needs no other member, may lag behind, and may go back in time across
/// a restart.
pub const ALMADIA_LEVEL_LOCAL: almadia_level = 1;

/// How to take a snapshot, or to read keys without one. Begin with ALMADIA_SNAPSHOT_OPTIONS_INIT; NULL means the
/// same. The bytes are copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_snapshot_options {
    /// sizeof(almadia_snapshot_options).
    pub struct_size: usize,
    /// Milliseconds after which the call completes in any case; 0 means the option read.timeout_ms.
    pub timeout_ms: u64,
    /// Its guarantee; 0 is ALMADIA_LEVEL_LINEARIZABLE.
    pub level: almadia_level,
    /// Must be 0.
    pub reserved: i32,
    /// The first key that the snapshot shows. Every region that owns a key of the range must confirm the snapshot,
    /// so with several regions a narrow range is cheaper than all keys.
    pub start: *const c_void,
    /// Its length in bytes; 0 means the first key of all.
    pub start_length: usize,
    /// The first key after the range, which the snapshot does not show.
    pub end: *const c_void,
    /// Its length in bytes; 0 means no end.
    pub end_length: usize,
    /// With ALMADIA_LEVEL_LOCAL: wait until this member has applied its region at least up to this index, such as
    /// that of a write acknowledged by another member; 0 does not wait. ALMADIA_READ_TIMEOUT when it has not in time,
    /// also for an index beyond the end of the log. Each region has a log of its own: the index must be one of the
    /// region that is read, and the keys must lie within one region. ALMADIA_LEVEL_LINEARIZABLE shows every
    /// acknowledged write anyway and ignores it.
    pub min_index: u64,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers, which may be NULL.
unsafe impl Extensible for almadia_snapshot_options {
    const NAME: &'static str = "snapshot_options";
    const FIRST_SIZE: usize = offset_of!(Self, start);
}

/// The Rust form of the caller's options.
///
/// # Safety
/// `options` is NULL or points to a struct of `struct_size` bytes, whose keys have their stated lengths.
pub(super) unsafe fn snapshot_options(options: *const almadia_snapshot_options) -> Result<SnapshotOptions> {
    // SAFETY: passed on to the caller.
    let options = unsafe { extensible::read_or_default(options) }?;
    // SAFETY: passed on to the caller.
    let start = unsafe { bytes(options.start, options.start_length, "almadia_snapshot_options.start") }?;
    // SAFETY: passed on to the caller.
    let end = unsafe { bytes(options.end, options.end_length, "almadia_snapshot_options.end") }?;
    if options.reserved != 0 {
        return Err(Error::with_detail(Code::Unsupported, "almadia_snapshot_options.reserved must be 0"));
    }
    let (timeout, level) = (timeout(options.timeout_ms), level(options.level)?);
    let range = KeyRange { start: start.to_vec(), end: end.to_vec() };
    Ok(SnapshotOptions { timeout, level, range, min_index: options.min_index.into() })
}

pub(super) fn level(number: almadia_level) -> Result<Level> {
    match number {
        ALMADIA_LEVEL_LINEARIZABLE => Ok(Level::Linearizable),
        ALMADIA_LEVEL_LOCAL => Ok(Level::Local),
        _ => Err(Error::with_detail(Code::Unsupported, format!("there is no snapshot level {number}"))),
    }
}

/// Takes a snapshot, of all keys unless `options`, which may be NULL, has a range. It works on any member: the
/// leader asks a majority whether it still leads, a follower asks the leader. With several regions each one in the
/// range is asked, and the snapshot is one picture of this member's data, taken after all have answered.
///
/// Over several regions it is linearizable for each of them, not for all together. It shows everything that was
/// acknowledged before the call; of writes to different regions that are made during the call it may show a later
/// one and not an earlier one. So two snapshots that are taken on different members at the same time may show two
/// such writes in opposite orders. Data that must be seen in one order belongs in one region.
///
/// `snapshot` receives the handle; free it with almadia_snapshot_free. Blocks: yes, for the timeout at most.
/// Threads: any number at once. Codes: ALMADIA_READ_TIMEOUT, ALMADIA_OVERLOADED, ALMADIA_NO_LEADER, ALMADIA_CLOSED,
/// ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_UNSUPPORTED (a level or field that this
/// version does not know), ALMADIA_INVALID_ARGUMENT (struct_size, a range that ends before it starts, min_index for
/// several regions).
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its keys are NULL or
/// have their lengths; `snapshot` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_open(
    store: *mut almadia_store,
    options: *const almadia_snapshot_options,
    snapshot: *mut *mut almadia_snapshot,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `snapshot` is NULL or writable.
        let slot = unsafe { HandleSlot::new(snapshot, "snapshot") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { snapshot_options(options) }?;
        boundary::may_block()?;
        slot.put(almadia_snapshot::new(store.store.snapshot(&options)?));
        Ok(ALMADIA_OK)
    })
}

/// Starts taking a snapshot and returns. On ALMADIA_OK the call will complete exactly once, on the callback thread
/// or through the queue even when the snapshot is ready at once; the completion holds the snapshot
/// (almadia_completion_take_snapshot). After a failure there will be no completion.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_OVERLOADED, ALMADIA_CLOSED,
/// ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_UNSUPPORTED (a level or field that this version does not know),
/// ALMADIA_INVALID_ARGUMENT (struct_size, range or min_index as in almadia_snapshot_open). The completion has the
/// other codes: those of almadia_snapshot_open.
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its keys are NULL or
/// have their lengths; `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on
/// another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_open_async(
    store: *mut almadia_store,
    options: *const almadia_snapshot_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
        let options = unsafe { snapshot_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.snapshot(&options, |answer| receiver.answer(answer))
        })
    })
}
