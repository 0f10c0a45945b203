//! Items: the contents of a frame's body.
//!
//! Owns the encoding of everything the log records, and its parser. What always holds: parsing never panics
//! and never allocates, whatever the bytes are; the indexes of a parsed item can be incremented without
//! overflow. The effect of an item on a region's log is left to [`super::index`].
//!
//! ```text
//! 1 entries    region, first index, term (varints) | count u32 | bytes u32 | entries of one term
//! 2 rewritten  the same; the entries replace nothing, only their position changes
//! 3 state      region, term, vote, commit, truncated index, truncated term (varints)
//! 4 reset      the same; every entry the log had is gone
//! 5 removal    region (varint)
//! 6 oldest     segment (varint): no segment before this one is needed any more
//! 0            padding up to the end
//! entry        type u8 (bits 0-1 type, 2 has a context, 3 sync_log) | varint, data | [varint, context]
//! ```

use raft::eraftpb::{Entry, EntryType, HardState};

use crate::types::{LogIndex, RegionId, Term};
use crate::varint::{self, Reader};

const PADDING: u8 = 0;
const ENTRIES: u8 = 1;
const REWRITTEN: u8 = 2;
const STATE: u8 = 3;
const RESET: u8 = 4;
const REMOVAL: u8 = 5;
const OLDEST: u8 = 6;

const TYPE_BITS: u8 = 0b0011;
const HAS_CONTEXT: u8 = 0b0100;
const SYNC_LOG: u8 = 0b1000;

/// The longest encoding of an item without its entries: a kind, six varints and two fixed numbers.
pub(super) const ITEM_OVERHEAD_BYTES: usize = 1 + 6 * 10 + 8;
/// The longest encoding of an entry without its data and context.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 1 + 2 * 10;
/// An empty entry has a type and a length.
const ENTRY_BYTES_MIN: u64 = 2;

/// All of a region's log except its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RegionState {
    /// The hard state's term.
    pub term: u64,
    /// The hard state's vote.
    pub vote: u64,
    /// The hard state's commit index.
    pub commit: u64,
    /// The entry right before the first one.
    pub truncated: (LogIndex, Term),
}

impl RegionState {
    /// Sets the raft hard state.
    pub(super) fn set_hard_state(&mut self, hard_state: &HardState) {
        (self.term, self.vote, self.commit) = (hard_state.term, hard_state.vote, hard_state.commit);
    }

    /// The raft hard state.
    pub(super) fn hard_state(&self) -> HardState {
        let mut hard_state = HardState::default();
        (hard_state.term, hard_state.vote, hard_state.commit) = (self.term, self.vote, self.commit);
        hard_state
    }
}

/// Consecutive entries of one region and one term, as encoded in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub region: RegionId,
    pub first: LogIndex,
    pub last: LogIndex,
    pub term: Term,
    encoded: &'a [u8],
}

/// One record of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// Replaces what the log has from the run's first index on.
    Entries(Run<'a>),
    /// Repeats entries the log has, so that their old position can be freed.
    Rewritten(Run<'a>),
    /// Replaces the state; entries up to the truncated index are gone.
    State(RegionId, RegionState),
    /// Replaces the state; all entries are gone.
    Reset(RegionId, RegionState),
    /// The region is gone.
    Removal(RegionId),
    /// Segments before this one are not needed.
    Oldest(u64),
}

/// A frame that passed its checksum has content that this version cannot have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// An entry as encoded in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EncodedEntry<'a> {
    pub entry_type: EntryType,
    pub sync_log: bool,
    pub data: &'a [u8],
    pub context: &'a [u8],
}

/// Appends `entries`, which are consecutive, as one item per term.
pub(super) fn put_entries(frame: &mut Vec<u8>, region: RegionId, entries: &[Entry]) {
    put_runs(frame, ENTRIES, region, entries);
}

/// Appends `entries` again, for their new position.
pub(super) fn put_rewritten(frame: &mut Vec<u8>, region: RegionId, entries: &[Entry]) {
    put_runs(frame, REWRITTEN, region, entries);
}

/// Appends a state that keeps the entries after its truncated index.
pub(super) fn put_state(frame: &mut Vec<u8>, region: RegionId, state: &RegionState) {
    put_state_as(frame, STATE, region, state);
}

/// Appends a state of a log without entries.
pub(super) fn put_reset(frame: &mut Vec<u8>, region: RegionId, state: &RegionState) {
    put_state_as(frame, RESET, region, state);
}

/// Appends the removal of a region.
pub(super) fn put_removal(frame: &mut Vec<u8>, region: RegionId) {
    frame.push(REMOVAL);
    varint::put(frame, region.get());
}

/// Appends the number of the oldest segment still needed.
pub(super) fn put_oldest(frame: &mut Vec<u8>, segment: u64) {
    frame.push(OLDEST);
    varint::put(frame, segment);
}

fn put_runs(frame: &mut Vec<u8>, kind: u8, region: RegionId, entries: &[Entry]) {
    for run in entries.chunk_by(|one, next| one.term == next.term) {
        frame.push(kind);
        for number in [region.get(), run[0].index, run[0].term] {
            varint::put(frame, number);
        }
        let count = u32::try_from(run.len()).expect("a frame is shorter than 2^30 bytes");
        frame.extend_from_slice(&count.to_le_bytes());
        let length_at = frame.len();
        frame.extend_from_slice(&[0; 4]);
        run.iter().for_each(|entry| put_entry(frame, entry));
        let bytes = u32::try_from(frame.len() - length_at - 4).expect("a frame is shorter than 2^30 bytes");
        frame[length_at..length_at + 4].copy_from_slice(&bytes.to_le_bytes());
    }
}

fn put_entry(frame: &mut Vec<u8>, entry: &Entry) {
    let mut tag = entry.entry_type as u8;
    if !entry.context.is_empty() {
        tag |= HAS_CONTEXT;
    }
    if entry.sync_log {
        tag |= SYNC_LOG;
    }
    frame.push(tag);
    varint::put(frame, entry.data.len() as u64);
    frame.extend_from_slice(&entry.data);
    if !entry.context.is_empty() {
        varint::put(frame, entry.context.len() as u64);
        frame.extend_from_slice(&entry.context);
    }
}

fn put_state_as(frame: &mut Vec<u8>, kind: u8, region: RegionId, state: &RegionState) {
    frame.push(kind);
    let (index, term) = state.truncated;
    for number in [region.get(), state.term, state.vote, state.commit, index.get(), term.get()] {
        varint::put(frame, number);
    }
}

/// The items of a frame's body, in order. Ends at the padding, or after the first malformed item.
pub(super) fn items(body: &[u8]) -> impl Iterator<Item = Result<Item<'_>, Malformed>> {
    let mut reader = Reader::new(body);
    std::iter::from_fn(move || {
        let kind = reader.byte()?;
        if kind == PADDING {
            let clean = reader.take(reader.rest().len() as u64)?.iter().all(|byte| *byte == 0);
            return (!clean).then_some(Err(Malformed));
        }
        let item = item(kind, &mut reader).ok_or(Malformed);
        if item.is_err() {
            reader = Reader::new(&[]);
        }
        Some(item)
    })
}

fn item<'a>(kind: u8, reader: &mut Reader<'a>) -> Option<Item<'a>> {
    Some(match kind {
        ENTRIES => Item::Entries(run(reader)?),
        REWRITTEN => Item::Rewritten(run(reader)?),
        STATE => Item::State(RegionId(reader.varint()?), state(reader)?),
        RESET => Item::Reset(RegionId(reader.varint()?), state(reader)?),
        REMOVAL => Item::Removal(RegionId(reader.varint()?)),
        OLDEST => Item::Oldest(reader.varint()?),
        _ => return None,
    })
}

fn run<'a>(reader: &mut Reader<'a>) -> Option<Run<'a>> {
    let region = RegionId(reader.varint()?);
    let first = reader.varint()?;
    let term = Term(reader.varint()?);
    let count = u64::from(reader.fixed_u32()?);
    let bytes = u64::from(reader.fixed_u32()?);
    let encoded = reader.take(bytes)?;
    // `last + 1` must not overflow, and index 0 is the empty log's dummy entry.
    let possible = first > 0 && count > 0 && count * ENTRY_BYTES_MIN <= bytes;
    let last = first.checked_add(count).filter(|_| possible)? - 1;
    Some(Run { region, first: LogIndex(first), last: LogIndex(last), term, encoded })
}

fn state(reader: &mut Reader<'_>) -> Option<RegionState> {
    let [term, vote, commit] = [reader.varint()?, reader.varint()?, reader.varint()?];
    let truncated = (LogIndex(reader.varint()?), Term(reader.varint()?));
    (truncated.0.get() < u64::MAX).then_some(RegionState { term, vote, commit, truncated })
}

impl<'a> Run<'a> {
    /// Bytes the entries take in the frame.
    pub(super) fn bytes(&self) -> u32 {
        u32::try_from(self.encoded.len()).expect("its length was parsed from 32 bits")
    }

    /// The entries in order, with their indexes.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<(LogIndex, EncodedEntry<'a>), Malformed>> {
        let mut reader = Reader::new(self.encoded);
        (self.first.get()..=self.last.get())
            .map(move |index| Ok((LogIndex(index), entry(&mut reader).ok_or(Malformed)?)))
    }

    /// Checks every entry, and that nothing is left over.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let mut reader = Reader::new(self.encoded);
        for _ in self.first.get()..=self.last.get() {
            entry(&mut reader).ok_or(Malformed)?;
        }
        if reader.rest().is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

fn entry<'a>(reader: &mut Reader<'a>) -> Option<EncodedEntry<'a>> {
    let tag = reader.byte()?;
    let entry_type = match tag & TYPE_BITS {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return None,
    };
    if tag & !(TYPE_BITS | HAS_CONTEXT | SYNC_LOG) != 0 {
        return None;
    }
    let length = reader.varint()?;
    let data = reader.take(length)?;
    let context = if tag & HAS_CONTEXT == 0 {
        &[]
    } else {
        let length = reader.varint()?;
        reader.take(length)?
    };
    Some(EncodedEntry { entry_type, sync_log: tag & SYNC_LOG != 0, data, context })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raft_entry(index: u64, term: u64, data: Vec<u8>, context: Vec<u8>, kind: u8) -> Entry {
        let types = [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];
        let mut entry = Entry { index, term, data: data.into(), context: context.into(), ..Entry::default() };
        entry.entry_type = types[usize::from(kind % 3)];
        entry.sync_log = kind >= 3;
        entry
    }

    fn decoded(run: &Run<'_>) -> Vec<Entry> {
        let entry = |item: Result<(LogIndex, EncodedEntry<'_>), Malformed>| {
            let (index, encoded) = item.unwrap();
            let mut entry = raft_entry(index.0, run.term.0, encoded.data.into(), encoded.context.into(), 0);
            (entry.entry_type, entry.sync_log) = (encoded.entry_type, encoded.sync_log);
            entry
        };
        run.entries().map(entry).collect()
    }

    fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        let content = (bytes(), bytes(), 0..2u64, 0..6u8);
        (1..1000u64, prop::collection::vec(content, 1..10)).prop_map(|(first, contents)| {
            let mut term = 1;
            let with_index = contents.into_iter().zip(first..);
            with_index
                .map(|((data, context, step, kind), index)| {
                    term += step;
                    raft_entry(index, term, data, context, kind)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn entries_survive_the_round_trip_one_run_a_term(entries in any_entries()) {
            let mut frame = Vec::new();
            put_entries(&mut frame, RegionId(7), &entries);
            frame.extend_from_slice(&[0; 7]);

            let mut back = Vec::new();
            for item in items(&frame) {
                let Ok(Item::Entries(run)) = item else { panic!("{item:?}") };
                prop_assert_eq!(run.check(), Ok(()));
                prop_assert_eq!(run.region, RegionId(7));
                back.extend(decoded(&run));
            }
            prop_assert_eq!(back, entries);
        }

        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(0..8u8, 0..100)) {
            for item in items(&bytes) {
                if let Ok(Item::Entries(run) | Item::Rewritten(run)) = item {
                    let good = run.entries().filter(Result::is_ok).count() as u64;
                    prop_assert!(good <= run.last.get() - run.first.get() + 1);
                    if run.check().is_ok() {
                        prop_assert_eq!(good, run.last.get() - run.first.get() + 1);
                    }
                }
            }
        }
    }

    #[test]
    fn states_removals_and_the_oldest_segment_survive_the_round_trip() {
        let state = RegionState { term: 8, vote: 2, commit: 300, truncated: (LogIndex(250), Term(7)) };
        let mut frame = Vec::new();
        put_state(&mut frame, RegionId(1), &state);
        put_reset(&mut frame, RegionId(2), &state);
        put_removal(&mut frame, RegionId(3));
        put_oldest(&mut frame, 44);

        let back: Vec<_> = items(&frame).collect::<Result<_, _>>().unwrap();

        let expected = [
            Item::State(RegionId(1), state),
            Item::Reset(RegionId(2), state),
            Item::Removal(RegionId(3)),
            Item::Oldest(44),
        ];
        assert_eq!(back, expected);
    }

    #[test]
    fn an_unknown_item_ends_the_walk_with_an_error() {
        let mut frame = vec![99];
        put_removal(&mut frame, RegionId(3));

        assert_eq!(items(&frame).collect::<Vec<_>>(), [Err(Malformed)]);
    }

    #[test]
    fn bytes_after_the_padding_are_refused() {
        assert_eq!(items(&[0, 0, 1, 0]).collect::<Vec<_>>(), [Err(Malformed)]);
    }

    #[test]
    fn a_run_that_claims_more_entries_than_its_bytes_can_hold_is_refused() {
        let mut frame = Vec::new();
        put_entries(&mut frame, RegionId(1), &[raft_entry(1, 1, vec![], vec![], 0)]);
        frame[4..8].copy_from_slice(&u32::MAX.to_le_bytes());

        assert_eq!(items(&frame).next(), Some(Err(Malformed)));
    }

    #[test]
    fn the_last_possible_indexes_are_refused() {
        for index in [u64::MAX, u64::MAX - 1] {
            let mut frame = Vec::new();
            put_entries(&mut frame, RegionId(1), &[raft_entry(index, 1, vec![], vec![], 0)]);
            assert_eq!(items(&frame).next().unwrap().is_ok(), index < u64::MAX);
        }
    }
}
