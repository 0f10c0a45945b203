//! A position among a view's keys, in ascending order.
//!
//! Owns the RocksDB iterator under an [`Iter`](super::Iter), and its bounds. The known gaps of the view ([`gaps`]) divide
//! what is between the bounds into *segments*; there is a RocksDB iterator for one segment at a time, so it never enters
//! a gap. What always holds: the keys are exactly those of the view between the bounds; an error ends the iteration and
//! is kept. A step that passed many deleted keys is reported, so that later views have a gap there.

use rocksdb::perf::PerfContext;
use rocksdb::{DB, DBRawIteratorWithThreadMode, PerfMetric, ReadOptions};
use self_cell::self_cell;

use super::gaps::Stretch;
use super::iter::IterOptions;
use super::view::View;

type RawIter<'a> = DBRawIteratorWithThreadMode<'a, DB>;

self_cell!(
    struct SegmentCell {
        owner: View,
        #[covariant]
        dependent: RawIter,
    }
);

/// Positioned at one key, or at none.
pub(super) struct Cursor {
    segment: SegmentCell,
    /// The number of the segment.
    at: usize,
    /// Those that lie between the bounds, neither of which is in one. Segment n is before gap n.
    gaps: Vec<Stretch>,
    options: IterOptions,
    /// Where the last step to a neighbour began.
    origin: Vec<u8>,
}

/// Where a step begins.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// The segment's bound.
    Bound,
    /// The key that was looked for.
    Target(&'a [u8]),
    /// [`Cursor::origin`].
    Neighbour,
}

impl Cursor {
    pub(super) fn new(view: View, mut options: IterOptions) -> Self {
        let mut gaps = view.gaps().within(options.lower.as_deref(), options.upper.as_deref());
        clip(&mut options, &mut gaps);
        // Where it probably begins.
        let at = if options.reverse { gaps.len() } else { 0 };
        let segment = open_segment(view, &options, bounds(&options, &gaps, at));
        Self { segment, at, gaps, options, origin: Vec::new() }
    }

    pub(super) fn raw(&self) -> &RawIter<'_> {
        self.segment.borrow_dependent()
    }

    pub(super) fn first(&mut self) {
        self.enter(0);
        self.ascend(Origin::Bound, |raw| raw.seek_to_first());
    }

    pub(super) fn last(&mut self) {
        self.enter(self.gaps.len());
        self.descend(Origin::Bound, |raw| raw.seek_to_last());
    }

    /// Moves to the first key from `key` on.
    pub(super) fn seek(&mut self, key: &[u8]) {
        self.enter(self.gaps.partition_point(|gap| &*gap.begin <= key));
        self.ascend(Origin::Target(key), |raw| raw.seek(key));
    }

    /// Moves to the last key up to `key`.
    pub(super) fn seek_for_prev(&mut self, key: &[u8]) {
        self.enter(self.gaps.partition_point(|gap| !gap.ends_after(key)));
        self.descend(Origin::Target(key), |raw| raw.seek_for_prev(key));
    }

    pub(super) fn next(&mut self) {
        if self.note_origin() {
            self.ascend(Origin::Neighbour, |raw| raw.next());
        }
    }

    pub(super) fn prev(&mut self) {
        if self.note_origin() {
            self.descend(Origin::Neighbour, |raw| raw.prev());
        }
    }

    /// Notes the current key; false if there is none.
    fn note_origin(&mut self) -> bool {
        let Some(key) = self.segment.borrow_dependent().key() else { return false };
        self.origin.clear();
        self.origin.extend_from_slice(key);
        true
    }

    /// Makes a step towards larger keys, in this segment or into later ones.
    fn ascend(&mut self, origin: Origin<'_>, step: impl FnOnce(&mut RawIter<'_>)) {
        self.ascend_here(origin, step);
        while self.at < self.gaps.len() && self.is_through() {
            self.enter(self.at + 1);
            self.ascend_here(Origin::Bound, |raw| raw.seek_to_first());
        }
    }

    fn ascend_here(&mut self, origin: Origin<'_>, step: impl FnOnce(&mut RawIter<'_>)) {
        let cost = self.change(step);
        if cost > self.noted_cost() {
            self.report_ascent(origin, cost);
        }
    }

    /// Makes a step towards smaller keys, in this segment or into earlier ones.
    fn descend(&mut self, origin: Origin<'_>, step: impl FnOnce(&mut RawIter<'_>)) {
        self.descend_here(origin, step);
        while self.at > 0 && self.is_through() {
            self.enter(self.at - 1);
            self.descend_here(Origin::Bound, |raw| raw.seek_to_last());
        }
    }

    fn descend_here(&mut self, origin: Origin<'_>, step: impl FnOnce(&mut RawIter<'_>)) {
        let cost = self.change(step);
        if cost > self.noted_cost() {
            self.report_descent(origin, cost);
        }
    }

    /// Whether the segment has no more keys.
    fn is_through(&self) -> bool {
        !self.raw().valid() && self.raw().status().is_ok()
    }

    fn enter(&mut self, at: usize) {
        if self.at == at {
            return;
        }
        self.at = at;
        let view = self.segment.borrow_owner().clone();
        self.segment = open_segment(view, &self.options, self.bounds());
    }

    fn bounds(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        bounds(&self.options, &self.gaps, self.at)
    }

    /// Makes a step and returns its cost.
    fn change(&mut self, step: impl FnOnce(&mut RawIter<'_>)) -> u64 {
        self.segment.with_dependent_mut(|_, raw| {
            let before = cost_so_far();
            step(raw);
            cost_so_far().saturating_sub(before)
        })
    }

    fn noted_cost(&self) -> u64 {
        self.segment.borrow_owner().noted_cost()
    }

    #[cold]
    fn report_ascent(&self, origin: Origin<'_>, cost: u64) {
        let (lower, upper) = self.bounds();
        let lower = lower.unwrap_or_default();
        let begin = match origin {
            Origin::Bound => lower.to_vec(),
            Origin::Target(key) => key.max(lower).to_vec(),
            Origin::Neighbour => successor(&self.origin),
        };
        if self.raw().status().is_ok() {
            let end = self.raw().key().or(upper);
            self.segment.borrow_owner().report_gap(Stretch::new(&begin, end), cost);
        }
    }

    #[cold]
    fn report_descent(&self, origin: Origin<'_>, cost: u64) {
        let (lower, upper) = self.bounds();
        let beyond = match origin {
            Origin::Bound => None,
            Origin::Target(key) => Some(successor(key)),
            Origin::Neighbour => Some(self.origin.clone()),
        };
        let end = match (beyond.as_deref(), upper) {
            (Some(beyond), Some(upper)) => Some(beyond.min(upper)),
            (beyond, upper) => beyond.or(upper),
        };
        if self.raw().status().is_ok() {
            let begin = self.raw().key().map(successor);
            let begin = begin.as_deref().or(lower).unwrap_or_default();
            self.segment.borrow_owner().report_gap(Stretch::new(begin, end), cost);
        }
    }
}

/// Moves the bounds out of gaps, and drops the gaps that then lie outside.
fn clip(options: &mut IterOptions, gaps: &mut Vec<Stretch>) {
    let lower = options.lower.as_deref().unwrap_or_default();
    if gaps.first().is_some_and(|gap| &*gap.begin <= lower) {
        let Some(end) = gaps.remove(0).end else {
            options.upper = Some(lower.to_vec());
            gaps.clear();
            return;
        };
        options.lower = Some(end.to_vec());
    }
    let reaches_end = |gap: &Stretch| match (&gap.end, &options.upper) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(upper)) => **end >= **upper,
    };
    if gaps.last().is_some_and(reaches_end) {
        options.upper = gaps.pop().map(|gap| gap.begin.to_vec());
    }
}

/// The bounds of segment `at`.
fn bounds<'a>(
    options: &'a IterOptions,
    gaps: &'a [Stretch],
    at: usize,
) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let lower = match at.checked_sub(1) {
        Some(before) => gaps[before].end.as_deref(),
        None => options.lower.as_deref(),
    };
    (lower, gaps.get(at).map(|gap| &*gap.begin).or(options.upper.as_deref()))
}

fn open_segment(
    view: View,
    options: &IterOptions,
    (lower, upper): (Option<&[u8]>, Option<&[u8]>),
) -> SegmentCell {
    let mut reading = ReadOptions::default();
    if let Some(lower) = lower {
        reading.set_iterate_lower_bound(lower);
    }
    if let Some(upper) = upper {
        reading.set_iterate_upper_bound(upper);
    }
    reading.set_readahead_size(options.readahead_bytes);
    reading.fill_cache(!options.bypass_cache);
    SegmentCell::new(view, |view| view.snapshot().raw_iterator_opt(reading))
}

/// The smallest key that is larger.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// What RocksDB has done on this thread, in comparisons of keys. Passing a deleted key takes as long as a few of them; but
/// where a range deletion covers the keys that are passed, RocksDB counts only comparisons. A seek among many tables may
/// take a thousand of these with nothing to pass, so they count for less.
fn cost_so_far() -> u64 {
    const DELETED: u64 = 8;
    const COMPARED: u64 = 4;
    thread_local! {
        static COUNTERS: PerfContext = PerfContext::default();
    }
    // Not while the thread ends.
    let cost = COUNTERS.try_with(|counters| {
        let deleted = counters.metric(PerfMetric::InternalDeleteSkippedCount);
        counters.metric(PerfMetric::UserKeyComparisonCount) / COMPARED + deleted.wrapping_mul(DELETED)
    });
    cost.unwrap_or(0)
}
