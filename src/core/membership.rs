//! What a configuration change makes of a configuration.
//!
//! Owns the one rule that both the applier (which stores the result) and the peer (whose raft node takes the
//! change) must agree on. The rule itself is raft's; this file only asks it without a raft node at hand.

use protobuf::Message as _;
use raft::RawNode;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType};
use raft::storage::MemStorage;

/// Largest encoded configuration change. It is the only thing from a peer that protobuf parses, so it is kept
/// far too small for the parser's known weakness, a stack overflow on nested input (RUSTSEC-2024-0437).
pub(crate) const CONF_CHANGE_BYTES_MAX: usize = 4 * 1024;

/// Reads a configuration change entry; none when it is malformed or of raft's first format, which is never proposed.
#[must_use]
pub(crate) fn parse(entry: &Entry) -> Option<ConfChangeV2> {
    if entry.data.len() > CONF_CHANGE_BYTES_MAX {
        return None;
    }
    let current_format = entry.get_entry_type() == EntryType::EntryConfChangeV2;
    if current_format { ConfChangeV2::parse_from_bytes(&entry.data).ok() } else { None }
}

/// Says which version of the list of members `change` follows.
pub(crate) fn put_list_version(change: &mut ConfChangeV2, version: u64) {
    assert!(version > 0, "the first list has version 1");
    change.context = version.to_le_bytes().to_vec().into();
}

/// The version of the list of members that `change` follows; 0 for one that follows none. None when it says neither.
#[must_use]
pub(crate) fn list_version(change: &ConfChangeV2) -> Option<u64> {
    if change.context.is_empty() {
        return Some(0);
    }
    change.context.as_ref().try_into().ok().map(u64::from_le_bytes)
}

/// The configuration after `change`, or why raft refuses it. Deterministic: every member refuses alike.
///
/// # Errors
/// raft's reason, such as removing the last voter or a second change while a joint one is open.
pub(crate) fn changed(members: &ConfState, change: &ConfChangeV2) -> raft::Result<ConfState> {
    // raft keeps its restore function to itself, so the question goes to a node that never runs.
    let config = raft::Config { id: 1, ..Default::default() };
    let storage = MemStorage::new_with_conf_state(members.clone());
    let mut node = RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!()))?;
    let changed = node.apply_conf_change(change)?;
    assert!(!changed.voters.is_empty(), "raft refuses to remove the last voter");
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{ConfChangeSingle, ConfChangeType};

    use super::*;

    fn add_learner(node_id: u64) -> ConfChangeV2 {
        let single =
            ConfChangeSingle { node_id, change_type: ConfChangeType::AddLearnerNode, ..Default::default() };
        ConfChangeV2 { changes: vec![single].into(), ..Default::default() }
    }

    #[test]
    fn a_learner_is_added_beside_the_voters() {
        let members = ConfState { voters: vec![1, 2, 3], ..Default::default() };

        let after = changed(&members, &add_learner(4)).expect("a simple change");

        assert_eq!((after.voters.len(), after.learners), (3, vec![4]));
    }

    #[test]
    fn removing_the_last_voter_is_refused() {
        let members = ConfState { voters: vec![1], ..Default::default() };
        let mut change = add_learner(1);
        change.mut_changes()[0].set_change_type(ConfChangeType::RemoveNode);

        assert!(changed(&members, &change).is_err());
    }

    #[test]
    fn an_oversized_change_is_not_parsed() {
        let mut entry = Entry { data: vec![0; CONF_CHANGE_BYTES_MAX + 1].into(), ..Default::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);

        assert!(parse(&entry).is_none());
    }
}
