//! Forwarded writes and their answers as bytes.
//!
//! Owns the two bodies that are not raft's. What always holds, as in [`codec`](super::codec): every value has one
//! encoding, and no length is trusted before its bytes are there.
//!
//! ```text
//! forward  to, from, boot u64, term, attempt, first, count, { data }*
//! answer   to, from, boot u64, attempt, refused u8 { first, code }, count, { number, code [index, term, ordinal] }*
//! ```
//! Code 0 is success and carries a position, and the number of the write within its entry.

use std::mem::size_of;

use bytes::{Bytes, BytesMut};

use super::wire::{CodecError, Cursor, SHARED_BYTES_MIN, put_bytes, put_varint, read_count};
use crate::completion::{Position, Reply};
use crate::core::forwarding::{Forward, ForwardAnswer, Refused, Verdict};
use crate::error::Code;
use crate::types::{LOG_INDEX_MAX, LogIndex, NodeId, Term, Version};

/// The memory behind a [`Forward`]; its encoding is never longer than this and the struct.
pub(super) fn forward_bytes(forward: &Forward) -> usize {
    forward.writes.iter().map(|data| size_of::<Bytes>() + data.len()).sum()
}

/// The memory behind a [`ForwardAnswer`]; its encoding is never longer than this and the struct.
pub(super) fn answer_bytes(answer: &ForwardAnswer) -> usize {
    // A number, a code, a position and an ordinal of the greatest length take 36 bytes.
    answer.verdicts.len() * (size_of::<Verdict>() + 8)
}

pub(super) fn put_forward(forward: &Forward, out: &mut Vec<u8>) {
    let Forward { from, to, boot, term, attempt, first, writes } = forward;
    put_varint(out, to.get());
    put_varint(out, from.get());
    out.extend_from_slice(&boot.to_le_bytes());
    for number in [term.get(), *attempt, *first, writes.len() as u64] {
        put_varint(out, number);
    }
    writes.iter().for_each(|data| put_bytes(out, data));
}

pub(super) fn put_answer(answer: &ForwardAnswer, out: &mut Vec<u8>) {
    let ForwardAnswer { from, to, boot, attempt, verdicts, refused } = answer;
    put_varint(out, to.get());
    put_varint(out, from.get());
    out.extend_from_slice(&boot.to_le_bytes());
    put_varint(out, *attempt);
    out.push(u8::from(refused.is_some()));
    if let Some(Refused { first, code }) = refused {
        put_varint(out, *first);
        put_varint(out, number_of(*code));
    }
    put_varint(out, verdicts.len() as u64);
    verdicts.iter().for_each(|verdict| put_verdict(verdict, out));
}

fn put_verdict(verdict: &Verdict, out: &mut Vec<u8>) {
    put_varint(out, verdict.number);
    match &verdict.outcome {
        Ok(Reply { position, version, .. }) => {
            for number in [0, position.index.get(), position.term.get(), u64::from(version.ordinal())] {
                put_varint(out, number);
            }
        }
        Err(code) => put_varint(out, number_of(*code)),
    }
}

pub(super) fn read_forward(cursor: &mut Cursor<'_>, entries_left: &mut usize) -> Result<Forward, CodecError> {
    let (to, from) = (NodeId(cursor.varint()?), NodeId(cursor.varint()?));
    let boot = cursor.u64()?;
    let (term, attempt, first) = (Term(cursor.varint()?), cursor.varint()?, cursor.varint()?);
    let count = read_count(cursor, 1, entries_left)?;
    // The vector grows with the writes that are really there: a wrong count costs nothing.
    let mut writes = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        writes.push(cursor.bytes()?);
    }
    copy_small(&mut writes);
    Ok(Forward { from, to, boot, term, attempt, first, writes })
}

pub(super) fn read_answer(
    cursor: &mut Cursor<'_>,
    entries_left: &mut usize,
) -> Result<ForwardAnswer, CodecError> {
    let (to, from) = (NodeId(cursor.varint()?), NodeId(cursor.varint()?));
    let (boot, attempt) = (cursor.u64()?, cursor.varint()?);
    let refused = match cursor.byte()? {
        0 => None,
        1 => Some(Refused { first: cursor.varint()?, code: read_code(cursor.varint()?)? }),
        _ => return Err(CodecError::Flag),
    };
    let count = read_count(cursor, 2, entries_left)?;
    let mut verdicts = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        verdicts.push(read_verdict(cursor)?);
    }
    Ok(ForwardAnswer { from, to, boot, attempt, verdicts, refused })
}

fn read_verdict(cursor: &mut Cursor<'_>) -> Result<Verdict, CodecError> {
    let number = cursor.varint()?;
    let outcome = match cursor.varint()? {
        0 => Ok(read_reply(cursor)?),
        code => Err(read_code(code)?),
    };
    Ok(Verdict { number, outcome })
}

fn read_reply(cursor: &mut Cursor<'_>) -> Result<Reply, CodecError> {
    let (index, term, ordinal) = (cursor.varint()?, cursor.varint()?, cursor.varint()?);
    let ordinal = u16::try_from(ordinal).map_err(|_| CodecError::Version)?;
    if index > LOG_INDEX_MAX {
        return Err(CodecError::Version);
    }
    let (index, term) = (LogIndex(index), Term(term));
    Ok(Reply::to_write(Position { index, term }, Version::of(index, ordinal)))
}

/// As the codec does with entries: a hundred bytes must not keep a large buffer alive.
fn copy_small(writes: &mut [Bytes]) {
    let is_small = |data: &&mut Bytes| data.len() < SHARED_BYTES_MIN;
    let bytes = writes.iter().map(Bytes::len).filter(|&len| len < SHARED_BYTES_MIN).sum();
    let mut copied = BytesMut::with_capacity(bytes);
    for data in writes.iter_mut().filter(is_small) {
        copied.extend_from_slice(data);
        *data = copied.split().freeze();
    }
}

fn number_of(code: Code) -> u64 {
    u64::from(code.number().unsigned_abs())
}

fn read_code(number: u64) -> Result<Code, CodecError> {
    let code = i32::try_from(number).ok().and_then(Code::from_number);
    code.ok_or(CodecError::Outcome(number))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::codec::{decode, encode, weight_bytes};
    use super::*;
    use crate::core::ports::{Body, PeerMessage};
    use crate::error::CODES;
    use crate::types::{RegionEpoch, RegionId};

    prop_compose! {
        fn verdict()(number in any::<u64>(), code in 0..=CODES.len(), index in 0..=LOG_INDEX_MAX, term in any::<u64>(),
            ordinal in any::<u16>()) -> Verdict {
            let (index, term) = (LogIndex(index), Term(term));
            let reply = Reply::to_write(Position { index, term }, Version::of(index, ordinal));
            Verdict { number, outcome: CODES.get(code).map_or(Ok(reply), |row| Err(row.0)) }
        }
    }

    prop_compose! {
        fn forward()(numbers in vec(any::<u64>(), 6), data in vec(vec(any::<u8>(), 0..40), 0..6)) -> Body {
            let [from, to, boot, term, attempt, first] = numbers[..] else {
                unreachable!("six numbers")
            };
            let writes = data.into_iter().map(Bytes::from).collect();
            let (from, to, term) = (NodeId(from), NodeId(to), Term(term));
            Body::Forward(Forward { from, to, boot, term, attempt, first, writes })
        }
    }

    prop_compose! {
        fn answer()(numbers in vec(any::<u64>(), 5), verdicts in vec(verdict(), 0..6), is_refused in any::<bool>())
            -> Body {
            let [from, to, boot, attempt, first] = numbers[..] else { unreachable!("five numbers") };
            let refused = is_refused.then_some(Refused { first, code: Code::Overloaded });
            let (from, to) = (NodeId(from), NodeId(to));
            Body::ForwardAnswer(ForwardAnswer { from, to, boot, attempt, verdicts, refused })
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(body in prop_oneof![forward(), answer()]) {
            let epoch = RegionEpoch { conf_ver: 1, version: 2 };
            let message = PeerMessage { region: RegionId(3), epoch, body };
            let mut encoded = Vec::new();
            encode(&message, &mut encoded).expect("few entries");

            prop_assert!(encoded.len() + 4 <= weight_bytes(&message));
            let encoded = Bytes::from(encoded);
            prop_assert_eq!(decode(&encoded).expect("just encoded"), message);
            for length in 0..encoded.len() {
                prop_assert!(decode(&encoded.slice(..length)).is_err());
            }
        }
    }
}
