//! The other members that this one talks to.
//!
//! Owns which these are, and the beginning and the end of each. What always holds: to look one up takes a lock that is
//! never held for longer than that takes; who changes the list waits for no thread, and for no lock that is held while
//! somebody does; those that are gone are kept until their threads have ended; one for which the system gives no thread is
//! no peer, and is remembered until it gives one; there are at most [`STRANGERS_MAX`] that are not listed. Who belongs to the cluster is decided elsewhere: a member learns that from its log, which another may
//! be ahead of, so one that is not known to have been removed is let in.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{info, warn};

use super::outgoing::Limits;
use super::peer::Peer;
use super::{Network, lock, sender, spawn};
use crate::types::{MEMBERS_MAX, NodeId};

/// So many members that are not listed may be peers: all others of the largest cluster, because a member that has joined
/// lately has heard of nobody yet, and who leads may be the last to come.
const STRANGERS_MAX: usize = MEMBERS_MAX;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Peers {
    /// In the order of their numbers.
    current: Mutex<Vec<Arc<Peer>>>,
    /// Taken before the other by whoever changes the list.
    changing: Mutex<Changing>,
}

#[derive(Default)]
struct Changing {
    /// Those whose threads were not seen to have ended.
    gone: Vec<Arc<Peer>>,
    /// Listed members for which there was no thread, with their addresses: they are no peers yet.
    refused: Vec<(NodeId, String)>,
    is_closed: bool,
}

impl Peers {
    /// The peer with this number.
    pub(super) fn find(&self, node: NodeId) -> Option<Arc<Peer>> {
        let current = lock(&self.current);
        let at = current.binary_search_by_key(&node, |peer| peer.node).ok()?;
        Some(Arc::clone(&current[at]))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.current).len()
    }

    /// All of them.
    fn all(&self) -> Vec<Arc<Peer>> {
        lock(&self.current).clone()
    }

    /// Whether a connection from `node` may make it a peer, if it is none.
    pub(super) fn has_room_for(&self, node: NodeId) -> bool {
        let current = lock(&self.current);
        let is_room = || current.iter().filter(|peer| !peer.is_listed()).count() < STRANGERS_MAX;
        current.iter().any(|peer| peer.node == node) || is_room()
    }

    fn insert(&self, peer: Arc<Peer>) {
        let mut current = lock(&self.current);
        let at = current.partition_point(|other| other.node < peer.node);
        current.insert(at, peer);
        assert!(current.is_sorted_by_key(|peer| peer.node), "in the order of their numbers");
    }

    /// Closes all for ever.
    pub(super) fn close(&self) {
        let mut changing = lock(&self.changing);
        changing.is_closed = true;
        self.all().iter().for_each(|peer| peer.close());
    }

    /// Waits for the threads of all; to be called once closed, when no connection can come any more.
    pub(super) fn join(&self) {
        let gone = std::mem::take(&mut lock(&self.changing).gone);
        for peer in gone.into_iter().chain(self.all()) {
            peer.join();
        }
    }
}

/// Makes these the listed ones: dials those that are new, closes those that are not named, and goes by addresses that
/// have changed.
///
/// # Errors
/// When the system gives no thread for a new one, which then is no peer until [`list_refused`] gets one; the others are.
pub(super) fn list(network: &Arc<Network>, members: Vec<(NodeId, String)>) -> io::Result<()> {
    let mut changing = lock(&network.peers.changing);
    if changing.is_closed {
        return Ok(());
    }
    let closed = changing.close_others(&network.peers, &members);
    let result = changing.begin_all(network, members);
    drop(changing);
    for node in closed {
        info!("node {node} is no member any more");
        // Not under the lock: this tells their ends.
        network.departures.forget(node);
    }
    result
}

/// Dials the listed ones for which there was no thread before, as far as there is one now.
///
/// # Errors
/// When there is still none for one of them.
pub(super) fn list_refused(network: &Arc<Network>) -> io::Result<()> {
    let mut changing = lock(&network.peers.changing);
    let refused = std::mem::take(&mut changing.refused);
    if changing.is_closed || refused.is_empty() {
        return Ok(());
    }
    changing.begin_all(network, refused)
}

/// The peer `node`, which is made one if it is not, with this address if it is not empty; `None` if there is no room for
/// it or no thread.
pub(super) fn let_in(network: &Arc<Network>, node: NodeId, announced: &str) -> Option<Arc<Peer>> {
    if let Some(peer) = network.peers.find(node) {
        return Some(peer);
    }
    let changing = lock(&network.peers.changing);
    if let Some(peer) = network.peers.find(node) {
        return Some(peer);
    }
    if changing.is_closed || !network.peers.has_room_for(node) {
        return None;
    }
    let place = |peer: &Peer| {
        peer.announce(announced);
    };
    match changing.begin(network, node, place) {
        Ok(peer) => {
            info!("node {node} is let in, which is not listed here yet");
            network.follow_count();
            Some(peer)
        }
        Err(error) => {
            warn!("cannot let node {node} in: no thread could be started: {error}");
            None
        }
    }
}

impl Changing {
    /// Closes those that are not named, and returns them.
    fn close_others(&mut self, peers: &Peers, members: &[(NodeId, String)]) -> Vec<NodeId> {
        self.gone.retain(|peer| !peer.has_ended());
        let is_named = |peer: &Arc<Peer>| members.iter().any(|(node, _)| *node == peer.node);
        let closed: Vec<_> = lock(&peers.current).extract_if(.., |peer| !is_named(peer)).collect();
        closed.iter().for_each(|peer| peer.close());
        let nodes = closed.iter().map(|peer| peer.node).collect();
        self.gone.extend(closed);
        nodes
    }

    /// Lists these, and remembers those that get no thread.
    fn begin_all(&mut self, network: &Arc<Network>, members: Vec<(NodeId, String)>) -> io::Result<()> {
        let (mut refused, mut result) = (Vec::new(), Ok(()));
        for (node, address) in members.into_iter().filter(|(node, _)| *node != network.options.node) {
            if let Some(peer) = network.peers.find(node) {
                peer.list(address);
            } else if let Err(error) = self.begin(network, node, |peer| peer.list(address.clone())) {
                refused.push((node, address));
                result = Err(error);
            }
        }
        self.refused = refused;
        network.follow_count();
        result
    }

    /// A new peer with its thread; `place` says where it is.
    fn begin(
        &self,
        network: &Arc<Network>,
        node: NodeId,
        place: impl FnOnce(&Peer),
    ) -> io::Result<Arc<Peer>> {
        let predecessor = self.gone.iter().rev().find(|gone| gone.node == node).cloned();
        let peer = Arc::new(Peer::new(node, limits(network), predecessor));
        place(&peer);
        let its = Arc::clone(&peer);
        let thread = spawn(network, &format!("almadia-send-{node}"), move |network| {
            its.wait_for_predecessor();
            sender::run(network, &its);
        })?;
        peer.keep_sender(thread);
        network.peers.insert(Arc::clone(&peer));
        Ok(peer)
    }
}

fn limits(network: &Network) -> Limits {
    let options = &network.options;
    Limits {
        tick: Duration::from_millis(options.tick_ms),
        // By then the members that are up have elected a leader, and the others are missing.
        patience: Duration::from_millis(2 * options.election_timeout_ms),
        queue_bytes_max: options.queue_bytes_max,
        frame_bytes_max: options.frame_bytes_max,
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
