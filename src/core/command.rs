//! The encoding of what an entry carries: a command.
//!
//! Owns the bytes of an entry's data, from the caller's batch to the engine. A command is encoded once, on the
//! caller's thread; raft, network and log carry the same bytes, and the applier walks them without a copy.
//! What always holds: a [`Command`] has been checked from its first byte to its last, so walking it cannot
//! fail. Nothing here knows what a command does to the data.
//!
//! ```text
//! header  version u8 = 1 | kind u8 | reserved u16 = 0 | operations u32 | epoch version u64      (16 bytes)
//! write   operations x ( op u8 | varint length, bytes | [varint length, bytes] )
//! truncate  index u64
//! group   writes x ( varint length, write )            "operations" counts the writes
//! ```
//! A group is the writes of many callers in one entry. Each keeps its own header and gets its own verdict.
//! Numbers are little-endian. A new format gets a new version; an unknown one is refused, never guessed.

use bytes::Bytes;

use crate::types::LogIndex;

/// Bytes in front of the operations.
pub(crate) const HEADER_BYTES: usize = 16;
/// What one operation adds beyond its keys and values: its tag and two lengths of at most 5 bytes.
pub(crate) const OPERATION_OVERHEAD_BYTES: usize = 11;

/// Bytes of the longest length.
const LENGTH_BYTES_MAX: usize = 5;
const VERSION: u8 = 1;
const KIND_WRITE: u8 = 1;
const KIND_TRUNCATE: u8 = 2;
const KIND_GROUP: u8 = 3;
const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;
const OP_DELETE_RANGE: u8 = 3;

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
}

/// Builds the encoding of a write in place; the header is filled in when the command is sealed.
#[derive(Clone, Debug)]
pub struct CommandBuilder {
    buffer: Vec<u8>,
    operations: u32,
}

impl Default for CommandBuilder {
    fn default() -> Self {
        Self { buffer: vec![0; HEADER_BYTES], operations: 0 }
    }
}

impl CommandBuilder {
    /// Appends one operation. The caller has checked the limits.
    pub fn push(&mut self, operation: Operation<'_>) {
        let (tag, first, second) = match operation {
            Operation::Put { key, value } => (OP_PUT, key, Some(value)),
            Operation::Delete { key } => (OP_DELETE, key, None),
            Operation::DeleteRange { begin, end } => (OP_DELETE_RANGE, begin, Some(end)),
        };
        let payload = first.len() + second.map_or(0, <[u8]>::len);
        self.buffer.reserve(payload + OPERATION_OVERHEAD_BYTES);
        self.buffer.push(tag);
        put_slice(&mut self.buffer, first);
        if let Some(second) = second {
            put_slice(&mut self.buffer, second);
        }
        self.operations += 1;
    }

    /// How many operations were pushed.
    #[must_use]
    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// Size of the encoded command so far.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets everything that was pushed after the first `operations`, which had `encoded_bytes`.
    pub fn truncate(&mut self, operations: u32, encoded_bytes: usize) {
        assert!(operations <= self.operations && encoded_bytes <= self.buffer.len(), "it was once so long");
        assert!(encoded_bytes >= HEADER_BYTES, "the header stays");
        self.operations = operations;
        self.buffer.truncate(encoded_bytes);
    }

    /// The builder whose work was sealed into `data`.
    #[must_use]
    pub fn reopen(data: Bytes) -> Self {
        assert!(data.len() >= HEADER_BYTES && data[1] == KIND_WRITE, "a builder sealed it");
        let operations = operations_of(&data);
        Self { buffer: data.into(), operations }
    }

    /// The finished command, bound to a version of its region's key range.
    #[must_use]
    pub fn seal(mut self, epoch_version: u64) -> Bytes {
        write_header(&mut self.buffer, KIND_WRITE, self.operations, epoch_version);
        self.buffer.into()
    }
}

/// The command that lets every member drop its log up to `index`.
#[must_use]
pub(crate) fn seal_truncate(index: LogIndex, epoch_version: u64) -> Bytes {
    let mut buffer = vec![0; HEADER_BYTES];
    write_header(&mut buffer, KIND_TRUNCATE, 0, epoch_version);
    buffer.extend_from_slice(&index.get().to_le_bytes());
    buffer.into()
}

/// One command that carries several sealed writes, in their order.
#[must_use]
pub(crate) fn seal_group<'a>(writes: impl ExactSizeIterator<Item = &'a Bytes> + Clone) -> Bytes {
    let count = u32::try_from(writes.len()).expect("a group is bounded by its bytes");
    let bytes: usize = writes.clone().map(|write| write.len() + LENGTH_BYTES_MAX).sum();
    let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
    buffer.resize(HEADER_BYTES, 0);
    writes.for_each(|write| put_slice(&mut buffer, write));
    write_header(&mut buffer, KIND_GROUP, count, 0);
    buffer.into()
}

fn write_header(buffer: &mut [u8], kind: u8, operations: u32, epoch_version: u64) {
    assert!(buffer.len() >= HEADER_BYTES, "room was left for the header");
    buffer[0] = VERSION;
    buffer[1] = kind;
    buffer[4..8].copy_from_slice(&operations.to_le_bytes());
    buffer[8..16].copy_from_slice(&epoch_version.to_le_bytes());
}

fn put_slice(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        buffer.push(length as u8 | 0x80); // Truncation is the point: the low seven bits.
        length >>= 7;
    }
    buffer.push(length as u8);
    buffer.extend_from_slice(bytes);
}

/// What is wrong with an entry's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Written by a newer version of this library.
    #[error("command version {0} is newer than this library")]
    Version(u8),
    /// Not a command.
    #[error("malformed command")]
    Malformed,
}

/// An entry's data after it was checked.
#[derive(Clone, Debug)]
pub enum Command {
    /// User operations.
    Write(Write),
    /// Every member may drop its log up to this index.
    Truncate(LogIndex),
    /// Writes of many callers.
    Group(Vec<Write>),
}

/// The operations of one command.
#[derive(Clone, Debug)]
pub struct Write {
    data: Bytes,
    epoch_version: u64,
}

impl Command {
    /// Checks `data` from end to end.
    ///
    /// # Errors
    /// When a newer version wrote it or its bytes do not add up. Both mean the same on every member.
    pub fn parse(data: Bytes) -> Result<Self, CommandError> {
        if data.len() < HEADER_BYTES {
            return Err(CommandError::Malformed);
        }
        if data[0] != VERSION {
            return Err(CommandError::Version(data[0]));
        }
        match data[1] {
            KIND_WRITE => parse_write(data).map(Self::Write),
            KIND_GROUP => parse_group(&data).map(Self::Group),
            KIND_TRUNCATE => {
                let index: [u8; 8] = data[HEADER_BYTES..].try_into().map_err(|_| CommandError::Malformed)?;
                Ok(Self::Truncate(LogIndex(u64::from_le_bytes(index))))
            }
            _ => Err(CommandError::Malformed),
        }
    }
}

/// How many operations a sealed write says it has, or how many writes a group.
#[must_use]
pub(crate) fn operations_of(data: &Bytes) -> u32 {
    u32::from_le_bytes(data[4..8].try_into().expect("the caller saw a whole header"))
}

/// How many writes an entry of this data has, by its own account. Each takes a header's room at least.
#[must_use]
pub(crate) fn writes_of(data: &[u8]) -> usize {
    match data.get(1) {
        Some(&KIND_WRITE) => 1,
        Some(&KIND_GROUP) if data.len() >= HEADER_BYTES => {
            let count = u32::from_le_bytes(data[4..8].try_into().expect("four bytes"));
            (count as usize).min(data.len() / HEADER_BYTES)
        }
        _ => 0,
    }
}

/// The sealed writes of an entry that this member sealed, in their order, without a copy. None in an empty one.
///
/// # Panics
/// When it did not.
#[must_use]
pub(crate) fn writes_in(data: &Bytes) -> Vec<Bytes> {
    if data.is_empty() {
        return Vec::new();
    }
    match Command::parse(data.clone()).expect("sealed here") {
        Command::Write(write) => vec![write.data],
        Command::Group(writes) => writes.into_iter().map(|write| write.data).collect(),
        Command::Truncate(_) => Vec::new(),
    }
}

fn parse_write(data: Bytes) -> Result<Write, CommandError> {
    check_operations(&data[HEADER_BYTES..], operations_of(&data))?;
    let epoch_version = u64::from_le_bytes(data[8..16].try_into().expect("the caller saw a whole header"));
    Ok(Write { data, epoch_version })
}

fn parse_group(data: &Bytes) -> Result<Vec<Write>, CommandError> {
    let count = operations_of(data) as usize;
    let mut rest = &data[HEADER_BYTES..];
    // Each write has a header, so a false count costs nothing.
    let mut writes = Vec::with_capacity(count.min(rest.len() / HEADER_BYTES));
    for _ in 0..count {
        let write = take_slice(&mut rest).ok_or(CommandError::Malformed)?;
        // Looked at before it is parsed: a group within a group could go on for ever.
        if write.len() < HEADER_BYTES || write[..2] != [VERSION, KIND_WRITE] {
            return Err(CommandError::Malformed);
        }
        writes.push(parse_write(data.slice_ref(write))?);
    }
    if rest.is_empty() { Ok(writes) } else { Err(CommandError::Malformed) }
}

impl Write {
    /// The operations in the caller's order.
    #[must_use]
    pub fn operations(&self) -> Operations<'_> {
        Operations { rest: &self.data[HEADER_BYTES..] }
    }

    /// The version of the region's key range the caller saw.
    #[must_use]
    pub fn epoch_version(&self) -> u64 {
        self.epoch_version
    }

    /// How many operations there are.
    #[must_use]
    pub fn operation_count(&self) -> usize {
        operations_of(&self.data) as usize
    }

    /// Size of the encoding.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.data.len()
    }
}

fn check_operations(body: &[u8], operations: u32) -> Result<(), CommandError> {
    let mut rest = body;
    for _ in 0..operations {
        take_operation(&mut rest).ok_or(CommandError::Malformed)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(CommandError::Malformed) }
}

/// Walks the operations of a checked command.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    rest: &'a [u8],
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

fn take_operation<'a>(rest: &mut &'a [u8]) -> Option<Operation<'a>> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    match tag {
        OP_PUT => Some(Operation::Put { key: take_slice(rest)?, value: take_slice(rest)? }),
        OP_DELETE => Some(Operation::Delete { key: take_slice(rest)? }),
        OP_DELETE_RANGE => Some(Operation::DeleteRange { begin: take_slice(rest)?, end: take_slice(rest)? }),
        _ => None,
    }
}

fn take_slice<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation<'static>; 4] = [
        Operation::Put { key: b"a", value: b"" },
        Operation::Put { key: b"", value: &[7; 300] },
        Operation::Delete { key: b"b" },
        Operation::DeleteRange { begin: b"c", end: b"d" },
    ];

    fn sealed() -> Bytes {
        let mut builder = CommandBuilder::default();
        OPERATIONS.into_iter().for_each(|operation| builder.push(operation));
        builder.seal(3)
    }

    #[test]
    fn a_write_comes_back_as_it_went_in() {
        let Command::Write(write) = Command::parse(sealed()).expect("sealed above") else {
            panic!("a write")
        };

        assert_eq!(write.operations().collect::<Vec<_>>(), OPERATIONS);
        assert_eq!((write.operation_count(), write.epoch_version()), (OPERATIONS.len(), 3));
    }

    #[test]
    fn a_truncation_comes_back_as_it_went_in() {
        let command = Command::parse(seal_truncate(LogIndex(99), 1)).expect("sealed above");

        assert!(matches!(command, Command::Truncate(LogIndex(99))));
    }

    #[test]
    fn a_group_gives_back_its_writes_in_order() {
        let mut other = CommandBuilder::default();
        other.push(OPERATIONS[2]);
        let writes = [sealed(), other.seal(9)];

        let Ok(Command::Group(group)) = Command::parse(seal_group(writes.iter())) else { panic!("a group") };

        assert_eq!(group.iter().map(Write::epoch_version).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(group[0].operations().collect::<Vec<_>>(), OPERATIONS);
        assert_eq!(group[1].operations().collect::<Vec<_>>(), [OPERATIONS[2]]);
    }

    #[test]
    fn a_group_holds_whole_writes_and_nothing_else() {
        let group = |inner: Bytes| Command::parse(seal_group([inner].iter()));

        assert!(group(sealed()).is_ok());
        assert!(group(seal_truncate(LogIndex(3), 1)).is_err());
        assert!(group(seal_group([sealed()].iter())).is_err());
        let whole = seal_group([sealed(), sealed()].iter());
        assert!((0..whole.len()).all(|length| Command::parse(whole.slice(..length)).is_err()));
    }

    #[test]
    fn a_cut_command_is_refused_at_every_length() {
        let whole = sealed();
        for length in 0..whole.len() {
            assert!(Command::parse(whole.slice(..length)).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut newer = sealed().to_vec();
        newer[0] = 2;

        assert_eq!(Command::parse(newer.into()).unwrap_err(), CommandError::Version(2));
    }

    #[test]
    fn a_changed_byte_never_panics() {
        let whole = sealed();
        for at in 0..whole.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut changed = whole.to_vec();
                changed[at] ^= flip;
                if let Ok(Command::Write(write)) = Command::parse(changed.into()) {
                    let _ = write.operations().count();
                }
            }
        }
    }
}
