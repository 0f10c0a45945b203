//! When an applier has stalled.
//!
//! Owns the time since the applier last made progress while committed entries wait for it, and the pauses between the
//! offers of leadership that are made because of that. What always holds: any progress ends a stall, however small;
//! time is counted in ticks, by whom is the peer's business.

/// Pauses between offers grow up to this many times the first.
const PAUSE_DOUBLINGS_MAX: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct StallTimer {
    /// Without progress for so many ticks, it has stalled.
    stall_ticks: u64,
    /// The first pause between two offers.
    pause_ticks: u64,
    ticks: u64,
    offers: u32,
    next_offer: u64,
}

impl StallTimer {
    /// Nothing waits yet. raft gives an offer up after an election timeout; the pause before the next leaves
    /// as much time to writes that need no engine, and to the lease.
    #[must_use]
    pub(crate) fn new(stall_ticks: u64, election_ticks: u64) -> Self {
        Self { stall_ticks, pause_ticks: 2 * election_ticks, ticks: 0, offers: 0, next_offer: 0 }
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        assert!(self.offers == 0 || self.ticks >= self.stall_ticks, "offers are made in a stall");
        assert_eq!(self.offers == 0, self.next_offer == 0, "an offer is followed by a pause");
    }

    /// A tick has passed, with committed entries that wait or without.
    pub(crate) fn on_tick(&mut self, waits: bool) {
        if waits {
            self.ticks += 1;
        } else {
            self.on_progress();
        }
    }

    /// Entries took effect.
    pub(crate) fn on_progress(&mut self) {
        (self.ticks, self.offers, self.next_offer) = (0, 0, 0);
    }

    /// Ticks without progress, once there are too many of them.
    #[must_use]
    pub(crate) fn stalled_ticks(&self) -> Option<u64> {
        (self.ticks >= self.stall_ticks).then_some(self.ticks)
    }

    /// The number of the offer that is due, from 0; it counts as made.
    pub(crate) fn take_offer(&mut self) -> Option<usize> {
        if self.stalled_ticks().is_none() || self.ticks < self.next_offer {
            return None;
        }
        let offer = self.offers;
        self.next_offer = self.ticks + (self.pause_ticks << offer.min(PAUSE_DOUBLINGS_MAX));
        self.offers += 1;
        assert!(self.next_offer > self.ticks, "an offer is followed by a pause");
        Some(offer as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(timer: &mut StallTimer, ticks: u64) {
        (0..ticks).for_each(|_| timer.on_tick(true));
    }

    #[test]
    fn only_what_waits_without_progress_stalls() {
        let mut timer = StallTimer::new(100, 20);
        pass(&mut timer, 99);
        assert_eq!(timer.stalled_ticks(), None);

        timer.on_progress();
        pass(&mut timer, 99);
        timer.on_tick(false);
        pass(&mut timer, 99);
        assert_eq!(timer.stalled_ticks(), None);

        pass(&mut timer, 1);
        assert_eq!(timer.stalled_ticks(), Some(100));
    }

    #[test]
    fn offers_follow_each_other_after_pauses_that_grow() {
        let mut timer = StallTimer::new(100, 20);
        pass(&mut timer, 100);

        let mut offers = Vec::new();
        for tick in 0..600 {
            offers.extend(timer.take_offer().map(|offer| (offer, tick)));
            pass(&mut timer, 1);
        }

        assert_eq!(offers, [(0, 0), (1, 40), (2, 120), (3, 280), (4, 440)]);
    }
}
