//! What is remembered of each boot of each member.
//!
//! Owns the bound. What always holds: while a member may still come back to a boot, what is remembered of that boot is
//! not forgotten. Boots are counted over a member's life, and the transport listens to none but the latest; those that
//! have the same count, because a directory was copied or a stranger pretends, come and go.

use std::collections::BTreeMap;

use crate::types::NodeId;

/// Boots of one member that have the same count.
const SAME_COUNT_MAX: usize = 64;

/// A `T` for each boot of each member that may be heard of again.
#[derive(Debug)]
pub(crate) struct Boots<T> {
    nodes: BTreeMap<NodeId, Latest<T>>,
}

#[derive(Debug)]
struct Latest<T> {
    count: u64,
    boots: Vec<(u64, T)>,
}

impl<T: Default> Boots<T> {
    /// Nobody is remembered.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { nodes: BTreeMap::new() }
    }

    /// What is remembered of the boot that differs by `boot` from the others of `node`, and is its `count`-th. None of
    /// one that is not the latest, or of too many with the same count.
    pub(crate) fn entry(&mut self, node: NodeId, count: u64, boot: u64) -> Option<&mut T> {
        let latest = self.nodes.entry(node).or_insert(Latest { count, boots: Vec::new() });
        if latest.count < count {
            *latest = Latest { count, boots: Vec::new() };
        }
        if latest.count > count {
            return None;
        }
        assert_eq!(latest.count, count, "earlier and later ones are dealt with above");
        let at = latest.boots.iter().position(|(known, _)| *known == boot);
        if at.is_none() {
            if latest.boots.len() == SAME_COUNT_MAX {
                return None;
            }
            latest.boots.push((boot, T::default()));
        }
        let at = at.unwrap_or(latest.boots.len() - 1);
        Some(&mut latest.boots[at].1)
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        for latest in self.nodes.values() {
            assert!(latest.boots.len() <= SAME_COUNT_MAX, "pretenders find an end");
            let mut boots: Vec<_> = latest.boots.iter().map(|(boot, _)| boot).collect();
            boots.sort_unstable();
            assert!(boots.is_sorted_by(|one, next| one < next), "a boot is remembered once");
        }
    }

    /// Everything that is remembered.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn values(&self) -> impl Iterator<Item = &T> {
        self.nodes.values().flat_map(|latest| latest.boots.iter().map(|(_, value)| value))
    }

    /// True when nothing is remembered.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
    }
}

impl<T: Default> Default for Boots<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_comes_back_is_remembered_and_an_earlier_one_is_not_heard() {
        let mut boots: Boots<u64> = Boots::new();
        *boots.entry(NodeId(2), 1, 70).expect("the first") = 5;
        *boots.entry(NodeId(2), 1, 77).expect("of the same count") = 6;

        assert_eq!(boots.entry(NodeId(2), 1, 70), Some(&mut 5));
        assert_eq!(boots.entry(NodeId(2), 2, 71), Some(&mut 0));
        assert_eq!(boots.entry(NodeId(2), 1, 70), None);
        assert_eq!(boots.entry(NodeId(3), 1, 70), Some(&mut 0));
    }

    #[test]
    fn pretenders_take_no_place_of_those_who_were_there_before_them() {
        let mut boots: Boots<u64> = Boots::new();
        *boots.entry(NodeId(2), 1, 0).expect("the first") = 5;
        let heard = (1..1000).filter(|&boot| boots.entry(NodeId(2), 1, boot).is_some()).count();

        assert_eq!(heard, SAME_COUNT_MAX - 1);
        assert_eq!(boots.entry(NodeId(2), 1, 0), Some(&mut 5));
    }
}
