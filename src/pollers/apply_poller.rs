//! Who applies committed entries.
//!
//! Owns the appliers of all regions and the thread "almadia-apply". One round takes a slice of every region that has
//! something, writes all of it in one engine batch, reports to the peers, and answers. The thread does it, or whoever
//! hands over little while nobody is at work ([`ApplyPoller::take_over`]): the wake-up it saves costs more. What always
//! holds: one thread applies at a time; the answers come after the engine write and the report, and in log order; a
//! region whose slice is used up waits for its next turn behind the others, and its rest goes before anything newer;
//! after an error nothing is applied any more and every caller still waiting is told "unknown".

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::completion_queue::CompletionQueue;
use crate::core::applier::{Applier, ApplyBatch, ApplyTask, Progress, Slice};
use crate::core::input::Input;
use crate::core::lease::PublishedLease;
use crate::error::{Code, Error, Outcome, Result};
use crate::pollers::health::{Health, in_flight_at};
use crate::pollers::mailbox::Mailbox;
use crate::storage::engine::Engine;
use crate::types::RegionId;
use crate::{panics, thread};

/// What one region may take of one engine batch: large enough that a batch costs little an entry, small enough
/// that another region waits a few milliseconds at most.
const SLICE: Slice = Slice { entries: 4096, bytes: 1024 * 1024 };
/// The slice on a disk or machine so slow that a round takes longer than [`ROUND_MAX`].
const SLICE_MIN: Slice = Slice { entries: 64, bytes: 16 * 1024 };
/// A round that takes longer halves the slice of the next ones.
const ROUND_MAX: Duration = Duration::from_millis(20);
/// So many bytes are applied by whoever hands them over.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// See the module.
pub struct ApplyPoller {
    /// Where committed entries come from.
    pub tasks: Arc<Mailbox<ApplyTask>>,
    /// Where reports go.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
    /// The raft poller waits for a report.
    pub reports_awaited: Arc<AtomicBool>,
    /// Where answers with callbacks go.
    pub completions: Arc<CompletionQueue>,
    /// Where the data goes.
    pub engine: Engine,
    /// Where failures go.
    pub health: Arc<Health>,
    /// Where callers look up how far a region is applied.
    pub published: BTreeMap<RegionId, Arc<PublishedLease>>,
    /// What belongs to whoever applies.
    pub state: Mutex<Applying>,
}

/// What belongs to whoever applies.
pub struct Applying {
    appliers: BTreeMap<RegionId, Applier>,
    /// Regions with entries that wait.
    backlog: BTreeSet<RegionId>,
    /// What the engine did not take at once.
    held_back: Option<ApplyBatch>,
    slice: Slice,
}

impl Applying {
    /// Nothing to do yet.
    #[must_use]
    pub fn new(appliers: BTreeMap<RegionId, Applier>) -> Self {
        Self { appliers, backlog: BTreeSet::new(), held_back: None, slice: SLICE }
    }

    fn queue(&mut self, tasks: impl IntoIterator<Item = ApplyTask>) {
        for task in tasks {
            self.backlog.insert(task.region);
            let applier = self.appliers.get_mut(&task.region);
            applier.expect("a peer has an applier from its first turn to its last").queue(task);
        }
    }

    /// One slice of every region that has something.
    fn next_batch(&mut self) -> Result<Option<ApplyBatch>> {
        if let Some(batch) = self.held_back.take() {
            return Ok(Some(batch));
        }
        let mut batch = ApplyBatch::default();
        for region in std::mem::take(&mut self.backlog) {
            let applier = self.appliers.get_mut(&region).expect("it has a backlog");
            if applier.fill(&mut batch, self.slice)? == Progress::Yielded {
                self.backlog.insert(region);
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    fn has_more(&self) -> bool {
        !self.backlog.is_empty() || self.held_back.is_some()
    }

    /// Regions share a round's time as they share its bytes.
    fn adapt_slice(&mut self, took: Duration) {
        let Slice { entries, bytes } = self.slice;
        self.slice = if took > ROUND_MAX {
            Slice { entries: (entries / 2).max(SLICE_MIN.entries), bytes: (bytes / 2).max(SLICE_MIN.bytes) }
        } else {
            Slice { entries: (entries * 2).min(SLICE.entries), bytes: (bytes * 2).min(SLICE.bytes) }
        };
    }
}

impl ApplyPoller {
    /// Starts the thread; it ends when the mailbox is closed, and answers "unknown" to what it has not applied.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let poller = Arc::clone(self);
        thread::spawn("almadia-apply", move || {
            if let Err(error) = panics::catch(|| poller.run()) {
                poller.fail(error);
            }
        })
    }

    /// Takes over committed entries: applies them on this thread if they are few and nobody is at work, else leaves
    /// them to the poller's thread. Never waits for the engine.
    pub fn take_over(&self, tasks: impl ExactSizeIterator<Item = ApplyTask>) {
        if tasks.len() == 0 {
            return;
        }
        let tasks: Vec<_> = tasks.collect();
        let bytes = tasks.iter().flat_map(|task| &task.entries).map(|entry| entry.data.len()).sum::<usize>();
        match self.enter() {
            Some(state) if bytes <= INLINE_BYTES_MAX => self.apply_now(state, tasks),
            _ => self.tasks.push_all(tasks),
        }
    }

    /// The appliers, if nobody is at work on them and nothing waits.
    fn enter(&self) -> Option<MutexGuard<'_, Applying>> {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let idle = !state.has_more() && !self.tasks.is_loud() && self.health.poisoned().is_none();
        idle.then_some(state)
    }

    fn apply_now(&self, mut state: MutexGuard<'_, Applying>, tasks: Vec<ApplyTask>) {
        let applied = panics::catch(|| {
            state.queue(tasks);
            #[cfg(test)]
            thread::planted::meet(thread::planted::Place::Apply);
            let Some(batch) = state.next_batch()? else { return Ok(()) };
            if self.engine.try_write(&batch)? {
                self.tell(batch);
            } else {
                state.held_back = Some(batch);
            }
            Ok(())
        });
        let more = state.has_more();
        drop(state);
        if let Err(error) = applied {
            self.health.poison(error);
            self.tasks.nudge();
        } else if more {
            self.tasks.nudge();
        }
    }

    fn run(&self) -> Result<()> {
        let mut patience = Duration::MAX;
        loop {
            let open = self.tasks.wait(patience);
            let mut state = self.lock();
            let mut taken = Vec::new();
            self.tasks.take(&mut taken);
            #[cfg(test)]
            thread::planted::meet(thread::planted::Place::Loop);
            state.queue(taken);
            if let Some(cause) = self.health.poisoned().cloned() {
                // The rest of the store is dead; applying on would answer "ok" beside its "unknown".
                return Err(cause);
            }
            if !open {
                // The rest is in the raft log and is applied at the next start.
                abandon(&mut state, &Error::new(Code::ShutdownInFlight));
                return Ok(());
            }
            self.round(&mut state)?;
            patience = if state.has_more() { Duration::ZERO } else { Duration::MAX };
        }
    }

    fn round(&self, state: &mut Applying) -> Result<()> {
        let begun = Instant::now();
        let Some(batch) = state.next_batch()? else { return Ok(()) };
        #[cfg(test)]
        thread::planted::meet(thread::planted::Place::Apply);
        self.engine.write(&batch)?;
        self.tell(batch);
        state.adapt_slice(begun.elapsed());
        Ok(())
    }

    /// Tells everyone what is in the engine now.
    fn tell(&self, batch: ApplyBatch) {
        let ApplyBatch { answers, reports, states, .. } = batch;
        for (region, state) in &states {
            if let Some(published) = self.published.get(region) {
                published.advance(state.index);
            }
        }
        // The peer must know before any caller does: a read that a caller starts after its answer, here or through
        // a follower, reaches the peer behind this report and so is never confirmed for an older applied index.
        self.raft.push_quietly(reports.into_iter().map(|report| (report.region, Input::Applied(report))));
        // Nobody but a waiting read and a new leader is in a hurry to learn it, and a wake-up costs more than the
        // report. Looked at after the push: whoever begins to wait later finds the report before it falls asleep.
        if self.reports_awaited.load(Ordering::SeqCst) {
            self.raft.nudge();
        }
        self.completions.burst(answers);
    }

    /// The batch that failed may or may not be in the engine; its answers were dropped, which says "unknown".
    fn fail(&self, error: Error) {
        let unknown = in_flight_at(&error);
        self.health.poison(error);
        // So that the raft poller answers its own callers now and not at its next tick.
        self.raft.nudge();
        let mut state = self.lock();
        abandon(&mut state, &unknown);
        let mut taken = Vec::new();
        while self.tasks.wait(Duration::MAX) {
            self.tasks.take(&mut taken);
            state.queue(taken.drain(..));
            abandon(&mut state, &unknown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Applying> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn abandon(state: &mut Applying, unknown: &Error) {
    debug_assert!(unknown.outcome() == Outcome::Unknown, "what is committed may be applied by others");
    let held_back = state.held_back.take().into_iter().flat_map(|batch| batch.answers);
    let waiting = state.appliers.values_mut().flat_map(Applier::abandon);
    let completions = held_back.map(|(completion, _)| completion).chain(waiting);
    completions.for_each(|completion| completion.answer(Err(unknown.clone())));
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;
    use crate::core::command::{CommandBuilder, Operation};
    use crate::core::planted::Planted;
    use crate::core::region::Region;
    use crate::types::{ApplyState, BOOTSTRAP_EPOCH, BOOTSTRAP_INDEX, NodeId};

    const LARGE: RegionId = RegionId(1);
    const SMALL: RegionId = RegionId(2);

    fn two_regions() -> Applying {
        let region = |id| Region { id, ..Region::bootstrap(&[NodeId(1)]) };
        let applier = |id| (id, Applier::new(region(id), ApplyState::BOOTSTRAP, Planted::NONE));
        Applying::new(BTreeMap::from([applier(LARGE), applier(SMALL)]))
    }

    /// `count` entries behind the first `before`.
    fn task(region: RegionId, before: u64, count: u64) -> ApplyTask {
        let mut builder = CommandBuilder::default();
        builder.push(Operation::Put { key: b"k", value: b"v" });
        let data = builder.seal(BOOTSTRAP_EPOCH.version);
        let first = BOOTSTRAP_INDEX.get() + before + 1;
        let entry = |index| Entry { term: 6, index, data: data.clone(), ..Entry::default() };
        ApplyTask { region, entries: (first..first + count).map(entry).collect(), proposals: Vec::new() }
    }

    fn applied(batch: &ApplyBatch, region: RegionId) -> Option<u64> {
        let state = batch.states.iter().find(|(id, _)| *id == region);
        state.map(|(_, state)| state.index.get() - BOOTSTRAP_INDEX.get())
    }

    #[test]
    fn a_backlog_of_a_million_entries_delays_another_region_by_one_slice_at_most() {
        let mut applying = two_regions();
        applying.queue([task(LARGE, 0, 1_000_000)]);
        let first = applying.next_batch().expect("readable").expect("a slice");
        applying.queue([task(SMALL, 0, 1)]);

        let second = applying.next_batch().expect("readable").expect("a slice of both");

        assert_eq!(applied(&first, LARGE), Some(SLICE.entries as u64));
        assert_eq!(applied(&second, LARGE), Some(2 * SLICE.entries as u64));
        assert_eq!(applied(&second, SMALL), Some(1));
        assert!(applying.has_more());
    }

    #[test]
    fn the_rest_of_a_slice_goes_before_anything_newer() {
        let mut applying = two_regions();
        applying.slice = Slice { entries: 2, ..SLICE };
        applying.queue([task(LARGE, 0, 3)]);
        assert_eq!(
            applying.next_batch().expect("readable").and_then(|batch| applied(&batch, LARGE)),
            Some(2)
        );

        // The applier asserts that no entry overtakes.
        applying.queue([task(LARGE, 3, 1)]);

        assert_eq!(
            applying.next_batch().expect("readable").and_then(|batch| applied(&batch, LARGE)),
            Some(4)
        );
        assert!(!applying.has_more());
        assert!(applying.next_batch().expect("readable").is_none());
    }

    #[test]
    fn a_region_that_fills_its_share_leaves_the_others_theirs() {
        let mut applying = two_regions();
        let bytes = task(LARGE, 0, 1).entries[0].data.len();
        applying.slice = Slice { entries: 100, bytes: 3 * bytes };
        applying.queue([task(LARGE, 0, 10), task(SMALL, 0, 10)]);

        let batch = applying.next_batch().expect("readable").expect("a slice of both");

        assert_eq!((applied(&batch, LARGE), applied(&batch, SMALL)), (Some(3), Some(3)));
    }

    /// An entry with so many operations, of three bytes each.
    fn wide_task(region: RegionId, before: u64, operations: u32) -> ApplyTask {
        let mut builder = CommandBuilder::default();
        (0..operations).for_each(|_| builder.push(Operation::Put { key: b"", value: b"" }));
        let data = builder.seal(BOOTSTRAP_EPOCH.version);
        let mut task = task(region, before, 1);
        task.entries[0].data = data;
        task
    }

    fn operations(batch: &ApplyBatch) -> usize {
        batch.writes.iter().map(|write| write.operations().count()).sum()
    }

    #[test]
    fn operations_without_bytes_fill_a_commit_too() {
        let mut applying = two_regions();
        applying.queue((0..20).map(|before| wide_task(LARGE, before, 16_000)));

        let batch = applying.next_batch().expect("readable").expect("some of them");

        assert!(operations(&batch) <= 2 * 16_000, "{} operations in one commit", operations(&batch));
    }

    #[test]
    fn a_commit_is_no_larger_for_a_thousand_regions() {
        let regions = || (1..=1_000).map(RegionId);
        let applier = |id| {
            let region = Region { id, ..Region::bootstrap(&[NodeId(1)]) };
            (id, Applier::new(region, ApplyState::BOOTSTRAP, Planted::NONE))
        };
        let mut applying = Applying::new(regions().map(applier).collect());
        applying.queue(regions().map(|region| wide_task(region, 0, 10_000)));

        let batch = applying.next_batch().expect("readable").expect("some of them");

        assert!(operations(&batch) <= 2 * 16_000, "{} operations in one commit", operations(&batch));
    }

    #[test]
    fn rounds_that_take_long_make_smaller_slices_and_quick_ones_larger() {
        let mut applying = two_regions();

        (0..20).for_each(|_| applying.adapt_slice(ROUND_MAX * 2));
        assert_eq!((applying.slice.entries, applying.slice.bytes), (SLICE_MIN.entries, SLICE_MIN.bytes));

        (0..20).for_each(|_| applying.adapt_slice(ROUND_MAX / 2));
        assert_eq!((applying.slice.entries, applying.slice.bytes), (SLICE.entries, SLICE.bytes));
    }
}
