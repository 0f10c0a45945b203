//! Recovery: from files to the state that they represent.
//!
//! Owns the decision between a torn tail, a lost end and damage. What always holds: reading changes nothing, and
//! settling writes only what was read and found valid; the outcome depends on durable bytes only, so recovery may be
//! interrupted at any point and repeated; a log is opened only if every frame up to the end is valid, no valid frame
//! follows the end, no needed segment is missing and every region's log is contiguous.
//!
//! An end before the [mark](super::marks) is a lost end: frames that were synced are gone, and their content may have
//! been acknowledged. What is known of them, how far each region's log reached and for whom it voted, is recorded
//! durably before anything else is written, because the log will soon grow beyond the old mark. Whether to continue
//! with such a log is left to the caller, between reading and settling. An end at or after the mark is a torn tail.
//!
//! The end of the log is sealed before anything relies on it. Only the sync of the last frame can have failed to
//! return, because each frame is synced before the next is written. Its pages may even be marked clean in memory
//! although the disk never got them: that is what a failed sync leaves. So the last frame is written again and synced;
//! then an empty frame is written after it, over the header of whatever was torn there, and synced too. What was cut
//! off can never reappear, because its header is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::files::Files;
use super::frame::{self, Frame};
use super::index::{Index, Location};
use super::items::{Item, RegionState, items};
use super::marks::{FoundMarks, Mark, Marks};
use super::segment::{self, Segment, segment_number, spare_number};
use super::segments::Segments;
use super::{LogOptions, LostEnd, RecoveredLog};
use crate::error::{Error, Result};
use crate::types::RegionId;

/// How much is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A log that was read completely. Nothing was written.
pub(super) struct Recovery {
    files: Arc<dyn Files>,
    options: LogOptions,
    segments: Vec<Segment>,
    names: Names,
    replay: Replay,
    marks: FoundMarks,
    /// The mark, corrected to cover no missing frame.
    mark: Mark,
    lost_end: Option<LostEnd>,
    /// States of regions that lost their end: those in the log may be older than what they promised.
    restated: BTreeMap<RegionId, RegionState>,
}

/// A log whose end is sealed.
pub(super) struct Recovered {
    pub options: LogOptions,
    pub segments: Segments,
    pub index: Index,
    pub marks: Marks,
    pub mark: Mark,
    /// States to be written first, because the frames that had them were lost.
    pub restated: BTreeMap<RegionId, RegionState>,
}

/// Reads the whole log.
///
/// # Errors
/// `CORRUPTION` or `INCOMPATIBLE_FORMAT`; or what the operating system reports.
pub(super) fn recover(files: Arc<dyn Files>, options: LogOptions) -> Result<Recovery> {
    let listed = files.list().map_err(|error| Error::io("list", &files.path(""), &error))?;
    let marks = FoundMarks::read(&*files, &listed)?;
    let names = Names::sort(listed);
    let mut segments: Vec<Segment> = Vec::new();
    let mut replay = Replay::new(names.segments.first().copied().unwrap_or(1));
    for number in &names.segments {
        let next = Segment::open(&*files, *number)?;
        if let Some(segment) = segments.last_mut() {
            replay.segment(segment, Some(next.header.first_counter))?;
            // However long the log is, two of its files are open.
            segment.close();
        }
        segments.push(next);
    }
    if let Some(head) = segments.last_mut() {
        replay.segment(head, None)?;
    }
    replay.check(&*files, &segments)?;
    let mark = match marks.mark() {
        Some(mark) => mark.clone(),
        // An interrupted first open; nothing can have been acknowledged yet.
        None if segments.is_empty() => Mark::default(),
        None => return Err(FoundMarks::missing(&*files)),
    };
    let mut recovery = Recovery {
        files,
        options,
        segments,
        names,
        replay,
        marks,
        mark,
        lost_end: None,
        restated: BTreeMap::new(),
    };
    recovery.compare_with_mark();
    recovery.restate();
    Ok(recovery)
}

impl Recovery {
    /// The contents of the log, by region.
    pub(super) fn logs(&self) -> Vec<RecoveredLog> {
        let known = self.replay.index.logs().map(|(region, _)| region);
        let regions: BTreeSet<_> = known.chain(self.restated.keys().copied()).collect();
        regions.into_iter().map(|region| self.log(region)).collect()
    }

    /// The frames that are missing, if any.
    pub(super) fn lost_end(&self) -> Option<&LostEnd> {
        self.lost_end.as_ref()
    }

    fn log(&self, region: RegionId) -> RecoveredLog {
        let known = self.replay.index.get(region);
        let last = known.map_or_else(Default::default, |log| log.last());
        let state = self.state_of(region);
        let lost_end = self.mark.regions.get(&region).and_then(|row| row.lost);
        RecoveredLog { region, hard_state: state.hard_state(), truncated: state.truncated, last, lost_end }
    }

    /// The newest state of a region.
    fn state_of(&self, region: RegionId) -> RegionState {
        let told = || self.replay.index.get(region).map_or_else(RegionState::default, |log| log.state);
        self.restated.get(&region).copied().unwrap_or_else(told)
    }

    /// Takes the promises of regions that lost their end from the mark.
    fn restate(&mut self) {
        let lost: Vec<_> = self.mark.lost().map(|(region, _)| region).collect();
        for region in lost {
            let (row, mut state) = (self.mark.regions[&region], self.state_of(region));
            (state.term, state.vote) = (state.term, state.vote).max((row.term, row.vote));
            self.restated.insert(region, state);
        }
    }

    /// A log that ends before its mark has lost durable frames, of unknown regions.
    fn compare_with_mark(&mut self) {
        let there = self.replay.next_counter - 1;
        let missing_frames = self.mark.frames.saturating_sub(there);
        if missing_frames > 0 {
            self.mark.lose_end(there, self.marks.next_sequence());
        } else {
            self.warn_of_torn_tail();
        }
        let (path, offset) = self.end();
        let lost_end = LostEnd { path, offset, missing_frames, id: self.mark.lost_at };
        self.lost_end = self.mark.has_loss().then_some(lost_end);
    }

    fn end(&self) -> (PathBuf, u64) {
        match self.segments.last() {
            Some(head) => (head.path().to_owned(), head.end),
            None => (self.files.path(&segment::segment_name(1)), 0),
        }
    }

    fn warn_of_torn_tail(&self) {
        if self.replay.torn_bytes > 0 {
            let ((path, offset), bytes) = (self.end(), self.replay.torn_bytes);
            log::warn!(
                "{}, offset {offset}: a frame of {bytes} bytes is torn and is cut off; its append never returned",
                path.display()
            );
        }
    }

    /// Seals the log's end and tidies up spares. From now on the log may be written.
    ///
    /// # Errors
    /// What the operating system reports.
    pub(super) fn seal(mut self) -> Result<Recovered> {
        let mut marks = self.marks.open(&*self.files)?;
        // Before a frame is written, or the log could outgrow the mark that it ends before; before there is a segment,
        // because a log without a mark is damaged; and always, because the mark that was read may not be durable after
        // a failed sync.
        marks.write(&self.mark)?;
        if let Some(head) = self.segments.last_mut() {
            self.replay.seal_end(head)?;
        }
        let files = &*self.files;
        files.sync_dir().map_err(|error| Error::io("sync", &files.path(""), &error))?;
        let mut segments =
            Segments::new(Arc::clone(&self.files), &self.options, self.segments, self.replay.next_counter);
        self.names.strays.iter().try_for_each(|number| segments.discard(*number))?;
        self.names.spares.into_iter().try_for_each(|name| segments.adopt(name))?;
        segments.begin_first()?;
        let index = self.replay.index;
        Ok(Recovered {
            options: self.options,
            segments,
            index,
            marks,
            mark: self.mark,
            restated: self.restated,
        })
    }
}

/// The files of a log directory by kind.
struct Names {
    /// The newest consecutive numbers, ascending.
    segments: Vec<u64>,
    /// Segments before a gap: power failed after they were freed and before all their names were gone.
    strays: Vec<u64>,
    spares: Vec<String>,
}

impl Names {
    fn sort(names: Vec<String>) -> Self {
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
        let segments = numbers.split_off(gap.map_or(0, |at| at + 1));
        let mut spares: Vec<_> = names.into_iter().filter(|name| spare_number(name).is_some()).collect();
        spares.sort_unstable();
        Self { segments, strays: numbers, spares }
    }
}

/// Frames read so far.
struct Replay {
    index: Index,
    /// The counter of the next frame.
    next_counter: u64,
    first_segment: u64,
    /// The newest frame of the segment read last.
    last_frame: Option<Location>,
    /// Length of the incomplete frame after it; zero when there is none.
    torn_bytes: usize,
}

impl Replay {
    fn new(first_segment: u64) -> Self {
        Self {
            index: Index::new(first_segment),
            next_counter: 1,
            first_segment,
            last_frame: None,
            torn_bytes: 0,
        }
    }

    /// Reads all frames of `segment`: up to the frame before `until`, or to the end of the log.
    fn segment(&mut self, segment: &mut Segment, until: Option<u64>) -> Result<()> {
        self.start(segment)?;
        let mut window = Window::new();
        while until != Some(self.next_counter) {
            let Some(frame) = segment.frame(window.frame_at(segment, segment.end)?) else {
                break;
            };
            // Written in this life of the segment, but elsewhere: no crash moves it here.
            if frame.counter != self.next_counter {
                return Err(damage(segment, segment.end, "a frame is not the one that belongs here"));
            }
            let at = segment.location(segment.end, frame.bytes());
            self.apply(segment, frame, at)?;
            segment.pass(frame.bytes());
        }
        match until {
            Some(counter) if counter != self.next_counter => {
                Err(damage(segment, segment.end, "a frame is damaged: newer segments follow it"))
            }
            Some(_) => Ok(()),
            None => self.refuse_later_frames(segment, &mut window),
        }
    }

    fn start(&mut self, segment: &Segment) -> Result<()> {
        let first_counter = segment.header.first_counter;
        if segment.number() != self.first_segment && first_counter != self.next_counter {
            return Err(damage(segment, 0, "the segment does not continue the one before it"));
        }
        self.next_counter = first_counter;
        self.last_frame = None;
        Ok(())
    }

    fn apply(&mut self, segment: &Segment, frame: Frame<'_>, at: Location) -> Result<()> {
        let malformed = |_| damage(segment, u64::from(at.start), "a frame's items do not parse");
        check_entries(frame.body).map_err(malformed)?;
        self.index.apply(frame.body, at).map_err(malformed)?;
        self.next_counter += 1;
        self.last_frame = Some(at);
        Ok(())
    }

    /// The bytes at the end of the log are no valid frame. They are a torn tail only if nothing valid follows: no frame
    /// is written before the previous one is durable.
    fn refuse_later_frames(&mut self, segment: &Segment, window: &mut Window) -> Result<()> {
        self.torn_bytes = self.torn_frame_bytes(segment, window)?;
        let step = frame::ALIGNMENT_BYTES as u64;
        let mut offset = segment.end + step;
        while offset + frame::HEADER_BYTES as u64 <= segment.header.capacity {
            let header = window.header_at(segment, offset)?;
            let counter = segment.seal.claimed_counter(&header);
            if self.may_follow(counter, offset - segment.end) {
                let bytes = window.frame_at(segment, offset)?;
                if segment.frame(bytes).is_some() {
                    let what = format!("a frame is damaged: a valid frame follows it at offset {offset}");
                    return Err(damage(segment, segment.end, &what));
                }
            }
            offset += step;
        }
        Ok(())
    }

    /// The length of the frame whose header is at the end of the log; zero when there is no header of this life of the
    /// segment.
    fn torn_frame_bytes(&self, segment: &Segment, window: &mut Window) -> Result<usize> {
        if segment.header.capacity - segment.end < frame::HEADER_BYTES as u64 {
            return Ok(0);
        }
        let header = window.header_at(segment, segment.end)?;
        let is_next = segment.seal.claimed_counter(&header) == self.next_counter;
        Ok(if is_next { frame::claimed_bytes(&header).unwrap_or_default() } else { 0 })
    }

    /// Whether a frame `distance` bytes after the end can have this counter.
    fn may_follow(&self, counter: u64, distance: u64) -> bool {
        let frames_between = distance / frame::HEADER_BYTES as u64;
        (self.next_counter..=self.next_counter + frames_between).contains(&counter)
    }

    /// Checks what is known only at the end.
    fn check(&self, files: &dyn Files, segments: &[Segment]) -> Result<()> {
        let Some(head) = segments.last() else {
            return Ok(());
        };
        let oldest = self.index.oldest_segment;
        if self.first_segment > oldest {
            let path = files.path(&segment::segment_name(self.first_segment - 1));
            return Err(Error::corruption(&path, 0, "the segment is missing"));
        }
        if oldest > head.number() {
            return Err(damage(
                head,
                segment::HEADER_BYTES,
                "the log says that all of its segments are free",
            ));
        }
        self.index.check().map_err(|hole| {
            let at = segments.iter().find(|segment| segment.number() == hole.at.segment);
            let what = format!("entry {} of region {} is missing before this", hole.missing, hole.region);
            damage(at.expect("the index names only segments it read"), u64::from(hole.at.start), &what)
        })
    }

    /// Makes the end of the log durable and invalidates what follows it.
    fn seal_end(&mut self, head: &mut Segment) -> Result<()> {
        if let Some(last) = self.last_frame {
            let mut bytes = vec![0; (last.end - last.start) as usize];
            head.read_at(&mut bytes, u64::from(last.start))?;
            head.write_at(&bytes, u64::from(last.start))?;
        }
        // Before the empty frame: a valid frame after one that never reached the disk would be damage.
        head.sync()?;
        let mut empty = Vec::new();
        frame::begin(&mut empty);
        // After an end without room for a header nothing can have been torn.
        if head.has_room(empty.len()) {
            head.append(&mut empty, self.next_counter)?;
            self.next_counter += 1;
        }
        Ok(())
    }
}

fn check_entries(body: &[u8]) -> std::result::Result<(), super::items::Malformed> {
    for item in items(body) {
        if let Item::Entries(run) | Item::Rewritten(run) = item? {
            run.check()?;
        }
    }
    Ok(())
}

fn damage(segment: &Segment, offset: u64, what: &str) -> Error {
    Error::corruption(segment.path(), offset, what)
}

/// A part of a segment in memory. Never larger than a window or a frame that fits in the file.
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn new() -> Self {
        Self { start: 0, bytes: Vec::new() }
    }

    /// The bytes of the frame whose header is claimed to be at `offset`; fewer when that is impossible.
    fn frame_at(&mut self, segment: &Segment, offset: u64) -> Result<&[u8]> {
        let room = segment.header.capacity - offset;
        if room < frame::HEADER_BYTES as u64 {
            return Ok(&[]);
        }
        let header = self.header_at(segment, offset)?;
        match frame::claimed_bytes(&header) {
            Some(bytes) if bytes as u64 <= room => self.at(segment, offset, bytes),
            _ => Ok(&[]),
        }
    }

    fn header_at(&mut self, segment: &Segment, offset: u64) -> Result<[u8; frame::HEADER_BYTES]> {
        let bytes = self.at(segment, offset, frame::HEADER_BYTES)?;
        Ok(*bytes.first_chunk().expect("that many bytes were asked for"))
    }

    /// `length` bytes at `offset`, which are inside the segment.
    fn at(&mut self, segment: &Segment, offset: u64, length: usize) -> Result<&[u8]> {
        let is_inside =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            let room = segment.header.capacity - offset;
            let wanted = usize::try_from(room.min(length.max(WINDOW_BYTES) as u64)).expect("2 GiB fit");
            self.bytes.resize(wanted, 0);
            self.bytes.shrink_to(WINDOW_BYTES);
            segment.read_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).expect("inside the window");
        Ok(&self.bytes[from..from + length])
    }
}
