//! Passes what other members send to the raft poller.
//!
//! Owns the store's end of the transport: every message and notice becomes an input of the peers it concerns. What
//! always holds: one limit covers all queued messages, whichever members sent them; a receiving thread runs the round
//! itself if no thread is running one. Checking the content of a message is left to the validator of the core.

use std::sync::{Arc, OnceLock, Weak};

use crate::core::input::{Input, Introduction};
use crate::core::ports::PeerMessage;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::error::Error;
use crate::pollers::health::Health;
use crate::pollers::mailbox::Mailbox;
use crate::pollers::members::Members;
use crate::pollers::raft_poller::RaftPoller;
use crate::pollers::snapshots::Snapshots;
use crate::regions::RegionMap;
use crate::storage::directory::Directory;
use crate::transport::codec::weight_bytes;
use crate::transport::{Begun, Inbound, JoinRequest, Standing, Welcome};
use crate::types::{InstanceId, NodeId, RegionId};

/// Maximum bytes of peers' messages waiting for the raft poller; any more are dropped. raft sends its own again;
/// `Peer::ask_leader` or a member's own log makes up for forwarded writes and their answers.
const INBOUND_BYTES_MAX: usize = 64 << 20;

/// See the module.
pub(crate) struct Inbox {
    /// Where the inputs go.
    pub raft: Arc<Mailbox<(RegionId, Input)>>,
    /// Set once it runs. Weak, because it holds the transport, which holds this.
    pub raft_poller: Arc<OnceLock<Weak<RaftPoller>>>,
    /// Where a panic in a transport thread is reported.
    pub health: Arc<Health>,
    /// Records which members this one has met.
    pub directory: Arc<Directory>,
    /// Knows who belongs to the cluster.
    pub members: Arc<Members>,
    /// Takes raft snapshots.
    pub snapshots: Arc<Snapshots>,
    /// All of them are notified of a connection.
    pub regions: Arc<RegionMap>,
    /// The name of the cluster.
    pub cluster_name: String,
}

impl Inbound for Inbox {
    fn receive(&self, _: NodeId, messages: Vec<PeerMessage>) {
        let bytes = messages.iter().map(weight_bytes).sum();
        let inputs = messages.into_iter().map(Input::of_message);
        let poller = self.raft_poller.get().and_then(Weak::upgrade);
        // If no thread is running a round, this one does.
        let guard = poller.as_ref().and_then(|poller| poller.enter());
        if !self.raft.push_bulk(inputs, bytes, INBOUND_BYTES_MAX) {
            log::debug!("dropped {bytes} bytes of messages: the raft poller is behind");
        }
        if let Some(guard) = guard {
            guard.run();
        }
    }

    fn unreachable(&self, node: NodeId) {
        let regions = self.regions.ids().iter();
        self.raft.push_all(regions.map(|&region| (region, Input::Unreachable(node))));
    }

    fn connected(&self, node: NodeId) {
        let regions = self.regions.ids().iter();
        self.raft.push_all(regions.map(|&region| (region, Input::Connected(node))));
    }

    fn disconnected(&self, node: NodeId) {
        let regions = self.regions.ids().iter();
        self.raft.push_all(regions.map(|&region| (region, Input::Disconnected(node))));
    }

    fn introduced(&self, introduction: Introduction) {
        let regions = self.regions.ids().iter();
        self.raft.push_all(regions.map(|&region| (region, Input::Introduced(introduction))));
    }

    fn lacks_end(&self) -> bool {
        self.health.is_any(|status| status.lacks_end)
    }

    fn level(&self) -> u16 {
        self.health.level()
    }

    fn admit(&self, from: NodeId, instance: InstanceId) -> std::result::Result<(), String> {
        self.members.check_instance(from, instance)?;
        self.directory.admit(from, instance)
    }

    fn knows(&self, node: NodeId) -> Standing {
        self.members.standing(node)
    }

    fn announced(&self, node: NodeId, address: &str) {
        log::info!("node {node} is reached at {address}");
    }

    fn removed(&self, by: NodeId) {
        log::info!("node {by} says that this member was removed from the cluster");
        self.members.on_removed();
    }

    fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    fn welcome(&self, request: &JoinRequest) -> std::result::Result<Welcome, String> {
        self.members.welcome(request)
    }

    fn begin_snapshot(&self, message: SnapshotMessage, source: [u64; 3], bytes_estimate: u64) -> Begun {
        let region = message.head.region.id;
        if !self.regions.ids().contains(&region) {
            return Err(format!("this member has no region {region}"));
        }
        self.snapshots.begin_arrival(message, source, bytes_estimate)
    }

    fn thread_panicked(&self, panic: Error) {
        self.health.poison(panic);
        self.raft.nudge();
    }
}
