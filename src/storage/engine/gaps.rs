//! Stretches of keys in which many were deleted and none is left.
//!
//! RocksDB keeps a deleted key as a marker until compactions reach it, and an iterator passes the markers one by one:
//! the head of a queue is behind all that were ever popped. Owns the list of such stretches, *gaps*, that iterators
//! leave out ([`cursor`](super::cursor)). It is in memory only, and bounded. Readers find gaps; nothing else searches.
//!
//! What always holds: a gap that a view uses has no key in this view. Time is counted by a clock that is odd while a
//! batch is being written, from before the gaps are cut until RocksDB has returned. The steps:
//!
//! 1. A reader that found a stretch empty *suspects* it: it lists it, and then reads the clock. Every write that begins
//!    after that clears its puts' keys from the list before it changes the data ([`Gaps::begin_write`]). The suspicion is
//!    *since* the end of the write that was under way, which may not have seen it.
//! 2. A view that contains everything written until then, and finds the stretch empty as well, makes it *known*: the
//!    states before may have had keys in it, those afterwards have none as long as it is listed. If nothing was written
//!    since the first reader's view, that view is enough. A known gap is since the end of the write that is under way
//!    when it becomes known: a view from before that may miss a deletion which the finder saw.
//! 3. A view reads the clock, then takes its snapshot, then takes the known gaps, and uses those that are not since
//!    later than the clock it read. A put that it shows was cleared before the put was visible, so before the view took
//!    the gaps.
//!
//! Keys also come by a raft snapshot, all keys of a stretch at once and without a batch, while another thread writes
//! batches: the stretch is *filled* ([`Gaps::begin_filling`]). From before that until it is done nothing in the stretch is
//! listed, and afterwards nothing is that an earlier view reports: each view has counted the fillings that were done before
//! its snapshot. So what is listed in the stretch was found in a view that shows what came. An earlier view may use it,
//! for nothing is removed by filling.
//!
//! Deletions need no step. A failed write that cleared keys costs only speed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// A step of an iterator that cost more than this is reported: about a hundred deleted keys, or ten microseconds.
const NOTED_COST: u64 = 1024;
/// The parts into which puts divide a gap are forgotten when they save less than the noted cost divided by this.
const WORTHLESS: u64 = 4;
/// Known gaps. A view copies a pointer to the list, a write searches it for each put.
const KNOWN_MAX: usize = 256;
/// Suspected gaps. A write compares each put with all of them.
const SUSPECTED_MAX: usize = 8;
/// A suspicion that nothing has confirmed during so many writes is forgotten. The clock counts two a write.
const SUSPECTED_CLOCK: u64 = 2 * 1024;
/// The list takes at most a mebibyte.
const KEY_BYTES_MAX: usize = 2048;

/// The keys from `begin` up to `end`, exclusive; none means that there is no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub begin: Arc<[u8]>,
    pub end: Option<Arc<[u8]>>,
}

impl Stretch {
    pub(super) fn new(begin: &[u8], end: Option<&[u8]>) -> Self {
        Self { begin: begin.into(), end: end.map(Into::into) }
    }

    fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.begin)
    }

    fn is_long(&self) -> bool {
        self.begin.len().max(self.end.as_ref().map_or(0, |end| end.len())) > KEY_BYTES_MAX
    }

    /// Whether all of `other` is in this one.
    fn covers(&self, other: &Self) -> bool {
        let ends_later = |end: &Arc<[u8]>| other.end.as_ref().is_some_and(|other| other <= end);
        self.begin <= other.begin && self.end.as_ref().is_none_or(ends_later)
    }

    fn contains(&self, key: &[u8]) -> bool {
        &*self.begin <= key && self.ends_after(key)
    }

    pub(super) fn ends_after(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < &**end)
    }

    /// Whether together they are one stretch.
    fn touches(&self, other: &Self) -> bool {
        let reaches = |left: &Self, right: &Self| left.end.as_ref().is_none_or(|end| *end >= right.begin);
        reaches(self, other) && reaches(other, self)
    }

    fn overlaps(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    fn intersection(&self, other: &Self) -> Self {
        let end = match (&self.end, &other.end) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.as_ref().or(right.as_ref()),
        };
        Self { begin: Arc::clone((&self.begin).max(&other.begin)), end: end.cloned() }
    }

    fn union(&self, other: &Self) -> Self {
        let end = self.end.as_ref().zip(other.end.as_ref()).map(|(left, right)| left.max(right));
        Self { begin: Arc::clone((&self.begin).min(&other.begin)), end: end.cloned() }
    }

    /// What is left without `key`.
    fn without(&self, key: &[u8]) -> [Self; 2] {
        let after = [key, &[0]].concat();
        [Self::new(&self.begin, Some(key)), Self { begin: after.into(), end: self.end.clone() }]
    }
}

/// A listed stretch.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub stretch: Stretch,
    /// See the module.
    since: u64,
    /// What it saves an iterator, roughly.
    cost: u64,
}

impl Gap {
    /// Cuts `gaps` where one contains `key`, and returns whether one did.
    fn cut(gaps: &mut Vec<Self>, at: usize, key: &[u8], cost_min: u64) -> bool {
        let Some(gap) = gaps.get(at).filter(|gap| gap.stretch.contains(key)) else { return false };
        let (since, cost) = (gap.since, gap.cost / 2);
        let parts = gap.stretch.without(key).into_iter().filter(|part| cost >= cost_min && !part.is_empty());
        let parts: Vec<_> = parts.map(|stretch| Self { stretch, since, cost }).collect();
        gaps.splice(at..=at, parts);
        true
    }
}

/// The gaps that a view may use.
#[derive(Debug, Default)]
pub(super) struct Usable {
    known: Option<Arc<[Gap]>>,
    at: Moment,
}

/// When a view was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    clock: u64,
    fillings: u64,
}

impl Usable {
    /// Those with a part between the bounds, in ascending order.
    pub(super) fn within(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Vec<Stretch> {
        let known = self.known.as_deref().unwrap_or_default();
        let first = known.partition_point(|gap| !gap.stretch.ends_after(lower.unwrap_or_default()));
        let known = known[first..].iter();
        let inside = known.take_while(|gap| upper.is_none_or(|upper| &*gap.stretch.begin < upper));
        inside.filter(|gap| gap.since <= self.at.clock).map(|gap| gap.stretch.clone()).collect()
    }

    /// When the view was opened.
    pub(super) fn at(&self) -> Moment {
        self.at
    }
}

/// The gaps of one database.
pub(super) struct Gaps {
    clock: AtomicU64,
    /// How many fillings are done.
    fillings: AtomicU64,
    /// Whether there is anything for a write to look at.
    are_listed: AtomicBool,
    listed: Mutex<Listed>,
    are_published: AtomicBool,
    /// The known ones of `listed`. Locked only to copy or replace the pointer.
    published: Mutex<Arc<[Gap]>>,
    noted_cost: AtomicU64,
}

#[derive(Default)]
struct Listed {
    /// In ascending order; none touches another.
    known: Vec<Gap>,
    /// The oldest first.
    suspected: Vec<Gap>,
    /// Those that are being filled.
    filling: Vec<Stretch>,
}

/// A write is under way.
pub(super) struct Writing<'a>(&'a Gaps);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.clock.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stretch is being filled.
pub(super) struct Filling<'a> {
    gaps: &'a Gaps,
    stretch: Stretch,
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let mut listed = lock(&self.gaps.listed);
        self.gaps.fillings.fetch_add(1, Ordering::SeqCst);
        let at = listed.filling.iter().position(|stretch| *stretch == self.stretch);
        listed.filling.remove(at.expect("it was listed when it began"));
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            clock: AtomicU64::new(0),
            fillings: AtomicU64::new(0),
            are_listed: AtomicBool::new(false),
            listed: Mutex::default(),
            are_published: AtomicBool::new(false),
            published: Mutex::new(Arc::default()),
            noted_cost: AtomicU64::new(NOTED_COST),
        }
    }
}

impl Gaps {
    /// Must be called before a batch that puts `puts` changes the data; the result is dropped after that.
    pub(super) fn begin_write<'k>(&self, puts: impl Iterator<Item = &'k [u8]>) -> Writing<'_> {
        let before = self.clock.fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "one thread writes at a time");
        let writing = Writing(self);
        // Either this sees what a reader has listed, or the reader, which reads the clock later, sees this write.
        if self.are_listed.load(Ordering::SeqCst) {
            self.clear(puts);
        }
        writing
    }

    /// Must be called before keys appear in `stretch` without a batch; the result is dropped after that.
    pub(super) fn begin_filling(&self, stretch: Stretch) -> Filling<'_> {
        let mut listed = lock(&self.listed);
        listed.known.retain(|gap| !gap.stretch.overlaps(&stretch));
        listed.suspected.retain(|gap| !gap.stretch.overlaps(&stretch));
        listed.filling.push(stretch.clone());
        self.publish(&listed);
        drop(listed);
        Filling { gaps: self, stretch }
    }

    fn clear<'k>(&self, puts: impl Iterator<Item = &'k [u8]>) {
        let cost_min = self.noted_cost() / WORTHLESS;
        let now = self.clock.load(Ordering::SeqCst);
        let mut listed = lock(&self.listed);
        let mut has_cut = false;
        for key in puts {
            has_cut |= listed.clear(key, cost_min);
        }
        listed.suspected.retain(|gap| now.saturating_sub(gap.since) < SUSPECTED_CLOCK);
        if has_cut || listed.is_empty() {
            self.publish(&listed);
        }
    }

    /// Opens a view: `take` takes its snapshot.
    pub(super) fn open<T>(&self, take: impl FnOnce() -> T) -> (T, Usable) {
        let clock = self.clock.load(Ordering::SeqCst) & !1;
        let at = Moment { clock, fillings: self.fillings.load(Ordering::SeqCst) };
        let snapshot = take();
        let known = self.are_published.load(Ordering::SeqCst).then(|| Arc::clone(&lock(&self.published)));
        (snapshot, Usable { known, at })
    }

    /// The cost from which a step is to be reported.
    pub(super) fn noted_cost(&self) -> u64 {
        self.noted_cost.load(Ordering::Relaxed)
    }

    /// A reader of the view that was opened `at` has found `seen` empty. Does nothing while another thread is at it: the
    /// next reader will come here again.
    pub(super) fn report(&self, at: Moment, seen: Stretch, cost: u64) {
        if seen.is_empty() || seen.is_long() {
            return;
        }
        let mut listed = match self.listed.try_lock() {
            Ok(listed) => listed,
            Err(TryLockError::Poisoned(listed)) => listed.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if listed.known.iter().any(|gap| gap.stretch.covers(&seen)) {
            return; // By a reader of an older view.
        }
        if at.fillings != self.fillings.load(Ordering::SeqCst) || listed.is_filling(&seen) {
            return;
        }
        let mut found = listed.take_suspected(at.clock, &seen);
        listed.suspect(Gap { stretch: seen, since: u64::MAX, cost });
        self.are_listed.store(true, Ordering::SeqCst);
        let now = self.clock.load(Ordering::SeqCst).next_multiple_of(2);
        if at.clock == now {
            found.extend(listed.suspected.pop());
        } else if let Some(gap) = listed.suspected.last_mut() {
            gap.since = now;
        }
        if found.is_empty() {
            return;
        }
        found.into_iter().for_each(|gap| listed.know(Gap { since: now, ..gap }));
        self.publish(&listed);
    }

    fn publish(&self, listed: &Listed) {
        *lock(&self.published) = listed.known.as_slice().into();
        self.are_published.store(!listed.known.is_empty(), Ordering::SeqCst);
        self.are_listed.store(!listed.is_empty(), Ordering::SeqCst);
    }

    /// Reports steps of any cost.
    #[cfg(test)]
    pub(super) fn note_all(&self) {
        self.noted_cost.store(0, Ordering::Relaxed);
    }
}

impl Listed {
    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.suspected.is_empty()
    }

    fn is_filling(&self, seen: &Stretch) -> bool {
        self.filling.iter().any(|stretch| stretch.overlaps(seen))
    }

    /// Removes `key` from all gaps; returns whether a known one had it.
    fn clear(&mut self, key: &[u8], cost_min: u64) -> bool {
        for at in (0..self.suspected.len()).rev() {
            Gap::cut(&mut self.suspected, at, key, cost_min);
        }
        self.suspected.truncate(SUSPECTED_MAX);
        let after = self.known.partition_point(|gap| &*gap.stretch.begin <= key);
        let has_cut = after > 0 && Gap::cut(&mut self.known, after - 1, key, cost_min);
        self.bound();
        has_cut
    }

    /// Forgets the known gap that saves the least when there are too many.
    fn bound(&mut self) {
        if self.known.len() > KNOWN_MAX {
            let least = self.known.iter().enumerate().min_by_key(|(_, gap)| gap.cost).map(|(at, _)| at);
            least.map(|at| self.known.remove(at));
        }
    }

    /// Takes out the parts of suspected gaps that a view which was opened `at` has `seen` too.
    fn take_suspected(&mut self, at: u64, seen: &Stretch) -> Vec<Gap> {
        let seen_too = |gap: &Gap| gap.since <= at && !gap.stretch.intersection(seen).is_empty();
        let found = self.suspected.extract_if(.., |gap| seen_too(gap));
        found.map(|gap| Gap { stretch: gap.stretch.intersection(seen), ..gap }).collect()
    }

    fn suspect(&mut self, gap: Gap) {
        if self.suspected.len() >= SUSPECTED_MAX {
            self.suspected.remove(0);
        }
        self.suspected.push(gap);
    }

    /// Adds a known gap, or enlarges those that it touches.
    fn know(&mut self, mut gap: Gap) {
        let first = self
            .known
            .partition_point(|known| known.stretch.end.as_ref().is_some_and(|end| *end < gap.stretch.begin));
        let touching =
            self.known[first..].iter().take_while(|known| known.stretch.touches(&gap.stretch)).count();
        for known in self.known.drain(first..first + touching) {
            let cost = known.cost.saturating_add(gap.cost);
            gap = Gap { stretch: known.stretch.union(&gap.stretch), since: gap.since.max(known.since), cost };
        }
        self.known.insert(first, gap);
        self.bound();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
