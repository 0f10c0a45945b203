//! Members that come and go, in virtual time.
//!
//! Owns what operators do to a cluster: they write lists of members through whatever member they ask, let those in that are
//! to join, start their machines, switch off those of members that are out, and now and then lose one for good. What always
//! holds: a machine that is gone never comes back, and what returns in its place is a new member with an empty disk; one is
//! switched off or lost only while the others are enough, by all configurations that may be in force. Who can talk to whom
//! is the transport's rule, or everybody to everybody: the rule finds members that cannot be reached, and without it all
//! messages of members that are out arrive.

use super::{Cluster, Event, Presence};
use crate::completion::call::{CallKind, CallRegions, Subject};
use crate::core::caller_write::CallerWrite;
use crate::core::command::seal_members;
use crate::core::input::Input;
use crate::core::member_list::{MemberChange, MemberList, NOT_JOINED};
use crate::core::region::Region;
use crate::error::Code;
use crate::sim::members::{MembersTally, Written, address_of, instance_of};
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, NodeId, RegionId};

/// How many times an operator looks, in an election timeout.
const LOOKS: u64 = 3;
/// Percentage of looks at which a member that is out is switched off.
const SWITCHED_OFF_PERCENT: u32 = 3;

impl Cluster {
    pub(super) fn begin_operating(&mut self) {
        if self.plan.members_change.is_some() {
            self.schedule(self.plan.election_timeout() / LOOKS, Event::Operate);
        }
    }

    /// An operator looks at the cluster.
    pub(super) fn operate(&mut self) {
        let Some(plan) = self.plan.members_change.clone() else { return };
        let look = self.plan.election_timeout() / LOOKS;
        self.hear_of_lists();
        self.let_in();
        self.start_joined();
        let lost = self.lost();
        if !self.is_rough || !lost.is_empty() {
            self.operator.again.clear();
        }
        if let Some(changes) = self.operator.again.pop() {
            self.change(changes);
        } else if self.is_rough && self.operator.random.below(plan.pause) < look && lost.is_empty() {
            if self.operator.random.percent(plan.losses_percent) {
                self.lose_one();
            } else {
                self.decide();
            }
        } else if !lost.is_empty() && self.operator.random.percent(20) {
            // Nothing else is asked for before the one that is lost is out.
            self.decide();
        }
        // In the end those that are out stay, and must disturb nobody.
        if self.is_rough && self.operator.random.percent(SWITCHED_OFF_PERCENT) {
            self.switch_one_off();
        }
        self.schedule(look, Event::Operate);
    }

    /// What became of the members so far.
    pub(crate) fn members_tally(&self) -> MembersTally {
        let first = |region: &RegionId| self.newest(*region).epoch.conf_ver - BOOTSTRAP_EPOCH.conf_ver;
        MembersTally {
            lists: self.newest(BOOTSTRAP_REGION).list.as_ref().map_or(0, |list| list.version),
            configurations: self.regions.iter().map(first).sum(),
            ..self.operator.tally
        }
    }

    /// Hosts that are lost and still belong to the list or to a region.
    pub(crate) fn lost(&self) -> Vec<NodeId> {
        let gone = (0..self.hosts.len()).filter(|&host| self.hosts[host].presence == Presence::Gone);
        let nodes = gone.map(|host| NodeId(self.hosts[host].member.node));
        nodes.filter(|&node| self.belongs(node)).collect()
    }

    fn belongs(&self, node: NodeId) -> bool {
        let is_listed =
            self.newest(BOOTSTRAP_REGION).list.as_ref().is_some_and(|list| list.get(node).is_some());
        is_listed || self.regions.iter().any(|&region| self.newest(region).has_member(node))
    }

    /// A region as the member that has applied most of its changes has stored it.
    pub(crate) fn newest(&self, region: RegionId) -> &Region {
        let records = self.hosts.iter().map(|host| host.member.engine().region(region));
        let version = |record: &&Region| {
            let list = record.list.as_ref().map_or(0, |list| list.version);
            (!record.lacks_data(), record.epoch.conf_ver, list, record.settled_version)
        };
        records.max_by_key(version).expect("a cluster has hosts")
    }

    /// Whether a host is a member of a region, by its newest configuration.
    pub(crate) fn is_member(&self, host: usize, region: RegionId) -> bool {
        self.newest(region).has_member(NodeId(host as u64 + 1))
    }

    /// The list that some running member shows, or what stands in for it.
    fn list_at(&self, host: usize) -> Option<MemberList> {
        let shown = self.hosts[host].member.peer_of(BOOTSTRAP_REGION)?.members_now();
        if let Some(list) = shown.list {
            return Some((*list).clone());
        }
        let founders = shown.members.into_iter().map(|(node, votes)| (node, votes, address_of(node)));
        let base = MemberList::of_founders(founders);
        (!base.members.is_empty()).then_some(base)
    }

    fn running(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&host| self.hosts[host].member.is_running()).collect()
    }

    fn decide(&mut self) {
        let running = self.running();
        if running.is_empty() {
            return;
        }
        let host = self.operator.random.pick(&running);
        let Some(base) = self.list_at(host) else { return };
        let changes = self.operator.decide(&base, &self.lost(), self.hosts.len() as u64);
        self.ask(host, &base, changes);
    }

    /// Tries changes again, by what another member shows.
    fn change(&mut self, changes: Vec<MemberChange>) {
        let running = self.running();
        if running.is_empty() {
            return;
        }
        let host = self.operator.random.pick(&running);
        if let Some(base) = self.list_at(host) {
            self.ask(host, &base, changes);
        }
    }

    fn ask(&mut self, host: usize, base: &MemberList, changes: Vec<MemberChange>) {
        if changes.is_empty() {
            return;
        }
        // Changes that the list has overtaken are dropped.
        let Ok(list) = base.changed(&changes) else { return };
        self.write_list(host, list, changes);
    }

    fn write_list(&mut self, host: usize, list: MemberList, changes: Vec<MemberChange>) {
        let life = self.plan.election_timeout() * self.operator.random.within(2..6);
        let machine = &self.hosts[host];
        let Some(deadlines) = machine.member.deadlines() else { return };
        let deadline = Timestamp(machine.clock.local(self.now) + life);
        self.trace.say(|| format!("{} is asked for {changes:?}: {list:?}", host + 1));
        let data = seal_members(&list);
        let subject = Subject { kind: CallKind::Write, regions: CallRegions::One(BOOTSTRAP_REGION) };
        let sink = self.operator.written(list, changes);
        let opened = deadlines.accept(subject, deadline, sink, std::sync::Arc::new(()));
        let (completion, _) = opened.expect("a member that runs takes calls");
        let write = CallerWrite { data, deadline, completion, was_proposed: false };
        self.hosts[host].member.feed_to(BOOTSTRAP_REGION, Input::Write(write));
        self.schedule_round(host);
        self.schedule_timer(host);
    }

    fn hear_of_lists(&mut self) {
        for Written { list, changes, answer } in self.operator.take_answers() {
            self.trace.say(|| format!("list {} was answered {:?}", list.version, answer.as_ref().map(drop)));
            match answer {
                Err(error) if error.code() == Code::Conflict && !changes.is_empty() => {
                    self.operator.again.push(changes);
                }
                Ok(_) if self.ledger.is_open() => {
                    let chosen = &self.ledger.region(BOOTSTRAP_REGION).chosen;
                    if !chosen.configurations().has_had(&list) {
                        let words =
                            format!("region {BOOTSTRAP_REGION}: list {} was told to be there", list.version);
                        self.ledger.note(Err(words));
                    }
                }
                _ => {}
            }
        }
    }

    /// Machines of listed members ask to be let in, each some member that it can reach.
    fn let_in(&mut self) {
        for newcomer in 0..self.hosts.len() {
            if self.hosts[newcomer].presence != Presence::NotYet || !self.operator.random.percent(30) {
                continue;
            }
            let node = NodeId(newcomer as u64 + 1);
            let running = self.running();
            if running.is_empty() {
                return;
            }
            let host = self.operator.random.pick(&running);
            let waits =
                |list: &MemberList| list.get(node).is_some_and(|member| member.instance == NOT_JOINED);
            if let Some(list) = self.list_at(host).filter(waits)
                && !self.links.is_cut((newcomer, host))
            {
                self.write_list(host, list.joined(node, instance_of(node)), Vec::new());
            }
        }
    }

    /// Machines that were let in start with nothing.
    fn start_joined(&mut self) {
        for newcomer in 0..self.hosts.len() {
            if self.hosts[newcomer].presence != Presence::NotYet {
                continue;
            }
            let node = NodeId(newcomer as u64 + 1);
            let has_joined =
                |list: &MemberList| list.get(node).is_some_and(|member| member.instance == instance_of(node));
            let welcoming = self.running().into_iter().find_map(|host| self.list_at(host).filter(has_joined));
            if let Some(list) = welcoming {
                self.trace.say(|| format!("{node} joins"));
                self.operator.tally.joined += 1;
                self.hosts[newcomer].presence = Presence::Here;
                self.hosts[newcomer].acquainted = list.members.iter().map(|member| member.node).collect();
                self.restart(newcomer);
            }
        }
    }

    /// Whether no list may still be chosen, nor another configuration.
    pub(crate) fn is_at_rest(&self) -> bool {
        let version = self.newest(BOOTSTRAP_REGION).list.as_ref().map_or(0, |list| list.version);
        self.is_calm() && self.operator.is_at_rest(version)
    }

    /// Whether every voter of the newest configurations has applied them, and has no other change in its log.
    fn is_calm(&self) -> bool {
        let has_applied = |region: RegionId| {
            let newest = self.newest(region);
            let voters = newest.members.voters.iter().chain(&newest.members.voters_outgoing);
            voters.map(|node| *node as usize - 1).all(|host| {
                let machine = &self.hosts[host];
                let (log, index) =
                    (machine.member.log(), machine.member.engine().state_and_digest(region).0.index);
                let tail = log.entries(region, index.get() + 1, log.status(region).last);
                machine.member.engine().region(region).epoch == newest.epoch
                    && tail
                        .iter()
                        .all(|entry| entry.get_entry_type() == raft::eraftpb::EntryType::EntryNormal)
            })
        };
        self.regions.iter().all(|&region| has_applied(region))
    }

    /// A machine is lost with its disk, if the cluster has come to rest and can do without it.
    fn lose_one(&mut self) {
        let newest = self.newest(BOOTSTRAP_REGION);
        let Some(list) = newest.list.clone() else { return };
        let has_followed = |region: RegionId| {
            let members = &self.newest(region).members;
            let mut voters = members.voters.clone();
            voters.sort_unstable();
            members.voters_outgoing.is_empty()
                && list.voters().map(NodeId::get).eq(voters)
                && self.newest(region).all_members().len() == list.members.len()
        };
        let is_settled = self.regions.iter().all(|&region| has_followed(region));
        if !is_settled || !self.is_at_rest() {
            return;
        }
        let node = list.members[self.operator.random.index(list.members.len())].node;
        let voters: Vec<_> = list.voters().collect();
        if voters.contains(&node) && voters.len() < 3 {
            return;
        }
        self.trace.say(|| format!("{node} is lost for good"));
        self.operator.tally.lost += 1;
        self.take_away(node.get() as usize - 1);
    }

    /// Whether some member knows of every region that those who are out are needed no more.
    fn has_settled(&self) -> bool {
        let version = self.newest(BOOTSTRAP_REGION).list.as_ref().map_or(0, |list| list.version);
        self.regions.iter().all(|&region| self.newest(region).settled_version >= version)
    }

    /// A member that is out of everything is switched off.
    fn switch_one_off(&mut self) {
        let is_out = |&host: &usize| {
            self.hosts[host].presence == Presence::Here && !self.belongs(NodeId(host as u64 + 1))
        };
        let out = (0..self.hosts.len()).find(is_out);
        if let Some(host) = out.filter(|_| self.has_settled()) {
            self.trace.say(|| format!("{} is switched off", host + 1));
            self.operator.tally.switched_off += 1;
            self.take_away(host);
        }
    }

    fn take_away(&mut self, host: usize) {
        self.hosts[host].presence = Presence::Gone;
        self.crash(host);
    }

    /// Whether anything that one host sends to the other may arrive, as the transport of both sees it.
    pub(crate) fn may_talk(&self, (from, to): (usize, usize)) -> bool {
        let Some(plan) = &self.plan.members_change else { return true };
        let are_there =
            self.hosts[from].presence == Presence::Here && self.hosts[to].presence == Presence::Here;
        if !are_there || !plan.has_doors {
            return are_there;
        }
        let knows = self.knows(from, to) || self.knows(to, from);
        knows && !self.turns_away(from, to) && !self.turns_away(to, from)
    }

    /// Whether `host` connects to `other`: see `Known::peers_of` in `pollers::members`.
    fn knows(&self, host: usize, other: usize) -> bool {
        let node = NodeId(other as u64 + 1);
        let engine = self.hosts[host].member.engine();
        let is_named = match &engine.region(BOOTSTRAP_REGION).list {
            Some(list) => list.get(node).is_some(),
            None => self.hosts[host].acquainted.contains(&node),
        };
        is_named || self.regions.iter().any(|&region| engine.region(region).has_member(node))
    }

    /// Whether `host` refuses to be connected with `other`: see `Members::standing` in `pollers::members`.
    fn turns_away(&self, host: usize, other: usize) -> bool {
        let node = NodeId(other as u64 + 1);
        let engine = self.hosts[host].member.engine();
        let list = &engine.region(BOOTSTRAP_REGION).list;
        list.as_ref().is_some_and(|list| list.is_removed(node))
            && !self.regions.iter().any(|&region| engine.region(region).has_member(node))
    }
}
