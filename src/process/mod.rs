//! How the library behaves inside a host process.
//!
//! Owns everything that keeps the library from disturbing its host: threads that receive none of its signals
//! ([`thread`]), panics that neither escape the library nor print ([`panics`]), detection of forked children
//! ([`fork`]), descriptors that avoid the standard ones ([`descriptors`], [`wake_fd`]), and log records that go only
//! to the host's logger ([`logging`]). What always holds: nothing here knows of stores, which are left to the other
//! modules.

pub(crate) mod descriptors;
pub(crate) mod fork;
pub(crate) mod logging;
pub(crate) mod panics;
#[cfg(test)]
pub(crate) mod planted_panics;
pub(crate) mod thread;
pub(crate) mod wake_fd;
