//! What the library does in a process that is not its own.
//!
//! Owns our manners towards the host: threads that take none of its signals ([`thread`]), panics that neither leave the
//! library nor print ([`panics`]), children that are told so ([`fork`]), descriptors that are not the standard ones
//! ([`descriptors`], [`wake_fd`]), and log records that reach the host and nothing else ([`logging`]). What always holds:
//! nothing here knows of stores.

pub mod descriptors;
pub mod fork;
pub mod logging;
pub mod panics;
#[cfg(test)]
pub mod planted_panics;
pub mod thread;
pub mod wake_fd;
