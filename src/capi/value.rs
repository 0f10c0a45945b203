//! `almadia_value` and `almadia_values`: what was read, without a copy.
//!
//! Owns both handles. What always holds: a value keeps the memory it shows alive. The gets that return them are in
//! `get`.

use std::ffi::c_void;

use bytes::Bytes;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code};
use super::bytes::almadia_slice;
use super::handle::{Boxed, ProcessBound, ProcessId, ValueSlot, in_process, taken_in_process};
use crate::error::Code;
use crate::store::snapshot::PinnedValue;
use crate::store::transaction::TransactionValue;
use crate::store::values::Values;
use crate::types::Version;

/// A value that was read. Any number of threads may use it at once. It may outlive its snapshot and its store; it
/// pins memory until it is freed.
pub struct almadia_value {
    held: Held,
    process: ProcessId,
}

enum Held {
    Pinned(PinnedValue),
    Bytes(Bytes, Version),
    Transaction(TransactionValue),
    Text(String),
}

impl Boxed for almadia_value {}

impl ProcessBound for almadia_value {
    fn process(&self) -> ProcessId {
        self.process
    }
}

impl almadia_value {
    pub(super) fn new(value: PinnedValue) -> Self {
        Self { held: Held::Pinned(value), process: ProcessId::current() }
    }

    /// Of a write that took it, or made it.
    pub(super) fn of_bytes(bytes: Bytes, version: Version) -> Self {
        Self { held: Held::Bytes(bytes, version), process: ProcessId::current() }
    }

    /// What a transaction was shown.
    pub(super) fn of_transaction(value: TransactionValue) -> Self {
        Self { held: Held::Transaction(value), process: ProcessId::current() }
    }

    pub(super) fn text(text: String) -> Self {
        Self { held: Held::Text(text), process: ProcessId::current() }
    }

    fn version(&self) -> Version {
        match &self.held {
            Held::Pinned(value) => value.version(),
            Held::Bytes(_, version) => *version,
            Held::Transaction(value) => value.version().unwrap_or(Version::NONE),
            Held::Text(_) => Version::NONE,
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.held {
            Held::Pinned(value) => value.as_ref(),
            Held::Bytes(bytes, _) => bytes,
            Held::Transaction(value) => value.as_ref(),
            Held::Text(text) => text.as_bytes(),
        }
    }
}

/// The values of several keys, in the order of the keys. Any number of threads may use it at once. It may outlive
/// its snapshot and its store; it pins memory until it is freed.
pub struct almadia_values {
    values: Values,
    process: ProcessId,
}

impl almadia_values {
    pub(super) fn new(values: Values) -> Self {
        Self { values, process: ProcessId::current() }
    }
}

impl Boxed for almadia_values {}

impl ProcessBound for almadia_values {
    fn process(&self) -> ProcessId {
        self.process
    }
}

/// The bytes of a value, not NUL-terminated. They belong to the value. NULL for NULL. For an empty value the
/// pointer is not NULL, but must not be read.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `value` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_data(value: *const almadia_value) -> *const c_void {
    boundary::value(std::ptr::null(), || {
        // SAFETY: `value` is NULL or live.
        unsafe { value.as_ref() }.map_or(std::ptr::null(), |value| value.bytes().as_ptr().cast())
    })
}

/// The size of a value in bytes. 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `value` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_size(value: *const almadia_value) -> usize {
    // SAFETY: `value` is NULL or live.
    boundary::value(0, || unsafe { value.as_ref() }.map_or(0, |value| value.bytes().len()))
}

/// The version of the key that was read: the place, in the log of its region, of the write that set it. Versions of a
/// key only grow, also when it is deleted in between and set again; those of keys of different regions have nothing to
/// do with each other. They are never 0. 0 for NULL, for what a transaction has written itself, and for a text of this
/// library.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `value` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_version(value: *const almadia_value) -> u64 {
    // SAFETY: `value` is NULL or live.
    boundary::value(0, || unsafe { value.as_ref() }.map_or(0, |value| value.version().get()))
}

/// Frees a value. NULL is fine. In a child process it does nothing.
///
/// Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
///
/// # Safety
/// `value` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_value_free(value: *mut almadia_value) {
    // SAFETY: `value` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken_in_process(value) }));
}

/// The number of values, which is the number of keys. 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `values` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_values_count(values: *const almadia_values) -> usize {
    // SAFETY: `values` is NULL or live.
    boundary::value(0, || unsafe { values.as_ref() }.map_or(0, |values| values.values.len()))
}

/// The value of the key at `index`, from 0 to almadia_values_count() - 1. `value` receives its bytes, which belong
/// to the values.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (this key does not exist), ALMADIA_END (there
/// are fewer keys), ALMADIA_FORKED.
///
/// # Safety
/// `values` is NULL or live; `value` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_values_at(
    values: *const almadia_values,
    index: usize,
    value: *mut almadia_slice,
) -> almadia_code {
    boundary::call(ErrorSlot::NONE, || {
        // SAFETY: `value` is NULL or writable.
        let slot = unsafe { ValueSlot::new(value, "value") }?;
        // SAFETY: `values` is NULL or live.
        let values = unsafe { in_process(values, "values") }?;
        Ok(match values.values.get(index) {
            None => Code::End.number(),
            Some(None) => Code::NotFound.number(),
            Some(Some(value)) => {
                slot.put(almadia_slice::lend(value.as_ref()));
                ALMADIA_OK
            }
        })
    })
}

/// The version of the key at `index`, as almadia_value_version describes it. 0 when this key does not exist, when there
/// are fewer keys, and for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `values` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_values_version_at(values: *const almadia_values, index: usize) -> u64 {
    boundary::value(0, || {
        // SAFETY: `values` is NULL or live.
        let value = unsafe { values.as_ref() }.and_then(|values| values.values.get(index));
        value.and_then(Option::as_ref).map_or(0, |value| value.version().get())
    })
}

/// Frees values. NULL is fine. In a child process it does nothing.
///
/// Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
///
/// # Safety
/// `values` is NULL or live, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_values_free(values: *mut almadia_values) {
    // SAFETY: `values` is NULL or live, and not used again.
    boundary::release(|| drop(unsafe { taken_in_process(values) }));
}
