//! Power loss, a crash of the process or a disk error at every single step of a script.
//!
//! What must hold after each of them: the effect of every call that returned is there; that of the interrupted call is
//! there completely or not at all; nothing that was overwritten or cut off reappears; recovery itself may be
//! interrupted at any step; and what is written after it is as safe as before.

use std::sync::Arc;

use proptest::prelude::*;

use super::model_tests::{Call, Model, Seen, any_call, open_and_read, tiny};
use super::simulated_files::{Fault, SimulatedFiles, Survival};
use super::{LogReader, LogStore};
use crate::core::ports::LogWrite;
use crate::error::Code;
use crate::types::{LogIndex, RegionId, Term};

/// How far a script got.
struct Played {
    /// After the last call that returned without an error.
    acknowledged: Model,
    /// The same, plus the call that was interrupted.
    attempted: Model,
    /// The store, when the script failed after it was opened.
    store: Option<LogStore>,
}

impl Played {
    fn may_be(&self, seen: &Seen) -> bool {
        *seen == self.acknowledged.seen() || *seen == self.attempted.seen()
    }

    /// The model that `seen` shows.
    fn model_of(&self, seen: &Seen) -> Model {
        if *seen == self.attempted.seen() { self.attempted.clone() } else { self.acknowledged.clone() }
    }
}

/// Opens the log and plays `calls` until one of them fails.
fn play(files: &Arc<SimulatedFiles>, calls: &[Call]) -> Played {
    let mut acknowledged = Model::default();
    let Ok((store, _)) = LogStore::open_with(files.clone(), tiny()) else {
        return Played { attempted: acknowledged.clone(), acknowledged, store: None };
    };
    for call in calls {
        let mut attempted = acknowledged.clone();
        if attempted.play(call, &store).is_err() {
            return Played { acknowledged, attempted, store: Some(store) };
        }
        acknowledged = attempted;
    }
    Played { attempted: acknowledged.clone(), acknowledged, store: None }
}

fn steps_of(calls: &[Call]) -> u64 {
    let files = SimulatedFiles::new();
    play(&files, calls);
    files.steps()
}

/// Possible disks after a crash of the process or a power loss.
fn aftermaths(files: &SimulatedFiles, seed: u64) -> Vec<Arc<SimulatedFiles>> {
    let lost = |survival| files.after_power_loss(survival);
    vec![
        files.after_restart(),
        lost(Survival::Nothing),
        lost(Survival::Everything),
        lost(Survival::Some(seed)),
        lost(Survival::Some(seed + 1_000_000)),
        lost(Survival::Some(seed + 2_000_000)),
    ]
}

/// Recovers, writes more, loses power and recovers again.
fn check_recovery(files: &Arc<SimulatedFiles>, played: &Played, next: &Call) {
    let (store, seen) = open_and_read(files.clone());
    assert!(played.may_be(&seen), "{seen:?}\nis neither\n{:?}\nnor attempted", played.acknowledged.seen());
    let mut model = played.model_of(&seen);
    let again = open_and_read(files.after_power_loss(Survival::Nothing)).1;
    assert_eq!(again, seen, "what recovery told is durable");
    model.play(next, &store).unwrap();
    let after = open_and_read(files.after_power_loss(Survival::Nothing)).1;
    assert_eq!(after, model.seen(), "what was written after recovery is there");
}

/// Crashes recovery at every step, and recovers from that.
fn check_interrupted_recovery(files: &Arc<SimulatedFiles>, played: &Played, seed: u64, next: &Call) {
    let probe = files.after_restart();
    drop(open_and_read(probe.clone()));
    for step in 0..probe.steps() {
        let dying = files.after_restart();
        dying.set_fault(Fault::DieAt(step));
        assert!(LogStore::open_with(dying.clone(), tiny()).is_err());
        check_recovery(&dying.after_power_loss(Survival::Some(seed + step)), played, next);
        check_recovery(&dying.after_restart(), played, next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_survives_a_crash_at_any_step_is_what_was_acknowledged(
        calls in prop::collection::vec(any_call(), 1..25),
        next in any_call(),
    ) {
        for step in 0..steps_of(&calls) {
            let files = SimulatedFiles::new();
            files.set_fault(Fault::DieAt(step));
            let played = play(&files, &calls);
            for aftermath in aftermaths(&files, step) {
                check_recovery(&aftermath.after_restart(), &played, &next);
                if step % 3 == 0 {
                    check_interrupted_recovery(&aftermath, &played, step, &next);
                }
            }
        }
    }

    #[test]
    fn a_failed_write_or_sync_poisons_and_a_new_open_is_safe(
        calls in prop::collection::vec(any_call(), 1..25),
        next in any_call(),
    ) {
        for step in 0..steps_of(&calls) {
            let files = SimulatedFiles::new();
            files.set_fault(Fault::FailAt(step));
            let played = play(&files, &calls);
            if let Some(store) = &played.store {
                check_poisoned(store, &files);
            }
            check_recovery(&files.after_restart(), &played, &next);
            check_recovery(&files.after_power_loss(Survival::Some(step)), &played, &next);
        }
    }
}

fn check_poisoned(store: &LogStore, files: &SimulatedFiles) {
    let before = files.steps();
    let write = LogWrite { truncate_to: Some((LogIndex(5), Term(5))), ..LogWrite::new(RegionId(77)) };

    assert_eq!(store.append(&[write]).unwrap_err().code(), Code::Poisoned);
    assert_eq!(store.remove(RegionId(1)).unwrap_err().code(), Code::Poisoned);
    assert!(store.term(RegionId(77), LogIndex(5)).is_err());

    assert_eq!(files.steps(), before, "a poisoned store does not touch the disk");
}
