//! Frames: how a stream of bytes is cut into checked pieces.
//!
//! Owns the frame header, the writer's side ([`begin`], [`finish`]) and the reader's side ([`FrameBuffer`]).
//! What always holds: a length is compared with the limit before anything is allocated for it, memory follows
//! the bytes that came and not the length that was claimed, and no body is handed out whose checksum is
//! wrong. What is in a body is left to [`codec`](super::codec) and, on connections for raft snapshots, to their
//! [`frames`](super::snapshots).
//!
//! ```text
//! 0        4        8      9            16
//! | crc32c | length | kind | zero (7)   | body: `length` bytes |
//!          '------------- the checksum covers this ------------'
//! ```
//!
//! Numbers are little-endian. The checksum comes first so that it covers one contiguous range.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

/// Bytes of a frame before its body.
pub(crate) const HEADER_BYTES: usize = 16;

/// The one kind of frame on a connection for messages: a batch of them.
pub(crate) const KIND_MESSAGES: u8 = 1;

/// Bytes asked of the socket at once, and what an idle connection holds.
pub(super) const CHUNK_BYTES: usize = 128 << 10;

/// A chunk with less room than this is replaced: a read this small costs as much as a large one.
const ROOM_BYTES_MIN: usize = 8 << 10;

/// Why bytes are not a frame. There is no way to find the next frame after such bytes, so the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length is above the limit.
    #[error("a frame claims {len} bytes, more than the limit of {limit}")]
    TooLong {
        /// What the header says.
        len: u32,
        /// What this member accepts.
        limit: u32,
    },
    /// The kind does not exist or a reserved byte is not zero.
    #[error("a frame is of a kind that this version does not know")]
    Kind,
    /// The checksum does not match.
    #[error("a frame's checksum is wrong")]
    Checksum,
}

/// Makes room for a header at the end of `out`; the body is to be appended after it. Returns where the frame
/// begins, for [`finish`].
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// Completes the frame of messages that begins at `start` and ends where `out` does.
pub(crate) fn finish(out: &mut [u8], start: usize) {
    finish_as(KIND_MESSAGES, out, start);
}

/// Completes the frame of this kind that begins at `start` and ends where `out` does.
pub(super) fn finish_as(kind: u8, out: &mut [u8], start: usize) {
    let frame = &mut out[start..];
    let len =
        u32::try_from(frame.len() - HEADER_BYTES).expect("the sender keeps bodies below the frame limit");
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8] = kind;
    let checksum = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// What a connection has received and not yet handed out.
///
/// Bodies are slices of the chunk they were received into, which is freed with the last of them. So nothing is copied,
/// and a log cache that keeps an entry keeps its neighbours in memory, which it would keep anyway. A frame longer than
/// the usual chunk has the last one of its own.
pub(crate) struct FrameBuffer {
    chunk: BytesMut,
    /// How much of the front of `chunk` holds received bytes. Invariant: at most `chunk.len()`.
    filled: usize,
    kinds: RangeInclusive<u8>,
    body_bytes_max: u32,
}

impl FrameBuffer {
    /// An empty buffer for frames of messages that refuses bodies longer than `body_bytes_max`.
    #[must_use]
    pub(crate) fn new(body_bytes_max: u32) -> Self {
        Self::of_kinds(KIND_MESSAGES..=KIND_MESSAGES, body_bytes_max)
    }

    /// The same for frames of these kinds.
    #[must_use]
    pub(super) fn of_kinds(kinds: RangeInclusive<u8>, body_bytes_max: u32) -> Self {
        Self { chunk: BytesMut::new(), filled: 0, kinds, body_bytes_max }
    }

    /// From now on refuses bodies longer than this instead.
    pub(super) fn take_bodies_of(&mut self, body_bytes_max: u32) {
        self.body_bytes_max = body_bytes_max;
    }

    /// Reads once from `source` and returns how many bytes came; zero at its end. All complete frames must
    /// have been taken out before.
    ///
    /// # Errors
    /// Those of `source`.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = source.read(&mut self.chunk[self.filled..])?;
        self.filled += count;
        Ok(count)
    }

    /// The body of the next complete frame; `None` when more bytes are needed first.
    ///
    /// # Errors
    /// When the bytes are no frame; the connection is then of no more use.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        Ok(self.next_of_any_kind()?.map(|(_, body)| body))
    }

    /// The same with the kind of the frame.
    pub(super) fn next_of_any_kind(&mut self) -> Result<Option<(u8, Bytes)>, FrameError> {
        let Some(frame_len) = self.frame_len()? else { return Ok(None) };
        if self.filled < frame_len {
            return Ok(None);
        }
        let frame = self.chunk.split_to(frame_len).freeze();
        self.filled -= frame_len;
        let expected = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
        if crc32c::crc32c(&frame[4..]) != expected {
            return Err(FrameError::Checksum);
        }
        Ok(Some((frame[8], frame.slice(HEADER_BYTES..))))
    }

    /// Bytes of memory held for frames that are not complete.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Length of the frame at the front with its header, once that has come.
    fn frame_len(&self) -> Result<Option<usize>, FrameError> {
        let Some(header) = self.chunk[..self.filled].first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if len > self.body_bytes_max {
            return Err(FrameError::TooLong { len, limit: self.body_bytes_max });
        }
        if !self.kinds.contains(&header[8]) || header[9..] != [0; 7] {
            return Err(FrameError::Kind);
        }
        Ok(Some(HEADER_BYTES + len as usize))
    }

    /// What the header at the front claims, wrong or not.
    fn claimed_len(&self) -> Option<usize> {
        self.frame_len().ok().flatten()
    }

    /// Moves to a new chunk when the present one is nearly full. The new one is at most twice what has really
    /// come, so a claimed length alone costs nothing. It ends where a frame ends that is longer than the usual chunk:
    /// the entries of that frame keep all of it in memory, and would keep the beginnings of others with it.
    fn make_room(&mut self) {
        let rest = self.chunk.len() - self.filled;
        let frame_len = self.claimed_len();
        if rest >= ROOM_BYTES_MIN || (rest > 0 && frame_len == Some(self.chunk.len())) {
            return;
        }
        let len = frame_len.unwrap_or(0).min(2 * self.filled).max(CHUNK_BYTES);
        let mut chunk = BytesMut::zeroed(len);
        chunk[..self.filled].copy_from_slice(&self.chunk[..self.filled]);
        self.chunk = chunk;
    }
}

/// Reads a stream of any bytes, coming `step_bytes` at a time, and counts its frames.
#[cfg(test)]
pub(crate) fn fuzz_frames(input: &[u8], step_bytes: usize) -> usize {
    let mut frames = FrameBuffer::new(1 << 20);
    let mut bodies = 0;
    for mut step in input.chunks(step_bytes.max(1)) {
        while !step.is_empty() {
            frames.fill(&mut step).expect("a slice is read without errors");
            loop {
                match frames.next_frame() {
                    Ok(Some(_)) => bodies += 1,
                    Ok(None) => break,
                    Err(_) => return bodies,
                }
            }
        }
    }
    assert!(
        frames.capacity_bytes() <= CHUNK_BYTES.max(2 * input.len()),
        "memory follows the bytes that came"
    );
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin(&mut out);
        out.extend_from_slice(body);
        finish(&mut out, start);
        out
    }

    fn received(mut bytes: &[u8], limit: u32) -> Result<Vec<Bytes>, FrameError> {
        let mut frames = FrameBuffer::new(limit);
        let mut bodies = Vec::new();
        while !bytes.is_empty() {
            frames.fill(&mut bytes).expect("a slice is read without errors");
            while let Some(body) = frames.next_frame()? {
                bodies.push(body);
            }
        }
        Ok(bodies)
    }

    #[test]
    fn frames_come_back_however_the_stream_is_cut() {
        let bodies: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; usize::from(n) * 31]).collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        for step in [1, 7, 16, 100, stream.len()] {
            assert_eq!(fuzz_frames(&stream, step), bodies.len(), "{step} bytes at a time");
        }

        assert_eq!(received(&stream, 1 << 20), Ok(bodies.into_iter().map(Bytes::from).collect()));
    }

    #[test]
    fn a_frame_larger_than_a_chunk_comes_back() {
        let body: Vec<u8> = (0..3 * CHUNK_BYTES).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(received(&frame(&body), 1 << 20), Ok(vec![Bytes::from(body)]));
    }

    #[test]
    fn a_long_frame_ends_its_chunk() {
        let long = frame(&[7; 3 * CHUNK_BYTES + 77]);
        let stream = [frame(&[1]), long, frame(&[2])].concat();
        let (mut source, mut frames, mut left) = (&stream[..], FrameBuffer::new(1 << 20), Vec::new());
        while !source.is_empty() {
            frames.fill(&mut source).expect("a slice is read without errors");
            while let Some(body) = frames.next_frame().expect("frames of ours") {
                left.push((body.len(), frames.capacity_bytes()));
            }
        }

        assert_eq!(left[1], (3 * CHUNK_BYTES + 77, 0), "nothing of the next frame is in its memory");
        assert_eq!(left.len(), 3);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_from_the_header_alone() {
        let mut stream = frame(&[]);
        stream[4..8].copy_from_slice(&u32::MAX.to_le_bytes());

        assert_eq!(received(&stream, 1000), Err(FrameError::TooLong { len: u32::MAX, limit: 1000 }));
        assert_eq!(received(&frame(&[0; 1000]), 1000).map(|bodies| bodies.len()), Ok(1));
        assert!(received(&frame(&[0; 1001]), 1000).is_err());
    }

    #[test]
    fn a_claimed_length_with_nothing_behind_it_costs_one_chunk() {
        let mut stream = frame(&[]);
        stream[4..8].copy_from_slice(&(64_u32 << 20).to_le_bytes());
        let mut frames = FrameBuffer::new(64 << 20);

        frames.fill(&mut &stream[..]).expect("a slice is read without errors");

        assert_eq!(frames.next_frame(), Ok(None));
        assert_eq!(frames.capacity_bytes(), CHUNK_BYTES);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = frame(b"an entry of the log");
        for bit in 0..8 * good.len() {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length makes the frame incomplete, which is not an error but hands nothing out either.
            assert_ne!(received(&damaged, 1000).map(|bodies| bodies.len()), Ok(1), "bit {bit}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_refused() {
        for at in 8..HEADER_BYTES {
            let mut stream = frame(b"body");
            stream[at] = 9;
            assert_eq!(received(&stream, 1000), Err(FrameError::Kind), "byte {at}");
        }
    }
}
