//! The emphases of runs.
//!
//! Owns which there are, and what each makes of a plan. What always holds: a style changes what follows from the seed no
//! further than from the same seed. How often each is drawn is left to [`Plan::draw`].

use super::draws::clock_rates;
use super::{MICROSECOND, Plan};
use crate::core::planted::Fault;
use crate::sim::faults::FaultKind;
use crate::sim::random::Random;

/// The emphasis of a run.
#[derive(Clone, Copy)]
pub(super) enum Style {
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
    pub(super) fn that_shows(fault: Fault) -> Option<Self> {
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
    /// Elections and leases are decided within an election timeout: here every fault lasts about that long and occurs
    /// often, and the network is fast enough not to matter.
    pub(super) fn move_to_the_edge_of_leases(&mut self, random: &mut Random) {
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
    pub(super) fn leave_leaders_a_bare_quorum(&mut self, random: &mut Random) {
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
    pub(super) fn crowd_leaders(&mut self, random: &mut Random) {
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
    pub(super) fn shorten_logs(&mut self, random: &mut Random) {
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
    pub(super) fn wake_between_strangers(&mut self, random: &mut Random) {
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
    pub(super) fn slew_clocks(&mut self, random: &mut Random) {
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
    pub(super) fn leave_members_behind(&mut self, random: &mut Random) {
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
}
