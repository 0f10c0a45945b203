//! Timeouts as callers give them: seconds, `None` for the store's own.

use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
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
        let Ok(seconds) = given.extract::<f64>() else {
            let class = given.get_type().name()?;
            return Err(PyTypeError::new_err(format!("timeout is a number of seconds or None, not {class}")));
        };
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!("timeout must be 0 seconds or more, not {seconds}")));
        }
        Ok(Self(Duration::try_from_secs_f64(seconds).map_or(LONGEST, |given| given.min(LONGEST))))
    }
}
