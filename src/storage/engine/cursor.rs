//! A position among a view's keys, in ascending order.
//!
//! Owns the RocksDB iterator under an [`Iter`](super::Iter), and its bounds. The known gaps of the view ([`gaps`]) divide
//! what is between the bounds into *segments*; there is a RocksDB iterator for one segment at a time, so it never enters
//! a gap. What always holds: the keys are exactly those of the view between the bounds; an error ends the iteration and
//! is kept. A step that passed many deleted keys is reported, so that later views have a gap there; steps from key to key
//! are judged in *runs*, because asking RocksDB what it has passed takes a twentieth of a step. Whatever is reported was
//! empty between two neighbours of the view, whoever passed the deleted keys.

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
    run: Run,
}

/// Steps from key to key in one segment, in one direction, that nobody has judged yet.
struct Run {
    towards: Towards,
    steps: u32,
    /// So many are judged together.
    steps_max: u32,
    /// Before that changes.
    runs_left: u32,
    /// The deleted keys that this thread had passed when the cursor last asked. What other cursors pass counts too, so
    /// that they hide nothing; who looks closer will not find it.
    deleted: u64,
}

const RUN_STEPS: u32 = 16;
/// After a run that cost much, and no step of it did, single steps are judged: this many, so that going back over the run
/// costs little beside them.
const SINGLE_STEPS: u32 = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Larger,
    Smaller,
}

/// Where a search begins.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// The segment's bound.
    Bound,
    /// The key that was looked for.
    Target(&'a [u8]),
}

impl Cursor {
    pub(super) fn new(view: View, mut options: IterOptions) -> Self {
        let mut gaps = view.gaps().within(options.lower.as_deref(), options.upper.as_deref());
        clip(&mut options, &mut gaps);
        // Where it probably begins.
        let at = if options.reverse { gaps.len() } else { 0 };
        let noted_cost = view.noted_cost();
        let segment = open_segment(view, &options, bounds(&options, &gaps, at));
        Self { segment, at, gaps, options, noted_cost, run: Run::new() }
    }

    pub(super) fn view(&self) -> &View {
        self.segment.borrow_owner()
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
        if self.gaps.is_empty() {
            // RocksDB itself stays at none.
            self.step(Towards::Larger, |raw| raw.next());
        } else if self.raw().valid() {
            self.step(Towards::Larger, |raw| raw.next());
            self.leave_upwards();
        }
    }

    pub(super) fn prev(&mut self) {
        if self.gaps.is_empty() {
            self.step(Towards::Smaller, |raw| raw.prev());
        } else if self.raw().valid() {
            self.step(Towards::Smaller, |raw| raw.prev());
            self.leave_downwards();
        }
    }

    /// Makes a step from key to key.
    fn step(&mut self, towards: Towards, step: impl FnOnce(&mut RawIter<'_>)) {
        if self.run.towards != towards {
            self.judge();
            self.run.towards = towards;
        }
        self.segment.with_dependent_mut(|_, raw| step(raw));
        self.run.steps += 1;
        if self.run.steps >= self.run.steps_max {
            self.judge();
        }
    }

    /// Looks for a key and the larger ones, in this segment and in later ones.
    fn ascend(&mut self, origin: Origin<'_>, search: impl FnOnce(&mut RawIter<'_>)) {
        self.ascend_here(origin, search);
        self.leave_upwards();
    }

    fn leave_upwards(&mut self) {
        while self.at < self.gaps.len() && self.is_through() {
            self.enter(self.at + 1);
            self.ascend_here(Origin::Bound, |raw| raw.seek_to_first());
        }
    }

    fn ascend_here(&mut self, origin: Origin<'_>, search: impl FnOnce(&mut RawIter<'_>)) {
        let cost = self.search(search);
        if cost > self.noted_cost {
            self.report_ascent(origin, cost);
        }
    }

    /// Looks for a key and the smaller ones, in this segment and in earlier ones.
    fn descend(&mut self, origin: Origin<'_>, search: impl FnOnce(&mut RawIter<'_>)) {
        self.descend_here(origin, search);
        self.leave_downwards();
    }

    fn leave_downwards(&mut self) {
        while self.at > 0 && self.is_through() {
            self.enter(self.at - 1);
            self.descend_here(Origin::Bound, |raw| raw.seek_to_last());
        }
    }

    fn descend_here(&mut self, origin: Origin<'_>, search: impl FnOnce(&mut RawIter<'_>)) {
        let cost = self.search(search);
        if cost > self.noted_cost {
            self.report_descent(origin, cost);
        }
    }

    /// Whether the segment has no more keys.
    fn is_through(&self) -> bool {
        !self.raw().valid() && self.raw().status().is_ok()
    }

    fn enter(&mut self, at: usize) {
        self.judge();
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

    /// Looks for a key, and returns the cost.
    fn search(&mut self, search: impl FnOnce(&mut RawIter<'_>)) -> u64 {
        let compared_before = compared();
        self.run.deleted = deleted();
        self.segment.with_dependent_mut(|_, raw| search(raw));
        self.run.take_cost() + compared().saturating_sub(compared_before) / COMPARED_PART
    }

    #[cold]
    fn report_ascent(&self, origin: Origin<'_>, cost: u64) {
        let (lower, upper) = self.bounds();
        let lower = lower.unwrap_or_default();
        let begin = match origin {
            Origin::Bound => lower.to_vec(),
            Origin::Target(key) => key.max(lower).to_vec(),
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

    /// Ends the run, and reports what it passed if that cost much.
    fn judge(&mut self) {
        let steps = std::mem::take(&mut self.run.steps);
        if steps == 0 {
            return;
        }
        self.run.count_down();
        if self.run.take_cost() > self.noted_cost {
            self.report_run(steps);
            self.run.deleted = deleted();
        }
    }

    /// Reports what this many last steps passed.
    #[cold]
    fn report_run(&mut self, steps: u32) {
        if self.raw().status().is_err() {
            return;
        }
        let view = self.segment.borrow_owner().clone();
        let mut again = open_segment(view, &self.options, self.bounds());
        let has_found = again.with_dependent_mut(|_, raw| self.go_back(raw, steps));
        if !has_found {
            self.run.judge_single_steps();
        }
    }

    /// Goes back over the last steps with another iterator, and reports each that costs much; false when none does. Passes
    /// again what is between their keys, once for a gap.
    fn go_back(&self, raw: &mut RawIter<'_>, steps: u32) -> bool {
        let towards = self.run.towards;
        match (towards, self.raw().key()) {
            (Towards::Larger, Some(key)) => raw.seek_for_prev(key),
            (Towards::Smaller, Some(key)) => raw.seek(key),
            (_, None) => {}
        }
        let mut has_found = false;
        for _ in 0..steps {
            let from = raw.key().map(<[u8]>::to_vec);
            let before = deleted();
            step_back(raw, towards);
            let cost = cost(before, deleted());
            // At none because of an error, it says nothing about what is there.
            if raw.status().is_err() {
                break;
            }
            if cost > self.noted_cost {
                has_found = true;
                match towards {
                    Towards::Larger => self.report_between(raw.key(), from.as_deref(), cost),
                    Towards::Smaller => self.report_between(from.as_deref(), raw.key(), cost),
                }
            }
            if !raw.valid() {
                break;
            }
        }
        has_found
    }

    /// There is nothing between these neighbours; none stands for the segment's bound.
    fn report_between(&self, before: Option<&[u8]>, behind: Option<&[u8]>, cost: u64) {
        let (lower, upper) = self.bounds();
        let begin = before.map(successor);
        let begin = begin.as_deref().or(lower).unwrap_or_default();
        self.segment.borrow_owner().report_gap(Stretch::new(begin, behind.or(upper)), cost);
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.judge();
    }
}

impl Run {
    fn new() -> Self {
        Self { towards: Towards::Larger, steps: 0, steps_max: RUN_STEPS, runs_left: 0, deleted: 0 }
    }

    /// What was passed since the cursor last asked.
    fn take_cost(&mut self) -> u64 {
        let now = deleted();
        cost(std::mem::replace(&mut self.deleted, now), now)
    }

    fn judge_single_steps(&mut self) {
        (self.steps_max, self.runs_left) = (1, SINGLE_STEPS);
    }

    fn count_down(&mut self) {
        self.runs_left = self.runs_left.saturating_sub(1);
        if self.runs_left == 0 {
            self.steps_max = RUN_STEPS;
        }
    }
}

/// Takes back a step that came to where the iterator is; at none, one that reached the segment's bound.
fn step_back(raw: &mut RawIter<'_>, towards: Towards) {
    match (towards, raw.valid()) {
        (Towards::Larger, true) => raw.prev(),
        (Towards::Larger, false) => raw.seek_to_last(),
        (Towards::Smaller, true) => raw.next(),
        (Towards::Smaller, false) => raw.seek_to_first(),
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

thread_local! {
    static COUNTERS: PerfContext = PerfContext::default();
}

/// What it costs to pass deleted keys, from this count to that. They are of different threads when the iterator moved.
fn cost(before: u64, after: u64) -> u64 {
    after.saturating_sub(before).saturating_mul(DELETED_COST)
}

/// The deleted keys that this thread has passed. Nothing but cursors passes many.
fn deleted() -> u64 {
    counter(PerfMetric::InternalDeleteSkippedCount)
}

/// The comparisons that this thread has made.
fn compared() -> u64 {
    counter(PerfMetric::UserKeyComparisonCount)
}

fn counter(metric: PerfMetric) -> u64 {
    // Not while the thread ends.
    COUNTERS.try_with(|counters| counters.metric(metric)).unwrap_or(0)
}
