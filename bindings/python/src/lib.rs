//! The Python module `almadia._almadia`: Almadia's Rust interface as Python objects.
//!
//! Owns what must be compiled: calls that release the GIL, waits that Ctrl-C interrupts, the conversion of the store's
//! errors to Python exceptions, and views of values in engine memory. What always holds: no internal thread of a store
//! touches Python; every wait releases the GIL; a child process never touches a store it inherited, not even to free
//! it. The public names, their types and documentation are left to the Python package, a thin layer on top.

#![deny(unsafe_code)]

mod arguments;
mod batch;
mod calls;
mod completions;
#[cfg(feature = "bench")]
mod echo;
mod errors;
mod exit;
mod fork_guard;
mod items;
mod options;
mod position;
mod records;
mod relay;
mod snapshot;
mod store;
mod submit;
mod value;
mod wait;

/// The compiled part of almadia. Use the package `almadia`; this module may change at any time.
#[pyo3::pymodule]
mod _almadia {
    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::completions::{Completions, Pending};
    #[cfg(feature = "bench")]
    #[pymodule_export]
    use crate::echo::Echo;
    #[pymodule_export]
    use crate::errors::codes;
    #[pymodule_export]
    use crate::exit::begin_exit;
    #[pymodule_export]
    use crate::items::Items;
    #[pymodule_export]
    use crate::options::options;
    #[pymodule_export]
    use crate::position::Position;
    #[pymodule_export]
    use crate::records::{capture_records, release_records, take_records};
    #[pymodule_export]
    use crate::relay::Relay;
    #[pymodule_export]
    use crate::snapshot::Snapshot;
    #[pymodule_export]
    use crate::store::Store;
    #[pymodule_export]
    use crate::submit::{
        submit_delete, submit_delete_range, submit_get, submit_get_many, submit_get_with_position,
        submit_put, submit_snapshot, submit_transfer_leader, submit_write,
    };

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
