//! What a write finds and computes where it is applied.
//!
//! Owns the words for it that callers, answers and the wire share. What always holds: all of it follows from the log
//! and the data alone, so every member finds the same. An operation is named by its number in its batch, with
//! conditions and both lists counted.

use bytes::Bytes;

use crate::types::Version;

/// A condition that was false, or an operation that could not be done, and what its key was like then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// The number of the operation.
    pub operation: u32,
    /// Whether the key was there. False for a condition on a range.
    pub exists: bool,
    /// The version it had; none for a condition on a range.
    pub version: Version,
}

/// What an operation that computes something came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// There was nothing to take.
    Nothing,
    /// The sum.
    Sum(i64),
    /// The key that was made.
    Key(Bytes),
    /// What was taken.
    Value {
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
        /// Its version.
        version: Version,
    },
}

impl OpResult {
    /// Bytes of keys and values.
    #[must_use]
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Sum(_) => 0,
            Self::Key(key) => key.len(),
            Self::Value { key, value, .. } => key.len() + value.len(),
        }
    }
}

/// What a conditional write that was applied tells beyond that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The condition that was false, and so the other list was done.
    pub failed: Option<Precondition>,
    /// The results of those operations that have one, by their numbers.
    pub results: Vec<(u32, OpResult)>,
}

impl Effects {
    /// Bytes of the keys and values in the results.
    #[must_use]
    pub(crate) fn payload_bytes(&self) -> usize {
        self.results.iter().map(|(_, result)| result.payload_bytes()).sum()
    }
}
