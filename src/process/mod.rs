//! What the library does in a process that is not its own.
//!
//! Owns our manners towards the host: threads that take none of its signals ([`thread`]), panics that neither leave the
//! library nor print ([`panics`]), children that are told so ([`fork`]), descriptors that are not the standard ones
//! ([`descriptors`], [`wake_fd`]), and log records that reach the host and nothing else ([`logging`]). What always holds:
//! nothing here knows of stores.

pub(crate) mod descriptors;
pub(crate) mod fork;
pub(crate) mod logging;
pub(crate) mod panics;
#[cfg(test)]
pub(crate) mod planted_panics;
pub(crate) mod thread;
pub(crate) mod wake_fd;
