//! The thread that sends to one peer.
//!
//! Owns the connection this member dialed and everything written on it. What always holds: all that is queued
//! goes out in as few writes as its size allows; no peer, however it behaves, holds this thread longer than
//! the stall timeout, nor shutdown at all; after a lost connection the next attempt comes at once, and
//! further ones after pauses that double from 10 ms to 500 ms, or as soon as the peer connects to this member.
//! A connection the peer has closed is noticed by a look, before a write that follows a gap and one tick after
//! the last write, and not only by the loss of later messages. Losses are reported to
//! [`Inbound::unreachable`](super::Inbound::unreachable) from here, never from the thread that sends.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::info;
use socket2::Socket;

use super::dial::Dialer;
use super::direct::{GAP_MAX, Link};
use super::frame_writer::FrameWriter;
use super::handshake::HandshakeError;
use super::notices::Topic;
use super::queue::{Slice, Wake};
use super::{Network, Peer};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Runs until the transport closes.
pub(super) fn run(network: &Network, peer: &Peer) {
    let mut sender = Sender {
        network,
        peer,
        slice: Slice::default(),
        frames: FrameWriter::new(network.options.frame_bytes_max),
        loss_due: Instant::now(),
        look_due: None,
        served_for: Duration::ZERO,
        said_lost_end: false,
    };
    network.inbound.disconnected(peer.node);
    let mut dialer = Dialer::new(network, peer);
    let mut pause = PAUSE_MIN;
    while !peer.queue.is_closed() {
        sender.served_for = Duration::ZERO;
        sender.said_lost_end = network.inbound.lacks_end();
        match dialer.dial() {
            Ok(socket) => sender.serve(&socket),
            Err(error) => sender.tell(&error),
        }
        // A connection that lived was a good one: its loss is no reason to wait.
        let was_good = sender.served_for > 2 * PAUSE_MAX;
        if !sender.pause(if was_good { Duration::ZERO } else { pause }) {
            return;
        }
        pause = if was_good { PAUSE_MIN } else { PAUSE_MAX.min(2 * pause) };
    }
}

struct Sender<'a> {
    network: &'a Network,
    peer: &'a Peer,
    slice: Slice,
    frames: FrameWriter,
    /// When the next loss may be reported.
    loss_due: Instant,
    /// When to look whether the last write went into a connection that was closed already; `None` once done.
    look_due: Option<Instant>,
    /// How long the last connection lived.
    served_for: Duration,
    /// The hello of this connection says that this member's log lost its end.
    said_lost_end: bool,
}

impl Sender<'_> {
    /// Sends over one connection until it is lost or the transport closes.
    fn serve(&mut self, socket: &Arc<Socket>) {
        let began = Instant::now();
        let node = self.peer.node;
        info!("node {node} is reached at {}", self.peer.address);
        self.network.notices.dialed(node);
        let link = Link::new(Arc::clone(socket), self.network.options.frame_bytes_max);
        self.peer.queue.connected(link);
        self.network.inbound.connected(node);
        // Direct writes may come at any moment from now on.
        self.look_due = Some(began + self.look_interval());
        let end = self.pump(socket);
        self.slice = Slice::default();
        self.frames.clear();
        self.peer.queue.disconnected();
        self.network.inbound.disconnected(node);
        self.served_for = began.elapsed();
        if let Err(error) = end {
            info!("the connection to node {node} is lost: {error}");
        }
    }

    fn pump(&mut self, socket: &Socket) -> io::Result<()> {
        loop {
            #[cfg(test)]
            crate::thread::planted::meet(crate::thread::planted::Place::Loop);
            match self.peer.queue.next(&mut self.slice, self.loss_due, self.look_due) {
                Wake::Closed => return Ok(()),
                Wake::Loss => self.report_loss(),
                Wake::Messages => self.transmit(socket)?,
                Wake::Over => {
                    check_open(socket)?;
                    self.check_hello()?;
                    self.look_due = self.next_look();
                }
            }
        }
    }

    /// Writes the whole slice, with one call unless a direct write left something over.
    fn transmit(&mut self, mut socket: &Socket) -> io::Result<()> {
        let now = Instant::now();
        let before = self.peer.queue.writes_at(now).expect("connected while this thread serves");
        if now - before > GAP_MAX {
            check_open(socket)?;
        }
        self.look_due = Some(now + self.look_interval());
        if !self.slice.leftover.is_empty() {
            socket.write_all(&self.slice.leftover).map_err(name_stall)?;
            self.slice.leftover = Vec::new();
        }
        self.encode_slice();
        socket.write_all(self.frames.finish()).map_err(name_stall)?;
        self.frames.clear();
        Ok(())
    }

    /// Never shorter than the gap after which direct writes stop.
    fn look_interval(&self) -> Duration {
        self.tick().max(GAP_MAX)
    }

    /// Fails when this member has something better to say of itself than it said when it dialed.
    fn check_hello(&self) -> io::Result<()> {
        if self.said_lost_end && !self.network.inbound.lacks_end() {
            return Err(io::Error::other("this member has the end of its log back and says so anew"));
        }
        Ok(())
    }

    /// When to look after the last write, if that is still to come. Otherwise none is needed: after so long a
    /// gap no direct write happens, and this thread looks before its own.
    fn next_look(&self) -> Option<Instant> {
        if self.said_lost_end {
            return Some(Instant::now() + self.look_interval());
        }
        let due = self.peer.queue.written_at()? + self.look_interval();
        (due > Instant::now()).then_some(due)
    }

    fn encode_slice(&mut self) {
        let (node, network) = (self.peer.node, self.network);
        for message in self.slice.urgent.drain(..).chain(self.slice.bulk.drain(..)) {
            if let Err(error) = self.frames.push(&message) {
                let kind = message.raft().map(|raft| raft.msg_type);
                let text = format!("a message ({kind:?}) for node {node} cannot be sent: {error}");
                network.notices.once(node, Topic::Unsendable, text);
                self.peer.queue.lost();
            }
        }
    }

    /// Waits, reporting losses meanwhile. False when the transport closes.
    fn pause(&mut self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            match self.peer.queue.pause(end, self.loss_due) {
                Wake::Closed => return false,
                Wake::Loss => self.report_loss(),
                Wake::Over | Wake::Messages => return true,
            }
        }
    }

    fn report_loss(&mut self) {
        self.loss_due = Instant::now() + self.tick();
        self.network.inbound.unreachable(self.peer.node);
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(self.network.options.tick_ms)
    }

    fn tell(&self, error: &HandshakeError) {
        let topic = match error {
            HandshakeError::Io(_) | HandshakeError::Foreign(_) => Topic::Dial,
            HandshakeError::Refusing(_, refusal) | HandshakeError::Refused(refusal) => {
                Topic::DialRefusal(refusal.reason)
            }
        };
        if !self.peer.queue.is_closed() {
            let Peer { node, address, .. } = self.peer;
            let text = format!("cannot connect to node {node} at {address}; retrying: {error}");
            self.network.notices.once(*node, topic, text);
        }
    }
}

/// Fails when the acceptor, which never sends after the handshake, has closed the connection.
fn check_open(socket: &Socket) -> io::Result<()> {
    let mut byte = [MaybeUninit::uninit()];
    match socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
        Ok(0) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed by the peer")),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent bytes on a connection of ours"))
        }
    }
}

/// A passed socket timeout shows as "would block", which explains nothing.
fn name_stall(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(io::ErrorKind::TimedOut, "the peer accepts no bytes");
    }
    error
}
