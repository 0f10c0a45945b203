//! Watches the members of a cluster.
//!
//! Owns the path from a member's effects to the ledger and the trace. What always holds: an effect is checked against
//! what the disk holds at that moment.

use raft::eraftpb::Entry;

use crate::core::applier::{Applied, ApplyTask};
use crate::core::forwarding::Origin;
use crate::core::ports::{Body, LogWrite, PeerMessage};
use crate::sim::disk::DiskLog;
use crate::sim::invariants::Ledger;
use crate::sim::network::{describe, of_raft};
use crate::sim::trace::Trace;
use crate::sim::watch::{Watch, describe_write};

/// Checks and records what members do.
pub(crate) struct Observer<'a> {
    /// Checks.
    pub ledger: &'a mut Ledger,
    /// Records.
    pub trace: &'a mut Trace,
}

impl Watch for Observer<'_> {
    fn sending(&mut self, node: u64, _: &DiskLog, message: &PeerMessage) {
        self.trace.say_of(message.region, || format!("  {}", describe(message)));
        for (region, raft) in of_raft(message) {
            self.ledger.on_sending(node, region, &raft);
        }
        if let Body::ForwardAnswer(answer) = &message.body {
            self.ledger.on_sending_answer(message.region, answer);
        }
    }

    fn synced(&mut self, node: u64, _: &DiskLog, writes: &[LogWrite]) {
        for write in writes {
            self.trace.say_of(write.region, || format!("  {node} synced {}", describe_write(write)));
        }
        self.ledger.on_synced(node, writes);
    }

    fn handed_over(&mut self, node: u64, _: &DiskLog, task: &ApplyTask) {
        let index = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.index);
        let (first, last) = (index(task.entries.first()), index(task.entries.last()));
        self.trace.say_of(task.region, || format!("  {node} committed {first}..={last}"));
        self.ledger.on_handed_over(node, task);
    }

    fn reported(&mut self, member: Origin, applied: &Applied) {
        let (node, index) = (member.node, applied.state.index);
        self.trace.say_of(applied.region, || format!("{node} applied up to {index}"));
        self.ledger.on_reported(member, applied);
    }

    fn ended(&mut self, node: u64, how: &str) {
        self.trace.say(|| format!("{node} {how}"));
    }
}
