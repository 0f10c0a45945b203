//! One member that runs the production core on an in-memory disk.
//!
//! Owns the wiring that `store` and `pollers` do in production: inputs into rounds, tasks into appliers, reports back,
//! answers last. What always holds: a crashed member keeps only its disk; a member whose log write failed answers all
//! its callers and then does nothing, like a poisoned store; the watcher sees every effect when it happens.

mod applying;
mod io;
mod setup;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use self::io::MemberIo;
pub(crate) use self::io::{End, NextSync, RoundOutcome};
pub(crate) use self::setup::Setup;
#[cfg(test)]
pub(crate) use self::setup::{ELECTION_TICKS, TICK};
pub(crate) use self::snapshots::Image;
use crate::completion::Answer;
use crate::completion::deadlines::Deadlines;
use crate::core::applier::{Applier, ApplyBatch, ApplyTask};
use crate::core::appliers::Appliers;
use crate::core::apply_backlog::StoreBacklog;
use crate::core::elections::Elections;
use crate::core::forwarding::Origin;
use crate::core::input::{Input, Introduction};
use crate::core::lease::PublishedRegion;
use crate::core::peer::{Peer, PeerOptions};
use crate::core::peers::Peers;
use crate::core::planted::{self, Fault};
use crate::core::ports::PeerMessage;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::core::round::{Inputs, round};
use crate::core::windows::StoreWindows;
use crate::error::{Code, Error};
use crate::process::logging::raft_logger;
use crate::sim::disk::{DiskEngine, DiskLog};
use crate::sim::random::scramble;
use crate::sim::watch::Watch;
use crate::time::Timestamp;
use crate::types::{ApplyState, BOOTSTRAP_REGION, LogIndex, NodeId, RegionId, Term};

/// See the module.
pub(crate) struct Member {
    /// Its number.
    pub node: u64,
    /// Outcome of its next sync.
    pub next_sync: NextSync,
    /// How many effects it may still have before it crashes instead of the next one; none for no limit.
    pub effects_left: Option<u32>,
    setup: Setup,
    log: DiskLog,
    engine: DiskEngine,
    boot: u64,
    /// Raft snapshots that have arrived, by region and place.
    staged: BTreeMap<(RegionId, LogIndex, Term), Image>,
    running: Option<Running>,
}

/// The state lost in a crash.
struct Running {
    /// The open calls of its callers.
    deadlines: Arc<Deadlines>,
    peers: Peers,
    appliers: Appliers,
    inputs: Vec<(RegionId, Input)>,
    ticks: u32,
    /// Regions with work left over from the last round.
    again: Vec<RegionId>,
    published: BTreeMap<RegionId, Arc<PublishedRegion>>,
    tasks: VecDeque<ApplyTask>,
    /// The engine as it was when the last of them came, for a planted fault.
    handed_over: Option<DiskEngine>,
    /// Written to the engine, but not yet reported.
    written: VecDeque<ApplyBatch>,
    /// Reported, but not yet answered.
    reported: VecDeque<Answer>,
    /// For regions whose callers wait: the reported apply state.
    unanswered: Vec<(RegionId, ApplyState)>,
    /// Raft snapshots that were made for others.
    made: BTreeMap<(RegionId, NodeId), Image>,
    /// Those on their way into the engine, and whether their data are linked.
    installs: Vec<(SnapshotHead, bool)>,
}

impl Member {
    /// Creates a running member on an empty disk.
    pub(crate) fn bootstrap_with(node: u64, regions: &[Region], setup: Setup) -> Self {
        let mut member = Self::not_started(node, regions, setup);
        member.restart();
        member
    }

    /// One that will be started later, with an empty disk.
    pub(crate) fn not_started(node: u64, regions: &[Region], setup: Setup) -> Self {
        let (log, engine) = (DiskLog::bootstrap(regions), DiskEngine::bootstrap(regions));
        let (next_sync, effects_left) = (NextSync::Works, None);
        let (staged, running) = (BTreeMap::new(), None);
        Self { node, next_sync, effects_left, setup, log, engine, boot: 0, staged, running }
    }

    /// True while it has neither crashed nor been poisoned.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it from its disk.
    pub(crate) fn restart(&mut self) {
        self.boot += 1;
        let regions: Vec<_> = self.engine.regions().collect();
        for &region in &regions {
            let (_, applied) = self.engine.state_of(region);
            self.log.follow_engine(region, applied);
        }
        let (backlog, windows) = (StoreBacklog::default(), StoreWindows::default());
        let peers = regions.iter().map(|&region| (region, self.start_peer(region, &backlog, &windows)));
        let peers: Peers = peers.collect();
        let published = peers.iter().map(|(&region, peer)| (region, peer.published_lease())).collect();
        let origin = self.origin();
        let applier = |region| {
            let (region, applied) = self.engine.state_of(region);
            let mut applier = Applier::new(origin, self.setup.known_level, region.clone(), applied);
            if let Some(head) = self.pending_install(region.id) {
                applier.queue(ApplyTask::install(head));
            }
            (region.id, applier)
        };
        self.running = Some(Running {
            deadlines: Arc::default(),
            peers,
            appliers: Appliers::new(regions.iter().copied().map(applier).collect()),
            inputs: Vec::new(),
            ticks: 0,
            again: Vec::new(),
            published,
            tasks: VecDeque::new(),
            handed_over: None,
            written: VecDeque::new(),
            reported: VecDeque::new(),
            unanswered: Vec::new(),
            made: BTreeMap::new(),
            installs: Vec::new(),
        });
    }

    fn start_peer(&self, region: RegionId, backlog: &StoreBacklog, windows: &StoreWindows) -> Peer {
        let (region, applied) = self.engine.state_of(region);
        let pending = self.pending_install(region.id);
        let region = pending.as_ref().map_or(region, |head| head.region.clone());
        let (log, reader) = (self.log.recover(region.id), Arc::new(self.log.clone()));
        let (backlog, windows) = (backlog.clone(), windows.clone());
        let options = PeerOptions { backlog, windows, ..self.peer_options(region.id) };
        let peer = Peer::new(options, region, applied, pending.as_ref(), log, reader, &raft_logger());
        peer.expect("log and engine agree")
    }

    fn peer_options(&self, region: RegionId) -> PeerOptions {
        let Setup { elections, .. } = self.setup;
        let draw = |seed| scramble(seed ^ scramble((self.node << 40) ^ (region.get() << 20) ^ self.boot));
        PeerOptions {
            node: NodeId(self.node),
            boot: self.boot,
            known_level: self.setup.known_level,
            tick: self.setup.tick,
            heartbeat_ticks: self.setup.heartbeat_ticks,
            election_ticks: self.setup.election_ticks,
            elections: elections.map_or(Elections::OnDemand, |seed| Elections::Drawn(draw(seed))),
            lease_max: self.setup.lease_max,
            group_bytes_max: self.setup.group_bytes_max,
            backlog: StoreBacklog::default(),
            windows: StoreWindows::default(),
            propose_bytes_max: self.setup.propose_bytes_max,
            forward_window_bytes: self.setup.forward_window_bytes,
            log_cache_bytes: self.setup.log_cache_bytes,
            uncommitted_bytes_max: self.setup.uncommitted_bytes_max,
            log_retain_bytes: self.setup.log_retain_bytes,
            log_behind_bytes: self.setup.log_behind_bytes,
            limits: self.setup.limits,
            apply_stall_ticks: self.setup.apply_stall_ticks,
        }
    }

    fn origin(&self) -> Origin {
        Origin { node: NodeId(self.node), boot: self.boot }
    }

    /// Unique for every boot of this member.
    pub(crate) fn boot(&self) -> u64 {
        self.boot
    }

    /// Loses everything but the disk, and all writes to the engine since the last flush except the oldest `kept`.
    /// Completions that are still open answer "unknown" as they are dropped.
    pub(crate) fn crash_keeping(&mut self, kept: usize) {
        self.running = None;
        self.engine.crash(kept);
        self.next_sync = NextSync::Works;
        self.effects_left = None;
    }

    /// Crashes and loses the tail of the synced log: the newest `frames` frames that the log's mark covers, and
    /// everything after them. False when the log has fewer frames.
    pub(crate) fn lose_end(&mut self, frames: usize) -> bool {
        self.crash();
        self.log.lose_end(frames)
    }

    /// What it announces when it connects to another member.
    pub(crate) fn introduction(&self) -> Introduction {
        let lost_end = self.engine.regions().any(|region| self.log.lacks_end(region));
        let (node, boot) = (NodeId(self.node), self.boot);
        Introduction { node, boot_count: boot, boot, lost_end, level: self.setup.known_level }
    }

    /// The highest feature level that its build knows.
    pub(crate) fn known_level(&self) -> u16 {
        self.setup.known_level
    }

    /// From its next start on it runs the build that knows feature levels up to this one.
    pub(crate) fn run_build(&mut self, known_level: u16) {
        self.setup.known_level = known_level;
    }

    /// Loses everything except what was synced and flushed.
    pub(crate) fn crash(&mut self) {
        self.crash_keeping(0);
    }

    /// Makes the engine's data survive a crash.
    pub(crate) fn flush(&mut self) {
        self.engine.flush();
        let regions: Vec<_> = self.engine.regions().collect();
        for region in regions {
            let (state, _) = self.engine.state_and_digest(region);
            self.feed_to(region, Input::Flushed(state.index));
        }
    }

    /// The peer of the first region.
    pub(crate) fn peer(&self) -> &Peer {
        self.peer_of(BOOTSTRAP_REGION).expect("it runs")
    }

    /// The peer of a region, if the member is running.
    pub(crate) fn peer_of(&self, region: RegionId) -> Option<&Peer> {
        self.running.as_ref()?.peers.get(&region)
    }

    /// Whom a region's peer has heard of, and for how long of nobody: see [`Peers::heard`].
    #[cfg(test)]
    pub(crate) fn heard(&self, region: RegionId) -> (usize, Vec<u64>) {
        self.running.as_ref().expect("it runs").peers.heard(region)
    }

    /// Lets all peers catch up with what was done while they rested.
    #[cfg(test)]
    pub(crate) fn catch_up(&mut self) {
        self.running.iter_mut().for_each(|running| running.peers.values_mut().for_each(|_| {}));
    }

    /// The lease of a region's peer as callers see it, if the member is running.
    pub(crate) fn published_lease(&self, region: RegionId) -> Option<&PublishedRegion> {
        Some(self.running.as_ref()?.published.get(&region)?)
    }

    /// The open calls of its callers, if the member is running.
    pub(crate) fn deadlines(&self) -> Option<&Arc<Deadlines>> {
        Some(&self.running.as_ref()?.deadlines)
    }

    /// Does the timer thread's work: answers the calls that are past their deadline at `now`, whatever other threads
    /// wait for.
    pub(crate) fn answer_late(&mut self, now: Timestamp) {
        let Some(running) = &self.running else { return };
        if planted::has(Fault::DeadlinesKeptByRounds) {
            return;
        }
        for late in running.deadlines.take_late(now) {
            let known = |region| running.peers[&region].status().known();
            let (completion, mut error) = late.answer(NodeId(self.node), known);
            if error.code() == Code::Timeout && planted::has(Fault::InFlightReportedNotApplied) {
                error = Error::new(Code::DeadlineBeforeStart);
            }
            completion.answer(Err(error));
        }
    }

    /// Proposes to add `learner`, or to remove it if present. To be called while this member leads.
    pub(crate) fn propose_change_of_learner(&mut self, region: RegionId, learner: u64) {
        let running = self.running.as_mut().expect("it runs");
        let peer = running.peers.get_mut(&region).expect("a region of this member");
        let there = peer.region().has_member(NodeId(learner));
        let kind = if there { ConfChangeType::RemoveNode } else { ConfChangeType::AddLearnerNode };
        let mut single = ConfChangeSingle { node_id: learner, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        peer.propose_change(ConfChangeV2 { changes: vec![single].into(), ..ConfChangeV2::default() });
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &DiskEngine {
        &self.engine
    }

    /// The raft logs.
    pub(crate) fn log(&self) -> &DiskLog {
        &self.log
    }

    /// Queues an input of the first region for the next round; it is lost if the member is down.
    pub(crate) fn feed(&mut self, input: Input) {
        self.feed_to(BOOTSTRAP_REGION, input);
    }

    /// Queues an input for the next round; it is lost if the member is down.
    pub(crate) fn feed_to(&mut self, region: RegionId, input: Input) {
        if let Some(running) = &mut self.running {
            running.inputs.push((region, input));
        }
    }

    /// Queues a message of another member for the next round; it is lost if the member is down.
    pub(crate) fn feed_message(&mut self, message: PeerMessage) {
        if let Some(running) = &mut self.running {
            running.inputs.push(Input::of_message(message));
        }
    }

    /// Makes ticks due in the next round.
    pub(crate) fn owe_ticks(&mut self, ticks: u32) {
        if let Some(running) = &mut self.running {
            running.ticks += ticks;
        }
    }

    /// True when a round would have work to do.
    pub(crate) fn has_inputs(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.ticks > 0 || !running.inputs.is_empty())
    }

    /// True when the last round left writes for the next.
    pub(crate) fn has_more_to_propose(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.again.is_empty())
    }

    /// The flush that log truncation waits for, if any.
    pub(crate) fn wants_flush(&self) -> Option<LogIndex> {
        self.running.as_ref()?.peers.iter().find_map(|(_, peer)| peer.wants_flush())
    }

    /// Runs one round. Returns the messages sent; appends what it wrote to `report`.
    pub(crate) fn round(&mut self, now: Timestamp, report: &mut Vec<String>) -> Vec<PeerMessage> {
        let outcome = self.run_round(now, report);
        if outcome.end.is_some() {
            self.crash();
        }
        outcome.sent.into_iter().map(|(message, _)| message).collect()
    }

    /// Runs one round. If that stops the member, its engine keeps its state.
    pub(crate) fn run_round(&mut self, now: Timestamp, watch: &mut dyn Watch) -> RoundOutcome {
        let Some(running) = &mut self.running else { return RoundOutcome::default() };
        let (ticks, inputs) = (std::mem::take(&mut running.ticks), std::mem::take(&mut running.inputs));
        let again = std::mem::take(&mut running.again);
        let fed = Inputs { ticks, inputs, again };
        let mut io = MemberIo {
            node: self.node,
            log: &self.log,
            next_sync: &mut self.next_sync,
            effects_left: &mut self.effects_left,
            tasks: &mut running.tasks,
            outcome: RoundOutcome::default(),
            retries: planted::has(Fault::SyncErrorRetried),
            watch,
        };
        let result = round(&mut running.peers, fed, now, &mut io);
        let mut outcome = io.outcome;
        match result {
            Ok(touched) => {
                running.again = touched;
                running.again.retain(|region| running.peers[region].has_more_to_propose());
            }
            Err(error) => {
                outcome.end.get_or_insert(End::Core(error));
            }
        }
        self.take_end(outcome.end.as_ref(), watch);
        outcome
    }

    fn end_in_crash(&mut self) -> Option<End> {
        self.running = None;
        Some(End::Crash)
    }

    fn take_end(&mut self, end: Option<&End>, watch: &mut dyn Watch) {
        match end {
            None => {}
            Some(End::Poison) => {
                watch.ended(self.node, "is poisoned");
                self.abandon();
            }
            Some(End::Crash | End::Core(_)) => {
                watch.ended(self.node, "crashed");
                self.running = None;
            }
        }
    }

    /// Does what the pollers of a poisoned store do: answers all callers.
    fn abandon(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (unknown, refused) = (Error::new(Code::FailedInFlight), Error::new(Code::Poisoned));
        let Running { mut peers, mut appliers, inputs, tasks, written, reported, .. } = running;
        let answer = |(completion, answer): Answer| completion.answer(answer);
        // Writes that are in the engine are answered with their result: the apply poller finishes its current batch.
        reported.into_iter().chain(written.into_iter().flat_map(|batch| batch.answers)).for_each(answer);
        peers.as_they_are().flat_map(|peer| peer.abandon(&unknown, &refused)).for_each(answer);
        inputs.into_iter().for_each(|(_, input)| input.refuse(&refused));
        appliers.queue(tasks);
        appliers.abandon().for_each(|completion| completion.answer(Err(unknown.clone())));
    }
}
