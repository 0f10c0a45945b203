//! What the applier has and has not reported back.
//!
//! Owns the count of bytes between a peer and its applier, and the count over all peers of a store, by which a member
//! whose engine is slow stops taking entries instead of collecting them. What always holds: what is counted is taken
//! back, when it is applied or with its peer; a region that has its share of the store's bound or less is not held up
//! by the backlog of others before that is twice the bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft::eraftpb::Entry;

use crate::core::limits::Limits;
use crate::types::LogIndex;

/// What all peers of one store have handed over. Clones count together.
///
/// The bound of a store protects its memory; it must not let one busy region hold up all others. So a region is held to
/// it only while it has more than its share. The shares together are one bound more at most, and when large entries of
/// many regions have used that up too, nobody adds to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreBacklog(Arc<Counts>);

// Only numbers: what they count is published by the queues that carry it.
#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    peers: AtomicU64,
    reports: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ApplyBacklog {
    /// (last index, bytes) of each task.
    tasks: VecDeque<(LogIndex, u64)>,
    bytes: u64,
    backlog: StoreBacklog,
    limits: Limits,
    /// Reports to all peers of the store at the last tick.
    reports: u64,
}

impl ApplyBacklog {
    /// Nothing handed over by a peer of the store with this backlog.
    #[must_use]
    pub(crate) fn new(backlog: StoreBacklog, limits: Limits) -> Self {
        backlog.0.peers.fetch_add(1, Ordering::Relaxed);
        Self { tasks: VecDeque::new(), bytes: 0, backlog, limits, reports: 0 }
    }

    /// Counts a task's entries.
    pub(crate) fn add(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        let bytes = entries.iter().map(|entry| (entry.data.len() + entry.context.len()) as u64).sum();
        assert!(self.tasks.back().is_none_or(|task| task.0.get() < last.index), "tasks follow each other");
        self.tasks.push_back((LogIndex(last.index), bytes));
        self.bytes += bytes;
        self.backlog.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Forgets the tasks that are applied as a whole.
    pub(crate) fn report(&mut self, applied: LogIndex) {
        self.backlog.0.reports.fetch_add(1, Ordering::Relaxed);
        while let Some(&(last, bytes)) = self.tasks.front()
            && last <= applied
        {
            self.bytes -= bytes;
            self.backlog.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.tasks.pop_front();
        }
        assert!(!self.tasks.is_empty() || self.bytes == 0, "what is applied is not counted");
    }

    /// True when something waits for the applier: entries of this region, or room for them while no region made
    /// progress since the last tick. To be asked once a tick.
    pub(crate) fn waits(&mut self) -> bool {
        let reports = self.backlog.0.reports.load(Ordering::Relaxed);
        let others_moved = std::mem::replace(&mut self.reports, reports) != reports;
        !self.tasks.is_empty() || (self.is_full() && !others_moved)
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, applied: LogIndex) {
        assert!(self.tasks.iter().is_sorted_by(|one, next| one.0 < next.0), "tasks follow each other");
        assert!(self.tasks.front().is_none_or(|(last, _)| *last > applied), "what is applied is forgotten");
        let bytes: u64 = self.tasks.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(self.bytes, bytes, "what waits is counted");
        let Counts { bytes: all, peers, .. } = &*self.backlog.0;
        assert!(self.bytes <= all.load(Ordering::Relaxed), "the store counts it too");
        assert!(peers.load(Ordering::Relaxed) > 0, "this peer is one of the store's");
    }

    /// How many tasks are not applied as a whole.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// True when the applier has more to do than may be added to.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        let (peers, bound) = (&self.backlog.0.peers, self.limits.store_backlog_bytes);
        let has_share = self.bytes > bound / peers.load(Ordering::Relaxed).max(1);
        self.bytes > self.limits.backlog_bytes
            || (self.is_store_full() && has_share)
            || self.is_full_for_all()
    }

    /// True when there is so much to do that no peer of the store may add to it.
    #[must_use]
    pub(crate) fn is_full_for_all(&self) -> bool {
        self.backlog.0.bytes.load(Ordering::Relaxed) > 2 * self.limits.store_backlog_bytes
    }

    /// True when a leader's appends are to wait until the applier has done more.
    #[must_use]
    pub(crate) fn is_enough(&self) -> bool {
        self.bytes > self.limits.applying_bytes || self.is_full()
    }

    /// True when the applier has more to do for all regions together than it should.
    #[must_use]
    pub(crate) fn is_store_full(&self) -> bool {
        self.backlog.0.bytes.load(Ordering::Relaxed) > self.limits.store_backlog_bytes
    }
}

impl Drop for ApplyBacklog {
    fn drop(&mut self) {
        self.backlog.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.backlog.0.peers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, bytes: usize) -> Entry {
        Entry { index, data: vec![0; bytes].into(), ..Entry::default() }
    }

    /// So many peers of one store.
    fn peers<const N: usize>() -> [ApplyBacklog; N] {
        let backlog = StoreBacklog::default();
        let limits = Limits { backlog_bytes: 300, store_backlog_bytes: 400, ..Limits::default() };
        [(); N].map(|()| ApplyBacklog::new(backlog.clone(), limits))
    }

    #[test]
    fn a_task_counts_until_its_last_entry_is_applied() {
        let [mut backlog] = peers();
        backlog.add(&[entry(1, 10), entry(2, 10)]);
        backlog.add(&[entry(3, 10)]);

        backlog.report(LogIndex(1));
        assert_eq!(backlog.bytes, 30);
        backlog.report(LogIndex(2));
        assert_eq!(backlog.bytes, 10);
        backlog.report(LogIndex(3));
        assert_eq!(backlog.bytes, 0);
    }

    #[test]
    fn a_region_has_a_bound_of_its_own() {
        let [mut one, two] = peers();

        one.add(&[entry(1, 300)]);
        assert!(!one.is_full());
        one.add(&[entry(2, 1)]);

        assert!(one.is_full() && !two.is_full());
    }

    #[test]
    fn the_peers_of_a_store_share_a_bound_to_which_those_are_held_that_have_their_share() {
        let [mut one, mut two, mut small, idle] = peers();
        one.add(&[entry(1, 250)]);
        two.add(&[entry(1, 150)]);
        assert!(!one.is_full() && !two.is_full(), "400 bytes");

        small.add(&[entry(1, 100)]);
        assert!(one.is_full() && two.is_full(), "500 bytes, of which each has more than 100");
        assert!(!small.is_full() && !idle.is_full(), "100 bytes and none");

        drop(one);
        assert!(!two.is_full(), "250 bytes");
    }

    #[test]
    fn a_region_that_may_not_add_to_a_backlog_waits_while_that_stands_still() {
        let [mut one, mut idle] = peers();
        one.add(&[entry(1, 500), entry(2, 500)]);
        assert!(one.waits() && idle.waits());

        one.report(LogIndex(1));
        assert!(!idle.waits(), "the applier moves");
        assert!(idle.waits(), "it did not move since");

        one.report(LogIndex(2));
        assert!(!one.waits() && !idle.waits());
    }

    #[test]
    fn nobody_adds_to_twice_the_bound() {
        let [mut one, two, idle] = peers();

        one.add(&[entry(1, 801)]);

        assert!(two.is_full() && idle.is_full());
    }
}
