//! What a write with conditions does.
//!
//! Owns the verdict on a conditional write and the changes that come of it. What always holds: conditions are judged on
//! the state before the write, and the operations of the list that is done each see those before them; a write that is
//! refused leaves nothing behind; the verdict follows from the log and the data alone, so every member, and every
//! replay, comes to the same. Earlier writes of the same engine batch count ([`Overlay`]); the engine's own data come
//! through the port [`Stored`]. An error of the disk is no verdict.
//!
//! Whether the write's region still has its epoch, and who hears of the verdict, is left to the applier.

mod overlay;
mod read_ahead;
#[cfg(test)]
mod tests;
mod touched;

use std::ops::ControlFlow;

use bytes::Bytes;

pub(crate) use overlay::Overlay;
pub(crate) use read_ahead::ReadAhead;

use crate::core::change::OwnedChange;
use crate::core::command::{Operation, Write, versioned_key};
use crate::core::digest::{Digester, RangeDigest};
use crate::core::planted::{self, Fault};
use crate::core::ranges::End;
use crate::core::stored::Stored;
use crate::effects::{Effects, OpResult, Precondition};
use crate::error::{Code, Refusal, Result};
use crate::types::{BATCH_BYTES_MAX, Version};
use overlay::Found;

/// How many bytes of results the writes of one entry may still tell. The first that tells any may tell what a write may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    told: usize,
}

/// Results of the writes of an entry are kept together until they are answered.
const ENTRY_RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Room {
    /// What is left once the results of earlier writes of the entry took so many bytes.
    #[must_use]
    pub(crate) fn behind(told: usize) -> Self {
        Self { told }
    }

    fn has(self, bytes: usize) -> bool {
        bytes == 0 || self.told == 0 || self.told + bytes <= ENTRY_RESULT_BYTES_MAX
    }
}

/// Most writes with conditions have no more operations than this, and some have thousands that are conditions.
const FEW_CHANGES: usize = 4;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// One of its lists was done.
    Applied {
        /// What that list changes, in order.
        changes: Vec<OwnedChange>,
        /// What is told about it.
        effects: Effects,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Judges `write`, which has this version, on the state that `overlay` and `stored` make together, and notes what it
/// changes in `overlay`.
///
/// # Errors
/// As [`Stored`]. The state machine must stop there.
pub(crate) fn judge(
    write: &Write,
    version: Version,
    room: Room,
    overlay: &mut Overlay,
    stored: &dyn Stored,
) -> Result<Judged> {
    assert!(write.is_conditional(), "the changes of a plain write are its operations");
    assert!(version != Version::NONE, "a write has a version");
    assert!(overlay.is_kept(), "one write is judged after the other");
    let mut bench = Bench {
        write,
        version,
        room,
        overlay,
        stored,
        changes: Vec::with_capacity(write.operation_count().min(FEW_CHANGES)),
        results: Vec::new(),
        told_bytes: 0,
    };
    let failed = bench.first_false()?;
    // What the conditions learned of the state before is true whatever comes of the write.
    bench.overlay.keep();
    let refusal = match failed {
        None => {
            let refusal = bench.run(write.then())?;
            let too = planted::has(Fault::ElseListAppliedToo);
            if too && refusal.is_none() { bench.run(write.otherwise())? } else { refusal }
        }
        Some(precondition) if write.otherwise().next().is_none() => {
            Some(Refusal { code: Code::PreconditionFailed, precondition: Some(precondition) })
        }
        Some(_) => bench.run(write.otherwise())?,
    };
    let Bench { overlay, changes, results, .. } = bench;
    if let Some(refusal) = refusal {
        overlay.take_back();
        return Ok(Judged::Refused(refusal));
    }
    assert!(changes.len() <= write.operation_count(), "an operation has one change at most");
    assert!(results.len() <= write.operation_count(), "and one result");
    overlay.keep();
    Ok(Judged::Applied { changes, effects: Effects { failed, results } })
}

/// One write that is being judged.
struct Bench<'a> {
    write: &'a Write,
    version: Version,
    room: Room,
    overlay: &'a mut Overlay,
    stored: &'a dyn Stored,
    changes: Vec<OwnedChange>,
    results: Vec<(u32, OpResult)>,
    /// Of all results.
    told_bytes: usize,
}

impl<'a> Bench<'a> {
    /// The first condition that is false.
    fn first_false(&mut self) -> Result<Option<Precondition>> {
        for (operation, condition) in self.write.conditions() {
            let seen = match condition {
                Operation::IfRange { begin, end, seen } => {
                    let is_true = self.is_as_seen(begin, end, &RangeDigest::decode(seen))?;
                    (!is_true).then_some(Version::NONE)
                }
                Operation::IfValue { key, value } => {
                    let found = self.get(key)?;
                    let is_true = found.as_ref().is_some_and(|(there, _)| there == value);
                    (!is_true).then_some(found.map_or(Version::NONE, |(_, version)| version))
                }
                Operation::IfAbsent { key } => {
                    Some(self.version_of(key)?).filter(|now| *now != Version::NONE)
                }
                Operation::IfPresent { key } => {
                    Some(self.version_of(key)?).filter(|now| *now == Version::NONE)
                }
                Operation::IfVersion { key, version } => {
                    Some(self.version_of(key)?).filter(|now| *now != version)
                }
                other => unreachable!("{other:?} is no condition"),
            };
            if let Some(version) = seen {
                return Ok(Some(Precondition { operation, exists: version != Version::NONE, version }));
            }
        }
        Ok(None)
    }

    /// Does a list; the refusal, if one of its operations cannot be done.
    fn run(&mut self, list: impl Iterator<Item = (u32, Operation<'a>)>) -> Result<Option<Refusal>> {
        for (number, operation) in list {
            let result = match operation {
                Operation::Add { key, delta } => match self.add(number, key, delta)? {
                    Ok(sum) => Some(OpResult::Sum(sum)),
                    Err(refusal) => return Ok(Some(refusal)),
                },
                Operation::PutVersioned { prefix, value } => Some(self.put_versioned(number, prefix, value)),
                Operation::Pop { key } => Some(self.pop(key)?),
                Operation::TakeFirst { begin, end } => Some(self.take_first(begin, end)?),
                plain => {
                    let change = plain.as_change().expect("conditions are in no list");
                    self.change(self.write.owned(change));
                    None
                }
            };
            if let Some(result) = result
                && let Some(refusal) = self.tell(number, result)
            {
                return Ok(Some(refusal));
            }
        }
        Ok(None)
    }

    /// Keeps a result. What is told of one write must fit where its answer travels, and what is told of all writes of an
    /// entry into memory.
    fn tell(&mut self, number: u32, result: OpResult) -> Option<Refusal> {
        self.told_bytes += result.payload_bytes();
        let refused = match self.told_bytes {
            told if told > BATCH_BYTES_MAX => Some(Code::TooLarge),
            told if !self.room.has(told) => Some(Code::Overloaded),
            _ => None,
        };
        if let Some(code) = refused {
            let version = match result {
                OpResult::Value { version, .. } => version,
                _ => Version::NONE,
            };
            return Some(refusal(code, number, version));
        }
        let last = self.results.last();
        assert!(last.is_none_or(|(last, _)| *last < number), "results are in the order of the list");
        self.results.push((number, result));
        None
    }

    fn add(&mut self, number: u32, key: &[u8], delta: i64) -> Result<std::result::Result<i64, Refusal>> {
        let found = self.get(key)?;
        let (before, version) = match &found {
            None => (Some(0), Version::NONE),
            Some((value, version)) => (value[..].try_into().ok().map(i64::from_le_bytes), *version),
        };
        let Some(sum) = before.and_then(|before| before.checked_add(delta)) else {
            return Ok(Err(refusal(Code::NotANumber, number, version)));
        };
        let value = Bytes::copy_from_slice(&sum.to_le_bytes());
        self.change(OwnedChange::Put { key: self.write.share(key), value });
        Ok(Ok(sum))
    }

    fn put_versioned(&mut self, number: u32, prefix: &[u8], value: &[u8]) -> OpResult {
        let key = Bytes::from(versioned_key(prefix, self.version, number));
        self.change(OwnedChange::Put { key: key.clone(), value: self.write.share(value) });
        OpResult::Key(key)
    }

    fn pop(&mut self, key: &[u8]) -> Result<OpResult> {
        let Some((value, version)) = self.get(key)? else { return Ok(OpResult::Nothing) };
        let key = self.write.share(key);
        self.change(OwnedChange::Delete { key: key.clone() });
        Ok(OpResult::Value { key, value, version })
    }

    fn take_first(&mut self, begin: &[u8], end: &[u8]) -> Result<OpResult> {
        let (begin, end) = (self.write.share(begin), self.write.share(end));
        let mut first = None;
        self.overlay.scan(self.stored, &begin, &end, &mut |key, value, version| {
            first = Some((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value), version));
            ControlFlow::Break(())
        })?;
        let Some((key, value, version)) = first else { return Ok(OpResult::Nothing) };
        assert!(version <= self.version, "no later write has been applied");
        assert!(key >= begin && End(end).is_behind(&key), "a scan stays in its range");
        // Nothing was before it, so the next one who takes begins behind it.
        let behind = Bytes::from([&key[..], &[0]].concat());
        self.overlay.empty(begin, End(behind));
        self.changes.push(OwnedChange::Delete { key: key.clone() });
        Ok(OpResult::Value { key, value, version })
    }

    fn change(&mut self, change: OwnedChange) {
        self.overlay.change(&change, self.version);
        self.changes.push(change);
    }

    /// Whether a range is as it was seen. It is not as soon as it has more keys or bytes, so no more are looked at.
    fn is_as_seen(&mut self, begin: &[u8], end: &[u8], seen: &RangeDigest) -> Result<bool> {
        let (begin, end) = (self.write.share(begin), self.write.share(end));
        let mut now = Digester::default();
        let own = self.version;
        self.overlay.scan(self.stored, &begin, &end, &mut |key, value, version| {
            assert!(version <= own, "no later write has been applied");
            now.add(key, value.len(), version);
            if now.is_beyond(seen) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(now.finish() == *seen)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let found = match self.overlay.look(key) {
            Some(known) => known.cloned(),
            None => self.stored.get(key)?,
        };
        let version = found.as_ref().map_or(Version::NONE, |(_, version)| *version);
        assert!(version <= self.version, "no later write has been applied");
        assert!(found.is_none() || version != Version::NONE, "what is there has a version");
        Ok(found)
    }

    fn version_of(&self, key: &[u8]) -> Result<Version> {
        let version = match self.overlay.look(key) {
            Some(known) => known.map_or(Version::NONE, |(_, version)| *version),
            None => self.stored.version_of(key)?,
        };
        assert!(version <= self.version, "no later write has been applied");
        Ok(version)
    }
}

/// An engine without data.
#[cfg(any(test, feature = "simulation"))]
pub(crate) struct NoData;

#[cfg(any(test, feature = "simulation"))]
impl Stored for NoData {
    fn get(&self, _key: &[u8]) -> Result<Option<Found>> {
        Ok(None)
    }

    fn version_of(&self, _key: &[u8]) -> Result<Version> {
        Ok(Version::NONE)
    }

    fn scan(&self, _begin: &[u8], _end: &[u8], _each: &mut crate::core::stored::Each<'_>) -> Result<()> {
        Ok(())
    }
}

fn refusal(code: Code, operation: u32, version: Version) -> Refusal {
    let exists = version != Version::NONE;
    Refusal { code, precondition: Some(Precondition { operation, exists, version }) }
}
