//! `almadia_position`: a place in the log of a region.
//!
//! Owns the struct.

use crate::completion::Position;

/// A position in the log of a region. Positions of one region are ordered by index.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_position {
    /// The log index.
    pub index: u64,
    /// The raft term of the entry at that index.
    pub term: u64,
}

impl From<Position> for almadia_position {
    fn from(position: Position) -> Self {
        Self { index: position.index.get(), term: position.term.get() }
    }
}
