//! A member's writes on their way to the leader and back.
//!
//! Owns the member's side of [`forwarding`](super::forwarding): it numbers the writes of this member's callers and
//! keeps them until their outcome is known. What always holds: everything under way was sent in one term, to one
//! leader, and enters the log in the order of its numbers; it is sent again only when it certainly is in no log: when
//! the leader refused it, or when this member has applied an entry of a later term without having met it, for terms
//! never fall in a log; verdicts are told in the order of the numbers, except that a write which the leader will never
//! take is refused at once. Which of the two sources of a verdict comes first, the leader or this member's own log,
//! makes no difference: both tell of the same entry.

use std::collections::VecDeque;

use crate::completion::{Answer, Completion, Reply};
use crate::core::caller_write::CallerWrite;
use crate::core::forwarding::pace::Pace;
use crate::core::forwarding::{Forward, ForwardAnswer, Refused};
use crate::core::planted::{self, Fault};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{NodeId, Term};

/// What a write counts against the window beside its bytes.
pub(crate) const OVERHEAD_BYTES: usize = 64;

/// Where writes go: to a leader, in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The leader.
    pub leader: NodeId,
    /// Its term.
    pub term: Term,
}

/// What was heard of forwarded writes.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Answers that are due, in order.
    pub answers: Vec<Answer>,
    /// Writes that are certainly in no log, in order: they go again before anything newer.
    pub again: Vec<CallerWrite>,
}

/// A write that was sent.
#[derive(Debug)]
struct Sent {
    number: u64,
    at: Timestamp,
    /// What it counts against the window.
    weight: usize,
    /// None when its caller was answered, for example at its deadline.
    write: Option<CallerWrite>,
    /// Known, and not told because of those before it.
    verdict: Option<Result<Reply>>,
}

impl Sent {
    fn waits(&self) -> bool {
        self.write.is_some() && self.verdict.is_none()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Forwarder {
    node: NodeId,
    boot: u64,
    next: u64,
    /// By number.
    sent: VecDeque<Sent>,
    weight: usize,
    /// Of all that was sent.
    route: Route,
    /// The newest attempt, and whether it takes more.
    attempt: u64,
    is_open: bool,
    pace: Pace,
}

impl Forwarder {
    /// Nothing sent yet. `boot` differs in every boot of this member.
    #[must_use]
    pub(crate) fn new(node: NodeId, boot: u64) -> Self {
        let route = Route { leader: NodeId(0), term: Term(0) };
        let (sent, weight) = (VecDeque::new(), 0);
        Self { node, boot, next: 1, sent, weight, route, attempt: 1, is_open: false, pace: Pace::Window }
    }

    /// Whether nothing that was sent is kept any more.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether a leader that refused something is left in peace until the next tick.
    #[must_use]
    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.pace, Pace::Paused(_))
    }

    /// Whether newer writes may go nowhere in `term`: something of an older one is under way, and may be in the log.
    #[must_use]
    pub(crate) fn awaits_fence(&self, term: Term) -> bool {
        self.route.term < term && self.sent.iter().any(Sent::waits)
    }

    /// Whether verdicts wait for those of earlier numbers.
    #[must_use]
    pub(crate) fn holds_verdicts(&self) -> bool {
        self.sent.front().is_some_and(|first| first.verdict.is_none())
            && self.sent.back().is_some_and(|last| last.verdict.is_some())
    }

    /// What of the window for `route` is used.
    #[must_use]
    pub(crate) fn weight(&self, route: Route) -> usize {
        if self.route == route { self.weight } else { 0 }
    }

    /// Whether a message may leave on `route`, for all that its leader refused so far.
    #[must_use]
    pub(crate) fn may_send(&self, route: Route) -> bool {
        self.pace.allows(route)
    }

    /// A tick has passed: a leader that is behind may get another message.
    pub(crate) fn on_tick(&mut self) {
        self.pace.on_tick();
    }

    /// The message that carries `writes` on `route`. They are kept until their outcome is known.
    ///
    /// # Panics
    /// When something waits that was sent in another term.
    pub(crate) fn forward(&mut self, writes: Vec<CallerWrite>, route: Route, now: Timestamp) -> Forward {
        assert!(!writes.is_empty(), "what carries nothing asks a question");
        assert!(route.term >= self.route.term, "terms never fall");
        if self.route != route {
            let waits = self.sent.iter().any(|sent| sent.write.is_some());
            assert!(!waits, "everything under way was sent in one term");
            (self.sent, self.weight, self.route) = (VecDeque::new(), 0, route);
            self.is_open = false;
        }
        if !self.is_open {
            (self.attempt, self.is_open) = (self.next, true);
        }
        let first = self.next;
        let mut message = self.message(first);
        message.writes.reserve_exact(writes.len());
        for write in writes {
            message.writes.push(write.data.clone());
            let weight = write.data.len() + OVERHEAD_BYTES;
            self.weight += weight;
            self.sent.push_back(Sent {
                number: self.next,
                at: now,
                weight,
                write: Some(write),
                verdict: None,
            });
            self.next += 1;
        }
        assert!(self.attempt <= first && first < self.next, "an attempt's numbers follow each other");
        self.pace.on_sent(route);
        message
    }

    /// Asks the leader of `route` whether everything has arrived, when something was sent, or asked after, before
    /// `sent_before` and has no verdict yet.
    pub(crate) fn ask(&mut self, route: Route, sent_before: Timestamp, now: Timestamp) -> Option<Forward> {
        if self.route != route {
            return None;
        }
        // Also when nobody waits for it any more: it takes room in the window.
        let oldest = self.sent.iter_mut().find(|sent| sent.verdict.is_none())?;
        if oldest.at >= sent_before {
            return None;
        }
        oldest.at = now;
        Some(self.message(self.next))
    }

    /// Takes an answer of a leader.
    pub(crate) fn on_answer(&mut self, answer: &ForwardAnswer) -> Heard {
        let mut heard = Heard::default();
        if answer.boot != self.boot {
            return heard;
        }
        if !answer.verdicts.is_empty() {
            // A refusal too: it was applied, and so accepted.
            self.pace.on_accepted(answer.from);
        }
        for verdict in &answer.verdicts {
            let outcome = verdict.outcome.clone().map_err(Error::refused);
            self.decide(verdict.number, outcome, &mut heard);
        }
        self.tell(&mut heard);
        let is_newest = (answer.attempt, answer.from) == (self.attempt, self.route.leader);
        if let Some(refused) = answer.refused
            && (is_newest || planted::has(Fault::OlderAttemptRefusesNewer))
        {
            self.on_refused(refused, &mut heard);
            // What it gives back may have kept verdicts behind it.
            self.tell(&mut heard);
        }
        heard
    }

    /// This member has applied its log up to an entry of `term`, and met these writes of its own there.
    pub(crate) fn on_applied(&mut self, own: Vec<(u64, Result<Reply>)>, term: Term) -> Heard {
        let mut heard = Heard::default();
        for (number, outcome) in own {
            self.decide(number, outcome, &mut heard);
        }
        if self.route.term < term {
            // Nothing sent on the route enters the log any more: what has no verdict is in none.
            self.withdraw(0, &mut heard);
        }
        self.tell(&mut heard);
        heard
    }

    /// A raft snapshot whose last entry is of `term` has taken the place of entries that this member never sees. What was
    /// sent so far may stand in one of them. Its leader may know, but says so once, and perhaps has already.
    pub(crate) fn on_skipped(&mut self, term: Term) -> Heard {
        let mut heard = Heard::default();
        if self.route.term <= term && !planted::has(Fault::ForwardedBelowASnapshotGoAgain) {
            let undecided = self.sent.iter_mut().filter(|sent| sent.verdict.is_none());
            undecided.for_each(|sent| sent.verdict = Some(Err(Error::new(Code::SkippedInFlight))));
            self.tell(&mut heard);
            assert!(self.sent.is_empty(), "all of it is answered, in order");
        }
        heard
    }

    /// The term in which everything was sent that is under way.
    #[must_use]
    pub(crate) fn term(&self) -> Term {
        self.route.term
    }

    /// Treats what is in flight as not in the log; for planted faults.
    pub(crate) fn pass_fence_by_fault(&mut self) -> Heard {
        let mut heard = Heard::default();
        self.withdraw(0, &mut heard);
        self.tell(&mut heard);
        heard
    }

    /// Takes out the completions whose deadline has passed, or whose callers were answered. Their writes may be in a
    /// log. With their answers, and those that are due when they are gone.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Answer> {
        let is_late = |write: &mut CallerWrite| write.deadline <= now || write.completion.is_answered();
        let late = self.sent.iter_mut().filter_map(|sent| sent.write.take_if(is_late));
        let late = late.map(|write| (write.completion, Err(Error::new(Code::Timeout))));
        let mut heard = Heard { answers: late.collect(), ..Heard::default() };
        if !heard.answers.is_empty() {
            self.tell(&mut heard);
        }
        heard.answers
    }

    /// How many numbers are kept, whether a caller waits for their verdicts or not.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.sent.len()
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When numbers do not rise, or a verdict could have been told.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        assert!(self.sent.iter().is_sorted_by(|one, next| one.number < next.number), "numbers rise");
        assert!(self.sent.back().is_none_or(|last| last.number < self.next), "numbers are given once");
        assert!(self.sent.is_empty() || self.route.term > Term(0), "what was sent was sent to a leader");
        assert!(self.sent.iter().all(|sent| sent.weight >= OVERHEAD_BYTES), "every write takes room");
        assert!(self.attempt <= self.next, "an attempt begins with a number that was given");
        let told = self.sent.front().is_some_and(|first| first.write.is_some() && first.verdict.is_some());
        assert!(!told, "a verdict that waits for nobody is told");
        let kept: usize = self.sent.iter().map(|sent| sent.weight).sum();
        assert_eq!(self.weight, kept, "the window counts what is kept");
    }

    /// What is kept, counted anew; and what of it the newest write makes, which may alone be larger than a window.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn kept(&self) -> (usize, usize) {
        let kept = self.sent.iter().map(|sent| sent.weight).sum();
        assert_eq!(self.weight, kept, "the window counts what is kept");
        (kept, self.sent.back().map_or(0, |newest| newest.weight))
    }

    /// Empties it; what it gives back may be in a log.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Completion> {
        self.weight = 0;
        std::mem::take(&mut self.sent).into_iter().filter_map(|sent| sent.write).map(|write| write.completion)
    }

    fn message(&self, first: u64) -> Forward {
        let Route { leader: to, term } = self.route;
        let (from, boot, attempt) = (self.node, self.boot, self.attempt);
        Forward { from, to, boot, term, attempt, first, writes: Vec::new() }
    }

    fn on_refused(&mut self, refused: Refused, heard: &mut Heard) {
        self.is_open = false;
        if refused.code != Code::Unsupported {
            self.pace.on_refused(self.route);
        } else {
            // Resending it would only be refused again.
            let unfit = self.sent.iter_mut().find(|sent| sent.number == refused.first);
            let write = unfit.and_then(|sent| sent.write.take());
            let leader = self.route.leader;
            heard.answers.extend(write.map(|write| (write.completion, Err(at_leader(leader, refused.code)))));
        }
        self.withdraw(refused.first, heard);
    }

    /// Gives back what has no verdict, from the number `first` on.
    fn withdraw(&mut self, first: u64, heard: &mut Heard) {
        let at = self.sent.partition_point(|sent| sent.number < first);
        for mut sent in self.sent.split_off(at) {
            if sent.verdict.is_some() {
                self.sent.push_back(sent);
                continue;
            }
            assert!(sent.number >= first, "what was accepted is not sent again");
            self.weight -= sent.weight;
            heard.again.extend(sent.write.take());
        }
    }

    fn decide(&mut self, number: u64, outcome: Result<Reply>, heard: &mut Heard) {
        let Ok(at) = self.sent.binary_search_by_key(&number, |sent| sent.number) else { return };
        let sent = &mut self.sent[at];
        if planted::has(Fault::VerdictsOutOfOrder)
            && let Some(write) = sent.write.take()
        {
            heard.answers.push((write.completion, outcome.clone()));
        }
        if sent.verdict.is_none() {
            sent.verdict = Some(outcome);
        }
    }

    /// Tells the verdicts of which none before is missing. A caller who was answered waits for none.
    fn tell(&mut self, heard: &mut Heard) {
        let missing = self.sent.iter().position(Sent::waits).unwrap_or(self.sent.len());
        let told = self.sent.iter().take(missing).rposition(|sent| sent.verdict.is_some());
        for sent in self.sent.drain(..told.map_or(0, |last| last + 1)) {
            self.weight -= sent.weight;
            let answered = sent.write.zip(sent.verdict);
            heard.answers.extend(answered.map(|(write, outcome)| (write.completion, outcome)));
        }
        assert!(!self.sent.is_empty() || self.weight == 0, "what is decided takes no room");
    }
}

/// What the leader made of a write.
fn at_leader(leader: NodeId, code: Code) -> Error {
    Error::with_detail(code, format!("at the leader, node {leader}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::completion::deadlines::any_call;
    use crate::completion::{Position, Waiter};
    use crate::core::forwarding::Verdict;
    use crate::effects::Effects;
    use crate::types::{LogIndex, Version};

    const LEADER: NodeId = NodeId(1);

    fn route(term: u64) -> Route {
        Route { leader: LEADER, term: Term(term) }
    }

    fn forwarder() -> Forwarder {
        Forwarder::new(NodeId(2), 42)
    }

    fn write() -> CallerWrite {
        let completion = Arc::new(Waiter::default()).completion();
        CallerWrite { data: Bytes::from_static(b"w"), deadline: Timestamp(1000), completion }
    }

    fn send(forwarder: &mut Forwarder, writes: usize, term: u64) -> Forward {
        forwarder.forward((0..writes).map(|_| write()).collect(), route(term), Timestamp(1))
    }

    fn answer(attempt: u64, verdicts: &[u64], refused: Option<u64>) -> ForwardAnswer {
        let verdicts = verdicts.iter().map(|&number| Verdict { number, outcome: Ok(place(number)) });
        ForwardAnswer {
            from: LEADER,
            to: NodeId(2),
            boot: 42,
            attempt,
            verdicts: verdicts.collect(),
            refused: refused.map(|first| Refused { first, code: Code::Overloaded }),
        }
    }

    fn place(number: u64) -> Reply {
        let index = LogIndex(10 + number);
        Reply::to_write(Position { index, term: Term(7) }, Version::of(index, 0), Effects::default())
    }

    /// The numbers whose verdicts are told.
    fn told(heard: &Heard) -> Vec<u64> {
        let number = |outcome: &Result<Reply>| outcome.as_ref().expect("applied").position.index.get() - 10;
        heard.answers.iter().map(|(_, outcome)| number(outcome)).collect()
    }

    #[test]
    fn numbers_go_on_within_an_attempt_and_are_never_given_twice() {
        let mut forwarder = forwarder();

        let first = send(&mut forwarder, 2, 7);
        let second = send(&mut forwarder, 1, 7);
        let refused = forwarder.on_answer(&answer(1, &[], Some(2)));
        let third = send(&mut forwarder, 2, 7);

        assert_eq!((first.attempt, first.first, first.writes.len()), (1, 1, 2));
        assert_eq!((second.attempt, second.first), (1, 3));
        assert_eq!(refused.again.len(), 2);
        assert_eq!((third.attempt, third.first), (4, 4));
    }

    #[test]
    fn a_refusal_counts_once_and_only_for_its_attempt() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 3, 7);
        assert_eq!(forwarder.on_answer(&answer(1, &[], Some(2))).again.len(), 2);
        assert!(forwarder.on_answer(&answer(1, &[], Some(2))).again.is_empty());
        send(&mut forwarder, 2, 7);

        assert!(forwarder.on_answer(&answer(1, &[], Some(2))).again.is_empty(), "of the attempt before");
        assert_eq!(forwarder.on_answer(&answer(4, &[], Some(4))).again.len(), 2);
        assert_eq!(told(&forwarder.on_answer(&answer(4, &[1], None))), [1]);
    }

    #[test]
    fn a_leader_that_refuses_what_lies_before_its_own_verdict_keeps_no_caller_waiting() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);

        let heard = forwarder.on_answer(&answer(1, &[2], Some(1)));

        assert_eq!((told(&heard), heard.again.len()), (vec![2], 1));
        forwarder.check_invariants();
        assert!(forwarder.is_empty());
    }

    #[test]
    fn verdicts_are_told_once_and_in_order_whoever_has_them() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 3, 7);

        assert_eq!(told(&forwarder.on_answer(&answer(1, &[2, 3], None))), [0; 0]);
        assert_eq!(told(&forwarder.on_applied(vec![(1, Ok(place(1)))], Term(7))), [1, 2, 3]);
        assert_eq!(told(&forwarder.on_answer(&answer(1, &[1, 2, 3], None))), [0; 0]);
        assert_eq!(forwarder.weight(route(7)), 0);
    }

    #[test]
    fn what_an_entry_of_a_later_term_leaves_out_goes_again_and_nothing_before_it() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 3, 7);

        let heard = forwarder.on_applied(vec![(1, Ok(place(1)))], Term(7));
        assert_eq!((told(&heard).len(), heard.again.len()), (1, 0));
        assert!(forwarder.awaits_fence(Term(8)) && !forwarder.awaits_fence(Term(7)));

        let heard = forwarder.on_applied(vec![(2, Ok(place(2)))], Term(8));
        assert_eq!((told(&heard).len(), heard.again.len()), (1, 1));
        assert!(!forwarder.awaits_fence(Term(8)));
        let next = send(&mut forwarder, 1, 8);
        assert_eq!((next.attempt, next.first), (4, 4));
    }

    #[test]
    #[should_panic(expected = "sent in one term")]
    fn nothing_goes_in_a_newer_term_before_the_fence() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);

        send(&mut forwarder, 1, 8);
    }

    #[test]
    fn callers_who_were_answered_hold_up_nobody_and_go_nowhere_again() {
        let mut forwarder = forwarder();
        let (completion, call) = any_call(Arc::new(Waiter::default()).sink());
        let late = CallerWrite { completion, ..write() };
        forwarder.forward(vec![late, write(), write()], route(7), Timestamp(1));
        assert!(call.cancel());
        assert_eq!(forwarder.expire(Timestamp(1)).len(), 1);

        assert_eq!(told(&forwarder.on_answer(&answer(1, &[2], None))), [2]);
        assert!(!forwarder.awaits_fence(Term(7)) && forwarder.awaits_fence(Term(8)));
        assert_eq!(forwarder.on_applied(vec![], Term(8)).again.len(), 1);
        assert_eq!(forwarder.count(), 0);
    }

    #[test]
    fn what_waits_for_long_is_asked_after_once_in_a_while() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);

        assert_eq!(forwarder.ask(route(7), Timestamp(1), Timestamp(5)), None);
        let question = forwarder.ask(route(7), Timestamp(2), Timestamp(5)).expect("it is late");
        assert_eq!((question.attempt, question.first, question.writes.len()), (1, 3, 0));
        assert_eq!(forwarder.ask(route(7), Timestamp(2), Timestamp(6)), None);
        assert_eq!(forwarder.ask(route(8), Timestamp(9), Timestamp(9)), None);
    }

    #[test]
    fn what_nobody_waits_for_is_asked_after_too_and_makes_room() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);
        assert_eq!(forwarder.expire(Timestamp(1000)).len(), 2);
        assert!(forwarder.weight(route(7)) > 0, "the leader may have it");

        assert!(forwarder.ask(route(7), Timestamp(2), Timestamp(5)).is_some());
        forwarder.on_answer(&answer(1, &[], Some(1)));

        assert_eq!(forwarder.weight(route(7)), 0);
    }

    #[test]
    fn what_the_leader_cannot_propose_is_answered_so_and_the_rest_goes_again() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 3, 7);

        let refused = Some(Refused { first: 2, code: Code::Unsupported });
        let heard = forwarder.on_answer(&ForwardAnswer { refused, ..answer(1, &[], None) });

        let codes: Vec<_> =
            heard.answers.iter().map(|(_, outcome)| outcome.as_ref().err().map(Error::code)).collect();
        assert_eq!((codes, heard.again.len()), (vec![Some(Code::Unsupported)], 1));
    }

    #[test]
    fn an_answer_to_another_boot_means_nothing() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);

        let other = ForwardAnswer { boot: 41, ..answer(1, &[1], Some(2)) };
        let heard = forwarder.on_answer(&other);

        assert!(heard.answers.is_empty() && heard.again.is_empty());
    }
}
