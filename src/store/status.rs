//! The status that a store reports.
//!
//! Owns the status of a store and of a region as callers see it. What always holds: a poisoned store reports no
//! leader and itself as a follower. Collecting the values is left to the store and its peers.

use crate::core::peer_status::{PeerStatus, Role};
use crate::error::Error;
use crate::types::{LogIndex, NodeId, RegionId, Term};

/// A momentary view of a store. Where it refers to a log, that is the log of the first region, which owns the
/// smallest keys; [`RegionStatus`] covers the others.
#[derive(Clone, Debug)]
pub struct Status {
    /// This member.
    pub node: NodeId,
    /// The member that this one believes to be the leader; none while there is no leader.
    pub leader: Option<NodeId>,
    /// This member's raft role.
    pub role: Role,
    /// Current raft term.
    pub term: Term,
    /// Highest log index this member knows to be committed.
    pub commit_index: LogIndex,
    /// Highest log index whose effect is visible on this member.
    pub applied_index: LogIndex,
    /// Last log index this member holds.
    pub last_index: LogIndex,
    /// Calls accepted and not yet answered.
    pub in_flight: u64,
    /// Snapshots and iterators that prevent old data from being cleaned up.
    pub live_snapshots: u64,
    /// Length of the raft log's files, of all regions, in bytes.
    pub log_bytes: u64,
    /// How many files those are.
    pub log_segments: u64,
    /// The member for which this one, as a leader, keeps more log than `log.retain_bytes`, because it lags or is away;
    /// the first one when there are several.
    pub log_holder: Option<NodeId>,
    /// Raft snapshots that this member sends at this moment; [`Store::raft_snapshots`](crate::Store::raft_snapshots) has more.
    pub snapshots_sending: u64,
    /// Raft snapshots that this member receives at this moment.
    pub snapshots_receiving: u64,
    /// The error that stopped the store, if one did.
    pub poisoned: Option<Error>,
}

/// A momentary view of one region on this member.
#[derive(Clone, Debug)]
pub struct RegionStatus<'a> {
    /// Which region.
    pub id: RegionId,
    /// Its first key.
    pub start_key: &'a [u8],
    /// The first key after its last; empty if there is none.
    pub end_key: &'a [u8],
    /// The member that this one believes to lead the region; none while there is no leader.
    pub leader: Option<NodeId>,
    /// This member's raft role in the region.
    pub role: Role,
    /// Current raft term of the region.
    pub term: Term,
    /// Highest index of the region's log this member knows to be committed.
    pub commit_index: LogIndex,
    /// Highest index of the region's log whose effect is visible on this member.
    pub applied_index: LogIndex,
    /// Last index of the region's log this member holds.
    pub last_index: LogIndex,
    /// What the region's log may hold, because the libraries of all members know it, as far as this member has applied it.
    /// 0: a member runs a release that knows no conditions, or did a moment ago. 1: everything that this release offers.
    pub feature_level: u16,
    /// This member takes in a raft snapshot: nothing is read here until that is done.
    pub installing: bool,
    /// How many members this one, as the region's leader, helps with a raft snapshot: from when it is made until they have
    /// caught up.
    pub helped: u64,
}

impl<'a> RegionStatus<'a> {
    pub(crate) fn new(id: RegionId, range: (&'a [u8], &'a [u8]), peer: PeerStatus, poisoned: bool) -> Self {
        let PeerStatus {
            term,
            commit_index,
            applied_index,
            last_index,
            level: feature_level,
            installing,
            helped,
            ..
        } = peer;
        let (role, leader) = part(peer, poisoned);
        let (start_key, end_key) = range;
        Self {
            id,
            start_key,
            end_key,
            leader,
            role,
            term,
            commit_index,
            applied_index,
            last_index,
            feature_level,
            installing,
            helped,
        }
    }
}

/// The role and the leader. A poisoned store no longer takes part in anything, whatever it last published.
pub(super) fn part(peer: PeerStatus, poisoned: bool) -> (Role, Option<NodeId>) {
    if poisoned { (Role::Follower, None) } else { (peer.role, peer.leader) }
}
