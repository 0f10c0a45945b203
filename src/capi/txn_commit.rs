//! How C commits a transaction, and runs a function until one commits.
//!
//! Owns both calls. What always holds: a transaction is over after its commit, whatever came of it; `almadia_transact`
//! tries again only what was certainly not applied.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::done::{Done, almadia_done};
use super::handle::{in_process, null};
use super::store::almadia_store;
use super::txn::{almadia_txn, handle};
use super::txn_begin::{almadia_txn_options, txn_options};
use super::write_options::{Waiting, almadia_write_options, async_write_options};
use crate::store::transaction::retry::{Tried, commit_before};

/// Commits a transaction and waits: all that it wrote takes effect, at one place in the log of its region, provided that
/// all that it had read is still so. One that wrote nothing costs no entry of the log when it began linearizable: what it
/// read was so then. The transaction is over, whatever came of it, unless an argument was wrong or the call was refused in a
/// callback; free it. `options` may be NULL.
///
/// Blocks: yes, for the timeout at most. Threads: one at a time. Codes: ALMADIA_CONFLICT (certainly not applied;
/// almadia_error_conflict tells what was changed), ALMADIA_TOO_LARGE (also when an iterator of it ended so), those of
/// almadia_write, ALMADIA_INVALID_ARGUMENT (it was committed before), ALMADIA_IO, ALMADIA_CORRUPTION.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `options` is NULL or points to `struct_size` readable bytes,
/// and its outputs are NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_commit(
    txn: *mut almadia_txn,
    options: *const almadia_write_options,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its outputs are NULL or writable.
        let waiting = unsafe { Waiting::read(options) }?;
        // SAFETY: `txn` is NULL or live, and no other call uses it.
        let txn = unsafe { handle(txn) }?;
        boundary::may_block()?;
        let transaction = txn.take()?;
        waiting.run(|options| transaction.commit(options))?;
        Ok(ALMADIA_OK)
    })
}

/// Starts almadia_txn_commit and returns. The completion has its code, the version and position of the write, and with
/// ALMADIA_CONFLICT an error for almadia_error_conflict. The transaction is over when this returns, also after a failure,
/// unless an argument was wrong; free it at any time. `options` may be NULL, and has no events.
///
/// Blocks: no (it may read from the disk again what the transaction has iterated over). Threads: one at a time; callbacks
/// too. Codes: as almadia_write_async; ALMADIA_TOO_LARGE, ALMADIA_IO and ALMADIA_CORRUPTION as almadia_txn_commit,
/// ALMADIA_INVALID_ARGUMENT (it was committed before, or began in another store).
///
/// # Safety
/// `store` is NULL or live; `txn` is NULL or live, and no other call uses it meanwhile; `options` is NULL or points to
/// `struct_size` readable bytes; `done` is NULL or points to `struct_size` readable bytes: its callback may be called once,
/// on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_commit_async(
    store: *mut almadia_store,
    txn: *mut almadia_txn,
    options: *const almadia_write_options,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes.
        let options = unsafe { async_write_options(options) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        // SAFETY: `txn` is NULL or live, and no other call uses it.
        let prepared = unsafe { handle(txn) }?.take()?.prepare()?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.submit_commit(prepared, &options, |answer| receiver.answer(answer))
        })
    })
}

/// What almadia_transact runs, on its caller's thread, perhaps more than once: it reads and writes through `txn`, which it
/// neither commits nor frees, and returns ALMADIA_OK to have it committed. With any other number nothing is applied. What
/// it does beside the transaction happens each time. It must return, not jump or throw.
pub type almadia_txn_body =
    Option<unsafe extern "C" fn(user: *mut c_void, txn: *mut almadia_txn) -> almadia_code>;

/// Runs `body` in a transaction and commits it, again and again until nothing that it has read was changed meanwhile, with
/// random pauses of up to 100 ms that grow. `options` may be NULL. `user` is passed to the body as it is.
///
/// Blocks: yes, for the timeout at most, and as long as the body does. Threads: any number at once. Codes: what the body
/// returned, if that was not ALMADIA_OK (without an error object); ALMADIA_CONFLICT (the time is up; certainly not
/// applied); those of almadia_txn_begin and almadia_txn_commit. An unknown outcome (category 4) is not tried again.
///
/// # Safety
/// `store` is NULL or live; `options` is NULL or points to `struct_size` readable bytes, and its key is NULL or has its
/// length; `body` is NULL or may be called on this thread with `user`, and returns; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_transact(
    store: *mut almadia_store,
    options: *const almadia_txn_options,
    body: almadia_txn_body,
    user: *mut c_void,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its key has its length.
        let options = unsafe { txn_options(options) }?;
        let body = body.ok_or_else(|| null("body"))?;
        boundary::may_block()?;
        store.store.transact_until_over(&options, |transaction, deadline| {
            let mut txn = almadia_txn::lent(transaction);
            // SAFETY: the caller promises that the body may be called, and it uses `txn` only until it returns.
            let code = unsafe { body(user, &raw mut txn) };
            match txn.reclaim() {
                Err(error) => Tried::Over(Err(error)),
                Ok(_) if code != ALMADIA_OK => Tried::Over(Ok(code)),
                Ok(transaction) => Tried::of(commit_before(transaction, deadline), ALMADIA_OK),
            }
        })
    })
}
