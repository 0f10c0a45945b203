//! Where a peer's log ends at its old side.
//!
//! Owns the truncation of the log: when it is proposed and how it is carried out. What always holds: nothing is dropped that a member of the
//! configuration has not got, or that this member's engine has not flushed.

use bytes::Bytes;

use super::Peer;
use crate::core::command::seal_truncate;
use crate::core::planted::{self, Fault};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, Term};

/// A leader looks this often whether its log may be truncated.
const TRUNCATE_CHECK_TICKS: u64 = 20;

impl Peer {
    /// The index up to which the log waits to be truncated for a flush of the engine, if it does.
    #[must_use]
    pub fn wants_flush(&self) -> Option<LogIndex> {
        (self.truncate_allowed > self.flushed).then_some(self.truncate_allowed)
    }

    /// Orders a truncation up to what every member has, once the log is longer than it needs to be.
    pub(super) fn propose_truncation(&mut self, ticks: u64) {
        let log = self.raw.store();
        if !ticks.is_multiple_of(TRUNCATE_CHECK_TICKS)
            || log.retained_bytes() < 2 * self.options.log_retain_bytes
            || self.truncate_allowed > log.truncated().0
        {
            return;
        }
        let index = log
            .index_before_bytes(self.options.log_retain_bytes)
            .min(self.needed_by_none())
            .min(self.applied.index);
        if index > log.truncated().0 && self.is_settled() {
            log::debug!("region {}: ordering truncation up to {index}", self.region.id);
            let command = seal_truncate(index, self.region.epoch.version);
            // Refused for now is fine: the next check proposes it again.
            let _ = self.append_as_leader(std::iter::once((command, Bytes::new())));
        }
    }

    /// A leader that a late rejection had sent back goes on behind what is gone; whoever acknowledged that has it.
    fn ask_nobody_below(&mut self, truncated: LogIndex) {
        if planted::has(Fault::LateRejectionsObeyed) {
            return;
        }
        for (_, progress) in self.raw.raft.mut_prs().iter_mut() {
            if progress.matched >= truncated.get() && progress.next_idx <= truncated.get() {
                progress.next_idx = truncated.get() + 1;
            }
        }
    }

    /// Up to here a leader knows that every member has its log; a member that came back with less has it no more. Others
    /// have nobody to send it to.
    fn needed_by_none(&self) -> LogIndex {
        let lowest = self.raw.raft.prs().iter().map(|(_, progress)| progress.matched).min();
        if self.is_leader() { LogIndex(lowest.unwrap_or(0)) } else { LogIndex(u64::MAX) }
    }

    pub(super) fn truncation(&mut self) -> Result<Option<(LogIndex, Term)>> {
        let unflushed = planted::has(Fault::TruncatedAboveFlushed);
        let index = self.truncate_allowed.min(if unflushed { self.applied.index } else { self.flushed });
        let index = index.min(self.needed_by_none());
        if index <= self.raw.store().truncated().0 {
            return Ok(None);
        }
        let truncated = self.raw.mut_store().truncate_to(index);
        self.ask_nobody_below(index);
        truncated.map(Some).map_err(|error| Error::with_detail(Code::Corruption, error.to_string()))
    }
}
