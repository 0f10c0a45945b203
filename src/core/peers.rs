//! The peers of one poller.
//!
//! Owns which of them are at rest, and the table of those: what ticks and heartbeats need to know of a peer at rest lies
//! together there, so that many idle regions cost no more than passing over a few kilobytes. What always holds: whoever
//! gets a peer to change it gets one that has caught up with all that was left in the table, and that is in the table no
//! more; the ticks of all peers are one count. What is in the table is the business of [`rest`](crate::core::rest), what a
//! round does with the peers that of [`round`](crate::core::round).

use std::ops::Index;

use crate::core::gathered::Gathered;
use crate::core::heartbeats::Single;
use crate::core::peer::Peer;
use crate::core::rest::{Heard, Pace, Rest};
use crate::time::Timestamp;
use crate::types::{NodeId, RegionId};

/// The tick of a peer that is awake: each is one for it.
const AWAKE: u64 = 0;

/// How far ahead a region is looked for before all of them are.
const NEAR: usize = 8;

/// See the module. All parts have the same order, that of the regions.
pub(crate) struct Peers {
    regions: Vec<RegionId>,
    peers: Vec<Peer>,
    alarms: Vec<Alarm>,
    rests: Vec<Option<Rest>>,
    /// How many ticks have passed.
    ticks: u64,
    pace: Pace,
    /// This member.
    node: NodeId,
}

/// When a peer is next to be looked at.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    /// On this tick. [`AWAKE`] if the peer does not rest.
    tick: u64,
    /// On the first tick after this moment.
    time: Timestamp,
    /// Its heartbeats are due.
    speaks: bool,
}

impl Alarm {
    const OF_AWAKE: Self = Self { tick: AWAKE, time: Timestamp::NEVER, speaks: false };
}

impl FromIterator<(RegionId, Peer)> for Peers {
    fn from_iter<I: IntoIterator<Item = (RegionId, Peer)>>(peers: I) -> Self {
        let mut all: Vec<_> = peers.into_iter().collect();
        all.sort_by_key(|(region, _)| *region);
        let (regions, peers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        assert!(regions.is_sorted_by(|one, next| one < next), "a region has one peer here");
        let count = peers.len();
        let first = peers.first().expect("a store has a region");
        let (pace, node) = (first.pace(), first.node());
        assert!(peers.iter().all(|peer| peer.node() == node), "all are of one member");
        let (alarms, rests) = (vec![Alarm::OF_AWAKE; count], (0..count).map(|_| None).collect());
        Self { regions, peers, alarms, rests, ticks: 0, pace, node }
    }
}

impl Index<&RegionId> for Peers {
    type Output = Peer;

    fn index(&self, region: &RegionId) -> &Peer {
        self.get(region).expect("no peer comes or goes")
    }
}

impl Peers {
    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Their regions, in order.
    #[must_use]
    pub(crate) fn regions(&self) -> &[RegionId] {
        &self.regions
    }

    /// All of them, with their regions and in their order. raft's clock and who was heard of may have yet to catch up.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RegionId, &Peer)> {
        self.regions.iter().zip(&self.peers)
    }

    /// The peer of `region`, as in [`iter`](Self::iter).
    #[must_use]
    pub(crate) fn get(&self, region: &RegionId) -> Option<&Peer> {
        self.position(*region).map(|at| &self.peers[at])
    }

    /// The peer of `region`, which has caught up.
    pub(crate) fn get_mut(&mut self, region: &RegionId) -> Option<&mut Peer> {
        self.position(*region).map(|at| self.awake(at))
    }

    /// All peers, which have caught up.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        (0..self.len()).for_each(|at| _ = self.awake(at));
        self.peers.iter_mut()
    }

    /// All peers, for the last time: whatever state a failed round has left them in.
    pub(crate) fn as_they_are(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut()
    }

    /// Where the peer of `region` is.
    #[must_use]
    pub(crate) fn position(&self, region: RegionId) -> Option<usize> {
        self.regions.binary_search(&region).ok()
    }

    /// Where the peer of `region` is, which is at `from` or behind it and most likely near.
    #[must_use]
    pub(crate) fn position_from(&self, from: usize, region: RegionId) -> Option<usize> {
        assert!(from <= self.len(), "regions rise up to the last");
        let near = self.regions.iter().skip(from).take(NEAR).position(|other| *other == region);
        near.map_or_else(|| self.position(region), |ahead| Some(from + ahead))
    }

    /// The peer at this place, which has caught up and is not at rest any more.
    pub(crate) fn awake(&mut self, at: usize) -> &mut Peer {
        self.catch_up(at, self.ticks);
        &mut self.peers[at]
    }

    fn catch_up(&mut self, at: usize, ticks: u64) {
        assert!(ticks <= self.ticks, "nobody is ahead of the others");
        if self.alarms[at].tick != AWAKE {
            let rest = self.rests[at].take().expect("who is not awake rests");
            let alarm = std::mem::replace(&mut self.alarms[at], Alarm::OF_AWAKE);
            self.peers[at].catch_up(&rest, ticks, alarm.speaks);
        }
    }

    /// A tick of raft's clock, and everything that is due by it.
    pub(crate) fn on_tick(&mut self, now: Timestamp) {
        let tick = self.ticks + 1;
        let by_lease = now + self.pace.renews_ahead(tick);
        // While the engine is behind, peers that have nothing to do with it count for how long as well.
        let all_wake = self.peers.first().is_some_and(Peer::is_held_back_with_all);
        for at in 0..self.len() {
            let alarm = &self.alarms[at];
            let is_quiet = tick < alarm.tick && by_lease <= alarm.time && !all_wake;
            if !is_quiet && (all_wake || !self.passes(at, tick, by_lease, now)) {
                self.catch_up(at, self.ticks);
                self.peers[at].on_tick(now);
            }
        }
        self.ticks = tick;
    }

    /// Whether this tick does no more to a peer at rest than what is done in its stead: to say heartbeats, which is noted,
    /// with a question about its lease or without, and to see that all others are still heard of.
    fn passes(&mut self, at: usize, tick: u64, by_lease: Timestamp, now: Timestamp) -> bool {
        assert!(tick == self.ticks + 1, "a tick comes after the other");
        let Some(rest) = &mut self.rests[at] else { return false };
        let is_due = tick >= rest.wakes_at;
        // Followers campaign, and whether a question is asked again is the peer's to say.
        let Some(leading) = rest.leading().filter(|leading| leading.question().is_none()) else {
            return false;
        };
        let renews = by_lease > leading.renews_after;
        if (renews && !leading.asks_by_itself()) || (is_due && !leading.does_what_is_due(tick)) {
            return false;
        }
        if renews {
            leading.ask(self.peers[at].ask_at_rest(now));
        }
        let wakes_at = leading.due.next();
        assert!(wakes_at > tick, "what is due is done");
        rest.wakes_at = wakes_at;
        let next = if renews { tick + 1 } else { self.pace.next_heartbeat(tick) };
        let alarm = &mut self.alarms[at];
        alarm.tick = wakes_at.min(next);
        alarm.speaks |= renews || self.pace.is_heartbeat(tick);
        true
    }

    /// Hears a heartbeat or the answer to one; true when it may have brought news. What is to be answered at once is
    /// gathered.
    pub(crate) fn hear(
        &mut self,
        at: usize,
        single: Single,
        now: Timestamp,
        gathered: &mut Gathered,
    ) -> bool {
        let heard = match &mut self.rests[at] {
            Some(rest) if single.to == self.node => rest.hear(self.regions[at], single, self.ticks, gathered),
            _ => Heard::News,
        };
        if heard == Heard::News {
            return self.awake(at).on_heartbeat(single, now, gathered);
        }
        #[cfg(test)]
        crate::core::peer::idling::note_shortcut();
        let rest = self.rests[at].as_mut().expect("it has just heard");
        let (wakes_at, alarm) = (rest.wakes_at, &mut self.alarms[at]);
        match (rest.leading(), heard) {
            (None, _) => alarm.tick = wakes_at,
            (Some(leading), Heard::Confirmed(id)) => {
                leading.renews_after = self.peers[at].confirm_at_rest(&id, now);
                alarm.time = leading.renews_after;
                alarm.tick = wakes_at.min(self.pace.next_heartbeat(self.ticks));
            }
            _ => {}
        }
        false
    }

    /// Whether a peer has a part in this round, once it is fed: it `was_asked`, or it has something to do. What it has
    /// to say of heartbeats is gathered. A peer without a part may rest from now on.
    #[must_use]
    pub(crate) fn has_part(&mut self, at: usize, was_asked: bool, gathered: &mut Gathered) -> bool {
        if self.alarms[at].tick != AWAKE {
            assert!(!was_asked, "whoever is asked rests no more");
            self.say_heartbeats(at, gathered);
            return false;
        }
        assert!(self.rests[at].is_none(), "who is in the table is not awake");
        let has_part = self.peers[at].has_part(was_asked, gathered);
        if !has_part && let Some(mut rest) = self.peers[at].rest(self.ticks) {
            let (tick, time) = match rest.leading() {
                Some(leading) => (self.pace.next_heartbeat(self.ticks), leading.renews_after),
                None => (u64::MAX, Timestamp::NEVER),
            };
            let tick = tick.min(rest.wakes_at);
            assert!(tick > self.ticks, "what is due is done");
            self.alarms[at] = Alarm { tick, time, speaks: false };
            self.rests[at] = Some(rest);
        }
        has_part
    }

    fn say_heartbeats(&mut self, at: usize, gathered: &mut Gathered) {
        if std::mem::take(&mut self.alarms[at].speaks) {
            let rest = self.rests[at].as_ref().expect("who speaks rests");
            assert!(rest.wakes_at > self.ticks, "who wakes speaks for itself");
            rest.say_heartbeats(self.regions[at], self.node, gathered);
        }
    }

    /// For how many ticks a peer has heard of no leader, or, if it leads, which members it has heard of since it last made
    /// sure that a quorum follows.
    #[cfg(test)]
    pub(crate) fn heard(&self, region: RegionId) -> (usize, Vec<u64>) {
        let at = self.position(region).expect("a region of this member");
        self.peers[at].heard(self.rests[at].as_ref(), self.ticks)
    }
}
