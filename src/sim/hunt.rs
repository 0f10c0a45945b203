//! Runs of many seeds.
//!
//! Owns the choice of seeds, the budget in simulated hours, and the failure report: the violated invariant, the last
//! lines of the trace, and the command that reruns the seed. What always holds: the seeds of a hunt follow from its
//! base seed; kept seeds, which failed once, run first. The searches for planted faults are in [`planted`].
//!
//! Simulates `ALMADIA_SIM_HOURS` hours from base seed `ALMADIA_SEED` on `ALMADIA_SIM_THREADS` threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::sim::faults::FaultKind;
use crate::sim::members::MembersTally;
use crate::sim::plan::Plan;
use crate::sim::random::scramble;
use crate::sim::run::{Report, hours, run};
use crate::sim::trace::{Lines, Trace};

mod planted;

/// Default number of simulated hours: takes a minute on two cores.
const HOURS: f64 = 100.0;
/// Of these, the hours in which members come and go at any rate.
const MEMBERS_HOURS: f64 = 3.0;
/// Trace lines shown for a failed run.
const LINES: usize = 60;
/// Default base seed of a hunt.
const BASE_SEED: u64 = 20_261_121;

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
