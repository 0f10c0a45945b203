//! Searches for planted faults.
//!
//! Owns which faults are searched for by all invariants and which by what clients alone notice, the exceptions to both with
//! their reasons, and the files of `tests/planted`. What always holds: a fault that is not found within a number of seeds
//! fails the test; plans that are prepared for a fault show nothing without it.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::{BASE_SEED, run_plan, setting};
use crate::core::planted::Fault;
use crate::sim::plan::Plan;
use crate::sim::random::scramble;
use crate::sim::run::hours;

/// Number of seeds within which a planted fault must be found.
const PLANTED_SEEDS_MAX: u64 = 3_000;
/// Number of seeds of each fault's plans that are run without it.
const PREPARED_SEEDS: u64 = 2;
/// Faults that have plans of their own; the others are searched for in plans that every hunt draws.
const PREPARED: [Fault; 13] = [
    Fault::ForceOfShorterLogsObeyed,
    Fault::LostEndIgnored,
    Fault::EarlierBootsCounted,
    Fault::ReadsDroppedBehindOthers,
    Fault::StalledLeaderStays,
    Fault::LevelSharesItsBatch,
    Fault::OverlayOfAnotherRegion,
    Fault::ReadWhileInstalling,
    Fault::OverwrittenBelowASnapshot,
    Fault::ForwardedBelowASnapshotGoAgain,
    Fault::KeptByOthersIgnored,
    Fault::RemovedLeaderStays,
    Fault::OlderListObeyed,
];
/// Faults that random runs do not find in hundreds of hours, but scripts do. The first needs a vote request from an
/// earlier term, a leader whose engine stalls, and an answer that overtakes every heartbeat. The second needs a
/// TimeoutNow that arrives very late at a target that has heard nothing since, and a quorum check confirmed only by
/// members that missed all entries but no heartbeat since. The third does no harm except noise, which `lonely_member`
/// measures. The fourth shows where a raft snapshot takes longer than the log lasts, which `absences` makes sure of.
const NOT_LEFT_TO_CHANCE: [Fault; 8] = [
    Fault::CommitInVoteAnswer,
    Fault::LeaseConfirmedByShorterLogs,
    Fault::FirstLeaderAskedForForEver,
    Fault::LogNotKeptForASnapshot,
    // Needs a vote request that comes once more, to a member that has lost the leader of that term, and is not elected.
    Fault::LosersAreSentWrites,
    // Needs a newcomer that leads the first region while it lacks the data of another: a golden script makes one.
    Fault::KeptUnknownIgnored,
    // Needs one that leads the first region twice, with a list in between, and is behind in another: a golden script has it.
    Fault::KeptOutlivesItsList,
    // Needs a leader whose list is behind, while its region has followed a later one: a golden script makes one.
    Fault::OlderListObeyed,
];

/// Number of seeds on which client-only checks must raise no false alarm.
const SOUND_SEEDS: u64 = 100;
/// Faults that clients alone did not notice in 400 seeds, each with the reason.
const HIDDEN_FROM_CLIENTS: [(Fault, &str); 32] = [
    (
        Fault::VoteBeforeSync,
        "two leaders of one term need a crash between a vote and its sync, and both to be believed",
    ),
    (
        Fault::HeartbeatBeforeItsTerm,
        "who forgets a term may vote in it, but a majority that does not forget has voted for its leader",
    ),
    (Fault::CommitInVoteAnswer, "as in NOT_LEFT_TO_CHANCE"),
    (
        Fault::AppliedIndexApart,
        "puts and deletes that are applied again make the same state, and nobody reads meanwhile",
    ),
    (Fault::ConfChangeBeforeCommitSync, "nobody is told of the configuration"),
    (Fault::ForwardedRetryOvertakes, "calls under way at once may take effect in any order"),
    (
        Fault::TicksAfterMessages,
        "a second leader inside a lease, which lasts for moments: someone must write, then read",
    ),
    (
        Fault::SyncErrorRetried,
        "an entry that is lost on one disk is still on the others; the log itself panics first",
    ),
    (Fault::LeaseIgnoresClockRates, "as TicksAfterMessages; sim/lease_clocks.rs shows it"),
    (Fault::ForceOfShorterLogsObeyed, "as TicksAfterMessages, and rarer"),
    (Fault::LeaseConfirmedByShorterLogs, "as in NOT_LEFT_TO_CHANCE"),
    (Fault::LateAnswersObeyedByFollowers, "as TicksAfterMessages, and rarer"),
    (
        Fault::LateRejectionsObeyed,
        "a member that hears nothing is served by the next leader; it must be the last one's",
    ),
    (Fault::NewerBeforeTheRest, "the applier itself panics first"),
    (Fault::LogNotKeptForASnapshot, "as in NOT_LEFT_TO_CHANCE"),
    (Fault::ReadWhileInstalling, "few reads meet the moments of an install; found in 816 seeds"),
    (Fault::OverwrittenBelowASnapshot, "its member must have led, and its caller wait for long"),
    (Fault::ForwardedBelowASnapshotGoAgain, "its caller must wait for long; found in 802 seeds"),
    (Fault::RefusedWriteGoesBehind, "as ForwardedRetryOvertakes"),
    (
        Fault::ProposedInALaterTerm,
        "a leader must lose its leadership while it hands over, and win it back at once",
    ),
    (Fault::FirstLeaderAskedForForEver, "as in NOT_LEFT_TO_CHANCE"),
    (Fault::LosersAreSentWrites, "as in NOT_LEFT_TO_CHANCE"),
    (Fault::ConditionsBelowTheirLevel, "what a member of the build before cannot read ends it first"),
    (Fault::LevelOfAMajority, "as ConditionsBelowTheirLevel"),
    (Fault::LevelSharesItsBatch, "these clients meet no members of two builds"),
    (Fault::OlderListObeyed, "the way back is followed by the way forth"),
    (Fault::VoterBeforeItCaughtUp, "writes wait for it for as long as it takes to give it the data"),
    (Fault::KeptByOthersIgnored, "it must lead another region, and be cut off from the list"),
    (Fault::KeptUnknownIgnored, "as in NOT_LEFT_TO_CHANCE"),
    (Fault::KeptOutlivesItsList, "as in NOT_LEFT_TO_CHANCE"),
    (Fault::RemovedLeaderStays, "it serves its callers as before"),
    (Fault::ReadBeforeTheData, "only a local read shows it, and what that misses may be newer than it"),
];

/// A search for planted faults, with the plans in which each of them was found last.
struct Search {
    /// A file in `tests/planted`: the name of a fault, and how many plans come before the one in which it was found.
    file: &'static str,
    plan: fn(u64, Fault) -> Plan,
    /// Whether it is the fault that these words tell.
    counts: fn(&str) -> bool,
}

/// How a planted fault was found.
struct Found {
    /// How many plans come before the one in which it was found.
    at: u64,
    seeds: u64,
    simulated_hours: f64,
    seconds: f64,
    words: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, seeds, simulated_hours, seconds, words } = self;
        let what = words.lines().next().unwrap_or_default();
        write!(
            f,
            "plan {at}, after {seeds} seeds, {simulated_hours:.1} simulated hours, {seconds:.1} s: {what}"
        )
    }
}

impl Search {
    /// Runs plans until one fails in a way that counts. The one that did last time goes first, so that a search is short
    /// as long as nothing has changed what it ran into.
    fn find(&self, base: u64, fault: Fault, last: Option<u64>) -> Option<Found> {
        let (begin, mut simulated) = (Instant::now(), 0);
        let others = (0..PLANTED_SEEDS_MAX).filter(|at| Some(*at) != last);
        for (at, seeds) in last.into_iter().chain(others).zip(1..) {
            match run_plan((self.plan)(scramble(base.wrapping_add(at)), fault), None) {
                Ok(report) => simulated += report.simulated,
                Err(words) if (self.counts)(&words) => {
                    let (simulated_hours, seconds) = (hours(simulated), begin.elapsed().as_secs_f64());
                    return Some(Found { at, seeds, simulated_hours, seconds, words });
                }
                Err(_) => {}
            }
        }
        None
    }

    /// Searches for each of `faults`, prints the result, and fails unless all were found. `ALMADIA_UPDATE_PLANTED=1` begins
    /// with the first plan and records where each was found.
    fn find_all(&self, faults: impl Iterator<Item = Fault>) {
        let is_update = std::env::var_os("ALMADIA_UPDATE_PLANTED").is_some();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted").join(self.file);
        let recorded = fs::read_to_string(&path).expect("it is committed");
        let last = |fault: Fault| if is_update { None } else { last_of(&recorded, fault) };
        let base = setting("ALMADIA_SEED", BASE_SEED);
        let found: Vec<_> = faults.map(|fault| (fault, self.find(base, fault, last(fault)))).collect();
        for (fault, found) in &found {
            let text = found.as_ref().map_or_else(|| "not found".to_owned(), Found::to_string);
            let _ = writeln!(std::io::stderr(), "{fault:?}: {text}");
        }
        assert!(
            found.iter().all(|(_, found)| found.is_some()),
            "faults that were not found are listed above"
        );
        if is_update {
            let lines = found
                .iter()
                .map(|(fault, found)| format!("{fault:?} {}\n", found.as_ref().map_or(0, |it| it.at)));
            fs::write(&path, lines.collect::<String>()).expect("writable");
        }
    }
}

fn last_of(recorded: &str, fault: Fault) -> Option<u64> {
    let name = format!("{fault:?}");
    let line = recorded.lines().filter_map(|line| line.split_once(' ')).find(|(named, _)| *named == name);
    line.map(|(_, at)| at.parse().expect("a number"))
}

/// Faults whose names contain the environment's filter; without a filter, those that are not `left_out`.
fn wanted_faults(left_out: impl Fn(Fault) -> bool) -> impl Iterator<Item = Fault> {
    let only = std::env::var("ALMADIA_SIM_FAULT").unwrap_or_default();
    let wanted = move |fault: &Fault| {
        if only.is_empty() { !left_out(*fault) } else { format!("{fault:?}").contains(&only) }
    };
    Fault::ALL.iter().copied().filter(wanted)
}

#[test]
fn every_planted_fault_is_found() {
    let search = Search { file: "invariants.txt", plan: Plan::draw_planted, counts: |_| true };

    search.find_all(wanted_faults(|fault| NOT_LEFT_TO_CHANCE.contains(&fault)));
}

#[test]
fn plans_prepared_for_a_fault_find_nothing_without_it() {
    let seeds = setting("ALMADIA_SIM_SEEDS", PREPARED_SEEDS);
    for (fault, block) in wanted_faults(|fault| !PREPARED.contains(&fault)).zip(0..) {
        let base = setting("ALMADIA_SEED", BASE_SEED).wrapping_add(block * PLANTED_SEEDS_MAX);
        for seed in (0..seeds).map(|at| scramble(base.wrapping_add(at))) {
            let plan = Plan { planted: None, ..Plan::draw_planted(seed, fault) };
            if let Err(words) = run_plan(plan, None) {
                panic!("seed {seed}, prepared for {fault:?} and without it: {words}");
            }
        }
    }
}

#[test]
fn clients_alone_find_the_faults_they_can_notice() {
    let search = Search {
        file: "clients.txt",
        plan: |seed, fault| Plan::draw_for_clients(seed, Some(fault)),
        // A panic is noticed by the operator of the simulation, not by clients; a store that no longer opens, by its user.
        counts: |words| !words.starts_with("panic") || words.contains("CORRUPTION"),
    };

    search.find_all(wanted_faults(|fault| HIDDEN_FROM_CLIENTS.iter().any(|(hidden, _)| *hidden == fault)));
}

#[test]
fn clients_alone_raise_no_alarm_about_correct_members() {
    for seed in (0..SOUND_SEEDS).map(|at| scramble(BASE_SEED.wrapping_add(at))) {
        if let Err(words) = run_plan(Plan::draw_for_clients(seed, None), None) {
            panic!("clients of seed {seed} say: {words}");
        }
    }
}
