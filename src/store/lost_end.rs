//! Opening a store whose raft log has lost its end.
//!
//! Owns the decision whether the store may open with such a log. What always holds: a refusal writes nothing to the
//! log, so its files can still be replaced by an intact copy; a member that is the only voter never continues without
//! entries it acknowledged, unless the operator accepts that particular loss. How a member of a larger cluster
//! recovers the entries is left to the peers ([`crate::core::lost_end`]).

use crate::config::Config;
use crate::core::ports::{LogReader as _, LogWrite};
use crate::core::region::Region;
use crate::error::{Code, Error, Result};
use crate::storage::log_store::{LogStore, LostEnd, RecoveredLog, RecoveredStore};
use crate::types::{ApplyState, NodeId};

/// What to do with a log that may have lost its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is intact, or other members can supply the missing entries.
    Open,
    /// The operator chose to continue without the missing entries.
    OpenWithoutEnd,
}

/// Refuses a log that lost its end if no other member could supply the missing entries.
///
/// # Errors
/// `CORRUPTION`; the detail says what the operator can do.
pub(super) fn judge(
    log: &RecoveredStore,
    regions: &[(Region, ApplyState)],
    config: &Config,
) -> Result<Verdict> {
    let Some(lost_end) = log.lost_end() else { return Ok(Verdict::Open) };
    let what = described(lost_end);
    if config.accept_lost_end == lost_end.id {
        log::warn!("{what}; log.accept_lost_end says to go on without them");
        return Ok(Verdict::OpenWithoutEnd);
    }
    let own = NodeId(config.node_id);
    if regions.iter().any(|(region, _)| region.is_decided_by(own)) {
        let detail = format!(
            "{what}, among them writes that may have been acknowledged, and no other member has them: put a copy of the \
             directory from before the damage in its place; or set log.accept_lost_end to {} to go on without them",
            lost_end.id
        );
        return Err(Error::with_detail(Code::Corruption, detail));
    }
    log::warn!(
        "{what}: this member takes no part in elections until a leader has sent it what is missing. Should a \
         majority of the members lack theirs for good, log.accept_lost_end = {} on as few of them as complete a majority \
         with the others goes on without what only they had",
        lost_end.id
    );
    Ok(Verdict::Open)
}

/// Brings an opened log in line with the engine and the verdict.
///
/// # Errors
/// As [`LogStore::append`].
pub(super) fn reconcile(
    log: &LogStore,
    recovered: &mut [RecoveredLog],
    regions: &[(Region, ApplyState)],
    verdict: Verdict,
) -> Result<()> {
    follow_engine(log, recovered, regions)?;
    if verdict == Verdict::OpenWithoutEnd {
        let forget =
            |found: &RecoveredLog| LogWrite { has_lost_end_back: true, ..LogWrite::new(found.region) };
        // Last, and in one step: until then every open finds the loss, and what its regions promised, again.
        log.append(&recovered.iter().map(forget).collect::<Vec<_>>())?;
        recovered.iter_mut().for_each(|found| found.lost_end = None);
    }
    Ok(())
}

/// Restarts a region's log right after its applied index if the engine holds entries that the log lost, or shows that
/// an entry now back in the log had been overwritten.
fn follow_engine(
    log: &LogStore,
    recovered: &mut [RecoveredLog],
    regions: &[(Region, ApplyState)],
) -> Result<()> {
    for (region, applied) in regions {
        let found = recovered.iter_mut().find(|found| found.region == region.id);
        let Some(found) = found.filter(|found| found.lost_end.is_some()) else { continue };
        if found.truncated.0 > applied.index {
            // It begins behind a raft snapshot that the engine does not show yet.
            continue;
        }
        let begin = (applied.index, applied.term);
        if log.term(region.id, begin.0).is_ok_and(|term| term == begin.1) {
            continue;
        }
        log.append(&[LogWrite { truncate_to: Some(begin), ..LogWrite::new(region.id) }])?;
        (found.truncated, found.last) = (begin, begin);
    }
    Ok(())
}

fn described(LostEnd { path, offset, missing_frames, .. }: &LostEnd) -> String {
    let path = path.display();
    match missing_frames {
        0 => format!("{path}, offset {offset}: the raft log still lacks the end that it lost"),
        missing => format!(
            "{path}, offset {offset}: the raft log ends, and {missing} frames that were synced are gone"
        ),
    }
}
