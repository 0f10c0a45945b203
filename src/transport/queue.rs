//! The messages that wait for one peer.
//!
//! Owns the bounded hand-off from the threads that send to the one thread that writes. What always holds: a
//! sender never waits; memory is bounded in bytes and in messages; every loss is followed by a report to the
//! sending thread of this peer, and at most one report an interval. Raft repairs what is lost.
//!
//! There are two lanes. Heartbeats and votes keep a cluster together, and answers let it go on; they are small: they
//! travel in the *urgent* lane, ahead of a backlog of appends or forwarded writes, so that a slow link full of data does
//! not look like a dead leader, and a follower that forwards much acknowledges in time. Raft allows any order of
//! messages; within a lane order is kept.
//!
//! While there is no connection, nothing waits in the bulk lane: an append that is minutes old when the peer
//! comes back would only delay what matters then, and raft has long since learned that it was lost. The
//! newest few urgent messages are kept, because the first thing a returning peer should hear is a heartbeat.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use raft::eraftpb::MessageType;

use super::codec::weight_bytes;
use super::direct::{Direct, Link};
use super::lock;
use crate::core::ports::{Body, PeerMessage};

/// Messages a lane may hold. One is at least 300 bytes, so a full lane of the smallest is some 20 MiB.
const BULK_MESSAGES_MAX: usize = 65_536;
const URGENT_MESSAGES_MAX: usize = 8_192;

/// Urgent messages kept while there is no connection.
const DISCONNECTED_MESSAGES_MAX: usize = 256;

/// How much of the bulk lane is taken at once: enough to make one write worth it, little enough that an
/// urgent message waits for no more than this.
const SLICE_BYTES: usize = 512 << 10;

/// Slots an empty lane keeps for the next burst.
const LANE_SLOTS_KEPT: usize = 1024;

/// A queue with one taker and many givers.
pub(super) struct SendQueue {
    state: Mutex<State>,
    wake: Condvar,
}

/// What the sending thread took to write next. Urgent messages come first.
#[derive(Default)]
pub(super) struct Slice {
    pub(super) urgent: VecDeque<PeerMessage>,
    pub(super) bulk: VecDeque<PeerMessage>,
    /// The end of a frame that a direct write could not finish; goes before everything.
    pub(super) leftover: Vec<u8>,
}

impl Slice {
    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty() && self.leftover.is_empty()
    }
}

/// Why [`SendQueue::next`] or [`SendQueue::pause`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The queue is closed.
    Closed,
    /// Messages were lost since this was last said.
    Loss,
    /// The slice holds messages.
    Messages,
    /// Nothing of this happened before the end of the wait.
    Over,
}

struct State {
    urgent: Lane,
    bulk: Lane,
    link: Option<Link>,
    is_closed: bool,
    has_lost: bool,
    /// The peer has connected to this member, since the last pause and the last connection.
    is_hurried: bool,
    sleep: Sleep,
}

/// What the sending thread sleeps for. It is woken only for that, and only by the first who brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    Awake,
    UntilMessages,
    UntilLoss,
}

/// Messages in order with their weight. Invariant: `bytes` is the sum of the weights.
struct Lane {
    messages: VecDeque<PeerMessage>,
    bytes: usize,
    bytes_max: usize,
}

impl SendQueue {
    /// An empty queue, not connected, that holds at most about `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State {
            urgent: Lane::new(bytes_max / 8),
            bulk: Lane::new(bytes_max),
            link: None,
            is_closed: false,
            has_lost: false,
            is_hurried: false,
            sleep: Sleep::Awake,
        };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Writes `messages` at once where that is the cheaper way; otherwise adds them, as far as there is room,
    /// and wakes the sending thread if it sleeps. Never waits for the peer.
    pub(super) fn push(&self, messages: Vec<PeerMessage>) {
        let mut state = lock(&self.state);
        if state.is_closed {
            return;
        }
        match state.write_directly(&messages) {
            Direct::Written => return,
            Direct::InPart => {}
            Direct::Refused => messages.into_iter().for_each(|message| state.add(message)),
        }
        let is_awaited = match state.sleep {
            Sleep::Awake => false,
            Sleep::UntilMessages => true,
            Sleep::UntilLoss => state.has_lost,
        };
        if is_awaited {
            state.sleep = Sleep::Awake;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for messages and moves some into the empty `slice`; or reports a loss, but not before
    /// `loss_due`; or that `end` passed without either.
    pub(super) fn next(&self, slice: &mut Slice, loss_due: Instant, end: Option<Instant>) -> Wake {
        let mut state = lock(&self.state);
        loop {
            if let Some(wake) = state.interruption(loss_due) {
                return wake;
            }
            if state.fill(slice) {
                return Wake::Messages;
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Wake::Over;
            }
            let until = state.has_lost.then_some(loss_due).into_iter().chain(end).min();
            state = self.sleep(state, Sleep::UntilMessages, until);
        }
    }

    /// Waits until `end` or until the peer is heard of, or for a loss, but reports that not before `loss_due`.
    pub(super) fn pause(&self, end: Instant, loss_due: Instant) -> Wake {
        let mut state = lock(&self.state);
        loop {
            if let Some(wake) = state.interruption(loss_due) {
                return wake;
            }
            if std::mem::take(&mut state.is_hurried) || Instant::now() >= end {
                return Wake::Over;
            }
            let (sleep, until) =
                if state.has_lost { (Sleep::Awake, end.min(loss_due)) } else { (Sleep::UntilLoss, end) };
            state = self.sleep(state, sleep, Some(until));
        }
    }

    /// The peer has just connected to this member, so it can be reached: ends a pause, this one or else the next. Not one
    /// behind a connection that was open then: where both sides lose connection after connection, none would pause.
    pub(super) fn hurry(&self) {
        lock(&self.state).is_hurried = true;
        self.wake.notify_one();
    }

    /// There is a connection: messages of both lanes are kept from now on.
    pub(super) fn connected(&self, link: Link) {
        lock(&self.state).link = Some(link);
    }

    /// When the last write on the connection began; `None` without one.
    pub(super) fn written_at(&self) -> Option<Instant> {
        lock(&self.state).link.as_ref().map(Link::written_at)
    }

    /// The sending thread is about to write. Returns when the write before began.
    pub(super) fn writes_at(&self, now: Instant) -> Option<Instant> {
        let mut state = lock(&self.state);
        let link = state.link.as_mut()?;
        let before = link.written_at();
        link.writes_at(now);
        Some(before)
    }

    /// The connection is gone and with it an unknown number of messages.
    pub(super) fn disconnected(&self) {
        let mut state = lock(&self.state);
        state.link = None;
        state.has_lost = true;
        state.is_hurried = false;
        state.bulk.clear();
        while state.urgent.messages.len() > DISCONNECTED_MESSAGES_MAX {
            state.urgent.pop();
        }
    }

    /// Some messages taken earlier could not be sent.
    pub(super) fn lost(&self) {
        lock(&self.state).has_lost = true;
    }

    /// Ends every wait, now and for ever.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.wake.notify_one();
    }

    /// True after [`SendQueue::close`].
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Whether messages of both lanes are kept.
    #[cfg(test)]
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.state).link.is_some()
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        sleep: Sleep,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        state.sleep = sleep;
        let mut state = match until {
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.sleep = Sleep::Awake;
        state
    }
}

impl State {
    /// A sleeping sending thread means that nothing is queued or half written: only then may another thread
    /// write.
    fn write_directly(&mut self, messages: &[PeerMessage]) -> Direct {
        if self.sleep != Sleep::UntilMessages {
            return Direct::Refused;
        }
        debug_assert!(self.urgent.messages.is_empty() && self.bulk.messages.is_empty());
        match &mut self.link {
            Some(link) => link.write(messages),
            None => Direct::Refused,
        }
    }

    fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    fn add(&mut self, message: PeerMessage) {
        let weight = weight_bytes(&message);
        if is_urgent(&message) {
            self.add_urgent(message, weight);
        } else if self.is_connected() && self.bulk.has_room(weight, BULK_MESSAGES_MAX) {
            self.bulk.push(message, weight);
        } else {
            self.has_lost = true;
        }
    }

    /// The newest urgent message is worth the most, so a full lane gives up its oldest.
    fn add_urgent(&mut self, message: PeerMessage, weight: usize) {
        let count_max = if self.is_connected() { URGENT_MESSAGES_MAX } else { DISCONNECTED_MESSAGES_MAX };
        while !self.urgent.has_room(weight, count_max) {
            // What an old heartbeat said, a newer one says again: without a connection this is no loss.
            self.has_lost |= self.is_connected();
            self.urgent.pop();
        }
        self.urgent.push(message, weight);
    }

    fn interruption(&mut self, loss_due: Instant) -> Option<Wake> {
        if self.is_closed {
            return Some(Wake::Closed);
        }
        if self.has_lost && Instant::now() >= loss_due {
            self.has_lost = false;
            return Some(Wake::Loss);
        }
        None
    }

    /// Moves all urgent messages and some bulk ones into `slice`. False when there are none.
    fn fill(&mut self, slice: &mut Slice) -> bool {
        debug_assert!(slice.is_empty(), "the slice before was written");
        if let Some(link) = &mut self.link {
            link.take_leftover(&mut slice.leftover);
        }
        self.urgent.swap_into(&mut slice.urgent);
        if self.bulk.bytes <= SLICE_BYTES {
            self.bulk.swap_into(&mut slice.bulk);
        } else {
            self.bulk.move_some(&mut slice.bulk, SLICE_BYTES);
        }
        !slice.is_empty()
    }
}

impl Lane {
    fn new(bytes_max: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// A message larger than the lane goes into an empty one: it could never be sent otherwise.
    fn has_room(&self, weight: usize, count_max: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < count_max && self.bytes.saturating_add(weight) <= self.bytes_max)
    }

    fn push(&mut self, message: PeerMessage, weight: usize) {
        self.messages.push_back(message);
        self.bytes += weight;
    }

    fn pop(&mut self) -> Option<(PeerMessage, usize)> {
        let message = self.messages.pop_front()?;
        let weight = weight_bytes(&message);
        self.bytes -= weight;
        Some((message, weight))
    }

    fn clear(&mut self) {
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    /// Exchanges everything for the empty `other`, which costs the same for one message and for thousands.
    fn swap_into(&mut self, other: &mut VecDeque<PeerMessage>) {
        std::mem::swap(&mut self.messages, other);
        self.bytes = 0;
        if self.messages.capacity() > 2 * LANE_SLOTS_KEPT {
            self.messages.shrink_to(LANE_SLOTS_KEPT);
        }
    }

    fn move_some(&mut self, other: &mut VecDeque<PeerMessage>, mut bytes: usize) {
        while bytes > 0
            && let Some((message, weight)) = self.pop()
        {
            other.push_back(message);
            bytes = bytes.saturating_sub(weight);
        }
    }
}

/// Whether progress waits for this message and not for the data before it.
fn is_urgent(message: &PeerMessage) -> bool {
    match &message.body {
        Body::Forward(_) => false,
        Body::Answer(_) => true,
        Body::Raft(raft) => !matches!(raft.msg_type, MessageType::MsgAppend | MessageType::MsgTimeoutNow),
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
