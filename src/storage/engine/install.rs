//! Puts a staged raft snapshot in the place of a region's data.
//!
//! Owns the second of three steps; the first and the last are batches of the thread that writes. The first deletes the
//! keys of the region and puts it on record that a raft snapshot is being installed (`ApplyBatch::clears`); then
//! [`Engine::install_files`] links the staged files into the database, on any thread, while batches of other regions
//! are written; the last writes the region's record and apply state and ends the first's (`ApplyBatch::installed`). From the first to
//! the last nobody relies on what is read from the region. What always holds: views that were opened before the first show
//! what they did; all keys that are linked become visible at once; the staged files stay as they are, so that all
//! of it can be repeated after a crash, from the first step; no key of another region is touched.
//!
//! **Where the files go.** RocksDB puts a file into the lowest level where no key in it or above is in the file's range,
//! and no table of it spans that range. So what the region had must be gone first, the range deletion included, or the
//! files go into level 0, and are written once more with all that is under them. To have it gone, old tables are removed that have keys of the region only: in time that does not depend on their size, where a compaction
//! reads all of it and meanwhile occupies the one thread that keeps up with other regions. RocksDB removes tables from under
//! views too, so this is done only when no view is as old as the range deletion; otherwise the files go on top, and the
//! rest is left to compactions. It may remove the table that has the range deletion and leave one which begins in another
//! region, so the range is deleted once more; that and the tables at both ends are then compacted.
//! Where a table with keys of both neighbours spans the region, the files do go on top.
//!
//! **Readers.** Without a snapshot RocksDB would give linked keys the sequence number zero, and a view that is opened
//! meanwhile would not show them and then show them; so one is held. What iterators leave out is told before
//! ([`gaps`](super::gaps)).

use std::path::PathBuf;

use rocksdb::{BottommostLevelCompaction, CompactOptions, IngestExternalFileOptions, LiveFile, WriteBatch};

use super::gaps::Stretch;
use super::serialized::SerializedBatch;
use super::{Database, Engine, decode_apply_state, encode, errors};
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::storage::keys;
use crate::types::{ApplyState, RegionId};

/// The sequence number of the oldest snapshot, or 0; the binding has no name for it.
const OLDEST_SNAPSHOT: &str = "rocksdb.oldest-snapshot-sequence";

impl Engine {
    /// Makes the rows in some files the data of `region`, which was cleared before; see the module. `link` returns the files
    /// in the order of their keys, under names that nobody else needs. Returns after they are durable.
    ///
    /// # Errors
    /// `IO`, `NO_SPACE` or `CORRUPTION`, `CLOSED` when the store is closing. Nothing or all of it is visible then; clear the
    /// region, and install again.
    pub(in crate::storage) fn install_files(
        &self,
        region: &Region,
        link: impl FnOnce() -> Result<Vec<PathBuf>>,
    ) -> Result<()> {
        // Views as young as this show nothing of the region.
        let cleared = self.database.db.latest_sequence_number();
        self.flush()?;
        if !self.database.has_view_before(cleared)? {
            self.remove_old(region)?;
        }
        if self.is_stopping() {
            let detail = "the store is closing; the raft snapshot is not installed";
            return Err(Error::with_detail(Code::Closed, detail));
        }
        let files = link()?;
        if files.is_empty() {
            return Ok(());
        }
        self.ingest(region, files)
    }

    /// The raft snapshots that are being installed, by region id: cleared is the region, and not installed what is to come.
    ///
    /// # Errors
    /// `CORRUPTION` when a record cannot be read, `IO` from the disk.
    pub(crate) fn pending_installs(&self) -> Result<Vec<(RegionId, ApplyState)>> {
        let mut options = rocksdb::ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(&[keys::INSTALLING_KIND][..]));
        let records = self.database.db.iterator_cf_opt(self.meta(), options, rocksdb::IteratorMode::Start);
        records
            .map(|record| {
                let (key, state) = record.map_err(errors::failed)?;
                let region = keys::installing_region(&key);
                let region = region.ok_or_else(|| super::damaged("raft snapshot being installed", &key))?;
                Ok((region, decode_apply_state(&key, &state)?))
            })
            .collect()
    }

    /// Removes what is left of a region that is cleared.
    pub(super) fn remove_old(&self, region: &Region) -> Result<()> {
        let Database { db, .. } = &*self.database;
        let tables: Vec<_> = self.database.tables_of(region)?;
        let Some(last) = tables.iter().filter_map(|table| table.end_key.as_deref()).max() else {
            return Ok(());
        };
        let inside = tables.iter().filter_map(|table| table.end_key.as_deref());
        if let Some(last) = inside.filter(|key| region.contains(key)).max() {
            // Both keys are included.
            db.delete_file_in_range_cf(self.database.data(), &region.start_key[..], last)
                .map_err(errors::failed)?;
        }
        let encode = || {
            let mut batch = SerializedBatch::with_capacity(0);
            encode::clear(&self.database, region, &mut batch)?;
            Ok(batch.followed_by(&WriteBatch::default()))
        };
        self.database.writer.write(db, encode)?;
        let mut options = CompactOptions::default();
        // Others may need compactions meanwhile.
        options.set_exclusive_manual_compaction(false);
        // RocksDB may move the range deletion to the last level as it is, where it would be in the way.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        let end = if region.end_key.is_empty() { last } else { &region.end_key };
        db.compact_range_cf_opt(self.database.data(), Some(&region.start_key[..]), Some(end), &options);
        Ok(())
    }

    fn ingest(&self, region: &Region, files: Vec<PathBuf>) -> Result<()> {
        let Region { start_key, end_key, .. } = region;
        let end = Some(&end_key[..]).filter(|end| !end.is_empty());
        let Database { db, gaps, .. } = &*self.database;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        options.set_snapshot_consistency(true);
        let _filling = gaps.begin_filling(Stretch::new(start_key, end));
        let _snapshot = db.snapshot();
        db.ingest_external_file_cf_opts(self.database.data(), &options, files).map_err(errors::failed)
    }
}

impl Database {
    /// Whether there is a view of what was before the write with this number.
    fn has_view_before(&self, sequence: u64) -> Result<bool> {
        let oldest = self.db.property_int_value(OLDEST_SNAPSHOT).map_err(errors::failed)?;
        let oldest = oldest.expect("RocksDB knows the property");
        Ok(oldest != 0 && oldest < sequence)
    }

    /// The tables that may have keys of `region`.
    fn tables_of(&self, region: &Region) -> Result<Vec<LiveFile>> {
        let tables = self.db.live_files().map_err(errors::failed)?.into_iter();
        let overlaps = |table: &LiveFile| {
            let begins = table
                .start_key
                .as_deref()
                .is_some_and(|key| region.end_key.is_empty() || key < region.end_key.as_slice());
            begins && table.end_key.as_deref().is_some_and(|key| key >= region.start_key.as_slice())
        };
        let of_data = |table: &LiveFile| table.column_family_name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        Ok(tables.filter(|table| of_data(table) && overlaps(table)).collect())
    }
}
