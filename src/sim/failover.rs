//! How long a write waits for an election.
//!
//! Owns directed runs in which only the network and the disks take time, so that the time from an election to the
//! answer to a follower's write is a number of round trips and syncs. What always holds: the bound is that number plus
//! a small slack.

use crate::core::input::Input;
use crate::sim::chosen::CallId;
use crate::sim::cluster::Cluster;
use crate::sim::member::Setup;
use crate::sim::plan::{MILLISECOND, Plan};
use crate::sim::run::run_until;
use crate::sim::trace::Trace;
use crate::types::{NodeId, RegionId};

const REGION: RegionId = RegionId(1);
const ROUND_TRIP: u64 = 20 * MILLISECOND;
const SYNC: u64 = 10 * MILLISECOND;
/// Upper bound for everything else: events that are due at the same time still run one after the other.
const SLACK: u64 = MILLISECOND;

/// Three members with an established leader.
fn cluster(seed: u64) -> (Cluster, usize) {
    let mut plan = Plan::directed(1);
    plan.setup = Setup { elections: Some(seed), ..Setup::default() };
    (plan.members, plan.regions) = (3, 1);
    (plan.network.loss, plan.network.stragglers, plan.network.jitter) = (0, 0, 0);
    plan.network.delay = ROUND_TRIP / 2..ROUND_TRIP / 2;
    (plan.pace.sync, plan.pace.think_max, plan.pace.apply_max) = (SYNC..SYNC, 0, 0);
    let mut cluster = Cluster::new(plan, Trace::new(None, 0));
    let settled = 3 * cluster.plan.election_timeout();
    run_until(&mut cluster, settled).expect("no promise is broken");
    let leader = cluster.leader(REGION).expect("elected");
    (cluster, leader)
}

/// The leader loses power and stays down.
fn lose(cluster: &mut Cluster, leader: usize) {
    cluster.hosts[leader].stays_down = true;
    cluster.crash(leader);
}

/// The other members notice that their connections to `leader` are broken.
fn notice(cluster: &mut Cluster, leader: usize) {
    let node = NodeId(leader as u64 + 1);
    for host in (0..3).filter(|&host| host != leader) {
        cluster.hosts[host].member.feed_to(REGION, Input::Disconnected(node));
    }
}

/// Time from the moment a member other than `writer` leads until the write is answered; none when `writer` itself
/// leads.
fn time_behind_the_election(
    cluster: &mut Cluster,
    old: usize,
    (writer, write): (usize, CallId),
) -> Option<u64> {
    let leads = |cluster: &Cluster| cluster.leader(REGION).filter(|&leader| leader != old);
    while leads(cluster).is_none() {
        cluster.step().expect("no promise is broken");
    }
    let elected = cluster.now;
    if leads(cluster) == Some(writer) {
        return None;
    }
    while !cluster.calls.get(write).is_over() {
        cluster.step().expect("no promise is broken");
    }
    assert!(cluster.calls.get(write).is_ok());
    Some(cluster.now - elected)
}

/// A write through a follower of `old`.
fn write(cluster: &mut Cluster, old: usize) -> (usize, CallId) {
    let writer = (old + 1) % 3;
    (writer, cluster.probe_write(writer, REGION).expect("it runs"))
}

fn longest(measured: impl Iterator<Item = Option<u64>>) -> u64 {
    let measured: Vec<_> = measured.flatten().collect();
    assert!(measured.len() >= 5, "the other follower is elected as often");
    measured.into_iter().max().expect("just counted")
}

#[test]
fn a_write_sent_to_the_failed_leader_takes_three_and_a_half_round_trips_and_two_syncs() {
    let longest = longest((1..=20).map(|seed| {
        let (mut cluster, old) = cluster(seed);
        let write = write(&mut cluster, old);
        let sent = cluster.now + ROUND_TRIP / 4;
        run_until(&mut cluster, sent).expect("no promise is broken");
        lose(&mut cluster, old);
        time_behind_the_election(&mut cluster, old, write)
    }));

    // The leader's first entry, its commit notice, the write, the write's entry, the answer.
    let promised = 7 * ROUND_TRIP / 2 + 2 * SYNC;
    assert!((promised..promised + SLACK).contains(&longest), "{longest} ns");
}

#[test]
fn a_write_made_while_there_is_no_leader_takes_two_and_a_half_round_trips_and_two_syncs() {
    let longest = longest((1..=20).map(|seed| {
        let (mut cluster, old) = cluster(seed);
        lose(&mut cluster, old);
        notice(&mut cluster, old);
        let write = write(&mut cluster, old);
        time_behind_the_election(&mut cluster, old, write)
    }));

    // A new leader sends one append at a time until a follower has acknowledged its first entry.
    let promised = 5 * ROUND_TRIP / 2 + 2 * SYNC;
    assert!((promised..promised + SLACK).contains(&longest), "{longest} ns");
}
