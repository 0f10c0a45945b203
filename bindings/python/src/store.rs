//! The open store: calls that wait, with the GIL released.
//!
//! Owns the compiled half of `almadia.Store`. What always holds: no call holds the GIL while it waits; a child process
//! never touches the store it inherited.

use std::time::Duration;

use almadia::{Code, KeyRange, Level, Result, SnapshotOptions, TransferOptions, WriteOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::batch::Batch;
use crate::bytes::{Content, Key};
use crate::errors::{OrRaise, instance};
use crate::home::AtHome;
use crate::options::{StorePath, configuration};
use crate::position::Position;
use crate::snapshot::Snapshot;
use crate::timeout::Timeout;
use crate::wait;

/// The compiled part of a store.
#[pyclass(module = "almadia._almadia", frozen, weakref)]
pub struct Store {
    store: AtHome<almadia::Store>,
    /// When calls are answered that have no timeout of their own.
    write_timeout: Duration,
    read_timeout: Duration,
}

#[pymethods]
impl Store {
    /// Opens the member whose directory is `path`, with options by their names.
    #[new]
    fn open(py: Python<'_>, path: StorePath, options: Vec<(String, String)>) -> PyResult<Self> {
        let config = configuration(py, &options)?;
        let milliseconds = |name| {
            let text = config.get(name).or_raise(py)?;
            Ok::<_, PyErr>(Duration::from_millis(text.parse().expect("the table says it is a number")))
        };
        let (write_timeout, read_timeout) =
            (milliseconds("write.timeout_ms")?, milliseconds("read.timeout_ms")?);
        let open = || {
            almadia::fork::Home::for_store()?;
            almadia::Store::open(&path, &config).map(AtHome::new)
        };
        let store = py.detach(open).or_raise(py)?;
        Ok(Self { store, write_timeout, read_timeout })
    }

    fn put(
        &self,
        py: Python<'_>,
        key: Key<'_>,
        value: Content<'_>,
        timeout: Option<Timeout>,
    ) -> PyResult<Position> {
        let mut batch = almadia::Batch::new();
        batch.put(key.as_bytes(), value.as_bytes()).or_raise(py)?;
        self.commit(py, &mut batch, timeout)
    }

    fn delete(&self, py: Python<'_>, key: Key<'_>, timeout: Option<Timeout>) -> PyResult<Position> {
        let mut batch = almadia::Batch::new();
        batch.delete(key.as_bytes()).or_raise(py)?;
        self.commit(py, &mut batch, timeout)
    }

    fn delete_range(
        &self,
        py: Python<'_>,
        start: Key<'_>,
        end: Key<'_>,
        timeout: Option<Timeout>,
    ) -> PyResult<Position> {
        let mut batch = almadia::Batch::new();
        batch.delete_range(start.as_bytes(), end.as_bytes()).or_raise(py)?;
        self.commit(py, &mut batch, timeout)
    }

    fn write(&self, py: Python<'_>, batch: &Batch, timeout: Option<Timeout>) -> PyResult<Position> {
        let mut taken = std::mem::take(&mut batch.lock().batch);
        let kept = taken.clone();
        let written = self.commit(py, &mut taken, timeout);
        let mut state = batch.lock();
        match &written {
            Ok(position) => state.position = Some(*position),
            Err(_) => state.batch = kept,
        }
        written
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
        timeout: Option<Timeout>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let _ = timeout;
        let key = key.as_bytes();
        let found = py.detach(|| self.store.get()?.get(key)).or_raise(py)?;
        Ok(found.map(|value| PyBytes::new(py, value.as_ref())))
    }

    #[pyo3(signature = (start, end, prefix, level, min_index, timeout))]
    #[allow(clippy::too_many_arguments)] // They are the keyword arguments of one Python function.
    fn snapshot(
        &self,
        py: Python<'_>,
        start: Option<Key<'_>>,
        end: Option<Key<'_>>,
        prefix: Option<Key<'_>>,
        level: &str,
        min_index: u64,
        timeout: Option<Timeout>,
    ) -> PyResult<Snapshot> {
        let options = snapshot_options(start, end, prefix, level, min_index, timeout)?;
        let late = options.timeout.unwrap_or(self.read_timeout);
        wait::for_answer(py, late, Code::ReadTimeout, |answer| {
            self.store.get()?.snapshot_async(&options, move |taken| drop(answer.send(taken)))
        })
        .map(Snapshot::new)
    }

    fn transfer_leader(
        &self,
        py: Python<'_>,
        target: Option<u64>,
        key: Key<'_>,
        timeout: Option<Timeout>,
    ) -> PyResult<()> {
        let timeout = timeout.map(|timeout| timeout.duration());
        let options = TransferOptions {
            target: target.map(almadia::types::NodeId),
            key: key.as_bytes().to_vec(),
            timeout,
        };
        wait::for_answer(py, timeout.unwrap_or(self.write_timeout), Code::Timeout, |answer| {
            self.store.get()?.transfer_leader_async(&options, move |done| drop(answer.send(done)))
        })
    }

    fn wait_leader(&self, py: Python<'_>, timeout: Option<Timeout>) -> PyResult<u64> {
        let timeout = timeout.map_or(self.read_timeout, |timeout| timeout.duration());
        let leader =
            wait::in_slices(py, timeout, Code::NoLeader, |slice| self.store.get()?.wait_leader(slice))?;
        Ok(leader.get())
    }

    fn close(&self, py: Python<'_>, timeout: Timeout) -> PyResult<()> {
        py.detach(|| match self.store.get() {
            Ok(store) => store.shutdown(timeout.duration()),
            // The parent's store is not ours to close.
            Err(_) => Ok(()),
        })
        .or_raise(py)
    }

    /// The fields of `almadia.Status`.
    #[allow(clippy::type_complexity)] // A tuple that Python takes apart at once.
    fn status<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(u64, Option<u64>, String, u64, u64, u64, u64, u64, u64, Option<Bound<'py, PyAny>>)> {
        let status = self.store.get().or_raise(py)?.status();
        let poisoned = status.poisoned.as_ref().map(|error| instance(py, error)).transpose()?;
        Ok((
            status.node.get(),
            status.leader.map(almadia::types::NodeId::get),
            role(status.role),
            status.term.get(),
            status.commit_index.get(),
            status.applied_index.get(),
            status.last_index.get(),
            status.in_flight,
            status.live_snapshots,
            poisoned,
        ))
    }

    /// The fields of `almadia.RegionStatus`, for each region.
    fn regions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let regions = self.store.get().or_raise(py)?.regions();
        let fields = regions.into_iter().map(|region| {
            (
                region.id.get(),
                PyBytes::new(py, region.start_key),
                PyBytes::new(py, region.end_key),
                region.leader.map(almadia::types::NodeId::get),
                role(region.role),
                region.term.get(),
                region.commit_index.get(),
                region.applied_index.get(),
                region.last_index.get(),
            )
        });
        PyList::new(py, fields.collect::<Vec<_>>())
    }
}

impl Store {
    fn commit(
        &self,
        py: Python<'_>,
        batch: &mut almadia::Batch,
        timeout: Option<Timeout>,
    ) -> PyResult<Position> {
        let timeout = timeout.map(|timeout| timeout.duration());
        let options = WriteOptions { timeout };
        wait::for_answer(py, timeout.unwrap_or(self.write_timeout), Code::Timeout, |answer| {
            self.store.get()?.write_async(batch, &options, move |written| drop(answer.send(written)))
        })
        .map(Position::from)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Ok(store) = self.store.get() else { return };
        // Joining threads takes a moment, and other Python threads may go on meanwhile.
        Python::attach(|py| {
            let closed: Result<()> = py.detach(|| store.shutdown(Duration::ZERO));
            // Only a callback is refused, and none of ours runs here.
            drop(closed);
        });
    }
}

fn role(role: almadia::core::peer_status::Role) -> String {
    format!("{role:?}").to_lowercase()
}

fn snapshot_options(
    start: Option<Key<'_>>,
    end: Option<Key<'_>>,
    prefix: Option<Key<'_>>,
    level: &str,
    min_index: u64,
    timeout: Option<Timeout>,
) -> PyResult<SnapshotOptions> {
    let level = match level {
        "linearizable" => Level::Linearizable,
        "local" => Level::Local,
        _ => return Err(PyValueError::new_err(format!("level is 'linearizable' or 'local', not '{level}'"))),
    };
    let bytes = |key: Option<Key<'_>>| key.map(|key| key.as_bytes().to_vec()).unwrap_or_default();
    let range = match prefix {
        None => KeyRange { start: bytes(start), end: bytes(end) },
        Some(_) if start.is_some() || end.is_some() => {
            return Err(PyValueError::new_err("a snapshot has a prefix, or a start and an end, not both"));
        }
        Some(prefix) => {
            let start = prefix.as_bytes().to_vec();
            let end = almadia::snapshot::prefix_end(&start).unwrap_or_default();
            KeyRange { start, end }
        }
    };
    let timeout = timeout.map(|timeout| timeout.duration());
    Ok(SnapshotOptions { timeout, level, range, min_index: almadia::types::LogIndex(min_index) })
}
