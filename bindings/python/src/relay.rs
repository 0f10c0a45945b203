//! One direction of the network between members in one process, which a test can break.
//!
//! Owns a listening socket on loopback, the connections it accepted, and for each of them a connection to the target
//! member. Used only by `almadia.testing`: each ordered pair of members gets its own relay. What always holds: its
//! address stays reserved from its creation until it is closed, whatever else binds ports meanwhile; bytes pass in both
//! directions of a connection unchanged and in order, or the connection is broken; it holds at most
//! [`CONNECTIONS_MAX`] connections and one chunk for each direction of each; none of its threads touches Python, so
//! that what a test measures does not depend on the GIL; once it was closed none of its threads runs. Which members a
//! partition separates is left to the Python side.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use almadia::internal::above_standard;
use almadia::internal::spawn;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use socket2::{Domain, Protocol, Socket, Type};

use crate::errors::OrRaise;
use crate::exit::detached;
use crate::fork_guard::ForkGuarded;

/// More than members ever have open at once; a member that keeps dialling a silent relay stays below it for minutes.
const CONNECTIONS_MAX: usize = 64;

/// Connections the system queues until they are accepted.
const BACKLOG: i32 = 128;

/// Bytes read at once, and the most that is buffered for each direction while the relay is silent.
const CHUNK_BYTES: usize = 64 << 10;

/// A running member accepts at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to pause when the system is out of descriptors or threads.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What a relay does with connections and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Forwards everything.
    Open,
    /// Breaks every connection, like a host that is down.
    Cut,
    /// Accepts connections and bytes but forwards nothing, like a network that drops packets. What is buffered is
    /// forwarded once it is open again, as TCP's retransmissions would be.
    Silent,
    /// Has ended, for good.
    Closed,
}

/// Forwards connections to a member's real address until its mode is changed.
#[pyclass(module = "almadia._almadia", frozen)]
pub struct Relay(ForkGuarded<Acceptor>);

#[pymethods]
impl Relay {
    /// A relay to `target`, an address of this machine as "127.0.0.1:port", on a port the system chooses.
    #[new]
    fn new(target: &str) -> PyResult<Self> {
        let target: SocketAddr =
            target.parse().map_err(|_| PyValueError::new_err(format!("'{target}' is not an address")))?;
        Ok(Self(ForkGuarded::new(Acceptor::start(target)?)))
    }

    /// The address it listens on.
    #[getter]
    fn address(&self) -> String {
        self.0.get_in_any_process().address.to_string()
    }

    /// Sets its mode: "open", "cut", "silent" or "closed"; closed is permanent.
    fn set_mode(&self, py: Python<'_>, mode: &str) -> PyResult<()> {
        let mode = match mode {
            "open" => Mode::Open,
            "cut" => Mode::Cut,
            "silent" => Mode::Silent,
            "closed" => Mode::Closed,
            _ => return Err(PyValueError::new_err(format!("'{mode}' is not a relay mode"))),
        };
        let acceptor = self.0.get().or_raise(py)?;
        detached(py, || acceptor.link.set(mode));
        if mode == Mode::Closed {
            detached(py, || acceptor.join());
        }
        Ok(())
    }
}

/// The accepting thread, and what it shares with the forwarding threads.
struct Acceptor {
    link: Arc<Link>,
    address: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Acceptor {
    fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = new_socket()?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(BACKLOG)?;
        let bound = listener.local_addr()?.as_socket();
        let address = bound.expect("an IPv4 socket has an IP address");
        let state = State { mode: Mode::Open, next: 0, connections: BTreeMap::new() };
        let link = Arc::new(Link { target, listener, state: Mutex::new(state), changed: Condvar::new() });
        let shared = Arc::clone(&link);
        let thread = spawn("almadia-relay", move || shared.accept())?;
        Ok(Self { link, address, thread: Mutex::new(Some(thread)) })
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If it panicked, the test sees a broken connection, nothing more.
            drop(thread.join());
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.link.set(Mode::Closed);
        self.join();
    }
}

fn new_socket() -> io::Result<Socket> {
    above_standard(Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?)
}

struct Link {
    target: SocketAddr,
    listener: Socket,
    state: Mutex<State>,
    /// The mode changed, or a connection was removed to make room.
    changed: Condvar,
}

struct State {
    mode: Mode,
    next: u64,
    /// Connections that may forward bytes, oldest first. One that is removed is broken.
    connections: BTreeMap<u64, Vec<Arc<Socket>>>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mode: Mode) {
        let mut state = self.lock();
        if state.mode == Mode::Closed {
            return;
        }
        state.mode = mode;
        if matches!(mode, Mode::Cut | Mode::Closed) {
            for (_, ends) in std::mem::take(&mut state.connections) {
                shut_down(&ends);
            }
        }
        if mode == Mode::Closed {
            // Wakes up the accepting thread.
            drop(self.listener.shutdown(Shutdown::Both));
        }
        self.changed.notify_all();
    }

    /// Runs until the link is closed, and returns when the last connection has ended.
    fn accept(self: &Arc<Self>) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let accepted = self.listener.accept().and_then(|(near, from)| Ok((above_standard(near)?, from)));
            threads.retain(|thread| !thread.is_finished());
            let started = accepted.and_then(|(near, _)| self.start_forwarding(near, &mut threads));
            let state = self.lock();
            if state.mode == Mode::Closed {
                break;
            }
            if started.is_err() {
                drop(self.changed.wait_timeout(state, EXHAUSTED_PAUSE));
            }
        }
        for thread in threads {
            drop(thread.join());
        }
    }

    /// Registers a connection and starts its thread, or breaks it when the link is cut.
    fn start_forwarding(self: &Arc<Self>, near: Socket, threads: &mut Vec<JoinHandle<()>>) -> io::Result<()> {
        let near = Arc::new(near);
        let Some(key) = self.register(&near) else {
            shut_down(&[near]);
            return Ok(());
        };
        let link = Arc::clone(self);
        let spawned = spawn("almadia-relayed", move || {
            // A connection that cannot be forwarded is broken; its ends learn no more than that.
            drop(link.forward(key, &near));
            link.remove(key);
        });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                self.remove(key);
                return Err(error);
            }
        }
        Ok(())
    }

    fn register(&self, near: &Arc<Socket>) -> Option<u64> {
        let mut state = self.lock();
        if matches!(state.mode, Mode::Cut | Mode::Closed) {
            return None;
        }
        if state.connections.len() >= CONNECTIONS_MAX
            && let Some((_, oldest)) = state.connections.pop_first()
        {
            shut_down(&oldest);
            // A thread that waits while the link is silent must notice that its connection is gone.
            self.changed.notify_all();
        }
        let key = state.next;
        state.next += 1;
        state.connections.insert(key, vec![Arc::clone(near)]);
        Some(key)
    }

    fn remove(&self, key: u64) {
        if let Some(ends) = self.lock().connections.remove(&key) {
            shut_down(&ends);
        }
    }

    /// Waits while the link is silent. False when the connection is gone.
    fn may_forward(&self, key: u64) -> bool {
        let silent = |state: &mut State| state.mode == Mode::Silent && state.connections.contains_key(&key);
        let state = self.changed.wait_while(self.lock(), silent).unwrap_or_else(PoisonError::into_inner);
        state.connections.contains_key(&key)
    }

    /// Forwards a connection until both directions have ended.
    fn forward(self: &Arc<Self>, key: u64, near: &Arc<Socket>) -> io::Result<()> {
        if !self.may_forward(key) {
            return Ok(());
        }
        let far = Arc::new(new_socket()?);
        near.set_tcp_nodelay(true)?;
        far.set_tcp_nodelay(true)?;
        // Registered before it connects, so that breaking the connection ends this wait too.
        match self.lock().connections.get_mut(&key) {
            Some(ends) => ends.push(Arc::clone(&far)),
            None => return Ok(()),
        }
        far.connect_timeout(&self.target.into(), CONNECT_TIMEOUT)?;
        let (link, from, to) = (Arc::clone(self), Arc::clone(&far), Arc::clone(near));
        let back = spawn("almadia-relayed", move || link.forward_one_way(key, &from, &to))?;
        self.forward_one_way(key, near, &far);
        drop(back.join());
        Ok(())
    }

    /// Forwards one direction, including its end of stream. Breaks the connection on an error.
    fn forward_one_way(&self, key: u64, from: &Socket, to: &Socket) {
        if self.copy(key, from, to).is_err() {
            self.remove(key);
        }
    }

    fn copy(&self, key: u64, mut from: &Socket, mut to: &Socket) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = match from.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            if !self.may_forward(key) {
                return Ok(());
            }
            if length == 0 {
                return to.shutdown(Shutdown::Write);
            }
            to.write_all(&chunk[..length])?;
        }
    }
}

/// Shuts these sockets down, which ends every wait on them, here and at their peers.
fn shut_down(ends: &[Arc<Socket>]) {
    for end in ends {
        // It fails only if the connection is already gone.
        drop(end.shutdown(Shutdown::Both));
    }
}
