//! The clock.
//!
//! Owns [`Timestamp`], the only call that reads a clock, and the assumptions about the clocks of different members. The
//! core never calls it: the core receives the time as an argument, so that scripts and simulations can control it.
//!
//! The clock is `CLOCK_BOOTTIME`: it never goes back, and it includes the time a machine was suspended, so a lease or a
//! deadline cannot survive a closed laptop lid. It is slewed when the time of day is corrected. It does not always
//! include the time a virtual machine was paused from outside; where that can happen leases must be switched off.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since the machine booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later than every real time: the deadline of something that may wait forever.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time from `earlier` to this; zero when this is earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How much faster or slower than true time a member's clock may run, in percent. Time daemons stay within that: chrony
/// slews a clock by up to 83,333 ppm by default and by at most 100,000, ntpd by 500.
const SLEW_MAX_PERCENT: u64 = 10;

/// The longest lease that ends before any other member can be elected, in whole milliseconds.
///
/// A follower refuses votes for an election timeout after the last message that it accepted from its leader, and counts
/// that timeout in ticks. The first tick may come at any time after that message, so the last of these ticks may be due
/// only (election timeout - tick) later. That span is shortest in true time on a clock that runs fast, and the leader's
/// own clock advances least in it if it runs slow: hence x (100 - 10) / (100 + 10).
#[must_use]
pub(crate) const fn longest_lease(election_timeout: Duration, tick: Duration) -> Duration {
    let refused_ms = election_timeout.saturating_sub(tick).as_millis() as u64;
    Duration::from_millis(refused_ms * (100 - SLEW_MAX_PERCENT) / (100 + SLEW_MAX_PERCENT))
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Reads the clock.
#[must_use]
#[allow(unsafe_code)] // Unsafe code that ARCHITECTURE.md lists: std offers no clock that counts suspend.
pub(crate) fn now() -> Timestamp {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a valid, writable timespec for the duration of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut spec) };
    assert!(failed == 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    Timestamp(spec.tv_sec.unsigned_abs() * 1_000_000_000 + spec.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_expires_on_the_slowest_clock_before_an_election_timeout_on_the_fastest() {
        let lease_ms = |election_timeout_ms, tick_ms| {
            let ms = Duration::from_millis;
            longest_lease(ms(election_timeout_ms), ms(tick_ms)).as_millis() as u64
        };

        assert_eq!(lease_ms(1_000, 50), 777);
        for (election_timeout_ms, tick_ms) in [(1_000, 50), (20, 5), (600_000, 10_000), (1_110, 10)] {
            let lease_ms = lease_ms(election_timeout_ms, tick_ms);
            // True time: the lease by a clock that needs 10/9 of it, the ticks by one that needs 10/11.
            assert!(lease_ms * 11 <= (election_timeout_ms - tick_ms) * 9);
            assert!(
                (lease_ms + 1) * 11 > (election_timeout_ms - tick_ms) * 9,
                "and no shorter than it must be"
            );
        }
        assert_eq!(lease_ms(10, 20), 0);
    }
}
