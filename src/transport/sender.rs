//! The thread that sends to one peer.
//!
//! Owns the socket of the connection that this member dialed, and the encoding of what is written on it. It carries out
//! the tasks of [`Outgoing`](super::outgoing::Outgoing), one after the other, and says what came of each; it decides
//! nothing itself. What always holds: all that is queued goes out in as few writes as its size allows; no peer, however
//! it behaves, holds up this thread for longer than the stall timeout, which the system applies to each write, nor
//! shutdown at all. Connections and losses are reported to the core from here, never from a caller of
//! [`Transport::send`](super::Transport::send).

use std::io::{self, Write};
use std::sync::Arc;

use log::{Level, info, log, warn};
use socket2::Socket;

use super::Network;
use super::connection::{Looks, Report};
use super::dial::Dialer;
use super::frame_writer::FrameWriter;
use super::handshake::{HandshakeError, Reason, Refusal};
use super::notices::Topic;
use super::outgoing::Task;
use super::peer::Peer;
use super::protocol::Protocol;
use super::queue::Portion;
use super::sockets::{OpenSocket, check_open};

/// Runs until the peer is closed, as all are when the transport closes.
pub(super) fn run(network: &Network, peer: &Peer) {
    let mut sender = Sender {
        network,
        peer,
        dialer: Dialer::new(network, peer),
        socket: None,
        portion: Portion::default(),
        frames: FrameWriter::new(network.options.frame_bytes_max),
        said_lost_end: false,
        protocol: Protocol::NEWEST,
        was_told_removed: false,
    };
    loop {
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        let done = match peer.link.next(&mut sender.portion) {
            Task::Report(report) => {
                sender.report(report);
                Ok(())
            }
            Task::Dial => {
                sender.dial();
                Ok(())
            }
            Task::Look => sender.look(),
            Task::Write { looks_first: true } => check_open(sender.socket()).and_then(|()| sender.write()),
            Task::Write { looks_first: false } => sender.write(),
            Task::End => return,
        };
        if let Err(error) = done {
            sender.lose(&error);
        }
    }
}

struct Sender<'a> {
    network: &'a Network,
    peer: &'a Peer,
    dialer: Dialer<'a>,
    /// That of the open connection.
    socket: Option<OpenSocket<'a>>,
    portion: Portion,
    frames: FrameWriter,
    /// The hello of this connection says that this member's log has lost its end.
    said_lost_end: bool,
    /// What is spoken on this connection.
    protocol: Protocol,
    /// The peer has said that this member was removed.
    was_told_removed: bool,
}

impl Sender<'_> {
    fn report(&self, report: Report) {
        let node = self.peer.node;
        match report {
            Report::Connected => {
                info!("connected to node {node} at {}", self.peer.address().unwrap_or_default());
                self.network.inbound.connected(node);
            }
            Report::Disconnected => self.network.inbound.disconnected(node),
            Report::Unreachable => self.network.inbound.unreachable(node),
        }
    }

    fn dial(&mut self) {
        self.said_lost_end = self.network.inbound.lacks_end();
        let address = self.peer.address();
        match self.dialer.dial() {
            Ok((socket, protocol)) => {
                let may_change = self.said_lost_end || protocol < Protocol::NEWEST;
                let looks = if may_change { Looks::Always } else { Looks::AfterWrites };
                self.protocol = protocol;
                self.frames.speak(protocol);
                self.peer.link.opened(Arc::clone(&socket), protocol, looks);
                self.socket = Some(socket);
            }
            Err(error) => {
                self.fail(&error, address.as_deref().unwrap_or("an address that is not known"));
                address.iter().for_each(|address| self.peer.dialed_in_vain(address));
            }
        }
    }

    fn fail(&mut self, error: &HandshakeError, address: &str) {
        let topic = match error {
            HandshakeError::Io(_) | HandshakeError::Foreign(_) => Topic::Dial,
            HandshakeError::Refusing(_, refusal) | HandshakeError::Refused(refusal) => {
                Topic::DialRefusal(refusal.reason)
            }
        };
        let node = self.peer.node;
        let level = if self.peer.link.failed(topic) { Level::Warn } else { Level::Debug };
        log!(level, "cannot connect to node {node} at {address}; retrying: {error}");
        let says_removed = matches!(error, HandshakeError::Refused(Refusal { reason: Reason::Removed, .. }));
        if says_removed && !std::mem::replace(&mut self.was_told_removed, true) {
            self.network.inbound.removed(node);
        }
    }

    /// Fails when the connection is of no more use.
    fn look(&self) -> io::Result<()> {
        check_open(self.socket())?;
        if self.said_lost_end && !self.network.inbound.lacks_end() {
            return Err(io::Error::other(
                "this member has the end of its log back and connects anew to say so",
            ));
        }
        // It was upgraded between two attempts of one dial, or the network let a connection live on.
        if self.protocol < self.peer.incoming.protocol() {
            return Err(io::Error::other("the node speaks a later version of the protocol by now"));
        }
        Ok(())
    }

    fn socket(&self) -> &Socket {
        open(self.socket.as_ref())
    }

    /// Writes the whole portion, in one call unless a direct write left something over.
    fn write(&mut self) -> io::Result<()> {
        if !self.portion.leftover.is_empty() {
            self.socket().write_all(&self.portion.leftover).map_err(name_stall)?;
            self.portion.leftover = Vec::new();
        }
        self.encode();
        open(self.socket.as_ref()).write_all(self.frames.finish()).map_err(name_stall)?;
        self.frames.clear();
        Ok(())
    }

    fn encode(&mut self) {
        let Self { peer, portion, frames, .. } = self;
        for message in portion.urgent.drain(..).chain(portion.bulk.drain(..)) {
            if let Err(error) = frames.push(&message)
                && peer.link.unsendable()
            {
                let kind = message
                    .raft()
                    .map_or_else(|| "forwarded writes".to_owned(), |raft| format!("{:?}", raft.msg_type));
                warn!("a message ({kind}) for node {} cannot be sent: {error}", peer.node);
            }
        }
    }

    /// The connection is of no more use.
    fn lose(&mut self, error: &io::Error) {
        info!("lost the connection to node {}: {error}", self.peer.node);
        self.socket = None;
        self.portion = Portion::default();
        self.frames.clear();
        self.peer.link.lost();
    }
}

fn open<'a>(socket: Option<&'a OpenSocket<'_>>) -> &'a Socket {
    socket.expect("there is a connection, or there would be no such task")
}

/// A passed socket timeout shows as "would block", which explains nothing.
fn name_stall(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(io::ErrorKind::TimedOut, "the peer accepts no bytes");
    }
    error
}
