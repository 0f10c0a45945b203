//! Heartbeats and ticks that bring no news.
//!
//! Owns the shortcuts for a store with many regions of which most are idle. A heartbeat, or the answer to one, that
//! changes nothing but how long ago a member was heard is nearly all that members say to each other then, and raft's
//! way, with a message for each and the answer as another, costs several times what it does to the peer. And a peer that
//! *rests*, for which nothing waits and nothing is under way, has nothing to do on a tick but to count it and, if it
//! leads, to send its heartbeat and to renew its lease.
//!
//! For a peer at rest all of this is done in its stead, from a few words of memory ([`rest`](crate::core::rest)) in a table
//! of all such peers ([`peers`](crate::core::peers)); the peer itself is only looked at when something else concerns it, or
//! on a tick on which more may be due. Before that it *catches up*: raft's clock, who was heard of, and the question that
//! is under way, if one is. Here is when a peer rests, what is put into the table, and how the peer catches up.
//!
//! What always holds: a peer that has caught up is exactly as it would be the long way, and what was said in its stead is
//! what raft would have said; whatever is not certainly without news goes the long way; nobody sees raft's clock before it
//! has caught up. `sim/heartbeats.rs` compares the two.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{INVALID_INDEX, Progress, ProgressState, StateRole};

use super::Peer;
use super::truncation::TRUNCATE_CHECK_TICKS;
use crate::core::gathered::Gathered;
use crate::core::heartbeats::{Heartbeat, HeartbeatKind, Single};
use crate::core::reads::READ_ID_BYTES;
use crate::core::rest::{Due, Following, Leading, Pace, Rest, RestRole, Said};
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

    /// This member.
    pub(in crate::core) fn node(&self) -> NodeId {
        self.options.node
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
        let is_silent = raft.msgs.is_empty() && raft.read_states.is_empty();
        if !self.rests() || !is_on_disk || !is_silent || goes_the_long_way() {
            return None;
        }
        assert_eq!(self.timer.ticks(), ticks, "the ticks of all peers are one count");
        let (role, wakes_at) = if self.is_leader() { self.leading(ticks)? } else { self.following(ticks)? };
        Some(Rest {
            epoch: self.region.epoch,
            term: self.term(),
            commit: LogIndex(raft.raft_log.committed),
            since: ticks,
            wakes_at,
            role,
        })
    }

    /// A follower at rest, and the first tick that can do more to it than to pass.
    fn following(&self, ticks: u64) -> Option<(RestRole, u64)> {
        assert!(self.raw.raft.state == StateRole::Follower, "nobody rests who wants to lead");
        let raft = &self.raw.raft;
        let leader = self.leader()?;
        let hears = self.is_known(leader, self.options.node) && self.lost_end.is_none();
        if !hears || raft.pending_request_snapshot != INVALID_INDEX {
            return None;
        }
        let timeout_ticks = raft.randomized_election_timeout();
        let following = Following { leader, timeout_ticks: timeout_ticks as u64, heard_at: None };
        Some((RestRole::Follower(following), first_due(ticks, timeout_ticks, raft.election_elapsed)))
    }

    /// A leader at rest, and the first tick that can do more to it than to pass and to make heartbeats due.
    fn leading(&self, ticks: u64) -> Option<(RestRole, u64)> {
        assert!(self.is_leader() && !self.is_handing_over(), "it leads in peace");
        let raft = &self.raw.raft;
        // Heartbeats would repeat the question of a follower that waits for its answer; and who is helped is looked at now
        // and then.
        let sending = &self.leadership.sending;
        if raft.pending_read_count() > 0 || sending.count() > 0 || self.raw.store().offers.has_wishes() {
            return None;
        }
        let due = Due {
            quorum: first_due(ticks, raft.election_timeout(), raft.election_elapsed),
            quorum_ticks: raft.election_timeout() as u64,
            look: ticks + self.ticks_until_log_length(),
            look_ticks: TRUNCATE_CHECK_TICKS,
            is_settled: self.has_short_log() && self.has_level_of_all() && self.shows_all_live(),
            heartbeat_ticks: raft.heartbeat_timeout() as u64,
        };
        let mut leading = Leading::new(self.reading.lease.no_renewal_before(), due);
        let members = &self.region.members;
        let others = raft.prs().iter().filter(|(id, _)| **id != self.options.node.get());
        for (&id, progress) in others {
            let (node, commit) = (NodeId(id), progress.matched.min(raft.raft_log.committed));
            let said = Said {
                has_all: self.is_known(node, self.options.node) && self.has_all(progress),
                votes: members.voters.contains(&id),
                is_active: progress.recent_active,
            };
            if !leading.add(node, LogIndex(commit), said) {
                return None;
            }
        }
        // Elsewhere raft counts, and who may confirm is looked at each time.
        let votes = members.voters.contains(&self.options.node.get());
        let is_plain = members.voters_outgoing.is_empty() && votes;
        if is_plain && self.reading.lease.trusts_all() {
            leading.ask_by_itself();
        }
        Some((RestRole::Leader(leading), due.next()))
    }

    /// Begins to renew the lease of a leader at rest; returns the id of the question.
    pub(in crate::core) fn ask_at_rest(&mut self, now: Timestamp) -> [u8; READ_ID_BYTES] {
        self.advance_clock(now);
        assert!(self.has_applied_own_term() && self.leads_in_peace(), "else it would not rest");
        assert!(self.writes.proposals.is_empty(), "no commit renews the lease");
        let id = self.reading.reads.ask_renewal(self.asked()).expect("who rests asks nothing");
        id.try_into().expect("a read id")
    }

    /// A quorum has confirmed the question of a leader at rest. Returns the moment up to which the lease need not be
    /// renewed.
    pub(in crate::core) fn confirm_at_rest(&mut self, id: &[u8], now: Timestamp) -> Timestamp {
        self.advance_clock(now);
        assert!(self.is_leader() && self.reading.reads.is_asking(), "it has asked");
        self.on_read_confirmed(id, LogIndex(self.raw.raft.raft_log.committed));
        self.reading.reads.drop_answered();
        self.publish_lease();
        #[cfg(test)]
        RENEWALS.set(RENEWALS.get() + 1);
        self.reading.lease.no_renewal_before()
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
        assert_eq!(rest.commit.get(), self.raw.raft.raft_log.committed, "nothing was committed");
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
                let elapsed = match leading.made_sure_at {
                    Some(at) => ticks - at,
                    None => self.raw.raft.election_elapsed as u64 + passed,
                };
                self.pass_as_leader(passed as usize, elapsed as usize);
                leading.answered().for_each(|node| self.note_answer(node, rest.commit));
                if leading.made_sure_at.is_some() {
                    self.note_quorum(leading);
                }
                if let Some((id, confirmed)) = leading.question() {
                    self.ask_raft(id, confirmed);
                    self.wake();
                }
                if owes_heartbeats {
                    self.raw.ping();
                    self.wake();
                }
            }
        }
    }

    /// Lets raft know of a question that was asked meanwhile, and of those who have confirmed it.
    fn ask_raft(&mut self, id: &[u8; READ_ID_BYTES], confirmed: impl Iterator<Item = NodeId>) {
        assert!(self.is_leader() && self.reading.reads.is_asking(), "it has asked");
        let raft = &mut self.raw.raft;
        let entry = Entry { data: Bytes::copy_from_slice(id), ..Entry::default() };
        let mut question = Message { entries: vec![entry].into(), ..Message::default() };
        question.set_msg_type(MessageType::MsgReadIndex);
        let (committed, node) = (raft.raft_log.committed, raft.id);
        raft.read_only.add_request(committed, question, node);
        confirmed.for_each(|node| _ = raft.read_only.recv_ack(node.get(), id));
    }

    /// All others were heard of when this leader last made sure that a quorum follows, and raft has forgotten it since; as
    /// `quorum_recently_active` in raft.
    fn note_quorum(&mut self, leading: &Leading) {
        assert!(self.is_leader() && leading.made_sure_at.is_some(), "it has made sure");
        let node = self.options.node;
        let members = leading.activity().map(|(node, _)| node).chain([node]);
        self.leadership.moving.note_heard(members.collect());
        let own = std::iter::once((node, true));
        for (node, is_active) in leading.activity().chain(own) {
            let progress = self.raw.raft.mut_prs().get_mut(node.get()).expect("it is a member");
            progress.recent_active = is_active;
        }
    }

    /// Moves raft's clock on: so many ticks have passed whose heartbeats are said, the last of them since this leader made
    /// sure that a quorum follows.
    fn pass_as_leader(&mut self, passed: usize, election_elapsed: usize) {
        let raft = &mut self.raw.raft;
        assert!(raft.msgs.is_empty(), "whatever raft said before has left");
        let (before, period) = (raft.heartbeat_elapsed(), raft.heartbeat_timeout());
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
        assert!(node != self.options.node, "nobody answers itself");
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
        self.is_in_peace() && !self.reading.reads.is_asking()
    }

    /// The same, of a peer that may have a question about its lease under way.
    pub(super) fn is_in_peace(&self) -> bool {
        let is_applied = self.apply.index().get() == self.raw.raft.raft_log.committed;
        let in_peace = match self.raw.raft.state {
            StateRole::Follower => self.leader().is_some(),
            StateRole::Leader => self.leads_in_peace(),
            StateRole::Candidate | StateRole::PreCandidate => false,
        };
        in_peace && is_applied && !self.awaits_report() && !self.has_writes()
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

/// The tick on which `least` have passed, of which `passed` have when `ticks` of all have, or the next one.
fn first_due(ticks: u64, least: usize, passed: usize) -> u64 {
    ticks.saturating_add(least.saturating_sub(passed).max(1) as u64)
}

#[cfg(test)]
impl Peer {
    /// What this leader has published of the others.
    pub(crate) fn shown(&self) -> Vec<(NodeId, LogIndex, bool)> {
        self.leadership.moving.shown().to_vec()
    }

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
                RestRole::Leader(leading) => {
                    elapsed = leading.made_sure_at.map_or(elapsed, |at| (ticks - at) as usize);
                    active.retain(|id| leading.made_sure_at.is_none() || *id == self.options.node.get());
                    // raft counts itself from then on.
                    active.extend(leading.made_sure_at.map(|_| self.options.node.get()));
                    let others = leading.activity().filter(|(_, is_active)| *is_active);
                    active.extend(others.map(|(node, _)| node.get()));
                }
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
    static RENEWALS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
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

/// How many leases were renewed on this thread while their peers rested.
#[cfg(test)]
pub(crate) fn renewals() -> usize {
    RENEWALS.get()
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
