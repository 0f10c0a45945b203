//! Tests of the judge: each rule by itself, and random writes against a model that knows nothing of overlays.

mod rules;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::core::change::Change;
use crate::core::command::{Command, CommandBuilder};
use crate::core::stored::Each;
use crate::error::Error;
use crate::types::LogIndex;

/// All data of a state machine.
type State = BTreeMap<Vec<u8>, Versioned>;
type Versioned = (Vec<u8>, Version);

/// An engine without a disk, which counts what it is asked.
#[derive(Default)]
struct Engine {
    data: State,
    /// Values that were read.
    values: Cell<usize>,
    /// Versions that were read one by one, and together.
    alone: Cell<usize>,
    together: Cell<usize>,
    /// Scans.
    scans: Cell<usize>,
    /// Keys that they passed.
    passed: Cell<usize>,
    is_broken: bool,
}

impl Engine {
    fn works(&self) -> Result<()> {
        if self.is_broken { Err(Error::new(Code::Io)) } else { Ok(()) }
    }

    /// Takes over the changes of a batch.
    fn take(&mut self, changes: &[OwnedChange], version: Version) {
        for change in changes {
            match change.as_change() {
                Change::Put { key, value } => _ = self.data.insert(key.to_vec(), (value.to_vec(), version)),
                Change::Delete { key } => _ = self.data.remove(key),
                Change::DeleteRange { begin, end } => {
                    self.data.retain(|key, _| key[..] < *begin || key[..] >= *end)
                }
            }
        }
    }
}

impl Stored for Engine {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.values.set(self.values.get() + 1);
        self.works()?;
        Ok(self.data.get(key).map(|(value, version)| (Bytes::copy_from_slice(value), *version)))
    }

    fn version_of(&self, key: &[u8]) -> Result<Version> {
        self.alone.set(self.alone.get() + 1);
        self.works()?;
        Ok(self.data.get(key).map_or(Version::NONE, |(_, version)| *version))
    }

    /// Never of all of them.
    fn versions_of(&self, keys: &[&[u8]]) -> Result<Vec<Version>> {
        let versions = keys.iter().take(keys.len().saturating_sub(1)).map(|key| self.data.get(*key));
        let versions: Vec<_> =
            versions.map(|found| found.map_or(Version::NONE, |(_, version)| *version)).collect();
        self.together.set(self.together.get() + versions.len());
        self.works().map(|()| versions)
    }

    fn scan(&self, begin: &[u8], end: &[u8], each: &mut Each<'_>) -> Result<()> {
        self.works()?;
        self.scans.set(self.scans.get() + 1);
        let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        for (key, (value, version)) in self.data.range::<[u8], _>((Bound::Included(begin), end)) {
            self.passed.set(self.passed.get() + 1);
            if each(key, value, *version).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A write of these operations.
fn write(operations: &[Operation<'_>]) -> Write {
    let mut builder = CommandBuilder::default();
    operations.iter().for_each(|operation| builder.push(*operation));
    match Command::parse(builder.seal(1)) {
        Ok(Command::Write(write)) => write,
        other => panic!("a write, not {other:?}"),
    }
}

fn in_range(key: &[u8], begin: &[u8], end: &[u8]) -> bool {
    key >= begin && (end.is_empty() || key < end)
}

/// What `state` looks like in a range.
fn seen(state: &State, begin: &[u8], end: &[u8]) -> RangeDigest {
    let mut digester = Digester::default();
    let inside = state.iter().filter(|(key, _)| in_range(key, begin, end));
    inside.for_each(|(key, (value, version))| digester.add(key, value.len(), *version));
    digester.finish()
}

/// What a write does, told a second time: it works on a copy of everything.
fn modelled(
    write: &Write,
    version: Version,
    before: &State,
) -> std::result::Result<(State, Effects), Refusal> {
    let about = |operation: u32, key: Option<&[u8]>, state: &State| {
        let version = key.and_then(|key| state.get(key)).map_or(Version::NONE, |(_, version)| *version);
        Precondition { operation, exists: version != Version::NONE, version }
    };
    let failed = write.conditions().find_map(|(number, condition)| {
        let (holds, key) = match condition {
            Operation::IfAbsent { key } => (!before.contains_key(key), Some(key)),
            Operation::IfPresent { key } => (before.contains_key(key), Some(key)),
            Operation::IfVersion { key, version: Version(0) } => (!before.contains_key(key), Some(key)),
            Operation::IfVersion { key, version } => {
                (before.get(key).is_some_and(|(_, there)| *there == version), Some(key))
            }
            Operation::IfValue { key, value } => {
                (before.get(key).is_some_and(|(there, _)| there == value), Some(key))
            }
            Operation::IfRange { begin, end, seen: then } => {
                (seen(before, begin, end).encode() == *then, None)
            }
            other => panic!("{other:?} is no condition"),
        };
        (!holds).then(|| about(number, key, before))
    });
    let list: Vec<_> = if failed.is_none() { write.then().collect() } else { write.otherwise().collect() };
    if failed.is_some() && list.is_empty() {
        return Err(Refusal { code: Code::PreconditionFailed, precondition: failed });
    }
    let (mut after, mut results) = (before.clone(), Vec::new());
    for (number, operation) in list {
        let taken = |taken: Option<(Vec<u8>, Versioned)>| match taken {
            None => OpResult::Nothing,
            Some((key, (value, version))) => {
                OpResult::Value { key: key.into(), value: value.into(), version }
            }
        };
        match operation {
            Operation::Put { key, value } => _ = after.insert(key.to_vec(), (value.to_vec(), version)),
            Operation::Delete { key } => _ = after.remove(key),
            Operation::DeleteRange { begin, end } => {
                after.retain(|key, _| &key[..] < begin || &key[..] >= end)
            }
            Operation::Add { key, delta } => {
                let there = after.get(key).map(|(value, _)| <[u8; 8]>::try_from(&value[..]));
                let sum = match there {
                    None => Some(delta),
                    Some(Ok(there)) => i64::from_le_bytes(there).checked_add(delta),
                    Some(Err(_)) => None,
                };
                let Some(sum) = sum else {
                    let precondition = Some(about(number, Some(key), &after));
                    return Err(Refusal { code: Code::NotANumber, precondition });
                };
                after.insert(key.to_vec(), (sum.to_le_bytes().to_vec(), version));
                results.push((number, OpResult::Sum(sum)));
            }
            Operation::PutVersioned { prefix, value } => {
                let mut key = prefix.to_vec();
                key.extend(version.get().to_be_bytes());
                key.extend((number as u16).to_be_bytes());
                after.insert(key.clone(), (value.to_vec(), version));
                results.push((number, OpResult::Key(key.into())));
            }
            Operation::Pop { key } => results.push((number, taken(after.remove_entry(key)))),
            Operation::TakeFirst { begin, end } => {
                let first = after.keys().find(|key| in_range(key, begin, end)).cloned();
                results.push((number, taken(first.and_then(|first| after.remove_entry(&first)))));
            }
            other => panic!("{other:?} is in no list"),
        }
    }
    Ok((after, Effects { failed, results }))
}

/// An operation that owns its bytes; the numbers choose what it expects.
#[derive(Clone, Debug)]
struct Drawn {
    tag: u8,
    first: Vec<u8>,
    second: Vec<u8>,
    /// A condition mostly expects what is there.
    is_right: bool,
}

/// The operations as they are built, with what they expect of `state`.
fn built(drawn: &[Drawn], state: &State) -> Write {
    let ranges: Vec<_> =
        drawn.iter().map(|drawn| seen(state, &drawn.first, &drawn.second).encode()).collect();
    let mut stale = ranges.clone();
    stale.iter_mut().for_each(|seen| seen[3] ^= 1);
    let operations = drawn.iter().enumerate().map(|(at, drawn)| {
        let (first, second): (&[u8], &[u8]) = (&drawn.first, &drawn.second);
        let there = state.get(first);
        match drawn.tag {
            0 | 1 => Operation::Put { key: first, value: second },
            2 => Operation::Delete { key: first },
            3 => Operation::DeleteRange { begin: first, end: second },
            4 => Operation::Add { key: first, delta: if drawn.is_right { 3 } else { i64::MAX - 3 } },
            5 => Operation::PutVersioned { prefix: first, value: second },
            6 => Operation::Pop { key: first },
            7 => Operation::TakeFirst { begin: first, end: second },
            8 if there.is_some() == drawn.is_right => Operation::IfPresent { key: first },
            8 => Operation::IfAbsent { key: first },
            9 => {
                let now = there.map_or(0, |(_, version)| version.get());
                Operation::IfVersion { key: first, version: Version(now + u64::from(!drawn.is_right)) }
            }
            10 => match there {
                Some((value, _)) if drawn.is_right => Operation::IfValue { key: first, value },
                _ if drawn.is_right => Operation::IfAbsent { key: first },
                _ => Operation::IfValue { key: first, value: second },
            },
            11 => {
                let seen = if drawn.is_right { &ranges[at] } else { &stale[at] };
                Operation::IfRange { begin: first, end: second, seen }
            }
            _ => Operation::Otherwise,
        }
    });
    write(&operations.collect::<Vec<_>>())
}

/// Any write: plain, or with conditions, or with another list too.
fn any_write() -> impl Strategy<Value = Vec<Drawn>> {
    let key = || vec(prop::sample::select(&b"abc"[..]), 0..3);
    let value = || prop_oneof![3 => key(), 1 => any::<[u8; 8]>().prop_map(|number| number.to_vec())];
    let one =
        move |tags: std::ops::Range<u8>| {
            (tags, key(), value(), prop::bool::weighted(0.85))
                .prop_map(|(tag, first, second, is_right)| Drawn { tag, first, second, is_right })
        };
    let otherwise = Drawn { tag: 12, first: Vec::new(), second: Vec::new(), is_right: true };
    prop_oneof![
        2 => vec(one(0..4), 1..4),
        3 => vec(one(0..12), 1..6),
        2 => (vec(one(0..12), 0..4), vec(one(0..8), 0..4)).prop_map(move |(mut then, other)| {
            then.push(otherwise.clone());
            then.extend(other);
            then
        }),
    ]
}

/// What the overlay and the engine show together.
fn shown(overlay: &Overlay, engine: &Engine) -> State {
    let mut state = State::new();
    let all = Bytes::new();
    let show = &mut |key: &[u8], value: &[u8], version| {
        state.insert(key.to_vec(), (value.to_vec(), version));
        ControlFlow::Continue(())
    };
    overlay.clone().scan(engine, &all, &all, show).expect("it works");
    state
}

#[test]
fn random_writes_do_what_the_model_says_wherever_batches_end() {
    let config = Config { cases: 10_000, failure_persistence: None, ..Config::default() };
    let (applied, refused, other) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |counter: &Cell<usize>| counter.set(counter.get() + 1);

    let every_key =
        [&b""[..], b"a", b"b", b"c", b"aa", b"ab", b"ac", b"ba", b"bb", b"bc", b"ca", b"cb", b"cc"];
    let every_key = [write(&every_key.map(|key| Operation::IfAbsent { key }))];
    let steps = vec((any_write(), prop::bool::weighted(0.2)), 1..16);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let (mut engine, mut overlay, mut state) = (Engine::default(), Overlay::default(), State::new());
        let mut batch = Vec::new();
        for (number, (drawn, ends_batch)) in steps.iter().enumerate() {
            let write = built(drawn, &state);
            let version = Version::of(LogIndex(6), number as u16);
            let wanted = modelled(&write, version, &state);

            if write.is_conditional() {
                // As before the first write of the batch: the engine has taken nothing since.
                let ahead = ReadAhead::of(&every_key, &Overlay::default(), &engine).expect("it works");
                match (
                    judge(&write, version, Room::behind(0), &mut overlay, &ahead).expect("it works"),
                    wanted,
                ) {
                    (Judged::Applied { changes, effects }, Ok((after, wanted))) => {
                        count(if effects.failed.is_some() { &other } else { &applied });
                        prop_assert_eq!(effects, wanted);
                        batch.push((changes, version));
                        state = after;
                    }
                    (Judged::Refused(refusal), Err(wanted)) => {
                        count(&refused);
                        prop_assert_eq!(refusal, wanted);
                    }
                    (judged, wanted) => panic!("{judged:?}, not {wanted:?}"),
                }
            } else {
                overlay.note(&write, version);
                let changes = write.operations().filter_map(|operation| operation.as_change());
                batch.push((changes.map(|change| write.owned(change)).collect(), version));
                state = wanted.expect("it has no condition").0;
            }
            prop_assert_eq!(&shown(&overlay, &engine), &state);
            for (key, known) in &state {
                let found = overlay.look(key).unwrap_or(None).map(|(_, version)| *version);
                prop_assert_eq!(found.unwrap_or_else(|| engine.data[key].1), known.1);
            }

            if *ends_batch {
                batch.drain(..).for_each(|(changes, version)| engine.take(&changes, version));
                overlay = Overlay::default();
                prop_assert_eq!(&engine.data, &state);
            }
        }
        Ok(())
    });

    outcome.expect("the judge and the model agree");
    let seen = [applied.get(), refused.get(), other.get()];
    assert!(seen.iter().all(|count| *count > 1000), "each of them happens: {seen:?}");
}
