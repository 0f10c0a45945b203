//! Tests of the encoding.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::core::digest::RangeDigest;
use crate::types::Version;

const OPERATIONS: [Operation<'static>; 4] = [
    Operation::Put { key: b"a", value: b"" },
    Operation::Put { key: b"", value: &[7; 300] },
    Operation::Delete { key: b"b" },
    Operation::DeleteRange { begin: b"c", end: b"d" },
];

fn sealed() -> Bytes {
    let mut builder = CommandBuilder::default();
    OPERATIONS.into_iter().for_each(|operation| builder.push(operation));
    builder.seal(3)
}

#[test]
fn a_write_comes_back_as_it_went_in() {
    let Command::Write(write) = Command::parse(sealed()).expect("sealed above") else { panic!("a write") };

    assert_eq!(write.operations().collect::<Vec<_>>(), OPERATIONS);
    assert_eq!((write.operation_count(), write.epoch_version()), (OPERATIONS.len(), 3));
}

#[test]
fn a_truncation_comes_back_as_it_went_in() {
    let command = Command::parse(seal_truncate(LogIndex(99), 1)).expect("sealed above");

    assert!(matches!(command, Command::Truncate(LogIndex(99))));
}

#[test]
fn a_level_comes_back_as_it_went_in() {
    let sealed = seal_level(258, 1);

    assert!(matches!(Command::parse(sealed.clone()), Ok(Command::Level(258))));
    assert_eq!(sealed[..], [&[1, 5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &[2, 1]].concat());
    assert!((0..sealed.len()).all(|length| Command::parse(sealed.slice(..length)).is_err()));
    assert!(Command::parse([&sealed[..], &[0]].concat().into()).is_err());
}

#[test]
fn a_group_gives_back_its_writes_in_order() {
    let mut other = CommandBuilder::default();
    other.push(OPERATIONS[2]);
    let writes = [sealed(), other.seal(9)];

    let Ok(Command::Group(group)) = Command::parse(seal_group(writes.iter())) else { panic!("a group") };

    assert_eq!(group.iter().map(Write::epoch_version).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(group[0].operations().collect::<Vec<_>>(), OPERATIONS);
    assert_eq!(group[1].operations().collect::<Vec<_>>(), [OPERATIONS[2]]);
}

#[test]
fn a_group_holds_whole_writes_and_nothing_else() {
    let group = |inner: Bytes| Command::parse(seal_group([inner].iter()));

    assert!(group(sealed()).is_ok());
    assert!(group(seal_truncate(LogIndex(3), 1)).is_err() && group(seal_level(1, 1)).is_err());
    assert!(group(seal_group([sealed()].iter())).is_err());
    let whole = seal_group([sealed(), sealed()].iter());
    assert!((0..whole.len()).all(|length| Command::parse(whole.slice(..length)).is_err()));
}

#[test]
fn a_cut_command_is_refused_at_every_length() {
    for whole in [sealed(), conditional(), seal_group([sealed(), conditional()].iter())] {
        for length in 0..whole.len() {
            assert!(Command::parse(whole.slice(..length)).is_err(), "length {length}");
        }
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut newer = sealed().to_vec();
    newer[0] = 2;

    assert_eq!(Command::parse(newer.into()).unwrap_err(), CommandError::Version(2));
}

#[test]
fn a_changed_byte_never_panics() {
    for whole in [sealed(), conditional(), seal_group([sealed(), conditional()].iter())] {
        for at in 0..whole.len() {
            for flip in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut changed = whole.to_vec();
                changed[at] ^= flip;
                let _ = (is_conditional(&changed), writes_of(&changed));
                read_through(changed.into());
            }
        }
    }
}

/// Walks all that can be walked.
fn read_through(data: Bytes) {
    let writes = match Command::parse(data) {
        Ok(Command::Write(write)) => vec![write],
        Ok(Command::Group(writes)) => writes,
        _ => return,
    };
    for write in writes {
        let parts = write.conditions().count() + write.then().count() + write.otherwise().count();
        let otherwise = write.operations().filter(|operation| *operation == Operation::Otherwise).count();
        assert_eq!(parts + otherwise, write.operation_count(), "each operation is in one part");
        let _ = (write.weight(), write.is_conditional());
    }
}

const SEEN: [u8; RangeDigest::ENCODED_BYTES] = [9; RangeDigest::ENCODED_BYTES];

/// One of each that a plain write has not.
const JUDGED: [Operation<'static>; 11] = [
    Operation::IfAbsent { key: b"a" },
    Operation::IfPresent { key: b"" },
    Operation::Add { key: b"n", delta: -2 },
    Operation::IfVersion { key: b"c", version: Version(7 << 16 | 3) },
    Operation::IfValue { key: b"d", value: b"old" },
    Operation::IfRange { begin: b"e", end: b"", seen: &SEEN },
    Operation::PutVersioned { prefix: b"q/", value: b"job" },
    Operation::Otherwise,
    Operation::Pop { key: b"p" },
    Operation::TakeFirst { begin: b"q/", end: b"q0" },
    Operation::Add { key: b"lost", delta: 1 },
];

fn built<'a>(operations: impl IntoIterator<Item = &'a Operation<'a>>) -> Bytes {
    let mut builder = CommandBuilder::default();
    operations.into_iter().for_each(|operation| builder.push(*operation));
    builder.seal(3)
}

fn conditional() -> Bytes {
    built(OPERATIONS.iter().take(2).chain(&JUDGED))
}

fn parsed(data: Bytes) -> Option<Write> {
    match Command::parse(data) {
        Ok(Command::Write(write)) => Some(write),
        Ok(other) => panic!("a write, not {other:?}"),
        Err(error) => {
            assert_eq!(error, CommandError::Malformed);
            None
        }
    }
}

/// A conditional write of these bytes, whatever they say.
fn raw(operations: u32, body: &[u8]) -> Bytes {
    let mut buffer = vec![0; HEADER_BYTES];
    write_header(&mut buffer, KIND_CONDITIONAL, operations, 3);
    [buffer, body.to_vec()].concat().into()
}

#[test]
fn plain_writes_and_their_groups_have_the_bytes_they_always_had() {
    let header = |kind, count, epoch| [1, kind, 0, 0, count, 0, 0, 0, epoch, 0, 0, 0, 0, 0, 0, 0];
    let write = built(&[
        Operation::Put { key: b"k", value: b"vw" },
        Operation::Delete { key: b"d" },
        Operation::DeleteRange { begin: b"b", end: b"" },
    ]);

    let body = *b"\x01\x01k\x02vw\x02\x01d\x03\x01b\x00";
    assert_eq!(write, [&header(1, 3, 3)[..], &body].concat());
    let group = seal_group([write.clone(), write.clone()].iter());
    let inner = [&[write.len() as u8][..], &write].concat();
    assert_eq!(group, [&header(3, 2, 0)[..], &inner, &inner].concat());
}

#[test]
fn conditional_writes_and_their_groups_have_these_bytes_for_ever() {
    let header = |kind, flags, count, epoch| [1, kind, flags, 0, count, 0, 0, 0, epoch, 0, 0, 0, 0, 0, 0, 0];
    let write = built(&JUDGED);

    let mut body = b"\x10\x01a\x11\x00\x04\x01n".to_vec();
    body.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    body.extend(b"\x12\x01c\x03\0\x07\0\0\0\0\0\x13\x01d\x03old\x14\x01e\0");
    body.extend(SEEN);
    body.extend(b"\x05\x02q/\x03job\x20\x06\x01p\x07\x02q/\x02q0\x04\x04lost\x01\0\0\0\0\0\0\0");
    assert_eq!(write, [&header(4, 0, 11, 3)[..], &body].concat());
    let group = seal_group([write.clone()].iter());
    assert_eq!(group[..HEADER_BYTES], header(3, 1, 1, 0));
}

#[test]
fn each_part_of_a_conditional_write_keeps_its_numbers() {
    let write = parsed(conditional()).expect("sealed above");

    let numbers =
        |part: Vec<(u32, Operation<'_>)>| part.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers(write.conditions().collect()), [2, 3, 5, 6, 7]);
    assert_eq!(numbers(write.then().collect()), [0, 1, 4, 8]);
    assert_eq!(numbers(write.otherwise().collect()), [10, 11, 12]);
    assert_eq!(write.otherwise().last(), Some((12, JUDGED[10])));
    let plain = parsed(sealed()).expect("sealed above");
    assert_eq!((plain.conditions().count(), plain.then().count(), plain.otherwise().count()), (0, 4, 0));
}

#[test]
fn what_the_entry_says_of_itself_needs_no_parsing() {
    let groups = [seal_group([sealed(), conditional()].iter()), seal_group([sealed(), sealed()].iter())];

    assert!(is_conditional(&conditional()) && is_conditional(&groups[0]));
    assert!(!is_conditional(&sealed()) && !is_conditional(&groups[1]) && !is_conditional(&[]));
    assert!(!is_conditional(&seal_truncate(LogIndex(4), 1)) && !is_conditional(&seal_level(1, 1)));
    assert!(is_level(&seal_level(1, 1)) && !is_level(&sealed()) && !is_level(&[]));
    assert_eq!(
        [&conditional(), &groups[0], &sealed(), &seal_level(1, 1)].map(|data| writes_of(data)),
        [1, 2, 1, 0]
    );
    assert_eq!(writes_in(&groups[0]), [sealed(), conditional()]);
}

#[test]
fn a_group_says_truly_whether_one_of_its_writes_is_conditional() {
    let with_flags = |group: Bytes, flags: u8, reserved: u8| {
        let mut group = group.to_vec();
        [group[2], group[3]] = [flags, reserved];
        Command::parse(group.into()).is_ok()
    };
    let (plain, mixed) = (seal_group([sealed()].iter()), seal_group([sealed(), conditional()].iter()));

    assert!(with_flags(plain.clone(), 0, 0) && with_flags(mixed.clone(), 1, 0));
    assert!(!with_flags(plain.clone(), 1, 0) && !with_flags(mixed.clone(), 0, 0));
    assert!(!with_flags(mixed.clone(), 3, 0) && !with_flags(mixed, 1, 1));
    assert!(with_flags(plain, 2, 1), "old builds looked at neither");
}

#[test]
fn a_write_has_one_encoding() {
    let mut as_conditional = sealed().to_vec();
    as_conditional[1] = KIND_CONDITIONAL;
    let mut as_plain = conditional().to_vec();
    as_plain[1] = KIND_WRITE;
    let mut reserved = conditional().to_vec();
    reserved[3] = 1;

    assert!(parsed(as_conditional.into()).is_none(), "plain operations alone are a plain write");
    assert!(parsed(as_plain.into()).is_none(), "an old build must not read it");
    assert!(parsed(reserved.into()).is_none());
    assert!(parsed(raw(0, b"")).is_none());
}

#[test]
fn the_other_list_is_one_and_has_no_conditions() {
    assert!(parsed(raw(1, &[32])).is_some(), "an empty one is as good as none");
    assert!(parsed(raw(2, b"\x20\x02\x01k")).is_some());
    assert!(parsed(raw(2, &[32, 32])).is_none());
    assert!(parsed(raw(2, b"\x20\x10\x01k")).is_none());
    assert!(parsed(raw(2, b"\x10\x01k\x20")).is_some());
    assert!(parsed(raw(1, b"\x15\x01k")).is_none(), "kept for sessions");
}

#[test]
fn the_number_of_an_operation_and_of_a_write_fits_its_place() {
    let pops = |count: u32| raw(count, &[6, 0].repeat(count as usize));
    assert!(parsed(pops(65_536)).is_some());
    assert!(parsed(pops(65_537)).is_none());

    let group = |count: usize| {
        let write = CommandBuilder::default().seal(1);
        let mut group = seal_group([].iter()).to_vec();
        group[4..8].copy_from_slice(&(count as u32).to_le_bytes());
        (0..count).for_each(|_| put_slice(&mut group, &write));
        Command::parse(group.into())
    };
    assert!(
        matches!(group(ENTRY_WRITES_MAX), Ok(Command::Group(writes)) if writes.len() == ENTRY_WRITES_MAX)
    );
    assert!(group(ENTRY_WRITES_MAX + 1).is_err());
}

#[test]
fn a_builder_that_goes_back_forgets_what_it_was_told_since() {
    let mut builder = CommandBuilder::default();
    OPERATIONS.iter().for_each(|operation| builder.push(*operation));
    let (mark, weight) = (builder.mark(), builder.weight());

    JUDGED.iter().for_each(|operation| builder.push(*operation));
    assert!(builder.has_otherwise() && builder.weight() != weight);
    builder.truncate(mark);

    assert!(!builder.has_otherwise() && builder.weight() == weight);
    builder.push(JUDGED[0]);
    builder.truncate(mark);
    assert_eq!(builder.seal(3), sealed());
}

#[test]
fn a_reopened_builder_goes_on_where_it_was() {
    for data in [sealed(), conditional()] {
        let (count, weight) = (operations_of(&data), weight_of(&data));
        let mut again = CommandBuilder::reopen(data.clone());
        assert_eq!((again.operations(), again.weight()), (count, weight));
        assert_eq!(again.has_otherwise(), is_conditional(&data));
        assert_eq!(again.clone().seal(3), data);
        again.push(Operation::Pop { key: b"more" });
        assert_eq!(parsed(again.seal(3)).map(|write| write.operation_count()), Some(count as usize + 1));
    }
}

#[test]
#[should_panic(expected = "no conditions")]
fn a_builder_takes_no_condition_behind_the_other_list() {
    let _ = built(&[Operation::Otherwise, Operation::IfAbsent { key: b"k" }]);
}

#[test]
fn what_is_judged_weighs_more_and_ranges_weigh_what_they_declare() {
    let seen = RangeDigest { digest: [1; 16], keys: 700, bytes: 50_000 }.encode();
    let range = Operation::IfRange { begin: b"a", end: b"b", seen: &seen };
    let weight = weight_of(&built(&[range, OPERATIONS[0], JUDGED[0], Operation::Pop { key: b"p" }]));

    assert_eq!(weight, Weight { operations: 3 * 16 + 1, keys: 700, bytes: 50_000 });
    assert_eq!(weight.steps(), 749);
    assert!(weight.fits_an_entry());
    assert_eq!(weight_of(&sealed()), Weight::of_plain(4));
    assert!(!Weight { operations: 65_537, ..weight }.fits_an_entry());
    assert!(!Weight { keys: 65_537, ..weight }.fits_an_entry());
    assert!(!Weight { bytes: (64 << 20) + 1, ..weight }.fits_an_entry());
    let everything = RangeDigest { digest: [1; 16], keys: u64::MAX, bytes: u64::MAX }.encode();
    let range = Operation::IfRange { begin: b"a", end: b"b", seen: &everything };
    assert!(!weight_of(&built(&[range, range])).fits_an_entry(), "it does not wrap");
}

#[test]
fn a_versioned_key_lies_between_the_first_and_the_last_of_its_prefix() {
    let [first, last] = versioned_keys(b"q/");
    let keys = [(1, 0), (1, 1), (1, 65_535), (2 << 16, 0), (u64::MAX, 65_535)]
        .map(|(version, number)| versioned_key(b"q/", Version(version), number));

    assert!(keys.is_sorted_by(|one, next| one < next), "later ones are behind");
    assert!(keys.iter().all(|key| first <= *key && *key <= last));
    assert_eq!(keys[1], *b"q/\0\0\0\0\0\0\0\x01\0\x01");
}

/// An operation that owns its bytes.
type Owned = (u8, Vec<u8>, Vec<u8>, u64);

fn operation((tag, first, second, number): &Owned) -> Operation<'_> {
    match tag {
        0 => Operation::Put { key: first, value: second },
        1 => Operation::Delete { key: first },
        2 => Operation::DeleteRange { begin: first, end: second },
        3 => Operation::Add { key: first, delta: *number as i64 },
        4 => Operation::PutVersioned { prefix: first, value: second },
        5 => Operation::Pop { key: first },
        6 => Operation::TakeFirst { begin: first, end: second },
        7 => Operation::IfAbsent { key: first },
        8 => Operation::IfPresent { key: first },
        9 => Operation::IfVersion { key: first, version: Version(*number) },
        10 => Operation::IfValue { key: first, value: second },
        11 => Operation::IfRange { begin: first, end: second, seen: &SEEN },
        _ => Operation::Otherwise,
    }
}

/// Any list in which no condition stands behind the first `Otherwise`.
fn any_list() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || prop_oneof![vec(any::<u8>(), 0..6), vec(any::<u8>(), 120..140)];
    let one = |tags: std::ops::Range<u8>| (tags, bytes(), bytes(), any::<u64>()).boxed();
    let lists = (vec(one(0..12), 0..12), any::<bool>(), vec(one(0..7), 0..6));
    lists.prop_map(|(mut then, has_otherwise, otherwise)| {
        if has_otherwise {
            then.push((12, Vec::new(), Vec::new(), 0));
            then.extend(otherwise);
        }
        then
    })
}

#[test]
fn any_list_comes_back_as_it_went_in_and_never_cut_or_longer() {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };

    let outcome = TestRunner::new(config).run(&any_list(), |list| {
        let operations: Vec<_> = list.iter().map(operation).collect();
        let data = built(&operations);
        let write = parsed(data.clone()).expect("sealed above");

        prop_assert_eq!(write.operations().collect::<Vec<_>>(), &operations[..]);
        prop_assert_eq!(write.is_conditional(), !operations.iter().all(|operation| operation.is_plain()));
        let weight = operations.iter().map(|operation| Weight::of(*operation));
        prop_assert_eq!(write.weight(), weight.fold(Weight::default(), Weight::plus));
        let extra = operations.iter().map(|operation| match operation {
            Operation::Add { .. } | Operation::IfVersion { .. } => 8,
            Operation::IfRange { seen, .. } => seen.len(),
            _ => 0,
        });
        let payload = list.iter().map(|(_, first, second, _)| first.len() + second.len()).sum::<usize>();
        let bound = HEADER_BYTES + payload + extra.sum::<usize>() + list.len() * OPERATION_OVERHEAD_BYTES;
        prop_assert!(data.len() <= bound, "what a batch counts is enough");
        for length in 0..data.len() {
            prop_assert!(Command::parse(data.slice(..length)).is_err());
        }
        prop_assert!(Command::parse([&data[..], &[0]].concat().into()).is_err());
        let reopened = CommandBuilder::reopen(data.clone()).seal(3);
        prop_assert_eq!(reopened, data);
        Ok(())
    });

    outcome.expect("the encoding holds what it was given");
}
