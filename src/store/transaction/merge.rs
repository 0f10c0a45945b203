//! What a transaction sees of a range of keys: its snapshot, and its own writes over it.
//!
//! Owns the walk over both in either direction. What always holds: a step goes to the next key of what the transaction
//! sees at that moment, so writes that it makes while it iterates show where the walk has not been yet; the current key
//! and value stay as they were when the walk came to them. Every step tells [`Reads`](super::reads::Reads) what it walked
//! over, unless it is exempt. The keys of the snapshot come from a [`Source`].

use std::ops::Bound;

use bytes::Bytes;

use super::Shared;
use crate::error::Result;
use crate::types::Version;

/// The keys of a snapshot between bounds, ascending. As [`Iter`](crate::Iter), which it is outside of tests.
pub(crate) trait Source {
    /// Moves to the first key from `key` on.
    fn seek(&mut self, key: &[u8]);
    /// Moves to the last key up to `key`.
    fn seek_for_prev(&mut self, key: &[u8]);
    /// Moves to the largest key.
    fn seek_to_last(&mut self);
    /// Moves to the next larger key.
    fn next(&mut self);
    /// Moves to the next smaller key.
    fn prev(&mut self);
    /// The current key, its value and its version.
    fn item(&self) -> Option<(&[u8], &[u8], Version)>;
    /// The error that ended the walk.
    fn status(&self) -> Result<()>;
}

/// See the module. At no key until its first move.
pub(crate) struct Merge<S> {
    source: S,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    is_exempt: bool,
    at: At,
    /// While the walk goes on this way from a key of the transaction's own, the source is where it has to go on.
    facing: Option<Towards>,
    scratch: Scratch,
}

enum At {
    Nowhere,
    /// The source's key.
    Stored,
    /// A key that the transaction has set.
    Own(Bytes, Bytes),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Larger,
    Smaller,
}

/// Kept from step to step, for their memory.
#[derive(Default)]
struct Scratch {
    /// Where the walk begins.
    from: Vec<u8>,
    /// Own keys are looked for beyond this one.
    passed: Vec<u8>,
    /// Where the walk ends.
    to: Vec<u8>,
}

impl<S: Source> Merge<S> {
    /// A walk over the keys of `source`, which has these bounds.
    pub(crate) fn new(source: S, lower: Vec<u8>, upper: Option<Vec<u8>>, is_exempt: bool) -> Self {
        let (at, facing, scratch) = (At::Nowhere, None, Scratch::default());
        Self { source, lower, upper, is_exempt, at, facing, scratch }
    }

    /// The current key and value, and the version if the snapshot has it so.
    pub(crate) fn item(&self) -> Option<(&[u8], &[u8], Option<Version>)> {
        match &self.at {
            At::Nowhere => None,
            At::Stored => self.source.item().map(|(key, value, version)| (key, value, Some(version))),
            At::Own(key, value) => Some((key, value, None)),
        }
    }

    /// Leaves the current key, for good.
    pub(crate) fn stop(&mut self) {
        (self.at, self.facing) = (At::Nowhere, None);
    }

    pub(crate) fn first(&mut self, shared: &mut Shared) -> Result<()> {
        let lower = std::mem::take(&mut self.lower);
        let moved = self.seek(&lower, shared);
        self.lower = lower;
        moved
    }

    pub(crate) fn last(&mut self, shared: &mut Shared) -> Result<()> {
        self.source.seek_to_last();
        self.descend(None, shared)
    }

    pub(crate) fn seek(&mut self, key: &[u8], shared: &mut Shared) -> Result<()> {
        self.scratch.from.clear();
        self.scratch.from.extend_from_slice(key.max(&self.lower));
        self.source.seek(&self.scratch.from);
        self.ascend(true, shared)
    }

    pub(crate) fn seek_for_prev(&mut self, key: &[u8], shared: &mut Shared) -> Result<()> {
        if self.upper.as_deref().is_some_and(|upper| key >= upper) {
            return self.last(shared);
        }
        if *key < *self.lower {
            self.stop();
            return Ok(());
        }
        self.scratch.from.clear();
        self.scratch.from.extend_from_slice(key);
        self.source.seek_for_prev(key);
        self.descend(Some(true), shared)
    }

    /// To the next larger key; from nowhere to nowhere.
    pub(crate) fn next(&mut self, shared: &mut Shared) -> Result<()> {
        if !self.leave() {
            return Ok(());
        }
        match self.at {
            At::Stored => self.source.next(),
            _ if self.facing == Some(Towards::Larger) => {}
            _ => self.source.seek(&self.scratch.from),
        }
        self.ascend(false, shared)
    }

    /// To the next smaller key; from nowhere to nowhere.
    pub(crate) fn prev(&mut self, shared: &mut Shared) -> Result<()> {
        if !self.leave() {
            return Ok(());
        }
        match self.at {
            At::Stored => self.source.prev(),
            _ if self.facing == Some(Towards::Smaller) => {}
            _ => self.source.seek_for_prev(&self.scratch.from),
        }
        self.descend(Some(false), shared)
    }

    /// The walk goes on from the current key.
    fn leave(&mut self) -> bool {
        let mut from = std::mem::take(&mut self.scratch.from);
        let is_somewhere = self.item().is_some_and(|(key, ..)| {
            from.clear();
            from.extend_from_slice(key);
            true
        });
        self.scratch.from = from;
        is_somewhere
    }

    /// Walks to the first key behind `from`, or at it, beginning where the source is.
    fn ascend(&mut self, is_included: bool, shared: &mut Shared) -> Result<()> {
        let (found, facing) = self.find_larger(is_included, shared)?;
        let Self { scratch, upper, .. } = self;
        scratch.to.clear();
        let to = match &found {
            Found::Nothing => upper.as_deref(),
            Found::Stored => Some(self.source.item().expect("it is there").0),
            Found::Own(key, _) => Some(&key[..]),
        };
        let to = to.map(|to| {
            scratch.to.extend_from_slice(to);
            if !matches!(found, Found::Nothing) {
                scratch.to.push(0);
            }
            &scratch.to[..]
        });
        if !is_included {
            scratch.from.push(0);
        }
        if !self.is_exempt {
            shared.walks(&scratch.from, to)?;
        }
        self.arrive(found, facing);
        Ok(())
    }

    /// Where that is, and the way in which the source is where it has to go on: none when it was left in a range without keys.
    fn find_larger(&mut self, is_included: bool, shared: &mut Shared) -> Result<(Found, Option<Towards>)> {
        let here = Some(Towards::Larger);
        let Self { source, scratch, upper, .. } = self;
        let Scratch { from, passed, .. } = scratch;
        let mut begin = if is_included { Bound::Included(&from[..]) } else { Bound::Excluded(&from[..]) };
        loop {
            let Some((key, value, _)) = source.item() else {
                source.status()?;
                let end = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                return Ok((Found::own(shared.writes.first_put((begin, end))), here));
            };
            let own = Found::own(shared.writes.first_put((begin, Bound::Included(key))));
            if !self.is_exempt && own.is_at_least(key) {
                shared.reads.meets(key, value.len())?;
            }
            if !matches!(own, Found::Nothing) {
                return Ok((own, here));
            }
            if shared.writes.look(key).is_none() {
                return Ok((Found::Stored, here));
            }
            passed.clear();
            passed.extend_from_slice(key);
            begin = Bound::Excluded(passed);
            match shared.writes.emptied_around(passed) {
                None => source.next(),
                Some((_, end))
                    if end.0.is_empty() || upper.as_deref().is_some_and(|upper| *end.0 >= *upper) =>
                {
                    let end = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    return Ok((Found::own(shared.writes.first_put((begin, end))), None));
                }
                Some((_, end)) => source.seek(&end.0),
            }
        }
    }

    /// Walks to the last key before `from`, or at it if that is included, or of all, beginning where the source is.
    fn descend(&mut self, is_included: Option<bool>, shared: &mut Shared) -> Result<()> {
        let (found, facing) = self.find_smaller(is_included, shared)?;
        let Self { scratch, upper, lower, .. } = self;
        let begin = match &found {
            Found::Nothing => &lower[..],
            Found::Stored => self.source.item().expect("it is there").0,
            Found::Own(key, _) => &key[..],
        };
        if is_included == Some(true) {
            scratch.from.push(0);
        }
        let end = if is_included.is_none() { upper.as_deref() } else { Some(&scratch.from[..]) };
        if !self.is_exempt {
            shared.walks(begin, end)?;
        }
        self.arrive(found, facing);
        Ok(())
    }

    /// As [`Merge::find_larger`].
    fn find_smaller(
        &mut self,
        is_included: Option<bool>,
        shared: &mut Shared,
    ) -> Result<(Found, Option<Towards>)> {
        let here = Some(Towards::Smaller);
        let Self { source, scratch, lower, upper, .. } = self;
        let Scratch { from, passed, .. } = scratch;
        let mut end = match is_included {
            None => upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
            Some(true) => Bound::Included(&from[..]),
            Some(false) => Bound::Excluded(&from[..]),
        };
        loop {
            let Some((key, value, _)) = source.item() else {
                source.status()?;
                return Ok((Found::own(shared.writes.last_put((Bound::Included(lower), end))), here));
            };
            let own = Found::own(shared.writes.last_put((Bound::Included(key), end)));
            if !self.is_exempt && own.is_at_most(key) {
                shared.reads.meets(key, value.len())?;
            }
            if !matches!(own, Found::Nothing) {
                return Ok((own, here));
            }
            if shared.writes.look(key).is_none() {
                return Ok((Found::Stored, here));
            }
            passed.clear();
            passed.extend_from_slice(key);
            end = Bound::Excluded(passed);
            match shared.writes.emptied_around(passed) {
                None => source.prev(),
                Some((begin, _)) if **begin <= **lower => {
                    return Ok((Found::own(shared.writes.last_put((Bound::Included(lower), end))), None));
                }
                Some((begin, _)) => {
                    source.seek_for_prev(begin);
                    // It is the first key of the range.
                    if source.item().is_some_and(|(key, ..)| *key == **begin) {
                        source.prev();
                    }
                }
            }
        }
    }

    fn arrive(&mut self, found: Found, facing: Option<Towards>) {
        self.facing = facing;
        self.at = match found {
            Found::Nothing => At::Nowhere,
            Found::Stored => At::Stored,
            Found::Own(key, value) => At::Own(key, value),
        };
    }
}

/// Where a walk comes to.
enum Found {
    Nothing,
    Stored,
    Own(Bytes, Bytes),
}

impl Found {
    fn own(found: Option<(&Bytes, &Bytes)>) -> Self {
        match found {
            Some((key, value)) => Self::Own(key.clone(), value.clone()),
            None => Self::Nothing,
        }
    }

    /// Whether a walk upwards to here passes `key`, or comes to it.
    fn is_at_least(&self, key: &[u8]) -> bool {
        if let Self::Own(own, _) = self { **own >= *key } else { true }
    }

    /// Whether a walk downwards to here passes `key`, or comes to it.
    fn is_at_most(&self, key: &[u8]) -> bool {
        if let Self::Own(own, _) = self { **own <= *key } else { true }
    }
}

/// The keys of a snapshot without an engine.
#[cfg(any(test, feature = "simulation"))]
pub(crate) struct Listed {
    items: Vec<(Vec<u8>, Vec<u8>, Version)>,
    /// The number of the current one.
    at: Option<usize>,
}

#[cfg(any(test, feature = "simulation"))]
impl Listed {
    /// Of these, in their order.
    pub(crate) fn new(items: impl Iterator<Item = (Vec<u8>, Vec<u8>, Version)>) -> Self {
        Self { items: items.collect(), at: None }
    }
}

#[cfg(any(test, feature = "simulation"))]
impl Source for Listed {
    fn seek(&mut self, key: &[u8]) {
        self.at = Some(self.items.partition_point(|item| *item.0 < *key)).filter(|at| *at < self.items.len());
    }

    fn seek_for_prev(&mut self, key: &[u8]) {
        self.at = self.items.partition_point(|item| *item.0 <= *key).checked_sub(1);
    }

    fn seek_to_last(&mut self) {
        self.at = self.items.len().checked_sub(1);
    }

    fn next(&mut self) {
        self.at = self.at.map(|at| at + 1).filter(|at| *at < self.items.len());
    }

    fn prev(&mut self) {
        self.at = self.at.and_then(|at| at.checked_sub(1));
    }

    fn item(&self) -> Option<(&[u8], &[u8], Version)> {
        let (key, value, version) = &self.items[self.at?];
        Some((key, value, *version))
    }

    fn status(&self) -> Result<()> {
        Ok(())
    }
}
