//! What the blocking and the asynchronous form of a call have in common.
//!
//! Owns how arguments become what the store takes - batches of one operation, options - and how its answers become
//! Python objects. What always holds: nothing here waits. Submitting a call and waiting for its answer are left to
//! `store` and `submit`.

use almadia::{PinnedValue, SnapshotOptions, TransferOptions, WriteOptions};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::arguments::{Key, MinIndex, Range, ReadLevel, Timeout, Value, bytes_or_empty};
use crate::errors::OrRaise;

/// A batch that sets one key.
pub fn put_batch(py: Python<'_>, key: &Key<'_>, value: &Value<'_>) -> PyResult<almadia::Batch> {
    let mut batch = almadia::Batch::new();
    batch.put(key.as_bytes(), value.as_bytes()).or_raise(py)?;
    Ok(batch)
}

/// A batch that removes one key.
pub fn delete_batch(py: Python<'_>, key: &Key<'_>) -> PyResult<almadia::Batch> {
    let mut batch = almadia::Batch::new();
    batch.delete(key.as_bytes()).or_raise(py)?;
    Ok(batch)
}

/// A batch that removes one range of keys.
pub fn delete_range_batch(
    py: Python<'_>,
    start: &Option<Key<'_>>,
    end: &Option<Key<'_>>,
) -> PyResult<almadia::Batch> {
    let mut batch = almadia::Batch::new();
    batch.delete_range(bytes_or_empty(start), bytes_or_empty(end)).or_raise(py)?;
    Ok(batch)
}

/// Options of a write.
pub fn write_options(timeout: Option<Timeout>) -> WriteOptions {
    WriteOptions { timeout: timeout.map(|timeout| timeout.duration()) }
}

/// Options of a read of keys.
pub fn read_options(level: &ReadLevel, min_index: &MinIndex, timeout: Option<Timeout>) -> SnapshotOptions {
    SnapshotOptions {
        timeout: timeout.map(|timeout| timeout.duration()),
        level: level.level(),
        min_index: min_index.index(),
        ..SnapshotOptions::default()
    }
}

/// Options of a snapshot.
pub fn snapshot_options(
    keys: &Range<'_>,
    level: &ReadLevel,
    min_index: &MinIndex,
    timeout: Option<Timeout>,
) -> PyResult<SnapshotOptions> {
    Ok(SnapshotOptions { range: keys.keys()?, ..read_options(level, min_index, timeout) })
}

/// Options of a transfer of leadership.
pub fn transfer_options(target: Option<u64>, key: &Key<'_>, timeout: Option<Timeout>) -> TransferOptions {
    TransferOptions {
        target: target.map(almadia::NodeId),
        key: key.as_bytes().to_vec(),
        timeout: timeout.map(|timeout| timeout.duration()),
    }
}

/// A value as `bytes`; None when there is none.
pub fn bytes<'py>(py: Python<'py>, value: Option<&PinnedValue>) -> Option<Bound<'py, PyBytes>> {
    value.map(|value| PyBytes::new(py, value.as_ref()))
}

/// A value as `bytes` and its version; None and 0 when there is none.
pub fn versioned<'py>(py: Python<'py>, value: Option<&PinnedValue>) -> (Option<Bound<'py, PyBytes>>, u64) {
    (bytes(py, value), value.map_or(0, |value| value.version().get()))
}

/// Values as a list of `bytes` and None.
pub fn list<'py>(py: Python<'py>, values: &[Option<PinnedValue>]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, values.iter().map(|value| bytes(py, value.as_ref())))
}
