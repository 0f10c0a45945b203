//! When a connection is dialed and looked at, and what is told of it, with a time that is moved by hand.

use super::super::handshake::Reason;
use super::*;

const TICK: Duration = Duration::from_millis(50);

fn at(ms: u64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

/// A connection that is being dialed for the first time, at 0 ms.
fn dialing() -> Connection {
    let mut connection = Connection::new(at(0), TICK, Duration::ZERO);
    assert_eq!(connection.take_report(), Some(Report::Disconnected));
    assert_eq!(connection.due(at(0)), Some(Due::Dial));
    connection
}

/// One that was opened at 0 ms.
fn open(looks: Looks) -> Connection {
    let mut connection = dialing();
    connection.opened(at(0), looks);
    assert_eq!(connection.take_report(), Some(Report::Connected));
    connection
}

/// The pause behind the dial that is under way and fails at `now`; the next dial is under way then.
fn pause_after_failure(connection: &mut Connection, now: Timestamp) -> Duration {
    connection.failed(now, Topic::Dial);
    pause_from(connection, now)
}

fn pause_from(connection: &mut Connection, now: Timestamp) -> Duration {
    let until = connection.due_at().expect("it is to be dialed again");
    if until > now {
        assert_eq!(connection.due(Timestamp(until.0 - 1)), None, "not before");
    }
    assert_eq!(connection.due(until), Some(Due::Dial));
    assert_eq!(connection.due_at(), None, "the dial is under way");
    until.since(now)
}

#[test]
fn the_pauses_between_dials_double_up_to_a_bound() {
    let mut connection = dialing();

    let pauses: Vec<_> =
        (0..9).map(|n| pause_after_failure(&mut connection, at(10_000 * n)).as_millis()).collect();

    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500, 500]);
}

#[test]
fn a_connection_that_lasted_is_dialed_again_at_once_and_makes_pauses_short_again() {
    let mut connection = dialing();
    for n in 0..5 {
        pause_after_failure(&mut connection, at(1000 * n));
    }
    connection.opened(at(10_000), Looks::AfterWrites);
    assert_eq!(connection.take_report(), Some(Report::Connected));
    let end = at(10_000) + GOOD_AFTER + Duration::from_millis(1);

    connection.lost(end);

    assert_eq!(pause_from(&mut connection, end), Duration::ZERO);
    assert_eq!(pause_after_failure(&mut connection, end), PAUSE_MIN);
}

#[test]
fn a_connection_that_is_lost_soon_after_each_dial_is_dialed_with_growing_pauses() {
    let mut connection = dialing();
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        connection.opened(now, Looks::AfterWrites);
        assert_eq!(connection.take_report(), Some(Report::Connected));
        now = now + GOOD_AFTER;
        connection.lost(now);
        assert_eq!(connection.take_report(), Some(Report::Disconnected));
        let pause = pause_from(&mut connection, now);
        pauses.push(pause.as_millis());
        now = now + pause;
    }

    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500]);
}

#[test]
fn a_peer_that_connects_ends_one_pause_and_only_one() {
    let mut connection = dialing();
    connection.failed(at(1), Topic::Dial);
    connection.hurry();
    assert_eq!(connection.due(at(1)), Some(Due::Dial));
    assert_eq!(pause_after_failure(&mut connection, at(1)), 2 * PAUSE_MIN, "the next one is as long as ever");

    connection.hurry();
    connection.failed(at(100), Topic::Dial);
    assert_eq!(connection.due(at(100)), Some(Due::Dial), "it connected before the pause began");
}

#[test]
fn a_peer_that_connects_while_there_is_a_connection_ends_no_pause_behind_it() {
    let mut connection = open(Looks::AfterWrites);
    connection.hurry();

    connection.lost(at(20));

    assert_eq!(pause_from(&mut connection, at(20)), PAUSE_MIN);
}

#[test]
fn every_connection_and_its_end_are_reported_once() {
    let mut connection = open(Looks::AfterWrites);
    assert_eq!(connection.take_report(), None);

    connection.lost(at(5));
    assert_eq!(connection.take_report(), Some(Report::Disconnected));
    assert_eq!(connection.take_report(), None);

    pause_from(&mut connection, at(5));
    pause_after_failure(&mut connection, at(20));
    assert_eq!(connection.take_report(), None, "a dial that fails changes nothing");
}

#[test]
fn the_operator_is_not_told_of_a_peer_that_is_late_but_of_one_that_stays_away() {
    let patience = Duration::from_secs(2);
    let mut connection = Connection::new(at(0), TICK, patience);
    assert_eq!(connection.take_report(), Some(Report::Disconnected));
    assert_eq!(connection.due(at(0)), Some(Due::Dial));
    let fail = |connection: &mut Connection, ms, topic| {
        let is_told = connection.failed(at(ms), topic);
        pause_from(connection, at(ms));
        is_told
    };

    assert!(!fail(&mut connection, 0, Topic::Dial));
    assert!(fail(&mut connection, 600, Topic::DialRefusal(Reason::Tick)), "a wrong option is told at once");
    assert!(!fail(&mut connection, 1_200, Topic::Dial));
    connection.opened(at(1_800), Looks::AfterWrites);
    assert_eq!(connection.take_report(), Some(Report::Connected));
    connection.lost(at(60_000));
    assert_eq!(connection.take_report(), Some(Report::Disconnected));
    assert_eq!(connection.due(at(60_000)), Some(Due::Dial));

    assert!(!fail(&mut connection, 60_000, Topic::Dial), "it may be restarting");
    assert!(!fail(&mut connection, 61_900, Topic::Dial));
    assert!(fail(&mut connection, 62_500, Topic::Dial));
    assert!(!fail(&mut connection, 90_000, Topic::Dial), "once");
}

#[test]
fn the_operator_is_told_of_each_reason_once_until_a_dial_succeeds() {
    let mut connection = dialing();
    let reasons = [Topic::Dial, Topic::DialRefusal(Reason::Tick), Topic::DialRefusal(Reason::Cluster)];
    let fail = |connection: &mut Connection, ms, topic| {
        let is_told = connection.failed(at(ms), topic);
        pause_from(connection, at(ms));
        is_told
    };
    for round in 0..100 {
        for topic in reasons {
            assert_eq!(fail(&mut connection, 1000 * round, topic), round == 0, "{topic:?}, {round}");
        }
    }
    assert!(connection.is_news(Topic::Unsendable));

    connection.opened(at(200_000), Looks::AfterWrites);
    assert_eq!(connection.take_report(), Some(Report::Connected));
    connection.lost(at(200_010));
    assert_eq!(connection.take_report(), Some(Report::Disconnected));
    pause_from(&mut connection, at(200_010));

    for topic in reasons {
        assert!(fail(&mut connection, 300_000, topic), "{topic:?}");
        assert!(!fail(&mut connection, 301_000, topic), "{topic:?}");
    }
    assert!(!connection.is_news(Topic::Unsendable), "that was not about dialing");
}

#[test]
fn an_idle_connection_is_looked_at_once_some_ticks_after_the_last_write() {
    let mut connection = open(Looks::AfterWrites);
    assert_eq!(connection.due_at(), Some(at(150)));
    assert_eq!(connection.writes(at(30)), Duration::from_millis(30));
    assert_eq!(connection.due_at(), Some(at(180)));
    assert_eq!(connection.due(at(179)), None);

    assert_eq!(connection.due(at(180)), Some(Due::Look));

    assert_eq!(connection.due_at(), None, "nobody writes without a look after such a gap");
    assert_eq!(connection.due(at(3_600_000)), None);
    assert_eq!(connection.gap(at(3_600_000)), Some(Duration::from_millis(3_599_970)));
}

#[test]
fn direct_writes_put_no_look_off_and_have_one_after_the_last_of_them() {
    let mut connection = open(Looks::AfterWrites);
    let mut looks = Vec::new();
    for ms in 0..600 {
        if ms < 320 {
            assert!(!connection.writes_directly(at(ms), false), "a look is due anyway");
        }
        if connection.due(at(ms)) == Some(Due::Look) {
            looks.push(ms);
        }
    }

    assert_eq!(looks, [150, 300, 450, 469]);
}

#[test]
fn a_caller_that_has_looked_puts_the_next_look_off_or_makes_one_due() {
    let mut connection = open(Looks::AfterWrites);
    for ms in [100, 200, 300] {
        assert!(!connection.writes_directly(at(ms), true), "the sender thread comes back at 150 ms anyway");
        assert_eq!(connection.due(at(ms + 100)), None);
    }
    assert_eq!(connection.due(at(450)), Some(Due::Look));
    assert_eq!(connection.due_at(), None);

    assert!(connection.writes_directly(at(1000), true), "nobody would look after this write");

    assert_eq!(connection.due_at(), Some(at(1150)));
}

#[test]
fn a_member_with_something_new_to_say_is_looked_at_for_ever() {
    let mut connection = open(Looks::Always);

    let looks: Vec<_> = (0..1000).filter(|ms| connection.due(at(*ms)).is_some()).collect();

    assert_eq!(looks, (150..1000).step_by(150).collect::<Vec<_>>());
}

#[test]
fn a_tick_shorter_than_the_gap_of_direct_writes_does_not_shorten_looks() {
    let mut connection = Connection::new(at(0), Duration::from_millis(1), Duration::ZERO);
    connection.take_report();
    assert_eq!(connection.due(at(0)), Some(Due::Dial));

    connection.opened(at(0), Looks::AfterWrites);

    assert_eq!(connection.due_at(), Some(at(0) + 3 * GAP_MAX));
}
