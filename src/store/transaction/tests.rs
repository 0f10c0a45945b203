//! Tests of transactions: the walk against a model that knows nothing of merging, and whole transactions on a store.

mod anomalies;

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

use super::merge::{Listed, Merge};
use super::*;
use crate::core::command::Operation;
use crate::types::LogIndex;

/// The keys of a snapshot. A value's size is its version.
type Data = BTreeMap<Vec<u8>, u8>;

/// The keys of `data` between these bounds.
fn stored(data: &Data, lower: &[u8], upper: Option<&[u8]>) -> Listed {
    let is_inside = |key: &[u8]| key >= lower && upper.is_none_or(|upper| key < upper);
    Listed::new(data.iter().filter(|(key, _)| is_inside(key)).map(|(key, size)| {
        let version = Version::of(LogIndex(u64::from(*size) + 1), 0);
        (key.clone(), vec![b's'; usize::from(*size)], version)
    }))
}

/// What a program does with a transaction and one of its iterators.
#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    DeleteRange(u8, u8),
    Smallest,
    Largest,
    KeyOrLarger(u8),
    KeyOrSmaller(u8),
    Larger,
    Smaller,
}

const KEYS: u8 = 24;

/// Every other key has a successor that is longer.
fn key(number: u8) -> Vec<u8> {
    if number.is_multiple_of(2) { vec![number] } else { vec![number - 1, 0] }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = 0..KEYS;
    let step = prop_oneof![
        3 => any.clone().prop_map(Step::Put),
        3 => any.clone().prop_map(Step::Delete),
        1 => (any.clone(), 1..8u8).prop_map(|(begin, length)| Step::DeleteRange(begin, begin + length)),
        1 => Just(Step::Smallest),
        1 => Just(Step::Largest),
        2 => any.clone().prop_map(Step::KeyOrLarger),
        2 => any.prop_map(Step::KeyOrSmaller),
        8 => Just(Step::Larger),
        8 => Just(Step::Smaller),
    ];
    vec(step, 1..60)
}

/// What the iterator shows.
type Seen = Option<(Vec<u8>, usize, bool)>;

/// Does the steps, and returns what the iterator showed after each.
fn run(data: &Data, bounds: (&[u8], Option<&[u8]>), steps: &[Step]) -> (Vec<Seen>, Shared) {
    let (lower, upper) = bounds;
    let source = stored(data, lower, upper);
    let mut merge = Merge::new(source, lower.to_vec(), upper.map(<[u8]>::to_vec), false);
    let (mut shared, mut seen) = (Shared::default(), Vec::new());
    for step in steps {
        match step {
            Step::Put(number) => shared.writes.touch(&key(*number), Some(b"own")),
            Step::Delete(number) => shared.writes.touch(&key(*number), None),
            Step::DeleteRange(begin, end) if *end < KEYS => shared.writes.empty(&key(*begin), &key(*end)),
            Step::DeleteRange(begin, _) => shared.writes.empty(&key(*begin), b""),
            Step::Smallest => merge.first(&mut shared).expect("small"),
            Step::Largest => merge.last(&mut shared).expect("small"),
            Step::KeyOrLarger(number) => merge.seek(&key(*number), &mut shared).expect("small"),
            Step::KeyOrSmaller(number) => merge.seek_for_prev(&key(*number), &mut shared).expect("small"),
            Step::Larger => merge.next(&mut shared).expect("small"),
            Step::Smaller => merge.prev(&mut shared).expect("small"),
        }
        let shown = merge.item().map(|(key, value, version)| (key.to_vec(), value.len(), version.is_some()));
        seen.push(shown);
    }
    (seen, shared)
}

/// What the iterator must show after each step, computed from one map.
fn model(data: &Data, (lower, upper): (&[u8], Option<&[u8]>), steps: &[Step]) -> Vec<Seen> {
    let mut state: BTreeMap<Vec<u8>, (usize, bool)> =
        data.iter().map(|(key, size)| (key.clone(), (usize::from(*size), true))).collect();
    let mut at: Seen = None;
    let mut seen = Vec::new();
    for step in steps {
        let above = |from: Bound<Vec<u8>>, state: &BTreeMap<Vec<u8>, (usize, bool)>| {
            let from = match from {
                Bound::Included(key) if *key < *lower => Bound::Included(lower.to_vec()),
                from => from,
            };
            let first = state.range((from, Bound::Unbounded)).next()?;
            upper.is_none_or(|upper| **first.0 < *upper).then(|| (first.0.clone(), first.1.0, first.1.1))
        };
        let below = |to: Bound<Vec<u8>>, state: &BTreeMap<Vec<u8>, (usize, bool)>| {
            let is_beyond = |key: &Vec<u8>| upper.is_some_and(|upper| **key >= *upper);
            let last = state.range((Bound::Unbounded, to)).rev().find(|(key, _)| !is_beyond(key))?;
            (**last.0 >= *lower).then(|| (last.0.clone(), last.1.0, last.1.1))
        };
        match step {
            Step::Put(number) => _ = state.insert(key(*number), (3, false)),
            Step::Delete(number) => _ = state.remove(&key(*number)),
            Step::DeleteRange(begin, end) => {
                state.retain(|each, _| *each < key(*begin) || *end < KEYS && *each >= key(*end));
            }
            Step::Smallest => at = above(Bound::Included(lower.to_vec()), &state),
            Step::Largest => at = below(Bound::Unbounded, &state),
            Step::KeyOrLarger(number) => at = above(Bound::Included(key(*number)), &state),
            Step::KeyOrSmaller(number) => at = below(Bound::Included(key(*number)), &state),
            Step::Larger => at = at.and_then(|(from, ..)| above(Bound::Excluded(from), &state)),
            Step::Smaller => at = at.and_then(|(to, ..)| below(Bound::Excluded(to), &state)),
        }
        seen.push(at.clone());
    }
    seen
}

fn inputs() -> impl Strategy<Value = (Data, (u8, u8), Vec<Step>)> {
    let data = btree_map((0..KEYS).prop_map(key), 0..4u8, 0..16);
    (data, (0..8u8, 12..32u8), steps())
}

/// A small lower bound, and a large upper one or none.
fn with_bounds<T>((lower, upper): (u8, u8), test: impl FnOnce((&[u8], Option<&[u8]>)) -> T) -> T {
    let (lower, end) = (key(lower), key(upper));
    test((&lower, (upper < KEYS).then_some(&end)))
}

fn check<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, test: impl Fn(T) -> TestCaseResult) {
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, test).expect("it holds");
}

#[test]
fn a_walk_shows_what_a_map_of_both_would() {
    check(&inputs(), |(data, bounds, steps)| {
        with_bounds(bounds, |bounds| {
            prop_assert_eq!(run(&data, bounds, &steps).0, model(&data, bounds, &steps));
            Ok(())
        })
    });
}

#[test]
fn whatever_would_have_been_seen_differently_was_read() {
    check(&inputs(), |(data, bounds, steps)| {
        with_bounds(bounds, |bounds| {
            let (seen, mut shared) = run(&data, bounds, &steps);
            for other in (0..KEYS).map(key).filter(|other| !shared.reads.has(other)) {
                let mut changed = data.clone();
                if changed.remove(&other).is_none() {
                    changed.insert(other.clone(), 3);
                }
                prop_assert_eq!(&run(&changed, bounds, &steps).0, &seen, "key {:?} was not read", other);
            }
            Ok(())
        })
    });
}

#[test]
fn the_outcome_of_the_writes_is_what_the_transaction_saw() {
    let inputs = (btree_map((0..KEYS).prop_map(key), 0..4u8, 0..16), steps());
    check(&inputs, |(data, steps)| {
        let (_, shared) = run(&data, (b"", None), &steps);
        let mut batch = Batch::new();
        shared.writes.add_to(&mut batch).expect("small");
        for key in (0..KEYS).map(key) {
            let mut written = None;
            for operation in batch.operations().operations() {
                match operation {
                    Operation::Put { key: other, value } if *other == *key => {
                        written = Some(Some(value.to_vec()))
                    }
                    Operation::Delete { key: other } if *other == *key => written = Some(None),
                    Operation::DeleteRange { begin, end } if *begin <= *key && *key < *end => {
                        written = Some(None)
                    }
                    _ => {}
                }
            }
            let own = shared.writes.look(&key).map(|value| value.map(|value| value.to_vec()));
            prop_assert_eq!(written, own, "key {:?}", key);
        }
        Ok(())
    });
}

#[test]
fn a_walk_reads_no_more_than_it_walks() {
    let data: Data = (0..KEYS).map(|number| (key(number), 1)).collect();

    let (_, mut shared) = run(&data, (b"", None), &[Step::KeyOrLarger(4), Step::Larger, Step::Larger]);

    let read: Vec<u8> = (0..KEYS).filter(|number| shared.reads.has(&key(*number))).collect();
    assert_eq!(read, [4, 5, 6]);
}
