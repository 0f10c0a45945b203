//! x
pub mod batch;
pub mod completion;
pub mod config;
pub mod core;
pub mod error;
pub mod logging;
pub mod panics;
pub mod thread;
pub mod time;
pub mod types;
