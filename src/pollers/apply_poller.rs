//! The thread that applies committed entries.
//!
//! Owns "almadia-apply" and the appliers of all regions. One round takes a slice of every region that has
//! something, writes all of it in one engine batch, reports to the peers, and answers. What always holds: the
//! answers come after the engine write and the report, and in log order; a region whose slice is used up waits for its next turn
//! behind the others, and its rest goes before anything newer; after an error nothing is applied any more and every
//! caller still waiting is told "unknown".

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::completion::CompletionQueue;
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
    /// One a region.
    pub appliers: BTreeMap<RegionId, Applier>,
}

impl ApplyPoller {
    /// Starts the thread; it ends when its mailbox is closed, and answers "unknown" to what it has not applied.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub fn start(mut self) -> io::Result<JoinHandle<()>> {
        thread::spawn("almadia-apply", move || {
            if let Err(error) = panics::catch(|| self.run()) {
                self.fail(error);
            }
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut taken = Vec::new();
        let mut progress = Progress::Idle;
        loop {
            let patience = if progress == Progress::Yielded { Duration::ZERO } else { Duration::MAX };
            let open = self.tasks.take_all(&mut taken, patience);
            if let Some(cause) = self.health.poisoned().cloned() {
                // The rest of the store is dead; applying on would answer "ok" beside its "unknown".
                self.queue(&mut taken);
                return Err(cause);
            }
            self.queue(&mut taken);
            if !open {
                // The rest is in the raft log and is applied at the next start.
                self.abandon(&Error::new(Code::ShutdownInFlight));
                return Ok(());
            }
            progress = self.round()?;
        }
    }

    fn queue(&mut self, taken: &mut Vec<ApplyTask>) {
        for task in taken.drain(..) {
            let applier = self.appliers.get_mut(&task.region);
            applier.expect("a peer has an applier from its first turn to its last").queue(task);
        }
    }

    fn round(&mut self) -> Result<Progress> {
        let mut batch = ApplyBatch::default();
        let mut progress = Progress::Idle;
        for applier in self.appliers.values_mut() {
            if applier.fill(&mut batch, SLICE)? == Progress::Yielded {
                progress = Progress::Yielded;
            }
        }
        if !batch.is_empty() {
            self.carry_out(batch)?;
        }
        Ok(progress)
    }

    fn carry_out(&mut self, batch: ApplyBatch) -> Result<()> {
        self.engine.write(&batch)?;
        for (region, state) in &batch.states {
            if let Some(published) = self.published.get(region) {
                published.advance(state.index);
            }
        }
        let ApplyBatch { answers, reports, .. } = batch;
        // The peer must know before any caller does: a read that a caller starts after its answer, here or through
        // a follower, reaches the peer behind this report and so is never confirmed for an older applied index.
        self.raft.push_quietly(reports.into_iter().map(|report| (report.region, Input::Applied(report))));
        // Nobody but a waiting read and a new leader is in a hurry to learn it, and a wake-up costs more than the
        // report. Looked at after the push: whoever begins to wait later finds the report before it falls asleep.
        if self.reports_awaited.load(Ordering::SeqCst) {
            self.raft.nudge();
        }
        self.completions.burst(answers);
        Ok(())
    }

    /// The batch that failed may or may not be in the engine; its answers were dropped, which says "unknown".
    fn fail(&mut self, error: Error) {
        let unknown = in_flight_at(&error);
        self.health.poison(error);
        // So that the raft poller answers its own callers now and not at its next tick.
        self.raft.nudge();
        self.abandon(&unknown);
        let mut taken = Vec::new();
        while self.tasks.take_all(&mut taken, Duration::MAX) {
            self.queue(&mut taken);
            self.abandon(&unknown);
        }
    }

    fn abandon(&mut self, unknown: &Error) {
        debug_assert!(unknown.outcome() == Outcome::Unknown, "what is committed may be applied by others");
        for applier in self.appliers.values_mut() {
            applier.abandon().for_each(|completion| completion.answer(Err(unknown.clone())));
        }
    }
}
