//! Plans in which a planted fault shows.
//!
//! Owns what each fault needs: a style that is drawn too rarely, more of what it is about, nothing that hides it. What
//! always holds: without the fault nothing is found in such a plan, either.

use super::styles::Style;
use super::{LoadPlan, Plan};
use crate::core::planted::Fault;
use crate::sim::faults::FaultKind;
use crate::sim::random::{Random, scramble};

impl Plan {
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
}
