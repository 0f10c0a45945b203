//! What the queue keeps, loses and reports.

use raft::eraftpb::{Entry, Message};

use super::*;
use crate::core::heartbeats::{Heartbeat, HeartbeatKind, Heartbeats};
use crate::core::ports::Body;
use crate::types::{BOOTSTRAP_EPOCH, LogIndex, NodeId, RegionId, Term};

fn message(kind: MessageType, index: u64) -> PeerMessage {
    let message = Message { msg_type: kind, index, ..Message::default() };
    PeerMessage { region: RegionId(1), epoch: BOOTSTRAP_EPOCH, body: Body::Raft(message) }
}

fn append(index: u64) -> PeerMessage {
    message(MessageType::MsgAppend, index)
}

fn acknowledgement(index: u64) -> PeerMessage {
    message(MessageType::MsgAppendResponse, index)
}

fn heartbeats() -> PeerMessage {
    let first = Heartbeat { term: Term(6), commit: LogIndex(7), read: None };
    let (from, to, kind) = (NodeId(1), NodeId(2), HeartbeatKind::Heartbeat);
    let body = Body::Heartbeats(Heartbeats { from, to, kind, first, others: Vec::new() });
    PeerMessage { region: RegionId(1), epoch: BOOTSTRAP_EPOCH, body }
}

fn connected(bytes_max: usize) -> SendQueue {
    let mut queue = SendQueue::new(bytes_max);
    queue.connected();
    queue
}

fn indices(messages: &VecDeque<PeerMessage>) -> Vec<u64> {
    messages.iter().map(|message| message.raft().expect("of raft").index).collect()
}

/// What is to be written next.
fn taken(queue: &mut SendQueue) -> Portion {
    let mut portion = Portion::default();
    queue.fill(&mut portion);
    portion
}

fn push(queue: &mut SendQueue, messages: impl IntoIterator<Item = PeerMessage>) {
    messages.into_iter().for_each(|message| queue.push(message));
}

#[test]
fn acknowledgements_votes_and_heartbeats_overtake_and_each_lane_keeps_its_order() {
    let mut queue = connected(1 << 20);
    push(&mut queue, [append(1), acknowledgement(2), append(3), message(MessageType::MsgRequestVote, 4)]);
    push(&mut queue, [append(5), message(MessageType::MsgTimeoutNow, 6), heartbeats()]);

    let mut portion = taken(&mut queue);

    assert_eq!(portion.urgent.pop_back(), Some(heartbeats()));
    assert_eq!(indices(&portion.urgent), [2, 4]);
    assert_eq!(indices(&portion.bulk), [1, 3, 5, 6]);
    assert!(!queue.has_lost());
}

#[test]
fn a_backlog_is_taken_in_portions_so_that_an_urgent_message_waits_for_one_at_most() {
    let mut queue = connected(64 << 20);
    let entry = Entry { data: vec![0; 100_000].into(), ..Entry::default() };
    for index in 0..20 {
        let mut large = append(index);
        large.raft_mut().entries.push(entry.clone());
        queue.push(large);
    }
    let first = taken(&mut queue);
    push(&mut queue, [acknowledgement(99)]);
    let second = taken(&mut queue);

    assert_eq!(indices(&first.bulk), (0..6).collect::<Vec<_>>(), "what fits into a portion, rounded up");
    assert_eq!(indices(&second.urgent), [99]);
    assert_eq!(indices(&second.bulk), (6..12).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_loses_the_newest_appends_and_the_oldest_acknowledgements() {
    let weight = weight_bytes(&append(0));
    let mut queue = connected(8 * 3 * weight);
    push(&mut queue, (0..30).map(append));
    assert!(queue.has_lost());
    push(&mut queue, (0..5).map(acknowledgement));

    let portion = taken(&mut queue);

    assert_eq!(indices(&portion.bulk), (0..24).collect::<Vec<_>>());
    assert_eq!(indices(&portion.urgent), [2, 3, 4]);
}

#[test]
fn a_message_larger_than_the_queue_is_taken_when_it_is_alone() {
    let mut queue = connected(16);
    push(&mut queue, [append(1), append(2)]);

    assert_eq!(indices(&taken(&mut queue).bulk), [1]);
    assert!(queue.has_lost());
}

#[test]
fn the_number_of_messages_is_bounded_however_small_they_are() {
    let mut queue = connected(usize::MAX);
    for index in 0..=BULK_MESSAGES_MAX as u64 {
        push(&mut queue, [append(index), acknowledgement(index)]);
    }

    assert_eq!(queue.bulk.messages.len(), BULK_MESSAGES_MAX);
    assert_eq!(queue.urgent.messages.len(), URGENT_MESSAGES_MAX);
    assert!(queue.has_lost());
}

#[test]
fn without_a_connection_appends_are_lost_and_the_newest_urgent_messages_stay() {
    let mut queue = connected(1 << 20);
    push(&mut queue, (0..10).map(append));
    push(&mut queue, (0..500).map(acknowledgement));

    queue.disconnected();
    push(&mut queue, [append(10), acknowledgement(500)]);
    queue.connected();

    let portion = taken(&mut queue);
    assert!(portion.bulk.is_empty());
    assert_eq!(indices(&portion.urgent), (245..=500).collect::<Vec<_>>());
    assert!(queue.has_lost());
}

#[test]
fn urgent_messages_that_replace_each_other_without_a_connection_are_no_loss() {
    let mut queue = SendQueue::new(1 << 20);
    push(&mut queue, (0..1000).map(acknowledgement));
    assert!(!queue.has_lost());

    push(&mut queue, [append(1)]);
    assert!(queue.has_lost());
}

#[test]
fn a_loss_is_taken_note_of_once() {
    let mut queue = connected(1 << 20);
    assert!(!queue.take_loss());

    queue.lost();

    assert!(queue.has_lost());
    assert!(queue.take_loss());
    assert!(!queue.take_loss());
}
