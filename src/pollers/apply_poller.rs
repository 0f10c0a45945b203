//! Applies committed entries.
//!
//! Owns the appliers of all regions, the thread "almadia-apply", and the time a round may take. A round is a sequence
//! of engine commits: each takes a slice of the waiting entries, alternating between regions ([`Appliers`]), writes
//! it as one engine batch, reports it to the peers, and answers the callers. The round yields after the commit that
//! uses up its time, or before the next one if newer work arrived; unapplied entries stay with their region and are
//! applied before newer ones. The thread runs the round; but if no thread is applying, a thread that hands over
//! little work applies it itself ([`ApplyPoller::take_over`]), because the wake-up this saves would cost more. What
//! always holds: only one thread applies at a time; answers come after the engine write and the report, and in log
//! order; after an error nothing more is applied, and every caller still waiting gets an "unknown" outcome. Choosing
//! the entries of a slice is left to the appliers.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::completion::queue::CompletionQueue;
use crate::core::applier::{Applied, ApplyBatch, ApplyTask, Slice};
use crate::core::appliers::Appliers;
use crate::core::command::is_conditional;
use crate::core::input::Input;
use crate::core::lease::PublishedRegion;
use crate::error::{Code, Error, Outcome, Result};
use crate::pollers::health::{Health, in_flight_at};
use crate::pollers::mailbox::Mailbox;
use crate::pollers::snapshots::Snapshots;
use crate::process::{panics, thread};
use crate::storage::engine::Engine;
use crate::types::{ApplyState, LogIndex, RegionId};

/// The most that one engine commit takes from all regions together: large enough that the commit's cost per entry is
/// small, small enough that it takes only a few milliseconds, since newly arrived work waits that long. RocksDB
/// handles a million small operations a second.
const SLICE: Slice = Slice { entries: 4096, bytes: 1024 * 1024, operations: 8192 };
/// The smallest slice, for a disk or machine so slow that a commit takes as long as a round may.
const SLICE_MIN: Slice = Slice { entries: 64, bytes: 16 * 1024, operations: 256 };
/// How long a round may run. A commit that takes longer halves the slice of the following ones.
const ROUND_TIME: Duration = Duration::from_millis(20);
/// Up to this many bytes are applied directly on the thread that hands them over.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// See the module.
pub(crate) struct ApplyPoller {
    /// Where committed entries come from.
    pub tasks: Arc<Mailbox<ApplyTask>>,
    /// Where reports go.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
    /// The raft poller is waiting for a report.
    pub reports_awaited: Arc<AtomicBool>,
    /// Where answers with callbacks go.
    pub completions: Arc<CompletionQueue>,
    /// Where the data goes.
    pub engine: Engine,
    /// Where failures go.
    pub health: Arc<Health>,
    /// Where callers look up the applied index of a region.
    pub published: BTreeMap<RegionId, Arc<PublishedRegion>>,
    /// Where regions that were emptied get their new data; none in a cluster of one.
    pub snapshots: Option<Arc<Snapshots>>,
    /// Locked by the thread that applies.
    pub state: Mutex<Applying>,
}

/// The state of the thread that applies.
pub(crate) struct Applying {
    appliers: Appliers,
    /// A batch that the engine could not write without blocking.
    held_back: Option<ApplyBatch>,
    slice: Slice,
    /// How far the regions must get that have not yet applied again what a start must apply again.
    to_replay: BTreeMap<RegionId, LogIndex>,
    /// All of that is in the engine since the thread last looked.
    is_replayed: bool,
}

impl Applying {
    /// Starts with nothing to do. `to_replay` is how far the regions must get that are to apply something again: what was
    /// committed before the store was opened.
    #[must_use]
    pub(crate) fn new(appliers: Appliers, to_replay: BTreeMap<RegionId, LogIndex>) -> Self {
        Self { appliers, held_back: None, slice: SLICE, to_replay, is_replayed: false }
    }

    /// The engine has these states now.
    fn note(&mut self, states: &[(RegionId, ApplyState)]) {
        if self.to_replay.is_empty() {
            return;
        }
        for (region, state) in states {
            if self.to_replay.get(region).is_some_and(|end| state.index >= *end) {
                self.to_replay.remove(region);
            }
        }
        self.is_replayed = self.to_replay.is_empty();
    }

    /// The batch of the next commit; none if nothing is waiting.
    fn next_batch(&mut self, engine: &Engine) -> Result<Option<ApplyBatch>> {
        match self.held_back.take() {
            // Before anything else is judged: the engine must have it then.
            Some(batch) => Ok(Some(batch)),
            None => self.appliers.next_batch(self.slice, &engine.latest()),
        }
    }

    fn has_more(&self) -> bool {
        self.appliers.has_more() || self.held_back.is_some()
    }

    /// Adapts the slice after a commit that took `took`.
    fn adapt_slice(&mut self, took: Duration) {
        let Slice { entries, bytes, operations } = self.slice;
        self.slice = if took > ROUND_TIME {
            Slice {
                entries: (entries / 2).max(SLICE_MIN.entries),
                bytes: (bytes / 2).max(SLICE_MIN.bytes),
                operations: (operations / 2).max(SLICE_MIN.operations),
            }
        } else {
            Slice {
                entries: (entries * 2).min(SLICE.entries),
                bytes: (bytes * 2).min(SLICE.bytes),
                operations: (operations * 2).min(SLICE.operations),
            }
        };
    }
}

impl ApplyPoller {
    /// Starts the thread; it ends when the mailbox is closed, and answers "unknown" for entries it has not applied.
    ///
    /// # Errors
    /// When the operating system cannot create another thread.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let poller = Arc::clone(self);
        thread::spawn("almadia-apply", move || {
            if let Err(error) = panics::catch(|| poller.run()) {
                poller.fail(error);
            }
        })
    }

    /// Takes over committed entries: applies them on this thread if they are few and no other thread is applying,
    /// otherwise leaves them to the poller's thread. Never waits for the engine.
    pub(crate) fn take_over(&self, tasks: impl ExactSizeIterator<Item = ApplyTask>) {
        if tasks.len() == 0 {
            return;
        }
        let tasks: Vec<_> = tasks.collect();
        match self.enter() {
            Some(state) if is_quick(&tasks) => self.apply_now(state, tasks),
            _ => self.tasks.push_all(tasks),
        }
    }

    /// The appliers, if no thread is using them and nothing is waiting.
    fn enter(&self) -> Option<MutexGuard<'_, Applying>> {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let idle = !state.has_more() && !self.tasks.has_work() && self.health.poisoned().is_none();
        idle.then_some(state)
    }

    fn apply_now(&self, mut state: MutexGuard<'_, Applying>, tasks: Vec<ApplyTask>) {
        let applied = panics::catch(|| {
            state.appliers.queue(tasks);
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Apply);
            let Some(batch) = state.next_batch(&self.engine)? else { return Ok(()) };
            self.begin_replacements(&batch);
            match self.engine.try_write(&batch) {
                Ok(true) => {
                    state.note(&batch.states);
                    self.tell(batch);
                }
                Ok(false) => state.held_back = Some(batch),
                Err(error) => return Err(self.give_up(batch, error)),
            }
            Ok(())
        });
        // Before another thread can take the lock: entries taken from the appliers may not be in the engine.
        let applied = applied.inspect_err(|error| self.health.poison(error.clone()));
        let must_look = applied.is_err() || state.has_more() || state.is_replayed;
        drop(state);
        if must_look {
            self.tasks.nudge();
        }
    }

    fn run(&self) -> Result<()> {
        // Raft snapshots that are to be installed wait from the start, and nobody may ever hand over anything else: their
        // members take no entries that do not follow on them.
        let mut wait_max = if self.lock().has_more() { Duration::ZERO } else { Duration::MAX };
        loop {
            let open = self.tasks.wait(wait_max);
            let mut state = self.lock();
            // As above: the store must stop before the appliers are released.
            let more = panics::catch(|| self.go_on(&mut state, open));
            match more.inspect_err(|error| self.health.poison(error.clone()))? {
                Some(more) => wait_max = if more { Duration::ZERO } else { Duration::MAX },
                None => return Ok(()),
            }
        }
    }

    /// Takes newly arrived tasks, and applies for a while. Returns whether more are waiting; none once the store is
    /// closed and nothing more is applied.
    fn go_on(&self, state: &mut Applying, open: bool) -> Result<Option<bool>> {
        let mut taken = Vec::new();
        self.tasks.take(&mut taken);
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        state.appliers.queue(taken);
        if let Some(cause) = self.health.poisoned().cloned() {
            // The rest of the store is dead; if this went on applying, it would answer "ok" while the rest answers
            // "unknown".
            return Err(cause);
        }
        if !open {
            // The remaining entries are in the raft log and are applied at the next start.
            abandon(state, &Error::new(Code::ShutdownInFlight));
            return Ok(None);
        }
        self.commit_for_a_while(state)?;
        Ok(Some(state.has_more()))
    }

    /// Commits batches until nothing is waiting, the time is used up, or newer work arrived.
    fn commit_for_a_while(&self, state: &mut Applying) -> Result<()> {
        let begun = Instant::now();
        let mut spent = Duration::ZERO;
        while spent < ROUND_TIME
            && let Some(batch) = state.next_batch(&self.engine)?
        {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Apply);
            self.begin_replacements(&batch);
            if let Err(error) = self.engine.write(&batch) {
                return Err(self.give_up(batch, error));
            }
            state.note(&batch.states);
            self.tell(batch);
            let spent_before = std::mem::replace(&mut spent, begun.elapsed());
            state.adapt_slice(spent - spent_before);
            if self.tasks.has_work() {
                break;
            }
        }
        if std::mem::take(&mut state.is_replayed) {
            self.engine.start_flush_after_replay()?;
        }
        Ok(())
    }

    /// Before `batch` is written: callers must not look at data of which only a part may be there. Also for one that was
    /// held back, for which it has been said before.
    fn begin_replacements(&self, batch: &ApplyBatch) {
        let regions = batch.clears.iter().map(|head| head.region.id);
        regions
            .filter_map(|region| self.published.get(&region))
            .for_each(|published| published.begin_replacement());
    }

    /// Publishes what the engine now contains, to peers and callers.
    fn tell(&self, batch: ApplyBatch) {
        let ApplyBatch { answers, reports, states, clears, installed, .. } = batch;
        if let Some(snapshots) = &self.snapshots {
            clears.into_iter().for_each(|head| snapshots.install(head));
        }
        for (region, state) in &states {
            if let Some(published) = self.published.get(region) {
                published.advance(state.index);
            }
        }
        // Before the report, upon which peers answer reads again.
        let replaced = installed.iter().filter_map(|region| self.published.get(region));
        replaced.for_each(|published| published.end_replacement());
        // The peer must know before any caller does: a call made after an answer then meets a peer that has the report.
        // Its position is not older than the answer's, and it does not wait for a report that is due anyway.
        let input = |report: Applied| (report.region, Input::Applied(Box::new(report)));
        self.raft.push_quietly(reports.into_iter().map(input));
        // Few need the report urgently (`Peer::awaits_report`), and a wake-up costs more than the report.
        // Checked after the push: a thread that starts to wait later finds the report before it goes to sleep.
        if self.reports_awaited.load(Ordering::SeqCst) {
            self.raft.nudge();
        }
        if answers.is_empty() {
            return;
        }
        self.completions.answer_all(answers);
        for (region, state) in &states {
            if let Some(published) = self.published.get(region) {
                published.note_answered(state.index);
            }
        }
    }

    /// The failed batch may or may not be in the engine. Its callers learn why.
    fn give_up(&self, batch: ApplyBatch, error: Error) -> Error {
        let unknown = in_flight_at(&error);
        // First, so that whoever is answered finds a store that has stopped.
        self.health.poison(error.clone());
        batch.answers.into_iter().for_each(|(completion, _)| completion.answer(Err(unknown.clone())));
        error
    }

    fn fail(&self, error: Error) {
        let unknown = in_flight_at(&error);
        self.health.poison(error);
        // So that the raft poller answers its own callers now, not at its next tick.
        self.raft.nudge();
        let mut state = self.lock();
        abandon(&mut state, &unknown);
        let mut taken = Vec::new();
        while self.tasks.wait(Duration::MAX) {
            self.tasks.take(&mut taken);
            state.appliers.queue(taken.drain(..));
            abandon(&mut state, &unknown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Applying> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these may be applied on the thread that hands them over. A condition may have to read the disk, and a raft
/// snapshot begins with the deletion of a whole region; few ever come.
fn is_quick(tasks: &[ApplyTask]) -> bool {
    if tasks.iter().any(|task| task.install.is_some() || task.is_installed) {
        return false;
    }
    let data = || tasks.iter().flat_map(|task| &task.entries).map(|entry| &entry.data);
    data().map(|data| data.len()).sum::<usize>() <= INLINE_BYTES_MAX
        && !data().any(|data| is_conditional(data))
}

fn abandon(state: &mut Applying, unknown: &Error) {
    debug_assert!(unknown.outcome() == Outcome::Unknown, "what is committed may be applied by others");
    let held_back = state.held_back.take().into_iter().flat_map(|batch| batch.answers);
    let waiting = state.appliers.abandon();
    let completions = held_back.map(|(completion, _)| completion).chain(waiting);
    completions.for_each(|completion| completion.answer(Err(unknown.clone())));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::core::applier::Applier;
    use crate::core::forwarding::Origin;
    use crate::core::raft_snapshot::SnapshotHead;
    use crate::core::region::Region;
    use crate::storage::engine::EngineOptions;
    use crate::types::{NEWEST_LEVEL, NodeId};

    #[test]
    fn slow_commits_shrink_the_slice_and_quick_ones_grow_it() {
        let mut applying = Applying::new(Appliers::new(BTreeMap::new()), BTreeMap::new());

        (0..20).for_each(|_| applying.adapt_slice(ROUND_TIME * 2));
        assert_eq!(applying.slice, SLICE_MIN);

        (0..20).for_each(|_| applying.adapt_slice(ROUND_TIME / 2));
        assert_eq!(applying.slice, SLICE);
    }

    const REGIONS: [RegionId; 2] = [RegionId(1), RegionId(2)];

    fn applied(index: u64) -> ApplyState {
        ApplyState { index: LogIndex(index), ..ApplyState::BOOTSTRAP }
    }

    fn replaying(ends: &[(RegionId, u64)]) -> Applying {
        let ends = ends.iter().map(|&(region, end)| (region, LogIndex(end)));
        Applying::new(Appliers::new(BTreeMap::new()), ends.collect())
    }

    #[test]
    fn a_replay_ends_once_when_every_region_has_what_was_committed_before() {
        let [one, other] = REGIONS;
        let mut applying = replaying(&[(one, 20), (other, 30)]);

        applying.note(&[(one, applied(19)), (other, applied(30))]);
        assert!(!applying.is_replayed);
        applying.note(&[(one, applied(25))]);
        assert!(std::mem::take(&mut applying.is_replayed));
        applying.note(&[(one, applied(26))]);
        assert!(!applying.is_replayed);
    }

    /// Its thread is the test's.
    fn poller(path: &Path, region: &Region) -> ApplyPoller {
        let engine = Engine::create(path, &EngineOptions::default(), Arc::new(())).expect("a new place");
        engine.bootstrap(std::slice::from_ref(region), ApplyState::BOOTSTRAP).expect("a healthy disk");
        let origin = Origin { node: NodeId(1), boot: 42 };
        let applier = Applier::new(origin, NEWEST_LEVEL, region.clone(), ApplyState::BOOTSTRAP);
        let appliers = Appliers::new([(region.id, applier)].into());
        ApplyPoller {
            tasks: Arc::default(),
            raft: Arc::default(),
            reports_awaited: Arc::default(),
            completions: Arc::default(),
            engine,
            health: Arc::default(),
            published: [(region.id, Arc::default())].into(),
            snapshots: None,
            state: Mutex::new(Applying::new(appliers, BTreeMap::new())),
        }
    }

    #[test]
    fn data_are_said_to_be_replaced_from_before_the_deletion_until_the_peer_is_told_of_the_new_ones() {
        let directory = tempfile::tempdir().expect("there is room");
        let region = Region::bootstrap(&[NodeId(1), NodeId(2)]);
        let poller = poller(&directory.path().join("data"), &region);
        let published = Arc::clone(&poller.published[&region.id]);
        let before = published.data().expect("nothing replaces them");
        let go_on = || poller.go_on(&mut poller.lock(), true).expect("a healthy disk");

        let head = SnapshotHead { region: region.clone(), state: applied(1000) };
        poller.take_over([ApplyTask::install(head)].into_iter());
        assert!(published.are_still(before) && poller.tasks.has_work(), "it is left to the thread");
        go_on();
        assert!(published.data().is_none(), "they are gone");
        poller.take_over([ApplyTask::installed(region.id)].into_iter());
        go_on();

        assert!(published.data().is_some_and(|after| after != before), "there are others");
        let mut told = Vec::new();
        poller.raft.take(&mut told);
        assert!(matches!(&told[..], [(_, Input::Applied(report))] if report.installed));
    }

    #[test]
    fn what_is_written_to_a_new_store_is_not_applied_again() {
        let mut applying = replaying(&[]);

        applying.note(&[(REGIONS[0], applied(1000))]);

        assert!(!applying.is_replayed, "it is flushed when the memtable is full");
    }
}
