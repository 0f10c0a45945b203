//! The verdicts on an entry's writes, and to whom each goes.
//!
//! Owns the order in which the writes of an entry, their callers, and the tags of forwarded ones belong together. What
//! always holds: a write has one verdict, whoever waits for it, and whether anybody does.

use super::{Applied, ApplyBatch};
use crate::completion::{Position, Reply};
use crate::core::forwarding::Origin;
use crate::core::forwarding::tags::{Tag, Tags};
use crate::core::judge::Room;
use crate::core::planted::{self, Fault};
use crate::core::proposals::Requester;
use crate::effects::Effects;
use crate::error::Result;
use crate::types::{ENTRY_WRITES_MAX, Version};

/// Hands the verdicts on an entry's writes to those who wait for them.
pub(super) struct Verdicts<'a> {
    pub(super) position: Position,
    pub(super) waiting: std::vec::IntoIter<Option<Requester>>,
    pub(super) tags: Tags<'a>,
    pub(super) origin: Origin,
    /// The first tag of this origin not yet passed.
    pub(super) own: Option<Tag>,
    /// Index of the entry's next write.
    pub(super) place: usize,
    /// What is written here keeps its version.
    pub(super) tells_versions: bool,
    /// Bytes of the results so far.
    pub(super) told_bytes: usize,
}

impl Verdicts<'_> {
    /// What the results of the entry's next write may take.
    pub(super) fn room(&self) -> Room {
        Room::behind(self.told_bytes)
    }

    /// The version of what the entry's next write sets.
    pub(super) fn version(&self) -> Version {
        assert!(self.place < ENTRY_WRITES_MAX, "an entry has at most as many writes");
        let ordinal = u16::try_from(self.place).expect("just seen");
        Version::of(self.position.index, ordinal)
    }

    pub(super) fn next(&mut self, verdict: Result<Effects>, batch: &mut ApplyBatch, report: &mut Applied) {
        let version = if self.tells_versions { self.version() } else { Version::UNKNOWN };
        // By everybody, whether anyone waits or not: all members must refuse the same.
        let told = verdict.as_ref().map_or(0, Effects::payload_bytes);
        self.told_bytes += told;
        batch.encoded_bytes = batch.encoded_bytes.saturating_add(told);
        let answer = verdict.map(|effects| Reply::to_write(self.position, version, effects));
        if let Some(number) = self.next_own() {
            report.forwarded_from_here.push((number, answer.clone()));
        }
        match self.waiting.next().flatten() {
            Some(Requester::Caller(completion)) => batch.answers.push((completion, answer)),
            Some(Requester::Follower(id)) => report.forwarded_to_here.push((id, answer)),
            None => {}
        }
    }

    /// The number of the write at this place, if this boot of this member forwarded it.
    fn next_own(&mut self) -> Option<u64> {
        let place = self.place;
        self.place += 1;
        if self.own.is_none_or(|tag| tag.place + tag.writes <= place) {
            let confused = planted::has(Fault::VerdictOfTheWrongCopy);
            let is_own =
                |origin: Origin| origin == self.origin || confused && origin.node == self.origin.node;
            self.own = self.tags.find(|tag| is_own(tag.origin));
        }
        let tag = self.own.filter(|tag| tag.place <= place)?;
        Some(tag.first + (place - tag.place) as u64)
    }
}
