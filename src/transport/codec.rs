//! Peer messages as bytes.
//!
//! Owns the encoding of [`PeerMessage`] and of a batch of them. What always holds: the data of a large entry is a
//! slice of the received buffer, and that of small ones is copied together, so that an entry that is kept never holds
//! on to more than twice its size; every message has exactly one encoding; no input makes [`decode_batch`] panic or
//! allocate more than [`ENTRIES_MAX`] entries and [`MESSAGES_MAX`] messages. Whether a message makes sense to raft is
//! left to the validator, checksums and length limits to [`frame`](super::frame).
//!
//! ```text
//! batch    { length u32, message }*
//! message  region, conf_ver, version, type u8, body
//! body     of raft: present u16, to, from, term, the numbers named in `present`, [context], [count, entry*]
//!          of heartbeats and their answers: see `heartbeat_codec`
//!          of forwarded writes and their answers: see `forward_codec`
//! entry    head u8, [term, index], data, [context]
//! ```
//!
//! Numbers are variable-length, byte strings follow their length, and a field that `present` or `head` does not name is
//! zero or empty. An entry that directly follows the one before it (for the first one: the message's own `log_term` and
//! `index`) carries neither term nor index.

use std::mem::size_of;

use bytes::{Bytes, BytesMut};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::protocol::Protocol;
pub(crate) use super::wire::CodecError;
use super::wire::{Cursor, SHARED_BYTES_MIN, VARINT_BYTES_MAX, put_bytes, put_varint};
use super::{forward_codec, heartbeat_codec};
use crate::core::heartbeats::{HeartbeatKind, kind_of};
use crate::core::ports::{Body, PeerMessage};
use crate::types::{RegionEpoch, RegionId};

/// The most messages in one batch.
pub(crate) const MESSAGES_MAX: usize = 4096;

/// The most entries in one batch. An entry of two bytes takes a hundred in memory, so the length of a frame alone does
/// not bound what decoding it costs.
pub(crate) const ENTRIES_MAX: usize = 1 << 18;

/// Message types by their number on the wire, which is raft's own.
const MESSAGE_TYPES: [MessageType; 19] = [
    MessageType::MsgHup,
    MessageType::MsgBeat,
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgUnreachable,
    MessageType::MsgSnapStatus,
    MessageType::MsgCheckQuorum,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

/// The type of forwarded writes.
const FORWARD: u8 = 64;
/// The type of answers to forwarded writes.
const ANSWER: u8 = 65;
/// The type of heartbeats.
const HEARTBEATS: u8 = 66;
/// The type of answers to heartbeats.
const HEARTBEAT_ANSWERS: u8 = 67;
/// The type of writes that are forwarded again.
const RESEND: u8 = 68;

/// Entry types by their number on the wire.
const ENTRY_TYPES: [EntryType; 3] =
    [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];

/// How many of the `present` bits name numbers; the bits after them are the three below.
const NUMBERS: usize = 8;
const HAS_CONTEXT: u16 = 1 << 8;
const HAS_ENTRIES: u16 = 1 << 9;
const IS_REJECT: u16 = 1 << 10;
const PRESENT_ALL: u16 = (1 << 11) - 1;

const ENTRY_TYPE: u8 = 0b11;
const ENTRY_SYNC_LOG: u8 = 1 << 2;
const ENTRY_HAS_CONTEXT: u8 = 1 << 3;
const ENTRY_HAS_POSITION: u8 = 1 << 4;
const ENTRY_ALL: u8 = (1 << 5) - 1;

/// Bytes of the shortest entry: its head and the length of its empty data.
const ENTRY_BYTES_MIN: usize = 2;

// [`weight_bytes`] also serves as a bound on the encoded length.
const _: () = assert!(size_of::<Entry>() > 4 * VARINT_BYTES_MAX);
const _: () = assert!(size_of::<PeerMessage>() >= 4 + 3 + (3 + 3 + NUMBERS + 2) * VARINT_BYTES_MAX);

/// The memory `message` holds, in bytes; its encoding in a batch is never longer.
#[must_use]
pub(crate) fn weight_bytes(message: &PeerMessage) -> usize {
    let held = match &message.body {
        Body::Raft(raft) => {
            let entry = |entry: &Entry| size_of::<Entry>() + entry.data.len() + entry.context.len();
            raft.context.len() + raft.entries.iter().map(entry).sum::<usize>()
        }
        Body::Heartbeats(they) => heartbeat_codec::heartbeats_bytes(they),
        Body::Forward(forward) => forward_codec::forward_bytes(forward),
        Body::ForwardAnswer(answer) => forward_codec::answer_bytes(answer),
    };
    size_of::<PeerMessage>() + held
}

/// How many entries, further regions, writes, verdicts and their results `message` carries: what [`ENTRIES_MAX`] bounds.
#[must_use]
pub(crate) fn entries_of(message: &PeerMessage) -> usize {
    match &message.body {
        Body::Raft(raft) => raft.entries.len(),
        Body::Heartbeats(they) => they.others.len(),
        Body::Forward(forward) => forward.writes.len(),
        Body::ForwardAnswer(answer) => {
            answer.verdicts.len()
                + answer.verdicts.iter().map(|verdict| verdict.results().len()).sum::<usize>()
        }
    }
}

/// Appends the encoding of `message` to `out`.
///
/// # Errors
/// When it carries a raft snapshot, more than [`ENTRIES_MAX`] entries, or heartbeats that do not travel like this, or
/// tells of what the version has no word for; then nothing is appended.
pub(crate) fn encode(message: &PeerMessage, protocol: Protocol, out: &mut Vec<u8>) -> Result<(), CodecError> {
    check_encodable(message, protocol)?;
    for id in [message.region.get(), message.epoch.conf_ver, message.epoch.version] {
        put_varint(out, id);
    }
    match &message.body {
        Body::Raft(raft) => {
            out.push(raft.msg_type as u8);
            encode_raft(raft, out);
        }
        Body::Heartbeats(they) => {
            out.push(match they.kind {
                HeartbeatKind::Heartbeat => HEARTBEATS,
                HeartbeatKind::Answer => HEARTBEAT_ANSWERS,
            });
            heartbeat_codec::put_heartbeats(message.region, they, out);
        }
        Body::Forward(forward) => {
            out.push(if forward.resend.is_some() { RESEND } else { FORWARD });
            forward_codec::put_forward(forward, out);
        }
        Body::ForwardAnswer(answer) => {
            out.push(ANSWER);
            forward_codec::put_answer(answer, protocol, out);
        }
    }
    Ok(())
}

fn encode_raft(raft: &Message, out: &mut Vec<u8>) {
    let numbers = numbers_of(raft);
    let present = present_of(raft, &numbers);
    out.extend_from_slice(&present.to_le_bytes());
    let always = [raft.to, raft.from, raft.term];
    for number in always.into_iter().chain(numbers.into_iter().filter(|number| *number != 0)) {
        put_varint(out, number);
    }
    if present & HAS_CONTEXT != 0 {
        put_bytes(out, &raft.context);
    }
    if present & HAS_ENTRIES != 0 {
        put_entries(raft, out);
    }
}

/// Appends `message` to the batch in `out`.
///
/// # Errors
/// As [`encode`]; then nothing is appended.
pub(crate) fn encode_into_batch(
    message: &PeerMessage,
    protocol: Protocol,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    check_encodable(message, protocol)?;
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    encode(message, protocol, out)?;
    let len = u32::try_from(out.len() - start - 4).expect("the caller keeps messages below the frame limit");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// The message that is encoded in exactly these bytes.
///
/// # Errors
/// When the bytes are no message; see [`CodecError`].
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn decode(bytes: &Bytes, protocol: Protocol) -> Result<PeerMessage, CodecError> {
    let mut entries_left = ENTRIES_MAX;
    read_message(Cursor::new(bytes), protocol, &mut entries_left)
}

/// Appends the messages of a batch to `out`.
///
/// # Errors
/// When any of it is no message; `out` then holds the ones before it.
pub(crate) fn decode_batch(
    bytes: &Bytes,
    protocol: Protocol,
    out: &mut Vec<PeerMessage>,
) -> Result<(), CodecError> {
    let mut cursor = Cursor::new(bytes);
    let mut entries_left = ENTRIES_MAX;
    let mut messages_left = MESSAGES_MAX;
    while cursor.remaining() > 0 {
        messages_left = messages_left.checked_sub(1).ok_or(CodecError::TooManyMessages)?;
        let len = usize::try_from(cursor.u32()?).map_err(|_| CodecError::Truncated)?;
        out.push(read_message(cursor.take(len)?, protocol, &mut entries_left)?);
    }
    Ok(())
}

/// Whether [`encode`] takes the message.
pub(super) fn check_encodable(message: &PeerMessage, protocol: Protocol) -> Result<(), CodecError> {
    protocol.check(message)?;
    match &message.body {
        Body::Raft(raft) if raft.msg_type == MessageType::MsgSnapshot || raft.has_snapshot() => {
            return Err(CodecError::Snapshot);
        }
        Body::Raft(raft) if kind_of(raft).is_some() => return Err(CodecError::Heartbeat),
        Body::Heartbeats(they) => heartbeat_codec::check_regions(message.region, they)?,
        Body::Raft(_) | Body::Forward(_) | Body::ForwardAnswer(_) => {}
    }
    if entries_of(message) > ENTRIES_MAX { Err(CodecError::TooManyEntries) } else { Ok(()) }
}

/// The numbers that are often zero, in the order of their `present` bits.
fn numbers_of(raft: &Message) -> [u64; NUMBERS] {
    [
        raft.log_term,
        raft.index,
        raft.commit,
        raft.commit_term,
        raft.request_snapshot,
        raft.reject_hint,
        raft.deprecated_priority,
        zigzag(raft.priority),
    ]
}

fn present_of(raft: &Message, numbers: &[u64; NUMBERS]) -> u16 {
    let mut present = 0;
    for (bit, number) in numbers.iter().enumerate() {
        present |= u16::from(*number != 0) << bit;
    }
    let others = [
        (HAS_CONTEXT, !raft.context.is_empty()),
        (HAS_ENTRIES, !raft.entries.is_empty()),
        (IS_REJECT, raft.reject),
    ];
    others.into_iter().filter(|(_, is_set)| *is_set).fold(present, |all, (flag, _)| all | flag)
}

fn put_entries(raft: &Message, out: &mut Vec<u8>) {
    put_varint(out, raft.entries.len() as u64);
    let mut before = (raft.log_term, raft.index);
    for entry in raft.entries.iter() {
        put_entry(entry, before, out);
        before = (entry.term, entry.index);
    }
}

fn put_entry(entry: &Entry, before: (u64, u64), out: &mut Vec<u8>) {
    let has_position = Some((entry.term, entry.index)) != following(before);
    let mut head = entry.entry_type as u8;
    head |= if entry.sync_log { ENTRY_SYNC_LOG } else { 0 };
    head |= if entry.context.is_empty() { 0 } else { ENTRY_HAS_CONTEXT };
    head |= if has_position { ENTRY_HAS_POSITION } else { 0 };
    out.push(head);
    if has_position {
        put_varint(out, entry.term);
        put_varint(out, entry.index);
    }
    put_bytes(out, &entry.data);
    if !entry.context.is_empty() {
        put_bytes(out, &entry.context);
    }
}

fn read_message(
    mut cursor: Cursor<'_>,
    protocol: Protocol,
    entries_left: &mut usize,
) -> Result<PeerMessage, CodecError> {
    let region = RegionId(cursor.varint()?);
    let epoch = RegionEpoch { conf_ver: cursor.varint()?, version: cursor.varint()? };
    let body = match cursor.byte()? {
        kind @ (FORWARD | RESEND) => {
            Body::Forward(forward_codec::read_forward(&mut cursor, kind == RESEND, entries_left)?)
        }
        ANSWER => Body::ForwardAnswer(forward_codec::read_answer(&mut cursor, protocol, entries_left)?),
        kind @ (HEARTBEATS | HEARTBEAT_ANSWERS) => {
            let kind = if kind == HEARTBEATS { HeartbeatKind::Heartbeat } else { HeartbeatKind::Answer };
            Body::Heartbeats(heartbeat_codec::read_heartbeats(&mut cursor, region, kind, entries_left)?)
        }
        number => Body::Raft(read_raft(&mut cursor, message_type(number)?, entries_left)?),
    };
    cursor.finish()?;
    let message = PeerMessage { region, epoch, body };
    protocol.check(&message)?;
    Ok(message)
}

fn read_raft(
    cursor: &mut Cursor<'_>,
    msg_type: MessageType,
    entries_left: &mut usize,
) -> Result<Message, CodecError> {
    let mut raft = Message { msg_type, ..Message::default() };
    let present = cursor.u16()?;
    if present & !PRESENT_ALL != 0 {
        return Err(CodecError::Flag);
    }
    raft.to = cursor.varint()?;
    raft.from = cursor.varint()?;
    raft.term = cursor.varint()?;
    read_numbers(cursor, present, &mut raft)?;
    raft.reject = present & IS_REJECT != 0;
    if present & HAS_CONTEXT != 0 {
        raft.context = read_present_bytes(cursor)?;
    }
    if present & HAS_ENTRIES != 0 {
        raft.entries = read_entries(cursor, (raft.log_term, raft.index), entries_left)?.into();
    }
    Ok(raft)
}

fn message_type(number: u8) -> Result<MessageType, CodecError> {
    match MESSAGE_TYPES.get(usize::from(number)) {
        Some(MessageType::MsgSnapshot) => Err(CodecError::Snapshot),
        Some(MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse) => Err(CodecError::Heartbeat),
        Some(known) => Ok(*known),
        None => Err(CodecError::MessageType(number)),
    }
}

fn read_numbers(cursor: &mut Cursor<'_>, present: u16, raft: &mut Message) -> Result<(), CodecError> {
    let mut numbers = [0; NUMBERS];
    for (bit, number) in numbers.iter_mut().enumerate() {
        if present & (1 << bit) != 0 {
            *number = cursor.varint()?;
            if *number == 0 {
                return Err(CodecError::Redundant);
            }
        }
    }
    let [log_term, index, commit, commit_term, request_snapshot, reject_hint, old_priority, priority] =
        numbers;
    (raft.log_term, raft.index, raft.commit, raft.commit_term) = (log_term, index, commit, commit_term);
    (raft.request_snapshot, raft.reject_hint) = (request_snapshot, reject_hint);
    (raft.deprecated_priority, raft.priority) = (old_priority, unzigzag(priority));
    Ok(())
}

fn read_entries(
    cursor: &mut Cursor<'_>,
    mut before: (u64, u64),
    entries_left: &mut usize,
) -> Result<Vec<Entry>, CodecError> {
    let count = usize::try_from(cursor.varint()?).map_err(|_| CodecError::TooManyEntries)?;
    if count > cursor.remaining() / ENTRY_BYTES_MIN {
        return Err(CodecError::TooManyEntries);
    }
    if count == 0 {
        return Err(CodecError::Redundant);
    }
    *entries_left = entries_left.checked_sub(count).ok_or(CodecError::TooManyEntries)?;
    // The vector grows with the entries that are really there: a wrong count costs nothing.
    let mut entries = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        let entry = read_entry(cursor, before)?;
        before = (entry.term, entry.index);
        entries.push(entry);
    }
    copy_small_data(&mut entries);
    Ok(entries)
}

/// Copies the data of small entries out of the received buffer, all into one: the log keeps entries for a long time,
/// and a hundred bytes must not keep the memory of the heartbeats around them.
fn copy_small_data(entries: &mut [Entry]) {
    let is_small = |entry: &&mut Entry| entry.data.len() < SHARED_BYTES_MIN;
    let bytes = entries.iter().map(|entry| entry.data.len()).filter(|&len| len < SHARED_BYTES_MIN).sum();
    let mut copied = BytesMut::with_capacity(bytes);
    for entry in entries.iter_mut().filter(is_small) {
        copied.extend_from_slice(&entry.data);
        entry.data = copied.split().freeze();
    }
}

fn read_entry(cursor: &mut Cursor<'_>, before: (u64, u64)) -> Result<Entry, CodecError> {
    let head = cursor.byte()?;
    if head & !ENTRY_ALL != 0 {
        return Err(CodecError::Flag);
    }
    let number = head & ENTRY_TYPE;
    let entry_type = *ENTRY_TYPES.get(usize::from(number)).ok_or(CodecError::EntryType(number))?;
    let sync_log = head & ENTRY_SYNC_LOG != 0;
    let (term, index) = read_position(cursor, head & ENTRY_HAS_POSITION != 0, before)?;
    let data = cursor.bytes()?;
    let mut entry = Entry { entry_type, term, index, data, sync_log, ..Entry::default() };
    if head & ENTRY_HAS_CONTEXT != 0 {
        entry.context = read_present_bytes(cursor)?;
    }
    Ok(entry)
}

fn read_position(
    cursor: &mut Cursor<'_>,
    is_written: bool,
    before: (u64, u64),
) -> Result<(u64, u64), CodecError> {
    let implied = following(before);
    if !is_written {
        return implied.ok_or(CodecError::Number);
    }
    let position = (cursor.varint()?, cursor.varint()?);
    if Some(position) == implied { Err(CodecError::Redundant) } else { Ok(position) }
}

fn read_present_bytes(cursor: &mut Cursor<'_>) -> Result<Bytes, CodecError> {
    let bytes = cursor.bytes()?;
    if bytes.is_empty() { Err(CodecError::Redundant) } else { Ok(bytes) }
}

/// The term and index of an entry that carries none.
fn following((term, index): (u64, u64)) -> Option<(u64, u64)> {
    Some((term, index.checked_add(1)?))
}

/// Maps numbers near zero, of either sign, to small ones.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// What must hold of any bytes: they are refused, or encode back to themselves.
#[cfg(any(test, feature = "simulation"))]
pub(super) fn fuzz_codec(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    for protocol in Protocol::ALL {
        if let Ok(message) = decode(&input, protocol) {
            let mut again = Vec::new();
            encode(&message, protocol, &mut again).expect("what was decoded can be encoded");
            assert_eq!(again, input, "a message has one encoding");
            assert!(again.len() + 4 <= weight_bytes(&message), "the weight bounds the encoding");
        }
        let mut batch = Vec::new();
        let _refused = decode_batch(&input, protocol, &mut batch);
        assert!(batch.len() <= input.len() / 4, "a message costs at least the bytes of its length");
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
