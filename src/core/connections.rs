//! What a peer knows of the other members' connections.
//!
//! Owns to whom there is no connection, and what each member said of itself when it last connected: which of its boots
//! it is, whether its log has lost its end, so that it takes no part in elections, and what its build knows. What always holds: of a
//! member's boots only the one that connected last counts.

use std::collections::BTreeMap;

use crate::core::input::Introduction;
use crate::types::NodeId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// Members to which there is no connection, as far as is known.
    down: Vec<NodeId>,
    introductions: BTreeMap<NodeId, Introduction>,
}

impl Connections {
    /// The connection to `node` was lost.
    pub(crate) fn on_lost(&mut self, node: NodeId) {
        if self.is_up(node) {
            self.down.push(node);
        }
    }

    /// There is a connection to `node`.
    pub(crate) fn on_made(&mut self, node: NodeId) {
        self.down.retain(|other| *other != node);
    }

    /// False when the connection to `node` is known to be lost.
    #[must_use]
    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        !self.down.contains(&node)
    }

    /// A member has connected: everything that it sends from now on is of this boot. True when that is not the boot
    /// which connected before.
    pub(crate) fn introduce(&mut self, introduction: Introduction) -> bool {
        let Introduction { node, boot_count, boot, .. } = introduction;
        let before = self.introductions.insert(node, introduction);
        before.is_none_or(|before| (before.boot_count, before.boot) != (boot_count, boot))
    }

    /// How many boots `node` has had, if `boot` is the one that connected last. Nobody waits for anything of the
    /// others.
    #[must_use]
    pub(crate) fn boot_count(&self, node: NodeId, boot: u64) -> Option<u64> {
        let introduction = self.introductions.get(&node).filter(|introduction| introduction.boot == boot)?;
        Some(introduction.boot_count)
    }

    /// The highest feature level that `node` knows, as it said when it last connected.
    #[must_use]
    pub(crate) fn level(&self, node: NodeId) -> Option<u16> {
        self.introductions.get(&node).map(|introduction| introduction.level)
    }

    /// `node` takes part in an election: its log has its end, or has it back.
    pub(crate) fn on_voter(&mut self, node: NodeId) {
        if let Some(introduction) = self.introductions.get_mut(&node) {
            introduction.lost_end = false;
        }
    }

    /// Whether `node` has said that its log lost its end, and is still connected.
    #[must_use]
    pub(crate) fn lacks_end(&self, node: NodeId) -> bool {
        let is_said = self.introductions.get(&node).is_some_and(|other| other.lost_end);
        is_said && self.is_up(node)
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        let is_double = |node| self.down.iter().filter(|other| *other == node).count() > 1;
        assert!(!self.down.iter().any(is_double), "a connection is lost once");
        let is_own = |(node, introduction): (&NodeId, &Introduction)| *node == introduction.node;
        assert!(self.introductions.iter().all(is_own), "each member introduces itself");
    }

    /// Those that [lack their ends](Self::lacks_end).
    pub(crate) fn without_end(&self) -> impl Iterator<Item = NodeId> {
        self.introductions.keys().copied().filter(|&node| self.lacks_end(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(boot_count: u64, boot: u64) -> Introduction {
        Introduction { node: NodeId(2), boot_count, boot, lost_end: true, level: 1 }
    }

    #[test]
    fn a_boot_is_news_once_and_only_the_last_one_counts() {
        let mut connections = Connections::default();

        assert!(connections.introduce(introduction(1, 70)));
        assert!(!connections.introduce(introduction(1, 70)));
        assert!(connections.introduce(introduction(2, 71)));
        assert!(connections.introduce(introduction(2, 72)), "of a copied directory");

        assert_eq!(connections.boot_count(NodeId(2), 72), Some(2));
        assert_eq!(connections.boot_count(NodeId(2), 70), None);
        assert_eq!(connections.boot_count(NodeId(3), 72), None);
    }

    #[test]
    fn a_member_lacks_its_end_until_it_votes_or_its_connection_is_lost() {
        let mut connections = Connections::default();
        connections.introduce(introduction(1, 70));
        assert!(connections.lacks_end(NodeId(2)));

        connections.on_lost(NodeId(2));
        assert_eq!(connections.without_end().count(), 0);
        connections.on_made(NodeId(2));
        assert_eq!(connections.without_end().collect::<Vec<_>>(), [NodeId(2)]);

        connections.on_voter(NodeId(2));
        assert!(!connections.lacks_end(NodeId(2)));
    }
}
