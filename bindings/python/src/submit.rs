//! A store's calls for event loops: submitted now, on_answer by resolving a future on the loop.
//!
//! Owns the asynchronous half of [`Store`]. What always holds: no call waits; each resolves its future exactly once,
//! unless it raised. How Python sees each answer is decided here.

use almadia::{PinnedValue, TransferOptions};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::arguments::{Key, MinIndex, Range, Timeout, Value, bytes_or_empty};
use crate::batch::Batch;
use crate::completions::{Completions, Pending};
use crate::errors::OrRaise;
use crate::position::Position;
use crate::snapshot::Snapshot;
use crate::store::{Store, read_options, snapshot_options, write_options};

#[pyfunction]
pub fn submit_put(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    key: Key<'_>,
    value: Value<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let mut batch = almadia::Batch::new();
    batch.put(key.as_bytes(), value.as_bytes()).or_raise(py)?;
    submit_batch(py, store, completions, future, &mut batch, timeout)
}

#[pyfunction]
pub fn submit_delete(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    key: Key<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let mut batch = almadia::Batch::new();
    batch.delete(key.as_bytes()).or_raise(py)?;
    submit_batch(py, store, completions, future, &mut batch, timeout)
}

#[pyfunction]
pub fn submit_delete_range(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    start: Option<Key<'_>>,
    end: Option<Key<'_>>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let mut batch = almadia::Batch::new();
    batch.delete_range(bytes_or_empty(&start), bytes_or_empty(&end)).or_raise(py)?;
    submit_batch(py, store, completions, future, &mut batch, timeout)
}

/// Takes the operations out of the batch; puts them back when the call fails.
#[pyfunction]
pub fn submit_write(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    batch: Bound<'_, Batch>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = write_options(timeout);
    let mut state = batch.get().lock();
    let (kept, asked) = (state.batch.clone(), batch.clone().unbind());
    completions.submit(py, future, position, move |queue, on_answer| {
        store.on(queue).write(&mut state.batch, &options, move |written| {
            asked.get().settle(written.as_ref().ok().copied(), kept);
            on_answer(written);
        })
    })
}

#[pyfunction]
pub fn submit_get(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    key: Key<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    completions.submit(py, future, value, |queue, on_answer| {
        store.on(queue).get(key.as_bytes(), &read_options(timeout), on_answer)
    })
}

#[pyfunction]
pub fn submit_get_many(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    keys: Vec<Key<'_>>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
    completions.submit(py, future, values, |queue, on_answer| {
        store.on(queue).get_many(&keys, &read_options(timeout), on_answer)
    })
}

#[pyfunction]
#[allow(clippy::too_many_arguments)] // They mirror the arguments of one Python function.
pub fn submit_snapshot(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    within: Range<'_>,
    level: &str,
    min_index: MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = snapshot_options(&within, level, &min_index, timeout)?;
    completions.submit(py, future, snapshot, |queue, on_answer| store.on(queue).snapshot(&options, on_answer))
}

#[pyfunction]
pub fn submit_transfer_leader(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    target: Option<u64>,
    key: Key<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = TransferOptions {
        target: target.map(almadia::types::NodeId),
        key: key.as_bytes().to_vec(),
        timeout: timeout.map(|timeout| timeout.duration()),
    };
    completions
        .submit(py, future, nothing, |queue, on_answer| store.on(queue).transfer_leader(&options, on_answer))
}

fn submit_batch(
    py: Python<'_>,
    store: &Store,
    completions: &Completions,
    future: Py<PyAny>,
    batch: &mut almadia::Batch,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = write_options(timeout);
    completions
        .submit(py, future, position, |queue, on_answer| store.on(queue).write(batch, &options, on_answer))
}

pub fn position(py: Python<'_>, position: almadia::Position) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, Position::from(position))?.into_any())
}

fn value(py: Python<'_>, value: Option<PinnedValue>) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Some(value) => PyBytes::new(py, value.as_ref()).into_any(),
        None => py.None().into_bound(py),
    })
}

fn values(py: Python<'_>, values: Vec<Option<PinnedValue>>) -> PyResult<Bound<'_, PyAny>> {
    let values = values.into_iter().map(|found| value(py, found)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, values)?.into_any())
}

fn snapshot(py: Python<'_>, snapshot: almadia::Snapshot) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, Snapshot::new(snapshot))?.into_any())
}

fn nothing(py: Python<'_>, (): ()) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}
