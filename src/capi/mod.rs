//! The C interface: every `almadia_*` symbol of `libalmadia.so`.
//!
//! Owns the boundary between C and Rust, and nothing else: it turns pointers into references, calls the Rust
//! API and turns results into codes and handles. What always holds:
//! - every exported function is one call into `boundary`, so no panic crosses and no `NULL` is followed;
//! - an output is written on success only; a handle output is `NULL` after any failure;
//! - a callback runs exactly once for each accepted call and never on the caller's stack;
//! - what a C program must know stands in the header. The `///` comments here *are* that header (cbindgen
//!   copies them), so they speak to C programmers; remarks for us are `//` comments.
//!
//! This is the only directory with unsafe code; ARCHITECTURE.md lists the single places elsewhere. What the caller
//! promises stands in the `# Safety` section of each function, which the header leaves out, because its top tells C
//! programs once. An `unsafe` block follows one pointer, and its `SAFETY` comment names the promise it stands on.
//!
//! Reading order: as the modules stand below, each above those that import it. First what every function is made of
//! (`handle`, `bytes`, `boundary`, `extensible`), then what needs no store (the library, its log, a configuration),
//! what a call answers (values, snapshots, completions and their queue), the store, and last the calls: `done` is how
//! one becomes asynchronous.

#![allow(unsafe_code, reason = "the one place where C pointers become references")]
#![allow(non_camel_case_types, reason = "these are the C names")]
#![deny(unsafe_op_in_unsafe_fn, improper_ctypes_definitions, missing_docs)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod handle;
mod bytes;
mod boundary;
mod extensible;
mod thread_sanitizer;

pub mod library;
pub mod error;
pub mod log;
pub mod config;
pub mod store_event;
pub mod status;
pub mod value;
pub mod position;
pub mod precondition;
pub mod conflict;
pub mod written;
pub mod snapshot;
pub mod range_digest;
pub mod iter;
pub mod txn;
pub mod completion;
pub mod cq;
mod calls;
pub mod store;
pub mod region;
pub mod raft_snapshot;
pub mod members;
pub mod done;
pub mod batch;
pub mod batch_conditions;
pub mod write_options;
pub mod write;
pub mod compare;
pub mod compute;
pub mod snapshot_open;
pub mod get;
pub mod txn_begin;
pub mod txn_commit;
pub mod transfer;
pub mod members_change;

pub use boundary::{ALMADIA_OK, almadia_code, almadia_error};
pub use bytes::{almadia_kv, almadia_slice};
