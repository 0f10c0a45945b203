//! Iterating over what a transaction sees.
//!
//! Owns [`TransactionIter`] and its direction: "first", "next" and the like refer to the iterator's order, as with an
//! [`Iter`]. What always holds: an error ends it and is kept for [`TransactionIter::status`]; it ends with its
//! transaction. The walk itself is left to the [`Merge`].

use std::fmt;
use std::sync::Arc;

use super::merge::{Merge, Source};
use super::{Common, Shared, over};
use crate::error::{Error, Result};
use crate::store::snapshot::Iter;
use crate::types::Version;

/// Positioned at one key of what a transaction sees, or at none. It may move between threads, but only one may use it at a
/// time.
///
/// It shows the writes that the transaction makes while it iterates, where it has not been yet; what it stands on stays
/// as it was when it came there. So the current key may be removed, and the iteration goes on.
pub struct TransactionIter {
    merge: Merge<Iter>,
    reverse: bool,
    common: Arc<Common>,
    failed: Option<Error>,
}

impl TransactionIter {
    pub(super) fn new(merge: Merge<Iter>, reverse: bool, common: Arc<Common>) -> Self {
        Self { merge, reverse, common, failed: None }
    }

    /// Moves to the first key: the smallest, or in reverse the largest.
    pub fn seek_to_first(&mut self) {
        self.go(if self.reverse { Merge::last } else { Merge::first });
    }

    /// Moves to the last key: the largest, or in reverse the smallest.
    pub fn seek_to_last(&mut self) {
        self.go(if self.reverse { Merge::first } else { Merge::last });
    }

    /// Moves to `key`, or if it does not exist to the next one in the iterator's order.
    pub fn seek(&mut self, key: &[u8]) {
        let reverse = self.reverse;
        self.go(|merge, shared| match reverse {
            true => merge.seek_for_prev(key, shared),
            false => merge.seek(key, shared),
        });
    }

    /// Moves to `key`, or if it does not exist to the one before it in the iterator's order.
    pub fn seek_for_prev(&mut self, key: &[u8]) {
        let reverse = self.reverse;
        self.go(|merge, shared| match reverse {
            true => merge.seek(key, shared),
            false => merge.seek_for_prev(key, shared),
        });
    }

    /// Moves to the next key; after the last one the iterator is at none, where it stays.
    // Not `Iterator::next`: the items borrow from the iterator.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) {
        self.step(if self.reverse { Merge::prev } else { Merge::next });
    }

    /// Moves to the previous key; before the first one the iterator is at none, where it stays.
    pub fn prev(&mut self) {
        self.step(if self.reverse { Merge::next } else { Merge::prev });
    }

    /// True when the iterator is at a key.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.item().is_some()
    }

    /// The current key and value.
    #[must_use]
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        self.merge.item().map(|(key, value, _)| (key, value))
    }

    /// The version of the current key; none for what the transaction has written itself, which gets one at the commit.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.merge.item()?.2
    }

    /// Whether an iterator at no key has reached an end or failed. Call it before relying on an iteration being complete.
    ///
    /// # Errors
    /// `TOO_LARGE` when the transaction has iterated over more than it may; `INVALID_ARGUMENT` when it is over; `IO` or
    /// `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn status(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn step(&mut self, step: fn(&mut Merge<Iter>, &mut Shared) -> Result<()>) {
        if self.failed.is_none() {
            self.go(step);
        }
    }

    fn go(&mut self, step: impl FnOnce(&mut Merge<Iter>, &mut Shared) -> Result<()>) {
        let mut shared = self.common.lock();
        let moved = if self.common.is_over() { Err(over()) } else { step(&mut self.merge, &mut shared) };
        if let Err(error) = &moved {
            self.merge.stop();
            shared.fail(error);
        }
        self.failed = moved.err();
    }
}

impl Source for Iter {
    fn seek(&mut self, key: &[u8]) {
        Iter::seek(self, key);
    }

    fn seek_for_prev(&mut self, key: &[u8]) {
        Iter::seek_for_prev(self, key);
    }

    fn seek_to_last(&mut self) {
        Iter::seek_to_last(self);
    }

    fn next(&mut self) {
        Iter::next(self);
    }

    fn prev(&mut self) {
        Iter::prev(self);
    }

    fn item(&self) -> Option<(&[u8], &[u8], Version)> {
        self.versioned_item()
    }

    fn status(&self) -> Result<()> {
        Iter::status(self)
    }
}

impl fmt::Debug for TransactionIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionIter")
            .field("reverse", &self.reverse)
            .field("key", &self.item().map(|(key, _)| key))
            .finish_non_exhaustive()
    }
}
