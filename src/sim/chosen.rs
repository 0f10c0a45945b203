//! The log that the members of a region have agreed on, and the state it produces.
//!
//! Owns the committed entries of one region as recorded by the first member to commit each, a separate state machine
//! that applies them one by one, and the index of each call. What always holds: it only grows; of the members it knows
//! nothing but the entries they committed.

use std::collections::BTreeMap;

use raft::eraftpb::{Entry, EntryType};

use crate::core::applied_write::AppliedWrite;
use crate::core::change::Change;
use crate::core::command::Command;
use crate::sim::disk::{Data, carry_out, digest};
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, LogIndex, Version};

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
    calls: BTreeMap<CallId, Version>,
}

impl Default for Chosen {
    fn default() -> Self {
        let places = vec![Place { term: BOOTSTRAP_TERM.get(), state: 0 }];
        Self { places, data: Data::new(), calls: BTreeMap::new() }
    }
}

impl Chosen {
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

    /// Index at which a call took effect.
    pub(crate) fn index_of(&self, call: CallId) -> Option<u64> {
        self.version_of(call).map(|version| version.index().get())
    }

    /// The version of what a call that took effect set.
    pub(crate) fn version_of(&self, call: CallId) -> Option<Version> {
        self.calls.get(&call).copied()
    }

    /// The data after the last chosen entry.
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// Appends the next entry; returns the calls that take effect with it.
    ///
    /// # Errors
    /// When a call takes effect a second time.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<Vec<CallId>, String> {
        assert_eq!(entry.index, self.last() + 1, "entries are chosen in turn");
        let mut state = self.places.last().expect("it begins with one").state;
        let mut calls = Vec::new();
        for write in effective_writes(entry) {
            for change in write.changes() {
                if let Change::Put { value, .. } = change {
                    calls.push(((number_of(value) >> OPERATION_BITS) as CallId, write.version()));
                }
                state = state.wrapping_add(carry_out(&mut self.data, change, write.version()));
            }
        }
        calls.dedup();
        self.places.push(Place { term: entry.term, state });
        for &(call, version) in &calls {
            if let Some(before) = self.calls.insert(call, version) {
                let before = before.index();
                return Err(format!("call {call} took effect at {before} and again at {}", entry.index));
            }
        }
        Ok(calls.into_iter().map(|(call, _)| call).collect())
    }

    fn place(&self, index: u64) -> Option<&Place> {
        self.places.get(index.checked_sub(BOOTSTRAP_INDEX.get())? as usize)
    }
}

/// The writes of an entry that are not refused on apply. Those that are count in the versions of the others.
fn effective_writes(entry: &Entry) -> Vec<AppliedWrite> {
    if entry.get_entry_type() != EntryType::EntryNormal || entry.data.is_empty() {
        return Vec::new();
    }
    let writes = match Command::parse(entry.data.clone()).expect("members append readable commands") {
        Command::Write(write) => vec![write],
        Command::Group(writes) => writes,
        Command::Truncate(_) => Vec::new(),
    };
    let numbered = writes.into_iter().zip(0..=u16::MAX);
    numbered
        .filter(|(write, _)| write.epoch_version() == BOOTSTRAP_EPOCH.version)
        .map(|(write, ordinal)| AppliedWrite::plain(write, Version::of(LogIndex(entry.index), ordinal)))
        .collect()
}

/// A digest of an entry's content, independent of its index.
pub(crate) fn entry_digest(entry: &Entry) -> u64 {
    digest(&entry.data) ^ entry.entry_type as u64
}
