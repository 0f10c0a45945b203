//! A member's writes on their way to the leader and back.
//!
//! Owns the member's side of [`forwarding`](super::forwarding): it numbers the writes of this member's callers and
//! keeps them until their outcome is known. What always holds: a write enters the logs of others under one number as
//! long as it may be in one of them, and in the order of the numbers; it gets another number only when it certainly is
//! in no log: when every leader that it was sent to refused it, or when this member has applied an entry of a later term
//! than all of theirs without having met it, for terms never fall in a log; verdicts are told in the order of the
//! numbers, except that a write which the leader will never take is refused at once. Which of the two sources of a
//! verdict comes first, the leader or this member's own log, makes no difference: both tell of the same entry.

use std::collections::VecDeque;

use crate::completion::{Answer, Completion, Reply};
use crate::core::caller_write::CallerWrite;
use crate::core::forwarding::pace::Pace;
use crate::core::forwarding::{Forward, ForwardAnswer, Refused, Resend};
use crate::core::planted::{self, Fault};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId, Term};

/// What is sent again has a message for each stretch of numbers without a gap. If there are more gaps than this, so many
/// callers have given up that the rest may wait for the fence.
const RESEND_GAPS_MAX: usize = 64;

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
    /// The newest term in which it was sent and not refused.
    term: Term,
    /// It was sent in these terms before, and may be in a log since.
    earlier: Option<Earlier>,
}

/// The write may have been sent, and not refused, in these terms and those between, and in no others before its newest.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    oldest: Term,
    newest: Term,
}

impl Sent {
    fn waits(&self) -> bool {
        self.write.is_some() && self.verdict.is_none()
    }

    /// Before any other term the write was sent in this one.
    fn oldest_term(&self) -> Term {
        self.earlier.map_or(self.term, |earlier| earlier.oldest)
    }

    /// It goes to a leader of `term` too.
    fn enter(&mut self, term: Term) {
        assert!(self.term < term, "a leader is sent a number once");
        self.earlier = Some(Earlier { oldest: self.oldest_term(), newest: self.term });
        self.term = term;
    }

    /// The leader of its newest term has refused it. False when it may be in no log at all.
    fn leave(&mut self) -> bool {
        let Some(Earlier { oldest, newest }) = self.earlier else { return false };
        self.term = newest;
        self.earlier = (oldest < newest).then(|| Earlier { oldest, newest: Term(newest.get() - 1) });
        true
    }

    /// An entry of `term` was applied behind all those of earlier terms, and the write was not among them.
    fn pass(&mut self, term: Term) {
        assert!(self.term >= term, "what no log has goes again");
        let newest = self.earlier.map(|earlier| earlier.newest).filter(|newest| *newest >= term);
        self.earlier = newest.map(|newest| Earlier { oldest: self.oldest_term().max(term), newest });
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
    /// Of the newest attempt.
    route: Route,
    /// Whether the leader of the route is known to lead; otherwise it is a candidate.
    is_elected: bool,
    /// Something that is kept may have been sent in an earlier term than that of the route.
    has_earlier: bool,
    /// Something of that may not be on its way to the leader of the route.
    has_older: bool,
    /// It was not tried yet to send that on the route.
    may_resend: bool,
    attempt: u64,
    /// Set if the newest attempt sends writes again.
    resend: Option<Resend>,
    /// The number behind all that was sent in the newest attempt.
    end: u64,
    /// Whether the newest attempt takes more.
    is_open: bool,
    pace: Pace,
}

impl Forwarder {
    /// Nothing sent yet. `boot` differs in every boot of this member.
    #[must_use]
    pub(crate) fn new(node: NodeId, boot: u64) -> Self {
        let route = Route { leader: NodeId(0), term: Term(0) };
        Self {
            node,
            boot,
            next: 1,
            sent: VecDeque::new(),
            weight: 0,
            route,
            is_elected: false,
            has_earlier: false,
            has_older: false,
            may_resend: false,
            attempt: 1,
            resend: None,
            end: 1,
            is_open: false,
            pace: Pace::Window,
        }
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

    /// Whether newer writes may go nowhere in `term`: something that was sent in an older one may be in the log, and is
    /// not on its way to the leader of this one.
    #[must_use]
    pub(crate) fn awaits_fence(&self, term: Term) -> bool {
        let may_have_older = self.has_older || self.route.term < term;
        may_have_older && self.sent.iter().any(|sent| sent.term < term && sent.waits())
    }

    /// Whether verdicts wait for those of earlier numbers.
    #[must_use]
    pub(crate) fn holds_verdicts(&self) -> bool {
        self.sent.front().is_some_and(|first| first.verdict.is_none())
            && self.sent.back().is_some_and(|last| last.verdict.is_some())
    }

    /// What of the window is used.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        self.weight
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

    /// Whether anything that was sent waits for its verdict.
    #[must_use]
    pub(crate) fn waits(&self) -> bool {
        self.sent.iter().any(Sent::waits)
    }

    /// Whether something that was sent is kept, also if nobody waits for it, and `route` is new.
    #[must_use]
    pub(crate) fn has_to_turn_to(&self, route: Route) -> bool {
        self.route != route && !self.is_empty()
    }

    /// Whether something waits that a leader may find in its log and not answer: its outcome is in this member's log.
    #[must_use]
    pub(crate) fn awaits_own_log(&self) -> bool {
        self.has_earlier && self.sent.iter().any(|sent| sent.earlier.is_some() && sent.waits())
    }

    /// From now on everything goes on `route`, to a leader if it `is_elected`, to a candidate otherwise. What was sent to a
    /// candidate of a term in which another member leads is certainly in no log of that term.
    ///
    /// # Panics
    /// When there would be two leaders in one term.
    pub(crate) fn turn_to(&mut self, route: Route, is_elected: bool) -> Heard {
        let mut heard = Heard::default();
        if self.route == route {
            self.is_elected |= is_elected;
            return heard;
        }
        assert!(route.term >= self.route.term, "terms never fall");
        if self.route.term == route.term {
            assert!(!self.is_elected || planted::is_any(), "a term has one leader");
            self.withdraw(0, &mut heard);
        }
        (self.route, self.is_elected, self.resend, self.is_open) = (route, is_elected, None, false);
        self.forget_answered();
        self.tell(&mut heard);
        self.has_earlier = !self.sent.is_empty();
        (self.has_older, self.may_resend) = (self.has_earlier, self.has_earlier);
        heard
    }

    /// The messages that send again what was sent in older terms, and may be in a log since, each of at most so many bytes
    /// or with one write. None of it stands in an entry up to `applied`. It keeps its numbers, so that the leader finds it
    /// in its log.
    pub(crate) fn resend(&mut self, applied: LogIndex, bytes_max: usize, now: Timestamp) -> Vec<Forward> {
        if !std::mem::take(&mut self.may_resend) {
            return Vec::new();
        }
        let is_older = |sent: &&Sent| sent.waits() && sent.term < self.route.term;
        let Some(first) = self.sent.iter().find(is_older).map(|sent| sent.number) else { return Vec::new() };
        let numbers = || self.sent.iter().filter(is_older).map(|sent| sent.number);
        let gaps = numbers().zip(numbers().skip(1)).filter(|(one, next)| one + 1 < *next).count();
        if gaps > RESEND_GAPS_MAX {
            return Vec::new();
        }
        assert!(!self.is_open, "it goes before anything newer");
        // No write has the number of the attempt: those of the writes do not tell it from earlier ones.
        (self.attempt, self.end, self.is_open) = (self.next, first, true);
        self.next += 1;
        self.resend = Some(Resend { first, above: applied, behind: first });
        let mut messages: Vec<Forward> = Vec::new();
        let mut bytes = 0;
        for at in 0..self.sent.len() {
            let sent = &mut self.sent[at];
            let Some(write) = sent.write.as_ref().filter(|_| sent.verdict.is_none()) else { continue };
            let (number, data) = (sent.number, write.data.clone());
            assert!(sent.term < self.route.term, "nothing was sent on the route before");
            sent.enter(self.route.term);
            sent.at = now;
            bytes += sent.weight;
            let goes_on = self.end == number && bytes <= bytes_max;
            if messages.is_empty() || !goes_on {
                messages.push(self.message(number));
                bytes = self.sent[at].weight;
            }
            messages.last_mut().expect("just seen").writes.push(data);
            self.end = number + 1;
        }
        self.has_older = false;
        self.pace.on_sent(self.route);
        messages
    }

    /// The message that carries `writes` to the leader that is [turned to](Self::turn_to). They are kept until their
    /// outcome is known.
    ///
    /// # Panics
    /// When something waits that may not be overtaken.
    pub(crate) fn forward(&mut self, writes: Vec<CallerWrite>, now: Timestamp) -> Forward {
        assert!(!writes.is_empty(), "what carries nothing asks a question");
        let route = self.route;
        assert!(!self.awaits_fence(route.term), "nothing newer goes before what was sent in an older term");
        if !self.is_open {
            (self.attempt, self.resend, self.end, self.is_open) = (self.next, None, self.next, true);
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
                term: route.term,
                earlier: None,
            });
            self.next += 1;
        }
        assert!(self.attempt <= first && first < self.next, "an attempt's numbers follow each other");
        self.end = self.next;
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
        let is_asked_after = |sent: &&mut Sent| sent.verdict.is_none() && sent.term == route.term;
        let oldest = self.sent.iter_mut().find(is_asked_after)?;
        if oldest.at >= sent_before {
            return None;
        }
        oldest.at = now;
        Some(self.message(self.end))
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
        if self.has_earlier || self.route.term < term {
            // Nothing that was sent in earlier terms enters the log any more: what of it has no verdict is in none.
            self.give_back(|sent| sent.term < term, &mut heard);
            self.sent.iter_mut().filter(|sent| sent.verdict.is_none()).for_each(|sent| sent.pass(term));
            self.has_earlier &= term < self.route.term;
            self.has_older &= self.has_earlier;
        }
        self.tell(&mut heard);
        heard
    }

    /// A raft snapshot whose last entry is of `term` has taken the place of entries that this member never sees. What was
    /// sent so far may stand in one of them. Its leader may know, but says so once, and perhaps has already.
    pub(crate) fn on_skipped(&mut self, term: Term) -> Heard {
        let mut heard = Heard::default();
        if !planted::has(Fault::ForwardedBelowASnapshotGoAgain) {
            let may_be_in = |sent: &&mut Sent| sent.verdict.is_none() && sent.oldest_term() <= term;
            let skipped = self.sent.iter_mut().filter(may_be_in);
            skipped.for_each(|sent| sent.verdict = Some(Err(Error::new(Code::SkippedInFlight))));
            self.tell(&mut heard);
        }
        heard
    }

    /// The term of the route.
    #[must_use]
    pub(crate) fn term(&self) -> Term {
        self.route.term
    }

    /// Treats what is in flight as not in the log; for planted faults.
    pub(crate) fn pass_fence_by_fault(&mut self) -> Heard {
        let mut heard = Heard::default();
        self.give_back(|_| true, &mut heard);
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
        assert!(self.attempt <= self.next && self.end <= self.next, "an attempt has numbers that were given");
        let is_told = |sent: &Sent| sent.term <= self.route.term;
        assert!(self.sent.iter().all(is_told), "nothing is sent in a term to come");
        let are_older =
            |sent: &Sent| sent.earlier.is_none_or(|it| it.oldest <= it.newest && it.newest < sent.term);
        assert!(self.sent.iter().all(are_older), "a write goes to leaders of later and later terms");
        let is_of_route = |sent: &Sent| sent.term == self.route.term && sent.earlier.is_none();
        let undecided = || self.sent.iter().filter(|sent| sent.verdict.is_none());
        assert!(self.has_earlier || undecided().all(is_of_route), "what was sent in earlier terms is known");
        let is_on_its_way = |sent: &Sent| !sent.waits() || sent.term == self.route.term;
        assert!(self.has_older || self.sent.iter().all(is_on_its_way), "what is not on its way is known");
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
        let resend = self.resend.map(|resend| Resend { behind: self.end, ..resend });
        Forward { from, to, boot, term, attempt, first, resend, writes: Vec::new() }
    }

    fn on_refused(&mut self, refused: Refused, heard: &mut Heard) {
        self.is_open = false;
        // What was accepted under an attempt before is no part of this one.
        let first = refused.first.max(self.resend.map_or(self.attempt, |resend| resend.first));
        match refused.code {
            Code::Unsupported => {
                // It would only be refused again. Unless it may be in a log: then that is to be seen first.
                let is_unfit = |sent: &&mut Sent| sent.number == first && sent.earlier.is_none();
                let write = self.sent.iter_mut().find(is_unfit).and_then(|sent| sent.write.take());
                let error = at_leader(self.route.leader, refused.code);
                heard.answers.extend(write.map(|write| (write.completion, Err(error))));
            }
            // It cannot search its log, or lacks something of the resend. That is not sent to it again, and it is not behind.
            Code::NotLeader if self.resend.is_some() => {}
            _ => self.pace.on_refused(self.route),
        }
        self.withdraw(first, heard);
    }

    /// The leader of the route has refused everything from the number `first` on. Gives back what is in no log by that; what
    /// was sent in earlier terms too waits for their fence.
    fn withdraw(&mut self, first: u64, heard: &mut Heard) {
        let at = self.sent.partition_point(|sent| sent.number < first);
        let mut refused = Vec::new();
        for sent in self.sent.range_mut(at..) {
            let is_refused = sent.verdict.is_none() && sent.term == self.route.term;
            if is_refused && (!sent.leave() || planted::has(Fault::RefusedResendGoesAgain)) {
                refused.push(sent.number);
            }
            self.has_older |= is_refused;
        }
        self.give_back(|sent| refused.binary_search(&sent.number).is_ok(), heard);
    }

    /// Gives back what `is_in_no_log`, in order.
    fn give_back(&mut self, is_in_no_log: impl Fn(&Sent) -> bool, heard: &mut Heard) {
        let is_given_back = |sent: &Sent| sent.verdict.is_none() && is_in_no_log(sent);
        if !self.sent.iter().any(is_given_back) {
            return;
        }
        for mut sent in std::mem::take(&mut self.sent) {
            if !is_given_back(&sent) {
                self.sent.push_back(sent);
                continue;
            }
            self.weight -= sent.weight;
            heard.again.extend(sent.write.take());
        }
    }

    /// Forgets the numbers that nobody waits for, except where a verdict has yet to be told.
    fn forget_answered(&mut self) {
        self.sent.retain(|sent| sent.write.is_some());
        self.weight = self.sent.iter().map(|sent| sent.weight).sum();
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
        let (data, deadline) = (Bytes::from_static(b"w"), Timestamp(1000));
        CallerWrite { data, deadline, completion, was_proposed: false }
    }

    fn send(forwarder: &mut Forwarder, writes: usize, term: u64) -> Forward {
        forwarder.turn_to(route(term), true);
        forwarder.forward((0..writes).map(|_| write()).collect(), Timestamp(1))
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
        assert_eq!(forwarder.weight(), 0);
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
    #[should_panic(expected = "nothing newer goes before")]
    fn nothing_newer_goes_before_what_was_sent_in_an_older_term() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);

        send(&mut forwarder, 1, 8);
    }

    /// The number of the first write of each message, how many it has, and the number behind those before.
    fn places(messages: &[Forward]) -> Vec<(u64, usize, u64)> {
        let behind = |message: &Forward| message.resend.expect("it sends again").behind;
        messages.iter().map(|message| (message.first, message.writes.len(), behind(message))).collect()
    }

    #[test]
    fn what_is_undecided_goes_to_the_next_leader_under_its_numbers_and_newer_writes_behind_it() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);
        forwarder.on_answer(&answer(1, &[], Some(2)));
        send(&mut forwarder, 2, 7);
        forwarder.turn_to(route(8), true);

        let resent = forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2));
        assert_eq!(places(&resent), [(1, 1, 1), (3, 2, 2)]);
        assert!(resent.iter().all(|message| (message.attempt, message.term) == (5, Term(8))));
        assert!(forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2)).is_empty(), "once");
        let newer = send(&mut forwarder, 1, 8);
        assert_eq!((places(&[newer]), forwarder.count()), (vec![(6, 1, 5)], 4));

        // Of an earlier term, and of the new one.
        assert_eq!(told(&forwarder.on_applied(vec![(1, Ok(place(1)))], Term(7))), [1]);
        assert_eq!(told(&forwarder.on_answer(&answer(5, &[3, 4, 6], None))), [3, 4, 6]);
        forwarder.check_invariants();
    }

    #[test]
    fn what_the_next_leader_refuses_waits_for_the_fence_if_it_was_sent_before() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 2, 7);
        forwarder.turn_to(route(8), true);
        forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2));
        send(&mut forwarder, 1, 8);

        let refused = forwarder.on_answer(&answer(3, &[], Some(2)));
        assert_eq!(refused.again.len(), 1, "what only this leader was sent");
        assert!(forwarder.awaits_fence(Term(8)) && forwarder.count() == 2);
        assert!(forwarder.resend(LogIndex(5), usize::MAX, Timestamp(3)).is_empty(), "it was refused");

        // The first one is on its way to the leader of term 8, or in its log.
        assert_eq!(forwarder.on_applied(vec![], Term(8)).again.len(), 1);
        assert_eq!(forwarder.count(), 1);
        assert_eq!(told(&forwarder.on_answer(&answer(3, &[1], None))), [1]);
        forwarder.check_invariants();
    }

    #[test]
    fn a_candidate_that_is_not_elected_has_refused_all_that_it_was_sent() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);
        forwarder.turn_to(route(8), false);
        forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2));
        forwarder.forward(vec![write()], Timestamp(2));

        let other = Route { leader: NodeId(3), term: Term(8) };
        assert_eq!(forwarder.turn_to(other, true).again.len(), 1, "what nobody else was sent");
        let resent = forwarder.resend(LogIndex(5), usize::MAX, Timestamp(3));

        assert_eq!(places(&resent), [(1, 1, 1)]);
        assert!(!forwarder.awaits_fence(Term(8)));
        forwarder.check_invariants();
    }

    #[test]
    fn what_a_candidate_was_sent_and_nobody_waits_for_is_forgotten_when_another_leads() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);
        forwarder.turn_to(route(8), false);
        forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2));
        assert_eq!(forwarder.expire(Timestamp(1000)).len(), 1);
        forwarder.on_applied(vec![], Term(8));
        assert_eq!(forwarder.count(), 1, "the candidate may have won");

        let other = Route { leader: NodeId(3), term: Term(8) };
        assert!(forwarder.has_to_turn_to(other));
        forwarder.turn_to(other, true);

        assert!(forwarder.is_empty());
    }

    #[test]
    fn terms_between_those_that_are_known_count_too() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 1);
        for term in 2..5 {
            forwarder.turn_to(route(term), false);
            assert_eq!(forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2)).len(), 1);
        }
        forwarder.turn_to(Route { leader: NodeId(3), term: Term(4) }, true);

        assert!(forwarder.on_applied(vec![], Term(2)).again.is_empty());
        assert_eq!(forwarder.on_skipped(Term(2)).answers.len(), 1, "it may stand in a later entry of term 2");
    }

    #[test]
    fn a_snapshot_may_have_all_that_was_sent_in_a_term_up_to_its_last() {
        let mut forwarder = forwarder();
        send(&mut forwarder, 1, 7);
        forwarder.turn_to(route(9), true);
        forwarder.resend(LogIndex(5), usize::MAX, Timestamp(2));
        send(&mut forwarder, 1, 9);

        let skipped = forwarder.on_skipped(Term(8));

        let codes = skipped.answers.iter().map(|(_, outcome)| outcome.as_ref().err().map(Error::code));
        assert_eq!(codes.collect::<Vec<_>>(), [Some(Code::SkippedInFlight)]);
        assert_eq!((forwarder.count(), skipped.again.len()), (1, 0));
    }

    #[test]
    fn callers_who_were_answered_hold_up_nobody_and_go_nowhere_again() {
        let mut forwarder = forwarder();
        let (completion, call) = any_call(Arc::new(Waiter::default()).sink());
        let late = CallerWrite { completion, ..write() };
        forwarder.turn_to(route(7), true);
        forwarder.forward(vec![late, write(), write()], Timestamp(1));
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
        assert!(forwarder.weight() > 0, "the leader may have it");

        assert!(forwarder.ask(route(7), Timestamp(2), Timestamp(5)).is_some());
        forwarder.on_answer(&answer(1, &[], Some(1)));

        assert_eq!(forwarder.weight(), 0);
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
