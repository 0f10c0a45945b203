//! A member's disk in memory.
//!
//! Owns the raft logs and the engine that survive a crash of the member, as far as they were synced or flushed. What
//! always holds: `append` is durable when it returns, as with the real log, unless the tail of the log before its mark
//! is corrupted; the engine falls back to its last flush or to a later write, data and apply states together. Below the
//! feature level of versions none is known; when a region reaches it, all have the version of the entry that raised it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState};

use crate::core::applied_write::AppliedWrite;
use crate::core::applier::ApplyBatch;
use crate::core::change::Change;
use crate::core::log::LogState;
use crate::core::ports::{LogReader, LogWrite};
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::core::stored::{Each, Stored};
use crate::error::Result;
use crate::sim::random::scramble;
use crate::types::{
    ApplyState, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, CONDITIONS_LEVEL, LogIndex, RegionId, Term, Version,
};

/// The durable logs of all regions of one member.
#[derive(Clone, Debug)]
pub(crate) struct DiskLog {
    logs: Arc<Mutex<Logs>>,
}

/// The durable state of one region's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStatus {
    /// Durable term.
    pub term: u64,
    /// The vote in that term.
    pub vote: u64,
    /// Recorded commit index; it may lag.
    pub commit: u64,
    /// Last index.
    pub last: u64,
}

/// Frames that may be durable but not yet covered by the mark.
const UNMARKED_FRAMES_MAX: usize = 3;
/// Frames that can be lost with the tail of the log.
const FRAMES_KEPT: usize = 12;

#[derive(Debug)]
struct Logs {
    regions: BTreeMap<RegionId, RegionLog>,
    /// How to undo the last frames, newest last.
    frames: VecDeque<Vec<Undo>>,
    /// How many of them come after the mark.
    unmarked_frames: usize,
    /// Last index and term of each log at the mark.
    marked: BTreeMap<RegionId, (LogIndex, Term)>,
    /// For regions whose log lost recorded entries: the end that the mark had recorded.
    lost_ends: BTreeMap<RegionId, (LogIndex, Term)>,
}

#[derive(Debug)]
struct RegionLog {
    hard_state: HardState,
    truncated: (LogIndex, Term),
    /// Contiguous; the first comes right after `truncated`.
    entries: Vec<Entry>,
}

/// What a frame changed in a region's log.
#[derive(Debug)]
struct Undo {
    region: RegionId,
    hard_state: HardState,
    truncated: (LogIndex, Term),
    /// Number of entries added at the end.
    appended: usize,
    /// The entries they replaced.
    replaced: Vec<Entry>,
    /// The entries removed by truncation.
    dropped: Vec<Entry>,
}

impl DiskLog {
    /// The initial logs of a member with these regions.
    pub(crate) fn bootstrap<'a>(regions: impl IntoIterator<Item = &'a Region>) -> Self {
        let regions: BTreeMap<_, _> =
            regions.into_iter().map(|region| (region.id, RegionLog::bootstrap(region))).collect();
        let marked = regions.iter().map(|(region, log)| (*region, log.end())).collect();
        let (frames, lost_ends) = (VecDeque::new(), BTreeMap::new());
        let logs = Logs { regions, frames, unmarked_frames: 0, marked, lost_ends };
        Self { logs: Arc::new(Mutex::new(logs)) }
    }

    /// The state that a member recovers when it starts.
    pub(crate) fn recover(&self, region: RegionId) -> LogState {
        let logs = self.lock();
        let log = &logs.regions[&region];
        LogState {
            hard_state: log.hard_state.clone(),
            truncated: log.truncated,
            last: log.end(),
            lost_end: logs.lost_ends.get(&region).copied(),
            stretches: log
                .entries
                .iter()
                .map(|entry| (LogIndex(entry.index), entry.data.len() as u64))
                .collect(),
        }
    }

    /// Makes writes durable.
    pub(crate) fn append(&self, writes: &[LogWrite]) {
        self.lock().append(writes);
    }

    /// Corrupts the tail of the log: all frames after the mark, and this many, at least one, that the mark covers.
    /// False when there are not that many.
    pub(crate) fn lose_end(&self, marked_frames: usize) -> bool {
        self.lock().lose_end(marked_frames)
    }

    /// True when a region's log lacks entries that had been recorded.
    pub(crate) fn lacks_end(&self, region: RegionId) -> bool {
        self.lock().lost_ends.contains_key(&region)
    }

    /// Restarts a region's log right after what its engine has kept, if the log lost that.
    pub(crate) fn follow_engine(&self, region: RegionId, applied: ApplyState) {
        let mut logs = self.lock();
        let is_lost = logs.lost_ends.contains_key(&region);
        let log = logs.regions.get_mut(&region).expect("a region of this member");
        let term = if applied.index == log.truncated.0 {
            Some(log.truncated.1)
        } else {
            log.at(applied.index.get()).map(|entry| Term(entry.term))
        };
        if log.truncated.0 > applied.index {
            // A raft snapshot is to be installed.
            return;
        }
        if is_lost && term != Some(applied.term) {
            log.entries.clear();
            log.truncated = (applied.index, applied.term);
            logs.frames.clear();
            logs.mark();
        }
    }

    /// Term, vote, commit and last index.
    pub(crate) fn status(&self, region: RegionId) -> LogStatus {
        let logs = self.lock();
        let log = &logs.regions[&region];
        let HardState { term, vote, commit, .. } = log.hard_state;
        LogStatus { term, vote, commit, last: log.last() }
    }

    /// Term of the entry at `index`, or of the truncation point; none when `index` is past the end or already
    /// truncated.
    pub(crate) fn term_at(&self, region: RegionId, index: u64) -> Option<u64> {
        let logs = self.lock();
        let log = &logs.regions[&region];
        if index == log.truncated.0.get() {
            return Some(log.truncated.1.get());
        }
        log.at(index).map(|entry| entry.term)
    }

    /// The truncation point.
    pub(crate) fn truncated(&self, region: RegionId) -> u64 {
        self.lock().regions[&region].truncated.0.get()
    }

    /// The entries `low..=high`, as far as they exist.
    pub(crate) fn entries(&self, region: RegionId, low: u64, high: u64) -> Vec<Entry> {
        let logs = self.lock();
        (low..=high).filter_map(|index| logs.regions[&region].at(index).cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    fn append(&mut self, writes: &[LogWrite]) {
        let mut frame = Vec::new();
        let (mut must_mark, mut is_final) = (false, false);
        for write in writes {
            let log = self.regions.get_mut(&write.region).expect("a region of this member");
            let before = (log.hard_state.term, log.hard_state.vote);
            let begins_anew = write.truncate_to.is_some_and(|(index, term)| log.term_at(index) != Some(term));
            frame.push(log.take(write));
            if begins_anew {
                // The engine follows at once: whoever loses this frame is refused for good.
                (is_final, must_mark) = (true, true);
            }
            must_mark |= (log.hard_state.term, log.hard_state.vote) != before;
            if write.has_lost_end_back {
                must_mark |= self.lost_ends.remove(&write.region).is_some();
            }
        }
        self.frames.push_back(frame);
        self.unmarked_frames += 1;
        if self.frames.len() > FRAMES_KEPT {
            self.frames.pop_front();
        }
        if is_final {
            self.frames.clear();
        }
        if must_mark || self.unmarked_frames >= UNMARKED_FRAMES_MAX {
            self.mark();
        }
    }

    fn mark(&mut self) {
        self.unmarked_frames = 0;
        self.marked = self.regions.iter().map(|(region, log)| (*region, log.end())).collect();
    }

    fn lose_end(&mut self, marked_frames: usize) -> bool {
        let count = self.unmarked_frames + marked_frames;
        if marked_frames == 0 || count > self.frames.len() {
            return false;
        }
        let kept = self.frames.len() - count;
        for undo in self.frames.split_off(kept).into_iter().rev().flatten() {
            let log = self.regions.get_mut(&undo.region).expect("a region of this member");
            log.undo(undo);
        }
        for (region, end) in &self.marked {
            let lost = self.lost_ends.entry(*region).or_insert(*end);
            *lost = [*lost, *end].into_iter().max_by_key(|&(index, term)| (term, index)).expect("two");
        }
        self.mark();
        true
    }
}

impl RegionLog {
    /// As `store/bootstrap` makes it: at nothing where the data are yet to come.
    fn bootstrap(region: &Region) -> Self {
        let truncated =
            if region.lacks_data() { (LogIndex(0), Term(0)) } else { (BOOTSTRAP_INDEX, BOOTSTRAP_TERM) };
        let (commit, term) = (truncated.0.get(), truncated.1.get());
        let hard_state = HardState { term, commit, ..HardState::default() };
        Self { hard_state, truncated, entries: Vec::new() }
    }

    fn last(&self) -> u64 {
        self.end().0.get()
    }

    fn end(&self) -> (LogIndex, Term) {
        self.entries.last().map_or(self.truncated, |entry| (LogIndex(entry.index), Term(entry.term)))
    }

    /// Number of entries before `index`.
    fn before(&self, index: u64) -> usize {
        index.saturating_sub(self.truncated.0.get() + 1) as usize
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.truncated.0 {
            return Some(self.truncated.1);
        }
        self.at(index.get()).map(|entry| Term(entry.term))
    }

    fn at(&self, index: u64) -> Option<&Entry> {
        if index > self.truncated.0.get() { self.entries.get(self.before(index)) } else { None }
    }

    fn take(&mut self, write: &LogWrite) -> Undo {
        let (hard_state, truncated) = (self.hard_state.clone(), self.truncated);
        let (mut replaced, mut dropped) = (Vec::new(), Vec::new());
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some((index, term)) = write.truncate_to
            && self.term_at(index) != Some(term)
        {
            // A raft snapshot takes the place of the log.
            replaced = std::mem::take(&mut self.entries);
            self.truncated = (index, term);
        }
        if let Some(first) = write.entries.first() {
            let kept = self.before(first.index).min(self.entries.len());
            replaced.extend(self.entries.split_off(kept));
            assert_eq!(first.index, self.last() + 1, "a log has no gap");
            self.entries.extend(write.entries.iter().cloned());
        }
        if let Some((index, term)) = write.truncate_to {
            let gone = self.before(index.get() + 1).min(self.entries.len());
            dropped = self.entries.drain(..gone).collect();
            self.truncated = (index, term);
        }
        let appended = write.entries.len();
        Undo { region: write.region, hard_state, truncated, appended, replaced, dropped }
    }

    /// Undoes a frame, except for the term and the vote, which the mark records.
    fn undo(&mut self, undo: Undo) {
        self.entries.splice(..0, undo.dropped);
        self.entries.truncate(self.entries.len() - undo.appended);
        self.entries.extend(undo.replaced);
        self.truncated = undo.truncated;
        self.hard_state.commit = undo.hard_state.commit;
    }
}

impl LogReader for DiskLog {
    fn read(&self, region: RegionId, low: LogIndex, high: LogIndex, max_bytes: u64) -> Result<Vec<Entry>> {
        let logs = self.lock();
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let fits = bytes == 0 || bytes + entry.data.len() as u64 <= max_bytes;
            bytes += entry.data.len() as u64;
            fits
        };
        let asked = (low.get()..high.get()).filter_map(|index| logs.regions[&region].at(index));
        Ok(asked.take_while(within).cloned().collect())
    }

    fn term(&self, region: RegionId, index: LogIndex) -> Result<Term> {
        let logs = self.lock();
        let log = &logs.regions[&region];
        Ok(log.at(index.get()).map_or(log.truncated.1, |entry| Term(entry.term)))
    }
}

/// User data and apply states of one member.
#[derive(Clone, Debug)]
pub(crate) struct DiskEngine {
    memory: EngineImage,
    flushed: EngineImage,
    /// Writes since the last flush, oldest first.
    unflushed: Vec<EngineWrite>,
}

/// Values and their versions, by key.
pub(crate) type Data = BTreeMap<Vec<u8>, Versioned>;

/// What is stored at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versioned {
    /// The user's bytes.
    pub value: Vec<u8>,
    /// The place of the write that put them there.
    pub version: Version,
}

#[derive(Clone, Debug)]
struct EngineImage {
    data: Data,
    regions: BTreeMap<RegionId, RegionImage>,
}

#[derive(Clone, Debug)]
struct RegionImage {
    region: Region,
    state: ApplyState,
    /// Digest of the region's keys and values; see [`digest_of`].
    digest: u64,
    /// The apply state of the raft snapshot that is taking the place of the data.
    replaced_by: Option<ApplyState>,
}

#[derive(Clone, Debug)]
struct EngineWrite {
    writes: Vec<AppliedWrite>,
    states: Vec<(RegionId, ApplyState)>,
    regions: Vec<Region>,
    clears: Vec<SnapshotHead>,
    installed: Vec<RegionId>,
}

impl DiskEngine {
    /// The initial engine of a member.
    pub(crate) fn bootstrap(regions: &[Region]) -> Self {
        let image = |region: &Region| {
            let state = if region.lacks_data() { ApplyState::default() } else { ApplyState::BOOTSTRAP };
            let region = region.clone();
            (region.id, RegionImage { region, state, digest: 0, replaced_by: None })
        };
        let regions = regions.iter().map(image).collect();
        let image = EngineImage { data: Data::new(), regions };
        Self { memory: image.clone(), flushed: image, unflushed: Vec::new() }
    }

    /// Forgets unflushed writes except the oldest `kept`: the engine may have flushed those on its own.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.unflushed.truncate(kept);
        self.flush();
        self.memory = self.flushed.clone();
    }

    /// Number of writes that a crash can lose.
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    /// Makes all writes so far survive a crash.
    pub(crate) fn flush(&mut self) {
        for write in self.unflushed.drain(..) {
            self.flushed.take(&write);
        }
    }

    /// The regions, by id.
    pub(crate) fn regions(&self) -> impl Iterator<Item = RegionId> {
        self.memory.regions.keys().copied()
    }

    /// A region and its current apply state.
    pub(crate) fn state_of(&self, region: RegionId) -> (Region, ApplyState) {
        let image = &self.memory.regions[&region];
        (image.region.clone(), image.state)
    }

    /// A region as it is stored.
    pub(crate) fn region(&self, region: RegionId) -> &Region {
        &self.memory.regions[&region].region
    }

    /// The first region and its current apply state.
    pub(crate) fn state(&self) -> (Region, ApplyState) {
        let first = self.regions().next().expect("a member has a region");
        self.state_of(first)
    }

    /// A region's apply state, and the digest of its data.
    pub(crate) fn state_and_digest(&self, region: RegionId) -> (ApplyState, u64) {
        let image = &self.memory.regions[&region];
        (image.state, image.digest)
    }

    /// Whether a raft snapshot is taking the place of a region's data.
    pub(crate) fn replaces(&self, region: RegionId) -> Option<ApplyState> {
        self.memory.regions[&region].replaced_by
    }

    /// The data of a region.
    pub(crate) fn data_of(&self, region: RegionId) -> Data {
        let inside = &self.memory.regions[&region].region;
        let rows = self.memory.data.iter().filter(|(key, _)| inside.contains(key));
        rows.map(|(key, stored)| (key.clone(), stored.clone())).collect()
    }

    /// Links the data of a raft snapshot in the place of what was there, durably and with all that was written before.
    pub(crate) fn link(&mut self, region: RegionId, data: &Data) {
        self.flush();
        self.flushed.link(region, data);
        self.memory.link(region, data);
    }

    /// The current data.
    pub(crate) fn data(&self) -> &Data {
        &self.memory.data
    }

    /// Writes one batch atomically.
    pub(crate) fn write(&mut self, batch: &ApplyBatch) {
        let write = EngineWrite {
            writes: batch.writes.clone(),
            states: batch.states.clone(),
            regions: batch.regions.clone(),
            clears: batch.clears.clone(),
            installed: batch.installed.clone(),
        };
        self.memory.take(&write);
        self.unflushed.push(write);
    }
}

impl Stored for DiskEngine {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Version)>> {
        let found = self.memory.data.get(key);
        Ok(found.map(|stored| (Bytes::copy_from_slice(&stored.value), stored.version)))
    }

    fn version_of(&self, key: &[u8]) -> Result<Version> {
        Ok(self.memory.data.get(key).map_or(Version::NONE, |stored| stored.version))
    }

    fn scan(&self, begin: &[u8], end: &[u8], each: &mut Each<'_>) -> Result<()> {
        let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let inside = self.memory.data.range::<[u8], _>((Bound::Included(begin), end));
        for (key, Versioned { value, version }) in inside {
            if each(key, value, *version).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl EngineImage {
    fn take(&mut self, write: &EngineWrite) {
        for write in &write.writes {
            for change in write.changes() {
                let version = shown_version(self.home_of(first_key(change)).region.level, write.version());
                let changed = carry_out(&mut self.data, change, version);
                let home = self.home_of(first_key(change));
                home.digest = home.digest.wrapping_add(changed);
            }
        }
        for head in &write.clears {
            self.link(head.region.id, &Data::new());
            self.regions.get_mut(&head.region.id).expect("a region of this member").replaced_by =
                Some(head.state);
        }
        for region in &write.installed {
            let image = self.regions.get_mut(region).expect("a region of this member");
            assert!(image.replaced_by.take().is_some(), "what was begun ends");
            // Its versions are those of its level.
            let record = write.regions.iter().find(|record| record.id == *region);
            image.region = record.expect("it comes with its record").clone();
        }
        for &(region, state) in &write.states {
            self.regions.get_mut(&region).expect("a region of this member").state = state;
        }
        for region in &write.regions {
            let image = self.regions.get_mut(&region.id).expect("a region of this member");
            // Only the rise to it gives versions to what has none.
            if (image.region.level + 1..=region.level).contains(&CONDITIONS_LEVEL) {
                let raised = raise_versions(&mut self.data, |key| region.contains(key), region.floor_index);
                image.digest = image.digest.wrapping_add(raised);
            }
            image.region = region.clone();
        }
    }

    fn link(&mut self, region: RegionId, data: &Data) {
        let image = self.regions.get_mut(&region).expect("a region of this member");
        self.data.retain(|key, _| !image.region.contains(key));
        image.digest = data.iter().fold(0, |sum, (key, stored)| sum.wrapping_add(digest_of(key, stored)));
        self.data.extend(data.iter().map(|(key, stored)| (key.clone(), stored.clone())));
    }

    fn home_of(&mut self, key: &[u8]) -> &mut RegionImage {
        self.regions.values_mut().find(|image| image.region.contains(key)).expect("regions own all keys")
    }
}

/// The version with which readers see what a write of this version sets, in a region of this level.
pub(crate) fn shown_version(level: u16, version: Version) -> Version {
    if level < CONDITIONS_LEVEL { Version::UNKNOWN } else { version }
}

/// Gives the values of a region, of which none is known, the version of the entry that raised its level; returns the change of
/// the digest.
pub(crate) fn raise_versions(data: &mut Data, is_inside: impl Fn(&[u8]) -> bool, at: LogIndex) -> u64 {
    let mut changed = 0_u64;
    for (key, stored) in data.iter_mut().filter(|(key, _)| is_inside(key)) {
        assert_eq!(stored.version, Version::UNKNOWN, "below the level there are no versions");
        let before = digest_of(key, stored);
        stored.version = Version::of(at, 0);
        changed = changed.wrapping_add(digest_of(key, stored)).wrapping_sub(before);
    }
    changed
}

/// Carries out a change of a write of this version; returns the change of the digest.
pub(crate) fn carry_out(data: &mut Data, change: Change<'_>, version: Version) -> u64 {
    let taken_off =
        |key: &[u8], old: Option<Versioned>| old.map_or(0, |old| 0_u64.wrapping_sub(digest_of(key, &old)));
    match change {
        Change::Put { key, value } => {
            let new = Versioned { value: value.to_vec(), version };
            let added = digest_of(key, &new);
            added.wrapping_add(taken_off(key, data.insert(key.to_vec(), new)))
        }
        Change::Delete { key } => taken_off(key, data.remove(key)),
        Change::DeleteRange { begin, end } => {
            let covered = data.keys().filter(|key| begin <= key.as_slice() && key.as_slice() < end);
            let covered: Vec<_> = covered.cloned().collect();
            let delete = |key: &Vec<u8>| carry_out(data, Change::Delete { key }, version);
            covered.iter().map(delete).fold(0, u64::wrapping_add)
        }
    }
}

fn first_key(change: Change<'_>) -> &[u8] {
    match change {
        Change::Put { key, .. } | Change::Delete { key } => key,
        Change::DeleteRange { begin, .. } => begin,
    }
}

/// What a key, its value and its version add to a digest. A digest is the sum over all keys, so it can be updated
/// incrementally.
fn digest_of(key: &[u8], stored: &Versioned) -> u64 {
    let place = stored.version.get().rotate_left(41);
    scramble(digest(&stored.value).wrapping_add(digest(key).rotate_left(23)).wrapping_add(place))
}

/// A digest of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut digest = bytes.len() as u64 ^ 0xcbf2_9ce4_8422_2325;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        digest = (digest ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
    }
    for &byte in chunks.remainder() {
        digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    digest
}
