//! The faults that are injected.
//!
//! Owns the kinds of faults: the plan draws how often each occurs; its effect is defined once, here. What always holds:
//! a fault is something the environment may do - loss of power, of messages, of time - and never something a member
//! does; every fault that lasts has an end.

use crate::sim::cluster::Cluster;
use crate::sim::member::NextSync;
use crate::sim::plan::{MILLISECOND, SECOND};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A member loses power.
    Crash,
    /// A member loses power between two of its upcoming effects.
    CrashBetweenEffects,
    /// All members lose power.
    PowerLoss,
    /// A member's next sync reports an error.
    SyncError,
    /// A member is paused; its clock keeps running.
    Pause,
    /// A member is paused and its clock is stopped, as when the host of a virtual machine suspends it. Leases guarantee
    /// nothing in that case: see [`Plan::may_reads_be_stale`](crate::sim::plan::Plan::may_reads_be_stale).
    PauseOfMachine,
    /// A leader is paused, at most for as long as its lease may last.
    LeaderPause,
    /// A member's clock runs fast or slow.
    ClockRate,
    /// A member's clock jumps forward.
    ClockJump,
    /// A member's engine stalls.
    EngineStall,
    /// A member's syncs become very slow.
    DiskStall,
    /// One member is partitioned from all others.
    Isolate,
    /// The members are partitioned into two groups.
    Split,
    /// Messages cross the partition in one direction only.
    OneWay,
    /// Each member can reach only its neighbours in a chain.
    Chain,
    /// Some links are cut at random.
    CutLinks,
    /// A leader is left with a bare quorum; the other members can reach that quorum, but not the leader, and perhaps
    /// not each other.
    BareQuorum,
    /// All messages to a member, from it, or between two members are delayed and then arrive together.
    LinkStall,
    /// A link goes down and up repeatedly.
    Flap,
    /// A connection breaks, losing everything in flight on it.
    BreakConnection,
    /// Old messages arrive, perhaps for the second time.
    Replay,
    /// A member campaigns out of turn.
    Campaign,
    /// A leader is asked to transfer leadership.
    Transfer,
    /// A learner that does not exist is added, or removed again.
    ChangeMembers,
    /// A member loses power and the tail of its log, although that was synced.
    LoseEnd,
}

/// A fault to be undone.
#[derive(Clone, Debug)]
pub(crate) enum Mend {
    /// These one-way links work again.
    Links(Vec<(usize, usize)>),
    /// A clock runs at the true rate again.
    Clock(usize),
    /// An engine has its normal speed again.
    Engine(usize),
    /// A disk has its normal speed again.
    Disk(usize),
    /// A flapping link: its ends, how many changes remain, the period, and whether it is cut.
    Flap { ends: (usize, usize), left: u32, period: u64, cut: bool },
}

impl FaultKind {
    /// All kinds.
    pub(crate) const ALL: [Self; 25] = [
        Self::Crash,
        Self::CrashBetweenEffects,
        Self::PowerLoss,
        Self::SyncError,
        Self::Pause,
        Self::PauseOfMachine,
        Self::LeaderPause,
        Self::ClockRate,
        Self::ClockJump,
        Self::EngineStall,
        Self::DiskStall,
        Self::Isolate,
        Self::Split,
        Self::OneWay,
        Self::Chain,
        Self::CutLinks,
        Self::BareQuorum,
        Self::LinkStall,
        Self::Flap,
        Self::BreakConnection,
        Self::Replay,
        Self::Campaign,
        Self::Transfer,
        Self::ChangeMembers,
        Self::LoseEnd,
    ];
}

/// Injects a fault of this `kind` into `cluster` now.
pub(crate) fn strike(cluster: &mut Cluster, kind: FaultKind) {
    let host = cluster.any_host();
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
        FaultKind::PauseOfMachine => {
            let length = cluster.fault_length();
            cluster.pause(host, length);
            let now = cluster.now;
            cluster.hosts[host].clock.stop(now, now + length);
        }
        FaultKind::LeaderPause => {
            let (region, election) = (cluster.any_region(), cluster.plan.election_timeout());
            let (leader, length) = (cluster.leader(region).unwrap_or(host), cluster.random.below(election));
            cluster.pause(leader, length);
        }
        FaultKind::ClockRate => bend_clock(cluster, host),
        FaultKind::ClockJump => {
            let forward = cluster.random.below(10 * SECOND);
            cluster.hosts[host].clock.jump(forward);
            cluster.clock_changed(host);
        }
        FaultKind::EngineStall => {
            // Slow, slower than is tolerated in a leader, or stalled.
            let election = cluster.plan.election_timeout();
            let (delay, stalls) =
                cluster.random.pick(&[(election, false), (10 * election, false), (0, true)]);
            (cluster.hosts[host].engine_delay, cluster.hosts[host].engine_stalls) = (delay, stalls);
            cluster.mend_later(Mend::Engine(host));
        }
        FaultKind::DiskStall => {
            // A sync that hangs for longer than two election timeouts outlasts the ticks that are due after a pause.
            let timeouts = cluster.random.pick(&[2, 2, 10]);
            cluster.hosts[host].sync_delay = cluster.plan.election_timeout() * timeouts;
            cluster.mend_later(Mend::Disk(host));
        }
        FaultKind::Replay => cluster.replay(),
        FaultKind::Campaign => cluster.campaign(host),
        FaultKind::Transfer => cluster.transfer(),
        FaultKind::ChangeMembers => cluster.change_members(),
        FaultKind::LoseEnd => cluster.lose_end(host),
        FaultKind::LinkStall => stall_links(cluster, host),
        FaultKind::Flap => flap(cluster),
        FaultKind::BareQuorum => {
            let (region, length) = (cluster.any_region(), cluster.fault_length());
            let leader = cluster.leader(region).unwrap_or(host);
            leave_bare_quorum(cluster, leader, host, length);
        }
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

/// Undoes a fault whose time is up.
pub(crate) fn mend(cluster: &mut Cluster, mend: Mend) {
    match mend {
        Mend::Links(links) => links.into_iter().for_each(|link| cluster.links.mend(link)),
        Mend::Clock(host) => {
            let now = cluster.now;
            cluster.hosts[host].clock.set_rate(now, 1_000);
            cluster.clock_changed(host);
        }
        Mend::Engine(host) => cluster.recover_engine(host),
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
    cluster.clock_changed(host);
    cluster.mend_later(Mend::Clock(host));
}

fn cut(cluster: &mut Cluster, kind: FaultKind) {
    let (links, length) = (links_of(cluster, kind), cluster.fault_length());
    cut_for(cluster, links, length);
}

fn links_of(cluster: &mut Cluster, kind: FaultKind) -> Vec<(usize, usize)> {
    let count = cluster.hosts.len();
    let order = cluster.random.sample(count, count);
    let place = |host: usize| order.iter().position(|&other| other == host).expect("every host has a place");
    let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| from != to);
    let boundary = 1 + cluster.random.index(count.max(2) - 1);
    let random = &mut cluster.random;
    match kind {
        FaultKind::Isolate => pairs.filter(|(from, to)| place(*from) == 0 || place(*to) == 0).collect(),
        FaultKind::Split => {
            pairs.filter(|(from, to)| (place(*from) < boundary) != (place(*to) < boundary)).collect()
        }
        FaultKind::OneWay => {
            pairs.filter(|(from, to)| place(*from) < boundary && place(*to) >= boundary).collect()
        }
        FaultKind::Chain => pairs.filter(|(from, to)| place(*from).abs_diff(place(*to)) > 1).collect(),
        _ => pairs.filter(|_| random.percent(30)).collect(),
    }
}

/// Correlated faults: while a TimeoutNow is delayed in flight, its sender loses the link to its target and then, one by
/// one, to the members its quorum does not need.
pub(crate) fn lose_target(cluster: &mut Cluster, (leader, target): (usize, usize)) {
    let election = cluster.plan.election_timeout();
    for outsider in outsiders(cluster, leader, target) {
        let most = if outsider == target { election * 6 / 5 } else { 2 * election };
        let wait = cluster.random.below(most);
        cluster.lose_later(wait, (leader, outsider), target);
    }
}

/// `leader` and `member` lose contact, and perhaps `member` and `other` do.
pub(crate) fn lose(cluster: &mut Cluster, (leader, member): (usize, usize), other: usize) {
    let mut links = vec![(leader, member)];
    links.extend(Some((member, leader)).filter(|_| cluster.random.percent(60)));
    if other != member && cluster.random.percent(60) {
        links.extend([(other, member), (member, other)]);
    }
    let length = cluster.plan.election_timeout() * cluster.random.within(2..5);
    cut_for(cluster, links, length);
}

/// Correlated faults: when a TimeoutNow arrives late, its sender can no longer receive, send, or do either.
pub(crate) fn cut_off_sender(cluster: &mut Cluster, sender: usize) {
    let (deaf, mute) = cluster.random.pick(&[(true, false), (true, true), (false, true)]);
    let others: Vec<_> = (0..cluster.hosts.len()).filter(|&other| other != sender).collect();
    let inward = others.iter().filter(|_| deaf).map(|&other| (other, sender));
    let outward = others.iter().filter(|_| mute).map(|&other| (sender, other));
    let links: Vec<_> = inward.chain(outward).collect();
    let length = cluster.random.below(2 * cluster.plan.election_timeout());
    cut_for(cluster, links, length);
}

/// Leaves `leader` with a bare quorum that excludes `outsider`.
fn leave_bare_quorum(cluster: &mut Cluster, leader: usize, outsider: usize, length: u64) {
    let outside = outsiders(cluster, leader, outsider);
    let one_way = cluster.random.percent(40);
    let mut links = Vec::new();
    for &member in &outside {
        links.push((leader, member));
        links.extend(Some((member, leader)).filter(|_| !one_way));
        let strangers = outside.iter().filter(|&&other| other != member);
        links.extend(strangers.filter(|_| cluster.random.percent(50)).map(|&other| (member, other)));
    }
    cut_for(cluster, links, length);
    if cluster.random.percent(50) {
        pause_one_inside(cluster, leader, &outside);
    }
}

/// Pauses one member of the bare quorum, long enough for the ticks of an election timeout to become due, but not so
/// long that its leader must step down.
fn pause_one_inside(cluster: &mut Cluster, leader: usize, outside: &[usize]) {
    let mut inside: Vec<_> = (0..cluster.hosts.len()).collect();
    inside.retain(|host| *host != leader && !outside.contains(host));
    if !inside.is_empty() {
        let election = cluster.plan.election_timeout();
        let (host, length) = (cluster.random.pick(&inside), cluster.random.within(election..2 * election));
        cluster.pause(host, length);
    }
}

/// Members that `leader` does not need for a quorum, including `first`.
fn outsiders(cluster: &mut Cluster, leader: usize, first: usize) -> Vec<usize> {
    let count = cluster.hosts.len();
    let mut others = cluster.random.sample(count, count);
    others.retain(|&other| other != leader && other != first);
    others.extend(Some(first).filter(|&first| first != leader));
    others.split_off((count / 2).min(others.len()))
}

fn cut_for(cluster: &mut Cluster, links: Vec<(usize, usize)>, length: u64) {
    cluster.trace.say(|| format!("  cut for {} ms: {}", length / MILLISECOND, name_links(&links)));
    links.iter().for_each(|&link| cluster.links.cut(link));
    cluster.mend_after(length, Mend::Links(links));
}

fn name_links(links: &[(usize, usize)]) -> String {
    let names: Vec<_> = links.iter().map(|(from, to)| format!("{}->{}", from + 1, to + 1)).collect();
    names.join(" ")
}

fn stall_links(cluster: &mut Cluster, host: usize) {
    let count = cluster.hosts.len();
    let others = (0..count).filter(|&other| other != host);
    let links: Vec<_> = match cluster.random.index(3) {
        0 => others.map(|other| (other, host)).collect(),
        1 => others.map(|other| (host, other)).collect(),
        _ => two_ends(cluster).into_iter().collect(),
    };
    let until = cluster.now + cluster.fault_length();
    links.into_iter().for_each(|link| cluster.links.stall(link, until));
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
