//! What a conditional write does, by the plainest code.
//!
//! Owns a second implementation of the judge for the model of the log. It shares no code with the first but the form of
//! commands and of digests: everything is looked up in one map, carried out there, and undone when it is refused.

use std::ops::Bound;

use bytes::Bytes;

use crate::core::change::Change;
use crate::core::command::{Operation, Write};
use crate::core::digest::{Digester, RangeDigest};
use crate::effects::{Effects, OpResult, Precondition};
use crate::error::{Code, Refusal};
use crate::sim::disk::{Data, Versioned, carry_out};
use crate::types::Version;

/// What becomes of a write: what is told, and by how much the digest of the data changes.
pub(crate) type Decided = (Result<Effects, Refusal>, u64);

/// Carries out `write` on `data`, if it is not refused.
pub(crate) fn decide(data: &mut Data, write: &Write, version: Version) -> Decided {
    let operations: Vec<_> = write.operations().collect();
    let border = operations.iter().position(|operation| *operation == Operation::Otherwise);
    let border = border.unwrap_or(operations.len());
    let is_false = |&at: &usize| !is_true(data, operations[at]);
    let failed = (0..border).find(is_false).map(|at| found_at(data, at, operations[at]));
    let list = match failed {
        None => 0..border,
        Some(_) if border + 1 < operations.len() => border + 1..operations.len(),
        Some(found) => return (Err(refusal(Code::PreconditionFailed, found)), 0),
    };
    let mut bench = Bench { data, version, undo: Vec::new(), digest: 0, results: Vec::new() };
    for at in list {
        if let Err(refusal) = bench.carry_out(at, operations[at]) {
            bench.take_back();
            return (Err(refusal), 0);
        }
    }
    (Ok(Effects { failed, results: bench.results }), bench.digest)
}

/// True for what is no condition.
fn is_true(data: &Data, operation: Operation<'_>) -> bool {
    match operation {
        Operation::IfAbsent { key } => !data.contains_key(key),
        Operation::IfPresent { key } => data.contains_key(key),
        Operation::IfVersion { key, version } => version_in(data, key) == version,
        Operation::IfValue { key, value } => data.get(key).is_some_and(|stored| stored.value == value),
        Operation::IfRange { begin, end, seen } => {
            let mut digester = Digester::default();
            for (key, stored) in inside(data, begin, end) {
                digester.add(key, stored.value.len(), stored.version);
            }
            digester.finish() == RangeDigest::decode(seen)
        }
        _ => true,
    }
}

fn version_in(data: &Data, key: &[u8]) -> Version {
    data.get(key).map_or(Version::NONE, |stored| stored.version)
}

/// What there was at the key of an operation; nothing for a range.
fn found_at(data: &Data, at: usize, operation: Operation<'_>) -> Precondition {
    let version = match operation {
        Operation::IfAbsent { key } | Operation::IfPresent { key } | Operation::Add { key, .. } => {
            version_in(data, key)
        }
        Operation::IfVersion { key, .. } | Operation::IfValue { key, .. } => version_in(data, key),
        _ => Version::NONE,
    };
    Precondition { operation: at as u32, exists: version != Version::NONE, version }
}

fn refusal(code: Code, precondition: Precondition) -> Refusal {
    Refusal { code, precondition: Some(precondition) }
}

fn inside<'a>(
    data: &'a Data,
    begin: &[u8],
    end: &[u8],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a Versioned)> {
    let end = end.to_vec();
    let from = data.range::<[u8], _>((Bound::Included(begin), Bound::Unbounded));
    from.take_while(move |(key, _)| end.is_empty() || **key < end)
}

/// A list that is being done.
struct Bench<'a> {
    data: &'a mut Data,
    version: Version,
    /// What was there before each change.
    undo: Vec<(Vec<u8>, Option<Versioned>)>,
    digest: u64,
    results: Vec<(u32, OpResult)>,
}

impl Bench<'_> {
    fn carry_out(&mut self, at: usize, operation: Operation<'_>) -> Result<(), Refusal> {
        let number = at as u32;
        let result = match operation {
            Operation::Put { .. } | Operation::Delete { .. } => {
                self.change(operation.as_change().expect("it is one"));
                return Ok(());
            }
            Operation::DeleteRange { begin, end } => {
                let keys: Vec<_> = inside(self.data, begin, end).map(|(key, _)| key.clone()).collect();
                keys.iter().filter(|_| begin < end).for_each(|key| self.change(Change::Delete { key }));
                return Ok(());
            }
            Operation::Add { key, delta } => {
                let before = self.data.get(key).map_or(Some([0; 8]), |found| found.value[..].try_into().ok());
                let sum = before.and_then(|bytes| i64::from_le_bytes(bytes).checked_add(delta));
                let sum = sum.ok_or_else(|| refusal(Code::NotANumber, found_at(self.data, at, operation)))?;
                self.change(Change::Put { key, value: &sum.to_le_bytes() });
                OpResult::Sum(sum)
            }
            Operation::PutVersioned { prefix, value } => {
                let mut key = prefix.to_vec();
                key.extend_from_slice(&self.version.get().to_be_bytes());
                key.extend_from_slice(&(at as u16).to_be_bytes());
                self.change(Change::Put { key: &key, value });
                OpResult::Key(Bytes::from(key))
            }
            Operation::Pop { key } => self.take(self.data.contains_key(key).then(|| key.to_vec())),
            Operation::TakeFirst { begin, end } => {
                let first = inside(self.data, begin, end).next().map(|(key, _)| key.clone());
                self.take(first)
            }
            _ => return Ok(()),
        };
        self.results.push((number, result));
        Ok(())
    }

    fn take(&mut self, key: Option<Vec<u8>>) -> OpResult {
        let Some(key) = key else { return OpResult::Nothing };
        let Versioned { value, version } = self.data[&key].clone();
        self.change(Change::Delete { key: &key });
        OpResult::Value { key: key.into(), value: value.into(), version }
    }

    fn change(&mut self, change: Change<'_>) {
        if let Change::Put { key, .. } | Change::Delete { key } = change {
            self.undo.push((key.to_vec(), self.data.get(key).cloned()));
        }
        self.digest = self.digest.wrapping_add(carry_out(self.data, change, self.version));
    }

    fn take_back(self) {
        for (key, before) in self.undo.into_iter().rev() {
            match before {
                Some(stored) => _ = self.data.insert(key, stored),
                None => _ = self.data.remove(&key),
            }
        }
    }
}
