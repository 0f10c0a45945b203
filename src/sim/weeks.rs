//! A long-running cluster.
//!
//! Owns runs of days and weeks at a slow pace, in which members restart again and again. What always holds: the logs
//! that members keep do not grow with time. That nothing else is left behind is checked at the end of every run
//! ([`run`](super::run)); file descriptors and memory are checked in real processes (`tests/it/fire.rs`, `make soak`).
//!
//! Simulates `ALMADIA_SIM_DAYS` days from seed `ALMADIA_SEED`.

use std::time::Duration;

use crate::core::limits::Limits;
use crate::sim::checker;
use crate::sim::cluster::Cluster;
use crate::sim::faults::FaultKind;
use crate::sim::hunt::setting;
use crate::sim::invariants::Check;
use crate::sim::plan::{MICROSECOND, MILLISECOND, NetworkPlan, Plan, SECOND};
use crate::sim::run::{heal_and_agree, run_until};
use crate::sim::trace::Trace;
use crate::types::RegionId;

/// Default number of days: takes a few seconds.
const DAYS: u64 = 2;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Interval between checks of the logs.
const LOOK: u64 = 6 * HOUR;

/// Bytes to retain of each region's log, overhead included: several hours' worth, while members run for only half an
/// hour at a time.
const RETAIN_BYTES: u64 = 20_000;
/// Maximum size of a log: what is retained, as much again until it is truncated, and what arrives while a member is
/// down or an engine is not flushed. A day brings a hundred thousand bytes.
const LOG_BYTES_MAX: u64 = 3 * RETAIN_BYTES;

/// One long run: three members that restart every half hour on average, before they have written the bytes to retain.
fn plan(seed: u64, days: u64) -> Plan {
    let mut plan = Plan::directed(seed);
    plan.setup.tick = Duration::from_secs(1);
    (plan.setup.heartbeat_ticks, plan.setup.election_ticks) = (3, 30);
    (plan.setup.lease_max, plan.setup.apply_stall_ticks) = (Duration::from_secs(24), 60);
    (plan.setup.log_retain_bytes, plan.setup.log_cache_bytes) = (RETAIN_BYTES, 2_000);
    (plan.setup.uncommitted_bytes_max, plan.setup.limits) = (1 << 30, Limits::default());
    (plan.members, plan.regions, plan.safety) = (3, 2, days * 24 * HOUR);
    plan.network = NetworkPlan {
        loss: 1_000,
        delay: 20 * MICROSECOND..20 * MILLISECOND,
        jitter: MILLISECOND,
        stragglers: 0,
        late_timeout_now_percent: 0,
        late_votes_percent: 0,
        late_rejections_percent: 0,
        late_answers_percent: 0,
        bad_moments_percent: 0,
        ..plan.network
    };
    plan.pace.sync = 40 * MICROSECOND..10 * MILLISECOND;
    (plan.pace.think_max, plan.pace.apply_max, plan.pace.view_max) = (MILLISECOND, MILLISECOND, MILLISECOND);
    (plan.pace.flush_max, plan.pace.flush_mean) = (10 * SECOND, 10 * MINUTE);
    (plan.load.clients, plan.load.outstanding_max, plan.load.pause) = (4, 1, MINUTE);
    (plan.load.reads_percent, plan.load.local_percent) = (40, 10);
    (plan.load.value_bytes, plan.load.deadline) = (8..24, SECOND..30 * SECOND);
    plan.clock_rates = vec![990, 1_010];
    plan.faults = vec![
        (FaultKind::Crash, 10 * MINUTE),
        (FaultKind::PowerLoss, 12 * HOUR),
        (FaultKind::ClockRate, 4 * HOUR),
        (FaultKind::Transfer, 3 * HOUR),
        (FaultKind::EngineStall, 3 * HOUR),
        (FaultKind::DiskStall, 3 * HOUR),
        (FaultKind::BreakConnection, HOUR),
        (FaultKind::Isolate, 6 * HOUR),
    ];
    plan.fault_length_max = MINUTE;
    plan
}

fn logs_are_bounded(cluster: &Cluster) -> Check {
    for host in &cluster.hosts {
        for &region in cluster.regions() {
            let bytes = kept_bytes(cluster, host.member.node, region);
            if bytes > LOG_BYTES_MAX {
                let node = host.member.node;
                return Err(format!("region {region}: the log of {node} has {bytes} bytes"));
            }
        }
    }
    Ok(())
}

fn kept_bytes(cluster: &Cluster, node: u64, region: RegionId) -> u64 {
    let log = cluster.hosts[node as usize - 1].member.log();
    let entries = log.entries(region, log.truncated(region) + 1, log.status(region).last);
    entries.iter().map(|entry| entry.data.len() as u64).sum()
}

fn run_for_days(seed: u64, days: u64) -> Check {
    let mut cluster = Cluster::new(plan(seed, days), Trace::new(None, 0));
    for look in 1..=4 * days {
        run_until(&mut cluster, look * LOOK)?;
        logs_are_bounded(&cluster)?;
    }
    heal_and_agree(&mut cluster)?;
    for &region in cluster.regions() {
        let judged = checker::check(&cluster.calls.history(region));
        judged.map_err(|violation| format!("region {region}: {violation}"))?;
    }
    let tally = cluster.calls.tally();
    assert!(tally.written > 1_000 * days && tally.read > 1_000 * days, "clients got work done: {tally:?}");
    Ok(())
}

#[test]
fn after_days_of_restarts_logs_have_the_size_to_be_retained() {
    let (seed, days) = (setting("ALMADIA_SEED", 1), setting("ALMADIA_SIM_DAYS", DAYS));

    if let Err(words) = run_for_days(seed, days) {
        panic!("seed {seed}, {days} days: {words}");
    }
}
