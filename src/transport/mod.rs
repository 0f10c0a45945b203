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
//! - [`Transport::shutdown`] waits for nothing that a peer could delay, and [`Transport::set_peers`] for nothing at all.
//! - A member that is known to have been removed is not talked to. Any other that belongs to the cluster is, whether it
//!   is listed or not: this member may not have heard yet that it was added.
//!
//! A raft snapshot crosses on a connection of its own: see [`snapshots`].
//!
//! Left to others: whether a message makes sense (the validator), what to send
//! again (raft; for forwarded writes and their answers the core's `forwarding`). Read in this order: `wire` and `codec`
//! (messages as bytes), `frame`, `joining`, `handshake` and `asking`, `queue`, `connection`, `direct` and `outgoing`, `link` and
//! `sender`, `acceptor` and `receiver`, `peer` and `peers`; then `snapshots`.

mod acceptor;
mod asking;
pub(crate) mod codec;
mod forward_codec;
mod verdict_codec;
mod heartbeat_codec;
mod connection;
mod deadlined;
mod dial;
mod direct;
pub(crate) mod frame;
mod frame_writer;
pub(crate) mod handshake;
mod heard;
mod incoming;
mod joining;
mod link;
mod notices;
mod outgoing;
mod peer;
mod peers;
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
pub(crate) use self::asking::ask;
use self::handshake::{Hello, Purpose, Reason, Refusal, Times};
use self::joining::is_announceable;
pub(crate) use self::joining::{JoinRequest, Welcome, WelcomeRegion};
use self::notices::{Notices, Topic};
use self::peers::Peers;
pub(crate) use self::snapshots::Sending;
pub(crate) use self::snapshots::SnapshotSource;
use self::snapshots::{Arrivals, Departures};
pub(crate) use self::sockets::OpenSockets;
use crate::core::input::Introduction;
use crate::core::ports::PeerMessage;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::error::{Code, Error, Result};
use crate::process::panics;
use crate::time::Timestamp;
use crate::types::{ClusterId, InstanceId, NEWEST_LEVEL, NodeId};

/// The version of this build, as members tell each other.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

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
    /// which is skipped. `Transport::set_peers` replaces them.
    pub peers: Vec<(NodeId, String)>,
    /// Where the others reach this member, as `host:port`; empty to say nothing of it.
    pub announce: String,
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

/// What is known of a member that may not be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to the cluster.
    Member,
    /// It may have been added lately, which this member has not heard of yet.
    Unknown,
    /// It was removed for good: its number is not used again.
    Removed,
}

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

    /// What is known of `node`. Asked in each handshake, on the side that accepts and on the side that dials; a removed
    /// member is refused.
    fn knows(&self, node: NodeId) -> Standing;

    /// `node` says that it can be reached at `address`, which is another than the one listed or the one it said before. It
    /// is dialed there from now on; when a dial fails, the next one goes where it is listed, and so on.
    fn announced(&self, node: NodeId, address: &str);

    /// The member `by`, which this one dialed, says that this one was removed from the cluster. Called once for a member
    /// that says so, as long as it is a peer.
    fn removed(&self, by: NodeId);

    /// The name of the cluster, which a member that is to be has to know.
    fn cluster_name(&self) -> &str;

    /// What a member that is to be needs to know. It is not a removed one, and agrees in the cluster's name, timeouts and
    /// level.
    ///
    /// # Errors
    /// The text for the operators of both sides, for example that `request.node` is not listed yet; it asks again.
    #[allow(private_interfaces)] // Only members of this crate let others in.
    fn welcome(&self, request: &JoinRequest) -> std::result::Result<Welcome, String> {
        Err(format!("node {} cannot join here", request.node))
    }

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
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads of a transport share.
struct Network {
    options: TransportOptions,
    inbound: Arc<dyn Inbound>,
    peers: Peers,
    /// The listening socket and those of connections in handshake; the others are those of a peer.
    sockets: OpenSockets,
    handshakes: Handshakes,
    /// The raft snapshots that are sent.
    departures: Departures,
    /// The raft snapshots that are received.
    arrivals: Arrivals,
    /// What the operator was told about connections that belong to no peer.
    notices: Mutex<Notices>,
}

impl Transport {
    /// Listens, starts to dial every peer, and returns without waiting for any of them.
    ///
    /// # Errors
    /// `NETWORK` when it cannot listen, `INVALID_CONFIG` when the peers contradict each other, `IO` when the
    /// system gives no threads.
    pub fn start(options: TransportOptions, inbound: Arc<dyn Inbound>) -> Result<Self> {
        check(&options)?;
        let (listener, local_addr) = acceptor::listen(&options.listen)?;
        let (members, handshakes) = (options.peers.clone(), Handshakes::new(1));
        let (peers, sockets, notices) = (Peers::default(), OpenSockets::default(), Mutex::default());
        let departures = Departures::new(options.snapshot_bytes_per_second);
        let arrivals = Arrivals::default();
        let network =
            Arc::new(Network { options, inbound, peers, sockets, handshakes, departures, arrivals, notices });
        // Owns the threads from the first one on: an error below drops it, which joins them.
        let transport = Self { network, local_addr, acceptor: Mutex::default() };
        let refused = |error: io::Error| crate::process::thread::refused(&error);
        peers::list(&transport.network, members).map_err(refused)?;
        let accepting = move |network: &Arc<Network>| acceptor::run(network, listener);
        let thread = spawn(&transport.network, "almadia-accept", accepting).map_err(refused)?;
        *lock(&transport.acceptor) = Some(thread);
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
        if let Some(peer) = self.network.peers.find(to) {
            peer.link.send(messages);
        }
    }

    /// Makes these the other members, with their addresses as `host:port`; may name this member, which is skipped. New ones
    /// are dialed, and those that are not named are left, also those that came by themselves: they come again if they
    /// belong here. An address counts if it differs from that of the last call. Does not wait for anything. False when the
    /// system gives no thread for one of them: [`dial_refused`](Self::dial_refused) is to be called then, every now and
    /// then, until it returns true.
    #[must_use]
    pub(crate) fn set_peers(&self, peers: Vec<(NodeId, String)>) -> bool {
        let listed = peers::list(&self.network, peers);
        if let Err(error) = &listed {
            warn!("a member is not dialed yet: no thread could be started; retrying: {error}");
        }
        listed.is_ok()
    }

    /// Dials those of the last [`set_peers`](Self::set_peers) for which there was no thread. False when there still is none.
    /// Does not wait for anything.
    #[must_use]
    pub(crate) fn dial_refused(&self) -> bool {
        peers::list_refused(&self.network).is_ok()
    }

    /// When the peer `node` was heard last, and the version of its build, empty if it does not say; `None` if it was never
    /// heard since it is a peer.
    pub(crate) fn heard_of(&self, node: NodeId) -> Option<(Timestamp, String)> {
        self.network.peers.find(node).and_then(|peer| peer.heard.get())
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
        self.network.peers.close();
        self.network.departures.close();
    }

    /// As [`close`](Self::close), but returns when every thread has ended; nothing is delivered after that. A second
    /// call does nothing. Not to be called from a method of [`Inbound`].
    pub fn shutdown(&self) {
        self.close();
        // Held until all have ended, so that a second caller does not return earlier.
        let mut acceptor = lock(&self.acceptor);
        if let Some(acceptor) = acceptor.take() {
            // Its panics were reported where they happened.
            drop(acceptor.join());
        }
        // The acceptor is gone, so no further connection can come up.
        self.network.peers.join();
        self.network.departures.join();
        self.network.arrivals.join();
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Network {
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
            announced: options.announce.clone(),
            build: BUILD.to_owned(),
        }
    }

    /// The list of peers has changed.
    fn follow_count(&self) {
        self.handshakes.resize(self.peers.count() + 1);
    }

    /// Whether another member can have this number.
    fn check_number(&self, node: NodeId) -> std::result::Result<(), Refusal> {
        let own = self.options.node;
        let text = match node {
            NodeId(0) => "no member has the number 0: set cluster.node_id to another".to_owned(),
            _ if node == own => {
                format!(
                    "another member also calls itself node {own}: give each member its own cluster.node_id"
                )
            }
            _ => return Ok(()),
        };
        Err(Refusal { reason: Reason::UnknownNode, text })
    }

    fn check_standing(&self, node: NodeId) -> std::result::Result<(), Refusal> {
        if self.inbound.knows(node) != Standing::Removed {
            return Ok(());
        }
        let text = format!(
            "node {node} was removed from the cluster; its number is not used again: start a new member with an empty \
             directory under a new number"
        );
        Err(Refusal { reason: Reason::Removed, text })
    }

    /// Whether the member that said this, which agrees otherwise, may take part.
    fn admit(&self, theirs: &Hello) -> std::result::Result<(), Refusal> {
        self.check_standing(theirs.from)?;
        if theirs.level < self.inbound.level() {
            return Err(self.too_old(theirs.from));
        }
        let admitted = self.inbound.admit(theirs.from, theirs.instance);
        admitted.map_err(|text| Refusal { reason: Reason::Instance, text })
    }

    /// What is said to a member that is to be.
    fn welcome(&self, request: &JoinRequest) -> std::result::Result<Vec<u8>, Refusal> {
        self.check_number(request.node)?;
        let (own, name) = (self.options.node, self.inbound.cluster_name());
        if request.cluster_name != name {
            let text = format!(
                "node {own} belongs to cluster '{}' and node {} is to join cluster '{}': set cluster.name to the same \
                 value on all members, or correct cluster.join",
                name.escape_debug(),
                request.node,
                request.cluster_name.escape_debug()
            );
            return Err(Refusal { reason: Reason::Cluster, text });
        }
        self.check_standing(request.node)?;
        let TransportOptions { election_timeout_ms, tick_ms, .. } = self.options;
        Times { node: own, election_timeout_ms, tick_ms }.check(Times::of_request(request))?;
        if request.level < self.inbound.level() {
            return Err(self.too_old(request.node));
        }
        let refusing = |text| Refusal { reason: Reason::UnknownNode, text };
        let welcome = self.inbound.welcome(request).map_err(refusing)?;
        let too_long =
            || refusing("what there is to know of the regions is too long for one message".to_owned());
        asking::welcome_bytes(&welcome).ok_or_else(too_long)
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
        match self.peers.find(node) {
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

fn check(options: &TransportOptions) -> Result<()> {
    let mut numbers: Vec<_> = options.peers.iter().map(|(node, _)| *node).collect();
    numbers.sort();
    let text = if let Some(twice) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        format!("cluster.initial_members names node {} twice", twice[0])
    } else if !is_announceable(&options.announce) {
        format!(
            "'{}' is no address that others can use: set transport.announce to 'host:port'",
            options.announce.escape_debug()
        )
    } else {
        return Ok(());
    };
    Err(Error::with_detail(Code::InvalidConfig, text))
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
