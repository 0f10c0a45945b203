//! What a store says about itself.

use crate::core::peer_status::{PeerStatus, Role};
use crate::error::Error;
use crate::types::{LogIndex, NodeId, Term};

/// A moment's picture of a store.
#[derive(Clone, Debug)]
pub struct Status {
    /// This member.
    pub node: NodeId,
    /// The member it believes to lead; none while there is no leader.
    pub leader: Option<NodeId>,
    /// This member's raft role.
    pub role: Role,
    /// Current raft term.
    pub term: Term,
    /// Highest log index this member knows to be committed.
    pub commit_index: LogIndex,
    /// Highest log index whose effect this member can show.
    pub applied_index: LogIndex,
    /// Last log index this member holds.
    pub last_index: LogIndex,
    /// Calls accepted and not yet answered.
    pub in_flight: u64,
    /// Snapshots and iterators that keep old data from being cleaned up.
    pub live_snapshots: u64,
    /// The error that stopped the store, if one did.
    pub poisoned: Option<Error>,
}

impl Status {
    pub(crate) fn new(
        node: NodeId,
        peer: PeerStatus,
        in_flight: u64,
        live_snapshots: u64,
        poisoned: Option<Error>,
    ) -> Self {
        let PeerStatus { role, term, leader, commit_index, applied_index, last_index, .. } = peer;
        let (role, leader) = if poisoned.is_some() { (Role::Follower, None) } else { (role, leader) };
        Self {
            node,
            leader,
            role,
            term,
            commit_index,
            applied_index,
            last_index,
            in_flight,
            live_snapshots,
            poisoned,
        }
    }
}
