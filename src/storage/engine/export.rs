//! A region as it is at one apply state, to be sent to another member.
//!
//! Owns [`Export`]: a view of the region, and what it is of. What always holds: record, apply state and rows are of one
//! moment; a region in which a raft snapshot is being installed is not exported; nobody who asks for live views means an
//! export's; reading it leaves the block cache to others. How rows travel is left to those who send them.

use rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
use rocksdb::{DB, Range};

use super::cursor::Cursor;
use super::view::View;
use super::{
    Database, Engine, IterOptions, damaged, decode_apply_state, errors, stall, trailer, unversioned,
};
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::error::Result;
use crate::storage::keys;
use crate::types::RegionId;

/// Rows are read from the disk in pieces of this size.
const READAHEAD_BYTES: usize = 2 << 20;
/// Where the size of a range without an end is estimated up to.
const LARGE_KEY: [u8; 64] = [0xff; 64];

/// See the module. Any thread may use it. It keeps what it shows from being cleaned up, as every view.
pub(crate) struct Export {
    head: SnapshotHead,
    bytes_estimate: u64,
    view: View,
}

impl Engine {
    /// The data of `region` as they are now; none while a raft snapshot is being installed in it.
    ///
    /// # Errors
    /// `CORRUPTION` when a record is damaged or missing, `IO` from the disk.
    pub(crate) fn export(&self, region: RegionId) -> Result<Option<Export>> {
        let view = View::of_writer(&self.database);
        let record = |key| view.snapshot().get_cf(self.meta(), key).map_err(errors::failed);
        if record(keys::installing(region))?.is_some() {
            return Ok(None);
        }
        let (key, state_key) = (keys::region(region), keys::apply_state(region));
        let stored = record(key)?.ok_or_else(|| damaged("missing region", &key))?;
        let region = Region::decode(&stored).ok_or_else(|| damaged("region", &key))?;
        let state = record(state_key)?.ok_or_else(|| damaged("missing apply state", &state_key))?;
        let state = decode_apply_state(&state_key, &state)?;
        let bytes_estimate = self.database.estimate(&region)?;
        Ok(Some(Export { head: SnapshotHead { region, state }, bytes_estimate, view }))
    }
}

impl Database {
    /// About how many bytes of tables hold `region`; what is in memory counts as a whole.
    fn estimate(&self, region: &Region) -> Result<u64> {
        let end = if region.end_key.is_empty() { &LARGE_KEY } else { region.end_key.as_slice() };
        let range = Range::new(&region.start_key, end);
        let in_tables: u64 = self.db.get_approximate_sizes_cf(self.data(), &[range]).iter().sum();
        Ok(in_tables + memtable_bytes(&self.db)?)
    }
}

fn memtable_bytes(db: &DB) -> Result<u64> {
    stall::property(db, CUR_SIZE_ALL_MEM_TABLES)
}

impl Export {
    /// Of what it is.
    #[must_use]
    pub(crate) fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// Roughly how much is to be read.
    #[must_use]
    pub(crate) fn bytes_estimate(&self) -> u64 {
        self.bytes_estimate
    }

    /// The rows behind `after`, or all, in the order of their keys.
    #[must_use]
    pub(crate) fn rows(&self, after: Option<&[u8]>) -> Rows {
        let Region { start_key, end_key, .. } = &self.head.region;
        let behind = after.map(|after| [after, &[0]].concat());
        let options = IterOptions {
            lower: Some(behind.unwrap_or_default().max(start_key.clone())),
            upper: Some(end_key.clone()).filter(|end| !end.is_empty()),
            readahead_bytes: READAHEAD_BYTES,
            bypass_cache: true,
            ..IterOptions::default()
        };
        Rows { cursor: Cursor::new(self.view.clone(), options), has_begun: false }
    }
}

/// Rows of an export, from the first to the last; keeps its view alive. It may move between threads.
pub(crate) struct Rows {
    cursor: Cursor,
    has_begun: bool,
}

impl Rows {
    /// The next key with its stored value; none, also when called again, when there are no more.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if std::mem::replace(&mut self.has_begun, true) {
            self.cursor.next();
        } else {
            self.cursor.first();
        }
        let Some((key, stored)) = self.cursor.raw().item() else {
            return self.cursor.raw().status().map(|()| None).map_err(errors::failed);
        };
        if trailer::split(stored).is_none() {
            return Err(unversioned(key));
        }
        Ok(Some((key, stored)))
    }
}
