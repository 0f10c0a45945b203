//! Limits, and what happens when they are reached.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use almadia::{Batch, Code, Config, Outcome, Reply, Result, Store, WriteOptions};

use crate::member::{Cluster, HANG_TIMEOUT};

fn write_async(store: &Store, key: u32, answers: &mpsc::Sender<Result<Reply>>) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(&key.to_be_bytes(), &[7; 100]).expect("small");
    let answers = answers.clone();
    let options = WriteOptions { timeout: Some(HANG_TIMEOUT) };
    store.write_async(&mut batch, &options, move |answer| answers.send(answer).expect("the test waits"))
}

fn limit_to_hundred(config: &mut Config) {
    config.set("limits.in_flight_ops", "100").expect("in range");
}

#[test]
fn a_full_store_answers_overloaded_at_once_and_accepts_writes_again_when_it_drains() {
    let mut cluster = Cluster::start_with(limit_to_hundred);
    let leader = cluster.leader();
    let others = [leader % 3 + 1, (leader + 1) % 3 + 1];
    others.into_iter().for_each(|node| cluster.close(node));
    let (sender, receiver) = mpsc::channel();

    // Nothing commits without a majority, so accepted writes stay in flight.
    let accepted = (0..1000).filter(|key| write_async(cluster.member(leader), *key, &sender).is_ok()).count();
    let refused = write_async(cluster.member(leader), 1000, &sender).expect_err("it is full");

    assert_eq!((accepted, refused.code()), (100, Code::Overloaded));
    assert!(refused.detail().contains("limits.in_flight_ops"), "{refused}");
    others.into_iter().for_each(|node| cluster.open(node));
    for _ in 0..accepted {
        receiver.recv_timeout(HANG_TIMEOUT).expect("each is answered").expect("the majority is back");
    }
    write_async(cluster.member(leader), 1001, &sender).expect("there is room again");
    receiver.recv_timeout(HANG_TIMEOUT).expect("answered").expect("applied");
}

#[test]
fn a_full_follower_refuses_its_own_callers_but_not_those_of_other_members() {
    let cluster = Cluster::start_with(limit_to_hundred);
    let leader = cluster.leader();
    let follower = cluster.member(leader % 3 + 1);
    let (sender, receiver) = mpsc::channel();
    let mut refused = 0;

    for key in 0..20_000 {
        match write_async(follower, key, &sender) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.code(), Code::Overloaded);
                refused += 1;
                // The leader's own callers are not held back by the follower's.
                cluster.member(leader).put(b"own", b"v").expect("applied");
            }
        }
    }
    drop(sender);

    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(answers.len() + refused, 20_000);
    assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
}

#[test]
fn a_write_whose_deadline_passes_while_it_waits_for_a_leader_is_reported_as_not_applied() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let follower = leader % 3 + 1;
    cluster.close(leader);
    cluster.close((leader + 1) % 3 + 1);
    let mut batch = Batch::new();
    batch.put(b"k", b"v").expect("small");
    let options = WriteOptions { timeout: Some(Duration::from_millis(50)) };

    // Until it notices that its leader is gone it may have sent one there, or wait for an answer.
    let deadline = Instant::now() + HANG_TIMEOUT;
    let error = loop {
        let error = cluster.member(follower).write(&mut batch, &options).expect_err("nobody leads");
        assert_eq!(batch.len(), 1, "the batch is as it was");
        if !matches!(error.code(), Code::Timeout | Code::DeadlineBeforeStart) {
            break error;
        }
        assert!(Instant::now() < deadline, "it does not miss its leader: {error}");
    };

    assert_eq!((error.code(), error.outcome()), (Code::NoLeader, Outcome::NotApplied));
}
