//! The leader's side of forwarded writes.
//!
//! Owns how far the attempt of each member has come in the term in which this member leads, and the answers on their
//! way back. What always holds: a number is accepted once and in order, and only under the newest attempt; what was
//! accepted is proposed in this term unless the term ends first; after a refusal nothing is accepted until the next
//! attempt, which a member begins when it has heard of the refusal, so that no write overtakes another. Within a term
//! nothing is forgotten of a boot that may be heard of again. What was accepted and is not decided, and the answers
//! that have not left, outlive the term: a former leader still tells what became of them. What is sent again and stands
//! in the log is neither proposed nor answered: its member finds it there. The member's side is
//! [`forwarder`](super::forwarder).

use std::ops::Range;

use bytes::Bytes;

use crate::completion::Reply;
use crate::core::boots::Boots;
use crate::core::forwarding::{Forward, ForwardAnswer, Origin, Refused, RequestId, Resend, Verdict};
use crate::core::planted::{self, Fault};
use crate::error::{Code, Refusal};
use crate::types::{NodeId, Term};

/// Verdicts in one answer.
const VERDICTS_MAX: usize = 4096;
/// With one that tells results. Those are added up for each.
const VERDICTS_WITH_RESULTS_MAX: usize = 256;
/// Bytes of results in one answer, unless one write has more.
const RESULT_BYTES_MAX: usize = 512 * 1024;

/// A refusal because something before it got lost. There is no error code for that, and callers see none: a member
/// sends again whatever was refused with a code other than `UNSUPPORTED`, or waits for the fence.
const GAP: Code = Code::NotLeader;

/// The newest attempt of one boot of a member.
#[derive(Debug, Default)]
struct Attempt {
    id: u64,
    /// The number that is accepted next.
    expected: u64,
    /// Why it is over, once something was refused.
    over: Option<Code>,
    /// Its numbers that the log has from earlier terms, by rising numbers.
    logged: Vec<u64>,
}

impl Attempt {
    /// `resent` is the first number of what is sent again, and what of it the log has.
    fn begin(id: u64, resent: Option<(u64, Result<Vec<u64>, Code>)>) -> Self {
        let Some((first, logged)) = resent else {
            return Self { id, expected: id, over: None, logged: Vec::new() };
        };
        let over = logged.as_ref().err().copied();
        Self { id, expected: first, over, logged: logged.unwrap_or_default() }
    }

    fn is_logged(&self, number: u64) -> bool {
        self.logged.binary_search(&number).is_ok()
    }

    /// Whether writes of these numbers are taken, as far as they were not accepted before; none when all of them were. Of
    /// the attempt, `behind` is the number behind those that were sent before.
    fn judge(&self, behind: u64, numbers: Range<u64>, willing: Willingness) -> Option<Willingness> {
        match self.over {
            Some(code) => Some(Err(code)),
            None if behind > self.expected => Some(Err(GAP)),
            None if numbers.end <= self.expected => None,
            None => Some(willing),
        }
    }

    /// Ends the attempt: no later number will be accepted.
    fn refuse(&mut self, code: Code) -> Refused {
        self.over = Some(code);
        Refused { first: self.expected, code }
    }
}

/// Whether something is taken, or why not.
type Willingness = Result<(), Code>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Attempts {
    node: NodeId,
    /// The term in which this member leads.
    term: Option<Term>,
    attempts: Boots<Attempt>,
    answers: Vec<ForwardAnswer>,
    /// Accepted and not answered.
    in_flight: u64,
}

impl Attempts {
    /// Of a member that does not lead.
    #[must_use]
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, term: None, attempts: Boots::new(), answers: Vec::new(), in_flight: 0 }
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        self.attempts.check_invariants();
        assert!(self.answers.is_empty(), "answers leave in their round");
        assert!(self.term.is_some() || self.attempts.is_empty(), "nothing is accepted outside a term");
        let is_ordered = |attempt: &Attempt| attempt.logged.is_sorted_by(|one, next| one < next);
        assert!(self.attempts.values().all(is_ordered), "the log has a number once");
    }

    /// The term in which writes are accepted, if they are.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn term(&self) -> Option<Term> {
        self.term
    }

    /// This member leads in `term` from now on, or in none.
    pub(crate) fn begin_term(&mut self, term: Option<Term>) {
        let is_later = |begun: Term| self.term.is_none_or(|before| before < begun);
        assert!(term.is_none_or(is_later), "a leadership is of a later term than the one before");
        self.term = term;
        self.attempts.clear();
    }

    /// The writes of `forward`, of a member's boot number `count`, to propose in this term. `willing` says why none can
    /// be; those that `is_fit` turns down never can. `search` finds which numbers of the member the log has, or says why it
    /// cannot.
    pub(crate) fn accept(
        &mut self,
        forward: Forward,
        count: u64,
        willing: Willingness,
        is_fit: impl Fn(&Bytes) -> bool,
        search: impl FnOnce(Origin, Resend) -> Result<Vec<u64>, Code>,
    ) -> Vec<(RequestId, Bytes)> {
        let Forward { from: node, boot, term, attempt: id, first, resend, writes, .. } = forward;
        let Some(end) = first.checked_add(writes.len() as u64) else { return Vec::new() };
        if self.term != Some(term) {
            // Its member finds out by itself what became of it.
            return Vec::new();
        }
        let begin = resend.map_or(id, |resend| resend.first);
        let behind = resend.map_or(first, |resend| resend.behind);
        let origin = Origin { node, boot };
        let Some(attempt) = self.attempts.entry(node, count, boot) else { return Vec::new() };
        if !(begin..=first).contains(&behind) || begin > id {
            return Vec::new();
        }
        if attempt.id < id {
            // What was accepted in this term it does not search for: a member sends again before it sends anything else.
            let is_first = attempt.id == 0;
            let found = |resend| if is_first { search(origin, resend) } else { Err(GAP) };
            *attempt = Attempt::begin(id, resend.map(|resend| (resend.first, found(resend))));
        }
        if attempt.id != id {
            return Vec::new();
        }
        if planted::has(Fault::RefusedAttemptGoesOn) {
            attempt.over = None;
        }
        let Some(mut taken) = attempt.judge(behind, first..end, willing) else { return Vec::new() };
        let (mut accepted, expected) = (Vec::new(), attempt.expected);
        let fresh = writes.into_iter().zip(first..).filter(|(_, number)| *number >= expected);
        for (data, number) in fresh {
            let is_logged = attempt.is_logged(number);
            if taken.is_ok() && !is_logged && !is_fit(&data) {
                taken = Err(Code::Unsupported);
            }
            if taken.is_err() {
                break;
            }
            attempt.expected = number + 1;
            if !is_logged {
                accepted.push((RequestId { origin, number }, data));
            }
        }
        if attempt.logged.last().is_some_and(|last| *last < attempt.expected) {
            attempt.logged = Vec::new();
        }
        assert!(attempt.expected >= expected, "a number is accepted once");
        self.in_flight += accepted.len() as u64;
        if let Err(code) = taken {
            let refused = attempt.refuse(code);
            self.refuse(node, boot, id, refused);
        }
        accepted
    }

    /// How many writes were accepted and have no outcome.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// So many accepted writes will get no answer: their members find out by themselves what became of them.
    pub(crate) fn forget(&mut self, count: usize) {
        assert!(count as u64 <= self.in_flight, "only what was accepted is forgotten");
        self.in_flight -= count as u64;
    }

    /// The outcome of an accepted write is known.
    pub(crate) fn answer(&mut self, id: RequestId, outcome: crate::error::Result<Reply>) {
        assert!(self.in_flight > 0, "what is answered was accepted");
        self.in_flight -= 1;
        let Origin { node, boot } = id.origin;
        let verdict = Verdict { number: id.number, outcome: outcome.map_err(|error| Refusal::of(&error)) };
        let has_room = |answer: &ForwardAnswer| has_room_for(answer, &verdict);
        let answer = self.answer_to(node, boot, has_room);
        answer.verdicts.push(verdict);
        assert!(answer.verdicts.len() <= VERDICTS_MAX, "an answer is bounded");
    }

    /// True when an answer waits to be sent.
    #[must_use]
    pub(crate) fn has_messages(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Answers to this member.
    pub(crate) fn take_answers_to(&mut self, node: NodeId) -> Vec<ForwardAnswer> {
        self.answers.extract_if(.., |answer| answer.to == node).collect()
    }

    /// Answers to send.
    pub(crate) fn take_messages(&mut self) -> Vec<ForwardAnswer> {
        std::mem::take(&mut self.answers)
    }

    fn refuse(&mut self, node: NodeId, boot: u64, attempt: u64, refused: Refused) {
        let is_free = |answer: &ForwardAnswer| answer.refused.is_none() || answer.attempt == attempt;
        let answer = self.answer_to(node, boot, is_free);
        (answer.attempt, answer.refused) = (attempt, Some(refused));
    }

    /// The last answer to this boot if it is `suitable`, or another behind it.
    fn answer_to(
        &mut self,
        to: NodeId,
        boot: u64,
        suitable: impl Fn(&ForwardAnswer) -> bool,
    ) -> &mut ForwardAnswer {
        let last = self.answers.iter().rposition(|answer| (answer.to, answer.boot) == (to, boot));
        let at = last.filter(|&at| suitable(&self.answers[at])).unwrap_or(self.answers.len());
        if at == self.answers.len() {
            let (from, attempt, verdicts) = (self.node, 0, Vec::new());
            self.answers.push(ForwardAnswer { from, to, boot, attempt, verdicts, refused: None });
        }
        &mut self.answers[at]
    }
}

/// Whether `answer` takes one more. Results of any size stand alone, if they are large.
fn has_room_for(answer: &ForwardAnswer, verdict: &Verdict) -> bool {
    let count = answer.verdicts.len();
    let bytes = verdict.result_bytes();
    if bytes == 0 {
        return count < VERDICTS_MAX;
    }
    let told: usize = answer.verdicts.iter().map(Verdict::result_bytes).sum();
    count < VERDICTS_WITH_RESULTS_MAX && told + bytes <= RESULT_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogIndex;

    const COUNT: u64 = 3;

    fn attempts() -> Attempts {
        let mut attempts = Attempts::new(NodeId(1));
        attempts.begin_term(Some(Term(7)));
        attempts
    }

    fn forward(attempt: u64, first: u64, writes: usize) -> Forward {
        let writes = vec![Bytes::from_static(b"w"); writes];
        let (from, to) = (NodeId(2), NodeId(1));
        Forward { from, to, boot: 42, term: Term(7), attempt, first, resend: None, writes }
    }

    fn accepted(attempts: &mut Attempts, forward: Forward) -> Vec<u64> {
        let accepted = attempts.accept(forward, COUNT, Ok(()), |_| true, |_, _| Ok(vec![]));
        accepted.iter().map(|(id, _)| id.number).collect()
    }

    /// The attempt that was refused, and from where on.
    fn refused(attempts: &mut Attempts) -> Option<(u64, u64)> {
        let answers = attempts.take_messages();
        answers.iter().find_map(|answer| answer.refused.map(|refused| (answer.attempt, refused.first)))
    }

    #[test]
    fn writes_are_accepted_in_order_and_once() {
        let mut attempts = attempts();

        assert_eq!(accepted(&mut attempts, forward(1, 1, 2)), [1, 2]);
        assert_eq!(accepted(&mut attempts, forward(1, 1, 2)), [0; 0]);
        assert_eq!(accepted(&mut attempts, forward(1, 2, 2)), [3]);
        assert!(!attempts.has_messages());
    }

    #[test]
    fn a_gap_ends_the_attempt_where_it_begins() {
        let mut attempts = attempts();
        accepted(&mut attempts, forward(1, 1, 1));

        assert!(accepted(&mut attempts, forward(1, 3, 1)).is_empty());
        assert_eq!(refused(&mut attempts), Some((1, 2)));
        assert!(accepted(&mut attempts, forward(1, 2, 1)).is_empty(), "what was lost comes too late");
        assert_eq!(refused(&mut attempts), Some((1, 2)));
        assert_eq!(accepted(&mut attempts, forward(4, 4, 1)), [4]);
        assert!(accepted(&mut attempts, forward(1, 2, 1)).is_empty(), "an older attempt");
        assert_eq!(refused(&mut attempts), None, "its member knows");
    }

    #[test]
    fn a_question_is_answered_only_when_something_is_missing() {
        let mut attempts = attempts();
        accepted(&mut attempts, forward(1, 1, 2));

        assert!(accepted(&mut attempts, forward(1, 3, 0)).is_empty());
        assert!(!attempts.has_messages());
        assert!(accepted(&mut attempts, forward(1, 5, 0)).is_empty());
        assert_eq!(refused(&mut attempts), Some((1, 3)));
    }

    #[test]
    fn of_an_attempt_that_was_never_heard_everything_is_missing() {
        let mut attempts = attempts();

        assert!(accepted(&mut attempts, forward(4, 7, 0)).is_empty());
        assert_eq!(refused(&mut attempts), Some((4, 4)));
        assert_eq!(accepted(&mut attempts, forward(7, 7, 1)), [7]);
    }

    #[test]
    fn an_unwilling_leader_refuses_what_it_has_not_accepted() {
        let mut attempts = attempts();
        accepted(&mut attempts, forward(1, 1, 2));

        assert!(
            attempts
                .accept(forward(1, 2, 2), COUNT, Err(Code::Overloaded), |_| true, |_, _| Ok(vec![]))
                .is_empty()
        );

        assert_eq!(refused(&mut attempts), Some((1, 3)));
    }

    #[test]
    fn what_can_never_be_proposed_is_refused_with_all_behind_it() {
        let mut attempts = attempts();
        let mut mixed = forward(1, 1, 3);
        mixed.writes[1] = Bytes::from_static(b"unfit");

        let accepted = attempts.accept(mixed, COUNT, Ok(()), |data| data.len() == 1, |_, _| Ok(vec![]));

        assert_eq!(accepted.len(), 1);
        assert_eq!(refused(&mut attempts), Some((1, 2)));
    }

    /// Numbers from 3 on, under the attempt 9, of which the log has these.
    fn resent(
        attempts: &mut Attempts,
        (first, writes, behind): (u64, usize, u64),
        logged: &[u64],
    ) -> Vec<u64> {
        let resend = Some(Resend { first: 3, above: LogIndex(5), behind });
        let message = Forward { resend, ..forward(9, first, writes) };
        let accepted = attempts.accept(message, COUNT, Ok(()), |_| true, |_, _| Ok(logged.to_vec()));
        accepted.iter().map(|(id, _)| id.number).collect()
    }

    #[test]
    fn what_is_sent_again_and_stands_in_the_log_is_not_proposed() {
        let mut attempts = attempts();

        assert_eq!(resent(&mut attempts, (3, 3, 3), &[3, 4]), [5]);
        assert_eq!(resent(&mut attempts, (3, 3, 3), &[]), [0; 0]);
        assert_eq!(resent(&mut attempts, (7, 1, 6), &[]), [7], "6 stands for nothing any more");
        assert_eq!(resent(&mut attempts, (10, 1, 8), &[]), [10], "the next write");
        assert_eq!((attempts.in_flight(), refused(&mut attempts)), (3, None));
    }

    #[test]
    fn of_what_is_sent_again_nothing_gets_lost_unnoticed() {
        let mut attempts = attempts();
        resent(&mut attempts, (3, 1, 3), &[]);

        assert!(resent(&mut attempts, (7, 1, 6), &[]).is_empty(), "4 and 5 are missing");
        assert_eq!(refused(&mut attempts), Some((9, 4)));
    }

    #[test]
    fn a_leader_that_cannot_search_its_log_takes_nothing_that_is_sent_again() {
        let mut attempts = attempts();
        let resend = Some(Resend { first: 3, above: LogIndex(5), behind: 3 });
        let message = Forward { resend, ..forward(9, 3, 2) };

        let accepted = attempts.accept(message, COUNT, Ok(()), |_| true, |_, _| Err(Code::NotLeader));

        assert!(accepted.is_empty());
        assert_eq!(refused(&mut attempts), Some((9, 3)));
    }

    #[test]
    fn nothing_of_another_term_is_accepted_or_refused() {
        let mut attempts = attempts();

        for term in [None, Some(Term(6)), Some(Term(8))] {
            attempts.begin_term(term);
            assert!(accepted(&mut attempts, forward(1, 1, 2)).is_empty());
            assert!(!attempts.has_messages());
        }
    }

    #[test]
    fn a_boot_that_comes_back_goes_on_where_it_was() {
        let mut attempts = attempts();
        accepted(&mut attempts, forward(1, 1, 2));

        assert_eq!(accepted(&mut attempts, Forward { boot: 43, ..forward(1, 1, 1) }), [1]);
        assert_eq!(accepted(&mut attempts, forward(1, 1, 3)), [3]);
    }

    #[test]
    fn verdicts_travel_together_and_refusals_of_two_attempts_do_not() {
        let mut attempts = attempts();
        for (id, _) in attempts.accept(forward(1, 1, 2), COUNT, Ok(()), |_| true, |_, _| Ok(vec![])) {
            attempts.answer(id, Ok(Reply::default()));
        }
        accepted(&mut attempts, forward(1, 5, 1));
        accepted(&mut attempts, forward(5, 7, 1));

        let answers = attempts.take_messages();

        let of = |answer: &ForwardAnswer| (answer.verdicts.len(), answer.attempt);
        assert_eq!(answers.iter().map(of).collect::<Vec<_>>(), [(2, 1), (0, 5)]);
    }
}
