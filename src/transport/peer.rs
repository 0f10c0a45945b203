//! Another member: the way out to it, the connection from it, and where it is.
//!
//! Owns what there is of one peer, and its address. What always holds: once it is closed, nothing of it blocks a thread,
//! and no connection to or from it comes up any more; nothing is delivered, reported or dialed for it before all threads
//! of the peer that had its number before have ended.

use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;

use super::heard::Heard;
use super::incoming::Incoming;
use super::link::Link;
use super::lock;
use super::notices::Notices;
use super::outgoing::Limits;
use super::sockets::OpenSockets;
use crate::address::Address;
use crate::types::NodeId;

/// See the head of this file.
pub(super) struct Peer {
    pub(super) node: NodeId,
    route: Mutex<Route>,
    pub(super) link: Link,
    pub(super) incoming: Incoming,
    pub(super) heard: Heard,
    /// All sockets of this peer that a thread may wait on, from the end of the handshake on where the peer dialed.
    pub(super) sockets: OpenSockets,
    /// What the operator was told about raft snapshots to and from this member.
    pub(super) snapshot_notices: Mutex<Notices>,
    /// The thread that sends to it.
    sender: Mutex<Option<JoinHandle<()>>>,
    /// The peer that had this number before, until it is known that its threads have ended.
    predecessor: Mutex<Option<Arc<Peer>>>,
}

/// Where a peer is.
#[derive(Default)]
struct Route {
    /// As it is listed; none for a stranger.
    listed: Option<String>,
    /// As it has said since it was listed otherwise than before.
    announced: Option<String>,
    /// What it announced did not lead to it, so that it is dialed where it is listed.
    is_listed_next: bool,
}

impl Route {
    /// Where it is dialed.
    fn dialed(&self) -> Option<&str> {
        let announced = self.announced.as_deref().filter(|_| !self.is_listed_next);
        announced.or(self.listed.as_deref())
    }
}

impl Peer {
    /// A peer that is dialed as soon as it has an address and a thread.
    pub(super) fn new(node: NodeId, limits: Limits, predecessor: Option<Arc<Self>>) -> Self {
        Self {
            node,
            route: Mutex::default(),
            link: Link::new(limits),
            incoming: Incoming::default(),
            heard: Heard::default(),
            sockets: OpenSockets::default(),
            snapshot_notices: Mutex::default(),
            sender: Mutex::default(),
            predecessor: Mutex::new(predecessor),
        }
    }

    /// Where to dial it, if that is known.
    pub(super) fn address(&self) -> Option<String> {
        lock(&self.route).dialed().map(str::to_owned)
    }

    /// Whether it is listed; if not, it is a stranger that was let in.
    pub(super) fn is_listed(&self) -> bool {
        lock(&self.route).listed.is_some()
    }

    /// It is listed with this address, which counts if it is another than the last time.
    pub(super) fn list(&self, address: String) {
        let mut route = lock(&self.route);
        if address.is_empty() && route.dialed().is_some_and(|dialed| !dialed.is_empty()) {
            // Nothing is said against the one that is known.
            let known = route.dialed().map(str::to_owned);
            route.listed = route.listed.take().or(known);
            return;
        }
        if route.listed.as_ref() == Some(&address) {
            return;
        }
        let is_new = !is_same(route.dialed(), &address);
        *route = Route { listed: Some(address), ..Route::default() };
        drop(route);
        if is_new {
            self.link.hurry();
        }
    }

    /// It was dialed there in vain: it may have announced what only itself can use, or have moved since.
    pub(super) fn dialed_in_vain(&self, address: &str) {
        let mut route = lock(&self.route);
        let has_choice = route.announced.is_some() && route.listed.is_some();
        if has_choice && route.dialed() == Some(address) {
            route.is_listed_next = !route.is_listed_next;
        }
    }

    /// It says that it can be reached at this address. True when that is news.
    pub(super) fn announce(&self, address: &str) -> bool {
        let mut route = lock(&self.route);
        let known = route.announced.as_deref().or(route.listed.as_deref());
        if address.is_empty() || is_same(known, address) {
            return false;
        }
        route.announced = Some(address.to_owned());
        route.is_listed_next = false;
        drop(route);
        self.link.hurry();
        true
    }

    /// Remembers the thread that sends.
    pub(super) fn keep_sender(&self, thread: JoinHandle<()>) {
        *lock(&self.sender) = Some(thread);
    }

    /// Ends its connections and threads. Does not wait for them.
    pub(super) fn close(&self) {
        self.sockets.close();
        self.link.close();
    }

    /// Whether its threads are known to have ended, or somebody waits for them. Does not wait.
    pub(super) fn has_ended(&self) -> bool {
        let is_finished =
            |thread: &Option<JoinHandle<()>>| thread.as_ref().is_none_or(JoinHandle::is_finished);
        let reader = match self.incoming.reader.try_lock() {
            Ok(reader) => is_finished(&reader),
            Err(TryLockError::Poisoned(poisoned)) => is_finished(&poisoned.into_inner()),
            // An older reader is being waited for.
            Err(TryLockError::WouldBlock) => false,
        };
        reader && is_finished(&lock(&self.sender))
    }

    /// Waits for its threads; to be called once it is closed.
    pub(super) fn join(&self) {
        let sender = lock(&self.sender).take();
        if let Some(sender) = sender {
            // Its panics were reported where they happened.
            drop(sender.join());
        }
        self.incoming.join();
    }

    /// Waits until nothing of the peer that had this number before delivers or reports anything any more.
    pub(super) fn wait_for_predecessor(&self) {
        // Held meanwhile: whoever comes second waits too.
        let mut predecessor = lock(&self.predecessor);
        if let Some(before) = predecessor.take() {
            before.wait_for_predecessor();
            before.join();
        }
    }
}

/// Whether two texts are one address, as far as that is known without a lookup.
fn is_same(one: Option<&str>, other: &str) -> bool {
    let is_spelled_otherwise =
        |one| matches!((Address::parse(one), Address::parse(other)), (Ok(a), Ok(b)) if a == b);
    one.is_some_and(|one| one == other || is_spelled_otherwise(one))
}
