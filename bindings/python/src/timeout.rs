//! Timeouts as callers give them: seconds, `None` for the store's own.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Nobody waits longer; a duration may not overflow.
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

/// What is said of something that is no floating-point number.
fn refusal(given: Borrowed<'_, '_, PyAny>, refused: &PyErr) -> PyResult<f64> {
    if refused.is_instance_of::<PyOverflowError>(given.py()) {
        let said = "timeout is too large for a number of seconds; float('inf') waits without an end";
        return Err(PyValueError::new_err(said));
    }
    let class = given.get_type().name()?;
    Err(PyTypeError::new_err(format!("timeout is a number of seconds or None, not {class}")))
}
