//! What goes wrong.
//!
//! Owns the kinds of faults: how often each happens is the plan's to draw, what it does is written once, here. What
//! always holds: a fault is something the world may do - lose power, messages, time - and never something a member
//! does; every fault that lasts has an end.

use crate::sim::cluster::Cluster;
use crate::sim::member::NextSync;
use crate::sim::plan::{MILLISECOND, SECOND};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
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
    /// A member stands still and its clock with it, as a virtual machine may that its host pauses. What its lease promises
    /// is void then: see [`Plan::may_reads_be_stale`](crate::sim::plan::Plan::may_reads_be_stale).
    PauseOfMachine,
    /// A leader stands still for no longer than its lease may last.
    LeaderPause,
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
    /// A leader is left with a bare quorum; the others hear that quorum, but not the leader and perhaps not each other.
    BareQuorum,
    /// Everything to a member, or from it, or between two, comes late and at once.
    LinkStall,
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
    /// A member loses power, and with it the end of its log, though that was synced.
    LoseEnd,
}

/// Something that was done and has to be undone.
#[derive(Clone, Debug)]
pub(crate) enum Mend {
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

/// Lets `kind` happen to `cluster` now.
pub(crate) fn strike(cluster: &mut Cluster, kind: FaultKind) {
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
            // Slow, slower than a leader may be, or standing still.
            let election = cluster.plan.election_timeout();
            let (delay, stalls) =
                cluster.random.pick(&[(election, false), (10 * election, false), (0, true)]);
            (cluster.hosts[host].engine_delay, cluster.hosts[host].engine_stalls) = (delay, stalls);
            cluster.mend_later(Mend::Engine(host));
        }
        FaultKind::DiskStall => {
            // A sync that hangs for longer than two election timeouts outlasts the ticks that a pause owes.
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

/// Undoes what lasted long enough.
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

/// Trouble comes together: while a TimeoutNow is under way for long, its sender loses its target, and whoever
/// else its quorum does not need, one after the other.
pub(crate) fn lose_target(cluster: &mut Cluster, (leader, target): (usize, usize)) {
    let election = cluster.plan.election_timeout();
    for outsider in outsiders(cluster, leader, target) {
        let most = if outsider == target { election * 6 / 5 } else { 2 * election };
        let wait = cluster.random.below(most);
        cluster.lose_later(wait, (leader, outsider), target);
    }
}

/// `leader` and `member` lose each other, and perhaps `member` and `other`.
pub(crate) fn lose(cluster: &mut Cluster, (leader, member): (usize, usize), other: usize) {
    let mut links = vec![(leader, member)];
    links.extend(Some((member, leader)).filter(|_| cluster.random.percent(60)));
    if other != member && cluster.random.percent(60) {
        links.extend([(other, member), (member, other)]);
    }
    let length = cluster.plan.election_timeout() * cluster.random.within(2..5);
    cut_for(cluster, links, length);
}

/// Trouble comes together: when a TimeoutNow arrives late, nothing reaches who sent it, or nobody hears it.
pub(crate) fn cut_off_sender(cluster: &mut Cluster, sender: usize) {
    let (deaf, mute) = cluster.random.pick(&[(true, false), (true, true), (false, true)]);
    let others: Vec<_> = (0..cluster.hosts.len()).filter(|&other| other != sender).collect();
    let inward = others.iter().filter(|_| deaf).map(|&other| (other, sender));
    let outward = others.iter().filter(|_| mute).map(|&other| (sender, other));
    let links: Vec<_> = inward.chain(outward).collect();
    let length = cluster.random.below(2 * cluster.plan.election_timeout());
    cut_for(cluster, links, length);
}

/// Leaves `leader` with a bare quorum to which `outsider` does not belong.
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

/// Of the bare quorum one member stands still, long enough to owe the ticks of an election timeout and not so long that
/// its leader must give up.
fn pause_one_inside(cluster: &mut Cluster, leader: usize, outside: &[usize]) {
    let mut inside: Vec<_> = (0..cluster.hosts.len()).collect();
    inside.retain(|host| *host != leader && !outside.contains(host));
    if !inside.is_empty() {
        let election = cluster.plan.election_timeout();
        let (host, length) = (cluster.random.pick(&inside), cluster.random.within(election..2 * election));
        cluster.pause(host, length);
    }
}

/// Whom `leader` does not need for a quorum: some members, `first` among them.
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
