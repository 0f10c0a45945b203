//! The encoding of what an entry carries: a command.
//!
//! Owns the bytes of an entry's data, from the caller's batch to the engine. A command is encoded once, on the
//! caller's thread; raft, network and log carry the same bytes, and the applier walks them without a copy.
//! What always holds: a [`Command`] has been checked from its first byte to its last, so walking it cannot
//! fail; a write has one kind, so builds that know nothing of conditions read all writes without them. Nothing here
//! knows what a command does to the data; the layout of operations is left to `operations`.
//!
//! ```text
//! header  version u8 = 1 | kind u8 | flags u8 | reserved u8 = 0 | operations u32 | epoch version u64      (16 bytes)
//! write (1)        operations x ( tag u8 | operation )
//! truncate (2)     index u64
//! group (3)        writes x ( varint length, write )   "operations" counts the writes, 65,536 at most
//! conditional (4)  as a write, with one operation at least that a write has not
//! level (5)        level u16
//! members (6)      a list of members, as `member_list` encodes it; stands alone in its entry
//! settled (7)      version u64 of the list that the configuration follows
//!
//! 1 put            key, value             16 if_absent   key
//! 2 delete         key                    17 if_present  key
//! 3 delete_range   begin, end             18 if_version  key, version u64; 0 for no value
//! 4 add            key, number i64        19 if_value    key, value
//! 5 put_versioned  prefix, value          20 if_range    begin, end, digest 16 bytes, keys u64, bytes u64
//! 6 pop            key                    21             kept for sessions
//! 7 take_first     begin, end             32 otherwise   once at most, and no condition behind it
//! ```
//! Keys and values are a varint length and bytes. A range of [`Operation::TakeFirst`] and [`Operation::IfRange`] whose
//! end is empty has none. A group is the writes of many callers in one entry. Each keeps its own header and gets its
//! own verdict. Bit 0 of its flags says that one is conditional; such a group and such a write have no other bit there.
//! Numbers are little-endian. A new format gets a new version; an unknown one is refused, never guessed.

mod builder;
mod operations;
mod weight;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use builder::CommandBuilder;
pub use operations::Operation;
pub(crate) use operations::{
    OPERATION_OVERHEAD_BYTES, Operations, VERSIONED_BYTES, versioned_key, versioned_keys,
};
pub(crate) use weight::{Weight, weight_of};

use crate::core::change::{Change, OwnedChange};
use crate::core::member_list::MemberList;
use crate::types::{BATCH_OPERATIONS_MAX, CONDITIONS_LEVEL, ENTRY_WRITES_MAX, LogIndex, MEMBERS_LEVEL};
use operations::{put_slice, take_operation, take_slice};

/// Bytes in front of the operations.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes of the longest length.
const LENGTH_BYTES_MAX: usize = 5;
const VERSION: u8 = 1;
const KIND_WRITE: u8 = 1;
const KIND_TRUNCATE: u8 = 2;
const KIND_GROUP: u8 = 3;
const KIND_CONDITIONAL: u8 = 4;
const KIND_LEVEL: u8 = 5;
const KIND_MEMBERS: u8 = 6;
const KIND_SETTLED: u8 = 7;
/// Where the flags are.
const FLAGS: usize = 2;
/// The flag of a group with a conditional write.
const HAS_CONDITIONAL: u8 = 1;

/// The command that lets every member drop its log up to `index`.
#[must_use]
pub(crate) fn seal_truncate(index: LogIndex, epoch_version: u64) -> Bytes {
    let mut buffer = vec![0; HEADER_BYTES];
    write_header(&mut buffer, KIND_TRUNCATE, 0, epoch_version);
    buffer.extend_from_slice(&index.get().to_le_bytes());
    buffer.into()
}

/// The command that raises the region's feature level to `level`, for all that stands behind it in the log.
#[must_use]
pub(crate) fn seal_level(level: u16, epoch_version: u64) -> Bytes {
    let mut buffer = vec![0; HEADER_BYTES];
    write_header(&mut buffer, KIND_LEVEL, 0, epoch_version);
    buffer.extend_from_slice(&level.to_le_bytes());
    buffer.into()
}

/// The command that makes `list` the members that the cluster is to have. To the peers it is a write like others.
#[must_use]
pub(crate) fn seal_members(list: &MemberList) -> Bytes {
    let mut buffer = vec![0; HEADER_BYTES];
    write_header(&mut buffer, KIND_MEMBERS, 0, 0);
    buffer.extend_from_slice(&list.encode());
    buffer.into()
}

/// The command that says that the configuration in front of it follows the list of this version.
#[must_use]
pub(crate) fn seal_settled(version: u64) -> Bytes {
    let mut buffer = vec![0; HEADER_BYTES];
    write_header(&mut buffer, KIND_SETTLED, 0, 0);
    buffer.extend_from_slice(&version.to_le_bytes());
    buffer.into()
}

/// One command that carries several sealed writes, in their order.
#[must_use]
pub(crate) fn seal_group<'a>(writes: impl ExactSizeIterator<Item = &'a Bytes> + Clone) -> Bytes {
    assert!(writes.len() <= ENTRY_WRITES_MAX, "each has a number in its entry");
    let count = u32::try_from(writes.len()).expect("so few");
    let bytes: usize = writes.clone().map(|write| write.len() + LENGTH_BYTES_MAX).sum();
    let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
    buffer.resize(HEADER_BYTES, 0);
    if writes.clone().any(|write| is_conditional(write)) {
        buffer[FLAGS] = HAS_CONDITIONAL;
    }
    writes.for_each(|write| put_slice(&mut buffer, write));
    write_header(&mut buffer, KIND_GROUP, count, 0);
    buffer.into()
}

fn write_header(buffer: &mut [u8], kind: u8, operations: u32, epoch_version: u64) {
    assert!(buffer.len() >= HEADER_BYTES, "room was left for the header");
    assert!((KIND_WRITE..=KIND_SETTLED).contains(&kind), "there is no other kind");
    buffer[0] = VERSION;
    buffer[1] = kind;
    buffer[4..8].copy_from_slice(&operations.to_le_bytes());
    buffer[8..16].copy_from_slice(&epoch_version.to_le_bytes());
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
    /// Every member of the region knows this feature level.
    Level(u16),
    /// The members that the cluster is to have.
    Members(MemberList),
    /// The configuration follows the list of this version.
    Settled(u64),
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
        let command = match data[1] {
            KIND_WRITE | KIND_CONDITIONAL => parse_write(data).map(Self::Write),
            KIND_GROUP => parse_group(&data).map(Self::Group),
            KIND_TRUNCATE => {
                let index = data[HEADER_BYTES..].try_into().ok();
                index.map(|index| Self::Truncate(LogIndex(u64::from_le_bytes(index))))
            }
            KIND_LEVEL => {
                let level = data[HEADER_BYTES..].try_into().ok();
                level.map(|level| Self::Level(u16::from_le_bytes(level)))
            }
            KIND_SETTLED => {
                let version = data[HEADER_BYTES..].try_into().ok();
                version.map(|version| Self::Settled(u64::from_le_bytes(version)))
            }
            KIND_MEMBERS => MemberList::decode(&data[HEADER_BYTES..]).map(Self::Members),
            _ => None,
        };
        command.ok_or(CommandError::Malformed)
    }
}

/// How many operations a sealed write says it has, or how many writes a group.
#[must_use]
pub(crate) fn operations_of(data: &[u8]) -> u32 {
    assert!(data.len() >= HEADER_BYTES, "the caller saw a whole header");
    u32::from_le_bytes(data[4..8].try_into().expect("four bytes"))
}

/// How many writes an entry of this data has, by its own account. Each takes a header's room at least.
#[must_use]
pub(crate) fn writes_of(data: &[u8]) -> usize {
    match data.get(1) {
        Some(&(KIND_WRITE | KIND_CONDITIONAL | KIND_MEMBERS)) => 1,
        Some(&KIND_GROUP) if data.len() >= HEADER_BYTES => {
            let count = operations_of(data) as usize;
            count.min(data.len() / HEADER_BYTES)
        }
        _ => 0,
    }
}

/// Whether an entry of this data, or a sealed write, has operations other than plain ones, by its own account. What is
/// judged when it is applied must not be applied where nothing may wait for the disk.
#[must_use]
pub(crate) fn is_conditional(data: &[u8]) -> bool {
    match *data {
        [VERSION, KIND_CONDITIONAL, ..] => true,
        [VERSION, KIND_GROUP, flags, ..] => flags & HAS_CONDITIONAL != 0,
        _ => false,
    }
}

/// Whether an entry of this data raises the feature level, by its own account.
#[must_use]
pub(crate) fn is_level(data: &[u8]) -> bool {
    matches!(*data, [VERSION, KIND_LEVEL, ..])
}

/// Whether an entry of this data, or a sealed write, is about the list of members, by its own account.
#[must_use]
pub(crate) fn is_members(data: &[u8]) -> bool {
    matches!(*data, [VERSION, KIND_MEMBERS | KIND_SETTLED, ..])
}

/// The feature level that every member must know before this sealed write may be in a log.
#[must_use]
pub(crate) fn level_of_write(data: &[u8]) -> u16 {
    match () {
        () if is_members(data) => MEMBERS_LEVEL,
        () if is_conditional(data) => CONDITIONS_LEVEL,
        () => 0,
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
        Command::Members(_) => vec![data.clone()],
        Command::Truncate(_) | Command::Level(_) | Command::Settled(_) => Vec::new(),
    }
}

fn parse_write(data: Bytes) -> Option<Write> {
    assert!(matches!(data[1], KIND_WRITE | KIND_CONDITIONAL), "the caller saw the kind");
    let (body, operations) = (&data[HEADER_BYTES..], operations_of(&data));
    match data[1] {
        KIND_WRITE => check_plain(body, operations)?,
        _ => check_conditional(&data[FLAGS..4], body, operations)?,
    }
    let epoch_version = u64::from_le_bytes(data[8..16].try_into().expect("the caller saw a whole header"));
    Some(Write { data, epoch_version })
}

fn check_plain(body: &[u8], operations: u32) -> Option<()> {
    let mut rest = body;
    for _ in 0..operations {
        take_operation(&mut rest).filter(|operation| operation.is_plain())?;
    }
    rest.is_empty().then_some(())
}

fn check_conditional(flags: &[u8], body: &[u8], operations: u32) -> Option<()> {
    let mut rest = body;
    let (mut is_plain, mut has_otherwise) = (true, false);
    for _ in 0..operations {
        let operation = take_operation(&mut rest)?;
        let opens = operation == Operation::Otherwise;
        if has_otherwise && (opens || operation.is_condition()) {
            return None;
        }
        has_otherwise |= opens;
        is_plain &= operation.is_plain();
    }
    // An operation's number is part of a key.
    let has_numbers = operations as usize <= BATCH_OPERATIONS_MAX;
    (flags == [0, 0] && has_numbers && !is_plain && rest.is_empty()).then_some(())
}

fn parse_group(data: &Bytes) -> Option<Vec<Write>> {
    let count = operations_of(data) as usize;
    if count > ENTRY_WRITES_MAX {
        return None;
    }
    let mut rest = &data[HEADER_BYTES..];
    // Each write has a header, so a false count costs nothing.
    let mut writes = Vec::with_capacity(count.min(rest.len() / HEADER_BYTES));
    let mut has_conditional = false;
    for _ in 0..count {
        let write = take_slice(&mut rest)?;
        // Looked at before it is parsed: a group within a group could go on for ever.
        if write.len() < HEADER_BYTES || !matches!(write[..2], [VERSION, KIND_WRITE | KIND_CONDITIONAL]) {
            return None;
        }
        has_conditional |= is_conditional(write);
        writes.push(parse_write(data.slice_ref(write))?);
    }
    let flags_are_right = match has_conditional {
        true => data[FLAGS..4] == [HAS_CONDITIONAL, 0],
        false => !is_conditional(data),
    };
    (flags_are_right && rest.is_empty()).then_some(writes)
}

impl Write {
    /// The operations in the caller's order.
    #[must_use]
    pub fn operations(&self) -> Operations<'_> {
        Operations::of(&self.data[HEADER_BYTES..])
    }

    /// True when something is to be judged or computed before it is carried out; else it has plain operations alone.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        is_conditional(&self.data)
    }

    /// The conditions, with their numbers among all operations.
    pub fn conditions(&self) -> impl Iterator<Item = (u32, Operation<'_>)> {
        self.numbered().filter(|(_, operation)| operation.is_condition())
    }

    /// What is done when all conditions are true, with the numbers among all operations.
    pub fn then(&self) -> impl Iterator<Item = (u32, Operation<'_>)> {
        let first = self.numbered().take_while(|(_, operation)| *operation != Operation::Otherwise);
        first.filter(|(_, operation)| !operation.is_condition())
    }

    /// What is done when one is false, with the numbers among all operations.
    pub fn otherwise(&self) -> impl Iterator<Item = (u32, Operation<'_>)> {
        self.numbered().skip_while(|(_, operation)| *operation != Operation::Otherwise).skip(1)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, Operation<'_>)> {
        (0..).zip(self.operations())
    }

    /// A part of this write, kept beyond it without a copy.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub(crate) fn share(&self, part: &[u8]) -> Bytes {
        self.data.slice_ref(part)
    }

    /// A change that one of its operations is, kept beyond it without a copy.
    #[must_use]
    pub(crate) fn owned(&self, change: Change<'_>) -> OwnedChange {
        match change {
            Change::Put { key, value } => OwnedChange::Put { key: self.share(key), value: self.share(value) },
            Change::Delete { key } => OwnedChange::Delete { key: self.share(key) },
            Change::DeleteRange { begin, end } => {
                OwnedChange::DeleteRange { begin: self.share(begin), end: self.share(end) }
            }
        }
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

    /// What applying it costs.
    #[must_use]
    pub(crate) fn weight(&self) -> Weight {
        weight_of(&self.data)
    }

    /// Size of the encoding.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.data.len()
    }
}
