//! Watching a member.
//!
//! Owns the interface that shows every effect of a member at the moment it happens. What always holds: the watcher is
//! notified before anyone else can know of the effect. What to do with it is left to the watcher: a golden script
//! writes it down, the simulator checks it.

use raft::eraftpb::Entry;

use crate::core::applier::{Applied, ApplyTask};
use crate::core::forwarding::Origin;
use crate::core::ports::{LogWrite, PeerMessage};
use crate::sim::disk::DiskLog;
use crate::sim::network::{describe, describe_entry};

/// See the module.
pub(crate) trait Watch {
    /// `node` is about to send `message`; `log` is what its disk holds at this moment.
    fn sending(&mut self, node: u64, log: &DiskLog, message: &PeerMessage);

    /// `log` now holds `writes`.
    fn synced(&mut self, node: u64, log: &DiskLog, writes: &[LogWrite]);

    /// Committed entries are handed to the applier; `log` is what the disk of `node` holds at this moment.
    fn handed_over(&mut self, node: u64, log: &DiskLog, task: &ApplyTask);

    /// The peer of this member, in this boot, is notified of what took effect.
    fn reported(&mut self, member: Origin, applied: &Applied);

    /// The member has stopped; `how` says why.
    fn ended(&mut self, node: u64, how: &str);
}

/// Writes the lines of a script's output.
impl Watch for Vec<String> {
    fn sending(&mut self, _: u64, _: &DiskLog, message: &PeerMessage) {
        self.push(format!("  {}", describe(message)));
    }

    fn synced(&mut self, node: u64, _: &DiskLog, writes: &[LogWrite]) {
        self.extend(writes.iter().map(|write| format!("  {node} synced {}", describe_write(write))));
    }

    fn handed_over(&mut self, node: u64, _: &DiskLog, task: &ApplyTask) {
        let index = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.index);
        let (first, last) = (index(task.entries.first()), index(task.entries.last()));
        self.push(format!("  {node} committed {first}..={last}"));
    }

    fn reported(&mut self, member: Origin, applied: &Applied) {
        self.push(format!("{} applied up to {}", member.node, applied.state.index));
    }

    fn ended(&mut self, node: u64, how: &str) {
        self.push(format!("{node} {how}"));
    }
}

/// Describes what a sync writes for one region.
pub(crate) fn describe_write(write: &LogWrite) -> String {
    let mut parts: Vec<_> = write.entries.iter().map(describe_entry).collect();
    if let Some(state) = &write.hard_state {
        parts.push(format!("term={} vote={} commit={}", state.term, state.vote, state.commit));
    }
    if let Some((index, _)) = write.truncate_to {
        parts.push(format!("truncated to {index}"));
    }
    parts.join(", ")
}
