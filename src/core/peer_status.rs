//! What a peer says about itself.
//!
//! Owns the picture of a peer that is published after each round, for whoever asks. It is a copy: nothing is decided
//! by it.

use crate::completion::deadlines::KnownRegion;
use crate::types::{LogIndex, NodeId, Term};

/// A peer's status, for callers to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerStatus {
    /// Raft role.
    pub role: Role,
    /// Current term.
    pub term: Term,
    /// The leader this peer follows, or itself.
    pub leader: Option<NodeId>,
    /// There is a connection to it, as far as is known.
    pub is_leader_reachable: bool,
    /// Highest index known committed.
    pub commit_index: LogIndex,
    /// Highest applied index.
    pub applied_index: LogIndex,
    /// Last index of the log.
    pub last_index: LogIndex,
    /// Term of the entry at the applied index.
    pub applied_term: Term,
    /// Everything that was on record as committed when the store was opened is applied.
    pub replayed: bool,
    /// Its log lost its end and does not have it back: it takes no part in elections.
    pub lacks_end: bool,
    /// It takes in a raft snapshot: nothing is read here until that is done.
    pub installing: bool,
    /// The member for which this leader keeps more of its log than it is to retain.
    pub log_holder: Option<NodeId>,
    /// How many members this leader helps with a raft snapshot.
    pub helped: u64,
    /// The member was given the region's data.
    pub has_data: bool,
    /// The feature level: what may be in the log behind what is applied.
    pub level: u16,
}

impl PeerStatus {
    /// For whoever must say why a call had to wait.
    #[must_use]
    pub(crate) fn known(&self) -> KnownRegion {
        let Self { leader, is_leader_reachable, applied_index: applied, .. } = *self;
        KnownRegion { leader, is_leader_reachable, applied }
    }
}

/// Raft role of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Takes part and follows.
    #[default]
    Follower,
    /// Asks for votes, or asks whether it would get them.
    Candidate,
    /// Leads.
    Leader,
}
