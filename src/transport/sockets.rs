//! The sockets that are open, so that shutdown can end every wait on one.
//!
//! Owns the list of open sockets, whether the transport is closed, how sockets are created, and the look at one that
//! tells whether the peer has closed it. What always holds:
//! after [`OpenSockets::close`] no socket of the list can block a thread, and no new one enters the list. That is
//! what makes shutdown prompt whatever a peer does: each thread of the transport waits on a socket of this list, on a
//! link that shutdown closes, or in [`OpenSockets::pause`]. A file descriptor is closed by whoever drops the last
//! reference to it.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::lock;
use crate::process::descriptors::above_standard;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct OpenSockets {
    state: Mutex<State>,
    closed: Condvar,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    next_key: u64,
    open: HashMap<u64, Arc<Socket>>,
}

impl OpenSockets {
    /// Registers `socket` for as long as the returned value lives; `None` once closed.
    pub(super) fn register(&self, socket: Arc<Socket>) -> Option<OpenSocket<'_>> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return None;
        }
        let key = state.next_key;
        state.next_key += 1;
        state.open.insert(key, Arc::clone(&socket));
        Some(OpenSocket { list: self, key, socket })
    }

    /// Ends every wait on a registered socket, now and for ever.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        for socket in state.open.values() {
            break_off(socket);
        }
        self.closed.notify_all();
    }

    /// True after [`OpenSockets::close`].
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Waits until closed, but no longer than `pause`.
    pub(super) fn pause(&self, pause: Duration) {
        let state = lock(&self.state);
        drop(self.closed.wait_timeout_while(state, pause, |state| !state.is_closed));
    }
}

/// A socket of the list; it leaves the list when this is dropped.
pub(super) struct OpenSocket<'a> {
    list: &'a OpenSockets,
    key: u64,
    socket: Arc<Socket>,
}

impl Deref for OpenSocket<'_> {
    type Target = Arc<Socket>;
    fn deref(&self) -> &Arc<Socket> {
        &self.socket
    }
}

impl Drop for OpenSocket<'_> {
    fn drop(&mut self) {
        lock(&self.list.state).open.remove(&self.key);
    }
}

/// A socket for connections to or at `address`.
pub(super) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    above_standard(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?)
}

/// Waits for a connection at `listener`.
pub(super) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, from) = listener.accept()?;
    Ok((above_standard(socket)?, from))
}

/// Makes every read, write, connect and accept on `socket` return, in whatever thread.
pub(super) fn break_off(socket: &Socket) {
    // This fails only when there is no connection (any more), and then nobody waits on it either.
    drop(socket.shutdown(Shutdown::Both));
}

/// Whether a read would return at once, with bytes or the end of the connection.
pub(super) fn has_bytes(socket: &Socket) -> io::Result<bool> {
    let mut byte = [MaybeUninit::uninit()];
    match socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        other => other.map(|_| true),
    }
}

/// Fails when the acceptor, which never sends after the handshake, has closed the connection.
pub(super) fn check_open(socket: &Socket) -> io::Result<()> {
    let mut byte = [MaybeUninit::uninit()];
    match socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
        Ok(0) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed by the peer")),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer sent bytes on a connection that carries none in this direction",
        )),
    }
}
