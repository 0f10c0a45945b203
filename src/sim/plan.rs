//! The plan drawn from a seed.
//!
//! Owns the choice of a run's cluster, network, timing, load and faults, by swarm testing: each seed draws its own
//! intensities, and for each kind of fault whether it occurs at all. One seed that can do everything at once finds
//! fewer bugs than many seeds that each do a few things. What always holds: a plan follows from its seed alone. The draws
//! of its parts are in [`draws`], the emphases of runs in [`styles`], and what planted faults need in [`planted`].

use std::ops::Range;
use std::time::Duration;

use self::draws::{
    clock_rates, draw_faults, draw_load, draw_network, draw_pace, draw_setup, engine_stalls_at_last,
    goes_back, long_absences, lost_ends, members_change, upgrade,
};
use self::styles::Style;
use crate::core::planted::Fault;
use crate::sim::faults::FaultKind;
use crate::sim::member::Setup;
use crate::sim::members::MembersPlan;
use crate::sim::random::Random;
use crate::types::NEWEST_LEVEL;

mod draws;
mod planted;
mod styles;

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
