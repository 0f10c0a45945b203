//! What is said on a connection for a raft snapshot.
//!
//! Owns the frames of both directions as bytes. They have the header of every [`frame`](super::super::frame), with kinds
//! of their own. What always holds: what is read has exactly one encoding, but for texts and
//! what the core encodes; a length is bounded, by direction, before
//! anything is allocated for it; and each side takes only the kinds of the other. Numbers are little-endian.
//!
//! ```text
//! dialer    BEGIN    boot, number, estimated bytes: u64 each; SnapshotMessage::encode
//!           CHUNK    rows: bytes that only the source and the sink of the rows understand, at least one
//!           END      rows u64, crc32c of all rows u32
//! acceptor  RESUME   rows u64, crc32c of them u32, whether there is a key u8, the key
//!           REFUSED  code u32 (1 busy, 2 other), text
//!           ACK      bytes of chunks taken on this connection u64
//!           DONE
//!           FAILED   text
//! ```

use std::io;
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::super::frame::{self, FrameError, HEADER_BYTES};
use crate::core::raft_snapshot::SnapshotMessage;
use crate::types::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

const KIND_BEGIN: u8 = 2;
const KIND_CHUNK: u8 = 3;
const KIND_END: u8 = 4;
const KIND_RESUME: u8 = 5;
const KIND_REFUSED: u8 = 6;
const KIND_ACK: u8 = 7;
const KIND_DONE: u8 = 8;
const KIND_FAILED: u8 = 9;

/// What a dialer sends.
pub(super) const DIALER_KINDS: RangeInclusive<u8> = KIND_BEGIN..=KIND_END;
/// What an acceptor sends.
pub(super) const ACCEPTOR_KINDS: RangeInclusive<u8> = KIND_RESUME..=KIND_FAILED;

/// Longest body of BEGIN: both keys of a region, and a configuration of thousands of members.
pub(super) const BEGIN_BYTES_MAX: u32 = 128 << 10;

/// A chunk is filled with rows up to about this length.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// What a row may take beyond its key and its value: their lengths, and what the engine keeps beside a value.
const ROW_BYTES: usize = 1 << 10;

/// Longest body of CHUNK: its last row may be as long as a row can be. It fits into the u32 of the header.
pub(super) const CHUNK_BYTES_MAX: u32 = (CHUNK_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX + ROW_BYTES) as u32;

/// Longest body of what an acceptor sends: a key, and more than a text.
pub(super) const ANSWER_BYTES_MAX: u32 = (KEY_BYTES_MAX + ROW_BYTES) as u32;

/// Longest text; the rest is cut off.
const TEXT_BYTES_MAX: usize = 1000;

const CODE_BUSY: u32 = 1;
const CODE_OTHER: u32 = 2;

/// Why a connection for a raft snapshot is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("closed by the other side")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Malformed(&'static str),
}

impl Broken {
    /// Whether the other side has sent what no member sends.
    pub(super) fn is_malformed(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Malformed(_))
    }
}

/// What is said first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Begin {
    /// The boot of the sender, as in its hello.
    pub(super) boot: u64,
    /// Tells the sendings of a boot apart: only the same one is resumed.
    pub(super) number: u64,
    /// About how many bytes of rows there are.
    pub(super) bytes_estimate: u64,
    pub(super) message: SnapshotMessage,
}

/// What a dialer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Begin(Box<Begin>),
    Chunk(Bytes),
    /// How many rows there are in all, and the crc32c of all of them.
    End(u64, u32),
}

/// Up to where the receiver has the rows already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resume {
    /// The last key that it has.
    pub(super) after: Option<Vec<u8>>,
    pub(super) rows: u64,
    pub(super) crc: u32,
}

/// What an acceptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Resume(Resume),
    /// It has no place for it now.
    Busy(String),
    /// It does not take it.
    Refused(String),
    /// So many bytes of chunks were taken on this connection.
    Ack(u64),
    /// All of it is staged.
    Done,
    /// It cannot be staged.
    Failed(String),
}

impl Said {
    /// Appends the frame of BEGIN or END.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let start = frame::begin(out);
        let kind = match self {
            Self::Begin(begin) => {
                for number in [begin.boot, begin.number, begin.bytes_estimate] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(&begin.message.encode());
                KIND_BEGIN
            }
            Self::Chunk(rows) => {
                out.extend_from_slice(rows);
                KIND_CHUNK
            }
            Self::End(rows, crc) => {
                out.extend_from_slice(&rows.to_le_bytes());
                out.extend_from_slice(&crc.to_le_bytes());
                KIND_END
            }
        };
        frame::finish_as(kind, out, start);
    }

    /// Reads the body of a frame of this kind.
    pub(super) fn parse((kind, body): (u8, Bytes)) -> Result<Self, Broken> {
        match kind {
            KIND_BEGIN => Ok(Self::Begin(Box::new(Begin::parse(&body)?))),
            KIND_CHUNK if body.is_empty() => Err(Broken::Malformed("a chunk has no rows")),
            KIND_CHUNK => Ok(Self::Chunk(body)),
            KIND_END => {
                let mut rest = &body[..];
                let (rows, crc) = (take_u64(&mut rest)?, take_u32(&mut rest)?);
                no_more(rest)?;
                Ok(Self::End(rows, crc))
            }
            _ => Err(Broken::Malformed("a dialer sends no such frame")),
        }
    }
}

/// The header of the frame of a chunk, which is written in front of it.
pub(super) fn chunk_header(rows: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let length = u32::try_from(rows.len()).expect("a chunk is below the limit");
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8] = KIND_CHUNK;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), rows);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    header
}

impl Begin {
    fn parse(mut body: &[u8]) -> Result<Self, Broken> {
        let rest = &mut body;
        let (boot, number, bytes_estimate) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
        let message = SnapshotMessage::decode(rest).ok_or(Broken::Malformed("it is unknown what is sent"))?;
        Ok(Self { boot, number, bytes_estimate, message })
    }
}

impl Answer {
    /// Appends its frame.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let start = frame::begin(out);
        let kind = match self {
            Self::Resume(Resume { after, rows, crc }) => {
                out.extend_from_slice(&rows.to_le_bytes());
                out.extend_from_slice(&crc.to_le_bytes());
                out.push(u8::from(after.is_some()));
                out.extend_from_slice(after.as_deref().unwrap_or_default());
                KIND_RESUME
            }
            Self::Busy(text) => put_refusal(CODE_BUSY, text, out),
            Self::Refused(text) => put_refusal(CODE_OTHER, text, out),
            Self::Ack(bytes) => {
                out.extend_from_slice(&bytes.to_le_bytes());
                KIND_ACK
            }
            Self::Done => KIND_DONE,
            Self::Failed(text) => {
                put_text(text, out);
                KIND_FAILED
            }
        };
        frame::finish_as(kind, out, start);
    }

    /// Reads the body of a frame of this kind.
    pub(super) fn parse((kind, body): (u8, Bytes)) -> Result<Self, Broken> {
        let mut rest = &body[..];
        let answer = match kind {
            KIND_RESUME => Self::Resume(Resume::parse(std::mem::take(&mut rest))?),
            KIND_REFUSED => {
                let code = take_u32(&mut rest)?;
                let text = text_of(std::mem::take(&mut rest))?;
                // A code of a later build is no reason to try again.
                if code == CODE_BUSY { Self::Busy(text) } else { Self::Refused(text) }
            }
            KIND_ACK => Self::Ack(take_u64(&mut rest)?),
            KIND_DONE => Self::Done,
            KIND_FAILED => Self::Failed(text_of(std::mem::take(&mut rest))?),
            _ => return Err(Broken::Malformed("an acceptor sends no such frame")),
        };
        no_more(rest)?;
        Ok(answer)
    }
}

impl Resume {
    fn parse(mut body: &[u8]) -> Result<Self, Broken> {
        let (rows, crc) = (take_u64(&mut body)?, take_u32(&mut body)?);
        let after = match body.split_first() {
            Some((0, [])) => None,
            Some((1, key)) => Some(key.to_vec()),
            _ => return Err(Broken::Malformed("it is unclear where to go on")),
        };
        Ok(Self { after, rows, crc })
    }
}

fn put_refusal(code: u32, text: &str, out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&code.to_le_bytes());
    put_text(text, out);
    KIND_REFUSED
}

/// Cut off if it is too long, perhaps inside a character.
fn put_text(text: &str, out: &mut Vec<u8>) {
    let text = text.as_bytes();
    out.extend_from_slice(&text[..text.len().min(TEXT_BYTES_MAX)]);
}

/// It goes to a log: control characters in it must not reach a terminal.
fn text_of(bytes: &[u8]) -> Result<String, Broken> {
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(Broken::Malformed("a text is too long"));
    }
    Ok(String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect())
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Broken> {
    let (number, behind) = rest.split_first_chunk().ok_or(Broken::Malformed("a frame is too short"))?;
    *rest = behind;
    Ok(u64::from_le_bytes(*number))
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Broken> {
    let (number, behind) = rest.split_first_chunk().ok_or(Broken::Malformed("a frame is too short"))?;
    *rest = behind;
    Ok(u32::from_le_bytes(*number))
}

fn no_more(rest: &[u8]) -> Result<(), Broken> {
    if rest.is_empty() { Ok(()) } else { Err(Broken::Malformed("a frame is too long")) }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
