//! A value in engine memory, for Python's buffer protocol.
//!
//! Owns the one place where engine memory is exposed to Python. What always holds: the bytes neither move nor change
//! while a `ValueBuffer` lives, and every memoryview keeps its `ValueBuffer` alive, even after the snapshot and the
//! store were closed.

use std::ffi::c_int;

use almadia::PinnedValue;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::fork_guard::ForkGuarded;

/// A value in engine memory: in a block of a file, or copied once by the engine while it is still in the memtable.
/// Python sees only the memoryview that `get_view` returns.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct ValueBuffer {
    pinned: ForkGuarded<PinnedValue>,
}

impl ValueBuffer {
    /// A read-only memoryview of `pinned`, which lives as long as the view.
    pub fn view(py: Python<'_>, pinned: PinnedValue) -> PyResult<Bound<'_, PyMemoryView>> {
        let buffer = Bound::new(py, Self { pinned: ForkGuarded::new(pinned) })?;
        PyMemoryView::from(buffer.as_any())
    }
}

#[pymethods]
impl ValueBuffer {
    /// # Safety
    /// As the buffer protocol requires: `view` is NULL or points to a `Py_buffer` that may be filled.
    #[allow(unsafe_code)] // The buffer protocol is a C interface; PyO3 offers no safe form of it.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        const READ_ONLY: c_int = 1;
        // A child process has a copy of the memory, so reading it there is harmless.
        let bytes: &[u8] = slf.get().pinned.get_in_any_process().as_ref();
        let length = isize::try_from(bytes.len()).expect("a slice is no longer than isize::MAX");
        let (owner, start) = (slf.as_ptr(), bytes.as_ptr().cast_mut().cast());
        // SAFETY: the caller guarantees `view`. `start` and `length` are those of bytes that live as long as `owner`,
        // to which the filled buffer holds a reference, and nobody writes to them: the buffer is read-only, so CPython
        // itself refuses a request for a writable one.
        let failed = unsafe { ffi::PyBuffer_FillInfo(view, owner, start, length, READ_ONLY, flags) };
        if failed == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
