//! What a transaction has read, and so must not have changed at its commit.
//!
//! Owns the keys that it looked at with the versions they had, and the ranges that its iterators walked. What always
//! holds: a range is what was really walked, from where an iterator was put to where it stands, not what it might have
//! visited; both ends of it count, so a key that appears in it is noticed. A range counts each key of the snapshot in it
//! once, however often it was walked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::command::OPERATION_OVERHEAD_BYTES;
use crate::core::digest::RangeDigest;
use crate::core::planted::{self, Fault};
use crate::core::ranges::{End, Ranges};
use crate::error::{Code, Conflict, Error, Result};
use crate::regions::KeyRange;
use crate::store::batch::Batch;
use crate::store::snapshot::prefix_end;
use crate::types::{KEY_BYTES_MAX, RANGE_BYTES_MAX, RANGE_KEYS_MAX, TRANSACTION_READS_MAX, Version};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    keys: BTreeMap<Bytes, Version>,
    walked: Ranges,
    /// What was walked last, which is not in `walked` yet: it grows with each step.
    stretch: Option<Stretch>,
    met: Met,
    /// What the conditions on keys take of a batch.
    bytes: usize,
}

/// From a key to another, or without an end.
#[derive(Debug)]
struct Stretch {
    begin: Vec<u8>,
    end: Option<Vec<u8>>,
}

/// The keys of the snapshot in the ranges.
#[derive(Debug, Default)]
struct Met {
    keys: usize,
    bytes: usize,
}

impl Reads {
    /// The transaction was shown `key`, which has this version in its snapshot, or none.
    ///
    /// # Errors
    /// `TOO_LARGE` when it has read as much as a transaction may.
    pub(crate) fn saw(&mut self, key: &[u8], version: Version) -> Result<()> {
        if self.keys.contains_key(key) || self.has_walked(key) {
            return Ok(());
        }
        self.make_room()?;
        self.bytes += key.len() + size_of::<Version>() + OPERATION_OVERHEAD_BYTES;
        self.keys.insert(Bytes::copy_from_slice(key), version);
        Ok(())
    }

    /// An iterator passes a key of the snapshot, and a value of this size. To be told before what it walks.
    ///
    /// # Errors
    /// `TOO_LARGE` when iterators have passed as much as a transaction may. It cannot be committed then.
    pub(crate) fn meets(&mut self, key: &[u8], value_bytes: usize) -> Result<()> {
        if !self.has_walked(key) {
            self.met.keys += 1;
            self.met.bytes += key.len() + value_bytes;
        }
        if self.met.keys > RANGE_KEYS_MAX || self.met.bytes > RANGE_BYTES_MAX {
            return Err(Error::with_detail(
                Code::TooLarge,
                "the transaction has iterated over more than 65,536 keys or 64 MiB, which is the limit; exempt reads that \
                 need not hold at the commit",
            ));
        }
        Ok(())
    }

    /// An iterator has walked from `begin` to `end`, or to the end of all keys.
    ///
    /// # Errors
    /// As [`Reads::saw`].
    pub(crate) fn walks(&mut self, begin: &[u8], end: Option<&[u8]>) -> Result<()> {
        // Bounds may be longer than any key.
        let Some(begin) = possible(begin) else { return Ok(()) };
        let end = end.and_then(possible);
        let (begin, end) = (&*begin, end.as_deref());
        if end.is_some_and(|end| begin >= end) || planted::has(Fault::WalksForgotten) {
            return Ok(());
        }
        if let Some(stretch) = self.stretch.as_mut().filter(|stretch| stretch.touches(begin, end)) {
            stretch.grow(begin, end);
            return Ok(());
        }
        self.settle();
        self.make_room()?;
        self.stretch = Some(Stretch { begin: begin.to_vec(), end: end.map(<[u8]>::to_vec) });
        Ok(())
    }

    fn has_walked(&self, key: &[u8]) -> bool {
        self.stretch.as_ref().is_some_and(|stretch| stretch.has(key)) || self.walked.around(key).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.walked.iter().len() == 0 && self.stretch.is_none()
    }

    /// So many bytes of a batch, without ranges.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds conditions to an empty `batch`: all is still as it was in the snapshot, of which `digest` computes what a range
    /// looked like. Returns what each is about, in order.
    ///
    /// # Errors
    /// What `digest` returns, and as [`Batch::if_range`].
    pub(crate) fn add_to(
        &mut self,
        batch: &mut Batch,
        digest: impl Fn(&[u8], &[u8]) -> Result<RangeDigest>,
    ) -> Result<Vec<Conflict>> {
        assert!(batch.is_empty(), "the number of an operation is its place among the conditions");
        self.settle();
        let mut subjects = Vec::new();
        for (key, version) in self.keys.iter().filter(|(key, _)| self.walked.around(key).is_none()) {
            batch.if_version(key, *version)?;
            subjects.push(Conflict::Key(key.clone()));
        }
        for (begin, End(end)) in self.walked.iter() {
            batch.if_range(begin, end, &digest(begin, end)?)?;
            subjects.push(Conflict::Range(KeyRange { start: begin.to_vec(), end: end.to_vec() }));
        }
        Ok(subjects)
    }

    /// Whether a change of `key` is noticed.
    #[cfg(test)]
    pub(crate) fn has(&mut self, key: &[u8]) -> bool {
        self.settle();
        self.keys.contains_key(key) || self.walked.around(key).is_some()
    }

    /// Makes sure that there may be one more key or range.
    fn make_room(&mut self) -> Result<()> {
        let ranges = self.walked.iter().len() + usize::from(self.stretch.is_some());
        if self.keys.len() + ranges < TRANSACTION_READS_MAX {
            return Ok(());
        }
        let detail = format!(
            "the transaction has read {TRANSACTION_READS_MAX} keys and ranges one by one, which is the limit; iterate over \
             keys that are neighbours, or exempt reads that need not hold at the commit"
        );
        Err(Error::with_detail(Code::TooLarge, detail))
    }

    /// Puts the last stretch to the others.
    fn settle(&mut self) {
        if let Some(Stretch { begin, end }) = self.stretch.take() {
            self.walked.add(begin.into(), End(end.unwrap_or_default().into()), |_| {});
        }
    }
}

impl Stretch {
    fn has(&self, key: &[u8]) -> bool {
        *self.begin <= *key && self.end.as_deref().is_none_or(|end| key < end)
    }

    fn touches(&self, begin: &[u8], end: Option<&[u8]>) -> bool {
        self.end.as_deref().is_none_or(|own| begin <= own) && end.is_none_or(|end| *self.begin <= *end)
    }

    fn grow(&mut self, begin: &[u8], end: Option<&[u8]>) {
        if *begin < *self.begin {
            replace(&mut self.begin, begin);
        }
        match (&mut self.end, end) {
            (Some(own), Some(end)) if **own < *end => replace(own, end),
            (own, None) => *own = None,
            _ => {}
        }
    }
}

/// The first key that may be at this bound or behind it: itself, or if it is longer than any key, the first that is not
/// among those that begin as it does. None when no key is.
fn possible(bound: &[u8]) -> Option<Cow<'_, [u8]>> {
    match bound.get(..=KEY_BYTES_MAX) {
        None => Some(Cow::Borrowed(bound)),
        Some(longer) => prefix_end(&longer[..KEY_BYTES_MAX]).map(Cow::Owned),
    }
}

/// Keeps the memory.
fn replace(own: &mut Vec<u8>, other: &[u8]) {
    own.clear();
    own.extend_from_slice(other);
}
