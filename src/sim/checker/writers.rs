//! Recovers the writer of a value.
//!
//! Owns the index from (key, value) to the write that produced it, and the checks that the history is well-formed. What
//! always holds: every value has at most one writer, so histories are *recoverable* (Elle): what a read returned names
//! the write it depends on. When writes took effect is left to others.

use std::collections::HashMap;

use super::history::{Change, Key, Operation, Verdict};
use super::violation::{Anomaly, Violation};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Register,
    List,
}

/// The writer of a value or an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    /// The write.
    pub write: usize,
    /// False for an intermediate value, which a later change of the same batch overwrote: no state ever holds it.
    pub is_final: bool,
    /// Whether some read shows it.
    pub is_read: bool,
}

/// See the module. Only looked up, never iterated, so its order does not matter.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    by_value: HashMap<(Key, u64), Writer>,
    kinds: HashMap<Key, Kind>,
}

impl Writers {
    /// Indexes the writes, and refuses a malformed history.
    pub(crate) fn of(history: &[Operation]) -> Result<Writers, Violation> {
        let mut writers = Writers::default();
        for (operation, recorded) in history.iter().enumerate() {
            check_times(history, operation)?;
            for (place, &(key, change)) in recorded.changes().iter().enumerate() {
                writers.note_kind(history, operation, key, kind_of(change))?;
                let is_final = is_final_change(&recorded.changes()[place + 1..], key, change);
                writers.note_value(history, operation, key, change, is_final)?;
            }
        }
        Ok(writers)
    }

    /// The write that produced what `reader` found at `key`.
    pub(crate) fn writer_of(
        &self,
        history: &[Operation],
        reader: usize,
        key: Key,
        value: u64,
    ) -> Result<usize, Violation> {
        let found = self.by_value.get(&(key, value)).copied();
        let found_text = format!("#{reader} read {value} at key {key}");
        let refuse = |anomaly, operations: &[usize], why: &str| {
            Err(Violation::plain(history, anomaly, operations, format!("{found_text}, {why}")))
        };
        match found {
            None => refuse(Anomaly::GarbageRead, &[reader], "which nobody wrote"),
            Some(Writer { write, .. }) if history[write].verdict == Verdict::NotApplied => {
                refuse(Anomaly::AbortedRead, &[write, reader], "whose write was answered with not applied")
            }
            Some(Writer { write, is_final: false, .. }) => refuse(
                Anomaly::IntermediateRead,
                &[write, reader],
                "an intermediate value, which its own batch overwrote: no state holds it",
            ),
            Some(Writer { write, .. }) if write == reader => {
                refuse(Anomaly::FutureRead, &[reader], "which it wrote itself, afterwards")
            }
            Some(Writer { write, .. }) => Ok(write),
        }
    }

    /// Notes that `key` is of `kind`, as it must be everywhere.
    pub(crate) fn note_kind(
        &mut self,
        history: &[Operation],
        operation: usize,
        key: Key,
        kind: Kind,
    ) -> Result<(), Violation> {
        if *self.kinds.entry(key).or_insert(kind) == kind {
            return Ok(());
        }
        Err(malformed(history, operation, format!("key {key} is used as a register and as a list")))
    }

    /// Notes that some read shows `value` at `key`.
    pub(crate) fn note_read(&mut self, key: Key, value: u64) {
        let writer = self.by_value.get_mut(&(key, value));
        writer.expect("only values with a writer are noted").is_read = true;
    }

    /// Whether some read shows `value` at `key`.
    pub(crate) fn is_read(&self, key: Key, value: u64) -> bool {
        self.by_value.get(&(key, value)).is_some_and(|writer| writer.is_read)
    }

    fn note_value(
        &mut self,
        history: &[Operation],
        write: usize,
        key: Key,
        change: Change,
        is_final: bool,
    ) -> Result<(), Violation> {
        let (Change::Set(value) | Change::Append(value)) = change else { return Ok(()) };
        match self.by_value.insert((key, value), Writer { write, is_final, is_read: false }) {
            None => Ok(()),
            Some(_) => {
                Err(malformed(history, write, format!("{value} is written to key {key} a second time")))
            }
        }
    }
}

fn kind_of(change: Change) -> Kind {
    match change {
        Change::Set(_) | Change::Clear => Kind::Register,
        Change::Append(_) => Kind::List,
    }
}

fn is_final_change(later: &[(Key, Change)], key: Key, change: Change) -> bool {
    matches!(change, Change::Append(_)) || later.iter().all(|&(other, _)| other != key)
}

fn check_times(history: &[Operation], operation: usize) -> Result<(), Violation> {
    let recorded = &history[operation];
    if recorded.completed.is_some_and(|completed| completed <= recorded.invoked) {
        return Err(malformed(history, operation, "its response precedes its invocation".to_string()));
    }
    if recorded.completed.is_none() && recorded.verdict != Verdict::Unknown {
        return Err(malformed(history, operation, "it has a verdict but no response".to_string()));
    }
    Ok(())
}

fn malformed(history: &[Operation], operation: usize, why: String) -> Violation {
    Violation::plain(history, Anomaly::Malformed, &[operation], why)
}
