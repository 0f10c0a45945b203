//! What a write does to the data in the end.
//!
//! Owns the form in which the applier hands writes to the engine. What always holds: a change needs no look at the data
//! to be carried out. What was to be judged or computed is left to what comes before (`judge.rs`).

use crate::core::command::{Operation, Write};
use crate::types::Version;

/// One change of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Sets `key` to `value`.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// Removes `key`.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes every key in `begin..end`.
    DeleteRange {
        /// The first key removed.
        begin: &'a [u8],
        /// The first key kept.
        end: &'a [u8],
    },
}

/// A write that takes effect: what it changes, and the version of what it sets.
#[derive(Clone, Debug)]
pub struct AppliedWrite {
    write: Write,
    version: Version,
}

impl AppliedWrite {
    /// A write whose operations are its changes.
    #[must_use]
    pub fn plain(write: Write, version: Version) -> Self {
        Self { write, version }
    }

    /// The version of what it sets.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The changes in their order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.write.operations().map(Change::of)
    }

    /// About how much it takes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.write.encoded_bytes()
    }

    /// How many changes there are.
    #[must_use]
    pub fn change_count(&self) -> usize {
        self.write.operation_count()
    }
}

impl<'a> Change<'a> {
    fn of(operation: Operation<'a>) -> Self {
        match operation {
            Operation::Put { key, value } => Self::Put { key, value },
            Operation::Delete { key } => Self::Delete { key },
            Operation::DeleteRange { begin, end } => Self::DeleteRange { begin, end },
        }
    }

    /// The key that it sets.
    #[must_use]
    pub fn put_key(self) -> Option<&'a [u8]> {
        match self {
            Self::Put { key, .. } => Some(key),
            Self::Delete { .. } | Self::DeleteRange { .. } => None,
        }
    }
}
