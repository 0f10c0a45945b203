//! Configuration options by name and value.
//!
//! Owns the option table as Python sees it, and the configuration made from names and texts. What always holds: the
//! store's own table validates the options, so that the error messages are the same in every language.

use almadia::Config;
use almadia::internal::{OPTIONS, OptionKind};
use pyo3::prelude::*;

use crate::errors::OrRaise;

/// Every option as (name, kind, default, least, most, description); least and most are None unless it is a number.
#[pyfunction]
#[allow(clippy::type_complexity)] // One row of a table, read by one function of the Python package.
pub fn options() -> Vec<(&'static str, &'static str, &'static str, Option<u64>, Option<u64>, &'static str)> {
    let row = |row: &almadia::internal::OptionRow| {
        let (kind, least, most) = match row.kind {
            OptionKind::Text => ("text", None, None),
            OptionKind::Number(least, most) => ("number", Some(least), Some(most)),
            OptionKind::Switch => ("switch", None, None),
        };
        (row.name, kind, row.default, least, most, row.doc)
    };
    OPTIONS.iter().map(row).collect()
}

/// A store's configuration, validated option by option.
pub fn configuration(py: Python<'_>, options: &[(String, String)]) -> PyResult<Config> {
    let mut config = Config::default();
    for (name, value) in options {
        config.set(name, value).or_raise(py)?;
    }
    Ok(config)
}
