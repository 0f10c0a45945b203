//! A crash leaves the data and the apply state of the last flush, never of different points in time.

use std::sync::Arc;
use std::thread;

use rocksdb::properties::NUM_ENTRIES_ACTIVE_MEM_TABLE;

use super::{Place, applied, batch, get, put, state, unguarded, write};
use crate::core::command::Operation;
use crate::error::Code;
use crate::storage::engine::{Engine, EngineOptions, IterOptions};
use crate::types::{ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_REGION, RegionId};

/// RocksDB's smallest memtable.
const SMALL: EngineOptions =
    EngineOptions { memtable_bytes: 64 << 10, block_cache_bytes: 1 << 20, open_files_max: 64 };

fn flushed(engine: &Engine) -> Option<ApplyState> {
    engine.flushed_apply_state(BOOTSTRAP_REGION).expect("a healthy disk")
}

/// Applies entry `index`, which puts one key that names it.
fn write_numbered(engine: &Engine, index: u64) {
    write(engine, index, &[put(&index.to_be_bytes(), &[7; 1000])]);
}

/// The engine's data is that of exactly the entries its apply state names.
fn assert_data_matches_state(engine: &Engine) -> u64 {
    let index = applied(engine).index.get();
    let mut iter = engine.view().iter(IterOptions::default());
    iter.seek_to_first();
    for expected in BOOTSTRAP_INDEX.get() + 1..=index {
        assert_eq!(iter.key(), Some(&expected.to_be_bytes()[..]), "state says {index}");
        iter.next();
    }
    assert!(!iter.valid(), "data beyond the state, which says {index}");
    iter.status().expect("a healthy disk");
    index
}

#[test]
fn the_flushed_state_follows_the_flush_and_not_the_write() {
    let place = Place::new();
    let engine = place.engine();
    assert_eq!(flushed(&engine), Some(ApplyState::BOOTSTRAP));

    write(&engine, 6, &[put(b"a", b"1")]);
    assert_eq!(flushed(&engine), Some(ApplyState::BOOTSTRAP));
    assert_eq!(applied(&engine), state(6));

    engine.flush().expect("a healthy disk");
    assert_eq!(flushed(&engine), Some(state(6)));

    write(&engine, 7, &[]);
    assert_eq!(flushed(&engine), Some(state(6)));
    assert_eq!(engine.flushed_apply_state(RegionId(2)).expect("a healthy disk"), None);
}

#[test]
fn a_started_flush_shows_in_the_flushed_state_once_it_is_done() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"1")]);

    engine.start_flush().expect("a healthy disk");

    while flushed(&engine) != Some(state(6)) {
        thread::yield_now();
    }
}

#[test]
fn much_that_was_applied_again_is_flushed_and_little_is_not() {
    let place = Place::new();
    let engine = place.engine();
    let in_memory = || {
        let entries = engine.database.db.property_int_value(NUM_ENTRIES_ACTIVE_MEM_TABLE);
        entries.expect("a healthy disk").expect("RocksDB knows it")
    };

    write_numbered(&engine, 6);
    engine.start_flush_after_replay().expect("a healthy disk");
    assert_eq!(in_memory(), 1);

    (7..2000).for_each(|index| write_numbered(&engine, index));
    engine.start_flush_after_replay().expect("a healthy disk");
    assert_eq!(in_memory(), 0);
    while flushed(&engine) != Some(state(1999)) {
        thread::yield_now();
    }
}

#[test]
fn no_flush_after_a_replay_while_the_store_is_closing_is_no_failure() {
    let place = Place::new();
    let engine = place.engine();
    (6..2000).for_each(|index| write_numbered(&engine, index));

    engine.stop_background_work();

    assert!(engine.start_flush().is_err(), "else there is nothing to test");
    engine.start_flush_after_replay().expect("nothing is lost");
}

#[test]
fn starting_a_flush_again_and_again_never_fails() {
    let place = Place::new();
    let engine = place.engine_with(&SMALL);

    for index in 6..300 {
        write_numbered(&engine, index);
        engine.start_flush().expect("a healthy disk");
    }
    engine.flush().expect("a healthy disk");

    assert_eq!(flushed(&engine), Some(state(299)));
}

#[test]
fn a_crash_returns_to_the_last_flush_in_both_column_families() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"kept", b"1"), put(b"changed", b"old")]);
    engine.flush().expect("a healthy disk");
    let lost = [put(b"lost", b"1"), put(b"changed", b"new"), Operation::Delete { key: b"kept" }];
    write(&engine, 7, &lost);

    let image = place.crash_image();
    let engine = image.open().expect("a crash damages nothing");

    assert_eq!(applied(&engine), state(6));
    let values = [&b"kept"[..], b"changed", b"lost"].map(|key| get(&engine, key));
    assert_eq!(values, [Some(b"1".to_vec()), Some(b"old".to_vec()), None]);
}

#[test]
fn closing_leaves_the_same_state_as_a_crash() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"1")]);
    engine.flush().expect("a healthy disk");
    write(&engine, 7, &[put(b"b", b"1")]);
    drop(engine);

    let engine = place.open().expect("a healthy disk");

    let there = [b"a", b"b"].map(|key| get(&engine, key).is_some());
    assert_eq!((applied(&engine), there), (state(6), [true, false]));
}

#[test]
fn a_crash_at_any_point_leaves_data_that_matches_the_apply_state() {
    let place = Place::new();
    let engine = place.engine_with(&SMALL);
    engine.database.db.disable_file_deletions().expect("a healthy disk");

    let mut images = Vec::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| (6..2000).for_each(|index| write_numbered(&engine, index)));
        while !writer.is_finished() {
            images.push(place.crash_image());
        }
    });
    images.push(place.crash_image());

    let survived: Vec<_> = images
        .iter()
        .map(|image| assert_data_matches_state(&image.open().expect("a crash damages nothing")))
        .collect();
    assert!(survived.is_sorted(), "{survived:?}");
    assert!(survived.last() > Some(&1000), "memtables were flushed when they were full: {survived:?}");
    assert_data_matches_state(&engine);
}

#[test]
fn a_failed_flush_stops_writers_at_once_but_never_readers() {
    let place = Place::new();
    let engine = place.engine_with(&SMALL);
    let view = engine.view();
    let away = place.0.with_extension("away");
    std::fs::rename(&place.0, &away).expect("it is ours");

    let mut written = 6;
    let error = loop {
        match engine.write(&batch(written, &[put(&written.to_be_bytes(), &[7; 1000])])) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };

    assert_eq!(error.code(), Code::Io, "{error}");
    assert!(error.detail().contains(".sst"), "{error}");
    assert!(written < 1000, "two memtables hold less than {written} KB");
    assert_eq!(engine.write(&batch(written, &[])).expect_err("still").code(), Code::Io);
    assert_eq!(engine.flush().expect_err("still").code(), Code::Io);
    assert_eq!(engine.start_flush().expect_err("still").code(), Code::Io);
    assert_eq!(flushed(&engine), Some(ApplyState::BOOTSTRAP));
    assert_eq!(assert_data_matches_state(&engine), written - 1);
    assert!(view.get(&6u64.to_be_bytes()).expect("reading goes on").is_none());
    drop((engine, view));
    std::fs::rename(&away, &place.0).expect("it is ours");
}

#[test]
fn a_waiting_writer_returns_when_background_work_is_stopped() {
    let place = Place::new();
    let engine = place.engine_with(&SMALL);
    write_numbered(&engine, 6);

    engine.stop_background_work();

    let mut rest = 7..10_000;
    let error = rest.find_map(|index| engine.write(&batch(index, &[put(b"key", &[7; 1000])])).err());
    assert_eq!(error.expect("memory is full").code(), Code::Io);
}

#[test]
fn the_guard_is_dropped_after_the_last_reader() {
    let place = Place::new();
    let guard = Arc::new(());
    let engine = Engine::create(&place.0, &EngineOptions::default(), guard.clone()).expect("a new place");
    write(&engine, 6, &[put(b"a", b"1")]);
    let view = engine.view();
    let value = view.get(b"a").expect("a healthy disk").expect("it was put");
    let iter = view.iter(IterOptions::default());

    drop(engine);
    drop(view);
    drop(iter);
    assert_eq!(Arc::strong_count(&guard), 2);
    assert_eq!(value.as_ref(), b"1");
    drop(value);

    assert_eq!(Arc::strong_count(&guard), 1);
    assert!(Engine::open(&place.0, &EngineOptions::default(), unguarded()).is_ok());
}
