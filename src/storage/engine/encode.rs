//! Apply batches in RocksDB's form.
//!
//! Owns what an [`ApplyBatch`] becomes in the database, above all a range deletion. RocksDB keeps one as a marker that
//! every later read of its memtable or table has to search, so a short range becomes deletions of the keys that live in
//! it, or nothing. What always holds: the data afterwards are the same in either form, so members may choose
//! differently; looking for the keys never waits for the disk, and takes a bounded number of steps.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rocksdb::{ErrorKind, ReadOptions, ReadTier, WriteBatch};

use super::serialized::SerializedBatch;
use super::{Database, errors, trailer};
use crate::core::applied_write::AppliedWrite;
use crate::core::applier::ApplyBatch;
use crate::core::change::Change;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::error::Result;
use crate::storage::keys;

/// A range with more keys is deleted as a range. One marker costs a get about as much as a dozen deleted keys cost an
/// iterator.
const SHORT_RANGE_KEYS: usize = 32;
/// Up to this many deleted keys are passed between two that live.
const SKIPPED_MAX: u64 = 256;

/// The batch as one write. Reads the database as it is before the batch.
///
/// # Errors
/// `IO` or `CORRUPTION` when the database cannot be read.
pub(super) fn encode(database: &Database, batch: &ApplyBatch) -> Result<WriteBatch> {
    let mut encoded = SerializedBatch::with_capacity(encoded_bytes_max(batch));
    let mut puts = EarlierPuts { batch, keys: None };
    for head in &batch.clears {
        clear(database, &head.region, &mut encoded)?;
    }
    let mut number = 0;
    for write in &batch.writes {
        for change in write.changes() {
            match change {
                Change::Put { key, value } => {
                    puts.note(key);
                    encoded.put(key, value, write.version());
                }
                Change::Delete { key } => encoded.delete(key),
                // RocksDB returns an error for a reversed range; here it is empty.
                Change::DeleteRange { begin, end } if begin >= end => {}
                Change::DeleteRange { begin, end } => {
                    delete_range(database, puts.before(number), begin, end, &mut encoded)?;
                }
            }
            number += 1;
        }
    }
    Ok(encoded.followed_by(&meta_rows(database, batch)))
}

/// What changes beside the user's data.
fn meta_rows(database: &Database, batch: &ApplyBatch) -> WriteBatch {
    let (meta, mut rows) = (database.meta(), WriteBatch::default());
    for SnapshotHead { region, state } in &batch.clears {
        rows.put_cf(meta, keys::installing(region.id), keys::encode_apply_state(*state));
    }
    for region in &batch.installed {
        rows.delete_cf(meta, keys::installing(*region));
    }
    for region in &batch.regions {
        rows.put_cf(meta, keys::region(region.id), region.encode());
    }
    for (region, state) in &batch.states {
        rows.put_cf(meta, keys::apply_state(*region), keys::encode_apply_state(*state));
    }
    rows
}

/// Deletes the keys of `region` that the database has, and no others.
///
/// # Errors
/// As [`encode`].
pub(super) fn clear(database: &Database, region: &Region, encoded: &mut SerializedBatch) -> Result<()> {
    match end_of(database, region)? {
        Some(end) => delete_range(database, &BTreeSet::new(), &region.start_key, &end, encoded),
        None => Ok(()),
    }
}

/// The first key behind all that `region` has; none when it has no key. There is no range deletion without an end, so the
/// end of all keys is that of the last one. To find that may take a search, but a region is cleared once in a long time.
fn end_of(database: &Database, region: &Region) -> Result<Option<Vec<u8>>> {
    if !region.end_key.is_empty() {
        return Ok(Some(region.end_key.clone()));
    }
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(region.start_key.as_slice());
    let mut living = database.db.raw_iterator_opt(options);
    living.seek_to_last();
    living.status().map_err(errors::failed)?;
    Ok(living.key().map(|last| [last, &[0]].concat()))
}

/// Deletes the keys of `begin..end` that the database has, or that are among `put`.
fn delete_range(
    database: &Database,
    put: &BTreeSet<&[u8]>,
    begin: &[u8],
    end: &[u8],
    encoded: &mut SerializedBatch,
) -> Result<()> {
    match keys_in(database, put, begin, end)? {
        Some(keys) => keys.iter().for_each(|key| encoded.delete(key)),
        None => {
            encoded.delete_range(begin, end);
            database.has_new_ranges.store(true, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The keys that a batch has put so far, which no read of the database shows. Collected only when the batch deletes a
/// range.
struct EarlierPuts<'a> {
    batch: &'a ApplyBatch,
    keys: Option<BTreeSet<&'a [u8]>>,
}

impl<'a> EarlierPuts<'a> {
    fn note(&mut self, key: &'a [u8]) {
        if let Some(keys) = &mut self.keys {
            keys.insert(key);
        }
    }

    /// The keys that the changes before change `number` put.
    fn before(&mut self, number: usize) -> &BTreeSet<&'a [u8]> {
        let batch = self.batch;
        self.keys.get_or_insert_with(|| {
            let earlier = batch.changes().take(number);
            earlier.filter_map(|(change, _)| change.put_key()).collect()
        })
    }
}

/// The keys of `begin..end` that live or are among `put`, or none if they are many, or cannot be found quickly.
fn keys_in(
    database: &Database,
    put: &BTreeSet<&[u8]>,
    begin: &[u8],
    end: &[u8],
) -> Result<Option<Vec<Box<[u8]>>>> {
    let mut keys: Vec<Box<[u8]>> =
        put.range(begin..end).take(SHORT_RANGE_KEYS + 1).map(|key| Box::from(*key)).collect();
    let mut options = ReadOptions::default();
    options.set_iterate_range(begin..end);
    options.set_read_tier(ReadTier::BlockCache);
    options.set_max_skippable_internal_keys(SKIPPED_MAX);
    let mut living = database.db.raw_iterator_opt(options);
    living.seek_to_first();
    while let Some(key) = living.key().filter(|_| keys.len() <= SHORT_RANGE_KEYS) {
        keys.push(Box::from(key));
        living.next();
    }
    match living.status() {
        Ok(()) => Ok((keys.len() <= SHORT_RANGE_KEYS).then_some(keys)),
        Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
        Err(error) => Err(errors::failed(error)),
    }
}

/// Roughly enough for the encoded batch in one allocation.
fn encoded_bytes_max(batch: &ApplyBatch) -> usize {
    const META_RECORD_BYTES: usize = 4 + keys::KEY_BYTES + keys::APPLY_STATE_BYTES;
    const WRITE_GROWTH: usize = 8; // Lengths of up to five bytes where a command has shorter ones.
    let growth = |write: &AppliedWrite| WRITE_GROWTH + write.change_count() * trailer::TRAILER_BYTES;
    let writes: usize = batch.writes.iter().map(|write| write.encoded_bytes() + growth(write)).sum();
    64 + writes + batch.states.len() * META_RECORD_BYTES + batch.regions.len() * 256
}
