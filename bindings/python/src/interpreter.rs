//! The interpreter that imports the module.
//!
//! Owns the refusal of sub-interpreters. What always holds: the module's types, and everything else that is there once
//! for the process, belong to the main interpreter. They would be used after their end with the first sub-interpreter
//! that ends, and a lock of one interpreter would be waited for by the other for ever.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// Refuses every interpreter but the main one. To be called before anything else of the module is made.
///
/// # Errors
/// `ImportError`.
#[allow(unsafe_code)] // Named corner: PyO3 does not show which interpreter this is.
pub fn refuse_others(_: Python<'_>) -> PyResult<()> {
    const MAIN: i64 = 0;
    // SAFETY: the thread is attached to an interpreter, which is then valid.
    let number = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if number == MAIN {
        return Ok(());
    }
    let text = "almadia works in the main interpreter only, and this is a sub-interpreter: import it in the main one, or \
                in a process of its own";
    Err(PyImportError::new_err(text))
}
