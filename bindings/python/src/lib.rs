//! The Python module `almadia._almadia`: Almadia's Rust interface as Python objects.
//!
//! Owns what must be compiled: calls that release the GIL, waits that Ctrl-C interrupts, the conversion of the store's
//! errors to Python exceptions, and views of values in engine memory. What always holds: no internal thread of a store
//! touches Python; every wait releases the GIL; a child process never touches a store it inherited, not even to free
//! it; only the main interpreter has the module. The public names, their types and documentation are left to the Python
//! package, a thin layer on top.

#![deny(unsafe_code)]

mod arguments;
mod batch;
mod calls;
mod completions;
mod digest;
#[cfg(feature = "bench")]
mod echo;
mod errors;
mod exit;
mod fork_guard;
mod interpreter;
mod items;
mod members;
mod options;
mod position;
mod records;
mod relay;
mod results;
mod snapshot;
mod store;
mod submit;
mod transaction;
mod value;
mod wait;
mod walk;

use pyo3::prelude::*;

/// The compiled part of almadia. Use the package `almadia`; this module may change at any time.
#[pymodule]
fn _almadia(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::refuse_others(module.py())?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    add_classes(module)?;
    add_functions(module)
}

fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<batch::Batch>()?;
    module.add_class::<completions::Completions>()?;
    module.add_class::<completions::Pending>()?;
    #[cfg(feature = "bench")]
    module.add_class::<echo::Echo>()?;
    module.add_class::<digest::RangeDigest>()?;
    module.add_class::<items::Items>()?;
    module.add_class::<position::Position>()?;
    module.add_class::<relay::Relay>()?;
    module.add_class::<snapshot::Snapshot>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<transaction::Transaction>()
}

fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(errors::codes, module)?)?;
    module.add_function(wrap_pyfunction!(exit::begin_child, module)?)?;
    module.add_function(wrap_pyfunction!(exit::begin_exit, module)?)?;
    module.add_function(wrap_pyfunction!(options::options, module)?)?;
    module.add_function(wrap_pyfunction!(records::capture_records, module)?)?;
    module.add_function(wrap_pyfunction!(records::release_records, module)?)?;
    module.add_function(wrap_pyfunction!(records::take_records, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_change_members, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_compute, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_delete, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_delete_range, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_get, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_get_many, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_get_with_position, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_get_with_version, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_put, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_transfer_leader, module)?)?;
    module.add_function(wrap_pyfunction!(submit::submit_write, module)?)?;
    module.add_function(wrap_pyfunction!(transaction::submit_begin, module)?)?;
    module.add_function(wrap_pyfunction!(transaction::submit_commit, module)?)
}
