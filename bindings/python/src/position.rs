//! Where in the log an answer stands.

use pyo3::prelude::*;

/// Where in a region's log an answer stands: for a write its entry, for a snapshot the state it shows. Ordered.
#[pyclass(module = "almadia", frozen, eq, hash, ord, get_all)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Index in the log of the region.
    index: u64,
    /// Raft term of the entry at that index.
    term: u64,
}

#[pymethods]
impl Position {
    fn __repr__(&self) -> String {
        format!("Position(index={}, term={})", self.index, self.term)
    }
}

impl From<almadia::Position> for Position {
    fn from(position: almadia::Position) -> Self {
        Self { index: position.index.get(), term: position.term.get() }
    }
}
