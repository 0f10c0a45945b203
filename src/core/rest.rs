//! A peer at rest, as far as ticks and heartbeats concern it.
//!
//! Owns what a heartbeat, the answer to one or a tick may ask of a peer and leave in it, in a few words of memory: for a
//! store with many idle regions, going through the memory of every peer ten times a second costs more than all that is
//! done there. What always holds: what is said here is what raft would say; whatever is not certainly without news is
//! refused, and goes to the peer itself, which has caught up before. Which peers are at rest is the business of
//! [`peers`](crate::core::peers), when a peer may rest and how it catches up that of `peer/idling.rs`.

use std::time::Duration;

use crate::core::gathered::Gathered;
use crate::core::heartbeats::{Heartbeat, HeartbeatKind, Single};
use crate::core::reads::READ_ID_BYTES;
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId, RegionEpoch, RegionId, Term};

/// A leader of more others than this is looked at on every tick.
pub(crate) const OTHERS_MAX: usize = 6;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rest {
    /// The region, as this member names it.
    pub epoch: RegionEpoch,
    /// The term, which is on disk.
    pub term: Term,
    /// What is committed, which is applied.
    pub commit: LogIndex,
    /// The tick after which the rest began.
    pub since: u64,
    /// The tick on which more may be due than heartbeats and the lease.
    pub wakes_at: u64,
    /// What it does meanwhile.
    pub role: RestRole,
}

/// What a peer at rest does.
#[derive(Debug)]
pub(crate) enum RestRole {
    /// It follows.
    Follower(Following),
    /// It leads.
    Leader(Leading),
}

/// A follower at rest.
#[derive(Debug)]
pub(crate) struct Following {
    /// Whom it follows.
    pub leader: NodeId,
    /// So many ticks after it was last heard the follower campaigns.
    pub timeout_ticks: u64,
    /// The tick after which the leader was last heard, if it was since the rest began.
    pub heard_at: Option<u64>,
}

/// A leader at rest.
#[derive(Debug)]
pub(crate) struct Leading {
    /// After this moment a tick has to renew the lease.
    pub renews_after: Timestamp,
    /// When it next makes sure that a quorum follows, and looks at its log and at the others.
    pub due: Due,
    /// The tick on which it last made sure that a quorum follows, if it did since the rest began.
    pub made_sure_at: Option<u64>,
    others: [Other; OTHERS_MAX],
    count: u8,
    /// Those who have the whole log, so that their answers bring no news: a bit for each.
    have_all: u8,
    /// Those who have answered since the rest began.
    have_answered: u8,
    /// Those who were heard of since it last made sure that a quorum follows.
    are_active: u8,
    /// Those who vote.
    voters: u8,
    /// How many of them confirm a question, together with the leader; none where that is not for this table to say.
    quorum: Option<u8>,
    /// The question that is under way, for the lease alone.
    question: Option<Box<Question>>,
}

/// What a leader at rest has to do now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// The tick on which it makes sure that a quorum follows.
    pub quorum: u64,
    /// The ticks from one time to the next.
    pub quorum_ticks: u64,
    /// The tick on which it looks at its log and at the others.
    pub look: u64,
    /// The ticks from one look to the next.
    pub look_ticks: u64,
    /// A look finds nothing to do as long as all others are heard of.
    pub is_settled: bool,
    /// So soon after it made sure of a quorum nobody can have answered a heartbeat.
    pub heartbeat_ticks: u64,
}

impl Due {
    /// The tick on which something is due.
    #[must_use]
    pub(crate) fn next(&self) -> u64 {
        assert!(self.quorum_ticks > 0 && self.look_ticks > 0, "time passes in between");
        self.quorum.min(self.look)
    }
}

/// Another member, to a leader at rest.
#[derive(Clone, Copy, Debug, Default)]
struct Other {
    node: NodeId,
    /// Up to where it is told to commit.
    commit: LogIndex,
}

/// What is known of another member when a leader begins to rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// It has the whole log, so that its answers bring no news.
    pub has_all: bool,
    /// It votes.
    pub votes: bool,
    /// It was heard of since the leader last made sure that a quorum follows.
    pub is_active: bool,
}

/// A question to the quorum.
#[derive(Debug)]
struct Question {
    id: [u8; READ_ID_BYTES],
    /// Those who have confirmed it.
    confirmed: u8,
}

/// How fast raft's clock runs; the same for all peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The time between two ticks.
    pub tick: Duration,
    /// The ticks between two heartbeats.
    pub heartbeat_ticks: u64,
}

impl Pace {
    /// Whether heartbeats are due on this tick.
    #[must_use]
    pub(crate) fn is_heartbeat(self, tick: u64) -> bool {
        tick.is_multiple_of(self.heartbeat_ticks)
    }

    /// The first tick after this one on which they are.
    #[must_use]
    pub(crate) fn next_heartbeat(self, tick: u64) -> u64 {
        assert!(self.heartbeat_ticks > 0, "time passes between heartbeats");
        (tick / self.heartbeat_ticks + 1) * self.heartbeat_ticks
    }

    /// How much in advance a lease is renewed on this tick: with a heartbeat before it ends, so that the questions of many
    /// regions leave together.
    #[must_use]
    pub(crate) fn renews_ahead(self, tick: u64) -> Duration {
        let ahead = if self.is_heartbeat(tick) { self.heartbeat_ticks - 1 } else { 0 };
        self.tick * ahead as u32
    }
}

/// What came of a heartbeat, or of the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is more to it, and nothing is done.
    News,
    /// Nothing but that a member was heard.
    Nothing,
    /// A quorum has confirmed the question under this id.
    Confirmed([u8; READ_ID_BYTES]),
}

impl Rest {
    /// Hears a heartbeat, or the answer to one, after the tick `now`. What is to be answered is gathered.
    #[must_use]
    pub(crate) fn hear(
        &mut self,
        region: RegionId,
        single: Single,
        now: u64,
        gathered: &mut Gathered,
    ) -> Heard {
        let Single { from, to, kind, heartbeat: Heartbeat { term, commit, read } } = single;
        assert!(now >= self.since, "time does not go back");
        if term != self.term {
            return Heard::News;
        }
        match &mut self.role {
            RestRole::Follower(following) => {
                let is_news = kind != HeartbeatKind::Heartbeat || from != following.leader;
                if is_news || commit > self.commit {
                    return Heard::News;
                }
                following.heard_at = Some(now);
                self.wakes_at = now.saturating_add(following.timeout_ticks);
                let heartbeat = Heartbeat { term, commit: self.commit, read };
                let answer = Single { from: to, to: from, kind: HeartbeatKind::Answer, heartbeat };
                gathered.add(region, self.epoch, answer);
                Heard::Nothing
            }
            RestRole::Leader(leading) => {
                let is_news = kind != HeartbeatKind::Answer || commit != self.commit;
                if is_news { Heard::News } else { leading.hear(from, read) }
            }
        }
    }

    /// Gathers the heartbeats of a leader.
    pub(crate) fn say_heartbeats(&self, region: RegionId, from: NodeId, gathered: &mut Gathered) {
        let RestRole::Leader(leading) = &self.role else { panic!("only a leader has heartbeats") };
        let read = leading.question.as_ref().map(|question| question.id);
        for &Other { node: to, commit } in leading.others() {
            assert!(to != from && commit <= self.commit, "a follower hears of no more than is applied");
            let heartbeat = Heartbeat { term: self.term, commit, read };
            gathered.add(region, self.epoch, Single { from, to, kind: HeartbeatKind::Heartbeat, heartbeat });
        }
    }

    /// What a leader at rest keeps.
    #[must_use]
    pub(crate) fn leading(&mut self) -> Option<&mut Leading> {
        match &mut self.role {
            RestRole::Leader(leading) => Some(leading),
            RestRole::Follower(_) => None,
        }
    }
}

impl Leading {
    /// A leader whose lease need not be renewed up to `renews_after`, without others yet.
    #[must_use]
    pub(crate) fn new(renews_after: Timestamp, due: Due) -> Self {
        Self {
            renews_after,
            due,
            made_sure_at: None,
            others: Default::default(),
            count: 0,
            have_all: 0,
            have_answered: 0,
            are_active: 0,
            voters: 0,
            quorum: None,
            question: None,
        }
    }

    /// Adds a member that is told to commit up to `commit`; false when there is no room for it.
    #[must_use]
    pub(crate) fn add(&mut self, node: NodeId, commit: LogIndex, said: Said) -> bool {
        assert!(self.others().iter().all(|other| other.node != node), "each is there once");
        let Some(free) = self.others.get_mut(usize::from(self.count)) else { return false };
        *free = Other { node, commit };
        self.have_all |= u8::from(said.has_all) << self.count;
        self.voters |= u8::from(said.votes) << self.count;
        self.are_active |= u8::from(said.is_active) << self.count;
        self.count += 1;
        true
    }

    /// From now on it asks the quorum by itself: a majority of the voters, of which the leader is one.
    pub(crate) fn ask_by_itself(&mut self) {
        assert!(self.quorum.is_none(), "that is known once");
        let others = self.voters.count_ones() as u8;
        // Who votes alone needs nobody's answer.
        self.quorum = (others > 0).then(|| others.div_ceil(2));
    }

    /// Whether it may ask the quorum by itself.
    #[must_use]
    pub(crate) fn asks_by_itself(&self) -> bool {
        self.quorum.is_some() && self.question.is_none()
    }

    /// Asks the quorum this question, with the next heartbeats.
    pub(crate) fn ask(&mut self, id: [u8; READ_ID_BYTES]) {
        assert!(self.asks_by_itself(), "one question is under way at a time");
        self.question = Some(Box::new(Question { id, confirmed: 0 }));
    }

    /// The question that is under way, and who has confirmed it.
    #[must_use]
    pub(crate) fn question(&self) -> Option<(&[u8; READ_ID_BYTES], impl Iterator<Item = NodeId>)> {
        let question = self.question.as_ref()?;
        Some((&question.id, self.named(question.confirmed)))
    }

    /// Does what is due on this tick, if it can change nothing but when that is due again; false, and nothing is done, if
    /// it can. When all others were heard of, a quorum was, whatever the configuration, and all of them are live.
    #[must_use]
    pub(crate) fn does_what_is_due(&mut self, tick: u64) -> bool {
        assert!(tick <= self.due.next(), "nothing that is due is passed over");
        let all_are_active = self.are_active.count_ones() == u32::from(self.count);
        let (makes_sure, looks) = (tick >= self.due.quorum, tick >= self.due.look);
        let has_made_sure = self.made_sure_at.is_some_and(|at| tick - at < self.due.heartbeat_ticks);
        let all_are_live = all_are_active || has_made_sure;
        if (makes_sure && !all_are_active) || (looks && !(self.due.is_settled && all_are_live)) {
            return false;
        }
        if makes_sure {
            assert!(self.made_sure_at.is_none_or(|at| at < tick), "time does not go back");
            (self.are_active, self.made_sure_at) = (0, Some(tick));
            self.due.quorum = tick + self.due.quorum_ticks;
        }
        if looks {
            self.due.look = tick + self.due.look_ticks;
        }
        true
    }

    /// The others, each with whether it was heard of since the leader last made sure that a quorum follows.
    pub(crate) fn activity(&self) -> impl Iterator<Item = (NodeId, bool)> {
        let others = self.others().iter().enumerate();
        others.map(|(at, other)| (other.node, self.are_active & (1 << at) != 0))
    }

    /// Those who have answered since the rest began.
    pub(crate) fn answered(&self) -> impl Iterator<Item = NodeId> {
        self.named(self.have_answered)
    }

    fn hear(&mut self, from: NodeId, read: Option<[u8; READ_ID_BYTES]>) -> Heard {
        let Some(at) = self.others().iter().position(|other| other.node == from) else { return Heard::News };
        let bit = 1 << at;
        if self.have_all & bit == 0 {
            return Heard::News;
        }
        self.have_answered |= bit;
        self.are_active |= bit;
        // Any other question is none any more.
        let Some(question) = self.question.as_mut().filter(|question| read == Some(question.id)) else {
            return Heard::Nothing;
        };
        question.confirmed |= bit;
        assert!(self.quorum.is_some(), "who may not ask has asked nothing");
        let confirmed = (question.confirmed & self.voters).count_ones() as u8;
        if Some(confirmed) < self.quorum {
            return Heard::Nothing;
        }
        let id = question.id;
        self.question = None;
        Heard::Confirmed(id)
    }

    fn others(&self) -> &[Other] {
        &self.others[..usize::from(self.count)]
    }

    fn named(&self, bits: u8) -> impl Iterator<Item = NodeId> {
        assert!(bits >> self.count == 0, "each bit is one of them");
        let named = self.others().iter().enumerate().filter(move |(at, _)| bits & (1 << at) != 0);
        named.map(|(_, other)| other.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BOOTSTRAP_EPOCH;

    const TERM: Term = Term(6);
    const COMMIT: LogIndex = LogIndex(9);
    const REGION: RegionId = RegionId(4);
    const ID: [u8; READ_ID_BYTES] = [7; READ_ID_BYTES];

    fn rest(role: RestRole) -> Rest {
        Rest { epoch: BOOTSTRAP_EPOCH, term: TERM, commit: COMMIT, since: 10, wakes_at: 15, role }
    }

    const DUE: Due =
        Due { quorum: 30, quorum_ticks: 20, look: 40, look_ticks: 20, is_settled: true, heartbeat_ticks: 2 };

    /// Member 1 leads; each of the others is given by whether it has the whole log and whether it votes.
    fn leader(others: &[(bool, bool)]) -> Rest {
        let mut leading = Leading::new(Timestamp::NEVER, DUE);
        for (number, &(has_all, votes)) in (2..).zip(others) {
            let said = Said { has_all, votes, is_active: false };
            assert!(leading.add(NodeId(number), COMMIT, said), "there is room");
        }
        leading.ask_by_itself();
        rest(RestRole::Leader(leading))
    }

    fn single(from: u64, to: u64, kind: HeartbeatKind, commit: LogIndex) -> Single {
        let heartbeat = Heartbeat { term: TERM, commit, read: None };
        Single { from: NodeId(from), to: NodeId(to), kind, heartbeat }
    }

    fn answer(from: u64, read: Option<[u8; READ_ID_BYTES]>) -> Single {
        let mut single = single(from, 1, HeartbeatKind::Answer, COMMIT);
        single.heartbeat.read = read;
        single
    }

    fn hear(rest: &mut Rest, single: Single) -> Heard {
        rest.hear(REGION, single, 12, &mut Gathered::default())
    }

    #[test]
    fn a_question_is_confirmed_by_a_majority_of_the_voters_with_the_leader() {
        for others in 1..=OTHERS_MAX {
            let mut rest = leader(&vec![(true, true); others]);
            rest.leading().expect("it leads").ask(ID);
            let least = others.div_ceil(2) as u64;

            for from in 2..2 + least - 1 {
                // A second answer of the same member is no second voice.
                assert_eq!(hear(&mut rest, answer(from, Some(ID))), Heard::Nothing, "{from} of {others}");
                assert_eq!(hear(&mut rest, answer(from, Some(ID))), Heard::Nothing, "{from} of {others}");
            }
            assert_eq!(hear(&mut rest, answer(1 + least, Some(ID))), Heard::Confirmed(ID), "{others}");
            assert_eq!(hear(&mut rest, answer(1 + least, Some(ID))), Heard::Nothing, "it is confirmed once");
        }
    }

    #[test]
    fn learners_and_other_questions_confirm_nothing() {
        let mut rest = leader(&[(true, true), (true, true), (true, false)]);
        rest.leading().expect("it leads").ask(ID);

        assert_eq!(hear(&mut rest, answer(4, Some(ID))), Heard::Nothing);
        assert_eq!(hear(&mut rest, answer(2, None)), Heard::Nothing);
        assert_eq!(hear(&mut rest, answer(3, Some([8; READ_ID_BYTES]))), Heard::Nothing);
        assert_eq!(rest.leading().expect("it leads").answered().count(), 3);
        assert_eq!(hear(&mut rest, answer(3, Some(ID))), Heard::Confirmed(ID));
        assert!(leader(&[(true, false)]).leading().is_some_and(|leading| !leading.asks_by_itself()));
    }

    #[test]
    fn what_is_due_is_done_by_the_peer_itself_unless_all_others_were_heard_of() {
        let mut rest = leader(&[(true, true), (true, true)]);
        assert_eq!(hear(&mut rest, answer(2, None)), Heard::Nothing);
        assert!(
            !rest.leading().expect("it leads").does_what_is_due(30),
            "one of two is a quorum, but not all"
        );
        assert_eq!(hear(&mut rest, answer(3, None)), Heard::Nothing);

        let leading = rest.leading().expect("it leads");
        assert!(leading.does_what_is_due(30));
        assert_eq!((leading.made_sure_at, leading.due.next()), (Some(30), 40));
        assert!(leading.activity().all(|(_, is_active)| !is_active), "from now on they are heard anew");
        assert!(!leading.does_what_is_due(40), "nobody was heard since");

        leading.due.look = 31;
        assert!(leading.does_what_is_due(31), "nobody can have answered so soon");
        assert_eq!(leading.due.look, 51);
        leading.due.is_settled = false;
        leading.due.look = 31;
        assert!(!leading.does_what_is_due(31));
    }

    #[test]
    fn whatever_may_be_news_is_left_to_the_peer() {
        let mut rest = leader(&[(true, true), (false, true)]);
        let news = [
            answer(3, None),
            answer(9, None),
            single(2, 1, HeartbeatKind::Answer, LogIndex(8)),
            single(2, 1, HeartbeatKind::Heartbeat, COMMIT),
        ];
        for single in news {
            assert_eq!(hear(&mut rest, single), Heard::News, "{single:?}");
        }
        let mut later = answer(2, None);
        later.heartbeat.term = Term(7);
        assert_eq!(hear(&mut rest, later), Heard::News);
        assert_eq!(rest.leading().expect("it leads").answered().count(), 0);

        let following = Following { leader: NodeId(1), timeout_ticks: 20, heard_at: None };
        let mut rest = self::rest(RestRole::Follower(following));
        let news = [
            single(1, 2, HeartbeatKind::Heartbeat, LogIndex(10)),
            single(3, 2, HeartbeatKind::Heartbeat, COMMIT),
            single(1, 2, HeartbeatKind::Answer, COMMIT),
        ];
        for single in news {
            assert_eq!(hear(&mut rest, single), Heard::News, "{single:?}");
        }
        assert_eq!(rest.wakes_at, 15);
        assert_eq!(hear(&mut rest, single(1, 2, HeartbeatKind::Heartbeat, LogIndex(8))), Heard::Nothing);
        assert_eq!(rest.wakes_at, 32, "its timeout begins anew");
    }
}
