//! A segment: one preallocated file of frames.
//!
//! Owns the header of a segment file, its name, and where its next frame goes. What always holds: a file
//! has a segment's name only after its header is durable, so a segment with an unreadable header is damaged
//! and not half-created; a frame is durable before the next one is written; and `end` moves only over frames
//! that are durable. When to start a new segment, and whose files stay open, is left to [`super::segments`].
//!
//! ```text
//! magic 8 | version u32 | 0 u32 | number u64 | salt u64 | first counter u64 | capacity u64 | crc32c u32
//! ```
//! The header has a page of its own, so that no later write touches it. Every later version of the format
//! keeps these bytes and their checksum; only then can an old version tell a newer file from a damaged one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, LogFile};
use super::frame::{Frame, Seal};
use super::index::Location;
use crate::error::{Code, Error, Result};

/// The header's page; the first frame starts after it.
pub(super) const HEADER_BYTES: u64 = 4096;
/// Offsets in a segment have 32 bits.
pub(super) const CAPACITY_BYTES_MAX: u64 = 2 << 30;

const MAGIC: [u8; 8] = *b"ALMADLOG";
const VERSION: u32 = 1;
const CHECKED_BYTES: usize = 48;

/// The first write to a block of a new file makes the next sync wait for the file system's journal. So the
/// writer fills this much with zeros ahead of the frames, and incurs that wait once for many frames.
const ZEROED_AHEAD_BYTES: u64 = 256 << 10;

/// The contents of a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// One more than that of the segment before.
    pub number: u64,
    /// Distinguishes this life of the file from every other.
    pub salt: u64,
    /// The counter of the first frame.
    pub first_counter: u64,
    /// Length of the file.
    pub capacity: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut page = Vec::new();
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        for number in [self.number, self.salt, self.first_counter, self.capacity] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        page.extend_from_slice(&crc32c::crc32c(&page).to_le_bytes());
        page.resize(usize::try_from(HEADER_BYTES).expect("a page fits in memory"), 0);
        page
    }

    /// Parses the header of the file at `path`, which is named after segment `number`.
    fn decode(page: &[u8], path: &Path, number: u64, file_bytes: u64) -> Result<Self> {
        let damaged = |what| Err(Error::corruption(path, 0, what));
        let (checked, crc) = page.split_at(CHECKED_BYTES);
        if checked[..8] != MAGIC || crc32c::crc32c(checked).to_le_bytes() != crc[..4] {
            return damaged("the segment's header is damaged");
        }
        let version = u32::from_le_bytes([checked[8], checked[9], checked[10], checked[11]]);
        if version != VERSION {
            return Err(Self::newer(path, version));
        }
        let number_at =
            |at: usize| u64::from_le_bytes(*checked[at..].first_chunk().expect("checked is longer"));
        let header = Self {
            number: number_at(16),
            salt: number_at(24),
            first_counter: number_at(32),
            capacity: number_at(40),
        };
        if header.number != number {
            return damaged("the segment's name is not the one in its header");
        }
        if file_bytes < header.capacity || !(HEADER_BYTES..=CAPACITY_BYTES_MAX).contains(&header.capacity) {
            return damaged("the segment is shorter than its header says");
        }
        if header.first_counter == 0 || header.first_counter > u64::MAX / 2 {
            return damaged("the segment's header has an impossible frame counter");
        }
        Ok(header)
    }

    fn newer(path: &Path, version: u32) -> Error {
        let detail = format!(
            "{} has log format {version}, this version of Almadia reads format {VERSION}: open the \
             directory with the newer version that wrote it",
            path.display()
        );
        Error::with_detail(Code::IncompatibleFormat, detail)
    }
}

/// The file name of segment `number`.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// The file name of a spare: a file to be reused as a segment. `number` only makes the name unique.
pub(super) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// The number of the segment with this file name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    numbered(name, ".log")
}

/// The number in the file name of a spare.
pub(super) fn spare_number(name: &str) -> Option<u64> {
    numbered(name, ".spare")
}

fn numbered(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix).filter(|digits| digits.len() == 16)?;
    let lower = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lower.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The header page of a segment, for tests that build files by hand.
#[cfg(any(test, feature = "simulation"))]
pub(super) fn header_page(number: u64, salt: u64, first_counter: u64, capacity: u64) -> Vec<u8> {
    Header { number, salt, first_counter, capacity }.encode()
}

/// A file that can become a segment.
pub(super) struct Spare {
    pub name: String,
    pub file: Arc<dyn LogFile>,
    /// Length of the file.
    pub capacity: u64,
    /// All blocks before this offset were written at least once.
    pub written_to: u64,
}

/// One file of the log.
pub(super) struct Segment {
    pub header: Header,
    pub seal: Seal,
    /// The offset of the next frame.
    pub end: u64,
    written_to: u64,
    /// None in an old segment, whose file is opened when it is read.
    file: Option<Arc<dyn LogFile>>,
    path: PathBuf,
}

impl Segment {
    /// Opens the file of segment `number` and checks its header.
    ///
    /// # Errors
    /// `CORRUPTION`, `INCOMPATIBLE_FORMAT`, or what the operating system reports.
    pub(super) fn open(files: &dyn Files, number: u64) -> Result<Self> {
        let name = segment_name(number);
        let path = files.path(&name);
        let io = |error| Error::io("open", &path, &error);
        let file = files.open(&name).map_err(io)?;
        let file_bytes = file.size().map_err(io)?;
        if file_bytes < HEADER_BYTES {
            return Err(Error::corruption(&path, file_bytes, "the segment is shorter than its header"));
        }
        let mut page = [0; CHECKED_BYTES + 4];
        file.read_exact_at(&mut page, 0).map_err(|error| Error::io("read", &path, &error))?;
        let header = Header::decode(&page, &path, number, file_bytes)?;
        Ok(Self::new(header, Arc::from(file), path, HEADER_BYTES))
    }

    /// Turns `spare` into a segment, durably and atomically: if this is interrupted, the file is either still a spare
    /// or a complete empty segment.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn begin(files: &dyn Files, spare: Spare, header: Header) -> Result<Self> {
        assert!(spare.capacity == header.capacity, "the header tells the file's length");
        let spare_path = files.path(&spare.name);
        let io = |error| Error::io("begin a segment in", &spare_path, &error);
        spare.file.write_all_at(&header.encode(), 0).map_err(io)?;
        spare.file.sync().map_err(io)?;
        let name = segment_name(header.number);
        files.rename(&spare.name, &name).map_err(io)?;
        files.sync_dir().map_err(io)?;
        Ok(Self::new(header, spare.file, files.path(&name), spare.written_to))
    }

    fn new(header: Header, file: Arc<dyn LogFile>, path: PathBuf, written_to: u64) -> Self {
        let seal = Seal::new(header.number, header.salt);
        Self { header, seal, end: HEADER_BYTES, written_to, file: Some(file), path }
    }

    /// The segment's file, open as `file`, for another life as `name`, which it must already have.
    pub(super) fn into_spare(self, name: String, file: Arc<dyn LogFile>) -> Spare {
        Spare { name, file, capacity: self.header.capacity, written_to: self.written_to }
    }

    /// Closes the file: the segment is complete. Returns it for those who go on reading.
    pub(super) fn close(&mut self) -> Option<Arc<dyn LogFile>> {
        self.file.take()
    }

    /// The file if it is open.
    pub(super) fn open_file(&self) -> Option<&Arc<dyn LogFile>> {
        self.file.as_ref()
    }

    fn file(&self) -> &dyn LogFile {
        &**self.file.as_ref().expect("the head's file, and that of a segment being recovered, is open")
    }

    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all its frames.
    pub(super) fn used_bytes(&self) -> u64 {
        self.end - HEADER_BYTES
    }

    /// True when a frame of `bytes` bytes still fits.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.header.capacity - self.end >= bytes as u64
    }

    /// Seals `frame`, writes it after the last one and syncs.
    ///
    /// # Errors
    /// What the operating system reports. The segment must not be written again after that.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>, counter: u64) -> Result<Location> {
        assert!(self.has_room(frame.len()), "the caller begins a new segment in time");
        self.seal.close(frame, counter);
        let bytes = frame.len();
        let at = self.location(self.end, bytes);
        let zeroed_to = self.zeroed_to(self.end + bytes as u64);
        frame.resize(usize::try_from(zeroed_to - self.end).expect("no longer than the buffer can be"), 0);
        self.write_at(frame, self.end)?;
        self.sync()?;
        frame.truncate(bytes);
        self.written_to = zeroed_to.max(self.written_to);
        self.end += bytes as u64;
        Ok(at)
    }

    /// How far to fill with zeros after a frame that ends at `end`.
    fn zeroed_to(&self, end: u64) -> u64 {
        let is_small = end - self.end < ZEROED_AHEAD_BYTES;
        let is_fresh = end > self.written_to;
        if is_fresh && is_small { self.header.capacity.min(end + ZEROED_AHEAD_BYTES) } else { end }
    }

    /// The position of a frame of `bytes` bytes at `start`.
    pub(super) fn location(&self, start: u64, bytes: usize) -> Location {
        let narrow = |offset| u32::try_from(offset).expect("CAPACITY_BYTES_MAX fits in 32 bits");
        Location { segment: self.number(), start: narrow(start), end: narrow(start + bytes as u64) }
    }

    /// Moves `end` over a frame that recovery has read.
    pub(super) fn pass(&mut self, frame_bytes: usize) {
        self.end += frame_bytes as u64;
        self.written_to = self.written_to.max(self.end);
        assert!(self.end <= self.header.capacity, "a frame was read inside the segment");
    }

    /// The frame at `start`, if `bytes`, which were read there, start with a valid one.
    pub(super) fn frame<'a>(&self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        self.seal.open(bytes)
    }

    /// Reads into all of `buffer`.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let io = |error| Error::io("read", &self.path, &error);
        self.file().read_exact_at(buffer, offset).map_err(io)
    }

    /// Writes without a sync.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file().write_all_at(bytes, offset).map_err(|error| Error::io("write", &self.path, &error))
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn sync(&self) -> Result<()> {
        self.file().sync().map_err(|error| Error::io("sync", &self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { number: 7, salt: 0x5a17, first_counter: 42, capacity: 8192 };

    fn decode(page: &[u8], number: u64, file_bytes: u64) -> Result<Header> {
        Header::decode(&page[..CHECKED_BYTES + 4], Path::new("dir/7.log"), number, file_bytes)
    }

    #[test]
    fn a_header_survives_the_round_trip_and_fills_its_page() {
        let page = HEADER.encode();

        assert_eq!(page.len() as u64, HEADER_BYTES);
        assert_eq!(decode(&page, 7, 8192).unwrap(), HEADER);
    }

    #[test]
    fn a_flipped_bit_in_the_header_is_corruption() {
        let page = HEADER.encode();

        for bit in 0..(CHECKED_BYTES + 4) * 8 {
            let mut flipped = page.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, 7, 8192).unwrap_err().code(), Code::Corruption, "bit {bit}");
        }
    }

    #[test]
    fn a_header_under_another_name_or_in_a_shorter_file_is_corruption() {
        let page = HEADER.encode();

        assert_eq!(decode(&page, 8, 8192).unwrap_err().code(), Code::Corruption);
        assert_eq!(decode(&page, 7, 8191).unwrap_err().code(), Code::Corruption);
    }

    #[test]
    fn a_newer_format_is_named_with_the_file_and_what_to_do() {
        let mut page = HEADER.encode();
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..CHECKED_BYTES]);
        page[CHECKED_BYTES..CHECKED_BYTES + 4].copy_from_slice(&crc.to_le_bytes());

        let error = decode(&page, 7, 8192).unwrap_err();

        assert_eq!(error.code(), Code::IncompatibleFormat);
        assert!(error.detail().contains("dir/7.log has log format 2"), "{error}");
        assert!(error.detail().contains("newer version"), "{error}");
    }

    #[test]
    fn names_and_numbers_belong_together() {
        assert_eq!(segment_name(255), "00000000000000ff.log");
        assert_eq!(segment_number(&segment_name(u64::MAX)), Some(u64::MAX));
        assert_eq!(spare_number(&spare_name(1)), Some(1));
        for stranger in
            ["ff.log", "00000000000000FF.log", "+0000000000000ff.log", "LOCK", "00000000000000ff.spare"]
        {
            assert_eq!(segment_number(stranger), None, "{stranger}");
        }
    }
}
