//! Watching a member.
//!
//! Owns the interface that shows every effect of a member at the moment it happens. What always holds: the watcher is
//! notified before anyone else can know of the effect. What to do with it is left to the watcher: a golden script
//! writes it down, the simulator checks it.

use crate::core::applier::{Applied, ApplyTask};
use crate::core::forwarding::Origin;
use crate::core::ports::{LogWrite, PeerMessage};
use crate::sim::disk::DiskLog;
use crate::sim::network::{describe, describe_entry};
use crate::types::{ApplyState, BOOTSTRAP_REGION, RegionId};

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
        let line = |write: &LogWrite| {
            format!("  {node} synced {}{}", describe_write(write), of_region(write.region))
        };
        self.extend(writes.iter().map(line));
    }

    fn handed_over(&mut self, node: u64, _: &DiskLog, task: &ApplyTask) {
        let of = of_region(task.region);
        if let Some(head) = &task.install {
            self.push(format!("  {node} is to install the snapshot at {}{of}", place(head.state)));
        }
        if let (Some(first), Some(last)) = (task.entries.first(), task.entries.last()) {
            self.push(format!("  {node} committed {}..={}{of}", first.index, last.index));
        }
    }

    fn reported(&mut self, member: Origin, applied: &Applied) {
        let (node, of) = (member.node, of_region(applied.region));
        if applied.installed {
            self.push(format!("{node} shows the snapshot{of}"));
        }
        self.push(format!("{node} applied up to {}{of}", applied.state.index));
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

/// An apply state as `index/term`.
pub(crate) fn place(state: ApplyState) -> String {
    format!("{}/{}", state.index, state.term)
}

/// Names the region at the end of a line, unless it is the first.
pub(crate) fn of_region(region: RegionId) -> String {
    if region == BOOTSTRAP_REGION { String::new() } else { format!(" in region {region}") }
}
