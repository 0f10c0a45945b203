//! One seed from its first event to its verdict.
//!
//! Owns the phases of a run - the fault phase, then a healed majority that must make progress, then a healed cluster
//! that must converge, then perhaps a permanently stalled engine ([`last_stall`](super::last_stall)) - and the report
//! of a run. What always holds: the verdict follows from the seed.

use std::collections::BTreeMap;
use std::fmt;

use crate::core::peer::Peer;
use crate::core::planted;
use crate::sim::calls::Tally;
use crate::sim::checker;
use crate::sim::chosen::CallId;
use crate::sim::cluster::Cluster;
use crate::sim::faults::FaultKind;
use crate::sim::invariants::Check;
use crate::sim::last_stall::one_engine_stalls;
use crate::sim::member::NextSync;
use crate::sim::members::MembersTally;
use crate::sim::patience::Patience;
use crate::sim::plan::{MILLISECOND, Plan, SECOND};
use crate::sim::settling::settle;
use crate::sim::trace::Trace;
use crate::types::{NEWEST_LEVEL, RegionId};

/// A healed majority must work again within this many election timeouts: split votes recur a few times at most, and a
/// leader whose engine stalls may try in vain to transfer leadership to a few others. What members lack gives them more
/// time ([`Patience`]).
pub(crate) const MAJORITY_TIMEOUTS: u64 = 60;
/// A healed cluster must converge within this many election timeouts: the longest deadline of a call is ten.
const AGREEMENT_TIMEOUTS: u64 = 120;

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// Elapsed true time, in nanoseconds.
    pub simulated: u64,
    /// Number of events.
    pub events: u64,
    /// Equal only for identical runs.
    pub fingerprint: u64,
    /// Calls by outcome.
    pub tally: Tally,
    /// What became of the members.
    pub members: MembersTally,
    /// How often a member went back to the build before.
    pub went_back: u32,
    /// Injected faults by kind.
    pub strikes: Vec<(FaultKind, u32)>,
}

/// What is wrong with a member outside the healed majority.
#[derive(Clone, Copy)]
enum Outside {
    Down,
    CutOff,
    Deaf,
    Mute,
    /// It is connected, and its engine is stalled. It may lead.
    Stalled,
}

/// An operation that a healed majority must complete.
struct Demand {
    region: RegionId,
    /// A read on this member; none for a write, through the leader if that is healed.
    reader: Option<usize>,
    call: Option<CallId>,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region;
        match self.reader {
            Some(reader) => write!(f, "no read on member {} in region {region}", reader + 1),
            None => write!(f, "no write in region {region}"),
        }
    }
}

/// Runs a plan to its end.
///
/// # Errors
/// The violated invariant, in words.
pub(crate) fn run(plan: Plan, trace: Trace) -> Result<Report, String> {
    planted::with(plan.planted, || run_to_its_end(plan, trace))
}

fn run_to_its_end(plan: Plan, trace: Trace) -> Result<Report, String> {
    let mut cluster = Cluster::new(plan, trace);
    let safety = cluster.plan.safety;
    run_until(&mut cluster, safety)?;
    heal_and_agree(&mut cluster)?;
    for &region in cluster.regions() {
        let judged = checker::check(&cluster.calls.history(region));
        judged.map_err(|violation| format!("region {region}: {violation}"))?;
    }
    Ok(Report {
        seed: cluster.plan.seed,
        simulated: cluster.now,
        events: cluster.trace.events(),
        fingerprint: cluster.trace.fingerprint(),
        tally: cluster.calls.tally(),
        members: cluster.members_tally(),
        went_back: cluster.went_back,
        strikes: cluster.strikes,
    })
}

/// Ends the fault phase: a healed majority makes progress, then a healed cluster converges.
///
/// # Errors
/// The violated invariant, in words.
pub(crate) fn heal_and_agree(cluster: &mut Cluster) -> Check {
    if cluster.plan.members_change.is_some() {
        return settle(cluster);
    }
    let healed = heal_majority(cluster);
    majority_makes_progress(cluster, &healed)?;
    heal_all(cluster);
    all_agree(cluster)?;
    if !cluster.plan.engine_stalls_at_last {
        return Ok(());
    }
    one_engine_stalls(cluster)?;
    heal_all(cluster);
    all_agree(cluster)
}

/// Runs until true time `end`.
///
/// # Errors
/// The violated invariant, in words.
pub(crate) fn run_until(cluster: &mut Cluster, end: u64) -> Check {
    while cluster.now < end {
        cluster.step()?;
    }
    Ok(())
}

/// Ends the fault phase. Returns the healed majority.
fn heal_majority(cluster: &mut Cluster) -> Vec<usize> {
    let count = cluster.hosts.len();
    let order = cluster.random.sample(count, count);
    // A member without the tail of its log does not help to elect a leader, so all others may be needed.
    let healed = if cluster.lacks_an_end() { count } else { count / 2 + 1 };
    let (healed, outside) = order.split_at(healed);
    begin_healing(cluster, healed);
    outside.iter().for_each(|&host| put_outside(cluster, host));
    healed.to_vec()
}

/// Nothing breaks any more, and these are healed.
pub(crate) fn begin_healing(cluster: &mut Cluster, healed: &[usize]) {
    cluster.trace.say(|| format!("healed: {:?}", healed.iter().map(|host| host + 1).collect::<Vec<_>>()));
    cluster.is_rough = false;
    cluster.links.heal();
    cluster.pace.slice_entries = 4096;
    cluster.pace.apply_max = MILLISECOND;
    cluster.pace.view_max = MILLISECOND;
    healed.iter().for_each(|&host| heal(cluster, host));
}

/// This one is not healed with the others.
pub(crate) fn put_outside(cluster: &mut Cluster, host: usize) {
    let how = cluster.random.pick(&[
        Outside::Down,
        Outside::CutOff,
        Outside::Deaf,
        Outside::Mute,
        Outside::Stalled,
    ]);
    break_outside(cluster, host, how);
}

fn heal(cluster: &mut Cluster, host: usize) {
    let now = cluster.now;
    let machine = &mut cluster.hosts[host];
    machine.sync_delay = 0;
    machine.member.effects_left = None;
    machine.member.next_sync = NextSync::Works;
    machine.clock.set_rate(now, 1_000);
    cluster.recover_engine(host);
    cluster.bring_back(host);
}

fn break_outside(cluster: &mut Cluster, host: usize, how: Outside) {
    if matches!(how, Outside::Stalled) {
        heal(cluster, host);
        cluster.hosts[host].engine_stalls = true;
    }
    let others = (0..cluster.hosts.len()).filter(|&other| other != host);
    for other in others.collect::<Vec<_>>() {
        if matches!(how, Outside::CutOff | Outside::Deaf) {
            cluster.links.cut((other, host));
        }
        if matches!(how, Outside::CutOff | Outside::Mute) {
            cluster.links.cut((host, other));
        }
    }
    if matches!(how, Outside::Down) {
        cluster.hosts[host].stays_down = true;
        cluster.crash(host);
    }
}

/// Liveness: a leader, a fresh write, and a linearizable read of every healed member, in every region.
pub(crate) fn majority_makes_progress(cluster: &mut Cluster, healed: &[usize]) -> Check {
    let timeout = cluster.plan.election_timeout();
    let mut patience = Patience::new(cluster, healed, MAJORITY_TIMEOUTS);
    let mut demands = Vec::new();
    for &region in cluster.regions() {
        let readers = healed.iter().map(|&host| Some(host)).chain([None]);
        demands.extend(readers.map(|reader| Demand { region, reader, call: None }));
    }
    while !demands.is_empty() {
        if patience.is_over(cluster) {
            let missing: Vec<_> = demands.iter().map(Demand::to_string).collect();
            return Err(format!(
                "a healed majority {:?} made no progress within {MAJORITY_TIMEOUTS} timeouts: {}",
                healed.iter().map(|host| host + 1).collect::<Vec<_>>(),
                missing.join(", ")
            ));
        }
        for demand in &mut demands {
            make(cluster, demand, healed);
        }
        let pause = cluster.now + timeout / 8;
        run_until(cluster, pause)?;
        demands.retain(|demand| {
            let is_met = demand.call.is_some_and(|call| cluster.calls.get(call).is_ok());
            !is_met && demand.reader.is_none_or(|reader| cluster.is_member(reader, demand.region))
        });
    }
    Ok(())
}

/// Repeats the call unless one is in progress.
fn make(cluster: &mut Cluster, demand: &mut Demand, healed: &[usize]) {
    if demand.call.is_some_and(|call| !cluster.calls.get(call).is_over()) {
        return;
    }
    demand.call = match demand.reader {
        Some(reader) => cluster.probe_read(reader, demand.region),
        None => {
            // A leader outside the majority learns from another member's write that its own engine is stalled.
            let leader = cluster.leader(demand.region).filter(|leader| healed.contains(leader));
            let member = healed.iter().copied().find(|&host| cluster.is_member(host, demand.region));
            cluster.probe_write(leader.or(member).unwrap_or(healed[0]), demand.region)
        }
    };
}

/// Heals all that are not gone for good.
pub(crate) fn heal_all(cluster: &mut Cluster) {
    cluster.trace.say(|| "all healed".to_owned());
    cluster.links.heal();
    for host in 0..cluster.hosts.len() {
        cluster.upgrade(host);
        heal(cluster, host);
    }
}

/// Convergence: no call is waiting, and every engine holds the state that the chosen log produces.
fn all_agree(cluster: &mut Cluster) -> Check {
    let timeout = cluster.plan.election_timeout();
    let hosts: Vec<_> = (0..cluster.hosts.len()).collect();
    let mut patience = Patience::new(cluster, &hosts, AGREEMENT_TIMEOUTS);
    while let Err(words) = agreed(cluster) {
        if patience.is_over(cluster) {
            return Err(format!("a healed cluster after {AGREEMENT_TIMEOUTS} timeouts: {words}"));
        }
        let pause = cluster.now + timeout / 2;
        run_until(cluster, pause)?;
    }
    Ok(())
}

fn agreed(cluster: &Cluster) -> Check {
    let pending = cluster.calls.pending();
    if pending > 0 {
        return Err(format!("{pending} calls are pending"));
    }
    if !cluster.ledger.is_open() {
        return Ok(());
    }
    let chosen = cluster.regions().iter().map(|&region| &cluster.ledger.region(region).chosen);
    let data: BTreeMap<_, _> = chosen.flat_map(|chosen| chosen.data().clone()).collect();
    for host in &cluster.hosts {
        for &region in cluster.regions() {
            let unfinished = host.member.peer_of(region).map_or(0, Peer::unfinished);
            if unfinished > 0 {
                let node = host.member.node;
                return Err(format!(
                    "region {region}: {node} waits for {unfinished} things, and nobody calls"
                ));
            }
            let (at, _) = host.member.engine().state_of(region);
            // A learner that does not exist says nothing.
            let has_stranger = at.members.learners.iter().any(|&node| node as usize > cluster.hosts.len());
            if at.level < NEWEST_LEVEL && !has_stranger {
                let (node, level) = (host.member.node, at.level);
                return Err(format!("region {region}: {node} is at level {level}, and all were upgraded"));
            }
            let (state, _) = host.member.engine().state_and_digest(region);
            let last = cluster.ledger.region(region).chosen.last();
            if state.index.get() != last {
                let (node, applied) = (host.member.node, state.index);
                return Err(format!("region {region}: {node} applied {applied}, chosen is {last}"));
            }
        }
        if *host.member.engine().data() != data {
            return Err(format!("{} holds other data than the log makes", host.member.node));
        }
    }
    Ok(())
}

/// Converts nanoseconds to hours.
pub(crate) fn hours(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / SECOND as f64 / 3600.0
}
