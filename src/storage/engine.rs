//! The engine: user data and apply states in one RocksDB.
//!
//! Owns the database in a store's `data` directory: column family `default` holds user keys as they are, `meta`
//! holds each region and how far it has applied ([`keys`]). What always holds: a batch's data and
//! its apply states change together, in memory, on disk and after a crash, because they are one write and both
//! column families are flushed together. There is no write-ahead log: what was not flushed is gone after a
//! crash and applied again from the raft log, whose truncation therefore follows
//! [`Engine::flushed_apply_state`]. After an error of a write or a flush the engine is only good for reading.
//! What an entry means is left to the applier, when to flush and when to truncate to the pollers.

mod at_exit;
mod errors;
mod iter;
mod options;
mod stall;
#[cfg(test)]
mod tests;
mod view;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rocksdb::{ColumnFamily, DB, FlushOptions, IteratorMode, ReadOptions, ReadTier, WriteBatch};

use self::at_exit::Alive;
pub use self::iter::{Iter, IterOptions, prefix_end};
pub use self::options::EngineOptions;
use self::stall::Writer;
pub use self::view::{PinnedValue, View};
use crate::core::applier::ApplyBatch;
use crate::core::command::Operation;
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::storage::keys;
use crate::types::{ApplyState, RegionId};

const META: &str = "meta";

/// An open engine. Clones share it; any thread may use any of them, but one thread writes at a time.
///
/// The last of the engine, its views, values and iterators to go closes the database, on the thread that drops
/// it. That does not flush: what is only in memory is left to the raft log, as after a crash.
#[derive(Clone)]
pub struct Engine {
    database: Arc<Database>,
}

/// What engine, views, values and iterators keep alive together.
struct Database {
    // Invariant: declared before `_guard`, so that the files are closed before the directory is let go.
    db: DB,
    reads: ReadOptions,
    writer: Writer,
    live_views: AtomicUsize,
    is_stopping: AtomicBool,
    _alive: Alive,
    _guard: Arc<dyn Any + Send + Sync>,
}

impl Engine {
    /// Makes a new database in `directory`, which must hold none. `guard` is let go after the database is
    /// closed, which may be later than the engine is dropped.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `PERMISSION` from the disk.
    pub fn create(
        directory: &Path,
        options: &EngineOptions,
        guard: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        let mut tuning = options::tuning(options)?;
        tuning.database.create_if_missing(true);
        tuning.database.create_missing_column_families(true);
        tuning.database.set_error_if_exists(true);
        Self::start(directory, tuning, guard)
    }

    /// Opens the database in `directory`, which must hold one. `guard` is let go after the database is closed,
    /// which may be later than the engine is dropped.
    ///
    /// # Errors
    /// `CORRUPTION` when a file is damaged or missing, else as [`Engine::create`].
    pub fn open(
        directory: &Path,
        options: &EngineOptions,
        guard: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        Self::start(directory, options::tuning(options)?, guard)
    }

    fn start(directory: &Path, tuning: options::Tuning, guard: Arc<dyn Any + Send + Sync>) -> Result<Self> {
        let alive = Alive::new();
        let db = DB::open_cf_descriptors(&tuning.database, directory, tuning.families)
            .map_err(|error| errors::open_failed(directory, error))?;
        let database = Database {
            db,
            reads: ReadOptions::default(),
            writer: Writer::default(),
            live_views: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            _alive: alive,
            _guard: guard,
        };
        Ok(Self { database: Arc::new(database) })
    }

    /// Writes the regions a member begins with, each with `state`, and flushes them.
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
        // Both kinds of records are read as of one moment.
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

    /// Makes a batch visible, all at once: data, then apply states and regions. It lasts only once it is
    /// flushed. Blocks while memory is full of data that waits for the disk.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION` when this or an earlier flush or compaction failed. Nothing of the
    /// batch is visible then, and nothing should be written any more.
    pub fn write(&self, batch: &ApplyBatch) -> Result<()> {
        self.database.writer.write(&self.database.db, || self.encode(batch))
    }

    /// Writes everything that is in memory to disk and waits for it, and first for compactions that are far
    /// behind. [`Engine::stop_background_work`] ends the wait.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION` when this or an earlier flush or compaction failed.
    pub fn flush(&self) -> Result<()> {
        self.flush_families(&FlushOptions::default())
    }

    /// Starts to write everything that is in memory to disk, and does not wait for it: the progress shows in
    /// [`Engine::flushed_apply_state`]. Does nothing while a flush is under way or compactions are far behind;
    /// ask again later.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION` when an earlier flush or compaction failed.
    pub fn start_flush(&self) -> Result<()> {
        let db = &self.database.db;
        if stall::flush_would_wait(db)? {
            return self.database.writer.probe(db);
        }
        let mut options = FlushOptions::default();
        options.set_wait(false);
        self.flush_families(&options)
    }

    /// As [`Engine::write`], but never waits: false when the engine holds writers back, and nothing of the batch is
    /// visible then.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn try_write(&self, batch: &ApplyBatch) -> Result<bool> {
        self.database.writer.try_write(&self.database.db, self.encode(batch))
    }

    fn flush_families(&self, options: &FlushOptions) -> Result<()> {
        self.database.db.flush_cfs_opt(&[self.data(), self.meta()], options).map_err(errors::failed)
    }

    /// The apply state of `region` that a crash right now would leave; none for a region that is not on disk.
    /// The raft log must be kept from there on.
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
        PinnedValue::read(&self.database, key, &self.database.reads)
    }

    /// Copies as much of the value of `key` as fits into `buffer` and says how long the whole is.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn get_into(&self, key: &[u8], buffer: &mut [u8]) -> Result<Option<usize>> {
        view::read_into(&self.database.db, key, &self.database.reads, buffer)
    }

    /// Ends flushes and compactions and frees whoever waits for them, with an error. Writing goes on until
    /// memory is full, reading for ever.
    pub fn stop_background_work(&self) {
        self.database.is_stopping.store(true, Ordering::SeqCst);
        self.database.db.cancel_all_background_work(false);
    }

    /// True from the moment at which background work is stopped: what fails from then on may have failed for that.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.database.is_stopping.load(Ordering::SeqCst)
    }

    fn encode(&self, batch: &ApplyBatch) -> WriteBatch {
        let mut encoded = WriteBatch::with_capacity_bytes(encoded_bytes_max(batch));
        for operation in batch.writes.iter().flat_map(|write| write.operations()) {
            match operation {
                Operation::Put { key, value } => encoded.put(key, value),
                Operation::Delete { key } => encoded.delete(key),
                // RocksDB refuses a reversed range with an error; to us it holds no keys.
                Operation::DeleteRange { begin, end } if begin >= end => {}
                Operation::DeleteRange { begin, end } => encoded.delete_range(begin, end),
            }
        }
        let meta = self.meta();
        for region in &batch.regions {
            encoded.put_cf(meta, keys::region(region.id), region.encode());
        }
        for (region, state) in &batch.states {
            encoded.put_cf(meta, keys::apply_state(*region), keys::encode_apply_state(*state));
        }
        encoded
    }

    fn data(&self) -> &ColumnFamily {
        self.family(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
    }

    fn meta(&self) -> &ColumnFamily {
        self.family(META)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.database.db.cf_handle(name).expect("both column families are opened with the database")
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("directory", &self.database.db.path()).finish_non_exhaustive()
    }
}

/// Enough for the encoded batch in one allocation, give or take its regions.
fn encoded_bytes_max(batch: &ApplyBatch) -> usize {
    const META_RECORD_BYTES: usize = 4 + keys::KEY_BYTES + keys::APPLY_STATE_BYTES;
    const RECORD_GROWTH: usize = 8; // Lengths of up to five bytes where a command has shorter ones.
    let operations: usize = batch.writes.iter().map(|write| write.encoded_bytes() + RECORD_GROWTH).sum();
    64 + operations + batch.states.len() * META_RECORD_BYTES + batch.regions.len() * 256
}

fn decode_apply_state(key: &[u8], stored: &[u8]) -> Result<ApplyState> {
    keys::decode_apply_state(stored).ok_or_else(|| damaged("apply state", key))
}

fn damaged(what: &str, key: &[u8]) -> Error {
    Error::with_detail(Code::Corruption, format!("engine, column family {META}, key {key:02x?}: {what}"))
}
