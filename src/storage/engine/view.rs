//! Point-in-time views and pinned values.
//!
//! Owns what a reader holds: a [`View`] shows the data as it was when it was opened, whatever is written since,
//! and a [`PinnedValue`] is a value read without a copy. What always holds: both keep the database
//! open, so they may outlive the engine they came from; every live view is counted. When to open a view, so
//! that it is linearizable, is left to the callers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::{DB, DBPinnableSlice, ErrorKind, ReadOptions, ReadTier, Snapshot};
use self_cell::self_cell;

use super::floors::Floor;
use super::gaps::{Stretch, Usable};
use super::iter::{Iter, IterOptions};
use super::{Database, errors, trailer, unversioned};
use crate::error::{Error, Result};
use crate::types::{ApplyState, RegionId, Version};

/// The data at one point in time. Clones are cheap and show the same data; any thread may use any of them.
///
/// A view costs only what it keeps from being cleaned up: overwritten values stay on disk, and some in memory,
/// until it is dropped.
#[derive(Clone)]
pub struct View {
    snapshot: Arc<SnapshotCell>,
}

self_cell!(
    struct SnapshotCell {
        owner: Counted,
        #[covariant]
        dependent: Pinned,
    }
);

/// Reading through a view is reading with options that name its snapshot; they are created once.
struct Pinned<'a> {
    options: ReadOptions,
    snapshot: Snapshot<'a>,
    gaps: Usable,
}

/// One live view of its database; the readers' are counted.
struct Counted {
    database: Arc<Database>,
    is_readers: bool,
}

impl Counted {
    fn of_reader(database: Arc<Database>) -> Self {
        database.live_views.fetch_add(1, Ordering::Relaxed);
        Self { database, is_readers: true }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.is_readers {
            let before = self.database.live_views.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "every view of a reader was counted");
        }
    }
}

impl View {
    pub(super) fn new(database: &Arc<Database>) -> Self {
        Self::open(Counted::of_reader(Arc::clone(database)))
    }

    /// One that lives for part of a batch, and that nobody who asks for live views means.
    pub(super) fn of_writer(database: &Arc<Database>) -> Self {
        Self::open(Counted { database: Arc::clone(database), is_readers: false })
    }

    fn open(counted: Counted) -> Self {
        let snapshot = SnapshotCell::new(counted, |Counted { database, .. }| {
            let (snapshot, gaps) = database.gaps.open(|| database.db.snapshot());
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            Pinned { options, snapshot, gaps }
        });
        Self { snapshot: Arc::new(snapshot) }
    }

    /// The value of `key`, without a copy.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        PinnedValue::read(self.database(), key, self.options(), self.floor_of(key))
    }

    /// The values of `keys`, in the same order, none where there is no such key.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<PinnedValue>>> {
        keys.iter().map(|key| self.get(key.as_ref())).collect()
    }

    /// Like [`View::get_many`], without reading the disk: none when one of the values may be only there.
    #[must_use]
    pub fn get_many_from_memory<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Option<Result<Vec<Option<PinnedValue>>>> {
        let options = self.memory_options();
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let key = key.as_ref();
            match PinnedValue::find(self.database(), key, &options, self.floor_of(key)) {
                Ok(value) => values.push(value),
                Err(failure) if failure.is_not_in_memory() => return None,
                Err(failure) => return Some(Err(failure.into_error(key))),
            }
        }
        Some(Ok(values))
    }

    /// How far the log of `region` is applied in this view: its data reflects this much, neither less nor more.
    ///
    /// # Errors
    /// As [`View::get`]; `CORRUPTION` too when nothing is known of the region.
    pub(crate) fn apply_state(&self, region: RegionId) -> Result<ApplyState> {
        self.database().apply_state(region, self.options()).map_err(errors::failed)?
    }

    /// Like [`View::apply_state`], without reading the disk: none when it may be only there.
    ///
    /// # Errors
    /// As [`View::apply_state`].
    pub(crate) fn apply_state_from_memory(&self, region: RegionId) -> Result<Option<ApplyState>> {
        match self.database().apply_state(region, &self.memory_options()) {
            Ok(state) => state.map(Some),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
            Err(error) => Err(errors::failed(error)),
        }
    }

    /// Copies as much of the value of `key` as fits into `buffer` and returns the full length.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn get_into(&self, key: &[u8], buffer: &mut [u8]) -> Result<Option<usize>> {
        read_into(&self.database().db, key, self.options(), buffer)
    }

    /// An iterator over the view's keys within the bounds of `options`. It keeps the view alive and has no position
    /// until its first seek.
    #[must_use]
    pub fn iter(&self, options: IterOptions) -> Iter {
        Iter::new(self.clone(), options)
    }

    pub(super) fn snapshot(&self) -> &Snapshot<'_> {
        &self.snapshot.borrow_dependent().snapshot
    }

    /// True when versions are not always shown as they are stored.
    pub(super) fn has_floors(&self) -> bool {
        self.database().floors.are_any()
    }

    /// The least version that `key` is shown with.
    pub(super) fn floor_of(&self, key: &[u8]) -> Floor {
        self.database().floors.of_view(key, || self.snapshot().sequence_number())
    }

    /// The gaps that this view's iterators may leave out.
    pub(super) fn gaps(&self) -> &Usable {
        &self.snapshot.borrow_dependent().gaps
    }

    /// An iterator of this view has found `seen` empty.
    pub(super) fn report_gap(&self, seen: Stretch, cost: u64) {
        self.database().gaps.report(self.gaps().at(), seen, cost);
    }

    pub(super) fn noted_cost(&self) -> u64 {
        self.database().gaps.noted_cost()
    }

    /// Options for reads of this view that must not wait for the disk.
    fn memory_options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(self.snapshot());
        options.set_read_tier(ReadTier::BlockCache);
        options
    }

    fn options(&self) -> &ReadOptions {
        &self.snapshot.borrow_dependent().options
    }

    fn database(&self) -> &Arc<Database> {
        &self.snapshot.borrow_owner().database
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.snapshot().sequence_number())
    }
}

/// A value in the engine's memory, usually in its block cache, pinned there until this is dropped.
pub struct PinnedValue {
    value: PinnedCell,
    floor: Floor,
}

self_cell!(
    struct PinnedCell {
        owner: Arc<Database>,
        #[covariant]
        dependent: DBPinnableSlice,
    }
);

impl PinnedValue {
    pub(super) fn read(
        database: &Arc<Database>,
        key: &[u8],
        options: &ReadOptions,
        floor: Floor,
    ) -> Result<Option<Self>> {
        Self::find(database, key, options, floor).map_err(|failure| failure.into_error(key))
    }

    fn find(
        database: &Arc<Database>,
        key: &[u8],
        options: &ReadOptions,
        floor: Floor,
    ) -> std::result::Result<Option<Self>, ReadFailure> {
        let read = PinnedCell::try_new(Arc::clone(database), |database| {
            let stored = database.db.get_pinned_opt(key, options);
            let stored = stored.map_err(|error| Absent::Failed(ReadFailure::Engine(error)))?;
            let stored = stored.ok_or(Absent::Missing)?;
            match trailer::split(&stored) {
                Some(_) => Ok(stored),
                None => Err(Absent::Failed(ReadFailure::Unversioned)),
            }
        });
        match read {
            Ok(value) => Ok(Some(Self { value, floor })),
            Err(Absent::Missing) => Ok(None),
            Err(Absent::Failed(failure)) => Err(failure),
        }
    }

    /// The version of the key: see [`Version`].
    #[must_use]
    pub fn version(&self) -> Version {
        self.floor.effective(self.parts().1)
    }

    fn parts(&self) -> (&[u8], Version) {
        trailer::split(self.value.borrow_dependent()).expect("it was looked at when it was read")
    }
}

/// Why there is no value.
enum Absent {
    Missing,
    Failed(ReadFailure),
}

/// Why a value cannot be read.
enum ReadFailure {
    Engine(rocksdb::Error),
    Unversioned,
}

impl ReadFailure {
    /// The value may be on the disk only.
    fn is_not_in_memory(&self) -> bool {
        matches!(self, Self::Engine(error) if error.kind() == ErrorKind::Incomplete)
    }

    fn into_error(self, key: &[u8]) -> Error {
        match self {
            Self::Engine(error) => errors::failed(error),
            Self::Unversioned => unversioned(key),
        }
    }
}

impl AsRef<[u8]> for PinnedValue {
    fn as_ref(&self) -> &[u8] {
        self.parts().0
    }
}

impl fmt::Debug for PinnedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedValue({} bytes)", self.as_ref().len())
    }
}

pub(super) fn read_into(
    db: &DB,
    key: &[u8],
    options: &ReadOptions,
    buffer: &mut [u8],
) -> Result<Option<usize>> {
    let Some(stored) = db.get_pinned_opt(key, options).map_err(errors::failed)? else { return Ok(None) };
    let (value, _) = trailer::split(&stored).ok_or_else(|| unversioned(key))?;
    let copied = value.len().min(buffer.len());
    buffer[..copied].copy_from_slice(&value[..copied]);
    Ok(Some(value.len()))
}
