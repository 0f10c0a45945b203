//! Running a function again until its transaction commits.
//!
//! Owns the pauses in between. What always holds: only `CONFLICT` is tried again, which is certainly not applied, so a
//! function that returns with success took effect once; no snapshot is held during a pause.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::{Transaction, TransactionOptions};
use crate::completion::Reply;
use crate::error::{Code, Error, Result};
use crate::store::snapshot::Level;
use crate::store::{Store, WriteOptions};
use crate::time::{Timestamp, now};

/// The first pause, at most.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Any pause, at most.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What came of one try.
pub(crate) enum Tried<T> {
    /// It is over, with success or without.
    Over(Result<T>),
    /// Another write came first.
    Conflict(Error),
}

impl<T> Tried<T> {
    /// What a commit came to, of a body that returned this.
    pub(crate) fn of(committed: Result<Reply>, returned: T) -> Self {
        match committed {
            Err(error) if error.code() == Code::Conflict => Self::Conflict(error),
            committed => Self::Over(committed.map(|_| returned)),
        }
    }
}

/// Commits in the time that is left.
///
/// # Errors
/// As [`Transaction::commit`]; `DEADLINE_BEFORE_START` when none is.
pub(crate) fn commit_before(transaction: Transaction, deadline: Timestamp) -> Result<Reply> {
    let left = deadline.since(now());
    if left.is_zero() {
        return Err(Error::new(Code::DeadlineBeforeStart));
    }
    transaction.commit(&WriteOptions { timeout: Some(left) })
}

impl Store {
    /// Runs `body` in a transaction and commits it, again and again until nothing that it has read was changed meanwhile,
    /// with random pauses of up to 100 ms that grow. Returns what `body` returned the last time. Only the first try sees what
    /// [`Level::Local`] shows; a second one needs to know what it met.
    ///
    /// What `body` does beside its transaction happens each time, so it should do nothing else. When it fails, nothing is
    /// applied, and its error is returned.
    ///
    /// # Errors
    /// `CONFLICT` when the time is up: certainly not applied. Category 4 when the outcome of a commit is unknown: it is not
    /// tried again. Else as [`Store::begin`] and [`Transaction::commit`], and what `body` returns.
    pub fn transact<T>(
        &self,
        options: &TransactionOptions,
        mut body: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        self.transact_until_over(options, |mut transaction, deadline| match body(&mut transaction) {
            Ok(returned) => Tried::of(commit_before(transaction, deadline), returned),
            Err(error) => Tried::Over(Err(error)),
        })
    }

    /// As [`Store::transact`], for a body that commits its transaction itself, before the deadline.
    pub(crate) fn transact_until_over<T>(
        &self,
        options: &TransactionOptions,
        mut attempt: impl FnMut(Transaction, Timestamp) -> Tried<T>,
    ) -> Result<T> {
        let deadline = now() + options.timeout.unwrap_or(self.inner.timeouts.write);
        let mut pause = PAUSE_MIN;
        let mut tries = 0_u64;
        let mut options = options.clone();
        loop {
            tries += 1;
            let began = now();
            let begin = TransactionOptions { timeout: Some(deadline.since(now())), ..options.clone() };
            let transaction = self.begin(&begin)?;
            let conflict = match attempt(transaction, deadline) {
                Tried::Over(outcome) => return outcome,
                Tried::Conflict(error) => error,
            };
            let wait = part_of(pause);
            // The next one takes as long, and with less it would end in the middle, where nobody knows its outcome.
            let took = now().since(began);
            if now() + wait + took >= deadline {
                return Err(after(conflict, tries));
            }
            std::thread::sleep(wait);
            pause = (pause * 2).min(PAUSE_MAX);
            // This member lags behind what it met.
            options.level = Level::Linearizable;
        }
    }
}

fn after(conflict: Error, tries: u64) -> Error {
    conflict.and(&format!("it was tried {tries} times before the deadline"))
}

/// Half of `pause` to all of it: those who met should not meet again.
fn part_of(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let half = pause.as_micros() as u64 / 2;
    Duration::from_micros(half + random % (half + 1))
}
