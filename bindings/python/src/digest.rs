//! What a range of keys looked like.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

/// What a range of keys looked like: which keys it had, each with its version. Made by `snapshot.digest()`, for
/// `batch.if_range()`.
///
/// Two are equal if the keys and versions are; the keys themselves cannot be read from it. `bytes(digest)` are 32 bytes
/// from which `RangeDigest(...)` makes it again, in any process.
#[pyclass(module = "almadia", frozen, eq)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RangeDigest(pub almadia::RangeDigest);

#[pymethods]
impl RangeDigest {
    #[new]
    fn new(encoded: &[u8]) -> PyResult<Self> {
        let wrong = |_| PyValueError::new_err(format!("a digest has 32 bytes, not {}", encoded.len()));
        encoded.try_into().map(|encoded| Self(almadia::RangeDigest::decode(encoded))).map_err(wrong)
    }

    /// Number of keys.
    #[getter]
    fn keys(&self) -> u64 {
        self.0.keys
    }

    /// Bytes of the keys and values together.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.encode())
    }

    fn __hash__(&self) -> u64 {
        let [first, ..] = self.0.digest.as_chunks::<8>().0 else { unreachable!("it has sixteen bytes") };
        u64::from_le_bytes(*first)
    }

    /// Supports pickle.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Bound<'py, PyBytes>,)) {
        (slf.get_type(), (slf.get().__bytes__(slf.py()),))
    }

    fn __repr__(&self) -> String {
        format!("<almadia.RangeDigest keys={} bytes={}>", self.0.keys, self.0.bytes)
    }
}
