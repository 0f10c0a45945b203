//! The state machines of all regions of a store, round robin.
//!
//! Owns which region fills the next engine batch. What always holds: regions with entries that wait stand in a queue,
//! each once; a batch is filled from its front, with an equal share for every region that is still to come; a region
//! that has more than its share yields: it goes to the end of the queue, keeps its rest, and takes it before anything
//! newer. So a region with little to apply waits for one batch at most while the shares have room for it, and for one
//! batch a region before it where single entries fill whole batches. How large a batch may be, and when to stop for
//! others, is the driver's business: it has a clock.

use std::collections::{BTreeMap, VecDeque};

use crate::completion::Completion;
use crate::core::applier::{Applier, ApplyBatch, ApplyTask, Progress, Slice};
use crate::core::stored::Stored;
use crate::error::Result;
use crate::types::RegionId;

/// See the module.
#[derive(Debug)]
pub(crate) struct Appliers {
    by_region: BTreeMap<RegionId, Applier>,
    /// Regions with entries that wait.
    waiting: VecDeque<RegionId>,
}

impl Appliers {
    /// Nothing waits but what these have been handed.
    #[must_use]
    pub(crate) fn new(by_region: BTreeMap<RegionId, Applier>) -> Self {
        let waits = by_region.iter().filter(|(_, applier)| applier.backlog() > 0);
        let waiting = waits.map(|(region, _)| *region).collect();
        Self { by_region, waiting }
    }

    /// Takes over committed entries; they wait behind those of their region that are already here.
    pub(crate) fn queue(&mut self, tasks: impl IntoIterator<Item = ApplyTask>) {
        for task in tasks {
            let (region, applier) = (task.region, self.by_region.get_mut(&task.region));
            let applier = applier.expect("a peer has an applier for as long as it lives");
            let waited = applier.backlog() > 0;
            applier.queue(task);
            if !waited && applier.backlog() > 0 {
                self.waiting.push_back(region);
            }
        }
    }

    /// True when entries wait.
    #[must_use]
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next engine batch, about as large as `slice`; none when nothing waits. `stored` are the data after the batch
    /// before, which must be in the engine.
    ///
    /// # Errors
    /// Those of [`Applier::fill`].
    pub(crate) fn next_batch(&mut self, slice: Slice, stored: &dyn Stored) -> Result<Option<ApplyBatch>> {
        let mut batch = ApplyBatch::default();
        let mut postponed = Vec::new();
        for others in (0..self.waiting.len()).rev() {
            let left = slice.left_by(&batch);
            if left.is_used_up() {
                break;
            }
            let region = self.waiting.pop_front().expect("counted above");
            let applier = self.by_region.get_mut(&region).expect("it has entries");
            match applier.fill(&mut batch, left.share(others + 1), stored)? {
                Progress::Idle => {}
                Progress::Yielded => self.waiting.push_back(region),
                Progress::Postponed => postponed.push(region),
            }
        }
        // In front, and so into an empty batch: behind the others it could wait for ever.
        postponed.into_iter().rev().for_each(|region| self.waiting.push_front(region));
        assert!(batch.states.len() <= self.by_region.len(), "a region has one share of a batch");
        assert_eq!(batch.states.len(), batch.reports.len(), "whoever moved on reports it");
        #[cfg(any(test, feature = "simulation"))]
        self.check_invariants();
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        let waits =
            |region: &RegionId| self.by_region.get(region).is_some_and(|applier| applier.backlog() > 0);
        assert!(self.waiting.iter().all(waits), "who stands in the queue has entries that wait");
        let count = self.by_region.keys().filter(|region| waits(region)).count();
        assert_eq!(self.waiting.len(), count, "who has entries that wait stands in the queue, once");
    }

    /// Gives back every caller that waits, to be answered. The appliers are of no use afterwards.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Completion> {
        self.waiting.clear();
        self.by_region.values_mut().flat_map(Applier::abandon)
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;
    use crate::core::command::{CommandBuilder, Operation, seal_group};
    use crate::core::digest::RangeDigest;
    use crate::core::forwarding::Origin;
    use crate::core::judge::NoData;
    use crate::core::region::Region;
    use crate::types::{ApplyState, BOOTSTRAP_EPOCH, BOOTSTRAP_INDEX, NEWEST_LEVEL, NodeId};

    const LARGE: RegionId = RegionId(1);
    const SMALL: RegionId = RegionId(2);
    const SLICE: Slice = Slice { entries: 100, bytes: 1 << 20, operations: 100 };

    fn appliers(regions: u64) -> Appliers {
        let applier = |id| {
            let region = Region { id, ..Region::bootstrap(&[NodeId(1)]) };
            let origin = Origin { node: NodeId(1), boot: 42 };
            (id, Applier::new(origin, NEWEST_LEVEL, region, ApplyState::BOOTSTRAP))
        };
        Appliers::new((1..=regions).map(RegionId).map(applier).collect())
    }

    /// `count` entries of so many operations behind the first `before`.
    fn task(region: RegionId, before: u64, count: u64, operations: u32) -> ApplyTask {
        let mut builder = CommandBuilder::default();
        (0..operations).for_each(|_| builder.push(Operation::Put { key: b"", value: b"" }));
        let data = builder.seal(BOOTSTRAP_EPOCH.version);
        let first = BOOTSTRAP_INDEX.get() + before + 1;
        let entry = |index| Entry { term: 6, index, data: data.clone(), ..Entry::default() };
        ApplyTask { entries: (first..first + count).map(entry).collect(), ..ApplyTask::of(region) }
    }

    /// How far the next batch brings a region, if it does.
    fn next(appliers: &mut Appliers, slice: Slice) -> BTreeMap<RegionId, u64> {
        let batch = appliers.next_batch(slice, &NoData).expect("readable").unwrap_or_default();
        let applied = |state: ApplyState| state.index.get() - BOOTSTRAP_INDEX.get();
        batch.states.into_iter().map(|(region, state)| (region, applied(state))).collect()
    }

    #[test]
    fn a_backlog_of_a_million_entries_delays_another_region_by_one_batch_at_most() {
        let mut appliers = appliers(2);
        appliers.queue([task(LARGE, 0, 1_000_000, 1)]);
        assert_eq!(next(&mut appliers, SLICE), [(LARGE, 100)].into());

        appliers.queue([task(SMALL, 0, 1, 1)]);

        assert_eq!(next(&mut appliers, SLICE), [(LARGE, 150), (SMALL, 1)].into());
        assert_eq!(next(&mut appliers, SLICE), [(LARGE, 250)].into());
    }

    #[test]
    fn the_rest_of_a_slice_goes_before_anything_newer() {
        let mut appliers = appliers(1);
        appliers.queue([task(LARGE, 0, 3, 1)]);
        let slice = Slice { entries: 2, ..SLICE };
        assert_eq!(next(&mut appliers, slice), [(LARGE, 2)].into());

        // The applier asserts that no entry overtakes.
        appliers.queue([task(LARGE, 3, 1, 1)]);

        assert_eq!(next(&mut appliers, slice), [(LARGE, 4)].into());
        assert!(!appliers.has_more());
        assert!(next(&mut appliers, slice).is_empty());
    }

    #[test]
    fn regions_share_a_batch_evenly_in_each_of_its_bounds() {
        let bytes = task(LARGE, 0, 1, 2).entries[0].data.len();
        let bounds = [
            Slice { entries: 6, ..SLICE },
            Slice { bytes: 6 * bytes, ..SLICE },
            Slice { operations: 12, ..SLICE },
        ];
        for slice in bounds {
            let mut appliers = appliers(2);
            appliers.queue([task(LARGE, 0, 10, 2), task(SMALL, 0, 10, 2)]);

            assert_eq!(next(&mut appliers, slice), [(LARGE, 3), (SMALL, 3)].into(), "{slice:?}");
        }
    }

    #[test]
    fn what_a_region_leaves_of_its_share_goes_to_those_behind_it() {
        let mut appliers = appliers(2);
        appliers.queue([task(SMALL, 0, 1, 1), task(LARGE, 0, 1_000, 1)]);

        assert_eq!(next(&mut appliers, SLICE), [(SMALL, 1), (LARGE, 99)].into());
    }

    #[test]
    fn where_single_entries_fill_batches_each_region_has_its_turn() {
        let mut appliers = appliers(3);
        appliers.queue((1..=3).map(|region| task(RegionId(region), 0, 2, 1_000)));

        let batches: Vec<_> = (0..6).map(|_| next(&mut appliers, SLICE)).collect();

        let expected = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2)];
        assert_eq!(batches, expected.map(|(region, applied)| [(RegionId(region), applied)].into()));
        assert!(!appliers.has_more());
    }

    #[test]
    fn a_region_whose_conditions_need_a_batch_of_their_own_is_not_kept_waiting() {
        let mut appliers = appliers(2);
        let mut judged = task(SMALL, 0, 1, 1);
        let mut builder = CommandBuilder::default();
        builder.push(Operation::IfAbsent { key: b"" });
        judged.entries[0].data = builder.seal(BOOTSTRAP_EPOCH.version);
        // The other region fills every batch, and always comes first.
        appliers.queue([task(LARGE, 0, 1_000, 70), judged]);

        let batches: Vec<_> = (0..3).map(|_| next(&mut appliers, SLICE)).collect();

        let expected = [vec![(LARGE, 1)], vec![(SMALL, 1), (LARGE, 3)], vec![(LARGE, 5)]];
        assert_eq!(batches, expected.map(|batch| batch.into_iter().collect()));
    }

    #[test]
    fn a_condition_that_declares_more_than_there_can_be_fills_its_batch_and_no_more() {
        let seen = RangeDigest { digest: [0; 16], keys: u64::MAX, bytes: u64::MAX };
        let mut appliers = appliers(1);
        let mut judged = task(LARGE, 0, 2, 1);
        for entry in &mut judged.entries {
            let mut builder = CommandBuilder::default();
            builder.push(Operation::IfRange { begin: b"", end: b"", seen: &seen.encode() });
            let write = builder.seal(BOOTSTRAP_EPOCH.version);
            entry.data = seal_group([write.clone(), write].iter());
        }
        appliers.queue([judged]);

        let batches: Vec<_> = (0..2).map(|_| next(&mut appliers, SLICE)).collect();

        assert_eq!(batches, [[(LARGE, 1)].into(), [(LARGE, 2)].into()]);
    }
}
