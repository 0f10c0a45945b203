//! The library's log records for Python's `logging`.
//!
//! Owns the three calls a Python thread needs to forward the records. What always holds: a thread that logs in the
//! library never waits for Python, and the thread that opened a store never waits for records. It would have to where
//! `threading.Thread` is no thread: gevent and eventlet make it share the one that starts it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use almadia::internal::ProcessId;
use almadia::internal::Records;
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::exit::detached;

/// The records of this process, once capturing has begun.
static RECORDS: OnceLock<&'static Records> = OnceLock::new();

/// The thread that began the capture.
static CAPTURER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Starts capturing records, because a store is about to be opened; with `trace`, also those of every raft message.
#[pyfunction]
pub fn capture_records(py: Python<'_>, trace: bool) -> PyResult<()> {
    // A child process that cannot open a store needs none.
    ProcessId::for_store().or_raise(py)?;
    let level = if trace { log::LevelFilter::Trace } else { log::LevelFilter::Debug };
    let records = Records::capture(level).or_raise(py)?;
    *CAPTURER.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    RECORDS.get_or_init(|| records);
    Ok(())
}

/// Takes records, each as (level, target, message), and with `wait` waits for the first; empty when no more will come.
/// None when there are none now: without `wait`, or because the calling thread must not wait. Ask again later.
#[pyfunction]
pub fn take_records(py: Python<'_>, wait: bool) -> Option<Vec<(i32, String, String)>> {
    let began_capture =
        *CAPTURER.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id());
    let may_wait = wait && !began_capture;
    let (more, records) = detached(py, || {
        let mut taken = Vec::new();
        let more = RECORDS.get().is_some_and(|records| {
            if may_wait { records.take(&mut taken) } else { records.take_now(&mut taken) }
        });
        (more, taken)
    });
    if more && records.is_empty() {
        return None;
    }
    Some(records.into_iter().map(|record| (level(record.level), record.target, record.message)).collect())
}

/// Stops capturing records, and wakes up any thread that waits for them.
#[pyfunction]
pub fn release_records() {
    Records::release();
}

/// The numeric level in Python's `logging`.
fn level(level: log::Level) -> i32 {
    match level {
        log::Level::Error => 40,
        log::Level::Warn => 30,
        log::Level::Info => 20,
        log::Level::Debug => 10,
        log::Level::Trace => 5,
    }
}
