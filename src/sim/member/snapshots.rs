//! A simulated member's raft snapshots.
//!
//! Owns the part of `pollers` and `storage` in them: making one, keeping what has arrived, putting it into the engine. What
//! always holds: what is staged survives a crash, what was made for others does not; a snapshot is made of the data of one
//! moment, and of none while another one takes their place.

use std::sync::Arc;

use super::Member;
use super::io::{End, take_effect};
use crate::core::applier::ApplyTask;
use crate::core::input::Input;
use crate::core::planted::{self, Fault};
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage};
use crate::sim::disk::Data;
use crate::types::{ApplyState, NodeId, RegionId};

/// A raft snapshot with its data.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Of what it is.
    pub head: SnapshotHead,
    /// The data.
    pub data: Arc<Data>,
}

impl Member {
    /// Makes a raft snapshot of `region` for `to`.
    pub(crate) fn export(&mut self, region: RegionId, to: NodeId) {
        let is_replaced = self.engine.replaces(region).is_some();
        let Some(running) = &mut self.running else { return };
        let (record, state) = self.engine.state_of(region);
        let head = SnapshotHead { region: record, state };
        let told = (!is_replaced).then(|| Box::new(head.clone()));
        if told.is_some() {
            running.made.insert((region, to), Image { head, data: Arc::new(self.engine.data_of(region)) });
        }
        running.inputs.push((region, Input::Exported(to, told)));
    }

    /// What was made of `region` for `to`, if it still is what is to be sent.
    pub(crate) fn take_made(&mut self, message: &SnapshotMessage) -> Option<Image> {
        let running = self.running.as_mut()?;
        let made = running.made.get(&(message.head.region.id, message.to))?;
        (made.head == message.head).then(|| made.clone())
    }

    /// Nobody needs what was made of `region` for `to`.
    pub(crate) fn drop_made(&mut self, region: RegionId, to: NodeId) {
        if let Some(running) = &mut self.running {
            running.made.remove(&(region, to));
        }
    }

    /// A raft snapshot has arrived; its data are staged.
    pub(crate) fn stage(&mut self, message: SnapshotMessage, data: Arc<Data>) {
        let Some(running) = &mut self.running else { return };
        let (region, state) = (message.head.region.id, message.head.state);
        self.staged.insert((region, state.index, state.term), Image { head: message.head.clone(), data });
        running.inputs.push((region, Input::Staged(Box::new(message))));
    }

    /// Nobody needs what is staged of `region` at `state`.
    pub(crate) fn discard(&mut self, region: RegionId, state: ApplyState) {
        self.staged.remove(&(region, state.index, state.term));
    }

    /// True while a raft snapshot is on its way into the engine.
    pub(crate) fn has_to_install(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.installs.is_empty())
    }

    /// One step of that: the data are linked, then the applier goes on.
    pub(crate) fn install(&mut self) -> Option<End> {
        let running = self.running.as_mut()?;
        let (head, is_linked) = running.installs.first_mut()?;
        if !take_effect(&mut self.effects_left) {
            return self.end_in_crash();
        }
        let region = head.region.id;
        if *is_linked {
            running.installs.remove(0);
            running.tasks.push_back(ApplyTask::installed(region));
            return None;
        }
        *is_linked = true;
        let place = (region, head.state.index, head.state.term);
        let data =
            Arc::clone(&self.staged.get(&place).expect("it is staged until the engine has flushed it").data);
        self.engine.link(region, &data);
        None
    }

    /// The raft snapshot behind which the log of `region` begins, if the engine does not show it.
    pub(super) fn pending_install(&self, region: RegionId) -> Option<SnapshotHead> {
        let (_, applied) = self.engine.state_of(region);
        let (index, term) = self.log.recover(region).truncated;
        if index <= applied.index || planted::has(Fault::PendingInstallForgotten) {
            return None;
        }
        let staged = self.staged.get(&(region, index, term));
        // What a store says that finds this when it is opened.
        Some(staged.expect("CORRUPTION: what the log begins behind is staged or in the engine").head.clone())
    }
}
