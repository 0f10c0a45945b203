//! What a peer has here: its newest connection and the thread that reads it.
//!
//! Owns which connection of a peer counts, and which boot of it. What always holds: only the newest does, and a boot that
//! is older than one that has connected before does not. Reading is left to [`receiver`](super::receiver).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::Socket;

use super::lock;
use super::notices::Notices;
use super::protocol::Protocol;
use super::sockets::break_off;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Incoming {
    /// Counts this peer's connections; only the newest may deliver.
    pub(super) generation: AtomicU64,
    newest: Mutex<Option<Arc<Socket>>>,
    /// What the newest connection speaks.
    protocol: Mutex<Option<Protocol>>,
    /// The highest boot count of this peer that has had a connection.
    boot_count: Mutex<u64>,
    pub(super) reader: Mutex<Option<JoinHandle<()>>>,
    /// What the operator was told about connections from this peer.
    pub(super) notices: Mutex<Notices>,
}

impl Incoming {
    /// Makes `socket` the newest connection and breaks off the one before. Returns its generation.
    pub(super) fn begin(&self, socket: &Arc<Socket>, protocol: Protocol) -> u64 {
        let mut newest = lock(&self.newest);
        *lock(&self.protocol) = Some(protocol);
        if let Some(older) = newest.replace(Arc::clone(socket)) {
            break_off(&older);
        }
        // Changed under the lock, so that the newest socket and the newest generation belong together.
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// What the peer spoke when it last connected; the oldest version if it has not.
    pub(super) fn protocol(&self) -> Protocol {
        lock(&self.protocol).unwrap_or(Protocol::OLDEST)
    }

    /// False for a boot that is older than one that has connected before.
    pub(super) fn is_current(&self, boot_count: u64) -> bool {
        let mut newest = lock(&self.boot_count);
        *newest = boot_count.max(*newest);
        *newest == boot_count
    }

    /// Forgets the connection of `generation`, so that its descriptor is closed.
    pub(super) fn end(&self, generation: u64) {
        let mut newest = lock(&self.newest);
        if self.is_newest(generation) {
            *newest = None;
        }
    }

    pub(super) fn is_newest(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// Waits for the reading thread; to be called when no connection can come any more.
    pub(super) fn join(&self) {
        let reader = lock(&self.reader).take();
        if let Some(reader) = reader {
            // Its panics were reported where they happened.
            drop(reader.join());
        }
    }
}
