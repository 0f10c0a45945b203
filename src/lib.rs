//! Almadia: a replicated, ordered key-value store that you link into your program.
//!
//! Three processes that open it form a cluster. Every member takes writes and answers linearizable reads, machines
//! die, and nothing acknowledged is lost. There is no server to run.
//!
//! ```no_run
//! use almadia::{Config, Store};
//!
//! # fn main() -> almadia::Result<()> {
//! let mut config = Config::default();
//! config.set("cluster.node_id", "1")?;
//! config.set("cluster.initial_members", "1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003")?;
//! let store = Store::open("/var/lib/demo/1", &config)?;
//! store.put(b"greeting", b"hello")?;
//! let value = store.get(b"greeting")?;
//! assert_eq!(value.as_ref().map(|value| value.as_ref()), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Reading order
//! [`core`] explains what a peer is, and the life of a write and of a read; [`core::round`] is the one place that
//! knows the order of effects. [`pollers`] are the threads that turn it, [`storage`] and [`transport`] the world it
//! touches, [`store`] the way in. `ARCHITECTURE.md` has the map. Layers import only downward, in the order below.

#![deny(unsafe_code)]
#![warn(missing_docs)]

// Layer 0: vocabulary.
pub mod types;
mod varint;
pub mod time;
pub mod error;
pub mod config;
pub mod descriptors;
pub mod wake_fd;
pub mod completion;
pub mod metrics;
pub mod regions;
pub mod logging;
pub mod panics;
pub mod fork;
pub mod thread;

// Layer 1: the deterministic heart.
pub mod core;

// Layer 2: the world.
pub mod storage;
pub mod transport;

// Layer 3: threads.
pub mod pollers;

// Layer 4: the Rust interface.
pub mod store;

// Beside the layers: a cluster without threads, for tests, and what fuzzers found before.
#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(test), expect(dead_code, reason = "a fuzzer needs the cluster, the tests need all of it"))]
#[doc(hidden)]
pub mod sim;
#[cfg(test)]
mod corpus;

// Layer 5: the C interface.
#[cfg(feature = "capi")]
pub mod capi;

pub use completion::call::Call;
pub use completion::queue::{CompletionQueue, Ran};
pub use completion::store_events::StoreEvent;
pub use completion::{Events, Position, WriteEvent};
pub use config::Config;
pub use error::{Code, Error, Outcome, Result};
pub use regions::KeyRange;
pub use store::asynchronous::Asynchronous;
pub use store::batch::Batch;
pub use store::snapshot::{Iter, IterOptions, Level, PinnedValue, Snapshot, SnapshotOptions};
pub use store::status::{RegionStatus, Status};
pub use store::transfer::TransferOptions;
pub use store::values::Values;
pub use store::{Store, WriteOptions};
