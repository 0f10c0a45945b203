//! A member's own clock, and the ticks due by it.
//!
//! Owns the mapping from true time to a member's local time: the clock may run fast or slow, stop and jump forward,
//! never back. What always holds: ticks are counted by the same tick clock that the raft poller uses.

use std::time::Duration;

use crate::core::tick_clock::TickClock;
use crate::sim::plan::MICROSECOND;
use crate::time::Timestamp;

/// See the module. True times and local times are nanoseconds.
#[derive(Debug)]
pub(crate) struct MemberClock {
    rate_per_mille: u64,
    /// When the rate last changed, in true and in local time. If that is in the future, the clock is stopped until
    /// then.
    since: (u64, u64),
    ticks: TickClock,
}

impl MemberClock {
    /// A clock that reads `local` at true time `now`; an election timeout is `election_ticks` long.
    pub(crate) fn new(now: u64, local: u64, tick: Duration, election_ticks: usize) -> Self {
        let ticks = TickClock::new(Timestamp(local), tick, election_ticks);
        Self { rate_per_mille: 1_000, since: (now, local), ticks }
    }

    /// The local time at true time `now`.
    pub(crate) fn local(&self, now: u64) -> u64 {
        let (true_time, local) = self.since;
        local + now.saturating_sub(true_time) * self.rate_per_mille / 1_000
    }

    /// Stops the clock until the given time, then lets it continue from where it stopped.
    pub(crate) fn stop(&mut self, now: u64, until: u64) {
        self.since = (until.max(self.since.0), self.local(now));
    }

    /// Changes the rate from `now` on, also if the clock was stopped.
    pub(crate) fn set_rate(&mut self, now: u64, per_mille: u64) {
        self.since = (now, self.local(now));
        self.rate_per_mille = per_mille;
    }

    /// Makes it jump forward.
    pub(crate) fn jump(&mut self, forward: u64) {
        self.since.1 += forward;
    }

    /// The ticks due at `now`, each returned once.
    pub(crate) fn owed_ticks(&mut self, now: u64) -> u32 {
        let local = self.local(now);
        self.ticks.owed(Timestamp(local))
    }

    /// The true time at which the next tick is due if the rate stays the same.
    pub(crate) fn next_tick(&self, now: u64) -> u64 {
        let local = self.local(now);
        let ahead = self.ticks.until_next(Timestamp(local)).as_nanos() as u64;
        self.true_time(now, local + ahead)
    }

    /// The true time at which the clock passes `local` if the rate stays the same, or shortly after `now` if it already
    /// has.
    pub(crate) fn true_time(&self, now: u64, local: u64) -> u64 {
        let ahead = local.saturating_sub(self.local(now));
        now.max(self.since.0) + ahead * 1_000 / self.rate_per_mille + MICROSECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_has_more_ticks_due_and_a_jump_at_most_the_bound() {
        let mut clock = MemberClock::new(0, 5_000, Duration::from_nanos(100), 15);

        assert_eq!(clock.owed_ticks(1_000), 10);
        clock.set_rate(1_000, 2_000);
        assert_eq!(clock.owed_ticks(2_000), 20);
        clock.jump(1_000_000);
        assert_eq!(clock.owed_ticks(2_000), 30);
        assert_eq!(clock.owed_ticks(2_000), 0);
    }

    #[test]
    fn a_stopped_clock_continues_from_where_it_stopped() {
        let mut clock = MemberClock::new(0, 5_000, Duration::from_nanos(100), 15);

        clock.stop(950, 10_000);

        assert_eq!((clock.local(10_000), clock.owed_ticks(10_000)), (5_950, 9));
        assert_eq!(clock.next_tick(2_000), 10_050 + MICROSECOND);
        assert_eq!(clock.owed_ticks(10_050), 1);
    }
}
