//! Who wrote what.
//!
//! Owns the index from (key, value) to the write that produced it, and the demands on the recorder. What always
//! holds: a value is found under at most one write, so what a read saw names the write it follows. It leaves when
//! writes took effect to others.

use std::collections::HashMap;

use super::history::{Change, Key, Operation, Verdict};
use super::violation::{Rule, Violation};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Register,
    List,
}

/// The producer of a value or an element.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The write.
    pub write: usize,
    /// False when a later change of the same batch replaced it: no state ever holds it.
    pub visible: bool,
    /// Whether some read shows it.
    pub seen: bool,
}

/// See the module. Only looked up, never iterated: its order means nothing.
#[derive(Debug, Default)]
pub struct Written {
    origins: HashMap<(Key, u64), Origin>,
    kinds: HashMap<Key, Kind>,
}

impl Written {
    /// Indexes the writes, and refuses a history that breaks the recorder's rules.
    pub fn of(history: &[Operation]) -> Result<Written, Violation> {
        let mut written = Written::default();
        for (operation, recorded) in history.iter().enumerate() {
            check_times(history, operation)?;
            for (place, &(key, change)) in recorded.changes().iter().enumerate() {
                written.note_kind(history, operation, key, kind_of(change))?;
                let visible = is_visible(&recorded.changes()[place + 1..], key, change);
                written.note_value(history, operation, key, change, visible)?;
            }
        }
        Ok(written)
    }

    /// The write that produced what `reader` found at `key`.
    pub fn origin(
        &self,
        history: &[Operation],
        reader: usize,
        key: Key,
        value: u64,
    ) -> Result<usize, Violation> {
        let found = self.origins.get(&(key, value)).copied();
        let seen = format!("#{reader} found {value} at key {key}");
        let refuse = |rule, operations: &[usize], why: &str| {
            Err(Violation::plain(history, rule, operations, format!("{seen}, {why}")))
        };
        match found {
            None => refuse(Rule::NeverWritten, &[reader], "which nobody wrote"),
            Some(Origin { write, .. }) if history[write].verdict == Verdict::NotApplied => refuse(
                Rule::NotAppliedSeen,
                &[write, reader],
                "whose write was answered: certainly not applied",
            ),
            Some(Origin { write, visible: false, .. }) => {
                refuse(Rule::HalfBatch, &[write, reader], "which its own batch replaced: no state holds it")
            }
            Some(Origin { write, .. }) => Ok(write),
        }
    }

    /// Notes that `key` holds `kind`, which must be so everywhere.
    pub fn note_kind(
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
    pub fn note_seen(&mut self, key: Key, value: u64) {
        let origin = self.origins.get_mut(&(key, value));
        origin.expect("only values with an origin are noted").seen = true;
    }

    /// Whether some read shows `value` at `key`.
    pub fn is_seen(&self, key: Key, value: u64) -> bool {
        self.origins.get(&(key, value)).is_some_and(|origin| origin.seen)
    }

    fn note_value(
        &mut self,
        history: &[Operation],
        write: usize,
        key: Key,
        change: Change,
        visible: bool,
    ) -> Result<(), Violation> {
        let (Change::Set(value) | Change::Append(value)) = change else { return Ok(()) };
        match self.origins.insert((key, value), Origin { write, visible, seen: false }) {
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

fn is_visible(later: &[(Key, Change)], key: Key, change: Change) -> bool {
    matches!(change, Change::Append(_)) || later.iter().all(|&(other, _)| other != key)
}

fn check_times(history: &[Operation], operation: usize) -> Result<(), Violation> {
    let recorded = &history[operation];
    if recorded.completed.is_some_and(|completed| completed <= recorded.invoked) {
        return Err(malformed(history, operation, "it is answered before it is called".to_string()));
    }
    if recorded.completed.is_none() && recorded.verdict != Verdict::Unknown {
        return Err(malformed(history, operation, "it has a verdict but was never answered".to_string()));
    }
    Ok(())
}

fn malformed(history: &[Operation], operation: usize, why: String) -> Violation {
    Violation::plain(history, Rule::Malformed, &[operation], why)
}
