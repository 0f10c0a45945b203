//! `almadia_completion`: the answer of an `_async` call.
//!
//! Owns what a program can ask of an answer and take out of it. What always holds: what is not taken is freed with the
//! completion; a completion that was popped from a queue belongs to the program, one of a callback does not.

use std::cell::Cell;
use std::ffi::c_void;

use super::boundary::{self, almadia_code, almadia_error};
use super::handle::{Boxed, ProcessBound, ProcessId, given_if_any, taken_in_process};
use super::snapshot::almadia_snapshot;
use super::txn::almadia_txn;
use super::value::{almadia_value, almadia_values};
use super::written::almadia_written;
use crate::completion::{Position, Reply};
use crate::effects::OpResult;
use crate::error::{Code, Error, Result};
use crate::store::snapshot::{PinnedValue, Snapshot};
use crate::store::transaction::Transaction;
use crate::store::values::Values;
use crate::types::Version;

/// The completion of one _async call. In a callback it belongs to the library, and is valid only until the callback
/// returns; popped from a queue it is yours, until almadia_completion_free. One thread at a time may use it.
pub struct almadia_completion {
    answered: Answered,
    user: *mut c_void,
    op: u64,
    process: ProcessId,
}

impl Boxed for almadia_completion {}

impl ProcessBound for almadia_completion {
    fn process(&self) -> ProcessId {
        self.process
    }
}

/// What a call was answered.
#[derive(Default)]
pub(super) struct Answered {
    code: almadia_code,
    position: Position,
    /// Of a write.
    version: Version,
    /// Belongs to the completion; C only looks at it.
    error: Option<almadia_error>,
    // Cells, because callbacks hold the completion and its error at the same time.
    snapshot: Cell<Option<almadia_snapshot>>,
    value: Cell<Option<almadia_value>>,
    values: Cell<Option<almadia_values>>,
    /// Of a write.
    written: Cell<Option<almadia_written>>,
    txn: Cell<Option<almadia_txn>>,
}

impl From<Error> for Answered {
    fn from(error: Error) -> Self {
        Self { code: error.code().number(), error: Some(almadia_error::new(error)), ..Self::default() }
    }
}

impl From<Result<Reply>> for Answered {
    fn from(answer: Result<Reply>) -> Self {
        answer.map_or_else(Self::from, |reply| Self {
            position: reply.position,
            version: reply.version,
            written: Cell::new(Some(almadia_written::new(reply))),
            ..Self::default()
        })
    }
}

impl Answered {
    /// Of a write whose only operation takes something; not found when there was nothing.
    pub(super) fn of_taking(answer: Result<Reply>) -> Self {
        let taken = match answer.as_ref().map(Reply::results) {
            Ok([(_, OpResult::Value { value, version, .. })]) => Ok((value.clone(), *version)),
            Ok(_) => Err(Code::NotFound.number()),
            Err(error) => Err(error.code().number()),
        };
        let answered = Self::from(answer);
        match taken {
            Ok((value, version)) => {
                Self { value: Cell::new(Some(almadia_value::of_bytes(value, version))), ..answered }
            }
            Err(code) => Self { code, ..answered },
        }
    }
}

impl From<Result<()>> for Answered {
    fn from(answer: Result<()>) -> Self {
        answer.map_or_else(Self::from, |()| Self::default())
    }
}

impl From<Result<Snapshot>> for Answered {
    fn from(answer: Result<Snapshot>) -> Self {
        answer.map_or_else(Self::from, |snapshot| {
            let position = snapshot.position();
            let snapshot = Cell::new(Some(almadia_snapshot::new(snapshot)));
            Self { position, snapshot, ..Self::default() }
        })
    }
}

impl From<Result<Transaction>> for Answered {
    fn from(answer: Result<Transaction>) -> Self {
        answer.map_or_else(Self::from, |transaction| {
            let position = transaction.position();
            Self { position, txn: Cell::new(Some(almadia_txn::new(transaction))), ..Self::default() }
        })
    }
}

impl From<Result<Option<PinnedValue>>> for Answered {
    fn from(answer: Result<Option<PinnedValue>>) -> Self {
        match answer {
            Ok(Some(value)) => Self { value: Cell::new(Some(almadia_value::new(value))), ..Self::default() },
            Ok(None) => Self { code: Code::NotFound.number(), ..Self::default() },
            Err(error) => Self::from(error),
        }
    }
}

impl From<Result<(Option<PinnedValue>, Position)>> for Answered {
    fn from(answer: Result<(Option<PinnedValue>, Position)>) -> Self {
        match answer {
            Ok((value, position)) => Self { position, ..Self::from(Ok(value)) },
            Err(error) => Self::from(error),
        }
    }
}

impl From<Result<Values>> for Answered {
    fn from(answer: Result<Values>) -> Self {
        answer.map_or_else(Self::from, |values| Self {
            values: Cell::new(Some(almadia_values::new(values))),
            ..Self::default()
        })
    }
}

impl almadia_completion {
    pub(super) fn new(answered: Answered, user: *mut c_void, op: u64) -> Self {
        Self { answered, user, op, process: ProcessId::current() }
    }

    fn error(&self) -> *const almadia_error {
        self.answered.error.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    }
}

/// ALMADIA_OK, or why the call failed; almadia_code_maybe_applied tells from it whether a write may have been
/// applied. For almadia_get_async, almadia_get_with_async, almadia_pop_async and
/// almadia_take_first_async ALMADIA_NOT_FOUND when there is no key. ALMADIA_NULL_POINTER for NULL.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_code(completion: *const almadia_completion) -> almadia_code {
    boundary::value(Code::Panic.number(), || {
        // SAFETY: `completion` is NULL or live.
        let Some(completion) = (unsafe { completion.as_ref() }) else { return Code::NullPointer.number() };
        completion.answered.code
    })
}

/// The log index of the write, the index up to which the snapshot shows the log, or that of the position that
/// almadia_get_with describes, also when its key does not exist. 0 after a failure, for a snapshot over several
/// regions, for almadia_get_async, almadia_multi_get_async, a leader transfer and a change of members, and for NULL.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_index(completion: *const almadia_completion) -> u64 {
    boundary::value(0, || {
        // SAFETY: `completion` is NULL or live.
        unsafe { completion.as_ref() }.map_or(0, |completion| completion.answered.position.index.get())
    })
}

/// The raft term of the entry at almadia_completion_index. 0 where that is 0.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_term(completion: *const almadia_completion) -> u64 {
    boundary::value(0, || {
        // SAFETY: `completion` is NULL or live.
        unsafe { completion.as_ref() }.map_or(0, |completion| completion.answered.position.term.get())
    })
}

/// The version that the write gave to all keys that it set, as almadia_value_version describes it. 0 after a failure,
/// for every other call, for a batch without operations, and for NULL.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_version(completion: *const almadia_completion) -> u64 {
    boundary::value(0, || {
        // SAFETY: `completion` is NULL or live.
        unsafe { completion.as_ref() }.map_or(0, |completion| completion.answered.version.get())
    })
}

/// The details of the failure; NULL after success, after ALMADIA_NOT_FOUND and for NULL. It belongs to the
/// completion and is valid as long as that; never free it.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_error(
    completion: *const almadia_completion,
) -> *const almadia_error {
    boundary::value(std::ptr::null(), || {
        // SAFETY: `completion` is NULL or live.
        unsafe { completion.as_ref() }.map_or(std::ptr::null(), almadia_completion::error)
    })
}

/// Takes the snapshot out of the completion of almadia_snapshot_open_async; free it with almadia_snapshot_free.
/// NULL after a failure, for every other call, the second time, and for NULL. A snapshot that nobody takes is freed
/// with the completion.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_completion_take_snapshot(
    completion: *mut almadia_completion,
) -> *mut almadia_snapshot {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: `completion` is NULL or live, and no other call uses it.
        let taken = unsafe { completion.as_ref() }.and_then(|completion| completion.answered.snapshot.take());
        given_if_any(taken)
    })
}

/// Takes the value out of the completion of almadia_get_async, almadia_get_with_async, almadia_pop_async or
/// almadia_take_first_async; free it with almadia_value_free. NULL after a failure, for every other call, the second time, and for NULL. A value that nobody
/// takes is freed with the completion.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_completion_take_value(
    completion: *mut almadia_completion,
) -> *mut almadia_value {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: `completion` is NULL or live, and no other call uses it.
        let taken = unsafe { completion.as_ref() }.and_then(|completion| completion.answered.value.take());
        given_if_any(taken)
    })
}

/// Takes the values out of the completion of almadia_multi_get_async; free them with almadia_values_free. NULL
/// after a failure, for every other call, the second time, and for NULL. Values that nobody takes are freed with
/// the completion.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_completion_take_values(
    completion: *mut almadia_completion,
) -> *mut almadia_values {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: `completion` is NULL or live, and no other call uses it.
        let taken = unsafe { completion.as_ref() }.and_then(|completion| completion.answered.values.take());
        given_if_any(taken)
    })
}

/// Takes what a write tells out of its completion, as almadia_write_options.written; free it with
/// almadia_written_free. NULL after a failure but ALMADIA_NOT_FOUND, for every other call, the second time, and for NULL.
/// What nobody takes is freed with the completion.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_completion_take_written(
    completion: *mut almadia_completion,
) -> *mut almadia_written {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: `completion` is NULL or live, and no other call uses it.
        let taken = unsafe { completion.as_ref() }.and_then(|completion| completion.answered.written.take());
        given_if_any(taken)
    })
}

/// Takes the transaction out of the completion of almadia_txn_begin_async; free it with almadia_txn_free. NULL after a
/// failure, for every other call, the second time, and for NULL. A transaction that nobody takes is freed with the
/// completion.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_completion_take_txn(
    completion: *mut almadia_completion,
) -> *mut almadia_txn {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: `completion` is NULL or live, and no other call uses it.
        let taken = unsafe { completion.as_ref() }.and_then(|completion| completion.answered.txn.take());
        given_if_any(taken)
    })
}

/// The `user` of the call's almadia_done. NULL for NULL.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_user(completion: *const almadia_completion) -> *mut c_void {
    boundary::value(std::ptr::null_mut(), || {
        // SAFETY: `completion` is NULL or live.
        unsafe { completion.as_ref() }.map_or(std::ptr::null_mut(), |completion| completion.user)
    })
}

/// The number that the call's almadia_done.op received; 0 when that was NULL, and for NULL.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or live, and no other call uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_op(completion: *const almadia_completion) -> u64 {
    // SAFETY: `completion` is NULL or live.
    boundary::value(0, || unsafe { completion.as_ref() }.map_or(0, |completion| completion.op))
}

/// Frees a completion that almadia_cq_pop returned, with whatever was not taken out of it. NULL is fine. Never free
/// the completion of a callback. In a child process it does nothing.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `completion` is NULL or was popped, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_completion_free(completion: *mut almadia_completion) {
    // SAFETY: `completion` is NULL or was popped, and is not used again.
    boundary::release(|| drop(unsafe { taken_in_process(completion) }));
}
