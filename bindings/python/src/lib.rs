//! The Python module `almadia._almadia`: Almadia's Rust interface as Python objects.
//!
//! Owns what must be compiled: calls with the GIL released, waits that Ctrl-C ends, the way from an error of the store
//! to a Python exception, and values shown where the engine has them. What always holds: no internal thread of a store touches
//! Python; every wait releases the GIL; in a child process a store is never touched, not even to free it. The names
//! users see, their types and documentation are the Python package's, which is a thin layer above.

#![deny(unsafe_code)]

mod batch;
mod bytes;
mod completions;
mod echo;
mod errors;
mod exit;
mod home;
mod items;
mod options;
mod position;
mod range;
mod records;
mod relay;
mod snapshot;
mod soon;
mod store;
mod timeout;
mod value;
mod wait;
mod whole;

/// The compiled part of almadia. Use the package `almadia`; this module may change at any time.
#[pyo3::pymodule]
mod _almadia {
    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::completions::{Completions, Pending};
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
    use crate::soon::{
        delete_range_soon, delete_soon, get_many_soon, get_soon, put_soon, snapshot_soon,
        transfer_leader_soon, write_soon,
    };
    #[pymodule_export]
    use crate::store::Store;
    #[pymodule_export]
    use crate::value::Value;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
