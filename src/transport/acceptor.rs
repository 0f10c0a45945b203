//! The thread that accepts connections, and the handshakes of those it accepted.
//!
//! Owns the listening socket and the threads of the connections that have not said yet who they are. What always holds:
//! there are never more of those than [`PendingHandshakes`] admits, nor of threads for them than twice as many; each is
//! gone when the deadline of a handshake has passed, whatever it sends; and nothing a stranger does ends this thread.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use log::{debug, info};
use socket2::{SockAddr, Socket};

use super::deadlined::Deadlined;
use super::handshake::{self, Caller, DEADLINE, HandshakeError, Hello, Purpose, Reason, Refusal};
use super::joining::JoinRequest;
use super::notices::Topic;
use super::pending_handshakes::{Admission, PendingHandshakes, Place};
use super::protocol::Protocol;
use super::sockets::{accept, break_off, new_socket};
use super::{Network, lock, peers, receiver, snapshots, spawn, warn_once};
use crate::address;
use crate::core::input::Introduction;
use crate::error::{Code, Error, Result};
use crate::time;
use crate::types::NodeId;

/// How long to wait when the system has no descriptor or thread left. Trying again at once would burn a core.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Connections the system holds until they are accepted.
const BACKLOG: i32 = 128;

/// The connections in handshake.
pub(super) struct Handshakes {
    pending: Mutex<PendingHandshakes<Arc<Socket>>>,
    ended: Condvar,
}

impl Handshakes {
    /// Room for the handshakes of a cluster of so many members.
    pub(super) fn new(members: usize) -> Self {
        Self { pending: Mutex::new(PendingHandshakes::new(members)), ended: Condvar::new() }
    }

    /// Finds a place for `socket`, evicting the oldest connection if need be. `threads` are those of handshakes that
    /// have not ended yet.
    fn enter(&self, socket: &Arc<Socket>, threads: usize) -> Option<Place> {
        let mut pending = lock(&self.pending);
        loop {
            let now = time::now();
            match pending.admit(now, socket, threads) {
                Admission::Admitted(place) => return Some(place),
                Admission::Evict(oldest) => break_off(&oldest),
                Admission::Wait(until) => {
                    let waited = self.ended.wait_timeout(pending, until.since(now));
                    pending = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Admission::TurnedAway => return None,
            }
        }
    }

    /// The cluster has so many members now.
    pub(super) fn resize(&self, members: usize) {
        lock(&self.pending).resize(members);
    }

    fn leave(&self, place: Place) {
        lock(&self.pending).leave(place);
        self.ended.notify_one();
    }

    /// How many there may be.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        lock(&self.pending).count_max()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.pending).count()
    }
}

/// Opens the listening socket at `address` ("host:port"; port 0 lets the system choose).
///
/// # Errors
/// `NETWORK` with the address, the system's message and what to do.
pub(super) fn listen(address: &str) -> Result<(Socket, SocketAddr)> {
    let refuse = |error: io::Error| {
        let remedy = if error.kind() == io::ErrorKind::AddrInUse {
            "another process or store uses it; choose another port with transport.listen"
        } else {
            "set transport.listen to an address of this machine, as 'host:port'"
        };
        Error::with_detail(Code::Network, format!("cannot listen on '{address}': {error}; {remedy}"))
            .with_errno(error.raw_os_error())
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address::lookup(address).map_err(refuse)? {
        match listen_at(candidate) {
            Ok(open) => return Ok(open),
            Err(error) => failure = error,
        }
    }
    Err(refuse(failure))
}

fn listen_at(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = new_socket(address)?;
    // A restarted member must not wait for the connections of its predecessor to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((listener.into(), local))
}

/// Runs until the transport closes, and returns when the last handshake has ended.
pub(super) fn run(network: &Arc<Network>, listener: Socket) {
    let Some(listener) = network.sockets.register(Arc::new(listener)) else { return };
    let mut threads = Greeters(Vec::new());
    loop {
        let accepted = accept(&listener);
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        if network.sockets.is_closed() {
            break;
        }
        threads.0.retain(|thread| !thread.is_finished());
        if let Err(error) = accepted.and_then(|(socket, from)| greet(network, &mut threads.0, socket, from)) {
            rest(network, &error);
        }
    }
}

/// The threads of handshakes. They are joined when this is dropped, also when the accepting thread panics.
struct Greeters(Vec<JoinHandle<()>>);

impl Drop for Greeters {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // Its panics were reported where they happened.
            drop(thread.join());
        }
    }
}

/// Starts the handshake of a new connection, or closes it when there is no place for it.
fn greet(
    network: &Arc<Network>,
    threads: &mut Vec<JoinHandle<()>>,
    socket: Socket,
    from: SockAddr,
) -> io::Result<()> {
    let socket = Arc::new(socket);
    let Some(place) = network.handshakes.enter(&socket, threads.len()) else { return Ok(()) };
    let spawned = spawn(network, "almadia-hello", move |network| {
        let _entry = Entry { network, place };
        #[cfg(test)]
        crate::process::planted_panics::meet(crate::process::planted_panics::Place::Loop);
        shake_hands(network, &socket, &from);
    });
    match spawned {
        Ok(thread) => threads.push(thread),
        Err(error) => {
            network.handshakes.leave(place);
            return Err(error);
        }
    }
    Ok(())
}

/// A connection's place, given up when this is dropped, also by a panic.
struct Entry<'a> {
    network: &'a Network,
    place: Place,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.network.handshakes.leave(self.place);
    }
}

/// Waits a little after an error of the system, unless it concerned one connection only.
fn rest(network: &Network, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    let text = format!(
        "cannot accept a connection; retrying: {error}. Is the limit on open files or threads too low?"
    );
    warn_once(&network.notices, Topic::Exhausted, text);
    network.sockets.pause(EXHAUSTED_PAUSE);
}

fn shake_hands(network: &Arc<Network>, socket: &Arc<Socket>, from: &SockAddr) {
    let Some(open) = network.sockets.register(Arc::clone(socket)) else { return };
    let agreed = open.set_tcp_nodelay(true).map_err(HandshakeError::from).and_then(|()| {
        handshake::accept(&open, |node| own_hello(network, node), |theirs| admit(network, theirs))
    });
    match agreed {
        Ok(Caller::Member(theirs, protocol)) => welcome(network, &theirs, protocol, socket),
        Ok(Caller::Newcomer(request)) => answer(network, &request, socket, from),
        Err(error) if !network.sockets.is_closed() => tell(network, &error, from),
        Err(_) => {}
    }
}

fn admit(network: &Network, theirs: &Hello) -> std::result::Result<(), Refusal> {
    network.admit(theirs)?;
    if network.peers.has_room_for(theirs.from) {
        return Ok(());
    }
    let text = format!(
        "too many members that are not in the list of node {} want to talk to it: add node {} with change_members, or \
         stop it",
        network.options.node, theirs.from
    );
    Err(Refusal { reason: Reason::UnknownNode, text })
}

fn welcome(network: &Arc<Network>, theirs: &Hello, protocol: Protocol, socket: &Arc<Socket>) {
    let Some(peer) = &peers::let_in(network, theirs.from, &theirs.announced) else {
        return break_off(socket);
    };
    lock(&peer.incoming.notices).accepted();
    if !receiver::is_of_newest_boot(peer, theirs.boot_count) {
        return break_off(socket);
    }
    peer.heard.shook_hands(time::now(), theirs);
    if peer.announce(&theirs.announced) {
        info!("node {} says that it is at {} now", theirs.from, theirs.announced);
        network.inbound.announced(theirs.from, &theirs.announced);
    }
    // An idle peer may send nothing for any length of time; one that is gone without a word is found by the keep-alive.
    let prepared = socket.set_read_timeout(None).and_then(|()| socket.set_keepalive(true));
    match theirs.purpose {
        _ if prepared.is_err() => {}
        Purpose::Messages => {
            receiver::take_over(network, peer, (Arc::clone(socket), protocol), introduction(theirs));
        }
        Purpose::Snapshot => snapshots::take_over(network, peer, socket, theirs),
    }
}

fn introduction(theirs: &Hello) -> Introduction {
    let Hello { from: node, boot_count, boot, lost_end, level, .. } = *theirs;
    Introduction { node, boot_count, boot, lost_end, level }
}

/// Answers one that is to be a member.
fn answer(network: &Network, request: &JoinRequest, socket: &Socket, from: &SockAddr) {
    let answer = network.welcome(request);
    let said = match &answer {
        Ok(welcome) => welcome.clone(),
        Err(refusal) => handshake::refusal_bytes(refusal, Protocol::NEWEST),
    };
    // It may be gone by now, and then it comes again.
    drop(Deadlined::new(socket, DEADLINE).write_all(&said));
    match answer {
        Ok(_) => info!("told node {}, which is to be a member, of the cluster", request.node),
        Err(refusal) => tell(network, &HandshakeError::Refusing(request.node, refusal), from),
    }
}

/// What is said to the member `node`, if there can be one.
fn own_hello(network: &Network, node: NodeId) -> std::result::Result<Hello, Refusal> {
    network.check_number(node)?;
    Ok(network.hello_to(node))
}

fn tell(network: &Network, error: &HandshakeError, from: &SockAddr) {
    let from =
        from.as_socket().map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
    let (node, topic) = match error {
        HandshakeError::Refusing(node, refusal) => (*node, Topic::AcceptRefusal(refusal.reason)),
        // A member that is stopped while it connects leaves no more than that, nor does a probe of the port.
        HandshakeError::Io(_) => return debug!("a connection from {from} came to nothing: {error}"),
        HandshakeError::Foreign(_) | HandshakeError::Refused(_) => (NodeId::default(), Topic::Stranger),
    };
    let peer = network.peers.find(node);
    let notices = peer.as_ref().map_or(&network.notices, |peer| &peer.incoming.notices);
    warn_once(notices, topic, format!("refused a connection from {from}: {error}"));
}
