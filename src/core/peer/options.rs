//! What a peer is told when it is made, and what it tells raft.
//!
//! Owns the options of a peer and the checks of what it is made from. What always holds: every peer has quorum checks
//! and pre-votes on, without which no lease is safe.

use std::time::Duration;

use raft::Config;

use crate::core::apply_backlog::StoreBacklog;
use crate::core::elections::Elections;
use crate::core::limits::Limits;
use crate::core::log::LogState;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::windows::StoreWindows;
use crate::error::{Code, Error, Result};
use crate::types::{ApplyState, LogIndex, NodeId};

/// Bytes of entries in one append message; larger single entries travel alone.
pub(super) const MESSAGE_BYTES_MAX: u64 = 512 * 1024;
/// Bytes of writes that one round of a production member proposes: what a slow disk syncs well within an election
/// timeout, so that heartbeats leave in between.
pub(crate) const PROPOSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Append messages a follower may leave unacknowledged, far more than the few rounds a healthy follower is behind. Their
/// bytes have a bound of their own ([`Windows`](crate::core::windows)).
pub(super) const INFLIGHT_MESSAGES_MAX: usize = 64;
/// Bytes of committed entries one pass hands to the applier.
const COMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a peer is told when it is made.
#[derive(Clone, Debug)]
pub(crate) struct PeerOptions {
    /// This member.
    pub node: NodeId,
    /// Differs in every boot of this member.
    pub boot: u64,
    /// The highest feature level that this member's build knows.
    pub known_level: u16,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Least ticks without a leader before a campaign.
    pub election_ticks: usize,
    /// When this peer campaigns by itself.
    pub elections: Elections,
    /// How long a leader's lease lasts after a renewal; zero switches leases off.
    pub lease_max: Duration,
    /// Bytes of the writes that may share one entry; zero gives each its own.
    pub group_bytes_max: usize,
    /// Bytes of forwarded writes that may wait for their answers; a single write may exceed it.
    pub forward_window_bytes: usize,
    /// Bytes of writes that one round proposes over all regions, unless a single one of a region is larger.
    pub propose_bytes_max: usize,
    /// Bound of the entry cache.
    pub log_cache_bytes: usize,
    /// Bytes of entries a leader may have proposed and not committed; more are refused.
    pub uncommitted_bytes_max: u64,
    /// Applied log kept for followers that lag.
    pub log_retain_bytes: u64,
    /// How much of the log a member that is behind keeps from being truncated. One that is farther behind gets a raft
    /// snapshot.
    pub log_behind_bytes: u64,
    /// Ticks without apply progress, while committed entries wait, after which a leader hands over.
    pub apply_stall_ticks: u64,
    /// What all peers of this member have handed to its applier.
    pub backlog: StoreBacklog,
    /// What all peers of this member have under way to others.
    pub windows: StoreWindows,
    /// What may wait in this peer.
    pub limits: Limits,
}

pub(super) fn raft_config(options: &PeerOptions, applied: LogIndex, window_ticks: (usize, usize)) -> Config {
    Config {
        id: options.node.get(),
        election_tick: options.election_ticks,
        min_election_tick: window_ticks.0,
        max_election_tick: window_ticks.1,
        heartbeat_tick: options.heartbeat_ticks,
        applied: applied.get(),
        // raft wants no message that could not be proposed as a whole.
        max_size_per_msg: MESSAGE_BYTES_MAX.min(options.uncommitted_bytes_max),
        max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
        max_committed_size_per_ready: COMMITTED_BYTES_MAX,
        max_uncommitted_size: options.uncommitted_bytes_max,
        check_quorum: true,
        pre_vote: true,
        skip_bcast_commit: true,
        // raft would join the messages of a follower that catches up into one without a bound; what a round proposes
        // is one append anyway.
        batch_append: false,
        ..Default::default()
    }
}

/// What the log and the engine of one directory say must fit together: the engine has applied all that is truncated,
/// unless a raft snapshot shows that much, and nothing beyond the log's end.
pub(super) fn check_recovered(
    log: &LogState,
    applied: ApplyState,
    pending: Option<&SnapshotHead>,
) -> Result<()> {
    let (truncated, last) = (log.truncated.0, log.last.0);
    let is_pending = pending.is_some_and(|head| (head.state.index, head.state.term) == log.truncated);
    if (applied.index < truncated) != is_pending
        || (pending.is_some() && !is_pending)
        || applied.index > last
        || log.hard_state.commit > last.get()
    {
        let detail = format!(
            "the log holds entries {} to {last} with commit {}, but the engine has applied {}",
            truncated.next(),
            log.hard_state.commit,
            applied.index
        );
        return Err(Error::with_detail(Code::Corruption, detail));
    }
    Ok(())
}
