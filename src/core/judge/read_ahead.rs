//! The versions that the conditions of an entry ask for, read together.
//!
//! Owns them from before the entry's first write is judged until after its last. What always holds: it answers as the
//! engine does, for the engine takes nothing while an entry is judged. What earlier writes changed is not here: who judges
//! looks into the overlay first. The engine finds many keys together for a part of what it costs to find each: it
//! looks up each table's filter once, and waits for memory once for several of them.

use std::cell::Cell;

use bytes::Bytes;

use super::overlay::{Found, Overlay};
use crate::core::command::{Operation, Write};
use crate::core::stored::{Each, Stored};
use crate::error::Result;
use crate::types::Version;

/// See the module.
pub(crate) struct ReadAhead<'a> {
    stored: &'a dyn Stored,
    /// In the order in which the judge asks for them, but that it need not ask for all; none for those that were not read.
    versions: Vec<(Bytes, Option<Version>)>,
    /// How far it has asked.
    next: Cell<usize>,
}

impl<'a> ReadAhead<'a> {
    /// Reads what the conditions of `writes` ask of `stored`, as far as `overlay` does not have it.
    ///
    /// # Errors
    /// As [`Stored::versions_of`].
    pub(crate) fn of(writes: &[Write], overlay: &Overlay, stored: &'a dyn Stored) -> Result<Self> {
        let mut versions = Vec::with_capacity(writes.len());
        for write in writes.iter().filter(|write| write.is_conditional()) {
            let asked = write.conditions().filter_map(|(_, condition)| key_of_version(condition));
            let unknown = asked.filter(|key| overlay.look(key).is_none());
            versions.extend(unknown.map(|key| (write.share(key), None)));
        }
        read(stored, &mut versions)?;
        Ok(Self { stored, versions, next: Cell::new(0) })
    }
}

/// Fills in the versions of these keys, or of some of them.
fn read(stored: &dyn Stored, versions: &mut [(Bytes, Option<Version>)]) -> Result<()> {
    let mut places: Vec<usize> = (0..versions.len()).collect();
    places.sort_unstable_by(|one, other| versions[*one].0.cmp(&versions[*other].0));
    let of_keys: Vec<_> = places.chunk_by(|one, other| versions[*one].0 == versions[*other].0).collect();
    if of_keys.len() < 2 {
        // Nothing is to be gained, and it may not even be asked for: an earlier condition may be false.
        return Ok(());
    }
    let keys: Vec<&[u8]> = of_keys.iter().map(|places| &versions[places[0]].0[..]).collect();
    let found = stored.versions_of(&keys)?;
    assert!(found.len() <= of_keys.len(), "each key has one");
    for (places, version) in of_keys.into_iter().zip(found) {
        places.iter().for_each(|place| versions[*place].1 = Some(version));
    }
    Ok(())
}

impl Stored for ReadAhead<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.stored.get(key)
    }

    fn version_of(&self, key: &[u8]) -> Result<Version> {
        let rest = &self.versions[self.next.get()..];
        let Some(at) = rest.iter().position(|(asked, _)| asked[..] == *key) else {
            return self.stored.version_of(key);
        };
        self.next.set(self.next.get() + at + 1);
        rest[at].1.map_or_else(|| self.stored.version_of(key), Ok)
    }

    fn versions_of(&self, keys: &[&[u8]]) -> Result<Vec<Version>> {
        self.stored.versions_of(keys)
    }

    fn scan(&self, begin: &[u8], end: &[u8], each: &mut Each<'_>) -> Result<()> {
        self.stored.scan(begin, end, each)
    }
}

/// The key whose version decides about a condition.
fn key_of_version(condition: Operation<'_>) -> Option<&[u8]> {
    match condition {
        Operation::IfAbsent { key } | Operation::IfPresent { key } | Operation::IfVersion { key, .. } => {
            Some(key)
        }
        _ => None,
    }
}
