//! What a transaction has written.
//!
//! Owns the keys that it set or removed and the ranges that it emptied. What always holds: what is kept is the outcome,
//! so a key that was written often is written once at the commit; a key that was touched after its range was emptied is
//! as it was touched. Bounds are exact where they refuse, except that ranges which join are counted as they came.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::core::command::OPERATION_OVERHEAD_BYTES;
use crate::core::ranges::{End, Ranges};
use crate::error::Result;
use crate::store::batch::{BEHIND_ALL_KEYS, Batch};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// None for a key that was removed.
    touched: BTreeMap<Bytes, Option<Bytes>>,
    /// Where nothing lives but what is in `touched`.
    emptied: Ranges,
    /// What they take of a batch.
    bytes: usize,
}

impl Writes {
    /// What `key` is now, if the transaction has written it: none when it removed it.
    pub(crate) fn look(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        match self.touched.get(key) {
            Some(touched) => Some(touched.as_ref()),
            None => self.emptied.end_around(key).map(|_| None),
        }
    }

    /// The range that was emptied and has `key`.
    pub(crate) fn emptied_around(&self, key: &[u8]) -> Option<(&Bytes, &End)> {
        self.emptied.around(key)
    }

    /// The begin of the first range behind `key` that was emptied.
    pub(crate) fn emptied_behind(&self, key: &[u8]) -> Option<&Bytes> {
        self.emptied.begin_behind(key)
    }

    /// Whether any range was emptied.
    pub(crate) fn has_emptied(&self) -> bool {
        self.emptied.iter().len() > 0
    }

    /// Whether `key` was set or removed by itself.
    pub(crate) fn has_touched(&self, key: &[u8]) -> bool {
        self.touched.contains_key(key)
    }

    /// The first key between the bounds that was set.
    pub(crate) fn first_put(&self, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Option<(&Bytes, &Bytes)> {
        if is_empty(range) {
            return None;
        }
        self.touched.range::<[u8], _>(range).find_map(|(key, value)| Some((key, value.as_ref()?)))
    }

    /// The last key between the bounds that was set.
    pub(crate) fn last_put(&self, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Option<(&Bytes, &Bytes)> {
        if is_empty(range) {
            return None;
        }
        self.touched.range::<[u8], _>(range).rev().find_map(|(key, value)| Some((key, value.as_ref()?)))
    }

    /// What the batch takes if `key` is set to a value of this size, or removed.
    pub(crate) fn bytes_with(&self, key: &[u8], value_bytes: usize) -> usize {
        let now = self.touched.get(key).map_or(0, |value| size_of_touch(key, value.as_ref()));
        self.bytes - now + key.len() + value_bytes + OPERATION_OVERHEAD_BYTES
    }

    /// What the batch takes if a range is emptied too.
    pub(crate) fn bytes_with_range(&self, begin: &[u8], end: &[u8]) -> usize {
        let end_bytes = if end.is_empty() { BEHIND_ALL_KEYS.len() } else { end.len() };
        self.bytes + begin.len() + end_bytes + OPERATION_OVERHEAD_BYTES
    }

    /// Sets or removes `key`.
    pub(crate) fn touch(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes = self.bytes_with(key, value.map_or(0, <[u8]>::len));
        self.touched.insert(Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
    }

    /// Removes all keys from `begin` to `end`, which is that of all keys when it is empty. The range has a key.
    pub(crate) fn empty(&mut self, begin: &[u8], end: &[u8]) {
        let end = End(Bytes::copy_from_slice(end));
        let inside = (Bound::Included(begin), end.as_bound());
        let keys: Vec<_> = self.touched.range::<[u8], _>(inside).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let value = self.touched.remove(&key).expect("just seen");
            self.bytes -= size_of_touch(&key, value.as_ref());
        }
        if self.emptied.end_around(begin).is_none_or(|known| *known < end) {
            self.bytes = self.bytes_with_range(begin, &end.0);
            self.emptied.add(Bytes::copy_from_slice(begin), end, |_| {});
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.operations() == 0
    }

    /// So many operations of a batch.
    pub(crate) fn operations(&self) -> usize {
        self.touched.len() + self.emptied.iter().len()
    }

    /// Adds the outcome to `batch`.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub(crate) fn add_to(&self, batch: &mut Batch) -> Result<()> {
        for (begin, end) in self.emptied.iter() {
            batch.delete_range(begin, &end.0)?;
        }
        for (key, value) in &self.touched {
            match value {
                Some(value) => batch.put(key, value)?,
                // Its range goes as a whole.
                None if self.emptied.end_around(key).is_some() => {}
                None => batch.delete(key)?,
            }
        }
        Ok(())
    }
}

fn size_of_touch(key: &[u8], value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len) + OPERATION_OVERHEAD_BYTES
}

/// A range of a map must not be reversed.
fn is_empty((begin, end): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (begin, end) {
        (Bound::Included(begin), Bound::Included(end)) => begin > end,
        (Bound::Included(begin) | Bound::Excluded(begin), Bound::Included(end) | Bound::Excluded(end)) => {
            begin >= end
        }
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
