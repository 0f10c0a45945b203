//! The fuzzer's door to commands.
//!
//! Owns the translation of arbitrary bytes into entries of a log, and the check of what the applier makes of them. What
//! must hold, for any data in any entry: the applier refuses with `CORRUPTION` or `INCOMPATIBLE_FORMAT` and does nothing,
//! or carries the entry out; each write of it answers one requester; what it does can be encoded again and means the
//! same; nothing panics.
//!
//! The first byte chooses how far the input gets by itself: entries of raw data, or commands built from a list of
//! operations, alone or in a group, before some of their bits are flipped.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use crate::core::applier::{Applier, ApplyBatch, ApplyTask, Slice};
use crate::core::command::{Command, CommandBuilder, Operation, Write, seal_group, seal_truncate};
use crate::core::forwarding::RequestId;
use crate::core::proposals::{CommittedProposal, Requester};
use crate::core::region::Region;
use crate::error::Code;
use crate::types::{ApplyState, BOOTSTRAP_EPOCH, LogIndex, NodeId};

/// Requesters that wait for each entry, whether or not it has so many writes.
const REQUESTERS: u64 = 3;

/// Applies entries made of `data` and checks what must hold.
///
/// # Panics
/// When it does not hold.
pub fn fuzz_commands(data: &[u8]) {
    let Some((way, rest)) = data.split_first() else { return };
    let mut input = Input { rest };
    let entries = match way % 3 {
        0 => vec![(EntryType::EntryNormal, Bytes::copy_from_slice(rest))],
        1 => raw_entries(&mut input),
        _ => vec![(EntryType::EntryNormal, built(&mut input))],
    };
    for (_, data) in &entries {
        if let Ok(command) = Command::parse(data.clone()) {
            means_the_same(&command);
        }
    }
    apply(entries);
}

/// Entries of a type and of data behind its length (u16).
fn raw_entries(input: &mut Input<'_>) -> Vec<(EntryType, Bytes)> {
    let mut entries = Vec::new();
    while let Some(kind) = input.byte() {
        let types = [EntryType::EntryNormal, EntryType::EntryConfChangeV2, EntryType::EntryConfChange];
        let length = usize::from(input.byte().unwrap_or(0)) | usize::from(input.byte().unwrap_or(0)) << 8;
        entries.push((types[usize::from(kind) % 3], Bytes::copy_from_slice(input.take(length))));
    }
    entries
}

/// A command of operations (tag, key, value), each behind its length; tags beyond them seal what came so far into a
/// group, end the list with a truncation, or end it with flips (place u8, bit u8).
fn built(input: &mut Input<'_>) -> Bytes {
    let (mut builder, mut writes) = (CommandBuilder::default(), Vec::new());
    let mut wanted = Vec::new();
    let mut truncation = None;
    while let Some(tag) = input.byte() {
        match tag % 8 {
            7 => break,
            6 => truncation = Some(LogIndex(u64::from(input.byte().unwrap_or(0)))),
            5 => {
                let epoch = u64::from(input.byte().unwrap_or(1) % 3);
                writes.push(std::mem::take(&mut builder).seal(epoch));
            }
            tag => {
                let (first, second) = (input.bytes(), input.bytes());
                let operation = match tag {
                    0 | 1 => Operation::Put { key: first, value: second },
                    2 => Operation::Delete { key: first },
                    _ => Operation::DeleteRange { begin: first, end: second },
                };
                builder.push(operation);
                wanted.push(owned(operation));
            }
        }
    }
    writes.push(builder.seal(BOOTSTRAP_EPOCH.version));
    let sealed = match truncation {
        Some(index) => seal_truncate(index, BOOTSTRAP_EPOCH.version),
        None if writes.len() == 1 => writes.remove(0),
        None => seal_group(writes.iter()),
    };
    let command = Command::parse(sealed.clone()).expect("what was sealed can be read");
    if truncation.is_none() {
        assert_eq!(operations_of(&command), wanted, "a command says what it was told");
    }
    flipped(&sealed, input)
}

fn flipped(sealed: &[u8], input: &mut Input<'_>) -> Bytes {
    let mut bytes = sealed.to_vec();
    while let (Some(place), Some(bit)) = (input.byte(), input.byte()) {
        let at = usize::from(place) % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
    }
    bytes.into()
}

/// Encoded again it may have other bytes, but not another meaning.
fn means_the_same(command: &Command) {
    let again = match command {
        Command::Truncate(index) => seal_truncate(*index, 0),
        Command::Write(write) => rebuilt(write),
        Command::Group(writes) => seal_group(writes.iter().map(rebuilt).collect::<Vec<_>>().iter()),
    };
    let again = Command::parse(again).expect("what was sealed can be read");
    assert_eq!(operations_of(&again), operations_of(command), "the same operations");
    match (command, &again) {
        (Command::Truncate(before), Command::Truncate(after)) => assert_eq!(before, after),
        (Command::Write(before), Command::Write(after)) => {
            assert_eq!(before.epoch_version(), after.epoch_version());
        }
        (Command::Group(before), Command::Group(after)) => {
            assert!(before.iter().map(Write::epoch_version).eq(after.iter().map(Write::epoch_version)));
        }
        _ => panic!("another kind of command: {command:?} became {again:?}"),
    }
}

fn rebuilt(write: &Write) -> Bytes {
    let mut builder = CommandBuilder::default();
    write.operations().for_each(|operation| builder.push(operation));
    let again = builder.seal(write.epoch_version());
    assert!(again.len() <= write.encoded_bytes(), "our own encoding is the shortest");
    again
}

type Owned = (u8, Vec<u8>, Vec<u8>);

fn owned(operation: Operation<'_>) -> Owned {
    match operation {
        Operation::Put { key, value } => (1, key.to_vec(), value.to_vec()),
        Operation::Delete { key } => (2, key.to_vec(), Vec::new()),
        Operation::DeleteRange { begin, end } => (3, begin.to_vec(), end.to_vec()),
    }
}

fn operations_of(command: &Command) -> Vec<Owned> {
    match command {
        Command::Truncate(_) => Vec::new(),
        Command::Write(write) => write.operations().map(owned).collect(),
        Command::Group(writes) => writes.iter().flat_map(|write| write.operations().map(owned)).collect(),
    }
}

fn apply(entries: Vec<(EntryType, Bytes)>) {
    let region = Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)]);
    let (id, state) = (region.id, ApplyState::BOOTSTRAP);
    let mut applier = Applier::new(region, state);
    let (first, count) = (state.index.get() + 1, entries.len() as u64);
    let answered: u64 = entries.iter().map(|(kind, data)| REQUESTERS.min(writes_of(*kind, data))).sum();
    let entries = entries.into_iter().zip(first..).map(|((kind, data), index)| {
        let mut entry = Entry { index, term: state.term.get(), data, ..Entry::default() };
        entry.set_entry_type(kind);
        entry
    });
    let proposals = (first..first + count).map(waiting).collect();
    applier.queue(ApplyTask { region: id, entries: entries.collect(), proposals });

    let mut batch = ApplyBatch::default();
    match applier.fill(&mut batch, Slice { entries: usize::MAX, bytes: usize::MAX }) {
        Ok(_) => {
            let reports = || batch.reports.iter();
            let told = reports().map(|report| report.forwarded.len() as u64).sum::<u64>();
            assert_eq!(told, answered, "each write answers who waits for it");
            assert!(reports().all(|report| report.state.index.get() == first + count - 1));
        }
        Err(error) => {
            let refused = matches!(error.code(), Code::Corruption | Code::IncompatibleFormat);
            assert!(refused, "an entry that cannot be read stops the state machine: {error:?}");
        }
    }
}

fn writes_of(kind: EntryType, data: &Bytes) -> u64 {
    match Command::parse(data.clone()) {
        Ok(Command::Group(writes)) if kind == EntryType::EntryNormal => writes.len() as u64,
        Ok(Command::Truncate(_)) if kind == EntryType::EntryNormal => 0,
        _ => 1,
    }
}

fn waiting(index: u64) -> CommittedProposal {
    let request = |number| RequestId { node: NodeId(2), boot_nonce: 1, session: 1, number };
    let requesters = (0..REQUESTERS).map(|number| Some(Requester::Follower(request(number)))).collect();
    CommittedProposal { index: LogIndex(index), requesters }
}

/// What is left of the input.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(length));
        self.rest = rest;
        taken
    }

    /// Bytes behind their length.
    fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte().unwrap_or(0);
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::replay;

    #[test]
    fn the_corpus_of_commands_and_mutations_of_it_hold() {
        replay("commands", 20_000, fuzz_commands);
    }
}
