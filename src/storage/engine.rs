//! The engine: user data and apply states in one RocksDB.
//!
//! Owns the database in a store's `data` directory: column family `default` holds user keys as they are and behind
//! each value its version ([`trailer`]), `meta`
//! holds each region and how far it has applied ([`keys`]). Readers are shown no version below the [floor](floors) of the
//! key's region. What always holds: a batch's data and
//! its apply states change together, in memory, on disk and after a crash, because they are one write and both
//! column families are flushed together. There is no write-ahead log: what was not flushed is lost in a crash
//! and applied again from the raft log, whose truncation therefore follows
//! [`Engine::flushed_apply_state`]. After a failed write or flush the engine can only be read.
//! What an entry means is left to the applier, when to flush and when to truncate to the pollers.

mod at_exit;
mod convert;
mod cursor;
mod encode;
mod errors;
mod export;
mod floors;
mod gaps;
mod install;
mod iter;
mod options;
mod serialized;
mod stall;
mod stored;
mod table_file;
#[cfg(test)]
mod tests;
mod threads;
mod trailer;
mod view;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rocksdb::properties::CUR_SIZE_ACTIVE_MEM_TABLE;
use rocksdb::{ColumnFamily, DB, FlushOptions, IteratorMode, ReadOptions, ReadTier};

use self::at_exit::Alive;
pub(crate) use self::export::{Export, Rows};
pub(crate) use self::floors::Floor;
use self::floors::Floors;
use self::gaps::{Gaps, Writing};
pub use self::iter::{Iter, IterOptions, prefix_end};
pub use self::options::EngineOptions;
use self::stall::Writer;
pub(in crate::storage) use self::table_file::TableFile;
use self::threads::SharedThreads;
pub use self::view::PinnedValue;
pub(crate) use self::view::View;
use crate::core::applier::ApplyBatch;
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::storage::keys;
use crate::types::{ApplyState, LogIndex, RegionId};

const META: &str = "meta";
/// A smaller memtable slows no get down, and each flush leaves a table for compactions.
const REPLAYED_MIN: u64 = 1 << 20;

/// An open engine. Clones share it; any thread may use any of them, but one thread writes at a time.
///
/// The database is closed when the last of the engine, its views, values and iterators is dropped, on that thread.
/// Closing does not flush: what is only in memory is applied again from the raft log, as after a crash.
#[derive(Clone)]
pub struct Engine {
    database: Arc<Database>,
}

/// Kept alive by the engine and its views, values and iterators.
struct Database {
    // Invariant: declared before what must outlive it. So the files are closed before the directory is released.
    db: DB,
    reads: ReadOptions,
    writer: Writer,
    gaps: Gaps,
    floors: Floors,
    /// A range deletion was written since the last read by the writer.
    has_new_ranges: AtomicBool,
    /// How often a condition looked for a key.
    looks: AtomicU64,
    /// Set once nothing is left to be done so that memtables have filters: the one that is filled now has one.
    has_filters: AtomicBool,
    live_views: AtomicUsize,
    is_stopping: AtomicBool,
    _threads: SharedThreads,
    _alive: Alive,
    _guard: Arc<dyn Any + Send + Sync>,
}

impl Engine {
    /// Creates a database in `directory`, which must hold none. `guard` is dropped after the database is closed,
    /// which may be later than the engine is dropped.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION` from the disk, `IO` when the operating system refuses a thread.
    pub fn create(
        directory: &Path,
        options: &EngineOptions,
        guard: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        Self::start(directory, guard, || {
            let mut tuning = options::tuning(options)?;
            tuning.database.create_if_missing(true);
            tuning.database.create_missing_column_families(true);
            tuning.database.set_error_if_exists(true);
            Ok(tuning)
        })
    }

    /// Opens the database in `directory`, which must hold one. `guard` is dropped after the database is closed,
    /// which may be later than the engine is dropped.
    ///
    /// # Errors
    /// `CORRUPTION` when a file is damaged or missing, else as [`Engine::create`].
    pub fn open(
        directory: &Path,
        options: &EngineOptions,
        guard: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        Self::start(directory, guard, || options::tuning(options))
    }

    fn start(
        directory: &Path,
        guard: Arc<dyn Any + Send + Sync>,
        tuning: impl FnOnce() -> Result<options::Tuning>,
    ) -> Result<Self> {
        let alive = Alive::new();
        let (threads, db) = SharedThreads::open_with(|| {
            let options::Tuning { database, families } = tuning()?;
            DB::open_cf_descriptors(&database, directory, families)
                .map_err(|error| errors::open_failed(directory, error))
        })?;
        let database = Database {
            db,
            reads: ReadOptions::default(),
            writer: Writer::default(),
            gaps: Gaps::default(),
            floors: Floors::default(),
            has_new_ranges: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            has_filters: AtomicBool::new(false),
            live_views: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            _threads: threads,
            _alive: alive,
            _guard: guard,
        };
        Ok(Self { database: Arc::new(database) })
    }

    /// Writes a new member's initial regions, each with `state`, and flushes them.
    ///
    /// # Errors
    /// As [`Engine::flush`].
    pub fn bootstrap(&self, regions: &[Region], state: ApplyState) -> Result<()> {
        let mut batch = ApplyBatch::default();
        batch.states = regions.iter().map(|region| (region.id, state)).collect();
        batch.regions = regions.to_vec();
        self.write(&batch)?;
        self.flush()
    }

    /// Every region with its apply state, by region id. Right after open that is the flushed state.
    ///
    /// # Errors
    /// `CORRUPTION` when a record cannot be read or a region has no apply state, `IO` from the disk.
    pub fn regions(&self) -> Result<Vec<(Region, ApplyState)>> {
        // Both kinds of records are read from one snapshot.
        let snapshot = self.database.db.snapshot();
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(&[keys::REGION_KIND][..]));
        let records = snapshot.iterator_cf_opt(self.meta(), options, IteratorMode::Start);
        records
            .map(|record| {
                let (key, value) = record.map_err(errors::failed)?;
                let region = Region::decode(&value).ok_or_else(|| damaged("region", &key))?;
                let key = keys::apply_state(region.id);
                let state = snapshot.get_cf(self.meta(), key).map_err(errors::failed)?;
                let state = state.ok_or_else(|| damaged("missing apply state", &key))?;
                Ok((region, decode_apply_state(&key, &state)?))
            })
            .collect()
    }

    /// Applies a batch atomically: data, apply states and regions. It is durable only once it is flushed. Blocks while
    /// the memtables are full and wait for the disk.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION` when this or an earlier flush or compaction failed. Nothing of the
    /// batch is visible then, and nothing should be written any more.
    pub fn write(&self, batch: &ApplyBatch) -> Result<()> {
        let _writing = self.begin_write(batch);
        self.database.writer.write(&self.database.db, || encode::encode(&self.database, batch))?;
        self.raise_floors(batch);
        self.sort_ranges();
        Ok(())
    }

    /// Flushes the memtables and waits for that, and first for compactions that are far behind.
    /// [`Engine::stop_background_work`] ends the wait.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION` when this or an earlier flush or compaction failed.
    pub fn flush(&self) -> Result<()> {
        self.database.flush_families(&FlushOptions::default())
    }

    /// Starts to flush the memtables without waiting: the progress shows in [`Engine::flushed_apply_state`]. Does
    /// nothing while a flush is running or compactions are far behind; call it again later.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION` when an earlier flush or compaction failed.
    pub fn start_flush(&self) -> Result<()> {
        self.database.start_flush().map(drop)
    }

    /// Starts to flush what a start has applied again, if it is more than `REPLAYED_MIN`: a get searches the memtable
    /// before any table, and it may be long until it is full.
    ///
    /// # Errors
    /// As [`Engine::start_flush`].
    pub(crate) fn start_flush_after_replay(&self) -> Result<()> {
        let bytes = stall::property(&self.database.db, CUR_SIZE_ACTIVE_MEM_TABLE)?;
        if bytes < REPLAYED_MIN {
            return Ok(());
        }
        match self.start_flush() {
            // The store is closing. Anything left unflushed is in the raft log.
            Err(_) if self.is_stopping() => Ok(()),
            started => started,
        }
    }

    /// Like [`Engine::write`], but never waits: false when the engine stalls writes, and then nothing of the batch is
    /// visible.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn try_write(&self, batch: &ApplyBatch) -> Result<bool> {
        let _writing = self.begin_write(batch);
        let encoded = encode::encode(&self.database, batch)?;
        let is_written = self.database.writer.try_write(&self.database.db, encoded)?;
        if is_written {
            self.raise_floors(batch);
        }
        self.sort_ranges();
        Ok(is_written)
    }

    /// Nobody has heard of the batch yet, and a batch that raises a level has nothing of its region behind that.
    fn raise_floors(&self, batch: &ApplyBatch) {
        for region in batch.regions.iter().filter(|region| region.floor_index > LogIndex(0)) {
            self.raise_floor(&region.start_key, region.floor_index);
        }
    }

    /// Pays for what the first read after a range deletion pays: RocksDB sorts those in memory again. So a batch pays it
    /// once, and not whoever reads next.
    fn sort_ranges(&self) {
        if self.database.has_new_ranges.swap(false, Ordering::Relaxed) {
            let mut in_memory = ReadOptions::default();
            in_memory.set_read_tier(ReadTier::BlockCache);
            // Whether there is such a key, or it can be read at all, is no matter.
            let _ = self.database.db.get_pinned_opt([], &in_memory);
        }
    }

    fn begin_write(&self, batch: &ApplyBatch) -> Writing<'_> {
        self.database.gaps.begin_write(batch.changes().filter_map(|(change, _)| change.put_key()))
    }

    /// The apply state of `region` that a crash now would leave; none for a region that is not on disk. The raft log
    /// must be kept from there on.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn flushed_apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let key = keys::apply_state(region);
        let stored =
            self.database.db.get_pinned_cf_opt(self.meta(), key, &options).map_err(errors::failed)?;
        stored.map(|state| decode_apply_state(&key, &state)).transpose()
    }

    /// How far `region` is applied: the data now, and in any later view, reflects this much or more.
    ///
    /// # Errors
    /// As [`Engine::get`]; `CORRUPTION` too when nothing is known of the region.
    pub(crate) fn apply_state(&self, region: RegionId) -> Result<ApplyState> {
        self.database.apply_state(region, &self.database.reads).map_err(errors::failed)?
    }

    /// A view of the data as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        View::new(&self.database)
    }

    /// How many views are alive, not counting clones. Iterators keep theirs alive.
    #[must_use]
    pub fn live_views(&self) -> usize {
        self.database.live_views.load(Ordering::Relaxed)
    }

    /// The value of `key` as it is now, without a copy. Cheaper than a view for one read.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        let floor = self.database.floors.of_latest(key);
        PinnedValue::read(&self.database, key, &self.database.reads, floor)
    }

    /// Copies as much of the value of `key` as fits into `buffer` and returns the full length.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn get_into(&self, key: &[u8], buffer: &mut [u8]) -> Result<Option<usize>> {
        view::read_into(&self.database.db, key, &self.database.reads, buffer)
    }

    /// Stops flushes and compactions and makes whoever waits for them return with an error. Writing continues until the
    /// memtables are full, reading forever.
    pub fn stop_background_work(&self) {
        self.database.is_stopping.store(true, Ordering::SeqCst);
        self.database.db.cancel_all_background_work(false);
    }

    /// True once background work is stopped: later errors may be due to that.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.database.is_stopping.load(Ordering::SeqCst)
    }

    fn meta(&self) -> &ColumnFamily {
        self.database.meta()
    }
}

impl Database {
    fn data(&self) -> &ColumnFamily {
        self.family(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
    }

    fn meta(&self) -> &ColumnFamily {
        self.family(META)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("both column families are opened with the database")
    }

    /// As [`Engine::start_flush`]. True when it has started.
    fn start_flush(&self) -> Result<bool> {
        if stall::flush_would_wait(&self.db)? {
            return self.writer.probe(&self.db).map(|()| false);
        }
        let mut options = FlushOptions::default();
        options.set_wait(false);
        self.flush_families(&options).map(|()| true)
    }

    fn flush_families(&self, options: &FlushOptions) -> Result<()> {
        self.db.flush_cfs_opt(&[self.data(), self.meta()], options).map_err(errors::failed)
    }

    /// How far `region` is applied in what `options` show.
    fn apply_state(
        &self,
        region: RegionId,
        options: &ReadOptions,
    ) -> std::result::Result<Result<ApplyState>, rocksdb::Error> {
        let key = keys::apply_state(region);
        let stored = self.db.get_pinned_cf_opt(self.meta(), key, options)?;
        Ok(match stored {
            Some(state) => decode_apply_state(&key, &state),
            None => Err(damaged("missing apply state", &key)),
        })
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("directory", &self.database.db.path()).finish_non_exhaustive()
    }
}

/// Whether a stored value has its version behind it, as all have.
pub(in crate::storage) fn has_version(stored: &[u8]) -> bool {
    trailer::split(stored).is_some()
}

fn decode_apply_state(key: &[u8], stored: &[u8]) -> Result<ApplyState> {
    keys::decode_apply_state(stored).ok_or_else(|| damaged("apply state", key))
}

/// What a reader of `key` is told whose value has no version.
fn unversioned(key: &[u8]) -> Error {
    Error::with_detail(Code::Corruption, format!("engine, key {key:02x?}: a value without its version"))
}

fn damaged(what: &str, key: &[u8]) -> Error {
    Error::with_detail(Code::Corruption, format!("engine, column family {META}, key {key:02x?}: {what}"))
}
