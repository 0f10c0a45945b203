//! When a peer campaigns.
//!
//! Owns the draw of election timeouts. raft draws a random one whenever its term or role changes; this puts one in its
//! place that follows from a seed, so that the core has no randomness of its own and a run can be repeated.

use raft::{Raft, StateRole};

use crate::core::log::PeerLog;

/// When a peer that hears of no leader campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elections {
    /// After the election timeout or up to 1.5 times as long, drawn anew for every term from this seed. The seed replaces
    /// raft's own random numbers, so that a run can be repeated.
    Drawn(u64),
    /// Never; only [`Input::Campaign`](crate::core::input::Input::Campaign) makes it.
    OnDemand,
}

/// Keeps raft's election timeout repeatable.
#[derive(Debug)]
pub struct ElectionTimer {
    elections: Elections,
    least_ticks: usize,
    /// The term and role for which the timeout was drawn.
    drawn_for: Option<(u64, StateRole)>,
}

impl ElectionTimer {
    /// A timer that has drawn nothing. A campaign comes after `least_ticks` without a leader at the earliest.
    #[must_use]
    pub fn new(elections: Elections, least_ticks: usize) -> Self {
        Self { elections, least_ticks, drawn_for: None }
    }

    /// The least timeout in ticks, and the first that is too long.
    #[must_use]
    pub fn window_ticks(&self) -> (usize, usize) {
        match self.elections {
            Elections::Drawn(_) => (self.least_ticks, self.least_ticks + self.least_ticks.div_ceil(2).max(1)),
            Elections::OnDemand => (self.least_ticks, usize::MAX),
        }
    }

    /// Draws anew if `raft` may have: to be called after everything that can change its term or role.
    pub fn redraw(&mut self, raft: &mut Raft<PeerLog>) {
        if self.drawn_for == Some((raft.term, raft.state)) {
            return;
        }
        self.drawn_for = Some((raft.term, raft.state));
        let (least, end) = self.window_ticks();
        let ticks = match self.elections {
            Elections::Drawn(seed) => least + (scramble(seed ^ raft.term) % (end - least) as u64) as usize,
            Elections::OnDemand => end - 1,
        };
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
