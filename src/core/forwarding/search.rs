//! Which writes of a member stand in a piece of a log.
//!
//! Owns the search for the [`tags`] of one boot of a member. What always holds: it finds all of them, by rising numbers, or
//! says that it cannot.

use raft::eraftpb::Entry;

use super::Origin;
use super::tags;

/// The numbers of `origin` from `first` on in these entries. None if their tags cannot be read, or contradict each other:
/// whoever confuses the numbers of this boot gets nothing more by that.
#[must_use]
pub(crate) fn numbers_in(entries: &[Entry], origin: Origin, first: u64) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in entries {
        let own = tags::parse(&entry.context, &entry.data).ok()?.filter(|tag| tag.origin == origin);
        let own = own.flat_map(|tag| tag.first..tag.first + tag.writes as u64);
        numbers.extend(own.filter(|number| *number >= first));
    }
    let rise = numbers.is_sorted_by(|one, next| one < next);
    rise.then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::{CommandBuilder, Operation, seal_group};
    use crate::core::forwarding::RequestId;
    use crate::types::NodeId;

    const ORIGIN: Origin = Origin { node: NodeId(2), boot: 42 };

    /// An entry of writes that were forwarded under these numbers by this boot, or by another.
    fn entry(writes: &[(Origin, u64)]) -> Entry {
        let write = || {
            let mut builder = CommandBuilder::default();
            builder.push(Operation::Put { key: b"k", value: b"v" });
            builder.seal(1)
        };
        let datas: Vec<_> = writes.iter().map(|_| write()).collect();
        let data = if datas.len() == 1 { write() } else { seal_group(datas.iter()) };
        let ids = writes.iter().map(|&(origin, number)| Some(RequestId { origin, number }));
        Entry { data, context: tags::seal(ids), ..Entry::default() }
    }

    #[test]
    fn numbers_of_one_boot_are_found_from_the_first_that_is_asked_for() {
        let other = Origin { boot: 41, ..ORIGIN };
        let entries = [
            entry(&[(ORIGIN, 1), (ORIGIN, 2)]),
            entry(&[(other, 3)]),
            entry(&[(ORIGIN, 3), (other, 4), (ORIGIN, 6)]),
        ];

        assert_eq!(numbers_in(&entries, ORIGIN, 2), Some(vec![2, 3, 6]));
        assert_eq!(numbers_in(&entries, other, 0), Some(vec![3, 4]));
        assert_eq!(numbers_in(&[], ORIGIN, 0), Some(vec![]));
    }

    #[test]
    fn what_stands_there_twice_or_cannot_be_read_is_no_answer() {
        let twice = [entry(&[(ORIGIN, 3)]), entry(&[(ORIGIN, 3)])];
        let newer = Entry { context: vec![9].into(), ..entry(&[(ORIGIN, 3)]) };

        assert_eq!(numbers_in(&twice, ORIGIN, 0), None);
        assert_eq!(numbers_in(&[newer], ORIGIN, 0), None);
    }
}
