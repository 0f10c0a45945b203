//! The fuzzer's entry point to what a connection receives.
//!
//! Owns the translation of arbitrary bytes into a stream of frames that comes in pieces, and the check of what comes of
//! it. What must hold, for any bytes in any pieces: exactly the frames come out that a reader of the whole stream would
//! find, up to the first bytes that are not a frame; memory follows the bytes that came; a batch either is refused or
//! encodes back to itself, and so does a single message; nothing panics.
//!
//! The first byte chooses whether the input is given valid checksums, without which raw bytes would get nowhere, and
//! whether it is repeated until it is longer than what is received at once; the second how the stream is cut.

use bytes::Bytes;

use super::codec::{decode_batch, encode_into_batch, fuzz_codec};
use super::frame::{self, CHUNK_BYTES, FrameBuffer, FrameError, HEADER_BYTES, KIND_MESSAGES};
use super::protocol::Protocol;

/// Longest body accepted: small, so that inputs reach the limit.
const BODY_BYTES_MAX: u32 = 4096;
/// The same where a stream is long, so that a body is longer than what is received at once.
const LONG_BODY_BYTES_MAX: u32 = 1 << 20;
/// Length of a stream that is repeated.
const LONG_STREAM_BYTES: usize = 3 * CHUNK_BYTES;

/// Receives a stream made of `data` and checks what must hold.
///
/// # Panics
/// When it does not hold.
pub fn fuzz_stream(data: &[u8]) {
    let [way, cut, rest @ ..] = data else { return };
    let stream = match way % 3 {
        0 => rest.to_vec(),
        1 => sealed_frames(rest),
        _ => return fuzz_codec(rest),
    };
    if way / 3 % 32 == 31 {
        let long: Vec<u8> = stream.iter().copied().cycle().take(LONG_STREAM_BYTES).collect();
        // Longer pieces, or it would take as long as a hundred other inputs.
        receive(&long, 4096 + (usize::from(*cut) << 8), LONG_BODY_BYTES_MAX);
    } else {
        receive(&stream, 1 + usize::from(*cut), BODY_BYTES_MAX);
    }
}

/// Reads the input as bodies after their lengths (u16) and makes a frame of each; a length of zero says that the rest
/// flips bits (offset u16, bit u8).
fn sealed_frames(mut input: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((length, rest)) = take_u16(input) {
        if length == 0 {
            flip(&mut stream, rest);
            break;
        }
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length)));
        input = rest;
        let start = frame::begin(&mut stream);
        stream.extend_from_slice(body);
        frame::finish(&mut stream, start);
    }
    stream
}

fn take_u16(input: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = input.split_first_chunk::<2>()?;
    Some((u16::from_le_bytes(*number), rest))
}

fn flip(stream: &mut [u8], input: &[u8]) {
    for [low, high, bit] in input.as_chunks::<3>().0 {
        let length = stream.len().max(1);
        let offset = usize::from(u16::from_le_bytes([*low, *high])) % length;
        if let Some(byte) = stream.get_mut(offset) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// What a reader of the whole stream finds: the bodies, and whether something follows that is no frame.
fn whole(mut stream: &[u8], body_bytes_max: u32) -> (Vec<&[u8]>, bool) {
    let mut bodies = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<HEADER_BYTES>() {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if length > body_bytes_max || header[8] != KIND_MESSAGES || header[9..] != [0; 7] {
            return (bodies, true);
        }
        let Some((body, after)) = rest.split_at_checked(length as usize) else { break };
        let checksum = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if crc32c::crc32c_append(crc32c::crc32c(&header[4..]), body) != checksum {
            return (bodies, true);
        }
        bodies.push(body);
        stream = after;
    }
    (bodies, false)
}

fn receive(stream: &[u8], most: usize, body_bytes_max: u32) {
    let (expected, is_broken) = whole(stream, body_bytes_max);
    let mut bodies = Vec::new();
    let ended = take_frames(pieces(stream, most), FrameBuffer::new(body_bytes_max), &mut bodies);

    assert!(bodies.iter().eq(expected.iter()), "the same frames come out however the stream is cut");
    assert_eq!(ended.is_err(), is_broken, "a stream ends at the first bytes that are no frame: {ended:?}");
    bodies.iter().for_each(read_batch);
}

fn take_frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    mut frames: FrameBuffer,
    bodies: &mut Vec<Bytes>,
) -> Result<(), FrameError> {
    let mut came = 0;
    for mut piece in pieces {
        came += piece.len();
        while !piece.is_empty() {
            frames.fill(&mut piece).expect("a slice is read without errors");
            while let Some(body) = frames.next_frame()? {
                bodies.push(body);
            }
        }
        let bound = CHUNK_BYTES.max(2 * came);
        assert!(frames.capacity_bytes() <= bound, "memory follows the bytes that came");
    }
    Ok(())
}

/// The stream in pieces of up to `most` bytes; an even number lets their lengths change.
fn pieces(mut stream: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let changes = most.is_multiple_of(2);
    let mut length = most;
    std::iter::from_fn(move || {
        length = if changes { 1 + (length * 7 + 3) % most } else { most };
        let (piece, rest) = stream.split_at(stream.len().min(length));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A batch that is read encodes back to the same bytes; one that is refused does so as far as it was read.
fn read_batch(body: &Bytes) {
    for protocol in Protocol::ALL {
        let mut messages = Vec::new();
        let read = decode_batch(body, protocol, &mut messages);
        let mut again = Vec::new();
        for message in &messages {
            encode_into_batch(message, protocol, &mut again).expect("what was decoded can be encoded");
        }
        assert!(body.starts_with(&again), "a message has one encoding");
        assert_eq!(
            read.is_ok(),
            again.len() == body.len(),
            "what is refused was not read to its end: {read:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::replay;

    #[test]
    fn the_corpus_of_frames_and_mutations_of_it_hold() {
        replay("frames", 20_000, fuzz_stream);
    }
}
