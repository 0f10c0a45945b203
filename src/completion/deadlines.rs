//! The open calls and their deadlines.
//!
//! Owns the list of a store's open calls and the choice of the error that a late one is answered with. What always
//! holds: a call is listed from its acceptance to its answer, and nothing of an answered one is kept; adding and
//! removing a call takes constant time, however many are open; only the clock decides when one is late, so neither a
//! hung disk nor a busy thread delays its answer; a closed list accepts no calls. Answering the late ones is left to
//! the timer: [`crate::pollers::timer`], or the simulation.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::call::{Call, CallCell, CallKind, CallList, CallSink, Subject, Taken};
use super::{Completion, Sink};
use crate::error::{Code, Error, Result};
use crate::time::{Timestamp, now};
use crate::types::{LogIndex, NodeId, RegionId};

/// See the module.
pub struct Deadlines {
    open: Mutex<Open>,
    /// Signalled when the earliest deadline moves forward.
    earlier: Condvar,
}

struct Open {
    calls: Vec<Listed>,
    /// No open call is due before this. It may be in the past, when the call that it belonged to was answered in time.
    earliest: Timestamp,
    /// Set once the list is closed: when all calls still open are answered, whatever their deadlines.
    cut: Option<Timestamp>,
}

struct Listed {
    deadline: Timestamp,
    cell: Arc<CallCell>,
}

impl Default for Deadlines {
    fn default() -> Self {
        let open = Open { calls: Vec::new(), earliest: Timestamp::NEVER, cut: None };
        Self { open: Mutex::new(open), earlier: Condvar::new() }
    }
}

impl Deadlines {
    /// Accepts a call whose answer goes to `sink`, by `deadline` at the latest. `kept` is dropped when the internal
    /// threads are done with the call, even if it is answered earlier.
    ///
    /// # Errors
    /// `CLOSED`; the sink is dropped.
    pub fn accept(
        self: &Arc<Self>,
        subject: Subject,
        deadline: Timestamp,
        sink: Box<dyn Sink>,
        kept: Arc<dyn Any + Send + Sync>,
    ) -> Result<(Completion, Call)> {
        let list: Arc<dyn CallList> = Arc::<Self>::clone(self);
        let cell = CallCell::new(sink, subject, list);
        let mut open = self.lock();
        if open.cut.is_some() {
            // A sink may hold anything of the caller's, so it is dropped without the lock.
            drop(open);
            return Err(Error::new(Code::Closed));
        }
        cell.place().store(open.calls.len(), Ordering::Relaxed);
        open.calls.push(Listed { deadline, cell: Arc::clone(&cell) });
        self.expect_by(deadline, open);
        let sink = CallSink::new(Arc::clone(&cell), kept);
        Ok((Completion::new(Box::new(sink)), Call::new(cell)))
    }

    /// Accepts no more calls, and makes those that are open at `cut` late then.
    pub fn close(&self, cut: Timestamp) {
        let mut open = self.lock();
        open.cut = Some(open.cut.map_or(cut, |before| before.min(cut)));
        // Unconditionally: the timer may be waiting for nothing else.
        open.earliest = open.earliest.min(cut);
        drop(open);
        self.earlier.notify_all();
    }

    /// Removes and returns the calls that are late at `now`.
    #[must_use]
    pub(crate) fn take_late(&self, now: Timestamp) -> Vec<Late> {
        let mut open = self.lock();
        if now < open.earliest {
            return Vec::new();
        }
        let cut = open.cut.is_some_and(|cut| cut <= now);
        let late = open.extract(|call| cut || call.deadline <= now);
        let deadlines = open.calls.iter().map(|call| call.deadline);
        open.earliest = deadlines.chain(open.cut.filter(|_| !cut)).min().unwrap_or(Timestamp::NEVER);
        drop(open);
        late.into_iter().filter_map(|cell| Late::take(cell, cut)).collect()
    }

    /// No open call is late before this; [`Timestamp::NEVER`] when there is none.
    #[must_use]
    pub fn earliest(&self) -> Timestamp {
        self.lock().earliest
    }

    /// Waits until a call may be late. False when the list is closed and all calls are answered.
    pub fn wait(&self) -> bool {
        let mut open = self.lock();
        while !open.has_ended() {
            if open.earliest == Timestamp::NEVER {
                open = self.earlier.wait(open).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = open.earliest.since(now());
            if left.is_zero() {
                return true;
            }
            let waited = self.earlier.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// True when the list is closed and all calls are answered.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    fn expect_by(&self, deadline: Timestamp, mut open: MutexGuard<'_, Open>) {
        if deadline < open.earliest {
            open.earliest = deadline;
            drop(open);
            self.earlier.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No foreign code runs under this lock, so its state is consistent even after a panic elsewhere.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallList for Deadlines {
    fn forget(&self, cell: &Arc<CallCell>) {
        let mut open = self.lock();
        let place = cell.place().load(Ordering::Relaxed);
        // It may just have been removed as late, and another may have its index now.
        if open.calls.get(place).is_some_and(|call| Arc::ptr_eq(&call.cell, cell)) {
            open.strike(place);
            if open.has_ended() {
                drop(open);
                self.earlier.notify_all();
            }
        }
    }
}

impl Open {
    fn has_ended(&self) -> bool {
        self.cut.is_some() && self.calls.is_empty()
    }

    /// The last one moves to the free index, so that the list has no gaps.
    fn strike(&mut self, place: usize) -> Arc<CallCell> {
        let struck = self.calls.swap_remove(place);
        if let Some(moved) = self.calls.get(place) {
            moved.cell.place().store(place, Ordering::Relaxed);
        }
        struck.cell
    }

    fn extract(&mut self, wanted: impl Fn(&Listed) -> bool) -> Vec<Arc<CallCell>> {
        let (mut extracted, mut at) = (Vec::new(), 0);
        while let Some(call) = self.calls.get(at) {
            if wanted(call) {
                extracted.push(self.strike(at));
            } else {
                at += 1;
            }
        }
        extracted
    }
}

impl std::fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deadlines({} open)", self.lock().calls.len())
    }
}

/// What a member knows about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownRegion {
    /// None while no leader is known.
    pub(crate) leader: Option<NodeId>,
    /// Whether the leader is connected, as far as is known.
    pub(crate) is_leader_reachable: bool,
    /// Up to where this member has applied its log.
    pub(crate) applied: LogIndex,
}

/// A call that passed its deadline unanswered and is to be answered now.
pub(crate) struct Late {
    completion: Completion,
    /// Whether work on it has begun.
    started: bool,
    cell: Arc<CallCell>,
    /// Whether it is late because its store shuts down.
    cut: bool,
}

impl Late {
    /// None when it was answered in the meantime.
    fn take(cell: Arc<CallCell>, cut: bool) -> Option<Self> {
        let Taken { sink, started } = cell.take_unlisted()?;
        Some(Self { completion: Completion::new(sink), started, cell, cut })
    }

    /// The receiver and its answer; `node` is this member, and `known` gives what it knows about each region.
    #[must_use]
    pub(crate) fn answer(self, node: NodeId, known: impl Fn(RegionId) -> KnownRegion) -> (Completion, Error) {
        let Self { completion, started, cell, cut } = self;
        let error = match (cut, started) {
            (true, true) => Error::new(Code::ShutdownInFlight),
            (true, false) => Error::new(Code::Closed),
            (false, _) => too_late(cell.subject(), started, node, known),
        };
        (completion, error)
    }
}

fn too_late(
    subject: &Subject,
    started: bool,
    node: NodeId,
    known: impl Fn(RegionId) -> KnownRegion,
) -> Error {
    let regions = subject.regions.as_slice();
    let look = |region: &RegionId| (*region, known(*region));
    // The one that kept the call waiting, if that can be determined.
    let leaderless = regions.iter().map(look).find(|(_, known)| known.leader.is_none());
    let (region, known) = leaderless.unwrap_or_else(|| look(&regions[0]));
    let code = match subject.kind {
        CallKind::Write | CallKind::Transfer if started => Code::Timeout,
        CallKind::Write | CallKind::Transfer if !known.is_leader_reachable => Code::NoLeader,
        CallKind::Write | CallKind::Transfer => Code::DeadlineBeforeStart,
        CallKind::Read if known.leader.is_none() => Code::NoLeader,
        CallKind::Read | CallKind::LocalRead { .. } => Code::ReadTimeout,
    };
    let error = Error::of_member(code, node, region, known.leader);
    match subject.kind {
        CallKind::LocalRead { min_index } => error.of_local_read(node, known.applied, min_index),
        _ => error,
    }
}

/// A call of any kind without a deadline, for tests.
#[cfg(test)]
pub(crate) fn any_call(sink: Box<dyn Sink>) -> (Completion, Call) {
    let subject = Subject { kind: CallKind::Write, regions: super::call::CallRegions::One(RegionId(1)) };
    let deadlines = Arc::<Deadlines>::default();
    let opened = deadlines.accept(subject, Timestamp::NEVER, sink, Arc::new(()));
    opened.expect("nobody closes it")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::call::CallRegions;
    use super::*;
    use crate::completion::{Reply, Waiter};

    const NODE: NodeId = NodeId(7);
    const REGION: RegionId = RegionId(1);
    const LED: KnownRegion =
        KnownRegion { leader: Some(NODE), is_leader_reachable: true, applied: LogIndex(12) };
    const LEADERLESS: KnownRegion = KnownRegion { leader: None, is_leader_reachable: false, ..LED };

    /// A call and the waiter for its answer.
    struct Opened {
        waiter: Arc<Waiter>,
        completion: Completion,
        call: Call,
    }

    fn open_of(deadlines: &Arc<Deadlines>, kind: CallKind, regions: CallRegions, deadline: u64) -> Opened {
        let waiter = Arc::new(Waiter::default());
        let subject = Subject { kind, regions };
        let opened = deadlines.accept(subject, Timestamp(deadline), waiter.sink(), Arc::new(()));
        let (completion, call) = opened.expect("not closed");
        Opened { waiter, completion, call }
    }

    fn open(deadlines: &Arc<Deadlines>, deadline: u64) -> Opened {
        open_of(deadlines, CallKind::Write, CallRegions::One(REGION), deadline)
    }

    fn expire(deadlines: &Deadlines, now: u64, known: KnownRegion) -> usize {
        let late = deadlines.take_late(Timestamp(now));
        let count = late.len();
        for late in late {
            let (completion, error) = late.answer(NODE, |_| known);
            completion.answer(Err(error));
        }
        count
    }

    fn code(waiter: &Waiter) -> Option<Code> {
        waiter.wait(Duration::ZERO).map(|answer| answer.expect_err("late").code())
    }

    #[test]
    fn calls_are_late_in_the_order_of_their_deadlines() {
        let deadlines = Arc::<Deadlines>::default();
        let calls: Vec<_> = [30, 10, 20, 40].map(|deadline| open(&deadlines, deadline)).into();

        assert_eq!(deadlines.earliest(), Timestamp(10));
        assert_eq!(expire(&deadlines, 9, LED), 0);
        assert_eq!(expire(&deadlines, 20, LED), 2);

        let codes: Vec<_> = calls.iter().map(|opened| code(&opened.waiter)).collect();
        let late = Some(Code::DeadlineBeforeStart);
        assert_eq!(codes, [None, late, late, None]);
        assert_eq!(deadlines.earliest(), Timestamp(30));
        assert!(!calls[1].completion.start(), "what was certainly not applied never begins");
        assert!(calls[1].completion.is_answered() && calls[0].completion.start());
    }

    #[test]
    fn nothing_of_an_answered_call_is_kept() {
        let deadlines = Arc::<Deadlines>::default();
        let mut calls: Vec<_> = (0..1000).map(|deadline| open(&deadlines, 1000 + deadline)).collect();

        // From the middle, so that others change their index.
        for opened in calls.drain(300..600) {
            opened.completion.answer(Ok(Reply::default()));
        }
        assert!(calls.iter().step_by(2).all(|opened| opened.call.cancel()));

        assert_eq!(deadlines.lock().calls.len(), 350);
        assert_eq!(expire(&deadlines, 5000, LED), 350);
        assert!(deadlines.lock().calls.is_empty());
        assert_eq!(deadlines.earliest(), Timestamp::NEVER);
        drop(calls);
        assert_eq!(Arc::strong_count(&deadlines), 1);
    }

    #[test]
    fn an_answer_after_the_deadline_is_discarded_and_removes_no_other_call() {
        let deadlines = Arc::<Deadlines>::default();
        let late = open(&deadlines, 10);
        assert_eq!(expire(&deadlines, 10, LED), 1);
        let next = open(&deadlines, 30);

        late.completion.answer(Ok(Reply::default()));

        assert_eq!(code(&late.waiter), Some(Code::DeadlineBeforeStart));
        assert!(!late.call.cancel());
        assert_eq!(expire(&deadlines, 30, LED), 1);
        assert_eq!(code(&next.waiter), Some(Code::DeadlineBeforeStart));
    }

    #[test]
    fn a_late_call_is_answered_with_what_is_known_about_it() {
        let unreachable = KnownRegion { is_leader_reachable: false, ..LED };
        let code_of = |kind, started: bool, leader| {
            let deadlines = Arc::<Deadlines>::default();
            let opened = open_of(&deadlines, kind, CallRegions::One(REGION), 10);
            assert!(!started || opened.completion.start());
            expire(&deadlines, 10, leader);
            code(&opened.waiter).expect("late")
        };

        for kind in [CallKind::Write, CallKind::Transfer] {
            assert_eq!(code_of(kind, false, LED), Code::DeadlineBeforeStart);
            assert_eq!(code_of(kind, false, unreachable), Code::NoLeader);
            assert_eq!(code_of(kind, false, LEADERLESS), Code::NoLeader);
            assert_eq!(code_of(kind, true, LEADERLESS), Code::Timeout);
        }
        assert_eq!(code_of(CallKind::Read, false, LED), Code::ReadTimeout);
        assert_eq!(code_of(CallKind::Read, false, LEADERLESS), Code::NoLeader);
        let local = CallKind::LocalRead { min_index: LogIndex(0) };
        assert_eq!(code_of(local, false, LEADERLESS), Code::ReadTimeout);
    }

    #[test]
    fn a_local_read_that_waited_for_an_index_in_vain_says_how_far_its_member_is() {
        let detail = |min_index| {
            let deadlines = Arc::<Deadlines>::default();
            let kind = CallKind::LocalRead { min_index: LogIndex(min_index) };
            let opened = open_of(&deadlines, kind, CallRegions::One(REGION), 10);
            expire(&deadlines, 10, LED);
            let error = opened.waiter.wait(Duration::ZERO).expect("late").expect_err("late");
            assert_eq!((error.code(), error.leader()), (Code::ReadTimeout, Some(NODE)));
            error.detail().to_owned()
        };

        assert_eq!(
            detail(13),
            "node 7 leads region 1; node 7 has applied it up to index 12, and min_index is 13"
        );
        assert_eq!(detail(12), "node 7 leads region 1", "something else kept it waiting");
    }

    #[test]
    fn a_read_of_several_regions_names_the_one_without_a_leader() {
        let deadlines = Arc::<Deadlines>::default();
        let regions = CallRegions::new(&[RegionId(1), RegionId(2), RegionId(3)]);
        let _opened = open_of(&deadlines, CallKind::Read, regions, 10);

        let late = deadlines.take_late(Timestamp(10)).pop().expect("one");
        let (completion, error) =
            late.answer(NODE, |region| if region == RegionId(2) { LEADERLESS } else { LED });

        assert_eq!(error.code(), Code::NoLeader);
        assert!(error.detail().contains("no leader of region 2"), "{error}");
        completion.answer(Err(error));
    }

    #[test]
    fn a_closed_list_accepts_no_call_and_answers_the_rest_at_its_cut() {
        let deadlines = Arc::<Deadlines>::default();
        let (begun, waiting) = (open(&deadlines, 1000), open(&deadlines, 1000));
        assert!(begun.completion.start());

        deadlines.close(Timestamp(50));

        let subject = Subject { kind: CallKind::Read, regions: CallRegions::One(REGION) };
        let sink = Arc::<Waiter>::default().sink();
        let refused = deadlines.accept(subject, Timestamp(1000), sink, Arc::new(()));
        assert_eq!(refused.expect_err("closed").code(), Code::Closed);
        assert_eq!(expire(&deadlines, 49, LED), 0);
        assert!(!deadlines.has_ended());
        assert_eq!(expire(&deadlines, 50, LED), 2);
        assert_eq!(code(&begun.waiter), Some(Code::ShutdownInFlight));
        assert_eq!(code(&waiting.waiter), Some(Code::Closed));
        assert!(deadlines.has_ended() && !deadlines.wait());
    }

    #[test]
    fn a_thread_waiting_for_late_calls_is_woken_by_an_earlier_deadline_and_by_the_end() {
        let deadlines = Arc::<Deadlines>::default();
        let far = open(&deadlines, u64::MAX - 1);
        let other = Arc::clone(&deadlines);
        let timer = std::thread::spawn(move || (other.wait(), other.take_late(now()).len(), other.wait()));

        let near = open(&deadlines, 1);
        while !near.completion.is_answered() {
            std::thread::yield_now();
        }
        deadlines.close(Timestamp::NEVER);
        far.completion.answer(Ok(Reply::default()));

        assert_eq!(timer.join().expect("it does not panic"), (true, 1, false));
    }
}
