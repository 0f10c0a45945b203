//! Calls that judge or compute, and change, one key.
//!
//! Owns a call for each thing that a batch of one or two operations does most often; larger ones are built with
//! [`Batch`]. What always holds: each takes effect at one place of the region's log, once, on every member alike.

use bytes::Bytes;

use super::batch::Batch;
use super::conditions::Expected;
use super::{Store, WriteOptions};
use crate::completion::Reply;
use crate::effects::OpResult;
use crate::error::Result;
use crate::metrics::CallType;
use crate::types::Version;

/// A key that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The key.
    pub key: Bytes,
    /// The value it had.
    pub value: Bytes,
    /// The version it had.
    pub version: Version,
}

impl Store {
    /// Sets `key` to `value` if it does not exist, and waits for it.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it exists: [`Error::precondition`](crate::Error::precondition) tells its version. Else as
    /// [`Store::put`].
    pub fn put_if_absent(&self, key: &[u8], value: &[u8], options: &WriteOptions) -> Result<Reply> {
        self.compare_and_set(key, Expected::Absent, value, options)
    }

    /// Sets `key` to `value` if it is as `expected`, and waits for it.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is not: [`Error::precondition`](crate::Error::precondition) tells whether it exists, and
    /// its version. Else as [`Store::put`].
    pub fn compare_and_set(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        value: &[u8],
        options: &WriteOptions,
    ) -> Result<Reply> {
        self.write_one(options, |batch| batch.compare_and_set(key, expected, value))
    }

    /// Removes `key` if it is as `expected`, and waits for it.
    ///
    /// # Errors
    /// As [`Store::compare_and_set`].
    pub fn compare_and_delete(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        options: &WriteOptions,
    ) -> Result<Reply> {
        self.write_one(options, |batch| batch.compare_and_delete(key, expected))
    }

    /// Removes `key`, waits for it, and returns what it was; none if it did not exist.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn pop(&self, key: &[u8], options: &WriteOptions) -> Result<Option<Taken>> {
        self.write_one(options, |batch| batch.pop(key)).map(|reply| taken(&reply))
    }

    /// Removes the first key from `begin` up to but not including `end`, waits for it, and returns what it was; none if
    /// there is no key. An empty `end` means up to the last key; all of the range must belong to one region.
    ///
    /// Whoever takes a task so and ends before it is done loses it: a queue whose takers may fail moves it instead, with
    /// a batch.
    ///
    /// # Errors
    /// As [`Store::put`] and [`Batch::take_first`].
    pub fn take_first(&self, begin: &[u8], end: &[u8], options: &WriteOptions) -> Result<Option<Taken>> {
        self.write_one(options, |batch| batch.take_first(begin, end)).map(|reply| taken(&reply))
    }

    /// Adds `delta` to the number at `key`, waits for it, and returns the sum: see [`Batch::add`].
    ///
    /// An outcome that is unknown must not be tried again: it may be added twice.
    ///
    /// # Errors
    /// `NOT_A_NUMBER` when the value has another length than 8 bytes or the sum does not fit. Else as [`Store::put`].
    pub fn add(&self, key: &[u8], delta: i64, options: &WriteOptions) -> Result<i64> {
        let reply = self.write_one(options, |batch| batch.add(key, delta))?;
        match only(&reply) {
            OpResult::Sum(sum) => Ok(*sum),
            other => unreachable!("an addition has a sum, not {other:?}"),
        }
    }

    /// Sets a new key that begins with `prefix` to `value`, waits for it, and returns the key: see
    /// [`Batch::put_versioned`].
    ///
    /// # Errors
    /// As [`Store::put`] and [`Batch::put_versioned`].
    pub fn put_versioned(&self, prefix: &[u8], value: &[u8], options: &WriteOptions) -> Result<Bytes> {
        let reply = self.write_one(options, |batch| batch.put_versioned(prefix, value))?;
        match only(&reply) {
            OpResult::Key(key) => Ok(key.clone()),
            other => unreachable!("a new key is told, not {other:?}"),
        }
    }

    fn write_one(
        &self,
        options: &WriteOptions,
        build: impl FnOnce(&mut Batch) -> Result<()>,
    ) -> Result<Reply> {
        let mut batch = Batch::new();
        self.inner.counted_if_refused(CallType::Write, || build(&mut batch))?;
        self.write(&mut batch, options)
    }
}

/// The result of the only operation.
fn only(reply: &Reply) -> &OpResult {
    let [(0, result)] = reply.results() else { unreachable!("one operation has one result: {reply:?}") };
    result
}

fn taken(reply: &Reply) -> Option<Taken> {
    match only(reply) {
        OpResult::Value { key, value, version } => {
            Some(Taken { key: key.clone(), value: value.clone(), version: *version })
        }
        OpResult::Nothing => None,
        other => unreachable!("what was taken is told, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::error::{Code, Error};
    use crate::{Config, KeyRange, SnapshotOptions};

    const OPTIONS: WriteOptions = WriteOptions { timeout: None };

    /// A member alone, and its directory.
    fn open() -> (Store, TempDir) {
        let directory = tempfile::tempdir().expect("there is room");
        let store = Store::open(directory.path(), &Config::default()).expect("a directory of its own");
        store.wait_leader(Duration::from_secs(20)).expect("it is alone");
        (store, directory)
    }

    fn there(error: &Error) -> (Code, u32, Version) {
        let found = error.precondition().expect("a condition was false");
        assert_eq!(found.exists, found.version != Version::NONE);
        (error.code(), found.operation, found.version)
    }

    #[test]
    fn a_key_is_set_only_as_it_was_expected() {
        let (store, _directory) = open();

        let first = store.put_if_absent(b"k", b"1", &OPTIONS).expect("nobody set it");
        let second = store.put_if_absent(b"k", b"2", &OPTIONS).expect_err("somebody did");
        let seen = Expected::Version(first.version);
        let third = store.compare_and_set(b"k", seen, b"3", &OPTIONS).expect("as it was seen");
        let late = store.compare_and_set(b"k", seen, b"4", &OPTIONS).expect_err("it was written since");
        let by_value = store.compare_and_delete(b"k", Expected::Value(b"3"), &OPTIONS).expect("it is");
        let absent = store.compare_and_delete(b"k", Expected::Value(b"3"), &OPTIONS).expect_err("it was");

        assert_eq!(there(&second), (Code::PreconditionFailed, 0, first.version));
        assert_eq!(there(&late), (Code::PreconditionFailed, 0, third.version));
        assert_eq!(there(&absent), (Code::PreconditionFailed, 0, Version::NONE));
        assert!(first.version < third.version && third.version < by_value.version);
        assert!(store.get(b"k").expect("it leads").is_none());
    }

    #[test]
    fn what_is_computed_is_told() {
        let (store, _directory) = open();

        assert_eq!(store.add(b"n", 5, &OPTIONS).expect("nothing counts as 0"), 5);
        assert_eq!(store.add(b"n", -7, &OPTIONS).expect("a number"), -2);
        let full = store.add(b"n", i64::MIN, &OPTIONS).expect_err("it does not fit");
        assert_eq!(full.code(), Code::NotANumber);
        let keys = [b"one", b"two"].map(|task| store.put_versioned(b"q", task, &OPTIONS).expect("small"));
        assert!(keys[0] < keys[1] && keys[0].starts_with(b"q"));
        let version = store.get(&keys[0]).expect("it leads").expect("it was put").version();
        let taken = store.take_first(b"q", b"r", &OPTIONS).expect("there are two").expect("there are two");
        assert_eq!(taken, Taken { key: keys[0].clone(), value: Bytes::from("one"), version });
        let popped = store.pop(&keys[1], &OPTIONS).expect("small").expect("there is one");
        assert_eq!(popped.value, "two");
        assert_eq!(store.take_first(b"q", b"r", &OPTIONS).expect("it leads"), None);
        assert_eq!(store.pop(b"q", &OPTIONS).expect("it leads"), None);
    }

    #[test]
    fn the_other_list_is_applied_instead() {
        let (store, _directory) = open();
        let mut batch = Batch::new();
        batch.if_present(b"k").expect("small");
        batch.put(b"k", b"again").expect("small");
        batch.otherwise().expect("the first");
        batch.put(b"k", b"first").expect("small");
        batch.add(b"n", 1).expect("small");

        let reply = store.write(&mut batch.clone(), &OPTIONS).expect("it is applied either way");
        assert_eq!(reply.failed().map(|failed| failed.operation), Some(0));
        assert_eq!(reply.results(), [(4, OpResult::Sum(1))]);
        assert_eq!(store.get(b"k").expect("it leads").expect("put").as_ref(), b"first");

        let reply = store.write(&mut batch, &OPTIONS).expect("it is there now");
        assert_eq!((reply.failed(), reply.results()), (None, &[][..]));
        assert_eq!(store.get(b"k").expect("it leads").expect("put").as_ref(), b"again");
    }

    #[test]
    fn a_range_is_judged_as_a_snapshot_saw_it() {
        let (store, _directory) = open();
        store.put(b"r/a", b"1").expect("it leads");
        let snapshot = store.snapshot(&SnapshotOptions::default()).expect("it leads");
        let seen = snapshot.digest(b"r/", b"r0").expect("small");
        let mut batch = Batch::new();
        batch.if_range(b"r/", b"r0", &seen).expect("small");
        batch.put(b"r/b", b"2").expect("small");

        store.write(&mut batch.clone(), &OPTIONS).expect("as it was seen");
        let changed = store.write(&mut batch, &OPTIONS).expect_err("there is another key now");

        assert_eq!((seen.keys, seen.bytes), (1, 4));
        assert_eq!(changed.code(), Code::PreconditionFailed);
        let range = KeyRange { start: b"b".to_vec(), end: b"m".to_vec() };
        let part = SnapshotOptions { range, ..SnapshotOptions::default() };
        let part = store.snapshot(&part).expect("it leads");
        part.digest(b"b", b"m").expect("all of it");
        for (begin, end) in [(&b"a"[..], &b"c"[..]), (b"c", b"n"), (b"c", b""), (b"d", b"c")] {
            assert_eq!(part.digest(begin, end).expect_err("beyond").code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_range_with_more_keys_than_a_condition_may_look_at_has_no_digest() {
        let (store, _directory) = open();
        let mut batch = Batch::new();
        for number in 0..65_536_u32 {
            batch.put(&number.to_be_bytes(), b"").expect("as many as fit");
        }
        store.write(&mut batch, &OPTIONS).expect("it leads");

        let digest =
            |store: &Store| store.snapshot(&SnapshotOptions::default()).expect("it leads").digest(b"", b"");
        assert_eq!(digest(&store).expect("exactly as many").keys, 65_536);
        store.put(b"one more", b"").expect("it leads");
        assert_eq!(digest(&store).expect_err("one more").code(), Code::TooLarge);
    }

    #[test]
    fn a_refused_batch_changes_nothing_and_is_left_as_it_was() {
        let (store, _directory) = open();
        store.put(b"k", b"v").expect("it leads");
        let mut batch = Batch::new();
        batch.put(b"l", b"w").expect("small");
        batch.add(b"k", 1).expect("small");

        let refused = store.write(&mut batch, &OPTIONS).expect_err("not a number");

        assert_eq!((refused.code(), batch.len()), (Code::NotANumber, 2));
        assert!(store.get(b"l").expect("it leads").is_none());
    }
}
