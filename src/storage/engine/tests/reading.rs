//! Readers see one consistent state, in key order.

use std::collections::BTreeMap;
use std::thread;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Place, put, write};
use crate::core::command::Operation;
use crate::error::{Code, Error, Result};
use crate::storage::engine::{Engine, Iter, IterOptions, View, prefix_end};
use crate::types::{ApplyState, BOOTSTRAP_REGION, LogIndex, RegionId, Version};

#[test]
fn a_view_does_not_see_later_writes() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"1"), put(b"b", b"1")]);

    let view = engine.view();
    write(&engine, 7, &[put(b"a", b"2"), Operation::Delete { key: b"b" }, put(b"c", b"1")]);
    engine.flush().expect("a healthy disk");

    let values = [b"a", b"b", b"c"].map(|key| view.get(key).expect("a healthy disk").is_some());
    assert_eq!(values, [true, true, false]);
    assert_eq!(view.get(b"a").expect("a healthy disk").expect("it was put").as_ref(), b"1");
    assert_eq!(engine.get(b"a").expect("a healthy disk").expect("it was put").as_ref(), b"2");
}

#[test]
fn a_view_shows_how_far_its_data_is_applied() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"1")]);

    let view = engine.view();
    write(&engine, 7, &[put(b"a", b"2")]);
    let index = |state: Result<ApplyState>| state.expect("it is stored").index;

    assert_eq!(index(view.apply_state(BOOTSTRAP_REGION)), LogIndex(6));
    assert_eq!(index(engine.apply_state(BOOTSTRAP_REGION)), LogIndex(7));
    assert_eq!(index(engine.view().apply_state(BOOTSTRAP_REGION)), LogIndex(7));
    let unknown = view.apply_state(RegionId(9)).expect_err("there is no such region");
    assert_eq!(unknown.code(), Code::Corruption);
}

#[test]
fn a_view_that_must_not_wait_shows_its_apply_state_once_it_is_in_memory() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"1")]);
    let in_memory = |view: &View| view.apply_state_from_memory(BOOTSTRAP_REGION).expect("it is stored");
    let newest = engine.view();
    assert_eq!(in_memory(&newest).expect("it was just written").index, LogIndex(6));
    engine.flush().expect("a healthy disk");
    drop((newest, engine));

    let engine = place.open().expect("it was closed");
    let view = engine.view();
    let before = in_memory(&view);
    let read = view.apply_state(BOOTSTRAP_REGION).expect("it is on the disk");

    assert!(before.is_none_or(|before| before == read), "what is in memory is what was on the disk");
    assert_eq!(in_memory(&view), Some(read));
    assert_eq!(read.index, LogIndex(6));
}

#[test]
fn a_view_is_shared_between_threads_and_outlives_its_engine() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"1")]);
    let view = engine.view();
    drop(engine);

    let readers: Vec<_> = (0..4)
        .map(|_| {
            let view = view.clone();
            thread::spawn(move || {
                view.get(b"a").expect("a healthy disk").expect("it was put").as_ref().to_vec()
            })
        })
        .collect();

    readers.into_iter().for_each(|reader| assert_eq!(reader.join().expect("it only reads"), b"1"));
}

#[test]
fn live_views_are_counted_until_the_last_use() {
    let place = Place::new();
    let engine = place.engine();
    assert_eq!(engine.live_views(), 0);

    let (view, other) = (engine.view(), engine.view());
    let clone = view.clone();
    assert_eq!(engine.live_views(), 2);
    let iter = other.iter(IterOptions::default());
    drop((view, other));
    assert_eq!(engine.live_views(), 2);
    drop(clone);
    assert_eq!(engine.live_views(), 1);
    drop(iter);
    assert_eq!(engine.live_views(), 0);
}

#[test]
fn a_value_larger_than_the_buffer_is_cut_and_its_length_returned() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b"12345"), put(b"void", b"")]);
    let view = engine.view();
    let mut buffer = *b"xxxxxxx";

    assert_eq!(view.get_into(b"a", &mut buffer[..3]).expect("a healthy disk"), Some(5));
    assert_eq!(&buffer, b"123xxxx");
    assert_eq!(engine.get_into(b"a", &mut buffer).expect("a healthy disk"), Some(5));
    assert_eq!(&buffer, b"12345xx");
    assert_eq!(view.get_into(b"a", &mut []).expect("a healthy disk"), Some(5));
    assert_eq!(view.get_into(b"void", &mut buffer).expect("a healthy disk"), Some(0));
    assert_eq!(view.get_into(b"nothing", &mut buffer).expect("a healthy disk"), None);
    assert_eq!(&buffer, b"12345xx");
}

#[test]
fn the_end_of_a_prefix_is_the_next_key_that_does_not_begin_with_it() {
    assert_eq!(prefix_end(b"ab").as_deref(), Some(&b"ac"[..]));
    assert_eq!(prefix_end(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
    assert_eq!(prefix_end(b"\xff\xff"), None);
    assert_eq!(prefix_end(b""), None);
}

#[test]
fn a_prefix_iterator_visits_exactly_the_keys_with_that_prefix() {
    let place = Place::new();
    let engine = place.engine();
    let keys: [&[u8]; 7] = [b"", b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xffz"];
    write(&engine, 6, &keys.map(|key| put(key, b"")));

    for prefix in [&b""[..], b"a", b"a\xff", b"\xff", b"\xff\xff", b"c"] {
        let mut iter = engine.view().iter(IterOptions::prefix(prefix));
        let mut visited = Vec::new();
        iter.seek_to_first();
        while let Some(key) = iter.key() {
            visited.push(key.to_vec());
            iter.next();
        }
        let expected: Vec<_> =
            keys.iter().filter(|key| key.starts_with(prefix)).map(|key| key.to_vec()).collect();
        assert_eq!(visited, expected, "prefix {prefix:02x?}");
    }
}

/// The operations of an iterator.
#[derive(Clone, Debug)]
pub(super) enum Move {
    First,
    Last,
    Seek(Vec<u8>),
    SeekForPrev(Vec<u8>),
    Next,
    Prev,
}

impl Move {
    pub(super) fn apply(&self, iter: &mut Iter) {
        match self {
            Self::First => iter.seek_to_first(),
            Self::Last => iter.seek_to_last(),
            Self::Seek(key) => iter.seek(key),
            Self::SeekForPrev(key) => iter.seek_for_prev(key),
            Self::Next => iter.next(),
            Self::Prev => iter.prev(),
        }
    }
}

/// An iterator over a map: the keys within the bounds in iteration order, and a position.
pub(super) struct Model {
    items: Vec<(Vec<u8>, Vec<u8>)>,
    reverse: bool,
    at: Option<usize>,
}

impl Model {
    pub(super) fn new(data: &BTreeMap<Vec<u8>, Vec<u8>>, options: &IterOptions) -> Self {
        let inside = |key: &Vec<u8>| {
            options.lower.as_ref().is_none_or(|lower| key >= lower)
                && options.upper.as_ref().is_none_or(|upper| key < upper)
        };
        let mut items: Vec<_> = data.clone().into_iter().filter(|(key, _)| inside(key)).collect();
        if options.reverse {
            items.reverse();
        }
        Self { items, reverse: options.reverse, at: None }
    }

    /// Whether `left` is at or after `right` in the iterator's order.
    fn reached(&self, left: &[u8], right: &[u8]) -> bool {
        if self.reverse { left <= right } else { left >= right }
    }

    pub(super) fn apply(&mut self, step: &Move) {
        let last = self.items.len().checked_sub(1);
        self.at = match step {
            Move::First => last.map(|_| 0),
            Move::Last => last,
            Move::Seek(key) => self.items.iter().position(|(at, _)| self.reached(at, key)),
            Move::SeekForPrev(key) => self.items.iter().rposition(|(at, _)| self.reached(key, at)),
            Move::Next => self.at.filter(|at| Some(*at) < last).map(|at| at + 1),
            Move::Prev => self.at.and_then(|at| at.checked_sub(1)),
        };
    }

    pub(super) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.map(|at| (self.items[at].0.as_slice(), self.items[at].1.as_slice()))
    }
}

/// Short keys over few distinct bytes, so that keys, bounds and targets often coincide.
pub(super) fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(0xff)], 0..4)
}

pub(super) fn step() -> impl Strategy<Value = Move> {
    prop_oneof![
        Just(Move::First),
        Just(Move::Last),
        key().prop_map(Move::Seek),
        key().prop_map(Move::SeekForPrev),
        Just(Move::Next),
        Just(Move::Next),
        Just(Move::Prev),
        Just(Move::Prev),
    ]
}

/// Fills an engine with data in every form: in a file, in memory, overwritten, deleted, deleted by range.
fn fill(engine: &Engine) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let letters = [0u8, b'a', b'b', 0xff];
    let mut keys = vec![Vec::new()];
    for length in 0..3 {
        let longer = keys.iter().filter(|key| key.len() == length);
        let longer: Vec<_> =
            longer.flat_map(|key| letters.map(|letter| [&key[..], &[letter]].concat())).collect();
        keys.extend(longer);
    }
    let mut data = BTreeMap::new();
    for (number, key) in keys.iter().enumerate().filter(|(number, _)| number % 3 != 0) {
        let value = number.to_string().into_bytes();
        write(engine, 6, &[put(key, &value)]);
        data.insert(key.clone(), value);
        if number == keys.len() / 2 {
            engine.flush().expect("a healthy disk");
        }
    }
    for key in keys.iter().step_by(5) {
        write(engine, 7, &[Operation::Delete { key }]);
        data.remove(key);
    }
    write(engine, 8, &[put(b"ab", b"again"), Operation::DeleteRange { begin: b"b", end: b"ba" }]);
    data.insert(b"ab".to_vec(), b"again".to_vec());
    data.retain(|key, _| !(&b"b"[..]..&b"ba"[..]).contains(&key.as_slice()));
    data
}

#[test]
fn an_iterator_behaves_like_a_sorted_map_in_any_bounds_and_direction() {
    let place = Place::new();
    let engine = place.engine();
    let data = fill(&engine);
    assert!(data.len() > 30);
    let view = engine.view();
    engine
        .write(&super::batch(9, &[Operation::DeleteRange { begin: b"", end: b"b" }]))
        .expect("a healthy disk");
    let cases = (option::of(key()), option::of(key()), any::<bool>(), vec(step(), 1..20));
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };

    TestRunner::new(config)
        .run(&cases, |(lower, upper, reverse, steps)| {
            let options = IterOptions { lower, upper, reverse, ..IterOptions::default() };
            let mut model = Model::new(&data, &options);
            let mut iter = view.iter(options);
            for step in steps {
                model.apply(&step);
                step.apply(&mut iter);
                prop_assert_eq!(iter.item(), model.item(), "after {:?}", step);
                prop_assert_eq!(iter.valid(), iter.key().is_some());
                prop_assert!(iter.status().is_ok());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn each_key_has_the_version_of_the_write_that_set_it() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 7, &[put(b"a", b"1"), put(b"b", b"")]);
    let before = engine.view();
    write(&engine, 9, &[put(b"b", b"2"), Operation::Delete { key: b"a" }]);
    let version = |index| Version::of(LogIndex(index), 1);
    let at = |view: &View, key: &[u8]| view.get(key).expect("readable").map(|value| value.version());

    assert_eq!([at(&before, b"a"), at(&before, b"b")], [Some(version(7)), Some(version(7))]);
    assert_eq!([at(&engine.view(), b"a"), at(&engine.view(), b"b")], [None, Some(version(9))]);
    let mut iter = engine.view().iter(IterOptions::default());
    iter.seek_to_first();
    assert_eq!((iter.item(), iter.version()), (Some((&b"b"[..], &b"2"[..])), Some(version(9))));
}

#[test]
fn a_value_without_a_version_is_never_shown() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 7, &[put(b"a", b"1"), put(b"c", b"3")]);
    engine.database.db.put(b"b", b"as no applier wrote it").expect("writable");
    let is_damaged = |error: Error| error.code() == Code::Corruption;

    assert!(engine.get(b"b").is_err_and(is_damaged));
    assert!(engine.get_into(b"b", &mut [0; 3]).is_err_and(is_damaged));
    assert!(engine.view().get_many_from_memory(&[b"b"]).expect("in memory").is_err_and(is_damaged));
    for reverse in [false, true] {
        let mut iter = engine.view().iter(IterOptions { reverse, ..IterOptions::default() });
        iter.seek_to_first();
        assert!(iter.valid());
        iter.next();
        assert!(!iter.valid() && iter.item().is_none() && iter.key().is_none());
        iter.next();
        assert!(iter.status().is_err_and(is_damaged), "the iteration has ended");
    }
}
