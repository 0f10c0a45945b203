//! The keys that clients use.
//!
//! Owns the layout of keys: regions by their first byte, registers, and lists. What always holds: encoding a client's
//! changes and decoding what a read finds are inverses.
//!
//! A list is a prefix and its elements are keys under it, because the store has no append operation.

use std::ops::Range;

use bytes::Bytes;

use crate::core::command::{CommandBuilder, Operation};
use crate::core::region::Region;
use crate::sim::checker::{Change, Key, Observed};
use crate::sim::chosen::{number_of, value_of};
use crate::sim::disk::Data;
use crate::sim::random::Random;
use crate::types::{BOOTSTRAP_EPOCH, NodeId, RegionId};

/// The first list; smaller keys are registers.
pub(crate) const FIRST_LIST: Key = 1 << 16;

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
            Change::Set(number) => put(&mut builder, &place(region, key), number),
            Change::Append(number) => put(&mut builder, &element(region, key, number), number),
        }
    }
    builder.seal(BOOTSTRAP_EPOCH.version)
}

/// What `data` holds at `key`.
pub(crate) fn look(data: &Data, region: RegionId, key: Key) -> Observed {
    if key < FIRST_LIST {
        return Observed::Register(data.get(&place(region, key)).map(|stored| number_of(&stored.value)));
    }
    let (first, end) = (place(region, key), place(region, key + 1));
    Observed::List(data.range(first..end).map(|(_, stored)| number_of(&stored.value)).collect())
}

/// The key of a register, or the prefix of a list; ordered like `key`.
fn place(region: RegionId, key: Key) -> Vec<u8> {
    let mut place = vec![b'a' + (region.get() - 1) as u8];
    place.extend_from_slice(&key.to_be_bytes());
    place
}

fn element(region: RegionId, list: Key, number: u64) -> Vec<u8> {
    [place(region, list), number.to_be_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::applied_write::AppliedWrite;
    use crate::core::command::Command;
    use crate::sim::disk::carry_out;
    use crate::types::Version;

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
