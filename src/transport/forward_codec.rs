//! Forwarded writes and their answers as bytes.
//!
//! Owns the two bodies that are not raft's. What always holds, as in [`codec`](super::codec): every value has one
//! encoding, and no length is trusted before its bytes are there.
//!
//! ```text
//! forward  to, from, boot u64, term, attempt, first, count, { data }*
//! resend   to, from, boot u64, term, attempt, first, first of the attempt, above, behind, count, { data }*
//! answer   to, from, boot u64, attempt, refused u8 { first, code }, count, { verdict }*
//! ```
//! Verdicts are those of [`verdict_codec`](super::verdict_codec).

use bytes::{Bytes, BytesMut};

use super::protocol::Protocol;
use super::verdict_codec::{self, number_of, read_code};
use super::wire::{CodecError, Cursor, SHARED_BYTES_MIN, put_bytes, put_varint, read_count};
use crate::core::forwarding::{Forward, ForwardAnswer, Refused, Resend};
use crate::types::{LogIndex, NodeId, Term};

/// The memory behind a [`Forward`]; its encoding is never longer than this and the struct.
pub(super) fn forward_bytes(forward: &Forward) -> usize {
    forward.weight_bytes()
}

/// The memory behind a [`ForwardAnswer`]; its encoding is never longer than this and the struct.
pub(super) fn answer_bytes(answer: &ForwardAnswer) -> usize {
    answer.verdicts.iter().map(verdict_codec::verdict_bytes).sum()
}

pub(super) fn put_forward(forward: &Forward, out: &mut Vec<u8>) {
    let Forward { from, to, boot, term, attempt, first, resend, writes } = forward;
    put_varint(out, to.get());
    put_varint(out, from.get());
    out.extend_from_slice(&boot.to_le_bytes());
    for number in [term.get(), *attempt, *first] {
        put_varint(out, number);
    }
    if let Some(Resend { first, above, behind }) = resend {
        [*first, above.get(), *behind].into_iter().for_each(|number| put_varint(out, number));
    }
    put_varint(out, writes.len() as u64);
    writes.iter().for_each(|data| put_bytes(out, data));
}

pub(super) fn put_answer(answer: &ForwardAnswer, protocol: Protocol, out: &mut Vec<u8>) {
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
    verdicts.iter().for_each(|verdict| verdict_codec::put_verdict(verdict, protocol, out));
}

pub(super) fn read_forward(
    cursor: &mut Cursor<'_>,
    is_resend: bool,
    entries_left: &mut usize,
) -> Result<Forward, CodecError> {
    let (to, from) = (NodeId(cursor.varint()?), NodeId(cursor.varint()?));
    let boot = cursor.u64()?;
    let (term, attempt, first) = (Term(cursor.varint()?), cursor.varint()?, cursor.varint()?);
    let mut resend = None;
    if is_resend {
        let (first, above, behind) = (cursor.varint()?, LogIndex(cursor.varint()?), cursor.varint()?);
        resend = Some(Resend { first, above, behind });
    }
    let count = read_count(cursor, 1, entries_left)?;
    // The vector grows with the writes that are really there: a wrong count costs nothing.
    let mut writes = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        writes.push(cursor.bytes()?);
    }
    copy_small(&mut writes);
    Ok(Forward { from, to, boot, term, attempt, first, resend, writes })
}

pub(super) fn read_answer(
    cursor: &mut Cursor<'_>,
    protocol: Protocol,
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
        verdicts.push(verdict_codec::read_verdict(cursor, protocol, entries_left)?);
    }
    Ok(ForwardAnswer { from, to, boot, attempt, verdicts, refused })
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::codec::{decode, encode, weight_bytes};
    use super::*;
    use crate::completion::{Position, Reply};
    use crate::core::forwarding::Verdict;
    use crate::core::ports::{Body, PeerMessage};
    use crate::effects::{Effects, OpResult, Precondition};
    use crate::error::{CODES, Code, Refusal};
    use crate::types::{LOG_INDEX_MAX, LogIndex, RegionEpoch, RegionId, Version};

    prop_compose! {
        fn precondition()(operation in any::<u32>(), version in any::<u64>()) -> Precondition {
            Precondition { operation, exists: version != 0, version: Version(version) }
        }
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..SHARED_BYTES_MIN + 10).prop_map(Bytes::from)
    }

    fn result() -> impl Strategy<Value = OpResult> {
        prop_oneof![
            Just(OpResult::Nothing),
            any::<i64>().prop_map(OpResult::Sum),
            bytes().prop_map(OpResult::Key),
            (bytes(), bytes(), any::<u64>()).prop_map(|(key, value, version)| OpResult::Value {
                key,
                value,
                version: Version(version)
            }),
        ]
    }

    prop_compose! {
        fn effects()(failed in option::of(precondition()), results in vec((any::<u32>(), result()), 0..4)) -> Effects {
            Effects { failed, results }
        }
    }

    prop_compose! {
        fn verdict()(number in any::<u64>(), code in 0..=CODES.len(), index in 0..=LOG_INDEX_MAX, term in any::<u64>(),
            ordinal in any::<u16>(), effects in effects(), precondition in option::of(precondition())) -> Verdict {
            let (index, term) = (LogIndex(index), Term(term));
            let reply = Reply::to_write(Position { index, term }, Version::of(index, ordinal), effects);
            let refusal = |code| Refusal { code, precondition };
            Verdict { number, outcome: CODES.get(code).map_or(Ok(reply), |row| Err(refusal(row.0))) }
        }
    }

    prop_compose! {
        fn forward()(numbers in vec(any::<u64>(), 6), resend in option::of((any::<u64>(), any::<u64>(), any::<u64>())),
            data in vec(vec(any::<u8>(), 0..40), 0..6)) -> Body {
            let [from, to, boot, term, attempt, first] = numbers[..] else {
                unreachable!("six numbers")
            };
            let writes = data.into_iter().map(Bytes::from).collect();
            let (from, to, term) = (NodeId(from), NodeId(to), Term(term));
            let resend =
                resend.map(|(first, above, behind)| Resend { first, above: LogIndex(above), behind });
            Body::Forward(Forward { from, to, boot, term, attempt, first, resend, writes })
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
            encode(&message, Protocol::NEWEST, &mut encoded).expect("few entries");

            prop_assert!(encoded.len() + 4 <= weight_bytes(&message));
            let encoded = Bytes::from(encoded);
            prop_assert_eq!(decode(&encoded, Protocol::NEWEST).expect("just encoded"), message);
            for length in 0..encoded.len() {
                prop_assert!(decode(&encoded.slice(..length), Protocol::NEWEST).is_err());
            }
        }
    }
}
