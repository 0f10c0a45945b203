//! The thread for slow errands of the raft poller.
//!
//! Owns "almadia-worker". It makes sure that the engine has flushed far enough for a log truncation, which may take
//! as long as the disk likes while the raft poller keeps its heartbeats.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::core::input::Input;
use crate::error::Result;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::process::{panics, thread};
use crate::storage::engine::Engine;
use crate::types::{LogIndex, RegionId};

/// Wanted: everything of a region up to this index flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushRequest {
    /// Whose data.
    pub region: RegionId,
    /// Up to where.
    pub index: LogIndex,
}

/// What the worker works with.
pub(crate) struct Worker {
    /// Whose memtables.
    pub engine: Engine,
    /// Where the answers go.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
    /// Where failures go.
    pub health: Arc<Health>,
}

impl Worker {
    /// Starts the thread; it ends when every sender of requests is gone, and at the first failure, which stops the store.
    ///
    /// # Errors
    /// When the operating system cannot make one more thread.
    pub(crate) fn start(self) -> io::Result<(Sender<FlushRequest>, JoinHandle<()>)> {
        let (sender, requests) = crossbeam_channel::unbounded();
        let body = move || {
            if let Err(error) = panics::catch(|| self.run(&requests)) {
                self.health.poison(error);
                self.raft.nudge();
            }
        };
        Ok((sender, thread::spawn("almadia-worker", body)?))
    }

    fn run(&self, requests: &Receiver<FlushRequest>) -> Result<()> {
        for request in requests {
            #[cfg(test)]
            crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
            let flushed = match self.flush(request) {
                // The store closes. What it would have flushed is in the raft log.
                Err(_) if self.engine.is_stopping() => return Ok(()),
                flushed => flushed?,
            };
            self.raft.push_all([(request.region, Input::Flushed(flushed))]);
        }
        Ok(())
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
    fn a_flush_that_the_end_of_the_store_breaks_off_is_no_failure() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = Engine::create(&directory.path().join("data"), &EngineOptions::default(), Arc::new(()))
            .expect("a new place");
        engine.bootstrap(&[Region::bootstrap(&[NodeId(1)])], ApplyState::BOOTSTRAP).expect("a healthy disk");
        let health = Arc::<Health>::default();
        let worker = Worker { engine: engine.clone(), raft: Arc::default(), health: Arc::clone(&health) };
        let (requests, thread) = worker.start().expect("a thread");

        engine.stop_background_work();
        let request = FlushRequest { region: BOOTSTRAP_REGION, index: LogIndex(u64::MAX) };
        requests.send(request).expect("it waits for requests");
        drop(requests);
        thread.join().expect("no panic");

        assert_eq!(health.poisoned().map(|error| error.to_string()), None);
    }
}
