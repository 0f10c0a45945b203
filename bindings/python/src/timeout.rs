//! Timeout arguments: seconds, or `None` for the store's default.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Longer than anyone waits, and short enough that no duration overflows.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A timeout given by a caller.
pub struct Timeout(Duration);

impl Timeout {
    pub fn duration(&self) -> Duration {
        self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Timeout {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let seconds = given.extract::<f64>().or_else(|refused| refusal(given, &refused))?;
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!("timeout must be 0 seconds or more, not {seconds}")));
        }
        Ok(Self(Duration::try_from_secs_f64(seconds).map_or(LONGEST, |given| given.min(LONGEST))))
    }
}

/// The exception for a timeout that does not convert to a float.
fn refusal(given: Borrowed<'_, '_, PyAny>, refused: &PyErr) -> PyResult<f64> {
    if refused.is_instance_of::<PyOverflowError>(given.py()) {
        let message = "timeout is too large for a float; use float('inf') to wait without limit";
        return Err(PyValueError::new_err(message));
    }
    let class = given.get_type().name()?;
    Err(PyTypeError::new_err(format!("timeout is a number of seconds or None, not {class}")))
}
