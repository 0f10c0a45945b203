//! Members whose engine or disk stalls, in directed runs.
//!
//! Owns runs in which one thing stalls deliberately, for as long as the run needs, and what the other parts can still
//! do meanwhile. What always holds: nothing else goes wrong. Random stalls ([`faults`](super::faults)) are left to the
//! simulator, which checks the whole cluster; a run here checks one guarantee.

use crate::core::limits::Limits;
use crate::core::peer_status::Role;
use crate::sim::cluster::Cluster;
use crate::sim::member::Setup;
use crate::sim::plan::{MILLISECOND, Plan};
use crate::sim::run::run_until;
use crate::sim::trace::Trace;
use crate::sim::trio::{Trio, at_once};
use crate::types::RegionId;

#[test]
fn reads_of_an_idle_region_are_answered_despite_the_backlog_of_others() {
    const IDLE: RegionId = RegionId(3);
    let limits = Limits { backlog_bytes: 300, store_backlog_bytes: 400, ..Limits::default() };
    let mut trio = Trio::new(3, &Setup { limits, ..Setup::default() });
    trio.elect(1, 3);
    trio.stalled = Some(2);
    for at in 0..20 {
        let write = trio.write(1, RegionId(1 + at % 2), 50);
        at_once(&write).expect("1 and 3 are a quorum");
        trio.pass(1);
    }
    let busy = trio.member(2).peer_of(RegionId(1)).expect("it runs").status();
    assert!(busy.last_index < trio.member(1).peer().status().last_index, "it takes no more of the busy ones");
    let status = trio.member(2).peer_of(IDLE).expect("it runs").status();
    assert_eq!(status.applied_index, status.commit_index, "the idle region has nothing to apply");

    let read = trio.read(2, IDLE);

    trio.answer(&read).expect("nothing of this region waits");
}

#[test]
fn a_leader_whose_engine_stalls_hands_over() {
    const REGION: RegionId = RegionId(1);
    let mut trio = Trio::new(1, &Setup::default());
    trio.elect(1, 1);
    trio.stalled = Some(1);
    let lost = trio.write(2, REGION, 50);
    trio.answer(&lost).expect_err("it is in the log of a leader that cannot apply it");
    trio.pass(20);

    let write = trio.write(2, REGION, 50);

    trio.answer(&write).expect("the other two are well");
    assert_eq!(trio.member(1).peer().status().role, Role::Follower);
}

/// Three members and a network without faults, with no callers but the test.
fn calm_cluster() -> Cluster {
    let mut plan = Plan::directed(1);
    plan.setup = Setup { elections: Some(1), ..Setup::default() };
    (plan.members, plan.regions) = (3, 1);
    (plan.network.loss, plan.network.stragglers) = (0, 0);
    plan.network.delay = MILLISECOND..2 * MILLISECOND;
    (plan.pace.sync, plan.pace.apply_max) = (MILLISECOND..2 * MILLISECOND, MILLISECOND);
    Cluster::new(plan, Trace::new(None, 0))
}

#[test]
fn a_leader_whose_log_sync_hangs_is_replaced_by_the_others() {
    const REGION: RegionId = RegionId(1);
    let mut cluster = calm_cluster();
    let timeout = cluster.plan.election_timeout();
    run_until(&mut cluster, 3 * timeout).expect("no promise is broken");
    let leader = cluster.leader(REGION).expect("elected");

    cluster.hosts[leader].sync_delay = 1_000 * timeout;
    cluster.probe_write(leader, REGION).expect("it runs");
    let hung_until = cluster.now + 4 * timeout;
    run_until(&mut cluster, hung_until).expect("no promise is broken");

    assert!(cluster.hosts[leader].is_in_sync(cluster.now), "it hangs to this moment");
    let next = cluster.leader(REGION).expect("elected");
    assert_ne!(next, leader);
    let write = cluster.probe_write(next, REGION).expect("it runs");
    let served_until = cluster.now + timeout;
    run_until(&mut cluster, served_until).expect("no promise is broken");
    assert!(cluster.calls.get(write).is_ok());
}
