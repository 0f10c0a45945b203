//! What the queue keeps, loses and reports.

use std::time::Duration;

use raft::eraftpb::{Entry, Message};

use super::*;
use crate::core::ports::Body;
use crate::types::{BOOTSTRAP_EPOCH, RegionId};

fn message(kind: MessageType, index: u64) -> PeerMessage {
    let message = Message { msg_type: kind, index, ..Message::default() };
    PeerMessage { region: RegionId(1), epoch: BOOTSTRAP_EPOCH, body: Body::Raft(message) }
}

fn append(index: u64) -> PeerMessage {
    message(MessageType::MsgAppend, index)
}

fn heartbeat(index: u64) -> PeerMessage {
    message(MessageType::MsgHeartbeat, index)
}

fn connected(bytes_max: usize) -> SendQueue {
    let queue = SendQueue::new(bytes_max);
    queue.connected(Link::idle());
    queue
}

fn indices(messages: &VecDeque<PeerMessage>) -> Vec<u64> {
    messages.iter().map(|message| message.raft().expect("of raft").index).collect()
}

/// What is to be written next; nothing when the queue has something else to say.
fn taken(queue: &SendQueue) -> Slice {
    let mut slice = Slice::default();
    assert_eq!(queue.next(&mut slice, Instant::now() + Duration::from_secs(60), None), Wake::Messages);
    slice
}

fn has_lost(queue: &SendQueue) -> bool {
    lock(&queue.state).has_lost
}

#[test]
fn heartbeats_and_votes_overtake_and_each_lane_keeps_its_order() {
    let queue = connected(1 << 20);
    queue.push(vec![append(1), heartbeat(2), append(3), message(MessageType::MsgRequestVote, 4)]);
    queue.push(vec![append(5), message(MessageType::MsgTimeoutNow, 6)]);

    let slice = taken(&queue);

    assert_eq!(indices(&slice.urgent), [2, 4]);
    assert_eq!(indices(&slice.bulk), [1, 3, 5, 6]);
    assert!(!has_lost(&queue));
}

#[test]
fn a_backlog_is_taken_in_slices_so_that_a_heartbeat_waits_for_one_at_most() {
    let queue = connected(64 << 20);
    let entry = Entry { data: vec![0; 100_000].into(), ..Entry::default() };
    for index in 0..20 {
        let mut large = append(index);
        large.raft_mut().entries.push(entry.clone());
        queue.push(vec![large]);
    }
    let first = taken(&queue);
    queue.push(vec![heartbeat(99)]);
    let second = taken(&queue);

    assert_eq!(indices(&first.bulk), (0..6).collect::<Vec<_>>(), "what fits into a slice, rounded up");
    assert_eq!(indices(&second.urgent), [99]);
    assert_eq!(indices(&second.bulk), (6..12).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_loses_the_newest_appends_and_the_oldest_heartbeats() {
    let weight = weight_bytes(&append(0));
    let queue = connected(8 * 3 * weight);
    queue.push((0..30).map(append).collect());
    assert!(has_lost(&queue));
    queue.push((0..5).map(heartbeat).collect());

    let slice = taken(&queue);

    assert_eq!(indices(&slice.bulk), (0..24).collect::<Vec<_>>());
    assert_eq!(indices(&slice.urgent), [2, 3, 4]);
}

#[test]
fn a_message_larger_than_the_queue_is_taken_when_it_is_alone() {
    let queue = connected(16);
    queue.push(vec![append(1), append(2)]);

    assert_eq!(indices(&taken(&queue).bulk), [1]);
    assert!(has_lost(&queue));
}

#[test]
fn the_number_of_messages_is_bounded_however_small_they_are() {
    let queue = connected(usize::MAX);
    for index in 0..=BULK_MESSAGES_MAX as u64 {
        queue.push(vec![append(index), heartbeat(index)]);
    }

    let state = lock(&queue.state);
    assert_eq!(state.bulk.messages.len(), BULK_MESSAGES_MAX);
    assert_eq!(state.urgent.messages.len(), URGENT_MESSAGES_MAX);
    assert!(state.has_lost);
}

#[test]
fn without_a_connection_appends_are_lost_and_the_newest_heartbeats_stay() {
    let queue = connected(1 << 20);
    queue.push((0..10).map(append).collect());
    queue.push((0..500).map(heartbeat).collect());

    queue.disconnected();
    queue.push(vec![append(10), heartbeat(500)]);
    queue.connected(Link::idle());

    let slice = taken(&queue);
    assert!(slice.bulk.is_empty());
    assert_eq!(indices(&slice.urgent), (245..=500).collect::<Vec<_>>());
    assert!(has_lost(&queue));
}

#[test]
fn heartbeats_that_replace_each_other_without_a_connection_are_no_loss() {
    let queue = SendQueue::new(1 << 20);
    queue.push((0..1000).map(heartbeat).collect());
    assert!(!has_lost(&queue));

    queue.push(vec![append(1)]);
    assert!(has_lost(&queue));
}

#[test]
fn a_loss_is_reported_once_and_not_before_it_is_due() {
    let queue = SendQueue::new(1 << 20);
    queue.push(vec![append(1)]);
    let now = Instant::now();
    let later = now + Duration::from_secs(60);

    assert_eq!(queue.pause(now, later), Wake::Over);
    assert_eq!(queue.pause(later, now), Wake::Loss);
    assert_eq!(queue.pause(now, now), Wake::Over);
}

#[test]
fn a_wait_with_an_end_is_over_when_nothing_comes() {
    let queue = connected(1 << 20);
    let now = Instant::now();
    assert_eq!(queue.next(&mut Slice::default(), now, Some(now)), Wake::Over);

    queue.push(vec![append(1)]);
    assert_eq!(queue.next(&mut Slice::default(), now, Some(now)), Wake::Messages);
}

#[test]
fn a_loss_ends_a_pause_and_messages_end_a_sleep() {
    let queue = SendQueue::new(1 << 20);
    let now = Instant::now();
    let end = now + Duration::from_secs(60);
    std::thread::scope(|scope| {
        let paused = scope.spawn(|| queue.pause(end, now));
        while lock(&queue.state).sleep != Sleep::UntilLoss {
            std::thread::yield_now();
        }
        queue.push(vec![heartbeat(1)]);
        assert_eq!(lock(&queue.state).sleep, Sleep::UntilLoss, "a heartbeat is no loss");
        queue.push(vec![append(1)]);
        assert_eq!(paused.join().expect("no panic"), Wake::Loss);
    });

    queue.connected(Link::idle());
    assert_eq!(taken(&queue).urgent.len(), 1);
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| taken(&queue));
        while lock(&queue.state).sleep != Sleep::UntilMessages {
            std::thread::yield_now();
        }
        queue.push(vec![append(2)]);
        assert_eq!(indices(&sleeping.join().expect("no panic").bulk), [2]);
    });
}

#[test]
fn a_peer_that_connects_ends_one_pause() {
    let queue = SendQueue::new(1 << 20);
    let later = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        let paused = scope.spawn(|| queue.pause(later, later));
        while lock(&queue.state).sleep != Sleep::UntilLoss {
            std::thread::yield_now();
        }
        queue.hurry();
        assert_eq!(paused.join().expect("no panic"), Wake::Over);
    });

    queue.hurry();
    assert_eq!(queue.pause(later, later), Wake::Over, "it connected before the pause began");

    queue.connected(Link::idle());
    queue.hurry();
    queue.disconnected();
    assert!(!lock(&queue.state).is_hurried, "its connection may be lost as well");
}

#[test]
fn closing_ends_every_wait() {
    let queue = connected(1 << 20);
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| queue.next(&mut Slice::default(), Instant::now(), None));
        queue.close();
        assert_eq!(sleeping.join().expect("no panic"), Wake::Closed);
    });
    queue.push(vec![append(1)]);
    assert!(lock(&queue.state).bulk.messages.is_empty());
    assert_eq!(queue.pause(Instant::now() + Duration::from_secs(60), Instant::now()), Wake::Closed);
}
