//! The peers of one poller.
//!
//! Owns which of them are at rest, and the table of those: what ticks and heartbeats need to know of a peer at rest lies
//! together there, so that many idle regions cost no more than passing over a few kilobytes. What always holds: whoever
//! gets a peer to change it gets one that has caught up with all that was left in the table, and that is in the table no
//! more; the ticks of all peers are one count. What is in the table is the business of [`rest`](crate::core::rest), what a
//! round does with the peers that of [`round`](crate::core::round).

use std::ops::Index;
use std::time::Duration;

use crate::core::gathered::Gathered;
use crate::core::heartbeats::Single;
use crate::core::peer::Peer;
use crate::core::rest::Rest;
use crate::time::Timestamp;
use crate::types::RegionId;

/// The tick of a peer that is awake: each is one for it.
const AWAKE: u64 = 0;

/// See the module. All parts have the same order, that of the regions.
#[derive(Default)]
pub(crate) struct Peers {
    regions: Vec<RegionId>,
    peers: Vec<Peer>,
    alarms: Vec<Alarm>,
    rests: Vec<Option<Rest>>,
    /// How many ticks have passed.
    ticks: u64,
    pace: Pace,
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

/// How fast raft's clock runs; the same for all peers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// The time between two ticks.
    pub tick: Duration,
    /// The ticks between two heartbeats.
    pub heartbeat_ticks: u64,
}

impl Pace {
    fn is_heartbeat(self, tick: u64) -> bool {
        tick.is_multiple_of(self.heartbeat_ticks)
    }

    fn next_heartbeat(self, tick: u64) -> u64 {
        (tick / self.heartbeat_ticks + 1) * self.heartbeat_ticks
    }

    /// How much in advance a lease is renewed on this tick: with a heartbeat before it ends, so that the questions of many
    /// regions leave together.
    pub(crate) fn renews_ahead(self, tick: u64) -> Duration {
        let ahead = if self.is_heartbeat(tick) { self.heartbeat_ticks - 1 } else { 0 };
        self.tick * ahead as u32
    }
}

impl FromIterator<(RegionId, Peer)> for Peers {
    fn from_iter<I: IntoIterator<Item = (RegionId, Peer)>>(peers: I) -> Self {
        let mut all: Vec<_> = peers.into_iter().collect();
        all.sort_by_key(|(region, _)| *region);
        let (regions, peers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        assert!(regions.is_sorted_by(|one, next| one < next), "a region has one peer here");
        let count = peers.len();
        let pace = peers.first().map_or_else(Pace::default, Peer::pace);
        let (alarms, rests) = (vec![Alarm::OF_AWAKE; count], (0..count).map(|_| None).collect());
        Self { regions, peers, alarms, rests, ticks: 0, pace }
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

    /// Where the peer of `region` is.
    #[must_use]
    pub(crate) fn position(&self, region: RegionId) -> Option<usize> {
        self.regions.binary_search(&region).ok()
    }

    /// The peer at this place, which has caught up and is not at rest any more.
    pub(crate) fn awake(&mut self, at: usize) -> &mut Peer {
        self.catch_up(at, self.ticks);
        &mut self.peers[at]
    }

    fn catch_up(&mut self, at: usize, ticks: u64) {
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
        let all_wake = self.peers.first().is_some_and(Peer::is_behind);
        for at in 0..self.len() {
            let alarm = &self.alarms[at];
            let is_quiet = tick < alarm.tick && by_lease <= alarm.time && !all_wake;
            if !is_quiet && (all_wake || !self.speaks_only(at, tick, by_lease)) {
                self.catch_up(at, self.ticks);
                self.peers[at].on_tick(now);
            }
        }
        self.ticks = tick;
    }

    /// Whether a peer at rest has only heartbeats to say on this tick; they are noted.
    fn speaks_only(&mut self, at: usize, tick: u64, by_lease: Timestamp) -> bool {
        let Some(rest) = &self.rests[at] else { return false };
        if tick >= rest.wakes_at || by_lease > rest.renews_after {
            return false;
        }
        assert!(rest.leads() && self.pace.is_heartbeat(tick), "nothing else is due");
        self.alarms[at].speaks = true;
        self.alarms[at].tick = rest.wakes_at.min(self.pace.next_heartbeat(tick));
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
        if let Some(rest) = &mut self.rests[at]
            && rest.hear(self.regions[at], single, self.ticks, gathered)
        {
            if !rest.leads() {
                self.alarms[at].tick = rest.wakes_at;
            }
            #[cfg(test)]
            crate::core::peer::idling::note_shortcut();
            return false;
        }
        self.awake(at).on_heartbeat(single, now, gathered)
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
        let has_part = self.peers[at].has_part(was_asked, gathered);
        if !has_part && let Some(rest) = self.peers[at].rest(self.ticks) {
            let heartbeat = if rest.leads() { self.pace.next_heartbeat(self.ticks) } else { u64::MAX };
            let (tick, time) = (rest.wakes_at.min(heartbeat), rest.renews_after);
            assert!(tick > self.ticks, "what is due is done");
            self.alarms[at] = Alarm { tick, time, speaks: false };
            self.rests[at] = Some(rest);
        }
        has_part
    }

    fn say_heartbeats(&mut self, at: usize, gathered: &mut Gathered) {
        if std::mem::take(&mut self.alarms[at].speaks) {
            let rest = self.rests[at].as_ref().expect("who speaks rests");
            rest.say_heartbeats(self.regions[at], gathered);
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
