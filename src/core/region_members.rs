//! What a member publishes of the configuration of one of its regions.
//!
//! Owns [`RegionMembers`]. It is a copy: nothing is decided by it, and it may be older than what the peer has by now.

use std::sync::Arc;

use crate::core::member_list::MemberList;
use crate::core::next_change::Waits;
use crate::types::{LogIndex, NodeId};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegionMembers {
    /// All that are part of the configuration, with whether they vote, in order of their numbers.
    pub members: Vec<(NodeId, bool)>,
    /// The configuration is between two.
    pub is_joint: bool,
    /// The newest list that the configuration is known to follow.
    pub settled_version: u64,
    /// The list that the region has, if it is the first.
    pub list: Option<Arc<MemberList>>,
    /// For what its leader waits, if this member leads.
    pub waits: Option<Waits>,
    /// Up to where each other member has the log, and whether it was heard of lately, if this member leads.
    pub progress: Vec<(NodeId, LogIndex, bool)>,
}

impl RegionMembers {
    /// Whether `node` is part of the configuration.
    #[must_use]
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.members.iter().any(|(member, _)| *member == node)
    }
}
