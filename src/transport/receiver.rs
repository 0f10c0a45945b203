//! The thread that receives from one peer.
//!
//! Owns the connection a peer dialed, once its handshake succeeded. What always holds: a peer has one
//! connection here that counts, the newest, and one thread that reads it; a frame of an older connection is
//! dropped once a newer one is up, and the thread of the older one has ended before the newer one delivers
//! anything, so what is delivered never goes back to an older connection; a peer that sends anything but
//! well-formed messages from itself to this member loses its connection. What the messages say is left to the
//! validator of the core.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use log::info;
use socket2::Socket;

use super::codec::{CodecError, decode_batch};
use super::frame::{FrameBuffer, FrameError};
use super::notices::Topic;
use super::sockets::break_off;
use super::{Network, Peer, lock, spawn};
use crate::core::ports::PeerMessage;
use crate::types::NodeId;

/// What a peer has here: its newest connection and the thread that reads it.
#[derive(Default)]
pub(super) struct Incoming {
    /// Counts this peer's connections; only the newest may deliver.
    pub(super) generation: AtomicU64,
    newest: Mutex<Option<Arc<Socket>>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Closed,
    #[error("a newer connection of the same peer took its place")]
    Replaced,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Codec(#[from] CodecError),
    #[error("a message names node {0} as sender and node {1} as receiver")]
    Misdirected(NodeId, NodeId),
}

impl Incoming {
    /// Makes `socket` the newest connection and breaks the one before. Returns its generation.
    fn begin(&self, socket: &Arc<Socket>) -> u64 {
        let mut newest = lock(&self.newest);
        if let Some(older) = newest.replace(Arc::clone(socket)) {
            break_off(&older);
        }
        // Changed under the lock, so that the newest socket and the newest generation belong together.
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Forgets the connection of `generation`, so that its descriptor is closed.
    fn end(&self, generation: u64) {
        let mut newest = lock(&self.newest);
        if self.is_newest(generation) {
            *newest = None;
        }
    }

    fn is_newest(&self, generation: u64) -> bool {
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

/// Lets `socket` take the place of the peer's older connection and starts the thread that reads it.
pub(super) fn take_over(network: &Arc<Network>, peer: &Arc<Peer>, socket: Arc<Socket>) {
    let generation = peer.incoming.begin(&socket);
    // Held while the older thread ends: connections of one peer take over one after the other.
    let mut reader = lock(&peer.incoming.reader);
    if let Some(older) = reader.take() {
        drop(older.join());
    }
    if !peer.incoming.is_newest(generation) {
        return;
    }
    let owner = Arc::clone(peer);
    let name = format!("almadia-recv-{}", peer.node);
    match spawn(network, name, move |network| receive(network, &owner, socket, generation)) {
        Ok(thread) => *reader = Some(thread),
        Err(error) => {
            let text = format!("node {} cannot be heard, there is no thread for it: {error}", peer.node);
            network.notices.once(peer.node, Topic::Exhausted, text);
            peer.incoming.end(generation);
        }
    }
}

fn receive(network: &Network, peer: &Peer, socket: Arc<Socket>, generation: u64) {
    if let Some(open) = network.sockets.register(socket) {
        let end = deliver_all(network, peer, &open, generation);
        tell(network, peer.node, &end);
        break_off(&open);
    }
    peer.incoming.end(generation);
}

fn deliver_all(network: &Network, peer: &Peer, mut socket: &Socket, generation: u64) -> End {
    let mut frames = FrameBuffer::new(network.options.frame_bytes_max);
    loop {
        match frames.fill(&mut socket) {
            Ok(0) => return End::Closed,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return error.into(),
        }
        #[cfg(test)]
        crate::thread::planted::meet(crate::thread::planted::Place::Loop);
        let messages = match take_messages(&mut frames, peer.node, network.options.node) {
            Ok(messages) => messages,
            Err(end) => return end,
        };
        if !peer.incoming.is_newest(generation) {
            return End::Replaced;
        }
        if !messages.is_empty() {
            network.inbound.receive(peer.node, messages);
        }
    }
}

/// The messages of all frames that are complete.
fn take_messages(frames: &mut FrameBuffer, from: NodeId, to: NodeId) -> Result<Vec<PeerMessage>, End> {
    let mut messages = Vec::new();
    while let Some(body) = frames.next_frame()? {
        decode_batch(&body, &mut messages)?;
    }
    match messages.iter().find(|message| (message.from(), message.to()) != (from, to)) {
        Some(message) => Err(End::Misdirected(message.from(), message.to())),
        None => Ok(messages),
    }
}

fn tell(network: &Network, node: NodeId, end: &End) {
    match end {
        End::Closed | End::Replaced | End::Io(_) => info!("the connection of node {node} has ended: {end}"),
        End::Frame(_) | End::Codec(_) | End::Misdirected(..) => {
            let text = format!(
                "node {node} sent what no member sends, its connection is closed: {end}. Is there a \
                 damaged network, or another program at its address?"
            );
            network.notices.once(node, Topic::BadFrame, text);
        }
    }
}
