//! The way out to one peer: messages in, and what to do next out.
//!
//! Owns all that is decided about it, by the [queue](super::queue), the [connection](super::connection), the
//! [direct writer](super::direct) and what stands here: which of them comes first, when a loss is reported, who may
//! write, and who is woken. No lock, no clock and no socket: time is an argument, which lets tests move it. [`link`](super::link) is the lock around it, [`sender`](super::sender) the thread that asks for the
//! [`next`](Outgoing::next) task, carries it out and says what became of it.
//!
//! What always holds:
//! - A loss is reported at most once a tick, and never later than a tick after it unless a task is under way.
//! - Only one thread writes at a time: another than the sending one only while that waits for messages, and then no
//!   message waits and nothing is left over.
//! - The sending thread is woken only for what it waits for, and only by the first that brings it.

use std::time::Duration;

use super::connection::{Connection, Due, Looks, Report};
use super::direct::{DirectWriter, GAP_MAX};
use super::notices::Topic;
use super::queue::{Portion, SendQueue};
use crate::core::ports::PeerMessage;
use crate::time::Timestamp;

/// See the head of this file.
pub(super) struct Outgoing {
    queue: SendQueue,
    connection: Connection,
    direct: DirectWriter,
    awaited: Awaited,
    /// When the next loss may be reported.
    loss_due: Timestamp,
    tick: Duration,
    is_closed: bool,
}

/// What bounds a way out, and what its times follow from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Losses are reported at most this often.
    pub(super) tick: Duration,
    /// Memory of the messages that wait, in bytes.
    pub(super) queue_bytes_max: usize,
    /// The longest frame that the peer takes, in bytes.
    pub(super) frame_bytes_max: u32,
}

/// What the sending thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This, now.
    Do(Task),
    /// To wait until it is woken, at most until this moment, and to ask again.
    Wait(Option<Timestamp>),
}

/// What takes time, and is done without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Tell the core.
    Report(Report),
    /// Dial; [`Outgoing::opened`] or [`Outgoing::failed`] is to follow.
    Dial,
    /// Look whether the connection is still open; [`Outgoing::lost`] is to follow when it is not.
    Look,
    /// Write the portion, or say [`Outgoing::lost`].
    Write {
        /// There was a gap, in which the peer may have closed the connection: look first.
        looks_first: bool,
    },
    /// There is nothing more to do, ever.
    End,
}

/// What the sending thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing, or only for the time: it is at work or comes back by itself.
    Nothing,
    Messages,
    Loss,
}

impl Outgoing {
    /// Nothing waits, and the first dial is due at once.
    pub(super) fn new(now: Timestamp, limits: Limits) -> Self {
        Self {
            queue: SendQueue::new(limits.queue_bytes_max),
            connection: Connection::new(now, limits.tick),
            direct: DirectWriter::new(limits.frame_bytes_max),
            awaited: Awaited::Nothing,
            loss_due: now,
            tick: limits.tick,
            is_closed: false,
        }
    }

    /// What the sending thread is to do. When that is to write, `portion`, which is empty, has been filled.
    pub(super) fn next(&mut self, now: Timestamp, portion: &mut Portion) -> Step {
        self.awaited = Awaited::Nothing;
        if let Some(report) = self.connection.take_report() {
            return Step::Do(Task::Report(report));
        }
        if self.is_closed {
            return Step::Do(self.end(now));
        }
        if now >= self.loss_due && self.queue.take_loss() {
            self.loss_due = now + self.tick;
            return Step::Do(Task::Report(Report::Unreachable));
        }
        if self.is_connected() && self.fill(portion) {
            return Step::Do(Task::Write { looks_first: self.connection.writes(now) > GAP_MAX });
        }
        match self.connection.due(now) {
            Some(Due::Dial) => Step::Do(Task::Dial),
            Some(Due::Look) => Step::Do(Task::Look),
            None => self.wait(),
        }
    }

    fn end(&mut self, now: Timestamp) -> Task {
        if !self.is_connected() {
            return Task::End;
        }
        self.lost(now);
        Task::Report(self.connection.take_report().expect("the end of a connection is reported"))
    }

    fn fill(&mut self, portion: &mut Portion) -> bool {
        self.direct.take_leftover(&mut portion.leftover);
        self.queue.fill(portion);
        !portion.is_empty()
    }

    fn wait(&mut self) -> Step {
        let loss_due = self.queue.has_lost().then_some(self.loss_due);
        self.awaited = match (self.is_connected(), loss_due) {
            (true, _) => Awaited::Messages,
            (false, Some(_)) => Awaited::Nothing,
            (false, None) => Awaited::Loss,
        };
        Step::Wait(loss_due.into_iter().chain(self.connection.due_at()).min())
    }

    /// Adds `messages`, as far as there is room. True when the sending thread is to be woken.
    #[must_use]
    pub(super) fn push(&mut self, messages: Vec<PeerMessage>) -> bool {
        if self.is_closed {
            return false;
        }
        messages.into_iter().for_each(|message| self.queue.push(message));
        self.is_awaited()
    }

    fn is_awaited(&mut self) -> bool {
        let is_awaited = match self.awaited {
            Awaited::Nothing => false,
            Awaited::Messages => true,
            Awaited::Loss => self.queue.has_lost(),
        };
        if is_awaited {
            self.awaited = Awaited::Nothing;
        }
        is_awaited
    }

    /// Whether a thread that sends may write itself, as far as order is concerned. To be asked before the clock is: under
    /// load the answer is no.
    pub(super) fn may_write_directly(&self) -> bool {
        // A sending thread that waits for messages has taken all that waited.
        debug_assert!(self.awaited != Awaited::Messages || self.queue.is_empty());
        self.awaited == Awaited::Messages && !self.is_closed
    }

    /// The bytes of `messages`, to be offered to the socket under the same lock, without waiting, and then to be
    /// followed by [`wrote_directly`](Self::wrote_directly); `None` when it is cheaper to push them. Only while
    /// [`may_write_directly`](Self::may_write_directly).
    pub(super) fn write_directly(&mut self, now: Timestamp, messages: &[PeerMessage]) -> Option<&[u8]> {
        debug_assert!(self.may_write_directly());
        let gap = self.connection.gap(now)?;
        let bytes = self.direct.encode(gap, messages)?;
        self.connection.writes_directly(now);
        Some(bytes)
    }

    /// The socket took so many of the bytes. True when the sending thread is to be woken, to write the rest.
    #[must_use]
    pub(super) fn wrote_directly(&mut self, taken: usize) -> bool {
        !self.direct.keep_rest(taken) && self.is_awaited()
    }

    /// The dial succeeded: messages of both lanes are kept from now on.
    pub(super) fn opened(&mut self, now: Timestamp, looks: Looks) {
        self.queue.connected();
        self.connection.opened(now, looks);
    }

    /// The dial failed, which is about `topic`. True when the operator is to be told.
    #[must_use]
    pub(super) fn failed(&mut self, now: Timestamp, topic: Topic) -> bool {
        // A dial that is broken off at the end fails for no other reason.
        self.connection.failed(now, topic) && !self.is_closed
    }

    /// The connection is gone, and with it what was written, taken out or left over.
    pub(super) fn lost(&mut self, now: Timestamp) {
        self.direct.clear();
        self.queue.disconnected();
        self.connection.lost(now);
    }

    /// A message that was taken out cannot be sent. True when the operator is to be told.
    #[must_use]
    pub(super) fn unsendable(&mut self) -> bool {
        self.queue.lost();
        self.connection.is_news(Topic::Unsendable)
    }

    /// The peer has just connected to this member: see [`Connection::hurry`]. The sending thread is to be woken.
    pub(super) fn hurry(&mut self) {
        self.connection.hurry();
    }

    /// Takes no more messages and needs no connection. The sending thread is to be woken.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether messages of both lanes are kept.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_open()
    }

    /// Whether the operator was told of `topic`.
    #[cfg(test)]
    pub(super) fn has_logged(&self, topic: Topic) -> bool {
        self.connection.notices().has_logged(topic)
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
