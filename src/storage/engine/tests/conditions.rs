//! Conditions see what the engine has after the last batch.

use rocksdb::properties::NUM_ENTRIES_ACTIVE_MEM_TABLE;

use super::{Place, put, write};
use crate::core::command::Operation;
use crate::core::stored::Stored;
use crate::storage::engine::Engine;
use crate::storage::engine::stored::FIRST_KEYS;
use crate::types::{LogIndex, Version};

fn numbered(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn together(engine: &Engine, keys: &[[u8; 4]]) -> Vec<Version> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    engine.latest().versions_of(&keys).expect("a healthy disk")
}

#[test]
fn versions_that_are_read_together_are_those_that_are_read_one_by_one() {
    let place = Place::new();
    let engine = place.engine();
    // Every second key in one table, every third in another, every fifth in memory; some of each are deleted again.
    for (index, step) in [(6, 2), (7, 3), (8, 5)] {
        let keys: Vec<_> = (0..300).step_by(step).map(numbered).collect();
        write(&engine, index, &keys.iter().map(|key| put(key, b"value")).collect::<Vec<_>>());
        if step < 5 {
            engine.flush().expect("a healthy disk");
        }
    }
    let [deleted, begin, end] = [6, 90, 200].map(numbered);
    write(
        &engine,
        9,
        &[Operation::Delete { key: &deleted }, Operation::DeleteRange { begin: &begin, end: &end }],
    );

    let keys: Vec<_> = (0..300).map(numbered).collect();
    let versions = together(&engine, &keys);

    let latest = engine.latest();
    let one_by_one = keys.iter().map(|key| latest.version_of(key).expect("a healthy disk"));
    assert_eq!(versions, one_by_one.collect::<Vec<_>>());
    let of = |index| Version::of(LogIndex(index), 1);
    assert_eq!(
        [1, 2, 3, 5, 6, 100].map(|at| versions[at]),
        [0, 6, 7, 8, 0, 0].map(|index| match index {
            0 => Version::NONE,
            index => of(index),
        })
    );
}

#[test]
fn no_more_large_values_are_read_together_than_need_be() {
    let place = Place::new();
    let engine = place.engine();
    let large = vec![7; 400 << 10];
    let keys: Vec<_> = (0..50).map(numbered).collect();
    write(&engine, 6, &keys.iter().map(|key| put(key, &large)).collect::<Vec<_>>());

    let versions = together(&engine, &keys);

    assert_eq!(versions, [Version::of(LogIndex(6), 1); FIRST_KEYS]);
}

#[test]
fn a_memtable_without_a_filter_is_replaced_as_soon_as_it_can_be() {
    const LOOKS: usize = 1000;
    let place = Place::new();
    let engine = place.engine();
    let database = &engine.database;
    let in_memory = || {
        let entries = database.db.property_int_value(NUM_ENTRIES_ACTIVE_MEM_TABLE);
        entries.expect("a healthy disk").expect("RocksDB knows it")
    };
    let look = || (0..LOOKS).for_each(|_| _ = engine.latest().version_of(b"k").expect("a healthy disk"));
    let compact_by_itself = |is_on: &str| {
        let options = [("disable_auto_compactions", is_on)];
        database.db.set_options_cf(database.data(), &options).expect("RocksDB knows it");
    };
    // One table more, and RocksDB would slow writes down.
    compact_by_itself("true");
    for index in 6..25 {
        write(&engine, index, &[put(b"k", b"")]);
        engine.flush().expect("a healthy disk");
    }
    write(&engine, 25, &[put(b"k", b"")]);

    look();
    let (busy, _) = (in_memory(), compact_by_itself("false"));
    database.db.compact_range::<&[u8], &[u8]>(None, None);
    write(&engine, 26, &[put(b"k", b"")]);
    look();
    let replaced = in_memory();
    write(&engine, 27, &[put(b"k", b"")]);
    look();

    assert_eq!((busy, replaced, in_memory()), (1, 0, 1));
}
