//! How messages cross between members: plain threads, plain TCP, one connection each way.
//!
//! Owns the connections of one member to all others. Each member dials every other one, and a connection carries
//! messages from the dialer to the acceptor only. One thread reads it. One thread writes it, the sender thread; but
//! while that sleeps, a caller of [`Transport::send`] writes a small message itself (`direct`): that saves a wake-up.
//!
//! What is decided is kept apart from what moves bytes. State machines take the time as an argument and say what to do
//! next: `queue`, `connection`, `direct` and, around them, `outgoing`; `pending_handshakes`; `notices`. They know no
//! lock, no clock and no socket, and are tested without. Threads and sockets carry out what they say.
//!
//! ```text
//!   node 1                                        node 2
//!   send -> queue -> almadia-send-2 ---- TCP ---> almadia-recv-1 -> Inbound::receive
//!   Inbound::receive <- almadia-recv-2 <--- TCP ---- almadia-send-1 <- queue <- send
//!   almadia-accept -> almadia-hello (one for each connection until it has said who it is)
//! ```
//!
//! What always holds:
//! - [`Transport::send`] never waits. A message for which there is no room or no connection is dropped, and
//!   [`Inbound::unreachable`] follows; whoever sent it sends again what matters.
//! - Nothing is delivered before both sides have agreed on cluster, node numbers, election timeout and tick, and
//!   nothing from an older connection once a newer one of that peer is up.
//! - Memory and threads are bounded, whatever connects and whatever it sends.
//! - [`Transport::shutdown`] waits for nothing that a peer could delay.
//!
//! A raft snapshot crosses on a connection of its own: see [`snapshots`].
//!
//! Left to others: whether a message makes sense (the validator), what to send
//! again (raft; for forwarded writes and their answers the core's `forwarding`). Read in this order: `wire` and `codec`
//! (messages as bytes), `frame`, `handshake`, `queue`, `connection`, `direct` and `outgoing`, `link` and `sender`,
//! `acceptor` and `receiver`; then `snapshots`.

mod acceptor;
pub(crate) mod codec;
mod forward_codec;
mod verdict_codec;
mod heartbeat_codec;
mod connection;
mod dial;
mod direct;
pub(crate) mod frame;
mod frame_writer;
pub(crate) mod handshake;
mod link;
mod notices;
mod outgoing;
mod pending_handshakes;
pub(crate) mod protocol;
mod queue;
mod receiver;
mod sender;
mod snapshots;
mod sockets;
mod wire;

#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub(crate) mod fuzz;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use log::warn;

use self::acceptor::Handshakes;
use self::handshake::{Hello, Purpose, Reason, Refusal};
use self::link::Link;
use self::notices::{Notices, Topic};
use self::outgoing::Limits;
use self::receiver::Incoming;
pub(crate) use self::snapshots::Sending;
pub(crate) use self::snapshots::SnapshotSource;
use self::snapshots::{Arrivals, Departures};
use self::sockets::OpenSockets;
use crate::core::input::Introduction;
use crate::core::ports::PeerMessage;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::error::{Code, Error, Result};
use crate::process::panics;
use crate::types::{ClusterId, InstanceId, NEWEST_LEVEL, NodeId};

/// The longest frame, in bytes, unless the options say otherwise.
pub const FRAME_BYTES_MAX: u32 = 64 << 20;
/// How many bytes may wait for one peer, unless the options say otherwise.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What a transport is started with.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// The cluster this member belongs to; members of another are refused.
    pub cluster: ClusterId,
    /// This member.
    pub node: NodeId,
    /// Identifies this member's directory.
    pub instance: InstanceId,
    /// How many times this member has been started.
    pub boot_count: u64,
    /// Differs at every start of this member, even if the count was set back.
    pub boot: u64,
    /// Where to accept peers, as `host:port`. Port 0 lets the system choose.
    pub listen: String,
    /// The members with their addresses as `host:port`, looked up anew at each attempt. May name this member,
    /// which is skipped.
    pub peers: Vec<(NodeId, String)>,
    /// Must be equal on all members, in milliseconds. A peer that takes no bytes for twice as long is given
    /// up.
    pub election_timeout_ms: u64,
    /// Must be equal on all members, in milliseconds. Losses are reported at most once a tick.
    pub tick_ms: u64,
    /// Longest frame accepted and sent, in bytes; usually [`FRAME_BYTES_MAX`]. Must not be smaller on one
    /// member than another, or its peers' large messages are refused.
    pub frame_bytes_max: u32,
    /// Memory the messages that wait for one peer may hold, in bytes; usually [`QUEUE_BYTES_MAX`].
    pub queue_bytes_max: usize,
    /// How many bytes of raft snapshots are sent in a second at most, all together; 0 for no limit.
    pub snapshot_bytes_per_second: u64,
}

/// Where a raft snapshot that begins to arrive goes, or why it does not, for the operators of both sides.
pub(crate) type Begun = std::result::Result<Box<dyn SnapshotSink>, String>;

/// Receives what arrives, and what becomes of the connections. Called from the transport's own threads, never while
/// one of its locks is held, and never from [`Transport::send`]. No method may wait for the transport to shut down:
/// shutdown waits for them.
pub trait Inbound: Send + Sync + 'static {
    /// Messages from one peer, in the order in which that peer's lanes sent them. Called by one thread for each peer; a
    /// call that waits makes the peer wait.
    fn receive(&self, from: NodeId, messages: Vec<PeerMessage>);

    /// An unknown number of messages for `node` were lost: there is no connection, or its queue is full. Called at most
    /// once a tick for each peer, and no later than a tick after a loss unless a dial is under way.
    fn unreachable(&self, node: NodeId);

    /// A member has connected. What it sends from now on, until it is introduced again, comes from this boot of it;
    /// nothing from an earlier connection of it is delivered any more.
    fn introduced(&self, introduction: Introduction);

    /// Whether this member's log has lost its end and does not have it back yet. Asked before each handshake, which
    /// tells the other side.
    fn lacks_end(&self) -> bool;

    /// The feature level that every member has to know by now. Asked in each handshake; it never falls.
    fn level(&self) -> u16;

    /// There is a connection to `node`.
    fn connected(&self, node: NodeId);

    /// There is no connection to `node`, yet or any more. What was sent before may or may not have arrived; what is
    /// sent from now on does not arrive.
    fn disconnected(&self, node: NodeId);

    /// Whether the member `from` may take part with this instance id. Asked in each handshake, on the side that accepts
    /// and on the side that dials.
    ///
    /// # Errors
    /// The text for the operators of both sides, for example that `from` has lost its disk.
    fn admit(&self, from: NodeId, instance: InstanceId) -> std::result::Result<(), String>;

    /// The member `message.from` begins to send a raft snapshot. `source` tells sendings apart, as (node, boot, number):
    /// a sink for the same one goes on where the one before was dropped. Not called for the same region of the same
    /// member while there is a sink for it.
    ///
    /// # Errors
    /// The text for the operators of both sides; the sending ends.
    fn begin_snapshot(&self, message: SnapshotMessage, source: [u64; 3], bytes_estimate: u64) -> Begun;

    /// A thread of the transport panicked and has ended: a bug, after which the transport is to be shut down. `panic`
    /// names the thread.
    fn thread_panicked(&self, panic: Error);
}

/// Takes the rows of a raft snapshot. Called by one thread. One that is dropped without [`finish`](Self::finish) keeps
/// what it has staged: the next one for the same sending goes on from there.
pub trait SnapshotSink: Send {
    /// The last key that it has already, how many rows it has, and their crc32c.
    fn resume(&self) -> (Option<Vec<u8>>, u64, u32);

    /// Takes the next rows. A call that waits makes the sender wait; it may take a fraction of the snapshot timeout.
    ///
    /// # Errors
    /// End the sending; the text is told to the sender.
    fn take(&mut self, chunk: &[u8]) -> Result<()>;

    /// All rows came: so many, with this crc32c. When this returns they are staged. As with [`take`](Self::take), it has
    /// the snapshot timeout for what is left to do.
    ///
    /// # Errors
    /// End the sending; the text is told to the sender.
    fn finish(self: Box<Self>, rows: u64, crc: u32) -> Result<()>;
}

/// A member's connections to all its peers. All methods may be called from any thread.
pub struct Transport {
    network: Arc<Network>,
    local_addr: SocketAddr,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of a transport share.
struct Network {
    options: TransportOptions,
    inbound: Arc<dyn Inbound>,
    /// All members but this one, in order of their numbers.
    peers: Vec<Arc<Peer>>,
    sockets: OpenSockets,
    handshakes: Handshakes,
    /// The raft snapshots that are sent.
    departures: Departures,
    /// The raft snapshots that are received.
    arrivals: Arrivals,
    /// What the operator was told about connections that belong to no peer.
    notices: Mutex<Notices>,
}

/// Another member: the way out to it and the connection from it.
struct Peer {
    node: NodeId,
    address: String,
    link: Link,
    incoming: Incoming,
    /// What the operator was told about raft snapshots to and from this member.
    snapshot_notices: Mutex<Notices>,
}

impl Transport {
    /// Listens, starts to dial every peer, and returns without waiting for any of them.
    ///
    /// # Errors
    /// `NETWORK` when it cannot listen, `INVALID_CONFIG` when the peers contradict each other, `IO` when the
    /// system gives no threads.
    pub fn start(options: TransportOptions, inbound: Arc<dyn Inbound>) -> Result<Self> {
        let peers = peers_of(&options)?;
        let (listener, local_addr) = acceptor::listen(&options.listen)?;
        let handshakes = Handshakes::new(peers.len() + 1);
        let (sockets, notices) = (OpenSockets::default(), Mutex::default());
        let departures = Departures::new(options.snapshot_bytes_per_second);
        let arrivals = Arrivals::default();
        let network =
            Arc::new(Network { options, inbound, peers, sockets, handshakes, departures, arrivals, notices });
        // Owns the threads from the first one on: an error below drops it, which joins them.
        let transport = Self { network, local_addr, threads: Mutex::default() };
        transport.run("almadia-accept", move |network| acceptor::run(network, listener))?;
        for peer in &transport.network.peers {
            let peer = Arc::clone(peer);
            let name = format!("almadia-send-{}", peer.node);
            transport.run(&name, move |network| sender::run(network, &peer))?;
        }
        Ok(transport)
    }

    /// Where this member accepts its peers.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Sends `messages` to `to` without waiting: they are written at once if nothing else is being written, or
    /// queued, or dropped and reported. Messages to a node that is not a peer are dropped.
    ///
    /// Order is kept within each of two kinds of messages: appends, TimeoutNows and forwarded writes; and all others,
    /// which may overtake the first kind.
    pub fn send(&self, to: NodeId, messages: Vec<PeerMessage>) {
        if messages.is_empty() {
            return;
        }
        if let Some(peer) = self.network.peer(to) {
            peer.link.send(messages);
        }
    }

    /// Queues a raft snapshot to be sent on a connection of its own, and returns at once. [`Sending::ended`] is called
    /// exactly once. At most two are sent at a time, one for each region of a member. One that still waits is replaced by a
    /// newer one of the same region for the same member, and so ends.
    pub(crate) fn send_snapshot(&self, sending: Sending) {
        snapshots::send(&self.network, sending);
    }

    /// Closes every connection and accepts no more; what was received may still be delivered. Returns at once.
    pub fn close(&self) {
        self.network.sockets.close();
        for peer in &self.network.peers {
            peer.link.close();
        }
        self.network.departures.close();
    }

    /// As [`close`](Self::close), but returns when every thread has ended; nothing is delivered after that. A second
    /// call does nothing. Not to be called from a method of [`Inbound`].
    pub fn shutdown(&self) {
        self.close();
        // Held until all have ended, so that a second caller does not return earlier.
        let mut threads = lock(&self.threads);
        for thread in threads.drain(..) {
            // Its panics were reported where they happened.
            drop(thread.join());
        }
        // The acceptor is gone, so no further connection can come up.
        for peer in &self.network.peers {
            peer.incoming.join();
        }
        self.network.departures.join();
        self.network.arrivals.join();
    }

    fn run(&self, name: &str, body: impl FnOnce(&Arc<Network>) + Send + 'static) -> Result<()> {
        let thread =
            spawn(&self.network, name, body).map_err(|error| crate::process::thread::refused(&error))?;
        lock(&self.threads).push(thread);
        Ok(())
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Network {
    fn peer(&self, node: NodeId) -> Option<&Arc<Peer>> {
        let at = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        Some(&self.peers[at])
    }

    /// What this member says when it talks to `to`.
    fn hello_to(&self, to: NodeId) -> Hello {
        let options = &self.options;
        Hello {
            cluster: options.cluster,
            from: options.node,
            to,
            instance: options.instance,
            election_timeout_ms: options.election_timeout_ms,
            tick_ms: options.tick_ms,
            boot_count: options.boot_count,
            boot: options.boot,
            lost_end: self.inbound.lacks_end(),
            level: NEWEST_LEVEL,
            purpose: Purpose::Messages,
        }
    }

    fn admit(&self, theirs: &Hello) -> std::result::Result<(), Refusal> {
        if theirs.level < self.inbound.level() {
            return Err(self.too_old(theirs.from));
        }
        let admitted = self.inbound.admit(theirs.from, theirs.instance);
        admitted.map_err(|text| Refusal { reason: Reason::Instance, text })
    }

    /// Why `node`, whose build knows less than is in this member's log, cannot take part.
    fn too_old(&self, node: NodeId) -> Refusal {
        let own = self.options.node;
        let text = format!(
            "node {node} runs an earlier release of the library, which does not know what is in the log of node {own} \
             since all members were upgraded: run the current release on node {node}"
        );
        Refusal { reason: Reason::Version, text }
    }

    /// Whether the operator was told about `topic` concerning the member `node`, or concerning strangers if it is none.
    #[cfg(test)]
    fn has_logged(&self, node: NodeId, topic: Topic) -> bool {
        match self.peer(node) {
            Some(peer) => {
                let notices = [&peer.incoming.notices, &peer.snapshot_notices];
                peer.link.has_logged(topic) || notices.into_iter().any(|list| lock(list).has_logged(topic))
            }
            None => lock(&self.notices).has_logged(topic),
        }
    }

    /// How long a peer may take no bytes before its connection is given up.
    fn stall_timeout(&self) -> Duration {
        Duration::from_millis(2 * self.options.election_timeout_ms)
    }

    /// How long either side of a raft snapshot may neither take nor send a byte before its connection is given up. A
    /// receiver does neither while it syncs a file or all that is left of them: longer than that takes on a slow disk.
    fn snapshot_timeout(&self) -> Duration {
        Duration::from_millis(30 * self.options.election_timeout_ms)
    }
}

fn peers_of(options: &TransportOptions) -> Result<Vec<Arc<Peer>>> {
    let mut members: Vec<&(NodeId, String)> = options.peers.iter().collect();
    members.sort();
    if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let text = format!("cluster.initial_members names node {} twice", twice[0].0);
        return Err(Error::with_detail(Code::InvalidConfig, text));
    }
    let limits = Limits {
        tick: Duration::from_millis(options.tick_ms),
        // By then the members that are up have elected a leader, and the others are missing.
        patience: Duration::from_millis(2 * options.election_timeout_ms),
        queue_bytes_max: options.queue_bytes_max,
        frame_bytes_max: options.frame_bytes_max,
    };
    let others = members.into_iter().filter(|(node, _)| *node != options.node);
    Ok(others.map(|(node, address)| Arc::new(Peer::new(*node, address, limits))).collect())
}

impl Peer {
    fn new(node: NodeId, address: &str, limits: Limits) -> Self {
        let (incoming, snapshot_notices) = (Incoming::default(), Mutex::default());
        Self { node, address: address.to_owned(), link: Link::new(limits), incoming, snapshot_notices }
    }
}

/// Starts a thread whose panic is caught and reported.
fn spawn(
    network: &Arc<Network>,
    name: &str,
    body: impl FnOnce(&Arc<Network>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let network = Arc::clone(network);
    crate::process::thread::spawn(name, move || {
        let ended = panics::catch(|| {
            body(&network);
            Ok(())
        });
        if let Err(panic) = ended {
            network.inbound.thread_panicked(panic);
        }
    })
}

/// Logs `text` unless that was done before.
fn warn_once(notices: &Mutex<Notices>, topic: Topic, text: impl Display) {
    let is_news = lock(notices).is_news(topic);
    if is_news {
        warn!("{text}");
    }
}

/// Takes a lock whether or not a thread panicked with it: every state behind these locks is valid between any
/// two statements, and the panic itself was reported.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
