//! The open store: blocking calls, with the GIL released.
//!
//! Owns the compiled half of `almadia.Store`. What always holds: no call holds the GIL while it waits; a child process
//! never touches the store it inherited.

use std::ffi::OsString;
use std::time::Duration;

use almadia::{Code, KeyRange, PinnedValue, Reply, Result};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::arguments::{Key, MinIndex, Range, ReadLevel, Timeout, Value};
use crate::batch::Batch;
use crate::calls::{
    bytes, delete_batch, delete_range_batch, list, put_batch, read_options, snapshot_options,
    transfer_options, versioned, write_options,
};
use crate::errors::{OrRaise, instance};
use crate::exit::detached;
use crate::fork_guard::ForkGuarded;
use crate::members::{self, Change};
use crate::options::configuration;
use crate::position::Position;
use crate::results::only;
use crate::snapshot::Snapshot;
use crate::wait;

/// The compiled part of a store.
#[pyclass(module = "almadia._almadia", frozen, weakref)]
pub struct Store {
    store: ForkGuarded<almadia::Store>,
    /// The number of this member.
    #[pyo3(get)]
    node: u64,
    /// Default timeout of a wait for a leader, or for data.
    read_timeout: Duration,
    /// Default timeout of a write.
    write_timeout: Duration,
}

#[pymethods]
impl Store {
    /// Opens the member whose directory is `path`, with options given by name.
    #[new]
    fn new(py: Python<'_>, path: OsString, options: Vec<(String, String)>) -> PyResult<Self> {
        let config = configuration(py, &options)?;
        let number = |name| {
            let text = config.get(name).or_raise(py)?;
            Ok::<u64, PyErr>(text.parse().expect("the option table requires a number"))
        };
        let node = number("cluster.node_id")?;
        let read_timeout = Duration::from_millis(number("read.timeout_ms")?);
        let write_timeout = Duration::from_millis(number("write.timeout_ms")?);
        let open = || almadia::Store::open(&path, &config).map(ForkGuarded::new);
        let store = detached(py, open).or_raise(py)?;
        Ok(Self { store, node, read_timeout, write_timeout })
    }

    fn put(
        &self,
        py: Python<'_>,
        key: Key<'_>,
        value: Value<'_>,
        timeout: Option<Timeout>,
    ) -> PyResult<Position> {
        self.commit(py, &mut put_batch(py, &key, &value)?, timeout).map(Position::from)
    }

    fn delete(&self, py: Python<'_>, key: Key<'_>, timeout: Option<Timeout>) -> PyResult<Position> {
        self.commit(py, &mut delete_batch(py, &key)?, timeout).map(Position::from)
    }

    fn delete_range(
        &self,
        py: Python<'_>,
        start: Option<Key<'_>>,
        end: Option<Key<'_>>,
        timeout: Option<Timeout>,
    ) -> PyResult<Position> {
        self.commit(py, &mut delete_range_batch(py, &start, &end)?, timeout).map(Position::from)
    }

    /// The parts of a range that lie in one region each, in the order of their keys, as pairs of start and end. What
    /// lies in one region, or in none because it is empty or reversed, is returned as it is.
    #[allow(clippy::type_complexity)] // Pairs of bytes, read by one function of the Python package.
    fn parts<'py>(
        &self,
        py: Python<'py>,
        keys: Range<'py>,
    ) -> PyResult<Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let KeyRange { start, end } = keys.keys()?;
        let is_before = |key: &[u8], end: &[u8]| end.is_empty() || key < end;
        let parts = self.store.get().or_raise(py)?.regions().into_iter().filter_map(|region| {
            let first = region.start_key.max(&start);
            let ends = [region.end_key, &end].into_iter().filter(|end| !end.is_empty());
            let last = ends.min().unwrap_or_default();
            is_before(first, last).then(|| (PyBytes::new(py, first), PyBytes::new(py, last)))
        });
        let parts: Vec<_> = parts.collect();
        Ok(if parts.is_empty() { vec![(PyBytes::new(py, &start), PyBytes::new(py, &end))] } else { parts })
    }

    fn write(&self, py: Python<'_>, batch: &Batch, timeout: Option<Timeout>) -> PyResult<Position> {
        let mut taken = std::mem::take(&mut batch.lock().batch);
        let kept = taken.clone();
        let written = self.commit(py, &mut taken, timeout);
        batch.settle(written.as_ref().ok().cloned(), kept);
        written.map(Position::from)
    }

    /// Writes a batch of one operation, and returns its result.
    fn compute<'py>(
        &self,
        py: Python<'py>,
        batch: &Batch,
        timeout: Option<Timeout>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut taken = std::mem::take(&mut batch.lock().batch);
        only(py, self.commit(py, &mut taken, timeout)?)
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
        level: ReadLevel,
        min_index: MinIndex,
        timeout: Option<Timeout>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let found = self.read(py, &key, &level, &min_index, timeout)?;
        Ok(bytes(py, found.as_ref()))
    }

    fn get_with_position<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
        level: ReadLevel,
        min_index: MinIndex,
        timeout: Option<Timeout>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, Position)> {
        let key = key.as_bytes();
        let options = read_options(&level, &min_index, timeout);
        let (found, position) = wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).get_with_position(key, &options, |found| slot.put(found))
        })?;
        Ok((bytes(py, found.as_ref()), position.into()))
    }

    fn get_with_version<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
        level: ReadLevel,
        min_index: MinIndex,
        timeout: Option<Timeout>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, u64)> {
        let found = self.read(py, &key, &level, &min_index, timeout)?;
        Ok(versioned(py, found.as_ref()))
    }

    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Key<'_>>,
        level: ReadLevel,
        min_index: MinIndex,
        timeout: Option<Timeout>,
    ) -> PyResult<Bound<'py, PyList>> {
        let keys: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
        let options = read_options(&level, &min_index, timeout);
        let found = wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).get_many(&keys, &options, |found| slot.put(found))
        })?;
        list(py, &found)
    }

    fn snapshot(
        &self,
        py: Python<'_>,
        keys: Range<'_>,
        level: ReadLevel,
        min_index: MinIndex,
        timeout: Option<Timeout>,
    ) -> PyResult<Snapshot> {
        let options = snapshot_options(&keys, &level, &min_index, timeout)?;
        wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).snapshot(&options, |taken| slot.put(taken))
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
        let options = transfer_options(target, &key, timeout);
        wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).transfer_leader(&options, |done| slot.put(done))
        })
    }

    fn change_members(&self, py: Python<'_>, changes: Vec<Change>, timeout: Option<Timeout>) -> PyResult<()> {
        let changes = Change::all(changes);
        let timeout = timeout.map(|timeout| timeout.duration());
        wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).change_members(&changes, timeout, |done| slot.put(done))
        })
    }

    /// Timeout of a write in seconds: the one that is given, or the default.
    fn write_seconds(&self, timeout: Option<Timeout>) -> f64 {
        timeout.map_or(self.write_timeout, |timeout| timeout.duration()).as_secs_f64()
    }

    fn wait_leader(&self, py: Python<'_>, timeout: Option<Timeout>) -> PyResult<u64> {
        let timeout = timeout.map_or(self.read_timeout, |timeout| timeout.duration());
        let leader =
            wait::in_slices(py, timeout, Code::NoLeader, |slice| self.store.get()?.wait_leader(slice))?;
        Ok(leader.get())
    }

    fn wait_ready(&self, py: Python<'_>, timeout: Option<Timeout>) -> PyResult<()> {
        let timeout = timeout.map_or(self.read_timeout, |timeout| timeout.duration());
        wait::in_slices(py, timeout, Code::ReadTimeout, |slice| self.store.get()?.wait_ready(slice))
    }

    fn close(&self, py: Python<'_>, timeout: Timeout) -> PyResult<()> {
        detached(py, || match self.store.get() {
            Ok(store) => store.shutdown(timeout.duration()),
            // A child process must not close its parent's store.
            Err(_) => Ok(()),
        })
        .or_raise(py)
    }

    /// The fields of `almadia.Status`.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let status = self.store.get().or_raise(py)?.status();
        let poisoned = status.poisoned.as_ref().map(|error| instance(py, error)).transpose()?;
        let member = (status.node.get(), status.leader.map(almadia::NodeId::get), role(status.role));
        let indexes = (
            status.term.get(),
            status.commit_index.get(),
            status.applied_index.get(),
            status.last_index.get(),
        );
        let counts = (status.in_flight, status.live_snapshots);
        let log = (status.log_bytes, status.log_segments, status.log_holder.map(almadia::NodeId::get));
        let parts = [member.into_pyobject(py)?, indexes.into_pyobject(py)?, counts.into_pyobject(py)?];
        let moving = (status.snapshots_sending, status.snapshots_receiving, poisoned);
        let parts = parts.into_iter().chain([log.into_pyobject(py)?, moving.into_pyobject(py)?]);
        let fields: Vec<_> = parts.flat_map(|part| part.iter()).collect();
        PyTuple::new(py, fields)
    }

    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let store = self.store.get().or_raise(py)?;
        Ok(detached(py, || store.metrics()))
    }

    /// The fields of `almadia.membership.MemberTable`.
    fn members<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        members::table(py, self.store.get().or_raise(py)?.members())
    }

    /// The fields of `almadia.RaftSnapshotStatus`, for each raft snapshot.
    fn raft_snapshots<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let snapshots = self.store.get().or_raise(py)?.raft_snapshots();
        let fields = snapshots.into_iter().map(|snapshot| {
            (
                snapshot.region.get(),
                snapshot.from.map(almadia::NodeId::get),
                snapshot.to.get(),
                snapshot.index.get(),
                snapshot.bytes,
                snapshot.bytes_estimate,
                format!("{:?}", snapshot.stage).to_lowercase(),
            )
        });
        PyList::new(py, fields.collect::<Vec<_>>())
    }

    /// The fields of `almadia.RegionStatus`, for each region.
    fn regions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let regions = self.store.get().or_raise(py)?.regions();
        let fields = regions.into_iter().map(|region| {
            (
                region.id.get(),
                PyBytes::new(py, region.start_key),
                PyBytes::new(py, region.end_key),
                region.leader.map(almadia::NodeId::get),
                role(region.role),
                region.term.get(),
                region.commit_index.get(),
                region.applied_index.get(),
                region.last_index.get(),
                region.feature_level,
                region.installing,
                region.helped,
            )
        });
        PyList::new(py, fields.collect::<Vec<_>>())
    }
}

impl Store {
    /// The store; raises `ForkedError` in a child process.
    pub fn open(&self, py: Python<'_>) -> PyResult<&almadia::Store> {
        self.store.get().or_raise(py)
    }

    fn read(
        &self,
        py: Python<'_>,
        key: &Key<'_>,
        level: &ReadLevel,
        min_index: &MinIndex,
        timeout: Option<Timeout>,
    ) -> PyResult<Option<PinnedValue>> {
        let key = key.as_bytes();
        let options = read_options(level, min_index, timeout);
        wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).get(key, &options, |found| slot.put(found))
        })
    }

    fn commit(
        &self,
        py: Python<'_>,
        batch: &mut almadia::Batch,
        timeout: Option<Timeout>,
    ) -> PyResult<Reply> {
        let options = write_options(timeout);
        wait::for_answer(py, |queue, slot| {
            self.store.get()?.on(queue).write(batch, &options, |written| slot.put(written))
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Ok(store) = self.store.get() else { return };
        // Joining threads takes a moment, and other Python threads may run meanwhile.
        Python::attach(|py| {
            let closed: Result<()> = detached(py, || store.shutdown(Duration::ZERO));
            // Threads that have not ended by then end without anyone waiting for them.
            drop(closed);
        });
    }
}

fn role(role: almadia::Role) -> String {
    format!("{role:?}").to_lowercase()
}
