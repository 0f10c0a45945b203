//! What brings a region's configuration nearer to the list of members.
//!
//! Owns the one rule: [`next_step`], a function of a configuration, the list, and what its leader knows of the members.
//! What always holds: a step leaves a majority of live voters; nobody votes who has not caught up; a voter goes only when
//! those who come in its place vote already, or in the same joint step; each step brings the configuration nearer to the
//! list, so following it ends. When steps are taken is left to `peer/moving`.

use std::collections::BTreeSet;

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

use crate::core::member_list::MemberList;
use crate::core::planted::{self, Fault};
use crate::types::{NodeId, RegionId};

/// What the leader of a region knows.
pub(crate) struct Situation<'a> {
    /// The leader.
    pub leader: NodeId,
    /// The configuration that it has applied.
    pub members: &'a ConfState,
    /// The members that there are to be.
    pub list: &'a MemberList,
    /// Members that other regions still have: this one keeps them, too. None for all.
    pub kept: Option<&'a BTreeSet<NodeId>>,
    /// Whether a member has the data and nearly all of the log.
    pub has_caught_up: &'a dyn Fn(NodeId) -> bool,
    /// Whether a member was heard of a moment ago.
    pub is_live: &'a dyn Fn(NodeId) -> bool,
}

impl Situation<'_> {
    fn keeps(&self, node: NodeId) -> bool {
        let is_ignored = planted::has(Fault::KeptByOthersIgnored);
        !is_ignored && self.kept.is_none_or(|kept| kept.contains(&node))
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// The configuration is that of the list.
    Nothing,
    /// This change is to be proposed.
    Change(ConfChangeV2),
    /// Another member is to lead, since the leader is to go: one of these.
    HandOver(Vec<NodeId>),
    /// Something else must happen first.
    Wait(Waits),
}

/// For what a region waits before it follows the list further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For this member to catch up.
    CatchingUp(NodeId),
    /// For a majority of the voters of the next configuration to be there; this member is not.
    Majority(NodeId),
    /// For other regions to drop this member first.
    OtherRegions(NodeId),
}

impl Waits {
    /// What it is, for operators.
    #[must_use]
    pub(crate) fn describe(self, region: RegionId) -> String {
        match self {
            Self::CatchingUp(node) => {
                format!("region {region}: node {node} is not connected or has not caught up yet")
            }
            Self::Majority(node) => format!(
                "region {region}: the change would leave no majority of live voters; node {node} does not answer"
            ),
            Self::OtherRegions(node) => {
                format!("region {region}: other regions have yet to drop node {node}")
            }
        }
    }
}

/// See the module.
#[must_use]
pub(crate) fn next_step(situation: &Situation<'_>) -> Step {
    let Situation { members, list, .. } = situation;
    let voters = nodes(&members.voters);
    assert!(!voters.is_empty(), "a leader has a configuration");
    assert!(list.voters().next().is_some(), "somebody is to vote");
    if !members.voters_outgoing.is_empty() {
        // Who leads and has no vote afterwards would leave the region without a leader.
        let stays = voters.contains(&situation.leader);
        return if stays {
            Step::Change(ConfChangeV2::default())
        } else {
            Step::HandOver(voters.into_iter().collect())
        };
    }
    let learners = nodes(&members.learners);
    let unknown = |node: &NodeId| !voters.contains(node) && !learners.contains(node);
    if let Some(newcomer) = list.members.iter().map(|member| member.node).find(unknown) {
        return Step::Change(single(newcomer, ConfChangeType::AddLearnerNode));
    }
    let wanted: BTreeSet<_> = list.voters().collect();
    let step = change_voters(situation, &voters, &wanted);
    if step == Step::Nothing { drop_learners(situation, &learners) } else { step }
}

fn change_voters(situation: &Situation<'_>, voters: &BTreeSet<NodeId>, wanted: &BTreeSet<NodeId>) -> Step {
    let Situation { leader, list, .. } = situation;
    let come: Vec<_> = wanted.difference(voters).copied().collect();
    let leave: Vec<_> = voters.difference(wanted).copied().collect();
    // Who leaves altogether stays here as long as it is elsewhere: it needs the list to know that it is to go.
    let may_go = |node: &NodeId| list.get(*node).is_some() || !situation.keeps(*node);
    let mut go: Vec<_> = leave.iter().copied().filter(may_go).collect();
    if let Some(late) = come.iter().find(|node| !(situation.has_caught_up)(**node)) {
        return Step::Wait(Waits::CatchingUp(*late));
    }
    // Also if it is kept for now: on a member that is to go, other regions may look as if they had kept it for ever.
    if leave.contains(leader) {
        if come.is_empty() {
            return Step::HandOver(voters.intersection(wanted).copied().collect());
        }
        go.retain(|node| node != leader);
    }
    if come.is_empty() && go.is_empty() {
        return leave.first().map_or(Step::Nothing, |node| Step::Wait(Waits::OtherRegions(*node)));
    }
    assert!(come.iter().all(|node| !voters.contains(node)), "who comes did not vote");
    assert!(go.iter().all(|node| voters.contains(node)), "who goes has voted");
    let mut after = voters.clone();
    after.extend(&come);
    after.retain(|node| !go.contains(node));
    assert!(!after.is_empty(), "somebody votes afterwards");
    let is_joint = come.len() + go.len() > 1;
    let halves = [Some(&after), is_joint.then_some(voters)];
    if let Some(dead) = halves.into_iter().flatten().find_map(|half| without_majority(situation, half)) {
        return Step::Wait(Waits::Majority(dead));
    }
    let enter = come.iter().map(|node| change_of(*node, ConfChangeType::AddNode));
    let role = |node: &NodeId| match list.get(*node) {
        Some(_) => ConfChangeType::AddLearnerNode,
        None => ConfChangeType::RemoveNode,
    };
    let exit = go.iter().map(|node| change_of(*node, role(node)));
    let mut change =
        ConfChangeV2 { changes: enter.chain(exit).collect::<Vec<_>>().into(), ..Default::default() };
    if is_joint {
        change.set_transition(ConfChangeTransition::Explicit);
    }
    Step::Change(change)
}

fn drop_learners(situation: &Situation<'_>, learners: &BTreeSet<NodeId>) -> Step {
    let gone = learners.iter().copied().filter(|node| situation.list.get(*node).is_none());
    let (kept, free): (Vec<_>, Vec<_>) = gone.partition(|node| situation.keeps(*node));
    match (free.first(), kept.first()) {
        (Some(node), _) => Step::Change(single(*node, ConfChangeType::RemoveNode)),
        (None, Some(node)) => Step::Wait(Waits::OtherRegions(*node)),
        (None, None) => Step::Nothing,
    }
}

/// A voter that is missing, if no majority of them is there.
fn without_majority(situation: &Situation<'_>, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    let is_there = |node: &&NodeId| **node == situation.leader || (situation.is_live)(**node);
    let live = voters.iter().filter(is_there).count();
    assert!(live <= voters.len(), "some of them");
    let dead = voters.iter().find(|node| !is_there(node)).copied();
    if live > voters.len() / 2 { None } else { dead.or_else(|| voters.first().copied()) }
}

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().map(|&id| NodeId(id)).collect()
}

fn change_of(node: NodeId, change_type: ConfChangeType) -> ConfChangeSingle {
    assert!(node.get() > 0, "to raft 0 is nobody");
    ConfChangeSingle { node_id: node.get(), change_type, ..Default::default() }
}

fn single(node: NodeId, change_type: ConfChangeType) -> ConfChangeV2 {
    ConfChangeV2 { changes: vec![change_of(node, change_type)].into(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::member_list::{FOUNDER, ListedMember, MemberRole};
    use crate::core::membership::changed;

    fn list(voters: &[u64], learners: &[u64]) -> MemberList {
        let member = |role| {
            move |&node: &u64| ListedMember {
                node: NodeId(node),
                instance: FOUNDER,
                address: String::new(),
                role,
                is_preferred: false,
                is_drained: false,
            }
        };
        let mut members: Vec<_> = voters.iter().map(member(MemberRole::Voter)).collect();
        members.extend(learners.iter().map(member(MemberRole::Learner)));
        members.sort_by_key(|member| member.node);
        MemberList { version: 1, highest: NodeId(99), members }
    }

    fn config(voters: &[u64], learners: &[u64]) -> ConfState {
        ConfState { voters: voters.to_vec(), learners: learners.to_vec(), ..Default::default() }
    }

    /// The next step where the leader is `leader`, these do not answer, and other regions have dropped whom they are to.
    fn step_of(leader: u64, members: &ConfState, list: &MemberList, dead: &[u64]) -> Step {
        let live = |node: NodeId| !dead.contains(&node.get());
        let kept = BTreeSet::new();
        next_step(&Situation {
            leader: NodeId(leader),
            members,
            list,
            kept: Some(&kept),
            has_caught_up: &live,
            is_live: &live,
        })
    }

    /// The configurations on the way, until nothing is to be done or nothing can be. Whoever is to take over does.
    fn way(mut members: ConfState, list: &MemberList, dead: &[u64]) -> (Vec<ConfState>, Step) {
        let mut way = vec![members.clone()];
        let mut leader = *members.voters.iter().find(|node| !dead.contains(node)).expect("somebody leads");
        for _ in 0..40 {
            match step_of(leader, &members, list, dead) {
                Step::Change(change) => {
                    members = changed(&members, &change).expect("raft takes it");
                    way.push(members.clone());
                }
                Step::HandOver(to) => {
                    let live = to.iter().find(|node| !dead.contains(&node.get()));
                    leader = live.expect("somebody takes over").get();
                }
                end => return (way, end),
            }
        }
        panic!("it never ends: {way:?}");
    }

    fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
        ids.sort_unstable();
        ids
    }

    #[test]
    fn one_becomes_three_through_learners() {
        let (way, end) = way(config(&[1], &[]), &list(&[1, 2, 3], &[]), &[]);

        assert_eq!(end, Step::Nothing);
        assert_eq!(way[1].learners, [2]);
        assert_eq!(sorted(way[2].learners.clone()), [2, 3]);
        assert!(!way[3].voters_outgoing.is_empty(), "two at once are a joint step");
        assert_eq!(sorted(way[4].voters.clone()), [1, 2, 3]);
        assert_eq!(way.len(), 5);
    }

    #[test]
    fn a_dead_member_is_replaced_in_one_joint_step() {
        let (way, end) = way(config(&[1, 2, 3], &[]), &list(&[1, 2, 4], &[]), &[3]);

        assert_eq!(end, Step::Nothing);
        let joint = &way[2];
        assert_eq!(
            (sorted(joint.voters.clone()), sorted(joint.voters_outgoing.clone())),
            (vec![1, 2, 4], vec![1, 2, 3])
        );
        assert_eq!(sorted(way[3].voters.clone()), [1, 2, 4]);
    }

    #[test]
    fn nobody_goes_before_those_who_come_have_caught_up() {
        let members = config(&[1, 2, 3], &[4]);

        assert_eq!(
            step_of(1, &members, &list(&[1, 2, 4], &[]), &[4]),
            Step::Wait(Waits::CatchingUp(NodeId(4)))
        );
    }

    #[test]
    fn a_step_that_leaves_no_live_majority_waits() {
        let members = config(&[1, 2, 3], &[]);

        assert_eq!(step_of(1, &members, &list(&[1, 3], &[]), &[3]), Step::Wait(Waits::Majority(NodeId(3))));
    }

    #[test]
    fn a_leader_that_is_to_go_lets_others_come_first_and_then_hands_over() {
        let list = list(&[2], &[]);

        let Step::Change(change) = step_of(1, &config(&[1], &[2]), &list, &[]) else {
            panic!("2 is to vote")
        };
        assert_eq!(change.changes.len(), 1);
        assert_eq!(step_of(1, &config(&[1, 2], &[]), &list, &[]), Step::HandOver(vec![NodeId(2)]));
        let (way, end) = way(config(&[1], &[]), &list, &[]);
        assert_eq!((way.last().expect("some").voters.as_slice(), end), (&[2][..], Step::Nothing));
    }

    #[test]
    fn the_first_region_keeps_whom_others_still_have() {
        let kept = BTreeSet::from([NodeId(3)]);
        let step = |members: &ConfState, list: &MemberList| {
            next_step(&Situation {
                leader: NodeId(1),
                members,
                list,
                kept: Some(&kept),
                has_caught_up: &|_| true,
                is_live: &|_| true,
            })
        };

        let waits = Step::Wait(Waits::OtherRegions(NodeId(3)));
        assert_eq!(step(&config(&[1, 2, 3], &[]), &list(&[1, 2], &[])), waits);
        assert_eq!(step(&config(&[1, 2], &[3]), &list(&[1, 2], &[])), waits);
        let Step::Change(_) = step(&config(&[1, 2, 3], &[]), &list(&[1, 2], &[3])) else {
            panic!("it only votes no more")
        };
        let Step::Change(change) = step(&config(&[1, 2, 3, 5], &[]), &list(&[1, 2], &[])) else {
            panic!("5 may go")
        };
        assert_eq!(change.changes[0].node_id, 5);
    }

    proptest! {
        #[test]
        fn every_list_is_reached_and_every_step_overlaps(
            start in prop::collection::btree_map(1u64..8, any::<bool>(), 1..6),
            goal in prop::collection::btree_map(1u64..12, any::<bool>(), 1..6),
        ) {
            let split = |map: &std::collections::BTreeMap<u64, bool>| {
                let mut voters: Vec<_> = map.iter().filter(|(_, votes)| **votes).map(|(id, _)| *id).collect();
                if voters.is_empty() {
                    voters.push(*map.keys().next().expect("one at least"));
                }
                let learners: Vec<_> = map.keys().copied().filter(|id| !voters.contains(id)).collect();
                (voters, learners)
            };
            let ((voters, learners), (wanted, watching)) = (split(&start), split(&goal));
            let list = list(&wanted, &watching);

            let (way, end) = way(config(&voters, &learners), &list, &[]);

            prop_assert_eq!(end, Step::Nothing);
            let last = way.last().expect("some");
            prop_assert_eq!(sorted(last.voters.clone()), sorted(wanted));
            prop_assert_eq!(sorted(last.learners.clone()), sorted(watching));
            for pair in way.windows(2) {
                let [before, after] = pair else { unreachable!("two") };
                let is_joint = !before.voters_outgoing.is_empty() || !after.voters_outgoing.is_empty();
                let (one, other) = (nodes(&before.voters), nodes(&after.voters));
                prop_assert!(is_joint || one.symmetric_difference(&other).count() <= 1);
            }
        }
    }
}
