//! Raft snapshots that a store finds when it is opened.
//!
//! Owns the decision which of them are to be installed. What always holds: the raft log decides. If a region's log begins
//! behind what the engine has, that much is in a raft snapshot which is staged, and it is installed, for the first time or
//! again; what the log does not refer to is removed. An engine that was emptied for a snapshot shows nothing that anybody
//! may see before that is installed.

use std::collections::BTreeMap;

use crate::core::ports::LogWrite;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::storage::engine::Engine;
use crate::storage::log_store::{LogStore, RecoveredLog};
use crate::storage::staging::Staging;
use crate::types::{ApplyState, RegionId};

/// Raft snapshots to be installed.
pub(super) type Pending = BTreeMap<RegionId, SnapshotHead>;

/// What is to be installed by what the logs say.
///
/// # Errors
/// `CORRUPTION` when it is not there, or damaged.
pub(super) fn find(
    staging: &Staging,
    logs: &[RecoveredLog],
    regions: &[(Region, ApplyState)],
) -> Result<Pending> {
    let mut pending = Pending::new();
    for (region, applied) in regions {
        let log = logs.iter().find(|log| log.region == region.id);
        let Some((index, term)) = log.map(|log| log.truncated).filter(|begin| begin.0 > applied.index) else {
            continue;
        };
        let staged = staging.find(region.id, ApplyState { index, term })?;
        let staged = staged.ok_or_else(|| {
            let detail = format!(
                "region {}: its log begins behind entry {index}, its engine has applied {}, and the raft snapshot that shows \
                 what lies between is gone: remove this member's directory and replace the member",
                region.id, applied.index
            );
            Error::with_detail(Code::Corruption, detail)
        })?;
        pending.insert(region.id, staged.head().clone());
    }
    Ok(pending)
}

/// Brings the logs in line with an engine that was emptied for a raft snapshot: a log that lost its end may have lost that
/// it begins anew behind it. To be called when the log may be written.
///
/// # Errors
/// `CORRUPTION` when the snapshot is not there any more.
pub(super) fn settle(
    engine: &Engine,
    staging: &Staging,
    log: &LogStore,
    recovered: &mut [RecoveredLog],
    pending: &mut Pending,
) -> Result<()> {
    for (region, state) in engine.pending_installs()? {
        if pending.contains_key(&region) {
            // Perhaps a later one, which takes the place of all there is.
            continue;
        }
        let staged = staging.find(region, state)?.ok_or_else(|| {
            let detail = format!(
                "region {region}: its data were removed for a raft snapshot up to entry {}, which is gone: remove this \
                 member's directory and replace the member",
                state.index
            );
            Error::with_detail(Code::Corruption, detail)
        })?;
        let begin = (state.index, state.term);
        log::warn!("region {region}: the log lost its end, and begins anew behind entry {}", state.index);
        log.append(&[LogWrite { truncate_to: Some(begin), ..LogWrite::new(region) }])?;
        if let Some(found) = recovered.iter_mut().find(|found| found.region == region) {
            (found.truncated, found.last) = (begin, begin);
        }
        pending.insert(region, staged.head().clone());
    }
    let referred: Vec<_> = pending.values().map(|head| (head.region.id, head.state)).collect();
    staging.keep_only(&referred)
}
