//! `almadia_status`: what a member knows about itself.
//!
//! Owns the C layout of the Rust API's status and the numbers of the roles.

use super::boundary::{ALMADIA_OK, almadia_code};
use super::extensible::Extensible;
use crate::core::peer_status::Role;
use crate::store::status::Status;

/// The role of a member: one of the ALMADIA_ROLE_... constants.
pub type almadia_role = i32;

/// Follows a leader.
pub const ALMADIA_ROLE_FOLLOWER: almadia_role = 0;
/// Asks for votes.
pub const ALMADIA_ROLE_CANDIDATE: almadia_role = 1;
/// Leads.
pub const ALMADIA_ROLE_LEADER: almadia_role = 2;

/// The state of one member, as almadia_store_status reports it. Begin with ALMADIA_STATUS_INIT. Leader, term,
/// indices and role are those of the first region; almadia_store_region_at reports each region.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_status {
    /// sizeof(almadia_status).
    pub struct_size: usize,
    /// The number of this member.
    pub node_id: u64,
    /// The number of the leading member, as far as this one knows; 0 when it knows none.
    pub leader_id: u64,
    /// The raft term.
    pub term: u64,
    /// Entries up to this index are committed.
    pub commit_index: u64,
    /// Entries up to this index are applied here; a local snapshot shows them.
    pub applied_index: u64,
    /// The index of the last entry in this member's log.
    pub last_index: u64,
    /// Snapshots and iterators that are not freed yet; each pins memory and files.
    pub live_snapshots: u64,
    /// Accepted calls that are not completed yet, or whose completion waits in a queue, or that were cancelled and
    /// still occupy the library.
    pub in_flight: u64,
    /// The role of this member.
    pub role: almadia_role,
    /// Why the store stopped working (an I/O error, damage, a bug); ALMADIA_OK while it works.
    pub poisoned: almadia_code,
    /// The length of the raft log's files, of all regions, in bytes.
    pub log_bytes: u64,
    /// How many files those are.
    pub log_segments: u64,
    /// The member for which this one, as a leader, keeps more log than log.retain_bytes, because it lags or is away; 0
    /// for none, the first one when there are several.
    pub log_holder_id: u64,
    /// Raft snapshots that this member sends at this moment; almadia_store_raft_snapshot_at reports each.
    pub snapshots_sending: u64,
    /// Raft snapshots that this member receives at this moment.
    pub snapshots_receiving: u64,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers.
unsafe impl Extensible for almadia_status {
    const NAME: &'static str = "status";
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, log_bytes);
}

impl From<&Status> for almadia_status {
    fn from(status: &Status) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            node_id: status.node.get(),
            leader_id: status.leader.map_or(0, |node| node.get()),
            term: status.term.get(),
            commit_index: status.commit_index.get(),
            applied_index: status.applied_index.get(),
            last_index: status.last_index.get(),
            live_snapshots: status.live_snapshots,
            in_flight: status.in_flight,
            role: role_number(status.role),
            poisoned: status.poisoned.as_ref().map_or(ALMADIA_OK, |error| error.code().number()),
            log_bytes: status.log_bytes,
            log_segments: status.log_segments,
            log_holder_id: status.log_holder.map_or(0, |node| node.get()),
            snapshots_sending: status.snapshots_sending,
            snapshots_receiving: status.snapshots_receiving,
        }
    }
}

pub(super) fn role_number(role: Role) -> almadia_role {
    match role {
        Role::Follower => ALMADIA_ROLE_FOLLOWER,
        Role::Candidate => ALMADIA_ROLE_CANDIDATE,
        Role::Leader => ALMADIA_ROLE_LEADER,
    }
}
