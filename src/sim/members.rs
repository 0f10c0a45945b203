//! Operators who change the members of a cluster.
//!
//! Owns what a plan says of it ([`MembersPlan`]), and what an operator decides ([`Operator`]): which change comes next, by
//! what some member shows. What always holds: an operator knows nothing but that, and which machines are lost; while one is
//! lost, all it asks for is that somebody takes its place or that it goes. How changes reach a member, and when machines
//! are started and switched off, is left to the cluster.

use std::sync::{Arc, Mutex, PoisonError};

use crate::completion::{Reply, Sink};
use crate::core::member_list::{MemberChange, MemberList, MemberRole};
use crate::core::planted::Fault;
use crate::error::Result;
use crate::sim::faults::FaultKind;
use crate::sim::plan::Plan;
use crate::sim::random::Random;
use crate::types::{InstanceId, NodeId};

/// What a plan says of members that come and go.
#[derive(Clone, Debug)]
pub(crate) struct MembersPlan {
    /// How many numbers there are for new members.
    pub spares: usize,
    /// Mean time between two changes.
    pub pause: u64,
    /// Percentage of these times at which a machine is lost for good with its disk, if the others are enough.
    pub losses_percent: u32,
    /// Members talk to whom the transport lets them; otherwise everybody reaches everybody.
    pub has_doors: bool,
}

impl MembersPlan {
    /// One for members with this election timeout.
    pub(crate) fn draw(election: u64, random: &mut Random) -> Self {
        Self {
            spares: random.pick(&[2, 3, 5, 6]),
            pause: election * random.pick(&[2, 5, 15, 30]),
            losses_percent: random.pick(&[0, 20, 60]),
            has_doors: random.percent(50),
        }
    }
}

impl Plan {
    /// Members that come and go, among all that can happen to them meanwhile.
    pub(crate) fn change_members(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        self.members_change = Some(MembersPlan::draw(election, random));
        self.members = random.pick(&[1, 2, 3, 3, 3, 4, 5]);
        self.engine_stalls_at_last = false;
        self.safety = election * random.pick(&[80, 150, 300]);
        // Newcomers need raft snapshots at any rate, others where the log is short.
        self.setup.log_retain_bytes = random.pick(&[250, 10_000, 1 << 19]);
        self.setup.log_behind_bytes = random.pick(&[1_000, 6_000, 1 << 30]);
        self.network.loss = self.network.loss.min(50_000);
        // A learner that does not exist would be dropped again.
        self.faults.retain(|(kind, _)| !matches!(kind, FaultKind::ChangeMembers | FaultKind::LoseEnd));
        let kinds = [
            FaultKind::CrashBetweenEffects,
            FaultKind::Crash,
            FaultKind::Transfer,
            FaultKind::Isolate,
            FaultKind::Split,
            FaultKind::BareQuorum,
            FaultKind::OneWay,
        ];
        if random.percent(60) {
            let sampled = random.sample(3, kinds.len()).into_iter();
            self.faults = sampled.map(|at| (kinds[at], election * random.pick(&[4, 10, 30]))).collect();
            self.fault_length_max = election * random.pick(&[2, 6]);
        }
    }

    /// Some faults show where members change often, others in the regions beside the first.
    pub(crate) fn prepare_members(&mut self, fault: Fault) {
        let election = self.election_timeout();
        let Some(change) = &mut self.members_change else { return };
        match fault {
            Fault::KeptByOthersIgnored => {
                self.regions = self.regions.max(2);
                (change.pause, change.losses_percent) = (5 * election, 0);
            }
            Fault::RemovedLeaderStays => {
                // The entry that removes it is in its log, and nobody has told it yet that it is committed: leaders take their
                // time to apply it. Then it is elected.
                (change.pause, change.losses_percent) = (2 * election, 0);
                self.pace.apply_max = election / 2;
                self.faults = vec![(FaultKind::Transfer, election), (FaultKind::Isolate, 4 * election)];
                self.fault_length_max = 4 * election;
            }
            Fault::OlderListObeyed => {
                // Who leads another region may get the list late, in a slow raft snapshot of the first.
                self.regions = self.regions.max(2);
                (change.pause, change.losses_percent) = (2 * election, 0);
                self.setup.log_retain_bytes = 250;
                self.setup.log_behind_bytes = 1_000;
                self.pace.snapshot = 0..6 * election;
                self.faults = vec![(FaultKind::Isolate, 4 * election), (FaultKind::Transfer, 2 * election)];
                self.fault_length_max = 8 * election;
            }
            _ => {}
        }
    }
}

/// The directory of a machine that may become a member.
pub(crate) fn instance_of(node: NodeId) -> InstanceId {
    InstanceId(1_000 + node.get())
}

/// What became of the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MembersTally {
    /// Lists that were chosen.
    pub lists: u64,
    /// Changes of a region's configuration.
    pub configurations: u64,
    /// Members that joined.
    pub joined: u64,
    /// Machines that were lost for good.
    pub lost: u64,
    /// Members that were switched off, since they were out.
    pub switched_off: u64,
}

impl MembersTally {
    /// Adds another one.
    pub(crate) fn add(&mut self, other: Self) {
        self.lists += other.lists;
        self.configurations += other.configurations;
        self.joined += other.joined;
        self.lost += other.lost;
        self.switched_off += other.switched_off;
    }
}

/// What became of the lists that were written.
type Answers = Arc<Mutex<Vec<Written>>>;

/// A list that was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The list.
    pub list: MemberList,
    /// For which changes; none for one that lets a member join.
    pub changes: Vec<MemberChange>,
    /// What its writer was told.
    pub answer: Result<Reply>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Decides all that concerns members.
    pub random: Random,
    /// Changes that met another one, to be tried again.
    pub again: Vec<Vec<MemberChange>>,
    /// What became of machines.
    pub tally: MembersTally,
    answers: Answers,
    /// The highest version of a list that was ever written, chosen or not.
    highest_version: u64,
    /// A list was written, and nobody was told what became of it.
    pending: usize,
}

impl Operator {
    /// One who has done nothing yet.
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed ^ 0x006d_656d_6265_7273);
        Self {
            random,
            again: Vec::new(),
            tally: MembersTally::default(),
            answers: Answers::default(),
            highest_version: 0,
            pending: 0,
        }
    }

    /// Who hears what becomes of `list`.
    pub(crate) fn written(&mut self, list: MemberList, changes: Vec<MemberChange>) -> Box<dyn Sink> {
        self.highest_version = self.highest_version.max(list.version);
        self.pending += 1;
        Box::new(Heard { list, changes, answers: Arc::clone(&self.answers) })
    }

    /// What became known since this was last asked.
    pub(crate) fn take_answers(&mut self) -> Vec<Written> {
        let taken = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        self.pending -= taken.len();
        taken
    }

    /// Whether no list may still be chosen that follows the one of this version.
    pub(crate) fn is_at_rest(&self, version: u64) -> bool {
        self.pending == 0 && self.highest_version <= version
    }

    /// The next changes, for a cluster that has this list, of which `lost` are lost for good, and of which numbers up to
    /// `last` can be given to new members.
    pub(crate) fn decide(&mut self, base: &MemberList, lost: &[NodeId], last: u64) -> Vec<MemberChange> {
        let gone = base.members.iter().map(|member| member.node).find(|node| lost.contains(node));
        let next = NodeId(base.highest.get() + 1);
        if let Some(node) = gone {
            let can_replace = next.get() <= last && self.random.percent(60);
            return vec![if can_replace { replace(node, next) } else { MemberChange::Remove { node } }];
        }
        if !lost.is_empty() {
            // It is on its way out of some region, and nothing else is asked for before.
            return Vec::new();
        }
        let count = self.random.weighted(&[(6, 1), (2, 2), (1, 4)]);
        let (mut after, mut changes) = (base.clone(), Vec::new());
        for _ in 0..count {
            let change = self.decide_one(&after, last);
            if let Some(next) =
                change.as_ref().and_then(|change| after.changed(std::slice::from_ref(change)).ok())
            {
                after = next;
                changes.extend(change);
            }
        }
        changes
    }

    fn decide_one(&mut self, base: &MemberList, last: u64) -> Option<MemberChange> {
        let node = base.members[self.random.index(base.members.len())].node;
        let next = NodeId(base.highest.get() + 1);
        let can_add = next.get() <= last;
        let role = self.random.pick(&[MemberRole::Voter, MemberRole::Voter, MemberRole::Learner]);
        let (votes, voters) =
            (base.get(node).is_some_and(|member| member.role == MemberRole::Voter), base.voters().count());
        match self.random.below(7) {
            0 | 1 if can_add => Some(MemberChange::Add { node: next, address: address_of(next), role }),
            2 | 3 if can_add => Some(replace(node, next)),
            4 if voters > 1 || !votes => Some(MemberChange::Remove { node }),
            5 if !votes => Some(MemberChange::Promote { node }),
            6 if votes && voters > 1 => Some(MemberChange::Demote { node }),
            _ => None,
        }
    }
}

/// Where a member is reached, so to speak.
pub(crate) fn address_of(node: NodeId) -> String {
    format!("host-{node}:1")
}

fn replace(node: NodeId, by: NodeId) -> MemberChange {
    MemberChange::Replace { node, by, address: address_of(by) }
}

struct Heard {
    list: MemberList,
    changes: Vec<MemberChange>,
    answers: Answers,
}

impl Sink for Heard {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        let Self { list, changes, answers } = *self;
        answers.lock().unwrap_or_else(PoisonError::into_inner).push(Written { list, changes, answer });
    }
}
