//! The thread for slow tasks of the raft poller.
//!
//! Owns "almadia-worker", which makes sure that the engine has flushed far enough for a log truncation, and makes and
//! removes raft snapshots. What always holds: it may take as long as the disk needs, while the raft poller keeps sending
//! heartbeats. When to truncate, and who needs a snapshot, is left to the peers.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::core::input::Input;
use crate::error::Result;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::pollers::snapshots::{SnapshotJob, Snapshots};
use crate::process::{panics, thread};
use crate::storage::engine::Engine;
use crate::types::{LogIndex, RegionId};

/// What the worker is asked to do.
#[derive(Debug)]
pub(crate) enum WorkerJob {
    /// Flush the engine.
    Flush(FlushRequest),
    /// Something about raft snapshots.
    Snapshot(SnapshotJob),
}

/// A request to flush everything of a region up to this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushRequest {
    /// The region whose data is flushed.
    pub region: RegionId,
    /// The index that must be flushed.
    pub index: LogIndex,
}

/// What the worker needs.
pub(crate) struct Worker {
    /// The engine to flush.
    pub engine: Engine,
    /// Where flushed indexes are reported.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
    /// Where failures go.
    pub health: Arc<Health>,
    /// Raft snapshots; none in a cluster of one.
    pub snapshots: Option<Arc<Snapshots>>,
}

impl Worker {
    /// Starts the thread; it ends when every sender of requests has been dropped, or at the first failure, which
    /// stops the store.
    ///
    /// # Errors
    /// When the operating system cannot create another thread.
    pub(crate) fn start(self) -> io::Result<(Sender<WorkerJob>, JoinHandle<()>)> {
        let (sender, requests) = crossbeam_channel::unbounded();
        let body = move || {
            if let Err(error) = panics::catch(|| self.run(&requests)) {
                self.health.poison(error);
                self.raft.nudge();
            }
        };
        Ok((sender, thread::spawn("almadia-worker", body)?))
    }

    fn run(&self, jobs: &Receiver<WorkerJob>) -> Result<()> {
        for job in jobs {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
            match self.work(job) {
                // The store is closing. Anything left unflushed is in the raft log.
                Err(_) if self.engine.is_stopping() => return Ok(()),
                done => done?,
            }
        }
        Ok(())
    }

    fn work(&self, job: WorkerJob) -> Result<()> {
        match job {
            WorkerJob::Flush(request) => {
                let flushed = self.flush(request)?;
                self.raft.push_all([(request.region, Input::Flushed(flushed))]);
                Ok(())
            }
            WorkerJob::Snapshot(job) => {
                self.snapshots.as_ref().map_or(Ok(()), |snapshots| snapshots.work(job))
            }
        }
    }

    fn flush(&self, request: FlushRequest) -> Result<LogIndex> {
        let flushed = || {
            let state = self.engine.flushed_apply_state(request.region)?;
            Ok(state.map_or(LogIndex(0), |state| state.index))
        };
        let before = flushed()?;
        if before >= request.index {
            return Ok(before);
        }
        self.engine.flush()?;
        flushed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::region::Region;
    use crate::storage::engine::EngineOptions;
    use crate::types::{ApplyState, BOOTSTRAP_REGION, NodeId};

    #[test]
    fn a_flush_aborted_by_closing_the_store_is_not_a_failure() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = Engine::create(&directory.path().join("data"), &EngineOptions::default(), Arc::new(()))
            .expect("a new place");
        engine.bootstrap(&[Region::bootstrap(&[NodeId(1)])], ApplyState::BOOTSTRAP).expect("a healthy disk");
        let health = Arc::<Health>::default();
        let worker = Worker {
            engine: engine.clone(),
            raft: Arc::default(),
            health: Arc::clone(&health),
            snapshots: None,
        };
        let (requests, thread) = worker.start().expect("a thread");

        engine.stop_background_work();
        let request = FlushRequest { region: BOOTSTRAP_REGION, index: LogIndex(u64::MAX) };
        requests.send(WorkerJob::Flush(request)).expect("it waits for requests");
        drop(requests);
        thread.join().expect("no panic");

        assert_eq!(health.poisoned().map(|error| error.to_string()), None);
    }
}
