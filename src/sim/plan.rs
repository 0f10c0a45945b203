//! The plan drawn from a seed.
//!
//! Owns the choice of a run's cluster, network, timing, load and faults, by swarm testing: each seed draws its own
//! intensities, and for each kind of fault whether it occurs at all. One seed that can do everything at once finds
//! fewer bugs than many seeds that each do a few things. What always holds: a plan follows from its seed alone.

use std::ops::Range;
use std::time::Duration;

use crate::core::limits::Limits;
use crate::core::peer::PROPOSE_BYTES_MAX;
use crate::core::planted::Fault;
use crate::sim::faults::FaultKind;
use crate::sim::member::Setup;
use crate::sim::members::MembersPlan;
use crate::sim::random::{Random, scramble};
use crate::time::longest_lease;
use crate::types::NEWEST_LEVEL;

/// One microsecond in nanoseconds.
pub(crate) const MICROSECOND: u64 = 1_000;
/// One millisecond in nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// One second in nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// See the module. Times are nanoseconds of true time.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// Members 1, 2, ...
    pub members: usize,
    /// Regions 1, 2, ...
    pub regions: usize,
    /// Configuration of the members.
    pub setup: Setup,
    /// A planted fault (a deliberate bug) in the members.
    pub planted: Option<Fault>,
    /// Length of the fault phase, in which clients call and faults are injected; then the cluster is healed.
    pub safety: u64,
    /// Message delivery.
    pub network: NetworkPlan,
    /// Speed of the members.
    pub pace: PacePlan,
    /// Behaviour of the clients.
    pub load: LoadPlan,
    /// Mean time between two faults of a kind; kinds that are not listed do not occur.
    pub faults: Vec<(FaultKind, u64)>,
    /// Rates of a clock that does not run at the true rate, in thousandths.
    pub clock_rates: Vec<u64>,
    /// Maximum length of a fault.
    pub fault_length_max: u64,
    /// At the end, when the cluster is healthy again, one engine stalls permanently.
    pub engine_stalls_at_last: bool,
    /// Members begin with the build before, or some of them do, and are upgraded one after the other.
    pub upgrade: bool,
    /// Of an upgrade: the build before is the one that knows all levels but the newest, and some members that were
    /// upgraded go back to it while another was not yet upgraded, and are upgraded again.
    pub goes_back: bool,
    /// Members come and go.
    pub members_change: Option<MembersPlan>,
    /// Only what clients notice is checked: answers, and the results of reads.
    pub only_clients_judge: bool,
}

/// Message delivery.
#[derive(Clone, Debug)]
pub(crate) struct NetworkPlan {
    /// Messages lost, per million.
    pub loss: u32,
    /// Messages duplicated, per million.
    pub doubling: u32,
    /// Minimum delay, drawn for each link.
    pub delay: Range<u64>,
    /// Maximum extra delay, drawn for each message.
    pub jitter: u64,
    /// Messages on a link may overtake each other.
    pub reorders: bool,
    /// Messages per million that are very late: up to three election timeouts.
    pub stragglers: u32,
    /// Percentage of TimeoutNow messages that are very late.
    pub late_timeout_now_percent: u32,
    /// Percentage of vote and pre-vote requests and responses that are very late.
    pub late_votes_percent: u32,
    /// Percentage of append rejections that are very late.
    pub late_rejections_percent: u32,
    /// Percentage of quorum-check responses (read index, heartbeats with a context) that are very late.
    pub late_answers_percent: u32,
    /// Percentage of late TimeoutNow messages that coincide with broken links around their sender.
    pub bad_moments_percent: u32,
}

/// Speed of the members.
#[derive(Clone, Debug)]
pub(crate) struct PacePlan {
    /// Maximum time between an input and the round that takes it.
    pub think_max: u64,
    /// Duration of a sync.
    pub sync: Range<u64>,
    /// Maximum duration of an apply step.
    pub apply_max: u64,
    /// Maximum number of a region's entries in one engine batch.
    pub slice_entries: usize,
    /// Maximum time between an answer and the opening of its reader's view.
    pub view_max: u64,
    /// Maximum time between the request to flush an engine and the flush.
    pub flush_max: u64,
    /// Mean time between two flushes of an engine.
    pub flush_mean: u64,
    /// How long a raft snapshot is under way.
    pub snapshot: Range<u64>,
}

/// Behaviour of the clients.
#[derive(Clone, Debug)]
pub(crate) struct LoadPlan {
    /// Number of clients.
    pub clients: usize,
    /// Maximum number of concurrent calls of one client.
    pub outstanding_max: usize,
    /// Mean time between two calls of a client.
    pub pause: u64,
    /// Percentage of calls that are reads.
    pub reads_percent: u32,
    /// Percentage of reads that are local.
    pub local_percent: u32,
    /// Percentage of calls sent to the leader; the rest go to a random member.
    pub leader_percent: u32,
    /// Number of registers per region.
    pub registers: usize,
    /// Lengths of values, in bytes.
    pub value_bytes: Range<u64>,
    /// A call's time to live, by the clock of its member.
    pub deadline: Range<u64>,
    /// Percentage of calls that are cancelled by their callers.
    pub impatient_percent: u32,
    /// Percentage of writes that are conditional.
    pub conditional_percent: u32,
}

/// The emphasis of a run.
#[derive(Clone, Copy)]
enum Style {
    Mixed,
    EdgeOfLeases,
    BareQuorums,
    CrowdedLeaders,
    ShortLogs,
    Awakenings,
    SlewedClocks,
    LongAbsences,
    MembersChange,
}

impl Style {
    /// The style that exposes `fault`, if others rarely do.
    fn that_shows(fault: Fault) -> Option<Self> {
        match fault {
            Fault::ForceOfShorterLogsObeyed => Some(Self::BareQuorums),
            Fault::LateAnswersObeyedByFollowers => Some(Self::Awakenings),
            Fault::LateRejectionsObeyed => Some(Self::ShortLogs),
            Fault::QuestionAskedAgainUnderItsId => Some(Self::EdgeOfLeases),
            Fault::LeaseIgnoresClockRates => Some(Self::SlewedClocks),
            _ if fault.is_of_members() => Some(Self::MembersChange),
            _ if fault.is_of_snapshots() => Some(Self::LongAbsences),
            _ => None,
        }
    }
}

impl Plan {
    /// The plan for `seed`.
    pub(crate) fn draw(seed: u64) -> Self {
        Self::draw_about(seed, None)
    }

    /// The plan of a directed run, which sets what it is about itself: nothing happens by chance that has to be asked
    /// for: no faults, no calls, no upgrade, no members that come and go, no engine that stalls in the end.
    pub(crate) fn directed(seed: u64) -> Self {
        let mut plan = Self::draw_about(seed, Some(Style::Mixed));
        (plan.upgrade, plan.engine_stalls_at_last) = (false, false);
        (plan.load.clients, plan.clock_rates) = (0, vec![1_000]);
        plan.faults.clear();
        plan
    }

    /// The same, in the given style if any.
    fn draw_about(seed: u64, style: Option<Style>) -> Self {
        let random = &mut Random::new(seed);
        let members = random.weighted(&[(6, 1), (7, 2), (45, 3), (9, 4), (19, 5), (5, 6), (9, 7)]);
        let mut setup = draw_setup(seed, random);
        if random.percent(30) {
            setup.lease_max = Duration::ZERO;
        }
        let election = setup.election_timeout().as_nanos() as u64;
        let mut plan = Self {
            seed,
            members,
            regions: random.weighted(&[(80, 1), (12, 2), (4, 3), (4, 4)]),
            safety: election * random.pick(&[40, 80, 150, 300]),
            network: draw_network(election, random),
            pace: draw_pace(seed, election, random),
            load: draw_load(seed, election, random),
            faults: draw_faults(election, &setup, random),
            clock_rates: clock_rates(&setup),
            fault_length_max: election * random.pick(&[1, 2, 4, 10]),
            engine_stalls_at_last: engine_stalls_at_last(seed),
            upgrade: upgrade(seed),
            goes_back: goes_back(seed),
            members_change: None,
            only_clients_judge: false,
            setup,
            planted: None,
        };
        let styles = [
            (21, Style::Mixed),
            (15, Style::EdgeOfLeases),
            (22, Style::BareQuorums),
            (6, Style::CrowdedLeaders),
            (17, Style::ShortLogs),
            (13, Style::Awakenings),
            (6, Style::SlewedClocks),
        ];
        let drawn = random.weighted(&styles);
        // From a separate random stream, so that the other seeds stay the same.
        let drawn = if long_absences(seed) { Style::LongAbsences } else { drawn };
        let drawn = if members_change(seed) { Style::MembersChange } else { drawn };
        match style.unwrap_or(drawn) {
            Style::Mixed => {}
            Style::EdgeOfLeases => plan.move_to_the_edge_of_leases(random),
            Style::BareQuorums => plan.leave_leaders_a_bare_quorum(random),
            Style::CrowdedLeaders => plan.crowd_leaders(random),
            Style::ShortLogs => plan.shorten_logs(random),
            Style::Awakenings => plan.wake_between_strangers(random),
            Style::SlewedClocks => plan.slew_clocks(random),
            Style::LongAbsences => plan.leave_members_behind(random),
            Style::MembersChange => plan.change_members(random),
        }
        // A member can recover entries its log lacks only while others still have them: there are no raft snapshots
        // yet.
        if plan.setup.log_retain_bytes >= 1 << 20 {
            plan.faults.extend(lost_ends(seed, plan.election_timeout()));
        }
        plan
    }

    /// Elections and leases are decided within an election timeout: here every fault lasts about that long and occurs
    /// often, and the network is fast enough not to matter.
    fn move_to_the_edge_of_leases(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        let kinds = [
            FaultKind::Pause,
            FaultKind::DiskStall,
            FaultKind::Chain,
            FaultKind::OneWay,
            FaultKind::CutLinks,
            FaultKind::Transfer,
            FaultKind::EngineStall,
            FaultKind::Replay,
            FaultKind::LinkStall,
        ];
        self.faults = random.sample(4, kinds.len()).into_iter().map(|at| (kinds[at], 2 * election)).collect();
        self.fault_length_max = election * random.pick(&[2, 3]);
        self.network.late_answers_percent = 40;
        self.members = random.pick(&[3, 3, 5]);
        self.setup.lease_max = self.setup.longest_lease();
        self.clock_rates = clock_rates(&self.setup);
        self.network.delay = 20 * MICROSECOND..election / 100;
        self.network.jitter = random.pick(&[0, election / 100]);
        self.network.loss = 0;
    }

    /// A leader that barely keeps its quorum, while the other members lose it, campaign, and are paused or receive old
    /// messages late: any mistake by a member of the quorum elects a second leader.
    fn leave_leaders_a_bare_quorum(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        let kinds = [
            FaultKind::Pause,
            FaultKind::EngineStall,
            FaultKind::OneWay,
            FaultKind::LinkStall,
            FaultKind::Replay,
            FaultKind::CrashBetweenEffects,
        ];
        let sampled = random.sample(2, kinds.len()).into_iter();
        self.faults = sampled.map(|at| (kinds[at], election * random.pick(&[3, 30]))).collect();
        self.faults.push((FaultKind::Transfer, election * random.pick(&[3, 8])));
        self.faults.push((FaultKind::BareQuorum, election * random.pick(&[4, 40])));
        if random.percent(50) {
            self.faults.push((FaultKind::LeaderPause, election * random.pick(&[2, 6])));
        }
        self.fault_length_max = election * random.pick(&[2, 4]);
        self.members = random.weighted(&[(2, 3), (1, 4), (7, 5), (2, 6), (1, 7)]);
        self.setup.lease_max = self.setup.longest_lease();
        self.clock_rates = clock_rates(&self.setup);
        self.network.delay = 20 * MICROSECOND..election / 100;
        self.network.jitter = random.pick(&[0, election / 100]);
        self.network.loss = 0;
        self.network.late_timeout_now_percent = 80;
        self.network.late_votes_percent = random.pick(&[0, 0, 20]);
        self.network.bad_moments_percent = 80;
        // A member whose log lags is not elected; with few writes, hardly any log lags.
        if random.percent(75) {
            self.load.reads_percent = 95;
        }
    }

    /// Leaders with room for only a few writes at a time, and followers that forward more than that at once.
    fn crowd_leaders(&mut self, random: &mut Random) {
        self.setup.propose_bytes_max = random.pick(&[1, 100, 300]);
        self.setup.uncommitted_bytes_max = random.pick(&[100, 300, 1_000]);
        self.load.clients = random.pick(&[2, 8]);
        self.load.outstanding_max = 8;
        self.load.pause = self.election_timeout() * self.load.clients as u64 / random.pick(&[40, 100]);
        self.load.leader_percent = random.pick(&[0, 50]);
        self.load.reads_percent = random.pick(&[10, 40]);
        // A membership change needs a leader that is known to have room.
        self.faults.retain(|(kind, _)| *kind != FaultKind::ChangeMembers);
    }

    /// Logs that are truncated as soon as all members have the entries, while members miss appends and reject them
    /// late.
    fn shorten_logs(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        self.setup.log_retain_bytes = 250;
        self.load.reads_percent = random.pick(&[10, 40]);
        self.network.late_rejections_percent = 80;
        self.network.loss = random.pick(&[10_000, 50_000, 150_000]);
        self.pace.flush_max = election / 10;
        self.load.pause = election * self.load.clients as u64 / random.pick(&[1, 3, 10]);
        self.members = random.pick(&[3, 3, 5]);
        // A new leader would restart replication to all followers.
        self.network.delay = 20 * MICROSECOND..election / 100;
        self.network.jitter = election / 100;
        self.faults = vec![(FaultKind::BreakConnection, election * random.pick(&[1, 2, 4]))];
        self.faults.push((FaultKind::LinkStall, election * random.pick(&[3, 10])));
        self.fault_length_max = election / 2;
    }

    /// Members of the leader's quorum are paused and, on resuming, receive all at once and in any order their leader's
    /// messages, and the requests and responses of members outside the quorum.
    fn wake_between_strangers(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        self.faults = vec![
            (FaultKind::BareQuorum, election * random.pick(&[3, 6])),
            (FaultKind::Pause, election * random.pick(&[2, 4])),
            (FaultKind::Transfer, election * random.pick(&[4, 20])),
        ];
        self.members = random.pick(&[3, 3, 5]);
        self.fault_length_max = election * random.pick(&[2, 4]);
        self.setup.lease_max = self.setup.longest_lease();
        self.clock_rates = clock_rates(&self.setup);
        self.network.delay = 20 * MICROSECOND..election / 100;
        self.network.jitter = election / random.pick(&[100, 30]);
        self.network.reorders = true;
        self.network.doubling = 500_000;
        self.network.loss = 0;
        self.network.late_answers_percent = random.pick(&[0, 40]);
        self.load.reads_percent = 95;
    }

    /// Clocks that are slewed constantly, and leaders that lose contact with the others.
    fn slew_clocks(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        self.faults = vec![
            (FaultKind::ClockRate, election / random.pick(&[1, 2])),
            (FaultKind::Isolate, 3 * election),
            (random.pick(&[FaultKind::CutLinks, FaultKind::OneWay, FaultKind::Split]), 4 * election),
        ];
        self.members = random.pick(&[3, 3, 5]);
        self.fault_length_max = election * random.pick(&[3, 6]);
        self.setup.lease_max = self.setup.longest_lease();
        self.clock_rates = clock_rates(&self.setup);
        self.network.delay = 20 * MICROSECOND..election / 200;
        self.network.jitter = 0;
        self.network.loss = 0;
    }

    /// Members that are away for so long that they need raft snapshots, and many that are interrupted while they get one.
    fn leave_members_behind(&mut self, random: &mut Random) {
        let election = self.election_timeout();
        self.setup.log_retain_bytes = 250;
        self.setup.log_behind_bytes = random.pick(&[300, 1_000, 3_000]);
        self.load.clients = random.pick(&[2, 6]);
        self.load.reads_percent = random.pick(&[20, 50]);
        self.load.pause = election * self.load.clients as u64 / random.pick(&[10, 30]);
        self.members = random.pick(&[2, 3, 3, 3, 5]);
        self.network.loss = random.pick(&[0, 0, 20_000]);
        self.pace.flush_max = election / random.pick(&[1, 10]);
        self.pace.flush_mean = election * random.pick(&[1, 5, 20]);
        self.faults = vec![
            (FaultKind::Isolate, election * random.pick(&[4, 12])),
            (FaultKind::CrashBetweenEffects, election * random.pick(&[3, 10])),
        ];
        let kinds = [
            FaultKind::Crash,
            FaultKind::Transfer,
            FaultKind::Split,
            FaultKind::Replay,
            FaultKind::EngineStall,
        ];
        let sampled = random.sample(2, kinds.len()).into_iter();
        self.faults.extend(sampled.map(|at| (kinds[at], election * random.pick(&[4, 15]))));
        self.fault_length_max = election * random.pick(&[4, 10]);
    }

    /// The plan for `seed` with members that have `fault`. A fault that one style alone exposes, and rarely, is
    /// searched for in that style: how often a hunt draws the style is known, and each fault should be found within a
    /// minute.
    pub(crate) fn draw_planted(seed: u64, fault: Fault) -> Self {
        let mut plan = Self::draw_about(seed, Style::that_shows(fault));
        if fault == Fault::ForceOfShorterLogsObeyed {
            // Any other fault would end the transfer before its TimeoutNow can arrive late.
            let election = plan.election_timeout();
            plan.faults = vec![(FaultKind::Transfer, 3 * election), (FaultKind::BareQuorum, 40 * election)];
        }
        if matches!(fault, Fault::LostEndIgnored | Fault::EarlierBootsCounted) {
            // Otherwise only one seed in eight has a disk that loses the tail of a log.
            plan.setup.log_retain_bytes = 1 << 20;
            plan.faults.retain(|(kind, _)| *kind != FaultKind::LoseEnd);
            plan.faults.push((FaultKind::LoseEnd, 6 * plan.election_timeout()));
            plan.members = plan.members.max(3);
        }
        plan.prepare_absences(fault);
        plan.prepare_members(fault);
        plan.prepare_last_stall(fault);
        plan.prepare_conditional(Some(fault));
        (plan.upgrade, plan.goes_back) = (fault.is_of_builds(), false);
        plan.planted = Some(fault);
        plan
    }

    /// Faults of conditional writes show where most writes are, and in large engine batches; the others are searched
    /// for without them.
    fn prepare_conditional(&mut self, fault: Option<Fault>) {
        let Some(fault) = fault else { return };
        let shows_there = fault.is_of_conditions() || fault.is_of_builds();
        self.load.conditional_percent = if shows_there { 90 } else { 0 };
        if fault == Fault::LevelSharesItsBatch {
            // Plain writes are there to share it, and many of them.
            self.load.conditional_percent = 50;
        }
        if fault == Fault::OverlayOfAnotherRegion {
            self.regions = self.regions.max(2);
        }
        if shows_there {
            self.pace.slice_entries = 4096;
        }
    }

    /// What raft snapshots do to reads and writes shows where there are many of them, on members that get some.
    fn prepare_absences(&mut self, fault: Fault) {
        let election = self.election_timeout();
        match fault {
            Fault::ReadWhileInstalling => {
                (self.load.reads_percent, self.load.local_percent) = (70, 60);
                (self.pace.flush_max, self.load.pause) = (election, self.load.pause / 2);
            }
            Fault::OverwrittenBelowASnapshot | Fault::ForwardedBelowASnapshotGoAgain => {
                // Its leader is cut off with what it has proposed, and the others write on.
                self.setup.log_behind_bytes = 300;
                (self.load.outstanding_max, self.load.deadline) = (8, 8 * election..10 * election);
                self.load.leader_percent = if fault == Fault::OverwrittenBelowASnapshot { 90 } else { 40 };
                self.load.impatient_percent = 0;
            }
            _ => {}
        }
    }

    /// For faults that show only while an engine is stalled permanently: stalls one, with limits that the writes during
    /// the stall reach.
    fn prepare_last_stall(&mut self, fault: Fault) {
        if !matches!(fault, Fault::ReadsDroppedBehindOthers | Fault::StalledLeaderStays) {
            return;
        }
        self.engine_stalls_at_last = true;
        self.members = self.members.max(3);
        self.regions = self.regions.max(2);
        (self.setup.limits.backlog_bytes, self.setup.limits.store_backlog_bytes) = (300, 150);
    }

    /// The same with clients that notice as much as clients can: they constantly write and read a few keys on all
    /// members, and nothing else is checked.
    pub(crate) fn draw_for_clients(seed: u64, fault: Option<Fault>) -> Self {
        let mut plan = Self::draw_about(seed, fault.and_then(Style::that_shows));
        let random = &mut Random::new(scramble(seed));
        let election = plan.election_timeout();
        plan.planted = fault;
        plan.only_clients_judge = true;
        plan.upgrade = false;
        plan.safety = 40 * election;
        plan.load = LoadPlan {
            clients: 8,
            outstanding_max: random.pick(&[2, 8]),
            pause: election * 8 / random.pick(&[40, 100]),
            reads_percent: random.pick(&[50, 80]),
            // What a local read may not show its client knows only if it waits for an index.
            local_percent: if fault == Some(Fault::MinIndexIgnored) { 20 } else { 0 },
            leader_percent: random.pick(&[0, 30, 60]),
            registers: random.pick(&[1, 2, 5]),
            value_bytes: 8..24,
            deadline: plan.load.deadline,
            impatient_percent: plan.load.impatient_percent,
            conditional_percent: plan.load.conditional_percent,
        };
        if let Some(fault) = fault {
            plan.prepare_last_stall(fault);
        }
        plan.prepare_conditional(fault);
        plan
    }

    /// Whether members have leases although their clocks may stop: then any read may be stale and is checked like a
    /// local one, and a member may wrongly believe that it is the only leader. Everything else must hold.
    pub(crate) fn may_reads_be_stale(&self) -> bool {
        let stand_still = self.faults.iter().any(|(kind, _)| *kind == FaultKind::PauseOfMachine);
        stand_still && !self.setup.lease_max.is_zero()
    }

    /// The highest feature level that members know which are yet to be upgraded.
    pub(crate) fn level_before(&self) -> u16 {
        if self.goes_back { NEWEST_LEVEL - 1 } else { 0 }
    }

    /// The election timeout by a clock at the true rate.
    pub(crate) fn election_timeout(&self) -> u64 {
        self.setup.election_timeout().as_nanos() as u64
    }
}

fn draw_setup(seed: u64, random: &mut Random) -> Setup {
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

fn draw_network(election: u64, random: &mut Random) -> NetworkPlan {
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

fn draw_pace(seed: u64, election: u64, random: &mut Random) -> PacePlan {
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
fn lost_ends(seed: u64, election: u64) -> Option<(FaultKind, u64)> {
    let random = &mut Random::new(seed ^ 0x006c_6f73_6573);
    random.percent(40).then(|| (FaultKind::LoseEnd, election * random.pick(&[6, 20, 60])))
}

/// Limits that small entries reach, or those of production, which they do not. From a separate random stream.
fn draw_limits(seed: u64) -> Limits {
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
fn draw_apply_stall(seed: u64, election_ticks: u64) -> u64 {
    election_ticks * Random::new(seed ^ 0x0073_7461_6c6c).pick(&[2, 3, 5, 10])
}

/// From a separate random stream.
fn engine_stalls_at_last(seed: u64) -> bool {
    Random::new(seed ^ 0x656e_6769_6e65).percent(40)
}

/// From a separate random stream.
fn behind_bytes(seed: u64) -> u64 {
    let random = &mut Random::new(seed ^ 0x6265_6869_6e64);
    if random.percent(35) { random.pick(&[300, 1_500, 6_000]) } else { 1 << 30 }
}

/// From a separate random stream.
fn snapshot_max(seed: u64, election: u64) -> u64 {
    let random = &mut Random::new(seed ^ 0x0062_756c_6b79);
    random.weighted(&[(60, election / 10), (30, election), (10, 6 * election)])
}

/// From a separate random stream.
fn long_absences(seed: u64) -> bool {
    Random::new(seed ^ 0x6162_7365_6e63).percent(12)
}

/// From a separate random stream.
fn members_change(seed: u64) -> bool {
    Random::new(seed ^ 0x0063_6f6d_655f_676f).percent(15)
}

/// From a separate random stream.
fn upgrade(seed: u64) -> bool {
    Random::new(seed ^ 0x75_7067_7261_6465).percent(15)
}

/// From a separate random stream. The upgrades of most seeds stay the same.
fn goes_back(seed: u64) -> bool {
    Random::new(seed ^ 0x6f6e_655f_6261_636b).percent(30)
}

/// One seed in four has callers who cancel. From a separate random stream, so that the other draws of a seed stay the
/// same.
fn impatient_percent(seed: u64) -> u32 {
    if Random::new(seed ^ 0x0067_6976_6572).percent(25) { 10 } else { 0 }
}

/// From a separate random stream, too.
fn conditional_percent(seed: u64) -> u32 {
    Random::new(seed ^ 0x0063_6f6e_6469_7469).pick(&[0, 30, 90])
}

fn draw_load(seed: u64, election: u64, random: &mut Random) -> LoadPlan {
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
fn clock_rates(setup: &Setup) -> Vec<u64> {
    if setup.lease_max.is_zero() {
        vec![500, 800, 950, 1_050, 1_300, 2_000]
    } else {
        vec![900, 917, 950, 1_050, 1_083, 1_100]
    }
}

fn draw_faults(election: u64, setup: &Setup, random: &mut Random) -> Vec<(FaultKind, u64)> {
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
