//! Iterators that leave out gaps show what they would show without them, and pass few deleted keys.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rocksdb::perf::PerfContext;
use rocksdb::{PerfMetric, ReadOptions};

use super::reading::{Model, Move, key, step};
use super::{Place, batch, put, write};
use crate::core::command::Operation;
use crate::storage::engine::gaps::Usable;
use crate::storage::engine::{Engine, IterOptions, View};

type Data = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a test does next.
#[derive(Clone, Debug)]
enum Action {
    Write(Vec<Edit>),
    /// Takes a view in place of an older one.
    Open(usize),
    /// Iterates over a view.
    Read(usize, IterOptions, Vec<Move>),
    Flush,
}

#[derive(Clone, Debug)]
enum Edit {
    Put(Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

const VIEWS: usize = 3;

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        1 => key().prop_map(Edit::Put),
        2 => key().prop_map(Edit::Delete),
        1 => (key(), key()).prop_map(|(begin, end)| Edit::DeleteRange(begin, end)),
    ]
}

fn bounds() -> impl Strategy<Value = IterOptions> {
    (option::of(key()), option::of(key()), any::<bool>()).prop_map(|(lower, upper, reverse)| IterOptions {
        lower,
        upper,
        reverse,
        ..IterOptions::default()
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => vec(edit(), 1..6).prop_map(Action::Write),
        8 => (0..VIEWS).prop_map(Action::Open),
        16 => (0..VIEWS, bounds(), vec(step(), 1..12))
            .prop_map(|(view, options, steps)| Action::Read(view, options, steps)),
        1 => Just(Action::Flush),
    ]
}

/// Writes `edits` as one batch, and makes the same change to `data`.
fn apply(engine: &Engine, data: &mut Data, edits: &[Edit]) {
    let value = data.len().to_string().into_bytes();
    let operations = edits.iter().map(|edit| match edit {
        Edit::Put(key) => {
            data.insert(key.clone(), value.clone());
            put(key, &value)
        }
        Edit::Delete(key) => {
            data.remove(key);
            Operation::Delete { key }
        }
        Edit::DeleteRange(begin, end) => {
            data.retain(|key, _| key < begin || key >= end);
            Operation::DeleteRange { begin, end }
        }
    });
    let operations: Vec<_> = operations.collect();
    engine.write(&batch(7, &operations)).expect("a healthy disk");
}

fn gaps_of(view: &View, options: &IterOptions) -> usize {
    view.gaps().within(options.lower.as_deref(), options.upper.as_deref()).len()
}

#[test]
fn iterators_of_any_view_show_its_keys_whatever_gaps_there_are() {
    let place = Place::new();
    let engine = place.engine();
    engine.database.gaps.note_all();
    let data = RefCell::new(Data::new());
    let views: RefCell<Vec<_>> = RefCell::new(vec![(engine.view(), Data::new()); VIEWS]);
    let used = AtomicUsize::new(0);
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };

    TestRunner::new(config)
        .run(&vec(action(), 1..60), |actions| {
            for action in &actions {
                let (mut data, mut views) = (data.borrow_mut(), views.borrow_mut());
                match action {
                    Action::Write(edits) => apply(&engine, &mut data, edits),
                    Action::Open(view) => views[*view] = (engine.view(), data.clone()),
                    Action::Flush => engine.flush().expect("a healthy disk"),
                    Action::Read(view, options, steps) => {
                        let (view, data) = &views[*view];
                        used.fetch_add(gaps_of(view, options), Ordering::Relaxed);
                        let mut model = Model::new(data, options);
                        let mut iter = view.iter(options.clone());
                        for step in steps {
                            step.apply(&mut iter);
                            model.apply(step);
                            prop_assert_eq!(iter.item(), model.item(), "after {:?}", step);
                            prop_assert!(iter.status().is_ok());
                        }
                    }
                }
            }
            Ok(())
        })
        .unwrap();

    assert!(used.into_inner() > 1000, "the test is about gaps");
}

/// The keys of `view` as RocksDB shows them.
fn plain(view: &View) -> Vec<Vec<u8>> {
    let mut iter = view.snapshot().raw_iterator_opt(ReadOptions::default());
    let mut keys = Vec::new();
    iter.seek_to_first();
    while let Some(key) = iter.key() {
        keys.push(key.to_vec());
        iter.next();
    }
    keys
}

fn shown(view: &View, reverse: bool) -> Vec<Vec<u8>> {
    let mut iter = view.iter(IterOptions { reverse, ..IterOptions::default() });
    let mut keys = Vec::new();
    iter.seek_to_first();
    while let Some(key) = iter.key() {
        keys.push(key.to_vec());
        iter.next();
    }
    if reverse {
        keys.reverse();
    }
    keys
}

#[test]
fn views_taken_while_gaps_are_found_and_filled_show_all_their_keys() {
    /// Few, so that they are written and deleted again and again.
    const KEYS: u64 = 24;
    const WRITES: u64 = 60_000;
    let place = Place::new();
    let engine = place.engine();
    engine.database.gaps.note_all();
    let is_done = AtomicBool::new(false);
    let used = AtomicUsize::new(0);
    let read = |reverse: bool| {
        while !is_done.load(Ordering::SeqCst) {
            let view = engine.view();
            used.fetch_add(gaps_of(&view, &IterOptions::default()), Ordering::Relaxed);
            assert_eq!(shown(&view, reverse), plain(&view));
        }
    };

    thread::scope(|scope| {
        let readers = [false, true, false].map(|reverse| scope.spawn(move || read(reverse)));
        let mut random = 1u64;
        for index in 0..WRITES {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = [(random >> 33 & 0xff) as u8 % KEYS as u8];
            match random >> 60 {
                0..6 => write(&engine, index, &[put(&key, b"")]),
                6..15 => write(&engine, index, &[Operation::Delete { key: &key }]),
                _ => write(&engine, index, &[Operation::DeleteRange { begin: b"", end: &[0xff] }]),
            }
            if readers.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        is_done.store(true, Ordering::SeqCst);
    });

    assert!(used.into_inner() > 1000, "the test is about gaps");
}

/// Deleted keys that `read` passes.
fn passed<T>(read: impl FnOnce() -> T) -> (T, u64) {
    let counters = PerfContext::default();
    let deleted = || counters.metric(PerfMetric::InternalDeleteSkippedCount);
    let before = deleted();
    let result = read();
    (result, deleted() - before)
}

fn number(number: u64) -> [u8; 9] {
    let mut key = [b'q'; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn head(engine: &Engine, reverse: bool) -> Option<Vec<u8>> {
    let mut iter = engine.view().iter(IterOptions { reverse, ..IterOptions::prefix(b"q") });
    iter.seek_to_first();
    iter.key().map(<[u8]>::to_vec)
}

#[test]
fn the_head_of_a_queue_is_found_without_passing_what_was_taken_before() {
    const ITEMS: u64 = 100_000;
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b""), put(b"z", b"")]);
    (0..100).for_each(|item| write(&engine, item, &[put(&number(item), b"")]));

    let (mut most, mut all) = (0, 0);
    for item in 0..ITEMS {
        write(&engine, item, &[put(&number(item + 100), b"")]);
        let (first, deleted) = passed(|| head(&engine, false));
        assert_eq!(first.as_deref(), Some(&number(item)[..]));
        (most, all) = (most.max(deleted), all + deleted);
        write(&engine, item, &[Operation::Delete { key: &number(item) }]);
    }

    assert!(most <= 256, "{most}");
    assert!(all <= 128 * ITEMS, "{all}");
}

#[test]
fn the_top_of_a_stack_is_found_without_passing_what_was_taken_before() {
    const ITEMS: u64 = 20_000;
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b""), put(b"z", b"")]);
    let items: Vec<_> = (0..ITEMS).map(number).collect();
    items.chunks(1000).for_each(|items| {
        write(&engine, 6, &items.iter().map(|item| put(item, b"")).collect::<Vec<_>>());
    });

    let mut most = 0;
    for item in items.iter().rev() {
        let (first, deleted) = passed(|| head(&engine, true));
        assert_eq!(first.as_deref(), Some(&item[..]));
        most = most.max(deleted);
        write(&engine, 7, &[Operation::Delete { key: item }]);
    }

    assert!(most <= 256, "{most}");
    assert_eq!(head(&engine, true), None);
}

#[test]
fn what_one_reader_has_passed_the_next_one_leaves_out() {
    const ITEMS: u64 = 10_000;
    let place = Place::new();
    let engine = place.engine();
    let items: Vec<_> = (0..ITEMS).map(number).collect();
    write(&engine, 6, &items.iter().map(|item| put(item, b"")).collect::<Vec<_>>());
    write(&engine, 7, &[put(&number(ITEMS), b"")]);
    let old = engine.view();
    let range = Operation::DeleteRange { begin: &number(0), end: &number(ITEMS) };
    items.iter().for_each(|key| write(&engine, 8, &[Operation::Delete { key }]));

    let (_, at_first) = passed(|| head(&engine, false));
    let (_, then) = passed(|| head(&engine, false));
    write(&engine, 9, &[range]);
    let (_, after_range) = passed(|| head(&engine, false));
    write(&engine, 10, &[put(&number(7), b"")]);
    let (filled, after_put) = passed(|| head(&engine, false));

    assert_eq!(at_first, ITEMS);
    assert_eq!((then, after_range, after_put), (0, 0, 0));
    assert_eq!(filled.as_deref(), Some(&number(7)[..]));
    assert_eq!(shown(&old, false).len() as u64, ITEMS + 1);
    assert_eq!(shown(&engine.view(), true), [number(7), number(ITEMS)]);
}

/// The number of keys that a scan of ten finds.
fn scan_ten(engine: &Engine, reverse: bool) -> usize {
    let mut iter = engine.view().iter(IterOptions { reverse, ..IterOptions::prefix(b"q") });
    iter.seek_to_first();
    let mut found = 0;
    while found < 10 && iter.valid() {
        found += 1;
        iter.next();
    }
    found
}

#[test]
fn a_short_scan_finds_a_gap_wherever_it_is_and_the_next_one_leaves_it_out() {
    const DELETED: u64 = 1000;
    for reverse in [false, true] {
        for before in 1..=20 {
            let place = Place::new();
            let engine = place.engine();
            let items: Vec<_> = (0..DELETED + 20).map(number).collect();
            write(&engine, 6, &items.iter().map(|item| put(item, b"")).collect::<Vec<_>>());
            let gap = &items[before..before + DELETED as usize];
            gap.iter().for_each(|key| write(&engine, 7, &[Operation::Delete { key }]));

            let (_, at_first) = passed(|| scan_ten(&engine, reverse));
            let (found, then) = passed(|| scan_ten(&engine, reverse));

            let is_reached = if reverse { 20 - before <= 10 } else { before <= 10 };
            assert_eq!((found, at_first > 0, then), (10, is_reached, 0), "{before} {reverse}");
        }
    }
}

#[test]
fn what_a_scan_goes_back_over_is_little_beside_what_it_passes() {
    const KEPT: u64 = 4000;
    const STEP: u64 = 20;
    let place = Place::new();
    let engine = place.engine();
    let items: Vec<_> = (0..KEPT * STEP).map(number).collect();
    write(&engine, 6, &items.iter().map(|item| put(item, b"")).collect::<Vec<_>>());
    let deleted = items.iter().enumerate().filter(|(at, _)| !at.is_multiple_of(STEP as usize));
    let deleted: Vec<_> = deleted.map(|(_, key)| Operation::Delete { key }).collect();
    write(&engine, 7, &deleted);

    for reverse in [false, true] {
        let (shown, passed) = passed(|| shown(&engine.view(), reverse).len() as u64);

        assert_eq!(shown, KEPT);
        assert!(passed <= deleted.len() as u64 * 11 / 10, "{passed}");
    }
}

/// An engine in which the items `0..10` were deleted.
fn emptied(place: &Place) -> Engine {
    let engine = place.engine();
    engine.database.gaps.note_all();
    (0..10).for_each(|item| write(&engine, item, &[put(&number(item), b"")]));
    (0..10).for_each(|item| write(&engine, item, &[Operation::Delete { key: &number(item) }]));
    engine
}

/// Whether a view with these gaps leaves `item` out.
fn leaves_out(usable: &Usable, item: u64) -> bool {
    !usable.within(Some(&number(item)), Some(&[&number(item)[..], b"\0"].concat())).is_empty()
}

#[test]
fn a_put_is_cleared_from_the_gaps_before_it_is_written() {
    let place = Place::new();
    let engine = emptied(&place);
    assert_eq!(head(&engine, false), None);
    let gaps = &engine.database.gaps;
    assert!(leaves_out(&gaps.open(|| ()).1, 5));

    let writing = gaps.begin_write([&number(5)[..]].into_iter());

    let during = gaps.open(|| ()).1;
    assert_eq!([4, 5, 6].map(|item| leaves_out(&during, item)), [true, false, true]);
    drop(writing);
}

#[test]
fn a_view_takes_the_gaps_after_its_snapshot() {
    let place = Place::new();
    let engine = emptied(&place);
    assert_eq!(head(&engine, false), None);

    let (_, usable) = engine.database.gaps.open(|| write(&engine, 11, &[put(&number(5), b"")]));

    assert_eq!([4, 5, 6].map(|item| leaves_out(&usable, item)), [true, false, true]);
}

#[test]
fn a_view_does_not_use_a_gap_that_became_known_after_a_later_deletion() {
    let place = Place::new();
    let engine = emptied(&place);
    write(&engine, 11, &[put(&number(5), b"")]);

    let (_, usable) = engine.database.gaps.open(|| {
        write(&engine, 12, &[Operation::Delete { key: &number(5) }]);
        assert_eq!(head(&engine, false), None);
    });

    assert!(!leaves_out(&usable, 5));
    assert!(leaves_out(&engine.database.gaps.open(|| ()).1, 5));
}

#[test]
fn a_view_does_not_use_a_gap_that_was_only_suspected_when_it_was_opened() {
    let place = Place::new();
    let engine = emptied(&place);
    let gaps = &engine.database.gaps;
    let old = engine.view();
    write(&engine, 11, &[put(&number(5), b"")]);
    assert_eq!(shown(&old, false), Vec::<Vec<u8>>::new());
    assert!(!leaves_out(&gaps.open(|| ()).1, 5), "what an old view shows may be filled since");

    let (_, usable) = gaps.open(|| {
        write(&engine, 12, &[Operation::Delete { key: &number(5) }]);
        let later = engine.view();
        write(&engine, 13, &[put(b"a", b"")]);
        // By this view it becomes known, but by the time it took only what was suspected before.
        assert_eq!(shown(&later, false), Vec::<Vec<u8>>::new());
    });

    assert!(!leaves_out(&usable, 5));
    assert!(leaves_out(&gaps.open(|| ()).1, 5));
}

#[test]
fn what_is_found_while_a_batch_is_being_written_is_not_used_before_it_is_found_again() {
    let place = Place::new();
    let engine = emptied(&place);
    let gaps = &engine.database.gaps;

    let writing = gaps.begin_write([&number(5)[..]].into_iter());
    assert_eq!(head(&engine, false), None);
    assert!(!leaves_out(&gaps.open(|| ()).1, 5), "the batch may be visible any moment");
    drop(writing);
    assert!(!leaves_out(&gaps.open(|| ()).1, 5));

    assert_eq!(head(&engine, false), None);
    assert!(leaves_out(&gaps.open(|| ()).1, 5));
}

#[test]
fn the_gaps_are_bounded() {
    let place = Place::new();
    let engine = place.engine();
    engine.database.gaps.note_all();
    (0..2000).for_each(|item| write(&engine, item, &[put(&number(item), b"")]));

    for item in (0..2000).step_by(2) {
        write(&engine, item, &[Operation::Delete { key: &number(item) }]);
        let mut iter = engine.view().iter(IterOptions::default());
        iter.seek(&number(item));
        assert_eq!(iter.key(), Some(&number(item + 1)[..]));
    }
    let most = gaps_of(&engine.view(), &IterOptions::default());
    assert!(most <= 256, "{most}");

    write(&engine, 7, &[Operation::DeleteRange { begin: b"", end: b"z" }]);
    assert_eq!(head(&engine, false), None);
    (0..2000).rev().for_each(|item| write(&engine, item, &[put(&number(item * 2), b"")]));
    assert!(gaps_of(&engine.view(), &IterOptions::default()) <= 256);
    assert_eq!(shown(&engine.view(), false).len(), 2000);
}
