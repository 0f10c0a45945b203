//! Conditions of a batch, and operations that are computed where they are applied.
//!
//! Owns what [`Batch`] offers beyond plain writes. What always holds, as in [`batch`](super::batch): every operation is
//! within its limits, and a refusal leaves the batch unchanged. All conditions of a batch are judged on the state before
//! it, wherever they stand in it, in the order of the region's log; if one is false nothing of the batch is applied but
//! what stands behind [`Batch::otherwise`]. Judging them is the core's business (`core/judge`).

use super::batch::{Batch, check_key, check_value, too_large};
use crate::core::command::{Operation, VERSIONED_BYTES};
use crate::core::digest::RangeDigest;
use crate::error::{Code, Error, Result};
use crate::types::{KEY_BYTES_MAX, Version};

/// What a key must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// It must not exist.
    Absent,
    /// It must have this version: nobody has written it since it was seen.
    Version(Version),
    /// It must have this value, which somebody may have written again.
    Value(&'a [u8]),
}

impl Batch {
    /// The batch is applied only if `key` does not exist.
    ///
    /// # Errors
    /// `TOO_LARGE` as [`Batch::put`]; `INVALID_ARGUMENT` behind [`Batch::otherwise`].
    pub fn if_absent(&mut self, key: &[u8]) -> Result<()> {
        check_key(key)?;
        self.push_condition(Operation::IfAbsent { key }, key.len())
    }

    /// The batch is applied only if `key` exists.
    ///
    /// # Errors
    /// As [`Batch::if_absent`].
    pub fn if_present(&mut self, key: &[u8]) -> Result<()> {
        check_key(key)?;
        self.push_condition(Operation::IfPresent { key }, key.len())
    }

    /// The batch is applied only if `key` has this version; with [`Version::NONE`], if it does not exist.
    ///
    /// # Errors
    /// As [`Batch::if_absent`].
    pub fn if_version(&mut self, key: &[u8], version: Version) -> Result<()> {
        check_key(key)?;
        self.push_condition(Operation::IfVersion { key, version }, key.len() + size_of::<Version>())
    }

    /// The batch is applied only if `key` has this value.
    ///
    /// # Errors
    /// As [`Batch::if_absent`].
    pub fn if_value(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key)?;
        check_value(value)?;
        self.push_condition(Operation::IfValue { key, value }, key.len() + value.len())
    }

    /// The batch is applied only if the keys from `begin` to `end` are those that `seen` is the digest of, each with the
    /// version it had then. An empty `end` means up to the last key.
    ///
    /// # Errors
    /// As [`Batch::if_absent`]; `INVALID_ARGUMENT` too when `begin > end` and `end` is not empty. `TOO_LARGE` too when
    /// the ranges of the batch have more than 65,536 keys or 64 MiB together.
    pub fn if_range(&mut self, begin: &[u8], end: &[u8], seen: &RangeDigest) -> Result<()> {
        check_range(begin, end)?;
        let seen = seen.encode();
        let bytes = begin.len() + end.len() + seen.len();
        self.push_condition(Operation::IfRange { begin, end, seen: &seen }, bytes)
    }

    /// What is added from here on is applied instead, if a condition is false. The write succeeds then, and
    /// [`Reply::failed`](crate::Reply::failed) tells the condition.
    ///
    /// # Errors
    /// `TOO_LARGE` as [`Batch::put`]; `INVALID_ARGUMENT` the second time.
    pub fn otherwise(&mut self) -> Result<()> {
        self.push_condition(Operation::Otherwise, 0)
    }

    /// Adds `delta` to the value of `key`, a number of 8 bytes, little-endian; one that does not exist counts as 0. The
    /// result is the sum. With a value of another length, or a sum that does not fit, the batch is refused with
    /// `NOT_A_NUMBER`.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn add(&mut self, key: &[u8], delta: i64) -> Result<()> {
        check_key(key)?;
        self.push(Operation::Add { key, delta }, key.len() + size_of::<i64>())
    }

    /// Sets a new key to `value`: `prefix`, then the version of this write (8 bytes) and the number of this operation in
    /// the batch (2 bytes), both big-endian. So the keys under a prefix are in the order of their writes, and writers do
    /// not meet. The result is the key.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn put_versioned(&mut self, prefix: &[u8], value: &[u8]) -> Result<()> {
        let longest = KEY_BYTES_MAX - VERSIONED_BYTES;
        if prefix.len() > longest {
            return Err(too_large("prefix", prefix.len(), longest));
        }
        check_value(value)?;
        self.push(Operation::PutVersioned { prefix, value }, prefix.len() + value.len())
    }

    /// Removes `key`. The result is its value and version, or that it did not exist.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn pop(&mut self, key: &[u8]) -> Result<()> {
        check_key(key)?;
        self.push(Operation::Pop { key }, key.len())
    }

    /// Removes the first key from `begin` up to but not including `end`; an empty `end` means up to the last key. The
    /// result is that key with its value and version, or that there is none.
    ///
    /// # Errors
    /// As [`Batch::put`]; `INVALID_ARGUMENT` when `begin > end` and `end` is not empty.
    pub fn take_first(&mut self, begin: &[u8], end: &[u8]) -> Result<()> {
        check_range(begin, end)?;
        self.push(Operation::TakeFirst { begin, end }, begin.len() + end.len())
    }

    /// Sets `key` to `value` if it is as `expected`: a condition, and a put.
    ///
    /// # Errors
    /// As [`Batch::if_absent`].
    pub fn compare_and_set(&mut self, key: &[u8], expected: Expected<'_>, value: &[u8]) -> Result<()> {
        self.all_or_none(|batch| {
            batch.if_as(key, expected)?;
            batch.put(key, value)
        })
    }

    /// Removes `key` if it is as `expected`: a condition, and a delete.
    ///
    /// # Errors
    /// As [`Batch::if_absent`].
    pub fn compare_and_delete(&mut self, key: &[u8], expected: Expected<'_>) -> Result<()> {
        self.all_or_none(|batch| {
            batch.if_as(key, expected)?;
            batch.delete(key)
        })
    }

    /// The batch is applied only if `key` is as `expected`.
    ///
    /// # Errors
    /// As [`Batch::if_absent`].
    pub fn if_as(&mut self, key: &[u8], expected: Expected<'_>) -> Result<()> {
        match expected {
            Expected::Absent => self.if_absent(key),
            Expected::Version(version) => self.if_version(key, version),
            Expected::Value(value) => self.if_value(key, value),
        }
    }

    fn push_condition(&mut self, operation: Operation<'_>, payload_bytes: usize) -> Result<()> {
        if self.has_otherwise() {
            let detail = "behind `otherwise` there are no conditions, and no second `otherwise`";
            return Err(Error::with_detail(Code::InvalidArgument, detail));
        }
        self.push(operation, payload_bytes)
    }
}

pub(super) fn check_range(begin: &[u8], end: &[u8]) -> Result<()> {
    check_key(begin)?;
    check_key(end)?;
    if begin > end && !end.is_empty() {
        return Err(Error::with_detail(Code::InvalidArgument, "range: begin is after end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_stand_before_the_other_list() {
        let mut batch = Batch::new();
        batch.if_absent(b"k").expect("small");
        batch.put(b"k", b"v").expect("small");
        batch.otherwise().expect("the first");
        batch.put(b"l", b"w").expect("small");
        let (len, bytes) = (batch.len(), batch.encoded_bytes());

        let late = batch.if_present(b"k").expect_err("too late");
        let second = batch.otherwise().expect_err("the second");

        assert_eq!((late.code(), second.code()), (Code::InvalidArgument, Code::InvalidArgument));
        assert_eq!((batch.len(), batch.encoded_bytes()), (len, bytes));
    }

    #[test]
    fn what_a_batch_may_look_at_is_bounded() {
        let seen = |keys, bytes| RangeDigest { digest: [0; 16], keys, bytes };
        let mut batch = Batch::new();

        batch.if_range(b"a", b"b", &seen(65_536, 0)).expect("exactly as many");
        let more = batch.if_range(b"b", b"c", &seen(1, 0)).expect_err("one more");
        let too_long = Batch::new().put_versioned(&[0; KEY_BYTES_MAX - VERSIONED_BYTES + 1], b"");

        assert_eq!((more.code(), batch.len()), (Code::TooLarge, 1));
        assert_eq!(too_long.expect_err("one past").code(), Code::TooLarge);
        let reversed = Batch::new().take_first(b"b", b"a").expect_err("reversed");
        assert_eq!(reversed.code(), Code::InvalidArgument);
    }
}
