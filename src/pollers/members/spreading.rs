//! Which member is to lead which region.
//!
//! Owns the one rule, [`next_move`], and its use by a member that leads regions. What always holds: only the leader of a
//! region hands it over, one region at a time and to a voter that answers; members that are preferred lead before others,
//! and members that are drained only where nobody else could; among those who may lead, each leads as many regions as the
//! others, or one more. The members need not agree at any moment: each acts on what it sees, and a mistaken step is put
//! right by later ones. Whether a target is fit to lead is left to the peers, which refuse those that are not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Known, Members};
use crate::completion::{Completion, Reply, Sink};
use crate::core::input::Input;
use crate::core::member_list::MemberList;
use crate::core::transfer::TransferRequest;
use crate::error::Result;
use crate::time::now;
use crate::types::{NodeId, RegionId};

/// Between two looks.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// For one attempt to hand over.
const ATTEMPT: Duration = Duration::from_secs(2);

/// A region, as the rule sees it.
pub(super) struct Led {
    region: RegionId,
    leader: NodeId,
    /// Those of its voters that answer the leader; known of regions that this member leads.
    live: BTreeSet<NodeId>,
}

/// Who is to lead rather than others, and who is not to lead.
#[derive(Default)]
pub(super) struct Wishes {
    preferred: BTreeSet<NodeId>,
    drained: BTreeSet<NodeId>,
}

impl Wishes {
    pub(super) fn of(list: Option<&MemberList>) -> Self {
        let members = list.map_or(&[][..], |list| &list.members);
        let those = |is_one: &dyn Fn(&crate::core::member_list::ListedMember) -> bool| {
            members.iter().filter(|member| is_one(member)).map(|member| member.node).collect()
        };
        Self { preferred: those(&|member| member.is_preferred), drained: those(&|member| member.is_drained) }
    }

    /// Whether it is all the same who leads, as long as all lead alike.
    fn is_empty(&self) -> bool {
        self.preferred.is_empty() && self.drained.is_empty()
    }

    /// Of these voters, those who may lead: the preferred ones, or else all that are not drained, or else all.
    fn eligible(&self, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let rest: BTreeSet<_> = voters.difference(&self.drained).copied().collect();
        let first: BTreeSet<_> = rest.intersection(&self.preferred).copied().collect();
        match (first.is_empty(), rest.is_empty()) {
            (false, _) => first,
            (true, false) => rest,
            (true, true) => voters.clone(),
        }
    }
}

/// The region that `own` is to hand over next, and to whom. Where there are several, they take turns: one may not move.
pub(super) fn next_move(
    own: NodeId,
    regions: &[Led],
    wishes: &Wishes,
    turn: usize,
) -> Option<(RegionId, NodeId)> {
    let mut counts = BTreeMap::<NodeId, usize>::new();
    for led in regions {
        *counts.entry(led.leader).or_default() += 1;
    }
    let count = |node: NodeId| counts.get(&node).copied().unwrap_or(0);
    let of_region = |led: &Led| {
        let mut voters = led.live.clone();
        voters.insert(own);
        let eligible = wishes.eligible(&voters);
        let others = eligible.iter().copied().filter(|node| *node != own);
        let target = others.min_by_key(|node| (count(*node), *node))?;
        let is_misplaced = !eligible.contains(&own);
        (is_misplaced || count(own) > count(target) + 1).then_some((led.region, target))
    };
    let moves: Vec<_> = regions.iter().filter(|led| led.leader == own).filter_map(of_region).collect();
    moves.get(turn % moves.len().max(1)).copied()
}

impl Members {
    /// Hands a region over if another member is to lead it.
    pub(super) fn spread_leaders(&self, known: &Known, turn: usize) {
        // Who is to vote no more hands over as its regions follow the list.
        let is_to_go =
            known.list.as_ref().is_some_and(|list| !list.voters().any(|node| node == self.own.node));
        if !self.may_spread(known) || is_to_go {
            return;
        }
        let wishes = Wishes::of(known.list.as_deref());
        if wishes.is_empty() && self.leads_its_share(known) {
            return;
        }
        let regions = self.led(known);
        let Some((region, target)) = next_move(self.own.node, &regions, &wishes, turn) else { return };
        let completion = Completion::new(Box::new(Whatever));
        let request = TransferRequest { target: Some(target), deadline: now() + ATTEMPT, completion };
        // A closed mailbox drops it.
        drop(self.raft.push((region, Input::Transfer(request))));
    }

    /// Whether no other member leads fewer regions by more than one: [`next_move`] need not look at each region then.
    fn leads_its_share(&self, known: &Known) -> bool {
        let counts = self.health.led_regions();
        let count = |node: NodeId| counts.get(&node).copied().unwrap_or(0);
        let others = known.peers.iter().map(|(node, _)| count(*node));
        others.min().is_none_or(|fewest| count(self.own.node) <= fewest + 1)
    }

    /// Whether it can matter who leads: somebody is preferred or drained, or there are several regions and members.
    pub(super) fn may_spread(&self, known: &Known) -> bool {
        let is_special =
            |list: &MemberList| list.members.iter().any(|member| member.is_preferred || member.is_drained);
        let are_many = self.regions.ids().len() > 1 && !known.peers.is_empty();
        self.own.spread_leaders && (are_many || known.list.as_deref().is_some_and(is_special))
    }

    /// The regions whose leader is known.
    fn led(&self, known: &Known) -> Vec<Led> {
        let of_region = |region: &RegionId| {
            let leader = self.health.status(*region).leader?;
            let members = known.regions.get(region)?;
            let is_to_vote =
                |node| known.list.as_ref().is_none_or(|list| list.voters().any(|voter| voter == node));
            let votes = |node: NodeId| members.members.contains(&(node, true)) && is_to_vote(node);
            let live = members.progress.iter().filter(|(node, _, is_live)| *is_live && votes(*node));
            Some(Led { region: *region, leader, live: live.map(|(node, ..)| *node).collect() })
        };
        self.regions.ids().iter().filter_map(of_region).collect()
    }

    /// Whether a drained member still leads a region that another one could lead.
    pub(super) fn is_drained(&self, known: &Known, list: &MemberList) -> bool {
        let is_drained = |node: NodeId| list.get(node).is_some_and(|member| member.is_drained);
        let others = list.voters().any(|node| !is_drained(node));
        let mut leaders = self.regions.ids().iter().filter_map(|region| self.health.status(*region).leader);
        let knows_all = known.regions.keys().all(|region| self.health.status(*region).leader.is_some());
        !others || (knows_all && !leaders.any(is_drained))
    }
}

/// Nobody waits for the outcome: the next look shows it.
struct Whatever;

impl Sink for Whatever {
    fn deliver(self: Box<Self>, _: Result<Reply>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regions led by these; all three members vote and answer.
    fn led(leaders: &[u64]) -> Vec<Led> {
        let led = |(region, leader): (u64, &u64)| Led {
            region: RegionId(region),
            leader: NodeId(*leader),
            live: [1, 2, 3].map(NodeId).into(),
        };
        (1..).zip(leaders).map(led).collect()
    }

    fn wishes(preferred: &[u64], drained: &[u64]) -> Wishes {
        let set = |nodes: &[u64]| nodes.iter().map(|node| NodeId(*node)).collect();
        Wishes { preferred: set(preferred), drained: set(drained) }
    }

    /// Who leads which region once nobody moves any more.
    fn settled(mut leaders: Vec<u64>, wishes: &Wishes) -> Vec<u64> {
        for _ in 0..100 {
            let moves = [1, 2, 3].map(|own| next_move(NodeId(own), &led(&leaders), wishes, 0));
            let Some((region, target)) = moves.into_iter().flatten().next() else { return leaders };
            leaders[region.get() as usize - 1] = target.get();
        }
        panic!("they never settle: {leaders:?}");
    }

    fn counts(leaders: &[u64]) -> [usize; 3] {
        [1, 2, 3].map(|node| leaders.iter().filter(|leader| **leader == node).count())
    }

    #[test]
    fn each_leads_as_many_as_the_others_or_one_more() {
        let none = wishes(&[], &[]);

        assert_eq!(counts(&settled(vec![1; 9], &none)), [3, 3, 3]);
        assert_eq!(counts(&settled(vec![2; 5], &none)), [2, 2, 1]);
        assert_eq!(settled(vec![3], &none), [3], "one region stays where it is");
    }

    #[test]
    fn preferred_members_lead_and_drained_ones_do_not() {
        assert_eq!(counts(&settled(vec![1; 4], &wishes(&[2, 3], &[]))), [0, 2, 2]);
        assert_eq!(counts(&settled(vec![1; 4], &wishes(&[], &[1]))), [0, 2, 2]);
        assert_eq!(
            counts(&settled(vec![1, 2, 3], &wishes(&[1], &[1]))),
            [0, 2, 1],
            "drained counts for more"
        );
        assert_eq!(counts(&settled(vec![1; 3], &wishes(&[], &[1, 2, 3]))), [1, 1, 1], "somebody must lead");
    }

    #[test]
    fn nothing_goes_to_a_member_that_does_not_answer() {
        let mut regions = led(&[1, 1, 1]);
        regions.iter_mut().for_each(|led| led.live = BTreeSet::from([NodeId(3)]));

        let (_, target) = next_move(NodeId(1), &regions, &wishes(&[2], &[]), 1).expect("3 leads none");
        assert_eq!(target, NodeId(3));
        regions.iter_mut().for_each(|led| led.live.clear());
        assert_eq!(next_move(NodeId(1), &regions, &wishes(&[2], &[1]), 0), None);
    }
}
