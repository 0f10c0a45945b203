//! Who applies committed entries.
//!
//! Owns the appliers of all regions, the thread "almadia-apply", and the time they may take. A round is one engine commit
//! after the other: each takes a slice of what waits, in turns of the regions ([`Appliers`]), is written as one engine
//! batch, reported to the peers, and answered. The round yields after the commit at which its time is used up, or before
//! the next one when something newer came; the rest stays with its region and goes before anything newer of it. The thread
//! does it, or whoever hands over little while nobody is at work ([`ApplyPoller::take_over`]): the wake-up it saves costs
//! more. What always holds: one thread applies at a time; the answers come after the engine write and the report, and in
//! log order; after an error nothing is applied any more and every caller still waiting is told "unknown".

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::completion::queue::CompletionQueue;
use crate::core::applier::{ApplyBatch, ApplyTask, Slice};
use crate::core::appliers::Appliers;
use crate::core::input::Input;
use crate::core::lease::PublishedLease;
use crate::error::{Code, Error, Outcome, Result};
use crate::pollers::health::{Health, in_flight_at};
use crate::pollers::mailbox::Mailbox;
use crate::process::{panics, thread};
use crate::storage::engine::Engine;
use crate::types::RegionId;

/// What one engine commit takes of all regions: large enough that a commit costs little an entry, small enough that it takes
/// a few milliseconds, for which whatever came meanwhile waits. RocksDB takes a million small operations a second.
const SLICE: Slice = Slice { entries: 4096, bytes: 1024 * 1024, operations: 8192 };
/// The slice on a disk or machine so slow that a commit takes a round's time.
const SLICE_MIN: Slice = Slice { entries: 64, bytes: 16 * 1024, operations: 256 };
/// How long a round goes on. A commit that takes longer halves the slice of the next ones.
const ROUND_TIME: Duration = Duration::from_millis(20);
/// So many bytes are applied by whoever hands them over.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// See the module.
pub(crate) struct ApplyPoller {
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
pub(crate) struct Applying {
    appliers: Appliers,
    /// What the engine did not take at once.
    held_back: Option<ApplyBatch>,
    slice: Slice,
}

impl Applying {
    /// Nothing to do yet.
    #[must_use]
    pub(crate) fn new(appliers: Appliers) -> Self {
        Self { appliers, held_back: None, slice: SLICE }
    }

    /// What the next commit takes; none when nothing waits.
    fn next_batch(&mut self) -> Result<Option<ApplyBatch>> {
        match self.held_back.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.appliers.next_batch(self.slice),
        }
    }

    fn has_more(&self) -> bool {
        self.appliers.has_more() || self.held_back.is_some()
    }

    /// After a commit that `took` so long.
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
    /// Starts the thread; it ends when the mailbox is closed, and answers "unknown" to what it has not applied.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let poller = Arc::clone(self);
        thread::spawn("almadia-apply", move || {
            if let Err(error) = panics::catch(|| poller.run()) {
                poller.fail(error);
            }
        })
    }

    /// Takes over committed entries: applies them on this thread if they are few and nobody is at work, else leaves
    /// them to the poller's thread. Never waits for the engine.
    pub(crate) fn take_over(&self, tasks: impl ExactSizeIterator<Item = ApplyTask>) {
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
            state.appliers.queue(tasks);
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Apply);
            let Some(batch) = state.next_batch()? else { return Ok(()) };
            if self.engine.try_write(&batch)? {
                self.tell(batch);
            } else {
                state.held_back = Some(batch);
            }
            Ok(())
        });
        // While nobody else can go on: what was taken out may not be in the engine.
        let applied = applied.inspect_err(|error| self.health.poison(error.clone()));
        let must_look = applied.is_err() || state.has_more();
        drop(state);
        if must_look {
            self.tasks.nudge();
        }
    }

    fn run(&self) -> Result<()> {
        let mut wait_max = Duration::MAX;
        loop {
            let open = self.tasks.wait(wait_max);
            let mut state = self.lock();
            // As above: the store stops before the appliers are let go of.
            let more = panics::catch(|| self.go_on(&mut state, open));
            match more.inspect_err(|error| self.health.poison(error.clone()))? {
                Some(more) => wait_max = if more { Duration::ZERO } else { Duration::MAX },
                None => return Ok(()),
            }
        }
    }

    /// Takes what came, and applies for a while. Whether more waits; none when the store is closed and nothing is applied any
    /// more.
    fn go_on(&self, state: &mut Applying, open: bool) -> Result<Option<bool>> {
        let mut taken = Vec::new();
        self.tasks.take(&mut taken);
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        state.appliers.queue(taken);
        if let Some(cause) = self.health.poisoned().cloned() {
            // The rest of the store is dead; applying on would answer "ok" beside its "unknown".
            return Err(cause);
        }
        if !open {
            // The rest is in the raft log and is applied at the next start.
            abandon(state, &Error::new(Code::ShutdownInFlight));
            return Ok(None);
        }
        self.round(state)?;
        Ok(Some(state.has_more()))
    }

    /// One commit after the other, until nothing waits, the time is used up, or something newer came.
    fn round(&self, state: &mut Applying) -> Result<()> {
        let begun = Instant::now();
        let mut spent = Duration::ZERO;
        while spent < ROUND_TIME
            && let Some(batch) = state.next_batch()?
        {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Apply);
            self.engine.write(&batch)?;
            self.tell(batch);
            let spent_before = std::mem::replace(&mut spent, begun.elapsed());
            state.adapt_slice(spent - spent_before);
            if self.tasks.is_loud() {
                break;
            }
        }
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
        if answers.is_empty() {
            return;
        }
        self.completions.burst(answers);
        for (region, state) in &states {
            if let Some(published) = self.published.get(region) {
                published.note_answered(state.index);
            }
        }
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
            state.appliers.queue(taken.drain(..));
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
    let waiting = state.appliers.abandon();
    let completions = held_back.map(|(completion, _)| completion).chain(waiting);
    completions.for_each(|completion| completion.answer(Err(unknown.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_take_long_make_smaller_slices_and_quick_ones_larger() {
        let mut applying = Applying::new(Appliers::new(BTreeMap::new()));

        (0..20).for_each(|_| applying.adapt_slice(ROUND_TIME * 2));
        assert_eq!(applying.slice, SLICE_MIN);

        (0..20).for_each(|_| applying.adapt_slice(ROUND_TIME / 2));
        assert_eq!(applying.slice, SLICE);
    }
}
