//! The writer: turns requests into a frame, makes the frame durable, then updates the index.
//!
//! Owns the order of these three steps and the poisoned state. What always holds: nothing is written before all of a
//! call was checked; the index changes only after the frame is durable, by applying that same frame. Where frames go is
//! left to [`super::segments`], freeing space to [`super::space`].

use std::collections::{BTreeMap, HashSet};

use super::frame;
use super::index::{Index, RegionLog};
use super::items::{self, ENTRY_OVERHEAD_BYTES, ITEM_OVERHEAD_BYTES, RegionState};
use super::marks::{Mark, Marks};
use super::recovery::Recovered;
use super::segments::{Segments, shrink};
use super::space::RewriteCursor;
use super::{LogOptions, LogStats};
use crate::core::ports::{Entry, LogWrite};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, RegionId, Term};

/// The part of a log store that needs a lock.
pub(super) struct Log {
    pub(super) segments: Segments,
    pub(super) index: Index,
    /// The frame that is being built. Empty between calls, but keeps its capacity.
    pub(super) frame: Vec<u8>,
    pub(super) options: LogOptions,
    pub(super) rewritten_bytes: u64,
    pub(super) rewrite: RewriteCursor,
    marks: Marks,
    /// As it was last written.
    mark: Mark,
    marks_written: u64,
    appends: u64,
    poison: Option<Error>,
}

impl Log {
    pub(super) fn open(recovered: Recovered) -> Result<Self> {
        let Recovered { options, segments, index, marks, mark, restated } = recovered;
        let mut log = Self {
            segments,
            index,
            frame: Vec::new(),
            options,
            rewritten_bytes: 0,
            rewrite: RewriteCursor::default(),
            marks,
            mark,
            marks_written: 0,
            appends: 0,
            poison: None,
        };
        log.restate(&restated)?;
        Ok(log)
    }

    fn restate(&mut self, states: &BTreeMap<RegionId, RegionState>) -> Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        self.begin(states.len() * ITEM_OVERHEAD_BYTES)?;
        states.iter().for_each(|(region, state)| items::put_state(&mut self.frame, *region, state));
        self.write_frame()
    }

    pub(super) fn stretches(&self, region: RegionId) -> Vec<(LogIndex, u64)> {
        self.index.get(region).map(|log| log.stretches().collect()).unwrap_or_default()
    }

    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            segments: self.segments.count(),
            spares: self.segments.spare_count(),
            bytes: self.segments.capacity_bytes,
            live_bytes: self.index.live_bytes(),
            appends: self.appends,
            syncs: self.segments.syncs,
            synced_bytes: self.segments.synced_bytes,
            rewritten_bytes: self.rewritten_bytes,
            marks: self.marks_written,
        }
    }

    pub(super) fn append(&mut self, writes: &[LogWrite]) -> Result<()> {
        self.refuse_if_poisoned()?;
        if writes.iter().all(LogWrite::is_empty) {
            return Ok(());
        }
        self.check(writes)?;
        self.begin(frame_bytes_at_most(writes))?;
        for write in writes.iter().filter(|write| !write.is_empty()) {
            let known = self.index.get(write.region);
            put_write(&mut self.frame, known, write);
        }
        self.appends += 1;
        let must_mark = self.must_mark_with(writes);
        self.finish()?;
        if must_mark || self.unmarked_frames() >= self.options.unmarked_frames_max {
            self.mark()?;
        }
        Ok(())
    }

    /// Records how far the log is durable, unless that is recorded already.
    pub(super) fn mark(&mut self) -> Result<()> {
        self.refuse_if_poisoned()?;
        if self.unmarked_frames() == 0 {
            return Ok(());
        }
        self.mark.frames = self.segments.frames();
        self.mark.set_ends(&self.index);
        let written = self.marks.write(&self.mark);
        self.marks_written += 1;
        if let Err(error) = &written {
            self.poison = Some(error.clone());
        }
        written
    }

    fn unmarked_frames(&self) -> u64 {
        self.segments.frames() - self.mark.frames
    }

    /// Whether the mark must be updated with these writes: a forgotten vote could be given twice, and where a log begins
    /// anew with a raft snapshot the engine follows it at once. To be called before they are in the index. Removes from it the lost end of each region that has it back.
    fn must_mark_with(&mut self, writes: &[LogWrite]) -> bool {
        let mut must = false;
        for write in writes {
            let row = self.mark.regions.entry(write.region).or_default();
            let voted = write.hard_state.as_ref().map(|state| (state.term, state.vote));
            must |= voted.is_some_and(|voted| voted != (row.term, row.vote));
            let known = |index| self.index.get(write.region).and_then(|log| log.term(index));
            must |= write.truncate_to.is_some_and(|(index, term)| known(index) != Some(term));
            if write.has_lost_end_back {
                must |= row.lost.take().is_some();
            }
        }
        must
    }

    pub(super) fn remove(&mut self, region: RegionId) -> Result<()> {
        self.refuse_if_poisoned()?;
        if self.index.get(region).is_none() {
            return Ok(());
        }
        self.begin(ITEM_OVERHEAD_BYTES)?;
        items::put_removal(&mut self.frame, region);
        self.finish()
    }

    /// Gives space back without an append. True when there may be more to do.
    pub(super) fn reclaim_idle_space(&mut self) -> Result<bool> {
        self.refuse_if_poisoned()?;
        let (count, rewritten) = (self.segments.count(), self.rewritten_bytes);
        // Its own work is none.
        self.frame.clear();
        let result = self.reclaim_space();
        shrink(&mut self.frame);
        if let Err(error) = &result {
            self.poison = Some(error.clone());
        }
        result.map(|()| self.segments.count() < count || self.rewritten_bytes > rewritten)
    }

    fn refuse_if_poisoned(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(Error::with_detail(Code::Poisoned, format!("the raft log failed: {first}"))),
        }
    }

    /// Checks that every write continues the log of its region.
    fn check(&self, writes: &[LogWrite]) -> Result<()> {
        let mut seen = HashSet::new();
        for write in writes {
            // The second write would be checked against a log without the first.
            if writes.len() > 1 && !seen.insert(write.region) {
                return Err(refused(write.region, "is written twice in one append"));
            }
            check_write(self.index.get(write.region), write)?;
        }
        Ok(())
    }

    /// Starts a frame that will have at most `bytes_max` bytes of items.
    fn begin(&mut self, bytes_max: usize) -> Result<()> {
        if bytes_max > frame::FRAME_BYTES_MAX - frame::HEADER_BYTES - frame::ALIGNMENT_BYTES {
            let detail = format!("about {bytes_max} bytes in one append to the raft log");
            return Err(Error::with_detail(Code::TooLarge, detail));
        }
        frame::begin(&mut self.frame);
        self.frame.reserve(bytes_max);
        Ok(())
    }

    /// Writes the frame and does the log's housekeeping. Any error poisons.
    fn finish(&mut self) -> Result<()> {
        let result = self.write_frame().and_then(|()| self.reclaim_space());
        shrink(&mut self.frame);
        if let Err(error) = &result {
            self.poison = Some(error.clone());
        }
        result
    }

    /// Makes the frame durable and applies it.
    pub(super) fn write_frame(&mut self) -> Result<()> {
        let at = self.segments.append(&mut self.frame)?;
        let body = &self.frame[frame::HEADER_BYTES..];
        self.index.apply(body, at).expect("a frame we encoded parses");
        Ok(())
    }
}

/// Checks that `write` continues `log`.
fn check_write(log: Option<&RegionLog>, write: &LogWrite) -> Result<()> {
    let Some(first) = write.entries.first() else {
        return Ok(());
    };
    let after = after_truncation(log, write.truncate_to);
    let next = after.last.next();
    if first.index <= after.truncated.get() || first.index > next.get() {
        let what = format!("gets entry {} where {}..={next} can follow", first.index, after.truncated.next());
        return Err(refused(write.region, &what));
    }
    let is_contiguous = write.entries.windows(2).all(|pair| pair[0].index + 1 == pair[1].index);
    if is_contiguous { Ok(()) } else { Err(refused(write.region, "gets entries with a gap between them")) }
}

fn refused(region: RegionId, what: &str) -> Error {
    Error::with_detail(Code::Internal, format!("the raft log of region {region} {what}"))
}

/// What remains of a log after the truncation of a write.
struct AfterTruncation {
    truncated: LogIndex,
    last: LogIndex,
    /// No entry is left.
    is_reset: bool,
}

fn after_truncation(log: Option<&RegionLog>, truncate_to: Option<(LogIndex, Term)>) -> AfterTruncation {
    let (truncated, last) = log.map_or_else(Default::default, |log| (log.state.truncated.0, log.last().0));
    match truncate_to {
        Some((index, term)) if index >= truncated => {
            let keeps_rest = log.is_some_and(|log| log.term(index) == Some(term));
            let last = if keeps_rest { last } else { index };
            AfterTruncation { truncated: index, last, is_reset: !keeps_rest }
        }
        // A truncation below an earlier one has no effect.
        _ => AfterTruncation { truncated, last, is_reset: false },
    }
}

/// Appends the items of `write`, given what is known of its region.
fn put_write(frame: &mut Vec<u8>, log: Option<&RegionLog>, write: &LogWrite) {
    let before = log.map_or_else(RegionState::default, |log| log.state);
    let mut state = before;
    if let Some(hard_state) = &write.hard_state {
        state.set_hard_state(hard_state);
    }
    let after = after_truncation(log, write.truncate_to);
    if let Some(truncated) = write.truncate_to.filter(|(index, _)| *index >= before.truncated.0) {
        state.truncated = truncated;
    }
    if after.is_reset {
        items::put_reset(frame, write.region, &state);
    } else if state != before || log.is_none() {
        items::put_state(frame, write.region, &state);
    }
    items::put_entries(frame, write.region, &write.entries);
}

fn frame_bytes_at_most(writes: &[LogWrite]) -> usize {
    let bytes = |write: &LogWrite| ITEM_OVERHEAD_BYTES + entries_bytes_at_most(&write.entries);
    writes.iter().map(bytes).sum()
}

/// The most that these entries can take in a frame.
pub(super) fn entries_bytes_at_most(entries: &[Entry]) -> usize {
    let bytes = |entry: &Entry| ENTRY_OVERHEAD_BYTES + entry.data.len() + entry.context.len();
    let terms = entries.chunk_by(|one, next| one.term == next.term).count();
    terms * ITEM_OVERHEAD_BYTES + entries.iter().map(bytes).sum::<usize>()
}
