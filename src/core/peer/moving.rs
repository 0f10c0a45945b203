//! A region that follows the list of members.
//!
//! Owns what a peer knows of the list, and when a leader proposes the next change of its region's configuration. What
//! always holds: one change is under way at a time, and each carries the version of the list that it follows; a leader
//! whose list is older than the one that its region followed last proposes nothing, so that a region never goes back. Which
//! change is next is left to [`next_change`](crate::core::next_change), what it makes of the configuration to
//! `membership`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::Peer;
use crate::core::command::seal_settled;
use crate::core::member_list::MemberList;
use crate::core::membership;
use crate::core::next_change::{Situation, Step, Waits, next_step};
use crate::core::planted::{self, Fault};
use crate::core::region_members::RegionMembers;
use crate::types::{LogIndex, MEMBERS_LEVEL, NodeId, Term};

/// Election timeouts between two attempts of a leader that is to go to hand over.
const HAND_OVER_TIMEOUTS: u64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// The members that the cluster is to have, as far as this member has applied it.
    list: Option<Arc<MemberList>>,
    /// Members that other regions of this member still have, to be kept by the first region, and the version of the list by
    /// which that was asked; none before it is known.
    kept: Option<(u64, BTreeSet<NodeId>)>,
    /// For what the region waits.
    waits: Option<Waits>,
    /// The region has just applied another list, which the peers of other regions do not know yet.
    has_new_list: bool,
    /// The term in which this leader has last proposed to settle, and on the list of which version.
    settles: (Term, u64),
    /// The configuration or the list is other than what this member has published.
    has_moved: bool,
    /// Whom this leader had heard of when it made sure last that a majority follows. raft forgets it then.
    heard: BTreeSet<NodeId>,
    /// How far the others had come when that was published last.
    shown: Vec<(NodeId, LogIndex, bool)>,
}

impl Moving {
    /// Those were heard of when this leader made sure last that a majority follows.
    pub(super) fn note_heard(&mut self, heard: BTreeSet<NodeId>) {
        assert!(!heard.is_empty(), "a leader hears itself");
        self.heard = heard;
    }

    /// How far the others had come when that was published last.
    #[cfg(test)]
    pub(super) fn shown(&self) -> &[(NodeId, LogIndex, bool)] {
        &self.shown
    }
}

impl Peer {
    /// The members of the cluster are to be these.
    pub(crate) fn on_list(&mut self, list: &Arc<MemberList>) {
        assert!(list.version > 0, "the first list has version 1");
        let before = self.leadership.moving.list.as_ref();
        assert!(before.is_none_or(|before| before.version <= list.version), "lists grow");
        self.wake();
        self.leadership.moving.list = Some(Arc::clone(list));
    }

    /// Whether the region has newly applied a list.
    pub(crate) fn has_new_list(&self) -> bool {
        self.leadership.moving.has_new_list
    }

    /// The list that the region has newly applied, for the peers of the other regions.
    pub(crate) fn take_new_list(&mut self) -> Option<Arc<MemberList>> {
        assert!(
            !self.leadership.moving.has_new_list || self.leadership.moving.list.is_some(),
            "a new list is one"
        );
        let moving = &mut self.leadership.moving;
        std::mem::take(&mut moving.has_new_list).then(|| moving.list.clone()).flatten()
    }

    /// The region's configuration or list, if it is another than when this was last asked.
    pub(crate) fn take_moved(&mut self) -> Option<RegionMembers> {
        let members = std::mem::take(&mut self.leadership.moving.has_moved).then(|| self.members_now())?;
        self.leadership.moving.shown.clone_from(&members.progress);
        Some(members)
    }

    /// The region's configuration and list.
    pub(crate) fn members_now(&self) -> RegionMembers {
        let (region, members) = (&self.region, &self.region.members);
        let votes = |node: &NodeId| {
            members.voters.contains(&node.get()) || members.voters_outgoing.contains(&node.get())
        };
        RegionMembers {
            members: region.all_members().into_iter().map(|node| (node, votes(&node))).collect(),
            is_joint: !members.voters_outgoing.is_empty(),
            settled_version: region.settled_version,
            list: region.list.clone().map(Arc::new),
            waits: self.leadership.moving.waits,
            progress: self.progress_of_others(),
        }
    }

    fn progress_of_others(&self) -> Vec<(NodeId, LogIndex, bool)> {
        if !self.is_leader() {
            return Vec::new();
        }
        let others = self.region.all_members().into_iter().filter(|node| *node != self.options.node);
        let progress = |node: NodeId| {
            let progress = self.raw.raft.prs().get(node.get());
            (node, LogIndex(progress.map_or(0, |progress| progress.matched)), self.is_live(node))
        };
        others.map(progress).collect()
    }

    /// Whether a look at the members finds nothing to do or to publish as long as all others are heard of, and nothing
    /// else is.
    pub(super) fn shows_all_live(&self) -> bool {
        let moving = &self.leadership.moving;
        let now = self.progress_of_others();
        let is_shown = |((node, matched, _), shown): (&(NodeId, LogIndex, bool), &_)| {
            (*node, *matched, self.connections.is_up(*node)) == *shown && shown.2
        };
        let are_shown = now.len() == moving.shown.len() && now.iter().zip(&moving.shown).all(is_shown);
        are_shown && moving.waits.is_none() && !moving.has_moved && self.has_settled()
    }

    /// Whether there is something to publish.
    pub(super) fn has_moved(&self) -> bool {
        self.leadership.moving.has_moved
    }

    /// All that are part of the region's configuration.
    pub(crate) fn all_members(&self) -> Vec<NodeId> {
        self.region.all_members()
    }

    /// The newest list on which the configuration has settled, as far as this member has applied that.
    pub(crate) fn settled_version(&self) -> u64 {
        self.region.settled_version
    }

    /// The version of the list by which this leader waits to know which members other regions have, if it does.
    pub(crate) fn asks_for_kept(&self) -> Option<u64> {
        let list = self.region.list.as_ref().filter(|_| self.is_leader() && !self.has_followed());
        list.map(|list| list.version)
    }

    /// Those members are part of other regions of this member, which have all settled on the list of this version.
    pub(crate) fn on_kept(&mut self, version: u64, kept: BTreeSet<NodeId>) {
        assert_eq!(self.asks_for_kept(), Some(version), "it has asked");
        self.leadership.moving.kept = Some((version, kept));
    }

    /// The region's stored form has changed otherwise than by its level.
    pub(super) fn on_region_moved(&mut self, list: Option<MemberList>) {
        let moving = &mut self.leadership.moving;
        moving.has_moved = true;
        if let Some(list) = list {
            assert!(
                self.region.list.as_ref().is_none_or(|before| before.version < list.version),
                "lists grow"
            );
            moving.list = Some(Arc::new(list.clone()));
            moving.has_new_list = true;
            self.region.list = Some(list);
        }
    }

    /// The region, with its list, is that of a raft snapshot.
    pub(super) fn on_region_replaced(&mut self) {
        let list = self.region.list.clone();
        let moving = &mut self.leadership.moving;
        moving.has_moved = true;
        if let Some(list) = list {
            moving.list = Some(Arc::new(list));
            moving.has_new_list = true;
        }
    }

    /// Whether nothing is left to be done for the list.
    pub(super) fn has_settled(&self) -> bool {
        let version = self.leadership.moving.list.as_ref().map_or(0, |list| list.version);
        self.has_followed() && version <= self.region.settled_version
    }

    /// Whether the configuration is that of the list, as far as this member knows it.
    pub(super) fn has_followed(&self) -> bool {
        let Some(list) = &self.leadership.moving.list else { return true };
        let members = &self.region.members;
        let is_listed = |(node, votes): (NodeId, bool)| {
            list.get(node).is_some_and(|_| list.voters().any(|voter| voter == node) == votes)
        };
        let all = self.region.all_members();
        let votes = |node: NodeId| members.voters.contains(&node.get());
        members.voters_outgoing.is_empty()
            && all.len() == list.members.len()
            && all.into_iter().all(|node| is_listed((node, votes(node))))
    }

    /// A tick of a leader has passed: takes the next step towards the list.
    pub(super) fn look_at_members(&mut self) {
        assert!(self.is_leader(), "only a leader changes the configuration");
        let waited_for = self.leadership.moving.waits.take();
        if self.has_followed() {
            self.settle();
        } else {
            self.leadership.moving.waits = waited_for;
            self.move_members();
        }
        self.leadership.moving.has_moved |= waited_for != self.leadership.moving.waits;
        // Now and then also for how far the others have come: idle regions have nothing to show.
        if self.is_log_length_due() {
            self.leadership.moving.has_moved |= self.progress_of_others() != self.leadership.moving.shown;
            self.leadership.looks_again = true;
        }
    }

    /// Puts on record that the configuration follows the list. A voter that has this in its log was told, with it, that
    /// what stands before it is committed. So once it is committed, a majority of the voters acts on the configuration: of
    /// the members that were to go none is needed any more, and none of those who came can be alone with it.
    fn settle(&mut self) {
        let version = self.leadership.moving.list.as_ref().map_or(0, |list| list.version);
        let wanted = (self.term(), version);
        let is_due = version > self.region.settled_version && self.leadership.moving.settles != wanted;
        if !is_due || !self.may_change_members() {
            return;
        }
        assert!(self.region.members.voters_outgoing.is_empty(), "what is followed is left");
        // Refused for now is fine: the next tick proposes it again.
        if self.append_as_leader(std::iter::once((seal_settled(version), Bytes::new()))).is_ok() {
            self.leadership.moving.settles = wanted;
        }
    }

    fn may_change_members(&self) -> bool {
        self.has_applied_own_term()
            && !self.raw.raft.has_pending_conf()
            && !self.is_handing_over()
            && self.region.level >= MEMBERS_LEVEL
    }

    fn move_members(&mut self) {
        let Some(list) = self.leadership.moving.list.clone() else { return };
        let is_old = list.version < self.region.followed_version() && !planted::has(Fault::OlderListObeyed);
        if is_old || !self.may_change_members() {
            return;
        }
        // What was asked by an earlier list may have waited here through a change of leader, and others may have come since.
        let known = self.leadership.moving.kept.take();
        let outlives = planted::has(Fault::KeptOutlivesItsList);
        let known = known.filter(|(version, _)| *version == list.version || outlives).map(|(_, kept)| kept);
        let others_keep_nobody = self.region.list.is_none();
        let nobody = BTreeSet::new();
        let kept = if others_keep_nobody { Some(&nobody) } else { known.as_ref() };
        let step = next_step(&Situation {
            leader: self.options.node,
            members: &self.region.members,
            list: &list,
            kept,
            has_caught_up: &|node| self.may_vote(node),
            is_live: &|node| self.is_live(node),
        });
        self.leadership.moving.waits = None;
        match step {
            Step::Nothing => {}
            Step::Wait(waits) => self.leadership.moving.waits = Some(waits),
            Step::HandOver(to) => self.hand_over_to_one_of(&to),
            Step::Change(mut change) => {
                let version = list.version.max(self.region.followed_version());
                assert!(
                    version > 0 && !self.raw.raft.has_pending_conf(),
                    "one change is under way at a time"
                );
                membership::put_list_version(&mut change, version);
                log::info!("region {}: proposing {change:?} to follow list {version}", self.region.id);
                // Refused for now is fine: the next tick proposes it again.
                let _ = self.raw.propose_conf_change(Vec::new(), change);
            }
        }
    }

    /// Never, unless a fault is planted. Whoever is at the door may have come by a change that this member has yet to apply,
    /// or may not have gone yet by one that others have yet to commit, and then its vote is needed.
    pub(super) fn turns_away(&self, node: NodeId) -> bool {
        planted::has(Fault::StrangersTurnedAway) && !self.region.has_member(node)
    }

    /// Whether `node` may be given a vote: it has the data and nearly all of the log, and knows what is in it.
    fn may_vote(&self, node: NodeId) -> bool {
        let progress = self.raw.raft.prs().get(node.get());
        let has_data = progress.is_some_and(|progress| progress.matched > 0 && progress.recent_active);
        let knows = self.level_of(node).is_some_and(|level| level >= self.region.level);
        let is_due = has_data && knows && self.keeps_up(node);
        is_due || (planted::has(Fault::VoterBeforeItCaughtUp) && knows)
    }

    /// A tick of raft's clock.
    pub(super) fn tick_raft(&mut self) -> bool {
        let raft = &self.raw.raft;
        if self.is_leader() && raft.election_elapsed + 1 >= raft.election_timeout() {
            let active = raft.prs().iter().filter(|(_, progress)| progress.recent_active);
            self.leadership.moving.heard = active.map(|(node, _)| NodeId(*node)).collect();
        }
        self.raw.tick()
    }

    /// What was known of others in an earlier leadership says nothing.
    pub(super) fn forget_heard(&mut self) {
        self.leadership.moving.heard.clear();
    }

    /// Whether `node` was heard of since this leader last made sure that a majority follows, or before, as long as nobody can
    /// have answered a heartbeat since.
    fn is_live(&self, node: NodeId) -> bool {
        let raft = &self.raw.raft;
        let has_just_made_sure = raft.election_elapsed < raft.heartbeat_timeout();
        let was_heard = has_just_made_sure && self.leadership.moving.heard.contains(&node);
        let progress = raft.prs().get(node.get());
        self.connections.is_up(node) && progress.is_some_and(|progress| progress.recent_active || was_heard)
    }

    /// Tries one after the other, with pauses: nothing is proposed while one is tried, and one may refuse again and again.
    fn hand_over_to_one_of(&mut self, to: &[NodeId]) {
        assert!(!self.is_handing_over(), "one is tried at a time");
        let period = HAND_OVER_TIMEOUTS * self.options.election_ticks as u64;
        let ticks = self.timer.ticks();
        if !ticks.is_multiple_of(period) || self.leadership.transfer.is_some() {
            return;
        }
        let ready: Vec<_> = to.iter().copied().filter(|node| self.keeps_up(*node)).collect();
        if ready.is_empty() {
            return;
        }
        let target = ready[(ticks / period) as usize % ready.len()];
        log::info!("region {}: node {target} is to lead, since this one is to go", self.region.id);
        self.raw.transfer_leader(target.get());
    }
}
