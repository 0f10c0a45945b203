//! Growth over time.
//!
//! Owns directed runs over many restarts. What always holds: no restart leaves anything behind.

use crate::sim::member::Setup;
use crate::sim::trio::{Trio, at_once};
use crate::types::RegionId;

const REGION: RegionId = RegionId(1);

/// About what a run writes, and half of what a log may keep.
const RUN_BYTES: u64 = 120 << 10;

#[test]
fn logs_of_members_that_restart_often_are_truncated() {
    restart_often(60);
}

#[test]
fn logs_of_members_that_end_soon_after_they_start_are_truncated() {
    restart_often(3);
}

/// Members that live for about so many ticks after they have elected a leader, again and again.
fn restart_often(ticks: u32) {
    let setup = Setup { log_retain_bytes: RUN_BYTES, ..Setup::default() };
    let mut trio = Trio::new(1, &setup);
    for run in 0..20 {
        let leader = 1 + run % 3;
        trio.elect(leader, 1);
        for _ in 0..12 {
            let write = trio.write(leader, REGION, 10 << 10);
            at_once(&write).expect("all are well");
        }
        trio.flush_and_pass(ticks);
        trio.restart_all();
    }

    let log = trio.member(1).log();
    let entries = log.entries(REGION, log.truncated(REGION) + 1, log.status(REGION).last);
    let kept = entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    assert!(kept < 4 * RUN_BYTES, "{kept} bytes are kept, {RUN_BYTES} are to be retained");
}
