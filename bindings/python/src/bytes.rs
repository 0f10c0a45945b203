//! Key and value arguments.
//!
//! Owns the conversion of bytes-like objects. What always holds: `bytes` are borrowed, everything else is copied once
//! while the GIL is held, so that nobody can change it during the call; `str` is refused with a hint to encode it.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

/// A key given by a caller.
pub struct Key<'py>(Bound<'py, PyBytes>);

/// A value given by a caller.
pub struct Content<'py>(Bound<'py, PyBytes>);

impl Key<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Content<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Key<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        bytes_of(given, "keys").map(Self)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Content<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        bytes_of(given, "values").map(Self)
    }
}

/// The bytes of an optional key; empty when it is omitted.
pub fn bytes_or_empty<'a>(key: &'a Option<Key<'_>>) -> &'a [u8] {
    key.as_ref().map_or(&[], Key::as_bytes)
}

fn bytes_of<'py>(given: Borrowed<'_, 'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(bytes.to_owned());
    }
    if given.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("{what} are bytes, not str: use .encode()")));
    }
    let Ok(view) = PyMemoryView::from(&given) else {
        let class = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{what} are bytes or bytes-like, not {class}")));
    };
    Ok(view.call_method0("tobytes")?.cast_into()?)
}
