//! Members that lack much of the log, in directed runs.
//!
//! Owns runs of three members of which one is away or slow while the others write, and what it then takes to bring it
//! back: how much is sent to it at a time, that nothing is sent twice for its slowness, and that a loss which nobody
//! reports stops nothing. What always holds: nothing else goes wrong. How much memory real members take meanwhile is
//! measured by `benches/catch_up.rs`.

use crate::core::input::Input;
use crate::core::limits::Limits;
use crate::sim::keys;
use crate::sim::member::{Member, Setup};
use crate::sim::trio::{Trio, at_once};
use crate::time::Timestamp;
use crate::types::{NodeId, RegionId};

const REGION: RegionId = RegionId(1);
const WRITES: u64 = 100;
const VALUE_BYTES: usize = 500;
/// One that a message of this length does not hold twice.
const MESSAGE_BYTES: u64 = 1_000;
const LIMITS: Limits = Limits {
    backlog_bytes: 1 << 20,
    store_backlog_bytes: 1 << 20,
    applying_bytes: 2_000,
    held_appends_bytes: 8_000,
    append_window_bytes: 5_000,
    forwarded_bytes: 1 << 20,
    questions: 16,
    held_confirmations: 16,
};

/// Three members, led by the first, whose messages hold one value each.
fn trio() -> Trio {
    let (uncommitted_bytes_max, limits) = (MESSAGE_BYTES, LIMITS);
    let mut trio = Trio::new(1, &Setup { uncommitted_bytes_max, limits, ..Setup::default() });
    trio.elect(1, 1);
    trio
}

fn write_all(trio: &mut Trio) {
    for _ in 0..WRITES {
        let write = trio.write(1, REGION, VALUE_BYTES);
        at_once(&write).expect("two members are a quorum");
    }
}

/// How far the third member is behind the first.
fn lag(trio: &mut Trio) -> u64 {
    let leader = trio.member(1).peer().status().last_index.get();
    leader - trio.member(3).peer().status().applied_index.get()
}

#[test]
fn a_member_that_was_away_is_sent_no_more_at_a_time_than_its_window_holds() {
    let mut trio = trio();
    trio.away = Some(3);
    write_all(&mut trio);
    assert!(lag(&mut trio) >= WRITES);

    (trio.away, trio.sent_at_once_max) = (None, 0);
    trio.pass(5);

    assert_eq!(lag(&mut trio), 0);
    let (sent, window) = (trio.sent_at_once_max, LIMITS.append_window_bytes);
    assert!((window..window + MESSAGE_BYTES).contains(&sent), "{sent} bytes in one round");
}

#[test]
fn a_loss_that_nobody_reports_leaves_no_window_full() {
    let mut trio = trio();
    // Its window fills with what it does not get.
    trio.away = Some(3);
    write_all(&mut trio);
    trio.away = None;

    trio.pass(5);

    assert_eq!(lag(&mut trio), 0);
}

#[test]
fn a_member_whose_engine_is_slow_gets_everything_once() {
    let mut trio = trio();
    (trio.stalled, trio.sent) = (Some(3), 0);
    write_all(&mut trio);
    trio.pass(20);
    let third = trio.member(3).peer().status();
    let waits = (third.last_index.get() - third.applied_index.get()) * VALUE_BYTES as u64;
    let window = LIMITS.append_window_bytes;
    assert!(waits < LIMITS.applying_bytes + 2 * window, "{waits} bytes wait for the engine");

    trio.stalled = None;
    trio.pass(5);

    assert_eq!(lag(&mut trio), 0);
    let log_bytes = WRITES * (VALUE_BYTES as u64 + 200);
    assert!(trio.sent < 2 * log_bytes, "{} bytes to two members, of a log of {log_bytes}", trio.sent);
}

#[test]
fn a_leader_keeps_entries_for_others_a_follower_a_quarter_of_them_and_a_sole_member_none() {
    const CACHE: usize = 20_000;
    let setup = Setup { log_cache_bytes: CACHE, ..Setup::default() };
    let mut trio = Trio::new(1, &setup);
    trio.elect(1, 1);
    write_all(&mut trio);
    let leader = trio.member(1).peer().cached_bytes();
    let follower = trio.member(2).peer().cached_bytes();
    assert!((CACHE / 2..=CACHE).contains(&leader), "{leader} bytes");
    assert!((CACHE / 8..=CACHE / 4).contains(&follower), "{follower} bytes");

    let mut sole = Member::bootstrap_with(1, &keys::regions(1, &[NodeId(1)]), setup);
    sole.feed(Input::Campaign);
    sole.round(Timestamp::default(), &mut Vec::new());
    assert!(sole.peer().cached_bytes() > 0, "what is not applied is in memory");
    sole.apply(&mut Vec::new());
    sole.round(Timestamp::default(), &mut Vec::new());
    assert_eq!(sole.peer().cached_bytes(), 0);
}
