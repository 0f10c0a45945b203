//! Members that are away for long.
//!
//! Owns runs in which one member is down while the others write: what that costs the others, and that it catches up when it
//! comes back although they never pause. What always holds: nothing else goes wrong. Raft snapshots among all other faults
//! are a matter of the plans that are drawn ([`plan`](super::plan)).

use crate::core::planted::{self, Fault};
use crate::sim::cluster::Cluster;
use crate::sim::invariants::Check;
use crate::sim::plan::Plan;
use crate::sim::run::{heal_and_agree, run_until};
use crate::sim::trace::Trace;

const BEHIND_BYTES: u64 = 4_000;
const RETAIN_BYTES: u64 = 1_000;
/// What a log may have beyond what is kept for others: what comes until it is truncated, which is looked at every twenty
/// ticks. In all several megabytes are written.
const SLACK_BYTES: u64 = 150_000;
/// The member that is away.
const AWAY: usize = 2;

/// Three members, and clients who write without a pause.
fn plan(seed: u64, timeouts: u64) -> Plan {
    let mut plan = Plan::directed(seed);
    (plan.members, plan.regions) = (3, 1);
    (plan.setup.log_retain_bytes, plan.setup.log_behind_bytes) = (RETAIN_BYTES, BEHIND_BYTES);
    (plan.setup.uncommitted_bytes_max, plan.setup.elections) = (1 << 30, Some(seed));
    let election = plan.election_timeout();
    plan.safety = timeouts * election;
    (plan.network.loss, plan.network.stragglers) = (0, 0);
    (plan.network.delay, plan.network.jitter) = (20_000..election / 100, 0);
    (plan.pace.apply_max, plan.pace.think_max, plan.pace.sync) = (election / 200, 1, 40_000..election / 200);
    (plan.pace.flush_max, plan.pace.flush_mean) = (election / 10, election);
    (plan.load.clients, plan.load.outstanding_max, plan.load.reads_percent) = (6, 2, 10);
    (plan.load.impatient_percent, plan.load.conditional_percent) = (0, 0);
    (plan.load.value_bytes, plan.load.pause) = (40..80, election / 10);
    plan
}

fn kept_bytes(cluster: &Cluster, host: usize) -> u64 {
    let (log, region) = (cluster.hosts[host].member.log(), cluster.regions()[0]);
    let entries = log.entries(region, log.truncated(region) + 1, log.status(region).last);
    entries.iter().map(|entry| entry.data.len() as u64).sum()
}

/// Takes it down for so long.
fn stay_away(cluster: &mut Cluster, timeouts: u64) -> Check {
    let election = cluster.plan.election_timeout();
    cluster.hosts[AWAY].stays_down = true;
    cluster.crash(AWAY);
    for _ in 0..timeouts {
        let until = cluster.now + election;
        run_until(cluster, until)?;
        for host in [0, 1] {
            let bytes = kept_bytes(cluster, host);
            if bytes > BEHIND_BYTES + SLACK_BYTES {
                return Err(format!("the log of {} has {bytes} bytes", host + 1));
            }
        }
    }
    Ok(())
}

/// Brings it back, and waits until it has applied what the others had at some moment a little before; false when it has
/// not within so long.
fn catches_up(cluster: &mut Cluster, timeouts: u64) -> Result<bool, String> {
    let (election, region) = (cluster.plan.election_timeout(), cluster.regions()[0]);
    let applied =
        |cluster: &Cluster, host: usize| cluster.hosts[host].member.engine().state_of(region).1.index;
    cluster.bring_back(AWAY);
    for _ in 0..timeouts {
        let before = applied(cluster, 0).max(applied(cluster, 1));
        let until = cluster.now + election;
        run_until(cluster, until)?;
        let bytes = kept_bytes(cluster, 0).max(kept_bytes(cluster, 1));
        if bytes > 2 * BEHIND_BYTES + SLACK_BYTES {
            return Err(format!("a log has {bytes} bytes while a member is helped"));
        }
        if applied(cluster, AWAY) >= before {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a_member_that_is_dead_for_long_costs_what_is_kept_for_it_and_gets_the_data_when_it_returns() {
    for seed in 1..=5 {
        let mut cluster = Cluster::new(plan(seed, 1_500), Trace::new(None, 0));
        let result = stay_away(&mut cluster, 1_000)
            .and_then(|()| catches_up(&mut cluster, 100))
            .and_then(|is_back| heal_and_agree(&mut cluster).map(|()| is_back));

        assert_eq!(result, Ok(true), "seed {seed}");
    }
}

/// A raft snapshot is under way for so long that the others would write far more than is kept for one that is behind.
fn slow_snapshot(seed: u64) -> Result<bool, String> {
    let mut plan = plan(seed, 400);
    let election = plan.election_timeout();
    plan.pace.snapshot = 5 * election..6 * election;
    plan.load.pause = election / 40;
    let mut cluster = Cluster::new(plan, Trace::new(None, 0));
    stay_away(&mut cluster, 20)?;
    catches_up(&mut cluster, 60)
}

#[test]
fn a_member_catches_up_although_the_others_write_faster_than_it_takes_in() {
    for seed in 1..=5 {
        assert_eq!(slow_snapshot(seed), Ok(true), "seed {seed}");
    }
}

#[test]
fn a_leader_that_does_not_keep_its_log_for_a_snapshot_is_detected() {
    let caught_up = |seed| planted::with(Some(Fault::LogNotKeptForASnapshot), || slow_snapshot(seed));

    assert!((1..=5).any(|seed| caught_up(seed) == Ok(false)), "each snapshot is too old when it arrives");
}
