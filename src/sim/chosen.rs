//! The log that the members of a region have agreed on, and the state it produces.
//!
//! Owns the committed entries of one region as recorded by the first member to commit each, a separate state machine
//! that applies them one by one, what became of each call, and who was a member when. What always holds: it only grows; of
//! the members it knows nothing but the entries they committed.

mod configurations;

use std::collections::BTreeMap;

use raft::eraftpb::{Entry, EntryType};

use self::configurations::Configurations;
use crate::core::command::{Command, Operation, Write};
use crate::core::region::Region;
use crate::effects::Effects;
use crate::error::{Code, Refusal};
use crate::sim::disk::{Data, carry_out, digest, raise_versions, shown_version};
use crate::sim::keys::marked;
use crate::sim::reference::decide;
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, CONDITIONS_LEVEL, LogIndex, Version};

/// Number of a call: one read or write of a client.
pub(crate) type CallId = usize;

/// Bits of a value's number that identify the operation within its call.
const OPERATION_BITS: u32 = 8;
/// Size in bytes of the number at the start of every value.
const NUMBER_BYTES: usize = 8;

/// The number of the value written by operation `operation` of `call`; unique to that operation.
pub(crate) fn value_number(call: CallId, operation: usize) -> u64 {
    assert!(operation < 1 << OPERATION_BITS, "batches are small");
    ((call as u64) << OPERATION_BITS) | operation as u64
}

/// The call that wrote the value with this number.
pub(crate) fn call_of_number(number: u64) -> CallId {
    (number >> OPERATION_BITS) as CallId
}

/// The number at the start of a value.
pub(crate) fn number_of(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[..NUMBER_BYTES].try_into().expect("clients write numbered values"))
}

/// A value with this number, `bytes` long, or longer if the number needs it.
pub(crate) fn value_of(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(bytes.max(NUMBER_BYTES), 0);
    value
}

/// What becomes of a call where its entry is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The version of what it sets, if it sets anything.
    pub version: Version,
    /// What its caller is to be told.
    pub told: Result<Effects, Refusal>,
}

#[derive(Debug)]
struct Place {
    term: u64,
    /// Digest of the data after the entry.
    state: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The truncated entry that precedes every log, then the chosen ones.
    places: Vec<Place>,
    data: Data,
    calls: BTreeMap<CallId, Outcome>,
    /// The feature level after the last chosen entry, and the entry that raised it to that of versions.
    level: u16,
    level_index: LogIndex,
    configurations: Configurations,
}

impl Chosen {
    /// Nothing, of a region that begins so.
    pub(crate) fn new(region: &Region) -> Self {
        Self {
            places: vec![Place { term: BOOTSTRAP_TERM.get(), state: 0 }],
            data: Data::new(),
            calls: BTreeMap::new(),
            level: region.level,
            level_index: LogIndex(0),
            configurations: Configurations::new(region),
        }
    }

    /// Who was a member when.
    pub(crate) fn configurations(&self) -> &Configurations {
        &self.configurations
    }

    /// Whether the version of what the entry at `index` sets is told and shown: not if it stands below the feature level
    /// of versions.
    pub(crate) fn has_versions_at(&self, index: LogIndex) -> bool {
        self.level >= CONDITIONS_LEVEL && index > self.level_index
    }

    /// Index of the last chosen entry.
    pub(crate) fn last(&self) -> u64 {
        BOOTSTRAP_INDEX.get() + self.places.len() as u64 - 1
    }

    /// Term of the chosen entry at `index`.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        self.place(index).map(|place| place.term)
    }

    /// Digest of the data after `index`.
    pub(crate) fn state_at(&self, index: u64) -> Option<u64> {
        self.place(index).map(|place| place.state)
    }

    /// What became of a call that is in the log.
    pub(crate) fn outcome_of(&self, call: CallId) -> Option<&Outcome> {
        self.calls.get(&call)
    }

    /// How many of the calls before this one are in the log.
    pub(crate) fn count_before(&self, call: CallId) -> usize {
        self.calls.range(..call).count()
    }

    /// The data after the last chosen entry.
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// Appends the next entry; returns the calls that it is about, also those that are
    /// refused.
    ///
    /// # Errors
    /// When a call takes effect a second time.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<Vec<CallId>, String> {
        assert_eq!(entry.index, self.last() + 1, "entries are chosen in turn");
        let mut state = self.places.last().expect("it begins with one").state;
        let mut calls = Vec::new();
        self.configurations.take(entry, self.level);
        if entry.get_entry_type() == EntryType::EntryNormal
            && let Ok(Command::Level(level)) = Command::parse(entry.data.clone())
            && level > self.level
        {
            if (self.level + 1..=level).contains(&CONDITIONS_LEVEL) {
                self.level_index = LogIndex(entry.index);
                state = state.wrapping_add(raise_versions(&mut self.data, |_| true, self.level_index));
            }
            self.level = level;
        }
        for (write, version) in effective_writes(entry) {
            let (told, changed) = self.apply(&write, version);
            state = state.wrapping_add(changed);
            let Some(call) = call_of(&write) else { continue };
            calls.push(call);
            if let Some(before) = self.calls.insert(call, Outcome { version, told }) {
                let before = before.version.index();
                return Err(format!("call {call} took effect at {before} and again at {}", entry.index));
            }
        }
        self.places.push(Place { term: entry.term, state });
        Ok(calls)
    }

    /// Applies a write: what is told about it, and the change of the digest.
    fn apply(&mut self, write: &Write, version: Version) -> (Result<Effects, Refusal>, u64) {
        if write.is_conditional() && self.level < CONDITIONS_LEVEL {
            return (Err(Refusal { code: Code::Unsupported, precondition: None }), 0);
        }
        if write.is_conditional() {
            return decide(&mut self.data, write, version);
        }
        let version = shown_version(self.level, version);
        let changes = write.operations().map(|operation| operation.as_change().expect("a plain write"));
        let changed = changes.map(|change| carry_out(&mut self.data, change, version));
        (Ok(Effects::default()), changed.fold(0, u64::wrapping_add))
    }

    fn place(&self, index: u64) -> Option<&Place> {
        self.places.get(index.checked_sub(BOOTSTRAP_INDEX.get())? as usize)
    }
}

/// The writes of an entry that are not refused on apply. Those that are count in the versions of the others.
fn effective_writes(entry: &Entry) -> Vec<(Write, Version)> {
    if entry.get_entry_type() != EntryType::EntryNormal || entry.data.is_empty() {
        return Vec::new();
    }
    let writes = match Command::parse(entry.data.clone()).expect("members append readable commands") {
        Command::Write(write) => vec![write],
        Command::Group(writes) => writes,
        Command::Truncate(_) | Command::Level(_) | Command::Members(_) | Command::Settled(_) => Vec::new(),
    };
    let numbered = writes.into_iter().zip(0..=u16::MAX);
    numbered
        .filter(|(write, _)| write.epoch_version() == BOOTSTRAP_EPOCH.version)
        .map(|(write, ordinal)| (write, Version::of(LogIndex(entry.index), ordinal)))
        .collect()
}

/// The call that a write is of: by its mark, or by the numbers of the values that it puts.
fn call_of(write: &Write) -> Option<CallId> {
    let mut operations = write.operations();
    if write.is_conditional() {
        return operations.next().and_then(marked);
    }
    operations.find_map(|operation| match operation {
        Operation::Put { value, .. } => Some(call_of_number(number_of(value))),
        _ => None,
    })
}

/// A digest of an entry's content, independent of its index.
pub(crate) fn entry_digest(entry: &Entry) -> u64 {
    digest(&entry.data) ^ entry.entry_type as u64
}
