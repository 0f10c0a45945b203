//! What a write with conditions found and computed, as Python objects.
//!
//! Owns their conversion. What always holds: nothing here waits.

use almadia::{OpResult, Reply};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// The results of a write, by the numbers of its operations.
pub fn results<'py>(py: Python<'py>, written: Option<&Reply>) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    for (operation, of_it) in written.map_or(&[][..], Reply::results) {
        found.set_item(operation, result(py, of_it)?)?;
    }
    Ok(found)
}

/// The result of the only operation of a write.
pub fn only(py: Python<'_>, reply: Reply) -> PyResult<Bound<'_, PyAny>> {
    let [(0, of_it)] = reply.results() else { unreachable!("one operation has one result: {reply:?}") };
    result(py, of_it)
}

fn result<'py>(py: Python<'py>, of_it: &OpResult) -> PyResult<Bound<'py, PyAny>> {
    Ok(match of_it {
        OpResult::Nothing => py.None().into_bound(py),
        OpResult::Sum(sum) => sum.into_pyobject(py)?.into_any(),
        OpResult::Key(key) => PyBytes::new(py, key).into_any(),
        OpResult::Value { key, value, version } => {
            let taken = (PyBytes::new(py, key), PyBytes::new(py, value), version.get());
            taken.into_pyobject(py)?.into_any()
        }
    })
}
