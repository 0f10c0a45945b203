//! What is remembered of each run of each member.
//!
//! Owns the bound: a member that restarts again and again fills its own share and no other's. What always holds: what is
//! remembered of a run is not forgotten while others of its member are remembered, because a late message of it may come.

use std::collections::BTreeMap;

use crate::types::NodeId;

/// Runs of one member. One that restarts every second fills them in hours of one term.
pub(super) const RUNS_MAX: usize = 16_384;

/// A `T` for each run of each member.
#[derive(Debug)]
pub struct Runs<T> {
    nodes: BTreeMap<NodeId, BTreeMap<u64, T>>,
}

impl<T: Default> Runs<T> {
    /// Nobody is remembered.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: BTreeMap::new() }
    }

    /// What is remembered of this run.
    pub fn get_mut(&mut self, node: NodeId, boot_nonce: u64) -> Option<&mut T> {
        self.nodes.get_mut(&node)?.get_mut(&boot_nonce)
    }

    /// The same, and what is remembered of a run that was not heard of, unless its member had too many. `outlived` is called
    /// for the earlier runs of a member of which a new one is heard.
    pub fn entry(&mut self, node: NodeId, boot_nonce: u64, outlived: impl FnMut(&mut T)) -> Option<&mut T> {
        let runs = self.nodes.entry(node).or_default();
        if !runs.contains_key(&boot_nonce) {
            if runs.len() >= RUNS_MAX {
                return None;
            }
            runs.values_mut().for_each(outlived);
        }
        Some(runs.entry(boot_nonce).or_default())
    }

    /// Forgets what `keeps` does not want.
    pub fn retain(&mut self, mut keeps: impl FnMut(&mut T) -> bool) {
        self.nodes.retain(|_, runs| {
            runs.retain(|_, run| keeps(run));
            !runs.is_empty()
        });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.nodes.clear();
    }
}

impl<T: Default> Default for Runs<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_restarts_for_ever_takes_no_place_of_another() {
        let mut runs: Runs<u64> = Runs::new();
        for boot_nonce in 0..RUNS_MAX as u64 {
            *runs.entry(NodeId(2), boot_nonce, |_| {}).expect("there is room") = boot_nonce;
        }

        assert!(runs.entry(NodeId(2), u64::MAX, |_| {}).is_none());
        assert!(runs.entry(NodeId(3), u64::MAX, |_| {}).is_some());
        assert_eq!(runs.get_mut(NodeId(2), 7), Some(&mut 7));
    }

    #[test]
    fn a_new_run_outlives_the_earlier_ones_of_its_member_only() {
        let mut runs: Runs<u64> = Runs::new();
        for (node, boot_nonce) in [(2, 1), (3, 1), (2, 2)] {
            *runs.entry(NodeId(node), boot_nonce, |run| *run = 0).expect("there is room") = 5;
        }
        runs.entry(NodeId(2), 2, |run| *run = 0);

        assert_eq!(
            [(2, 1), (2, 2), (3, 1)].map(|(node, run)| *runs.get_mut(NodeId(node), run).expect("known")),
            [0, 5, 5]
        );
        runs.retain(|run| *run > 0);
        assert!(runs.get_mut(NodeId(2), 1).is_none());
    }
}
