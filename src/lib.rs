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
//! `core/mod.rs` explains what a peer is, and the life of a write and of a read; `core/round.rs` is the one place that
//! knows the order of effects. `pollers` are the threads that run it, `storage` and `transport` the world it touches,
//! `store` the way in. `ARCHITECTURE.md` has the map, and two journeys through it. Layers import only downward, in the
//! order below.

#![deny(unsafe_code)]
#![warn(unreachable_pub)] // What is pub is public, or in `internal`.
#![warn(missing_docs)]

// Layer 0: vocabulary.
mod types;
mod varint;
mod time;
mod effects;
mod error;
mod address;
mod config;
mod process;
mod completion;
mod metrics;
mod regions;

// Layer 1: the deterministic heart.
mod core;

// Layer 2: the world.
mod storage;
mod transport;

// Layer 3: threads.
mod pollers;

// Layer 4: the Rust interface.
mod store;

// Beside the layers: a cluster without threads, for tests; what fuzzers found before; and the examples of the pages
// on formats.
#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(test), expect(dead_code, reason = "a fuzzer needs the cluster, the tests need all of it"))]
mod sim;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod documented;

// Layer 5: the C interface.
#[cfg(feature = "capi")]
#[doc(hidden)]
pub mod capi;

pub use completion::call::Call;
pub use completion::queue::{CompletionQueue, Ran};
pub use completion::store_events::StoreEvent;
pub use completion::{Events, Position, Reply, WriteEvent};
pub use config::Config;
pub use core::digest::RangeDigest;
pub use core::member_list::{MemberChange, MemberRole};
pub use core::peer_status::Role;
pub use effects::{Effects, OpResult, Precondition};
pub use error::{Code, Conflict, Error, Outcome, Result};
pub use pollers::members::MemberStatus;
pub use pollers::snapshots::{RaftSnapshotStage, RaftSnapshotStatus};
pub use regions::KeyRange;
pub use store::asynchronous::Asynchronous;
pub use store::atomic::Taken;
pub use store::batch::Batch;
pub use store::conditions::Expected;
pub use store::members::MemberTable;
pub use store::snapshot::{Iter, IterOptions, Level, PinnedValue, Snapshot, SnapshotOptions};
pub use store::status::{RegionStatus, Status};
pub use store::transaction::{Transaction, TransactionIter, TransactionOptions, TransactionValue};
pub use store::transfer::TransferOptions;
pub use store::values::Values;
pub use store::{Store, WriteOptions};
pub use types::{LogIndex, NodeId, RegionId, Term, Version};

/// What the Python package, the benchmarks, the fuzzers and the tests of the documentation need beside the interface
/// above. It changes with the code, without notice.
#[doc(hidden)]
pub mod internal {
    pub use crate::completion::call::{CallKind, CallRegions, Subject};
    pub use crate::completion::deadlines::Deadlines;
    pub use crate::completion::queue::{Delivery, Expected, Receiver};
    pub use crate::completion::{Completion, Sink};
    pub use crate::config::{OPTIONS, OptionKind, OptionRow};
    pub use crate::core::applied_write::AppliedWrite;
    pub use crate::core::applier::batch::ApplyBatch;
    pub use crate::core::command::{Command, CommandBuilder, Operation};
    pub use crate::core::input::Introduction;
    pub use crate::core::ports::{Body, Entry, HardState, LogWrite, PeerMessage};
    pub use crate::core::{raft_snapshot::SnapshotMessage, region::Region};
    pub use crate::error::CODES;
    pub use crate::process::descriptors::above_standard;
    pub use crate::process::fork::ProcessId;
    pub use crate::process::logging::Records;
    pub use crate::process::thread::spawn;
    pub use crate::storage::engine::{Engine, EngineOptions, IterOptions};
    pub use crate::storage::log_store::{LogOptions, LogStore};
    pub use crate::store::snapshot::prefix_end;
    pub use crate::time::Timestamp;
    pub use crate::transport::{
        FRAME_BYTES_MAX, Inbound, QUEUE_BYTES_MAX, SnapshotSink, Standing, Transport, TransportOptions,
    };
    pub use crate::types::{ApplyState, BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, ClusterId, InstanceId};

    #[cfg(any(test, feature = "simulation"))]
    pub use crate::core::fuzz::fuzz_commands;
    #[cfg(any(test, feature = "simulation"))]
    pub use crate::sim::fuzz_cluster;
    #[cfg(any(test, feature = "simulation"))]
    pub use crate::storage::log_store::fuzz_recovery;
    #[cfg(any(test, feature = "simulation"))]
    pub use crate::transport::fuzz::fuzz_stream;
    #[cfg(any(test, feature = "simulation"))]
    pub use crate::transport::handshake::fuzz_handshake;
}
