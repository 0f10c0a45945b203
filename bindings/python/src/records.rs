//! The library's log records for Python's `logging`.
//!
//! Owns the three calls a Python thread needs to forward the records. What always holds: a thread that logs in the
//! library never waits for Python.

use std::sync::OnceLock;

use almadia::internal::ProcessId;
use almadia::internal::Records;
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::exit::detached;

/// The records of this process, once capturing has begun.
static RECORDS: OnceLock<&'static Records> = OnceLock::new();

/// Starts capturing records, because a store is about to be opened; with `trace`, also those of every raft message.
#[pyfunction]
pub fn capture_records(py: Python<'_>, trace: bool) -> PyResult<()> {
    // In a child process a lock of the records may be held forever.
    ProcessId::for_store().or_raise(py)?;
    let level = if trace { log::LevelFilter::Trace } else { log::LevelFilter::Debug };
    let records = Records::capture(level).or_raise(py)?;
    RECORDS.get_or_init(|| records);
    Ok(())
}

/// Waits for records and takes them, each as (level, target, message); empty when no more will come.
#[pyfunction]
pub fn take_records(py: Python<'_>) -> Vec<(i32, String, String)> {
    let records = detached(py, || {
        let mut taken = Vec::new();
        if let Some(records) = RECORDS.get() {
            records.take(&mut taken);
        }
        taken
    });
    records.into_iter().map(|record| (level(record.level), record.target, record.message)).collect()
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
