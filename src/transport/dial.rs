//! From an address to a connection that carries messages.
//!
//! Owns one attempt to reach a peer: look up the name, connect, shake hands. What always holds: the name is looked up
//! again at each attempt, so a member may move; every wait has a limit; and every wait ends at once when the transport
//! closes or the peer is gone, except a name lookup, which the operating system offers no way to cancel and which is
//! therefore abandoned.
//! When to try again is left to [`connection`](super::connection).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use socket2::TcpKeepalive;

use super::handshake::{self, HandshakeError, Hello, Purpose, Reason, Refusal};
use super::peer::Peer;
use super::protocol::Protocol;
use super::sockets::{OpenSocket, new_socket};
use super::{Network, lock};
use crate::address;
use crate::process::fork::Unforkable;
use crate::process::panics;
use crate::time;

/// How long one address may take to answer. The system would repeat the request after a second; so does the next
/// attempt, which also looks up the name again.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a name lookup may take before the attempt counts as failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a wait for a lookup checks whether the transport closes.
const LOOKUP_CHECK: Duration = Duration::from_millis(100);

/// An idle connection is probed after this long.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Reaches one peer, over and over.
pub(super) struct Dialer<'a> {
    network: &'a Network,
    peer: &'a Peer,
    /// The lookup under way, of this address: a second one is not begun while the first hangs.
    lookup: Option<(String, Arc<Lookup>)>,
}

impl<'a> Dialer<'a> {
    /// Makes no attempt yet.
    pub(super) fn new(network: &'a Network, peer: &'a Peer) -> Self {
        Self { network, peer, lookup: None }
    }

    /// One attempt. The connection it returns has passed the handshake, in the version of the protocol that comes with it,
    /// and no write on it can wait longer than the network's stall timeout.
    ///
    /// A member of an earlier build refuses the newest version and takes one before. Nothing of that is remembered: at
    /// the next attempt it may have been upgraded.
    ///
    /// # Errors
    /// See [`HandshakeError`]; failures before the handshake are I/O errors that name the address.
    pub(super) fn dial(&mut self) -> Result<(OpenSocket<'a>, Protocol), HandshakeError> {
        for protocol in [Protocol::NEWEST, Protocol::Six, Protocol::Five] {
            match self.dial_in(protocol) {
                Err(error) if is_about_versions(&error) => {}
                dialed => return dialed,
            }
        }
        let Peer { node, .. } = *self.peer;
        if self.network.inbound.level() > 0 {
            return Err(HandshakeError::Refusing(node, self.network.too_old(node)));
        }
        self.dial_in(Protocol::Four)
    }

    /// One attempt at a connection for one raft snapshot, on which no read or write can wait longer than the network's
    /// snapshot timeout.
    ///
    /// # Errors
    /// As of [`dial`](Self::dial); a member of an earlier build refuses for the reason [`Reason::Version`].
    pub(super) fn dial_for_snapshot(&mut self) -> Result<OpenSocket<'a>, HandshakeError> {
        let network = self.network;
        let hello = Hello { purpose: Purpose::Snapshot, ..network.hello_to(self.peer.node) };
        let socket = match self.shake_hands(&hello, Protocol::NEWEST) {
            Err(error) if is_about_versions(&error) => self.shake_hands(&hello, Protocol::Six)?,
            dialed => dialed?,
        };
        let timeout = Some(network.snapshot_timeout());
        // The system's own bound also ends a connection whose other end takes no bytes for a while, which a member that
        // stages them may do.
        socket.set_tcp_user_timeout(timeout)?;
        socket.set_write_timeout(timeout)?;
        Ok(socket)
    }

    fn dial_in(&mut self, protocol: Protocol) -> Result<(OpenSocket<'a>, Protocol), HandshakeError> {
        let hello = self.network.hello_to(self.peer.node);
        let socket = self.shake_hands(&hello, protocol)?;
        socket.set_write_timeout(Some(self.network.stall_timeout()))?;
        Ok((socket, protocol))
    }

    fn shake_hands(&mut self, hello: &Hello, protocol: Protocol) -> Result<OpenSocket<'a>, HandshakeError> {
        let socket = self.connect()?;
        let theirs = handshake::dial(&socket, hello, protocol, |theirs| self.network.admit(theirs))?;
        self.peer.heard.shook_hands(time::now(), &theirs);
        Ok(socket)
    }

    /// Tries all addresses of the peer's name in the order of the resolver.
    fn connect(&mut self) -> io::Result<OpenSocket<'a>> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.resolve()? {
            match self.connect_to(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(failure)
    }

    fn connect_to(&self, address: SocketAddr) -> io::Result<OpenSocket<'a>> {
        let socket = new_socket(address)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        // Without this a peer that lost power would be noticed only when the send buffer is full, and the end of a
        // partition only at the system's next retransmission, which may be minutes away.
        socket.set_tcp_user_timeout(Some(self.network.stall_timeout()))?;
        // Registered before it connects, so that closing ends this wait too.
        let socket = self.peer.sockets.register(Arc::new(socket)).ok_or_else(closing)?;
        socket.connect_timeout(&address.into(), CONNECT_TIMEOUT)?;
        Ok(socket)
    }

    fn resolve(&mut self) -> io::Result<Vec<SocketAddr>> {
        let address = self.peer.address().ok_or_else(no_address)?;
        if let Ok(address) = address.parse() {
            return Ok(vec![address]);
        }
        let lookup = match &self.lookup {
            Some((name, under_way)) if *name == address => Arc::clone(under_way),
            _ => Lookup::begin(&address)?,
        };
        self.lookup = Some((address, Arc::clone(&lookup)));
        let answer = lookup.wait(&|| self.peer.sockets.is_closed())?;
        self.lookup = None;
        answer
    }
}

/// Whether the other member speaks only other versions, or knows too little of what is in this one's log.
pub(super) fn is_about_versions(error: &HandshakeError) -> bool {
    matches!(error, HandshakeError::Refused(Refusal { reason: Reason::Version, .. }))
}

fn closing() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "it is not dialed any more")
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it is not listed yet, and has announced no address")
}

/// A name lookup on a thread of its own, which nobody joins: it owns nothing but the name.
pub(super) struct Lookup {
    answer: Mutex<Option<io::Result<Vec<SocketAddr>>>>,
    answered: Condvar,
}

impl Lookup {
    pub(super) fn begin(name: &str) -> io::Result<Arc<Self>> {
        let lookup = Arc::new(Self { answer: Mutex::new(None), answered: Condvar::new() });
        let (shared, name) = (Arc::clone(&lookup), name.to_owned());
        // The resolver takes locks of the C library.
        let unforkable = Unforkable::new();
        crate::process::thread::spawn("almadia-lookup", move || {
            let _unforkable = unforkable;
            let found = panics::catch(|| Ok(address::lookup(&name)));
            let answer = found.unwrap_or_else(|_| Err(io::Error::other("the name lookup panicked")));
            *lock(&shared.answer) = Some(answer);
            shared.answered.notify_one();
        })?;
        Ok(lookup)
    }

    /// The answer, or an error if there is none in time, or before nobody wants it any more.
    pub(super) fn wait(&self, is_over: &dyn Fn() -> bool) -> io::Result<io::Result<Vec<SocketAddr>>> {
        let end = time::now() + LOOKUP_TIMEOUT;
        let mut answer = lock(&self.answer);
        loop {
            if let Some(answer) = answer.take() {
                return Ok(answer);
            }
            if is_over() {
                return Err(closing());
            }
            if time::now() >= end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the name lookup does not answer"));
            }
            answer =
                self.answered.wait_timeout(answer, LOOKUP_CHECK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
