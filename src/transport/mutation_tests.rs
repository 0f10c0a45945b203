//! Every decoder on good bytes that were damaged at random.

use raft::eraftpb::{Entry, MessageType};

use super::codec::{encode, encode_into_batch, fuzz_codec};
use super::frame::fuzz_frames;
use super::frame_writer::FrameWriter;
use super::protocol::Protocol;
use super::tests::{append, message};
use super::*;

const MUTATIONS: usize = 20_000;

/// A small pseudo-random generator (xorshift), so that a failure can be repeated.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }
}

/// `good` with one to four changes: a byte, a bit, a cut, a repetition, a run of ones.
fn mutate(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] = random.byte(),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..),
            _ => {
                let end = bytes.len().min(at + 8);
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}

fn samples() -> Vec<PeerMessage> {
    let mut full = append(1, 2, 9);
    full.raft_mut().context = vec![3; 20].into();
    full.raft_mut().entries = (10..15)
        .map(|index| Entry { term: index / 3, index, data: vec![index as u8; 30].into(), ..Entry::default() })
        .collect::<Vec<_>>()
        .into();
    vec![
        full,
        message(2, 1, MessageType::MsgAppendResponse, 70),
        message(1, 2, MessageType::MsgAppendResponse, 0),
    ]
}

#[test]
fn no_mutation_of_a_message_or_a_batch_panics_or_has_two_encodings() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut seeds, mut batch) = (Vec::new(), Vec::new());
    for sample in samples() {
        let mut one = Vec::new();
        encode(&sample, Protocol::NEWEST, &mut one).expect("no raft snapshot");
        encode_into_batch(&sample, Protocol::NEWEST, &mut batch).expect("no raft snapshot");
        seeds.push(one);
    }
    seeds.push(batch);
    for n in 0..MUTATIONS {
        fuzz_codec(&mutate(&seeds[n % seeds.len()], &mut random));
    }
}

#[test]
fn no_mutation_of_a_stream_of_frames_panics_or_hands_out_a_damaged_body() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut out = FrameWriter::new(FRAME_BYTES_MAX);
    let mut stream = Vec::new();
    for sample in samples() {
        out.push(&sample).expect("small");
        stream.extend_from_slice(out.finish());
        out.clear();
    }
    assert_eq!(fuzz_frames(&stream, 11), samples().len());
    for _ in 0..MUTATIONS {
        let step_bytes = 1 + random.below(200);
        fuzz_frames(&mutate(&stream, &mut random), step_bytes);
    }
}
