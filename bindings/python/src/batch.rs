//! Batches: many operations in one call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use almadia::{KeyRange, Reply};
use pyo3::prelude::*;

use crate::arguments::{Edge, Key, Range, Value};
use crate::errors::OrRaise;
use crate::position::Position;

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
    pub position: Option<Position>,
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
        self.lock().position
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
            Some(reply) => state.position = Some(reply.into()),
            None if state.batch.is_empty() => state.batch = taken,
            None => {}
        }
    }

    /// No Python code runs under this lock, and it is never held while waiting.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
