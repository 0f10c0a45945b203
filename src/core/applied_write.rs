//! Writes that take effect.
//!
//! Owns the form in which the applier hands a write to the engine: its changes and the version of what it sets. What
//! always holds: the changes of a plain write are its operations, which nobody copies; those of a write with conditions
//! are what it was judged to change.

use std::slice;

use crate::core::change::{Change, OwnedChange};
use crate::core::command::{OPERATION_OVERHEAD_BYTES, Operations, Write};
use crate::types::Version;

/// A write that takes effect: what it changes, and the version of what it sets.
#[derive(Clone, Debug)]
pub struct AppliedWrite {
    changes: Changes,
    version: Version,
}

#[derive(Clone, Debug)]
enum Changes {
    /// The operations of this write as they stand.
    Plain(Write),
    /// What was computed.
    Judged(Vec<OwnedChange>),
}

impl AppliedWrite {
    /// A write whose operations are its changes.
    #[must_use]
    pub fn plain(write: Write, version: Version) -> Self {
        assert!(!write.is_conditional(), "what is to be judged is judged first");
        assert!(version != Version::NONE, "a write has a version");
        Self { changes: Changes::Plain(write), version }
    }

    /// A write that was judged to change this.
    #[must_use]
    pub(crate) fn judged(changes: Vec<OwnedChange>, version: Version) -> Self {
        assert!(version != Version::NONE, "a write has a version");
        Self { changes: Changes::Judged(changes), version }
    }

    /// The write, if its operations are its changes.
    #[must_use]
    pub(crate) fn as_plain(&self) -> Option<&Write> {
        match &self.changes {
            Changes::Plain(write) => Some(write),
            Changes::Judged(_) => None,
        }
    }

    /// The version of what it sets.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The changes in their order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        match &self.changes {
            Changes::Plain(write) => Walk::Plain(write.operations()),
            Changes::Judged(changes) => Walk::Judged(changes.iter()),
        }
    }

    /// The bytes of the keys and values, and a little more.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        match &self.changes {
            Changes::Plain(write) => write.encoded_bytes(),
            Changes::Judged(changes) => {
                changes.iter().map(|change| change.payload_bytes() + OPERATION_OVERHEAD_BYTES).sum()
            }
        }
    }

    /// How many changes there are.
    #[must_use]
    pub fn change_count(&self) -> usize {
        match &self.changes {
            Changes::Plain(write) => write.operation_count(),
            Changes::Judged(changes) => changes.len(),
        }
    }
}

/// Walks the changes of either kind.
enum Walk<'a> {
    Plain(Operations<'a>),
    Judged(slice::Iter<'a, OwnedChange>),
}

impl<'a> Iterator for Walk<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        match self {
            Self::Plain(operations) => {
                let operation = operations.next()?;
                Some(operation.as_change().expect("a plain write has no other operations"))
            }
            Self::Judged(changes) => changes.next().map(OwnedChange::as_change),
        }
    }
}
