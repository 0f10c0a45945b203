//! Reclaiming disk space.
//!
//! Owns the decision when the oldest segment can be freed, and what must be written again before that. What always
//! holds: before a file is touched, a durable frame records that no segment up to it is needed, and repeats each state
//! whose newest item was there. The work of one append is bounded, so that no round of the raft poller waits long: at
//! most two segments are freed, and about [`super::LogOptions::rewrite_bytes_per_append`] bytes of entries are moved.
//!
//! Rewriting is worthwhile only while it finds garbage: above twice the live bytes at least every other byte
//! is garbage, so freeing one byte costs at most one rewritten byte, and the log never takes much more than
//! twice what its entries need (or [`super::LogOptions::rewrite_above_segments`] segments).

use super::frame;
use super::index::Extent;
use super::items;
use super::writer::{Log, entries_bytes_at_most};
use crate::error::Result;
use crate::types::{LogIndex, RegionId};

/// Up to where the extents of the front segment were looked for, so that a log is looked through once a segment and not
/// at every append. What is behind it in the front segment was moved, or is no longer needed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RewriteCursor {
    segment: u64,
    region: RegionId,
    first: LogIndex,
}

/// Removing a file can take a millisecond.
const FREED_PER_APPEND_MAX: u64 = 2;

impl Log {
    /// Frees segments that are not needed; rewrites entries to free one that is hardly needed.
    ///
    /// # Errors
    /// What the operating system reports; the log must not be written any more.
    pub(super) fn reclaim_space(&mut self) -> Result<()> {
        self.free_segments()?;
        if self.is_mostly_garbage() {
            self.rewrite_front()?;
            self.free_segments()?;
        }
        self.segments.prepare_spare();
        Ok(())
    }

    fn free_segments(&mut self) -> Result<()> {
        let front = self.segments.front_number();
        let end = self.segments.head().number().min(front + FREED_PER_APPEND_MAX);
        let oldest = (front..end).find(|number| self.index.has_entries_in(*number)).unwrap_or(end);
        if oldest == front {
            return Ok(());
        }
        self.state_again(oldest)?;
        self.index.forget_before(oldest);
        (front..oldest).try_for_each(|_| self.segments.free_front())
    }

    /// Writes again the states that are in segments before `oldest`, and records that none of these is needed.
    fn state_again(&mut self, oldest: u64) -> Result<()> {
        frame::begin(&mut self.frame);
        items::put_oldest(&mut self.frame, oldest);
        for (region, log) in self.index.logs() {
            if log.state_segment.is_some_and(|segment| segment < oldest) {
                items::put_state(&mut self.frame, region, &log.state);
            }
        }
        self.write_frame()
    }

    fn is_mostly_garbage(&self) -> bool {
        let floor = self.options.rewrite_above_segments * self.options.segment_bytes;
        self.segments.used_bytes > floor.max(2 * self.index.live_bytes()) && self.segments.count() > 1
    }

    /// Moves entries from the oldest segment to the head: as much as one append may.
    fn rewrite_front(&mut self) -> Result<()> {
        let own_work = self.frame.len();
        let budget = self.options.rewrite_bytes_per_append.max(2 * own_work);
        let mut moved_bytes = 0;
        let front = self.segments.front_number();
        if self.rewrite.segment != front {
            self.rewrite = RewriteCursor { segment: front, ..RewriteCursor::default() };
        }
        frame::begin(&mut self.frame);
        for (region, extent) in self.movable(self.rewrite, budget) {
            let entries = self.read(region, extent.first, extent.last.next(), u64::MAX)?;
            let bytes = entries_bytes_at_most(&entries);
            if moved_bytes + bytes > frame::FRAME_BYTES_MAX / 2 && moved_bytes > 0 {
                break;
            }
            items::put_rewritten(&mut self.frame, region, &entries);
            moved_bytes += bytes;
            self.rewrite = RewriteCursor { segment: front, region, first: extent.last.next() };
        }
        if moved_bytes == 0 {
            return Ok(());
        }
        self.write_frame()?;
        self.rewritten_bytes += self.frame.len() as u64;
        Ok(())
    }

    /// Extents in `segment` from `cursor` on, until their sizes reach `budget` bytes.
    fn movable(&self, cursor: RewriteCursor, budget: usize) -> Vec<(RegionId, Extent)> {
        let mut bytes_left = budget as u64;
        let mut movable = Vec::new();
        for (region, log) in self.index.logs_from(cursor.region) {
            let first = if region == cursor.region { cursor.first } else { LogIndex(0) };
            for extent in log.extents_from(first).filter(|extent| extent.at.segment == cursor.segment) {
                movable.push((region, *extent));
                bytes_left = bytes_left.saturating_sub(u64::from(extent.bytes));
                if bytes_left == 0 {
                    return movable;
                }
            }
        }
        movable
    }
}
