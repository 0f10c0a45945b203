//! The threads of one store.
//!
//! Owns the order in which they start and end. What always holds: they start bottom-up and end top-down, so that a
//! thread that answers outlives those that ask. Who ends them, and who waits for that, is left to
//! [`closing`](super::closing).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::completion::deadlines::Deadlines;
use crate::completion::queue::CompletionQueue;
use crate::config::Config;
use crate::core::applier::ApplyTask;
use crate::core::appliers::Appliers;
use crate::core::input::Input;
use crate::core::peers::Peers;
use crate::core::tick_clock::TickClock;
use crate::metrics::Metrics;
use crate::pollers::apply_poller::{ApplyPoller, Applying};
use crate::pollers::completion_thread;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::pollers::members::Members;
use crate::pollers::raft_poller::{Leftover, PollerIo, PollerState, RaftPoller};
use crate::pollers::read_pool::ReadPool;
use crate::pollers::snapshots::Snapshots;
use crate::pollers::timer::Timer;
use crate::pollers::worker::Worker;
use crate::storage::engine::Engine;
use crate::storage::log_store::LogStore;
use crate::storage::staging::Staging;
use crate::store::Inner;
use crate::time::now;
use crate::transport::Transport;
use crate::types::{LogIndex, NodeId, RegionId};

/// See the module.
pub(super) struct Threads {
    node: NodeId,
    pub(super) raft_poller: Arc<OnceLock<Weak<RaftPoller>>>,
    raft: Arc<Mailbox<(RegionId, Input)>>,
    apply: Arc<Mailbox<ApplyTask>>,
    completions: Arc<CompletionQueue>,
    deadlines: Arc<Deadlines>,
    metrics: Arc<Metrics>,
    read_pool: Arc<ReadPool>,
    health: Arc<Health>,
    members: Arc<Members>,
    pub(super) transport: Option<Arc<Transport>>,
    snapshots: Option<Arc<Snapshots>>,
    /// For whoever asks for the raft snapshots under way.
    shown: Arc<OnceLock<Weak<Snapshots>>>,
    engine: Option<Engine>,
    running: Running,
}

/// Threads that were started and not yet joined.
#[derive(Default)]
struct Running {
    raft: Option<JoinHandle<()>>,
    apply: Option<JoinHandle<()>>,
    worker: Option<JoinHandle<()>>,
    install: Option<JoinHandle<()>>,
    members: Option<JoinHandle<()>>,
    timer: Option<JoinHandle<()>>,
    completion: Option<JoinHandle<()>>,
}

impl Threads {
    /// No thread is running yet.
    pub(super) fn new(shared: &Inner) -> Self {
        Self {
            node: shared.node,
            raft_poller: Arc::default(),
            raft: Arc::clone(&shared.raft),
            apply: Arc::default(),
            completions: Arc::clone(&shared.completions),
            deadlines: Arc::clone(&shared.deadlines),
            metrics: Arc::clone(&shared.metrics),
            read_pool: Arc::clone(&shared.read_pool),
            health: Arc::clone(&shared.health),
            members: Arc::clone(&shared.members),
            transport: None,
            snapshots: None,
            shown: Arc::clone(&shared.snapshots),
            engine: None,
            running: Running::default(),
        }
    }

    /// Starts the thread that installs raft snapshots, before the transport that brings some.
    ///
    /// # Errors
    /// When the operating system cannot create another thread.
    pub(super) fn start_snapshots(
        &mut self,
        engine: Engine,
        staging: Arc<Staging>,
    ) -> io::Result<Arc<Snapshots>> {
        let (raft, apply, health) =
            (Arc::clone(&self.raft), Arc::clone(&self.apply), Arc::clone(&self.health));
        let metrics = Arc::clone(&self.metrics);
        let (snapshots, thread) = Snapshots::start(self.node, engine, staging, raft, apply, health, metrics)?;
        self.shown.set(Arc::downgrade(&snapshots)).expect("a store starts once");
        self.running.install = Some(thread);
        self.snapshots = Some(Arc::clone(&snapshots));
        Ok(snapshots)
    }

    /// Starts them.
    ///
    /// # Errors
    /// When the operating system cannot create another thread; those already running end when this is dropped.
    pub(super) fn start(
        &mut self,
        engine: Engine,
        log: Arc<LogStore>,
        peers: Peers,
        appliers: Appliers,
        config: &Config,
    ) -> io::Result<()> {
        self.start_answering()?;
        let reports_awaited = Arc::<AtomicBool>::default();
        let apply_poller = Arc::new(ApplyPoller {
            tasks: Arc::clone(&self.apply),
            raft: Arc::clone(&self.raft),
            reports_awaited: Arc::clone(&reports_awaited),
            completions: Arc::clone(&self.completions),
            engine: engine.clone(),
            health: Arc::clone(&self.health),
            snapshots: self.snapshots.clone(),
            published: peers.iter().map(|(region, peer)| (*region, peer.published_lease())).collect(),
            state: Mutex::new(Applying::new(appliers, to_replay(&peers))),
        });
        self.running.apply = Some(apply_poller.start()?);
        self.engine = Some(engine.clone());
        if let (Some(snapshots), Some(transport)) = (&self.snapshots, &self.transport) {
            snapshots.connect(transport);
            self.members.connect(transport);
        }
        self.running.members = Some(self.members.start()?);
        let (raft, health) = (Arc::clone(&self.raft), Arc::clone(&self.health));
        let worker = Worker { engine, raft, health, snapshots: self.snapshots.clone() };
        let (requests, worker_thread) = worker.start()?;
        self.running.worker = Some(worker_thread);
        let alone = peers.iter().filter(|(_, peer)| peer.is_only_voter()).map(|(&region, _)| region);
        // There is no one else to ask, so there is no reason to wait for an election timeout.
        self.raft.push_all(alone.map(|region| (region, Input::Campaign)));
        let io = PollerIo {
            log,
            transport: self.transport.clone(),
            metrics: Arc::clone(&self.metrics),
            slow_sync: Duration::from_millis(config.election_timeout_ms / 2),
            // The first start and the settling of the log's end are not recorded in the mark yet.
            unmarked_since: Some(now()),
            tasks: Vec::new(),
            errands: Vec::new(),
            members: Arc::clone(&self.members),
            answers: Vec::new(),
        };
        let election_ticks = config.ticks(config.election_timeout_ms);
        let clock = TickClock::new(now(), Duration::from_millis(config.tick_ms), election_ticks);
        let (snapshots, leftover) = (self.snapshots.clone(), Leftover::default());
        let state = PollerState { peers, io, worker: requests, snapshots, clock, leftover };
        let raft_poller = Arc::new(RaftPoller {
            mailbox: Arc::clone(&self.raft),
            apply: apply_poller,
            reports_awaited,
            completions: Arc::clone(&self.completions),
            health: Arc::clone(&self.health),
            state: Mutex::new(state),
        });
        self.running.raft = Some(raft_poller.start()?);
        self.raft_poller.set(Arc::downgrade(&raft_poller)).expect("a store starts once");
        Ok(())
    }

    /// Starts those that answer callers, whatever the others wait for.
    fn start_answering(&mut self) -> io::Result<()> {
        let metrics = Arc::clone(&self.metrics);
        let (queue, health) = (Arc::clone(&self.completions), Arc::clone(&self.health));
        self.running.completion = Some(completion_thread::start(queue, metrics, health)?);
        let timer = Timer {
            node: self.node,
            deadlines: Arc::clone(&self.deadlines),
            completions: Arc::clone(&self.completions),
            health: Arc::clone(&self.health),
            raft: Arc::clone(&self.raft),
        };
        self.running.timer = Some(timer.start()?);
        Ok(())
    }

    /// Ends and joins every thread, however long that takes, and reports what it is waiting for. Waiting callers are
    /// answered meanwhile, within `answers` at the latest.
    pub(super) fn stop(mut self, answers: Duration, tell: &dyn Fn(&'static str)) {
        self.stop_all(answers, tell);
    }

    fn stop_all(&mut self, answers: Duration, tell: &dyn Fn(&'static str)) {
        self.deadlines.close(now() + answers);
        self.members.close();
        join(&mut self.running.members);
        self.raft.close();
        tell("a write or sync of the raft log");
        join(&mut self.running.raft);
        tell("connections to other members");
        if let Some(transport) = self.transport.take() {
            transport.shutdown();
        }
        self.apply.close();
        tell("a write of the engine");
        join(&mut self.running.apply);
        if let Some(engine) = self.engine.take() {
            // The worker may be waiting for a flush that waits for compactions; anything left unflushed is in the
            // raft log.
            engine.stop_background_work();
        }
        if let Some(snapshots) = self.snapshots.take() {
            snapshots.end();
        }
        tell("a flush of the engine");
        join(&mut self.running.worker);
        tell("the files of a raft snapshot");
        join(&mut self.running.install);
        // No thread is left that could send it a read.
        tell("a read of the engine");
        self.read_pool.stop();
        // Every thread that had to answer a call has done so.
        self.deadlines.close(now());
        join(&mut self.running.timer);
        self.completions.close();
        tell("a callback");
        join(&mut self.running.completion);
        // Anything queued from now on reaches no one, and would keep its own queue alive.
        self.completions.abandon();
    }
}

impl Drop for Threads {
    /// Also runs if a store fails half-way through its start.
    fn drop(&mut self) {
        self.stop_all(Duration::ZERO, &|_| ());
    }
}

/// How far the regions must get whose engine does not have everything yet that was on record as committed.
fn to_replay(peers: &Peers) -> BTreeMap<RegionId, LogIndex> {
    let statuses = peers.iter().map(|(&region, peer)| (region, peer.status()));
    let behind = statuses.filter(|(_, status)| !status.replayed);
    behind.map(|(region, status)| (region, status.commit_index)).collect()
}

fn join(thread: &mut Option<JoinHandle<()>>) {
    if let Some(thread) = thread.take()
        && thread.join().is_err()
    {
        log::error!("a thread panicked outside its panic boundary");
    }
}
