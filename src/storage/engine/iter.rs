//! Iterating over a view's keys in order.
//!
//! Owns [`Iter`] and its bounds. What always holds: an iterator never leaves its bounds and shows exactly its
//! view; an error ends it and is kept for [`Iter::status`]. A reverse iterator is the mirror image of a forward
//! one: "first", "next" and the like refer to *the iterator's* order, so the same code works with both.

use std::fmt;

use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions};
use self_cell::self_cell;

use super::errors;
use super::view::View;
use crate::error::Result;

/// Which keys an iterator visits, and how it reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IterOptions {
    /// The smallest key visited; none means unbounded.
    pub lower: Option<Vec<u8>>,
    /// The exclusive upper bound; none, and in a snapshot an empty one, means unbounded.
    pub upper: Option<Vec<u8>>,
    /// Iterates from the largest key down to the smallest.
    pub reverse: bool,
    /// Bytes of read-ahead; 0 lets it grow with the length of the iteration.
    pub readahead_bytes: usize,
    /// For scans of much data: does not fill the block cache.
    pub bypass_cache: bool,
}

impl IterOptions {
    /// Visits exactly the keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { lower: Some(prefix.to_vec()), upper: prefix_end(prefix), ..Self::default() }
    }

    fn into_read_options(self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(lower) = self.lower {
            options.set_iterate_lower_bound(lower);
        }
        if let Some(upper) = self.upper {
            options.set_iterate_upper_bound(upper);
        }
        options.set_readahead_size(self.readahead_bytes);
        options.fill_cache(!self.bypass_cache);
        options
    }
}

/// The smallest key that is larger than every key that begins with `prefix`; none when there is no such key,
/// because the prefix is empty or all 0xff.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Positioned at one key of a view, or at none. It may move between threads, but only one may use it at a time.
pub struct Iter {
    cell: IterCell,
    reverse: bool,
}

type RawIter<'a> = DBRawIteratorWithThreadMode<'a, DB>;

self_cell!(
    struct IterCell {
        owner: View,
        #[covariant]
        dependent: RawIter,
    }
);

impl Iter {
    pub(super) fn new(view: View, options: IterOptions) -> Self {
        let reverse = options.reverse;
        let cell = IterCell::new(view, |view| view.snapshot().raw_iterator_opt(options.into_read_options()));
        Self { cell, reverse }
    }

    /// Moves to the first key: the smallest, or in reverse the largest.
    pub fn seek_to_first(&mut self) {
        self.change(|raw, reverse| if reverse { raw.seek_to_last() } else { raw.seek_to_first() });
    }

    /// Moves to the last key: the largest, or in reverse the smallest.
    pub fn seek_to_last(&mut self) {
        self.change(|raw, reverse| if reverse { raw.seek_to_first() } else { raw.seek_to_last() });
    }

    /// Moves to `key`, or if it does not exist to the next one in the iterator's order. A key outside the bounds is
    /// treated as the nearest bound.
    pub fn seek(&mut self, key: &[u8]) {
        self.change(|raw, reverse| if reverse { raw.seek_for_prev(key) } else { raw.seek(key) });
    }

    /// Moves to `key`, or if it does not exist to the one before it in the iterator's order.
    pub fn seek_for_prev(&mut self, key: &[u8]) {
        self.change(|raw, reverse| if reverse { raw.seek(key) } else { raw.seek_for_prev(key) });
    }

    /// Moves to the next key; after the last one the iterator is at none, where it stays.
    // Not `Iterator::next`: the items borrow from the iterator.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) {
        self.change(|raw, reverse| if reverse { raw.prev() } else { raw.next() });
    }

    /// Moves to the previous key; before the first one the iterator is at none, where it stays.
    pub fn prev(&mut self) {
        self.change(|raw, reverse| if reverse { raw.next() } else { raw.prev() });
    }

    /// True when the iterator is at a key.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.cell.borrow_dependent().valid()
    }

    /// The current key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.cell.borrow_dependent().key()
    }

    /// The current value.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.cell.borrow_dependent().value()
    }

    /// The current key and value, cheaper than by two calls.
    #[must_use]
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        self.cell.borrow_dependent().item()
    }

    /// Whether an iterator at no key has reached an end or failed. Call it before relying on an iteration being
    /// complete.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn status(&self) -> Result<()> {
        self.cell.borrow_dependent().status().map_err(errors::failed)
    }

    fn change(&mut self, change: impl FnOnce(&mut RawIter<'_>, bool)) {
        let reverse = self.reverse;
        self.cell.with_dependent_mut(|_, raw| change(raw, reverse));
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("reverse", &self.reverse)
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}
