//! The outcomes of forwarded writes as bytes.
//!
//! Owns how an answer says what became of each write. What always holds, as in [`codec`](super::codec): every value has
//! one encoding, and no length is trusted before its bytes are there.
//!
//! ```text
//! verdict       number, code { outcome }
//! outcome       code 0:  index, term, ordinal, flags u8 [bit 0: precondition] [bit 1: count, { result }*]
//!                        bit 2: the version is unknown, and the ordinal 0
//!               others:  flags u8 [bit 0: precondition]
//! precondition  operation, version
//! result        operation, kind u8: 1 sum i64 | 2 key | 3 nothing | 4 key, value, version
//! ```
//! Code 0 is success: the place of the write, its number within the entry, and what a write with conditions found and
//! computed. The version 0 means that there was no such key.
//!
//! In version 4 of the protocol a verdict is `number, code [index, term]`, and whoever reads it does not learn the version
//! of the write.

use std::mem::size_of;

use bytes::Bytes;

use super::protocol::Protocol;
use super::wire::{CodecError, Cursor, SHARED_BYTES_MIN, put_bytes, put_varint, read_count};
use crate::completion::{Position, Reply};
use crate::core::forwarding::Verdict;
use crate::effects::{Effects, OpResult, Precondition};
use crate::error::{Code, Refusal};
use crate::types::{LOG_INDEX_MAX, LogIndex, Term, Version};

const HAS_PRECONDITION: u8 = 1;
const HAS_RESULTS: u8 = 2;
const HAS_NO_VERSION: u8 = 4;
const SUM: u8 = 1;
const KEY: u8 = 2;
const NOTHING: u8 = 3;
const VALUE: u8 = 4;

// Beyond its bytes a result takes an operation, a kind, a version and two lengths: at most 26 bytes.
const _: () = assert!(size_of::<(u32, OpResult)>() >= 26);
/// A number, a code, a position, an ordinal, flags, a precondition and a count of the greatest length.
const FIXED_BYTES: usize = 72;

/// The memory behind a [`Verdict`]; its encoding is never longer.
pub(super) fn verdict_bytes(verdict: &Verdict) -> usize {
    FIXED_BYTES + verdict.result_bytes()
}

pub(super) fn put_verdict(verdict: &Verdict, protocol: Protocol, out: &mut Vec<u8>) {
    put_varint(out, verdict.number);
    if protocol == Protocol::Four {
        return put_bare(verdict, out);
    }
    match &verdict.outcome {
        Ok(reply) => put_reply(reply, out),
        Err(Refusal { code, precondition }) => {
            put_varint(out, number_of(*code));
            out.push(if precondition.is_some() { HAS_PRECONDITION } else { 0 });
            put_precondition(*precondition, out);
        }
    }
}

/// As version 4 has it.
fn put_bare(verdict: &Verdict, out: &mut Vec<u8>) {
    match &verdict.outcome {
        Ok(Reply { position, .. }) => {
            for number in [0, position.index.get(), position.term.get()] {
                put_varint(out, number);
            }
        }
        Err(refusal) => put_varint(out, number_of(refusal.code)),
    }
}

fn put_reply(reply: &Reply, out: &mut Vec<u8>) {
    let Reply { position, version, .. } = reply;
    let is_unknown = *version == Version::UNKNOWN;
    let ordinal = if is_unknown { 0 } else { version.ordinal() };
    for number in [0, position.index.get(), position.term.get(), u64::from(ordinal)] {
        put_varint(out, number);
    }
    let (failed, results) = (reply.failed(), reply.results());
    let has_failed = if failed.is_some() { HAS_PRECONDITION } else { 0 };
    let has_results = if results.is_empty() { 0 } else { HAS_RESULTS };
    let has_no_version = if is_unknown { HAS_NO_VERSION } else { 0 };
    out.push(has_failed | has_results | has_no_version);
    put_precondition(failed, out);
    if !results.is_empty() {
        put_varint(out, results.len() as u64);
        results.iter().for_each(|(operation, result)| put_result(*operation, result, out));
    }
}

fn put_precondition(precondition: Option<Precondition>, out: &mut Vec<u8>) {
    if let Some(Precondition { operation, exists, version }) = precondition {
        assert_eq!(exists, version != Version::NONE, "what is there has a version");
        put_varint(out, u64::from(operation));
        put_varint(out, version.get());
    }
}

fn put_result(operation: u32, result: &OpResult, out: &mut Vec<u8>) {
    put_varint(out, u64::from(operation));
    match result {
        OpResult::Sum(sum) => {
            out.push(SUM);
            out.extend_from_slice(&sum.to_le_bytes());
        }
        OpResult::Key(key) => {
            out.push(KEY);
            put_bytes(out, key);
        }
        OpResult::Nothing => out.push(NOTHING),
        OpResult::Value { key, value, version } => {
            out.push(VALUE);
            put_bytes(out, key);
            put_bytes(out, value);
            put_varint(out, version.get());
        }
    }
}

pub(super) fn read_verdict(
    cursor: &mut Cursor<'_>,
    protocol: Protocol,
    entries_left: &mut usize,
) -> Result<Verdict, CodecError> {
    let number = cursor.varint()?;
    if protocol == Protocol::Four {
        return Ok(Verdict { number, outcome: read_bare(cursor)? });
    }
    let outcome = match cursor.varint()? {
        0 => Ok(read_reply(cursor, entries_left)?),
        code => {
            let (code, flags) = (read_code(code)?, read_flags(cursor, HAS_PRECONDITION)?);
            Err(Refusal { code, precondition: read_precondition(cursor, flags)? })
        }
    };
    Ok(Verdict { number, outcome })
}

/// As version 4 has it.
fn read_bare(cursor: &mut Cursor<'_>) -> Result<Result<Reply, Refusal>, CodecError> {
    match cursor.varint()? {
        0 => {
            let (index, term) = (LogIndex(cursor.varint()?), Term(cursor.varint()?));
            Ok(Ok(Reply::to_write(Position { index, term }, Version::UNKNOWN, Effects::default())))
        }
        code => Ok(Err(Refusal { code: read_code(code)?, precondition: None })),
    }
}

fn read_reply(cursor: &mut Cursor<'_>, entries_left: &mut usize) -> Result<Reply, CodecError> {
    let (index, term, ordinal) = (cursor.varint()?, Term(cursor.varint()?), cursor.varint()?);
    let ordinal = u16::try_from(ordinal).map_err(|_| CodecError::Version)?;
    if index > LOG_INDEX_MAX {
        return Err(CodecError::Version);
    }
    let index = LogIndex(index);
    let flags = read_flags(cursor, HAS_PRECONDITION | HAS_RESULTS | HAS_NO_VERSION)?;
    let version = match flags & HAS_NO_VERSION {
        0 => Version::of(index, ordinal),
        _ if ordinal == 0 => Version::UNKNOWN,
        _ => return Err(CodecError::Version),
    };
    let failed = read_precondition(cursor, flags)?;
    let results = if flags & HAS_RESULTS == 0 { Vec::new() } else { read_results(cursor, entries_left)? };
    let effects = Effects { failed, results };
    Ok(Reply::to_write(Position { index, term }, version, effects))
}

fn read_flags(cursor: &mut Cursor<'_>, known: u8) -> Result<u8, CodecError> {
    let flags = cursor.byte()?;
    if flags & !known == 0 { Ok(flags) } else { Err(CodecError::Flag) }
}

fn read_precondition(cursor: &mut Cursor<'_>, flags: u8) -> Result<Option<Precondition>, CodecError> {
    if flags & HAS_PRECONDITION == 0 {
        return Ok(None);
    }
    let (operation, version) = (read_operation(cursor)?, Version(cursor.varint()?));
    Ok(Some(Precondition { operation, exists: version != Version::NONE, version }))
}

fn read_results(
    cursor: &mut Cursor<'_>,
    entries_left: &mut usize,
) -> Result<Vec<(u32, OpResult)>, CodecError> {
    let count = read_count(cursor, 2, entries_left)?;
    if count == 0 {
        return Err(CodecError::Redundant);
    }
    let mut results = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        let operation = read_operation(cursor)?;
        let result = match cursor.byte()? {
            SUM => OpResult::Sum(i64::from_le_bytes(cursor.array()?)),
            KEY => OpResult::Key(read_bytes(cursor)?),
            NOTHING => OpResult::Nothing,
            VALUE => OpResult::Value {
                key: read_bytes(cursor)?,
                value: read_bytes(cursor)?,
                version: Version(cursor.varint()?),
            },
            _ => return Err(CodecError::Flag),
        };
        results.push((operation, result));
    }
    Ok(results)
}

fn read_operation(cursor: &mut Cursor<'_>) -> Result<u32, CodecError> {
    u32::try_from(cursor.varint()?).map_err(|_| CodecError::Number)
}

/// A hundred bytes must not keep a large buffer alive.
fn read_bytes(cursor: &mut Cursor<'_>) -> Result<Bytes, CodecError> {
    let bytes = cursor.bytes()?;
    Ok(if bytes.len() < SHARED_BYTES_MIN { Bytes::copy_from_slice(&bytes) } else { bytes })
}

pub(super) fn number_of(code: Code) -> u64 {
    u64::from(code.number().unsigned_abs())
}

pub(super) fn read_code(number: u64) -> Result<Code, CodecError> {
    let code = i32::try_from(number).ok().and_then(Code::from_number);
    code.ok_or(CodecError::Outcome(number))
}
