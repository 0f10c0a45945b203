//! Log positions of answers.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use almadia::Reply;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A position in a region's log: of a write, its entry; of a snapshot, the state it shows. Ordered, and compared, by
/// index and term.
#[pyclass(module = "almadia", frozen, eq, hash, ord, get_all)]
#[derive(Clone, Copy)]
pub struct Position {
    /// Index in the log of the region.
    index: u64,
    /// Raft term of the entry at that index.
    term: u64,
    /// Of a write, the version that it gave to all keys that it set; else 0.
    version: u64,
}

// What is at one place in the log has one version; a position that says nothing of it is the same place.
impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl Hash for Position {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

#[pymethods]
impl Position {
    #[new]
    #[pyo3(signature = (index, term, version = 0))]
    fn new(index: u64, term: u64, version: u64) -> Self {
        Self { index, term, version }
    }

    /// Supports pickle: a position means the same in every process.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (u64, u64, u64)) {
        let Self { index, term, version } = *slf.get();
        (slf.get_type(), (index, term, version))
    }

    fn __repr__(&self) -> String {
        match self.version {
            0 => format!("Position(index={}, term={})", self.index, self.term),
            version => format!("Position(index={}, term={}, version={version})", self.index, self.term),
        }
    }
}

impl Position {
    /// Index in the log of the region.
    pub fn index(&self) -> u64 {
        self.index
    }

    fn place(&self) -> (u64, u64) {
        (self.index, self.term)
    }
}

impl From<almadia::Position> for Position {
    fn from(position: almadia::Position) -> Self {
        Self { index: position.index.get(), term: position.term.get(), version: 0 }
    }
}

impl From<Reply> for Position {
    fn from(Reply { position, version, .. }: Reply) -> Self {
        Self { version: version.get(), ..position.into() }
    }
}
