//! Everything a member keeps on disk.
//!
//! Owns the raft log, the engine and the directory they live in. Implements the ports that the core defines;
//! knows nothing of threads, peers or the network. What always holds: a write that returned as durable survives
//! power loss; damage is reported with file and offset, never passed on.

pub(crate) mod directory;
pub(crate) mod engine;
pub(crate) mod keys;
pub(crate) mod log_store;
mod open_directory;
pub(crate) mod staging;
