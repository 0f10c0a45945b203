//! The fuzzer's entry point to the handshake.
//!
//! Owns the translation of arbitrary bytes into what the other side sends, and the check of what becomes of it. What
//! must hold, for any bytes in any pieces, on both sides: a member is admitted if and only if the bytes begin with
//! the one hello that it would send; everything else is refused, with a text that the other side can read; nothing
//! panics.
//!
//! The first byte chooses the side, whether the input is given a valid checksum, without which raw bytes would get
//! nowhere, and whose good hello to whom is changed; the second how the bytes are cut.

use std::io::{self, Read};

use super::{
    HELLO_BYTES, HandshakeError, Heard, Hello, KIND_HELLO, PREAMBLE_BYTES, Part, Protocol, Purpose, Reason,
    Refusal, TEXT_BYTES_MAX, answer_to, hello_bytes, is_announceable, part_bytes, read_part, receive,
    refusal_bytes,
};
use crate::transport::asking;
use crate::types::{ClusterId, InstanceId, NodeId};

const CLUSTER: ClusterId = ClusterId(0x0123_4567_89ab_cdef);
/// This member; the others are 1 and 3.
const OWN: NodeId = NodeId(2);

/// What `from` says to `to`.
fn hello(from: NodeId, to: NodeId) -> Hello {
    let instance = instance_of(from);
    let (election_timeout_ms, tick_ms, boot_count, boot) = (1000, 50, 1, 9);
    Hello {
        cluster: CLUSTER,
        from,
        to,
        instance,
        election_timeout_ms,
        tick_ms,
        boot_count,
        boot,
        lost_end: false,
        level: 1,
        purpose: Purpose::Messages,
        announced: if from == OWN { String::new() } else { format!("db{from}:7001") },
        build: "0.1.0".to_owned(),
    }
}

fn instance_of(node: NodeId) -> InstanceId {
    InstanceId(0x1000 + node.get())
}

fn is_member(node: NodeId) -> bool {
    (1..=3).contains(&node.get())
}

/// Lets this member receive `data` and checks what must hold.
///
/// # Panics
/// When it does not hold.
pub fn fuzz_handshake(data: &[u8]) {
    let [way, cut, rest @ ..] = data else { return };
    let protocol = match (*way < 128, cut % 4) {
        (true, _) => Protocol::NEWEST,
        (false, 0 | 2) => Protocol::Four,
        (false, 1) => Protocol::Five,
        (false, _) => Protocol::Six,
    };
    let bytes = match (way / 2) % 4 {
        0 => rest.to_vec(),
        1 => changed_hello(said_by(*way), protocol, rest),
        2 => longer_or_shorter(said_by(*way), protocol, rest),
        _ => {
            let (kind, body) = rest.split_first().unwrap_or((&0, &[]));
            part_bytes(u32::from(*kind), protocol, &body[..body.len().min(2 * TEXT_BYTES_MAX)])
        }
    };
    let mut stream = Pieces { bytes: &bytes, most: usize::from(*cut) + 1 };
    if way % 2 == 0 {
        accepting(&mut stream, &bytes)
    } else {
        dialing(&mut stream, protocol, &bytes)
    }
    let mut stream = Pieces { bytes: &bytes, most: usize::from(*cut) + 1 };
    asking::fuzz_answer(&mut stream, &bytes);
}

/// A hello of one to one, members or not. Node 3 has a raft snapshot to send.
fn said_by(way: u8) -> Hello {
    let (from, to) = (1 + (way / 8) % 4, [2, 1, 3, 4][usize::from(way / 32) % 4]);
    let purpose = if from == 3 { Purpose::Snapshot } else { Purpose::Messages };
    Hello { purpose, ..hello(NodeId(from.into()), NodeId(to)) }
}

/// A good hello with another length (u8) and a valid checksum; what is missing after it is the rest of the input.
fn longer_or_shorter(good: Hello, protocol: Protocol, input: &[u8]) -> Vec<u8> {
    let (length, rest) = input.split_first().unwrap_or((&0, &[]));
    let mut body = hello_bytes(&good, protocol).split_off(PREAMBLE_BYTES);
    body.extend_from_slice(rest);
    body.truncate(usize::from(*length));
    part_bytes(KIND_HELLO, protocol, &body)
}

/// A good hello with words replaced (place u8, word u64) and a valid checksum, then with bits flipped.
fn changed_hello(good: Hello, protocol: Protocol, input: &[u8]) -> Vec<u8> {
    let mut bytes = hello_bytes(&good, protocol);
    let (words, flips) = input.as_chunks::<9>();
    let (head, body) = bytes.split_at_mut(PREAMBLE_BYTES);
    for [place, word @ ..] in words {
        let at = 8 * (usize::from(*place) % 6);
        body[at..at + 8].copy_from_slice(word);
    }
    let checksum = super::checksum_of(&head[12..20], body);
    head[20..24].copy_from_slice(&checksum.to_le_bytes());
    for [place, bit] in flips.as_chunks::<2>().0 {
        let at = usize::from(*place) % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
    }
    bytes
}

fn admit(theirs: &Hello) -> Result<(), Refusal> {
    let known = is_member(theirs.from) && theirs.instance == instance_of(theirs.from);
    let text = || "another directory".to_owned();
    if known { Ok(()) } else { Err(Refusal { reason: Reason::Instance, text: text() }) }
}

fn accepting(stream: &mut impl Read, bytes: &[u8]) {
    let own_for = |from: NodeId| {
        let unknown = || Refusal { reason: Reason::UnknownNode, text: format!("there is no node {from}") };
        if is_member(from) && from != OWN { Ok(hello(OWN, from)) } else { Err(unknown()) }
    };
    let wanted = [1, 3].map(NodeId).into_iter().find_map(|from| begins_with_hello(bytes, from, OWN));
    let mut spoken = Protocol::NEWEST;

    match answer_to(stream, &mut spoken, own_for, admit) {
        Ok(Heard::Hello { theirs, own }) => {
            assert_eq!(own, Hello { purpose: theirs.purpose, ..hello(OWN, theirs.from) });
            assert_eq!(Some((theirs, spoken)), wanted, "only a member that agrees is let in, in its version");
        }
        Ok(Heard::Join(request)) => {
            assert_eq!(wanted, None, "a member does not ask to become one");
            asking::check_fuzzed(&request, bytes);
        }
        Err(error) => {
            assert_eq!(wanted, None, "a member that agrees is let in: {error}");
            refused_in_words(&error);
        }
    }
}

/// What a member says that agrees, at the beginning of `bytes`, and in which version. Of its level it may say anything,
/// and a connection may be for any purpose that there is.
fn begins_with_hello(bytes: &[u8], from: NodeId, to: NodeId) -> Option<(Hello, Protocol)> {
    Protocol::ALL.into_iter().find_map(|protocol| {
        let word = |at: usize| bytes.get(PREAMBLE_BYTES + at..)?.first_chunk::<8>();
        let told = (protocol >= Protocol::Five).then(|| word(72)).flatten();
        let told = told.map_or(0, |word| u64::from_le_bytes(*word));
        let is_for_snapshot = protocol >= Protocol::Six && word(80) == Some(&1_u64.to_le_bytes());
        let purpose = if is_for_snapshot { Purpose::Snapshot } else { Purpose::Messages };
        let texts = if protocol < Protocol::Seven { ("", "") } else { texts_in(bytes)? };
        let (announced, build) = (texts.0.to_owned(), texts.1.to_owned());
        let level = u16::try_from(told).unwrap_or(u16::MAX);
        let good = Hello { level, purpose, announced, build, ..hello(from, to) };
        let mut wanted = hello_bytes(&good, protocol);
        if protocol >= Protocol::Five {
            wanted[PREAMBLE_BYTES + 72..PREAMBLE_BYTES + 80].copy_from_slice(&told.to_le_bytes());
            let checksum = super::checksum_of(&wanted[12..20], &wanted[PREAMBLE_BYTES..]);
            wanted[20..24].copy_from_slice(&checksum.to_le_bytes());
        }
        bytes.starts_with(&wanted).then_some((good, protocol))
    })
}

/// The address and the version of the build in a hello, which may be any.
fn texts_in(bytes: &[u8]) -> Option<(&str, &str)> {
    let (announced, rest) = text_in(bytes.get(PREAMBLE_BYTES + HELLO_BYTES..)?)?;
    let (build, _) = text_in(rest)?;
    let is_shown = |byte: u8| (b'!'..=b'~').contains(&byte);
    (is_announceable(announced) && build.len() <= 64 && build.bytes().all(is_shown))
        .then_some((announced, build))
}

fn text_in(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    Some((std::str::from_utf8(rest.get(..length)?).ok()?, &rest[length..]))
}

fn dialing(stream: &mut impl Read, protocol: Protocol, bytes: &[u8]) {
    let own = hello(OWN, NodeId(1));
    let said = begins_with_hello(bytes, NodeId(1), OWN);
    let agrees = said.is_some_and(|(said, spoken)| spoken == protocol && said.purpose == own.purpose);
    let judge = |theirs: Hello| {
        let judged = own.check(&theirs).and_then(|()| admit(&theirs));
        judged.map_err(|refusal| HandshakeError::Refusing(own.to, refusal))
    };

    match receive(stream, &own, protocol).and_then(judge) {
        Ok(()) => assert!(agrees, "only the member that was dialed is believed"),
        Err(error) => {
            assert!(!agrees, "the member that was dialed is believed: {error}");
            refused_in_words(&error);
        }
    }
}

/// What this side answers can be read by the other, and its text has no control characters.
fn refused_in_words(error: &HandshakeError) {
    assert!(!error.to_string().chars().any(char::is_control), "it goes to a log: {error:?}");
    let HandshakeError::Refusing(_, refusal) = error else { return };
    for protocol in Protocol::ALL {
        match read_part(&mut &refusal_bytes(refusal, protocol)[..]) {
            Ok(Part::Refusal(told)) => assert_eq!(told, *refusal, "the other side reads the reason"),
            _ => panic!("a refusal of ours is one: {refusal:?}"),
        }
    }
}

/// Bytes that come a few at a time and then end.
struct Pieces<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.most);
        self.bytes.read(&mut into[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::replay;

    #[test]
    fn the_corpus_of_handshakes_and_mutations_of_it_hold() {
        replay("handshake", 20_000, fuzz_handshake);
    }
}
