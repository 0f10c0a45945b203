//! The events of a write before its answer.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use almadia::{Batch, Code, Events, Outcome, Position, Reply, Store, WriteEvent, WriteOptions};

use crate::member::Cluster;

/// What the caller of one write received, in order.
#[derive(Debug)]
enum Received {
    Event(WriteEvent, Position),
    Answer(almadia::Result<Reply>),
}

use Received::{Answer, Event};
use WriteEvent::{Committed, Proposed};

/// Writes one key and records what is received for it under `number`.
fn write(
    store: &Store,
    number: u32,
    options: &WriteOptions,
    events: Events,
    received: &Sender<(u32, Received)>,
) {
    let mut batch = Batch::new();
    batch.put(&number.to_be_bytes(), b"value").expect("small");
    let (of_events, of_answers) = (received.clone(), received.clone());
    let on_event = move |event, position| {
        assert_eq!(std::thread::current().name(), Some("almadia-cb"));
        of_events.send((number, Event(event, position))).expect("the test waits");
    };
    let callback = move |answer| of_answers.send((number, Answer(answer))).expect("the test waits");
    let asynchronous = store.asynchronous();
    asynchronous.write_with_events(&mut batch, options, events, on_event, callback).expect("accepted");
}

/// What was received for each of `count` writes.
fn write_many(store: &Store, count: u32, events: impl Fn(u32) -> Events) -> Vec<Vec<Received>> {
    let (sender, receiver) = mpsc::channel();
    (0..count).for_each(|number| write(store, number, &WriteOptions::default(), events(number), &sender));
    drop(sender);
    let mut all: Vec<Vec<Received>> = (0..count).map(|_| Vec::new()).collect();
    receiver.iter().for_each(|(number, received)| all[number as usize].push(received));
    all
}

#[test]
fn a_leader_reports_each_write_as_proposed_then_committed_then_applied() {
    let cluster = Cluster::start();
    let leader = cluster.leader();

    for received in write_many(cluster.member(leader), 3000, |_| Events::ALL) {
        let [
            Event(Proposed, proposed),
            Event(Committed, committed),
            Answer(Ok(Reply { position: applied, .. })),
        ] = received[..]
        else {
            panic!("{received:?}")
        };
        assert_eq!((proposed, committed), (applied, applied));
    }
}

#[test]
fn only_requested_events_are_reported() {
    let cluster = Cluster::start();
    let wanted = |number: u32| Events { proposed: number % 2 == 1, committed: number % 4 >= 2 };

    let all = write_many(cluster.member(cluster.leader()), 400, wanted);

    for (number, received) in all.iter().enumerate() {
        let as_wanted = match number % 4 {
            0 => matches!(received[..], [Answer(Ok(_))]),
            1 => matches!(received[..], [Event(Proposed, _), Answer(Ok(_))]),
            2 => matches!(received[..], [Event(Committed, _), Answer(Ok(_))]),
            _ => matches!(received[..], [Event(Proposed, _), Event(Committed, _), Answer(Ok(_))]),
        };
        assert!(as_wanted, "write {number}: {received:?}");
    }
}

#[test]
fn a_forwarded_write_is_answered_without_events() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let follower = cluster.member(leader % 3 + 1);

    for received in write_many(follower, 300, |_| Events::ALL) {
        assert!(matches!(received[..], [Answer(Ok(_))]), "{received:?}");
    }
}

#[test]
fn a_write_without_a_majority_is_proposed_and_never_committed() {
    // On a busy machine a leader may step down before the write reaches it; then there are no events.
    let received = (0..10).find_map(|_| write_alone()).expect("a leader lasts for an election timeout");

    let [Event(Proposed, _), Answer(Err(error))] = &received[..] else { panic!("{received:?}") };
    assert_eq!((error.code(), error.outcome()), (Code::Timeout, Outcome::Unknown));
}

/// What is received for a write to a leader whose followers are gone; none if it no longer led.
fn write_alone() -> Option<Vec<Received>> {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    (1..=3).filter(|&node| node != leader).for_each(|node| cluster.close(node));
    let (sender, receiver) = mpsc::channel();
    let options = WriteOptions { timeout: Some(Duration::from_millis(100)) };

    write(cluster.member(leader), 1, &options, Events::ALL, &sender);

    drop(sender);
    let received: Vec<_> = receiver.iter().map(|(_, received)| received).collect();
    matches!(received[..], [Event(..), ..]).then_some(received)
}
