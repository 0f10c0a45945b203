//! A set of keys that is made of ranges.
//!
//! Owns how ranges join. What always holds: two ranges of the set neither overlap nor touch, so it is no larger than
//! the number of those that were added, and a key is found in the time of one look-up.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Where a range ends: at the first key behind it, or never when that is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End(pub Bytes);

impl End {
    /// True when `key` is before it.
    pub(crate) fn is_behind(&self, key: &[u8]) -> bool {
        self.0.is_empty() || *key < self.0[..]
    }

    /// For the range of a map.
    pub(crate) fn as_bound(&self) -> Bound<&[u8]> {
        if self.0.is_empty() { Bound::Unbounded } else { Bound::Excluded(&self.0) }
    }
}

impl Ord for End {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0.is_empty(), other.0.is_empty()) {
            (false, false) => self.0.cmp(&other.0),
            (one, another) => one.cmp(&another),
        }
    }
}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A range that was in the set, or none, at this key, before a change.
#[derive(Clone, Debug)]
pub(crate) struct RangeBefore {
    begin: Bytes,
    end: Option<End>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    ends: BTreeMap<Bytes, End>,
}

impl Ranges {
    /// The range that has `key`.
    pub(crate) fn around(&self, key: &[u8]) -> Option<(&Bytes, &End)> {
        let (begin, end) =
            self.ends.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        end.is_behind(key).then_some((begin, end))
    }

    /// The end of the range that has `key`.
    pub(crate) fn end_around(&self, key: &[u8]) -> Option<&End> {
        self.around(key).map(|(_, end)| end)
    }

    /// All ranges, in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Bytes, &End)> {
        self.ends.iter()
    }

    /// The begin of the first range behind `key`.
    pub(crate) fn begin_behind(&self, key: &[u8]) -> Option<&Bytes> {
        let behind = (Bound::Excluded(key), Bound::Unbounded);
        self.ends.range::<[u8], _>(behind).next().map(|(begin, _)| begin)
    }

    /// Adds a range, which is not empty, and notes for [`Ranges::restore`] what it changes.
    pub(crate) fn add(&mut self, mut begin: Bytes, mut end: End, mut note: impl FnMut(RangeBefore)) {
        assert!(end.is_behind(&begin), "it has a key");
        let before = self.ends.range::<[u8], _>((Bound::Unbounded, Bound::Included(&begin[..]))).next_back();
        if let Some((first, its_end)) = before
            && (*its_end >= end || its_end.0 >= begin)
        {
            if *its_end >= end {
                return;
            }
            begin = first.clone();
        }
        loop {
            let next = self.ends.range::<[u8], _>((Bound::Included(&begin[..]), Bound::Unbounded)).next();
            let Some(first) =
                next.map(|(first, _)| first).filter(|first| **first == end.0 || end.is_behind(first))
            else {
                break;
            };
            let first = first.clone();
            let its_end = self.ends.remove(&first).expect("just seen");
            end = end.max(its_end.clone());
            note(RangeBefore { begin: first, end: Some(its_end) });
        }
        let earlier = self.ends.insert(begin.clone(), end);
        assert!(earlier.is_none(), "all that it touches was taken out");
        note(RangeBefore { begin, end: None });
    }

    /// Takes a change back. The last one goes first.
    pub(crate) fn restore(&mut self, before: RangeBefore) {
        match before.end {
            Some(end) => {
                let other = self.ends.insert(before.begin, end);
                assert!(other.is_none(), "what took its place is taken back first");
            }
            None => {
                let added = self.ends.remove(&before.begin);
                assert!(added.is_some(), "it was added");
            }
        }
    }

    /// Looks at what always holds.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn check_invariants(&self) {
        let mut last: Option<&End> = None;
        for (begin, end) in &self.ends {
            assert!(end.is_behind(begin), "a range has a key");
            assert!(last.is_none_or(|last| !last.0.is_empty() && last.0 < begin), "ranges do not touch");
            last = Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    #[test]
    fn ranges_join_and_come_apart_again() {
        let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
        let steps = vec((0u8..40, 1u8..12, prop::bool::weighted(0.3)), 1..20);

        let outcome = TestRunner::new(config).run(&steps, |steps| {
            let (mut ranges, mut kept) = (Ranges::default(), [false; 64]);
            for (begin, length, is_kept) in steps {
                let end = begin + length;
                // An end of 45 or more stands for none.
                let (last, bytes) =
                    if end < 45 { (end, Bytes::copy_from_slice(&[end])) } else { (64, Bytes::new()) };
                let mut undo = Vec::new();
                let before = format!("{ranges:?}");
                ranges.add(Bytes::copy_from_slice(&[begin]), End(bytes), |before| undo.push(before));
                ranges.check_invariants();
                if is_kept {
                    kept[usize::from(begin)..usize::from(last)].fill(true);
                } else {
                    undo.into_iter().rev().for_each(|before| ranges.restore(before));
                    prop_assert_eq!(format!("{:?}", ranges), before);
                }
                for key in 0..64u8 {
                    prop_assert_eq!(
                        ranges.end_around(&[key]).is_some(),
                        kept[usize::from(key)],
                        "key {}",
                        key
                    );
                }
            }
            Ok(())
        });

        outcome.expect("a set of ranges is a set of keys");
    }
}
