//! The queue of segments: frames are written at the head, segments are freed at the front.
//!
//! Owns the order of the files. What always holds: segment numbers are consecutive; frame counters are
//! consecutive over all segments; only the newest segment, the head, is written; a freed file is durably no
//! longer a segment before its bytes are touched; only the head, the spares and a few old segments that are read have
//! their files open. Which segments are free is left to the caller.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LogOptions;
use super::files::{Files, LogFile};
use super::frame::{self, FRAME_BYTES_MAX};
use super::index::Location;
use super::open_files::OpenFiles;
use super::segment::{self, Header, Segment, Spare, segment_name, spare_name};
use crate::error::{Code, Error, Result};

/// A frame buffer larger than this is freed after the frame.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// All segments of a log and its spare files.
pub(super) struct Segments {
    files: Arc<dyn Files>,
    segment_bytes: u64,
    spares_max: usize,
    /// By number. Never empty once the first segment was started.
    queue: VecDeque<Segment>,
    /// Of old segments.
    open: OpenFiles,
    spares: Vec<Spare>,
    next_counter: u64,
    /// Sum of the files' lengths.
    pub capacity_bytes: u64,
    /// Sum of the segments' frames.
    pub used_bytes: u64,
    /// Syncs of a frame.
    pub syncs: u64,
    /// Bytes of all frames synced since the log was opened.
    pub synced_bytes: u64,
}

impl Segments {
    /// Takes over what recovery found. [`Segments::begin_first`] must be called next.
    pub(super) fn new(
        files: Arc<dyn Files>,
        options: &LogOptions,
        found: Vec<Segment>,
        next_counter: u64,
    ) -> Self {
        Self {
            open: OpenFiles::new(Arc::clone(&files)),
            files,
            segment_bytes: options.segment_bytes,
            spares_max: options.spares_max,
            capacity_bytes: found.iter().map(|segment| segment.header.capacity).sum(),
            used_bytes: found.iter().map(Segment::used_bytes).sum(),
            queue: found.into(),
            spares: Vec::new(),
            next_counter,
            syncs: 0,
            synced_bytes: 0,
        }
    }

    /// Starts the first segment of a new log; does nothing when there is one.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn begin_first(&mut self) -> Result<()> {
        if self.queue.is_empty() { self.begin(1, self.segment_bytes) } else { Ok(()) }
    }

    /// Makes frames in `frame` durable: everything after its reserved header, in the head or, when that is
    /// full, in a new head.
    ///
    /// # Errors
    /// `TOO_LARGE` when the frame is, and nothing was written; otherwise what the operating system reports, and
    /// the log must not be written any more.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>) -> Result<Location> {
        frame::pad(frame);
        check_size(frame.len())?;
        if !self.head().has_room(frame.len()) {
            self.begin(self.head().number() + 1, self.capacity_for(frame.len()))?;
        }
        let counter = self.next_counter;
        let at = self.head_mut().append(frame, counter)?;
        self.next_counter += 1;
        self.used_bytes += frame.len() as u64;
        self.syncs += 1;
        self.synced_bytes += frame.len() as u64;
        Ok(at)
    }

    fn capacity_for(&self, frame_bytes: usize) -> u64 {
        let needed = segment::HEADER_BYTES + frame_bytes as u64;
        self.segment_bytes.max(needed.next_multiple_of(segment::HEADER_BYTES))
    }

    fn begin(&mut self, number: u64, capacity: u64) -> Result<()> {
        let recycled = if capacity == self.segment_bytes { self.spares.pop() } else { None };
        let spare = match recycled {
            Some(spare) => spare,
            None => self.create(number, capacity)?,
        };
        let header = Header { number, salt: self.files.salt(), first_counter: self.next_counter, capacity };
        let head = Segment::begin(&*self.files, spare, header)?;
        if let Some(old) = self.queue.back_mut() {
            old.close();
        }
        self.queue.push_back(head);
        self.capacity_bytes += capacity;
        Ok(())
    }

    fn create(&self, number: u64, capacity: u64) -> Result<Spare> {
        let name = self.free_spare_name(number);
        let io = |error| Error::io("create", &self.files.path(&name), &error);
        let file = self.files.create(&name).map_err(io)?;
        if let Err(error) = file.allocate(capacity) {
            // The name would be in the way of the next try.
            let _ = self.files.remove(&name);
            return Err(io(error));
        }
        Ok(Spare { name, file: Arc::from(file), capacity, written_to: segment::HEADER_BYTES })
    }

    /// A name that no spare has, with this number or a higher one. A spare that was prepared for the next segment is
    /// still there when a giant frame makes that segment need another length.
    fn free_spare_name(&self, number: u64) -> String {
        let is_free = |name: &String| self.spares.iter().all(|spare| spare.name != *name);
        (number..).map(spare_name).find(is_free).expect("there are few spares")
    }

    /// Has a spare at hand before the head is full, so that a new head needs no descriptor and no space while callers
    /// wait. Nothing depends on it yet, so a failure is no failure of the log: it is tried again with the next append,
    /// and once more when the head is full.
    pub(super) fn prepare_spare(&mut self) {
        let head = self.head();
        let is_half_full = head.end > head.header.capacity / 2;
        if !is_half_full || !self.spares.is_empty() {
            return;
        }
        match self.create(head.number() + 1, self.segment_bytes) {
            Ok(spare) => self.spares.push(spare),
            Err(error) => log::debug!("the next file of the raft log cannot be made yet: {error}"),
        }
    }

    /// Frees the oldest segment. The caller has recorded durably that it is not needed.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn free_front(&mut self) -> Result<()> {
        assert!(self.queue.len() > 1, "the head is never free");
        let front = self.queue.pop_front().expect("just checked");
        self.capacity_bytes -= front.header.capacity;
        self.used_bytes -= front.used_bytes();
        self.keep_or_remove(front)
    }

    fn keep_or_remove(&mut self, segment: Segment) -> Result<()> {
        let io = |error| Error::io("free", segment.path(), &error);
        let name = segment_name(segment.number());
        if segment.header.capacity != self.segment_bytes || self.spares.len() >= self.spares_max {
            self.open.take(segment.number());
            self.files.remove(&name).map_err(io)?;
            return self.files.sync_dir().map_err(io);
        }
        // A file that cannot be opened now is as good as none.
        let Ok(file) = self.open.get(segment.number()) else {
            self.files.remove(&name).map_err(io)?;
            return self.files.sync_dir().map_err(io);
        };
        let spare = self.free_spare_name(segment.number());
        self.files.rename(&name, &spare).map_err(io)?;
        // The name must be durably gone before another segment's header is written to the file.
        self.files.sync_dir().map_err(io)?;
        self.open.take(segment.number());
        self.spares.push(segment.into_spare(spare, file));
        Ok(())
    }

    /// Takes over the spare `name` from an earlier open of the log, or removes it when it is of no use.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn adopt(&mut self, name: String) -> Result<()> {
        let io = |error| Error::io("adopt", &self.files.path(&name), &error);
        let file = self.files.open(&name).map_err(io)?;
        let capacity = file.size().map_err(io)?;
        if capacity != self.segment_bytes || self.spares.len() >= self.spares_max {
            return self.files.remove(&name).map_err(io);
        }
        self.spares.push(Spare { name, file: Arc::from(file), capacity, written_to: segment::HEADER_BYTES });
        Ok(())
    }

    /// Removes the file of segment `number`, which was freed in an earlier open of the log.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn discard(&mut self, number: u64) -> Result<()> {
        assert!(number < self.front_number(), "only files before the oldest segment are strays");
        let name = segment_name(number);
        self.files.remove(&name).map_err(|error| Error::io("remove", &self.files.path(&name), &error))
    }

    /// The number of frames the log has ever had; all of them are durable.
    pub(super) fn frames(&self) -> u64 {
        self.next_counter - 1
    }

    /// The newest segment.
    pub(super) fn head(&self) -> &Segment {
        self.queue.back().expect("the queue is never empty")
    }

    fn head_mut(&mut self) -> &mut Segment {
        self.queue.back_mut().expect("the queue is never empty")
    }

    /// The number of the oldest segment.
    pub(super) fn front_number(&self) -> u64 {
        self.queue.front().expect("the queue is never empty").number()
    }

    /// How many segments there are.
    pub(super) fn count(&self) -> usize {
        self.queue.len()
    }

    /// How many spare files there are.
    pub(super) fn spare_count(&self) -> usize {
        self.spares.len()
    }

    /// The segment with this number, which must be in the queue, and its file.
    ///
    /// # Errors
    /// What the operating system reports when the file is to be opened.
    pub(super) fn open(&self, number: u64) -> Result<(&Segment, Arc<dyn LogFile>)> {
        let at = usize::try_from(number - self.front_number()).expect("segments fit in memory");
        let segment = &self.queue[at];
        let file = match segment.open_file() {
            Some(file) => Arc::clone(file),
            None => self.open.get(number)?,
        };
        Ok((segment, file))
    }
}

fn check_size(frame_bytes: usize) -> Result<()> {
    if frame_bytes <= FRAME_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("{frame_bytes} bytes in one write of the log; the limit is {FRAME_BYTES_MAX}");
    Err(Error::with_detail(Code::TooLarge, detail))
}

/// Frees memory after a giant frame.
pub(super) fn shrink(frame: &mut Vec<u8>) {
    if frame.capacity() > BUFFER_BYTES_KEPT {
        frame.clear();
        frame.shrink_to(BUFFER_BYTES_KEPT);
    }
}
