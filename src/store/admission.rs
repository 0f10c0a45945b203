//! Limits how many calls may be unanswered at once.
//!
//! Owns the store's two limits on calls in flight. What always holds: an admitted call holds a permit until its
//! answer is delivered, so every queue it passes through, including the completion queue, is bounded by the number of
//! permits. A call answered early, by its deadline or cancellation, releases its slot at once; until the internal
//! threads drop it, it counts against separate limits of the same size for such calls. A call over a limit is refused
//! at once and never waits. Answering calls is left to the completions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Code, Error, Result};

/// See the module.
#[derive(Debug)]
pub(crate) struct Admission {
    used: Mutex<Used>,
    idle: Condvar,
    /// Calls whose answer is queued and not yet taken.
    queued: AtomicU64,
    /// A shutdown is waiting until all are answered.
    closing: AtomicBool,
    ops_max: u64,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Used {
    /// Unanswered.
    open: Load,
    /// Answered early, but not yet dropped by the internal threads.
    early: Load,
}

/// Calls, and the bytes they carry.
#[derive(Debug, Default)]
struct Load {
    ops: u64,
    bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.ops += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        self.ops -= 1;
        self.bytes -= bytes;
    }
}

/// One call's right to be unanswered. Dropping it frees its slot.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    bytes: u64,
    /// Its answer is queued and not yet taken.
    queued: AtomicBool,
    /// It was answered early.
    early: AtomicBool,
}

impl Admission {
    /// Limits on calls and on the bytes they carry.
    #[must_use]
    pub(crate) fn new(ops_max: u64, bytes_max: u64) -> Self {
        Self {
            used: Mutex::default(),
            idle: Condvar::new(),
            queued: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            ops_max,
            bytes_max,
        }
    }

    /// Admits a call that carries `bytes`.
    ///
    /// # Errors
    /// `OVERLOADED`, naming the limit.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit> {
        let bytes = bytes as u64;
        let mut used = self.lock();
        for (load, whose) in [(&used.open, ""), (&used.early, EARLY)] {
            if load.ops >= self.ops_max {
                return Err(overloaded("limits.in_flight_ops", self.ops_max, whose));
            }
            if load.bytes + bytes > self.bytes_max {
                return Err(overloaded("limits.in_flight_bytes", self.bytes_max, whose));
            }
        }
        used.open.add(bytes);
        drop(used);
        Ok(self.permit(bytes))
    }

    /// Admits a blocking read again that has given its permit back and has to go on. It was within the limits when it came,
    /// so it is not refused now; its thread makes no other call meanwhile, so few are beyond the limits.
    pub(crate) fn admit_again(self: &Arc<Self>) -> Permit {
        self.lock().open.add(0);
        self.permit(0)
    }

    fn permit(self: &Arc<Self>, bytes: u64) -> Permit {
        let not = || AtomicBool::new(false);
        Permit { admission: Arc::clone(self), bytes, queued: not(), early: not() }
    }

    /// Calls that are unanswered.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u64 {
        self.lock().open.ops
    }

    /// Waits until every call is answered, at most for `timeout`. A queued answer that was not taken yet counts.
    pub(crate) fn wait_idle(&self, timeout: Duration) {
        self.closing.store(true, Ordering::SeqCst);
        let open = |used: &mut Used| used.open.ops > self.queued.load(Ordering::SeqCst);
        let waited = self.idle.wait_timeout_while(self.lock(), timeout, open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn tell_if_closing(&self) {
        if self.closing.load(Ordering::SeqCst) {
            // Under the lock, so that no thread is between its check and its sleep.
            let _held = self.lock();
            self.idle.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The call's answer has been queued for its receiver.
    pub(crate) fn queue(&self) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.admission.queued.fetch_add(1, Ordering::SeqCst);
        }
        self.admission.tell_if_closing();
    }

    /// The call's answer has been delivered.
    pub(crate) fn answered(self: Arc<Self>) {
        self.unqueue();
        // Any other holder is an internal thread, and the caller need not wait until that is done.
        if Arc::strong_count(&self) > 1 && !self.early.swap(true, Ordering::SeqCst) {
            let mut used = self.admission.lock();
            used.open.remove(self.bytes);
            used.early.add(self.bytes);
            drop(used);
            self.admission.tell_if_closing();
        }
    }

    fn unqueue(&self) {
        if self.queued.swap(false, Ordering::SeqCst) {
            self.admission.queued.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The answer may have been dropped together with the queue it was in.
        self.unqueue();
        let mut used = self.admission.lock();
        let load = if *self.early.get_mut() { &mut used.early } else { &mut used.open };
        load.remove(self.bytes);
        drop(used);
        self.admission.tell_if_closing();
    }
}

/// Appended to the error if the limit on such calls is reached.
const EARLY: &str = " by calls that were cancelled or late and are under way yet";

fn overloaded(limit: &str, value: u64, whose: &str) -> Error {
    Error::with_detail(Code::Overloaded, format!("{limit} = {value} is reached{whose}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_beyond_a_limit_is_refused_until_a_permit_is_dropped() {
        let admission = Arc::new(Admission::new(2, 100));

        let first = admission.admit(60).expect("within both limits");
        assert!(admission.admit(41).expect_err("too many bytes").detail().contains("in_flight_bytes"));
        let _second = admission.admit(40).expect("exactly at the limit");
        assert!(admission.admit(0).expect_err("too many calls").detail().contains("in_flight_ops"));
        drop(first);

        assert!(admission.admit(0).is_ok());
        assert_eq!(admission.in_flight(), 1);
    }

    #[test]
    fn a_call_that_goes_on_is_not_refused_and_counts() {
        let admission = Arc::new(Admission::new(1, 100));
        let other = admission.admit(100).expect("within both limits");

        let again = admission.admit_again();
        assert_eq!(admission.in_flight(), 2);
        drop(other);

        assert!(admission.admit(0).is_err(), "it counts");
        drop(again);
        assert!(admission.admit(100).is_ok());
    }

    #[test]
    fn an_answer_dropped_before_it_is_taken_is_no_longer_queued() {
        let admission = Arc::new(Admission::new(2, 100));
        let abandoned = admission.admit(0).expect("within both limits");
        abandoned.queue();
        assert_eq!(admission.queued.load(Ordering::SeqCst), 1);

        drop(abandoned);

        assert_eq!(admission.queued.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_early_answer_frees_its_slot_and_counts_until_its_permit_is_dropped() {
        let admission = Arc::new(Admission::new(2, 100));
        let early: Vec<_> =
            (0..2).map(|_| Arc::new(admission.admit(10).expect("within both limits"))).collect();

        early.iter().for_each(|permit| Arc::clone(permit).answered());
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.admit(0).expect_err("two are under way").detail().contains("cancelled or late"));
        drop(early);

        let answered = Arc::new(admission.admit(100).expect("all is free"));
        answered.answered();
        assert!(admission.admit(100).is_ok(), "nobody else had it");
    }
}
