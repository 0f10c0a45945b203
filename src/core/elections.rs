//! When a peer campaigns.
//!
//! Owns the draw of election timeouts. raft draws a random one whenever its term or role changes; this puts one in its
//! place that follows from a seed, so that the core has no randomness of its own and a run can be repeated.
//!
//! A region that never had a leader does not wait so long for its first. Waiting protects a leader that may be there
//! from needless elections and its lease from a second one; in the term of the bootstrap there has been neither, and a
//! member that is late does not disturb, since pre-votes change nothing. So the length of the timeout, which is what a
//! stalled disk or processor may cost before it costs a leader, is no matter of how quickly a new cluster is ready.
//! (etcd advances the clock of a member that starts for the same reason: initial-election-tick-advance.) It asks at
//! doubling intervals, and after an election timeout as seldom as any member without a leader: whoever is missing then
//! may be missing for days. It begins anew when another member connects, with which there may be a quorum.

use raft::{Raft, StateRole};

use crate::core::log::PeerLog;
use crate::core::planted::{self, Fault};
use crate::types::BOOTSTRAP_TERM;

/// The part of the election timeout within which a region that never had a leader asks for its first.
const FIRST_PART: usize = 4;

/// When a peer that hears of no leader campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elections {
    /// After the election timeout or up to 1.5 times as long, drawn anew for every term from this seed, and sooner in a
    /// region that never had a leader. The seed replaces raft's own random numbers, so that a run can be repeated.
    Drawn(u64),
    /// Never; only [`Input::Campaign`](crate::core::input::Input::Campaign) makes it.
    #[cfg_attr(
        not(any(test, feature = "simulation")),
        expect(dead_code, reason = "only scripts decide who campaigns")
    )]
    OnDemand,
}

/// Keeps raft's election timeout repeatable.
#[derive(Debug)]
pub(crate) struct ElectionTimer {
    elections: Elections,
    least_ticks: usize,
    /// Ticks since the member started.
    ticks: u64,
    /// The tick after which it began to ask for a first leader.
    hopes_since: u64,
    /// The term and role for which the timeout was drawn.
    drawn_for: Option<(u64, StateRole)>,
}

impl ElectionTimer {
    /// A timer that has drawn nothing. A campaign comes after `least_ticks` without a leader at the earliest.
    #[must_use]
    pub(crate) fn new(elections: Elections, least_ticks: usize) -> Self {
        Self { elections, least_ticks, ticks: 0, hopes_since: 0, drawn_for: None }
    }

    /// The least timeout in ticks, and the first that is too long.
    #[must_use]
    pub(crate) fn window_ticks(&self) -> (usize, usize) {
        match self.elections {
            Elections::Drawn(_) => (self.least_ticks, self.least_ticks + self.least_ticks.div_ceil(2).max(1)),
            Elections::OnDemand => (self.least_ticks, usize::MAX),
        }
    }

    /// So many ticks have passed.
    pub(crate) fn pass(&mut self, ticks: u64) {
        self.ticks += ticks;
    }

    /// Ticks since the member started.
    #[must_use]
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Whether the member has run for less than the time in which others refuse votes because of a leader they heard.
    #[must_use]
    pub(crate) fn is_young(&self) -> bool {
        self.ticks < self.least_ticks as u64
    }

    /// True when a peer of a region that never had a leader is to campaign on this tick.
    #[must_use]
    pub(crate) fn wants_first_leader(&self, raft: &Raft<PeerLog>) -> bool {
        let Elections::Drawn(seed) = self.elections else { return false };
        if raft.term != BOOTSTRAP_TERM.get() || !raft.promotable() {
            return false;
        }
        let period = 1 + scramble(seed) % (self.least_ticks / FIRST_PART).max(1) as u64;
        let passed = self.ticks - self.hopes_since;
        // After one period, two more, four more ...
        let asks_for_ever = planted::has(Fault::FirstLeaderAskedForForEver);
        let is_due =
            passed.is_multiple_of(period) && ((passed / period + 1).is_power_of_two() || asks_for_ever);
        let hopes = passed <= self.least_ticks as u64 || asks_for_ever;
        hopes && is_due
    }

    /// Another member connected.
    pub(crate) fn on_connected(&mut self) {
        self.hopes_since = self.ticks;
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self, raft: &Raft<PeerLog>) {
        assert!(self.hopes_since <= self.ticks, "hope begins in the past");
        assert_eq!(self.drawn_for, Some((raft.term, raft.state)), "raft has drawn no timeout of its own");
        let (least, end) = self.window_ticks();
        assert!((least..end).contains(&raft.randomized_election_timeout()), "the timeout is one of ours");
    }

    /// Draws anew for the same term and role: raft may have drawn a number of its own.
    pub(crate) fn redraw_for_same_term(&mut self, raft: &mut Raft<PeerLog>) {
        self.drawn_for = None;
        self.redraw(raft);
    }

    /// Draws anew if `raft` may have: to be called after everything that can change its term or role.
    pub(crate) fn redraw(&mut self, raft: &mut Raft<PeerLog>) {
        if self.drawn_for == Some((raft.term, raft.state)) {
            return;
        }
        self.drawn_for = Some((raft.term, raft.state));
        let (least, end) = self.window_ticks();
        let ticks = match self.elections {
            Elections::Drawn(seed) => least + (scramble(seed ^ raft.term) % (end - least) as u64) as usize,
            Elections::OnDemand => end - 1,
        };
        assert!((least..end).contains(&ticks), "no timeout is shorter than a lease");
        raft.set_randomized_election_timeout(ticks);
    }
}

/// Spreads neighbouring seeds over all numbers (the finalizer of splitmix64).
fn scramble(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_half_as_long_again_as_the_least_timeout() {
        let window = |least| ElectionTimer::new(Elections::Drawn(7), least).window_ticks();

        assert_eq!(window(20), (20, 30));
        assert_eq!(window(1), (1, 2));
    }

    #[test]
    fn neighbouring_terms_draw_all_over_the_window() {
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|term| scramble(42 ^ term) % 10).collect();

        assert_eq!(drawn.len(), 10);
    }
}
