//! The network between simulated members.
//!
//! Owns the fate of each message: lost, late, duplicated, reordered, or dropped because its link is cut. What always
//! holds: a link cut by several faults works again when all of them are undone; without reordering a link is a queue.

use crate::sim::plan::NetworkPlan;
use crate::sim::random::Random;

/// See the module.
#[derive(Debug)]
pub(crate) struct Links {
    plan: NetworkPlan,
    /// Upper bound of the delay of a very late message (a straggler).
    straggle_max: u64,
    members: usize,
    links: Vec<Link>,
}

#[derive(Clone, Debug, Default)]
struct Link {
    delay: u64,
    /// Number of faults that cut it.
    cuts: u32,
    /// Number of times it broke: a message sent before a break never arrives.
    connection: u32,
    /// Arrival time of the newest message.
    last_arrival: u64,
    /// Nothing arrives before this time.
    stalled_until: u64,
}

impl Links {
    /// Links between all of `members`, each with its own base delay.
    pub(crate) fn new(members: usize, plan: NetworkPlan, straggle_max: u64, random: &mut Random) -> Self {
        let links = (0..members * members).map(|_| {
            let delay = random.within(plan.delay.clone());
            Link { delay, ..Link::default() }
        });
        let links = links.collect();
        Self { plan, straggle_max, members, links }
    }

    /// Arrival times of the copies of a message sent at `now`.
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

    /// The connection that a message sent now belongs to.
    pub(crate) fn connection(&self, link: (usize, usize)) -> u32 {
        self.links[link.0 * self.members + link.1].connection
    }

    /// Drops everything in flight on a link.
    pub(crate) fn break_connection(&mut self, link: (usize, usize)) {
        self.at(link).connection += 1;
    }

    /// True while at least one fault cuts the link.
    pub(crate) fn is_cut(&self, link: (usize, usize)) -> bool {
        self.links[link.0 * self.members + link.1].cuts > 0
    }

    /// Cuts a link; cuts are counted.
    pub(crate) fn cut(&mut self, link: (usize, usize)) {
        self.at(link).cuts += 1;
    }

    /// Delays messages sent from now on: none arrives before `until`.
    pub(crate) fn stall(&mut self, link: (usize, usize), until: u64) {
        let link = self.at(link);
        link.stalled_until = link.stalled_until.max(until);
    }

    /// Undoes one cut.
    pub(crate) fn mend(&mut self, link: (usize, usize)) {
        let link = self.at(link);
        link.cuts = link.cuts.saturating_sub(1);
    }

    /// Permanently repairs every link: no loss, no duplicates, no late messages.
    pub(crate) fn heal(&mut self) {
        self.links.iter_mut().for_each(|link| (link.cuts, link.stalled_until) = (0, 0));
        (self.plan.loss, self.plan.doubling, self.plan.stragglers) = (0, 0, 0);
    }

    fn at(&mut self, link: (usize, usize)) -> &mut Link {
        &mut self.links[link.0 * self.members + link.1]
    }
}
