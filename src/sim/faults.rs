//! What goes wrong.
//!
//! Owns the kinds of faults: how often each happens is the plan's to draw, what it does is written once, here. What
//! always holds: a fault is something the world may do - lose power, messages, time - and never something a member
//! does; every fault that lasts has an end.

use crate::sim::cluster::Cluster;
use crate::sim::member::NextSync;
use crate::sim::plan::SECOND;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A member loses power.
    Crash,
    /// A member loses power between two of its next effects.
    CrashBetweenEffects,
    /// All members lose power.
    PowerLoss,
    /// A member's next sync reports an error.
    SyncError,
    /// A member stands still; its clock does not.
    Pause,
    /// A member's clock runs fast or slow.
    ClockRate,
    /// A member's clock jumps forward.
    ClockJump,
    /// A member's engine stalls.
    EngineStall,
    /// A member's syncs take very long.
    DiskStall,
    /// One member is cut off.
    Isolate,
    /// The members fall into two parts.
    Split,
    /// Messages pass in one direction only.
    OneWay,
    /// Each member hears only its neighbours.
    Chain,
    /// Some links are cut, whichever.
    CutLinks,
    /// A link comes and goes.
    Flap,
    /// A connection breaks with everything that is under way on it.
    BreakConnection,
    /// Messages from long ago arrive, or arrive again.
    Replay,
    /// A member campaigns out of turn.
    Campaign,
    /// A leader is asked to hand over.
    Transfer,
    /// A learner that does not exist joins, or leaves again.
    ChangeMembers,
}

/// Something that was done and has to be undone.
#[derive(Clone, Debug)]
pub enum Mend {
    /// These one-way links work again.
    Links(Vec<(usize, usize)>),
    /// A clock runs true again.
    Clock(usize),
    /// An engine is as fast as before.
    Engine(usize),
    /// A disk is as fast as before.
    Disk(usize),
    /// A link that comes and goes: its ends, how often it still changes, how fast, and whether it is cut.
    Flap { ends: (usize, usize), left: u32, period: u64, cut: bool },
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::Crash,
        Self::CrashBetweenEffects,
        Self::PowerLoss,
        Self::SyncError,
        Self::Pause,
        Self::ClockRate,
        Self::ClockJump,
        Self::EngineStall,
        Self::DiskStall,
        Self::Isolate,
        Self::Split,
        Self::OneWay,
        Self::Chain,
        Self::CutLinks,
        Self::Flap,
        Self::BreakConnection,
        Self::Replay,
        Self::Campaign,
        Self::Transfer,
        Self::ChangeMembers,
    ];
}

/// Lets `kind` happen to `cluster` now.
pub fn strike(cluster: &mut Cluster, kind: FaultKind) {
    let host = cluster.random.index(cluster.hosts.len());
    match kind {
        FaultKind::Crash => cluster.crash(host),
        FaultKind::CrashBetweenEffects => {
            let effects = cluster.random.below(12) as u32;
            cluster.hosts[host].member.effects_left = Some(effects);
        }
        FaultKind::PowerLoss => (0..cluster.hosts.len()).for_each(|host| cluster.crash(host)),
        FaultKind::SyncError => {
            let fails = cluster.random.pick(&[NextSync::FailBefore, NextSync::FailAfter]);
            cluster.hosts[host].member.next_sync = fails;
        }
        FaultKind::Pause => {
            let length = cluster.fault_length();
            cluster.pause(host, length);
        }
        FaultKind::ClockRate => bend_clock(cluster, host),
        FaultKind::ClockJump => {
            let forward = cluster.random.below(10 * SECOND);
            cluster.hosts[host].clock.jump(forward);
        }
        FaultKind::EngineStall => {
            cluster.hosts[host].engine_delay = cluster.plan.election_timeout();
            cluster.mend_later(Mend::Engine(host));
        }
        FaultKind::DiskStall => {
            cluster.hosts[host].sync_delay = cluster.plan.election_timeout() * 2;
            cluster.mend_later(Mend::Disk(host));
        }
        FaultKind::Replay => cluster.replay(),
        FaultKind::Campaign => cluster.campaign(host),
        FaultKind::Transfer => cluster.transfer(),
        FaultKind::ChangeMembers => cluster.change_members(),
        FaultKind::Flap => flap(cluster),
        FaultKind::BreakConnection => {
            if let Some((from, to)) = two_ends(cluster) {
                cluster.break_connection(from, to);
            }
        }
        FaultKind::Isolate
        | FaultKind::Split
        | FaultKind::OneWay
        | FaultKind::Chain
        | FaultKind::CutLinks => cut(cluster, kind),
    }
}

/// Undoes what lasted long enough.
pub fn mend(cluster: &mut Cluster, mend: Mend) {
    match mend {
        Mend::Links(links) => links.into_iter().for_each(|link| cluster.links.mend(link)),
        Mend::Clock(host) => {
            let now = cluster.now;
            cluster.hosts[host].clock.set_rate(now, 1_000);
        }
        Mend::Engine(host) => cluster.hosts[host].engine_delay = 0,
        Mend::Disk(host) => cluster.hosts[host].sync_delay = 0,
        Mend::Flap { ends, left, period, cut } => {
            let (a, b) = ends;
            for link in [(a, b), (b, a)] {
                if cut { cluster.links.mend(link) } else { cluster.links.cut(link) }
            }
            if left > 0 || !cut {
                let next = Mend::Flap { ends, left: left.saturating_sub(1), period, cut: !cut };
                cluster.mend_after(period, next);
            }
        }
    }
}

fn bend_clock(cluster: &mut Cluster, host: usize) {
    let per_mille = cluster.random.pick(&cluster.plan.clock_rates);
    let now = cluster.now;
    cluster.hosts[host].clock.set_rate(now, per_mille);
    cluster.mend_later(Mend::Clock(host));
}

fn cut(cluster: &mut Cluster, kind: FaultKind) {
    let links = links_of(cluster, kind);
    links.iter().for_each(|&link| cluster.links.cut(link));
    cluster.mend_later(Mend::Links(links));
}

fn links_of(cluster: &mut Cluster, kind: FaultKind) -> Vec<(usize, usize)> {
    let count = cluster.hosts.len();
    let order = cluster.random.sample(count, count);
    let place = |host: usize| order.iter().position(|&other| other == host).expect("every host has a place");
    let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| from != to);
    let border = 1 + cluster.random.index(count.max(2) - 1);
    let random = &mut cluster.random;
    match kind {
        FaultKind::Isolate => pairs.filter(|(from, to)| place(*from) == 0 || place(*to) == 0).collect(),
        FaultKind::Split => {
            pairs.filter(|(from, to)| (place(*from) < border) != (place(*to) < border)).collect()
        }
        FaultKind::OneWay => {
            pairs.filter(|(from, to)| place(*from) < border && place(*to) >= border).collect()
        }
        FaultKind::Chain => pairs.filter(|(from, to)| place(*from).abs_diff(place(*to)) > 1).collect(),
        _ => pairs.filter(|_| random.percent(30)).collect(),
    }
}

fn flap(cluster: &mut Cluster) {
    let Some(ends) = two_ends(cluster) else { return };
    let period = cluster.plan.election_timeout() / cluster.random.within(1..20);
    let left = 2 + cluster.random.below(20) as u32;
    mend(cluster, Mend::Flap { ends, left, period, cut: false });
}

fn two_ends(cluster: &mut Cluster) -> Option<(usize, usize)> {
    match cluster.random.sample(2, cluster.hosts.len())[..] {
        [from, to] => Some((from, to)),
        _ => None,
    }
}
