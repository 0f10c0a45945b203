//! What clients invoked and what they were answered: the input of the checker.
//!
//! Owns the types of a recorded history. A well-formed history has unique times that number its events in their true
//! order; each value is written to a key at most once, each element appended to a list at most once; a key is a
//! register or a list throughout. The checker verifies all of this. Recording is left to others.

use std::collections::BTreeSet;

/// Names a register, or a list.
pub(crate) type Key = u32;

/// What a client was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It took effect between its call and its answer.
    Ok,
    /// It certainly did not take effect and never will.
    NotApplied,
    /// It took effect once, at any time after its call (even after its answer), or never. Also the verdict of a call
    /// that was never answered.
    Unknown,
}

/// What a write does to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Sets the register to this value. Of several changes to one register in a batch the last is final.
    Set(u64),
    /// Deletes the register, which then reads as None. Deletes are indistinguishable: their versions are not
    /// recoverable.
    Clear,
    /// Adds the element to the list.
    Append(u64),
}

/// What a read found at one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    /// The value; None when there was none: never set, or deleted.
    Register(Option<u64>),
    /// The elements, as a set: their order carries no information.
    List(BTreeSet<u64>),
}

/// How recent the state returned by a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The state at some point between call and answer.
    Linearizable,
    /// The state at some point before the answer, however long ago.
    Local,
}

/// What a client called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// All changes, atomically.
    Write(Vec<(Key, Change)>),
    /// A look at one state and changes of that same state, as by a conditional write.
    Transaction {
        /// What it found before it changed anything; empty when it was not answered with Ok.
        observed: Vec<(Key, Observed)>,
        /// All changes.
        changes: Vec<(Key, Change)>,
    },
    /// A snapshot: everything it shows is of one state.
    Read {
        /// How recent.
        level: Level,
        /// What it found; empty when it was not answered with Ok.
        observed: Vec<(Key, Observed)>,
    },
}

/// One call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The caller. Only for messages: a client may have many calls outstanding.
    pub client: u32,
    /// When the call was made.
    pub invoked: u64,
    /// When it was answered; None if it never was.
    pub completed: Option<u64>,
    /// What was answered.
    pub verdict: Verdict,
    /// What was called.
    pub action: Action,
    /// The log index, if the store reported one: that of a write's entry; for a read, "this state or newer". It is not
    /// trusted, but compared with what the history itself allows.
    pub index: Option<u64>,
}

impl Operation {
    /// Whether it changes something.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.action, Action::Write(_) | Action::Transaction { .. })
    }

    /// Its changes; none for a read.
    pub(crate) fn changes(&self) -> &[(Key, Change)] {
        match &self.action {
            Action::Write(changes) | Action::Transaction { changes, .. } => changes,
            Action::Read { .. } => &[],
        }
    }

    /// What it returned; nothing unless it was answered with Ok.
    pub(crate) fn observed(&self) -> &[(Key, Observed)] {
        match &self.action {
            Action::Read { observed, .. } | Action::Transaction { observed, .. }
                if self.verdict == Verdict::Ok =>
            {
                observed
            }
            _ => &[],
        }
    }

    /// Whether it is a read that may return an old state.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.action, Action::Read { level: Level::Local, .. })
    }
}
