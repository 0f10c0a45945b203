//! The way out to one peer, as a state machine: messages go in, and the next task of the sender thread comes out.
//!
//! Puts the [queue](super::queue), the [connection](super::connection) and [direct writes](super::direct) together,
//! and owns which of them comes first, when a loss is reported, who may write, and when the sender thread is woken.
//! No lock, no clock and no socket: time is an argument, so that tests can move it. [`link`](super::link) is the lock
//! around it, [`sender`](super::sender) the thread that asks for the [`next`](Outgoing::next) task, carries it out
//! and says what came of it.
//!
//! What always holds:
//! - A loss is reported at most once a tick, and no later than a tick after it unless another task is under way.
//! - Only one thread writes at a time: a caller only while the sender thread waits for messages, and then no message
//!   waits and nothing is left over.
//! - The sender thread is woken only for what it waits for, and only by the first caller that brings it.

use std::time::Duration;

use super::connection::{Connection, Due, Looks, Report};
use super::direct::{DirectWriter, GAP_MAX};
use super::notices::Topic;
use super::protocol::Protocol;
use super::queue::{Portion, SendQueue};
use crate::core::ports::PeerMessage;
use crate::time::Timestamp;

/// See the head of this file.
pub(super) struct Outgoing {
    queue: SendQueue,
    connection: Connection,
    direct: DirectWriter,
    awaited: Awaited,
    /// The sender thread waits without an end, and a direct write has made a look due.
    sleeps_past_look: bool,
    /// When the next loss may be reported.
    loss_due: Timestamp,
    tick: Duration,
    is_closed: bool,
}

/// The bounds of a way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Losses are reported at most this often.
    pub(super) tick: Duration,
    /// How long the peer may be out of reach before the operator is told.
    pub(super) patience: Duration,
    /// Memory of the messages that wait, in bytes.
    pub(super) queue_bytes_max: usize,
    /// The longest frame that the peer takes, in bytes.
    pub(super) frame_bytes_max: u32,
}

/// What the sender thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This, now.
    Do(Task),
    /// To wait until it is woken, at most until this moment, and to ask again.
    Wait(Option<Timestamp>),
}

/// What may take a while and is done without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Tell the core.
    Report(Report),
    /// Dial; [`Outgoing::opened`] or [`Outgoing::failed`] is to follow.
    Dial,
    /// Check whether the connection is still open; if it is not, [`Outgoing::lost`] is to follow.
    Look,
    /// Write the portion; if that fails, [`Outgoing::lost`] is to follow.
    Write {
        /// Check first: nothing was written for a while, in which the peer may have closed the connection.
        looks_first: bool,
    },
    /// There is nothing more to do, ever.
    End,
}

/// What the sender thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing that a caller could bring: it works, or comes back at a certain time.
    Nothing,
    Messages,
    Loss,
}

impl Outgoing {
    /// Nothing waits, and the first dial is due at once.
    pub(super) fn new(now: Timestamp, limits: Limits) -> Self {
        Self {
            queue: SendQueue::new(limits.queue_bytes_max),
            connection: Connection::new(now, limits.tick, limits.patience),
            direct: DirectWriter::new(limits.frame_bytes_max),
            awaited: Awaited::Nothing,
            sleeps_past_look: false,
            loss_due: now,
            tick: limits.tick,
            is_closed: false,
        }
    }

    /// What the sender thread is to do. When that is to write, `portion`, which is empty, has been filled.
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

    /// Adds `messages`, as far as there is room. True when the sender thread is to be woken.
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

    /// Whether a caller may write itself without overtaking anything. It is asked before the clock is read: under
    /// load the answer is no.
    pub(super) fn may_write_directly(&self) -> bool {
        // A sender thread that waits for messages has taken all that waited.
        debug_assert!(self.awaited != Awaited::Messages || self.queue.is_empty());
        self.awaited == Awaited::Messages && !self.is_closed
    }

    /// The bytes of `messages`, which are to be offered to the socket without waiting and without giving up the lock;
    /// [`wrote_directly`](Self::wrote_directly) is to follow. `None` when it is better to push them. `is_open` is asked
    /// after a gap in which the peer may have closed the connection; if it did, the sender thread finds out too. Only
    /// while [`may_write_directly`](Self::may_write_directly).
    pub(super) fn write_directly(
        &mut self,
        now: Timestamp,
        messages: &[PeerMessage],
        is_open: impl FnOnce() -> bool,
    ) -> Option<&[u8]> {
        debug_assert!(self.may_write_directly());
        let gap = self.connection.gap(now)?;
        let looks = gap > GAP_MAX;
        if looks && !is_open() {
            return None;
        }
        let bytes = self.direct.encode(gap, messages)?;
        self.sleeps_past_look = self.connection.writes_directly(now, looks);
        Some(bytes)
    }

    /// The socket took so many of the bytes. True when the sender thread is to be woken, to write the rest or to look
    /// when the time has come.
    #[must_use]
    pub(super) fn wrote_directly(&mut self, taken: usize) -> bool {
        let has_rest = !self.direct.keep_rest(taken);
        (has_rest || std::mem::take(&mut self.sleeps_past_look)) && self.is_awaited()
    }

    /// The dial succeeded, and messages of `protocol` are taken there: those of both lanes are kept from now on.
    pub(super) fn opened(&mut self, now: Timestamp, protocol: Protocol, looks: Looks) {
        self.direct.speak(protocol);
        self.queue.connected();
        self.connection.opened(now, looks);
    }

    /// The dial failed, for the reason `topic`. True when the operator is to be told.
    #[must_use]
    pub(super) fn failed(&mut self, now: Timestamp, topic: Topic) -> bool {
        // Closing breaks a dial off, which is no news.
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

    /// The peer has just connected to this member: see [`Connection::hurry`]. The sender thread is to be woken.
    pub(super) fn hurry(&mut self) {
        self.connection.hurry();
    }

    /// Takes no more messages and needs no connection. The sender thread is to be woken.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether messages of both lanes are kept.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_open()
    }

    /// Whether the operator was told about `topic`.
    #[cfg(test)]
    pub(super) fn has_logged(&self, topic: Topic) -> bool {
        self.connection.notices().has_logged(topic)
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
