//! What the operator is told, once each.
//!
//! Owns the memory of the conditions that were logged. What always holds: a condition that lasts is logged once,
//! however often it is met; it is logged again if it was resolved in between; and the memory is bounded, because it
//! holds reasons only, never anything that a stranger chooses. Each peer has two of these, one for each direction,
//! and there is one for connections of strangers. Locking and logging are left to the callers.

use std::collections::HashSet;

use super::handshake::Reason;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// Dialing the peer does not succeed.
    Dial,
    /// The handshake ended with this reason after this member dialed.
    DialRefusal(Reason),
    /// The handshake ended with this reason after the other side dialed.
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

/// See the head of this file.
#[derive(Default)]
pub(super) struct Notices {
    logged: HashSet<Topic>,
}

impl Notices {
    /// Whether `topic` is to be logged: true unless it was logged before and not resolved since. It counts as logged
    /// from now on.
    pub(super) fn is_news(&mut self, topic: Topic) -> bool {
        self.logged.insert(topic)
    }

    /// A dial succeeded: what was logged about dialing may be logged again.
    pub(super) fn dialed(&mut self) {
        self.logged.retain(|topic| !matches!(topic, Topic::Dial | Topic::DialRefusal(_)));
    }

    /// A connection was accepted: what was logged about refusing it may be logged again.
    pub(super) fn accepted(&mut self) {
        self.logged.retain(|topic| !matches!(topic, Topic::AcceptRefusal(_)));
    }

    /// Whether `topic` was logged and not resolved since.
    #[cfg(test)]
    pub(super) fn has_logged(&self, topic: Topic) -> bool {
        self.logged.contains(&topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_condition_is_news_once_and_again_after_it_was_resolved() {
        let mut notices = Notices::default();
        let dialing = [Topic::Dial, Topic::DialRefusal(Reason::Tick), Topic::DialRefusal(Reason::Cluster)];
        let others = [Topic::AcceptRefusal(Reason::Tick), Topic::Unsendable];
        for topic in dialing.into_iter().chain(others) {
            assert!(notices.is_news(topic));
            assert!(!notices.is_news(topic));
        }

        notices.dialed();
        assert!(dialing.into_iter().all(|topic| notices.is_news(topic)));
        assert!(!others.into_iter().any(|topic| notices.is_news(topic)));

        notices.accepted();
        assert!(notices.is_news(Topic::AcceptRefusal(Reason::Tick)));
        assert!(!notices.is_news(Topic::Dial));
        assert!(!notices.is_news(Topic::Unsendable), "nothing resolves it");
    }
}
