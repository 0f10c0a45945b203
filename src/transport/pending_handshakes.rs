//! Which of the accepted connections may shake hands.
//!
//! Owns the bound on the connections that have not said yet who they are. No lock, no clock and no socket: time is an
//! argument, and the caller breaks off what is to be evicted. What always holds: there are never more of them than the
//! limit, and a newcomer waits for a place no longer than an eviction may take. When all places are taken, the oldest
//! connection is evicted, because a member says who it is within a round trip and only strangers stay longer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// How long an evicted connection may take to end before the newcomer is turned away instead.
pub(super) const EVICTION_WAIT: Duration = Duration::from_millis(100);

/// The connections in handshake, as `C`.
pub(super) struct PendingHandshakes<C> {
    /// The oldest first.
    pending: VecDeque<(Place, C)>,
    next: Place,
    count_max: usize,
    /// Until when the newcomer may wait, once another connection was evicted for it.
    waits_until: Option<Timestamp>,
}

/// The place of one connection, for as long as it is in handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

/// What becomes of a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission<C> {
    /// It has this place.
    Admitted(Place),
    /// Break off this connection and ask again.
    Evict(C),
    /// Ask again at this moment, or when a connection has left.
    Wait(Timestamp),
    /// There is no place for it.
    TurnedAway,
}

impl<C: Clone> PendingHandshakes<C> {
    /// Room for the handshakes of a cluster of so many members.
    pub(super) fn new(members: usize) -> Self {
        Self { pending: VecDeque::new(), next: Place(0), count_max: places(members), waits_until: None }
    }

    /// The cluster has so many members now.
    pub(super) fn resize(&mut self, members: usize) {
        self.count_max = places(members);
    }

    /// Whether `newcomer` gets a place. To be asked for one newcomer at a time, until it is admitted or turned away.
    /// `threads` are those of handshakes that run or are about to end.
    pub(super) fn admit(&mut self, now: Timestamp, newcomer: &C, threads: usize) -> Admission<C> {
        // A thread that has given up its place takes a moment to end; in a flood those moments add up.
        if threads >= 2 * self.count_max {
            return Admission::TurnedAway;
        }
        if self.pending.len() < self.count_max {
            self.waits_until = None;
            let place = self.next;
            self.next = Place(place.0 + 1);
            self.pending.push_back((place, newcomer.clone()));
            return Admission::Admitted(place);
        }
        match self.waits_until {
            None => {
                self.waits_until = Some(now + EVICTION_WAIT);
                Admission::Evict(self.pending[0].1.clone())
            }
            Some(until) if now < until => Admission::Wait(until),
            Some(_) => {
                self.waits_until = None;
                Admission::TurnedAway
            }
        }
    }

    /// The connection at `place` has left its handshake, with whatever result.
    pub(super) fn leave(&mut self, place: Place) {
        self.pending.retain(|(other, _)| *other != place);
    }

    /// How many there may be.
    #[cfg(test)]
    pub(super) fn count_max(&self) -> usize {
        self.count_max
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.pending.len()
    }
}

/// For members that dial all at once, and for those that come again before it is known that they left.
fn places(members: usize) -> usize {
    4 * members + 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshakes of a cluster of one member, with all places taken by connections 0, 1, 2, ..., and the places.
    fn full() -> (PendingHandshakes<u64>, Vec<Place>) {
        let mut handshakes = PendingHandshakes::new(1);
        let places = (0..20).map(|connection| match handshakes.admit(Timestamp(0), &connection, 0) {
            Admission::Admitted(place) => place,
            other => panic!("{connection}: {other:?}"),
        });
        let places = places.collect();
        (handshakes, places)
    }

    #[test]
    fn the_oldest_connection_makes_room_for_a_newcomer() {
        let (mut handshakes, places) = full();
        let now = Timestamp(7);
        assert_eq!(handshakes.admit(now, &20, 20), Admission::Evict(0));
        assert_eq!(handshakes.admit(now, &20, 20), Admission::Wait(now + EVICTION_WAIT));

        handshakes.leave(places[0]);

        assert!(matches!(handshakes.admit(now, &20, 20), Admission::Admitted(_)));
        assert_eq!(handshakes.count(), 20);
        assert_eq!(handshakes.admit(now, &21, 20), Admission::Evict(1), "the next newcomer, the next oldest");
    }

    #[test]
    fn a_newcomer_is_turned_away_when_the_evicted_connection_does_not_end_in_time() {
        let (mut handshakes, places) = full();
        let end = Timestamp(0) + EVICTION_WAIT;
        assert_eq!(handshakes.admit(Timestamp(0), &20, 20), Admission::Evict(0));
        assert_eq!(handshakes.admit(Timestamp(end.0 - 1), &20, 20), Admission::Wait(end));
        assert_eq!(handshakes.admit(end, &20, 20), Admission::TurnedAway);

        assert_eq!(handshakes.admit(end, &21, 20), Admission::Evict(0), "the next newcomer has its own time");
        handshakes.leave(places[5]);
        assert!(matches!(handshakes.admit(end, &21, 20), Admission::Admitted(_)), "any place will do");
    }

    #[test]
    fn a_cluster_that_grows_or_shrinks_has_as_many_places_as_one_of_its_size() {
        let (mut handshakes, places) = full();
        handshakes.resize(2);
        for connection in 20..24 {
            assert!(matches!(handshakes.admit(Timestamp(0), &connection, 0), Admission::Admitted(_)));
        }
        assert_eq!(handshakes.admit(Timestamp(0), &24, 0), Admission::Evict(0));

        handshakes.resize(1);
        handshakes.leave(places[0]);
        let until = Timestamp(0) + EVICTION_WAIT;
        assert_eq!(handshakes.admit(Timestamp(0), &24, 0), Admission::Wait(until), "23 are still too many");
    }

    #[test]
    fn threads_that_have_not_ended_yet_are_bounded_too() {
        let mut handshakes = PendingHandshakes::new(1);
        assert_eq!(handshakes.admit(Timestamp(0), &0, 40), Admission::TurnedAway);
        assert!(matches!(handshakes.admit(Timestamp(0), &0, 39), Admission::Admitted(_)));
    }
}
