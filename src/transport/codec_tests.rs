//! What the codec promises, for random messages and damaged bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::documented::examples;
use crate::transport::frame::FrameBuffer;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300_u64, Just(u64::MAX), any::<u64>()]
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

prop_compose! {
    fn entry()(kind in 0..3_usize, term in number(), index in number(), data in data(), context in data(),
               sync_log in any::<bool>()) -> Entry {
        Entry { entry_type: ENTRY_TYPES[kind], term, index, data, context, sync_log, ..Entry::default() }
    }
}

prop_compose! {
    fn message()(kind in 0..MESSAGE_TYPES.len(), numbers in vec(number(), 14), priority in any::<i64>(),
                 reject in any::<bool>(), context in data(), entries in vec(entry(), 0..6),
                 contiguous in any::<bool>()) -> PeerMessage {
        let msg_type = match MESSAGE_TYPES[kind] {
            MessageType::MsgSnapshot | MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => {
                MessageType::MsgAppend
            }
            other => other,
        };
        let mut raft = Message { msg_type, ..Message::default() };
        (raft.to, raft.from, raft.term, raft.log_term) = (numbers[0], numbers[1], numbers[2], numbers[3]);
        (raft.index, raft.commit, raft.commit_term) = (numbers[4], numbers[5], numbers[6]);
        (raft.request_snapshot, raft.reject_hint) = (numbers[7], numbers[8]);
        (raft.deprecated_priority, raft.priority) = (numbers[9], priority);
        (raft.reject, raft.context, raft.entries) = (reject, context, entries.into());
        if contiguous {
            let (term, index) = (raft.log_term, raft.index);
            for (after, entry) in (1_u64..).zip(raft.entries.iter_mut()) {
                (entry.term, entry.index) = (term, index.wrapping_add(after));
            }
        }
        let epoch = RegionEpoch { conf_ver: numbers[10], version: numbers[11] };
        PeerMessage { region: RegionId(numbers[12]), epoch, body: Body::Raft(raft) }
    }
}

fn encoded(message: &PeerMessage) -> Bytes {
    let mut out = Vec::new();
    encode(message, Protocol::NEWEST, &mut out).expect("drawn messages carry no raft snapshot");
    Bytes::from(out)
}

/// A message with every field set.
fn full() -> PeerMessage {
    let mut raft = Message { msg_type: MessageType::MsgAppend, ..Message::default() };
    (raft.to, raft.from, raft.term, raft.log_term, raft.index) = (2, 1, 300, 7, 70_000);
    (raft.commit, raft.commit_term, raft.request_snapshot, raft.reject_hint) = (8, 9, 10, 11);
    (raft.deprecated_priority, raft.priority, raft.reject) = (12, -13, true);
    raft.context = Bytes::from_static(b"context");
    for index in [70_001, 70_002, 90_000] {
        raft.entries.push(Entry { term: 7, index, data: vec![0xee; 130].into(), ..Entry::default() });
    }
    raft.entries[1].entry_type = EntryType::EntryConfChangeV2;
    raft.entries[1].context = Bytes::from_static(b"why");
    PeerMessage {
        region: RegionId(1),
        epoch: RegionEpoch { conf_ver: 1, version: 2 },
        body: Body::Raft(raft),
    }
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(message in message()) {
        let bytes = encoded(&message);

        prop_assert_eq!(decode(&bytes, Protocol::NEWEST), Ok(message.clone()));
        prop_assert!(bytes.len() + 4 <= weight_bytes(&message));
    }

    #[test]
    fn a_batch_comes_back_in_order(messages in vec(message(), 0..8)) {
        let mut out = Vec::new();
        for message in &messages {
            encode_into_batch(message, Protocol::NEWEST, &mut out).expect("drawn messages carry no raft snapshot");
        }

        let mut back = Vec::new();
        decode_batch(&Bytes::from(out), Protocol::NEWEST, &mut back).expect("just encoded");
        prop_assert_eq!(back, messages);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(bytes in vec(any::<u8>(), 0..200)) {
        fuzz_codec(&bytes);
    }
}

#[test]
fn every_message_type_crosses_except_the_raft_snapshot_and_heartbeats() {
    for (number, kind) in MESSAGE_TYPES.into_iter().enumerate() {
        let mut message = full();
        message.raft_mut().msg_type = kind;
        assert_eq!(kind as usize, number, "the table is in the order of raft's numbers");
        let refused = match kind {
            MessageType::MsgSnapshot => CodecError::Snapshot,
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => CodecError::Heartbeat,
            _ => {
                assert_eq!(decode(&encoded(&message), Protocol::NEWEST), Ok(message));
                continue;
            }
        };
        assert_eq!(encode(&message, Protocol::NEWEST, &mut Vec::new()), Err(refused));
        let mut bytes = encoded(&full()).to_vec();
        bytes[3] = number as u8;
        assert_eq!(decode(&Bytes::from(bytes), Protocol::NEWEST), Err(refused));
    }
}

#[test]
fn a_message_that_holds_a_raft_snapshot_is_refused_both_ways() {
    let mut message = full();
    message.raft_mut().mut_snapshot();
    assert_eq!(encode(&message, Protocol::NEWEST, &mut Vec::new()), Err(CodecError::Snapshot));

    let mut bytes = encoded(&full()).to_vec();
    bytes[3] = 7;
    assert_eq!(decode(&Bytes::from(bytes), Protocol::NEWEST), Err(CodecError::Snapshot));
}

#[test]
fn large_data_stays_in_the_received_buffer_and_small_data_leaves_it() {
    let mut sent = full();
    sent.raft_mut().entries[0].data = Bytes::from(vec![7; 32 << 10]);
    let bytes = encoded(&sent);

    let mut message = decode(&bytes, Protocol::NEWEST).expect("just encoded");

    assert_eq!(message, sent);
    let buffer = bytes.as_ptr_range();
    for entry in message.raft_mut().entries.iter().filter(|entry| !entry.data.is_empty()) {
        let is_large = entry.data.len() >= 32 << 10;
        assert_eq!(buffer.contains(&entry.data.as_ptr()), is_large, "entry {}", entry.index);
    }
}

#[test]
fn a_message_cut_at_any_byte_is_an_error() {
    let bytes = encoded(&full());
    for len in 0..bytes.len() {
        assert!(
            decode(&bytes.slice(..len), Protocol::NEWEST).is_err(),
            "the first {len} bytes were taken for a message"
        );
    }
}

#[test]
fn a_byte_behind_a_message_is_an_error() {
    let mut bytes = encoded(&full()).to_vec();
    bytes.push(0);
    assert_eq!(decode(&Bytes::from(bytes), Protocol::NEWEST), Err(CodecError::TrailingBytes));
}

#[test]
fn no_flipped_byte_panics_or_decodes_to_two_encodings() {
    let bytes = encoded(&full());
    for at in 0..bytes.len() {
        for flip in 1..=255_u8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= flip;
            fuzz_codec(&damaged);
        }
    }
}

#[test]
fn a_count_of_entries_is_bounded_by_the_bytes_behind_it() {
    let mut message = full();
    message.raft_mut().entries.clear();
    let mut bytes = encoded(&message).to_vec();
    bytes[5] |= (HAS_ENTRIES >> 8) as u8;
    for count in [1, 1 << 40, u64::MAX] {
        let mut claimed = bytes.clone();
        put_varint(&mut claimed, count);
        assert_eq!(
            decode(&Bytes::from(claimed), Protocol::NEWEST),
            Err(CodecError::TooManyEntries),
            "{count} entries"
        );
    }
}

#[test]
fn a_batch_holds_no_more_entries_than_the_limit_over_all_its_messages() {
    let mut message = full();
    message.raft_mut().entries = vec![Entry::default(); ENTRIES_MAX / 2 + 1].into();
    let mut batch = Vec::new();
    encode_into_batch(&message, Protocol::NEWEST, &mut batch).expect("below the limit");
    encode_into_batch(&message, Protocol::NEWEST, &mut batch).expect("below the limit");

    assert_eq!(
        decode_batch(&Bytes::from(batch), Protocol::NEWEST, &mut Vec::new()),
        Err(CodecError::TooManyEntries)
    );
    message.raft_mut().entries = vec![Entry::default(); ENTRIES_MAX + 1].into();
    assert_eq!(encode(&message, Protocol::NEWEST, &mut Vec::new()), Err(CodecError::TooManyEntries));
}

#[test]
fn a_batch_holds_no_more_messages_than_the_limit() {
    let message = PeerMessage {
        region: RegionId(1),
        epoch: RegionEpoch { conf_ver: 1, version: 1 },
        body: Body::Raft(Message::default()),
    };
    let mut batch = Vec::new();
    for _ in 0..=MESSAGES_MAX {
        encode_into_batch(&message, Protocol::NEWEST, &mut batch).expect("an empty message crosses");
    }

    let mut back = Vec::new();
    assert_eq!(
        decode_batch(&Bytes::from(batch), Protocol::NEWEST, &mut back),
        Err(CodecError::TooManyMessages)
    );
    assert_eq!(back.len(), MESSAGES_MAX);
}

#[test]
fn the_examples_on_the_page_of_the_wire_are_what_members_say() {
    let page = include_str!("../../docs/wire-format.md");
    let newest = examples(page, "## Worked examples").into_iter().map(|example| (Protocol::NEWEST, example));
    // The first one there is a hello.
    let before = examples(page, "## Version 4").into_iter().skip(1).map(|example| (Protocol::Four, example));
    let all: Vec<_> = newest.chain(before).collect();
    assert_eq!(all.len(), 8);
    for (protocol, example) in all {
        let mut frames = FrameBuffer::new(1 << 20);
        frames.fill(&mut &example[..]).expect("a slice is read without errors");

        let body = frames.next_frame().expect("its checksum is right").expect("it is whole");
        let mut messages = Vec::new();
        decode_batch(&body, protocol, &mut messages).expect("it is a batch");

        let [message] = &messages[..] else { panic!("each has one message: {messages:?}") };
        let mut again = Vec::new();
        encode_into_batch(message, protocol, &mut again).expect("it was just decoded");
        assert_eq!(again, body);
    }
}
