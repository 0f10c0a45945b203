//! Whole numbers as callers give them.
//!
//! Owns the conversion of counts and indexes. What always holds: a number that does not fit is refused with a
//! `ValueError`, and what is no whole number with a `TypeError`, both of which name the parameter.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::position::Position;

/// How many items may come at most.
pub struct Limit(usize);

/// An index of the log: a number, or the position that has it.
pub struct LeastIndex(u64);

impl Limit {
    pub fn items(&self) -> usize {
        self.0
    }
}

impl LeastIndex {
    pub fn index(&self) -> u64 {
        self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let items = whole(given, "limit", "a whole number or None")?;
        // More than the memory has bytes is no limit.
        Ok(Self(usize::try_from(items).unwrap_or(usize::MAX)))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for LeastIndex {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match given.cast::<Position>() {
            Ok(position) => Ok(Self(position.get().index())),
            Err(_) => whole(given, "min_index", "a whole number or a Position").map(Self),
        }
    }
}

fn whole(given: Borrowed<'_, '_, PyAny>, name: &str, expected: &str) -> PyResult<u64> {
    if let Ok(number) = given.extract::<u64>() {
        return Ok(number);
    }
    // Whatever Python itself can count with.
    let Ok(number) = given.call_method0("__index__") else {
        let class = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{name} is {expected}, not {class}")));
    };
    Err(PyValueError::new_err(match number.lt(0)? {
        true => format!("{name} must be 0 or more, not negative"),
        false => format!("{name} must be at most {}", u64::MAX),
    }))
}
