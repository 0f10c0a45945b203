//! The leader lease: for how long a leader knows, by its clock alone, that nobody else leads.
//!
//! Owns the lease of one peer and what callers see of it. With a lease a read needs no message. It is safe by nine
//! rules, each with the places that enforce it:
//!
//! 1. A follower refuses votes for an election timeout after it heard its leader: raft's `check_quorum` and `pre_vote`,
//!    on everywhere (`peer/options`); members compare election timeout and tick in their handshake. Nor may a late
//!    answer of a higher term make it forget its leader (`Peer::on_raft_message`), as raft would have it. Of a peer at rest
//!    the table says when it heard its leader, and the peer catches up before it sees a vote (`core/peers.rs`).
//! 2. A lease ends before that election timeout does, by any two clocks: [`longest_lease`](crate::time::longest_lease),
//!    to which `Config::check` keeps it. One tick is taken off for the ticks of the follower, whose first may be due
//!    right after the message: no more, because a message is taken after all ticks that were due before it (rule 8),
//!    and ticks that are forgotten after a pause only make its silence longer. After a start (rule 6) the first tick is
//!    a whole one as well.
//! 3. It begins when the proposal or the question left, never when the answer came: [`Lease::renew_by_commit`],
//!    [`Lease::renew_by_read_index`], `Peer::ask_at_rest`; the clock is read before the round's messages leave.
//! 4. It is Suspect before a TimeoutNow leaves, whose target skips rule 1: [`Lease::suspect`], called where messages
//!    leave (`Peer::through_outbox`). Only the commit of a later proposal clears that: the logs of a quorum have grown
//!    beyond the TimeoutNow then, and it can no longer make those members campaign, however late it comes (rule 5). For
//!    the rest of the term only they confirm the leader's questions ([`Lease::may_be_confirmed_by`]), and only
//!    questions that were asked after it renew the lease (`Lease::trusts`); the table of peers at rest, which does not
//!    look at logs, asks no question of such a term ([`Lease::trusts_all`]).
//! 5. The TimeoutNow carries how far the target's log went; a target whose log has grown since drops it (`Outbox`,
//!    `Peer::is_in_time`). To a member whose log is ahead of the target's, the target's vote is like any other
//!    (`Peer::cut_late_force`): while one is in time no log is, since the leader sends it to who has its whole log and
//!    proposes nothing meanwhile. Without this a late TimeoutNow could win no election, but the forced votes would make
//!    others forget their leader, and elect a third member inside a lease. What rules 4 and 5 prevent, step by step,
//!    with L that leads, T its target, and a third member F:
//!    - L's log ends at 9. It sends T a TimeoutNow that says so. Its lease is Suspect: reads ask the quorum.
//!    - The TimeoutNow is late. raft ends the transfer after an election timeout, and L proposes entry 10.
//!    - F stores 10, which commits: a quorum, L and F, has a log beyond 9. The lease begins again.
//!    - The TimeoutNow arrives. If T has stored 10 it drops it: 10 > 9. If it has not, T campaigns by force; F, whose
//!      log is ahead of T's, treats that as a vote like any other and refuses it, for it has just heard L.
//! 6. A member does not vote for an election timeout after its start, since it has forgotten whether it just heard
//!    a leader: `Peer::is_silent`.
//! 7. There is no lease before an entry of the leader's term is applied: `Peer::publish_lease` for callers,
//!    `Peer::holds_lease` for the peer, `Peer::on_question` for followers.
//! 8. Ticks that are owed go before messages, so that a burst of them cannot shorten rule 1: `round::feed`.
//! 9. `read.lease = false` also turns off joining reads and lease answers to followers: [`Lease::max`] is zero.
//!
//! What is assumed of clocks: each runs within 10 % of true time, and none stands still while its machine does
//! (`time.rs`). A leader whose clock stood still answers reads by a lease that has ended: they may show a state that
//! was true before, for as long as the lease still lasts by that clock. Nothing else depends on it: writes, their
//! answers and reads without a lease need no clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::completion::Position;
use crate::core::planted::{self, Fault};
use crate::time::Timestamp;
use crate::types::{LogIndex, Term};

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has followed this leader yet, or it leads no more.
    None,
    /// It may have been told to hand over at this moment.
    Suspect(Timestamp),
    /// Nobody else leads before this moment.
    Until(Timestamp),
}

/// The lease of one peer. It is in force while this peer leads; see the module.
#[derive(Debug)]
pub(crate) struct Lease {
    max: Duration,
    state: State,
    /// Where the log ended when the last TimeoutNow of this term left. Its target, or an earlier one's, may still
    /// obey.
    timeout_now_sent: Option<LogIndex>,
    /// When a suspicion was last cleared in this term.
    cleared_at: Option<Timestamp>,
    published: Arc<PublishedRegion>,
    published_until: Timestamp,
}

impl Lease {
    /// A lease that lasts `max` after each renewal; zero switches it off.
    #[must_use]
    pub(crate) fn new(max: Duration) -> Self {
        let max = if planted::has(Fault::LeaseIgnoresClockRates) { max * 11 / 9 } else { max };
        let published = Arc::default();
        Self {
            max,
            state: State::None,
            timeout_now_sent: None,
            cleared_at: None,
            published,
            published_until: Timestamp(0),
        }
    }

    /// What callers look at, from any thread.
    #[must_use]
    pub(crate) fn published(&self) -> Arc<PublishedRegion> {
        Arc::clone(&self.published)
    }

    /// How long a renewal lasts; zero when leases are switched off.
    #[must_use]
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// An own entry has committed `now`: a quorum followed this leader after `proposed_at`.
    pub(crate) fn renew_by_commit(&mut self, proposed_at: Timestamp, now: Timestamp) {
        assert!(proposed_at <= now, "what is committed was proposed before");
        if self.is_suspect() {
            if !self.is_cleared_by(proposed_at) {
                return;
            }
            self.cleared_at = Some(now);
        }
        self.extend(proposed_at);
    }

    /// A read index was confirmed: a quorum followed this leader after `asked_at`.
    pub(crate) fn renew_by_read_index(&mut self, asked_at: Timestamp) {
        if self.trusts(asked_at) {
            self.extend(asked_at);
        }
    }

    /// A TimeoutNow is about to leave; the log ends at `last`.
    pub(crate) fn suspect(&mut self, now: Timestamp, last: LogIndex) {
        if planted::has(Fault::LeaseKeptAfterTransfer) {
            return;
        }
        assert!(self.timeout_now_sent.is_none_or(|before| before <= last), "a leader's log only grows");
        self.state = State::Suspect(now);
        self.timeout_now_sent = Some(last);
        self.withdraw();
    }

    /// This peer leads no more, or is at its end.
    pub(crate) fn expire(&mut self) {
        (self.state, self.timeout_now_sent, self.cleared_at) = (State::None, None, None);
        self.withdraw();
    }

    /// True while nobody else can lead.
    #[must_use]
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Until(until) if now < until)
    }

    /// True from a TimeoutNow to the commit of a later proposal.
    #[must_use]
    pub(crate) fn is_suspect(&self) -> bool {
        matches!(self.state, State::Suspect(_))
    }

    /// Whether the commit of what was proposed at `proposed_at` clears a suspicion: its entry follows the TimeoutNow in
    /// the log.
    #[must_use]
    pub(crate) fn is_cleared_by(&self, proposed_at: Timestamp) -> bool {
        matches!(self.state, State::Suspect(since) if proposed_at > since)
    }

    /// Whether a member whose log is known to go as far as `matched` may confirm a question of this leader (rule 4).
    /// While the lease is suspect anyone may: the answer serves reads and renews nothing.
    #[must_use]
    pub(crate) fn may_be_confirmed_by(&self, matched: LogIndex) -> bool {
        let has_grown = self.timeout_now_sent.is_none_or(|timeout_now_sent| matched > timeout_now_sent);
        has_grown
            || self.max.is_zero()
            || self.is_suspect()
            || planted::has(Fault::LeaseConfirmedByShorterLogs)
    }

    /// Whether the confirmation of a question that was asked at `asked_at` says anything about the lease: the members
    /// that confirmed an older one may be such as a late TimeoutNow can still mislead.
    fn trusts(&self, asked_at: Timestamp) -> bool {
        !self.is_suspect() && self.cleared_at.is_none_or(|cleared_at| asked_at > cleared_at)
    }

    /// Whether every confirmation of a question from now on renews the lease, whoever gives it: no TimeoutNow of this term
    /// has left.
    #[must_use]
    pub(crate) fn trusts_all(&self) -> bool {
        assert!(self.cleared_at.is_none() || self.timeout_now_sent.is_some(), "a suspicion was cleared");
        self.timeout_now_sent.is_none() && !self.is_suspect()
    }

    /// Whether a read that comes at `now` may share the confirmation of one that was asked for at `asked_at`: nobody
    /// else can have led in between, if that confirmation succeeds.
    #[must_use]
    pub(crate) fn may_join(&self, asked_at: Timestamp, now: Timestamp) -> bool {
        !self.max.is_zero() && self.trusts(asked_at) && now < asked_at + self.max
    }

    /// True when it ends so soon that it should be renewed in advance, or has ended.
    #[must_use]
    pub(crate) fn wants_renewal(&self, now: Timestamp) -> bool {
        match self.state {
            _ if self.max.is_zero() => false,
            State::Until(until) => until.since(now) < self.max / 3,
            State::None | State::Suspect(_) => true,
        }
    }

    /// The moment up to which [`Self::wants_renewal`] is false if nothing else happens; long ago when it is true.
    #[must_use]
    pub(crate) fn no_renewal_before(&self) -> Timestamp {
        match self.state {
            _ if self.max.is_zero() => Timestamp::NEVER,
            State::Until(until) => until - self.max / 3,
            State::None | State::Suspect(_) => Timestamp(0),
        }
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        let shown = self.published_until;
        assert_eq!(self.published.until.load(Ordering::Acquire), shown.0, "only this peer writes it");
        let term = self.published.term.load(Ordering::Acquire);
        assert_eq!(term != 0, shown != Timestamp(0), "a bound is shown with its term");
        match self.state {
            State::None => {
                assert_eq!((self.timeout_now_sent, self.cleared_at), (None, None), "of a term that ended")
            }
            State::Suspect(_) => assert!(self.timeout_now_sent.is_some(), "nothing else makes it suspect"),
            State::Until(until) => assert!(shown <= until, "callers see no longer lease than there is"),
        }
        if !matches!(self.state, State::Until(_)) || self.max.is_zero() {
            assert_eq!(shown, Timestamp(0), "callers see a lease in force only");
        }
        assert!(self.cleared_at.is_none() || self.timeout_now_sent.is_some(), "a suspicion was cleared");
    }

    /// Lets callers know. `applied` is the position of the last applied entry of a leader whose applied term is its
    /// term, and none otherwise.
    pub(crate) fn publish(&mut self, applied: Option<Position>) {
        let Some(position) = applied.filter(|_| !self.max.is_zero()) else { return self.withdraw() };
        assert!(position.term > Term(0), "a leader with a lease has applied an entry of its term");
        let State::Until(until) = self.state else { return };
        self.published.advance(position.index);
        // Not each time, since the callers' cores share the line: an early end is on the safe side.
        if until.since(self.published_until) > self.max / 8 {
            self.published_until = until;
            self.published.until.store(until.0, Ordering::Release);
            self.published.term.store(position.term.get(), Ordering::Release);
        }
    }

    fn extend(&mut self, from: Timestamp) {
        let until = from + self.max;
        match self.state {
            State::Until(before) if before >= until => {}
            _ => self.state = State::Until(until),
        }
    }

    /// To be called before a message leaves that may make another member lead.
    fn withdraw(&mut self) {
        if self.published_until != Timestamp(0) {
            self.published_until = Timestamp(0);
            self.published.until.store(0, Ordering::Release);
            self.published.term.store(0, Ordering::Release);
            fence(Ordering::SeqCst);
        }
    }
}

/// A lease, and how far its region is applied, as callers see it on any thread. One peer writes the lease.
///
/// A read under a lease takes four steps, in this order: [`PublishedRegion::glimpse`], take the view (or read the
/// value), read the clock, [`PublishedRegion::still_holds`]. The view must lie between the two looks: before the first
/// it could be of a follower that became leader meanwhile, after the second of a leader that no longer leads.
#[derive(Debug, Default)]
pub(crate) struct PublishedRegion {
    term: AtomicU64,
    until: AtomicU64,
    applied: AtomicU64,
    answered: AtomicU64,
    /// Odd while the region's data are being replaced by those of a raft snapshot.
    replacements: AtomicU64,
}

/// Which data a region has: others once they were replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataStamp(u64);

/// What the first look saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glimpse {
    term: u64,
    applied: u64,
}

impl Glimpse {
    /// A position that a view taken after this look shows, or a later one.
    #[must_use]
    pub(crate) fn position(&self) -> Position {
        Position { index: LogIndex(self.applied), term: Term(self.term) }
    }
}

impl PublishedRegion {
    /// The engine shows everything up to `index`. From the apply thread; a peer learns it later.
    pub(crate) fn advance(&self, index: LogIndex) {
        self.applied.fetch_max(index.get(), Ordering::AcqRel);
    }

    /// The index up to which the engine shows the region's log.
    #[must_use]
    pub(crate) fn applied(&self) -> LogIndex {
        LogIndex(self.applied.load(Ordering::Acquire))
    }

    /// The region's data are about to be replaced: what is read from now on means nothing until
    /// [`Self::end_replacement`]. From the apply thread, before it writes; before that from the peer, if it finds the
    /// replacement half done when the store is opened, since the first reader may come before the apply thread does.
    ///
    /// So what has begun may begin again, which changes nothing: the applier, which sees to it that there is one raft
    /// snapshot at a time, empties the region in either case. A replacement ends once.
    pub(crate) fn begin_replacement(&self) {
        self.replacements.fetch_or(1, Ordering::SeqCst);
    }

    /// The data are there. From the apply thread, after it has written and before it tells the peer: whoever the peer
    /// answers then finds them, and does not ask again.
    pub(crate) fn end_replacement(&self) {
        let before = self.replacements.fetch_add(1, Ordering::SeqCst);
        assert!(!before.is_multiple_of(2), "what was begun ends");
    }

    /// To be asked before data are read; none while they are being replaced.
    #[must_use]
    pub(crate) fn data(&self) -> Option<DataStamp> {
        let count = self.replacements.load(Ordering::SeqCst);
        count.is_multiple_of(2).then_some(DataStamp(count))
    }

    /// Whether all that was read since the stamp was given is of one state of the region.
    #[must_use]
    pub(crate) fn are_still(&self, stamp: DataStamp) -> bool {
        fence(Ordering::SeqCst);
        self.replacements.load(Ordering::SeqCst) == stamp.0
    }

    /// Whoever waited for an entry up to `index` has its answer. From the apply thread, after a batch for which someone
    /// did; a former leader lets nothing newer go to another before.
    pub(crate) fn note_answered(&self, index: LogIndex) {
        self.answered.fetch_max(index.get(), Ordering::AcqRel);
    }

    /// The last index that was noted as answered.
    #[must_use]
    pub(crate) fn answered(&self) -> LogIndex {
        LogIndex(self.answered.load(Ordering::Acquire))
    }

    /// The first look: the term of a leader that has applied an entry of it, if this peer is one.
    #[must_use]
    pub(crate) fn glimpse(&self) -> Option<Glimpse> {
        let term = self.term.load(Ordering::Acquire);
        (term != 0).then(|| Glimpse { term, applied: self.applied.load(Ordering::Acquire) })
    }

    /// The second look, with a clock that was read after the view was taken. When true, the view shows everything
    /// that was acknowledged, by any member, before the first look.
    #[must_use]
    pub(crate) fn still_holds(&self, glimpse: Glimpse, now: Timestamp) -> bool {
        fence(Ordering::SeqCst);
        // In this order: a bound of a later term is only seen together with the change of term before it.
        let until = self.until.load(Ordering::Acquire);
        until > now.0 && self.term.load(Ordering::Acquire) == glimpse.term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_nanos(900);
    const SETTLED: Option<Position> = Some(Position { index: LogIndex(9), term: Term(7) });

    fn lease() -> Lease {
        Lease::new(MAX)
    }

    #[test]
    fn a_lease_begins_when_the_proposal_left() {
        let mut lease = lease();
        assert!(!lease.is_valid(Timestamp(0)));

        lease.renew_by_commit(Timestamp(100), Timestamp(150));

        assert!(lease.is_valid(Timestamp(999)));
        assert!(!lease.is_valid(Timestamp(1000)));
    }

    #[test]
    fn an_older_confirmation_does_not_shorten_it() {
        let mut lease = lease();
        lease.renew_by_commit(Timestamp(500), Timestamp(550));

        lease.renew_by_read_index(Timestamp(100));

        assert!(lease.is_valid(Timestamp(1399)));
    }

    #[test]
    fn a_suspect_lease_is_cleared_only_by_the_commit_of_a_later_proposal() {
        let mut lease = lease();
        lease.renew_by_commit(Timestamp(100), Timestamp(150));
        lease.suspect(Timestamp(200), LogIndex(9));
        assert!(!lease.is_valid(Timestamp(201)));

        lease.renew_by_commit(Timestamp(200), Timestamp(300));
        lease.renew_by_read_index(Timestamp(300));
        assert!(!lease.is_valid(Timestamp(301)));
        assert!(!lease.may_join(Timestamp(300), Timestamp(301)));

        lease.renew_by_commit(Timestamp(201), Timestamp(301));
        assert!(lease.is_valid(Timestamp(301)));
    }

    #[test]
    fn after_a_only_grown_logs_confirm_the_lease_and_only_what_was_asked_since_it_was_cleared() {
        let mut lease = lease();
        assert!(lease.may_be_confirmed_by(LogIndex(0)));
        lease.suspect(Timestamp(200), LogIndex(9));
        assert!(lease.may_be_confirmed_by(LogIndex(0)), "of a read, which needs no lease");

        lease.renew_by_commit(Timestamp(201), Timestamp(400));

        assert!(!lease.may_be_confirmed_by(LogIndex(9)) && lease.may_be_confirmed_by(LogIndex(10)));
        lease.renew_by_read_index(Timestamp(400));
        assert!(!lease.is_valid(Timestamp(1101)), "that was asked before");
        assert!(
            !lease.may_join(Timestamp(400), Timestamp(401)) && lease.may_join(Timestamp(401), Timestamp(401))
        );
        lease.renew_by_read_index(Timestamp(401));
        assert!(lease.is_valid(Timestamp(1300)));
        lease.expire();
        assert!(lease.may_be_confirmed_by(LogIndex(0)), "another term, without a TimeoutNow");
    }

    #[test]
    fn reads_join_within_one_lease_and_never_when_leases_are_off() {
        assert!(lease().may_join(Timestamp(100), Timestamp(999)));
        assert!(!lease().may_join(Timestamp(100), Timestamp(1000)));
        assert!(!Lease::new(Duration::ZERO).may_join(Timestamp(100), Timestamp(100)));
    }

    #[test]
    fn callers_see_a_lease_once_its_leader_has_applied_an_entry_of_its_term() {
        let mut lease = lease();
        let published = lease.published();
        lease.renew_by_commit(Timestamp(100), Timestamp(150));
        lease.publish(None);
        assert_eq!(published.glimpse(), None);

        lease.publish(SETTLED);
        let glimpse = published.glimpse().expect("published");

        assert_eq!(Some(glimpse.position()), SETTLED);
        assert!(published.still_holds(glimpse, Timestamp(999)));
        assert!(!published.still_holds(glimpse, Timestamp(1000)));
    }

    #[test]
    fn a_lease_that_ended_or_changed_its_term_between_the_looks_does_not_hold() {
        let mut lease = lease();
        let published = lease.published();
        lease.renew_by_commit(Timestamp(100), Timestamp(150));
        lease.publish(SETTLED);
        let glimpse = published.glimpse().expect("published");

        lease.expire();
        assert!(!published.still_holds(glimpse, Timestamp(200)));

        lease.renew_by_commit(Timestamp(300), Timestamp(350));
        lease.publish(Some(Position { index: LogIndex(12), term: Term(9) }));
        assert!(!published.still_holds(glimpse, Timestamp(400)));
    }

    #[test]
    fn data_are_those_of_a_stamp_until_a_replacement_begins_and_others_once_it_has_ended() {
        let region = PublishedRegion::default();
        let before = region.data().expect("nothing replaces them");
        assert!(region.are_still(before));

        region.begin_replacement();
        assert!(region.data().is_none() && !region.are_still(before));
        region.end_replacement();

        let after = region.data().expect("it is over");
        assert!(region.are_still(after) && !region.are_still(before));
    }

    #[test]
    fn a_replacement_that_was_begun_at_the_start_begins_once() {
        let region = PublishedRegion::default();

        region.begin_replacement();
        region.begin_replacement();
        assert!(region.data().is_none());
        region.end_replacement();

        assert!(region.data().is_some(), "it ended once");
    }

    #[test]
    fn renewal_is_wanted_in_the_last_third() {
        let mut lease = lease();
        lease.renew_by_commit(Timestamp(0), Timestamp(50));

        assert!(!lease.wants_renewal(Timestamp(600)));
        assert!(lease.wants_renewal(Timestamp(601)));
    }
}
