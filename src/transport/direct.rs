//! The short way: writing from the thread that sends, when nobody else is writing.
//!
//! Owns the decision when that pays and the bytes such a write leaves over. What always holds: it never waits,
//! because what the socket does not take at once is left to the sending thread, in order; and it happens only
//! under the queue's lock while the sending thread sleeps, so two writers never meet on a connection.
//!
//! Why: a message that goes through the sending thread pays for waking it, which on a small machine is as
//! much as the write itself; with one request in flight that is the largest part of what a message costs.
//! Under load the sending thread is awake, and then collecting messages for it is cheaper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::codec::weight_bytes;
use super::frame_writer::FrameWriter;
use crate::core::ports::PeerMessage;

/// Messages that follow the last write this closely are better collected: a write each would cost more.
const GAP_MIN: Duration = Duration::from_micros(20);

/// After a longer gap the sending thread first looks whether the connection is still there.
pub(super) const GAP_MAX: Duration = Duration::from_millis(10);

/// More than this is not written on the caller's time.
const BYTES_MAX: usize = 64 << 10;

/// What became of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    /// It is all with the system.
    Written,
    /// The sending thread must write the rest.
    InPart,
    /// Nothing was written: the messages are to be queued.
    Refused,
}

/// A connection as the queue knows it.
pub(super) struct Link {
    socket: Arc<Socket>,
    frames: FrameWriter,
    /// Bytes the socket did not take, to be written before anything else.
    leftover: Vec<u8>,
    /// When the last write began, here or in the sending thread.
    written_at: Instant,
}

impl Link {
    /// A connection that was just agreed on, to a peer that takes frames of `body_bytes_max`.
    pub(super) fn new(socket: Arc<Socket>, body_bytes_max: u32) -> Self {
        let frames = FrameWriter::new(body_bytes_max);
        Self { socket, frames, leftover: Vec::new(), written_at: Instant::now() }
    }

    /// A link to nobody that refuses every direct write, as after a long gap.
    #[cfg(test)]
    pub(super) fn idle() -> Self {
        use socket2::{Domain, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let written_at = Instant::now().checked_sub(2 * GAP_MAX).expect("the machine runs for longer");
        Self { written_at, ..Self::new(Arc::new(socket), 1 << 20) }
    }

    /// When the last write began.
    pub(super) fn written_at(&self) -> Instant {
        self.written_at
    }

    /// The sending thread is about to write.
    pub(super) fn writes_at(&mut self, now: Instant) {
        self.written_at = now;
    }

    /// Moves what a direct write left over into the empty `other`.
    pub(super) fn take_leftover(&mut self, other: &mut Vec<u8>) {
        debug_assert!(other.is_empty(), "the slice before was written");
        std::mem::swap(&mut self.leftover, other);
    }

    /// Writes `messages` if that is the cheaper way. To be called only while nothing is queued and the
    /// sending thread sleeps.
    pub(super) fn write(&mut self, messages: &[PeerMessage]) -> Direct {
        let now = Instant::now();
        let gap = now - self.written_at;
        let is_due = gap >= GAP_MIN && gap <= GAP_MAX;
        if !is_due || messages.iter().map(weight_bytes).sum::<usize>() > BYTES_MAX {
            return Direct::Refused;
        }
        if messages.iter().any(|message| self.frames.push(message).is_err()) {
            // The sending thread meets the same message again and reports it.
            self.frames.clear();
            return Direct::Refused;
        }
        self.written_at = now;
        let bytes = self.frames.finish();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // An error is met again, and told, by the sending thread when it writes the rest.
        let taken = self.socket.send_with_flags(bytes, flags).unwrap_or(0);
        self.leftover.extend_from_slice(&bytes[taken..]);
        self.frames.clear();
        if self.leftover.is_empty() { Direct::Written } else { Direct::InPart }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use raft::eraftpb::MessageType;

    use super::*;
    use crate::transport::codec::decode_batch;
    use crate::transport::frame::FrameBuffer;
    use crate::transport::tests::{append, large_append, message};

    /// A link that last wrote so long ago, and the other end.
    fn link(gap: Duration) -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        let mut link = Link::new(Arc::new(near.into()), 64 << 20);
        link.written_at = Instant::now().checked_sub(gap).expect("the machine runs for longer");
        (link, listener.accept().expect("dialed").0)
    }

    #[test]
    fn only_after_a_gap_of_the_right_length_is_a_message_written_at_once() {
        let (mut early, _far) = link(Duration::ZERO);
        early.written_at = Instant::now() + Duration::from_secs(1);
        assert_eq!(early.write(&[append(1, 2, 1)]), Direct::Refused);
        assert_eq!(Link::idle().write(&[append(1, 2, 1)]), Direct::Refused);

        let (mut timely, mut far) = link(Duration::from_millis(2));
        let written = timely.write(&[append(1, 2, 1), message(1, 2, MessageType::MsgHeartbeat, 2)]);
        assert_eq!(written, Direct::Written);
        let mut frames = FrameBuffer::new(1000);
        frames.fill(&mut far).expect("still open");
        let body = frames.next_frame().expect("a frame of ours").expect("complete");
        let mut messages = Vec::new();
        decode_batch(&body, &mut messages).expect("messages of ours");
        assert_eq!(messages, [append(1, 2, 1), message(1, 2, MessageType::MsgHeartbeat, 2)]);
    }

    #[test]
    fn large_and_unsendable_messages_are_left_to_the_sending_thread() {
        let (mut link, _far) = link(Duration::from_millis(2));
        assert_eq!(link.write(&[large_append(1, 2, 1, BYTES_MAX)]), Direct::Refused);
        let snapshot = message(1, 2, MessageType::MsgSnapshot, 1);
        assert_eq!(link.write(&[append(1, 2, 1), snapshot]), Direct::Refused);
        assert_eq!(link.write(&[append(1, 2, 1)]), Direct::Written, "nothing of the refused ones is left");
    }

    #[test]
    fn what_the_socket_does_not_take_is_left_over_in_order() {
        let (mut link, mut far) = link(Duration::from_millis(2));
        let (mut count, mut written) = (0, Direct::Written);
        while written == Direct::Written {
            link.written_at = Instant::now().checked_sub(Duration::from_millis(2)).expect("as above");
            count += 1;
            written = link.write(&[large_append(1, 2, count, 50_000)]);
        }
        assert_eq!(written, Direct::InPart);
        let mut rest = Vec::new();
        link.take_leftover(&mut rest);
        drop(link);

        let mut stream = Vec::new();
        far.read_to_end(&mut stream).expect("closed in order");
        stream.extend_from_slice(&rest);
        let (mut frames, mut bytes, mut messages) = (FrameBuffer::new(1 << 20), &stream[..], Vec::new());
        while !bytes.is_empty() {
            frames.fill(&mut bytes).expect("a slice is read without errors");
            while let Some(body) = frames.next_frame().expect("frames of ours") {
                decode_batch(&body, &mut messages).expect("messages of ours");
            }
        }
        let indices: Vec<u64> =
            messages.iter().map(|message| message.raft().expect("of raft").index).collect();
        assert_eq!(indices, (1..=count).collect::<Vec<_>>());
    }
}
