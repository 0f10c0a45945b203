//! A member's own clock, and the ticks it owes by it.
//!
//! Owns the relation between true time and what a member's clock says: it may run fast or slow and jump forward, never
//! back. Ticks are counted as the raft poller counts them.

use std::time::Duration;

use crate::sim::plan::MICROSECOND;

/// See the module. True times and local times are nanoseconds.
#[derive(Debug)]
pub struct MemberClock {
    rate_per_mille: u64,
    /// When the rate last changed, in true and in local time.
    since: (u64, u64),
    tick: u64,
    next_tick: u64,
    owed_max: u64,
}

impl MemberClock {
    /// A clock that says `local` at true time `now`. More than `owed_max` ticks at once are forgotten.
    pub fn new(now: u64, local: u64, tick: Duration, owed_max: u64) -> Self {
        let tick = tick.as_nanos() as u64;
        Self { rate_per_mille: 1_000, since: (now, local), tick, next_tick: local + tick, owed_max }
    }

    /// What it says.
    pub fn local(&self, now: u64) -> u64 {
        let (true_time, local) = self.since;
        local + (now - true_time) * self.rate_per_mille / 1_000
    }

    /// Makes it run at another rate from `now` on.
    pub fn set_rate(&mut self, now: u64, per_mille: u64) {
        self.since = (now, self.local(now));
        self.rate_per_mille = per_mille;
    }

    /// Makes it jump.
    pub fn jump(&mut self, forward: u64) {
        self.since.1 += forward;
    }

    /// The ticks that are owed at `now`, each once.
    pub fn owed_ticks(&mut self, now: u64) -> u32 {
        let local = self.local(now);
        if local < self.next_tick {
            return 0;
        }
        let owed = (local - self.next_tick) / self.tick + 1;
        self.next_tick =
            if owed > self.owed_max { local + self.tick } else { self.next_tick + owed * self.tick };
        owed.min(self.owed_max) as u32
    }

    /// The true time at which the next tick is owed if the rate stays.
    pub fn next_tick(&self, now: u64) -> u64 {
        self.true_time(now, self.next_tick)
    }

    /// The true time at which it has come past `local` if the rate stays, or `now` and a little when it has already.
    pub fn true_time(&self, now: u64, local: u64) -> u64 {
        let ahead = local.saturating_sub(self.local(now));
        now + ahead * 1_000 / self.rate_per_mille + MICROSECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_owes_more_ticks_and_a_jump_no_more_than_its_bound() {
        let mut clock = MemberClock::new(0, 5_000, Duration::from_nanos(100), 30);

        assert_eq!(clock.owed_ticks(1_000), 10);
        clock.set_rate(1_000, 2_000);
        assert_eq!(clock.owed_ticks(2_000), 20);
        clock.jump(1_000_000);
        assert_eq!(clock.owed_ticks(2_000), 30);
        assert_eq!(clock.owed_ticks(2_000), 0);
    }
}
