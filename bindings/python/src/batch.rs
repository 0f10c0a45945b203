//! Batches: many operations in one call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use almadia::{Expected, KeyRange, Reply, Version};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::{Delta, Edge, Key, Range, SeenVersion, Value};
use crate::digest::RangeDigest;
use crate::errors::OrRaise;
use crate::position::Position;
use crate::results::results;

/// Operations that are applied atomically, in the order in which they were added.
///
/// Made by `store.batch()`. Nothing is sent to the store before the batch is written; after a successful write it is
/// empty and can be reused. All its keys must belong to one region; a store has one region unless it was opened with
/// `split_keys`.
#[pyclass(module = "almadia", frozen)]
#[derive(Default)]
pub struct Batch {
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub batch: almadia::Batch,
    /// Of the last write that succeeded.
    pub written: Option<Reply>,
}

#[pymethods]
impl Batch {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`. Both are bytes or bytes-like and are copied at once.
    ///
    /// Raises TooLargeError when the key, the value or the batch would exceed its limit (a batch: 8 MiB and 65,536
    /// operations); the batch is unchanged.
    fn put(&self, py: Python<'_>, key: Key<'_>, value: Value<'_>) -> PyResult<()> {
        self.lock().batch.put(key.as_bytes(), value.as_bytes()).or_raise(py)
    }

    /// Removes `key`; it is not an error if the key does not exist.
    fn delete(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        self.lock().batch.delete(key.as_bytes()).or_raise(py)
    }

    /// Removes every key from `start` (included) to `end` (excluded), or those that begin with `prefix`.
    ///
    /// None as `start` is the first possible key, and as `end` no bound. As all keys of a batch, the range must lie in
    /// one region; `store.delete_range` removes ranges of any size.
    #[pyo3(
        signature = (start = Edge::Missing, end = Edge::Missing, *, prefix = None),
        text_signature = "($self, start=..., end=..., *, prefix=None)"
    )]
    fn delete_range(
        &self,
        py: Python<'_>,
        start: Edge<'_>,
        end: Edge<'_>,
        prefix: Option<Key<'_>>,
    ) -> PyResult<()> {
        let KeyRange { start, end } = Range::to_remove(prefix, start, end)?.keys()?;
        self.lock().batch.delete_range(&start, &end).or_raise(py)
    }

    /// Adds a condition: the batch is applied only if `key` does not exist.
    ///
    /// All conditions of a batch are judged on the state before it, wherever they stand in it, where it is applied. If one
    /// is false, nothing of the batch is applied but what stands behind `otherwise()`; without that its write raises
    /// PreconditionFailedError, which says which condition it was. A condition counts as an operation.
    fn if_absent(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        self.lock().batch.if_absent(key.as_bytes()).or_raise(py)
    }

    /// Adds a condition: the batch is applied only if `key` exists.
    fn if_present(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        self.lock().batch.if_present(key.as_bytes()).or_raise(py)
    }

    /// Adds a condition: the batch is applied only if `key` has this version, so that nobody has written it since it was
    /// seen; with version 0, only if it does not exist.
    fn if_version(&self, py: Python<'_>, key: Key<'_>, version: SeenVersion) -> PyResult<()> {
        self.lock().batch.if_version(key.as_bytes(), Version(version.number())).or_raise(py)
    }

    /// Adds a condition: the batch is applied only if `key` has this value, which somebody may have written again; with
    /// None, only if it does not exist.
    fn if_value(&self, py: Python<'_>, key: Key<'_>, value: Option<Value<'_>>) -> PyResult<()> {
        let expected = value.as_ref().map_or(Expected::Absent, |value| Expected::Value(value.as_bytes()));
        self.lock().batch.if_as(key.as_bytes(), expected).or_raise(py)
    }

    /// Adds a condition: the batch is applied only if the keys from `start` (included) to `end` (excluded), or those that
    /// begin with `prefix`, are those that `seen` is the digest of, each with the version it had then: nobody has set or
    /// removed one of them, or added another. The whole range must lie in the region of the batch.
    ///
    /// Raises TooLargeError if the ranges of the batch have more than 65,536 keys or 64 MiB together.
    #[pyo3(
        signature = (seen, *, start = None, end = None, prefix = None),
        text_signature = "($self, seen, *, start=None, end=None, prefix=None)"
    )]
    fn if_range(
        &self,
        py: Python<'_>,
        seen: &Bound<'_, RangeDigest>,
        start: Option<Key<'_>>,
        end: Option<Key<'_>>,
        prefix: Option<Key<'_>>,
    ) -> PyResult<()> {
        let KeyRange { start, end } = Range::new(prefix, start, end).keys()?;
        self.lock().batch.if_range(&start, &end, &seen.get().0).or_raise(py)
    }

    /// What is added from here on is applied instead, if a condition is false. The write succeeds then; `succeeded` is
    /// False, and `failed` tells the condition.
    fn otherwise(&self, py: Python<'_>) -> PyResult<()> {
        self.lock().batch.otherwise().or_raise(py)
    }

    /// Adds `delta` to the number at `key`: 8 bytes, little-endian, signed. A key that does not exist counts as 0. The
    /// sum is in `results`.
    ///
    /// The write raises NotANumberError if the value is no such number, or the sum does not fit.
    #[pyo3(signature = (key, delta = Delta::ONE), text_signature = "($self, key, delta=1)")]
    fn add(&self, py: Python<'_>, key: Key<'_>, delta: Delta) -> PyResult<()> {
        self.lock().batch.add(key.as_bytes(), delta.number()).or_raise(py)
    }

    /// Sets a new key to `value`: `prefix`, then the version of the write (8 bytes) and the number of this operation in
    /// the batch (2 bytes), both big-endian, so that the keys are in the order of their writes. The key is in `results`.
    fn put_versioned(&self, py: Python<'_>, prefix: Key<'_>, value: Value<'_>) -> PyResult<()> {
        self.lock().batch.put_versioned(prefix.as_bytes(), value.as_bytes()).or_raise(py)
    }

    /// Removes `key`. What it was, or None if it did not exist, is in `results`.
    fn pop(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        self.lock().batch.pop(key.as_bytes()).or_raise(py)
    }

    /// Removes the first key from `start` (included) to `end` (excluded), or of those that begin with `prefix`. What it
    /// was, or None if there was none, is in `results`. The whole range must lie in the region of the batch.
    #[pyo3(signature = (*, start = None, end = None, prefix = None))]
    fn take_first(
        &self,
        py: Python<'_>,
        start: Option<Key<'_>>,
        end: Option<Key<'_>>,
        prefix: Option<Key<'_>>,
    ) -> PyResult<()> {
        let KeyRange { start, end } = Range::new(prefix, start, end).keys()?;
        self.lock().batch.take_first(&start, &end).or_raise(py)
    }

    /// Removes all operations from the batch.
    fn clear(&self) {
        self.lock().batch.clear();
    }

    /// Encoded size of the operations so far, in bytes; the limit is 8 MiB.
    #[getter]
    fn encoded_bytes(&self) -> usize {
        self.lock().batch.encoded_bytes()
    }

    /// Log position of the last successful write of this batch; None before the first.
    #[getter]
    fn position(&self) -> Option<Position> {
        self.lock().written.clone().map(Position::from)
    }

    /// Version that the last successful write of this batch gave to all keys that it set; None before the first.
    #[getter]
    fn version(&self) -> Option<u64> {
        self.lock().written.as_ref().map(|reply| reply.version.get())
    }

    /// Whether all conditions of the last successful write were true; False if what stood behind `otherwise()` was
    /// applied instead. None before the first.
    #[getter]
    fn succeeded(&self) -> Option<bool> {
        self.lock().written.as_ref().map(|reply| reply.failed().is_none())
    }

    /// The condition of the last successful write that was false, so that what stood behind `otherwise()` was applied: a
    /// tuple of its number in the batch, whether its key existed, and with which version. None if there was none.
    #[getter]
    fn failed(&self) -> Option<(u32, bool, u64)> {
        let found = self.lock().written.as_ref().and_then(Reply::failed)?;
        Some((found.operation, found.exists, found.version.get()))
    }

    /// Results of the last successful write, by the numbers of the operations in the batch: of `add` the sum, of
    /// `put_versioned` the key, of `pop` and `take_first` a tuple of key, value and version, or None.
    #[getter]
    fn results<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let written = self.lock().written.clone();
        results(py, written.as_ref())
    }

    fn __setitem__(&self, py: Python<'_>, key: Key<'_>, value: Value<'_>) -> PyResult<()> {
        self.put(py, key, value)
    }

    fn __delitem__(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        self.delete(py, key)
    }

    fn __len__(&self) -> usize {
        self.lock().batch.len()
    }

    fn __repr__(&self) -> String {
        let state = self.lock();
        format!(
            "<almadia.Batch operations={} encoded_bytes={}>",
            state.batch.len(),
            state.batch.encoded_bytes()
        )
    }
}

impl Batch {
    /// Records the result of writing the operations taken out of the batch: if the write failed, `taken` is put back,
    /// unless the batch has other operations by now.
    pub fn settle(&self, written: Option<Reply>, taken: almadia::Batch) {
        let mut state = self.lock();
        match written {
            Some(reply) => state.written = Some(reply),
            None if state.batch.is_empty() => state.batch = taken,
            None => {}
        }
    }

    /// No Python code runs under this lock, and it is never held while waiting.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
