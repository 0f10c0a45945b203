//! The leader's side of forwarded writes.
//!
//! Owns how far each follower's sessions have come, and the answers on their way back, which are kept until the follower
//! says that it has them. What always holds: a write is accepted once and in order; after one refusal everything behind it
//! in its session is refused, and so is everything that was not accepted when a newer session or a newer term began, so
//! that no retry can overtake or be overtaken; "refused" is said only of writes that no run of this member can have
//! accepted. For that a session belongs to one term: only this run of this member has led in it, so what is not remembered
//! here was never accepted. The follower's side is [`forwarder`](super::forwarder).

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::completion::Position;
use crate::core::forwarding::{Forward, ForwardAnswer, Refused, RequestId, Verdict};
use crate::core::runs::Runs;
use crate::error::{Code, Result};
use crate::types::{NodeId, Term};

/// Verdicts in one answer.
const VERDICTS_MAX: usize = 4096;
/// Sessions of one run that are remembered. The newest is in use, of the others late messages may come.
const SESSIONS_MAX: usize = 8;
/// Verdicts of one session that are kept for a follower that may not have heard them.
const KEPT_MAX: usize = 16_384;

#[derive(Debug)]
struct Session {
    term: Term,
    /// Number of its first write.
    first: u64,
    /// Number of the next write it may accept.
    expected: u64,
    over: bool,
    /// What was said and may not have been heard.
    said: VecDeque<Verdict>,
}

/// What becomes of writes that arrive.
enum Judged {
    /// Those that were not accepted before are now.
    Accepted,
    /// All of them were accepted before.
    Known,
    /// Some are refused.
    Refused(Refused),
}

/// Why what arrives belongs to no session that is remembered.
enum Stray {
    /// This member does not lead in its term; an earlier leadership or an earlier run of it may have accepted it.
    OfAnotherTerm,
    /// Nothing of its run was ever accepted in this term: there was no room to remember it.
    OfARunTooMany,
    /// It may have been accepted: its session was forgotten for newer ones.
    Forgotten,
}

impl Session {
    fn new(term: Term, first: u64) -> Self {
        Self { term, first, expected: first, over: false, said: VecDeque::new() }
    }

    /// What to do with the writes of these numbers.
    fn judge(&mut self, numbers: Range<u64>, willing: std::result::Result<(), Code>) -> Judged {
        let code = match willing {
            _ if self.over => Code::NotLeader,
            Err(code) => code,
            // Something before it got lost.
            Ok(()) if numbers.start > self.expected => Code::NotLeader,
            Ok(()) => {
                self.expected = self.expected.max(numbers.end);
                return Judged::Accepted;
            }
        };
        if numbers.end <= self.expected {
            return Judged::Known;
        }
        self.over = true;
        Judged::Refused(Refused { first: self.expected, code })
    }

    /// The follower has every verdict before this number.
    fn hear(&mut self, answered: u64) {
        while self.said.front().is_some_and(|verdict| verdict.number < answered) {
            self.said.pop_front();
        }
    }

    fn keep(&mut self, verdict: Verdict) {
        if self.said.len() == KEPT_MAX {
            self.said.pop_front();
        }
        self.said.push_back(verdict);
    }
}

/// The newest sessions of one run of a follower, in the order of their numbers.
#[derive(Debug, Default)]
struct Run {
    sessions: Vec<Session>,
    /// Sessions that begin below are forgotten.
    forgotten: u64,
}

impl Run {
    /// A session and whether it is the newest; none when it may be one that is forgotten. What is not remembered otherwise was
    /// never heard of.
    fn session(&mut self, term: Term, first: u64) -> Option<(&mut Session, bool)> {
        let sessions = &mut self.sessions;
        let at = match sessions.binary_search_by_key(&first, |session| session.first) {
            Ok(at) if sessions[at].term == term => at,
            Ok(_) => return None,
            Err(_) if first < self.forgotten => return None,
            Err(at) => {
                sessions.insert(at, Session::new(term, first));
                let surplus = sessions.len().saturating_sub(SESSIONS_MAX);
                let forgotten = sessions.drain(..surplus).next_back();
                self.forgotten = forgotten.map_or(self.forgotten, |session| session.first + 1);
                at.checked_sub(surplus)?
            }
        };
        let newest = at + 1 == sessions.len();
        Some((&mut sessions[at], newest))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    node: NodeId,
    /// The last terms in which this run led, the newest first. Terms begin at 1.
    led: [Term; 2],
    runs: Runs<Run>,
    answers: Vec<ForwardAnswer>,
}

impl Sessions {
    /// No session.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, led: [Term(0); 2], runs: Runs::new(), answers: Vec::new() }
    }

    /// This member leads in `term` from now on.
    pub fn begin_term(&mut self, term: Term) {
        let ended = self.led[0];
        self.led = [term, ended];
        self.runs.retain(|run| {
            run.sessions.retain(|session| session.term == ended);
            !run.sessions.is_empty()
        });
    }

    /// The writes of `forward` to propose now. `willing` says why none can be.
    pub fn accept(
        &mut self,
        forward: Forward,
        willing: std::result::Result<(), Code>,
    ) -> Vec<(RequestId, Bytes)> {
        let Some(end) = forward.first.checked_add(forward.writes.len() as u64) else { return Vec::new() };
        let leads = forward.term == self.led[0];
        let (session, newest) = match self.session(&forward) {
            Ok(found) => found,
            Err(stray) => {
                self.turn_away(&forward, &stray);
                return Vec::new();
            }
        };
        let Forward { from: node, boot_nonce, session: first_of_session, first, answered, writes, .. } =
            forward;
        session.hear(answered);
        let repeated: Vec<_> =
            if writes.is_empty() { session.said.iter().copied().collect() } else { Vec::new() };
        let willing = if newest && leads { willing } else { Err(Code::NotLeader) };
        let expected = session.expected;
        let judged = session.judge(first..end, willing);
        for verdict in repeated {
            self.answer_to(node, boot_nonce, first_of_session).verdicts.push(verdict);
        }
        match judged {
            Judged::Known => Vec::new(),
            Judged::Refused(refused) => {
                self.refuse(node, boot_nonce, first_of_session, refused);
                Vec::new()
            }
            Judged::Accepted => {
                let id = |number| RequestId { node, boot_nonce, session: first_of_session, number };
                let numbered = writes.into_iter().zip(first..);
                let fresh = numbered.filter(|(_, number)| *number >= expected);
                fresh.map(|(data, number)| (id(number), data)).collect()
            }
        }
    }

    /// The session that `forward` belongs to, and whether it is the newest of its run.
    fn session(&mut self, forward: &Forward) -> std::result::Result<(&mut Session, bool), Stray> {
        if !self.led.contains(&forward.term) {
            return Err(Stray::OfAnotherTerm);
        }
        // A run that has ended asks for nothing any more.
        let outlived =
            |run: &mut Run| run.sessions.iter_mut().for_each(|session| session.said = VecDeque::new());
        let run = self.runs.entry(forward.from, forward.boot_nonce, outlived).ok_or(Stray::OfARunTooMany)?;
        run.session(forward.term, forward.session).ok_or(Stray::Forgotten)
    }

    fn turn_away(&mut self, forward: &Forward, stray: &Stray) {
        let Forward { from, boot_nonce, session, .. } = *forward;
        match stray {
            Stray::OfAnotherTerm => {
                self.disown(forward);
                // Or the follower would send one write after the other here until it hears of another leader.
                self.refuse(from, boot_nonce, session, Refused::TERM_IS_OVER);
            }
            Stray::OfARunTooMany => {
                self.refuse(from, boot_nonce, session, Refused { first: session, code: Code::Overloaded });
            }
            Stray::Forgotten => self.disown(forward),
        }
    }

    /// Says of the writes that `forward` brings or asks after that nobody here knows what becomes of them.
    fn disown(&mut self, forward: &Forward) {
        let Forward { from, boot_nonce, session, first, answered, ref writes, .. } = *forward;
        let numbers =
            if writes.is_empty() { session.max(answered)..first } else { first..first + writes.len() as u64 };
        let unknown =
            numbers.take(VERDICTS_MAX).map(|number| Verdict { number, outcome: Err(Code::LeadershipLost) });
        self.answer_to(from, boot_nonce, session).verdicts.extend(unknown);
    }

    /// An accepted write could not be proposed after all: it and everything behind it is refused.
    pub fn take_back(&mut self, id: RequestId, code: Code) {
        if let Some(session) = self.session_of(id) {
            if session.over && session.expected <= id.number {
                return;
            }
            session.over = true;
            session.expected = session.expected.min(id.number);
        }
        self.refuse(id.node, id.boot_nonce, id.session, Refused { first: id.number, code });
    }

    /// The outcome of an accepted write is known.
    pub fn answer(&mut self, id: RequestId, outcome: Result<Position>) {
        let verdict = Verdict { number: id.number, outcome: outcome.map_err(|error| error.code()) };
        if let Some(session) = self.session_of(id) {
            session.keep(verdict);
        }
        self.answer_to(id.node, id.boot_nonce, id.session).verdicts.push(verdict);
    }

    fn session_of(&mut self, id: RequestId) -> Option<&mut Session> {
        let sessions = &mut self.runs.get_mut(id.node, id.boot_nonce)?.sessions;
        let at = sessions.binary_search_by_key(&id.session, |session| session.first).ok()?;
        Some(&mut sessions[at])
    }

    /// True when an answer waits to be sent.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Answers to send.
    pub fn take_answers(&mut self) -> Vec<ForwardAnswer> {
        std::mem::take(&mut self.answers)
    }

    fn refuse(&mut self, node: NodeId, boot_nonce: u64, session: u64, refused: Refused) {
        let answer = self.answer_to(node, boot_nonce, session);
        let earlier = answer.refused.map_or(refused.first, |before| before.first.min(refused.first));
        answer.refused = Some(Refused { first: earlier, ..refused });
    }

    fn answer_to(&mut self, to: NodeId, boot_nonce: u64, session: u64) -> &mut ForwardAnswer {
        let same = |answer: &ForwardAnswer| {
            (answer.to, answer.boot_nonce, answer.session) == (to, boot_nonce, session)
                && answer.verdicts.len() < VERDICTS_MAX
        };
        let at = match self.answers.iter().rposition(same) {
            Some(at) => at,
            None => {
                let (from, verdicts) = (self.node, Vec::new());
                self.answers.push(ForwardAnswer { from, to, boot_nonce, session, verdicts, refused: None });
                self.answers.len() - 1
            }
        };
        &mut self.answers[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::runs::RUNS_MAX;

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(NodeId(1));
        sessions.begin_term(Term(7));
        sessions
    }

    fn forward(session: u64, first: u64, writes: usize) -> Forward {
        let writes = vec![Bytes::from_static(b"w"); writes];
        let (from, to) = (NodeId(2), NodeId(1));
        Forward { from, to, boot_nonce: 42, term: Term(7), session, first, answered: 0, writes }
    }

    fn numbers(accepted: &[(RequestId, Bytes)]) -> Vec<u64> {
        accepted.iter().map(|(id, _)| id.number).collect()
    }

    fn refused(sessions: &mut Sessions) -> Option<u64> {
        sessions.take_answers().into_iter().find_map(|answer| answer.refused).map(|refused| refused.first)
    }

    #[test]
    fn writes_are_accepted_in_order_and_once() {
        let mut sessions = sessions();

        assert_eq!(numbers(&sessions.accept(forward(1, 1, 2), Ok(()))), [1, 2]);
        assert_eq!(numbers(&sessions.accept(forward(1, 1, 2), Ok(()))), [0; 0]);
        assert_eq!(numbers(&sessions.accept(forward(1, 2, 2), Ok(()))), [3]);
        assert!(!sessions.has_answers());
    }

    #[test]
    fn a_gap_ends_the_session_where_it_begins() {
        let mut sessions = sessions();
        sessions.accept(forward(1, 1, 1), Ok(()));

        assert!(sessions.accept(forward(1, 3, 1), Ok(())).is_empty());
        assert_eq!(refused(&mut sessions), Some(2));
        assert!(sessions.accept(forward(1, 2, 1), Ok(())).is_empty(), "what was lost comes too late");
        assert_eq!(refused(&mut sessions), Some(2));
        assert_eq!(numbers(&sessions.accept(forward(4, 4, 1), Ok(()))), [4]);
    }

    #[test]
    fn a_probe_is_answered_only_when_something_is_missing() {
        let mut sessions = sessions();
        sessions.accept(forward(1, 1, 2), Ok(()));

        assert!(sessions.accept(forward(1, 3, 0), Ok(())).is_empty());
        assert!(!sessions.has_answers());
        assert!(sessions.accept(forward(1, 5, 0), Ok(())).is_empty());
        assert_eq!(refused(&mut sessions), Some(3));
    }

    #[test]
    fn an_unwilling_leader_refuses_what_it_has_not_accepted() {
        let mut sessions = sessions();
        sessions.accept(forward(1, 1, 2), Ok(()));

        assert!(sessions.accept(forward(1, 2, 2), Err(Code::Overloaded)).is_empty());

        assert_eq!(refused(&mut sessions), Some(3));
    }

    #[test]
    fn what_was_accepted_and_not_proposed_is_refused_with_all_behind_it() {
        let mut sessions = sessions();
        let accepted = sessions.accept(forward(1, 1, 3), Ok(()));

        accepted[1..].iter().for_each(|(id, _)| sessions.take_back(*id, Code::Overloaded));

        assert_eq!(refused(&mut sessions), Some(2));
        assert!(sessions.accept(forward(1, 4, 1), Ok(())).is_empty());
        assert_eq!(refused(&mut sessions), Some(2));
    }

    fn said(answers: &[ForwardAnswer]) -> Vec<(u64, Option<Code>)> {
        let verdicts = answers.iter().flat_map(|answer| &answer.verdicts);
        verdicts.map(|verdict| (verdict.number, verdict.outcome.err())).collect()
    }

    #[test]
    fn what_nobody_here_can_know_is_said_to_be_unknown() {
        let unknown = |number| (number, Some(Code::LeadershipLost));
        let mut sessions = sessions();

        let of_another_term = Forward { term: Term(6), ..forward(1, 1, 2) };
        assert!(sessions.accept(of_another_term, Err(Code::NotLeader)).is_empty());
        let answers = sessions.take_answers();
        assert_eq!(
            (said(&answers), answers[0].refused),
            (vec![unknown(1), unknown(2)], Some(Refused::TERM_IS_OVER))
        );

        for session in 1..=SESSIONS_MAX as u64 + 1 {
            sessions.accept(forward(session, session, 1), Ok(()));
        }
        let asks = Forward { answered: 1, ..forward(1, 2, 0) };
        assert!(sessions.accept(asks, Ok(())).is_empty());
        let answers = sessions.take_answers();
        assert_eq!((said(&answers), answers[0].refused), (vec![unknown(1)], None), "accepted and forgotten");
    }

    #[test]
    fn a_run_for_which_there_is_no_room_is_refused_and_not_left_in_doubt() {
        let mut sessions = sessions();
        for boot_nonce in 0..RUNS_MAX as u64 {
            sessions.accept(Forward { boot_nonce, ..forward(1, 1, 1) }, Ok(()));
        }

        assert!(sessions.accept(Forward { boot_nonce: u64::MAX, ..forward(1, 3, 1) }, Ok(())).is_empty());

        let answers = sessions.take_answers();
        assert_eq!(answers[0].refused, Some(Refused { first: 1, code: Code::Overloaded }));
        assert!(answers[0].verdicts.is_empty());
    }

    #[test]
    fn a_session_that_comes_behind_a_newer_one_for_the_first_time_is_refused() {
        let mut sessions = sessions();
        sessions.accept(forward(5, 5, 1), Ok(()));

        assert!(sessions.accept(forward(1, 1, 1), Ok(())).is_empty());

        assert_eq!(refused(&mut sessions), Some(1));
    }

    #[test]
    fn what_an_older_session_brings_late_is_refused() {
        let mut sessions = sessions();
        sessions.accept(forward(1, 1, 2), Ok(()));
        sessions.accept(forward(5, 5, 1), Ok(()));

        assert!(sessions.accept(forward(1, 3, 1), Ok(())).is_empty());

        assert_eq!(refused(&mut sessions), Some(3));
    }

    #[test]
    fn a_write_that_comes_after_its_term_is_refused_by_the_leader_of_the_next() {
        let mut sessions = sessions();
        sessions.accept(forward(1, 1, 1), Ok(()));
        sessions.begin_term(Term(9));

        assert!(sessions.accept(forward(1, 2, 1), Ok(())).is_empty());
        assert_eq!(refused(&mut sessions), Some(2));

        sessions.begin_term(Term(12));
        assert!(sessions.accept(forward(1, 3, 1), Ok(())).is_empty());
        let unknown = [(3, Some(Code::LeadershipLost))];
        assert_eq!(said(&sessions.take_answers()), unknown, "nobody remembers term 7");
    }

    #[test]
    fn what_was_said_is_repeated_until_it_is_known() {
        let mut sessions = sessions();
        for (id, _) in sessions.accept(forward(1, 1, 3), Ok(())) {
            sessions.answer(id, Ok(Position::default()));
        }
        sessions.begin_term(Term(8));
        sessions.take_answers();

        sessions.accept(Forward { answered: 2, ..forward(1, 4, 0) }, Err(Code::NotLeader));

        let numbers =
            |answer: &ForwardAnswer| answer.verdicts.iter().map(|said| said.number).collect::<Vec<_>>();
        let answers = sessions.take_answers();
        assert_eq!(answers.iter().map(numbers).collect::<Vec<_>>(), [[2, 3]]);
        assert!(answers[0].refused.is_none(), "all of it was accepted");
    }

    #[test]
    fn verdicts_of_a_session_travel_together() {
        let mut sessions = sessions();
        for (id, _) in sessions.accept(forward(1, 1, 2), Ok(())) {
            sessions.answer(id, Ok(Position::default()));
        }

        let answers = sessions.take_answers();

        assert_eq!((answers.len(), answers[0].verdicts.len()), (1, 2));
    }
}
