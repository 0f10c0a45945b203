//! The keys that clients use.
//!
//! Owns the layout of keys: regions by their first byte, registers, lists, counters, and the marks of conditional writes. What always holds: encoding a client's
//! changes and decoding what a read finds are inverses.
//!
//! A list is a prefix and its elements are keys under it, because the store has no append operation.
//!
//! A conditional write may put nothing, or be refused. So that the log says whose it is, it begins with a condition that
//! is always true: that a key is absent which is never written and has the call's number in it.

use std::ops::Range;

use bytes::Bytes;

use crate::core::command::{Command, CommandBuilder, Operation};
use crate::core::region::Region;
use crate::sim::checker::{Change, Key, Observed};
use crate::sim::chosen::{CallId, number_of, value_of};
use crate::sim::conditional::{Condition, Conditional, Step, bits_of};
use crate::sim::disk::Data;
use crate::sim::random::Random;
use crate::types::{BOOTSTRAP_EPOCH, NodeId, RegionId, Version};

/// The first list; smaller keys are registers.
pub(crate) const FIRST_LIST: Key = 1 << 16;
/// The first counter; the keys between are lists.
pub(crate) const FIRST_COUNTER: Key = 1 << 20;
/// What follows the region in a mark. No other key has it there.
const MARK: u8 = b'!';

/// `count` regions that together own all keys, with these voters.
pub(crate) fn regions(count: usize, voters: &[NodeId]) -> Vec<Region> {
    let boundary = |at: usize| if at == 0 || at == count { Vec::new() } else { vec![b'a' + at as u8] };
    let region = |at: usize| Region {
        id: RegionId(at as u64 + 1),
        start_key: boundary(at),
        end_key: boundary(at + 1),
        ..Region::bootstrap(voters)
    };
    (0..count).map(region).collect()
}

/// The command that executes `changes`. Two or more clears are of adjacent keys and become one range.
pub(crate) fn encode(
    region: RegionId,
    changes: &[(Key, Change)],
    bytes: Range<u64>,
    random: &mut Random,
) -> Bytes {
    let mut builder = CommandBuilder::default();
    push_changes(&mut builder, region, changes, bytes, random);
    builder.seal(BOOTSTRAP_EPOCH.version)
}

/// The command that asks for `conditional` and has the mark of `call`.
pub(crate) fn encode_conditional(
    region: RegionId,
    call: CallId,
    conditional: &Conditional,
    bytes: Range<u64>,
    random: &mut Random,
) -> Bytes {
    let mut builder = CommandBuilder::default();
    builder.push(Operation::IfAbsent { key: &mark(region, call) });
    if let Some(transaction) = &conditional.transaction {
        let Ok(Command::Write(write)) = Command::parse(transaction.batch.clone()) else {
            unreachable!("a batch is a write")
        };
        write.operations().for_each(|operation| builder.push(operation));
        return builder.seal(BOOTSTRAP_EPOCH.version);
    }
    conditional.conditions.iter().for_each(|condition| push_condition(&mut builder, region, condition));
    push_steps(&mut builder, region, &conditional.then, bytes.clone(), random);
    if !conditional.otherwise.is_empty() {
        builder.push(Operation::Otherwise);
        push_steps(&mut builder, region, &conditional.otherwise, bytes, random);
    }
    builder.seal(BOOTSTRAP_EPOCH.version)
}

fn push_condition(builder: &mut CommandBuilder, region: RegionId, condition: &Condition) {
    match condition {
        Condition::Absent(key) => builder.push(Operation::IfAbsent { key: &place(region, *key) }),
        Condition::Present(key) => builder.push(Operation::IfPresent { key: &place(region, *key) }),
        Condition::Version(key, version, _) => {
            builder.push(Operation::IfVersion { key: &place(region, *key), version: *version });
        }
        Condition::Value(key, value) => {
            builder.push(Operation::IfValue { key: &place(region, *key), value });
        }
        Condition::Range { range: [begin, end], digest, .. } => {
            builder.push(Operation::IfRange { begin, end, seen: &digest.encode() });
        }
    }
}

/// Plain changes first, because several deletes become one.
fn push_steps(
    builder: &mut CommandBuilder,
    region: RegionId,
    steps: &[Step],
    bytes: Range<u64>,
    random: &mut Random,
) {
    let plain: Vec<_> = steps.iter().filter_map(|step| step.as_change()).collect();
    push_changes(builder, region, &plain, bytes.clone(), random);
    for step in steps {
        match *step {
            Step::Change(..) => {}
            Step::Add(key, bit) => builder.push(Operation::Add { key: &place(region, key), delta: 1 << bit }),
            Step::AddTooMuch(key) => {
                builder.push(Operation::Add { key: &place(region, key), delta: i64::MAX });
            }
            Step::PutVersioned(list, number) => {
                let value = value_of(number, random.within(bytes.clone()) as usize);
                builder.push(Operation::PutVersioned { prefix: &place(region, list), value: &value });
            }
            Step::Pop(key) => builder.push(Operation::Pop { key: &place(region, key) }),
            Step::TakeFirst(keys) => {
                let [begin, end] = keys.map(|key| place(region, key));
                builder.push(Operation::TakeFirst { begin: &begin, end: &end });
            }
        }
    }
}

/// The mark of a call.
fn mark(region: RegionId, call: CallId) -> Vec<u8> {
    [&[first_byte(region), MARK][..], &(call as u64).to_be_bytes()].concat()
}

/// The call whose mark this condition is.
pub(crate) fn marked(operation: Operation<'_>) -> Option<CallId> {
    match operation {
        Operation::IfAbsent { key: [_, MARK, call @ ..] } => {
            Some(u64::from_be_bytes(call.try_into().ok()?) as CallId)
        }
        _ => None,
    }
}

fn push_changes(
    builder: &mut CommandBuilder,
    region: RegionId,
    changes: &[(Key, Change)],
    bytes: Range<u64>,
    random: &mut Random,
) {
    let mut put = |builder: &mut CommandBuilder, key: &[u8], number| {
        let value = value_of(number, random.within(bytes.clone()) as usize);
        builder.push(Operation::Put { key, value: &value });
    };
    let cleared = || changes.iter().filter(|(_, change)| *change == Change::Clear).map(|(key, _)| *key);
    match (cleared().min(), cleared().max()) {
        (Some(first), Some(last)) if first < last => {
            let (begin, end) = (place(region, first), place(region, last + 1));
            builder.push(Operation::DeleteRange { begin: &begin, end: &end });
        }
        (Some(only), _) => builder.push(Operation::Delete { key: &place(region, only) }),
        _ => {}
    }
    for &(key, change) in changes {
        match change {
            Change::Clear => {}
            Change::Set(number) => put(builder, &place(region, key), number),
            Change::Append(number) => put(builder, &element(region, key, number), number),
        }
    }
}

/// What `data` holds at `key`.
pub(crate) fn look(data: &Data, region: RegionId, key: Key) -> Observed {
    if key < FIRST_LIST {
        return Observed::Register(data.get(&place(region, key)).map(|stored| number_of(&stored.value)));
    }
    if key >= FIRST_COUNTER {
        let sum = data.get(&place(region, key)).map(|stored| stored.value[..].try_into());
        let sum = sum.map(|sum| i64::from_le_bytes(sum.expect("only adds change it")));
        return Observed::List(bits_of(sum.unwrap_or_default()));
    }
    let (first, end) = (place(region, key), place(region, key + 1));
    Observed::List(data.range(first..end).map(|(_, stored)| number_of(&stored.value)).collect())
}

/// The version of a register.
pub(crate) fn version_at(data: &Data, region: RegionId, key: Key) -> Version {
    data.get(&place(region, key)).map_or(Version::NONE, |stored| stored.version)
}

fn first_byte(region: RegionId) -> u8 {
    b'a' + (region.get() - 1) as u8
}

/// The register that has this place.
pub(crate) fn key_of(place: &[u8]) -> Key {
    Key::from_be_bytes(place[1..].try_into().expect("registers alone are taken"))
}

/// The key of a register or a counter, or the prefix of a list; ordered like `key`.
pub(crate) fn place(region: RegionId, key: Key) -> Vec<u8> {
    let mut place = vec![first_byte(region)];
    place.extend_from_slice(&key.to_be_bytes());
    place
}

pub(crate) fn element(region: RegionId, list: Key, number: u64) -> Vec<u8> {
    [place(region, list), number.to_be_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::applied_write::AppliedWrite;
    use crate::sim::disk::carry_out;

    #[test]
    fn reads_see_what_was_written() {
        let (region, list) = (RegionId(1), FIRST_LIST + 3);
        let mut data = Data::new();
        let mut write = |changes: &[(Key, Change)]| {
            let command = Command::parse(encode(region, changes, 8..40, &mut Random::new(1)));
            let Ok(Command::Write(write)) = command else { panic!("a write") };
            let write = AppliedWrite::plain(write, Version(1));
            write.changes().for_each(|change| _ = carry_out(&mut data, change, write.version()));
        };

        write(&[(1, Change::Set(7)), (2, Change::Set(8)), (list, Change::Append(9))]);
        write(&[(1, Change::Clear), (list, Change::Append(10))]);

        assert_eq!(look(&data, region, 1), Observed::Register(None));
        assert_eq!(look(&data, region, 2), Observed::Register(Some(8)));
        assert_eq!(look(&data, region, list), Observed::List([9, 10].into()));
        assert_eq!(look(&data, region, list + 1), Observed::List([].into()));
    }
}
