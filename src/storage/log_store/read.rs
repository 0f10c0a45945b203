//! Reading entries back.
//!
//! Owns the path from an index to an entry. What always holds: the checksum of every byte returned was verified by this
//! read, and the entries are exactly those requested, in order. Reading changes nothing. Caching is left to the
//! callers.

use bytes::Bytes;
use protobuf::Message;

use super::index::Extent;
use super::items::{EncodedEntry, Item, Malformed, Run, items};
use super::segment::Segment;
use super::writer::Log;
use crate::core::ports::Entry;
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, RegionId, Term};

impl Log {
    /// Entries `low..high`, but only as many as make their sizes reach `max_bytes`.
    pub(super) fn read(
        &self,
        region: RegionId,
        low: LogIndex,
        high: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<Entry>> {
        let mut wanted = Wanted { region, next: low, high, bytes_left: max_bytes, entries: Vec::new() };
        while !wanted.is_complete() {
            let extent = self.extent(region, wanted.next)?;
            self.read_extent(extent, &mut wanted)?;
        }
        Ok(wanted.entries)
    }

    /// The term of the entry at `index` or of the truncated entry.
    pub(super) fn term(&self, region: RegionId, index: LogIndex) -> Result<Term> {
        let term = self.index.get(region).and_then(|log| log.term(index));
        term.ok_or_else(|| outside(region, index))
    }

    fn extent(&self, region: RegionId, index: LogIndex) -> Result<&Extent> {
        let extent = self.index.get(region).and_then(|log| log.extent(index));
        extent.ok_or_else(|| outside(region, index))
    }

    /// Reads the wanted entries from `extent`, which covers the next wanted entry.
    fn read_extent(&self, extent: &Extent, wanted: &mut Wanted) -> Result<()> {
        let (segment, file) = self.segments.open(extent.at.segment)?;
        let start = u64::from(extent.at.start);
        let mut bytes = vec![0; (extent.at.end - extent.at.start) as usize];
        file.read_exact_at(&mut bytes, start).map_err(|error| Error::io("read", segment.path(), &error))?;
        let buffer = Buffer::new(bytes.into(), extent, wanted);
        let mut rest = &buffer.bytes[..];
        while !rest.is_empty() {
            let offset = start + (buffer.bytes.len() - rest.len()) as u64;
            let frame = segment.frame(rest).ok_or_else(|| changed(segment, offset))?;
            wanted.take_from(frame.body, extent, &buffer).map_err(|Malformed| changed(segment, offset))?;
            rest = &rest[frame.bytes()..];
        }
        // Otherwise the loop would start over with the same extent.
        if wanted.next > extent.last || wanted.is_complete() { Ok(()) } else { Err(changed(segment, start)) }
    }
}

fn outside(region: RegionId, index: LogIndex) -> Error {
    let detail = format!("entry {index} is not in the raft log of region {region}");
    Error::with_detail(Code::Internal, detail)
}

fn changed(segment: &Segment, offset: u64) -> Error {
    Error::corruption(segment.path(), offset, "a frame changed after it was written")
}

/// The bytes of an extent, shared with or copied to its entries.
struct Buffer {
    bytes: Bytes,
    /// Entries share the buffer instead of being copied, as long as that retains at most twice their own size.
    is_shared: bool,
}

impl Buffer {
    fn new(bytes: Bytes, extent: &Extent, wanted: &Wanted) -> Self {
        let last = extent.last.get().min(wanted.high.get() - 1);
        let count = last - wanted.next.get() + 1;
        let wanted_bytes = u64::from(extent.bytes) * count / extent.count();
        let is_shared = wanted_bytes.min(wanted.bytes_left) * 2 >= bytes.len() as u64;
        Self { bytes, is_shared }
    }

    fn part(&self, part: &[u8]) -> Bytes {
        match part {
            [] => Bytes::new(),
            _ if self.is_shared => self.bytes.slice_ref(part),
            _ => Bytes::copy_from_slice(part),
        }
    }
}

/// What a read has found and what it still has to find.
struct Wanted {
    region: RegionId,
    next: LogIndex,
    high: LogIndex,
    bytes_left: u64,
    entries: Vec<Entry>,
}

impl Wanted {
    fn is_complete(&self) -> bool {
        self.next >= self.high || (self.bytes_left == 0 && !self.entries.is_empty())
    }

    /// Reads the wanted entries that `extent` covers from a frame's body.
    fn take_from(
        &mut self,
        body: &[u8],
        extent: &Extent,
        buffer: &Buffer,
    ) -> std::result::Result<(), Malformed> {
        for item in items(body) {
            if let Item::Entries(run) | Item::Rewritten(run) = item?
                && run.region == self.region
                && run.term == extent.term
            {
                self.take_from_run(&run, extent, buffer)?;
            }
        }
        Ok(())
    }

    fn take_from_run(
        &mut self,
        run: &Run<'_>,
        extent: &Extent,
        buffer: &Buffer,
    ) -> std::result::Result<(), Malformed> {
        for entry in run.entries() {
            let (index, encoded) = entry?;
            if self.is_complete() || index > extent.last {
                break;
            }
            if index == self.next {
                self.take(index, extent.term, &encoded, buffer);
            }
        }
        Ok(())
    }

    fn take(&mut self, index: LogIndex, term: Term, encoded: &EncodedEntry<'_>, buffer: &Buffer) {
        let mut entry = Entry { index: index.get(), term: term.get(), ..Entry::default() };
        entry.entry_type = encoded.entry_type;
        entry.sync_log = encoded.sync_log;
        entry.data = buffer.part(encoded.data);
        entry.context = buffer.part(encoded.context);
        self.bytes_left = self.bytes_left.saturating_sub(u64::from(entry.compute_size()));
        self.next = index.next();
        self.entries.push(entry);
    }
}
