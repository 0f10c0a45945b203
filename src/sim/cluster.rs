//! A cluster in virtual time.
//!
//! Owns the members, the network between them, their clients, true time and the event queue. One step processes one
//! event; then everything that the event could have broken is checked. What always holds: the whole run follows from
//! the plan's seed; a member's rounds, engine writes, reports and answers are separate events, so that anything may
//! happen between them.

mod clients;
mod hostile;
mod machines;
mod members;
mod observer;
mod operator;
mod snapshots;
mod timers;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;

use crate::core::input::Input;
use crate::core::region::Region;
use crate::sim::calls::{Calls, Next};
use crate::sim::chosen::CallId;
use crate::sim::clock::MemberClock;
use crate::sim::faults::{FaultKind, Mend, mend, strike};
use crate::sim::invariants::{Check, Ledger};
use crate::sim::keys;
use crate::sim::links::Links;
use crate::sim::load::Load;
use crate::sim::member::{Member, Setup};
use crate::sim::members::Operator;
use crate::sim::plan::{PacePlan, Plan, SECOND};
use crate::sim::random::Random;
use crate::sim::trace::Trace;
use crate::time::Timestamp;
use crate::types::{NEWEST_LEVEL, NodeId, RegionId};

use self::clients::LeaseRead;
use self::timers::HostTimer;

/// A node id that no member has.
const NO_MEMBER: u64 = 99;
/// Combined with the seed: a random stream separate from the main one.
const IMPATIENCE: u64 = 0x0067_6976_655f_7570;
/// Distinguishes the stream of conditional writes.
const CONDITIONS: u64 = 0x6966_5f61_6273_656e;
/// The stream of upgrades.
const UPGRADES: u64 = 0x6e65_775f_6275_696c;
/// The stream of raft snapshots.
const BULK: u64 = 0x736e_6170_7368_6f74;
/// Another separate stream.
const LATENESS: u64 = 0x006c_6174_656e_6573;

/// Whether a machine is part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Its member is yet to join.
    NotYet,
    /// It is.
    Here,
    /// It was lost with its disk, or switched off for good.
    Gone,
}

/// One member and the machine it runs on.
pub(crate) struct Host {
    /// The member on this machine.
    pub member: Member,
    /// Its local clock.
    pub clock: MemberClock,
    /// Added to every apply step.
    pub engine_delay: u64,
    /// Its engine is stalled.
    pub engine_stalls: bool,
    /// Upper bound of the delay added to every sync.
    pub sync_delay: u64,
    /// Set while it must not restart on its own.
    pub stays_down: bool,
    /// Whether it is part of the run.
    pub presence: Presence,
    /// Its member began as one of the build before and has not been upgraded yet.
    is_yet_to_be_upgraded: bool,
    /// Its member was taken back to the build before.
    went_back: bool,
    /// The members that it was told of when it began.
    acquainted: Vec<NodeId>,
    /// The newest boot of each other member that has introduced itself here, and whether its log was intact.
    introduced: Vec<(u64, bool)>,
    /// The last boot in which its log lost its tail, if ever.
    lost_end_in: u64,
    /// It is paused until then.
    paused_until: u64,
    /// Its raft poller thread is in a sync until then.
    busy_until: u64,
    round_is_due: bool,
    apply_is_due: bool,
    install_is_due: bool,
    flush_is_due: bool,
    timer: HostTimer,
}

/// Events.
#[derive(Debug)]
enum Event {
    Deliver { link: (usize, usize), connection: u32, boot: u64, bytes: Bytes },
    Connect { link: (usize, usize), boot: u64 },
    Lose { link: (usize, usize), other: usize },
    Late { link: (usize, usize), boot: u64, bytes: Bytes, bad: bool },
    Wake(usize),
    Timer(usize),
    Judge,
    Round(usize),
    Apply(usize),
    Snapshot(snapshots::Step),
    Install(usize),
    Flush(usize),
    FlushWanted(usize),
    Restart(usize),
    Upgrade(usize),
    GoBack(usize),
    Operate,
    Client(usize),
    Look(CallId),
    Cancel(CallId),
    LeaseRead(Box<LeaseRead>),
    Strike(usize),
    Mend(Mend),
}

struct Due {
    at: u64,
    order: u64,
    event: Event,
}

/// See the module.
pub(crate) struct Cluster {
    /// The plan drawn from the seed.
    pub plan: Plan,
    /// True time in nanoseconds.
    pub now: u64,
    /// The main random stream.
    pub random: Random,
    /// Decides which callers cancel: a separate stream, so that the other draws of a seed stay the same.
    impatience: Random,
    /// Decides which writes are conditional, and on what: also a separate stream.
    conditions: Random,
    /// Decides how late the timer threads run; also separate.
    lateness: Random,
    /// Decides what becomes of raft snapshots on their way; also separate.
    bulk: Random,
    /// Changes the members.
    operator: Operator,
    /// Member 1, 2, ...
    pub hosts: Vec<Host>,
    /// The network.
    pub links: Links,
    /// Calls made by clients.
    pub calls: Calls,
    /// The history needed to check the run.
    pub ledger: Ledger,
    /// The record of events.
    pub trace: Trace,
    /// How fast members are.
    pub pace: PacePlan,
    /// True in the fault phase: clients call and faults are injected.
    pub is_rough: bool,
    /// How often each kind of fault was injected.
    pub strikes: Vec<(FaultKind, u32)>,
    regions: Vec<RegionId>,
    /// Recently sent messages, of rare and of common types, from which replayed ones are taken.
    sent: [VecDeque<hostile::Sent>; 2],
    load: Load,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    open_calls: Vec<usize>,
    /// The host whose member stopped in this step.
    ended: Option<usize>,
    /// How often a member went back to the build before.
    pub went_back: u32,
    next: Vec<Next>,
}

impl Cluster {
    /// Starts all members on empty disks at about the same time.
    pub(crate) fn new(plan: Plan, trace: Trace) -> Self {
        let mut random = Random::new(!plan.seed);
        let voters: Vec<_> = (1..=plan.members as u64).map(NodeId).collect();
        let mut regions = keys::regions(plan.regions, &voters);
        let mut upgrades = Random::new(plan.seed ^ UPGRADES);
        let first_old = upgrades.index(plan.members);
        if plan.upgrade {
            regions.iter_mut().for_each(|region| region.level = plan.level_before());
        }
        let mut host = |node: &NodeId| {
            let is_old = node.get() as usize - 1 == first_old || upgrades.percent(60);
            let known_level = if plan.upgrade && is_old { plan.level_before() } else { NEWEST_LEVEL };
            Host::new(node.get(), &regions, known_level, &plan, &mut random)
        };
        let mut hosts: Vec<_> = voters.iter().map(&mut host).collect();
        let spares = plan.members_change.as_ref().map_or(0, |change| change.spares);
        let joiners = (plan.members + 1..=plan.members + spares).map(|node| node as u64);
        hosts.extend(joiners.map(|node| Host::of_a_joiner(node, &regions, &plan, &mut random)));
        let logs = hosts.iter().map(|host| host.member.log().clone()).collect();
        let links = Links::new(hosts.len(), plan.network.clone(), 3 * plan.election_timeout(), &mut random);
        let mut cluster = Self {
            now: 0,
            hosts,
            links,
            calls: Calls::default(),
            ledger: Ledger::new(logs, &regions, !plan.only_clients_judge),
            trace: trace.with_regions(regions.len()),
            pace: plan.pace.clone(),
            is_rough: true,
            strikes: plan.faults.iter().map(|&(kind, _)| (kind, 0)).collect(),
            regions: regions.iter().map(|region| region.id).collect(),
            sent: Default::default(),
            load: Load::new(plan.load.clone()),
            queue: BinaryHeap::new(),
            order: 0,
            open_calls: vec![0; plan.load.clients],
            ended: None,
            went_back: 0,
            next: Vec::new(),
            random,
            impatience: Random::new(plan.seed ^ IMPATIENCE),
            conditions: Random::new(plan.seed ^ CONDITIONS),
            lateness: Random::new(plan.seed ^ LATENESS),
            bulk: Random::new(plan.seed ^ BULK),
            operator: Operator::new(plan.seed),
            plan,
        };
        cluster.schedule_beginning();
        cluster
    }

    fn schedule_beginning(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].presence == Presence::Here {
                self.begin_ticking(host);
            }
            let wait = self.random.wait(self.pace.flush_mean);
            self.schedule(wait, Event::Flush(host));
        }
        for client in 0..self.plan.load.clients {
            let wait = self.random.wait(self.plan.load.pause);
            self.schedule(wait, Event::Client(client));
        }
        for at in 0..self.plan.faults.len() {
            let wait = self.random.wait(self.plan.faults[at].1);
            self.schedule(wait, Event::Strike(at));
        }
        let upgrades = &mut Random::new(!self.plan.seed ^ UPGRADES);
        for host in 0..self.hosts.len() {
            let wait = upgrades.within(0..self.plan.safety * 3 / 4);
            if self.hosts[host].member.known_level() < NEWEST_LEVEL {
                self.schedule(wait, Event::Upgrade(host));
            }
            if self.plan.upgrade && self.plan.goes_back {
                let back = upgrades.within(0..self.plan.safety * 3 / 4);
                let again = back + upgrades.within(0..self.plan.safety / 4);
                self.schedule(back, Event::GoBack(host));
                self.schedule(again, Event::Upgrade(host));
            }
        }
        self.begin_operating();
        self.schedule(0, Event::Judge);
    }

    /// The regions.
    pub(crate) fn regions(&self) -> &[RegionId] {
        &self.regions
    }

    /// A random region.
    pub(crate) fn any_region(&mut self) -> RegionId {
        self.random.pick(&self.regions)
    }

    /// A random host: one whose member has been started, if members come and go.
    pub(crate) fn any_host(&mut self) -> usize {
        if self.plan.members_change.is_none() {
            return self.random.index(self.hosts.len());
        }
        let here = (0..self.hosts.len()).filter(|&host| self.hosts[host].presence == Presence::Here);
        let here: Vec<_> = here.collect();
        self.random.pick(&here)
    }

    /// Processes the next event and checks its effects.
    ///
    /// # Errors
    /// The violated invariant, in words.
    pub(crate) fn step(&mut self) -> Check {
        let Reverse(due) = self.queue.pop().expect("members always wait for a tick");
        self.now = due.at;
        self.trace.begin(due.at);
        self.carry_out(due.event);
        self.take_answers();
        match self.ledger.broken() {
            Some(words) => Err(words.to_owned()),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Deliver { link, connection, boot, bytes } => self.deliver(link, connection, boot, &bytes),
            Event::Connect { link, boot } => self.connect(link, boot),
            Event::Lose { link, other } => self.lose_each_other(link, other),
            Event::Late { link, boot, bytes, bad } => self.deliver_late(link, boot, &bytes, bad),
            Event::Wake(host) => self.wake(host),
            Event::Timer(host) => self.run_timer(host),
            Event::Judge => self.judge_deadlines(),
            Event::Round(host) => self.round(host),
            Event::Apply(host) => self.apply(host),
            Event::Snapshot(step) => self.snapshot_step(step),
            Event::Install(host) => self.install(host),
            Event::Flush(host) => self.flush_in_turn(host),
            Event::FlushWanted(host) => self.flush(host),
            Event::Restart(host) => self.restart(host),
            Event::Upgrade(host) => self.upgrade_in_turn(host),
            Event::GoBack(host) => self.go_back(host),
            Event::Operate => self.operate(),
            Event::Client(client) => self.client(client),
            Event::Look(call) => self.look(call),
            Event::Cancel(call) => self.cancel(call),
            Event::LeaseRead(read) => self.lease_read(*read),
            Event::Strike(at) => self.strike(at),
            // Healing has already undone everything.
            Event::Mend(what) if self.is_rough => mend(self, what),
            Event::Mend(_) => {}
        }
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Due { at: self.now + after, order: self.order, event }));
    }

    fn strike(&mut self, at: usize) {
        if !self.is_rough {
            return;
        }
        let (kind, mean) = self.plan.faults[at];
        self.trace.say(|| format!("fault: {kind:?}"));
        self.strikes[at].1 += 1;
        strike(self, kind);
        let wait = self.random.wait(mean);
        self.schedule(wait, Event::Strike(at));
    }

    /// Draws how long a fault lasts.
    pub(crate) fn fault_length(&mut self) -> u64 {
        self.random.within(0..self.plan.fault_length_max)
    }

    /// Undoes a fault when its time is up.
    pub(crate) fn mend_later(&mut self, mend: Mend) {
        let length = self.fault_length();
        self.mend_after(length, mend);
    }

    /// Undoes a fault after `wait`.
    pub(crate) fn mend_after(&mut self, wait: u64, mend: Mend) {
        self.schedule(wait, Event::Mend(mend));
    }

    /// Pauses a machine; its clock keeps running.
    pub(crate) fn pause(&mut self, host: usize, length: u64) {
        self.trace.say(|| format!("{} pauses for {} ms", host + 1, length / 1_000_000));
        let machine = &mut self.hosts[host];
        machine.paused_until = machine.paused_until.max(self.now + length);
    }

    /// Delivers some recent messages now, whatever became of them before.
    pub(crate) fn replay(&mut self) {
        for _ in 0..1 + self.random.index(8) {
            let sent = &self.sent[self.random.index(2)];
            if !sent.is_empty() {
                let (link, boot, bytes) = sent[self.random.index(sent.len())].clone();
                self.receive(link, boot, &bytes);
            }
        }
    }

    /// Asks the leader of some region to transfer leadership to a member of its choice.
    pub(crate) fn transfer(&mut self) {
        let region = self.any_region();
        if let Some(leader) = self.leader(region) {
            self.call_for_transfer(leader, region);
        }
    }

    /// Makes the leader of some region propose to add or remove a learner that does not exist.
    pub(crate) fn change_members(&mut self) {
        let region = self.any_region();
        if let Some(leader) = self.leader(region) {
            self.trace.say_of(region, || format!("{} proposes a membership change", leader + 1));
            self.hosts[leader].member.propose_change_of_learner(region, NO_MEMBER);
            self.schedule_round(leader);
        }
    }

    /// Makes a member campaign in every region, out of turn: a real member that has peers never does this.
    pub(crate) fn campaign(&mut self, host: usize) {
        for &region in &self.regions {
            self.hosts[host].member.feed_to(region, Input::Campaign);
        }
        self.schedule_round(host);
    }
}

impl Host {
    fn new(node: u64, regions: &[Region], known_level: u16, plan: &Plan, random: &mut Random) -> Self {
        let setup = Setup { known_level, ..plan.setup.clone() };
        let member = Member::bootstrap_with(node, regions, setup);
        let acquainted = (1..=plan.members as u64).map(NodeId).collect();
        let is_yet_to_be_upgraded = known_level < NEWEST_LEVEL;
        Self { acquainted, is_yet_to_be_upgraded, ..Self::with(member, Presence::Here, plan, random) }
    }

    /// A machine whose member is yet to join a cluster with these regions.
    fn of_a_joiner(node: u64, regions: &[Region], plan: &Plan, random: &mut Random) -> Self {
        let without_data = |region: &Region| {
            let Region { id, start_key, end_key, epoch, .. } = region.clone();
            Region::without_data(id, start_key, end_key, epoch.version)
        };
        let regions: Vec<_> = regions.iter().map(without_data).collect();
        let setup = Setup { known_level: NEWEST_LEVEL, ..plan.setup.clone() };
        Self::with(Member::not_started(node, &regions, setup), Presence::NotYet, plan, random)
    }

    fn with(member: Member, presence: Presence, plan: &Plan, random: &mut Random) -> Self {
        let spares = plan.members_change.as_ref().map_or(0, |change| change.spares);
        Self {
            member,
            clock: new_clock(plan, 0, random.below(1_000 * SECOND)),
            engine_delay: 0,
            engine_stalls: false,
            sync_delay: 0,
            stays_down: false,
            presence,
            is_yet_to_be_upgraded: false,
            went_back: false,
            acquainted: Vec::new(),
            introduced: vec![(0, false); plan.members + spares],
            lost_end_in: 0,
            paused_until: 0,
            busy_until: 0,
            round_is_due: false,
            apply_is_due: false,
            install_is_due: false,
            flush_is_due: false,
            timer: HostTimer::default(),
        }
    }

    fn stands_still(&self, now: u64) -> bool {
        self.paused_until > now
    }

    /// True while its raft poller is in a sync.
    pub(crate) fn is_in_sync(&self, now: u64) -> bool {
        self.busy_until > now
    }

    /// When its raft poller can run next: not while the machine is paused or the poller waits for its disk.
    fn next_turn(&self) -> u64 {
        self.paused_until.max(self.busy_until)
    }

    /// Its local time.
    fn local(&self, now: u64) -> Timestamp {
        Timestamp(self.clock.local(now))
    }

    /// True while its member, or a caller there, believes that it is the only leader of `region`.
    fn has_lease(&self, region: RegionId, now: u64) -> bool {
        let local = self.local(now);
        let Some(peer) = self.member.peer_of(region) else { return false };
        let lease = self.member.published_lease(region).expect("it has a peer");
        peer.holds_lease(local) || lease.glimpse().is_some_and(|glimpse| lease.still_holds(glimpse, local))
    }
}

/// A machine's clock after its start.
fn new_clock(plan: &Plan, now: u64, local: u64) -> MemberClock {
    MemberClock::new(now, local, plan.setup.tick, plan.setup.election_ticks)
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
