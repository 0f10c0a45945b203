//! How C begins a transaction.
//!
//! Owns its options, and the calls that begin one, waiting or not.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::done::{Done, almadia_done};
use super::extensible::{self, Extensible};
use super::handle::{HandleSlot, in_process};
use super::snapshot_open::{almadia_level, level};
use super::store::almadia_store;
use super::txn::almadia_txn;
use super::write_options::timeout;
use crate::error::{Code, Error, Result};
use crate::store::transaction::TransactionOptions;

/// How to begin a transaction. Begin with ALMADIA_TXN_OPTIONS_INIT; NULL means the same. The bytes are copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_txn_options {
    /// sizeof(almadia_txn_options).
    pub struct_size: usize,
    /// Milliseconds after which its beginning completes in any case; 0 means the option read.timeout_ms. For
    /// almadia_transact the time for everything; 0 means the option write.timeout_ms.
    pub timeout_ms: u64,
    /// What it sees: 0 is ALMADIA_LEVEL_LINEARIZABLE. ALMADIA_LEVEL_LOCAL saves the question whether this member is up to
    /// date, so it is more likely to be refused; what it commits is no weaker. Of almadia_transact only the first try sees
    /// so.
    pub level: almadia_level,
    /// Must be 0.
    pub reserved: i32,
    /// Any key of the region in which all its keys are.
    pub key: *const c_void,
    /// Its length in bytes; 0 means the first region, in most stores the only one.
    pub key_length: usize,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers, which may be NULL.
unsafe impl Extensible for almadia_txn_options {
    const NAME: &'static str = "txn_options";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// The Rust form of the caller's options.
///
/// # Safety
/// `options` is NULL or points to a struct of `struct_size` bytes, whose key has its stated length.
pub(super) unsafe fn txn_options(options: *const almadia_txn_options) -> Result<TransactionOptions> {
    // SAFETY: passed on to the caller.
    let options = unsafe { extensible::read_or_default(options) }?;
    // SAFETY: passed on to the caller.
    let key = unsafe { bytes(options.key, options.key_length, "almadia_txn_options.key") }?;
    if options.reserved != 0 {
        return Err(Error::with_detail(Code::Unsupported, "almadia_txn_options.reserved must be 0"));
    }
    let (timeout, level) = (timeout(options.timeout_ms), level(options.level)?);
    Ok(TransactionOptions { timeout, level, key: key.to_vec() })
}

/// Begins a transaction, and waits until it has its view of the data: as almadia_snapshot_open takes one. `options` may be
/// NULL.
///
/// `txn` receives the handle; free it with almadia_txn_free. Blocks: yes, for the timeout at most. Threads: any number at
/// once. Codes: those of almadia_snapshot_open.
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its key is NULL or has its
/// length; `txn` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_begin(
    store: *mut almadia_store,
    options: *const almadia_txn_options,
    txn: *mut *mut almadia_txn,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `txn` is NULL or writable.
        let slot = unsafe { HandleSlot::new(txn, "txn") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its key has its length.
        let options = unsafe { txn_options(options) }?;
        boundary::may_block()?;
        slot.put(almadia_txn::new(store.store.begin(&options)?));
        Ok(ALMADIA_OK)
    })
}

/// Starts almadia_txn_begin and returns. The completion holds the transaction (almadia_completion_take_txn). `options` may
/// be NULL.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_snapshot_open_async.
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its key is NULL or has its
/// length; `done` is NULL or points to `struct_size` readable bytes: its callback may be called once, on another thread,
/// its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_begin_async(
    store: *mut almadia_store,
    options: *const almadia_txn_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its key has its length.
        let options = unsafe { txn_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.begin(&options, |answer| receiver.answer(answer))
        })
    })
}
