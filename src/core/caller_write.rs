//! A caller's write before it is in a log.
//!
//! Owns what a peer is given of it. What always holds: the command was encoded, and checked against the limits, where
//! the caller called.

use bytes::Bytes;

use crate::completion::Completion;
use crate::time::Timestamp;

/// A write of a caller on its way into the log.
#[derive(Debug)]
pub(crate) struct CallerWrite {
    /// The encoded command.
    pub data: Bytes,
    /// When the caller is answered at the latest.
    pub deadline: Timestamp,
    /// Its answer.
    pub completion: Completion,
    /// PROPOSED was reported: it was in this member's log, and another leader's entry took its place.
    pub was_proposed: bool,
}
