//! How a raft snapshot crosses from a leader to one member: on a connection of its own, which carries nothing else.
//!
//! Owns these connections and their threads. One thread sends a raft snapshot, over as many connections as it takes; one
//! thread receives what comes on a connection. The rows are bytes here: a [`SnapshotSource`] gives them, a
//! [`SnapshotSink`] takes them.
//!
//! What is decided is kept apart from what moves bytes, as in the rest of the transport: `schedule` (what is sent now),
//! `attempts` (whether to dial again), `window` (how much is under way) and `pace` (how fast) know no lock, no clock and
//! no socket.
//!
//! ```text
//!   send_snapshot -> schedule -> almadia-snap-2 --- TCP ---> almadia-hello -> almadia-snapin-1 -> SnapshotSink
//!                     BEGIN ------------------------------------------->
//!                     <------------------------------------------- RESUME or REFUSED
//!                     CHUNK ... CHUNK, END ---------------------------->
//!                     <---------------------- ACK ... ACK, DONE or FAILED
//! ```
//!
//! What always holds:
//! - [`Sending::ended`] is called exactly once, whatever happens; with true only after the receiver's
//!   [`SnapshotSink::finish`] has returned.
//! - At most two raft snapshots are sent and two received at a time, one for each region of a member. Each takes a chunk
//!   or two of memory, which is the longest row at most, and two threads never write more than [`Pace`](pace::Pace) says.
//! - The connections for messages know nothing of these: none is replaced, and nobody is introduced.
//! - Nothing waits for the other side longer than the snapshot timeout without a sign of life, and nothing that closing
//!   the transport does not end at once. There are no messages that only keep a connection alive: the timeout is long
//!   enough for a receiver that syncs what it has staged, and the system finds a machine that is gone.
//!
//! Left to others: what is in a row, which raft snapshot is for whom and when, and how it is staged.

mod arrivals;
mod attempts;
mod departures;
mod frames;
mod pace;
mod receiving;
mod schedule;
mod sending;
mod window;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(super) mod shelf;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

pub(super) use self::arrivals::Arrivals;
pub(super) use self::departures::{Departures, send};
pub(super) use self::receiving::take_over;
use super::SnapshotSink;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::error::Result;

/// Gives the rows of a raft snapshot. Called by one thread at a time.
pub(crate) trait SnapshotSource: Send {
    /// Goes to the rows behind the key `after`, which are all of them if there is none. So many rows come before, with
    /// this crc32c. Called when a connection begins, before [`fill`](Self::fill), and again for each further one.
    ///
    /// # Errors
    /// End the sending.
    fn seek(&mut self, after: Option<&[u8]>, rows: u64, crc: u32) -> Result<()>;

    /// Appends rows to the empty `chunk` until it has about `bytes`, and at least one. If there are none left, appends
    /// none and returns how many there were in all, and the crc32c of all of them.
    ///
    /// # Errors
    /// End the sending.
    fn fill(&mut self, chunk: &mut Vec<u8>, bytes: usize) -> Result<Option<(u64, u32)>>;
}

/// A raft snapshot to be sent.
pub(crate) struct Sending {
    /// What it is, from this member, and whom it is for.
    pub message: SnapshotMessage,
    /// Tells it apart from the other sendings of this boot: the receiver resumes only the same one.
    pub number: u64,
    /// About how many bytes its rows are.
    pub bytes_estimate: u64,
    /// Its rows.
    pub source: Box<dyn SnapshotSource>,
    /// Bytes of rows that the receiver has acknowledged, over all connections.
    pub progress: Arc<AtomicU64>,
    /// When it becomes true, the sending ends soon.
    pub cancelled: Arc<AtomicBool>,
    /// Called with whether the receiver has all of it, on a thread of the transport; on that of the caller of
    /// [`send_snapshot`](super::Transport::send_snapshot), [`set_peers`](super::Transport::set_peers) or
    /// [`close`](super::Transport::close) if it never runs. It may neither block nor shut the transport down.
    pub ended: Box<dyn FnOnce(bool) + Send>,
}
