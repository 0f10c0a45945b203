//! The data as the applier sees them, between two batches.
//!
//! Owns how a write with conditions looks at the database. What always holds: what is seen is the state after the last
//! batch, since whoever judges is the one thread that writes; a search leaves out known gaps, and reports new ones, as
//! every iterator does: the head of a queue lies behind all that was ever taken from it. Earlier writes of the batch
//! that is being filled are not here: `core/judge` knows them.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::options::MEMTABLE_FILTER;
use super::view::View;
use super::{Database, Engine, IterOptions, errors, trailer, unversioned};
use crate::core::stored::{Each, Stored};
use crate::error::Result;
use crate::types::Version;

/// See the module. To be dropped before the engine writes again.
pub(crate) struct Latest<'a> {
    database: &'a Arc<Database>,
    /// For searches; taken when the first one begins.
    view: OnceCell<View>,
}

/// So many conditions on keys make a filter over the keys in memory worth its cost.
const FILTERED_FROM: u64 = 1000;

impl Engine {
    /// The data after the last batch, for the thread that writes the next one.
    #[must_use]
    pub(crate) fn latest(&self) -> Latest<'_> {
        Latest { database: &self.database, view: OnceCell::new() }
    }
}

/// So many keys are looked for together: as many as RocksDB handles as one.
const TOGETHER_KEYS: usize = 32;
/// The first ones show whether the values are large: RocksDB holds those of all keys that it looks for together.
pub(super) const FIRST_KEYS: usize = 4;
/// Where the values so far are more, the rest is looked at one by one.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

impl Database {
    /// Counts a look for a key, most of which are for keys that are not there: a task that nobody has put yet, a name that
    /// nobody has taken. With the last of those that are only counted, memtables get filters.
    fn count_look(&self) {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        if !looks.is_multiple_of(FILTERED_FROM) || self.has_filters.load(Ordering::Relaxed) {
            return;
        }
        let has_filters = self.filter_memtables(looks == FILTERED_FROM).unwrap_or_else(|error| {
            // Nothing depends on it but speed.
            log::warn!("memtables get no filters: {error}");
            true
        });
        self.has_filters.store(has_filters, Ordering::Relaxed);
    }

    /// False while the memtable that is filled now has no filter, and it may be long until it is full: it is to be replaced
    /// later, for now RocksDB is busy.
    fn filter_memtables(&self, is_first: bool) -> Result<bool> {
        if is_first {
            self.db.set_options_cf(self.data(), &MEMTABLE_FILTER).map_err(errors::failed)?;
        }
        self.start_flush()
    }
}

impl Latest<'_> {
    fn read<T>(&self, key: &[u8], found: impl FnOnce(&[u8], Version) -> T) -> Result<Option<T>> {
        self.database.count_look();
        let Database { db, reads, floors, .. } = &**self.database;
        let Some(stored) = db.get_pinned_opt(key, reads).map_err(errors::failed)? else { return Ok(None) };
        let (value, version) = trailer::split(&stored).ok_or_else(|| unversioned(key))?;
        Ok(Some(found(value, floors.of_latest(key).effective(version))))
    }
}

impl Stored for Latest<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Version)>> {
        self.read(key, |value, version| (Bytes::copy_from_slice(value), version))
    }

    fn version_of(&self, key: &[u8]) -> Result<Version> {
        Ok(self.read(key, |_, version| version)?.unwrap_or(Version::NONE))
    }

    fn versions_of(&self, keys: &[&[u8]]) -> Result<Vec<Version>> {
        let Database { db, reads, floors, .. } = &**self.database;
        let (mut versions, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        let mut together = FIRST_KEYS;
        while versions.len() < keys.len() && bytes <= TOGETHER_BYTES_MAX {
            let rest = &keys[versions.len()..];
            let keys = &rest[..together.min(rest.len())];
            let found = db.batched_multi_get_cf_opt(self.database.data(), keys.iter().copied(), true, reads);
            for (key, stored) in keys.iter().zip(found) {
                self.database.count_look();
                versions.push(match stored.map_err(errors::failed)? {
                    Some(stored) => {
                        bytes += stored.len();
                        let (_, version) = trailer::split(&stored).ok_or_else(|| unversioned(key))?;
                        floors.of_latest(key).effective(version)
                    }
                    None => Version::NONE,
                });
            }
            together = TOGETHER_KEYS.min(2 * together);
        }
        Ok(versions)
    }

    fn scan(&self, begin: &[u8], end: &[u8], each: &mut Each<'_>) -> Result<()> {
        let upper = Some(end.to_vec()).filter(|end| !end.is_empty());
        if upper.as_deref().is_some_and(|upper| upper <= begin) {
            return Ok(());
        }
        let view = self.view.get_or_init(|| View::of_writer(self.database));
        let mut iter =
            view.iter(IterOptions { lower: Some(begin.to_vec()), upper, ..IterOptions::default() });
        iter.seek_to_first();
        while let Some((key, value, version)) = iter.versioned_item() {
            if each(key, value, version).is_break() {
                return Ok(());
            }
            iter.next();
        }
        iter.status()
    }
}
