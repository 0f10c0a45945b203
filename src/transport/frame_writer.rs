//! Messages as the frames of one write.
//!
//! Owns the buffer that messages are encoded into and where one frame ends and the next begins. What always holds: a
//! frame stays within every limit that the receiver checks, and a message that exceeds one by itself is refused here,
//! before it could cost the connection.

use super::codec::{self, CodecError, ENTRIES_MAX, MESSAGES_MAX, weight_bytes};
use super::frame;
use super::protocol::Protocol;
use crate::core::ports::PeerMessage;

/// A frame is closed at this length: the receiver holds a frame until it is complete.
const FRAME_BYTES: usize = 256 << 10;

/// Memory the buffer keeps after a large write.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsendable {
    /// It is larger than a frame may be.
    #[error("it holds {bytes} bytes and a frame {limit}")]
    TooLong { bytes: usize, limit: usize },
    /// It has no encoding.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

/// See the head of this file.
pub(super) struct FrameWriter {
    bytes: Vec<u8>,
    open: Option<OpenFrame>,
    body_bytes_max: usize,
    protocol: Protocol,
}

/// The frame at the end of the buffer.
struct OpenFrame {
    start: usize,
    messages: usize,
    entries: usize,
}

impl FrameWriter {
    /// An empty buffer for a receiver that takes bodies of `body_bytes_max`, and the newest version of the protocol.
    pub(super) fn new(body_bytes_max: u32) -> Self {
        let body_bytes_max = body_bytes_max as usize;
        Self { bytes: Vec::new(), open: None, body_bytes_max, protocol: Protocol::NEWEST }
    }

    /// What is written from now on is for a receiver that takes this version. Nothing may wait in the buffer.
    pub(super) fn speak(&mut self, protocol: Protocol) {
        assert!(self.bytes.is_empty(), "a connection has one version");
        self.protocol = protocol;
    }

    /// Appends `message`, to the open frame or to a new one.
    ///
    /// # Errors
    /// When it can never be sent; then nothing is appended.
    pub(super) fn push(&mut self, message: &PeerMessage) -> Result<(), Unsendable> {
        let weight = weight_bytes(message);
        if weight > self.body_bytes_max {
            return Err(Unsendable::TooLong { bytes: weight, limit: self.body_bytes_max });
        }
        codec::check_encodable(message, self.protocol)?;
        let entries = codec::entries_of(message);
        if self.open.as_ref().is_some_and(|open| !self.fits(open, weight, entries)) {
            self.close_frame();
        }
        let bytes = &mut self.bytes;
        let open = self.open.get_or_insert_with(|| OpenFrame {
            start: frame::begin(bytes),
            messages: 0,
            entries: 0,
        });
        codec::encode_into_batch(message, self.protocol, bytes)?;
        open.messages += 1;
        open.entries += entries;
        Ok(())
    }

    /// Everything pushed, as complete frames.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.close_frame();
        &self.bytes
    }

    /// Empties the buffer after it was written.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.open = None;
        if self.bytes.capacity() > 2 * BUFFER_BYTES_KEPT {
            self.bytes.shrink_to(BUFFER_BYTES_KEPT);
        }
    }

    fn fits(&self, open: &OpenFrame, weight: usize, entries: usize) -> bool {
        let body = self.bytes.len() - open.start - frame::HEADER_BYTES;
        body + weight <= FRAME_BYTES.min(self.body_bytes_max)
            && open.messages < MESSAGES_MAX
            && open.entries + entries <= ENTRIES_MAX
    }

    fn close_frame(&mut self) {
        if let Some(open) = self.open.take() {
            frame::finish(&mut self.bytes, open.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Entry, Message, MessageType};

    use super::*;
    use crate::core::ports::Body;
    use crate::transport::frame::FrameBuffer;

    fn append(data_bytes: usize) -> PeerMessage {
        let entry = Entry { data: vec![7; data_bytes].into(), ..Entry::default() };
        let message =
            Message { msg_type: MessageType::MsgAppend, entries: vec![entry].into(), ..Message::default() };
        PeerMessage { region: 1.into(), epoch: crate::types::BOOTSTRAP_EPOCH, body: Body::Raft(message) }
    }

    fn received(mut bytes: &[u8], limit: u32) -> (usize, Vec<PeerMessage>) {
        let mut frames = FrameBuffer::new(limit);
        let (mut count, mut messages) = (0, Vec::new());
        while !bytes.is_empty() {
            frames.fill(&mut bytes).expect("a slice is read without errors");
            while let Some(body) = frames.next_frame().expect("frames of ours") {
                count += 1;
                codec::decode_batch(&body, Protocol::NEWEST, &mut messages).expect("messages of ours");
            }
        }
        (count, messages)
    }

    #[test]
    fn all_messages_of_a_write_share_a_frame_until_it_is_long() {
        let mut out = FrameWriter::new(64 << 20);
        for _ in 0..100 {
            out.push(&append(100)).expect("small");
        }
        assert_eq!(received(out.finish(), 64 << 20), (1, vec![append(100); 100]));

        out.clear();
        for _ in 0..10 {
            out.push(&append(100_000)).expect("below the limit");
        }
        assert_eq!(received(out.finish(), 64 << 20), (5, vec![append(100_000); 10]));
    }

    #[test]
    fn no_frame_is_longer_than_the_receiver_takes() {
        let limit = 10_000;
        let mut out = FrameWriter::new(limit);
        for data_bytes in [9_000, 10, 10, 9_000, 5_000, 5_000] {
            out.push(&append(data_bytes)).expect("below the limit");
        }
        assert_eq!(received(out.finish(), limit).1.len(), 6);

        assert!(matches!(out.push(&append(10_000)), Err(Unsendable::TooLong { .. })));
    }

    #[test]
    fn no_frame_holds_more_messages_or_entries_than_the_receiver_takes() {
        let mut many = append(0);
        many.raft_mut().entries = vec![Entry::default(); ENTRIES_MAX / 2 + 1].into();
        let mut out = FrameWriter::new(64 << 20);
        out.push(&many).expect("below the limit");
        out.push(&many).expect("below the limit");
        for _ in 0..2 * MESSAGES_MAX {
            out.push(&append(0)).expect("small");
        }

        let (_, messages) = received(out.finish(), 64 << 20);
        assert_eq!(messages.len(), 2 + 2 * MESSAGES_MAX);
    }

    #[test]
    fn a_message_without_an_encoding_leaves_no_trace() {
        let mut snapshot = append(1);
        snapshot.raft_mut().mut_snapshot();
        let mut out = FrameWriter::new(64 << 20);
        out.push(&append(1)).expect("small");

        assert_eq!(out.push(&snapshot), Err(Unsendable::Codec(CodecError::Snapshot)));

        out.push(&append(2)).expect("small");
        assert_eq!(received(out.finish(), 64 << 20).1, vec![append(1), append(2)]);
    }
}
