//! Conversion of the store's errors to Python exceptions.
//!
//! Owns the call into `almadia.errors`, which defines the classes: in Python, because only there can they also derive
//! from `KeyError` or `OSError`. What always holds: every code becomes an exception, even one that the Python side does
//! not know.

use std::path::Path;

use almadia::{Code, Conflict, Error, KeyRange, Outcome};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple};

use crate::exit::attached;

/// The Python exception for `error`.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    match instance(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    }
}

/// The exception as an object, without raising it.
pub fn instance<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static FROM_CODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let leader = error.leader().map(almadia::NodeId::get);
    let path = error.path().map(Path::as_os_str);
    let found = found(py, error)?;
    let arguments = (error.code().number(), message(error), leader, error.errno(), path, found);
    // Its constructor runs Python code.
    attached(py, || FROM_CODE.import(py, "almadia.errors", "from_code")?.call1(arguments))
}

/// What the error says beside its message, for the class of its code.
fn found<'py>(py: Python<'py>, error: &Error) -> PyResult<Option<Bound<'py, PyTuple>>> {
    if let Some(found) = error.precondition() {
        return (found.operation, found.exists, found.version.get()).into_pyobject(py).map(Some);
    }
    let bytes = |bytes| PyBytes::new(py, bytes);
    match error.conflict() {
        Some(Conflict::Key(key)) => (bytes(key),).into_pyobject(py).map(Some),
        Some(Conflict::Range(KeyRange { start, end })) => {
            let end = Some(end).filter(|end| !end.is_empty());
            (bytes(start), end.map(|end| bytes(end))).into_pyobject(py).map(Some)
        }
        None => Ok(None),
    }
}

/// The message of the exception. The general message of `CLOSED` is about the store; its detail may name something else
/// that is closed.
fn message(error: &Error) -> String {
    match error.code() {
        Code::Closed if !error.detail().is_empty() => error.detail().to_owned(),
        _ => error.to_string(),
    }
}

/// Converts a result of the store to a Python result.
pub trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for almadia::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error))
    }
}

/// Every code of the library as (number, name, message, outcome, retryable).
#[pyfunction]
pub fn codes() -> Vec<(i32, &'static str, &'static str, &'static str, bool)> {
    let row = |&(code, number, name, message): &(Code, i32, &'static str, &'static str)| {
        let outcome = match code.outcome() {
            Outcome::NotApplied => "not applied",
            Outcome::Unknown => "unknown",
        };
        (number, name, message, outcome, code.is_retryable())
    };
    almadia::internal::CODES.iter().map(row).collect()
}
