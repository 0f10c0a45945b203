//! The raft log of a store: one append-only log, shared by all of its regions.
//!
//! Owns the files that make raft's promises durable: entries, hard states and truncations of every region.
//! One [`LogStore::append`] is one frame and one `fdatasync`, whatever the number of regions; when it
//! returns, all of it is durable, and if it never returns, all or nothing of it is.
//!
//! ```text
//! directory   0000000000000007.log  0000000000000008.log  0000000000000009.log   0000000000000005.spare
//!             front, oldest needed                         head, written          waits to be number 10
//! segment     header page | frame | frame | frame | ... zeros or bytes of an earlier life
//! frame       checksum, length, counter | item | item | ... | padding to 8 bytes
//! item        entries | rewritten entries | state | reset | removal | oldest segment needed
//! ```
//!
//! **What always holds**
//! - A frame is durable before the next one is written, so at most the very last one can be torn.
//! - The state in memory is what you get by applying the items of all frames in order (`index`). Writer and
//!   recovery use the same code for it.
//! - An error of a write or a sync is never retried. It poisons the store: every later call that writes
//!   returns `POISONED`, because after a failed sync the state of the disk is unknown.
//! - At open an invalid frame is *damage* if a valid frame or a newer segment follows it, and the store
//!   refuses to open, naming file and offset. Otherwise it is a *torn tail*, a frame whose append never
//!   returned, and is cut off permanently (`recovery`).
//!
//! **Torn tail or lost end.** A bit flip in the last frame looks like a torn tail, because a torn tail is just a last
//! frame that differs from what was written. Therefore the durable length of the log is recorded beside it (`marks`):
//! every [`LogOptions::unmarked_frames_max`] frames, with every change of a term or vote, and whenever the caller asks
//! for it, which it does when the log becomes idle and before closing it. A log that ends before its mark has lost
//! entries that may have been acknowledged; each region is told how far its log reached, until it has the entries back
//! ([`LogWrite::has_lost_end_back`]). Damage to frames after the last mark remains undetected.
//!
//! **Space.** Truncation frees entries, and a segment is free when no entry in it is needed. Its file becomes a
//! spare and then a new segment: blocks that were written before need no journal commit at a sync. Segments are
//! freed only from the front, so states that are still current are first written again at the head, and entries
//! of a region that lags behind are rewritten there (`space`).
//!
//! **Memory.** Positions, not entries: some 50 bytes per 64 KiB of log. Caching recent entries, ordering writes before
//! messages and deciding when to truncate are left to the callers.
//!
//! Reading order: `items`, `frame`, `segment`, `segments`, `index`, `marks`, `open_files`, `writer`, `read`, `space`,
//! `recovery`; `files` is the disk below all of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::core::ports::{Entry, HardState, LogReader, LogWrite};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, RegionId, Term};

mod files;
mod frame;
mod index;
mod items;
mod marks;
mod open_files;
mod read;
mod recovery;
mod segment;
mod segments;
mod space;
mod writer;

#[cfg(any(test, feature = "simulation"))]
mod fuzz;
#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(test), expect(dead_code, reason = "a fuzzer needs the files, the tests their faults too"))]
mod simulated_files;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod documented_tests;
#[cfg(test)]
mod model_tests;

use files::{DiskFiles, Files};
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub use fuzz::fuzz_recovery;

use marks::FoundMarks;
use recovery::Recovery;
use segment::{Segment, segment_number};
use writer::Log;

/// How a log uses its disk. Not stored: each open may choose differently.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Length of a segment file in bytes: a multiple of 4,096, from 8 KiB to 1 GiB. A frame that is longer
    /// gets a longer segment of its own.
    pub segment_bytes: u64,
    /// How many free files are kept for reuse as segments; others are removed. With fewer than 2 the file that is made
    /// ahead for the next segment leaves no room for one that becomes free meanwhile.
    pub spares_max: usize,
    /// Entries are rewritten only while the log takes more than this many segments, and more than twice what
    /// its entries need.
    pub rewrite_above_segments: u64,
    /// About how many bytes of entries one append may rewrite in addition to its own work.
    pub rewrite_bytes_per_append: usize,
    /// Most durable frames that no mark covers.
    pub unmarked_frames_max: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            // Long enough that starting a segment is rare, short enough that space is reclaimed quickly.
            segment_bytes: 64 << 20,
            spares_max: 2,
            rewrite_above_segments: 4,
            // About a millisecond on a disk that writes 256 MiB/s.
            rewrite_bytes_per_append: 256 << 10,
            // One additional sync in a thousand.
            unmarked_frames_max: 1024,
        }
    }
}

impl LogOptions {
    fn check(&self) -> Result<()> {
        let is_whole_pages = self.segment_bytes.is_multiple_of(segment::HEADER_BYTES);
        if is_whole_pages && (8 << 10..=1 << 30).contains(&self.segment_bytes) {
            return Ok(());
        }
        let detail =
            format!("segment_bytes = {} is not a multiple of 4096 in 8 KiB..1 GiB", self.segment_bytes);
        Err(Error::with_detail(Code::InvalidConfig, detail))
    }
}

/// One region's log, as it was found at open.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredLog {
    /// The region.
    pub region: RegionId,
    /// The newest hard state; all zero when none was ever written.
    pub hard_state: HardState,
    /// Index and term of the entry right before the first one; zero when the log was never truncated.
    pub truncated: (LogIndex, Term),
    /// Index and term of the last entry, or of the truncated one when there is none.
    pub last: (LogIndex, Term),
    /// Set when durable entries are gone: how far the log reached, at least. `hard_state` still has the term and the
    /// vote of that time.
    pub lost_end: Option<(LogIndex, Term)>,
}

/// A loss of durable frames: the end of the log was damaged, or files of it are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostEnd {
    /// The file in which the log ends now.
    pub path: PathBuf,
    /// Where it ends.
    pub offset: u64,
    /// The number of missing frames; 0 when an earlier open found them missing.
    pub missing_frames: u64,
    /// Identifies this loss, so that accepting it accepts no other.
    pub id: u64,
}

/// The log's use of the disk, and what it did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segments in use.
    pub segments: usize,
    /// Free files to be reused as segments.
    pub spares: usize,
    /// Length of all segment files, in bytes.
    pub bytes: u64,
    /// About how many of them hold entries that are still needed.
    pub live_bytes: u64,
    /// Calls of [`LogStore::append`] that wrote something.
    pub appends: u64,
    /// Frames written and synced: one for each append and a few for housekeeping.
    pub syncs: u64,
    /// Bytes of all these frames.
    pub synced_bytes: u64,
    /// Bytes of frames that rewrote entries of regions that lag behind.
    pub rewritten_bytes: u64,
    /// Marks written and synced.
    pub marks: u64,
}

/// A log that was read but not written: its contents are known, and its owner may still refuse it.
pub struct RecoveredStore {
    recovery: Recovery,
}

impl RecoveredStore {
    /// What the log holds, by region.
    #[must_use]
    pub fn logs(&self) -> Vec<RecoveredLog> {
        self.recovery.logs()
    }

    /// The durable frames that are gone, if any.
    #[must_use]
    pub fn lost_end(&self) -> Option<&LostEnd> {
        self.recovery.lost_end()
    }

    /// Seals the end of the log and opens it; also returns its contents, by region.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn open(self) -> Result<(LogStore, Vec<RecoveredLog>)> {
        let found = self.recovery.logs();
        let log = Log::open(self.recovery.seal()?)?;
        let stats = Mutex::new(log.stats());
        Ok((LogStore { log: Mutex::new(log), stats, read_failure: OnceLock::new() }, found))
    }
}

/// The raft log of a store. One thread at a time writes and reads: it opens the store, or holds the round lock. `stats`
/// may be called from any thread and never waits for the disk.
pub struct LogStore {
    /// Uncontended, for that reason.
    log: Mutex<Log>,
    /// Never held together with a disk access.
    stats: Mutex<LogStats>,
    /// Why entries could not be read, the first time.
    read_failure: OnceLock<Error>,
}

impl LogStore {
    /// Looks at the versions that the files of the log in `dir` have, before anything of the store is written. `dir` must
    /// be locked by the caller. Blocks while it reads the head of each file, and changes none. What is damaged is left to
    /// [`read`](Self::read).
    ///
    /// # Errors
    /// `INCOMPATIBLE_FORMAT` with the file, its version and the one that this build reads; what the operating system
    /// reports.
    pub(crate) fn check_formats(dir: &Path) -> Result<()> {
        let io = |error| Error::io("open", dir, &error);
        if !dir.try_exists().map_err(io)? {
            // To open it would make it.
            return Ok(());
        }
        let files = DiskFiles::open(dir).map_err(io)?;
        let names = files.list().map_err(io)?;
        let marks = FoundMarks::read(&files, &names).map(drop);
        let numbers = names.iter().filter_map(|name| segment_number(name));
        let segments = numbers.map(|number| Segment::open(&files, number).map(drop));
        let mut failures = std::iter::once(marks).chain(segments).filter_map(Result::err);
        let newer = failures.find(|error| error.code() == Code::IncompatibleFormat);
        newer.map_or(Ok(()), Err)
    }

    /// Reads the log in `dir`, creating the directory when there is none. `dir` must be locked by the caller. Blocks
    /// while it reads the whole log, and changes no file.
    ///
    /// # Errors
    /// `CORRUPTION` with file and offset, `INCOMPATIBLE_FORMAT`, `INVALID_CONFIG`, or what the operating system
    /// reports.
    pub fn read(dir: &Path, options: LogOptions) -> Result<RecoveredStore> {
        let files = DiskFiles::open(dir).map_err(|error| Error::io("open", dir, &error))?;
        Self::read_with(Arc::new(files), options)
    }

    /// [`LogStore::read`] over files other than those of a real disk.
    ///
    /// # Errors
    /// As [`LogStore::read`].
    pub fn read_with(files: Arc<dyn Files>, options: LogOptions) -> Result<RecoveredStore> {
        options.check()?;
        Ok(RecoveredStore { recovery: recovery::recover(files, options)? })
    }

    /// Opens the log in `dir` as it is, and returns its contents, by region: [`LogStore::read`], then
    /// [`RecoveredStore::open`].
    ///
    /// # Errors
    /// Of both.
    pub fn open(dir: &Path, options: LogOptions) -> Result<(Self, Vec<RecoveredLog>)> {
        Self::read(dir, options)?.open()
    }

    /// [`LogStore::open`] over files other than those of a real disk.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_with(files: Arc<dyn Files>, options: LogOptions) -> Result<(Self, Vec<RecoveredLog>)> {
        Self::read_with(files, options)?.open()
    }

    /// Writes all of `writes`, at most one a region, in one frame; durable on return. A truncation takes effect
    /// before the entries of the same write, which must continue what is left: an entry at or below the truncated
    /// index, after a gap, or not following the one before it is an `INTERNAL` error. If the entry at `truncate_to`
    /// has a term other than the stored one, or does not exist, all of the region's log is replaced, as after a
    /// raft snapshot. Nothing to write is a no-op.
    ///
    /// # Errors
    /// `INTERNAL` or `TOO_LARGE` and nothing was written; any other error poisons the store, and whether the
    /// writes are durable is unknown until it is opened again. After that every call returns `POISONED`.
    pub fn append(&self, writes: &[LogWrite]) -> Result<()> {
        self.write(|log| log.append(writes))
    }

    /// Forgets `region`; durable on return. A later write to the region starts a new log.
    ///
    /// # Errors
    /// As [`LogStore::append`].
    pub fn remove(&self, region: RegionId) -> Result<()> {
        self.write(|log| log.remove(region))
    }

    /// Records durably how far the log reaches, so that a later open notices if any of it is missing. Writes nothing
    /// when that is recorded already.
    ///
    /// # Errors
    /// As [`LogStore::append`].
    pub fn mark(&self) -> Result<()> {
        self.write(Log::mark)
    }

    /// Gives back space that is not needed, as each append does: at most two segments, so that it takes a few
    /// milliseconds. True when there may be more to do.
    ///
    /// # Errors
    /// As [`LogStore::append`].
    pub(crate) fn reclaim_space(&self) -> Result<bool> {
        self.write(Log::reclaim_idle_space)
    }

    /// Why entries could not be read, if that ever failed. The store must not go on: `raft` has no error for it.
    #[must_use]
    pub(crate) fn read_failure(&self) -> Option<&Error> {
        self.read_failure.get()
    }

    /// Where the bytes of a region's log are: for each range of entries, in order, its last index and approximate size.
    ///
    /// # Errors
    /// `POISONED` after a panic.
    pub fn stretches(&self, region: RegionId) -> Result<Vec<(LogIndex, u64)>> {
        Ok(self.lock()?.stretches(region))
    }

    /// The log's use of the disk, and what it did since it was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        *self.stats.lock().expect("nothing panics while it is held")
    }

    fn write<T>(&self, work: impl FnOnce(&mut Log) -> Result<T>) -> Result<T> {
        let mut log = self.lock()?;
        let result = work(&mut log);
        let stats = log.stats();
        *self.stats.lock().expect("nothing panics while it is held") = stats;
        result
    }

    fn lock(&self) -> Result<MutexGuard<'_, Log>> {
        self.log
            .lock()
            .map_err(|_| Error::with_detail(Code::Poisoned, "a panic interrupted a write of the raft log"))
    }
}

impl LogReader for LogStore {
    fn read(&self, region: RegionId, low: LogIndex, high: LogIndex, max_bytes: u64) -> Result<Vec<Entry>> {
        let read = self.lock()?.read(region, low, high, max_bytes);
        read.inspect_err(|error| drop(self.read_failure.set(error.clone())))
    }

    fn term(&self, region: RegionId, index: LogIndex) -> Result<Term> {
        self.lock()?.term(region, index)
    }
}
