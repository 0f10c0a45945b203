//! Integer arguments.
//!
//! Owns the conversion of counts and indexes. What always holds: an integer out of range is refused with a
//! `ValueError`, anything that is not an integer with a `TypeError`; both name the parameter.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::position::Position;

/// The maximum number of items.
pub struct Limit(usize);

/// A minimum log index, given as a number or as the position that has it.
pub struct MinIndex(u64);

impl Limit {
    pub fn items(&self) -> usize {
        self.0
    }
}

impl MinIndex {
    pub fn index(&self) -> u64 {
        self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let items = unsigned(given, "limit", "a whole number or None")?;
        // More than fits in memory is no limit.
        Ok(Self(usize::try_from(items).unwrap_or(usize::MAX)))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for MinIndex {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match given.cast::<Position>() {
            Ok(position) => Ok(Self(position.get().index())),
            Err(_) => unsigned(given, "min_index", "a whole number or a Position").map(Self),
        }
    }
}

fn unsigned(given: Borrowed<'_, '_, PyAny>, name: &str, expected: &str) -> PyResult<u64> {
    if let Ok(number) = given.extract::<u64>() {
        return Ok(number);
    }
    // Anything that Python accepts as an integer.
    let Ok(number) = given.call_method0("__index__") else {
        let class = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{name} is {expected}, not {class}")));
    };
    Err(PyValueError::new_err(match number.lt(0)? {
        true => format!("{name} must be 0 or more, not negative"),
        false => format!("{name} must be at most {}", u64::MAX),
    }))
}
