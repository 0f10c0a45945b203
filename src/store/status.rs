//! What a store says about itself.

use crate::core::peer_status::{PeerStatus, Role};
use crate::error::Error;
use crate::types::{LogIndex, NodeId, RegionId, Term};

/// A moment's picture of a store. Where it speaks of a log it means that of the first region, which owns the smallest
/// keys; [`RegionStatus`] has the others.
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
        let PeerStatus { term, commit_index, applied_index, last_index, .. } = peer;
        let (role, leader) = part(peer, poisoned.is_some());
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

/// A moment's picture of one region on this member.
#[derive(Clone, Debug)]
pub struct RegionStatus<'a> {
    /// Which region.
    pub id: RegionId,
    /// Its first key.
    pub start_key: &'a [u8],
    /// The first key behind it; empty when there is none.
    pub end_key: &'a [u8],
    /// The member this one believes to lead the region; none while there is no leader.
    pub leader: Option<NodeId>,
    /// This member's raft role in the region.
    pub role: Role,
    /// Current raft term of the region.
    pub term: Term,
    /// Highest index of the region's log this member knows to be committed.
    pub commit_index: LogIndex,
    /// Highest index of the region's log whose effect this member can show.
    pub applied_index: LogIndex,
    /// Last index of the region's log this member holds.
    pub last_index: LogIndex,
}

impl<'a> RegionStatus<'a> {
    pub(crate) fn new(id: RegionId, range: (&'a [u8], &'a [u8]), peer: PeerStatus, poisoned: bool) -> Self {
        let PeerStatus { term, commit_index, applied_index, last_index, .. } = peer;
        let (role, leader) = part(peer, poisoned);
        let (start_key, end_key) = range;
        Self { id, start_key, end_key, leader, role, term, commit_index, applied_index, last_index }
    }
}

/// A poisoned store takes part in nothing any more, whatever it published last.
fn part(peer: PeerStatus, poisoned: bool) -> (Role, Option<NodeId>) {
    if poisoned { (Role::Follower, None) } else { (peer.role, peer.leader) }
}
