//! How a simulated member's round reaches its disk and the network.
//!
//! Owns the [`RoundIo`] of simulated members: the outcome of the next sync, and the effect at which the member crashes.
//! What always holds: the watcher sees every effect when it happens; a stopped member has no more effects.

use std::collections::VecDeque;

use crate::completion::{Completion, Position, Reply, WriteEvent};
use crate::core::applier::ApplyTask;
use crate::core::ports::{Errand, LogWrite, PeerMessage, RoundIo};
use crate::core::region_members::RegionMembers;
use crate::error::{Code, Error, Result};
use crate::sim::disk::DiskLog;
use crate::sim::watch::Watch;
use crate::types::RegionId;

/// Outcome of the next sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NextSync {
    /// It succeeds.
    #[default]
    Works,
    /// The member crashes before anything is durable.
    CrashBefore,
    /// The member crashes right after everything is durable.
    CrashAfter,
    /// The sync reports an error and nothing is durable.
    FailBefore,
    /// The sync reports an error, but everything is durable.
    FailAfter,
}

/// Why a member stopped.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It lost everything but its disk.
    Crash,
    /// Its log write failed; it answered everyone.
    Poison,
    /// The core reported an internal error, which no fault explains.
    Core(Error),
}

/// The result of one round.
#[derive(Debug, Default)]
pub(crate) struct RoundOutcome {
    /// Messages in sending order, each with the number of syncs before it.
    pub sent: Vec<(PeerMessage, u32)>,
    /// What others are to do about raft snapshots.
    pub errands: Vec<Errand>,
    /// What the peers of regions published of their members.
    pub published: Vec<(RegionId, RegionMembers)>,
    /// Number of syncs.
    pub syncs: u32,
    /// Set when the member has stopped.
    pub end: Option<End>,
}

/// Counts one effect; false when the member crashes instead of it, and from then on.
pub(super) fn take_effect(effects_left: &mut Option<u32>) -> bool {
    match effects_left {
        None => true,
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
    }
}

/// See the module.
pub(super) struct MemberIo<'a> {
    pub(super) node: u64,
    pub(super) log: &'a DiskLog,
    pub(super) next_sync: &'a mut NextSync,
    pub(super) effects_left: &'a mut Option<u32>,
    pub(super) tasks: &'a mut VecDeque<ApplyTask>,
    pub(super) outcome: RoundOutcome,
    /// A failed sync is retried: a planted fault.
    pub(super) retries: bool,
    pub(super) watch: &'a mut dyn Watch,
}

impl MemberIo<'_> {
    /// Whether the next effect happens; never after the member has stopped.
    fn goes_on(&mut self) -> bool {
        if self.outcome.end.is_none() && !take_effect(self.effects_left) {
            self.outcome.end = Some(End::Crash);
        }
        self.outcome.end.is_none()
    }

    fn end(&mut self, end: End) -> Result<()> {
        self.outcome.end = Some(end);
        Err(Error::new(Code::Io))
    }
}

impl RoundIo for MemberIo<'_> {
    fn send(&mut self, messages: Vec<PeerMessage>) {
        for message in messages {
            if self.goes_on() {
                self.watch.sending(self.node, self.log, &message);
                self.outcome.sent.push((message, self.outcome.syncs));
            }
        }
    }

    fn append(&mut self, writes: &[LogWrite]) -> Result<()> {
        let sync = std::mem::take(self.next_sync);
        if sync == NextSync::CrashBefore || !self.goes_on() {
            return self.end(End::Crash);
        }
        if sync == NextSync::FailBefore && self.retries {
            // The data that the kernel dropped on the first error is silently missing when the sync is retried.
            return Ok(());
        }
        if sync == NextSync::FailBefore {
            return self.end(End::Poison);
        }
        self.log.append(writes);
        self.outcome.syncs += 1;
        self.watch.synced(self.node, self.log, writes);
        if sync == NextSync::CrashAfter || !self.goes_on() {
            return self.end(End::Crash);
        }
        if sync == NextSync::FailAfter { self.end(End::Poison) } else { Ok(()) }
    }

    fn apply(&mut self, task: ApplyTask) {
        if self.goes_on() {
            self.watch.handed_over(self.node, self.log, &task);
            self.tasks.push_back(task);
        }
    }

    fn run(&mut self, errand: Errand) {
        if self.goes_on() {
            self.outcome.errands.push(errand);
        }
    }

    fn members_moved(&mut self, region: RegionId, members: RegionMembers) {
        self.outcome.published.push((region, members));
    }

    fn happened(&mut self, completion: &Completion, event: WriteEvent, position: Position) {
        if self.outcome.end.is_none() {
            completion.happened(event, position);
        }
    }

    fn answer(&mut self, completion: Completion, answer: Result<Reply>) {
        if self.goes_on() {
            completion.answer(answer);
        }
    }
}
