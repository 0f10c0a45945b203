//! How fast raft snapshots are sent.
//!
//! Owns the limit on bytes per second, which all sendings of a member share, and how much is written at once. No lock
//! and no clock: time is an argument. What always holds: whoever keeps to what [`Pace::take`] says writes, in any span of
//! time, at most the limit times that span and one slice; nothing is saved up while nothing is sent; and those that take
//! in turn get equal shares. Waiting is left to the callers.

use std::time::Duration;

use crate::time::Timestamp;

/// Written at once without a limit, and at most with one. Messages to the same member wait at its link behind no more
/// than this: half a millisecond at 1 Gbit/s.
const SLICE_BYTES_MAX: u64 = 64 << 10;

/// With a limit, so many slices are written in a second at least, so that the bytes come evenly: no other traffic of the
/// link is delayed for long, and a receiver at a low limit is never left without a sign of life.
const SLICES_PER_SECOND: u64 = 20;

/// See the head of this file.
pub(super) struct Pace {
    /// 0 for no limit.
    bytes_per_second: u64,
    /// When all that was taken so far has had its time.
    free_at: Timestamp,
}

impl Pace {
    /// A limit of so many bytes per second; 0 for none.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free_at: Timestamp::default() }
    }

    /// How many bytes to take and write at once, at most.
    pub(super) fn slice_bytes(&self) -> usize {
        let evenly = match self.bytes_per_second {
            0 => SLICE_BYTES_MAX,
            limit => (limit / SLICES_PER_SECOND).clamp(1, SLICE_BYTES_MAX),
        };
        usize::try_from(evenly).expect("a slice is short")
    }

    /// Takes a slice of so many bytes. It may be written after this long.
    pub(super) fn take(&mut self, now: Timestamp, bytes: usize) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let begins = self.free_at.max(now);
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.free_at = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        begins.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Two sendings that write as fast as they may, for so many seconds from `begun` on. Returns when each slice was
    /// written, by whom, and its length.
    fn written(pace: &mut Pace, begun: u64, seconds: u64) -> Vec<(u64, usize, usize)> {
        let mut nows = [begun; 2];
        let mut all = Vec::new();
        while let Some(who) =
            (0..2).filter(|who| nows[*who] < begun + seconds * SECOND).min_by_key(|who| nows[*who])
        {
            let bytes = pace.slice_bytes();
            let wait = pace.take(Timestamp(nows[who]), bytes);
            nows[who] += u64::try_from(wait.as_nanos()).expect("short");
            all.push((nows[who], who, bytes));
            // Writing takes a moment, or a sending would never let go.
            nows[who] += 1;
        }
        all
    }

    #[test]
    fn no_span_of_time_has_more_than_the_limit_and_a_slice() {
        for limit in [1_000, 777_777, 50 << 20] {
            let mut pace = Pace::new(limit);
            let mut all = written(&mut pace, 5 * SECOND, 3);
            // After a rest of an hour nothing more is written than before.
            all.extend(written(&mut pace, 3_600 * SECOND, 3));
            all.sort_unstable();

            let slice = pace.slice_bytes() as u64;
            for from in 0..all.len().min(400) {
                let mut sum = 0;
                for (at, _, bytes) in &all[from..] {
                    sum += *bytes as u64;
                    let span = u128::from(at - all[from].0);
                    let allowed = u128::from(limit) * span / u128::from(SECOND) + u128::from(slice) + 1;
                    assert!(u128::from(sum) <= allowed, "{sum} bytes in {span} ns at {limit} a second");
                }
            }
            let total: u64 = all.iter().map(|(_, _, bytes)| *bytes as u64).sum();
            assert!(total >= 6 * limit - 2 * slice, "the limit is used: {total} at {limit}");
            let first: u64 =
                all.iter().filter(|(_, who, _)| *who == 0).map(|(_, _, bytes)| *bytes as u64).sum();
            assert!(first.abs_diff(total - first) <= 4 * slice, "{first} of {total} for one of two");
        }
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut pace = Pace::new(0);

        assert_eq!(pace.slice_bytes(), 64 << 10);
        assert!((0..1000).all(|_| pace.take(Timestamp(7), usize::MAX).is_zero()));
    }

    #[test]
    fn a_low_limit_has_short_slices() {
        assert_eq!(Pace::new(20_000).slice_bytes(), 1_000);
        assert_eq!(Pace::new(3).slice_bytes(), 1);
        assert_eq!(Pace::new(1).take(Timestamp(1), usize::MAX), Duration::ZERO, "no overflow");
    }
}
