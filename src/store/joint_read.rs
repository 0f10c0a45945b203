//! A single read that spans several regions.
//!
//! Owns the combination of one answer per region into the caller's single answer. What always holds: the caller is
//! answered once, after the last region; the first failure, if any, is the answer; the lock is never held during
//! delivery. That each region answers once is left to its completion.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::completion::{Completion, Reply, Sink};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub(super) struct JointRead {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Number of regions that have not answered.
    waiting: usize,
    failure: Option<Error>,
    /// The caller's; none once it has been answered.
    completion: Option<Completion>,
}

impl JointRead {
    /// A read that answers `completion` once all `regions` parts have been answered.
    pub(super) fn new(regions: usize, completion: Completion) -> Arc<Self> {
        let state = State { waiting: regions, failure: None, completion: Some(completion) };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Creates the completion of one region. Call it once per region.
    pub(super) fn part(self: &Arc<Self>) -> Completion {
        Completion::new(Box::new(Part(Arc::clone(self))))
    }

    /// Defuses a read that has no parts yet; see [`Completion::defuse`].
    #[must_use]
    pub(super) fn defuse(&self) -> bool {
        let completion = self.lock().completion.take();
        completion.expect("no part was made, so none was answered").defuse()
    }

    fn take(&self, answer: Result<Reply>) {
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
        // Positions in different regions have no order, so there is none to report.
        completion.answer(failure.map_or(Ok(Reply::default()), Err));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No outside code runs under this lock, so its state is consistent even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Part(Arc<JointRead>);

impl Sink for Part {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
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
    use crate::completion::deadlines::any_call;
    use crate::completion::{Position, Waiter};
    use crate::error::Code;
    use crate::types::{LogIndex, Term};

    fn confirmed() -> Reply {
        Position { index: LogIndex(7), term: Term(1) }.into()
    }

    fn joint(regions: usize) -> (Arc<Waiter>, Vec<Completion>) {
        let waiter = Arc::new(Waiter::default());
        let joint = JointRead::new(regions, waiter.completion());
        (waiter, (0..regions).map(|_| joint.part()).collect())
    }

    fn answer(waiter: &Waiter) -> Option<Result<Reply>> {
        waiter.wait(Duration::ZERO)
    }

    #[test]
    fn the_last_region_answers_the_caller() {
        let (waiter, mut parts) = joint(2);

        parts.pop().expect("two parts").answer(Ok(confirmed()));
        assert!(answer(&waiter).is_none());
        parts.pop().expect("two parts").answer(Ok(confirmed()));

        assert_eq!(answer(&waiter).expect("answered").expect("confirmed"), Reply::default());
    }

    #[test]
    fn the_first_failure_is_the_answer_and_comes_after_the_last_region() {
        let (waiter, mut parts) = joint(3);

        parts.pop().expect("three parts").answer(Err(Error::new(Code::NoLeader)));
        parts.pop().expect("three parts").answer(Err(Error::new(Code::ReadTimeout)));
        assert!(answer(&waiter).is_none());
        parts.pop().expect("three parts").answer(Ok(confirmed()));

        assert_eq!(answer(&waiter).expect("answered").expect_err("failed").code(), Code::NoLeader);
    }

    #[test]
    fn a_region_need_not_answer_a_cancelled_read() {
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
    fn a_read_without_parts_can_be_defused() {
        let waiter = Arc::new(Waiter::default());

        assert!(JointRead::new(2, waiter.completion()).defuse());

        assert!(answer(&waiter).is_none());
    }
}
