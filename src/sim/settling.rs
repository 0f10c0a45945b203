//! The end of a run whose members come and go.
//!
//! Owns what such a cluster must come to once nothing breaks any more: with one member still away that it can do without,
//! it serves; with all that are not lost, every region follows the newest list of members, these agree, and then nothing
//! moves any more, whatever members say that are out. What always holds: a member that is not in the list need not do
//! anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::peer::Peer;
use crate::sim::cluster::{Cluster, Presence};
use crate::sim::invariants::Check;
use crate::sim::patience::Patience;
use crate::sim::run::{begin_healing, heal_all, majority_makes_progress, put_outside, run_until};
use crate::types::{BOOTSTRAP_REGION, NEWEST_LEVEL, NodeId, RegionId};

/// Election timeouts in which every region has followed the list and all agree: members that are lost must be replaced
/// first, newcomers are let in and given the data, one after the other if need be.
const AGREEMENT_TIMEOUTS: u64 = 300;
/// Election timeouts in which nothing may move afterwards.
const QUIET_TIMEOUTS: u64 = 25;

/// Ends the fault phase.
///
/// # Errors
/// The violated invariant, in words.
pub(crate) fn settle(cluster: &mut Cluster) -> Check {
    let healed = heal_most(cluster);
    majority_makes_progress(cluster, &healed)?;
    heal_all(cluster);
    all_follow(cluster)?;
    if !cluster.ledger.is_open() {
        return Ok(());
    }
    let (before, end) = (leaders(cluster)?, cluster.now + QUIET_TIMEOUTS * cluster.plan.election_timeout());
    run_until(cluster, end)?;
    let after = leaders(cluster)?;
    if before != after {
        return Err(format!("nothing was wrong, and leaders {before:?} became {after:?}"));
    }
    followed(cluster)
}

/// Heals all but perhaps one member; returns those.
fn heal_most(cluster: &mut Cluster) -> Vec<usize> {
    let here = (0..cluster.hosts.len()).filter(|&host| cluster.hosts[host].presence == Presence::Here);
    let mut healed: Vec<_> = here.collect();
    let outside = healed[cluster.random.index(healed.len())];
    let is_outside = can_do_without(cluster, outside);
    if is_outside {
        healed.retain(|&host| host != outside);
    }
    begin_healing(cluster, &healed);
    if is_outside {
        put_outside(cluster, outside);
    }
    healed
}

/// Whether the members without `host` are enough, by every configuration on the way to the list.
fn can_do_without(cluster: &Cluster, host: usize) -> bool {
    let list = cluster.newest(BOOTSTRAP_REGION).list.clone();
    let listed: BTreeSet<u64> = list.iter().flat_map(|list| list.voters()).map(NodeId::get).collect();
    let are_enough = |nodes: BTreeSet<u64>| {
        let is_there = |node: &&u64| {
            let at = **node as usize - 1;
            at != host && cluster.hosts[at].presence == Presence::Here
        };
        nodes.is_empty() || nodes.iter().filter(is_there).count() > nodes.len() / 2
    };
    let ways = |region: &RegionId| {
        let members = &cluster.newest(*region).members;
        let voters: BTreeSet<u64> = members.voters.iter().copied().collect();
        let outgoing = members.voters_outgoing.iter().copied().collect();
        [&voters | &listed, voters, outgoing, listed.clone()]
    };
    cluster.lost().is_empty()
        && cluster.is_at_rest()
        && cluster.regions().iter().all(|region| ways(region).into_iter().all(are_enough))
}

fn all_follow(cluster: &mut Cluster) -> Check {
    let timeout = cluster.plan.election_timeout();
    let hosts: Vec<_> = (0..cluster.hosts.len()).collect();
    let mut patience = Patience::new(cluster, &hosts, AGREEMENT_TIMEOUTS);
    while let Err(words) = followed(cluster) {
        if patience.is_over(cluster) {
            return Err(format!("a healed cluster after {AGREEMENT_TIMEOUTS} timeouts: {words}"));
        }
        let pause = cluster.now + timeout / 2;
        run_until(cluster, pause)?;
    }
    Ok(())
}

/// Every region has the members of the newest list, and these agree.
fn followed(cluster: &Cluster) -> Check {
    let pending = cluster.calls.pending();
    if pending > 0 {
        return Err(format!("{pending} calls are pending"));
    }
    if !cluster.ledger.is_open() {
        return Ok(());
    }
    if let Some(node) = cluster.lost().first() {
        return Err(format!("{node} is lost, and still a member"));
    }
    for &region in cluster.regions() {
        region_follows(cluster, region)?;
    }
    let data: BTreeMap<_, _> = cluster
        .regions()
        .iter()
        .flat_map(|&region| cluster.ledger.region(region).chosen.data().clone())
        .collect();
    for node in listed(cluster) {
        let member = &cluster.hosts[node as usize - 1].member;
        if *member.engine().data() != data {
            return Err(format!("{node} holds other data than the log makes"));
        }
    }
    leaders(cluster).map(drop)
}

fn region_follows(cluster: &Cluster, region: RegionId) -> Check {
    let chosen = &cluster.ledger.region(region).chosen;
    let members = chosen.configurations().newest();
    let list = cluster.ledger.region(BOOTSTRAP_REGION).chosen.configurations().list();
    if let Some(list) = list {
        let voters: BTreeSet<_> = members.members.voters.iter().map(|node| NodeId(*node)).collect();
        let all: Vec<_> = list.members.iter().map(|member| member.node).collect();
        let is_that = members.members.voters_outgoing.is_empty()
            && list.voters().eq(voters)
            && members.all_members() == all;
        if !is_that {
            return Err(format!("region {region} has {:?} and is to have {list:?}", members.members));
        }
    }
    for node in listed(cluster) {
        let member = &cluster.hosts[node as usize - 1].member;
        let unfinished = member.peer_of(region).map_or(0, Peer::unfinished);
        let (stored, (state, _)) = (member.engine().region(region), member.engine().state_and_digest(region));
        if unfinished > 0 {
            return Err(format!("region {region}: {node} waits for {unfinished} things, and nobody calls"));
        }
        if stored.level < NEWEST_LEVEL {
            let level = stored.level;
            return Err(format!("region {region}: {node} is at level {level}, and all were upgraded"));
        }
        if state.index.get() != chosen.last() {
            let (applied, last) = (state.index, chosen.last());
            return Err(format!("region {region}: {node} applied {applied}, chosen is {last}"));
        }
    }
    Ok(())
}

/// The members of the newest list, or those of the beginning.
fn listed(cluster: &Cluster) -> Vec<u64> {
    let newest = cluster.ledger.region(BOOTSTRAP_REGION).chosen.configurations().newest();
    match &newest.list {
        Some(list) => list.members.iter().map(|member| member.node.get()).collect(),
        None => newest.all_members().into_iter().map(NodeId::get).collect(),
    }
}

/// The term and the leader of each region, in which all members agree.
fn leaders(cluster: &Cluster) -> Result<Vec<(u64, u64)>, String> {
    let mut leaders = Vec::new();
    for &region in cluster.regions() {
        let mut known = BTreeSet::new();
        for node in listed(cluster) {
            let Some(peer) = cluster.hosts[node as usize - 1].member.peer_of(region) else {
                return Err(format!("{node} is down"));
            };
            let status = peer.status();
            known.insert((status.term.get(), status.leader.map_or(0, NodeId::get)));
        }
        match known.into_iter().collect::<Vec<_>>()[..] {
            [(term, leader)] if listed(cluster).contains(&leader) => leaders.push((term, leader)),
            ref they => {
                return Err(format!(
                    "region {region}: members do not agree in a leader that is listed: {they:?}"
                ));
            }
        }
    }
    Ok(leaders)
}
