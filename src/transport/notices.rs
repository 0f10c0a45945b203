//! What the transport tells the operator, once each.
//!
//! Owns the memory of what was logged. What always holds: a condition that lasts is logged once for each peer
//! and reason, however often it is met again; it is logged anew after it was resolved in between; and the
//! memory is bounded, because it is keyed by members and by reasons, never by anything a stranger chooses.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Mutex;

use log::warn;

use super::handshake::Reason;
use super::lock;
use crate::types::NodeId;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// Our dialing of this peer does not succeed.
    Dial,
    /// Our handshake with this peer ended with this reason, when we dialed.
    DialRefusal(Reason),
    /// The handshake of this peer ended with this reason, when it dialed; node 0 for what is no member.
    AcceptRefusal(Reason),
    /// Something that is not a member of any cluster dialed.
    Stranger,
    /// The peer sent what no member sends.
    BadFrame,
    /// A message to the peer cannot be sent.
    Unsendable,
    /// The operating system gives no more connections or threads.
    Exhausted,
}

impl Topic {
    /// A topic of dialing is resolved when a dial succeeds.
    fn is_of_dialing(self) -> bool {
        matches!(self, Self::Dial | Self::DialRefusal(_))
    }
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Notices {
    logged: Mutex<HashSet<(NodeId, Topic)>>,
}

impl Notices {
    /// Logs `text` unless the topic was logged for this node before.
    pub(super) fn once(&self, node: NodeId, topic: Topic, text: impl Display) {
        if self.is_news(node, topic) {
            warn!("{text}");
        }
    }

    /// A dial of `node` succeeded: what was said about dialing it may be said again.
    pub(super) fn dialed(&self, node: NodeId) {
        lock(&self.logged).retain(|(about, topic)| *about != node || !topic.is_of_dialing());
    }

    /// A dial by `node` succeeded: what was said about refusing it may be said again.
    pub(super) fn accepted(&self, node: NodeId) {
        lock(&self.logged)
            .retain(|(about, topic)| *about != node || !matches!(topic, Topic::AcceptRefusal(_)));
    }

    /// Whether this was logged and not resolved since.
    #[cfg(test)]
    pub(super) fn has_said(&self, node: NodeId, topic: Topic) -> bool {
        lock(&self.logged).contains(&(node, topic))
    }

    fn is_news(&self, node: NodeId, topic: Topic) -> bool {
        lock(&self.logged).insert((node, topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_condition_is_news_once_and_again_after_it_was_resolved() {
        let notices = Notices::default();
        assert!(notices.is_news(NodeId(2), Topic::Dial));
        assert!(!notices.is_news(NodeId(2), Topic::Dial));
        assert!(notices.is_news(NodeId(3), Topic::Dial));
        assert!(notices.is_news(NodeId(2), Topic::DialRefusal(Reason::Tick)));
        assert!(notices.is_news(NodeId(2), Topic::AcceptRefusal(Reason::Tick)));

        notices.dialed(NodeId(2));

        assert!(notices.is_news(NodeId(2), Topic::Dial));
        assert!(notices.is_news(NodeId(2), Topic::DialRefusal(Reason::Tick)));
        assert!(!notices.is_news(NodeId(3), Topic::Dial));
        assert!(!notices.is_news(NodeId(2), Topic::AcceptRefusal(Reason::Tick)));
    }
}
