//! Log positions of answers.

use pyo3::prelude::*;
use pyo3::types::PyType;

/// A position in a region's log: of a write, its entry; of a snapshot, the state it shows. Ordered.
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
    #[new]
    fn new(index: u64, term: u64) -> Self {
        Self { index, term }
    }

    /// Supports pickle: a position means the same in every process.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (u64, u64)) {
        let Self { index, term } = *slf.get();
        (slf.get_type(), (index, term))
    }

    fn __repr__(&self) -> String {
        format!("Position(index={}, term={})", self.index, self.term)
    }
}

impl Position {
    /// Index in the log of the region.
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl From<almadia::Position> for Position {
    fn from(position: almadia::Position) -> Self {
        Self { index: position.index.get(), term: position.term.get() }
    }
}
