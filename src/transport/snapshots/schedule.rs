//! Which raft snapshots are sent now, and which wait.
//!
//! Owns the queue of sendings. No lock, no thread and no socket. What always holds: at most [`RUNNING_MAX`] run, and one
//! for each region of a member; at most one more for it waits, so the queue is as long as there are such regions; and
//! nothing begins once the schedule is closed. Each sending that is given to it is given back once: to be run, or because
//! it never will be.

use std::collections::VecDeque;

use crate::types::{NodeId, RegionId};

/// So many raft snapshots are sent at a time, and as many received: each takes memory, a thread and a share of the disk.
pub(super) const RUNNING_MAX: usize = 2;

/// Whom a raft snapshot is for, or from, and of which region it is.
pub(super) type Way = (NodeId, RegionId);

/// See the head of this file.
pub(super) struct Schedule<T> {
    waiting: VecDeque<(Way, T)>,
    running: Vec<Way>,
    is_closed: bool,
}

impl<T> Schedule<T> {
    /// Nothing runs, nothing waits.
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), running: Vec::new(), is_closed: false }
    }

    /// Adds a sending. Returns one that is never run: the older one that waited for the same way, whose place it takes,
    /// or this one once closed.
    pub(super) fn push(&mut self, way: Way, sending: T) -> Option<T> {
        if self.is_closed {
            return Some(sending);
        }
        if let Some((_, older)) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == way) {
            return Some(std::mem::replace(older, sending));
        }
        self.waiting.push_back((way, sending));
        None
    }

    /// The next sending to run, if one may; it counts as running until it has [`ended`](Self::ended).
    pub(super) fn start(&mut self) -> Option<(Way, T)> {
        if self.running.len() >= RUNNING_MAX {
            return None;
        }
        let at = self.waiting.iter().position(|(way, _)| !self.running.contains(way))?;
        let next = self.waiting.remove(at)?;
        self.running.push(next.0);
        Some(next)
    }

    /// A sending has ended.
    pub(super) fn ended(&mut self, way: Way) {
        let at = self.running.iter().position(|running| *running == way);
        self.running.swap_remove(at.expect("it was started"));
    }

    /// Returns what waited for `node`, which is not run.
    pub(super) fn forget(&mut self, node: NodeId) -> Vec<T> {
        let (gone, waiting) = self.waiting.drain(..).partition::<Vec<_>, _>(|((to, _), _)| *to == node);
        self.waiting = waiting.into();
        gone.into_iter().map(|(_, sending)| sending).collect()
    }

    /// Starts nothing any more. Returns what waited.
    pub(super) fn close(&mut self) -> Vec<T> {
        self.is_closed = true;
        self.waiting.drain(..).map(|(_, sending)| sending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(node: u64, region: u64) -> Way {
        (NodeId(node), RegionId(region))
    }

    #[test]
    fn two_run_at_a_time_in_the_order_in_which_they_came() {
        let mut schedule = Schedule::new();
        for node in 1..=4 {
            assert_eq!(schedule.push(way(node, 1), node), None);
        }

        assert_eq!([schedule.start(), schedule.start()].map(|next| next.expect("a place").1), [1, 2]);
        assert_eq!(schedule.start(), None);
        schedule.ended(way(2, 1));
        assert_eq!(schedule.start(), Some((way(3, 1), 3)));
        assert_eq!(schedule.start(), None);
    }

    #[test]
    fn one_runs_for_a_region_of_a_member_and_the_newest_waits() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.push(way(1, 1), 'a'), None);
        assert_eq!(schedule.start(), Some((way(1, 1), 'a')));

        assert_eq!(schedule.push(way(1, 1), 'b'), None);
        assert_eq!(schedule.push(way(1, 1), 'c'), Some('b'), "never run");
        assert_eq!(schedule.start(), None);
        assert_eq!(schedule.push(way(1, 2), 'd'), None);
        assert_eq!(schedule.start(), Some((way(1, 2), 'd')), "another region is not held up");

        schedule.ended(way(1, 1));
        assert_eq!(schedule.start(), Some((way(1, 1), 'c')));
    }

    #[test]
    fn what_waits_for_a_member_that_is_gone_is_given_back() {
        let mut schedule = Schedule::new();
        for (node, region) in [(1, 1), (1, 2), (2, 1), (1, 3)] {
            schedule.push(way(node, region), (node, region));
        }
        schedule.start();

        assert_eq!(schedule.forget(NodeId(1)), [(1, 2), (1, 3)]);

        schedule.ended(way(1, 1));
        assert_eq!(schedule.start(), Some((way(2, 1), (2, 1))));
        assert_eq!(schedule.start(), None);
    }

    #[test]
    fn nothing_starts_once_it_is_closed() {
        let mut schedule = Schedule::new();
        schedule.push(way(1, 1), 1);
        schedule.start();
        schedule.push(way(2, 1), 2);
        schedule.push(way(3, 1), 3);

        assert_eq!(schedule.close(), [2, 3]);

        assert_eq!(schedule.push(way(4, 1), 4), Some(4));
        schedule.ended(way(1, 1));
        assert_eq!(schedule.start(), None);
        assert!(schedule.close().is_empty());
    }
}
