//! How many calls there were, and how they ended.
//!
//! Owns a counter for each type of call and each code. What always holds: a call is counted once, when its answer is
//! there or it is refused; counting takes no lock, and threads that count at the same time rarely touch the same cache
//! line, because a read under a lease is so cheap that they would slow each other down. Who counts is left to the
//! store.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{CODES, Code};

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallType {
    /// A batch, or one operation.
    Write,
    /// A linearizable get or snapshot.
    Read,
    /// A local one.
    LocalRead,
    /// A handover of leadership.
    Transfer,
    /// Changes of the members.
    Members,
}

/// Every type, in the order of their numbers, with its label.
const TYPES: [(CallType, &str); 5] = [
    (CallType::Write, "write"),
    (CallType::Read, "read"),
    (CallType::LocalRead, "local_read"),
    (CallType::Transfer, "transfer"),
    (CallType::Members, "members"),
];

/// As many threads count without meeting. More share; each stripe is one cache line.
const STRIPES: usize = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Calls {
    succeeded: [Stripe; STRIPES],
    failed: [[AtomicU64; CODES.len()]; TYPES.len()],
}

/// The successful calls that some threads counted, by type.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe([AtomicU64; TYPES.len()]);

impl Default for Calls {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { succeeded: Default::default(), failed: std::array::from_fn(|_| zeros()) }
    }
}

impl Calls {
    /// Counts a call that ended well, or with `error`.
    pub(crate) fn count(&self, call: CallType, error: Option<Code>) {
        let counter = match error {
            None => &self.succeeded[stripe_of_thread()].0[call as usize],
            Some(code) => {
                let row = CODES.iter().position(|row| row.0 == code).expect("the table has every code");
                &self.failed[call as usize][row]
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Type, code and number of calls: those that succeeded of each type, and of the errors those that occurred.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        TYPES.iter().flat_map(move |&(call, label)| {
            let of_stripe = |stripe: &Stripe| stripe.0[call as usize].load(Ordering::Relaxed);
            let succeeded = (label, "OK", self.succeeded.iter().map(of_stripe).sum());
            let counters = CODES.iter().zip(&self.failed[call as usize]);
            let failed = counters.map(move |(row, counter)| (label, row.2, counter.load(Ordering::Relaxed)));
            std::iter::once(succeeded).chain(failed.filter(|(.., count)| *count > 0))
        })
    }
}

/// Threads take the stripes in turn, each at its first call.
fn stripe_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.with(|stripe| *stripe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_types_are_their_places() {
        assert!(TYPES.iter().enumerate().all(|(place, (call, _))| *call as usize == place));
    }

    #[test]
    fn calls_of_more_threads_than_stripes_add_up() {
        let calls = Calls::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    calls.count(CallType::Read, None);
                    calls.count(CallType::Write, Some(Code::Overloaded));
                });
            }
        });

        let both = 2 * STRIPES as u64;
        let expected = [
            ("write", "OK", 0),
            ("write", "OVERLOADED", both),
            ("read", "OK", both),
            ("local_read", "OK", 0),
            ("transfer", "OK", 0),
            ("members", "OK", 0),
        ];
        assert_eq!(calls.rows().collect::<Vec<_>>(), expected);
    }
}
