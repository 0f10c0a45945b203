//! Key range arguments. An empty start is the first possible key, and an empty end is no upper bound: the same as
//! omitting them.

use almadia::store::snapshot::prefix_end;
use almadia::{IterOptions, KeyRange};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::bytes::{Key, bytes_or_empty};

/// Prefix, start and end, each optional.
pub struct Range<'py>(Option<Key<'py>>, Option<Key<'py>>, Option<Key<'py>>);

impl<'a, 'py> FromPyObject<'a, 'py> for Range<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        type Given<'py> = Option<Bound<'py, PyAny>>;
        let (prefix, start, end): (Given<'_>, Given<'_>, Given<'_>) = given.extract()?;
        let key = |given: Given<'py>| given.map(|given| given.extract::<Key<'py>>()).transpose();
        Ok(Self(key(prefix)?, key(start)?, key(end)?))
    }
}

impl Range<'_> {
    /// The range of a snapshot, given by a prefix or by bounds.
    pub fn keys(&self) -> PyResult<KeyRange> {
        let Self(prefix, start, end) = self;
        let bytes = |key: &Option<Key<'_>>| bytes_or_empty(key).to_vec();
        match prefix {
            None => Ok(KeyRange { start: bytes(start), end: bytes(end) }),
            Some(_) if start.is_some() || end.is_some() => {
                Err(PyValueError::new_err("a snapshot takes a prefix, or a start and an end, not both"))
            }
            Some(prefix) => {
                let start = prefix.as_bytes().to_vec();
                let end = prefix_end(&start).unwrap_or_default();
                Ok(KeyRange { start, end })
            }
        }
    }

    /// The bounds of an iteration, which may have all three: it returns the keys that satisfy all of them.
    pub fn bounds(&self) -> IterOptions {
        let Self(prefix, start, end) = self;
        let bytes = |key: &Option<Key<'_>>| Some(bytes_or_empty(key).to_vec()).filter(|key| !key.is_empty());
        let within = prefix.as_ref().map(|prefix| IterOptions::prefix(prefix.as_bytes())).unwrap_or_default();
        let lower = within.lower.max(bytes(start));
        let upper = match (within.upper, bytes(end)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        // Contradictory bounds contain no keys; the engine accepts that only as an upper bound equal to the lower one.
        let upper = upper.map(|upper| lower.as_ref().map_or(upper.clone(), |lower| upper.max(lower.clone())));
        IterOptions { lower, upper, ..IterOptions::default() }
    }
}
