//! When the ticks of raft's clock are due.
//!
//! Owns the count of ticks by a member's clock; whoever runs rounds asks it, in production and in the simulator. What
//! always holds: every tick is owed once, on the whole multiples of a tick after the start, unless a member stood still
//! for so long that some are forgotten. Ticks that are forgotten make a follower wait longer, and a member that was
//! restarted be silent for longer, so they endanger no lease.

use std::time::Duration;

use crate::time::Timestamp;

/// A member that stood still owes the ticks of this many election timeouts at most: one that passed in a pause need not
/// pass twice, and a leader that owes two finds at the end of the second that it heard of nobody since the first.
const OWED_TIMEOUTS_MAX: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct TickClock {
    next: Timestamp,
    tick: Duration,
    owed_max: u32,
}

impl TickClock {
    /// A clock that ticks every `tick` from `now` on; an election timeout has `election_ticks`.
    #[must_use]
    pub(crate) fn new(now: Timestamp, tick: Duration, election_ticks: usize) -> Self {
        assert!(!tick.is_zero(), "time passes from tick to tick");
        let election_ticks = u32::try_from(election_ticks).unwrap_or(u32::MAX);
        Self { next: now + tick, tick, owed_max: election_ticks.saturating_mul(OWED_TIMEOUTS_MAX) }
    }

    /// How long no tick is due if none is owed at `now`.
    #[must_use]
    pub(crate) fn until_next(&self, now: Timestamp) -> Duration {
        self.next.since(now)
    }

    /// Takes the ticks that are due at `now`.
    pub(crate) fn owed(&mut self, now: Timestamp) -> u32 {
        if now < self.next {
            return 0;
        }
        let late = now.since(self.next).as_nanos() / self.tick.as_nanos();
        let owed = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        self.next = if owed > self.owed_max { now + self.tick } else { self.next + self.tick * owed };
        assert!(self.next > now, "what is due is taken");
        owed.min(self.owed_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> TickClock {
        TickClock::new(Timestamp(90), Duration::from_nanos(10), 15)
    }

    #[test]
    fn every_elapsed_tick_is_owed_once() {
        let mut clock = clock();

        assert_eq!(clock.owed(Timestamp(99)), 0);
        assert_eq!(clock.owed(Timestamp(100)), 1);
        assert_eq!(clock.owed(Timestamp(109)), 0);
        assert_eq!(clock.owed(Timestamp(135)), 3);
        assert_eq!(clock.until_next(Timestamp(135)), Duration::from_nanos(5));
    }

    #[test]
    fn a_long_pause_owes_two_election_timeouts_and_the_next_tick_a_whole_one_later() {
        let mut clock = clock();

        assert_eq!(clock.owed(Timestamp(1_000_003)), 30);
        assert_eq!(clock.owed(Timestamp(1_000_003)), 0);
        assert_eq!(clock.until_next(Timestamp(1_000_003)), Duration::from_nanos(10));
    }
}
