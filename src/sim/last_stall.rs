//! An engine that stalls permanently.
//!
//! Owns the last phase of a run, on a cluster that is healthy and has converged: one member's engine stops accepting
//! anything. What always holds: any region it led soon has another leader that serves writes; and in a region where it
//! has nothing to apply, it still answers reads, however large the backlog of its engine is elsewhere.

use crate::core::peer::Peer;
use crate::sim::chosen::CallId;
use crate::sim::cluster::Cluster;
use crate::sim::invariants::Check;
use crate::sim::run::{MAJORITY_TIMEOUTS, run_until};
use crate::types::RegionId;

/// Writes to a region: more than the small limits allow to wait for an engine.
const WRITES: u32 = 12;

/// Stalls an engine, and checks what the other members and its own member must still be able to do.
///
/// # Errors
/// The violated invariant, in words.
pub(crate) fn one_engine_stalls(cluster: &mut Cluster) -> Check {
    if cluster.hosts.len() < 3 {
        return Ok(());
    }
    let regions = cluster.regions().to_vec();
    let (idle, busy) = regions.split_last().expect("a cluster has a region");
    let busy = if busy.is_empty() { std::slice::from_ref(idle) } else { busy };
    let host = choose_host(cluster, busy[0]);
    cluster.trace.say(|| format!("the engine of {} stands still for good", host + 1));
    cluster.hosts[host].engine_stalls = true;
    for &region in busy {
        others_write(cluster, host, region)?;
    }
    if regions.len() > 1 { idle_region_is_read(cluster, host, *idle) } else { Ok(()) }
}

/// Half of the time the leader of the region, otherwise a random host.
fn choose_host(cluster: &mut Cluster, region: RegionId) -> usize {
    let host = cluster.random.index(cluster.hosts.len());
    if cluster.random.percent(50) { cluster.leader(region).unwrap_or(host) } else { host }
}

fn others_write(cluster: &mut Cluster, stalled: usize, region: RegionId) -> Check {
    for _ in 0..WRITES {
        let write = |cluster: &mut Cluster| {
            // Also while the stalled member leads: entries that it cannot apply show it that its engine is stalled.
            let leader = cluster.leader(region).filter(|leader| *leader != stalled);
            let other = usize::from(stalled == 0);
            cluster.probe_write(leader.unwrap_or(other), region)
        };
        let what = format!("no write in region {region} beside the stalled engine of {}", stalled + 1);
        insist(cluster, write, |_| false, &what)?;
    }
    Ok(())
}

fn idle_region_is_read(cluster: &mut Cluster, stalled: usize, region: RegionId) -> Check {
    let status =
        |cluster: &Cluster, host: usize| cluster.hosts[host].member.peer_of(region).map(Peer::status);
    // Elections and the aftermath of a transfer write entries too.
    let waits = |cluster: &Cluster| {
        let last = cluster.leader(region).and_then(|leader| status(cluster, leader));
        let applied = status(cluster, stalled).map(|status| status.applied_index);
        last.map(|status| status.last_index) != applied
    };
    let what = format!("no read on {} with its stalled engine in the idle region {region}", stalled + 1);
    insist(cluster, |cluster| cluster.probe_read(stalled, region), waits, &what)
}

/// Repeats a call until one is answered with success, or until it is no longer needed.
fn insist(
    cluster: &mut Cluster,
    mut make: impl FnMut(&mut Cluster) -> Option<CallId>,
    need_not: impl Fn(&Cluster) -> bool,
    what: &str,
) -> Check {
    let timeout = cluster.plan.election_timeout();
    let end = cluster.now + MAJORITY_TIMEOUTS * timeout;
    let mut call = None;
    while cluster.now < end {
        if need_not(cluster) || call.is_some_and(|call| cluster.calls.get(call).is_ok()) {
            return Ok(());
        }
        if call.is_none_or(|call| cluster.calls.get(call).is_over()) {
            call = make(cluster);
        }
        run_until(cluster, cluster.now + timeout / 8)?;
    }
    Err(format!("{what} within {MAJORITY_TIMEOUTS} timeouts"))
}
