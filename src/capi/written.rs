//! `almadia_written`: what a write tells that was applied.
//!
//! Owns the handle and its accessors. What always holds: it is a value of its own, valid until it is freed, whatever
//! happens to the store it came from; it also works in a child process.

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code};
use super::bytes::almadia_slice;
use super::extensible::{self, Extensible};
use super::handle::{Boxed, shared, taken};
use super::position::almadia_position;
use super::precondition::{self, almadia_precondition};
use crate::completion::{Position, Reply};
use crate::effects::OpResult;
use crate::error::Code;

/// What a write tells that was applied: where, which condition was false if its other list was applied, and the results
/// of its operations. It belongs to no store. Any number of threads may use it at once.
pub struct almadia_written {
    reply: Reply,
}

impl Boxed for almadia_written {}

impl almadia_written {
    pub(super) fn new(reply: Reply) -> Self {
        Self { reply }
    }
}

/// What the result of an operation is: one of the ALMADIA_RESULT_... constants.
pub type almadia_result_kind = i32;

/// There was nothing to pop or take.
pub const ALMADIA_RESULT_NOTHING: almadia_result_kind = 0;
/// The `sum` of an addition.
pub const ALMADIA_RESULT_SUM: almadia_result_kind = 1;
/// The `key` that was made, with its `version`.
pub const ALMADIA_RESULT_KEY: almadia_result_kind = 2;
/// The `key` that was popped or taken, with the `value` and `version` that it had.
pub const ALMADIA_RESULT_VALUE: almadia_result_kind = 3;

/// The result of an operation. Begin with ALMADIA_OP_RESULT_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_op_result {
    /// sizeof(almadia_op_result).
    pub struct_size: usize,
    /// The number of the operation in its batch, from 0. Conditions, almadia_batch_otherwise and the operations of both
    /// lists count.
    pub operation: u64,
    /// What it is, and so which of the next fields say something.
    pub kind: almadia_result_kind,
    /// 0.
    pub reserved: i32,
    /// The sum.
    pub sum: i64,
    /// The key. It belongs to the almadia_written.
    pub key: almadia_slice,
    /// The value. It belongs to the almadia_written.
    pub value: almadia_slice,
    /// The version.
    pub version: u64,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers.
unsafe impl Extensible for almadia_op_result {
    const NAME: &'static str = "op_result";
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl almadia_op_result {
    /// A result that lends C the bytes of `result`.
    fn lend(operation: u32, result: &OpResult, reply: &Reply) -> Self {
        let nothing = Self {
            struct_size: size_of::<Self>(),
            operation: operation.into(),
            kind: ALMADIA_RESULT_NOTHING,
            reserved: 0,
            sum: 0,
            key: almadia_slice::NONE,
            value: almadia_slice::NONE,
            version: 0,
        };
        match result {
            OpResult::Nothing => nothing,
            OpResult::Sum(sum) => Self { kind: ALMADIA_RESULT_SUM, sum: *sum, ..nothing },
            OpResult::Key(key) => Self {
                kind: ALMADIA_RESULT_KEY,
                key: almadia_slice::lend(key),
                version: reply.version.get(),
                ..nothing
            },
            OpResult::Value { key, value, version } => Self {
                kind: ALMADIA_RESULT_VALUE,
                key: almadia_slice::lend(key),
                value: almadia_slice::lend(value),
                version: version.get(),
                ..nothing
            },
        }
    }
}

/// The version that the write gave to all keys that it set, as almadia_value_version describes it. 0 for a batch without
/// operations, and for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `written` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_written_version(written: *const almadia_written) -> u64 {
    // SAFETY: `written` is NULL or live.
    boundary::value(0, || unsafe { written.as_ref() }.map_or(0, |written| written.reply.version.get()))
}

/// The position of the write in the log of its region. Index and term are 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `written` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_written_position(written: *const almadia_written) -> almadia_position {
    boundary::value(Position::default().into(), || {
        // SAFETY: `written` is NULL or live.
        unsafe { written.as_ref() }.map_or(Position::default(), |written| written.reply.position).into()
    })
}

/// True when all conditions were true; false when one was not, so that what stands behind almadia_batch_otherwise was
/// applied instead, and for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `written` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_written_succeeded(written: *const almadia_written) -> bool {
    boundary::value(false, || {
        // SAFETY: `written` is NULL or live.
        unsafe { written.as_ref() }.is_some_and(|written| written.reply.failed().is_none())
    })
}

/// The condition that was false, so that what stands behind almadia_batch_otherwise was applied instead.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (all were true), ALMADIA_INVALID_ARGUMENT
/// (struct_size).
///
/// # Safety
/// `written` is NULL or live; `precondition` is NULL or points to `struct_size` writable bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_written_failed(
    written: *const almadia_written,
    precondition: *mut almadia_precondition,
) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        // SAFETY: `written` is NULL or live.
        let written = unsafe { shared(written, "written") }?;
        // SAFETY: `precondition` is NULL or points to `struct_size` writable bytes.
        unsafe { precondition::tell(written.reply.failed(), precondition) }
    })
}

/// The number of results: of the operations that were applied, those that add, put a versioned key, pop or take have one
/// each. 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `written` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_written_count(written: *const almadia_written) -> usize {
    // SAFETY: `written` is NULL or live.
    boundary::value(0, || unsafe { written.as_ref() }.map_or(0, |written| written.reply.results().len()))
}

/// The result at `index`, from 0 to almadia_written_count() - 1, in the order of the operations; `operation` says whose
/// it is.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_END (there are fewer), ALMADIA_INVALID_ARGUMENT
/// (struct_size).
///
/// # Safety
/// `written` is NULL or live; `result` is NULL or points to `struct_size` writable bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_written_at(
    written: *const almadia_written,
    index: usize,
    result: *mut almadia_op_result,
) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        // SAFETY: `written` is NULL or live.
        let written = unsafe { shared(written, "written") }?;
        let Some((operation, found)) = written.reply.results().get(index) else {
            return Ok(Code::End.number());
        };
        let found = almadia_op_result::lend(*operation, found, &written.reply);
        // SAFETY: `result` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(result, &found) }?;
        Ok(ALMADIA_OK)
    })
}

/// Frees what a write told, with the keys and values of its results. NULL is fine.
///
/// Blocks: no. Threads: one.
///
/// # Safety
/// `written` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_written_free(written: *mut almadia_written) {
    // SAFETY: `written` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken(written) }));
}
