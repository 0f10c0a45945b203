//! How fast a member forwards to its leader.
//!
//! Owns what a refusal costs. What always holds: a leader that has refused something is tried with one message a tick
//! until a write is heard to have succeeded, because sending everything again would bury a leader that is behind;
//! another leader, or the same one in another term, is not held back by that.

use crate::core::forwarding::forwarder::Route;
use crate::types::NodeId;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As much as the window takes.
    #[default]
    Window,
    /// This leader has refused something: it gets nothing before the next tick.
    Paused(Route),
    /// This leader has refused something: it may get one message.
    OneMessage(Route),
}

impl Pace {
    /// Whether a message may leave on `route`.
    #[must_use]
    pub(crate) fn allows(self, route: Route) -> bool {
        self != Self::Paused(route)
    }

    /// A message has left on `route`.
    pub(crate) fn on_sent(&mut self, route: Route) {
        if *self == Self::OneMessage(route) {
            *self = Self::Paused(route);
        }
    }

    /// A tick has passed.
    pub(crate) fn on_tick(&mut self) {
        if let Self::Paused(route) = *self {
            *self = Self::OneMessage(route);
        }
    }

    /// `leader` has reported that a write succeeded.
    pub(crate) fn on_accepted(&mut self, leader: NodeId) {
        if let Self::Paused(route) | Self::OneMessage(route) = *self
            && route.leader == leader
        {
            *self = Self::Window;
        }
    }

    /// The leader of `route` has refused something that it may take later.
    pub(crate) fn on_refused(&mut self, route: Route) {
        *self = Self::Paused(route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    const ROUTE: Route = Route { leader: NodeId(1), term: Term(7) };
    const LATER: Route = Route { leader: NodeId(1), term: Term(8) };

    #[test]
    fn a_leader_that_refused_gets_one_message_a_tick_until_it_accepts_one() {
        let mut pace = Pace::default();
        assert!(pace.allows(ROUTE));

        pace.on_refused(ROUTE);
        assert!(!pace.allows(ROUTE));
        pace.on_tick();
        assert!(pace.allows(ROUTE));
        pace.on_sent(ROUTE);
        assert!(!pace.allows(ROUTE));

        pace.on_accepted(NodeId(2));
        assert!(!pace.allows(ROUTE), "another member's word");
        pace.on_accepted(NodeId(1));
        pace.on_sent(ROUTE);
        assert!(pace.allows(ROUTE));
    }

    #[test]
    fn a_refusal_holds_back_nothing_in_another_term() {
        let mut pace = Pace::default();
        pace.on_refused(ROUTE);

        assert!(pace.allows(LATER));
        pace.on_sent(LATER);
        pace.on_tick();
        pace.on_sent(LATER);
        assert!(pace.allows(ROUTE), "what left on another route takes nothing of this one's tick");
    }
}
