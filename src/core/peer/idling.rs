//! Heartbeats and ticks that bring no news.
//!
//! Owns two shortcuts, for a store with many regions of which most are idle. A heartbeat, or the answer to one, that
//! changes nothing but how long ago a member was heard is nearly all that members say to each other then, and raft's
//! way, with a message for each and the answer as another, costs several times what it does to the peer. And a peer that
//! *rests*, for which nothing waits and nothing is under way, has nothing to do on a tick but to count it and, if it
//! leads, to send its heartbeat and to renew its lease. On most ticks not even that is due, and it is known before on
//! which: those the peer *sleeps through*. It counts them and nothing else, since looking at everything a peer has costs
//! more than all that a tick does to it, and raft's clock catches up when the peer is next looked at. What always holds:
//! a peer is afterwards exactly as it would be the long way, and its answer is raft's; whatever is not certainly without
//! news goes the long way; nobody sees raft's clock before it has caught up. `sim/heartbeats.rs` compares the two.

use raft::{INVALID_INDEX, Progress, ProgressState, StateRole};

use super::Peer;
use crate::core::gathered::Gathered;
use crate::core::heartbeats::{Heartbeat, HeartbeatKind, Single};
use crate::core::peers::Pace;
use crate::core::rest::{Following, Leading, Rest, RestRole};
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId};

impl Peer {
    /// Hears a heartbeat or the answer to one; true when it may have brought news. What is to be answered at once is
    /// gathered.
    pub(in crate::core) fn on_heartbeat(
        &mut self,
        single: Single,
        now: Timestamp,
        gathered: &mut Gathered,
    ) -> bool {
        self.advance_clock(now);
        let is_for_us = self.is_known(single.from, single.to) && single.heartbeat.term == self.term();
        let is_done = is_for_us
            && !goes_the_long_way()
            && match single.kind {
                HeartbeatKind::Heartbeat => self.follow(single, gathered),
                HeartbeatKind::Answer => self.hear_follower(single),
            };
        #[cfg(test)]
        SHORTCUTS.set(SHORTCUTS.get() + usize::from(is_done));
        if !is_done {
            self.wake();
            self.on_raft_message(single.into_raft());
            self.notice_leadership();
            self.take_renewal();
        }
        !is_done
    }

    /// Takes what raft has confirmed, if that renews the lease and nobody waits for it: as `take_from_raft` and the rest of
    /// a round, without which the peer need then do nothing more.
    fn take_renewal(&mut self) {
        let is_awaited = !self.reading.reads.is_empty();
        if self.raw.raft.read_states.is_empty() || is_awaited || !self.is_leader() || goes_the_long_way() {
            return;
        }
        for state in std::mem::take(&mut self.raw.raft.read_states) {
            self.on_read_confirmed(&state.request_ctx, LogIndex(state.index));
        }
        self.reading.reads.drop_answered();
        self.publish_lease();
        self.leadership.looks_again = true;
    }

    /// As `handle_heartbeat` in raft, of a leader that this peer follows and whose commit it has. False, and nothing is
    /// done, if there is more to it.
    fn follow(&mut self, single: Single, gathered: &mut Gathered) -> bool {
        let Single { from, to, heartbeat: Heartbeat { term, commit, read }, .. } = single;
        let vote = self.raw.raft.vote;
        // The answer promises the term, which must be on disk.
        let is_on_disk = self.term_and_vote() == (term.get(), vote);
        let raft = &mut self.raw.raft;
        let committed = LogIndex(raft.raft_log.committed);
        let has_no_news = raft.state == StateRole::Follower
            && raft.leader_id == from.get()
            && commit <= committed
            && raft.pending_request_snapshot == INVALID_INDEX;
        if !has_no_news || !is_on_disk || self.lost_end.is_some() {
            return false;
        }
        assert_eq!(raft.term, term.get(), "a heartbeat of another term is news");
        raft.election_elapsed = 0;
        let heartbeat = Heartbeat { term, commit: committed, read };
        let answer = Single { from: to, to: from, kind: HeartbeatKind::Answer, heartbeat };
        gathered.add(self.region.id, self.region.epoch, answer);
        true
    }

    /// As `handle_heartbeat_response` in raft, of a follower that has the whole log. False, and nothing is done, if
    /// there is more to it.
    fn hear_follower(&mut self, single: Single) -> bool {
        let Heartbeat { commit, read, .. } = single.heartbeat;
        let raft = &self.raw.raft;
        // What a quorum has confirmed before is no question any more.
        let confirms = read.is_some_and(|id| raft.read_only.pending_read_index.contains_key(&id[..]));
        let Some(progress) = raft.prs().get(single.from.get()) else { return false };
        if !self.is_leader() || !self.has_all(progress) || confirms {
            return false;
        }
        assert_eq!(progress.matched, raft.raft_log.last_index(), "nobody has entries that its leader lacks");
        self.note_answer(single.from, commit);
        true
    }

    /// Whether the peer has a part in this round, once it is fed: it `was_asked`, or it has something to do. What it has
    /// to say of heartbeats is gathered. A peer without a part may rest from now on.
    #[must_use]
    pub(in crate::core) fn has_part(&mut self, was_asked: bool, gathered: &mut Gathered) -> bool {
        if self.rests() {
            assert!(!was_asked, "whoever is asked rests no more");
            return false;
        }
        self.take_heartbeats(gathered);
        // What renews a lease, or publishes nothing new, gives a leader no part in a round any more. But it is then that it
        // sees for which members raft wants a snapshot; the rest of what helps them is seen to on the next tick.
        let looks_again = std::mem::take(&mut self.leadership.looks_again);
        let is_wished = looks_again && self.raw.store().offers.has_wishes();
        let has_part = was_asked || is_wished || self.has_work();
        if !has_part && !looks_again && self.may_rest() {
            self.leadership.rests = true;
        }
        has_part
    }

    /// Whether only a tick or a heartbeat can give this peer something to do.
    pub(super) fn rests(&self) -> bool {
        self.leadership.rests
    }

    /// Ends the rest, if there is one: to be called before all but what is known to change nothing.
    pub(super) fn wake(&mut self) {
        self.leadership.rests = false;
    }

    /// How fast raft's clock runs.
    pub(in crate::core) fn pace(&self) -> Pace {
        Pace { tick: self.options.tick, heartbeat_ticks: self.options.heartbeat_ticks as u64 }
    }

    /// What ticks and heartbeats need to know of this peer until it catches up, if it rests: `ticks` have passed.
    #[must_use]
    pub(in crate::core) fn rest(&self, ticks: u64) -> Option<Rest> {
        let raft = &self.raw.raft;
        // A heartbeat and its answer promise the term, which must be on disk.
        let is_on_disk = self.term_and_vote() == (raft.term, raft.vote);
        if !self.rests() || !is_on_disk || goes_the_long_way() {
            return None;
        }
        assert_eq!(self.timer.ticks(), ticks, "the ticks of all peers are one count");
        assert!(raft.msgs.is_empty() && raft.read_states.is_empty(), "raft has nothing to say");
        let (role, quiet_ticks) = if self.is_leader() { self.leading()? } else { self.following()? };
        let renews_after =
            if self.is_leader() { self.reading.lease.no_renewal_before() } else { Timestamp::NEVER };
        Some(Rest {
            node: self.options.node,
            epoch: self.region.epoch,
            term: self.term(),
            commit: LogIndex(raft.raft_log.committed),
            since: ticks,
            wakes_at: (ticks + 1).saturating_add(quiet_ticks as u64),
            renews_after,
            role,
        })
    }

    /// A follower at rest, and how many ticks can do no more to it than to pass.
    fn following(&self) -> Option<(RestRole, usize)> {
        let raft = &self.raw.raft;
        let leader = self.leader()?;
        let hears = self.is_known(leader, self.options.node) && self.lost_end.is_none();
        if !hears || raft.pending_request_snapshot != INVALID_INDEX {
            return None;
        }
        let timeout_ticks = raft.randomized_election_timeout();
        let following = Following { leader, timeout_ticks: timeout_ticks as u64, heard_at: None };
        Some((RestRole::Follower(following), timeout_ticks.saturating_sub(raft.election_elapsed + 1)))
    }

    /// A leader at rest, and how many ticks can do no more to it than to pass and to make heartbeats due.
    fn leading(&self) -> Option<(RestRole, usize)> {
        let raft = &self.raw.raft;
        // Heartbeats would repeat the question of a follower that waits for its answer.
        if raft.pending_read_count() > 0 {
            return None;
        }
        let mut leading = Leading::default();
        let others = raft.prs().iter().filter(|(id, _)| **id != self.options.node.get());
        for (&id, progress) in others {
            let (node, commit) = (NodeId(id), progress.matched.min(raft.raft_log.committed));
            let is_known = self.is_known(node, self.options.node);
            if !leading.add(node, LogIndex(commit), is_known && self.has_all(progress)) {
                return None;
            }
        }
        let quorum = raft.election_timeout().saturating_sub(raft.election_elapsed + 1);
        Some((RestRole::Leader(leading), quorum.min(self.ticks_until_log_length() - 1)))
    }

    /// Whether a follower has the whole log, so that raft answers nothing to the answer to a heartbeat.
    fn has_all(&self, progress: &Progress) -> bool {
        let waits = progress.state == ProgressState::Replicate && progress.ins.full();
        let last_index = self.raw.raft.raft_log.last_index();
        progress.matched >= last_index && progress.pending_request_snapshot == INVALID_INDEX && !waits
    }

    /// Does what was left until now, when `ticks` have passed. A leader also says its heartbeats if it still owes them.
    pub(in crate::core) fn catch_up(&mut self, rest: &Rest, ticks: u64, owes_heartbeats: bool) {
        assert!(self.rests() && rest.term == self.term(), "nothing has happened to it meanwhile");
        let passed = ticks - rest.since;
        #[cfg(test)]
        SLEPT_TICKS.set(SLEPT_TICKS.get() + passed as usize);
        self.timer.pass(passed);
        match &rest.role {
            RestRole::Follower(following) => {
                let raft = &mut self.raw.raft;
                raft.election_elapsed = match following.heard_at {
                    Some(heard_at) => (ticks - heard_at) as usize,
                    None => raft.election_elapsed + passed as usize,
                };
            }
            RestRole::Leader(leading) => {
                self.pass_as_leader(passed as usize);
                leading.answered().for_each(|node| self.note_answer(node, rest.commit));
                if owes_heartbeats {
                    self.raw.ping();
                    self.wake();
                }
            }
        }
    }

    /// Moves raft's clock on: so many ticks have passed whose heartbeats are said.
    fn pass_as_leader(&mut self, passed: usize) {
        let raft = &mut self.raw.raft;
        let (before, period) = (raft.heartbeat_elapsed(), raft.heartbeat_timeout());
        let election_elapsed = raft.election_elapsed + passed;
        assert!(
            election_elapsed < raft.election_timeout(),
            "whether a quorum follows is looked at when that is due"
        );
        let steps = (period + (before + passed) % period - before) % period;
        raft.election_elapsed = 0;
        for _ in 0..steps {
            self.raw.tick();
        }
        let raft = &mut self.raw.raft;
        raft.msgs.clear();
        raft.election_elapsed = election_elapsed;
        assert_eq!(
            raft.heartbeat_elapsed(),
            self.ticks_since_heartbeat(),
            "heartbeats leave on the same tick"
        );
    }

    /// A follower that has the whole log has answered a heartbeat, and said how far it has committed.
    fn note_answer(&mut self, node: NodeId, commit: LogIndex) {
        let progress = self.raw.raft.mut_prs().get_mut(node.get()).expect("it is a member");
        progress.update_committed(commit.get());
        progress.recent_active = true;
        progress.resume();
    }

    /// The tick of a peer that rests. False, and nothing is done, when it does not, or there is more to it.
    pub(super) fn tick_at_rest(&mut self) -> bool {
        if !self.rests() || self.apply.is_behind() || goes_the_long_way() {
            return false;
        }
        assert!(!self.has_writes() && self.incoming.held.is_empty(), "nothing waits");
        if self.is_leader() {
            return self.lead_at_rest();
        }
        let has_more = self.raw.tick();
        self.rest_on(has_more);
        true
    }

    /// After a tick of raft: it has more to do if a heartbeat is due, or if it has heard of no leader or no quorum for
    /// long.
    fn rest_on(&mut self, has_more: bool) {
        if has_more {
            self.wake();
            self.notice_leadership();
        }
    }

    /// The tick of a leader that rests, unless it is one on which leaders look at more.
    fn lead_at_rest(&mut self) -> bool {
        if self.is_log_length_due() {
            return false;
        }
        assert!(self.outbox.has_told(self.apply.index()), "the others know of every commit");
        assert!(!self.is_handing_over() && !self.reading.reads.is_asking(), "nobody is asked for anything");
        let has_more = self.tick_raft();
        self.rest_on(has_more);
        if self.is_leader() && self.wants_renewal() {
            self.wake();
            self.renew_lease();
        }
        true
    }

    /// Whether a tick can change nothing but raft's clock and the lease, of a peer without work.
    pub(super) fn may_rest(&self) -> bool {
        let is_applied = self.apply.index().get() == self.raw.raft.raft_log.committed;
        let in_peace = match self.raw.raft.state {
            StateRole::Follower => self.leader().is_some(),
            StateRole::Leader => self.leads_in_peace(),
            StateRole::Candidate | StateRole::PreCandidate => false,
        };
        let awaits_answer = self.awaits_report() || self.reading.reads.is_asking();
        in_peace && is_applied && !awaits_answer && !self.has_writes()
    }

    /// Whether a leader hands over to nobody, and keeps no commit from the others.
    fn leads_in_peace(&self) -> bool {
        let hands_over = self.is_handing_over() || self.reading.lease.is_suspect();
        !hands_over && self.outbox.has_told(self.apply.index()) && self.has_settled()
    }

    /// Whether writes wait for this peer.
    fn has_writes(&self) -> bool {
        let writes = &self.writes;
        !writes.proposals.is_empty() || !writes.forwarder.is_empty() || writes.forwarder.is_paused()
    }

    /// Whether a message between these members may be for this peer.
    pub(super) fn is_known(&self, from: NodeId, to: NodeId) -> bool {
        to == self.options.node && from != to && !self.turns_away(from)
    }
}

#[cfg(test)]
impl Peer {
    /// For how many ticks this peer has heard of no leader, or, if it leads, which members it has heard of since it last
    /// made sure that a quorum follows; with what is left of its rest, when `ticks` have passed.
    pub(in crate::core) fn heard(&self, rest: Option<&Rest>, ticks: u64) -> (usize, Vec<u64>) {
        let raft = &self.raw.raft;
        let active = raft.prs().iter().filter(|(_, progress)| self.is_leader() && progress.recent_active);
        let mut active: Vec<_> = active.map(|(id, _)| *id).collect();
        let mut elapsed = raft.election_elapsed;
        if let Some(rest) = rest {
            elapsed += (ticks - rest.since) as usize;
            match &rest.role {
                RestRole::Follower(following) => {
                    elapsed = following.heard_at.map_or(elapsed, |heard_at| (ticks - heard_at) as usize);
                }
                RestRole::Leader(leading) => active.extend(leading.answered().map(NodeId::get)),
            }
        }
        active.sort_unstable();
        active.dedup();
        (elapsed, active)
    }
}

#[cfg(test)]
thread_local! {
    static LONG_WAY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static SHORTCUTS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    static SLEPT_TICKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Lets every heartbeat on this thread go raft's way, to compare.
#[cfg(test)]
pub(crate) fn go_the_long_way(always: bool) {
    LONG_WAY.set(always);
}

/// How many heartbeats on this thread did not go raft's way.
#[cfg(test)]
pub(crate) fn shortcuts() -> usize {
    SHORTCUTS.get()
}

/// How many ticks peers on this thread slept through.
#[cfg(test)]
pub(crate) fn slept_ticks() -> usize {
    SLEPT_TICKS.get()
}

/// A heartbeat was heard by what stands for a peer at rest.
#[cfg(test)]
pub(in crate::core) fn note_shortcut() {
    SHORTCUTS.set(SHORTCUTS.get() + 1);
}

#[cfg(test)]
fn goes_the_long_way() -> bool {
    LONG_WAY.get()
}

#[cfg(not(test))]
fn goes_the_long_way() -> bool {
    false
}
