//! Handing leadership over.
//!
//! Owns the C view of leader transfers. How a leader hands over is left to the core.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::done::{Done, almadia_done};
use super::extensible::{self, Extensible};
use super::handle::in_process;
use super::store::almadia_store;
use super::write_options::timeout;
use crate::error::Result;
use crate::store::transfer::TransferOptions;
use crate::types::NodeId;

/// How to hand over leadership. Begin with ALMADIA_LEADER_TRANSFER_OPTIONS_INIT; NULL means the same. The bytes are
/// copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_leader_transfer_options {
    /// sizeof(almadia_leader_transfer_options).
    pub struct_size: usize,
    /// Milliseconds after which the call completes in any case; 0 means the option write.timeout_ms.
    pub timeout_ms: u64,
    /// The number of the member that is to lead; 0 leaves the choice to the leader, which takes the voter that has
    /// the least to catch up.
    pub target: u64,
    /// Any key of the region whose leadership is handed over. With one region it does not matter.
    pub key: *const c_void,
    /// Its length in bytes; 0 means the first region.
    pub key_length: usize,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and a pointer, which may be NULL.
unsafe impl Extensible for almadia_leader_transfer_options {
    const NAME: &'static str = "leader_transfer_options";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// The Rust form of the caller's options.
///
/// # Safety
/// `options` is NULL or points to a struct of `struct_size` bytes, whose key has its stated length.
unsafe fn transfer_options(options: *const almadia_leader_transfer_options) -> Result<TransferOptions> {
    // SAFETY: passed on to the caller.
    let options = unsafe { extensible::read_or_default(options) }?;
    // SAFETY: passed on to the caller.
    let key = unsafe { bytes(options.key, options.key_length, "almadia_leader_transfer_options.key") }?;
    let target = (options.target > 0).then_some(NodeId(options.target));
    Ok(TransferOptions { target, key: key.to_vec(), timeout: timeout(options.timeout_ms) })
}

/// Hands the leadership of a region over to another member and waits until that member leads. Only the member that
/// leads the region can do it, so call it there (see almadia_status.role, or almadia_store_region_at for each
/// region). Nothing is lost and nobody needs to be told: writes that come meanwhile, on any member, wait and go to
/// the new leader. When the target leads already, the call succeeds. A shutdown with enough time hands over by
/// itself.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once; one transfer of a region at a time. Codes:
/// ALMADIA_NOT_LEADER (this member does not lead the region, or another member than the target took over;
/// almadia_error_leader has the leader), ALMADIA_NO_LEADER, ALMADIA_TRANSFER_IN_PROGRESS (another transfer is in
/// progress), ALMADIA_LAGGING (the target is too far behind; without a target: every other member is),
/// ALMADIA_INVALID_ARGUMENT (the target is no voter of the region; without a target: there is no other voter;
/// struct_size), ALMADIA_TIMEOUT (the target did not take over within the timeout or an election timeout, whichever is
/// shorter; it may still do so), ALMADIA_OVERLOADED, ALMADIA_CLOSED, ALMADIA_SHUTDOWN_IN_FLIGHT,
/// ALMADIA_FAILED_IN_FLIGHT, ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_UNSUPPORTED (a field
/// of `options` that this version does not know).
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its key is NULL or has
/// its length; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_leader_transfer(
    store: *mut almadia_store,
    options: *const almadia_leader_transfer_options,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its key has its length.
        let options = unsafe { transfer_options(options) }?;
        boundary::may_block()?;
        store.store.transfer_leader(&options)?;
        Ok(ALMADIA_OK)
    })
}

/// Starts handing leadership over and returns. On ALMADIA_OK the call will complete exactly once, with index and
/// term 0; after a failure there will be no completion.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_OVERLOADED, ALMADIA_CLOSED,
/// ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_UNSUPPORTED (a field of `options` that this version does not know),
/// ALMADIA_INVALID_ARGUMENT (struct_size). The completion has the other codes: those of almadia_leader_transfer.
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its key is NULL or has
/// its length; `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on another
/// thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_leader_transfer_async(
    store: *mut almadia_store,
    options: *const almadia_leader_transfer_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its key has its length.
        let options = unsafe { transfer_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.transfer_leader(&options, |answer| receiver.answer(answer))
        })
    })
}
