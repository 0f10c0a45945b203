//! The link to one peer: what its sender thread shares with those who send.
//!
//! Owns the lock around [`Outgoing`], the clock it is asked with, the socket that direct writes go to, and the waking
//! of the sender thread. What always holds: a caller that sends takes one lock, once, and never waits for the peer;
//! the socket is written on under the lock only without waiting. What to do and when is decided by [`Outgoing`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use socket2::Socket;

use super::connection::Looks;
use super::lock;
use super::notices::Topic;
use super::outgoing::{Limits, Outgoing, Step, Task};
use super::protocol::Protocol;
use super::queue::Portion;
use super::sockets::check_open;
use crate::core::ports::PeerMessage;
use crate::time;

/// See the head of this file.
pub(super) struct Link {
    state: Mutex<State>,
    /// Wakes the sender thread.
    wake: Condvar,
}

struct State {
    outgoing: Outgoing,
    /// That of the open connection.
    socket: Option<Arc<Socket>>,
}

impl Link {
    /// A link without a connection.
    pub(super) fn new(limits: Limits) -> Self {
        let state = State { outgoing: Outgoing::new(time::now(), limits), socket: None };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Writes `messages` directly where that pays; otherwise adds them, as far as there is room, and wakes the sender
    /// thread if it waits for them.
    pub(super) fn send(&self, messages: Vec<PeerMessage>) {
        let mut state = lock(&self.state);
        if state.send(messages) {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for the next task of the sender thread. When that is to write, the empty `portion` has been filled.
    pub(super) fn next(&self, portion: &mut Portion) -> Task {
        let mut state = lock(&self.state);
        loop {
            let now = time::now();
            state = match state.outgoing.next(now, portion) {
                Step::Do(task) => {
                    if task == Task::End {
                        state.socket = None;
                    }
                    return task;
                }
                Step::Wait(None) => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Step::Wait(Some(until)) => {
                    let waited = self.wake.wait_timeout(state, until.since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The dial succeeded; messages of `protocol` are taken there.
    pub(super) fn opened(&self, socket: Arc<Socket>, protocol: Protocol, looks: Looks) {
        let mut state = lock(&self.state);
        state.socket = Some(socket);
        state.outgoing.opened(time::now(), protocol, looks);
    }

    /// The dial failed, for the reason `topic`. True when the operator is to be told.
    pub(super) fn failed(&self, topic: Topic) -> bool {
        lock(&self.state).outgoing.failed(time::now(), topic)
    }

    /// The connection is gone.
    pub(super) fn lost(&self) {
        let mut state = lock(&self.state);
        state.socket = None;
        state.outgoing.lost(time::now());
    }

    /// A message of a portion cannot be sent. True when the operator is to be told.
    pub(super) fn unsendable(&self) -> bool {
        lock(&self.state).outgoing.unsendable()
    }

    /// The peer has just connected to this member, so it can be reached.
    pub(super) fn hurry(&self) {
        lock(&self.state).outgoing.hurry();
        self.wake.notify_one();
    }

    /// Takes no more messages, and lets the sender thread end.
    pub(super) fn close(&self) {
        lock(&self.state).outgoing.close();
        self.wake.notify_one();
    }
}

#[cfg(test)]
impl Link {
    /// Whether messages of both lanes are kept.
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.state).outgoing.is_connected()
    }

    /// Whether the operator was told about `topic`.
    pub(super) fn has_logged(&self, topic: Topic) -> bool {
        lock(&self.state).outgoing.has_logged(topic)
    }
}

impl State {
    /// True when the sender thread is to be woken.
    fn send(&mut self, messages: Vec<PeerMessage>) -> bool {
        let Self { outgoing, socket } = self;
        if outgoing.may_write_directly()
            && let Some(socket) = socket
            && let Some(bytes) =
                outgoing.write_directly(time::now(), &messages, || check_open(socket).is_ok())
        {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // The sender thread meets the error again when it writes the rest, and reports it.
            let taken = socket.send_with_flags(bytes, flags).unwrap_or(0);
            return outgoing.wrote_directly(taken);
        }
        outgoing.push(messages)
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
