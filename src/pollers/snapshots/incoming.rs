//! The raft snapshots that arrive at this member and are installed, for whoever asks.
//!
//! Owns a row for each of them, from its first chunk until its data are in the engine. What always holds: one whose arrival
//! breaks off is not listed; one that is staged is, until it is installed or nobody needs it. Nothing is decided by this.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{RaftSnapshotStage, RaftSnapshotStatus};
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage};
use crate::types::{LogIndex, NodeId, RegionId};

/// What a raft snapshot is of.
type What = (RegionId, LogIndex);

/// See the module.
#[derive(Default)]
pub(super) struct Incoming {
    rows: Mutex<BTreeMap<What, Arc<Row>>>,
}

/// One that arrives, or is staged.
#[derive(Default)]
struct Row {
    /// None: it was found when the store was opened.
    from: Option<NodeId>,
    bytes: AtomicU64,
    bytes_estimate: u64,
    is_staged: AtomicBool,
}

/// Keeps an arrival listed until it is dropped, unless everything has come by then.
pub(super) struct Listed {
    incoming: Arc<Incoming>,
    what: What,
    row: Arc<Row>,
}

impl Incoming {
    /// It begins to arrive; so many bytes came with an earlier connection.
    pub(super) fn begin(
        self: &Arc<Self>,
        message: &SnapshotMessage,
        bytes: u64,
        bytes_estimate: u64,
    ) -> Listed {
        let (from, bytes) = (Some(message.from), AtomicU64::new(bytes));
        let row = Arc::new(Row { from, bytes, bytes_estimate, is_staged: AtomicBool::new(false) });
        let what = what(&message.head);
        self.lock().insert(what, Arc::clone(&row));
        Listed { incoming: Arc::clone(self), what, row }
    }

    /// It is to be installed. It may have arrived before this process was started.
    pub(super) fn install(&self, head: &SnapshotHead) {
        let found = || Arc::new(Row { is_staged: AtomicBool::new(true), ..Row::default() });
        self.lock().entry(what(head)).or_insert_with(found);
    }

    /// What is staged of the region up to `index` is installed, or nobody needs it. Who sent the last of it.
    pub(super) fn end(&self, region: RegionId, index: LogIndex) -> Option<NodeId> {
        let mut rows = self.lock();
        let from = rows.get(&(region, index)).and_then(|row| row.from);
        rows.retain(|what, row| what.0 != region || what.1 > index || !row.is_staged.load(Ordering::Relaxed));
        from
    }

    /// All of them, on their way to this member, `to`.
    pub(super) fn list(&self, to: NodeId) -> Vec<RaftSnapshotStatus> {
        let status = |(&(region, index), row): (&What, &Arc<Row>)| RaftSnapshotStatus {
            region,
            from: row.from,
            to,
            index,
            bytes: row.bytes.load(Ordering::Relaxed),
            bytes_estimate: row.bytes_estimate,
            stage: row.stage(),
        };
        self.lock().iter().map(status).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<What, Arc<Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn stage(&self) -> RaftSnapshotStage {
        let is_staged = self.is_staged.load(Ordering::Relaxed);
        if is_staged { RaftSnapshotStage::Installing } else { RaftSnapshotStage::Receiving }
    }
}

impl Listed {
    /// More of it came.
    pub(super) fn add(&self, bytes: u64) {
        self.row.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All of it came, and is staged.
    pub(super) fn stage(&self) {
        self.row.is_staged.store(true, Ordering::Relaxed);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut rows = self.incoming.lock();
        // The next connection may have begun already.
        let is_own = rows.get(&self.what).is_some_and(|row| Arc::ptr_eq(row, &self.row));
        if is_own && !self.row.is_staged.load(Ordering::Relaxed) {
            rows.remove(&self.what);
        }
    }
}

fn what(head: &SnapshotHead) -> What {
    (head.region.id, head.state.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::region::Region;
    use crate::types::{ApplyState, Term};

    const MEMBER: NodeId = NodeId(2);

    fn message(index: u64) -> SnapshotMessage {
        let state = ApplyState { index: LogIndex(index), term: Term(3) };
        let region = Region::bootstrap(&[NodeId(1), MEMBER, NodeId(3)]);
        SnapshotMessage { from: NodeId(1), to: MEMBER, term: Term(3), head: SnapshotHead { region, state } }
    }

    fn stages(incoming: &Incoming) -> Vec<(u64, RaftSnapshotStage, u64)> {
        let rows = incoming.list(MEMBER);
        rows.iter().map(|row| (row.index.get(), row.stage, row.bytes)).collect()
    }

    #[test]
    fn an_arrival_is_listed_with_what_came_until_it_breaks_off() {
        let incoming = Arc::<Incoming>::default();
        let first = incoming.begin(&message(7), 5, 100);
        first.add(10);
        assert_eq!(stages(&incoming), [(7, RaftSnapshotStage::Receiving, 15)]);

        // The member dials again before the thread of the broken connection has ended.
        let second = incoming.begin(&message(7), 0, 100);
        drop(first);
        assert_eq!(stages(&incoming), [(7, RaftSnapshotStage::Receiving, 0)]);
        drop(second);

        assert_eq!(stages(&incoming), []);
    }

    #[test]
    fn what_is_staged_is_listed_until_it_or_a_later_one_is_in_the_engine() {
        let incoming = Arc::<Incoming>::default();
        for index in [7, 9] {
            incoming.begin(&message(index), index, 100).stage();
        }
        let arriving = incoming.begin(&message(8), 8, 100);
        incoming.install(&message(9).head);

        assert_eq!(incoming.end(message(9).head.region.id, LogIndex(9)), Some(NodeId(1)));

        assert_eq!(stages(&incoming), [(8, RaftSnapshotStage::Receiving, 8)]);
        drop(arriving);
        incoming.install(&message(9).head);
        assert_eq!(stages(&incoming), [(9, RaftSnapshotStage::Installing, 0)]);
        assert_eq!(incoming.end(message(9).head.region.id, LogIndex(9)), None, "nobody knows any more");
    }
}
