//! The one clock.
//!
//! Owns [`Timestamp`] and the only call that reads a clock. The core never calls it: time reaches the core
//! as an argument, which is what lets a script or a simulation move it.
//!
//! The clock is `CLOCK_BOOTTIME`: it never goes back and it counts the time a machine was suspended, so a
//! lease or a deadline cannot survive a closed laptop lid.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since the machine booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later than every real time: the deadline of something that may wait for ever.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
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
#[allow(unsafe_code)] // Named corner (DESIGN 4): std offers no clock that counts suspend.
pub fn now() -> Timestamp {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a valid, writable timespec for the duration of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut spec) };
    assert!(failed == 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    Timestamp(spec.tv_sec.unsigned_abs() * 1_000_000_000 + spec.tv_nsec.unsigned_abs())
}
