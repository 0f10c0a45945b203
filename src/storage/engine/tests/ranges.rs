//! Range deletions: the data they leave, and what they cost later.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rocksdb::properties::{AGGREGATED_TABLE_PROPERTIES, NUM_ENTRIES_ACTIVE_MEM_TABLE};

use super::{Place, batch, get, put, write};
use crate::core::command::Operation;
use crate::storage::engine::{Engine, IterOptions};

/// Key number `number`.
fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn put_keys(engine: &Engine, numbers: std::ops::Range<u32>) {
    let keys: Vec<_> = numbers.map(key).collect();
    write(engine, 6, &keys.iter().map(|key| put(key, b"v")).collect::<Vec<_>>());
}

fn delete_range(engine: &Engine, numbers: std::ops::Range<u32>) {
    let (begin, end) = (key(numbers.start), key(numbers.end));
    write(engine, 7, &[Operation::DeleteRange { begin: &begin, end: &end }]);
}

/// Range deletions in tables, after what is in memory is written to one.
fn ranges_in_tables(engine: &Engine) -> u64 {
    engine.flush().expect("a healthy disk");
    let tables = engine.database.db.property_value(AGGREGATED_TABLE_PROPERTIES);
    let tables = tables.expect("a healthy disk").expect("RocksDB knows it");
    let count = tables.split("; ").find_map(|property| property.strip_prefix("# range deletions="));
    count.unwrap_or_else(|| panic!("{tables}")).parse().expect("a number")
}

#[test]
fn a_range_of_few_keys_leaves_no_range_deletion() {
    let place = Place::new();
    let engine = place.engine();
    put_keys(&engine, 0..4096);

    (0..128).for_each(|number| delete_range(&engine, number * 32..number * 32 + 32));
    delete_range(&engine, 5000..6000);

    assert_eq!((0..4096).find(|number| get(&engine, &key(*number)).is_some()), None);
    assert_eq!(ranges_in_tables(&engine), 0);
}

#[test]
fn a_range_of_many_keys_or_many_deleted_keys_stays_one() {
    let place = Place::new();
    let engine = place.engine();
    put_keys(&engine, 0..33);
    put_keys(&engine, 100..1100);
    put_keys(&engine, 2000..2001);
    (100..1100).for_each(|number| write(&engine, 7, &[Operation::Delete { key: &key(number) }]));

    delete_range(&engine, 0..33);
    delete_range(&engine, 100..1101);

    assert_eq!((0..1101).find(|number| get(&engine, &key(*number)).is_some()), None);
    assert!(get(&engine, &key(2000)).is_some());
    assert_eq!(ranges_in_tables(&engine), 2);
}

#[test]
fn a_range_that_is_only_on_the_disk_is_deleted_without_reading_it() {
    let place = Place::new();
    let engine = place.engine();
    put_keys(&engine, 0..4);
    engine.flush().expect("a healthy disk");
    drop(engine);
    let engine = place.open().expect("it was closed");

    delete_range(&engine, 0..4);

    assert_eq!((0..4).find(|number| get(&engine, &key(*number)).is_some()), None);
    assert_eq!(ranges_in_tables(&engine), 1);
}

#[test]
fn range_deletions_in_memory_are_bounded() {
    /// More than a short range has, and its range deletion.
    const ENTRIES: u64 = 33 + 1;
    let place = Place::new();
    let engine = place.engine();

    for round in 0..2000 {
        put_keys(&engine, round * 33..round * 33 + 33);
        delete_range(&engine, round * 33..round * 33 + 33);

        let entries = engine.database.db.property_int_value(NUM_ENTRIES_ACTIVE_MEM_TABLE);
        let entries = entries.expect("a healthy disk").expect("RocksDB knows it");
        assert!(entries <= 129 * ENTRIES, "{entries} after {round} range deletions");
    }

    assert_eq!((0..2000 * 33).find(|number| get(&engine, &key(*number)).is_some()), None);
}

/// An operation of a batch, on keys and ranges of numbers.
#[derive(Clone, Debug)]
enum Edit {
    Put(u32, u8),
    Delete(u32),
    DeleteRange(u32, u32),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Ranges are shorter and longer than a short one, and some are reversed.
    prop_oneof![
        4 => (0..200u32, any::<u8>()).prop_map(|(key, value)| Edit::Put(key, value)),
        1 => (0..200u32).prop_map(Edit::Delete),
        2 => (0..200u32, 0..90u32).prop_map(|(begin, length)| Edit::DeleteRange(begin, (begin + length).saturating_sub(5))),
    ]
}

/// Writes `edits` as one batch, and makes the same change to `data`.
fn apply(engine: &Engine, data: &mut BTreeMap<[u8; 4], u8>, edits: &[Edit]) {
    let mut operations = Vec::new();
    let keys = edits.iter().map(|edit| match edit {
        Edit::Put(at, value) => (key(*at), key(0), [*value]),
        Edit::Delete(at) => (key(*at), key(0), [0]),
        Edit::DeleteRange(begin, end) => (key(*begin), key(*end), [0]),
    });
    let keys: Vec<_> = keys.collect();
    for (edit, (begin, end, value)) in edits.iter().zip(&keys) {
        match edit {
            Edit::Put(..) => {
                data.insert(*begin, value[0]);
                operations.push(put(begin, value));
            }
            Edit::Delete(_) => {
                data.remove(begin);
                operations.push(Operation::Delete { key: begin });
            }
            Edit::DeleteRange(..) => {
                data.retain(|key, _| key < begin || key >= end);
                operations.push(Operation::DeleteRange { begin, end });
            }
        }
    }
    engine.write(&batch(7, &operations)).expect("a healthy disk");
}

fn contents(engine: &Engine) -> Vec<([u8; 4], u8)> {
    let mut iter = engine.view().iter(IterOptions::default());
    let mut contents = Vec::new();
    iter.seek_to_first();
    while let Some((key, value)) = iter.item() {
        contents.push((key.try_into().expect("all have this length"), value[0]));
        iter.next();
    }
    iter.status().expect("a healthy disk");
    contents
}

#[test]
fn batches_with_ranges_have_the_effect_of_their_operations_one_after_the_other() {
    let place = Place::new();
    let engine = place.engine();
    let data = RefCell::new(BTreeMap::new());
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };

    TestRunner::new(config)
        .run(&(vec(edit(), 0..40), prop::bool::weighted(0.1)), |(edits, flush)| {
            let mut data = data.borrow_mut();
            apply(&engine, &mut data, &edits);
            if flush {
                engine.flush().expect("a healthy disk");
            }
            let expected: Vec<_> = data.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(contents(&engine), expected);
            Ok(())
        })
        .unwrap();
}
