//! Runs of many seeds.
//!
//! Owns the choice of seeds, the budget in simulated hours, and the failure report: the violated invariant, the last
//! lines of the trace, and the command that reruns the seed. What always holds: the seeds of a hunt follow from its
//! base seed; kept seeds, which failed once, run first.
//!
//! Simulates `ALMADIA_SIM_HOURS` hours from base seed `ALMADIA_SEED` on `ALMADIA_SIM_THREADS` threads.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::core::planted::Fault;
use crate::sim::faults::FaultKind;
use crate::sim::members::MembersTally;
use crate::sim::plan::Plan;
use crate::sim::random::scramble;
use crate::sim::run::{Report, hours, run};
use crate::sim::trace::{Lines, Trace};

/// Default number of simulated hours: takes a minute on two cores.
const HOURS: f64 = 100.0;
/// Of these, the hours in which members come and go at any rate.
const MEMBERS_HOURS: f64 = 3.0;
/// Trace lines shown for a failed run.
const LINES: usize = 60;
/// Default base seed of a hunt.
const BASE_SEED: u64 = 20_261_121;

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
const NOT_LEFT_TO_CHANCE: [Fault; 7] = [
    Fault::CommitInVoteAnswer,
    Fault::LeaseConfirmedByShorterLogs,
    Fault::FirstLeaderAskedForForEver,
    Fault::LogNotKeptForASnapshot,
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
const HIDDEN_FROM_CLIENTS: [(Fault, &str); 31] = [
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

/// Totals over many runs.
#[derive(Debug, Default)]
struct Bag {
    seeds: u64,
    simulated: u64,
    events: u64,
    written: u64,
    read: u64,
    unknown: u64,
    refused: u64,
    strikes: BTreeMap<String, u64>,
}

impl Bag {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        self.events += report.events;
        self.written += report.tally.written;
        self.read += report.tally.read;
        self.unknown += report.tally.unknown;
        self.refused += report.tally.refused;
        for (kind, count) in &report.strikes {
            *self.strikes.entry(format!("{kind:?}")).or_default() += u64::from(*count);
        }
    }

    fn say(&self, core_seconds: f64) {
        let Self { seeds, events, written, read, unknown, refused, strikes, .. } = self;
        let simulated = hours(self.simulated);
        let _ = writeln!(
            std::io::stderr(),
            "simulated {simulated:.1} hours in {seeds} seeds, {events} events; {:.2} hours and {:.1} seeds a \
             core-second\n{written} writes applied, {read} reads, {unknown} outcomes unknown, {refused} refused\n\
             faults: {strikes:?}",
            simulated / core_seconds,
            *seeds as f64 / core_seconds,
        );
    }
}

/// Runs one seed.
fn run_seed(seed: u64, lines: Option<Lines>) -> Result<Report, String> {
    run_plan(Plan::draw(seed), lines)
}

/// Runs one plan; a panic of the core counts as a violated invariant.
fn run_plan(plan: Plan, lines: Option<Lines>) -> Result<Report, String> {
    let trace = Trace::new(lines, setting("ALMADIA_SIM_LINES", LINES));
    catch_unwind(AssertUnwindSafe(|| run(plan, trace))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// The failure report of a seed, with everything needed to understand it.
fn explain(seed: u64, broken: &str) -> String {
    let lines = Lines::default();
    let again = run_seed(seed, Some(Lines::clone(&lines)));
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let trace = lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let same = again.as_ref().err().is_some_and(|words| words == broken);
    let doubt =
        if same { "" } else { "\nA second run ended differently: the run depends on more than its seed." };
    format!(
        "{:?}\n{trace}\n\nseed {seed}: {broken}{doubt}\n\
         replay: ALMADIA_SEED={seed} cargo test --release --lib one_seed -- --nocapture\n",
        Plan::draw(seed)
    )
}

/// Runs seeds on several threads until the wanted hours are simulated.
fn hunt(base: u64, wanted_hours: f64) -> Bag {
    let bag = Mutex::new(Bag::default());
    let failed = Mutex::new(None);
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let done = hours(bag.lock().unwrap_or_else(PoisonError::into_inner).simulated) >= wanted_hours;
            if done || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            let seed = scramble(base.wrapping_add(next.fetch_add(1, Ordering::Relaxed)));
            match run_seed(seed, None) {
                Ok(report) => bag.lock().unwrap_or_else(PoisonError::into_inner).add(&report),
                Err(words) => *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((seed, words)),
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        (0..setting("ALMADIA_SIM_THREADS", cores)).for_each(|_| drop(scope.spawn(work)));
    });
    if let Some((seed, words)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        panic!("{}", explain(seed, &words));
    }
    bag.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The value of an environment variable, or `otherwise`.
pub(crate) fn setting<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Seeds that failed once: the number at the start of each line.
fn kept_seeds() -> Vec<u64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds.txt");
    seeds_of(&fs::read_to_string(path).expect("the kept seeds are where they belong"))
}

fn seeds_of(text: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(|seed| seed.parse().expect("a seed"))
        .collect()
}

#[test]
fn no_invariant_is_violated_in_the_simulated_hours() {
    let begin = Instant::now();
    let threads = setting("ALMADIA_SIM_THREADS", thread::available_parallelism().map_or(1, usize::from));

    let bag = hunt(setting("ALMADIA_SEED", BASE_SEED), setting("ALMADIA_SIM_HOURS", HOURS));

    bag.say(begin.elapsed().as_secs_f64() * threads as f64);
    assert!(bag.written > 100 * bag.seeds / 10 && bag.read > 0, "clients got work done: {bag:?}");
    assert!(FaultKind::ALL.iter().all(|kind| bag.strikes.contains_key(&format!("{kind:?}"))), "{bag:?}");
}

#[test]
fn members_come_and_go_in_the_simulated_hours() {
    let (begin, mut bag) = (Instant::now(), Bag::default());
    let wanted = setting("ALMADIA_SIM_HOURS", MEMBERS_HOURS);
    let seeds = (0..).map(|at| scramble(setting("ALMADIA_SEED", BASE_SEED).wrapping_add(at)));
    let mut changes = MembersTally::default();
    for seed in seeds.filter(|seed| Plan::draw(*seed).members_change.is_some()) {
        match run_seed(seed, None) {
            Ok(report) => {
                changes.add(report.members);
                bag.add(&report);
            }
            Err(words) => panic!("{}", explain(seed, &words)),
        }
        if hours(bag.simulated) >= wanted {
            break;
        }
    }

    bag.say(begin.elapsed().as_secs_f64());
    let _ = writeln!(std::io::stderr(), "{changes:?}");
    let seeds = bag.seeds;
    assert!(
        changes.lists > seeds && changes.joined > seeds && changes.lost > 0,
        "{changes:?} in {seeds} seeds"
    );
}

#[test]
fn one_seed() {
    let seed = setting("ALMADIA_SEED", BASE_SEED);

    if let Err(words) = run_seed(seed, None) {
        panic!("{}", explain(seed, &words));
    }
}

#[test]
fn kept_seeds_pass() {
    for seed in kept_seeds() {
        if let Err(words) = run_seed(seed, None) {
            panic!("{}", explain(seed, &words));
        }
    }
}

#[test]
fn kept_seeds_are_the_numbers_at_the_start_of_lines() {
    assert_eq!(
        seeds_of("# What 3 found.\n17\n\n# Another.\n18446744073709551615 behind it\n"),
        [17, u64::MAX]
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in (0..8).map(scramble) {
        let (first, lines) = (run_seed(seed, None), Lines::default());
        let second = run_seed(seed, Some(lines));

        assert_eq!(first, second);
    }
}

/// How a planted fault was found.
struct Found {
    seeds: u64,
    simulated_hours: f64,
    seconds: f64,
    words: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, simulated_hours, seconds, words } = self;
        let what = words.lines().next().unwrap_or_default();
        write!(f, "{seeds} seeds, {simulated_hours:.1} simulated hours, {seconds:.1} s: {what}")
    }
}

/// Runs the plans of successive seeds until one fails in a way that `counts`.
fn find(base: u64, plan: impl Fn(u64) -> Plan, counts: impl Fn(&str) -> bool) -> Option<Found> {
    let begin = Instant::now();
    let mut simulated = 0;
    for at in 0..PLANTED_SEEDS_MAX {
        match run_plan(plan(scramble(base.wrapping_add(at))), None) {
            Ok(report) => simulated += report.simulated,
            Err(words) if counts(&words) => {
                let (seeds, seconds) = (at + 1, begin.elapsed().as_secs_f64());
                return Some(Found { seeds, simulated_hours: hours(simulated), seconds, words });
            }
            Err(_) => {}
        }
    }
    None
}

/// Searches for each of `faults`, prints the result, and fails unless all were found.
fn find_all(faults: impl Iterator<Item = Fault>, find: impl Fn(Fault) -> Option<Found>) {
    let found: Vec<_> = faults.map(|fault| (fault, find(fault))).collect();
    for (fault, found) in &found {
        let text = found.as_ref().map_or_else(|| "not found".to_owned(), Found::to_string);
        let _ = writeln!(std::io::stderr(), "{fault:?}: {text}");
    }
    assert!(found.iter().all(|(_, found)| found.is_some()), "faults that were not found are listed above");
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
    let base = setting("ALMADIA_SEED", BASE_SEED);

    let planted = |fault| find(base, |seed| Plan::draw_planted(seed, fault), |_| true);
    find_all(wanted_faults(|fault| NOT_LEFT_TO_CHANCE.contains(&fault)), planted);
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
    let base = setting("ALMADIA_SEED", BASE_SEED);
    // A panic is noticed by the operator of the simulation, not by clients; a store that no longer opens, by its user.
    let counts = |words: &str| !words.starts_with("panic") || words.contains("CORRUPTION");

    let planted = |fault| find(base, |seed| Plan::draw_for_clients(seed, Some(fault)), counts);
    let hidden = |fault| HIDDEN_FROM_CLIENTS.iter().any(|(hidden, _)| *hidden == fault);
    find_all(wanted_faults(hidden), planted);
}

#[test]
fn clients_alone_raise_no_alarm_about_correct_members() {
    for seed in (0..SOUND_SEEDS).map(|at| scramble(BASE_SEED.wrapping_add(at))) {
        if let Err(words) = run_plan(Plan::draw_for_clients(seed, None), None) {
            panic!("clients of seed {seed} say: {words}");
        }
    }
}
