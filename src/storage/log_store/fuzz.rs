//! The fuzzer's door to recovery.
//!
//! Owns the translation of arbitrary bytes into a log directory and the check of what comes of it. What must
//! hold, for any bytes: recovery refuses with `CORRUPTION` or `INCOMPATIBLE_FORMAT`, or it serves logs that
//! are contiguous and readable; a second open finds the same; nothing panics. Memory is bounded by the input,
//! because no length is believed beyond the end of its file.
//!
//! The first byte chooses how far the input gets by itself. Checksums stop raw bytes at the door, so the other
//! ways seal the input's frames before they flip some of its bits.

use std::sync::Arc;

use super::files::Files;
use super::frame::{self, Seal};
use super::segment::{self, segment_name};
use super::simulated_files::SimulatedFiles;
use super::varint::Reader;
use super::{LogOptions, LogStore, RecoveredLog};
use crate::core::ports::LogReader;
use crate::error::Code;
use crate::types::LogIndex;

const SALT: u64 = 0x5eed;
const SEGMENT_BYTES: usize = 8 << 10;

/// Opens a log made of `data` and checks what must hold.
///
/// # Panics
/// When it does not hold.
pub fn fuzz_recovery(data: &[u8]) {
    let Some((way, rest)) = data.split_first() else {
        return;
    };
    let files = SimulatedFiles::new();
    match way % 3 {
        0 => files.put(&segment_name(1), rest.to_vec()),
        1 => files.put(&segment_name(1), padded(rest)),
        _ => put_sealed_segments(&files, rest),
    }
    open_twice(files);
}

/// A good header in front of the input, zeros behind it.
fn padded(input: &[u8]) -> Vec<u8> {
    let capacity = SEGMENT_BYTES.max(input.len() + 4096).next_multiple_of(4096);
    let mut file = segment::header_page(1, SALT, 1, capacity as u64);
    file.extend_from_slice(input);
    file.resize(capacity, 0);
    file
}

/// Reads the input as: a list of frames (segment step u8, counter step u8, length u16, body), then flips
/// (offset u16, bit u8) for the segment that was filled last.
fn put_sealed_segments(files: &SimulatedFiles, input: &[u8]) {
    let mut reader = Reader::new(input);
    let (mut number, mut counter) = (1, 1);
    let mut file = segment::header_page(number, SALT, counter, SEGMENT_BYTES as u64);
    while let Some(step) = reader.byte().filter(|step| *step < 0xf0) {
        let Some(frame) = sealed_frame(&mut reader, number, &mut counter) else {
            break;
        };
        if step == 1 || file.len() + frame.len() > SEGMENT_BYTES {
            file.resize(SEGMENT_BYTES, 0);
            files.put(&segment_name(number), std::mem::take(&mut file));
            number += 1;
            file = segment::header_page(number, SALT, counter, SEGMENT_BYTES as u64);
            continue;
        }
        file.extend_from_slice(&frame);
        counter += 1;
    }
    file.resize(SEGMENT_BYTES, 0);
    flip(&mut file, &mut reader);
    files.put(&segment_name(number), file);
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

fn flip(file: &mut [u8], reader: &mut Reader<'_>) {
    while let (Some(low), Some(high), Some(bit)) = (reader.byte(), reader.byte(), reader.byte()) {
        let offset = usize::from(low) | usize::from(high) << 8;
        file[offset % SEGMENT_BYTES] ^= 1 << (bit % 8);
    }
}

fn open_twice(files: Arc<SimulatedFiles>) {
    let Some(first) = open(Arc::clone(&files) as Arc<dyn Files>) else {
        return;
    };
    let second = open(files.after_restart());
    assert_eq!(second.as_ref(), Some(&first), "a second open finds the same");
}

fn open(files: Arc<dyn Files>) -> Option<Vec<RecoveredLog>> {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES as u64, ..LogOptions::default() };
    match LogStore::open_with(files, options) {
        Ok((store, logs)) => {
            logs.iter().for_each(|log| check_readable(&store, log));
            Some(logs)
        }
        Err(error) => {
            let refused = matches!(error.code(), Code::Corruption | Code::IncompatibleFormat);
            assert!(refused, "recovery refuses, it does not fail: {error:?}");
            None
        }
    }
}

fn check_readable(store: &LogStore, log: &RecoveredLog) {
    let (first, last) = (log.truncated.0.get() + 1, log.last.0.get());
    assert!(last + 1 >= first, "the last entry is not before the truncated one");
    let entries = store
        .read(log.region, LogIndex(first), LogIndex(last + 1), u64::MAX)
        .expect("a log that was served can be read");
    assert!(entries.iter().map(|entry| entry.index).eq(first..=last), "entries are contiguous");
    let last_term = entries.last().map_or(log.truncated.1.get(), |entry| entry.term);
    assert_eq!(last_term, log.last.1.get(), "the last term is the last entry's");
}
