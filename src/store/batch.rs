//! An atomic list of operations.
//!
//! Owns the caller's view of the encoding. What always holds: every operation in a batch is within its limits, so a
//! write is never refused for its size after it was accepted. Encoding happens here, once, on the caller's thread.
//! Which region a batch goes to is left to [`routing`](super::routing).

use bytes::Bytes;

use crate::core::command::{CommandBuilder, OPERATION_OVERHEAD_BYTES, Operation, Weight};
use crate::error::{Code, Error, Result};
use crate::types::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// The end of a range without an end: longer than any key may be, and larger than all of them. It is part of the
/// encoding, so beyond this point every range has an end, and it counts towards the batch size.
pub(super) static BEHIND_ALL_KEYS: [u8; KEY_BYTES_MAX + 1] = [0xff; KEY_BYTES_MAX + 1];

/// Operations that are applied together or not at all, in the order in which they were added. It has a single owner
/// and may move between threads.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    builder: CommandBuilder,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// `TOO_LARGE` when the key, the value or the batch would exceed its limit, for a batch in bytes or in
    /// operations; the batch is then unchanged.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key)?;
        check_value(value)?;
        self.push(Operation::Put { key, value }, key.len() + value.len())
    }

    /// Removes `key`; removing a key that does not exist is not an error.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        check_key(key)?;
        self.push(Operation::Delete { key }, key.len())
    }

    /// Removes every key from `begin` up to but not including `end`. An empty `end` means up to the last key; it
    /// takes up 16 KiB of the batch.
    ///
    /// # Errors
    /// As [`Batch::put`]; `INVALID_ARGUMENT` when `begin > end` and `end` is not empty.
    pub fn delete_range(&mut self, begin: &[u8], end: &[u8]) -> Result<()> {
        check_key(begin)?;
        check_key(end)?;
        let end = if end.is_empty() { &BEHIND_ALL_KEYS } else { end };
        if begin > end {
            return Err(Error::with_detail(Code::InvalidArgument, "delete_range: begin is after end"));
        }
        self.push(Operation::DeleteRange { begin, end }, begin.len() + end.len())
    }

    /// Applies all changes made by `change`, or none if it fails.
    ///
    /// # Errors
    /// What `change` returns.
    pub fn all_or_none(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mark = self.builder.mark();
        change(self).inspect_err(|_| self.builder.truncate(mark))
    }

    /// Removes all operations.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Number of operations in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.builder.operations() as usize
    }

    /// True when the batch holds no operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the encoding so far, in bytes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.builder.encoded_bytes()
    }

    /// The entry data that carries this batch.
    pub(crate) fn seal(self, epoch_version: u64) -> Bytes {
        self.builder.seal(epoch_version)
    }

    /// The batch that was sealed into `data`.
    pub(crate) fn unseal(data: Bytes) -> Self {
        Self { builder: CommandBuilder::reopen(data) }
    }

    /// The operations so far.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn operations(&self) -> crate::core::command::Write {
        let data = self.clone().seal(1);
        match crate::core::command::Command::parse(data) {
            Ok(crate::core::command::Command::Write(write)) => write,
            other => unreachable!("a batch is a write, not {other:?}"),
        }
    }

    pub(super) fn has_otherwise(&self) -> bool {
        self.builder.has_otherwise()
    }

    pub(super) fn push(&mut self, operation: Operation<'_>, payload_bytes: usize) -> Result<()> {
        let after = self.encoded_bytes() + payload_bytes + OPERATION_OVERHEAD_BYTES;
        if after > BATCH_BYTES_MAX {
            return Err(too_large("batch", after, BATCH_BYTES_MAX));
        }
        if self.len() >= BATCH_OPERATIONS_MAX {
            let detail = format!(
                "the batch has {BATCH_OPERATIONS_MAX} operations, which is the limit; write it and go on with another"
            );
            return Err(Error::with_detail(Code::TooLarge, detail));
        }
        if !self.builder.weight().plus(Weight::of(operation)).fits_an_entry() {
            let detail = "the conditions and computed operations of the batch look at more than one write may: 4,096 keys, \
                          and 65,536 keys or 64 MiB in ranges";
            return Err(Error::with_detail(Code::TooLarge, detail));
        }
        self.builder.push(operation);
        Ok(())
    }
}

pub(super) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(too_large("key", key.len(), KEY_BYTES_MAX));
    }
    Ok(())
}

pub(super) fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(too_large("value", value.len(), VALUE_BYTES_MAX));
    }
    Ok(())
}

pub(super) fn too_large(what: &str, bytes: usize, limit: usize) -> Error {
    Error::with_detail(Code::TooLarge, format!("the {what} has {bytes} bytes, the limit is {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_exact_and_a_refusal_leaves_the_batch_unchanged() {
        let mut batch = Batch::new();

        assert!(batch.put(&vec![0; KEY_BYTES_MAX], &[]).is_ok());
        assert!(batch.put(&[], &vec![0; VALUE_BYTES_MAX]).is_ok());
        let error = batch.put(&vec![0; KEY_BYTES_MAX + 1], &[]).expect_err("one past");
        assert_eq!(error.code(), Code::TooLarge);
        assert!(batch.put(&[], &vec![0; VALUE_BYTES_MAX + 1]).is_err());
        assert!(batch.put(b"k", &[0; 64 * 1024]).is_err());

        assert_eq!(batch.len(), 2);
        assert!(batch.encoded_bytes() <= BATCH_BYTES_MAX);
    }

    #[test]
    fn the_number_of_operations_in_a_batch_is_limited() {
        let mut batch = Batch::new();

        let error = (0..1 << 20).find_map(|_| batch.put(b"", b"").err()).expect("a bound");

        assert_eq!((error.code(), batch.len()), (Code::TooLarge, 65_536));
        assert!(error.detail().contains("65536 operations"), "{error}");
        let fills_up = batch.all_or_none(|batch| batch.delete(b"k"));
        assert_eq!((fills_up.is_err(), batch.len()), (true, 65_536));
        batch.clear();
        assert!(batch.put(b"", b"").is_ok());
    }

    #[test]
    fn a_change_that_fails_half_way_leaves_the_batch_unchanged() {
        let mut batch = Batch::new();
        batch.put(b"k", b"v").expect("small");
        let (len, bytes) = (batch.len(), batch.encoded_bytes());

        let failed = batch.all_or_none(|batch| {
            batch.put(b"l", b"w")?;
            batch.delete_range(b"b", b"a")
        });

        assert!(failed.is_err());
        assert_eq!((batch.len(), batch.encoded_bytes()), (len, bytes));
        assert!(batch.all_or_none(|batch| batch.delete(b"l")).is_ok());
        assert_eq!(batch.len(), len + 1);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let error = Batch::new().delete_range(b"b", b"a").expect_err("reversed");

        assert_eq!(error.code(), Code::InvalidArgument);
    }
}
