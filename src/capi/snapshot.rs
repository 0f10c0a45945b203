//! `almadia_snapshot`: the data of a store at one point in time.
//!
//! Owns the handle, and how it is copied and freed. What always holds: a snapshot keeps the engine it reads alive, so
//! it may outlive the store it came from. How it is opened is in `snapshot_open`.

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::handle::{Boxed, HandleSlot, ProcessBound, ProcessId, in_process, taken_in_process};
use crate::completion::Position;
use crate::store::snapshot::Snapshot;

/// The data of a store at one point in time. Any number of threads may use it at once. It may outlive the store; it
/// pins memory and files until it is freed.
pub struct almadia_snapshot {
    pub(super) snapshot: Snapshot,
    process: ProcessId,
}

impl almadia_snapshot {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, process: ProcessId::current() }
    }

    fn position(&self) -> Position {
        self.snapshot.position()
    }
}

impl Boxed for almadia_snapshot {}

impl ProcessBound for almadia_snapshot {
    fn process(&self) -> ProcessId {
        self.process
    }
}

/// The log index up to which the snapshot shows the log. 0 for NULL, and for a snapshot over several regions, each
/// of which has its own log.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `snapshot` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_snapshot_index(snapshot: *const almadia_snapshot) -> u64 {
    // SAFETY: `snapshot` is NULL or live.
    boundary::value(0, || unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.position().index.get()))
}

/// The raft term of the entry at almadia_snapshot_index. 0 for NULL and for a snapshot over several regions.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `snapshot` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_snapshot_term(snapshot: *const almadia_snapshot) -> u64 {
    // SAFETY: `snapshot` is NULL or live.
    boundary::value(0, || unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.position().term.get()))
}

/// Makes a second handle to the same snapshot, to be freed by itself. Cheap: nothing is copied.
///
/// `clone` receives the handle; free it with almadia_snapshot_free. Blocks: no. Threads: any number at once. Codes:
/// ALMADIA_FORKED.
///
/// # Safety
/// `snapshot` is NULL or live; `clone` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_snapshot_clone(
    snapshot: *const almadia_snapshot,
    clone: *mut *mut almadia_snapshot,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `clone` is NULL or writable.
        let slot = unsafe { HandleSlot::new(clone, "clone") }?;
        // SAFETY: `snapshot` is NULL or live.
        let snapshot = unsafe { in_process(snapshot, "snapshot") }?;
        slot.put(almadia_snapshot::new(snapshot.snapshot.clone()));
        Ok(ALMADIA_OK)
    })
}

/// Frees a snapshot. NULL is fine. Its values and iterators stay valid. In a child process it does nothing.
///
/// Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
///
/// # Safety
/// `snapshot` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_snapshot_free(snapshot: *mut almadia_snapshot) {
    // SAFETY: `snapshot` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken_in_process(snapshot) }));
}
