//! What clients did and what they were told: the input of the checker.
//!
//! Owns the vocabulary of a recorded history. What always holds of a well-formed history: times are unique numbers
//! of events in their true order; a value is written once to a key, an element appended once to a list; a key is a
//! register or a list for the whole history. The checker verifies all of it and leaves the recording to others.

use std::collections::BTreeSet;

/// A register, or a list as a whole.
pub type Key = u32;

/// What a client was told about its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect between its call and its answer.
    Ok,
    /// It certainly did not take effect and never will.
    NotApplied,
    /// It took effect once, at any time after its call (even after its answer), or never. Also: no answer.
    Unknown,
}

/// What a write does to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Gives the register this value. The last change of a batch to a register is the one that counts.
    Set(u64),
    /// Deletes the register, which then reads as None. Deletes cannot be told apart.
    Clear,
    /// Adds the element to the list.
    Append(u64),
}

/// What a read found at one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The value; None when there was none: never set, or deleted.
    Register(Option<u64>),
    /// The elements, of which the order says nothing.
    List(BTreeSet<u64>),
}

/// How recent the state shown by a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The state at some moment between call and answer.
    Linearizable,
    /// The state at some moment before the answer, however long ago.
    Local,
}

/// What a client called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All changes at one moment.
    Write(Vec<(Key, Change)>),
    /// Everything it shows, from one moment.
    Read {
        /// How recent.
        level: Level,
        /// What it found; empty when it was not answered with Ok.
        observed: Vec<(Key, Observed)>,
    },
}

/// One call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who called. Only for messages: a client may have many calls under way.
    pub client: u32,
    /// When the call was made.
    pub invoked: u64,
    /// When it was answered; None means never.
    pub completed: Option<u64>,
    /// What was answered.
    pub verdict: Verdict,
    /// What was called.
    pub action: Action,
    /// Position in the log, where the store told it: of a write, its entry; of a read, "this state or newer". Never
    /// trusted: it is compared with what the history itself allows.
    pub index: Option<u64>,
}

impl Operation {
    /// Whether it is a write.
    pub fn is_write(&self) -> bool {
        matches!(self.action, Action::Write(_))
    }

    /// Its changes; none for a read.
    pub fn changes(&self) -> &[(Key, Change)] {
        match &self.action {
            Action::Write(changes) => changes,
            Action::Read { .. } => &[],
        }
    }

    /// What it saw; nothing unless it is a read that was answered with Ok.
    pub fn observed(&self) -> &[(Key, Observed)] {
        match &self.action {
            Action::Read { observed, .. } if self.verdict == Verdict::Ok => observed,
            _ => &[],
        }
    }

    /// Whether it is a read that may show an old state.
    pub fn is_local(&self) -> bool {
        matches!(self.action, Action::Read { level: Level::Local, .. })
    }
}
