//! Raft snapshots in virtual time.
//!
//! Owns when they are made, how long they travel, what becomes of them on the way, and when they are installed. What always
//! holds: the sender hears of the end of every sending while it lives, though perhaps not of its success; one that arrives
//! is whole, however late it is and however often it comes.

use std::sync::Arc;

use super::{Cluster, Event};
use crate::core::input::Input;
use crate::core::ports::Errand;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::sim::disk::Data;
use crate::sim::invariants::Check;
use crate::sim::member::Image;
use crate::types::{NodeId, RegionId};

/// A step on the way of a raft snapshot.
#[derive(Debug)]
pub(super) enum Step {
    /// It is made.
    Make { host: usize, boot: u64, region: RegionId, to: NodeId },
    /// The receiver has so much of it.
    Move { from: usize, boot: u64, message: Box<SnapshotMessage>, bytes: u64 },
    /// It arrives.
    Arrive { from: usize, boot: u64, message: Box<SnapshotMessage>, data: Arc<Data> },
    /// Its sender hears of the end.
    End { from: usize, boot: u64, message: Box<SnapshotMessage>, is_delivered: bool },
}

impl Cluster {
    /// Does what a round left to others.
    pub(super) fn run_errands(&mut self, host: usize, errands: Vec<Errand>) {
        let boot = self.hosts[host].member.boot();
        for errand in errands {
            self.trace.say(|| format!("{}: {errand:?}", host + 1));
            match errand {
                Errand::Export(region, to) => {
                    let wait = self.bulk.within(0..self.pace.flush_max);
                    self.schedule(wait, Event::Snapshot(Step::Make { host, boot, region, to }));
                }
                Errand::Send(message) => self.send_snapshot(host, message),
                Errand::Cancel(region, to) => self.hosts[host].member.drop_made(region, to),
                Errand::Discard(region, state) => self.hosts[host].member.discard(region, state),
            }
        }
    }

    fn send_snapshot(&mut self, from: usize, message: Box<SnapshotMessage>) {
        if self.ledger.is_open() {
            self.ledger.note(names_its_receiver(&message));
        }
        let boot = self.hosts[from].member.boot();
        let Some(Image { data, .. }) = self.hosts[from].member.take_made(&message) else {
            return self.schedule(0, Event::Snapshot(Step::End { from, boot, message, is_delivered: false }));
        };
        let took = self.bulk.within(self.pace.snapshot.clone());
        for part in 1..=3 {
            let message = message.clone();
            self.schedule(took * part / 4, Event::Snapshot(Step::Move { from, boot, message, bytes: part }));
        }
        if self.is_rough && self.bulk.percent(20) {
            return self
                .schedule(took, Event::Snapshot(Step::End { from, boot, message, is_delivered: false }));
        }
        if self.is_rough && self.bulk.percent(10) {
            let (message, data) = (message.clone(), Arc::clone(&data));
            let late = took + self.bulk.within(0..4 * self.plan.election_timeout());
            self.schedule(late, Event::Snapshot(Step::Arrive { from, boot, message, data }));
        }
        self.schedule(took, Event::Snapshot(Step::Arrive { from, boot, message, data }));
    }

    pub(super) fn snapshot_step(&mut self, step: Step) {
        match step {
            Step::Make { host, boot, region, to } => {
                if self.is_boot(host, boot) {
                    self.hosts[host].member.export(region, to);
                    self.schedule_round(host);
                }
            }
            Step::Move { from, boot, message, bytes } => {
                self.tell_sender(from, boot, &message, Input::SnapshotMoved(message.to, bytes));
            }
            Step::Arrive { from, boot, message, data } => self.arrive(from, boot, message, data),
            Step::End { from, boot, message, is_delivered } => {
                let input = Input::SnapshotEnded(message.to, message.head.state.index, is_delivered);
                self.tell_sender(from, boot, &message, input);
            }
        }
    }

    fn arrive(&mut self, from: usize, boot: u64, message: Box<SnapshotMessage>, data: Arc<Data>) {
        let link = (from, message.to.get() as usize - 1);
        let can_arrive = link.1 < self.hosts.len()
            && !self.links.is_cut(link)
            && self.may_talk(link)
            && self.hosts[link.1].member.is_running()
            && self.hosts[from].member.boot() == boot
            && self.is_of_this_life(link, boot);
        if can_arrive {
            self.trace.say_of(message.head.region.id, || format!("snapshot {from}->{} arrives", link.1 + 1));
            self.hosts[link.1].member.stage((*message).clone(), data);
            self.schedule_round(link.1);
        }
        let is_told = can_arrive && !(self.is_rough && self.bulk.percent(15));
        let wait = self.bulk.within(self.plan.network.delay.clone());
        self.schedule(wait, Event::Snapshot(Step::End { from, boot, message, is_delivered: is_told }));
    }

    fn tell_sender(&mut self, from: usize, boot: u64, message: &SnapshotMessage, input: Input) {
        if self.is_boot(from, boot) {
            self.hosts[from].member.feed_to(message.head.region.id, input);
            self.schedule_round(from);
        }
    }

    fn is_boot(&self, host: usize, boot: u64) -> bool {
        self.hosts[host].member.is_running() && self.hosts[host].member.boot() == boot
    }

    pub(super) fn schedule_install(&mut self, host: usize) {
        if !self.hosts[host].install_is_due {
            self.hosts[host].install_is_due = true;
            let wait = self.bulk.within(0..self.pace.flush_max + 1);
            self.schedule(wait, Event::Install(host));
        }
    }

    /// One step of an install.
    pub(super) fn install(&mut self, host: usize) {
        if self.hosts[host].stands_still(self.now) {
            return self.schedule(self.hosts[host].paused_until - self.now, Event::Install(host));
        }
        self.hosts[host].install_is_due = false;
        self.trace.say(|| format!("{} installs", host + 1));
        if let Some(end) = self.hosts[host].member.install() {
            return self.end(host, &end);
        }
        self.check(host);
        if self.hosts[host].member.has_to_install() {
            self.schedule_install(host);
        }
        if self.hosts[host].member.has_to_apply() {
            self.schedule_apply(host);
        }
    }
}

/// Who takes in a raft snapshot is part of the configuration that it then has.
fn names_its_receiver(message: &SnapshotMessage) -> Check {
    let SnapshotMessage { from, to, head, .. } = message;
    if head.region.has_member(*to) {
        return Ok(());
    }
    let (region, index) = (head.region.id, head.state.index);
    Err(format!("region {region}: {from} sends {to} a snapshot at {index}, of which {to} is no member"))
}
