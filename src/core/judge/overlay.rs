//! What the writes of an engine batch have changed so far, over the data as they are without it.
//!
//! Owns the keys that were set or removed and the ranges that have nothing left. What always holds: a key that is not in
//! the overlay is as it is in the engine; a key of the overlay has the version of the last write that set it; the
//! changes of a write that is refused are taken back without a trace. Regions share an overlay, for no key is in two.
//!
//! A scan learns from what it skipped: where it found nothing alive, the next one need not look again. So keys that one
//! batch removed one by one, as workers empty a queue, are passed once and not by each worker.

use std::mem;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::touched::Touched;
use crate::core::change::OwnedChange;
use crate::core::command::Write;
use crate::core::planted::{self, Fault};
use crate::core::ranges::{End, RangeBefore, Ranges};
use crate::core::stored::{Each, Stored};
use crate::error::Result;
use crate::types::Version;

/// A value and its version.
pub(crate) type Found = (Bytes, Version);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    touched: Touched,
    /// Where nothing lives but what is in `touched`.
    emptied: Ranges,
    journal: Vec<Undo>,
}

#[derive(Clone, Debug)]
enum Undo {
    Key(Bytes, Option<Option<Found>>),
    Range(RangeBefore),
}

impl Overlay {
    /// Takes over what an earlier write of the batch does, one of plain operations.
    pub(crate) fn note(&mut self, write: &Write, version: Version) {
        assert!(!write.is_conditional(), "what it does is known only once it is judged");
        assert!(self.journal.is_empty(), "no write is under way");
        for operation in write.operations() {
            let change = operation.as_change().expect("a write without conditions has plain operations");
            self.change(&write.owned(change), version);
        }
        self.keep();
    }

    /// Makes room for so many keys more, which is only a matter of speed.
    pub(crate) fn reserve(&mut self, keys: usize) {
        self.touched.reserve(keys);
    }

    /// What `key` is now, if it is not as in the engine.
    pub(super) fn look(&self, key: &[u8]) -> Option<Option<&Found>> {
        match self.touched.get(key) {
            Some(touched) => Some(touched.as_ref()),
            None => self.emptied.end_around(key).map(|_| None),
        }
    }

    /// Carries out one change.
    pub(super) fn change(&mut self, change: &OwnedChange, version: Version) {
        assert!(version != Version::NONE, "a write has a version");
        match change {
            OwnedChange::Put { key, value } => self.set(key, Some((value.clone(), version))),
            OwnedChange::Delete { key } => self.set(key, None),
            OwnedChange::DeleteRange { begin, end } if begin >= end => {}
            OwnedChange::DeleteRange { .. } if planted::has(Fault::OverlayWithoutRanges) => {}
            OwnedChange::DeleteRange { begin, end } => self.empty(begin.clone(), End(end.clone())),
        }
    }

    /// Notes that nothing lives in a range any more. Nothing but what this write took from it lived there.
    pub(super) fn empty(&mut self, begin: Bytes, end: End) {
        assert!(end.is_behind(&begin), "it has a key");
        let inside = (Bound::Included(&begin[..]), end.as_bound());
        let keys: Vec<_> = self.touched.range(inside).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let before = self.touched.remove(&key);
            self.journal.push(Undo::Key(key, before));
        }
        let journal = &mut self.journal;
        self.emptied.add(begin, end, |before| journal.push(Undo::Range(before)));
    }

    fn set(&mut self, key: &Bytes, found: Option<Found>) {
        let now = found.as_ref().map(|(_, version)| *version);
        let before = self.touched.insert(key.clone(), found);
        if let (Some(Some((_, before))), Some(now)) = (&before, now) {
            assert!(*before <= now, "the versions of a key only grow");
        }
        self.journal.push(Undo::Key(key.clone(), before));
    }

    /// True when nothing would be taken back.
    #[must_use]
    pub(super) fn is_kept(&self) -> bool {
        self.journal.is_empty()
    }

    /// Makes all changes so far last.
    pub(super) fn keep(&mut self) {
        self.journal.clear();
        #[cfg(any(test, feature = "simulation"))]
        self.emptied.check_invariants();
    }

    /// Takes back all changes since they were last kept.
    pub(super) fn take_back(&mut self) {
        for undo in mem::take(&mut self.journal).into_iter().rev() {
            match undo {
                Undo::Key(key, Some(before)) => _ = self.touched.insert(key, before),
                Undo::Key(key, None) => _ = self.touched.remove(&key),
                Undo::Range(before) => self.emptied.restore(before),
            }
        }
        assert!(self.is_kept(), "all is taken back");
        self.keep();
    }

    /// Shows `each` what lives in a range, in its order, until it breaks. An empty `end` is that of all keys.
    ///
    /// # Errors
    /// As [`Stored`].
    pub(super) fn scan(
        &mut self,
        stored: &dyn Stored,
        begin: &Bytes,
        end: &Bytes,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let end = End(end.clone());
        if !end.is_behind(begin) {
            return Ok(());
        }
        let mut walk = Walk { each, dead_since: None, learned: Vec::new() };
        let flow = self.walk(stored, begin.clone(), &end, &mut walk)?;
        let Walk { dead_since, mut learned, .. } = walk;
        if let (ControlFlow::Continue(()), Some(since)) = (flow, dead_since) {
            learned.push((since, end));
        }
        learned.into_iter().for_each(|(begin, end)| self.empty(begin, end));
        Ok(())
    }

    /// Goes from one range that is emptied to the next, and through the engine's data only between them.
    fn walk(
        &self,
        stored: &dyn Stored,
        mut from: Bytes,
        end: &End,
        walk: &mut Walk<'_>,
    ) -> Result<ControlFlow<()>> {
        while end.is_behind(&from) {
            let (to, flow) = match self.emptied.end_around(&from) {
                Some(emptied) => {
                    let to = emptied.min(end).clone();
                    walk.is_dead(&from);
                    (to.clone(), walk.rest(&mut self.touched_in(&from, &to)))
                }
                None => {
                    let next = self.emptied.begin_behind(&from).map(|begin| End(begin.clone()));
                    let to = next.map_or(end.clone(), |next| next.min(end.clone()));
                    (to.clone(), self.merge(stored, &from, &to, walk)?)
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
            if to.0.is_empty() {
                break;
            }
            from = to.0;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows what lives in a range of which nothing was emptied.
    fn merge(
        &self,
        stored: &dyn Stored,
        from: &[u8],
        to: &End,
        walk: &mut Walk<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut touched = self.touched_in(from, to).peekable();
        let mut flow = ControlFlow::Continue(());
        stored.scan(from, &to.0, &mut |key, value, version| {
            assert!(key >= from && to.is_behind(key), "a scan stays in its range");
            while let Some((newer, found)) = touched.next_if(|(newer, _)| newer[..] < *key) {
                flow = walk.touched(newer, found);
                if flow.is_break() {
                    return flow;
                }
            }
            flow = match touched.next_if(|(newer, _)| newer[..] == *key) {
                Some((_, None)) if planted::has(Fault::RangeDigestWithoutDeletes) => {
                    walk.lives(key, value, version)
                }
                Some((newer, found)) => walk.touched(newer, found),
                None => walk.lives(key, value, version),
            };
            flow
        })?;
        Ok(if flow.is_break() { flow } else { walk.rest(&mut touched) })
    }

    fn touched_in(&self, from: &[u8], to: &End) -> impl Iterator<Item = (&Bytes, &Option<Found>)> {
        self.touched.range((Bound::Included(from), to.as_bound()))
    }
}

/// A scan under way.
struct Walk<'a> {
    each: &'a mut Each<'a>,
    /// Since this key nothing lives.
    dead_since: Option<Bytes>,
    /// Ranges in which nothing lives.
    learned: Vec<(Bytes, End)>,
}

impl Walk<'_> {
    fn is_dead(&mut self, key: &Bytes) {
        self.dead_since.get_or_insert_with(|| key.clone());
    }

    fn lives(&mut self, key: &[u8], value: &[u8], version: Version) -> ControlFlow<()> {
        assert!(self.dead_since.as_ref().is_none_or(|since| since[..] <= *key), "keys come in their order");
        if let Some(since) = self.dead_since.take_if(|since| since[..] < *key) {
            self.learned.push((since, End(Bytes::copy_from_slice(key))));
        }
        self.dead_since = None;
        (self.each)(key, value, version)
    }

    fn touched(&mut self, key: &Bytes, found: &Option<Found>) -> ControlFlow<()> {
        match found {
            Some((value, version)) => self.lives(key, value, *version),
            None => {
                self.is_dead(key);
                ControlFlow::Continue(())
            }
        }
    }

    fn rest<'a>(
        &mut self,
        touched: &mut dyn Iterator<Item = (&'a Bytes, &'a Option<Found>)>,
    ) -> ControlFlow<()> {
        for (key, found) in touched {
            let flow = self.touched(key, found);
            if flow.is_break() {
                return flow;
            }
        }
        ControlFlow::Continue(())
    }
}
