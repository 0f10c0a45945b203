//! Readers show the same versions on every member, once its regions have floors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rocksdb::WriteBatch;

use super::{Place, batch, put, write};
use crate::core::stored::Stored;
use crate::storage::engine::floors::Floor;
use crate::storage::engine::trailer::seal;
use crate::storage::engine::{Engine, IterOptions, View};
use crate::types::{LogIndex, Version};

/// What the helper of these tests writes by this entry.
fn of(index: u64) -> Version {
    Version::of(LogIndex(index), 1)
}

fn floor(index: u64) -> Version {
    Version::of(LogIndex(index), 0)
}

/// Keys up to "m" are in one region, the others in another.
fn engine(place: &Place, floors: [Floor; 2]) -> Engine {
    let engine = place.engine();
    engine.set_floors([&b"m"[..], b""].into_iter().zip([floors[1], floors[0]]));
    engine
}

/// A value as a conversion leaves it.
fn write_converted(engine: &Engine, key: &[u8]) {
    let mut batch = WriteBatch::default();
    batch.put(key, seal(b"converted", Version::UNKNOWN, &mut Vec::new()));
    engine.write_encoded(&batch).expect("a healthy disk");
}

/// The versions that a view shows of these keys, however it is asked.
fn seen(view: &View, keys: &[&[u8]]) -> Vec<Version> {
    let version = |key: &&[u8]| view.get(key).expect("a healthy disk").expect("it was put").version();
    let one_by_one: Vec<_> = keys.iter().map(version).collect();

    let many = view.get_many(keys).expect("a healthy disk");
    let in_memory = view.get_many_from_memory(keys).expect("nothing was flushed").expect("a healthy disk");
    for values in [many, in_memory] {
        let versions: Vec<_> = values.into_iter().map(|value| value.expect("it was put").version()).collect();
        assert_eq!(versions, one_by_one);
    }
    for reverse in [false, true] {
        let mut iter = view.iter(IterOptions { reverse, ..IterOptions::default() });
        for (key, version) in keys.iter().zip(&one_by_one) {
            iter.seek(key);
            assert_eq!(iter.version(), Some(*version));
            assert_eq!(iter.versioned_item().map(|item| item.2), Some(*version));
        }
    }
    one_by_one
}

/// What a condition is judged by now.
fn judged(engine: &Engine, keys: &[&[u8]]) -> Vec<Version> {
    let latest = engine.latest();
    let version = |key: &&[u8]| latest.version_of(key).expect("a healthy disk");
    let versions: Vec<_> = keys.iter().map(version).collect();
    assert_eq!(latest.versions_of(keys).expect("a healthy disk"), versions);
    let mut scanned = BTreeMap::new();
    let each = &mut |key: &[u8], _: &[u8], version| {
        scanned.insert(key.to_vec(), version);
        std::ops::ControlFlow::Continue(())
    };
    latest.scan(b"", b"", each).expect("a healthy disk");
    for (key, version) in keys.iter().zip(&versions) {
        assert_eq!(latest.get(key).expect("a healthy disk").expect("it was put").1, *version);
        assert_eq!(scanned[*key], *version);
    }
    versions
}

#[test]
fn versions_without_floors_are_those_that_were_stored() {
    let place = Place::new();
    let engine = engine(&place, [Floor::LOWEST; 2]);
    write(&engine, 6, &[put(b"a", b"1"), put(b"z", b"1")]);

    assert!(!engine.view().has_floors());
    assert_eq!(seen(&engine.view(), &[b"a", b"z"]), [of(6); 2]);
    assert_eq!(judged(&engine, &[b"a", b"z"]), [of(6); 2]);
}

#[test]
fn no_version_is_known_while_the_floor_is_unknown() {
    let place = Place::new();
    let engine = engine(&place, [Floor::Unknown, Floor::LOWEST]);
    write_converted(&engine, b"a");
    write(&engine, 6, &[put(b"b", b"1"), put(b"m", b"1")]);

    assert_eq!(seen(&engine.view(), &[b"a", b"b", b"m"]), [Version::UNKNOWN, Version::UNKNOWN, of(6)]);
    assert_eq!(engine.get(b"b").expect("a healthy disk").expect("it was put").version(), Version::UNKNOWN);
}

#[test]
fn no_version_is_shown_below_the_floor() {
    let place = Place::new();
    let engine = engine(&place, [Floor::At(LogIndex(20)), Floor::At(LogIndex(7))]);
    write_converted(&engine, b"a");
    write(&engine, 8, &[put(b"b", b"1"), put(b"m", b"1")]);
    write(&engine, 20, &[]);
    write(&engine, 21, &[put(b"c", b"1")]);

    let keys: [&[u8]; 4] = [b"a", b"b", b"c", b"m"];
    let expected = [floor(20), floor(20), of(21), of(8)];
    assert_eq!(seen(&engine.view(), &keys), expected);
    assert_eq!(judged(&engine, &keys), expected);
    assert_eq!(engine.latest().version_of(b"nothing").expect("a healthy disk"), Version::NONE);
}

#[test]
fn a_view_from_before_the_entry_never_shows_the_floor() {
    let place = Place::new();
    let engine = engine(&place, [Floor::Unknown; 2]);
    write(&engine, 6, &[put(b"a", b"seen")]);
    let before = engine.view();
    write(&engine, 7, &[put(b"a", b"replaced")]);

    write(&engine, 8, &[]);
    let between = engine.view();
    engine.raise_floor(b"", LogIndex(8));
    let after = engine.view();

    // It shows a value that has another version than the one that the entry found.
    assert_eq!(seen(&before, &[b"a"]), [Version::UNKNOWN]);
    assert_eq!(seen(&between, &[b"a"]), [floor(8)], "it shows what the entry found");
    assert_eq!(seen(&after, &[b"a"]), [floor(8)]);
    assert_eq!(judged(&engine, &[b"a"]), [floor(8)]);
    write(&engine, 9, &[put(b"z", b"1")]);
    assert_eq!(seen(&engine.view(), &[b"a", b"z"]), [floor(8), Version::UNKNOWN], "each region has its own");
}

#[test]
fn a_floor_that_is_raised_again_after_a_restart_stays() {
    let place = Place::new();
    let engine = engine(&place, [Floor::At(LogIndex(8)), Floor::Unknown]);
    write(&engine, 9, &[put(b"a", b"1"), put(b"b", b"1")]);

    engine.raise_floor(b"", LogIndex(8));

    assert_eq!(seen(&engine.view(), &[b"a"]), [of(9)]);
}

/// Whoever sees a version knows the value: else a condition on the version is true of another value.
#[test]
fn no_two_values_of_a_key_are_shown_with_the_same_version_while_floors_are_set() {
    const REGIONS: u8 = 200;
    let place = Place::new();
    let engine = place.engine();
    let keys: Vec<_> = (0..REGIONS).map(|region| [region, 0]).collect();
    let starts: Vec<_> = keys.iter().map(|key| if key[0] == 0 { &b""[..] } else { &key[..] }).collect();
    engine.set_floors(starts.iter().map(|start| (*start, Floor::Unknown)));
    // Each region has three values before its entry, and one behind it.
    let write_value = |region: u8, number: u64| {
        let index = 6 + u64::from(region) * 5 + number;
        write(&engine, index, &[put(&keys[usize::from(region)], &index.to_be_bytes())]);
    };
    let level_of = |region: u8| 6 + u64::from(region) * 5 + 3;
    let is_done = AtomicBool::new(false);
    let check = |region: u8, value: &[u8], version: Version| {
        let index = u64::from_be_bytes(value.try_into().expect("eight bytes"));
        let level = level_of(region);
        let expected = if index < level { floor(level) } else { of(index) };
        let is_last_before = index + 1 == level || index > level;
        assert!(version == Version::UNKNOWN || is_last_before && version == expected, "{index} {version:?}");
        version != Version::UNKNOWN
    };

    let read = |region: u8| {
        let key = &keys[usize::from(region)];
        let view = engine.view();
        let values = [engine.get(key), view.get(key), view.get(key)].map(|found| found.expect("healthy"));
        values.iter().flatten().filter(|value| check(region, value.as_ref(), value.version())).count()
    };

    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut shown = 0;
                    while !is_done.load(Ordering::Relaxed) {
                        shown += (0..REGIONS).map(read).sum::<usize>();
                    }
                    shown
                })
            })
            .collect();
        for region in 0..REGIONS {
            (0..3).for_each(|number| write_value(region, number));
            write(&engine, level_of(region), &[]);
            engine.raise_floor(starts[usize::from(region)], LogIndex(level_of(region)));
            assert_eq!(read(region), 3, "who comes later sees the floor");
            write_value(region, 4);
        }
        is_done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| _ = reader.join().expect("what it read was right"));
    });
}

#[test]
fn a_batch_is_judged_by_the_floor_that_the_one_before_has_set() {
    let place = Place::new();
    let engine = engine(&place, [Floor::Unknown, Floor::LOWEST]);
    write_converted(&engine, b"a");
    engine.write(&batch(8, &[])).expect("a healthy disk");

    engine.raise_floor(b"", LogIndex(8));

    assert_eq!(judged(&engine, &[b"a"]), [floor(8)]);
    write(&engine, 9, &[put(b"a", b"2")]);
    assert_eq!(judged(&engine, &[b"a"]), [of(9)]);
}
