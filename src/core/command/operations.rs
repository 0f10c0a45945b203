//! The operations of a write, and their bytes.
//!
//! Owns the tag and the layout of each operation. What always holds: an operation has one form in memory and its bytes
//! say nothing else; reading never panics and never allocates, whatever the bytes are. Which operations may stand
//! beside each other is left to the command.

use crate::core::change::Change;
use crate::core::digest::RangeDigest;
use crate::types::Version;

/// What one operation adds beyond its keys, values and numbers: its tag and two lengths of at most 5 bytes.
pub(crate) const OPERATION_OVERHEAD_BYTES: usize = 11;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const ADD: u8 = 4;
const PUT_VERSIONED: u8 = 5;
const POP: u8 = 6;
const TAKE_FIRST: u8 = 7;
const IF_ABSENT: u8 = 16;
const IF_PRESENT: u8 = 17;
const IF_VERSION: u8 = 18;
const IF_VALUE: u8 = 19;
const IF_RANGE: u8 = 20;
// 21 is kept for conditions on sessions. What does not know them must not read past them.
const OTHERWISE: u8 = 32;

/// One operation of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets `key` to `value`.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// Removes `key`.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes every key in `begin..end`.
    DeleteRange {
        /// The first key removed.
        begin: &'a [u8],
        /// The first key kept.
        end: &'a [u8],
    },
    /// Adds `delta` to the number that is the value of `key`; no value counts as zero.
    Add {
        /// The key.
        key: &'a [u8],
        /// What is added.
        delta: i64,
    },
    /// Sets a key of which no other write can know: `prefix`, then the version of this write and the number of this
    /// operation, both big-endian.
    PutVersioned {
        /// How the key begins.
        prefix: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Removes `key` and tells its value.
    Pop {
        /// The key.
        key: &'a [u8],
    },
    /// Removes the first key of a range and tells it and its value.
    TakeFirst {
        /// The first key of the range.
        begin: &'a [u8],
        /// The first key behind it; empty means no end.
        end: &'a [u8],
    },
    /// Is true when `key` has no value.
    IfAbsent {
        /// The key.
        key: &'a [u8],
    },
    /// Is true when `key` has a value.
    IfPresent {
        /// The key.
        key: &'a [u8],
    },
    /// Is true when `key` has this version.
    IfVersion {
        /// The key.
        key: &'a [u8],
        /// [`Version::NONE`] when it must not be there.
        version: Version,
    },
    /// Is true when `key` has this value.
    IfValue {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Is true when a range has the same keys with the same versions as when it was seen.
    IfRange {
        /// The first key of the range.
        begin: &'a [u8],
        /// The first key behind it; empty means no end.
        end: &'a [u8],
        /// What was seen: an encoded [`RangeDigest`].
        seen: &'a [u8; RangeDigest::ENCODED_BYTES],
    },
    /// What follows is done instead of all before it when a condition is false.
    Otherwise,
}

impl<'a> Operation<'a> {
    /// True when nothing is changed by it, whatever it finds.
    #[must_use]
    pub fn is_condition(self) -> bool {
        match self {
            Self::Put { .. } | Self::Delete { .. } | Self::DeleteRange { .. } => false,
            Self::Add { .. } | Self::PutVersioned { .. } | Self::Pop { .. } | Self::TakeFirst { .. } => false,
            Self::IfAbsent { .. } | Self::IfPresent { .. } | Self::IfVersion { .. } => true,
            Self::IfValue { .. } | Self::IfRange { .. } => true,
            Self::Otherwise => false,
        }
    }

    /// The change that it is, if it needs no look at the data.
    #[must_use]
    pub fn as_change(self) -> Option<Change<'a>> {
        match self {
            Self::Put { key, value } => Some(Change::Put { key, value }),
            Self::Delete { key } => Some(Change::Delete { key }),
            Self::DeleteRange { begin, end } => Some(Change::DeleteRange { begin, end }),
            _ => None,
        }
    }

    /// True when every build of this library can read it.
    #[must_use]
    pub(crate) fn is_plain(self) -> bool {
        self.as_change().is_some()
    }
}

/// What a key made by [`Operation::PutVersioned`] has behind its prefix: a version and the number of an operation.
pub(crate) const VERSIONED_BYTES: usize = 10;

/// The key that operation `number` of the write with this version makes of `prefix`.
#[must_use]
pub(crate) fn versioned_key(prefix: &[u8], version: Version, number: u32) -> Vec<u8> {
    assert!(version != Version::NONE, "a write has a version");
    let number = u16::try_from(number).expect("a conditional write has no more operations");
    [prefix, &version.get().to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The first and the last of all keys that can be made of `prefix`.
#[must_use]
pub(crate) fn versioned_keys(prefix: &[u8]) -> [Vec<u8>; 2] {
    let keys = [[0; VERSIONED_BYTES], [0xff; VERSIONED_BYTES]].map(|behind| [prefix, &behind].concat());
    assert!(keys[0] < keys[1], "others lie between them");
    keys
}

/// Appends the bytes of `operation`.
pub(super) fn put_operation(buffer: &mut Vec<u8>, operation: Operation<'_>) {
    let parts: (u8, &[&[u8]]) = match &operation {
        Operation::Put { key, value } => (PUT, &[key, value]),
        Operation::Delete { key } => (DELETE, &[key]),
        Operation::DeleteRange { begin, end } => (DELETE_RANGE, &[begin, end]),
        Operation::Add { key, .. } => (ADD, &[key]),
        Operation::PutVersioned { prefix, value } => (PUT_VERSIONED, &[prefix, value]),
        Operation::Pop { key } => (POP, &[key]),
        Operation::TakeFirst { begin, end } => (TAKE_FIRST, &[begin, end]),
        Operation::IfAbsent { key } => (IF_ABSENT, &[key]),
        Operation::IfPresent { key } => (IF_PRESENT, &[key]),
        Operation::IfVersion { key, .. } => (IF_VERSION, &[key]),
        Operation::IfValue { key, value } => (IF_VALUE, &[key, value]),
        Operation::IfRange { begin, end, .. } => (IF_RANGE, &[begin, end]),
        Operation::Otherwise => (OTHERWISE, &[]),
    };
    let (tag, slices) = parts;
    let most = slices.iter().map(|slice| slice.len()).sum::<usize>() + OPERATION_OVERHEAD_BYTES;
    buffer.reserve(most);
    let before = buffer.len();
    buffer.push(tag);
    slices.iter().for_each(|slice| put_slice(buffer, slice));
    assert!(buffer.len() - before <= most, "no more than a batch has counted");
    match operation {
        Operation::Add { delta, .. } => buffer.extend_from_slice(&delta.to_le_bytes()),
        Operation::IfVersion { version, .. } => buffer.extend_from_slice(&version.get().to_le_bytes()),
        Operation::IfRange { seen, .. } => buffer.extend_from_slice(seen),
        _ => {}
    }
}

/// The next operation; none when the bytes are not one.
pub(super) fn take_operation<'a>(rest: &mut &'a [u8]) -> Option<Operation<'a>> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    Some(match tag {
        PUT => Operation::Put { key: take_slice(rest)?, value: take_slice(rest)? },
        DELETE => Operation::Delete { key: take_slice(rest)? },
        DELETE_RANGE => Operation::DeleteRange { begin: take_slice(rest)?, end: take_slice(rest)? },
        ADD => Operation::Add { key: take_slice(rest)?, delta: i64::from_le_bytes(*take_fixed(rest)?) },
        PUT_VERSIONED => Operation::PutVersioned { prefix: take_slice(rest)?, value: take_slice(rest)? },
        POP => Operation::Pop { key: take_slice(rest)? },
        TAKE_FIRST => Operation::TakeFirst { begin: take_slice(rest)?, end: take_slice(rest)? },
        IF_ABSENT => Operation::IfAbsent { key: take_slice(rest)? },
        IF_PRESENT => Operation::IfPresent { key: take_slice(rest)? },
        IF_VERSION => {
            let (key, version) = (take_slice(rest)?, take_fixed(rest)?);
            Operation::IfVersion { key, version: Version(u64::from_le_bytes(*version)) }
        }
        IF_VALUE => Operation::IfValue { key: take_slice(rest)?, value: take_slice(rest)? },
        IF_RANGE => {
            let (begin, end) = (take_slice(rest)?, take_slice(rest)?);
            Operation::IfRange { begin, end, seen: take_fixed(rest)? }
        }
        OTHERWISE => Operation::Otherwise,
        _ => return None,
    })
}

/// Walks the operations of a checked write.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    rest: &'a [u8],
}

impl<'a> Operations<'a> {
    /// Walks what `parse` has checked.
    pub(super) fn of(checked: &'a [u8]) -> Self {
        Self { rest: checked }
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(take_operation(&mut self.rest).expect("parse checked every operation"))
    }
}

/// Appends `bytes` behind their length.
pub(super) fn put_slice(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        buffer.push(length as u8 | 0x80); // Truncation is the point: the low seven bits.
        length >>= 7;
    }
    buffer.push(length as u8);
    buffer.extend_from_slice(bytes);
}

/// The next bytes behind their length.
pub(super) fn take_slice<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0usize;
    for shift in (0..35).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let (slice, after) = rest.split_at_checked(length)?;
            *rest = after;
            return Some(slice);
        }
    }
    None
}

fn take_fixed<'a, const BYTES: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; BYTES]> {
    let (fixed, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(fixed)
}
