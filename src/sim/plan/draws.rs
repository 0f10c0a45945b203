//! What is drawn from a seed, part by part.
//!
//! Owns how likely each value is. What always holds: what was added later is drawn from a random stream of its own, so that
//! all else that a seed stands for stays the same.

use std::time::Duration;

use super::{LoadPlan, MICROSECOND, MILLISECOND, NetworkPlan, PacePlan};
use crate::core::limits::Limits;
use crate::core::peer::PROPOSE_BYTES_MAX;
use crate::sim::faults::FaultKind;
use crate::sim::member::Setup;
use crate::sim::random::Random;
use crate::time::longest_lease;
use crate::types::NEWEST_LEVEL;

pub(super) fn draw_setup(seed: u64, random: &mut Random) -> Setup {
    let heartbeat_ticks = random.weighted(&[(6, 2), (1, 1), (1, 3)]);
    let election_ticks = heartbeat_ticks * random.weighted(&[(6, 10), (1, 5), (1, 8)]);
    let tick = Duration::from_millis(random.weighted(&[(5, 50), (1, 10), (1, 20), (4, 100), (2, 250)]));
    let longest = longest_lease(tick * election_ticks as u32, tick);
    let lease_max = random.pick(&[longest, longest, longest * 2 / 3]);
    Setup {
        known_level: NEWEST_LEVEL,
        tick,
        heartbeat_ticks,
        election_ticks,
        lease_max,
        group_bytes_max: random.pick(&[0, 200, 1 << 16]),
        propose_bytes_max: PROPOSE_BYTES_MAX,
        forward_window_bytes: random.pick(&[1, 1_000, 1 << 20]),
        elections: Some(seed),
        log_cache_bytes: random.pick(&[0, 1_000, 20_000, 1 << 20]),
        uncommitted_bytes_max: random.weighted(&[(5, 1 << 30), (2, 1 << 19)]),
        log_retain_bytes: random.pick(&[500, 10_000, 1 << 20]),
        log_behind_bytes: behind_bytes(seed),
        limits: draw_limits(seed),
        apply_stall_ticks: draw_apply_stall(seed, election_ticks as u64),
    }
}

pub(super) fn draw_network(election: u64, random: &mut Random) -> NetworkPlan {
    let delay_max = random.pick(&[MILLISECOND, election / 200, election / 50, election / 12]);
    NetworkPlan {
        loss: random.pick(&[0, 0, 1_000, 10_000, 50_000, 150_000, 300_000]),
        doubling: random.pick(&[0, 0, 10_000, 100_000, 500_000]),
        delay: 20 * MICROSECOND..delay_max,
        jitter: random.pick(&[0, delay_max / 4, delay_max, 4 * delay_max]),
        reorders: random.percent(40),
        stragglers: random.pick(&[0, 0, 0, 1_000, 20_000]),
        late_timeout_now_percent: random.pick(&[0, 30, 80]),
        late_votes_percent: random.pick(&[0, 0, 0, 0, 20]),
        late_rejections_percent: random.pick(&[0, 0, 50]),
        late_answers_percent: random.pick(&[0, 0, 0, 30]),
        bad_moments_percent: random.pick(&[0, 0, 30]),
    }
}

pub(super) fn draw_pace(seed: u64, election: u64, random: &mut Random) -> PacePlan {
    let sync_max = random.pick(&[100 * MICROSECOND, MILLISECOND, election / 100, election / 20]);
    PacePlan {
        think_max: random.pick(&[1, 50 * MICROSECOND, MILLISECOND, election / 50]),
        sync: 40 * MICROSECOND..sync_max,
        apply_max: random.pick(&[100 * MICROSECOND, MILLISECOND, election / 50, election / 5]),
        slice_entries: random.pick(&[1, 3, 4096]),
        view_max: random.pick(&[1, MILLISECOND, election / 20, 2 * election]),
        flush_max: election * random.pick(&[1, 1, 20]) / 10,
        flush_mean: election * random.pick(&[1, 5, 20, 1000]),
        snapshot: 0..snapshot_max(seed, election),
    }
}

/// Two in five of the seeds that retain their logs have a disk that loses the tail of a log. Drawn from a separate
/// stream, like the callers who cancel.
pub(super) fn lost_ends(seed: u64, election: u64) -> Option<(FaultKind, u64)> {
    let random = &mut Random::new(seed ^ 0x006c_6f73_6573);
    random.percent(40).then(|| (FaultKind::LoseEnd, election * random.pick(&[6, 20, 60])))
}

/// Limits that small entries reach, or those of production, which they do not. From a separate random stream.
pub(super) fn draw_limits(seed: u64) -> Limits {
    let random = &mut Random::new(seed ^ 0x0000_6c69_6d69_7473);
    let production = Limits::default();
    if random.percent(50) {
        return production;
    }
    let more = &mut Random::new(seed ^ 0x0077_696e_646f_7773);
    let backlog_bytes = random.pick(&[1, 300, 2_000, production.backlog_bytes]);
    let store_backlog_bytes = random.pick(&[backlog_bytes / 2, 2 * backlog_bytes]);
    Limits {
        backlog_bytes,
        store_backlog_bytes,
        applying_bytes: more.pick(&[1, 300, production.applying_bytes]),
        held_appends_bytes: more.pick(&[1, 500, production.held_appends_bytes]),
        append_window_bytes: more.pick(&[1, 300, 2_000, production.append_window_bytes]),
        forwarded_bytes: random.pick(&[1, 200, production.forwarded_bytes]),
        questions: random.pick(&[1, 2, production.questions]),
        held_confirmations: random.pick(&[2, 3, production.held_confirmations]),
    }
}

/// From a separate random stream.
pub(super) fn draw_apply_stall(seed: u64, election_ticks: u64) -> u64 {
    election_ticks * Random::new(seed ^ 0x0073_7461_6c6c).pick(&[2, 3, 5, 10])
}

/// From a separate random stream.
pub(super) fn engine_stalls_at_last(seed: u64) -> bool {
    Random::new(seed ^ 0x656e_6769_6e65).percent(40)
}

/// From a separate random stream.
pub(super) fn behind_bytes(seed: u64) -> u64 {
    let random = &mut Random::new(seed ^ 0x6265_6869_6e64);
    if random.percent(35) { random.pick(&[300, 1_500, 6_000]) } else { 1 << 30 }
}

/// From a separate random stream.
pub(super) fn snapshot_max(seed: u64, election: u64) -> u64 {
    let random = &mut Random::new(seed ^ 0x0062_756c_6b79);
    random.weighted(&[(60, election / 10), (30, election), (10, 6 * election)])
}

/// From a separate random stream.
pub(super) fn long_absences(seed: u64) -> bool {
    Random::new(seed ^ 0x6162_7365_6e63).percent(12)
}

/// From a separate random stream.
pub(super) fn members_change(seed: u64) -> bool {
    Random::new(seed ^ 0x0063_6f6d_655f_676f).percent(15)
}

/// From a separate random stream.
pub(super) fn upgrade(seed: u64) -> bool {
    Random::new(seed ^ 0x75_7067_7261_6465).percent(15)
}

/// From a separate random stream. The upgrades of most seeds stay the same.
pub(super) fn goes_back(seed: u64) -> bool {
    Random::new(seed ^ 0x6f6e_655f_6261_636b).percent(30)
}

/// One seed in four has callers who cancel. From a separate random stream, so that the other draws of a seed stay the
/// same.
pub(super) fn impatient_percent(seed: u64) -> u32 {
    if Random::new(seed ^ 0x0067_6976_6572).percent(25) { 10 } else { 0 }
}

/// From a separate random stream, too.
pub(super) fn conditional_percent(seed: u64) -> u32 {
    Random::new(seed ^ 0x0063_6f6e_6469_7469).pick(&[0, 30, 90])
}

pub(super) fn draw_load(seed: u64, election: u64, random: &mut Random) -> LoadPlan {
    let clients = random.pick(&[1, 2, 4, 8]);
    let calls_per_timeout = random.weighted(&[(3, 1), (4, 3), (3, 10), (1, 40)]);
    let large = random.percent(12);
    LoadPlan {
        clients,
        outstanding_max: random.pick(&[1, 1, 2, 8]),
        pause: election * clients as u64 / calls_per_timeout,
        reads_percent: random.pick(&[10, 40, 60, 90]),
        local_percent: random.pick(&[0, 5, 30]),
        leader_percent: random.pick(&[0, 50, 80, 100]),
        registers: random.pick(&[1, 2, 5, 20]),
        value_bytes: if large { 4_000..60_000 } else { 8..24 },
        deadline: election / 10..election * random.pick(&[1, 3, 10]),
        impatient_percent: impatient_percent(seed),
        conditional_percent: conditional_percent(seed),
    }
}

/// With leases, clocks are slewed as far as an operating system allows, whatever the lease duration: the test is
/// whether the lease is short enough for that. Without leases, any rate may occur.
pub(super) fn clock_rates(setup: &Setup) -> Vec<u64> {
    if setup.lease_max.is_zero() {
        vec![500, 800, 950, 1_050, 1_300, 2_000]
    } else {
        vec![900, 917, 950, 1_050, 1_083, 1_100]
    }
}

pub(super) fn draw_faults(election: u64, setup: &Setup, random: &mut Random) -> Vec<(FaultKind, u64)> {
    let (calm, lease) = (random.percent(5), !setup.lease_max.is_zero());
    let mut faults = Vec::new();
    for kind in FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::LoseEnd) {
        let percent = match kind {
            _ if calm => 0,
            // Leases rely on clocks that do not jump, and on followers that do not campaign out of turn.
            FaultKind::ClockJump | FaultKind::Campaign if lease => 0,
            // They also rely on clocks that do not stop; but everything that does not rely on leases must hold even
            // then.
            FaultKind::PauseOfMachine if lease => 5,
            _ => 45,
        };
        if random.percent(percent) {
            faults.push((kind, election * random.pick(&[2, 6, 20, 60])));
        }
    }
    let transfers = faults.iter().any(|(kind, _)| *kind == FaultKind::Transfer);
    // A membership change needs a leader that is known to accept it: one that is not transferring leadership and has
    // room.
    let takes_changes = !transfers && setup.uncommitted_bytes_max > 1 << 20;
    faults.retain(|(kind, _)| *kind != FaultKind::ChangeMembers || takes_changes);
    faults
}
