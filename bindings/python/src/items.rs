//! Iteration over a snapshot in key order.
//!
//! Owns the transfer of pairs from the engine to Python: in chunks, read with the GIL released, returned one by one.
//! What always holds: the first chunk is small, so that reading one item is cheap, and chunks grow, so that a long
//! iteration crosses into the engine rarely; an iteration that failed raises once and is exhausted; one whose snapshot
//! was closed raises `ClosedError` at its next item, even if that was read ahead.

use std::sync::{Arc, Mutex, PoisonError};

use almadia::{Iter, Result};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::OrRaise;
use crate::exit::detached;
use crate::fork_guard::ForkGuarded;
use crate::snapshot::{Shared, closed, is_closed};

/// Items in the first chunk; each following chunk has four times as many.
const CHUNK_ITEMS_FIRST: usize = 16;
/// Maximum items per chunk: from here on, crossing costs a hundredth of what the items cost.
const CHUNK_ITEMS_MAX: usize = 1024;
/// Bytes after which a chunk is complete, so that large values are not read long before they are needed.
const CHUNK_BYTES: usize = 256 * 1024;

/// Which part of each pair to return.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Items,
    /// With their versions.
    Entries,
    Keys,
    Values,
}

impl Part {
    pub fn named(name: &str) -> PyResult<Self> {
        match name {
            "items" => Ok(Self::Items),
            "entries" => Ok(Self::Entries),
            "keys" => Ok(Self::Keys),
            "values" => Ok(Self::Values),
            _ => Err(PyValueError::new_err("part is 'items', 'entries', 'keys' or 'values'")),
        }
    }
}

/// An iterator over a snapshot. Keys and values are read lazily.
#[pyclass(module = "almadia", frozen)]
pub struct Items {
    iteration: ForkGuarded<Mutex<Iteration>>,
    part: Part,
}

struct Iteration {
    shared: Arc<Shared>,
    /// None once all items were read, or after an error.
    iter: Option<Iter>,
    /// Whether the iterator was positioned at its first item.
    positioned: bool,
    /// How many more items may be read.
    left: usize,
    chunk: Chunk,
    chunk_items: usize,
}

/// Pairs copied out of the engine, back to back.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each pair's key and value end in `bytes`.
    ends: Vec<(usize, usize)>,
    /// The version of each pair; empty unless they are wanted.
    versions: Vec<u64>,
    /// How many were returned.
    taken: usize,
}

impl Items {
    pub fn new(shared: Arc<Shared>, iter: Iter, part: Part, limit: Option<usize>) -> Self {
        let left = limit.unwrap_or(usize::MAX);
        let iteration = Iteration {
            shared,
            iter: Some(iter),
            positioned: false,
            left,
            chunk: Chunk::default(),
            chunk_items: CHUNK_ITEMS_FIRST,
        };
        Self { iteration: ForkGuarded::new(Mutex::new(iteration)), part }
    }
}

#[pymethods]
impl Items {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// Reads on until some items can be returned without waiting; false when there are no more.
    fn read_ahead(&self, py: Python<'_>) -> PyResult<bool> {
        let iteration = self.iteration.get().or_raise(py)?;
        detached(py, || lock(iteration).read_chunk(self.part)).or_raise(py)
    }

    /// The next item that was read ahead; None when there is none.
    fn next_ahead<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.next_of_chunk(py, self.iteration.get().or_raise(py)?)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let iteration = self.iteration.get().or_raise(py)?;
        loop {
            // The lock is never held while waiting for the GIL.
            if let Some(item) = self.next_of_chunk(py, iteration)? {
                return Ok(Some(item));
            }
            let more = detached(py, || lock(iteration).read_chunk(self.part)).or_raise(py)?;
            if !more {
                return Ok(None);
            }
        }
    }
}

impl Items {
    fn next_of_chunk<'py>(
        &self,
        py: Python<'py>,
        iteration: &Mutex<Iteration>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut iteration = lock(iteration);
        iteration.check_open().or_raise(py)?;
        let Some((key, value, version)) = iteration.chunk.next() else { return Ok(None) };
        let bytes = |range: &[u8]| PyBytes::new(py, range);
        Ok(Some(match self.part {
            Part::Items => (bytes(key), bytes(value)).into_pyobject(py)?.into_any(),
            Part::Entries => (bytes(key), bytes(value), version).into_pyobject(py)?.into_any(),
            Part::Keys => bytes(key).into_any(),
            Part::Values => bytes(value).into_any(),
        }))
    }
}

impl Iteration {
    /// Fails once if the snapshot was closed, and ends the iteration; an exhausted one stays exhausted.
    fn check_open(&mut self) -> Result<()> {
        let exhausted = self.iter.is_none() && !self.chunk.has_more();
        if exhausted || !is_closed(&self.shared) {
            return Ok(());
        }
        self.iter = None;
        self.chunk = Chunk::default();
        Err(closed())
    }

    /// Reads the next chunk; false when the iteration is exhausted.
    fn read_chunk(&mut self, part: Part) -> Result<bool> {
        // Another thread may have read it in the meantime.
        if self.chunk.has_more() {
            return Ok(true);
        }
        if self.iter.is_none() {
            return Ok(false);
        }
        self.check_open()?;
        let wanted = self.chunk_items.min(self.left);
        self.chunk_items = (self.chunk_items * 4).min(CHUNK_ITEMS_MAX);
        let iter = self.iter.as_mut().expect("checked above");
        if !self.positioned {
            iter.seek_to_first();
            self.positioned = true;
        }
        self.chunk.fill(iter, part, wanted);
        self.left -= self.chunk.ends.len();
        if self.chunk.ends.len() < wanted && self.chunk.bytes.len() < CHUNK_BYTES || self.left == 0 {
            let ended = self.iter.take().expect("used above");
            ended.status().inspect_err(|_| self.chunk = Chunk::default())?;
        }
        Ok(!self.chunk.ends.is_empty())
    }
}

impl Chunk {
    fn fill(&mut self, iter: &mut Iter, part: Part, items: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.versions.clear();
        self.taken = 0;
        while self.ends.len() < items && self.bytes.len() < CHUNK_BYTES {
            let Some((key, value)) = iter.item() else { return };
            if part != Part::Values {
                self.bytes.extend_from_slice(key);
            }
            let key_end = self.bytes.len();
            if part != Part::Keys {
                self.bytes.extend_from_slice(value);
            }
            if part == Part::Entries {
                self.versions.push(iter.version().map_or(0, almadia::Version::get));
            }
            self.ends.push((key_end, self.bytes.len()));
            iter.next();
        }
    }

    fn has_more(&self) -> bool {
        self.taken < self.ends.len()
    }

    /// A key, its value and its version, which is 0 when it was not wanted.
    fn next(&mut self) -> Option<(&[u8], &[u8], u64)> {
        let &(key_end, value_end) = self.ends.get(self.taken)?;
        let begin = if self.taken == 0 { 0 } else { self.ends[self.taken - 1].1 };
        let version = self.versions.get(self.taken).copied().unwrap_or(0);
        self.taken += 1;
        Some((&self.bytes[begin..key_end], &self.bytes[key_end..value_end], version))
    }
}

fn lock(iteration: &Mutex<Iteration>) -> std::sync::MutexGuard<'_, Iteration> {
    iteration.lock().unwrap_or_else(PoisonError::into_inner)
}
