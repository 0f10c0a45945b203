//! The mark: a record, beside the log, of how far the log is known to reach.
//!
//! Owns the two files in which the log's end is recorded periodically. A frame that recovery finds torn may be one
//! whose append never returned, which is harmless, or one that was synced, acknowledged and damaged since, which is a
//! loss; the log by itself cannot distinguish them. What always holds: a mark is written only after every frame it
//! covers is durable, so a log that ends before its mark was damaged; one of the two files is valid at any time,
//! because they are written alternately. The consequences of a lost end are left to [`super::recovery`] and, outside
//! this store, to the core.
//!
//! ```text
//! magic [8] | version u32 | crc32c of all the rest u32 | sequence | frames | lost at | regions: u64 each | row ...
//! row: region, term, vote, last index, last term, lost index, lost term: u64 each        (little-endian)
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::files::{Files, LogFile};
use super::index::Index;
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, RegionId, Term};

const MAGIC: [u8; 8] = *b"ALMADEND";
const VERSION: u32 = 1;
/// Magic, version and checksum.
const UNCHECKED_BYTES: usize = 16;
const HEADER_BYTES: usize = UNCHECKED_BYTES + 4 * 8;
const ROW_BYTES: usize = 7 * 8;
const NAMES: [&str; 2] = ["0.mark", "1.mark"];

/// The recorded end of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Every frame up to this counter was durable.
    pub frames: u64,
    /// Identifies the newest loss: the sequence number of the first mark that recorded it.
    pub lost_at: u64,
    pub regions: BTreeMap<RegionId, MarkedRegion>,
}

/// One region's part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MarkedRegion {
    /// The hard state's term and vote. They are always current: every change is marked before any message depends on
    /// it.
    pub term: u64,
    pub vote: u64,
    /// The last entry.
    pub last: (LogIndex, Term),
    /// How far the log reached before its end was lost, until the region has the lost entries back from the others.
    pub lost: Option<(LogIndex, Term)>,
}

/// The mark files as found; nothing was written.
pub(super) struct FoundMarks {
    slots: [Option<Box<dyn LogFile>>; 2],
    newest: Option<Stored>,
}

struct Stored {
    slot: usize,
    sequence: u64,
    mark: Mark,
}

/// The mark files of an open log.
pub(super) struct Marks {
    slots: [Box<dyn LogFile>; 2],
    paths: [PathBuf; 2],
    /// Which file has the newest mark.
    newest: usize,
    sequence: u64,
}

impl Mark {
    /// The regions that lack recorded entries, each with how far its log reached.
    pub(super) fn lost(&self) -> impl Iterator<Item = (RegionId, (LogIndex, Term))> {
        self.regions.iter().filter_map(|(region, row)| Some((*region, row.lost?)))
    }

    /// True when a region lacks recorded entries.
    pub(super) fn has_loss(&self) -> bool {
        self.lost().next().is_some()
    }

    /// Records that only `frames` of the durable frames are left. Each region counts as having lost its end, whichever
    /// regions the missing frames belong to, because frames after the mark may be gone with them.
    pub(super) fn lose_end(&mut self, frames: u64, id: u64) {
        (self.lost_at, self.frames) = (id, frames);
        for row in self.regions.values_mut() {
            // Logs are compared by the term of the last entry, then by length (raft paper, 5.4.1).
            let reached = [row.lost.unwrap_or_default(), row.last];
            row.lost = reached.into_iter().max_by_key(|&(index, term)| (term, index));
        }
    }

    /// Updates the rows from the logs in `index`.
    pub(super) fn set_ends(&mut self, index: &Index) {
        self.regions.retain(|region, row| row.lost.is_some() || index.get(*region).is_some());
        for (region, log) in index.logs() {
            let row = self.regions.entry(region).or_default();
            row.last = log.last();
            (row.term, row.vote) = (log.state.term, log.state.vote);
        }
    }
}

impl FoundMarks {
    /// Reads the mark files among `names`.
    ///
    /// # Errors
    /// What the operating system reports; `INCOMPATIBLE_FORMAT`.
    pub(super) fn read(files: &dyn Files, names: &[String]) -> Result<Self> {
        let mut found = Self { slots: [None, None], newest: None };
        for (slot, name) in NAMES.into_iter().enumerate() {
            if !names.iter().any(|other| other == name) {
                continue;
            }
            let io = |error| Error::io("read", &files.path(name), &error);
            let file = files.open(name).map_err(io)?;
            let mut bytes =
                vec![0; usize::try_from(file.size().map_err(io)?).expect("a mark fits in memory")];
            file.read_exact_at(&mut bytes, 0).map_err(io)?;
            found.slots[slot] = Some(file);
            if let Some((sequence, mark)) = decode(files, name, &bytes)?
                && found.newest.as_ref().is_none_or(|newest| newest.sequence < sequence)
            {
                found.newest = Some(Stored { slot, sequence, mark });
            }
        }
        Ok(found)
    }

    /// The newest valid mark.
    pub(super) fn mark(&self) -> Option<&Mark> {
        self.newest.as_ref().map(|stored| &stored.mark)
    }

    /// The sequence number of the mark that will be written next.
    pub(super) fn next_sequence(&self) -> u64 {
        self.newest.as_ref().map_or(1, |stored| stored.sequence + 1)
    }

    /// The error of a log that has segments and no mark.
    pub(super) fn missing(files: &dyn Files) -> Error {
        Error::corruption(
            &files.path(NAMES[0]),
            0,
            "the mark of the log's end is missing or damaged, and so is the other",
        )
    }

    /// Creates missing files, and makes both valid again.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn open(self, files: &dyn Files) -> Result<Marks> {
        let [first, second] = self.slots;
        let make = |slot: Option<Box<dyn LogFile>>, name: &str| match slot {
            Some(file) => Ok(file),
            None => files.create(name).map_err(|error| Error::io("create", &files.path(name), &error)),
        };
        let slots = [make(first, NAMES[0])?, make(second, NAMES[1])?];
        files.sync_dir().map_err(|error| Error::io("sync", &files.path(""), &error))?;
        let (newest, sequence) = self.newest.map_or((1, 0), |stored| (stored.slot, stored.sequence));
        Ok(Marks { slots, paths: NAMES.map(|name| files.path(name)), newest, sequence })
    }
}

impl Marks {
    /// Records `mark`; durable on return.
    ///
    /// # Errors
    /// What the operating system reports; the previous mark is still valid.
    pub(super) fn write(&mut self, mark: &Mark) -> Result<()> {
        let slot = 1 - self.newest;
        let io = |error| Error::io("write", &self.paths[slot], &error);
        let bytes = encode(self.sequence + 1, mark);
        self.slots[slot].write_all_at(&bytes, 0).map_err(io)?;
        self.slots[slot].sync().map_err(io)?;
        (self.newest, self.sequence) = (slot, self.sequence + 1);
        Ok(())
    }
}

fn encode(sequence: u64, mark: &Mark) -> Vec<u8> {
    let mut checked = Vec::with_capacity(HEADER_BYTES + mark.regions.len() * ROW_BYTES);
    let mut put = |number: u64| checked.extend_from_slice(&number.to_le_bytes());
    [sequence, mark.frames, mark.lost_at, mark.regions.len() as u64].into_iter().for_each(&mut put);
    for (region, row) in &mark.regions {
        let lost = row.lost.unwrap_or_default();
        let (last, lost) = ([row.last.0.get(), row.last.1.get()], [lost.0.get(), lost.1.get()]);
        [region.get(), row.term, row.vote].into_iter().chain(last).chain(lost).for_each(&mut put);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&checksum(VERSION, &checked).to_le_bytes());
    bytes.extend_from_slice(&checked);
    bytes
}

/// The mark in `bytes`; none when they hold no valid one, as after a crash in the middle of its write. Bytes that an
/// earlier, longer mark left after it are ignored.
fn decode(files: &dyn Files, name: &str, bytes: &[u8]) -> Result<Option<(u64, Mark)>> {
    let Some((head, rest)) = bytes.split_at_checked(UNCHECKED_BYTES) else { return Ok(None) };
    if head[..8] != MAGIC {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().expect("the head is longer"));
    let (version, crc) = (word(8), word(12));
    if version != VERSION && checksum(version, rest) == crc {
        let path = files.path(name);
        let detail = format!(
            "{} has format {version}, this version of Almadia reads format {VERSION}: open the directory with the \
             newer version that wrote it",
            path.display()
        );
        return Err(Error::with_detail(Code::IncompatibleFormat, detail));
    }
    Ok(if version == VERSION { parse(rest, crc) } else { None })
}

/// Covers the version too. Later versions must keep that, and write nothing after what it covers, so that a flipped bit
/// is not taken for a newer version.
fn checksum(version: u32, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&version.to_le_bytes()), rest)
}

fn parse(rest: &[u8], crc: u32) -> Option<(u64, Mark)> {
    let numbers = rest.as_chunks::<8>().0;
    let number = |at: usize| numbers.get(at).map(|bytes| u64::from_le_bytes(*bytes));
    let (sequence, frames, lost_at, count) = (number(0)?, number(1)?, number(2)?, number(3)?);
    let row_numbers = usize::try_from(count).ok()?.checked_mul(ROW_BYTES / 8)?;
    let rows = numbers[4..].get(..row_numbers)?;
    let checked = &rest[..(4 + row_numbers) * 8];
    if checksum(VERSION, checked) != crc {
        return None;
    }
    let rows = rows.as_chunks::<{ ROW_BYTES / 8 }>().0.iter();
    Some((sequence, Mark { frames, lost_at, regions: rows.map(parse_row).collect() }))
}

fn parse_row(row: &[[u8; 8]; ROW_BYTES / 8]) -> (RegionId, MarkedRegion) {
    let [region, term, vote, last, last_term, lost, lost_term] = row.map(u64::from_le_bytes);
    let place = |index, term| (LogIndex(index), Term(term));
    let lost = (lost > 0).then(|| place(lost, lost_term));
    (RegionId(region), MarkedRegion { term, vote, last: place(last, last_term), lost })
}

/// A mark that covers no frame, for tests that build log directories by hand.
#[cfg(any(test, feature = "simulation"))]
pub(super) fn blank() -> (&'static str, Vec<u8>) {
    (NAMES[0], encode(1, &Mark::default()))
}

#[cfg(test)]
mod tests {
    use super::super::simulated_files::SimulatedFiles;
    use super::*;

    fn mark(frames: u64) -> Mark {
        let lost = Some((LogIndex(12), Term(3)));
        let row = MarkedRegion { term: 4, vote: 2, last: (LogIndex(9), Term(3)), lost };
        let other = MarkedRegion { lost: None, ..row };
        Mark { frames, lost_at: 77, regions: [(RegionId(1), row), (RegionId(5), other)].into() }
    }

    fn read(files: &SimulatedFiles) -> FoundMarks {
        FoundMarks::read(files, &files.list().unwrap()).unwrap()
    }

    #[test]
    fn the_newest_mark_is_read_back_and_survives_a_torn_write_of_the_next() {
        let files = SimulatedFiles::new();
        let mut marks = read(&files).open(&*files).unwrap();
        for frames in 1..=3 {
            marks.write(&mark(frames)).unwrap();
        }
        assert_eq!(read(&files).mark(), Some(&mark(3)));

        let newest = NAMES[marks.newest];
        for offset in 0..files.content(newest).len() {
            let torn = files.after_restart();
            torn.flip(newest, offset, (offset % 8) as u8);

            assert_eq!(read(&torn).mark(), Some(&mark(2)), "offset {offset}");
        }
    }

    #[test]
    fn a_shorter_mark_replaces_a_longer_one() {
        let files = SimulatedFiles::new();
        let mut marks = read(&files).open(&*files).unwrap();
        marks.write(&mark(1)).unwrap();
        marks.write(&mark(2)).unwrap();
        marks.write(&Mark { frames: 3, ..Mark::default() }).unwrap();

        assert_eq!(read(&files).mark(), Some(&Mark { frames: 3, ..Mark::default() }));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let files = SimulatedFiles::new();
        let mut later = b"ALMADEND".to_vec();
        later.extend_from_slice(&2_u32.to_le_bytes());
        later.extend_from_slice(&checksum(2, b"whatever it says").to_le_bytes());
        later.extend_from_slice(b"whatever it says");
        files.put(NAMES[1], later);

        let error = FoundMarks::read(&*files, &files.list().unwrap()).err().expect("refused");

        assert_eq!(error.code(), Code::IncompatibleFormat);
        assert!(error.detail().contains("1.mark has format 2"), "{error}");
    }

    #[test]
    fn any_bytes_parse_or_are_no_mark() {
        let whole = encode(1, &mark(1));
        for length in 0..whole.len() {
            assert_eq!(decode(&*SimulatedFiles::new(), NAMES[0], &whole[..length]).unwrap(), None);
        }
        let mut endless = whole;
        endless[UNCHECKED_BYTES + 24..HEADER_BYTES].fill(0xff);
        assert_eq!(decode(&*SimulatedFiles::new(), NAMES[0], &endless).unwrap(), None);
    }
}
