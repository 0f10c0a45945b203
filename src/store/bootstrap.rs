//! The first start of a member.
//!
//! Owns the initial state of a cluster: its id, its regions, and the contents of engine and log before the first
//! entry. What always holds: all members start with the same state, from the same configuration; the directory
//! records the first start as complete only once everything is on disk, and an incomplete one is started over. The
//! order of recovery is left to [`assembly`](super::assembly).

use raft::eraftpb::HardState;

use crate::config::Member;
use crate::core::ports::LogWrite;
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::regions::shown;
use crate::storage::directory::Directory;
use crate::storage::engine::Engine;
use crate::storage::log_store::{LogStore, RecoveredLog};
use crate::types::{
    ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_REGION, BOOTSTRAP_TERM, ClusterId, LogIndex, RegionId, Term,
};

/// Maximum number of split keys named in a message.
const SHOWN_KEYS_MAX: usize = 8;

/// Writes the initial state of `regions` to an empty engine and an empty log. Returns what recovery would now find in
/// the log.
pub(super) fn first_start(
    directory: &Directory,
    engine: &Engine,
    log: &LogStore,
    regions: Vec<Region>,
) -> Result<Vec<RecoveredLog>> {
    log.append(&regions.iter().map(first_write).collect::<Vec<_>>())?;
    // All of them, or none.
    let lacks_data = regions.iter().any(Region::lacks_data);
    engine.bootstrap(&regions, if lacks_data { ApplyState::default() } else { ApplyState::BOOTSTRAP })?;
    directory.finish()?;
    Ok(regions.iter().map(first_log).collect())
}

/// The initial regions of a cluster, numbered in key order.
pub(super) fn first_regions(members: &[Member], split_keys: &[Vec<u8>]) -> Vec<Region> {
    let voters: Vec<_> = members.iter().map(|member| member.node).collect();
    let whole = Region::bootstrap(&voters);
    let ends = split_keys.iter().cloned().chain([Vec::new()]);
    let starts = std::iter::once(Vec::new()).chain(split_keys.iter().cloned());
    let region =
        |((start_key, end_key), id)| Region { id: RegionId(id), start_key, end_key, ..whole.clone() };
    starts.zip(ends).zip(BOOTSTRAP_REGION.get()..).map(region).collect()
}

/// Creates a region's log, which starts after the truncated entry that all members share; at nothing for a region whose
/// data are yet to come.
fn first_write(region: &Region) -> LogWrite {
    let RecoveredLog { hard_state, truncated, .. } = first_log(region);
    LogWrite { hard_state: Some(hard_state), truncate_to: Some(truncated), ..LogWrite::new(region.id) }
}

/// The log as [`first_write`] leaves it.
fn first_log(region: &Region) -> RecoveredLog {
    let truncated =
        if region.lacks_data() { (LogIndex(0), Term(0)) } else { (BOOTSTRAP_INDEX, BOOTSTRAP_TERM) };
    let (commit, term) = (truncated.0.get(), truncated.1.get());
    let hard_state = HardState { term, commit, ..HardState::default() };
    RecoveredLog { region: region.id, hard_state, truncated, last: truncated, lost_end: None }
}

/// FNV-1a over the name, the members' numbers and the split keys. Addresses may change during a cluster's life; the
/// initial members and regions may not.
pub(super) fn cluster_id(name: &str, members: &[Member], split_keys: &[Vec<u8>]) -> ClusterId {
    let numbers = members.iter().flat_map(|member| member.node.get().to_le_bytes());
    let named = name.bytes().chain([0]).chain(numbers).fold(0xcbf2_9ce4_8422_2325_u64, digest);
    // No member has the number 0, so 0 separates the members from the keys.
    let length = |key: &Vec<u8>| (key.len() as u64).to_le_bytes();
    let keys =
        split_keys.iter().flat_map(|key| [0; 8].into_iter().chain(length(key)).chain(key.iter().copied()));
    ClusterId(keys.fold(named, digest))
}

fn digest(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// A cluster refused as a different one may be this one with other split keys, so the message names the configured
/// split keys.
pub(super) fn naming_split_keys(error: Error, split_keys: &[Vec<u8>]) -> Error {
    if error.code() != Code::WrongCluster {
        return error;
    }
    let mut keys: Vec<_> = split_keys.iter().take(SHOWN_KEYS_MAX).map(|key| shown(key)).collect();
    if split_keys.len() > SHOWN_KEYS_MAX {
        keys.push(format!("and {} more", split_keys.len() - SHOWN_KEYS_MAX));
    }
    let detail = format!("{} (bootstrap.split_keys is '{}')", error.detail(), keys.join(","));
    Error::with_detail(Code::WrongCluster, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn members(nodes: &[u64]) -> Vec<Member> {
        nodes.iter().map(|&node| Member { node: NodeId(node), address: String::new() }).collect()
    }

    #[test]
    fn the_id_of_a_cluster_without_split_keys_never_changes() {
        let id = cluster_id("almadia", &members(&[1, 2, 3]), &[]);

        assert_eq!(format!("{:016x}", id.get()), "6776cb91221fa5e0");
    }

    #[test]
    fn clusters_with_different_split_keys_have_different_ids() {
        let id = |keys: &[&[u8]]| {
            let keys: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
            cluster_id("almadia", &members(&[1]), &keys).get()
        };

        let mut ids = [id(&[]), id(&[b"ab"]), id(&[b"a", b"b"]), id(&[b"a"]), id(&[&[0; 8]])];
        ids.sort_unstable();

        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:x?}");
    }

    #[test]
    fn first_regions_cover_all_keys_in_order_of_their_ids() {
        let regions = first_regions(&members(&[1, 2]), &[b"g".to_vec(), b"p".to_vec()]);

        let ranges: Vec<_> = regions.iter().map(|r| (r.id.get(), &r.start_key[..], &r.end_key[..])).collect();
        assert_eq!(ranges, [(1, &b""[..], &b"g"[..]), (2, b"g", b"p"), (3, b"p", b"")]);
        assert!(regions.iter().all(|region| region.members.voters == [1, 2]));
    }
}
