//! Values without versions get one trailer each, whatever ends the conversion.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;

use super::{Place, applied, batch, put};
use crate::error::Code;
use crate::storage::engine::trailer::seal;
use crate::storage::engine::{Engine, EngineOptions, IterOptions};
use crate::storage::keys::{self, Walked};
use crate::types::{ApplyState, LogIndex, Version};

/// RocksDB's smallest memtable, so that tables are written while values are converted.
const SMALL: EngineOptions =
    EngineOptions { memtable_bytes: 64 << 10, block_cache_bytes: 1 << 20, open_files_max: 64 };

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What users may have stored, values that end like a trailer among it.
fn pairs() -> Pairs {
    let mut buffer = Vec::new();
    let mut values = vec![Vec::new(), vec![0; 9], vec![0; 30], b"plain".to_vec(), vec![7; 6000]];
    for version in [Version::UNKNOWN, Version::of(LogIndex(77), 3)] {
        values.push(seal(b"value", version, &mut buffer).to_vec());
    }
    let numbered = (0..400u32).map(|n| (n.to_be_bytes().to_vec(), values[n as usize % values.len()].clone()));
    let special = [&b""[..], &[0], &[0, 0], &[0xff; 300]].map(|key| (key.to_vec(), b"special".to_vec()));
    numbered.chain(special).collect()
}

/// An engine with these values as the format before had them, flushed.
fn unversioned(place: &Place, pairs: &Pairs) -> Engine {
    let engine = place.engine_with(&SMALL);
    let mut batch = WriteBatch::default();
    pairs.iter().for_each(|(key, value)| batch.put(key, value));
    engine.write_encoded(&batch).expect("a healthy disk");
    engine.flush().expect("a healthy disk");
    engine
}

fn convert_some(engine: &Engine, bytes_max: usize) -> bool {
    let walked = engine.walked().expect("a healthy disk").expect("a conversion is under way");
    let Some(step) = engine.next_values(&walked, bytes_max).expect("a healthy disk") else { return false };
    engine.write_encoded(&step.encoded).expect("a healthy disk");
    true
}

fn assert_converted(engine: &Engine, pairs: &Pairs) {
    let mut iter = engine.view().iter(IterOptions::default());
    iter.seek_to_first();
    for (key, value) in pairs {
        assert_eq!(iter.versioned_item(), Some((&key[..], &value[..], Version::UNKNOWN)));
        iter.next();
    }
    assert!(!iter.valid());
    iter.status().expect("a healthy disk");
    assert_eq!(engine.walked().expect("a healthy disk"), None);
    assert_eq!(applied(engine), ApplyState::BOOTSTRAP);
}

#[test]
fn every_value_gets_one_trailer_wherever_a_crash_ends_the_conversion() {
    let (place, pairs) = (Place::new(), pairs());
    let engine = unversioned(&place, &pairs);
    engine.prepare_conversion().expect("a healthy disk");
    engine.database.db.disable_file_deletions().expect("a healthy disk");

    let mut images = vec![place.crash_image()];
    while convert_some(&engine, 5000) {
        images.push(place.crash_image());
        // Most images are older than their steps: a flush now and then makes some as new.
        if images.len().is_multiple_of(9) {
            engine.flush().expect("a healthy disk");
            images.push(place.crash_image());
        }
    }
    assert!(images.len() > 40, "only {} steps", images.len());

    let mut found = Vec::new();
    for image in &images {
        let engine = image.open().expect("a crash damages nothing");
        found.push(engine.walked().expect("a healthy disk"));
        engine.convert().expect("a healthy disk");
        drop(engine);
        assert_converted(&image.open().expect("it was closed"), &pairs);
    }
    assert_eq!(found[0], Some(Walked::Nothing));
    found.dedup();
    assert!(found.len() > 5, "crashes at {} places", found.len());
}

#[test]
fn conversions_that_crash_again_and_again_come_to_an_end() {
    let (place, pairs) = (Place::new(), pairs());
    let engine = unversioned(&place, &pairs);
    engine.prepare_conversion().expect("a healthy disk");
    drop(engine);

    let mut starts = 0;
    loop {
        let engine = place.open().expect("it was closed");
        let is_left = convert_some(&engine, 20_000);
        engine.flush().expect("a healthy disk");
        // Lost with the end of the process.
        convert_some(&engine, 3000);
        if !is_left {
            break;
        }
        starts += 1;
    }
    let engine = place.open().expect("it was closed");
    engine.convert().expect("a healthy disk");

    assert!(starts > 5, "only {starts} starts");
    assert_converted(&engine, &pairs);
}

#[test]
fn nothing_is_converted_twice() {
    let (place, pairs) = (Place::new(), pairs());
    let engine = unversioned(&place, &pairs);
    engine.prepare_conversion().expect("a healthy disk");
    engine.convert().expect("a healthy disk");

    // As a start does that finds the mark of the directory but no note.
    engine.convert().expect("a healthy disk");

    assert_converted(&engine, &pairs);
    engine.write(&batch(6, &[put(b"new", b"value")])).expect("a healthy disk");
    let found = engine.get(b"new").expect("a healthy disk").expect("it was put");
    assert_eq!((found.as_ref(), found.version()), (&b"value"[..], Version::of(LogIndex(6), 1)));
}

#[test]
fn a_data_base_without_values_is_converted() {
    let place = Place::new();
    let engine = unversioned(&place, &Pairs::new());

    engine.prepare_conversion().expect("a healthy disk");
    engine.prepare_conversion().expect("again, after a crash");
    engine.convert().expect("a healthy disk");

    assert_converted(&engine, &Pairs::new());
}

#[test]
fn a_conversion_under_way_is_not_begun_anew() {
    let place = Place::new();
    let engine = unversioned(&place, &pairs());
    engine.prepare_conversion().expect("a healthy disk");
    assert!(convert_some(&engine, 1));

    let error = engine.prepare_conversion().expect_err("the first value would get two trailers");

    assert_eq!(error.code(), Code::Corruption);
    assert!(error.detail().contains("the values up to ''"), "{error}");
}

#[test]
fn a_value_that_was_not_converted_is_found() {
    let place = Place::new();
    let engine = unversioned(&place, &pairs());
    let mut batch = WriteBatch::default();
    batch.put_cf(engine.meta(), keys::WALKED, Walked::UpTo(vec![0xff; 300]).encode());
    engine.write_encoded(&batch).expect("a healthy disk");

    let error = engine.convert().expect_err("no value has a version");

    assert_eq!(error.code(), Code::Corruption);
    assert!(error.detail().contains("was not converted"), "{error}");
    assert!(engine.walked().expect("a healthy disk").is_some(), "it is refused again");
}
