//! Batches: many operations, one answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::bytes::{Content, Key, bytes_or_empty};
use crate::errors::OrRaise;
use crate::position::Position;

/// Operations that are applied together or not at all, in the order in which they were added.
///
/// Made by `store.batch()`. Nothing is sent to the store before the batch is written; one that was written is empty
/// and can be used again. All its keys must belong to one region; a store has one region unless it was opened with
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

    /// Sets `key` to `value`. Both are bytes or bytes-like and are copied now.
    ///
    /// Raises TooLargeError when the key, the value or the batch would exceed its limit (8 MiB and 65,536 operations a batch);
    /// the batch is unchanged.
    fn put(&self, py: Python<'_>, key: Key<'_>, value: Content<'_>) -> PyResult<()> {
        self.lock().batch.put(key.as_bytes(), value.as_bytes()).or_raise(py)
    }

    /// Removes `key`; removing a key that does not exist is no error.
    fn delete(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        self.lock().batch.delete(key.as_bytes()).or_raise(py)
    }

    /// Removes every key from `start` up to but not including `end`; None is the first key, or no end.
    fn delete_range(&self, py: Python<'_>, start: Option<Key<'_>>, end: Option<Key<'_>>) -> PyResult<()> {
        self.lock().batch.delete_range(bytes_or_empty(&start), bytes_or_empty(&end)).or_raise(py)
    }

    /// Removes all operations from the batch.
    fn clear(&self) {
        self.lock().batch.clear();
    }

    /// Size of the operations so far, in bytes; a batch may have 8 MiB.
    #[getter]
    fn encoded_bytes(&self) -> usize {
        self.lock().batch.encoded_bytes()
    }

    /// Where the batch was written; None until it was.
    #[getter]
    fn position(&self) -> Option<Position> {
        self.lock().position
    }

    fn __setitem__(&self, py: Python<'_>, key: Key<'_>, value: Content<'_>) -> PyResult<()> {
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
    /// Notes how a write of what was taken out of the batch ended: `taken` comes back when it failed, unless there is
    /// something else in the batch by now.
    pub fn settle(&self, written: Option<almadia::Position>, taken: almadia::Batch) {
        let mut state = self.lock();
        match written {
            Some(position) => state.position = Some(position.into()),
            None if state.batch.is_empty() => state.batch = taken,
            None => {}
        }
    }

    /// No Python code runs under this lock, and it is never held while waiting.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
