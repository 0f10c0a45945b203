//! Members of the build before that are upgraded one after the other, and some of them taken back, under load.
//!
//! Owns the proof that runs of the simulator show what they are to show of upgrades. What a run checks at any rate is
//! not repeated here: that a member of the build before is sent nothing that it cannot read, that nothing is lost, and
//! that all members agree in the end, at the highest level.

use crate::sim::plan::Plan;
use crate::sim::random::scramble;
use crate::sim::run::run;
use crate::sim::trace::Trace;

const SEEDS: u64 = 60;

#[test]
fn conditions_are_refused_until_the_last_member_is_upgraded_and_work_then_by_themselves() {
    let (mut too_early, mut conditional, mut both) = (0, 0, 0);
    for seed in (0..SEEDS).map(|at| scramble(0x7570_6772 + at)) {
        let mut plan = Plan::draw(seed);
        (plan.upgrade, plan.goes_back) = (true, false);
        plan.load.conditional_percent = 60;

        let tally =
            run(plan, Trace::new(None, 0)).unwrap_or_else(|words| panic!("seed {seed}: {words}")).tally;

        too_early += tally.too_early;
        conditional += tally.conditional;
        both += u64::from(tally.too_early > 0 && tally.conditional > 0);
    }

    assert!(
        too_early > 20 * SEEDS && conditional > 5 * SEEDS,
        "{too_early} too early, {conditional} applied"
    );
    assert!(both > SEEDS / 2, "{both} runs of {SEEDS} saw both");
}

#[test]
fn members_that_go_back_before_the_last_one_is_upgraded_lose_nothing() {
    let (mut went_back, mut runs, mut written) = (0, 0, 0);
    for seed in (0..SEEDS).map(|at| scramble(0x6261_636b + at)) {
        let mut plan = Plan::draw(seed);
        (plan.upgrade, plan.goes_back) = (true, true);

        let report = run(plan, Trace::new(None, 0)).unwrap_or_else(|words| panic!("seed {seed}: {words}"));

        went_back += u64::from(report.went_back);
        runs += u64::from(report.went_back > 0);
        written += report.tally.written;
    }

    assert!(went_back > SEEDS / 2 && runs > SEEDS / 4, "{went_back} went back, in {runs} runs of {SEEDS}");
    assert!(written > 20 * SEEDS, "{written} writes");
}
