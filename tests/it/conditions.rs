//! Writes with conditions on three members, on real threads, disks and sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use almadia::{
    Batch, Code, Expected, Level, OpResult, SnapshotOptions, Store, TransferOptions, Version, WriteOptions,
};

use crate::member::{Cluster, HANG_TIMEOUT};

const COUNTS: usize = 300;
const TASKS: usize = 300;

fn options() -> WriteOptions {
    WriteOptions { timeout: Some(HANG_TIMEOUT) }
}

/// Runs `work` on every member while leadership moves from one to the next, at least three times.
pub(crate) fn with_moving_leader<T: Send>(
    cluster: &Cluster,
    work: impl Fn(usize, &Store) -> T + Sync,
) -> Vec<T> {
    let (is_over, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let options = TransferOptions { timeout: Some(HANG_TIMEOUT), ..TransferOptions::default() };
                let leader = cluster.leader();
                let is_moved = cluster.member(leader).transfer_leader(&options).is_ok();
                moved.fetch_add(u64::from(is_moved), Ordering::Relaxed);
            }
        });
        let (work, moved) = (&work, &moved);
        let workers = (1..=3).map(|node| {
            scope.spawn(move || {
                let done = work(node, cluster.member(node));
                while moved.load(Ordering::Relaxed) < 3 {
                    thread::yield_now();
                }
                done
            })
        });
        let workers: Vec<_> = workers.collect();
        // All of them, before one that failed ends the test: the leader would move for ever.
        let done: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        done.into_iter().map(|done| done.expect("no worker fails")).collect()
    })
}

#[test]
fn every_increment_of_every_member_counts_once_while_leadership_moves() {
    let cluster = Cluster::start();
    cluster.leader();

    let sums = with_moving_leader(&cluster, |_, store| {
        (0..COUNTS).map(|_| store.add(b"count", 1, &options()).expect("it is added")).collect::<Vec<_>>()
    });

    let all: BTreeSet<_> = sums.iter().flatten().copied().collect();
    assert_eq!(all, (1..=3 * COUNTS as i64).collect(), "each increment has a sum of its own");
    assert!(sums.iter().all(|sums| sums.is_sorted()));
    for node in 1..=3 {
        let value = cluster.member(node).get(b"count").expect("a majority is there").expect("it was set");
        assert_eq!(value.as_ref(), (3 * COUNTS as i64).to_le_bytes());
    }
}

#[test]
fn increments_by_compare_and_set_lose_none_while_leadership_moves() {
    let cluster = Cluster::start();
    cluster.leader();

    with_moving_leader(&cluster, |_, store| {
        for _ in 0..COUNTS / 10 {
            loop {
                let seen = store.get(b"count").expect("a majority is there");
                let count = seen.as_ref().map_or(0, |value| {
                    u64::from_le_bytes(value.as_ref().try_into().expect("nobody writes anything else"))
                });
                let expected = seen.map_or(Expected::Absent, |value| Expected::Version(value.version()));
                let next = (count + 1).to_le_bytes();
                match store.compare_and_set(b"count", expected, &next, &options()) {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.code(), Code::PreconditionFailed, "{error}"),
                }
            }
        }
    });

    let value = cluster.member(1).get(b"count").expect("a majority is there").expect("it was set");
    assert_eq!(value.as_ref(), (3 * (COUNTS / 10) as u64).to_le_bytes());
}

#[test]
fn every_task_has_one_taker_while_leadership_moves() {
    let cluster = Cluster::start();
    cluster.leader();
    let mut put = Vec::new();
    for number in 0..TASKS as u32 {
        let store = cluster.member(number as usize % 3 + 1);
        put.push(store.put_versioned(b"tasks/", &number.to_be_bytes(), &options()).expect("small"));
    }
    assert!(put.is_sorted(), "keys are in the order of their writes");

    let taken = with_moving_leader(&cluster, |_, store| {
        let take = || store.take_first(b"tasks/", b"tasks0", &options()).expect("a majority is there");
        std::iter::from_fn(take).collect::<Vec<_>>()
    });

    assert!(taken.iter().all(|taken| taken.is_sorted_by_key(|task| task.key.clone())));
    let all: BTreeMap<_, _> =
        taken.iter().flatten().map(|task| (task.key.clone(), task.value.clone())).collect();
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), TASKS, "no task is taken twice");
    assert_eq!(all.keys().cloned().collect::<Vec<_>>(), put, "each task is taken");
    assert!(all.values().zip(0..TASKS as u32).all(|(value, number)| value[..] == number.to_be_bytes()));
}

#[test]
fn a_refusal_and_results_are_told_alike_by_every_member() {
    let cluster = Cluster::start();
    cluster.leader();
    let written = cluster.member(1).put(b"k", b"v").expect("a majority is there");

    for node in 1..=3 {
        let store = cluster.member(node);
        let refused = store.put_if_absent(b"k", b"w", &options()).expect_err("it is there");
        let found = refused.precondition().expect("a condition was false");
        assert_eq!((refused.code(), found.version), (Code::PreconditionFailed, written.version));

        let mut batch = Batch::new();
        batch.if_version(b"k", Version::NONE).expect("small");
        batch.otherwise().expect("the first");
        batch.pop(b"none").expect("small");
        batch.put(b"popped", &[node as u8]).expect("small");
        batch.pop(b"popped").expect("small");
        let reply = store.write(&mut batch, &options()).expect("the other list is applied");
        assert_eq!(reply.failed().map(|failed| failed.version), Some(written.version));
        let [(2, OpResult::Nothing), (4, OpResult::Value { key, value, version })] = reply.results() else {
            panic!("{reply:?}")
        };
        assert_eq!((&key[..], &value[..], *version), (&b"popped"[..], &[node as u8][..], reply.version));

        // All members have the same versions.
        let local = SnapshotOptions {
            level: Level::Local,
            min_index: reply.position.index,
            timeout: Some(HANG_TIMEOUT),
            ..SnapshotOptions::default()
        };
        for other in 1..=3 {
            let value = cluster.member(other).get_with(b"k", &local).expect("it is applied in time");
            assert_eq!(value.expect("it is there").version(), written.version);
        }
    }
}
