//! The log store compared with the simplest possible model: a map for each region.
//!
//! Owns the model, the scripts that are played to both, and the comparison. Also used by the crash tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use raft::eraftpb::{Entry, EntryType, HardState};

use super::files::Files;
use super::simulated_files::SimulatedFiles;
use super::{LogOptions, LogStore, RecoveredLog};
use crate::core::ports::{LogReader, LogWrite};
use crate::error::{Code, Result};
use crate::types::{LogIndex, RegionId, Term};

/// Small limits: segments are full after a few writes, and entries are rewritten in small portions.
pub(super) fn tiny() -> LogOptions {
    LogOptions {
        segment_bytes: 8 << 10,
        spares_max: 2,
        rewrite_above_segments: 2,
        rewrite_bytes_per_append: 1 << 10,
        unmarked_frames_max: 5,
    }
}

/// One call of a script, relative to the state of the log, so that it makes sense in any state.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Append(Vec<Plan>),
    Remove(u64),
}

/// A write of one region, relative to what its log holds.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    region: u64,
    sets_hard_state: bool,
    truncation: Truncation,
    overwritten: u64,
    sizes: Vec<usize>,
    new_term: bool,
}

#[derive(Clone, Copy, Debug)]
enum Truncation {
    None,
    /// Keeps at most this many entries.
    KeepLast(u64),
    /// Replaces the log, as after a raft snapshot: this far past its end, or inside it with another term.
    Replace(i64),
}

pub(super) fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => prop::collection::vec(any_plan(), 1..4).prop_map(Call::Append),
        1 => (1..4u64).prop_map(Call::Remove),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let truncation = prop_oneof![
        5 => Just(Truncation::None),
        4 => (0..6u64).prop_map(Truncation::KeepLast),
        1 => (-3..3i64).prop_map(Truncation::Replace),
    ];
    let size = prop_oneof![8 => 0..300usize, 2 => 300..1500usize, 1 => Just(5000)];
    let overwritten = prop_oneof![3 => Just(0), 1 => 1..5u64];
    // Region 3 is mostly idle, so that its entries and its state grow old.
    let region = prop_oneof![6 => Just(1), 3 => Just(2), 1 => Just(3)];
    let sizes = prop::collection::vec(size, 0..5);
    (region, any::<bool>(), truncation, overwritten, sizes, any::<bool>()).prop_map(
        |(region, sets_hard_state, truncation, overwritten, sizes, new_term)| Plan {
            region,
            sets_hard_state,
            truncation,
            overwritten,
            sizes,
            new_term,
        },
    )
}

/// The expected contents of a log store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    regions: BTreeMap<RegionId, ModelLog>,
    /// Counts writes, so that no two entries are equal.
    writes: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelLog {
    hard_state: HardState,
    truncated: (u64, u64),
    entries: BTreeMap<u64, Entry>,
}

/// Everything that can be observed of a log: what open returns and what reading returns.
pub(super) type Seen = Vec<(RecoveredLog, Vec<Entry>)>;

impl ModelLog {
    fn last(&self) -> (u64, u64) {
        self.entries.last_key_value().map_or(self.truncated, |(index, entry)| (*index, entry.term))
    }

    fn truncate(&mut self, index: u64, term: u64) {
        let known = if index == self.truncated.0 { Some(self.truncated.1) } else { None };
        let known = known.or(self.entries.get(&index).map(|entry| entry.term));
        self.entries =
            if known == Some(term) { self.entries.split_off(&(index + 1)) } else { BTreeMap::new() };
        self.truncated = (index, term);
    }
}

impl Model {
    pub(super) fn seen(&self) -> Seen {
        let newtype = |(index, term)| (LogIndex(index), Term(term));
        let log = |(region, log): (&RegionId, &ModelLog)| {
            let recovered = RecoveredLog {
                region: *region,
                hard_state: log.hard_state.clone(),
                truncated: newtype(log.truncated),
                last: newtype(log.last()),
                lost_end: None,
            };
            (recovered, log.entries.values().cloned().collect())
        };
        self.regions.iter().map(log).collect()
    }

    /// Applies `call` to both the model and `store`.
    pub(super) fn play(&mut self, call: &Call, store: &LogStore) -> Result<()> {
        match call {
            Call::Append(plans) => {
                let writes = self.writes(plans);
                let result = store.append(&writes);
                writes.iter().for_each(|write| self.apply(write));
                result
            }
            Call::Remove(region) => {
                self.regions.remove(&RegionId(*region));
                store.remove(RegionId(*region))
            }
        }
    }

    fn writes(&mut self, plans: &[Plan]) -> Vec<LogWrite> {
        let mut writes: Vec<LogWrite> = Vec::new();
        for plan in plans {
            if writes.iter().all(|write| write.region.get() != plan.region) {
                writes.push(self.write(plan));
            }
        }
        writes
    }

    fn write(&mut self, plan: &Plan) -> LogWrite {
        self.writes += 1;
        let mut log = self.regions.get(&RegionId(plan.region)).cloned().unwrap_or_default();
        let mut write = LogWrite::new(RegionId(plan.region));
        write.truncate_to = truncation(&log, plan.truncation);
        if let Some((index, term)) = write.truncate_to {
            log.truncate(index.get(), term.get());
        }
        let (last, last_term) = log.last();
        let first = (log.truncated.0 + 1).max((last + 1).saturating_sub(plan.overwritten));
        let term = last_term.max(1) + u64::from(plan.new_term);
        let entry = |(size, index)| model_entry(index, term, size, self.writes);
        write.entries = plan.sizes.iter().copied().zip(first..).map(entry).collect();
        write.hard_state = plan.sets_hard_state.then(|| hard_state(term, self.writes, last));
        write
    }

    fn apply(&mut self, write: &LogWrite) {
        if write.is_empty() {
            return;
        }
        let log = self.regions.entry(write.region).or_default();
        if let Some(hard_state) = &write.hard_state {
            log.hard_state = hard_state.clone();
        }
        if let Some((index, term)) = write.truncate_to {
            log.truncate(index.get(), term.get());
        }
        if let Some(first) = write.entries.first() {
            log.entries.split_off(&first.index);
        }
        log.entries.extend(write.entries.iter().map(|entry| (entry.index, entry.clone())));
    }
}

fn truncation(log: &ModelLog, truncation: Truncation) -> Option<(LogIndex, Term)> {
    let (last, last_term) = log.last();
    match truncation {
        Truncation::None => None,
        Truncation::KeepLast(count) => {
            let index = last.saturating_sub(count).max(log.truncated.0);
            let term = log.entries.get(&index).map_or(log.truncated.1, |entry| entry.term);
            Some((LogIndex(index), Term(term)))
        }
        Truncation::Replace(ahead) => {
            let index = last.saturating_add_signed(ahead).max(log.truncated.0);
            Some((LogIndex(index), Term(last_term + 1)))
        }
    }
}

fn model_entry(index: u64, term: u64, size: usize, write: u64) -> Entry {
    let mut entry = Entry { index, term, ..Entry::default() };
    let byte = |at: usize| (write >> (8 * (at % 8))) as u8 ^ at as u8;
    entry.data = (0..size).map(byte).collect::<Vec<u8>>().into();
    if write.is_multiple_of(5) {
        entry.context = vec![1; size % 7].into();
        entry.entry_type = EntryType::EntryConfChangeV2;
    }
    entry
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    let mut hard_state = HardState::default();
    (hard_state.term, hard_state.vote, hard_state.commit) = (term, vote, commit);
    hard_state
}

/// Reads all of `logs` from `store`.
pub(super) fn read_all(store: &LogStore, logs: Vec<RecoveredLog>) -> Seen {
    let read = |log: RecoveredLog| {
        let entries = store.read(log.region, log.truncated.0.next(), log.last.0.next(), u64::MAX).unwrap();
        (log, entries)
    };
    logs.into_iter().map(read).collect()
}

/// Opens the log in `files` and reads all of it.
pub(super) fn open_and_read(files: Arc<dyn Files>) -> (LogStore, Seen) {
    let (store, logs) = LogStore::open_with(files, tiny()).unwrap();
    let seen = read_all(&store, logs);
    (store, seen)
}

fn check_terms_and_parts(store: &LogStore, seen: &Seen) {
    for (log, entries) in seen {
        assert_eq!(store.term(log.region, log.truncated.0).unwrap(), log.truncated.1);
        assert_eq!(store.term(log.region, log.last.0.next()).unwrap_err().code(), Code::Internal);
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(store.term(log.region, LogIndex(entry.index)).unwrap(), Term(entry.term));
            let limit = 700 * at as u64;
            let part = store.read(log.region, LogIndex(entry.index), log.last.0.next(), limit).unwrap();
            assert_eq!(part, entries[at..at + part.len()]);
            let size = |entries: &[Entry]| {
                entries.iter().map(|e| u64::from(protobuf::Message::compute_size(e))).sum()
            };
            let all_but_last: u64 = size(&part[..part.len() - 1]);
            let all: u64 = size(&part);
            assert!(part.len() == 1 || all_but_last < limit);
            assert!(all >= limit || at + part.len() == entries.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn the_store_holds_what_the_model_holds(
        calls in prop::collection::vec((any_call(), prop::bool::weighted(0.1)), 1..80),
    ) {
        let files = SimulatedFiles::new();
        let (mut store, mut model) = (open_and_read(files.clone()).0, Model::default());
        for (call, reopens) in &calls {
            model.play(call, &store).unwrap();
            if *reopens {
                drop(store);
                let seen;
                (store, seen) = open_and_read(files.clone());
                prop_assert_eq!(&seen, &model.seen());
            }
            let logs = model.seen().into_iter().map(|(log, _)| log).collect();
            prop_assert_eq!(read_all(&store, logs), model.seen());
        }
        check_terms_and_parts(&store, &model.seen());
        let seen = open_and_read(files.after_power_loss(super::simulated_files::Survival::Nothing)).1;
        prop_assert_eq!(seen, model.seen());
    }
}

fn write(region: u64, entries: impl IntoIterator<Item = (u64, u64, usize)>) -> LogWrite {
    let entry = |(index, term, size)| model_entry(index, term, size, 1);
    LogWrite { entries: entries.into_iter().map(entry).collect(), ..LogWrite::new(RegionId(region)) }
}

fn refused(store: &LogStore, writes: &[LogWrite]) -> Code {
    let before = store.stats();
    let code = store.append(writes).unwrap_err().code();
    assert_eq!(store.stats(), before, "nothing was written");
    code
}

#[test]
fn a_write_that_does_not_continue_the_log_is_refused_without_effect() {
    let (store, _) = open_and_read(SimulatedFiles::new());
    let truncation = LogWrite { truncate_to: Some((LogIndex(5), Term(5))), ..LogWrite::new(RegionId(1)) };
    store.append(&[truncation]).unwrap();

    assert_eq!(refused(&store, &[write(1, [(5, 5, 1)])]), Code::Internal);
    assert_eq!(refused(&store, &[write(1, [(7, 5, 1)])]), Code::Internal);
    assert_eq!(refused(&store, &[write(1, [(6, 5, 1), (8, 5, 1)])]), Code::Internal);
    assert_eq!(refused(&store, &[write(2, [(2, 5, 1)])]), Code::Internal);
    assert_eq!(refused(&store, &[write(1, [(6, 5, 1)]), write(1, [(7, 5, 1)])]), Code::Internal);

    store.append(&[write(1, [(6, 5, 1), (7, 5, 1)])]).unwrap();
    assert_eq!(store.term(RegionId(1), LogIndex(7)).unwrap(), Term(5));
}

#[test]
fn nothing_to_write_writes_nothing() {
    let (store, _) = open_and_read(SimulatedFiles::new());
    let before = store.stats();

    store.append(&[]).unwrap();
    store.append(&[LogWrite::new(RegionId(1))]).unwrap();
    store.remove(RegionId(9)).unwrap();

    assert_eq!(store.stats(), before);
}

#[test]
fn one_append_is_one_sync_whatever_the_number_of_regions() {
    let (store, _) = open_and_read(SimulatedFiles::new());
    let before = store.stats();

    let writes: Vec<_> = (1..=20).map(|region| write(region, [(1, 1, 10), (2, 2, 10)])).collect();
    store.append(&writes).unwrap();

    let after = store.stats();
    assert_eq!((after.appends - before.appends, after.syncs - before.syncs), (1, 1));
}

#[test]
fn truncation_frees_segments_and_their_files_are_reused() {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    for index in 1..=100 {
        let mut write = write(1, [(index, 1, 1000)]);
        write.truncate_to = (index > 5).then(|| (LogIndex(index - 5), Term(1)));
        store.append(&[write]).unwrap();
    }

    let stats = store.stats();
    assert!(stats.segments <= 4, "{stats:?}");
    assert_eq!(stats.bytes, stats.segments as u64 * (8 << 10));
    assert!(files.files_created() <= 6, "{} files for 33 segments", files.files_created());
    assert_eq!(stats.rewritten_bytes, 0, "nothing lagged behind");
}

#[test]
fn a_lagging_region_does_not_retain_the_log_of_the_others() {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    let behind = write(2, [(1, 1, 300), (2, 1, 300), (3, 2, 300)]);
    store.append(std::slice::from_ref(&behind)).unwrap();
    for index in 1..=200 {
        let mut write = write(1, [(index, 1, 1000)]);
        write.truncate_to = (index > 1).then(|| (LogIndex(index - 1), Term(1)));
        store.append(&[write]).unwrap();
    }

    let stats = store.stats();
    assert!(stats.segments <= 7, "{stats:?}");
    assert!(stats.rewritten_bytes > 0, "{stats:?}");
    let (_, seen) = open_and_read(files);
    assert_eq!(seen[1].1, behind.entries);
}

#[test]
fn nothing_is_rewritten_while_everything_is_needed() {
    let (store, _) = open_and_read(SimulatedFiles::new());
    for index in 1..=200 {
        store.append(&[write(1, [(index, 1, 1000)])]).unwrap();
    }

    assert_eq!(store.stats().rewritten_bytes, 0);
    assert!(store.stats().live_bytes > 200_000);
}

#[test]
fn a_frame_longer_than_a_segment_gets_a_segment_of_its_own() {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    let large = write(1, [(1, 1, 3 << 20)]);

    store.append(std::slice::from_ref(&large)).unwrap();
    store.append(&[write(1, [(2, 1, 1)])]).unwrap();

    let (_, seen) = open_and_read(files.after_power_loss(super::simulated_files::Survival::Nothing));
    assert_eq!(seen[0].1[0], large.entries[0]);
    assert_eq!(seen[0].1.len(), 2);
}

#[test]
fn a_removed_region_is_forgotten_and_can_start_over() {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    store.append(&[write(1, [(1, 1, 1), (2, 1, 1)]), write(2, [(1, 1, 1)])]).unwrap();

    store.remove(RegionId(1)).unwrap();
    assert_eq!(store.term(RegionId(1), LogIndex(1)).unwrap_err().code(), Code::Internal);
    store.append(&[write(1, [(1, 9, 4)])]).unwrap();

    let (_, seen) = open_and_read(files.after_power_loss(super::simulated_files::Survival::Nothing));
    assert_eq!(seen[0].1, write(1, [(1, 9, 4)]).entries);
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_raft_snapshot_over_a_conflicting_log_replaces_all_of_it() {
    let files = SimulatedFiles::new();
    let (store, _) = open_and_read(files.clone());
    store.append(&[write(1, (1..=9).map(|index| (index, 1, 1)))]).unwrap();

    let install = LogWrite { truncate_to: Some((LogIndex(4), Term(3))), ..LogWrite::new(RegionId(1)) };
    store.append(&[install]).unwrap();

    let (_, seen) = open_and_read(files);
    assert_eq!(seen[0].0.last, (LogIndex(4), Term(3)));
    assert_eq!(seen[0].1, []);
}

#[test]
fn segments_of_another_length_are_read_and_then_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = LogStore::open(dir.path(), tiny()).unwrap();
    store.append(&[write(1, (1..=9).map(|index| (index, 1, 900)))]).unwrap();
    drop(store);

    let larger = LogOptions { segment_bytes: 32 << 10, ..tiny() };
    let (store, logs) = LogStore::open(dir.path(), larger).unwrap();
    assert_eq!(logs[0].last, (LogIndex(9), Term(1)));
    let mut all = write(1, (10..=40).map(|index| (index, 1, 900)));
    all.truncate_to = Some((LogIndex(9), Term(1)));
    store.append(&[all]).unwrap();

    let stats = store.stats();
    assert_eq!((stats.segments, stats.spares, stats.bytes), (1, 1, 32 << 10), "and one file for the next");
}

#[test]
fn impossible_options_are_refused() {
    for segment_bytes in [0, 4096, 8192 + 8, 2 << 30] {
        let options = LogOptions { segment_bytes, ..LogOptions::default() };
        let refused = LogStore::open_with(SimulatedFiles::new(), options).err().unwrap();
        assert_eq!(refused.code(), Code::InvalidConfig);
    }
}
