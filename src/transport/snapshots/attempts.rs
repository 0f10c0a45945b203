//! Whether a raft snapshot whose connection has ended is sent on, and when.
//!
//! Owns what the connections of one sending came to. No lock, no clock and no socket: time is an argument. What always
//! holds: after [`FRUITLESS_MAX`] connections in a row that brought the receiver no further the sending ends; so it does
//! when the receiver could not be reached, or had no place for it, for as long as [`PATIENCE`]. A connection has brought
//! the receiver further when a later one learns that: what was taken and not yet staged may be lost with a connection.

use std::time::Duration;

use crate::time::Timestamp;

/// Connections in a row without progress that end a sending. Whatever breaks so many breaks the next one too.
pub(super) const FRUITLESS_MAX: u32 = 3;

/// How long a receiver may be busy or away. A member is restarted in that time, and its own raft snapshots are not all
/// of the largest size.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The first pause between two connections; each is twice as long as the one before, until there is progress.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a connection, or an attempt to make one, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The receiver cannot be reached, or has no place at the moment. That is no failure of a connection.
    NotNow,
    /// The connection ended.
    Broken,
}

/// See the head of this file.
pub(super) struct Attempts {
    /// The most rows that the receiver had when a connection began.
    rows: Option<u64>,
    /// Connections since then.
    fruitless: u32,
    /// Since when the receiver has been busy or away.
    waiting_since: Option<Timestamp>,
    pause: Duration,
}

impl Attempts {
    /// No connection yet.
    pub(super) fn new() -> Self {
        Self { rows: None, fruitless: 0, waiting_since: None, pause: PAUSE_MIN }
    }

    /// The receiver takes the raft snapshot, and has so many rows of it.
    pub(super) fn resumed(&mut self, rows: u64) {
        self.waiting_since = None;
        if self.rows.is_none_or(|before| rows > before) {
            self.rows = Some(rows);
            self.fruitless = 0;
            self.pause = PAUSE_MIN;
        }
    }

    /// After which pause to dial again; none if the sending is over.
    pub(super) fn failed(&mut self, now: Timestamp, trouble: Trouble) -> Option<Duration> {
        let goes_on = match trouble {
            Trouble::NotNow => now.since(*self.waiting_since.get_or_insert(now)) < PATIENCE,
            Trouble::Broken => {
                self.fruitless += 1;
                self.fruitless < FRUITLESS_MAX
            }
        };
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSE_MAX);
        goes_on.then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn three_connections_in_a_row_without_progress_are_enough() {
        let mut attempts = Attempts::new();
        attempts.resumed(0);
        for rows in 1..1000 {
            assert_eq!(attempts.failed(at(1), Trouble::Broken), Some(PAUSE_MIN), "progress goes on for ever");
            attempts.resumed(rows);
        }

        assert!(attempts.failed(at(1), Trouble::Broken).is_some());
        attempts.resumed(999);
        assert!(attempts.failed(at(1), Trouble::Broken).is_some());
        attempts.resumed(998);
        assert_eq!(attempts.failed(at(1), Trouble::Broken), None, "less than before is no progress");

        let mut silent = Attempts::new();
        let came_to: Vec<_> = (0..3).map(|_| silent.failed(at(1), Trouble::Broken).is_some()).collect();
        assert_eq!(came_to, [true, true, false]);
    }

    #[test]
    fn a_receiver_may_be_busy_or_away_for_a_minute_at_a_time() {
        let mut attempts = Attempts::new();
        for second in 0..60 {
            assert!(attempts.failed(at(second), Trouble::NotNow).is_some());
        }
        attempts.resumed(0);
        for second in 60..120 {
            let pause = attempts.failed(at(second), Trouble::NotNow).expect("the minute begins anew");
            assert!(pause <= PAUSE_MAX);
        }

        assert_eq!(attempts.failed(at(120), Trouble::NotNow), None);
    }
}
