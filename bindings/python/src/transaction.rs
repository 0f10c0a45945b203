//! Transactions: reads and writes that take effect together.
//!
//! Owns the compiled part of a transaction: its beginning and its commit, waiting or for an event loop, and what a program
//! reads and writes through it. What always holds: no call waits with the GIL held, neither for the disk nor for another
//! thread that uses the transaction, so threads that share one by mistake use it one after the other; after its end
//! every call raises `ClosedError`; a child process never touches it. Trying again is left to the Python package.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use almadia::{
    Code, Error, IterOptions, KeyRange, Result, Transaction as Begun, TransactionOptions, TransactionValue,
};
use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::{Edge, Key, Limit, Range, ReadLevel, Timeout, Value};
use crate::calls::write_options;
use crate::completions::{Completions, Pending};
use crate::errors::OrRaise;
use crate::exit::detached;
use crate::fork_guard::ForkGuarded;
use crate::items::{Items, Part};
use crate::position::Position;
use crate::store::Store;
use crate::submit::position;
use crate::wait;
use crate::walk::{Owner, Walk};

/// What a transaction and its iterators share.
pub struct State {
    /// None once it is over, at the latest when nobody is in the middle of a call.
    begun: Mutex<Option<Begun>>,
    is_over: AtomicBool,
    /// How often it has written.
    writes: AtomicU64,
}

impl State {
    /// Never waits.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Never waits.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Waits for who is in the middle of a call.
    fn locked<T>(&self, work: impl FnOnce(&mut Begun) -> Result<T>) -> Result<T> {
        self.with(self.begun.lock().unwrap_or_else(PoisonError::into_inner), work)
    }

    fn with<T>(
        &self,
        mut held: MutexGuard<'_, Option<Begun>>,
        work: impl FnOnce(&mut Begun) -> Result<T>,
    ) -> Result<T> {
        let done = match held.as_mut() {
            Some(begun) if !self.is_over() => work(begun),
            _ => Err(over()),
        };
        drop(held);
        if self.is_over() {
            // Who ended it meanwhile has not waited for this.
            self.let_go();
        }
        done
    }

    /// Drops it, unless somebody is in the middle of a call, who does it then.
    fn let_go(&self) {
        match self.begun.try_lock() {
            Ok(mut held) => *held = None,
            Err(TryLockError::Poisoned(held)) => *held.into_inner() = None,
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Ends it for the commit.
    fn take(&self) -> Result<Begun> {
        let mut held = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let was_over = self.is_over.swap(true, Ordering::SeqCst);
        held.take().filter(|_| !was_over).ok_or_else(over)
    }

    /// Ends it. Never waits: whoever is in the middle of a call drops it afterwards.
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.let_go();
    }
}

/// The compiled part of a transaction.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct Transaction {
    state: ForkGuarded<Arc<State>>,
}

#[pymethods]
impl Transaction {
    /// Begins one, and waits until it has its view of the data.
    #[new]
    fn new(
        py: Python<'_>,
        store: &Store,
        key: Key<'_>,
        level: ReadLevel,
        timeout: Option<Timeout>,
    ) -> PyResult<Self> {
        let store = store.open(py)?;
        let options = options(&key, &level, timeout);
        wait::for_answer(py, |queue, slot| store.on(queue).begin(&options, |begun| slot.put(begun)))
            .map(Self::of)
    }

    /// The value of `key`, or None.
    fn get<'py>(&self, py: Python<'py>, key: Key<'_>, exempt: bool) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(bytes(py, self.read(py, &key, exempt)?.as_ref()))
    }

    /// As `get`, but raises LookupError if the value must be read from disk.
    fn get_from_memory<'py>(
        &self,
        py: Python<'py>,
        key: Key<'_>,
        exempt: bool,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let key = key.as_bytes();
        let found = self.with(py, |transaction| transaction.get_from_memory(key, exempt))?;
        Ok(bytes(py, found.ok_or_else(|| PyLookupError::new_err("not in memory"))?.as_ref()))
    }

    /// Whether `key` exists.
    fn contains(&self, py: Python<'_>, key: Key<'_>, exempt: bool) -> PyResult<bool> {
        Ok(self.read(py, &key, exempt)?.is_some())
    }

    /// An iterator over items, entries, keys or values.
    fn iterate(
        &self,
        py: Python<'_>,
        part: &str,
        keys: Range<'_>,
        reverse: bool,
        limit: Option<Limit>,
        exempt: bool,
    ) -> PyResult<Items> {
        let options = IterOptions { reverse, ..keys.bounds() };
        let walk = if exempt { Begun::iter_exempt } else { Begun::iter };
        let iter = self.with(py, |transaction| walk(transaction, options))?;
        let owner = Owner::Transaction(Arc::clone(self.state.get().or_raise(py)?));
        let limit = limit.map(|limit| limit.items());
        Ok(Items::new(owner, Walk::Transaction(Box::new(iter)), Part::named(part)?, limit))
    }

    fn put(&self, py: Python<'_>, key: Key<'_>, value: Value<'_>) -> PyResult<()> {
        let (key, value) = (key.as_bytes(), value.as_bytes());
        self.write(py, |transaction| transaction.put(key, value))
    }

    fn delete(&self, py: Python<'_>, key: Key<'_>) -> PyResult<()> {
        let key = key.as_bytes();
        self.write(py, |transaction| transaction.delete(key))
    }

    #[pyo3(
        signature = (start = Edge::Missing, end = Edge::Missing, *, prefix = None),
        text_signature = "($self, start=..., end=..., *, prefix=None)"
    )]
    fn delete_range(
        &self,
        py: Python<'_>,
        start: Edge<'_>,
        end: Edge<'_>,
        prefix: Option<Key<'_>>,
    ) -> PyResult<()> {
        let KeyRange { start, end } = Range::to_remove(prefix, start, end)?.keys()?;
        self.write(py, |transaction| transaction.delete_range(&start, &end))
    }

    /// Commits it and waits. It is over, whatever comes of it.
    fn commit(&self, py: Python<'_>, store: &Store, timeout: Option<Timeout>) -> PyResult<Position> {
        let store = store.open(py)?;
        let begun = self.take(py)?;
        let options = write_options(timeout);
        wait::for_answer(py, |queue, slot| {
            store.on(queue).commit(begun, &options, |committed| slot.put(committed))
        })
        .map(Position::from)
    }

    /// Ends it without effect. Nothing happens when it is over already.
    fn rollback(&self, py: Python<'_>) {
        // In a child process there is nothing to release.
        let Ok(state) = self.state.get() else { return };
        detached(py, || state.end());
    }

    #[getter]
    fn closed(&self) -> bool {
        self.state.get_in_any_process().is_over()
    }
}

impl Transaction {
    fn of(begun: Begun) -> Self {
        let state = State {
            begun: Mutex::new(Some(begun)),
            is_over: AtomicBool::new(false),
            writes: AtomicU64::new(0),
        };
        Self { state: ForkGuarded::new(Arc::new(state)) }
    }

    fn read(&self, py: Python<'_>, key: &Key<'_>, exempt: bool) -> PyResult<Option<TransactionValue>> {
        let key = key.as_bytes();
        let state = self.state.get().or_raise(py)?;
        let read = |transaction: &mut Begun| match exempt {
            true => transaction.get_exempt(key),
            false => transaction.get(key),
        };
        detached(py, || state.locked(read)).or_raise(py)
    }

    fn write(&self, py: Python<'_>, write: impl FnOnce(&mut Begun) -> Result<()> + Send) -> PyResult<()> {
        let state = self.state.get().or_raise(py)?;
        self.with(py, |transaction| {
            write(transaction)?;
            state.writes.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    }

    /// Does what is too short to be worth releasing the GIL, unless another thread is in the middle of a call.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Begun) -> Result<T> + Send,
    ) -> PyResult<T> {
        let state = self.state.get().or_raise(py)?;
        let done = match state.begun.try_lock() {
            Ok(held) => state.with(held, work),
            Err(TryLockError::Poisoned(held)) => state.with(held.into_inner(), work),
            Err(TryLockError::WouldBlock) => detached(py, || state.locked(work)),
        };
        done.or_raise(py)
    }

    fn take(&self, py: Python<'_>) -> PyResult<Begun> {
        let state = self.state.get().or_raise(py)?;
        detached(py, || state.take()).or_raise(py)
    }
}

#[pyfunction]
pub fn submit_begin(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    key: Key<'_>,
    level: ReadLevel,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let options = options(&key, &level, timeout);
    completions.submit(py, future, begun, |queue, on_answer| store.on(queue).begin(&options, on_answer))
}

/// Releases the GIL, because it may read from the disk again what the transaction has iterated over. It may be called on
/// another thread than the loop's.
#[pyfunction]
pub fn submit_commit(
    py: Python<'_>,
    completions: &Completions,
    future: Py<PyAny>,
    store: &Store,
    transaction: &Transaction,
    timeout: Option<Timeout>,
) -> PyResult<Pending> {
    let store = store.open(py)?;
    let begun = transaction.take(py)?;
    let options = write_options(timeout);
    completions.submit(py, future, position, |queue, on_answer| {
        detached(py, || store.on(queue).commit(begun, &options, on_answer))
    })
}

/// The error of a call on a transaction that is over.
pub fn over() -> Error {
    Error::with_detail(Code::Closed, "this transaction was committed or rolled back; begin another one")
}

fn options(key: &Key<'_>, level: &ReadLevel, timeout: Option<Timeout>) -> TransactionOptions {
    let timeout = timeout.map(|timeout| timeout.duration());
    TransactionOptions { timeout, level: level.level(), key: key.as_bytes().to_vec() }
}

fn begun(py: Python<'_>, begun: Begun) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, Transaction::of(begun))?.into_any())
}

fn bytes<'py>(py: Python<'py>, value: Option<&TransactionValue>) -> Option<Bound<'py, PyBytes>> {
    value.map(|value| PyBytes::new(py, value.as_ref()))
}
