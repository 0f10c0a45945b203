//! The fuzzer's entry point to recovery.
//!
//! Owns the translation of arbitrary bytes into a log directory and the check of the outcome. What must hold,
//! for any bytes: recovery refuses with `CORRUPTION` or `INCOMPATIBLE_FORMAT`, or it serves logs that are
//! contiguous and readable; a second open finds the same; nothing panics. Memory is bounded by the input,
//! because no length beyond the end of its file is trusted.
//!
//! The first byte chooses the mode. Checksums reject raw bytes early, so the other modes seal the input's frames before
//! they flip some of its bits. More is known about such a log, and checked: damage is taken for a torn tail only where
//! it can be one; then what precedes it is served as if the rest had never existed, and the rest does not reappear when
//! the disk turns out to have it after all.

use std::ops::Range;
use std::sync::Arc;

use raft::eraftpb::Entry;

use super::files::Files;
use super::frame::{self, Seal};
use super::marks;
use super::segment::{self, segment_name};
use super::simulated_files::SimulatedFiles;
use super::{LogOptions, LogStore, RecoveredLog};
use crate::core::ports::LogReader;
use crate::error::Code;
use crate::types::LogIndex;
use crate::varint::Reader;

const SALT: u64 = 0x5eed;
const SEGMENT_BYTES: usize = 8 << 10;
/// The bytes of its page that a segment's header uses.
const CHECKED_HEADER_BYTES: usize = 52;

/// Opens a log built from `data` and checks the invariants.
///
/// # Panics
/// When one does not hold.
pub fn fuzz_recovery(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let segment = match mode % 3 {
        0 => rest.to_vec(),
        1 => padded(rest),
        _ => return open_damaged(&Sealed::read(rest)),
    };
    open_twice(files_of(&[segment]));
}

/// A valid header before the input, zeros after it.
fn padded(input: &[u8]) -> Vec<u8> {
    let capacity = SEGMENT_BYTES.max(input.len() + 4096).next_multiple_of(4096);
    let mut file = segment::header_page(1, SALT, 1, capacity as u64);
    file.extend_from_slice(input);
    file.resize(capacity, 0);
    file
}

/// A log with valid frames, and the bits to flip.
#[derive(Default)]
struct Sealed {
    segments: Vec<SealedSegment>,
    flips: Vec<(usize, u8)>,
}

#[derive(Default)]
struct SealedSegment {
    first_counter: u64,
    bytes: Vec<u8>,
    frames: Vec<SealedFrame>,
}

struct SealedFrame {
    place: Range<usize>,
    counter: u64,
}

impl Sealed {
    /// Reads the input as: a list of frames (segment step u8, counter step u8, length u16, body), then flips
    /// (place u16, bit u8); the upper three bits of the place select the segment, counted from the last one back.
    fn read(input: &[u8]) -> Self {
        let mut reader = Reader::new(input);
        let mut counter = 1;
        let mut sealed = Self { segments: vec![SealedSegment::begin(1, counter)], flips: Vec::new() };
        while let Some(step) = reader.byte().filter(|step| *step < 0xf0) {
            let number = sealed.segments.len() as u64;
            let Some(frame) = sealed_frame(&mut reader, number, &mut counter) else {
                break;
            };
            let segment = sealed.segments.last_mut().expect("there is a first one");
            if step == 1 || segment.bytes.len() + frame.len() > SEGMENT_BYTES {
                sealed.segments.push(SealedSegment::begin(number + 1, counter));
                continue;
            }
            let start = segment.bytes.len();
            segment.bytes.extend_from_slice(&frame);
            segment.frames.push(SealedFrame { place: start..segment.bytes.len(), counter });
            counter += 1;
        }
        sealed.segments.iter_mut().for_each(|segment| segment.bytes.resize(SEGMENT_BYTES, 0));
        while let (Some(low), Some(high), Some(bit)) = (reader.byte(), reader.byte(), reader.byte()) {
            sealed.flips.push((usize::from(low) | usize::from(high) << 8, bit));
        }
        sealed
    }

    /// The bytes of each segment after the flips.
    fn flipped(&self) -> Vec<Vec<u8>> {
        let mut segments: Vec<_> = self.segments.iter().map(|segment| segment.bytes.clone()).collect();
        for (place, bit) in &self.flips {
            let from_last = (place / SEGMENT_BYTES).min(segments.len() - 1);
            let at = segments.len() - 1 - from_last;
            segments[at][place % SEGMENT_BYTES] ^= 1 << (bit % 8);
        }
        segments
    }

    /// Whether a frame before `end` (segment, frame) does not follow its predecessor.
    fn has_gap_before(&self, end: (usize, usize)) -> bool {
        let mut next = 1;
        for (at, segment) in self.segments.iter().enumerate() {
            if at > end.0 || segment.first_counter != next {
                return at <= end.0;
            }
            for (place, frame) in segment.frames.iter().enumerate() {
                if (at, place) >= end {
                    return false;
                }
                if frame.counter != next {
                    return true;
                }
                next += 1;
            }
        }
        false
    }

    fn says_nothing(&self) -> bool {
        let bodies = |segment: &SealedSegment| {
            let body = |frame: &SealedFrame| frame.place.start + frame::HEADER_BYTES..frame.place.end;
            segment.frames.iter().all(|frame| segment.bytes[body(frame)].iter().all(|byte| *byte == 0))
        };
        self.segments.iter().all(bodies)
    }
}

impl SealedSegment {
    fn begin(number: u64, first_counter: u64) -> Self {
        let bytes = segment::header_page(number, SALT, first_counter, SEGMENT_BYTES as u64);
        Self { first_counter, bytes, frames: Vec::new() }
    }
}

fn sealed_frame(reader: &mut Reader<'_>, segment: u64, counter: &mut u64) -> Option<Vec<u8>> {
    *counter += u64::from(reader.byte()? == 1);
    let length = u64::from(reader.byte()?) | u64::from(reader.byte()? & 7) << 8;
    let mut buffer = Vec::new();
    frame::begin(&mut buffer);
    buffer.extend_from_slice(reader.take(length.min(reader.rest().len() as u64))?);
    frame::pad(&mut buffer);
    Seal::new(segment, SALT).close(&mut buffer, *counter);
    Some(buffer)
}

/// The files of a log with these segments, and a mark that covers no frame.
fn files_of<'a>(segments: impl IntoIterator<Item = &'a Vec<u8>>) -> Arc<SimulatedFiles> {
    let files = SimulatedFiles::new();
    let (name, mark) = marks::blank();
    files.put(name, mark);
    for (bytes, number) in segments.into_iter().zip(1..) {
        files.put(&segment_name(number), bytes.clone());
    }
    files
}

/// Opens the log with its flips, and compares it with a log that ends where they begin.
fn open_damaged(sealed: &Sealed) {
    let flipped = sealed.flipped();
    let segments = || sealed.segments.iter().zip(&flipped);
    let is_flipped = |(segment, now): (&SealedSegment, &Vec<u8>), place: Range<usize>| {
        segment.bytes[place.clone()] != now[place]
    };
    let last = sealed.segments.len() - 1;
    let damaged_frames = segments().enumerate().flat_map(|(at, pair)| {
        let damaged = pair.0.frames.iter().enumerate();
        damaged
            .filter(move |(_, frame)| is_flipped(pair, frame.place.clone()))
            .map(move |(place, _)| (at, place))
    });
    let first_damaged = damaged_frames.min();
    let outcome = open_twice(files_of(&flipped));

    let is_header_damaged = segments().any(|pair| is_flipped(pair, 0..CHECKED_HEADER_BYTES));
    let end = first_damaged.unwrap_or((last, usize::MAX));
    if is_header_damaged || end.0 != last || sealed.has_gap_before(end) {
        return assert_eq!(outcome, None, "damage that no crash can leave is refused");
    }
    // Where the log ends, and what must follow.
    let mut cut: Vec<_> = sealed.segments.iter().map(|segment| segment.bytes.clone()).collect();
    let frames = &sealed.segments[last].frames;
    let torn = first_damaged.map(|(_, place)| (place, &frames[place]));
    if let Some((place, damaged)) = torn {
        let later = frames[place + 1..].iter().zip(damaged.counter + 1..);
        let mut intact = later
            .filter(|(frame, _)| !is_flipped((&sealed.segments[last], &flipped[last]), frame.place.clone()));
        let is_next = !sealed.has_gap_before((last, place + 1));
        if is_next && intact.any(|(frame, counter)| frame.counter == counter) {
            return assert_eq!(outcome, None, "a frame followed by a valid one is no torn tail");
        }
        cut[last][damaged.place.start..].fill(0);
    } else if sealed.says_nothing() {
        assert!(outcome.is_some(), "a log without damage is served");
    }
    let wanted = open_twice(files_of(&cut));
    // A frame far after a gap may be noticed, or not.
    let may_be_refused = torn.is_some_and(|(place, _)| place + 1 < frames.len());
    assert!(outcome == wanted || (may_be_refused && outcome.is_none()), "{outcome:?}, not {wanted:?}");
    if let (Some(_), Some((_, damaged))) = (&outcome, torn) {
        the_rest_stays_away(&flipped, &sealed.segments[last].bytes, damaged.place.clone());
    }
}

/// After recovery the disk turns out to have the torn frame after all, except for what was written over it.
fn the_rest_stays_away(flipped: &[Vec<u8>], whole: &[u8], torn: Range<usize>) {
    let files = files_of(flipped);
    let before = open(Arc::clone(&files) as Arc<dyn Files>);
    let name = segment_name(flipped.len() as u64);
    let mut bytes = files.content(&name);
    let after_sealed = torn.start + frame::HEADER_BYTES..torn.end;
    if bytes.len() != whole.len() || before.is_none() {
        return;
    }
    // What recovery did not touch.
    if bytes[torn.clone()] == flipped[flipped.len() - 1][torn.clone()] {
        bytes[torn.clone()].copy_from_slice(&whole[torn]);
    } else {
        bytes[after_sealed.clone()].copy_from_slice(&whole[after_sealed]);
    }
    let files = files.after_restart();
    files.put(&name, bytes);
    assert_eq!(open(files), before, "what was cut off does not reappear");
}

/// Opens the log twice and returns what was served.
fn open_twice(files: Arc<SimulatedFiles>) -> Option<Vec<Served>> {
    let first = open(Arc::clone(&files) as Arc<dyn Files>)?;
    let second = open(files.after_restart());
    assert_eq!(second.as_ref(), Some(&first), "a second open finds the same");
    Some(first)
}

/// A log and its entries.
type Served = (RecoveredLog, Vec<Entry>);

fn open(files: Arc<dyn Files>) -> Option<Vec<Served>> {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES as u64, ..LogOptions::default() };
    match LogStore::open_with(files, options) {
        Ok((store, logs)) => {
            let entries = |log: &RecoveredLog| check_readable(&store, log);
            Some(logs.into_iter().map(|log| (log.clone(), entries(&log))).collect())
        }
        Err(error) => {
            let refused = matches!(error.code(), Code::Corruption | Code::IncompatibleFormat);
            assert!(refused, "recovery refuses, it does not fail: {error:?}");
            None
        }
    }
}

fn check_readable(store: &LogStore, log: &RecoveredLog) -> Vec<Entry> {
    let (first, last) = (log.truncated.0.get() + 1, log.last.0.get());
    assert!(last + 1 >= first, "the last entry is not before the truncated one");
    let entries = store
        .read(log.region, LogIndex(first), LogIndex(last + 1), u64::MAX)
        .expect("a log that was served can be read");
    assert!(entries.iter().map(|entry| entry.index).eq(first..=last), "entries are contiguous");
    let last_term = entries.last().map_or(log.truncated.1.get(), |entry| entry.term);
    assert_eq!(last_term, log.last.1.get(), "the last term is the last entry's");
    entries
}
