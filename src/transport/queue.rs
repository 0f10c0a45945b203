//! The messages that wait for one peer.
//!
//! Owns which messages wait, in which order they leave, and which are dropped. No lock, no clock and no socket: it does
//! what it is told and remembers whether something was lost. What always holds: memory is bounded in bytes and in
//! messages; a loss is remembered until it is taken note of ([`SendQueue::take_loss`]). What is lost raft sends again,
//! and a member asks after the writes that it forwarded or finds them in its log.
//!
//! There are two lanes. Heartbeats and votes keep a cluster together, and answers let it make progress; they are
//! small, and travel in the *urgent* lane, ahead of a backlog of appends or forwarded writes in the *bulk* lane. So a
//! slow link full of data does not look like a dead leader, and a follower that forwards much acknowledges in time.
//! Raft allows any order of messages; within a lane order is kept.
//!
//! While there is no connection, nothing waits in the bulk lane: an append that is minutes old when the peer comes back
//! would only delay what matters then, and raft has long since learned that it was lost. The newest few urgent messages
//! are kept, because the first thing a returning peer should hear is a heartbeat.

use std::collections::VecDeque;

use raft::eraftpb::MessageType;

use super::codec::weight_bytes;
use crate::core::ports::{Body, PeerMessage};

/// Messages a lane may hold. One is at least 300 bytes, so a full lane of the smallest is some 20 MiB.
const BULK_MESSAGES_MAX: usize = 65_536;
const URGENT_MESSAGES_MAX: usize = 8_192;

/// Urgent messages kept while there is no connection.
const DISCONNECTED_MESSAGES_MAX: usize = 256;

/// How much of the bulk lane is taken at once: enough to make one write worth it, little enough that an urgent message
/// waits for no more than this.
const PORTION_BYTES: usize = 512 << 10;

/// Slots an empty lane keeps for the next burst.
const LANE_SLOTS_KEPT: usize = 1024;

/// See the head of this file.
pub(super) struct SendQueue {
    urgent: Lane,
    bulk: Lane,
    is_connected: bool,
    has_lost: bool,
}

/// What is taken out at once, to be written next: the leftover, then the urgent messages, then the others.
#[derive(Default)]
pub(super) struct Portion {
    pub(super) urgent: VecDeque<PeerMessage>,
    pub(super) bulk: VecDeque<PeerMessage>,
    /// The end of what a direct write could not finish.
    pub(super) leftover: Vec<u8>,
}

impl Portion {
    /// True when there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty() && self.leftover.is_empty()
    }
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
        let (urgent, bulk) = (Lane::new(bytes_max / 8), Lane::new(bytes_max));
        Self { urgent, bulk, is_connected: false, has_lost: false }
    }

    /// Adds `message` as far as there is room.
    pub(super) fn push(&mut self, message: PeerMessage) {
        let weight = weight_bytes(&message);
        if is_urgent(&message) {
            self.push_urgent(message, weight);
        } else if self.is_connected && self.bulk.has_room(weight, BULK_MESSAGES_MAX) {
            self.bulk.push(message, weight);
        } else {
            self.has_lost = true;
        }
    }

    /// The newest urgent message is worth the most, so a full lane gives up its oldest.
    fn push_urgent(&mut self, message: PeerMessage, weight: usize) {
        let count_max = if self.is_connected { URGENT_MESSAGES_MAX } else { DISCONNECTED_MESSAGES_MAX };
        while !self.urgent.has_room(weight, count_max) {
            // What an old heartbeat said, a newer one says again: without a connection this is no loss.
            self.has_lost |= self.is_connected;
            self.urgent.pop();
        }
        self.urgent.push(message, weight);
    }

    /// Moves all urgent messages and some of the others into the lanes of `portion`, which are empty.
    pub(super) fn fill(&mut self, portion: &mut Portion) {
        debug_assert!(portion.urgent.is_empty() && portion.bulk.is_empty(), "the portion before was written");
        self.urgent.swap_into(&mut portion.urgent);
        if self.bulk.bytes <= PORTION_BYTES {
            self.bulk.swap_into(&mut portion.bulk);
        } else {
            self.bulk.move_some(&mut portion.bulk, PORTION_BYTES);
        }
    }

    /// True when no message waits.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.messages.is_empty() && self.bulk.messages.is_empty()
    }

    /// There is a connection: messages of both lanes are kept from now on.
    pub(super) fn connected(&mut self) {
        self.is_connected = true;
    }

    /// The connection is gone and with it an unknown number of messages.
    pub(super) fn disconnected(&mut self) {
        self.is_connected = false;
        self.has_lost = true;
        self.bulk.clear();
        while self.urgent.messages.len() > DISCONNECTED_MESSAGES_MAX {
            self.urgent.pop();
        }
    }

    /// A message that was taken out could not be sent.
    pub(super) fn lost(&mut self) {
        self.has_lost = true;
    }

    /// Whether messages were lost that nobody has taken note of.
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// As [`has_lost`](Self::has_lost), and takes note of them.
    pub(super) fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.has_lost)
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
        Body::Heartbeats(_) | Body::ForwardAnswer(_) => true,
        Body::Raft(raft) => !matches!(raft.msg_type, MessageType::MsgAppend | MessageType::MsgTimeoutNow),
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
