//! A follower's writes on their way to its leader and back.
//!
//! Owns the follower's side of [`forwarding`](super::forwarding): it numbers the writes of its callers and remembers them
//! until they are answered. What always holds: the writes of one session are numbered without a gap and enter the log in
//! that order; a write is tried again only when the leader certainly refused it, and only while nothing newer was sent, so
//! that no retry overtakes; what waits for long is asked after, whatever was sent later; what was sent and never answered is
//! answered "unknown".

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::completion::{Completion, Position};
use crate::core::forwarding::{Forward, ForwardAnswer, Refused};
use crate::core::input::Propose;
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{NodeId, Term};

/// What an answer means for this member's callers.
#[derive(Debug, Default)]
pub struct Heard {
    /// Answers that are due.
    pub answers: Vec<(Completion, Result<Position>)>,
    /// Writes to try again before anything newer, in order.
    pub retry: Vec<Propose>,
    /// The newest session is over: the term it was for, and why.
    pub over: Option<(Term, Code)>,
}

#[derive(Debug)]
struct Session {
    leader: NodeId,
    term: Term,
    first: u64,
    /// Some of it was refused: it takes no more.
    over: bool,
}

impl Session {
    fn takes(&self, leader: NodeId, term: Term) -> bool {
        !self.over && (self.leader, self.term) == (leader, term)
    }
}

#[derive(Debug)]
struct Sent {
    number: u64,
    session: u64,
    leader: NodeId,
    term: Term,
    at: Timestamp,
    /// None once it is answered.
    write: Option<Propose>,
}

/// The follower's side; see the module.
#[derive(Debug)]
pub struct Forwarder {
    node: NodeId,
    boot_nonce: u64,
    next: u64,
    /// What was sent last, unless something newer went into this member's own log.
    newest: Option<Session>,
    /// By number, from the oldest to the newest that waits for an answer; `answered` of those between have theirs. Those
    /// before the newest session's first only wait for their answers.
    sent: VecDeque<Sent>,
    answered: usize,
    /// Whom the last writes went to, and the bytes of those of them that wait for an answer.
    way: (NodeId, Term),
    bytes: usize,
    /// The way that newer writes would go, and since when they wait for what went another way.
    waiting: Option<((NodeId, Term), Timestamp)>,
}

/// Sessions asked after at once.
const PROBES_MAX: usize = 16;

impl Forwarder {
    /// Nothing sent yet. `boot_nonce` differs in every run of this member.
    #[must_use]
    pub fn new(node: NodeId, boot_nonce: u64) -> Self {
        let way = (NodeId(0), Term(0));
        let (newest, sent, waiting) = (None, VecDeque::new(), None);
        Self { node, boot_nonce, next: 1, newest, sent, answered: 0, way, bytes: 0, waiting }
    }

    /// The message that carries `writes` to the leader of `term`. They are remembered until they are answered.
    pub fn forward(&mut self, writes: Vec<Propose>, leader: NodeId, term: Term, now: Timestamp) -> Forward {
        let session = self.session(leader, term);
        let first = self.next;
        let data = writes.iter().map(|write| write.data.clone()).collect();
        for write in writes {
            self.bytes += write.data.len();
            self.sent.push_back(Sent {
                number: self.next,
                session,
                leader,
                term,
                at: now,
                write: Some(write),
            });
            self.next += 1;
        }
        self.message(leader, term, session, first, data)
    }

    /// Bytes of the writes to `leader` in `term` that wait for an answer. What another owes is not its burden.
    #[must_use]
    pub fn bytes(&self, leader: NodeId, term: Term) -> usize {
        if self.way == (leader, term) { self.bytes } else { 0 }
    }

    /// Whether writes that would now go to `leader` in `term` should wait, because some that went another way, or in a session
    /// that is over, may come back refused and must go first. Who was asked answers within a round trip if it can;
    /// `patience` bounds the wait for one that cannot.
    pub fn should_wait(&mut self, leader: NodeId, term: Term, now: Timestamp, patience: Duration) -> bool {
        let ends = self.newest.as_ref().filter(|newest| !newest.takes(leader, term));
        let may_come_back = ends.zip(self.sent.back()).is_some_and(|(ends, sent)| sent.session == ends.first);
        if !may_come_back {
            self.waiting = None;
            return false;
        }
        let since = match self.waiting {
            Some((way, since)) if way == (leader, term) => since,
            _ => {
                self.ask_after_newest();
                now
            }
        };
        self.waiting = Some(((leader, term), since));
        now < since + patience
    }

    /// Lets the next probe ask after the newest session, whenever it was sent: its answer may have got lost.
    fn ask_after_newest(&mut self) {
        let Some(session) = self.newest.as_ref().map(|newest| newest.first) else { return };
        let oldest = self.sent.iter_mut().find(|sent| sent.session == session && sent.write.is_some());
        oldest.expect("it may come back").at = Timestamp(0);
    }

    /// Something newer goes another way: what is under way must not be tried again behind it.
    pub fn close_session(&mut self) {
        self.newest = None;
    }

    /// Asks after the sessions whose oldest unanswered write was sent, or asked after, before `sent_before`.
    pub fn probe(&mut self, sent_before: Timestamp, now: Timestamp) -> Vec<Forward> {
        let mut probes = Vec::new();
        let mut at = 0;
        while probes.len() < PROBES_MAX
            && let Some(oldest) = self.sent.get_mut(at)
        {
            let (session, leader, term) = (oldest.session, oldest.leader, oldest.term);
            if oldest.write.is_none() {
                at += 1;
                continue;
            }
            let waits_long = oldest.at < sent_before;
            if waits_long {
                oldest.at = now;
            }
            at = self.sent.partition_point(|sent| sent.session <= session);
            if waits_long {
                let end = self.sent[at - 1].number + 1;
                probes.push(self.message(leader, term, session, end, Vec::new()));
            }
        }
        probes
    }

    /// Takes an answer of a leader.
    pub fn on_answer(&mut self, answer: ForwardAnswer) -> Heard {
        let mut heard = Heard::default();
        if answer.boot_nonce != self.boot_nonce {
            return heard;
        }
        for verdict in &answer.verdicts {
            if let Some(write) = self.take(verdict.number, answer.session, answer.from) {
                heard
                    .answers
                    .push((write.completion, verdict.outcome.map_err(|code| said_by(answer.from, code))));
            }
        }
        self.tidy();
        if let Some(refused) = answer.refused {
            self.on_refused(&answer, refused, &mut heard);
        }
        heard
    }

    /// The connection to `leader` was lost: nobody knows what became of what was sent there.
    pub fn disconnected(&mut self, leader: NodeId) -> Vec<Completion> {
        self.newest.take_if(|newest| newest.leader == leader);
        completions(self.extract(|sent, _| sent.leader == leader))
    }

    /// Takes out the completions whose deadline has passed, or whose callers have given up. Their writes may still be
    /// applied.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Completion> {
        let is_late = |write: &Propose| write.deadline <= now || write.completion.is_over();
        if !self.sent.iter().any(|sent| sent.write.as_ref().is_some_and(is_late)) {
            return Vec::new();
        }
        completions(self.extract(|_, write| is_late(write)))
    }

    /// How many writes are remembered.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub fn count(&self) -> usize {
        self.sent.len()
    }

    /// Empties it.
    pub fn abandon(&mut self) -> Vec<Completion> {
        completions(self.extract(|_, _| true))
    }

    /// The session with this leader, a new one if need be.
    fn session(&mut self, leader: NodeId, term: Term) -> u64 {
        if self.way != (leader, term) {
            (self.way, self.bytes) = ((leader, term), 0);
        }
        match &self.newest {
            Some(newest) if newest.takes(leader, term) => newest.first,
            _ => {
                self.newest = Some(Session { leader, term, first: self.next, over: false });
                self.next
            }
        }
    }

    fn message(&self, leader: NodeId, term: Term, session: u64, first: u64, writes: Vec<Bytes>) -> Forward {
        let (from, boot_nonce) = (self.node, self.boot_nonce);
        let answered = self.sent.front().map_or(self.next, |oldest| oldest.number);
        Forward { from, to: leader, boot_nonce, term, session, first, answered, writes }
    }

    fn on_refused(&mut self, answer: &ForwardAnswer, refused: Refused, heard: &mut Heard) {
        let of_session = |sent: &Sent| (sent.session, sent.leader) == (answer.session, answer.from);
        let refused_writes = self.extract(|sent, _| of_session(sent) && sent.number >= refused.first);
        // Only the newest session may be tried again: what was sent after it must not be overtaken.
        let newest = self.newest.as_mut();
        if let Some(ended) = newest.filter(|it| (it.first, it.leader) == (answer.session, answer.from)) {
            ended.over = true;
            heard.over = Some((ended.term, refused.code));
            heard.retry.extend(refused_writes);
        } else {
            let refusal = |write: Propose| (write.completion, Err(said_by(answer.from, refused.code)));
            heard.answers.extend(refused_writes.into_iter().map(refusal));
        }
    }

    /// Takes one write out. [`tidy`](Self::tidy) is to follow.
    fn take(&mut self, number: u64, session: u64, leader: NodeId) -> Option<Propose> {
        let at = self.sent.binary_search_by_key(&number, |sent| sent.number).ok()?;
        let sent = &mut self.sent[at];
        if (sent.session, sent.leader) != (session, leader) {
            return None;
        }
        let (write, way) = (sent.write.take()?, (sent.leader, sent.term));
        self.answered += 1;
        self.discount(way, &write);
        Some(write)
    }

    /// Forgets what is answered: at both ends at once, in between when it is the greater part. So that no answer costs more
    /// for what waits behind one that does not come.
    fn tidy(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.write.is_none()) {
            self.sent.pop_front();
            self.answered -= 1;
        }
        while self.sent.back().is_some_and(|sent| sent.write.is_none()) {
            self.sent.pop_back();
            self.answered -= 1;
        }
        if self.answered > self.sent.len() / 2 {
            self.sent.retain(|sent| sent.write.is_some());
            self.answered = 0;
        }
    }

    fn extract(&mut self, wanted: impl Fn(&Sent, &Propose) -> bool) -> Vec<Propose> {
        let mut extracted = Vec::new();
        for mut sent in std::mem::take(&mut self.sent) {
            let Some(write) = sent.write.take() else { continue };
            if wanted(&sent, &write) {
                self.discount((sent.leader, sent.term), &write);
                extracted.push(write);
            } else {
                self.sent.push_back(Sent { write: Some(write), ..sent });
            }
        }
        self.answered = 0;
        extracted
    }

    fn discount(&mut self, way: (NodeId, Term), write: &Propose) {
        if way == self.way {
            self.bytes -= write.data.len();
        }
    }
}

/// What the leader made of a write.
fn said_by(leader: NodeId, code: Code) -> Error {
    let detail = match code {
        Code::LeadershipLost => format!("node {leader} does not know what became of it"),
        _ => format!("at the leader, node {leader}"),
    };
    Error::with_detail(code, detail)
}

fn completions(writes: Vec<Propose>) -> Vec<Completion> {
    writes.into_iter().map(|write| write.completion).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::completion::Waiter;
    use crate::core::forwarding::Verdict;
    use crate::error::Code;

    const LEADER: NodeId = NodeId(1);

    fn forwarder() -> Forwarder {
        Forwarder::new(NodeId(2), 42)
    }

    fn write(deadline: u64) -> Propose {
        let completion = Arc::new(Waiter::default()).completion();
        Propose { data: Bytes::from_static(b"w"), deadline: Timestamp(deadline), completion }
    }

    fn send(forwarder: &mut Forwarder, writes: usize, term: u64) -> Forward {
        let writes = (0..writes).map(|_| write(1000)).collect();
        forwarder.forward(writes, LEADER, Term(term), Timestamp(1))
    }

    fn answer(session: u64, verdicts: Vec<u64>, refused: Option<u64>) -> ForwardAnswer {
        let verdicts =
            verdicts.into_iter().map(|number| Verdict { number, outcome: Ok(Position::default()) });
        ForwardAnswer {
            from: LEADER,
            to: NodeId(2),
            boot_nonce: 42,
            session,
            verdicts: verdicts.collect(),
            refused: refused.map(|first| Refused { first, code: Code::Overloaded }),
        }
    }

    #[test]
    fn numbers_go_on_within_a_session_and_a_new_term_opens_a_new_one() {
        let mut forwarder = forwarder();

        let first = send(&mut forwarder, 2, 7);
        let second = send(&mut forwarder, 1, 7);
        let third = send(&mut forwarder, 1, 8);

        assert_eq!((first.session, first.first, first.writes.len()), (1, 1, 2));
        assert_eq!((second.session, second.first), (1, 3));
        assert_eq!((third.session, third.first), (4, 4));
    }

    #[test]
    fn a_write_is_answered_once_and_only_by_its_leader_and_session() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);
        let mut stranger = answer(1, vec![1], None);
        stranger.from = NodeId(3);

        assert!(forwarder.on_answer(stranger).answers.is_empty());
        assert!(forwarder.on_answer(answer(9, vec![1], None)).answers.is_empty());
        assert_eq!(forwarder.on_answer(answer(1, vec![1], None)).answers.len(), 1);
        assert!(forwarder.on_answer(answer(1, vec![1], None)).answers.is_empty());
    }

    #[test]
    fn refused_writes_of_the_newest_session_are_tried_again_and_the_others_keep_waiting() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 3, 7);

        let heard = forwarder.on_answer(answer(1, vec![], Some(2)));

        assert_eq!((heard.answers.len(), heard.retry.len()), (0, 2));
        let again = forwarder.forward(heard.retry, LEADER, Term(7), Timestamp(2));
        assert_eq!((again.session, again.first), (4, 4));
        assert_eq!(forwarder.on_answer(answer(1, vec![1], None)).answers.len(), 1);
    }

    #[test]
    fn a_refusal_that_comes_after_newer_writes_left_is_an_answer() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);
        send(&mut forwarder, 1, 8);

        let heard = forwarder.on_answer(answer(1, vec![], Some(1)));

        assert_eq!((heard.answers.len(), heard.retry.len()), (1, 0));
        assert_eq!(heard.answers[0].1.as_ref().expect_err("refused").code(), Code::Overloaded);
    }

    #[test]
    fn a_leader_whose_term_is_over_ends_the_session_and_refuses_nothing() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);

        let heard = forwarder
            .on_answer(ForwardAnswer { refused: Some(Refused::TERM_IS_OVER), ..answer(1, vec![1], None) });

        assert_eq!((heard.answers.len(), heard.retry.len()), (1, 0), "of the other nothing is known");
        assert_eq!(heard.over, Some((Term(7), Code::LeadershipLost)));
        assert_eq!(send(&mut forwarder, 1, 7).session, 3);
    }

    #[test]
    fn a_lost_connection_leaves_what_was_sent_unknown_and_ends_the_session() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);

        assert!(forwarder.disconnected(NodeId(3)).is_empty());
        assert_eq!(forwarder.disconnected(LEADER).len(), 2);
        assert_eq!(send(&mut forwarder, 1, 7).session, 3);
    }

    #[test]
    fn only_a_session_that_waits_for_long_is_asked_after() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);

        assert!(forwarder.probe(Timestamp(1), Timestamp(5)).is_empty());
        let probes = forwarder.probe(Timestamp(2), Timestamp(5));
        assert_eq!((probes[0].session, probes[0].first, probes[0].answered), (1, 3, 1));
        assert!(forwarder.probe(Timestamp(5), Timestamp(6)).is_empty());
    }

    #[test]
    fn a_session_is_asked_after_although_a_newer_one_was_opened() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);
        send(&mut forwarder, 1, 8);
        forwarder.on_answer(answer(1, vec![1], None));

        let probes = forwarder.probe(Timestamp(2), Timestamp(5));

        let said = |probe: &Forward| (probe.term, probe.session, probe.first, probe.answered);
        assert_eq!(probes.iter().map(said).collect::<Vec<_>>(), [(Term(7), 1, 3, 2), (Term(8), 3, 4, 2)]);
    }

    #[test]
    fn newer_writes_wait_for_what_went_to_another_leader_until_it_is_answered_or_for_long() {
        let patience = Duration::from_nanos(10);
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);
        let wait = |forwarder: &mut Forwarder, term, now| {
            forwarder.should_wait(LEADER, Term(term), Timestamp(now), patience)
        };

        assert!(!wait(&mut forwarder, 7, 5), "they go the same way");
        assert!(wait(&mut forwarder, 8, 5) && wait(&mut forwarder, 8, 14));
        assert!(!wait(&mut forwarder, 8, 15), "long enough");
        assert!(wait(&mut forwarder, 9, 15), "yet another leader");
        assert_eq!(forwarder.on_answer(answer(1, vec![], Some(1))).retry.len(), 1);
        assert!(!wait(&mut forwarder, 9, 16));
    }

    #[test]
    fn what_is_refused_later_of_a_session_goes_before_what_was_refused_first() {
        let patience = Duration::from_nanos(10);
        let mut forwarder = forwarder();
        send(&mut forwarder, 3, 7);

        assert_eq!(forwarder.on_answer(answer(1, vec![], Some(3))).retry.len(), 1);
        assert!(forwarder.should_wait(LEADER, Term(7), Timestamp(5), patience), "two may come back");
        let heard = forwarder.on_answer(answer(1, vec![1], Some(2)));
        assert_eq!((heard.answers.len(), heard.retry.len()), (1, 1));
        assert!(!forwarder.should_wait(LEADER, Term(7), Timestamp(6), patience));
        assert_eq!(send(&mut forwarder, 2, 7).session, 4);
    }

    #[test]
    fn what_waits_for_an_answer_is_counted_in_bytes() {
        let mut forwarder = forwarder();
        let owed = |forwarder: &Forwarder, term| forwarder.bytes(LEADER, Term(term));
        send(&mut forwarder, 3, 7);
        assert_eq!((owed(&forwarder, 7), owed(&forwarder, 8)), (3, 0));

        forwarder.on_answer(answer(1, vec![1], Some(3)));
        assert_eq!(owed(&forwarder, 7), 1);
        send(&mut forwarder, 2, 8);
        assert_eq!((owed(&forwarder, 7), owed(&forwarder, 8)), (0, 2), "another leader's burden");
        forwarder.on_answer(answer(1, vec![2], None));
        assert_eq!(owed(&forwarder, 8), 2);
        forwarder.abandon();
        assert_eq!(owed(&forwarder, 8), 0);
    }

    #[test]
    fn what_is_answered_behind_one_that_is_not_is_forgotten_in_time() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 100, 7);

        assert_eq!(forwarder.on_answer(answer(1, (2..=99).collect(), None)).answers.len(), 98);

        assert_eq!((forwarder.sent.len(), forwarder.answered), (2, 0));
        assert!(forwarder.on_answer(answer(1, vec![50], None)).answers.is_empty());
        assert_eq!(forwarder.on_answer(answer(1, vec![1, 100], None)).answers.len(), 2);
        assert!(forwarder.sent.is_empty());
    }

    #[test]
    fn a_late_write_is_answered_and_its_verdict_comes_to_nobody() {
        let mut forwarder = forwarder();
        forwarder.forward(vec![write(10), write(20)], LEADER, Term(7), Timestamp(1));

        assert_eq!(forwarder.expire(Timestamp(10)).len(), 1);
        assert_eq!(forwarder.on_answer(answer(1, vec![1, 2], None)).answers.len(), 1);
    }
}
