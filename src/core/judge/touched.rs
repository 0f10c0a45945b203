//! Keys, and what became of each.
//!
//! Owns how a key is found. What always holds: one that is looked up is found by its hash, which takes a quarter of what a
//! search among sorted keys takes; nothing depends on the order of the hashes. The keys are sorted when a range of them is
//! asked for first, and kept so from then on: most batches never ask.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;

use super::overlay::Found;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// None for a key that was removed.
    found: HashMap<Bytes, Option<Found>>,
    /// Its keys, once somebody asked for a range.
    sorted: OnceCell<BTreeSet<Bytes>>,
}

impl Touched {
    /// What became of `key`; none if nothing did.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Found>> {
        self.found.get(key)
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, keys: usize) {
        self.found.reserve(keys);
    }

    /// Sets what became of `key`, and returns what had.
    pub(super) fn insert(&mut self, key: Bytes, found: Option<Found>) -> Option<Option<Found>> {
        if let Some(sorted) = self.sorted.get_mut() {
            sorted.insert(key.clone());
        }
        self.found.insert(key, found)
    }

    /// Forgets `key`, and returns what had become of it.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Option<Found>> {
        if let Some(sorted) = self.sorted.get_mut() {
            sorted.remove(key);
        }
        self.found.remove(key)
    }

    /// Those of a range, in the order of their keys.
    pub(super) fn range<'a>(
        &'a self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl Iterator<Item = (&'a Bytes, &'a Option<Found>)> + use<'a> {
        let sorted = self.sorted.get_or_init(|| self.found.keys().cloned().collect());
        sorted.range::<[u8], _>(range).map(|key| (key, self.found.get(key).expect("both have the same keys")))
    }
}
