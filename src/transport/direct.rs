//! Direct writes: the caller that sends a message writes it, while nobody else is writing.
//!
//! Owns the decision when that pays, the bytes of such a write, and those that the socket did not take. No socket and
//! no clock: how long ago the last write began is an argument, and so is how many bytes the socket took. That nothing
//! waits and nobody else writes is up to [`outgoing`](super::outgoing).
//!
//! Why: a message that goes through the sender thread pays for waking it, which on a small machine costs as much as the
//! write itself; with one request in flight that is the largest part of what a message costs. Under load the sender
//! thread is awake, and then collecting messages for it is cheaper.

use std::time::Duration;

use super::codec::weight_bytes;
use super::frame_writer::FrameWriter;
use super::protocol::Protocol;
use crate::core::ports::PeerMessage;

/// Messages that follow the last write more closely are better collected: a write for each would cost more.
pub(super) const GAP_MIN: Duration = Duration::from_micros(20);

/// After a longer gap whoever writes first checks whether the connection is still open.
pub(super) const GAP_MAX: Duration = Duration::from_millis(10);

/// More than this is not written on the caller's time.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// See the head of this file.
pub(super) struct DirectWriter {
    frames: FrameWriter,
    /// What the socket did not take, to be written before anything else.
    leftover: Vec<u8>,
}

impl DirectWriter {
    /// For a peer that takes frames of `body_bytes_max`.
    pub(super) fn new(body_bytes_max: u32) -> Self {
        Self { frames: FrameWriter::new(body_bytes_max), leftover: Vec::new() }
    }

    /// The bytes to write for `messages`, if a direct write pays so long after the last write began. Nothing may be
    /// left over.
    pub(super) fn encode(&mut self, gap: Duration, messages: &[PeerMessage]) -> Option<&[u8]> {
        debug_assert!(self.leftover.is_empty(), "the sender thread writes that first");
        if gap < GAP_MIN || messages.iter().map(weight_bytes).sum::<usize>() > BYTES_MAX {
            return None;
        }
        if messages.iter().any(|message| self.frames.push(message).is_err()) {
            // The sender thread meets the same message again and reports it.
            self.frames.clear();
            return None;
        }
        Some(self.frames.finish())
    }

    /// Keeps the rest of the encoded bytes after the socket took the first `taken`. True when there is no rest.
    pub(super) fn keep_rest(&mut self, taken: usize) -> bool {
        self.leftover.extend_from_slice(&self.frames.finish()[taken..]);
        self.frames.clear();
        self.leftover.is_empty()
    }

    /// Moves what is left over into the empty `other`.
    pub(super) fn take_leftover(&mut self, other: &mut Vec<u8>) {
        debug_assert!(other.is_empty(), "the portion before was written");
        std::mem::swap(&mut self.leftover, other);
    }

    /// There is a connection of this version.
    pub(super) fn speak(&mut self, protocol: Protocol) {
        self.frames.speak(protocol);
    }

    /// Forgets what is left over: the connection is gone.
    pub(super) fn clear(&mut self) {
        self.leftover = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::MessageType;

    use super::*;
    use crate::transport::codec::decode_batch;
    use crate::transport::frame::FrameBuffer;
    use crate::transport::tests::{append, large_append, message};

    fn writer() -> DirectWriter {
        DirectWriter::new(64 << 20)
    }

    #[test]
    fn only_after_a_gap_is_a_message_written_at_once() {
        let nanosecond = Duration::from_nanos(1);
        for gap in [Duration::ZERO, GAP_MIN - nanosecond] {
            assert_eq!(writer().encode(gap, &[append(1, 2, 1)]), None, "{gap:?}");
        }
        for gap in [GAP_MIN, GAP_MAX, Duration::MAX] {
            let sent = [append(1, 2, 1), message(1, 2, MessageType::MsgAppendResponse, 2)];
            let mut writer = writer();
            let mut bytes = writer.encode(gap, &sent).expect("cheaper");

            let (mut frames, mut messages) = (FrameBuffer::new(1000), Vec::new());
            frames.fill(&mut bytes).expect("a slice is read without errors");
            let body = frames.next_frame().expect("a frame of ours").expect("complete");
            decode_batch(&body, Protocol::NEWEST, &mut messages).expect("messages of ours");
            assert_eq!(messages, sent);
        }
    }

    #[test]
    fn large_and_unsendable_messages_are_left_to_the_sender_thread() {
        let mut writer = writer();
        assert_eq!(writer.encode(GAP_MAX, &[large_append(1, 2, 1, BYTES_MAX)]), None);
        let snapshot = message(1, 2, MessageType::MsgSnapshot, 1);
        assert_eq!(writer.encode(GAP_MAX, &[append(1, 2, 1), snapshot]), None);

        let bytes = writer.encode(GAP_MAX, &[append(1, 2, 1)]).expect("cheaper").to_vec();
        let mut alone = FrameWriter::new(64 << 20);
        alone.push(&append(1, 2, 1)).expect("small");
        assert_eq!(bytes, alone.finish(), "nothing of the refused ones is left");
    }

    #[test]
    fn what_the_socket_does_not_take_is_left_over() {
        let mut writer = writer();
        let bytes = writer.encode(GAP_MAX, &[append(1, 2, 1)]).expect("cheaper").to_vec();
        assert!(!writer.keep_rest(3));
        let mut rest = Vec::new();
        writer.take_leftover(&mut rest);
        assert_eq!(rest, bytes[3..]);

        let bytes = writer.encode(GAP_MAX, &[append(1, 2, 2)]).expect("cheaper").len();
        assert!(writer.keep_rest(bytes));
        rest.clear();
        writer.take_leftover(&mut rest);
        assert!(rest.is_empty());
    }
}
