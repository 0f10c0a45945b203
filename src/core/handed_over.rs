//! What the applier has and has not reported back.
//!
//! Owns the count of bytes between a peer and its applier, and the count over all peers of a store, by which a member
//! whose engine is slow stops taking entries instead of collecting them. What always holds: what is counted is taken
//! back, when it is applied or with its peer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft::eraftpb::Entry;

use crate::types::LogIndex;

/// Bytes of committed entries that may wait for the applier before a peer takes no more from its leader.
const REGION_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The same for all peers of a store together.
const STORE_BYTES_MAX: u64 = 2 * REGION_BYTES_MAX;

/// Bytes that all peers of one store have handed over. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Backlog(Arc<AtomicU64>);

/// See the module.
#[derive(Debug)]
pub struct HandedOver {
    /// (last index, bytes) of each task.
    tasks: VecDeque<(LogIndex, u64)>,
    bytes: u64,
    backlog: Backlog,
}

impl HandedOver {
    /// Nothing handed over by a peer of the store with this backlog.
    #[must_use]
    pub fn new(backlog: Backlog) -> Self {
        Self { tasks: VecDeque::new(), bytes: 0, backlog }
    }

    /// Counts a task's entries.
    pub fn add(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        self.tasks.push_back((LogIndex(last.index), bytes));
        self.bytes += bytes;
        // Only a number: what it counts is published by the queues that carry it.
        self.backlog.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Forgets the tasks that are applied as a whole.
    pub fn report(&mut self, applied: LogIndex) {
        while let Some(&(last, bytes)) = self.tasks.front()
            && last <= applied
        {
            self.bytes -= bytes;
            self.backlog.0.fetch_sub(bytes, Ordering::Relaxed);
            self.tasks.pop_front();
        }
    }

    /// True when the applier has more to do than may be added to.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes > REGION_BYTES_MAX || self.backlog.0.load(Ordering::Relaxed) > STORE_BYTES_MAX
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        self.backlog.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_counts_until_its_last_entry_is_applied() {
        let entry = |index| Entry { index, data: vec![0; 10].into(), ..Entry::default() };
        let mut handed_over = HandedOver::new(Backlog::default());
        handed_over.add(&[entry(1), entry(2)]);
        handed_over.add(&[entry(3)]);

        handed_over.report(LogIndex(1));
        assert_eq!(handed_over.bytes, 30);
        handed_over.report(LogIndex(2));
        assert_eq!(handed_over.bytes, 10);
        handed_over.report(LogIndex(3));
        assert_eq!(handed_over.bytes, 0);
    }

    #[test]
    fn the_peers_of_a_store_share_one_bound() {
        let large = |index| Entry { index, data: vec![0; 30 << 20].into(), ..Entry::default() };
        let backlog = Backlog::default();
        let [mut one, mut two, three] = [(); 3].map(|()| HandedOver::new(backlog.clone()));
        one.add(&[large(1), large(2)]);
        two.add(&[large(1), large(2)]);
        assert!(!one.is_full() && !three.is_full(), "120 MiB");

        two.add(&[large(3)]);
        assert!(one.is_full() && three.is_full(), "150 MiB");
        drop(one);
        assert!(!three.is_full() && two.is_full(), "90 MiB, all of one region");
    }
}
