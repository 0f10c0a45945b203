//! One region's raft log as the `raft` crate sees it.
//!
//! Owns the view: hard state, truncation point, last entry and a bounded cache of recent entries in front of the log
//! store. What always holds: the cache is a contiguous suffix of the log; an entry not yet applied is in the cache; no
//! entry is in the view that was not made durable first; term and vote are, from `Peer::take_from_raft` until the
//! round's append, and a commit index until a later one. Writing to disk is left to the round, reading what the cache
//! no longer has to a [`LogReader`].

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::core::offers::Offers;
use crate::core::ports::LogReader;
use crate::core::raft_snapshot::SnapshotHead;
use crate::types::{LogIndex, NodeId, RegionId, Term};

/// What an entry costs beyond its data, for limits. A round number near its size in memory.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// Where a log stands, as recovered or as bootstrapped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogState {
    /// Term, vote and commit: as last stored, or about to be (see the module).
    pub hard_state: HardState,
    /// The dummy entry before the first.
    pub truncated: (LogIndex, Term),
    /// The last entry, or `truncated` when there is none.
    pub last: (LogIndex, Term),
    /// How far the log reached when that was last on record, if entries of it are gone.
    pub lost_end: Option<(LogIndex, Term)>,
    /// The last index and about the bytes of each stretch of entries, in order: what is here of earlier boots.
    pub stretches: Vec<(LogIndex, u64)>,
}

/// See the module.
pub(crate) struct PeerLog {
    region: RegionId,
    reader: Arc<dyn LogReader>,
    state: LogState,
    /// The configuration raft starts with; it keeps its own afterwards.
    members: ConfState,
    /// What raft is given where the log is not enough.
    pub(in crate::core) offers: Offers,
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// Bytes ever appended, and (index, that counter) about every `mark_bytes`: how much log lies behind an index. What
    /// was there at the start counts as appended.
    appended_bytes: u64,
    marks: VecDeque<(LogIndex, u64)>,
    mark_bytes: u64,
}

/// A log of which less than that is retained is marked as finely as that.
const MARK_BYTES: u64 = 256 * 1024;

impl PeerLog {
    /// A view with an empty cache, of a log of which `retain_bytes` are to be kept.
    #[must_use]
    pub(crate) fn new(
        region: RegionId,
        reader: Arc<dyn LogReader>,
        mut state: LogState,
        members: ConfState,
        retain_bytes: u64,
    ) -> Self {
        assert!(state.truncated.0 <= state.last.0, "the log ends at or after its truncation point");
        let marks = VecDeque::from([(state.truncated.0, 0)]);
        let (cache, cache_bytes, appended_bytes) = (VecDeque::new(), 0, 0);
        let mark_bytes = MARK_BYTES.min(retain_bytes);
        let stretches = std::mem::take(&mut state.stretches);
        let mut log = Self {
            region,
            reader,
            state,
            members,
            offers: Offers::default(),
            cache,
            cache_bytes,
            appended_bytes,
            marks,
            mark_bytes,
        };
        for (last, bytes) in stretches {
            log.appended_bytes += bytes;
            log.mark(last);
        }
        log
    }

    /// Term, vote and commit as raft last reported them; the stored ones may lag in their commit.
    #[must_use]
    pub(crate) fn hard_state(&self) -> &HardState {
        &self.state.hard_state
    }

    /// Takes over the hard state of a round.
    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        assert!(hard_state.term >= self.state.hard_state.term, "a term never goes back");
        self.state.hard_state = hard_state;
    }

    /// Takes over a commit index that raft learned while the round's entries were written.
    pub(crate) fn set_commit(&mut self, commit: u64) {
        assert!(commit >= self.state.hard_state.commit, "a commit index never goes back");
        self.state.hard_state.commit = commit;
    }

    /// The dummy entry before the first.
    #[must_use]
    pub(crate) fn truncated(&self) -> (LogIndex, Term) {
        self.state.truncated
    }

    /// Makes entries visible to raft. They replace whatever is at or behind their first index.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        assert!(first.index > self.state.truncated.0.get(), "a truncated entry is committed and stays");
        assert!(first.index <= self.state.last.0.get() + 1, "entries follow the log without a gap");
        assert!(last.term <= self.state.hard_state.term, "a term is known before an entry of it");
        let end = (LogIndex(last.index), Term(last.term));
        self.drop_suffix(first.index);
        let bytes = entries.iter().map(cost).sum::<usize>();
        self.cache.extend(entries);
        self.cache_bytes += bytes;
        self.appended_bytes += bytes as u64;
        self.state.last = end;
        self.mark(end.0);
    }

    /// The log begins anew behind this raft snapshot, as the disk has it now.
    pub(crate) fn restore(&mut self, head: &SnapshotHead) {
        let (index, term) = (head.state.index, head.state.term);
        assert!(index > self.state.truncated.0, "a snapshot takes the place of more than was truncated");
        self.cache.clear();
        self.cache_bytes = 0;
        assert!(term >= self.state.truncated.1, "terms never fall in a log");
        self.marks = VecDeque::from([(index, self.appended_bytes)]);
        (self.state.truncated, self.state.last) = ((index, term), (index, term));
    }

    /// Frees cached entries up to `applied`, oldest first, until the cache takes `bytes_max` at most.
    pub(crate) fn evict(&mut self, applied: LogIndex, bytes_max: usize) {
        while self.cache_bytes > bytes_max
            && self.cache.front().is_some_and(|entry| entry.index <= applied.get())
        {
            self.pop_front();
        }
    }

    /// What the cached entries take.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// Forgets entries up to and including `index`; returns the new truncation point.
    ///
    /// # Errors
    /// When the term of the entry at `index` cannot be read.
    pub(crate) fn truncate_to(&mut self, index: LogIndex) -> raft::Result<(LogIndex, Term)> {
        assert!(index > self.state.truncated.0, "truncation only moves on");
        assert!(index <= self.state.last.0, "only what exists is truncated");
        let term = Term(self.term(index.get())?);
        while self.cache.front().is_some_and(|entry| entry.index <= index.get()) {
            self.pop_front();
        }
        assert!(term >= self.state.truncated.1, "terms never fall in a log");
        self.state.truncated = (index, term);
        while self.marks.len() > 1 && self.marks[1].0 <= index {
            self.marks.pop_front();
        }
        Ok(self.state.truncated)
    }

    /// The first index before which at least all but `retain_bytes` of the log lies; the truncation point when
    /// the log is not longer than that.
    #[must_use]
    pub(crate) fn index_before_bytes(&self, retain_bytes: u64) -> LogIndex {
        let cut = self.appended_bytes.saturating_sub(retain_bytes);
        let behind = self.marks.partition_point(|(_, bytes)| *bytes <= cut);
        let mark = behind.checked_sub(1).and_then(|at| self.marks.get(at));
        mark.map_or(self.state.truncated.0, |(index, _)| *index).max(self.state.truncated.0)
    }

    /// Bytes of log behind the truncation point, to the precision of a mark.
    #[must_use]
    pub(crate) fn retained_bytes(&self) -> u64 {
        let truncated_bytes = self.marks.front().map_or(0, |(_, bytes)| *bytes);
        assert!(truncated_bytes <= self.appended_bytes, "what is truncated was appended");
        self.appended_bytes - truncated_bytes
    }

    /// Looks at what always holds.
    ///
    /// # Panics
    /// When something does not.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::core) fn check_invariants(&self) {
        let LogState { truncated, last, hard_state, .. } = &self.state;
        assert!(truncated.0 <= last.0 && truncated.1 <= last.1, "the log ends behind its truncation point");
        assert!(hard_state.commit <= last.0.get(), "what is committed is in the log");
        assert!(last.1.get() <= hard_state.term, "no entry is of a term that is still to come");
        if let (Some(first), Some(newest)) = (self.cache.front(), self.cache.back()) {
            assert_eq!(
                (LogIndex(newest.index), Term(newest.term)),
                *last,
                "the cache is the log's newest part"
            );
            assert!(first.index > truncated.0.get(), "what is truncated is not cached");
            assert_eq!(newest.index - first.index + 1, self.cache.len() as u64, "the cache has no gap");
            assert!(first.term <= newest.term, "terms never fall in a log");
        } else {
            assert_eq!(self.cache_bytes, 0, "an empty cache takes nothing");
        }
        assert!(self.marks.iter().is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1), "marks rise");
        assert!(
            self.marks.back().is_none_or(|mark| mark.1 <= self.appended_bytes),
            "bytes are marked once here"
        );
        self.check_few_cached();
    }

    /// Each cached entry, when there are not too many to look at after every round.
    #[cfg(any(test, feature = "simulation"))]
    fn check_few_cached(&self) {
        if self.cache.len() > 64 {
            return;
        }
        let follows = |one: &Entry, next: &Entry| one.index + 1 == next.index && one.term <= next.term;
        assert!(self.cache.iter().is_sorted_by(|one, next| follows(one, next)), "entries follow each other");
        assert_eq!(self.cache_bytes, self.cache.iter().map(cost).sum::<usize>(), "what is cached is counted");
    }

    fn mark(&mut self, last: LogIndex) {
        let newest = self.marks.back().map_or(0, |(_, bytes)| *bytes);
        if self.appended_bytes - newest >= self.mark_bytes {
            self.marks.push_back((last, self.appended_bytes));
        }
    }

    fn drop_suffix(&mut self, from: u64) {
        while self.cache.back().is_some_and(|entry| entry.index >= from) {
            let entry = self.cache.pop_back().expect("just seen");
            self.cache_bytes -= cost(&entry);
        }
        while self.marks.len() > 1 && self.marks.back().is_some_and(|(index, _)| index.get() >= from) {
            self.marks.pop_back();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= cost(&entry);
        }
    }

    fn cached(&self, index: u64) -> Option<&Entry> {
        let first = self.cache.front()?.index;
        self.cache.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// From here on the log is in memory.
    #[must_use]
    pub(crate) fn first_cached(&self) -> LogIndex {
        self.cache.front().map_or(self.state.last.0.next(), |entry| LogIndex(entry.index))
    }

    fn read_cached(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        let first = self.cache.front().expect("the caller saw it").index;
        let range = (low - first) as usize..(high - first) as usize;
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let fits = bytes == 0 || bytes + cost(entry) as u64 <= max_bytes;
            bytes += cost(entry) as u64;
            fits
        };
        self.cache.range(range).take_while(within).cloned().collect()
    }
}

/// What these entries take, as limits count it.
#[must_use]
pub(crate) fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(cost).sum::<usize>() as u64
}

fn cost(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + ENTRY_OVERHEAD_BYTES
}

fn unreadable(error: crate::error::Error) -> raft::Error {
    raft::Error::Store(StorageError::Other(Box::new(error)))
}

impl Storage for PeerLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.state.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.state.truncated.0.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.state.last.0.get() + 1, "raft asks within the log");
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        let first_cached = self.cache.front().map_or(u64::MAX, |entry| entry.index);
        if low >= first_cached {
            return Ok(self.read_cached(low, high, max_bytes));
        }
        let stored_end = high.min(first_cached);
        let stored = self.reader.read(self.region, LogIndex(low), LogIndex(stored_end), max_bytes);
        let mut entries = stored.map_err(unreadable)?;
        let read_bytes = entries.iter().map(|entry| cost(entry) as u64).sum::<u64>();
        if stored_end < high && entries.len() as u64 == stored_end - low && read_bytes < max_bytes {
            entries.extend(self.read_cached(stored_end, high, max_bytes - read_bytes));
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let LogState { truncated, last, .. } = self.state;
        if index == last.0.get() {
            return Ok(last.1.get());
        }
        if index == truncated.0.get() {
            return Ok(truncated.1.get());
        }
        if index < truncated.0.get() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > last.0.get() {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        match self.cached(index) {
            Some(entry) => Ok(entry.term),
            None => self.reader.term(self.region, LogIndex(index)).map(Term::get).map_err(unreadable),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.state.truncated.0.get() + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.state.last.0.get())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let found = self.offers.find(NodeId(to), LogIndex(request_index), self.state.truncated.0);
        found.ok_or(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::types::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM};

    /// No entry is on the disk.
    struct Nothing;

    impl LogReader for Nothing {
        fn read(&self, _: RegionId, _: LogIndex, _: LogIndex, _: u64) -> Result<Vec<Entry>> {
            unreachable!("what is asked for is in the cache")
        }

        fn term(&self, _: RegionId, _: LogIndex) -> Result<Term> {
            unreachable!("what is asked for is in the cache")
        }
    }

    const COUNT: usize = 24;
    const COST: usize = 100 + ENTRY_OVERHEAD_BYTES;

    fn log() -> PeerLog {
        let end = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM);
        let (hard_state, stretches) = (HardState { term: 5, ..HardState::default() }, Vec::new());
        let state = LogState { hard_state, truncated: end, last: end, lost_end: None, stretches };
        let (region, reader) = (RegionId(1), Arc::new(Nothing));
        let mut log = PeerLog::new(region, reader, state, ConfState::default(), 1 << 20);
        let entry = |index| Entry { index, term: 5, data: vec![0; 100].into(), ..Entry::default() };
        log.append((1..=COUNT as u64).map(|at| entry(BOOTSTRAP_INDEX.get() + at)).collect());
        log
    }

    #[test]
    fn what_is_applied_is_freed_as_far_as_it_exceeds_the_bound() {
        let mut log = log();

        log.evict(log.state.last.0, 8 * COST);
        assert_eq!(log.cache.len(), 8);
        log.evict(log.state.last.0, 0);
        assert!(log.cache.is_empty());
        log.check_invariants();
    }

    #[test]
    fn what_is_not_applied_stays() {
        let mut log = log();

        log.evict(LogIndex(BOOTSTRAP_INDEX.get() + 1), 0);

        assert_eq!(log.cache.len(), COUNT - 1);
    }
}
