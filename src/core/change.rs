//! What a write does to the data in the end.
//!
//! Owns the form in which the applier hands writes to the engine. What always holds: a change needs no look at the data
//! to be carried out. What was to be judged or computed is left to what comes before (`judge.rs`).

use bytes::Bytes;

use crate::core::command::{OPERATION_OVERHEAD_BYTES, Operation, Write};
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

/// A [`Change`] that keeps its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedChange {
    /// Sets `key` to `value`.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes `key`.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Removes every key in `begin..end`.
    DeleteRange {
        /// The first key removed.
        begin: Bytes,
        /// The first key kept.
        end: Bytes,
    },
}

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
        Self { changes: Changes::Plain(write), version }
    }

    /// A write that was judged to change this.
    #[must_use]
    pub(crate) fn judged(changes: Vec<OwnedChange>, version: Version) -> Self {
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
        let (plain, judged) = match &self.changes {
            Changes::Plain(write) => (Some(write.operations()), &[][..]),
            Changes::Judged(changes) => (None, &changes[..]),
        };
        plain.into_iter().flatten().map(plain_change).chain(judged.iter().map(OwnedChange::as_change))
    }

    /// The bytes of the keys and values, and a little more.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        match &self.changes {
            Changes::Plain(write) => write.encoded_bytes(),
            Changes::Judged(changes) => changes.iter().map(OwnedChange::encoded_bytes).sum(),
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

fn plain_change(operation: Operation<'_>) -> Change<'_> {
    operation.as_change().expect("a plain write has no other operations")
}

impl<'a> Change<'a> {
    /// The key that it sets.
    #[must_use]
    pub fn put_key(self) -> Option<&'a [u8]> {
        match self {
            Self::Put { key, .. } => Some(key),
            Self::Delete { .. } | Self::DeleteRange { .. } => None,
        }
    }
}

impl OwnedChange {
    /// The change, borrowed.
    #[must_use]
    pub(crate) fn as_change(&self) -> Change<'_> {
        match self {
            Self::Put { key, value } => Change::Put { key, value },
            Self::Delete { key } => Change::Delete { key },
            Self::DeleteRange { begin, end } => Change::DeleteRange { begin, end },
        }
    }

    fn encoded_bytes(&self) -> usize {
        let (first, second) = match self {
            Self::Put { key, value } => (key.len(), value.len()),
            Self::Delete { key } => (key.len(), 0),
            Self::DeleteRange { begin, end } => (begin.len(), end.len()),
        };
        first + second + OPERATION_OVERHEAD_BYTES
    }
}
