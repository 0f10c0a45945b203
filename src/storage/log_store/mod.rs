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
//!   answers `POISONED`, because after a failed sync nobody knows what is on the disk.
//! - At open an invalid frame is *damage* when a valid frame or a newer segment follows it, and the store
//!   refuses to open, naming file and offset. Else it is a *torn tail*, a frame whose append never
//!   returned, and is cut off for good (`recovery`).
//!
//! **What this cannot see.** A bit that flips in the very last frame looks like a torn tail, because that is
//! all a torn tail is: a last frame that is not what was written. The member then comes back with a log that
//! is shorter than what it has acknowledged. Only the leader could see that, since it has the member's progress on
//! record; keeping such a member from voting is left to the core, which does not do it yet. Every open puts
//! an empty frame behind the last one, so this concerns only the last append before a crash or a close.
//!
//! **Space.** Truncation frees entries, and a segment is free when no entry in it is needed. Its file becomes a
//! spare and then a new segment: blocks that were written once need no journal commit at a sync. Segments
//! come free only from the front, so states that are still current are stated again at the head first, and
//! entries of a region that stays behind are rewritten there (`space`).
//!
//! **Memory.** Positions, not entries: some 50 bytes for about 64 KiB of log. A cache of recent entries, the order
//! of writes against messages and the choice when to truncate are left to the callers.
//!
//! Reading order: `items`, `frame`, `segment`, `segments`, `index`, `writer`, `read`, `space`,
//! `recovery`.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::core::ports::{Entry, HardState, LogReader, LogWrite};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, RegionId, Term};

mod files;
mod frame;
mod index;
mod items;
mod read;
mod recovery;
mod segment;
mod segments;
mod space;
mod varint;
mod writer;

#[cfg(any(test, feature = "simulation"))]
mod fuzz;
#[cfg(any(test, feature = "simulation"))]
mod simulated_files;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod model_tests;

pub use files::{DiskFiles, Files, LogFile};
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub use fuzz::fuzz_recovery;
#[cfg(any(test, feature = "simulation"))]
pub use simulated_files::{Fault, SimulatedFiles, Survival};

use writer::Log;

/// How a log uses its disk. None of it is stored: each open may choose anew.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Length of a segment file in bytes: a multiple of 4,096, from 8 KiB to 1 GiB. A frame that is longer
    /// gets a longer segment of its own.
    pub segment_bytes: u64,
    /// How many free files are kept to become segments again. More are removed.
    pub spares_max: usize,
    /// Entries are rewritten only while the log takes more than this many segments, and more than twice what
    /// its entries need.
    pub rewrite_above_segments: u64,
    /// About how many bytes of entries one append may rewrite besides its own work.
    pub rewrite_bytes_per_append: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            // Long enough that beginning a segment is rare, short enough that space comes back soon.
            segment_bytes: 64 << 20,
            spares_max: 2,
            rewrite_above_segments: 4,
            // About a millisecond on a disk that writes 256 MiB/s.
            rewrite_bytes_per_append: 256 << 10,
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
    /// Whose log.
    pub region: RegionId,
    /// The newest hard state; all zero when none was ever written.
    pub hard_state: HardState,
    /// Index and term of the entry right before the first one; zero when the log was never truncated.
    pub truncated: (LogIndex, Term),
    /// Index and term of the last entry, or of the truncated one when there is none.
    pub last: (LogIndex, Term),
}

/// How much disk the log uses and what it did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segments in use.
    pub segments: usize,
    /// Free files that wait to become a segment.
    pub spares: usize,
    /// Length of all segment files, in bytes.
    pub bytes: u64,
    /// About how many of them entries that are still needed take.
    pub live_bytes: u64,
    /// Calls of [`LogStore::append`] that wrote something.
    pub appends: u64,
    /// Frames written and synced, one for each append and a few for the log's own needs.
    pub syncs: u64,
    /// Bytes of all these frames.
    pub synced_bytes: u64,
    /// Bytes of frames that rewrote entries of regions that stay behind.
    pub rewritten_bytes: u64,
}

/// The raft log of a store. One thread writes and reads; `stats` may be called from any thread and never
/// waits for the disk.
pub struct LogStore {
    /// Uncontended: the raft poller is the only one who takes it.
    log: Mutex<Log>,
    /// Never held together with a disk access.
    stats: Mutex<LogStats>,
}

impl LogStore {
    /// Opens the log in `dir`, creating it when there is none, and tells what it holds, by region. `dir` must
    /// be locked by the caller. Blocks while it reads the whole log.
    ///
    /// # Errors
    /// `CORRUPTION` with file and offset, `INCOMPATIBLE_FORMAT`, `INVALID_CONFIG`, or what the operating system
    /// reports. Damaged files are left as they are.
    pub fn open(dir: &Path, options: LogOptions) -> Result<(Self, Vec<RecoveredLog>)> {
        let files = DiskFiles::open(dir).map_err(|error| Error::io("open", dir, &error))?;
        Self::open_with(Arc::new(files), options)
    }

    /// [`LogStore::open`] over other files than those of a real disk.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_with(files: Arc<dyn Files>, options: LogOptions) -> Result<(Self, Vec<RecoveredLog>)> {
        options.check()?;
        let log = Log::open(files, options)?;
        let found = log.recovered();
        let stats = Mutex::new(log.stats());
        Ok((Self { log: Mutex::new(log), stats }, found))
    }

    /// Writes all of `writes`, at most one a region, in one frame; durable on return. A truncation takes effect
    /// before the entries of the same write, which must then follow what is left: an entry at or below the
    /// truncated index, behind a gap, or not following the one before it is an `INTERNAL` error. When the entry
    /// at `truncate_to` has another term than stored, or does not exist, the whole log of the region is
    /// replaced, as after a raft snapshot. Nothing to write is a no-op.
    ///
    /// # Errors
    /// `INTERNAL` or `TOO_LARGE` and nothing was written; any other error poisons the store, and whether the
    /// writes are durable is unknown until it is opened again. `POISONED` ever after.
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

    /// Where the bytes of a region's log are: the last index and about the bytes of each stretch of entries, in order.
    ///
    /// # Errors
    /// `POISONED` after a panic.
    pub fn stretches(&self, region: RegionId) -> Result<Vec<(LogIndex, u64)>> {
        Ok(self.lock()?.stretches(region))
    }

    /// How much disk the log uses and what it did since it was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        *self.stats.lock().expect("nothing panics while it is held")
    }

    fn write(&self, work: impl FnOnce(&mut Log) -> Result<()>) -> Result<()> {
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
        self.lock()?.read(region, low, high, max_bytes)
    }

    fn term(&self, region: RegionId, index: LogIndex) -> Result<Term> {
        self.lock()?.term(region, index)
    }
}
