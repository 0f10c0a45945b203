//! `almadia_txn`: reads and writes that take effect together.
//!
//! Owns the handle, and what a program reads and writes through it. What always holds: nothing here waits for another
//! member; after the commit, or in a child process, every call is refused. How a transaction is begun and committed is in
//! `txn_begin` and `txn_commit`.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::bytes;
use super::handle::{Boxed, HandleSlot, ProcessBound, ProcessId, exclusive, taken_in_process};
use super::iter::{almadia_iter, almadia_iter_options, iter_options};
use super::value::almadia_value;
use crate::error::{Code, Error, Result};
use crate::store::snapshot::IterOptions;
use crate::store::transaction::{Transaction, TransactionIter, TransactionValue};

/// Reads and writes that take effect together, as if nothing else happened in between, or not at all. It sees the data as
/// they were when it began, and its own writes over them; nothing of it can be seen before it is committed. It is about one
/// region.
///
/// When it is committed all that it has read must be unchanged, else it is refused with ALMADIA_CONFLICT and certainly not
/// applied: begin it again, which almadia_transact does. Read is a key that was asked for, whether or not it exists, and
/// all that was really walked over by an iterator, gaps too. What is read by the _exempt calls may be changed.
///
/// Limits, beyond which its calls answer ALMADIA_TOO_LARGE: 2,048 keys and separate ranges read, 65,536 keys or 64 MiB
/// iterated over, 32,768 keys and ranges written, and what a batch may have, 8 MiB.
///
/// One thread at a time may use it, and its iterators with it. It keeps what a snapshot keeps until it is committed or
/// freed, so it should be short. It may outlive the store.
pub struct almadia_txn {
    /// None once it was committed.
    transaction: Option<Transaction>,
    /// C only uses it until a function of its own returns: it neither commits nor frees it.
    is_lent: bool,
    process: ProcessId,
}

impl Boxed for almadia_txn {}

impl ProcessBound for almadia_txn {
    fn process(&self) -> ProcessId {
        self.process
    }
}

impl almadia_txn {
    pub(super) fn new(transaction: Transaction) -> Self {
        Self { transaction: Some(transaction), is_lent: false, process: ProcessId::current() }
    }

    /// One that C only uses until a function of its own returns.
    pub(super) fn lent(transaction: Transaction) -> Self {
        Self { is_lent: true, ..Self::new(transaction) }
    }

    /// Ends its use, for the commit.
    pub(super) fn take(&mut self) -> Result<Transaction> {
        if self.is_lent {
            let detail = "almadia_transact commits this transaction once its body returns";
            return Err(Error::with_detail(Code::InvalidArgument, detail));
        }
        self.transaction.take().ok_or_else(over)
    }

    /// Ends its use after it was lent. In a child process that the body made, and returned in, it is left as it is: it has
    /// locks that threads hold that are not there.
    pub(super) fn reclaim(mut self) -> Result<Transaction> {
        if let Err(error) = self.process.check() {
            std::mem::forget(self);
            return Err(error);
        }
        self.transaction.take().ok_or_else(over)
    }
}

fn over() -> Error {
    Error::with_detail(Code::InvalidArgument, "the transaction was committed")
}

/// The transaction of a handle that no other call uses.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile.
unsafe fn open<'a>(txn: *mut almadia_txn) -> Result<&'a mut Transaction> {
    // SAFETY: passed on to the caller.
    let txn = unsafe { handle(txn) }?;
    txn.transaction.as_mut().ok_or_else(over)
}

/// A handle that no other call uses.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile.
pub(super) unsafe fn handle<'a>(txn: *mut almadia_txn) -> Result<&'a mut almadia_txn> {
    // SAFETY: passed on to the caller.
    let txn = unsafe { exclusive(txn, "txn") }?;
    txn.process.check()?;
    Ok(txn)
}

/// Reads one key, and it must be unchanged when the transaction is committed. `value` receives the handle; free it with
/// almadia_value_free. It stays valid after the transaction.
///
/// Blocks: no (it may read from the disk). Threads: one at a time; callbacks too. Codes: ALMADIA_NOT_FOUND (the key does
/// not exist; without an error object), ALMADIA_BATCH_ACROSS_REGIONS (it is in another region), ALMADIA_TOO_LARGE,
/// ALMADIA_INVALID_ARGUMENT (the transaction was committed), ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable bytes;
/// `value` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_get(
    txn: *mut almadia_txn,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: all pointers are as `get` wants them.
        unsafe { get(txn, key, key_length, value, Transaction::get) }
    })
}

/// As almadia_txn_get, and the key may be changed before the commit.
///
/// Blocks: no (it may read from the disk). Threads: one at a time; callbacks too. Codes: as almadia_txn_get.
///
/// # Safety
/// As `almadia_txn_get`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_get_exempt(
    txn: *mut almadia_txn,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: all pointers are as `get` wants them.
        unsafe { get(txn, key, key_length, value, Transaction::get_exempt) }
    })
}

/// Reads one key with `look`.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable bytes;
/// `value` is NULL or writable.
unsafe fn get(
    txn: *mut almadia_txn,
    key: *const c_void,
    key_length: usize,
    value: *mut *mut almadia_value,
    look: fn(&Transaction, &[u8]) -> Result<Option<TransactionValue>>,
) -> Result<almadia_code> {
    // SAFETY: `value` is NULL or writable.
    let slot = unsafe { HandleSlot::new(value, "value") }?;
    // SAFETY: `txn` is NULL or live, and no other call uses it.
    let transaction = unsafe { open(txn) }?;
    // SAFETY: `key` is NULL or points to `key_length` readable bytes.
    let key = unsafe { bytes(key, key_length, "key") }?;
    let Some(found) = look(transaction, key)? else { return Ok(Code::NotFound.number()) };
    slot.put(almadia_value::of_transaction(found));
    Ok(ALMADIA_OK)
}

/// Makes an iterator over what the transaction sees between the bounds of `options` (NULL: all keys), used as one of a
/// snapshot is (almadia_iter_first and so on). It also shows writes that are made while it iterates, where it has not been
/// yet; the pair it is at stays as it was, so the current key may be deleted. What it walks over must be unchanged when
/// the transaction is committed. It ends with the transaction: almadia_iter_code is ALMADIA_INVALID_ARGUMENT then.
///
/// `iter` receives the handle; free it with almadia_iter_free. Blocks: no. Threads: one at a time; callbacks too. Codes:
/// ALMADIA_BATCH_ACROSS_REGIONS (a bound is in another region, or there is none where the region has a border),
/// ALMADIA_INVALID_ARGUMENT (struct_size, the transaction was committed), ALMADIA_UNSUPPORTED (a field that this version
/// does not know), ALMADIA_FORKED. almadia_iter_code may be ALMADIA_TOO_LARGE.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `options` is NULL or points to `struct_size` readable bytes,
/// and its keys are NULL or have their lengths; `iter` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_iter(
    txn: *mut almadia_txn,
    options: *const almadia_iter_options,
    iter: *mut *mut almadia_iter,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: all pointers are as `iterate` wants them.
        unsafe { iterate(txn, options, iter, Transaction::iter) }
    })
}

/// As almadia_txn_iter, and what it walks over may be changed before the commit.
///
/// `iter` receives the handle; free it with almadia_iter_free. Blocks: no. Threads: one at a time; callbacks too. Codes:
/// as almadia_txn_iter.
///
/// # Safety
/// As `almadia_txn_iter`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_iter_exempt(
    txn: *mut almadia_txn,
    options: *const almadia_iter_options,
    iter: *mut *mut almadia_iter,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: all pointers are as `iterate` wants them.
        unsafe { iterate(txn, options, iter, Transaction::iter_exempt) }
    })
}

/// Makes an iterator with `walk`.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `options` is NULL or points to `struct_size` readable bytes,
/// and its keys are NULL or have their lengths; `iter` is NULL or writable.
unsafe fn iterate(
    txn: *mut almadia_txn,
    options: *const almadia_iter_options,
    iter: *mut *mut almadia_iter,
    walk: fn(&Transaction, IterOptions) -> Result<TransactionIter>,
) -> Result<almadia_code> {
    // SAFETY: `iter` is NULL or writable.
    let slot = unsafe { HandleSlot::new(iter, "iter") }?;
    // SAFETY: `txn` is NULL or live, and no other call uses it.
    let transaction = unsafe { open(txn) }?;
    // SAFETY: `options` is NULL or points to `struct_size` readable bytes, and its keys have their lengths.
    let options = unsafe { iter_options(options) }?;
    slot.put(almadia_iter::of_transaction(walk(transaction, options)?));
    Ok(ALMADIA_OK)
}

/// Sets `key` to `value` when the transaction is committed; the transaction sees it from now on. All bytes are copied.
///
/// Blocks: no. Threads: one at a time; callbacks too. Codes: ALMADIA_BATCH_ACROSS_REGIONS (the key is in another region),
/// ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (the transaction was committed), ALMADIA_FORKED.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `key` and `value` are NULL or point to `key_length` and
/// `value_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_put(
    txn: *mut almadia_txn,
    key: *const c_void,
    key_length: usize,
    value: *const c_void,
    value_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `txn` is NULL or live, and no other call uses it.
        let transaction = unsafe { open(txn) }?;
        // SAFETY: `key` and `value` are NULL or point to bytes of their stated lengths.
        let (key, value) = unsafe { (bytes(key, key_length, "key")?, bytes(value, value_length, "value")?) };
        transaction.put(key, value)?;
        Ok(ALMADIA_OK)
    })
}

/// Removes `key` when the transaction is committed, if it exists then; the transaction does not see it any more.
///
/// Blocks: no. Threads: one at a time; callbacks too. Codes: as almadia_txn_put.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `key` is NULL or points to `key_length` readable bytes;
/// `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_delete(
    txn: *mut almadia_txn,
    key: *const c_void,
    key_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `txn` is NULL or live, and no other call uses it.
        let transaction = unsafe { open(txn) }?;
        // SAFETY: `key` is NULL or points to `key_length` readable bytes.
        transaction.delete(unsafe { bytes(key, key_length, "key") }?)?;
        Ok(ALMADIA_OK)
    })
}

/// Removes every key from `begin` up to but not including `end` when the transaction is committed, also those that it does
/// not see. An `end` of length 0 is the end of all keys.
///
/// Blocks: no. Threads: one at a time; callbacks too. Codes: as almadia_txn_put; ALMADIA_INVALID_ARGUMENT too when `begin`
/// is after `end`.
///
/// # Safety
/// `txn` is NULL or live, and no other call uses it meanwhile; `begin` and `end` are NULL or point to `begin_length` and
/// `end_length` readable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_txn_delete_range(
    txn: *mut almadia_txn,
    begin: *const c_void,
    begin_length: usize,
    end: *const c_void,
    end_length: usize,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `txn` is NULL or live, and no other call uses it.
        let transaction = unsafe { open(txn) }?;
        // SAFETY: `begin` and `end` are NULL or point to bytes of their stated lengths.
        let (begin, end) = unsafe { (bytes(begin, begin_length, "begin")?, bytes(end, end_length, "end")?) };
        transaction.delete_range(begin, end)?;
        Ok(ALMADIA_OK)
    })
}

/// Frees a transaction; one that was not committed has no effect. NULL is fine. Its values stay valid, its iterators are
/// freed by themselves. It does nothing in a child process, and to the transaction of an almadia_txn_body.
///
/// Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
///
/// # Safety
/// `txn` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_txn_free(txn: *mut almadia_txn) {
    boundary::release(|| {
        // SAFETY: `txn` is NULL or live.
        if unsafe { txn.as_ref() }.is_some_and(|txn| txn.is_lent) {
            return;
        }
        // SAFETY: `txn` is NULL or live, C owns it, and it is not used again.
        drop(unsafe { taken_in_process(txn) });
    });
}
