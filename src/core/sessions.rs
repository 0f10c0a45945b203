//! The leader's side of forwarded writes.
//!
//! Owns how far each follower's session has come, and the answers on their way back. What always holds: a write is
//! accepted once and in order; after one refusal everything behind it in its session is refused, so that a retry
//! cannot overtake; "refused" is said only of writes that no run of this member can have accepted. For that a session
//! belongs to one term: only this run of this member has led in it, so what is not remembered here was never accepted.
//! The follower's side is [`forwarder`](super::forwarder).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::completion::Position;
use crate::core::forwarding::{Forward, ForwardAnswer, Refused, RequestId, Verdict};
use crate::error::{Code, Result};
use crate::types::{NodeId, Term};

/// Verdicts in one answer.
const VERDICTS_MAX: usize = 4096;
/// Runs of members that may have sent writes in one term.
const RUNS_MAX: usize = 1024;

#[derive(Debug)]
struct Session {
    /// Number of its first write.
    first: u64,
    /// Number of the next write it may accept.
    expected: u64,
    over: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    node: NodeId,
    /// The last term in which this run led.
    term: Term,
    /// The newest session of each run of a follower.
    open: BTreeMap<(NodeId, u64), Session>,
    answers: Vec<ForwardAnswer>,
}

impl Sessions {
    /// No session.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, term: Term(0), open: BTreeMap::new(), answers: Vec::new() }
    }

    /// This member leads in `term` from now on.
    pub fn begin_term(&mut self, term: Term) {
        self.term = term;
        self.open.clear();
    }

    /// The writes of `forward` to propose now. `willing` says why none can be.
    pub fn accept(
        &mut self,
        forward: Forward,
        willing: std::result::Result<(), Code>,
    ) -> Vec<(RequestId, Bytes)> {
        let Forward { from, boot_nonce, term, session: first_of_session, first, writes, .. } = forward;
        let known = self.open.contains_key(&(from, boot_nonce));
        if term != self.term || (!known && self.open.len() >= RUNS_MAX) {
            // Of another term: an earlier leadership or an earlier run may have accepted it. Nothing is known here.
            return Vec::new();
        }
        let unknown = Session { first: first_of_session, expected: first_of_session, over: false };
        let session = self.open.entry((from, boot_nonce)).or_insert(unknown);
        if first_of_session < session.first {
            return Vec::new();
        }
        if first_of_session > session.first {
            *session = Session { first: first_of_session, expected: first_of_session, over: false };
        }
        let Some(end) = first.checked_add(writes.len() as u64) else { return Vec::new() };
        let refusal = match willing {
            _ if session.over => Some(Code::NotLeader),
            Err(code) => Some(code),
            // Something before it got lost.
            Ok(()) if first > session.expected => Some(Code::NotLeader),
            Ok(()) => None,
        };
        if let Some(code) = refusal {
            if end > session.expected || first > session.expected {
                session.over = true;
                let refused = Refused { first: session.expected, code };
                self.refuse(from, boot_nonce, first_of_session, refused);
            }
            return Vec::new();
        }
        let fresh = writes.into_iter().zip(first..).filter(|(_, number)| *number >= session.expected);
        let id = |number| RequestId { node: from, boot_nonce, session: first_of_session, number };
        let accepted: Vec<_> = fresh.map(|(data, number)| (id(number), data)).collect();
        session.expected = session.expected.max(end);
        accepted
    }

    /// An accepted write could not be proposed after all: it and everything behind it is refused.
    pub fn take_back(&mut self, id: RequestId, code: Code) {
        let current = self.open.get_mut(&(id.node, id.boot_nonce));
        if let Some(session) = current.filter(|session| session.first == id.session) {
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
        let outcome = outcome.map_err(|error| error.code());
        let answer = self.answer_to(id.node, id.boot_nonce, id.session);
        answer.verdicts.push(Verdict { number: id.number, outcome });
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

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(NodeId(1));
        sessions.begin_term(Term(7));
        sessions
    }

    fn forward(session: u64, first: u64, writes: usize) -> Forward {
        let writes = vec![Bytes::from_static(b"w"); writes];
        let (from, to) = (NodeId(2), NodeId(1));
        Forward { from, to, boot_nonce: 42, term: Term(7), session, first, writes }
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

    #[test]
    fn nothing_is_said_about_another_term_or_an_older_session() {
        let mut sessions = sessions();
        sessions.accept(forward(5, 5, 1), Ok(()));

        let late = Forward { term: Term(6), ..forward(1, 1, 1) };
        assert!(sessions.accept(late, Err(Code::NotLeader)).is_empty());
        assert!(sessions.accept(forward(1, 1, 1), Ok(())).is_empty());

        assert!(!sessions.has_answers());
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
