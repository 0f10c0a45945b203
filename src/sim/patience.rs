//! How long a healed cluster has until it must have come to what is demanded.
//!
//! Owns the rule: so many election timeouts, counted anew whenever the cluster has worked off more of what there was when it
//! was healed: entries that a member had yet to apply, and writes that a leader had accepted and yet to propose. There may
//! be thousands, and a slow network with small windows may take them one by one: that is no fault as long as it goes on.
//! What always holds: patience ends, since what is counted is bounded, and so is the time.

use std::collections::BTreeMap;

use crate::sim::chosen::CallId;
use crate::sim::cluster::Cluster;
use crate::types::RegionId;

/// All in all a cluster has so many times as long as one that has nothing to work off.
const SPANS_MAX: u64 = 20;

/// See the module.
pub(crate) struct Patience {
    hosts: Vec<usize>,
    span: u64,
    end: u64,
    last_end: u64,
    /// The last entry that was chosen in each region.
    chosen: BTreeMap<RegionId, u64>,
    /// The first call that is made from now on.
    next: CallId,
    /// Entries and writes that are worked off, all together.
    done: u64,
}

impl Patience {
    /// Begins now: `hosts` have so many election timeouts.
    pub(crate) fn new(cluster: &Cluster, hosts: &[usize], timeouts: u64) -> Self {
        let span = timeouts * cluster.plan.election_timeout();
        let chosen = |&region: &RegionId| (region, cluster.ledger.region(region).chosen.last());
        let chosen = cluster.regions().iter().map(chosen).collect();
        let (hosts, next) = (hosts.to_vec(), cluster.calls.next_id());
        let (end, last_end) = (cluster.now + span, cluster.now + SPANS_MAX * span);
        Self { hosts, span, end, last_end, chosen, next, done: 0 }
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&mut self, cluster: &Cluster) -> bool {
        let done = self.chosen.iter().map(|(&region, &last)| self.count_done(cluster, region, last)).sum();
        if done > self.done {
            (self.done, self.end) = (done, self.last_end.min(cluster.now + self.span));
        }
        cluster.now >= self.end
    }

    fn count_done(&self, cluster: &Cluster, region: RegionId, last: u64) -> u64 {
        let members = self.hosts.iter().filter(|&&host| cluster.is_member(host, region));
        let applied =
            |&host: &usize| cluster.hosts[host].member.engine().state_and_digest(region).0.index.get();
        let applied: u64 = members.map(|host| applied(host).min(last)).sum();
        applied + cluster.ledger.region(region).chosen.count_before(self.next) as u64
    }
}
