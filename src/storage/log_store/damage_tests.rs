//! Damage: flipped bits, lost files, and bytes nobody wrote.
//!
//! What must hold: damage in any durable frame but the very last is refused with file and offset, and never
//! served; damage that looks like a torn tail costs the last append and nothing else if it is after the mark, and is
//! reported as a lost end if it is before the mark.

use std::sync::Arc;

use super::frame::{self, Seal};
use super::marks;
use super::model_tests::{open_and_read, tiny};
use super::segment::{self, HEADER_BYTES, segment_name};
use super::simulated_files::{SimulatedFiles, Survival, scramble};
use super::{Files, LogReader, LogStore, RecoveredStore, fuzz_recovery};
use crate::core::ports::{Entry, HardState, LogWrite};
use crate::error::{Code, Error};
use crate::types::{LogIndex, RegionId, Term};

/// The position of a frame.
struct Place {
    name: String,
    start: usize,
    end: usize,
}

fn append(store: &LogStore, index: u64, size: usize) {
    let entry = Entry { index, term: 1, data: vec![index as u8; size].into(), ..Entry::default() };
    let write = LogWrite { entries: vec![entry], ..LogWrite::new(RegionId(1)) };
    store.append(&[write]).unwrap();
}

/// A log of twelve entries in three segments, and the position of each frame.
fn small_log() -> (Arc<SimulatedFiles>, Vec<Place>) {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    for index in 1..=12 {
        append(&store, index, 800);
    }
    let places = places(&files);
    assert_eq!((segments(&files).len(), places.len()), (3, 12));
    (files, places)
}

/// The names of its segments.
fn segments(files: &SimulatedFiles) -> Vec<String> {
    let names = files.list().unwrap().into_iter();
    names.filter(|name| segment::segment_number(name).is_some()).collect()
}

/// Walks over the frames by their lengths.
fn places(files: &SimulatedFiles) -> Vec<Place> {
    let mut places = Vec::new();
    for name in segments(files) {
        let bytes = files.content(&name);
        let mut start = HEADER_BYTES as usize;
        while let Some(length) = bytes.get(start + 4..start + 8).filter(|length| **length != [0; 4]) {
            let end = start + 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
            places.push(Place { name: name.clone(), start, end });
            start = end;
        }
    }
    places
}

fn open_error(files: Arc<SimulatedFiles>) -> Error {
    LogStore::open_with(files, tiny()).err().expect("damage is refused")
}

fn copy(files: &SimulatedFiles) -> Arc<SimulatedFiles> {
    files.after_power_loss(Survival::Nothing)
}

#[test]
fn a_flipped_bit_in_any_frame_but_the_last_is_refused_with_file_and_offset() {
    let (files, places) = small_log();
    let (_, but_last) = places.split_last().unwrap();

    for place in but_last {
        for offset in place.start..place.end {
            let damaged = copy(&files);
            damaged.flip(&place.name, offset, (offset % 8) as u8);
            let before = damaged.content(&place.name);

            let error = open_error(damaged.clone());

            assert_eq!(error.code(), Code::Corruption);
            assert!(error.detail().contains(&place.name), "{error}");
            assert!(error.detail().contains(&format!("offset {}:", place.start)), "{error}");
            assert_eq!(damaged.content(&place.name), before, "damaged files are left as they are");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_frame_costs_that_frame_only() {
    let (files, places) = small_log();
    let last = places.last().unwrap();

    for offset in last.start..last.end {
        let damaged = copy(&files);
        damaged.flip(&last.name, offset, (offset % 8) as u8);

        let (_, seen) = open_and_read(damaged);

        assert_eq!(seen[0].0.last, (LogIndex(11), Term(1)), "offset {offset}");
    }
}

/// The result of reading the log; nothing is written.
fn read_only(files: &Arc<SimulatedFiles>) -> RecoveredStore {
    LogStore::read_with(files.clone(), tiny()).unwrap()
}

#[test]
fn a_lost_end_is_reported_until_it_is_back() {
    let (files, places) = small_log();
    let (store, _) = open_and_read(files.clone());
    let vote = HardState { term: 4, vote: 2, commit: 3, ..HardState::default() };
    let voted = LogWrite { hard_state: Some(vote.clone()), ..LogWrite::new(RegionId(1)) };
    store.append(&[voted]).unwrap();
    drop(store);
    // The last append before the reopen, and the vote after it.
    let last = places.last().unwrap();
    let mut bytes = files.content(&last.name);
    bytes[last.start..].fill(0);
    files.put(&last.name, bytes);

    let found = read_only(&files);
    let lost_end = found.lost_end().unwrap();
    assert_eq!((lost_end.offset, lost_end.missing_frames), (last.start as u64, 3));
    assert!(lost_end.path.ends_with(&last.name), "{lost_end:?}");
    drop(found);

    // No matter how often it is opened and how far it grows.
    for index in 12..=20 {
        let (store, seen) = open_and_read(files.clone());
        let log = &seen[0].0;
        assert_eq!((log.last.0, log.lost_end), (LogIndex(index - 1), Some((LogIndex(12), Term(1)))));
        assert_eq!(
            (log.hard_state.term, log.hard_state.vote),
            (vote.term, vote.vote),
            "no vote is forgotten"
        );
        append(&store, index, 800);
    }
    let (store, _) = open_and_read(files.clone());
    store.append(&[LogWrite { has_lost_end_back: true, ..LogWrite::new(RegionId(1)) }]).unwrap();
    assert_eq!(read_only(&files).lost_end(), None);
    assert_eq!(open_and_read(files).1[0].0.hard_state.vote, 2);
}

#[test]
fn when_the_newest_segment_is_gone_its_frames_are_reported_missing() {
    let (files, _) = small_log();
    open_and_read(files.clone()).0.mark().unwrap();
    for gone in [segment_name(3), segment_name(2), segment_name(1)] {
        files.remove(&gone).unwrap();

        let found = read_only(&files);
        assert!(found.lost_end().is_some(), "without {gone}");
        assert_eq!(found.logs()[0].lost_end, Some((LogIndex(12), Term(1))), "without {gone}");
    }
}

#[test]
fn a_log_whose_marks_are_both_gone_is_refused() {
    let (files, _) = small_log();
    for name in files.list().unwrap().into_iter().filter(|name| name.ends_with(".mark")) {
        files.remove(&name).unwrap();
    }

    let error = open_error(files);

    assert_eq!(error.code(), Code::Corruption);
    assert!(error.detail().contains("0.mark"), "{error}");
}

#[test]
fn after_a_reopen_the_last_append_is_no_longer_the_last_frame() {
    let (files, places) = small_log();
    let last = places.last().unwrap();
    drop(open_and_read(files.clone()));

    let damaged = copy(&files);
    damaged.flip(&last.name, last.start + 20, 0);

    assert_eq!(open_error(damaged).code(), Code::Corruption);
}

/// A segment with one empty frame for each of `counters`.
fn segment_of(counters: &[u64]) -> Arc<SimulatedFiles> {
    let mut file = segment::header_page(1, 7, 1, 8 << 10);
    for counter in counters {
        let mut empty = Vec::new();
        frame::begin(&mut empty);
        Seal::new(1, 7).close(&mut empty, *counter);
        file.extend_from_slice(&empty);
    }
    file.resize(8 << 10, 0);
    let files = SimulatedFiles::new();
    let (name, mark) = marks::blank();
    files.put(name, mark);
    files.put(&segment_name(1), file);
    files
}

#[test]
fn a_valid_frame_in_the_place_of_another_is_refused() {
    assert!(LogStore::open_with(segment_of(&[1, 2, 3]), tiny()).is_ok());

    for (counters, offset) in [(&[1, 3], 4112), (&[1, 1], 4112), (&[2, 3], 4096)] {
        let error = open_error(segment_of(counters));
        assert_eq!(error.code(), Code::Corruption);
        assert!(error.detail().contains(&format!("offset {offset}:")), "{error}");
    }
}

#[test]
fn a_flipped_bit_in_any_segment_header_is_refused() {
    let (files, _) = small_log();

    for name in segments(&files) {
        for offset in 0..52 {
            let damaged = copy(&files);
            damaged.flip(&name, offset, (offset % 8) as u8);

            let error = open_error(damaged);

            assert_eq!(error.code(), Code::Corruption);
            assert!(error.detail().contains(&name), "{error}");
        }
    }
}

#[test]
fn a_frame_that_goes_bad_while_the_store_is_open_is_refused_by_the_reader() {
    let (files, places) = small_log();
    let (store, _) = open_and_read(files.clone());
    let place = &places[4];
    files.flip(&place.name, place.start + 100, 3);

    let error = store.read(RegionId(1), LogIndex(1), LogIndex(13), u64::MAX).unwrap_err();

    assert_eq!(error.code(), Code::Corruption);
    assert!(error.detail().contains(&format!("offset {}:", place.start)), "{error}");
    assert!(store.read(RegionId(1), LogIndex(9), LogIndex(13), u64::MAX).is_ok(), "others can be read");
}

#[test]
fn a_lost_segment_is_refused() {
    let (files, _) = small_log();

    for (lost, named) in [(1, 1), (2, 2)] {
        let damaged = copy(&files);
        damaged.remove(&segment_name(lost)).unwrap();

        let error = open_error(damaged);

        assert_eq!(error.code(), Code::Corruption);
        assert!(error.detail().contains(&segment_name(named)), "{error}");
    }
}

#[test]
fn a_segment_cut_short_is_refused() {
    let (files, _) = small_log();

    for name in segments(&files) {
        let mut bytes = files.content(&name);
        bytes.truncate(5000);
        let damaged = copy(&files);
        damaged.put(&name, bytes);

        assert_eq!(open_error(damaged).code(), Code::Corruption);
    }
}

#[test]
fn strange_files_in_the_directory_are_left_alone() {
    let (files, _) = small_log();
    files.put("README", b"hello".to_vec());
    files.put("1.log", b"hello".to_vec());

    let (_, seen) = open_and_read(files.clone());

    assert_eq!(seen[0].1.len(), 12);
    assert_eq!(files.content("README"), b"hello");
}

#[test]
fn a_value_that_looks_like_frames_of_this_segment_is_not_taken_for_one() {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    append(&store, 1, 100);
    let frame = places(&files).pop().map(|place| files.content(&place.name)[place.start..place.end].to_vec());
    let entry = Entry { index: 2, term: 1, data: frame.unwrap().repeat(8).into(), ..Entry::default() };
    let write = LogWrite { entries: vec![entry], ..LogWrite::new(RegionId(1)) };
    store.append(&[write]).unwrap();
    let last = places(&files).pop().unwrap();

    files.flip(&last.name, last.start, 0);

    assert_eq!(open_and_read(files).1[0].0.last, (LogIndex(1), Term(1)), "a torn tail, no damage");
}

/// Inputs that reach deep code, one for each mode of [`fuzz_recovery`]; also the fuzzer's initial corpus.
fn corpus() -> Vec<Vec<u8>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/log_recovery");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn the_fuzz_corpus_and_two_thousand_mutations_of_it_hold() {
    let corpus = corpus();
    assert!(corpus.len() >= 5);
    corpus.iter().for_each(|input| fuzz_recovery(input));
    let mut draw = 1;
    for _ in 0..2000 {
        let mut input = corpus[scramble(&mut draw) as usize % corpus.len()].clone();
        for _ in 0..=scramble(&mut draw) % 6 {
            mutate(&mut input, &mut draw);
        }
        fuzz_recovery(&input);
    }
}

fn mutate(input: &mut Vec<u8>, draw: &mut u64) {
    let mut below = |end: usize| scramble(draw) as usize % end.max(1);
    let at = below(input.len());
    match below(5) {
        0 if !input.is_empty() => input[at] ^= 1 << below(8),
        1 if !input.is_empty() => input[at] = below(256) as u8,
        2 => input.truncate(at),
        3 => input.insert(at, below(256) as u8),
        _ => {
            let part = input[at..input.len().min(at + below(64))].to_vec();
            input.splice(at..at, part);
        }
    }
}
