//! One member that runs the production core over a disk in memory.
//!
//! Owns the wiring that `store` and `pollers` do for real: inputs into rounds, tasks into the applier, reports
//! back. What always holds: an error of the round's I/O is a crash, as it is a poisoned store for real; a crashed
//! member keeps only its disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use crate::completion::{Completion, Position};
use crate::core::applier::{Applier, ApplyBatch, ApplyTask, Slice};
use crate::core::elections::Elections;
use crate::core::input::Input;
use crate::core::peer::{Peer, PeerOptions};
use crate::core::planted::Planted;
use crate::core::ports::{LogWrite, PeerMessage};
use crate::core::region::Region;
use crate::core::round::{Inputs, Peers, RoundIo, round};
use crate::error::{Code, Error, Result};
use crate::logging::raft_logger;
use crate::sim::disk::{DiskEngine, DiskLog};
use crate::sim::network::describe_entry;
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_REGION, NodeId, RegionId};

/// Length of a tick.
pub const TICK: Duration = Duration::from_millis(50);
/// Ticks between heartbeats.
pub const HEARTBEAT_TICKS: usize = 2;
/// Ticks of an election timeout.
pub const ELECTION_TICKS: usize = 20;

/// What the next sync does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextSync {
    /// It works.
    #[default]
    Works,
    /// The member crashes before anything is durable.
    CrashBefore,
    /// The member crashes right after everything is durable.
    CrashAfter,
}

/// See the module.
pub struct Member {
    /// Its number.
    pub node: u64,
    /// What its next sync does.
    pub next_sync: NextSync,
    lease: bool,
    log: DiskLog,
    engine: DiskEngine,
    boot_nonce: u64,
    running: Option<Running>,
}

/// What a crash takes away.
struct Running {
    peers: Peers,
    applier: Applier,
    inputs: Vec<(RegionId, Input)>,
    ticks: u32,
    tasks: VecDeque<ApplyTask>,
    /// In the engine, but not reported.
    written: Vec<ApplyBatch>,
}

impl Member {
    /// A member on an empty disk, running. `lease` says whether leaders have leases.
    pub fn bootstrap(node: u64, members: &[u64], lease: bool) -> Self {
        let voters: Vec<_> = members.iter().map(|&node| NodeId(node)).collect();
        let engine = DiskEngine::bootstrap(Region::bootstrap(&voters));
        let (next_sync, log) = (NextSync::Works, DiskLog::bootstrap());
        let mut member = Self { node, next_sync, lease, log, engine, boot_nonce: 0, running: None };
        member.restart();
        member
    }

    /// True while it has not crashed.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it from what its disk holds.
    pub fn restart(&mut self) {
        self.boot_nonce += 1;
        let options = PeerOptions {
            node: NodeId(self.node),
            boot_nonce: self.boot_nonce,
            tick: TICK,
            heartbeat_ticks: HEARTBEAT_TICKS,
            election_ticks: ELECTION_TICKS,
            elections: Elections::OnDemand,
            lease_max: if self.lease { TICK * (ELECTION_TICKS as u32 - 2) } else { Duration::ZERO },
            group_bytes_max: 1 << 16,
            log_cache_bytes: 1 << 20,
            uncommitted_bytes_max: 1 << 30,
            log_retain_bytes: 1 << 20,
            planted: Planted::NONE,
        };
        let (region, applied) = self.engine.state();
        let reader = Arc::new(self.log.clone());
        let peer = Peer::new(options, region.clone(), applied, self.log.recover(), reader, &raft_logger());
        self.running = Some(Running {
            peers: Peers::from([(BOOTSTRAP_REGION, peer.expect("log and engine agree"))]),
            applier: Applier::new(region, applied),
            inputs: Vec::new(),
            ticks: 0,
            tasks: VecDeque::new(),
            written: Vec::new(),
        });
    }

    /// Loses everything but the disk. Completions that are still open answer "unknown" as they are dropped.
    pub fn crash(&mut self) {
        self.running = None;
        self.engine.crash();
        self.next_sync = NextSync::Works;
    }

    /// Makes the engine's data survive a crash.
    pub fn flush(&mut self) {
        let index = self.engine.flush();
        self.feed(Input::Flushed(index));
    }

    /// The peer of the only region.
    pub fn peer(&self) -> &Peer {
        &self.running.as_ref().expect("it runs").peers[&BOOTSTRAP_REGION]
    }

    /// Proposes to add `learner`.
    pub fn propose_learner(&mut self, learner: u64) {
        let mut single = ConfChangeSingle { node_id: learner, ..ConfChangeSingle::default() };
        single.set_change_type(ConfChangeType::AddLearnerNode);
        let change = ConfChangeV2 { changes: vec![single].into(), ..ConfChangeV2::default() };
        let running = self.running.as_mut().expect("it runs");
        running.peers.get_mut(&BOOTSTRAP_REGION).expect("the only region").propose_change(change);
    }

    /// The engine.
    pub fn engine(&self) -> &DiskEngine {
        &self.engine
    }

    /// Leaves an input for the next round; it is lost when the member is down.
    pub fn feed(&mut self, input: Input) {
        if let Some(running) = &mut self.running {
            running.inputs.push((BOOTSTRAP_REGION, input));
        }
    }

    /// Owes the next round ticks.
    pub fn owe_ticks(&mut self, ticks: u32) {
        if let Some(running) = &mut self.running {
            running.ticks += ticks;
        }
    }

    /// Turns the crank once. Returns what was sent, after a report of what it wrote.
    pub fn round(&mut self, now: Timestamp, report: &mut Vec<String>) -> Vec<PeerMessage> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let (ticks, inputs) = (std::mem::take(&mut running.ticks), std::mem::take(&mut running.inputs));
        let fed = Inputs { ticks, inputs, again: Vec::new() };
        let mut io = MemberIo {
            node: self.node,
            log: &self.log,
            next_sync: &mut self.next_sync,
            tasks: &mut running.tasks,
            sent: Vec::new(),
            report,
        };
        let turned = round(&mut running.peers, fed, now, &mut io);
        let sent = io.sent;
        if turned.is_err() {
            report.push(format!("{} crashed", self.node));
            self.crash();
        }
        sent
    }

    /// Applies everything that is handed over, in one batch.
    pub fn apply(&mut self, report: &mut Vec<String>) {
        self.write_engine();
        self.report_applied(report);
    }

    /// First half of applying: the engine shows the entries, nobody has been told.
    pub fn write_engine(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.tasks.drain(..).for_each(|task| running.applier.queue(task));
        let slice = Slice { entries: usize::MAX, bytes: usize::MAX };
        let mut batch = ApplyBatch::default();
        running.applier.fill(&mut batch, slice).expect("every entry is readable");
        self.engine.write(&batch);
        running.written.push(batch);
    }

    /// Second half: the peer is told, then the callers.
    pub fn report_applied(&mut self, report: &mut Vec<String>) {
        let Some(running) = &mut self.running else { return };
        for batch in running.written.drain(..) {
            for applied in batch.reports {
                report.push(format!("{} applied up to {}", self.node, applied.state.index));
                running.inputs.push((BOOTSTRAP_REGION, Input::Applied(applied)));
            }
            batch.answers.into_iter().for_each(|(completion, answer)| completion.answer(answer));
        }
    }
}

struct MemberIo<'a> {
    node: u64,
    log: &'a DiskLog,
    next_sync: &'a mut NextSync,
    tasks: &'a mut VecDeque<ApplyTask>,
    sent: Vec<PeerMessage>,
    report: &'a mut Vec<String>,
}

impl RoundIo for MemberIo<'_> {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        for message in messages {
            self.report.push(format!("  {}", super::network::describe(&message)));
            self.sent.push(message);
        }
    }

    fn append(&mut self, writes: &[LogWrite]) -> Result<()> {
        let sync = std::mem::take(self.next_sync);
        if sync == NextSync::CrashBefore {
            return Err(Error::new(Code::Io));
        }
        self.log.append(writes);
        for write in writes {
            self.report.push(format!("  {} synced {}", self.node, describe_write(write)));
        }
        if sync == NextSync::CrashAfter { Err(Error::new(Code::Io)) } else { Ok(()) }
    }

    fn apply(&mut self, task: ApplyTask) {
        let (first, last) = (task.entries.first(), task.entries.last());
        let index = |entry: Option<&raft::eraftpb::Entry>| entry.map_or(0, |entry| entry.index);
        self.report.push(format!("  {} committed {}..={}", self.node, index(first), index(last)));
        self.tasks.push_back(task);
    }

    fn answer(&mut self, completion: Completion, answer: Result<Position>) {
        completion.answer(answer);
    }
}

fn describe_write(write: &LogWrite) -> String {
    let mut parts: Vec<_> = write.entries.iter().map(describe_entry).collect();
    if let Some(state) = &write.hard_state {
        parts.push(format!("term={} vote={} commit={}", state.term, state.vote, state.commit));
    }
    if let Some((index, _)) = write.truncate_to {
        parts.push(format!("truncated to {index}"));
    }
    parts.join(", ")
}
