//! Connections to other members that come and go.
//!
//! Owns what a peer does when a connection is made or lost, and when the member at its other end says who it is. What
//! always holds: a lost connection decides nothing about what was sent on it.

use super::Peer;
use crate::core::input::Introduction;
use crate::core::planted::{self, Fault};
use crate::time::Timestamp;
use crate::types::NodeId;

impl Peer {
    /// The connection to another member was lost. What was sent on it is undecided, and stays so.
    pub(super) fn on_disconnected(&mut self, node: NodeId) {
        self.connections.on_lost(node);
    }

    /// There is a connection to another member. What was sent on the last one may be lost.
    pub(super) fn on_connected(&mut self, node: NodeId) {
        self.timer.on_connected();
        self.connections.on_made(node);
        if self.leader() == Some(node) {
            self.ask_leader(Timestamp::NEVER);
        }
    }

    /// Another member has connected. Everything it sends from now on is of this boot.
    pub(super) fn on_introduction(&mut self, introduction: Introduction) {
        let node = introduction.node;
        let is_new = self.connections.introduce(introduction);
        if is_new && !planted::has(Fault::EarlierBootsCounted) {
            self.forget_acknowledgements(node);
        }
        self.propose_level();
    }
}
