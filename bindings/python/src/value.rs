//! A value in engine memory, for Python's buffer protocol.
//!
//! Owns the one place where engine memory is exposed to Python. What always holds: the bytes neither move nor change
//! while a `Value` lives, and every memoryview keeps its `Value` alive, even after the snapshot and the store were
//! closed.

#![allow(unsafe_code)] // The buffer protocol is a C interface; PyO3 offers no safe form of it.

use std::ffi::c_int;

use almadia::PinnedValue;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::fork_guard::ForkGuarded;

/// A value in engine memory: in a block of a file, or copied once by the engine while it is still in the memtable.
/// `get_view` exposes it as a memoryview.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct Value {
    pinned: ForkGuarded<PinnedValue>,
}

impl Value {
    /// A read-only memoryview of `pinned`, which lives as long as the view.
    pub fn view(py: Python<'_>, pinned: PinnedValue) -> PyResult<Bound<'_, PyMemoryView>> {
        let value = Bound::new(py, Self { pinned: ForkGuarded::new(pinned) })?;
        PyMemoryView::from(value.as_any())
    }
}

#[pymethods]
impl Value {
    /// # Safety
    /// As the buffer protocol requires: `view` is NULL or points to a buffer that may be filled.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let value = slf.get();
        // A child process has a copy of the memory, so reading it there is harmless.
        let bytes: &[u8] = value.pinned.get_in_any_process().as_ref();
        let length = isize::try_from(bytes.len()).expect("a slice is no longer than isize::MAX");
        const READ_ONLY: c_int = 1;
        // SAFETY: the caller guarantees `view`. The bytes live as long as the object, to which the filled buffer
        // holds a reference, and nobody writes to them; CPython refuses a request for a writable buffer itself.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                length,
                READ_ONLY,
                flags,
            )
        };
        if failed == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }

    fn __len__(&self) -> usize {
        self.pinned.get_in_any_process().as_ref().len()
    }
}
