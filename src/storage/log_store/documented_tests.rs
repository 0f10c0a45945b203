//! The page on the bytes on disk is right about the raft log.

use bytes::Bytes;
use raft::eraftpb::Entry;

use super::frame::{self, Seal};
use super::items::{self, Item};
use crate::core::command::Command;
use crate::core::forwarding::tags;
use crate::documented::examples;
use crate::types::{LogIndex, NodeId, RegionId, Term};

const SALT: u64 = 0x10bf_748c_7f0b_8119;

fn documented() -> [Vec<u8>; 3] {
    let examples = examples(include_str!("../../../docs/disk-format.md"), "### Worked example");
    examples.try_into().expect("three examples")
}

/// Entries as an item holds them.
fn entries_of(run: &items::Run<'_>) -> Vec<Entry> {
    let entry = |read: Result<(LogIndex, items::EncodedEntry<'_>), _>| {
        let (index, encoded) = read.expect("well-formed");
        Entry {
            entry_type: encoded.entry_type,
            term: run.term.get(),
            index: index.get(),
            data: Bytes::copy_from_slice(encoded.data),
            context: Bytes::copy_from_slice(encoded.context),
            ..Entry::default()
        }
    };
    run.entries().map(entry).collect()
}

#[test]
fn a_documented_frame_has_a_state_and_an_entry() {
    let [bytes, ..] = documented();

    let frame = Seal::new(1, SALT).open(&bytes).expect("its checksum is right");

    assert_eq!(frame.counter, 5);
    let items: Vec<_> = items::items(frame.body).map(|item| item.expect("well-formed")).collect();
    let [Item::State(region, state), Item::Entries(run)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((*region, state.term, state.vote, state.commit), (RegionId(1), 6, 1, 8));
    assert_eq!((run.region, run.first, run.last, run.term), (RegionId(1), LogIndex(9), LogIndex(9), Term(6)));
    let entries = entries_of(run);
    let Ok(Command::Write(write)) = Command::parse(entries[0].data.clone()) else { panic!("a write") };
    assert_eq!((write.operation_count(), write.epoch_version()), (4, 1));

    let mut again = Vec::new();
    frame::begin(&mut again);
    items::put_state(&mut again, *region, state);
    items::put_entries(&mut again, run.region, &entries);
    frame::pad(&mut again);
    Seal::new(1, SALT).close(&mut again, frame.counter);
    assert_eq!(again, bytes);
}

#[test]
fn the_first_documented_frame_of_a_log_resets_it() {
    let [_, bytes, _] = documented();

    let frame = Seal::new(1, SALT).open(&bytes).expect("its checksum is right");

    assert_eq!(frame.counter, 1);
    let items: Vec<_> = items::items(frame.body).map(|item| item.expect("well-formed")).collect();
    let [Item::Reset(RegionId(1), state)] = items[..] else { panic!("{items:?}") };
    assert_eq!((state.term, state.vote, state.commit), (5, 0, 5));
    assert_eq!(state.truncated, (LogIndex(5), Term(5)));
}

#[test]
fn a_documented_group_has_two_writes_with_their_tags() {
    let [_, _, bytes] = documented();
    let (data, context) = (Bytes::copy_from_slice(&bytes[2..98]), Bytes::copy_from_slice(&bytes[99..]));

    let Ok(Command::Group(writes)) = Command::parse(data.clone()) else { panic!("a group") };
    let tags: Vec<_> = tags::parse(&context, &data).expect("of this entry").collect();

    assert_eq!(writes.len(), 2);
    let [tag] = tags[..] else { panic!("{tags:?}") };
    assert_eq!((tag.place, tag.writes, tag.origin.node, tag.first), (0, 2, NodeId(1), 3));
    assert_eq!(tag.origin.boot, 0x9d1a_8653_cf38_c3ff);

    let mut item = Vec::new();
    items::put_entries(
        &mut item,
        RegionId(1),
        &[Entry { index: 9, term: 6, data, context, ..Entry::default() }],
    );
    assert!(item.ends_with(&bytes), "an item holds the entry so");
}
