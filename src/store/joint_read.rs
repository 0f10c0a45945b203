//! One read over several regions.
//!
//! Owns the step from one answer a region to the one answer of the caller. What always holds: the caller is answered
//! once, after the last region; the first failure is its answer; the lock is never held while it is delivered. That
//! each region answers once is the completion's own promise.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::completion::{Completion, Position, Sink};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub(super) struct JointRead {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Regions that have not answered.
    waiting: usize,
    failure: Option<Error>,
    /// The caller's; none once it was answered.
    completion: Option<Completion>,
}

impl JointRead {
    /// A read that `completion` answers when as many parts as `regions` are answered.
    pub(super) fn new(regions: usize, completion: Completion) -> Arc<Self> {
        let state = State { waiting: regions, failure: None, completion: Some(completion) };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// The answer of one region. It is to be called once for each.
    pub(super) fn part(self: &Arc<Self>) -> Completion {
        Completion::new(Box::new(Part(Arc::clone(self))))
    }

    /// For a read of which no part was made; see [`Completion::defuse`].
    #[must_use]
    pub(super) fn defuse(&self) -> bool {
        let completion = self.lock().completion.take();
        completion.expect("no part was made, so none was answered").defuse()
    }

    fn take(&self, answer: Result<Position>) {
        let mut state = self.lock();
        state.waiting -= 1;
        if let Err(error) = answer {
            state.failure.get_or_insert(error);
        }
        if state.waiting > 0 {
            return;
        }
        let completion = state.completion.take().expect("the last part is answered once");
        let failure = state.failure.take();
        drop(state);
        // Positions of several regions have no order among them, so there is none to tell.
        completion.answer(failure.map_or(Ok(Position::default()), Err));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so its state is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Part(Arc<JointRead>);

impl Sink for Part {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        self.0.take(answer);
    }

    fn is_answered(&self) -> bool {
        self.0.lock().completion.as_ref().is_none_or(Completion::is_answered)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::completion::Waiter;
    use crate::completion::deadlines::any_call;
    use crate::error::Code;
    use crate::types::{LogIndex, Term};

    const CONFIRMED: Position = Position { index: LogIndex(7), term: Term(1) };

    fn joint(regions: usize) -> (Arc<Waiter>, Vec<Completion>) {
        let waiter = Arc::new(Waiter::default());
        let joint = JointRead::new(regions, waiter.completion());
        (waiter, (0..regions).map(|_| joint.part()).collect())
    }

    fn answer(waiter: &Waiter) -> Option<Result<Position>> {
        waiter.wait(Duration::ZERO)
    }

    #[test]
    fn the_last_region_answers_the_caller() {
        let (waiter, mut parts) = joint(2);

        parts.pop().expect("two parts").answer(Ok(CONFIRMED));
        assert!(answer(&waiter).is_none());
        parts.pop().expect("two parts").answer(Ok(CONFIRMED));

        assert_eq!(answer(&waiter).expect("answered").expect("confirmed"), Position::default());
    }

    #[test]
    fn the_first_failure_is_the_answer_and_comes_after_the_last_region() {
        let (waiter, mut parts) = joint(3);

        parts.pop().expect("three parts").answer(Err(Error::new(Code::NoLeader)));
        parts.pop().expect("three parts").answer(Err(Error::new(Code::ReadTimeout)));
        assert!(answer(&waiter).is_none());
        parts.pop().expect("three parts").answer(Ok(CONFIRMED));

        assert_eq!(answer(&waiter).expect("answered").expect_err("failed").code(), Code::NoLeader);
    }

    #[test]
    fn a_region_need_not_answer_a_read_that_was_cancelled() {
        let (completion, call) = any_call(Arc::<Waiter>::default().sink());
        let joint = JointRead::new(2, completion);
        let parts = [joint.part(), joint.part()];

        assert!(parts.iter().all(|part| !part.is_answered()));
        assert!(call.cancel());

        assert!(parts.iter().all(Completion::is_answered));
    }

    #[test]
    fn a_region_that_drops_its_part_fails_the_read() {
        let (waiter, parts) = joint(2);

        drop(parts);

        assert_eq!(answer(&waiter).expect("answered").expect_err("dropped").code(), Code::FailedInFlight);
    }

    #[test]
    fn a_read_without_parts_can_be_called_off() {
        let waiter = Arc::new(Waiter::default());

        assert!(JointRead::new(2, waiter.completion()).defuse());

        assert!(answer(&waiter).is_none());
    }
}
