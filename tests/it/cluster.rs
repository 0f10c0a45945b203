//! The guarantees of a store, on real threads, disks and sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use almadia::NodeId;
use almadia::{
    Batch, Code, Config, IterOptions, Level, SnapshotOptions, Store, TransferOptions, WriteOptions,
};

use crate::member::{Cluster, HANG_TIMEOUT, fast_config, reserved_addresses, shut_down_at_once};

#[test]
fn a_single_member_leads_at_once_and_keeps_its_acknowledged_writes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("one");

    let store = Store::open(&path, &Config::default()).expect("opens");
    store.put(b"key", b"value").expect("applied");
    drop(store);
    let store = Store::open(&path, &Config::default()).expect("opens again");

    assert_eq!(store.get(b"key").expect("readable").expect("there").as_ref(), b"value");
    assert!(store.get(b"other").expect("readable").is_none());
}

#[test]
fn a_batch_is_applied_in_its_order_and_a_snapshot_does_not_change() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path().join("one"), &Config::default()).expect("opens");
    let mut batch = Batch::new();
    for key in [b"a", b"b", b"c", b"d"] {
        batch.put(key, b"1").expect("small");
    }
    batch.delete_range(b"b", b"d").expect("small");
    batch.put(b"c", b"2").expect("small");

    store.write(&mut batch, &WriteOptions::default()).expect("applied");
    assert!(batch.is_empty());
    let before = store.snapshot(&SnapshotOptions::default()).expect("a leader");
    store.delete(b"a").expect("applied");
    let after = store.snapshot(&SnapshotOptions::default()).expect("a leader");

    assert_eq!(pairs(&before), [("a", "1"), ("c", "2"), ("d", "1")].map(owned));
    assert_eq!(pairs(&after), [("c", "2"), ("d", "1")].map(owned));
    assert!(after.position().index > before.position().index);
}

#[test]
fn three_members_show_every_acknowledged_write_each() {
    let cluster = Cluster::start();
    let leader = cluster.leader();

    for round in 0..50u32 {
        cluster.member(leader).put(&round.to_be_bytes(), b"written").expect("applied");
        for node in 1..=3 {
            let snapshot = cluster.snapshot(node);
            assert!(
                snapshot.get(&round.to_be_bytes()).expect("readable").is_some(),
                "node {node} round {round}"
            );
        }
    }
}

#[test]
fn every_member_accepts_writes_and_shows_those_of_the_others() {
    let cluster = Cluster::start();

    for round in 0..30u32 {
        for writer in 1..=3 {
            let key = [round.to_be_bytes(), [writer as u8; 4]].concat();
            cluster.member(writer).put(&key, b"written").expect("applied");
            for reader in 1..=3 {
                let value = cluster.member(reader).get(&key).expect("readable");
                assert!(value.is_some(), "node {reader} after node {writer}, round {round}");
            }
        }
    }
}

#[test]
fn writes_continue_after_the_leader_fails_and_it_catches_up_when_it_returns() {
    let mut cluster = Cluster::start();
    let first = cluster.leader();
    cluster.member(first).put(b"before", b"1").expect("applied");

    cluster.close(first);
    let second = cluster.leader();
    cluster.member(second).put(b"after", b"2").expect("applied");
    cluster.open(first);

    let snapshot = cluster.snapshot(first);
    assert!(snapshot.get(b"before").expect("readable").is_some());
    assert!(snapshot.get(b"after").expect("readable").is_some());
}

#[test]
fn thousands_of_writes_in_flight_complete_once_each_in_log_order() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    // Through the leader and through a follower.
    thousands_of_writes_in_flight(cluster.member(leader));
    thousands_of_writes_in_flight(cluster.member(leader % 3 + 1));
}

fn thousands_of_writes_in_flight(member: &Store) {
    let (sender, receiver) = mpsc::channel();

    for number in 0..5000u32 {
        let mut batch = Batch::new();
        batch.put(&number.to_be_bytes(), &[7; 100]).expect("small");
        let sender = sender.clone();
        let callback = move |answer: almadia::Result<almadia::Reply>| {
            sender.send((number, answer.expect("applied").position.index)).expect("the test waits");
        };
        member.write_async(&mut batch, &WriteOptions::default(), callback).expect("accepted");
    }
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();

    assert_eq!(answers.len(), 5000);
    // Writes that shared an entry share its index.
    assert!(answers.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
}

#[test]
fn without_a_majority_calls_are_answered_no_leader_at_their_deadline() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let addresses = reserved_addresses(3);
    let mut config = fast_config();
    let members = format!("1={},2={},3={}", addresses[0], addresses[1], addresses[2]);
    config.set("cluster.initial_members", &members).expect("any text");
    let store = Store::open(directory.path().join("one"), &config).expect("opens");
    let timeout = Some(Duration::from_millis(100));
    let mut batch = Batch::new();
    batch.put(b"k", b"v").expect("small");

    let write = store.write(&mut batch, &WriteOptions { timeout }).expect_err("alone");
    let read = store.snapshot(&SnapshotOptions { timeout, ..Default::default() }).expect_err("alone");
    let wait = store.wait_leader(Duration::from_millis(1)).expect_err("alone");

    assert_eq!([write.code(), read.code(), wait.code()], [Code::NoLeader; 3]);
    let local = SnapshotOptions { timeout, level: Level::Local, ..Default::default() };
    assert!(store.snapshot(&local).is_ok());
}

#[test]
fn shutdown_answers_every_call_once_and_later_calls_are_closed() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    (1..=3).filter(|&node| node != leader).for_each(|node| cluster.close(node));
    let answered = Arc::new(AtomicUsize::new(0));
    let store = cluster.member(leader);
    for number in 0..1000u32 {
        let mut batch = Batch::new();
        batch.put(&number.to_be_bytes(), b"v").expect("small");
        let answered = Arc::clone(&answered);
        let callback = move |answer: almadia::Result<almadia::Reply>| {
            let error = answer.expect_err("no majority");
            assert!(
                matches!(error.code(), Code::ShutdownInFlight | Code::Closed | Code::NoLeader),
                "{error}"
            );
            answered.fetch_add(1, Ordering::SeqCst);
        };
        store.write_async(&mut batch, &WriteOptions::default(), callback).expect("accepted");
    }

    shut_down_at_once(store);

    assert_eq!(answered.load(Ordering::SeqCst), 1000);
    assert_eq!(store.put(b"k", b"v").expect_err("shut down").code(), Code::Closed);
    assert_eq!(store.status().in_flight, 0);
}

#[test]
fn a_blocking_call_inside_a_callback_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(Store::open(directory.path().join("one"), &Config::default()).expect("opens"));
    let inside = Arc::clone(&store);
    let (sender, receiver) = mpsc::channel();
    let mut batch = Batch::new();
    batch.put(b"k", b"v").expect("small");

    let callback = move |_: almadia::Result<almadia::Reply>| {
        let codes = [
            inside.put(b"k", b"v").expect_err("in a callback").code(),
            inside.snapshot(&SnapshotOptions::default()).expect_err("in a callback").code(),
            inside.shutdown(Duration::ZERO).expect_err("in a callback").code(),
        ];
        drop(inside);
        sender.send(codes).expect("the test waits");
    };
    store.write_async(&mut batch, &WriteOptions::default(), callback).expect("accepted");

    assert_eq!(receiver.recv().expect("answered"), [Code::WouldDeadlock; 3]);
}

#[test]
fn a_snapshot_outlives_its_store_and_keeps_the_directory_locked() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("one");
    let store = Store::open(&path, &Config::default()).expect("opens");
    store.put(b"k", b"v").expect("applied");
    let snapshot = store.snapshot(&SnapshotOptions::default()).expect("a leader");

    drop(store);
    assert_eq!(snapshot.get(b"k").expect("readable").expect("there").as_ref(), b"v");
    assert_eq!(Store::open(&path, &Config::default()).err().expect("still open").code(), Code::Locked);
    drop(snapshot);

    assert!(Store::open(&path, &Config::default()).is_ok());
}

#[test]
fn calls_beyond_the_limit_in_flight_are_overloaded_at_once_and_accepted_again_later() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = fast_config();
    config.set("limits.in_flight_ops", "1").expect("in range");
    let store = Store::open(directory.path().join("one"), &config).expect("opens");
    let (release, blocked) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    let mut batch = Batch::new();
    batch.put(b"k", b"v").expect("small");

    // The first callback blocks the completion thread, so the second call stays unanswered until it is released.
    let hold = move |_: almadia::Result<almadia::Reply>| blocked.recv().expect("released below");
    store.write_async(&mut batch.clone(), &WriteOptions::default(), hold).expect("accepted");
    let tell = move |answer: almadia::Result<almadia::Reply>| sender.send(answer).expect("the test waits");
    while store.status().in_flight > 0 {
        std::thread::yield_now();
    }
    store.write_async(&mut batch.clone(), &WriteOptions::default(), tell).expect("accepted");
    let refused = store.write(&mut batch, &WriteOptions::default()).expect_err("one is in flight");
    assert_eq!((refused.code(), batch.len()), (Code::Overloaded, 1));
    release.send(()).expect("it waits");

    receiver.recv().expect("answered").expect("applied");
    assert!(store.write(&mut batch, &WriteOptions::default()).is_ok());
}

fn pairs(snapshot: &almadia::Snapshot) -> Vec<(String, String)> {
    let mut iter = snapshot.iter(IterOptions::default()).expect("no bounds");
    let mut pairs = Vec::new();
    iter.seek_to_first();
    while let Some((key, value)) = iter.item() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ascii");
        pairs.push((text(key), text(value)));
        iter.next();
    }
    iter.status().expect("no error");
    pairs
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn leadership_moves_to_the_requested_member_and_writes_in_flight_follow_it() {
    let cluster = Cluster::start();
    for round in 0..6u32 {
        let leader = cluster.leader();
        let target = leader % 3 + 1;
        let writer = cluster.member(target % 3 + 1);
        let (sender, receiver) = mpsc::channel();
        for number in 0..100u32 {
            let mut batch = Batch::new();
            batch.put(&[round.to_be_bytes(), number.to_be_bytes()].concat(), b"v").expect("small");
            let sender = sender.clone();
            let callback = move |answer: almadia::Result<almadia::Reply>| {
                sender.send(answer).expect("the test waits");
            };
            writer.write_async(&mut batch, &WriteOptions::default(), callback).expect("accepted");
        }

        hand_over(cluster.member(leader), target);

        assert_eq!(cluster.leader(), target);
        drop(sender);
        let answers: Vec<_> = receiver.iter().collect();
        assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
    }
}

#[test]
fn a_transfer_with_a_callback_reports_its_outcome_once() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let target = leader % 3 + 1;
    let (sender, receiver) = mpsc::channel();
    let ask = |node: usize, target: usize| {
        let options = TransferOptions { target: Some(NodeId(target as u64)), ..TransferOptions::default() };
        let sender = sender.clone();
        let callback = move |answer: almadia::Result<()>| sender.send(answer).expect("the test waits");
        cluster.member(node).transfer_leader_async(&options, callback).expect("accepted");
        receiver.recv().expect("answered").map_err(|error| error.code())
    };

    assert_eq!(ask(leader, 9), Err(Code::InvalidArgument));
    // The connection to the target may be established after the election.
    while let Err(code) = ask(leader, target) {
        assert_eq!(code, Code::Lagging);
    }

    assert_eq!(cluster.leader(), target);
    assert_eq!(ask(leader, target), Err(Code::NotLeader));
    assert!(receiver.try_recv().is_err());
}

/// Transfers leadership once the leader has a connection to the target, which may be established after the election.
fn hand_over(leader: &Store, target: usize) {
    let options = TransferOptions { target: Some(NodeId(target as u64)), ..TransferOptions::default() };
    let deadline = Instant::now() + HANG_TIMEOUT;
    while let Err(error) = leader.transfer_leader(&options) {
        assert!(error.code() == Code::Lagging && Instant::now() < deadline, "{error}");
        std::thread::yield_now();
    }
}

#[test]
fn a_transfer_is_refused_where_nobody_leads_or_the_target_does_not_vote() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    cluster.member(leader % 3 + 1).wait_leader(HANG_TIMEOUT).expect("it hears of the leader");
    let code = |node, target: u64| {
        let options = TransferOptions { target: Some(NodeId(target)), ..TransferOptions::default() };
        cluster.member(node).transfer_leader(&options).map_err(|error| error.code())
    };

    assert_eq!(code(leader, 9), Err(Code::InvalidArgument));
    assert_eq!(code(leader, leader as u64), Ok(()));
    assert_eq!(code(leader % 3 + 1, leader as u64), Err(Code::NotLeader));
}

#[test]
fn a_member_that_shuts_down_hands_over_first() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    cluster.member(leader).put(b"k", b"v").expect("applied");

    cluster.member(leader).shutdown(HANG_TIMEOUT).expect("not in a callback");

    // It saw another leader before it stopped: the others did not have to wait for an election timeout.
    let status = cluster.member(leader).status();
    assert!(status.leader.is_some_and(|node| node != NodeId(leader as u64)), "{status:?}");
    cluster.member(leader % 3 + 1).put(b"k", b"w").expect("applied");
}
