//! Raft snapshots between raft, which asks for them, and the peer, which has them made.
//!
//! Owns which members raft wants one for, and those that may be sent. What always holds: raft is given a snapshot only for
//! the member that it was made for, and none that the log does not continue. Making and sending them are left to
//! `peer/sending`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::Snapshot;

use crate::core::raft_snapshot::{SnapshotHead, raft_form};
use crate::types::{LogIndex, NodeId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// raft asks through a shared reference.
    wanted: RefCell<BTreeSet<NodeId>>,
    ready: BTreeMap<NodeId, SnapshotHead>,
}

impl Offers {
    /// The snapshot for `to`, no older than `least` and, so that the log continues it, than `truncated`. None, and the
    /// wish is noted, when there is none.
    pub(crate) fn find(&self, to: NodeId, least: LogIndex, truncated: LogIndex) -> Option<Snapshot> {
        let fits = |head: &&SnapshotHead| head.state.index >= least.max(truncated);
        assert!(to > NodeId(0), "raft sends to members");
        let found = self.ready.get(&to).filter(fits).map(raft_form);
        if found.is_none() {
            self.wanted.borrow_mut().insert(to);
        }
        found
    }

    /// Whether raft asked for a snapshot that was not there.
    #[must_use]
    pub(crate) fn has_wishes(&self) -> bool {
        !self.wanted.borrow().is_empty()
    }

    /// Takes out for whom raft asked in vain.
    pub(crate) fn take_wishes(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(self.wanted.get_mut())
    }

    /// raft may send this to `to`.
    pub(crate) fn offer(&mut self, to: NodeId, head: SnapshotHead) {
        assert!(head.region.has_member(to), "a snapshot names its receiver");
        let before = self.ready.insert(to, head);
        assert!(before.is_none(), "one offer at a time");
    }

    /// Takes back what `to` is offered, if it is anything.
    pub(crate) fn take(&mut self, to: NodeId) -> Option<SnapshotHead> {
        self.ready.remove(&to)
    }

    /// Nobody is offered anything, and nobody has asked.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
