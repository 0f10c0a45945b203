//! Writing without being blocked forever.
//!
//! Owns how a write behaves when RocksDB stalls writes. RocksDB stalls a writer while the memtables are full and wait
//! for a flush, or while too many small tables wait for a compaction. If that work failed because the disk is full,
//! RocksDB makes the writer wait until someone frees space. What always holds here: once background work has failed, a
//! writer waits for at most [`STALL_MAX_AFTER_ERROR`].

use std::thread;
use std::time::{Duration, Instant};

use rocksdb::properties::{
    BACKGROUND_ERRORS, IS_WRITE_STOPPED, NUM_IMMUTABLE_MEM_TABLE, PropName, num_files_at_level,
};
use rocksdb::{DB, ErrorKind, WriteBatch, WriteOptions};

use super::errors;
use crate::error::{Code, Error, Result};

/// How often a stalled writer checks again. A flush takes a hundred times as long.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// A stall that ends by itself takes as long as a flush, which is well under a second; RocksDB counts past errors but
/// does not report whether it has recovered from them.
const STALL_MAX_AFTER_ERROR: Duration = Duration::from_secs(5);

/// The number of level-0 tables at which writers are slowed down.
pub(super) const SLOWDOWN_TABLES: i32 = 20;

/// Writes batches without a write-ahead log.
pub(super) struct Writer {
    /// Fail instead of waiting.
    at_once: WriteOptions,
    /// Wait as long as RocksDB wants.
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
    /// Writes the batch that `encode` returns; called again after each stall.
    pub(super) fn write(&self, db: &DB, encode: impl Fn() -> Result<WriteBatch>) -> Result<()> {
        match db.write_opt(encode()?, &self.at_once) {
            Err(error) if error.kind() == ErrorKind::Incomplete => self.write_after_stall(db, encode),
            done => done.map_err(errors::failed),
        }
    }

    /// Writes `batch` unless writes are stalled; false when they are.
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
    fn write_after_stall(&self, db: &DB, encode: impl Fn() -> Result<WriteBatch>) -> Result<()> {
        let start = Instant::now();
        // RocksDB gives up by itself only when it does not expect to recover; another write returns its error.
        while property(db, IS_WRITE_STOPPED)? > 0 {
            thread::sleep(LOOK_AGAIN);
            match db.write_opt(encode()?, &self.at_once) {
                Err(error) if error.kind() == ErrorKind::Incomplete => give_up_late(db, start)?,
                done => return done.map_err(errors::failed),
            }
        }
        // Only a delay that paces the writer is left; RocksDB's bookkeeping needs the wait to happen inside it.
        db.write_opt(encode()?, &self.patient).map_err(errors::failed)
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

/// Whether RocksDB would block the caller of a flush before it even starts: all memtables are in use, or one more
/// table would slow writers down.
pub(super) fn flush_would_wait(db: &DB) -> Result<bool> {
    let tables = property(db, &num_files_at_level(0))?;
    Ok(property(db, NUM_IMMUTABLE_MEM_TABLE)? > 0 || tables + 1 >= SLOWDOWN_TABLES as u64)
}

pub(super) fn property(db: &DB, name: &PropName) -> Result<u64> {
    Ok(db.property_int_value(name).map_err(errors::failed)?.expect("RocksDB knows the property"))
}
