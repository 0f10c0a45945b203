//! Configuration of members, in scripts and for a seed.
//!
//! Owns [`Setup`], the part of a member's options that a plan draws. What always holds: its defaults are those of
//! scripts.

use std::time::Duration;

use crate::core::limits::Limits;
use crate::core::peer::PROPOSE_BYTES_MAX;
use crate::time::longest_lease;
use crate::types::NEWEST_LEVEL;

/// Length of a tick in scripts.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Ticks of an election timeout in scripts.
pub(crate) const ELECTION_TICKS: usize = 20;
/// How long a lease lasts in scripts.
const LEASE_MAX: Duration = longest_lease(TICK.saturating_mul(ELECTION_TICKS as u32), TICK);
/// Ticks without apply progress after which a leader hands over, in scripts.
const APPLY_STALL_TICKS: u64 = 100;
/// Ticks between heartbeats in scripts.
const HEARTBEAT_TICKS: usize = 2;

/// Configuration of the members of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The highest feature level that the build of a member knows.
    pub known_level: u16,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Minimum number of ticks without a leader before a campaign.
    pub election_ticks: usize,
    /// Seed of the election timeouts; none when only a script makes members campaign.
    pub elections: Option<u64>,
    /// How long a lease lasts; zero switches leases off.
    pub lease_max: Duration,
    /// Maximum number of bytes of writes that share one entry.
    pub group_bytes_max: usize,
    /// Maximum number of bytes of writes that one round proposes, unless a single one is larger.
    pub propose_bytes_max: usize,
    /// Maximum number of bytes of forwarded writes waiting for answers.
    pub forward_window_bytes: usize,
    /// Size limit of a peer's entry cache.
    pub log_cache_bytes: usize,
    /// Maximum number of bytes of entries that a leader has proposed and not yet committed.
    pub uncommitted_bytes_max: u64,
    /// Bytes of applied log retained for lagging followers.
    pub log_retain_bytes: u64,
    /// Bytes of log that a member which is behind holds.
    pub log_behind_bytes: u64,
    /// Limits on what may be queued in a peer.
    pub limits: Limits,
    /// Ticks without apply progress after which a leader hands over.
    pub apply_stall_ticks: u64,
}

impl Setup {
    /// The minimum election timeout, by a clock at the true rate.
    pub(crate) fn election_timeout(&self) -> Duration {
        self.tick * self.election_ticks as u32
    }

    /// The longest lease that a member with this setup may have.
    pub(crate) fn longest_lease(&self) -> Duration {
        longest_lease(self.election_timeout(), self.tick)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            known_level: NEWEST_LEVEL,
            tick: TICK,
            heartbeat_ticks: HEARTBEAT_TICKS,
            election_ticks: ELECTION_TICKS,
            elections: None,
            lease_max: LEASE_MAX,
            group_bytes_max: 1 << 16,
            propose_bytes_max: PROPOSE_BYTES_MAX,
            forward_window_bytes: 1 << 20,
            log_cache_bytes: 1 << 20,
            uncommitted_bytes_max: 1 << 30,
            log_retain_bytes: 1 << 20,
            log_behind_bytes: 1 << 30,
            limits: Limits::default(),
            apply_stall_ticks: APPLY_STALL_TICKS,
        }
    }
}
