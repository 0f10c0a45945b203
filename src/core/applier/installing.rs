//! A raft snapshot on its way into the engine.
//!
//! Owns the steps of an install, in their order: all that is older is applied; the region is emptied, on record; others
//! put the data in their place; the region and its state are those of the snapshot. What always holds: one snapshot at a
//! time, nothing newer before its end, and no other write in the batch of a step behind it.

use raft::eraftpb::Entry;

use super::{Applier, ApplyBatch};
use crate::core::raft_snapshot::SnapshotHead;

/// A raft snapshot on its way into the engine.
#[derive(Debug)]
pub(super) struct Install {
    pub(super) head: Box<SnapshotHead>,
    stage: InstallStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstallStage {
    /// What was applied before is still there.
    Waiting,
    /// It is gone, and others put the new data in its place.
    Running,
    /// They are there.
    Done,
}

impl Applier {
    /// The data of the raft snapshot are in their place.
    ///
    /// # Panics
    /// When none was on its way there.
    pub(super) fn finish_install(&mut self) {
        let install = self.install.as_mut().expect("what was begun is finished");
        assert_eq!(install.stage, InstallStage::Running, "what was begun is finished once");
        install.stage = InstallStage::Done;
    }

    pub(super) fn install_stage(&self) -> Option<InstallStage> {
        self.install.as_ref().map(|install| install.stage)
    }

    /// What is older than the snapshot and waits has no effect any more: the snapshot has its effects, or those of what
    /// took its place.
    pub(super) fn take_install(&mut self, head: Box<SnapshotHead>) {
        assert!(self.install.is_none(), "one snapshot is installed at a time");
        assert!(head.state.index > self.state.index, "a snapshot shows more than what is applied");
        self.install = Some(Install { head, stage: InstallStage::Waiting });
    }

    /// The next step of a raft snapshot, when it is its turn: all that is older is applied.
    pub(super) fn step_install(&mut self, batch: &mut ApplyBatch) -> bool {
        let Some(install) = &mut self.install else { return false };
        let is_older = |entry: &Entry| entry.index <= install.head.state.index.get();
        if self.entries.front().is_some_and(is_older) {
            return false;
        }
        match install.stage {
            InstallStage::Running => return false,
            InstallStage::Waiting => {
                install.stage = InstallStage::Running;
                assert!(
                    batch.states.iter().all(|(id, _)| *id != self.region.id),
                    "a region has one share of a batch"
                );
                batch.clears.push(*install.head.clone());
            }
            InstallStage::Done => {
                assert!(
                    install.head.state.index > self.state.index,
                    "a snapshot shows more than what is applied"
                );
                assert_eq!(install.head.region.id, self.region.id, "it is of this region");
                self.state = install.head.state;
                self.region = install.head.region.clone();
                batch.installed.push(self.region.id);
                self.install = None;
                self.store_region(batch);
            }
        }
        // What is written from here on shows other data, and other versions.
        batch.is_closed = true;
        true
    }

    /// The next entry; none when a raft snapshot comes before it.
    pub(super) fn take_entry(&mut self) -> Option<Entry> {
        let snapshot = self.install.as_ref().map(|install| install.head.state.index.get());
        let is_before = |entry: &Entry| snapshot.is_none_or(|index| entry.index <= index);
        if self.entries.front().is_some_and(is_before) { self.entries.pop_front() } else { None }
    }
}
