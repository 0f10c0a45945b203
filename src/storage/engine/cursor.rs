//! A position among a view's keys, in ascending order.
//!
//! Owns the RocksDB iterator under an [`Iter`](super::Iter), and its bounds. The known gaps of the view ([`gaps`]) divide
//! what is between the bounds into *segments*; there is a RocksDB iterator for one segment at a time, so it never enters
//! a gap. What always holds: the keys are exactly those of the view between the bounds; an error ends the iteration and
//! is kept. A step that passed many deleted keys is reported, so that later views have a gap there.

use std::cell::Cell;

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
    /// A step that costs more is reported.
    noted_cost: u64,
}

/// Where a step begins.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// The segment's bound.
    Bound,
    /// The key that was looked for.
    Target(&'a [u8]),
    /// The key before, which nobody has noted.
    Neighbour,
}

impl Cursor {
    pub(super) fn new(view: View, mut options: IterOptions) -> Self {
        let mut gaps = view.gaps().within(options.lower.as_deref(), options.upper.as_deref());
        clip(&mut options, &mut gaps);
        // Where it probably begins.
        let at = if options.reverse { gaps.len() } else { 0 };
        let noted_cost = view.noted_cost();
        let segment = open_segment(view, &options, bounds(&options, &gaps, at));
        Self { segment, at, gaps, options, noted_cost }
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
        if self.may_step() {
            self.ascend(Origin::Neighbour, |raw| raw.next());
        }
    }

    pub(super) fn prev(&mut self) {
        if self.may_step() {
            self.descend(Origin::Neighbour, |raw| raw.prev());
        }
    }

    /// False at none, where a step must not enter another segment. RocksDB itself stays there.
    fn may_step(&self) -> bool {
        self.gaps.is_empty() || self.raw().valid()
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
        let cost = self.change(origin, step);
        if cost > self.noted_cost {
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
        let cost = self.change(origin, step);
        if cost > self.noted_cost {
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
    fn change(&mut self, origin: Origin<'_>, step: impl FnOnce(&mut RawIter<'_>)) -> u64 {
        self.segment.with_dependent_mut(|_, raw| match origin {
            // There are many of them, and counting must not cost much beside the step.
            Origin::Neighbour => {
                step(raw);
                cost_of_deleted()
            }
            Origin::Bound | Origin::Target(_) => {
                let compared = cost_of_compared();
                cost_of_deleted();
                step(raw);
                cost_of_deleted() + cost_of_compared().saturating_sub(compared)
            }
        })
    }

    #[cold]
    fn report_ascent(&self, origin: Origin<'_>, cost: u64) {
        let (lower, upper) = self.bounds();
        let lower = lower.unwrap_or_default();
        let begin = match origin {
            Origin::Bound => lower.to_vec(),
            Origin::Target(key) => key.max(lower).to_vec(),
            Origin::Neighbour => self.key_before().map_or_else(|| lower.to_vec(), |key| successor(&key)),
        };
        if self.raw().status().is_ok() {
            let end = self.raw().key().or(upper);
            self.segment.borrow_owner().report_gap(Stretch::new(&begin, end), cost);
        }
    }

    /// The neighbour of where this is now, before it, in this segment. Passes again what is between them, once for a gap.
    fn key_before(&self) -> Option<Vec<u8>> {
        self.look_around(|raw, key| match key {
            Some(key) => {
                raw.seek_for_prev(key);
                if raw.key() == Some(key) {
                    raw.prev();
                }
            }
            None => raw.seek_to_last(),
        })
    }

    /// The same behind it.
    fn key_after(&self) -> Option<Vec<u8>> {
        self.look_around(|raw, key| match key {
            Some(key) => raw.seek(successor(key)),
            None => raw.seek_to_first(),
        })
    }

    fn look_around(&self, look: impl FnOnce(&mut RawIter<'_>, Option<&[u8]>)) -> Option<Vec<u8>> {
        let view = self.segment.borrow_owner().clone();
        let mut segment = open_segment(view, &self.options, self.bounds());
        segment.with_dependent_mut(|_, raw| look(raw, self.raw().key()));
        segment.borrow_dependent().key().map(<[u8]>::to_vec)
    }

    #[cold]
    fn report_descent(&self, origin: Origin<'_>, cost: u64) {
        let (lower, upper) = self.bounds();
        let beyond = match origin {
            Origin::Bound => None,
            Origin::Target(key) => Some(successor(key)),
            Origin::Neighbour => self.key_after(),
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

// Costs are in comparisons of keys. Passing a deleted key takes as long as a few of them; but where a range deletion
// covers the keys that are passed, RocksDB counts only comparisons. A seek among many tables may take a thousand of these
// with nothing to pass, so they count for less.
const DELETED_COST: u64 = 8;
const COMPARED_PART: u64 = 4;

/// What RocksDB counts on one thread.
struct Counters {
    context: PerfContext,
    /// The deleted keys that were passed when it was last asked.
    deleted: Cell<u64>,
}

thread_local! {
    static COUNTERS: Counters = Counters { context: PerfContext::default(), deleted: Cell::new(0) };
}

/// The deleted keys that this thread has passed since this was last asked. Nothing but cursors passes many.
fn cost_of_deleted() -> u64 {
    // Not while the thread ends.
    let passed = COUNTERS.try_with(|Counters { context, deleted }| {
        let now = context.metric(PerfMetric::InternalDeleteSkippedCount);
        now.saturating_sub(deleted.replace(now))
    });
    passed.unwrap_or(0).saturating_mul(DELETED_COST)
}

/// The comparisons that this thread has made.
fn cost_of_compared() -> u64 {
    let compared = COUNTERS.try_with(|counters| counters.context.metric(PerfMetric::UserKeyComparisonCount));
    compared.unwrap_or(0) / COMPARED_PART
}
