//! Iteration in key order, over a snapshot or a transaction.
//!
//! Owns the transfer of pairs from the engine to Python: in chunks, read with the GIL released, returned one by one.
//! What always holds: the first chunk is small, so that reading one item is cheap, and chunks grow, so that a long
//! iteration crosses into the engine rarely; an iteration that failed raises once and is exhausted; one whose snapshot
//! or transaction was closed raises `ClosedError` at its next item, even if that was read ahead; what a transaction
//! writes while it iterates is seen where the program has not been yet, so what was read ahead by then is read again.

use std::sync::{Mutex, PoisonError};

use almadia::Result;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::OrRaise;
use crate::exit::detached;
use crate::fork_guard::ForkGuarded;
use crate::walk::{Owner, Step, Walk};

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

/// An iterator over a snapshot or a transaction. Keys and values are read lazily.
#[pyclass(module = "almadia", frozen)]
pub struct Items {
    iteration: ForkGuarded<Mutex<Iteration>>,
    part: Part,
}

struct Iteration {
    owner: Owner,
    /// None once all items were read, or after an error.
    walk: Option<Walk>,
    /// Where the next chunk begins.
    step: Step,
    /// How many more items may be read.
    left: usize,
    chunk: Chunk,
    chunk_items: usize,
    /// Those of the owner before the chunk was read.
    writes: u64,
    /// The last key that was returned from an earlier chunk.
    returned: Option<Vec<u8>>,
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
    pub fn new(owner: Owner, walk: Walk, part: Part, limit: Option<usize>) -> Self {
        let chunk_items = owner.chunks().0;
        let iteration = Iteration {
            owner,
            walk: Some(walk),
            step: Step::First,
            left: limit.unwrap_or(usize::MAX),
            chunk: Chunk::default(),
            chunk_items,
            writes: 0,
            returned: None,
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
        let bytes = |range: &[u8]| PyBytes::new(py, range);
        // Bytes alone are made under the lock: a tuple or an exception may run the garbage collector, and so code of others,
        // which may come back to this iterator.
        let next = {
            let mut iteration = lock(iteration);
            iteration.check_open().map(|()| {
                iteration.forget_what_is_stale();
                let (key, value, version) = iteration.chunk.next()?;
                Some((bytes(key), bytes(value), version))
            })
        };
        let Some((key, value, version)) = next.or_raise(py)? else { return Ok(None) };
        Ok(Some(match self.part {
            Part::Items => (key, value).into_pyobject(py)?.into_any(),
            Part::Entries => (key, value, version).into_pyobject(py)?.into_any(),
            Part::Keys => key.into_any(),
            Part::Values => value.into_any(),
        }))
    }
}

impl Iteration {
    /// Fails once if the owner was closed, and ends the iteration; an exhausted one stays exhausted.
    fn check_open(&mut self) -> Result<()> {
        let exhausted = self.walk.is_none() && !self.chunk.has_more();
        if exhausted || !self.owner.is_closed() {
            return Ok(());
        }
        self.end();
        Err(self.owner.closed())
    }

    /// Makes what was read ahead be read again if the owner has written since.
    fn forget_what_is_stale(&mut self) {
        let is_ahead = self.chunk.has_more() || matches!(self.step, Step::Ended);
        if !is_ahead || self.writes == self.owner.writes() {
            return;
        }
        self.left += self.chunk.ends.len() - self.chunk.taken;
        self.remember_returned();
        self.chunk = Chunk::default();
        self.step = self.returned.clone().map_or(Step::First, Step::Behind);
    }

    fn remember_returned(&mut self) {
        if let Some(key) = self.chunk.returned() {
            self.returned = Some(key.to_vec());
        }
    }

    /// Reads the next chunk; false when the iteration is exhausted.
    fn read_chunk(&mut self, part: Part) -> Result<bool> {
        self.forget_what_is_stale();
        // Another thread may have read it in the meantime.
        if self.chunk.has_more() {
            return Ok(true);
        }
        self.check_open()?;
        if self.left == 0 || matches!(self.step, Step::Ended) {
            self.end();
        }
        if self.owner.wants_keys() {
            self.remember_returned();
        }
        let Some(walk) = &mut self.walk else { return Ok(false) };
        let wanted = self.chunk_items.min(self.left);
        self.chunk_items = (self.chunk_items * self.owner.chunks().1).min(CHUNK_ITEMS_MAX);
        self.writes = self.owner.writes();
        let with = With {
            keys: part != Part::Values || self.owner.wants_keys(),
            values: part != Part::Keys,
            versions: part == Part::Entries,
        };
        self.chunk.fill(walk, &mut self.step, with, wanted);
        self.left -= self.chunk.ends.len();
        if matches!(self.step, Step::Ended)
            && let Err(error) = walk.status()
        {
            self.end();
            // The owner may have been closed in the middle of it.
            return Err(if self.owner.is_closed() { self.owner.closed() } else { error });
        }
        if !self.owner.wants_keys() && (self.left == 0 || matches!(self.step, Step::Ended)) {
            // Nothing that was read ahead will be read again.
            self.walk = None;
        }
        Ok(self.chunk.has_more())
    }

    fn end(&mut self) {
        (self.walk, self.chunk) = (None, Chunk::default());
    }
}

/// What a chunk has of each pair.
#[derive(Clone, Copy)]
struct With {
    keys: bool,
    values: bool,
    versions: bool,
}

impl Chunk {
    /// Goes on from `step`, which is where the next chunk begins afterwards.
    fn fill(&mut self, walk: &mut Walk, step: &mut Step, with: With, items: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.versions.clear();
        self.taken = 0;
        while self.ends.len() < items && self.bytes.len() < CHUNK_BYTES {
            walk.go(step);
            let Some((key, value)) = walk.item() else {
                *step = Step::Ended;
                return;
            };
            *step = Step::Next;
            if with.keys {
                self.bytes.extend_from_slice(key);
            }
            let key_end = self.bytes.len();
            if with.values {
                self.bytes.extend_from_slice(value);
            }
            if with.versions {
                self.versions.push(walk.version());
            }
            self.ends.push((key_end, self.bytes.len()));
        }
    }

    /// The key that was returned last.
    fn returned(&self) -> Option<&[u8]> {
        let last = self.taken.checked_sub(1)?;
        let begin = if last == 0 { 0 } else { self.ends[last - 1].1 };
        Some(&self.bytes[begin..self.ends[last].0])
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
