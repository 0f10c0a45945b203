//! The C interface: every `almadia_*` symbol of `libalmadia.so`.
//!
//! Owns the border between C and Rust, and nothing else: it turns pointers into references, calls the Rust
//! API and turns results into codes and handles. What always holds:
//! - every exported function is one call into `boundary`, so no panic crosses and no `NULL` is followed;
//! - an output is written on success only; a handle output is `NULL` after any failure;
//! - a callback runs exactly once for each accepted call and never on the caller's stack;
//! - what a C program must know stands in the header. The `///` comments here *are* that header (cbindgen
//!   copies them), so they speak to C programmers; remarks for us are `//` comments.
//!
//! This is the only directory with unsafe code; ARCHITECTURE.md lists the single places elsewhere. The promises the
//! caller makes are printed once, on top of the header; each `SAFETY` comment names the one it stands on.
//!
//! Reading order: `boundary`, `handle`, `bytes`, `extensible`, `done`, `completion`, then one file for each C type.

#![allow(unsafe_code, reason = "the one place where C pointers become references")]
#![allow(non_camel_case_types, reason = "these are the C names")]
#![allow(clippy::missing_safety_doc, reason = "the top of the header states what every caller promises")]
#![deny(unsafe_op_in_unsafe_fn, improper_ctypes_definitions, missing_docs)]
#![deny(clippy::undocumented_unsafe_blocks)]

pub(crate) mod boundary;
mod bytes;
mod extensible;
mod handle;
mod thread_sanitizer;

pub mod batch;
pub mod completion;
pub mod config;
pub mod cq;
pub mod done;
pub mod error;
pub mod get;
pub mod iter;
pub mod library;
pub mod log;
pub mod region;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod store_event;
pub mod transfer;
pub mod value;
pub mod write;

pub use bytes::{almadia_kv, almadia_slice};
use library::{ALMADIA_OK, almadia_code};
