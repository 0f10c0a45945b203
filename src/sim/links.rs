//! The network between simulated members.
//!
//! Owns what becomes of a message: lost, late, doubled, overtaken, or cut off with its link. What always holds: a link
//! that several faults have cut works again when all of them are mended; without reordering a link is a queue.

use crate::sim::plan::NetworkPlan;
use crate::sim::random::Random;

/// See the module.
#[derive(Debug)]
pub(crate) struct Links {
    plan: NetworkPlan,
    /// Longest delay of a message that is very late.
    straggle_max: u64,
    members: usize,
    links: Vec<Link>,
}

#[derive(Clone, Debug, Default)]
struct Link {
    delay: u64,
    /// How many faults cut it.
    cuts: u32,
    /// Counts its breaks: what was sent before one never arrives.
    connection: u32,
    /// When the newest message arrives.
    last_arrival: u64,
    /// Nothing arrives before.
    stalled_until: u64,
}

impl Links {
    /// Links between all of `members`, each with its own delay.
    pub(crate) fn new(members: usize, plan: NetworkPlan, straggle_max: u64, random: &mut Random) -> Self {
        let links = (0..members * members).map(|_| {
            let delay = random.within(plan.delay.clone());
            Link { delay, ..Link::default() }
        });
        let links = links.collect();
        Self { plan, straggle_max, members, links }
    }

    /// When copies of a message sent at `now` arrive.
    pub(crate) fn arrivals(&mut self, link: (usize, usize), now: u64, random: &mut Random) -> Vec<u64> {
        if self.is_cut(link) || random.per_million(self.plan.loss) {
            return Vec::new();
        }
        let copies = if random.per_million(self.plan.doubling) { 2 } else { 1 };
        (0..copies).map(|_| self.arrival(link, now, random)).collect()
    }

    fn arrival(&mut self, link: (usize, usize), now: u64, random: &mut Random) -> u64 {
        let late = random.per_million(self.plan.stragglers);
        let most = if late { self.straggle_max } else { self.plan.jitter };
        let jitter = random.within(0..most);
        let reorders = self.plan.reorders || late;
        let link = self.at(link);
        let arrival = (now + link.delay + jitter).max(link.stalled_until);
        if reorders {
            return arrival;
        }
        link.last_arrival = link.last_arrival.max(arrival);
        link.last_arrival
    }

    /// The connection that a message now travels on.
    pub(crate) fn connection(&self, link: (usize, usize)) -> u32 {
        self.links[link.0 * self.members + link.1].connection
    }

    /// Loses everything under way on a link.
    pub(crate) fn break_connection(&mut self, link: (usize, usize)) {
        self.at(link).connection += 1;
    }

    /// True while some fault cuts the link.
    pub(crate) fn is_cut(&self, link: (usize, usize)) -> bool {
        self.links[link.0 * self.members + link.1].cuts > 0
    }

    /// Cuts a link once more.
    pub(crate) fn cut(&mut self, link: (usize, usize)) {
        self.at(link).cuts += 1;
    }

    /// What is sent from now on arrives at `until`, if it would arrive before.
    pub(crate) fn stall(&mut self, link: (usize, usize), until: u64) {
        let link = self.at(link);
        link.stalled_until = link.stalled_until.max(until);
    }

    /// Takes one cut back.
    pub(crate) fn mend(&mut self, link: (usize, usize)) {
        let link = self.at(link);
        link.cuts = link.cuts.saturating_sub(1);
    }

    /// Mends every link for good: no loss, no copy, no late message.
    pub(crate) fn heal(&mut self) {
        self.links.iter_mut().for_each(|link| (link.cuts, link.stalled_until) = (0, 0));
        (self.plan.loss, self.plan.doubling, self.plan.stragglers) = (0, 0, 0);
    }

    fn at(&mut self, link: (usize, usize)) -> &mut Link {
        &mut self.links[link.0 * self.members + link.1]
    }
}
