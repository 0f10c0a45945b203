//! Writes that are in no log yet.
//!
//! Owns the queue in which a peer's writes wait to be proposed or forwarded, and the count of the bytes that other
//! members have in it. What always holds: writes of one member leave in the order in which they came, except those that come back
//! because they certainly are in no log - refused by a leader, overwritten, not met behind the fence - which go before
//! anything newer.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::core::caller_write::CallerWrite;
use crate::core::command::level_of_write;
use crate::core::forwarding::RequestId;
use crate::core::planted::{self, Fault};
use crate::core::proposals::{Overwritten, Requester};
use crate::time::Timestamp;

/// A write that is in no log yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its encoded command.
    pub data: Bytes,
    /// Deadline for answering the requester.
    pub deadline: Timestamp,
    /// Who asked for it.
    pub requester: Requester,
    /// PROPOSED was reported. It is not reported again after another leader overwrote the entry.
    pub was_proposed: bool,
}

impl Pending {
    /// A write of a caller of this member.
    #[must_use]
    pub(crate) fn of_caller(propose: CallerWrite) -> Self {
        let CallerWrite { data, deadline, completion, was_proposed } = propose;
        Self { data, deadline, requester: Requester::Caller(completion), was_proposed }
    }

    /// A write that another member forwarded, and whose deadline it watches.
    #[must_use]
    pub(crate) fn of_follower(id: RequestId, data: Bytes) -> Self {
        let requester = Requester::Follower(id);
        Self { data, deadline: Timestamp::NEVER, requester, was_proposed: false }
    }

    /// A write that was in this member's log and certainly is in no log any more.
    #[must_use]
    pub(crate) fn of_overwritten(overwritten: Overwritten) -> Self {
        let Overwritten { data, deadline, requester } = overwritten;
        Self { data, deadline, requester, was_proposed: true }
    }

    /// The number it has at the member that forwarded it, if one did.
    #[must_use]
    pub(crate) fn forwarded_as(&self) -> Option<RequestId> {
        match self.requester {
            Requester::Caller(_) => None,
            Requester::Follower(id) => Some(id),
        }
    }

    /// What it counts against the bound of forwarded writes.
    fn forwarded_bytes(&self) -> usize {
        match self.requester {
            Requester::Caller(_) => 0,
            Requester::Follower(_) => self.data.len(),
        }
    }

    /// Marks the call as started; false if it has already been answered.
    fn start(&self) -> bool {
        match &self.requester {
            Requester::Caller(completion) => completion.start(),
            Requester::Follower(_) => true,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PendingWrites {
    writes: VecDeque<Pending>,
    forwarded_bytes: usize,
    /// No deadline is earlier.
    earliest: Option<Timestamp>,
}

impl PendingWrites {
    /// True when nothing waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of the commands of other members that wait. Those of this member's callers are bounded where they call,
    /// and must not take the room of the others.
    #[must_use]
    pub(crate) fn forwarded_bytes(&self) -> usize {
        self.forwarded_bytes
    }

    /// Adds a write behind all others.
    pub(crate) fn push(&mut self, write: Pending) {
        self.count(&write);
        self.writes.push_back(write);
    }

    /// Puts writes, in their order, before all others.
    pub(crate) fn push_before(&mut self, writes: impl DoubleEndedIterator<Item = Pending>) {
        for write in writes.rev() {
            self.count(&write);
            self.writes.push_front(write);
        }
    }

    /// Takes the first write and as many behind it as make `bytes_max` bytes together, each with `overhead_bytes`, to
    /// be proposed or sent now. Those whose callers were answered are dropped.
    pub(crate) fn start_some(&mut self, bytes_max: usize, overhead_bytes: usize) -> Vec<Pending> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(first) = self.writes.front() {
            let length = first.data.len() + overhead_bytes;
            if bytes + length > bytes_max && !taken.is_empty() {
                break;
            }
            self.forwarded_bytes -= first.forwarded_bytes();
            let goes_on = planted::has(Fault::CancelledWriteGoesOn);
            let first = self.writes.pop_front().filter(|write| write.start() || goes_on);
            bytes += first.as_ref().map_or(0, |_| length);
            taken.extend(first);
        }
        assert!(!self.writes.is_empty() || self.forwarded_bytes == 0, "what has left is not counted");
        taken
    }

    /// As [`start_some`](Self::start_some), of the writes of other members alone.
    pub(crate) fn start_followers(&mut self, bytes_max: usize) -> Vec<Pending> {
        let mut theirs = Self::default();
        self.take_of_followers().into_iter().for_each(|write| theirs.push(write));
        let taken = theirs.start_some(bytes_max, 0);
        self.push_before(theirs.take_all().into_iter());
        taken
    }

    /// Whether writes of other members wait.
    #[must_use]
    pub(crate) fn has_of_followers(&self) -> bool {
        self.writes.iter().any(|write| write.forwarded_as().is_some())
    }

    /// Takes everything.
    pub(crate) fn take_all(&mut self) -> Vec<Pending> {
        (self.forwarded_bytes, self.earliest) = (0, None);
        std::mem::take(&mut self.writes).into()
    }

    /// Takes the writes of other members.
    pub(crate) fn take_of_followers(&mut self) -> Vec<Pending> {
        self.extract(|write| matches!(write.requester, Requester::Follower(_)))
    }

    /// Whether a write waits that needs a higher feature level.
    #[must_use]
    pub(crate) fn has_above(&self, level: u16) -> bool {
        self.writes.iter().any(|write| level_of_write(&write.data) > level)
    }

    /// Takes the writes that need a higher feature level.
    pub(crate) fn take_above(&mut self, level: u16) -> Vec<Pending> {
        let taken = self.extract(|write| level_of_write(&write.data) > level);
        assert!(!self.has_above(level), "none is left");
        taken
    }

    /// Takes the writes whose deadline has passed.
    pub(crate) fn take_late(&mut self, now: Timestamp) -> Vec<Pending> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let late = self.extract(|write| write.deadline <= now);
        self.earliest = self.writes.iter().map(|write| write.deadline).min();
        late
    }

    /// Drops the writes whose callers were answered.
    pub(crate) fn drop_answered(&mut self) {
        drop(self.extract(|write| write.requester.is_answered()));
    }

    /// How many writes of other members wait.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn forwarded_count(&self) -> u64 {
        self.writes.iter().filter(|write| matches!(write.requester, Requester::Follower(_))).count() as u64
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When the bytes of other members are not those that are counted, or one is due before the earliest.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn check_invariants(&self) {
        let bytes: usize = self.writes.iter().map(Pending::forwarded_bytes).sum();
        assert_eq!(bytes, self.forwarded_bytes, "bytes of other members are counted");
        let is_own = |write: &Pending| matches!(write.requester, Requester::Caller(_));
        assert!(self.writes.iter().all(|write| is_own(write) || !write.was_proposed), "others propose anew");
        let earliest = self.writes.iter().map(|write| write.deadline).min();
        assert!(earliest.is_none() || earliest >= self.earliest, "none is due before the earliest");
    }

    fn count(&mut self, write: &Pending) {
        self.forwarded_bytes += write.forwarded_bytes();
        self.earliest = Some(self.earliest.map_or(write.deadline, |earliest| earliest.min(write.deadline)));
    }

    fn extract(&mut self, wanted: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        if !self.writes.iter().any(&wanted) {
            return Vec::new();
        }
        let (taken, kept) = self.writes.drain(..).partition::<Vec<_>, _>(wanted);
        self.writes = kept.into();
        self.forwarded_bytes -= taken.iter().map(Pending::forwarded_bytes).sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::completion::Waiter;
    use crate::completion::deadlines::any_call;
    use crate::core::forwarding::Origin;
    use crate::types::NodeId;

    fn write(number: u64, bytes: usize) -> Pending {
        let id = RequestId { origin: Origin { node: NodeId(2), boot: 42 }, number };
        Pending::of_follower(id, vec![0; bytes].into())
    }

    fn numbers(writes: &[Pending]) -> Vec<u64> {
        let number = |write: &Pending| match write.requester {
            Requester::Follower(id) => id.number,
            Requester::Caller(_) => unreachable!("none here"),
        };
        writes.iter().map(number).collect()
    }

    #[test]
    fn what_comes_back_goes_before_what_came_later() {
        let mut pending = PendingWrites::default();
        pending.push(write(3, 1));
        pending.push_before([write(1, 1), write(2, 1)].into_iter());

        assert_eq!(pending.forwarded_bytes(), 3);
        assert_eq!(numbers(&pending.take_all()), [1, 2, 3]);
        assert_eq!((pending.forwarded_bytes(), pending.is_empty()), (0, true));
    }

    #[test]
    fn a_share_is_never_nothing_and_never_more_than_its_bytes_otherwise() {
        let mut pending = PendingWrites::default();
        [write(1, 50), write(2, 4), write(3, 4), write(4, 4)]
            .into_iter()
            .for_each(|write| pending.push(write));

        assert_eq!(numbers(&pending.start_some(10, 0)), [1], "larger than the share, and alone");
        assert_eq!(numbers(&pending.start_some(10, 0)), [2, 3]);
        assert_eq!(pending.forwarded_bytes(), 4);
    }

    #[test]
    fn writes_of_this_members_callers_take_no_room_of_the_others() {
        let mut pending = PendingWrites::default();
        let completion = Arc::new(Waiter::default()).completion();
        pending.push(Pending { requester: Requester::Caller(completion), ..write(1, 100) });
        assert_eq!(pending.forwarded_bytes(), 0);

        pending.push(write(2, 10));

        assert_eq!(pending.forwarded_bytes(), 10);
        pending.start_some(1000, 0);
        assert_eq!(pending.forwarded_bytes(), 0);
    }

    #[test]
    fn cancelled_writes_leave_the_others_in_order() {
        let (mut pending, mut calls) = (PendingWrites::default(), Vec::new());
        for number in 1..=4 {
            let sink = Arc::new(Waiter::default()).sink();
            let (completion, call) = any_call(sink);
            pending.push(Pending { requester: Requester::Caller(completion), ..write(number, 1) });
            calls.push(call);
        }
        assert!(calls[0].cancel() && calls[2].cancel());

        pending.drop_answered();

        assert_eq!(pending.take_all().len(), 2);
    }

    #[test]
    fn late_writes_leave_the_others_in_order() {
        let mut pending = PendingWrites::default();
        for number in 1..=4 {
            let deadline = Timestamp(if number % 2 == 0 { 10 } else { 20 });
            pending.push(Pending { deadline, ..write(number, 1) });
        }

        assert!(pending.take_late(Timestamp(9)).is_empty());
        assert_eq!(numbers(&pending.take_late(Timestamp(10))), [2, 4]);
        assert_eq!(pending.forwarded_bytes(), 2);
        assert_eq!(numbers(&pending.take_all()), [1, 3]);
    }
}
