//! From an error of the store to a Python exception.
//!
//! Owns the call into `almadia.errors`, where the classes are defined: in Python, because only there may they also be
//! a `KeyError` or an `OSError`. What always holds: every code becomes an exception, also one that the Python side
//! does not know.

use almadia::{Code, Error, Outcome};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::exit::attached;

/// The Python exception for `error`.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    match instance(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    }
}

/// The exception as an object, not raised.
pub fn instance<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static FROM_CODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let leader = error.leader().map(almadia::types::NodeId::get);
    let arguments = (error.code().number(), said(error), leader, error.errno());
    // Making it runs Python code.
    attached(py, || FROM_CODE.import(py, "almadia.errors", "from_code")?.call1(arguments))
}

/// What the exception says. What the code means in general is about the store; a detail may say that it is another
/// thing which is closed.
fn said(error: &Error) -> String {
    match error.code() {
        Code::Closed if !error.detail().is_empty() => error.detail().to_owned(),
        _ => error.to_string(),
    }
}

/// Turns a result of the store into one of Python.
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
    almadia::error::CODES.iter().map(row).collect()
}
