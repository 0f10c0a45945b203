//! The thread that receives from one peer.
//!
//! Owns the connection a peer dialed, once its handshake has succeeded. What always holds: only the newest connection
//! of a peer counts, and one thread reads it; frames of an older connection are dropped once a newer one is up, and
//! the thread of the older one has ended before the newer one delivers anything, so deliveries never go back to an
//! older connection; a peer that sends anything but well-formed messages from itself to this member loses its
//! connection; what is decoded and not yet delivered is bounded, whatever comes. What the messages say is left to the
//! validator of the core. Nothing here waits for a time: a reader waits for its socket only.

use std::io;
use std::sync::Arc;

use log::{info, warn};
use socket2::Socket;

use super::codec::{CodecError, decode_batch, weight_bytes};
use super::frame::{FrameBuffer, FrameError};
use super::notices::Topic;
use super::peer::Peer;
use super::protocol::Protocol;
use super::sockets::break_off;
use super::{Network, lock, spawn, warn_once};
use crate::core::input::Introduction;
use crate::core::ports::PeerMessage;
use crate::time;
use crate::types::NodeId;

/// Messages are delivered once they take this much memory, even if more frames are complete. Messages take up to a
/// hundred times the memory of the bytes they were, and the core accepts or drops a delivery as a whole: everything
/// that one read brought could be a hundred times what the socket holds. A single frame takes less than its length
/// plus what the codec allows.
const DELIVERY_BYTES: usize = 1 << 20;

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

/// False for a connection of a boot that is older than one that has connected before, which is then to be closed.
pub(super) fn is_of_newest_boot(peer: &Peer, boot_count: u64) -> bool {
    let is_current = peer.incoming.is_current(boot_count);
    if !is_current {
        // Whatever is in its socket was sent before what the newer boot sends.
        warn!(
            "node {}: closed a connection from boot {boot_count}, because a later boot of it has connected before: it \
             was delayed, or the directory of the member was replaced by an earlier copy",
            peer.node
        );
    }
    is_current
}

/// Lets `socket` take the place of the peer's older connection and starts the thread that reads it.
pub(super) fn take_over(
    network: &Arc<Network>,
    peer: &Arc<Peer>,
    (socket, protocol): (Arc<Socket>, Protocol),
    introduction: Introduction,
) {
    let generation = peer.incoming.begin(&socket, protocol);
    peer.link.hurry();
    // Held while the older thread ends: connections of one peer take over one after the other.
    let mut reader = lock(&peer.incoming.reader);
    if let Some(older) = reader.take() {
        drop(older.join());
    }
    peer.wait_for_predecessor();
    if !peer.incoming.is_newest(generation) || peer.sockets.is_closed() {
        return break_off(&socket);
    }
    // Nothing of the older connection is delivered any more, and nothing of this one yet.
    network.inbound.introduced(introduction);
    let owner = Arc::clone(peer);
    let name = format!("almadia-recv-{}", peer.node);
    match spawn(network, &name, move |network| receive(network, &owner, (socket, protocol), generation)) {
        Ok(thread) => *reader = Some(thread),
        Err(error) => {
            let text = format!("cannot receive from node {}: no thread could be started: {error}", peer.node);
            warn_once(&peer.incoming.notices, Topic::Exhausted, text);
            peer.incoming.end(generation);
        }
    }
}

fn receive(network: &Network, peer: &Peer, (socket, protocol): (Arc<Socket>, Protocol), generation: u64) {
    let _ended = Ended { peer, socket: Arc::clone(&socket), generation };
    if let Some(open) = peer.sockets.register(socket) {
        let end = deliver_all(network, peer, (&open, protocol), generation);
        tell(peer, &end);
    }
}

/// Breaks a connection off when nobody reads it any more, also when its thread panics: the peer must not go on waiting
/// for answers to what it wrote there.
struct Ended<'a> {
    peer: &'a Peer,
    socket: Arc<Socket>,
    generation: u64,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        break_off(&self.socket);
        self.peer.incoming.end(self.generation);
    }
}

fn deliver_all(
    network: &Network,
    peer: &Peer,
    (mut socket, protocol): (&Socket, Protocol),
    generation: u64,
) -> End {
    let mut frames = FrameBuffer::new(network.options.frame_bytes_max);
    loop {
        match frames.fill(&mut socket) {
            Ok(0) => return End::Closed,
            Ok(_) => peer.heard.note(time::now()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return error.into(),
        }
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        loop {
            let messages = match take_messages(&mut frames, protocol, (peer.node, network.options.node)) {
                Ok(Some(messages)) => messages,
                Ok(None) => break,
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
}

/// The messages of the next complete frames, up to the one that makes them enough for a delivery; `None` when no
/// frame is complete.
fn take_messages(
    frames: &mut FrameBuffer,
    protocol: Protocol,
    (from, to): (NodeId, NodeId),
) -> Result<Option<Vec<PeerMessage>>, End> {
    let (mut messages, mut weighed, mut bytes) = (Vec::new(), 0, 0);
    let mut is_any = false;
    while bytes < DELIVERY_BYTES
        && let Some(body) = frames.next_frame()?
    {
        is_any = true;
        decode_batch(&body, protocol, &mut messages)?;
        bytes += messages[weighed..].iter().map(weight_bytes).sum::<usize>();
        weighed = messages.len();
    }
    match messages.iter().find(|message| (message.from(), message.to()) != (from, to)) {
        Some(message) => Err(End::Misdirected(message.from(), message.to())),
        None => Ok(is_any.then_some(messages)),
    }
}

fn tell(peer: &Peer, end: &End) {
    let node = peer.node;
    match end {
        End::Closed | End::Replaced | End::Io(_) => info!("the connection from node {node} has ended: {end}"),
        End::Frame(_) | End::Codec(_) | End::Misdirected(..) => {
            let text = format!(
                "node {node} sent malformed data and its connection was closed: {end}. Does the network \
                 damage data, or does another program use its address?"
            );
            warn_once(&peer.incoming.notices, Topic::BadFrame, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::super::codec::ENTRIES_MAX;
    use super::super::frame::{begin, finish};
    use super::super::tests::append;
    use super::*;
    use crate::transport::codec::encode_into_batch;

    const FROM: NodeId = NodeId(2);
    const TO: NodeId = NodeId(1);

    /// A frame with one message of so many entries, two bytes each.
    fn dense_frame(entries: u64) -> Vec<u8> {
        let mut message = append(FROM.get(), TO.get(), 0);
        let of = |index| Entry { index, ..Entry::default() };
        message.raft_mut().entries = (1..=entries).map(of).collect::<Vec<_>>().into();
        let mut frame = Vec::new();
        let start = begin(&mut frame);
        encode_into_batch(&message, Protocol::NEWEST, &mut frame).expect("few enough");
        finish(&mut frame, start);
        frame
    }

    fn weight(messages: &[PeerMessage]) -> usize {
        messages.iter().map(weight_bytes).sum()
    }

    /// What is delivered of `stream`, which comes in one read.
    fn deliveries(stream: &[u8]) -> Vec<Vec<PeerMessage>> {
        let mut frames = FrameBuffer::new(64 << 20);
        let mut deliveries = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            frames.fill(&mut rest).expect("a slice is read without errors");
            let mut take = || take_messages(&mut frames, Protocol::NEWEST, (FROM, TO)).expect("good frames");
            deliveries.extend(std::iter::from_fn(&mut take));
        }
        deliveries
    }

    #[test]
    fn what_one_read_brings_is_delivered_in_parts_of_a_bounded_weight() {
        let frame = dense_frame(1000);
        // As long as what is received at once, and no longer.
        let count = super::super::frame::CHUNK_BYTES / frame.len();
        let stream = frame.repeat(count);

        let deliveries = deliveries(&stream);

        let one = weight(&deliveries[0][..1]);
        let all: usize = deliveries.iter().map(|messages| weight(messages)).sum();
        assert!(one > 40 * frame.len(), "{} bytes weigh {one}", frame.len());
        assert_eq!(all, count * one, "nothing is lost");
        assert!(all > 3 * DELIVERY_BYTES, "the bound is tried: {all}");
        for messages in &deliveries {
            assert!(weight(messages) < DELIVERY_BYTES + one, "a delivery of {} bytes", weight(messages));
        }
    }

    #[test]
    fn the_heaviest_frame_weighs_what_the_codec_allows() {
        let frame = dense_frame(ENTRIES_MAX as u64);

        let deliveries = deliveries(&[frame.clone(), frame.clone()].concat());

        assert_eq!(deliveries.len(), 2, "each by itself");
        let most = size_of::<PeerMessage>() + ENTRIES_MAX * size_of::<Entry>() + frame.len();
        assert!(deliveries.iter().all(|messages| weight(messages) <= most));
    }

    #[test]
    fn frames_without_messages_do_not_hide_those_behind_them() {
        let mut empty = Vec::new();
        let start = begin(&mut empty);
        finish(&mut empty, start);

        let deliveries = deliveries(&[empty.clone(), dense_frame(1), empty].concat());

        assert_eq!(deliveries.concat().len(), 1);
    }

    #[test]
    fn a_message_in_the_name_of_another_ends_the_connection() {
        let mut frames = FrameBuffer::new(1 << 20);
        frames.fill(&mut &dense_frame(1)[..]).expect("a slice is read without errors");

        let end = take_messages(&mut frames, Protocol::NEWEST, (NodeId(3), TO));

        assert!(matches!(end, Err(End::Misdirected(FROM, TO))), "{end:?}");
    }
}
