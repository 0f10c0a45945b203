//! Iterating over a view's keys in order.
//!
//! Owns [`Iter`] and its direction. What always holds: an iterator never leaves its bounds and shows exactly its
//! view; an error ends it and is kept for [`Iter::status`]. A reverse iterator is the mirror image of a forward
//! one: "first", "next" and the like refer to *the iterator's* order, so the same code works with both. How it finds the
//! keys, and skips what was deleted, is left to the [`Cursor`].

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cursor::Cursor;
use super::view::View;
use super::{errors, trailer, unversioned};
use crate::error::Result;
use crate::types::Version;

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
    cursor: Cursor,
    reverse: bool,
    has_floors: bool,
    /// The value at the current key was looked at and has no version, which ends the iteration.
    is_damaged: AtomicBool,
}

impl Iter {
    pub(super) fn new(view: View, options: IterOptions) -> Self {
        let (reverse, has_floors) = (options.reverse, view.has_floors());
        Self { cursor: Cursor::new(view, options), reverse, has_floors, is_damaged: AtomicBool::new(false) }
    }

    /// Moves to the first key: the smallest, or in reverse the largest.
    pub fn seek_to_first(&mut self) {
        *self.is_damaged.get_mut() = false;
        if self.reverse { self.cursor.last() } else { self.cursor.first() }
    }

    /// Moves to the last key: the largest, or in reverse the smallest.
    pub fn seek_to_last(&mut self) {
        *self.is_damaged.get_mut() = false;
        if self.reverse { self.cursor.first() } else { self.cursor.last() }
    }

    /// Moves to `key`, or if it does not exist to the next one in the iterator's order. A key outside the bounds is
    /// treated as the nearest bound.
    pub fn seek(&mut self, key: &[u8]) {
        *self.is_damaged.get_mut() = false;
        if self.reverse { self.cursor.seek_for_prev(key) } else { self.cursor.seek(key) }
    }

    /// Moves to `key`, or if it does not exist to the one before it in the iterator's order.
    pub fn seek_for_prev(&mut self, key: &[u8]) {
        *self.is_damaged.get_mut() = false;
        if self.reverse { self.cursor.seek(key) } else { self.cursor.seek_for_prev(key) }
    }

    /// Moves to the next key; after the last one the iterator is at none, where it stays.
    // Not `Iterator::next`: the items borrow from the iterator.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) {
        if *self.is_damaged.get_mut() {
            return;
        }
        if self.reverse { self.cursor.prev() } else { self.cursor.next() }
    }

    /// Moves to the previous key; before the first one the iterator is at none, where it stays.
    pub fn prev(&mut self) {
        if *self.is_damaged.get_mut() {
            return;
        }
        if self.reverse { self.cursor.next() } else { self.cursor.prev() }
    }

    /// True when the iterator is at a key.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.stored().is_some()
    }

    /// The current key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        Some(self.item()?.0)
    }

    /// The current value.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        Some(self.stored()?.0)
    }

    /// The version of the current key: see [`Version`].
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        Some(self.versioned_item()?.2)
    }

    /// The current key and value, cheaper than by two calls.
    #[must_use]
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        let (key, stored) = self.cursor.raw().item()?;
        Some((key, self.split(stored)?.0))
    }

    /// The current key, its value and its version.
    #[must_use]
    pub fn versioned_item(&self) -> Option<(&[u8], &[u8], Version)> {
        let (key, stored) = self.cursor.raw().item()?;
        let (value, version) = self.split(stored)?;
        Some((key, value, self.effective(key, version)))
    }

    /// Whether an iterator at no key has reached an end or failed. Call it before relying on an iteration being
    /// complete.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn status(&self) -> Result<()> {
        if self.is_damaged.load(Ordering::Relaxed) {
            return Err(unversioned(self.cursor.raw().key().unwrap_or_default()));
        }
        self.cursor.raw().status().map_err(errors::failed)
    }

    #[inline]
    fn effective(&self, key: &[u8], stored: Version) -> Version {
        if self.has_floors { self.cursor.view().floor_of(key).effective(stored) } else { stored }
    }

    fn stored(&self) -> Option<(&[u8], Version)> {
        self.cursor.raw().value().and_then(|stored| self.split(stored))
    }

    fn split<'a>(&self, stored: &'a [u8]) -> Option<(&'a [u8], Version)> {
        let parts = trailer::split(stored);
        if parts.is_none() {
            // Only this thread looks at the iterator now.
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        parts
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
