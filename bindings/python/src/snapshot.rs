//! Snapshots: reads of one point in time.

use std::sync::{Arc, PoisonError, RwLock, TryLockError};

use almadia::{Code, Error, IterOptions, KeyRange, PinnedValue, Result};
use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView};

use crate::arguments::{Key, Limit, Range};
use crate::calls::{bytes, list, versioned};
use crate::digest::RangeDigest;
use crate::errors::OrRaise;
use crate::exit::detached;
use crate::fork_guard::ForkGuarded;
use crate::items::{Items, Part};
use crate::position::Position;
use crate::value::ValueBuffer;
use crate::walk::{Owner, Walk};

/// A snapshot of the store; None after it was closed. Iterators share it, so that closing it ends them.
pub type Shared = RwLock<Option<almadia::Snapshot>>;

/// Whether the snapshot is closed or being closed, as only `close` takes the write lock. Never waits.
pub fn is_closed(shared: &Shared) -> bool {
    match shared.try_read() {
        Ok(open) => open.is_none(),
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Poisoned(open)) => open.into_inner().is_none(),
    }
}

/// The compiled part of a snapshot.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct Snapshot {
    shared: ForkGuarded<Arc<Shared>>,
    position: Position,
}

#[pymethods]
impl Snapshot {
    /// The value of `key`, or None.
    fn get<'py>(&self, py: Python<'py>, key: Key<'_>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let key = key.as_bytes();
        let found = detached(py, || self.with(|snapshot| snapshot.get(key))).or_raise(py)?;
        Ok(bytes(py, found.as_ref()))
    }

    /// As `get`, but raises LookupError if the value must be read from disk.
    fn get_from_memory<'py>(&self, py: Python<'py>, key: Key<'_>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(bytes(py, self.read_from_memory(py, &key)?.as_ref()))
    }

    /// The value of `key`, or None, and its version.
    fn get_with_version<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, u64)> {
        let key = key.as_bytes();
        let found = detached(py, || self.with(|snapshot| snapshot.get(key))).or_raise(py)?;
        Ok(versioned(py, found.as_ref()))
    }

    /// As `get_with_version`, but raises LookupError if the value must be read from disk.
    fn get_with_version_from_memory<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, u64)> {
        Ok(versioned(py, self.read_from_memory(py, &key)?.as_ref()))
    }

    /// The value of `key` as a memoryview of engine memory, or None.
    fn get_view<'py>(&self, py: Python<'py>, key: Key<'_>) -> PyResult<Option<Bound<'py, PyMemoryView>>> {
        let key = key.as_bytes();
        let found = detached(py, || self.with(|snapshot| snapshot.get(key))).or_raise(py)?;
        found.map(|value| ValueBuffer::view(py, value)).transpose()
    }

    /// Whether `key` exists.
    fn contains(&self, py: Python<'_>, key: Key<'_>) -> PyResult<bool> {
        let key = key.as_bytes();
        // Does not copy the value.
        detached(py, || self.with(|snapshot| snapshot.get_into(key, &mut [])))
            .or_raise(py)
            .map(|found| found.is_some())
    }

    /// The values of `keys`, in the same order; None for each key that does not exist.
    fn get_many<'py>(&self, py: Python<'py>, keys: Vec<Key<'_>>) -> PyResult<Bound<'py, PyList>> {
        let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
        let read = |snapshot: &almadia::Snapshot| keys.iter().map(|key| snapshot.get(key)).collect();
        let found: Vec<_> = detached(py, || self.with(read)).or_raise(py)?;
        list(py, &found)
    }

    /// What the keys of a range look like; all of them are read.
    fn digest(&self, py: Python<'_>, keys: Range<'_>) -> PyResult<RangeDigest> {
        let KeyRange { start, end } = keys.keys()?;
        detached(py, || self.with(|snapshot| snapshot.digest(&start, &end))).or_raise(py).map(RangeDigest)
    }

    /// An iterator over items, entries, keys or values.
    fn iterate(
        &self,
        py: Python<'_>,
        part: &str,
        keys: Range<'_>,
        reverse: bool,
        limit: Option<Limit>,
    ) -> PyResult<Items> {
        let options = IterOptions { reverse, ..keys.bounds() };
        let shared = self.shared.get().or_raise(py)?;
        let iter = detached(py, || self.with(|snapshot| snapshot.iter(options))).or_raise(py)?;
        Ok(Items::new(
            Owner::Snapshot(Arc::clone(shared)),
            Walk::Snapshot(iter),
            Part::named(part)?,
            limit.map(|limit| limit.items()),
        ))
    }

    /// The log position that was confirmed.
    #[getter]
    fn position(&self) -> Position {
        self.position
    }

    #[getter]
    fn closed(&self) -> PyResult<bool> {
        let shared = self.shared.get_in_any_process();
        Ok(shared.read().unwrap_or_else(PoisonError::into_inner).is_none())
    }

    /// Releases what the snapshot holds. Closing it again does nothing.
    fn close(&self, py: Python<'_>) {
        // In a child process there is nothing to release.
        let Ok(shared) = self.shared.get() else { return };
        detached(py, || drop(shared.write().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

impl Snapshot {
    pub fn new(snapshot: almadia::Snapshot) -> Self {
        let position = snapshot.position().into();
        Self { shared: ForkGuarded::new(Arc::new(RwLock::new(Some(snapshot)))), position }
    }

    fn read_from_memory(&self, py: Python<'_>, key: &Key<'_>) -> PyResult<Option<PinnedValue>> {
        // Too short to be worth releasing the GIL.
        let found = self.with(|snapshot| snapshot.get_from_memory(key.as_bytes())).or_raise(py)?;
        found.ok_or_else(|| PyLookupError::new_err("not in memory"))
    }

    fn with<T>(&self, read: impl FnOnce(&almadia::Snapshot) -> Result<T>) -> Result<T> {
        let open = self.shared.get()?.read().unwrap_or_else(PoisonError::into_inner);
        read(open.as_ref().ok_or_else(closed)?)
    }
}

/// The error of a call on a closed snapshot.
pub fn closed() -> Error {
    Error::with_detail(Code::Closed, "this snapshot was closed; take a new one")
}
