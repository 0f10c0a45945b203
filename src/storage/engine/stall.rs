//! Writing without getting stuck.
//!
//! Owns how a write behaves when RocksDB holds writers back. RocksDB stops a writer while memtables are full and
//! wait for a flush, or while too many small tables wait for a compaction. When that work failed for want of
//! space, RocksDB lets the writer wait until someone frees some. What always holds here: once background work
//! has failed, a writer waits for [`STALL_MAX_AFTER_ERROR`] at most.

use std::thread;
use std::time::{Duration, Instant};

use rocksdb::properties::{
    BACKGROUND_ERRORS, IS_WRITE_STOPPED, NUM_IMMUTABLE_MEM_TABLE, PropName, num_files_at_level,
};
use rocksdb::{DB, ErrorKind, WriteBatch, WriteOptions};

use super::errors;
use crate::error::{Code, Error, Result};

/// How often a held-back writer looks again. A flush takes a hundred times as long.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// A stall that ends by itself takes as long as a flush, which is well under a second; RocksDB counts the errors
/// of the past but does not say whether it has got over them.
const STALL_MAX_AFTER_ERROR: Duration = Duration::from_secs(5);

/// Unmerged tables from which on writers are slowed down.
pub(super) const SLOWDOWN_TABLES: i32 = 20;

/// Writes batches without a write-ahead log.
pub(super) struct Writer {
    /// Fails instead of waiting.
    at_once: WriteOptions,
    /// Waits as long as RocksDB sees fit.
    patient: WriteOptions,
}

impl Default for Writer {
    fn default() -> Self {
        let (mut at_once, mut patient) = (WriteOptions::default(), WriteOptions::default());
        at_once.disable_wal(true);
        at_once.set_no_slowdown(true);
        patient.disable_wal(true);
        Self { at_once, patient }
    }
}

impl Writer {
    /// Writes what `encode` makes; when writers are held back it is asked again.
    pub(super) fn write(&self, db: &DB, encode: impl Fn() -> WriteBatch) -> Result<()> {
        match db.write_opt(encode(), &self.at_once) {
            Err(error) if error.kind() == ErrorKind::Incomplete => self.write_after_stall(db, encode),
            done => done.map_err(errors::failed),
        }
    }

    /// Writes `batch` unless writers are held back; false when they are.
    pub(super) fn try_write(&self, db: &DB, batch: WriteBatch) -> Result<bool> {
        match db.write_opt(batch, &self.at_once) {
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(false),
            done => done.map(|()| true).map_err(errors::failed),
        }
    }

    /// Whether the database still takes writes.
    pub(super) fn probe(&self, db: &DB) -> Result<()> {
        match db.write_opt(WriteBatch::default(), &self.at_once) {
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(()),
            done => done.map_err(errors::failed),
        }
    }

    #[cold]
    fn write_after_stall(&self, db: &DB, encode: impl Fn() -> WriteBatch) -> Result<()> {
        let start = Instant::now();
        // RocksDB gives up by itself only when it does not expect to recover; asking it again shows its error.
        while property(db, IS_WRITE_STOPPED)? > 0 {
            thread::sleep(LOOK_AGAIN);
            match db.write_opt(encode(), &self.at_once) {
                Err(error) if error.kind() == ErrorKind::Incomplete => give_up_late(db, start)?,
                done => return done.map_err(errors::failed),
            }
        }
        // What is left is a delay that paces the writer; RocksDB's own bookkeeping wants it to wait inside.
        db.write_opt(encode(), &self.patient).map_err(errors::failed)
    }
}

fn give_up_late(db: &DB, start: Instant) -> Result<()> {
    if start.elapsed() < STALL_MAX_AFTER_ERROR || !has_failed(db)? {
        return Ok(());
    }
    let detail = format!("a flush or compaction failed; {}/LOG says why", db.path().display());
    Err(Error::with_detail(Code::Io, detail))
}

/// Whether any flush or compaction has failed since the database was opened.
fn has_failed(db: &DB) -> Result<bool> {
    Ok(property(db, BACKGROUND_ERRORS)? > 0)
}

/// Whether RocksDB would let the caller of a flush wait before it even starts: all memtables are in use, or one
/// table more would slow writers down.
pub(super) fn flush_would_wait(db: &DB) -> Result<bool> {
    let tables = property(db, &num_files_at_level(0))?;
    Ok(property(db, NUM_IMMUTABLE_MEM_TABLE)? > 0 || tables + 1 >= SLOWDOWN_TABLES as u64)
}

fn property(db: &DB, name: &PropName) -> Result<u64> {
    Ok(db.property_int_value(name).map_err(errors::failed)?.expect("RocksDB knows the property"))
}
