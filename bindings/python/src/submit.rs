//! A store's calls for event loops: submitted now, answered by resolving a future on the loop.
//!
//! Owns the asynchronous half of [`Store`]. What always holds: no call waits; each resolves its future exactly once,
//! unless it raised. Every function takes the loop's completions and the future first, and then what the blocking
//! method of the same name takes.

use almadia::{PinnedValue, Reply};
use pyo3::prelude::*;

use crate::arguments::{Key, MinIndex, Range, ReadLevel, Timeout, Value};
use crate::batch::Batch;
use crate::calls::{
    bytes, delete_batch, delete_range_batch, list, put_batch, read_options, snapshot_options,
    transfer_options, versioned, write_options,
};
use crate::completions::{Completions, Pending};
use crate::members::Change;
use crate::position::Position;
use crate::results::only;
use crate::snapshot::Snapshot;
use crate::store::Store;

#[pyfunction]
pub fn submit_put(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    key: Key<'_>,
    value: Value<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    submit_batch(py, completions, future, store, &mut put_batch(py, &key, &value)?, timeout)
}

#[pyfunction]
pub fn submit_delete(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    key: Key<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    submit_batch(py, completions, future, store, &mut delete_batch(py, &key)?, timeout)
}

#[pyfunction]
pub fn submit_delete_range(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    start: Option<Key<'_>>,
    end: Option<Key<'_>>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    submit_batch(py, completions, future, store, &mut delete_range_batch(py, &start, &end)?, timeout)
}

/// Takes the operations out of the batch; puts them back when the call fails.
#[pyfunction]
pub fn submit_write(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    batch: Bound<'_, Batch>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = write_options(timeout);
    let mut state = batch.get().lock();
    let (kept, written_batch) = (state.batch.clone(), batch.clone().unbind());
    completions.submit(py, future, position, move |queue, on_answer| {
        store.on(queue).write(&mut state.batch, &options, move |written| {
            written_batch.get().settle(written.as_ref().ok().cloned(), kept);
            on_answer(written);
        })
    })
}

/// Writes a batch of one operation; the future gets its result.
#[pyfunction]
pub fn submit_compute(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    batch: Bound<'_, Batch>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = write_options(timeout);
    let mut taken = std::mem::take(&mut batch.get().lock().batch);
    completions
        .submit(py, future, only, |queue, on_answer| store.on(queue).write(&mut taken, &options, on_answer))
}

#[pyfunction]
#[allow(clippy::too_many_arguments)] // They mirror the arguments of one Python function.
pub fn submit_get(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    key: Key<'_>,
    level: ReadLevel,
    min_index: MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = read_options(&level, &min_index, timeout);
    completions.submit(py, future, value, |queue, on_answer| {
        store.on(queue).get(key.as_bytes(), &options, on_answer)
    })
}

#[pyfunction]
#[allow(clippy::too_many_arguments)] // They mirror the arguments of one Python function.
pub fn submit_get_with_position(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    key: Key<'_>,
    level: ReadLevel,
    min_index: MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = read_options(&level, &min_index, timeout);
    completions.submit(py, future, positioned_value, |queue, on_answer| {
        store.on(queue).get_with_position(key.as_bytes(), &options, on_answer)
    })
}

#[pyfunction]
#[allow(clippy::too_many_arguments)] // They mirror the arguments of one Python function.
pub fn submit_get_with_version(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    key: Key<'_>,
    level: ReadLevel,
    min_index: MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = read_options(&level, &min_index, timeout);
    completions.submit(py, future, versioned_value, |queue, on_answer| {
        store.on(queue).get(key.as_bytes(), &options, on_answer)
    })
}

#[pyfunction]
#[allow(clippy::too_many_arguments)] // They mirror the arguments of one Python function.
pub fn submit_get_many(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    keys: Vec<Key<'_>>,
    level: ReadLevel,
    min_index: MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
    let options = read_options(&level, &min_index, timeout);
    completions
        .submit(py, future, values, |queue, on_answer| store.on(queue).get_many(&keys, &options, on_answer))
}

#[pyfunction]
#[allow(clippy::too_many_arguments)] // They mirror the arguments of one Python function.
pub fn submit_snapshot(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    keys: Range<'_>,
    level: ReadLevel,
    min_index: MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = snapshot_options(&keys, &level, &min_index, timeout)?;
    completions.submit(py, future, snapshot, |queue, on_answer| store.on(queue).snapshot(&options, on_answer))
}

#[pyfunction]
pub fn submit_transfer_leader(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    target: Option<u64>,
    key: Key<'_>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = transfer_options(target, &key, timeout);
    completions
        .submit(py, future, nothing, |queue, on_answer| store.on(queue).transfer_leader(&options, on_answer))
}

#[pyfunction]
pub fn submit_change_members(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    changes: Vec<Change>,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let changes = Change::all(changes);
    let timeout = timeout.map(|timeout| timeout.duration());
    completions.submit(py, future, nothing, |queue, on_answer| {
        store.on(queue).change_members(&changes, timeout, on_answer)
    })
}

fn submit_batch(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    batch: &mut almadia::Batch,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = write_options(timeout);
    completions
        .submit(py, future, position, |queue, on_answer| store.on(queue).write(batch, &options, on_answer))
}

/// The result of a future that a write resolves.
pub fn position(py: Python<'_>, reply: Reply) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, Position::from(reply))?.into_any())
}

fn value(py: Python<'_>, value: Option<PinnedValue>) -> PyResult<Bound<'_, PyAny>> {
    Ok(bytes(py, value.as_ref()).into_pyobject(py)?)
}

fn positioned_value(
    py: Python<'_>,
    (value, position): (Option<PinnedValue>, almadia::Position),
) -> PyResult<Bound<'_, PyAny>> {
    Ok((bytes(py, value.as_ref()), Position::from(position)).into_pyobject(py)?.into_any())
}

fn versioned_value(py: Python<'_>, value: Option<PinnedValue>) -> PyResult<Bound<'_, PyAny>> {
    Ok(versioned(py, value.as_ref()).into_pyobject(py)?.into_any())
}

fn values(py: Python<'_>, values: Vec<Option<PinnedValue>>) -> PyResult<Bound<'_, PyAny>> {
    Ok(list(py, &values)?.into_any())
}

fn snapshot(py: Python<'_>, snapshot: almadia::Snapshot) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, Snapshot::new(snapshot))?.into_any())
}

fn nothing(py: Python<'_>, (): ()) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}
