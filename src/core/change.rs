//! What a write does to the data in the end.
//!
//! Owns the form in which the applier hands writes to the engine. What always holds: a change needs no look at the data
//! to be carried out. What was to be judged or computed is left to what comes before (`judge.rs`).

use bytes::Bytes;

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

    /// Bytes of its keys and value.
    #[must_use]
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::DeleteRange { begin, end } => begin.len() + end.len(),
        }
    }
}
