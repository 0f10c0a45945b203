//! A leader whose engine stands still.
//!
//! Owns that such a leader hands over, and that a member whose own engine stands still obeys no TimeoutNow. A leader
//! needs its engine for every write: it acknowledges what it has applied. The others are well, but a heartbeat asks for
//! no engine, so none of them would ever campaign. What always holds: nobody is forced: the leadership stays where it
//! is when nobody takes it, and is offered again after a pause; a member with a stalled engine may campaign when it
//! hears of no leader, because its log may be the only one that can be elected, and offers the leadership then.

use std::time::Duration;

use super::Peer;
use crate::core::planted::{self, Fault};
use crate::types::{NodeId, RegionId};

impl Peer {
    /// Offers the leadership to another voter when this member's engine has stood still for too long. To be asked when
    /// all that came in this round is known: after a pause of this member its ticks come before the reports that
    /// waited.
    pub(super) fn hand_over_if_stalled(&mut self) {
        let stays = planted::has(Fault::StalledLeaderStays);
        if !self.is_leader() || self.is_handing_over() || self.leadership.transfer.is_some() || stays {
            return;
        }
        let Some(offer) = self.apply.take_offer() else { return };
        let ticks = self.apply.stalled_ticks().expect("an offer is due in a stall only");
        let target = self.next_target(offer);
        self.warn_of_stall(ticks, target);
        if let Some(target) = target {
            assert_ne!(target, self.options.node, "another member");
            self.raw.transfer_leader(target.get());
        }
    }

    /// True when committed entries wait and none has taken effect for too long.
    pub(super) fn is_stalled(&self) -> bool {
        self.apply.stalled_ticks().is_some()
    }

    /// The voter to offer the leadership to. This one cannot know whose engines are well, since nobody hears of commits
    /// that it has not applied. So it begins behind itself in the order of the members' numbers, and with each offer
    /// goes on by one: a leadership that meets a stalled engine once more goes round and comes to all of them.
    fn next_target(&self, offer: usize) -> Option<NodeId> {
        let own = self.options.node;
        let voters = self.region.members.voters.iter().map(|&voter| NodeId(voter));
        let mut targets: Vec<_> = voters.filter(|&voter| voter != own && self.keeps_up(voter)).collect();
        assert!(!targets.contains(&own), "another member takes the leadership over");
        targets.sort_unstable_by_key(|&voter| (voter < own, voter));
        let is_heard = |voter: &NodeId| {
            self.raw.raft.prs().get(voter.get()).is_some_and(|progress| progress.recent_active)
        };
        if targets.iter().any(is_heard) {
            targets.retain(is_heard);
        }
        let count = targets.len().max(1);
        targets.get(offer % count).copied()
    }

    fn warn_of_stall(&self, ticks: u64, target: Option<NodeId>) {
        let stood_still = self.options.tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        log::warn!("{}", describe(self.region.id, stood_still, target));
    }
}

fn describe(region: RegionId, stood_still: Duration, target: Option<NodeId>) -> String {
    let next = match target {
        Some(target) => format!("handing leadership over to node {target}"),
        None => "no other voter can take the leadership over".to_owned(),
    };
    format!(
        "region {region}: the engine has applied nothing for {} ms while committed entries wait; {next}",
        stood_still.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_the_region_the_time_and_what_is_done() {
        assert_eq!(
            describe(RegionId(3), Duration::from_secs(5), Some(NodeId(2))),
            "region 3: the engine has applied nothing for 5000 ms while committed entries wait; handing leadership \
             over to node 2"
        );
        assert!(describe(RegionId(3), Duration::from_secs(5), None).contains("no other voter"));
    }
}
