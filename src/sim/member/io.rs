//! How a simulated member's round reaches its disk and the network.
//!
//! Owns the [`RoundIo`] of simulated members: what the next sync does, and at which effect the member crashes. What always
//! holds: whoever watches sees every effect when it happens; after the end of a member none happens any more.

use std::collections::VecDeque;

use crate::completion::{Completion, Position, WriteEvent};
use crate::core::applier::ApplyTask;
use crate::core::ports::{LogWrite, PeerMessage, RoundIo};
use crate::error::{Code, Error, Result};
use crate::sim::disk::DiskLog;
use crate::sim::watch::Watch;

/// What the next sync does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NextSync {
    /// It works.
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

/// Why a member that ran does not run any more.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It lost everything but its disk.
    Crash,
    /// Its log write failed; it answered everyone.
    Poison,
    /// The core reported an error of its own, which no fault explains.
    Core(Error),
}

/// What one round did.
#[derive(Debug, Default)]
pub(crate) struct RoundOutcome {
    /// Messages in the order they left, each with the number of syncs before it.
    pub sent: Vec<(PeerMessage, u32)>,
    /// Syncs.
    pub syncs: u32,
    /// Set when the member does not run any more.
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
    /// A sync that failed is tried again: a planted fault.
    pub(super) retries: bool,
    pub(super) watch: &'a mut dyn Watch,
}

impl MemberIo<'_> {
    /// Whether the next effect happens. After an end none does.
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
            // What the kernel dropped with the first error, it does not miss at the second try.
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

    fn happened(&mut self, completion: &Completion, event: WriteEvent, position: Position) {
        if self.outcome.end.is_none() {
            completion.happened(event, position);
        }
    }

    fn answer(&mut self, completion: Completion, answer: Result<Position>) {
        if self.goes_on() {
            completion.answer(answer);
        }
    }
}
