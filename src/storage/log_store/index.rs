//! The state of every region's log: the positions of its entries, without the entries themselves.
//!
//! Owns one [`RegionLog`] per region and the use count of every segment. What always holds: the index is the result of
//! applying the items of all frames in order, which is how recovery builds it and how the writer maintains it. Memory
//! is one [`Extent`] per 64 KiB of log or per frame, whichever is larger, and never one per small entry. Applying an
//! item costs no more in a long log than in a short one, whatever is dropped or moved by it aside. Applying does not
//! check that a region's entries are contiguous, because recovery starts at the oldest segment still needed and
//! sees rewritten entries only later; [`Index::check`] does, at the end.

use std::collections::{BTreeMap, VecDeque};

use super::items::{Item, Malformed, RegionState, Run, items};
use crate::types::{LogIndex, RegionId, Term};

/// How many bytes of consecutive frames one extent may span. Reading one entry reads its whole extent.
const EXTENT_BYTES_MAX: u32 = 64 << 10;

/// The same for an extent with few entries, because the frames are mostly other regions': with one per 64 KiB the
/// extents of hundreds of regions would take a fifth of the log's size. Reading all of it costs as much either way.
const SPARSE_EXTENT_BYTES_MAX: u32 = 1 << 20;

/// An extent whose entries take less than that has few of them.
const SPARSE_BYTES_MAX: u32 = 4 << 10;

/// Whole frames in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// The segment's number.
    pub segment: u64,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

/// Consecutive entries of one term in consecutive frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub first: LogIndex,
    pub last: LogIndex,
    pub term: Term,
    /// The frames. They also hold items of other regions, and perhaps entries of this one that the extent
    /// no longer covers, but each covered index only once.
    pub at: Location,
    /// About how many bytes of these frames the covered entries take.
    pub bytes: u32,
    /// Invariant: false once an end was cut off, because the frames then hold overwritten entries, whose
    /// indexes a longer extent would cover a second time.
    growing: bool,
}

impl Extent {
    fn new(run: &Run<'_>, at: Location, growing: bool) -> Self {
        Self { first: run.first, last: run.last, term: run.term, at, bytes: run.bytes(), growing }
    }

    /// The number of entries it covers.
    pub(super) fn count(&self) -> u64 {
        self.last.get() - self.first.get() + 1
    }

    fn narrowed(mut self, first: LogIndex, last: LogIndex) -> Self {
        let before = self.count();
        self.growing &= last == self.last;
        (self.first, self.last) = (first, last);
        let bytes = u64::from(self.bytes) * self.count() / before;
        self.bytes = u32::try_from(bytes).expect("a part is not larger than the whole");
        self
    }

    fn can_grow(&self, run: &Run<'_>, at: Location) -> bool {
        self.growing
            && self.term == run.term
            && self.last.next() == run.first
            && self.at.segment == at.segment
            && at.end - self.at.start <= span_bytes_max(self.bytes + run.bytes())
    }
}

fn span_bytes_max(entries_bytes: u32) -> u32 {
    if entries_bytes < SPARSE_BYTES_MAX { SPARSE_EXTENT_BYTES_MAX } else { EXTENT_BYTES_MAX }
}

/// One region's log.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionLog {
    /// The newest state.
    pub state: RegionState,
    /// The segment of its item; `None` before the first.
    pub state_segment: Option<u64>,
    /// By first index, without overlap; after recovery also without holes.
    extents: BTreeMap<LogIndex, Extent>,
}

impl RegionLog {
    /// Index and term of the last entry, or of the truncated one when there is none.
    pub(super) fn last(&self) -> (LogIndex, Term) {
        self.extents.last_key_value().map_or(self.state.truncated, |(_, extent)| (extent.last, extent.term))
    }

    /// The term of the entry at `index` or of the truncated entry.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.state.truncated.0 {
            return Some(self.state.truncated.1);
        }
        self.extent(index).map(|extent| extent.term)
    }

    /// The extent that covers `index`.
    pub(super) fn extent(&self, index: LogIndex) -> Option<&Extent> {
        let (_, extent) = self.extents.range(..=index).next_back()?;
        (extent.last >= index).then_some(extent)
    }

    /// The last index and the approximate size of each extent, in order.
    pub(super) fn stretches(&self) -> impl Iterator<Item = (LogIndex, u64)> {
        self.extents.values().map(|extent| (extent.last, u64::from(extent.bytes)))
    }

    /// The extents that begin at `first` or later, in order.
    pub(super) fn extents_from(&self, first: LogIndex) -> impl Iterator<Item = &Extent> {
        self.extents.range(first..).map(|(_, extent)| extent)
    }

    fn append(&mut self, run: &Run<'_>, at: Location, uses: &mut Uses) {
        self.drop_from(run.first, uses);
        match self.extents.last_entry() {
            Some(mut last) if last.get().can_grow(run, at) => {
                let extent = last.get_mut();
                uses.release(extent);
                (extent.last, extent.at.end) = (run.last, at.end);
                extent.bytes += run.bytes();
                uses.hold(extent);
            }
            _ => self.insert(Extent::new(run, at, true), uses),
        }
    }

    /// Replaces the positions of the indexes of `run`.
    fn relocate(&mut self, run: &Run<'_>, at: Location, uses: &mut Uses) {
        let low = run.first.max(self.state.truncated.0.next());
        if low > run.last {
            return;
        }
        self.split_at(low, uses);
        self.split_at(run.last.next(), uses);
        while let Some((&first, _)) = self.extents.range(low..=run.last).next() {
            self.remove(first, uses);
        }
        self.insert(Extent::new(run, at, false).narrowed(low, run.last), uses);
    }

    fn set_state(&mut self, state: RegionState, at: Location, uses: &mut Uses) {
        self.state = state;
        self.state_segment = Some(at.segment);
        self.split_at(state.truncated.0.next(), uses);
        while let Some((&first, _)) = self.extents.first_key_value()
            && first <= state.truncated.0
        {
            self.remove(first, uses);
        }
    }

    fn reset(&mut self, state: RegionState, at: Location, uses: &mut Uses) {
        self.clear(uses);
        self.set_state(state, at, uses);
    }

    fn clear(&mut self, uses: &mut Uses) {
        std::mem::take(&mut self.extents).values().for_each(|extent| uses.release(extent));
    }

    /// Drops everything at or above `index`.
    fn drop_from(&mut self, index: LogIndex, uses: &mut Uses) {
        self.split_at(index, uses);
        while let Some((&first, _)) = self.extents.last_key_value()
            && first >= index
        {
            self.remove(first, uses);
        }
    }

    /// Makes an extent begin at `index` if one covers it.
    fn split_at(&mut self, index: LogIndex, uses: &mut Uses) {
        let Some((_, cut)) = self.extents.range_mut(..index).next_back().filter(|(_, cut)| cut.last >= index)
        else {
            return;
        };
        uses.release(cut);
        let above = cut.narrowed(index, cut.last);
        *cut = cut.narrowed(cut.first, LogIndex(index.get() - 1));
        uses.hold(cut);
        self.insert(above, uses);
    }

    fn insert(&mut self, extent: Extent, uses: &mut Uses) {
        assert!(extent.first <= extent.last, "an extent covers something");
        uses.hold(&extent);
        let replaced = self.extents.insert(extent.first, extent);
        assert!(replaced.is_none(), "extents do not overlap");
    }

    fn remove(&mut self, first: LogIndex, uses: &mut Uses) {
        let extent = self.extents.remove(&first).expect("the caller saw it");
        uses.release(&extent);
    }

    /// The first extent that does not continue the one before it, with the index that is missing.
    fn hole(&self) -> Option<(LogIndex, Location)> {
        let mut next = self.state.truncated.0.next();
        for extent in self.extents.values() {
            if extent.first != next {
                return Some((next, extent.at));
            }
            next = extent.last.next();
        }
        None
    }
}

/// How many extents need each segment.
#[derive(Clone, Debug)]
struct Uses {
    first_segment: u64,
    segments: VecDeque<Use>,
    live_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    extents: u64,
}

impl Uses {
    fn hold(&mut self, extent: &Extent) {
        self.of(extent).extents += 1;
        self.live_bytes += u64::from(extent.bytes);
    }

    fn release(&mut self, extent: &Extent) {
        self.of(extent).extents -= 1;
        self.live_bytes -= u64::from(extent.bytes);
    }

    fn of(&mut self, extent: &Extent) -> &mut Use {
        let at = usize::try_from(extent.at.segment - self.first_segment).expect("segments fit in memory");
        if at >= self.segments.len() {
            self.segments.resize(at + 1, Use::default());
        }
        &mut self.segments[at]
    }
}

/// A region whose log is not contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub region: RegionId,
    /// The first index that is missing.
    pub missing: LogIndex,
    /// The position of the entries after the hole.
    pub at: Location,
}

/// Every region's log.
#[derive(Clone, Debug)]
pub(super) struct Index {
    regions: BTreeMap<RegionId, RegionLog>,
    uses: Uses,
    /// The highest `oldest` item seen; 1 before the first.
    pub oldest_segment: u64,
}

impl Index {
    /// An empty index, for a log that starts with segment `first_segment`.
    pub(super) fn new(first_segment: u64) -> Self {
        let uses = Uses { first_segment, segments: VecDeque::new(), live_bytes: 0 };
        Self { regions: BTreeMap::new(), uses, oldest_segment: 1 }
    }

    /// Applies all items of a frame.
    ///
    /// # Errors
    /// [`Malformed`] when the body does not parse; the items before the malformed one were applied.
    pub(super) fn apply(&mut self, body: &[u8], at: Location) -> Result<(), Malformed> {
        for item in items(body) {
            match item? {
                Item::Entries(run) => log_of(&mut self.regions, run.region).append(&run, at, &mut self.uses),
                Item::Rewritten(run) => {
                    log_of(&mut self.regions, run.region).relocate(&run, at, &mut self.uses)
                }
                Item::State(region, state) => {
                    log_of(&mut self.regions, region).set_state(state, at, &mut self.uses)
                }
                Item::Reset(region, state) => {
                    log_of(&mut self.regions, region).reset(state, at, &mut self.uses)
                }
                Item::Removal(region) => self.remove(region),
                Item::Oldest(segment) => self.oldest_segment = self.oldest_segment.max(segment),
            }
        }
        Ok(())
    }

    fn remove(&mut self, region: RegionId) {
        if let Some(mut log) = self.regions.remove(&region) {
            log.clear(&mut self.uses);
        }
    }

    /// The log of `region`.
    pub(super) fn get(&self, region: RegionId) -> Option<&RegionLog> {
        self.regions.get(&region)
    }

    /// All logs, by region.
    pub(super) fn logs(&self) -> impl Iterator<Item = (RegionId, &RegionLog)> {
        self.regions.iter().map(|(region, log)| (*region, log))
    }

    /// The logs of `first` and the regions after it.
    pub(super) fn logs_from(&self, first: RegionId) -> impl Iterator<Item = (RegionId, &RegionLog)> {
        self.regions.range(first..).map(|(region, log)| (*region, log))
    }

    /// True when `segment` has an entry that is still needed.
    pub(super) fn has_entries_in(&self, segment: u64) -> bool {
        let at = segment.checked_sub(self.uses.first_segment).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.uses.segments.get(at)).is_some_and(|uses| uses.extents > 0)
    }

    /// The approximate size of all entries still needed.
    pub(super) fn live_bytes(&self) -> u64 {
        self.uses.live_bytes
    }

    /// Forgets the use counts of segments before `segment`, which are no longer needed.
    pub(super) fn forget_before(&mut self, segment: u64) {
        while self.uses.first_segment < segment {
            let forgotten = self.uses.segments.pop_front().unwrap_or_default();
            assert!(forgotten.extents == 0, "segment {} is still in use", self.uses.first_segment);
            self.uses.first_segment += 1;
        }
    }

    /// Checks that every region's log is contiguous from its truncated entry on.
    ///
    /// # Errors
    /// The first [`Hole`].
    pub(super) fn check(&self) -> Result<(), Hole> {
        let hole = |(region, log): (RegionId, &RegionLog)| {
            log.hole().map(|(missing, at)| Hole { region, missing, at })
        };
        self.logs().find_map(hole).map_or(Ok(()), Err)
    }
}

fn log_of(regions: &mut BTreeMap<RegionId, RegionLog>, region: RegionId) -> &mut RegionLog {
    regions.entry(region).or_default()
}

#[cfg(test)]
mod tests {
    use super::super::items::{put_entries, put_oldest, put_removal, put_reset, put_rewritten, put_state};
    use super::*;
    use raft::eraftpb::Entry;

    const REGION: RegionId = RegionId(7);

    fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
        range.map(|index| Entry { index, term, data: vec![0; 8].into(), ..Entry::default() }).collect()
    }

    fn state(truncated: u64, term: u64) -> RegionState {
        RegionState { truncated: (LogIndex(truncated), Term(term)), ..RegionState::default() }
    }

    /// An index and the position of its next frame.
    struct Log {
        index: Index,
        at: Location,
    }

    impl Log {
        fn new() -> Self {
            Self { index: Index::new(1), at: Location { segment: 1, start: 0, end: 0 } }
        }

        fn frame(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Location {
            let mut body = Vec::new();
            put(&mut body);
            let start = self.at.end;
            self.at = Location { start, end: start + u32::try_from(body.len()).unwrap(), ..self.at };
            self.index.apply(&body, self.at).unwrap();
            self.at
        }

        fn append(&mut self, range: std::ops::RangeInclusive<u64>, term: u64) -> Location {
            self.frame(|body| put_entries(body, REGION, &entries(range, term)))
        }

        fn next_segment(&mut self) {
            self.at = Location { segment: self.at.segment + 1, start: 0, end: 0 };
        }

        fn log(&self) -> &RegionLog {
            self.index.get(REGION).unwrap()
        }

        fn shape(&self) -> Vec<(u64, u64, u64)> {
            let extents = self.log().extents.values();
            extents.map(|extent| (extent.first.0, extent.last.0, extent.term.0)).collect()
        }
    }

    #[test]
    fn consecutive_small_appends_share_an_extent() {
        let mut log = Log::new();
        for index in 1..=100 {
            log.append(index..=index, 1);
        }

        assert_eq!(log.shape(), [(1, 100, 1)]);
        assert_eq!(log.log().last(), (LogIndex(100), Term(1)));
    }

    #[test]
    fn an_extent_ends_with_its_term_its_segment_and_its_size() {
        let mut log = Log::new();
        log.append(1..=2, 1);
        log.append(3..=4, 2);
        log.next_segment();
        log.append(5..=5, 2);
        log.append(6..=7000, 2);

        assert_eq!(log.shape(), [(1, 2, 1), (3, 4, 2), (5, 5, 2), (6, 7000, 2)]);
        assert_eq!(log.log().term(LogIndex(2)), Some(Term(1)));
        assert_eq!(log.log().term(LogIndex(6)), Some(Term(2)));
        assert_eq!(log.log().term(LogIndex(7001)), None);
    }

    #[test]
    fn an_overwritten_suffix_is_gone_and_its_extent_never_grows_again() {
        let mut log = Log::new();
        log.append(1..=10, 1);
        log.append(6..=7, 2);
        log.append(6..=6, 1);
        log.append(7..=7, 1);

        assert_eq!(log.shape(), [(1, 5, 1), (6, 7, 1)]);
        assert!(log.log().extent(LogIndex(6)).unwrap().at.start > 0);
    }

    #[test]
    fn an_extent_of_few_entries_spans_more_frames_of_other_regions() {
        let (mut log, others) = (Log::new(), entries(1..=2000, 1));
        for index in 1..=64 {
            log.append(index..=index, 1);
            log.frame(|body| put_entries(body, RegionId(8), &others));
        }

        let spans: Vec<_> = log.log().extents_from(LogIndex(0)).map(|it| it.at.end - it.at.start).collect();

        assert!(spans.len() < 4, "{spans:?}");
        assert!(spans.iter().all(|bytes| *bytes <= SPARSE_EXTENT_BYTES_MAX), "{spans:?}");
    }

    #[test]
    fn truncation_drops_the_front_and_keeps_the_rest() {
        let mut log = Log::new();
        log.append(1..=10, 1);
        log.frame(|body| put_state(body, REGION, &state(4, 1)));

        assert_eq!(log.shape(), [(5, 10, 1)]);
        assert_eq!(log.log().term(LogIndex(4)), Some(Term(1)));
        assert_eq!(log.index.check(), Ok(()));
    }

    #[test]
    fn a_reset_drops_everything() {
        let mut log = Log::new();
        log.append(1..=10, 1);
        log.frame(|body| put_reset(body, REGION, &state(4, 9)));

        assert_eq!(log.shape(), []);
        assert_eq!(log.log().last(), (LogIndex(4), Term(9)));
        assert_eq!(log.index.live_bytes(), 0);
    }

    #[test]
    fn a_segment_is_in_use_as_long_as_an_entry_in_it_is_needed() {
        let mut log = Log::new();
        log.append(1..=10, 1);
        log.next_segment();
        log.append(11..=20, 1);

        log.frame(|body| put_state(body, REGION, &state(9, 1)));
        assert!(log.index.has_entries_in(1));
        log.frame(|body| put_state(body, REGION, &state(10, 1)));
        assert!(!log.index.has_entries_in(1));
        log.index.forget_before(2);
        assert!(log.index.has_entries_in(2));
        log.frame(|body| put_removal(body, REGION));
        assert!(!log.index.has_entries_in(2));
    }

    #[test]
    fn rewritten_entries_change_their_position_and_nothing_else() {
        let mut log = Log::new();
        log.append(1..=10, 1);
        log.next_segment();
        log.append(11..=20, 1);
        log.frame(|body| put_rewritten(body, REGION, &entries(1..=10, 1)));

        assert_eq!(log.shape(), [(1, 10, 1), (11, 20, 1)]);
        assert!(!log.index.has_entries_in(1));
        assert_eq!(log.index.check(), Ok(()));
    }

    #[test]
    fn rewritten_entries_fill_the_hole_that_a_freed_segment_left() {
        let mut log = Log::new();
        log.append(11..=20, 1);
        log.frame(|body| put_state(body, REGION, &state(2, 1)));
        let missing = log.index.check().unwrap_err().missing;
        log.frame(|body| put_rewritten(body, REGION, &entries(1..=10, 1)));

        assert_eq!(missing, LogIndex(3));
        assert_eq!(log.shape(), [(3, 10, 1), (11, 20, 1)]);
        assert_eq!(log.index.check(), Ok(()));
    }

    #[test]
    fn a_hole_names_its_region_and_the_position_of_what_follows() {
        let mut log = Log::new();
        log.append(1..=3, 1);
        let at = log.append(5..=6, 1);

        let hole = log.index.check().unwrap_err();

        assert_eq!(hole, Hole { region: REGION, missing: LogIndex(4), at });
    }

    #[test]
    fn the_highest_oldest_segment_counts() {
        let mut log = Log::new();
        log.frame(|body| put_oldest(body, 3));
        log.frame(|body| put_oldest(body, 2));

        assert_eq!(log.index.oldest_segment, 3);
    }
}
