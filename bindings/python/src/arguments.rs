//! The arguments of calls, as Python passes them: keys and values, numbers, key ranges and timeouts.
//!
//! Owns their conversion and the messages for those that do not convert. What always holds: an argument of the wrong
//! type raises `TypeError` and one out of range `ValueError`, before anything is done, and the message names the
//! argument; `bytes` are borrowed, every other buffer is copied once while the GIL is held, so that nobody can change
//! it during the call.

use std::time::Duration;

use almadia::internal::prefix_end;
use almadia::{IterOptions, KeyRange, Level, LogIndex};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::position::Position;

/// A key: bytes or bytes-like.
pub struct Key<'py>(Bound<'py, PyBytes>);

/// A value: bytes or bytes-like.
pub struct Value<'py>(Bound<'py, PyBytes>);

/// A range of keys: prefix, start and end, each optional. An empty start is the first possible key, and an empty end
/// is no upper bound: the same as omitting them.
pub struct Range<'py>(Option<Key<'py>>, Option<Key<'py>>, Option<Key<'py>>);

/// A bound of a range that is to be removed, which must be given: nobody removes all keys by leaving bounds out.
pub enum Edge<'py> {
    Missing,
    Given(Option<Key<'py>>),
}

/// The maximum number of items.
pub struct Limit(usize);

/// How recent a read must be.
pub struct ReadLevel(Level);

/// A minimum log index, given as a number or as the position that has it.
pub struct MinIndex(u64);

/// The version that a key must have.
pub struct SeenVersion(u64);

/// What is added to a number.
pub struct Delta(i64);

/// A timeout in seconds.
pub struct Timeout(Duration);

/// Longer than anyone waits, and short enough that no duration overflows.
const TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

impl Key<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Value<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'py> Range<'py> {
    pub fn new(prefix: Option<Key<'py>>, start: Option<Key<'py>>, end: Option<Key<'py>>) -> Self {
        Self(prefix, start, end)
    }

    /// The range to remove: a prefix, or both bounds.
    pub fn to_remove(prefix: Option<Key<'py>>, start: Edge<'py>, end: Edge<'py>) -> PyResult<Self> {
        match (prefix, start, end) {
            (None, Edge::Given(start), Edge::Given(end)) => Ok(Self(None, start, end)),
            (Some(prefix), Edge::Missing, Edge::Missing) => Ok(Self(Some(prefix), None, None)),
            (Some(_), ..) => Err(two_ranges()),
            (None, ..) => Err(PyTypeError::new_err(
                "delete_range takes a start and an end, or a prefix; delete_range(None, None) removes all keys",
            )),
        }
    }
}

impl Range<'_> {
    /// A range that is given by a prefix or by bounds.
    pub fn keys(&self) -> PyResult<KeyRange> {
        let Self(prefix, start, end) = self;
        let bytes = |key: &Option<Key<'_>>| bytes_or_empty(key).to_vec();
        match prefix {
            None => Ok(KeyRange { start: bytes(start), end: bytes(end) }),
            Some(_) if start.is_some() || end.is_some() => Err(two_ranges()),
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

impl SeenVersion {
    pub fn number(&self) -> u64 {
        self.0
    }
}

impl Delta {
    pub const ONE: Self = Self(1);

    pub fn number(&self) -> i64 {
        self.0
    }
}

impl Limit {
    pub fn items(&self) -> usize {
        self.0
    }
}

impl ReadLevel {
    pub fn level(&self) -> Level {
        self.0
    }
}

impl MinIndex {
    pub fn index(&self) -> LogIndex {
        LogIndex(self.0)
    }
}

impl Timeout {
    pub fn duration(&self) -> Duration {
        self.0
    }
}

/// The bytes of an optional key; empty when it is omitted.
pub fn bytes_or_empty<'a>(key: &'a Option<Key<'_>>) -> &'a [u8] {
    key.as_ref().map_or(&[], Key::as_bytes)
}

impl<'a, 'py> FromPyObject<'a, 'py> for Key<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        bytes_of(given, "keys").map(Self)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Value<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        bytes_of(given, "values").map(Self)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Range<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        type Given<'py> = Option<Bound<'py, PyAny>>;
        let (prefix, start, end): (Given<'_>, Given<'_>, Given<'_>) = given.extract()?;
        let key = |given: Given<'py>| given.map(|given| given.extract::<Key<'py>>()).transpose();
        Ok(Self(key(prefix)?, key(start)?, key(end)?))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Edge<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        given.extract().map(Self::Given)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let items = unsigned(given, "limit", "a whole number or None")?;
        // More than fits in memory is no limit.
        Ok(Self(usize::try_from(items).unwrap_or(usize::MAX)))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for ReadLevel {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let expected = "level is 'linearizable' or 'local'";
        let Ok(level) = given.cast::<PyString>() else { return Err(wrong_type(given, expected)) };
        match level.to_cow()?.as_ref() {
            "linearizable" => Ok(Self(Level::Linearizable)),
            "local" => Ok(Self(Level::Local)),
            other => Err(PyValueError::new_err(format!("{expected}, not '{other}'"))),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for MinIndex {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match given.cast::<Position>() {
            Ok(position) => Ok(Self(position.get().index())),
            Err(_) => unsigned(given, "min_index", "a whole number or a Position").map(Self),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for SeenVersion {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        unsigned(given, "version", "a whole number").map(Self)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Delta {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(number) = given.extract::<i64>() {
            return Ok(Self(number));
        }
        if given.call_method0("__index__").is_err() {
            return Err(wrong_type(given, "delta is a whole number"));
        }
        Err(PyValueError::new_err(format!("delta must be from {} to {}", i64::MIN, i64::MAX)))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Timeout {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let seconds = given.extract::<f64>().map_err(|error| timeout_error(given, &error))?;
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!("timeout must be 0 seconds or more, not {seconds}")));
        }
        Ok(Self(Duration::try_from_secs_f64(seconds).map_or(TIMEOUT_MAX, |given| given.min(TIMEOUT_MAX))))
    }
}

/// The bytes of a key or value; a `str` is rejected with a hint to encode it.
fn bytes_of<'py>(given: Borrowed<'_, 'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(bytes.to_owned());
    }
    if given.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("{what} are bytes, not str: use .encode()")));
    }
    let Ok(view) = PyMemoryView::from(&given) else {
        return Err(wrong_type(given, &format!("{what} are bytes or bytes-like")));
    };
    Ok(view.call_method0("tobytes")?.cast_into()?)
}

/// A whole number; `name` and `expected` are for the exception.
pub fn unsigned(given: Borrowed<'_, '_, PyAny>, name: &str, expected: &str) -> PyResult<u64> {
    if let Ok(number) = given.extract::<u64>() {
        return Ok(number);
    }
    // Anything that Python accepts as an integer.
    let Ok(number) = given.call_method0("__index__") else {
        return Err(wrong_type(given, &format!("{name} is {expected}")));
    };
    Err(PyValueError::new_err(match number.lt(0)? {
        true => format!("{name} must be 0 or more, not negative"),
        false => format!("{name} must be at most {}", u64::MAX),
    }))
}

fn two_ranges() -> PyErr {
    PyValueError::new_err("give a prefix, or a start and an end, not both")
}

/// The exception for a timeout that does not convert to a float.
fn timeout_error(given: Borrowed<'_, '_, PyAny>, error: &PyErr) -> PyErr {
    if error.is_instance_of::<PyOverflowError>(given.py()) {
        return PyValueError::new_err(
            "timeout is too large for a float; use float('inf') to wait without limit",
        );
    }
    wrong_type(given, "timeout is a number of seconds or None")
}

/// The exception for an argument of a wrong type.
pub fn wrong_type(given: Borrowed<'_, '_, PyAny>, expected: &str) -> PyErr {
    match given.get_type().name() {
        Ok(class) => PyTypeError::new_err(format!("{expected}, not {class}")),
        Err(error) => error,
    }
}
