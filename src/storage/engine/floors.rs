//! The least version that a key is shown with.
//!
//! Owns one [`Floor`] for each region. A cluster whose members wrote values without versions gives each region a floor
//! once all of them know versions: the place in its log of the entry that says so. Until then members hold different
//! versions of one key, or none, for each was upgraded at another place; and from there on the larger of the stored
//! version and the floor is the same on every member, because all writes before the entry are below the floor and all
//! writes behind it above. A cluster that began with versions has no table at all, which costs its readers a branch.
//!
//! What always holds: **a reader that uses a floor sees the entry that set it.** Otherwise it would show the floor beside a
//! value that a later write before the entry replaces, and that write's value has the same version: a condition on what
//! was seen would be true of what was not. The steps:
//!
//! 1. The one thread that writes sets a floor after the engine has the entry, so a read without a view that asks for the
//!    floor before it reads the value ([`Floors::of_latest`]) sees the entry if it gets the floor.
//! 2. A view knows its own place among the writes, and uses a floor only if that is not before the place at which the
//!    floor was set ([`Floors::of_view`]). Whether it was opened before is no matter.
//!
//! The other way round there is a moment, between the write of the entry and step 1, at which a reader sees the entry and
//! no floor. It shows [`Version::UNKNOWN`] then, as everybody did until that moment, and no condition on that is ever true.
//! Zero would not do: it stands for a key that is not there, as which the key may be found once somebody deletes it.
//!
//! The table divides the keys as the regions did when the store was opened. A region that is divided later leaves its
//! floor to both parts, so the table stays right. Where floors are stored is left to the records of the regions.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::DB;

use super::Engine;
use crate::types::{LogIndex, Version};

/// The least version of a region's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// None yet: there may be members that store no versions, and all that is there is shown as [`Version::UNKNOWN`].
    Unknown,
    /// That of a write which this entry had; zero where all values have had versions from the beginning.
    At(LogIndex),
}

impl Floor {
    /// Of a region that has had versions from its beginning.
    pub(crate) const LOWEST: Self = Self::At(LogIndex(0));

    /// The version to show.
    #[must_use]
    #[inline]
    pub(super) fn effective(self, stored: Version) -> Version {
        match self {
            Self::Unknown => Version::UNKNOWN,
            Self::At(index) => stored.max(Version::of(index, 0)),
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Floors {
    /// Of all regions, in the order of their keys; set before the first read, or never.
    table: OnceLock<Box<[RegionFloor]>>,
}

/// The floor of the keys from `start` up to the next one's.
struct RegionFloor {
    start: Box<[u8]>,
    /// [`UNKNOWN`] or the index of the entry.
    index: AtomicU64,
    /// The database's sequence number when it was set; set before it.
    since: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Floors {
    /// True when versions are not always shown as they are stored. The answer never changes once there are readers.
    #[inline]
    pub(super) fn are_any(&self) -> bool {
        self.table.get().is_some()
    }

    /// For a value of `key` that is read after this call, as it is then.
    #[inline]
    pub(super) fn of_latest(&self, key: &[u8]) -> Floor {
        self.table.get().map_or(Floor::LOWEST, |table| floor_of(table, key).get())
    }

    /// For the value of `key` in a view of this sequence number.
    #[inline]
    pub(super) fn of_view(&self, key: &[u8], sequence: impl FnOnce() -> u64) -> Floor {
        self.table.get().map_or(Floor::LOWEST, |table| floor_of(table, key).get_at(sequence()))
    }
}

fn floor_of<'a>(table: &'a [RegionFloor], key: &[u8]) -> &'a RegionFloor {
    // The first region starts at the smallest key, so only the others need to be compared.
    &table[table[1..].partition_point(|region| &*region.start <= key)]
}

impl RegionFloor {
    fn new(start: &[u8], floor: Floor) -> Self {
        let index = match floor {
            Floor::Unknown => UNKNOWN,
            Floor::At(LogIndex(index)) => index,
        };
        Self { start: start.into(), index: AtomicU64::new(index), since: AtomicU64::new(0) }
    }

    fn get(&self) -> Floor {
        // Whoever sees the floor sees since when it is one, and what was written before that.
        match self.index.load(Ordering::Acquire) {
            UNKNOWN => Floor::Unknown,
            index => Floor::At(LogIndex(index)),
        }
    }

    fn get_at(&self, sequence: u64) -> Floor {
        let floor = self.get();
        if self.since.load(Ordering::Relaxed) <= sequence { floor } else { Floor::Unknown }
    }

    fn raise(&self, level: LogIndex, db: &DB) {
        assert!(level > LogIndex(0) && level.get() != UNKNOWN, "it is the place of an entry");
        match self.get() {
            Floor::Unknown => {
                self.since.store(db.latest_sequence_number(), Ordering::Relaxed);
                self.index.store(level.get(), Ordering::Release);
            }
            floor => assert_eq!(floor, Floor::At(level), "a region gets one floor"),
        }
    }
}

impl Engine {
    /// Takes over the floors of all regions, each with the first key of its range. To be called once, before anything is
    /// read; without the call no region has one.
    ///
    /// # Panics
    /// When it is called again.
    pub(crate) fn set_floors<'a>(&self, floors: impl IntoIterator<Item = (&'a [u8], Floor)>) {
        let floors = floors.into_iter();
        let mut table: Box<[_]> = floors.map(|(start, floor)| RegionFloor::new(start, floor)).collect();
        table.sort_by(|one, other| one.start.cmp(&other.start));
        assert!(table.first().is_some_and(|first| first.start.is_empty()), "regions cover all keys");
        if table.iter().any(|region| region.get() != Floor::LOWEST) {
            assert!(self.database.floors.table.set(table).is_ok(), "floors are set once");
        }
    }

    /// The region whose range begins with `start` has had its floor [`Floor::Unknown`], and the entry at `level` has ended
    /// that. To be called by the thread that writes, after the batch with this entry, before the next one is judged, and
    /// before anybody hears of the batch. Again, after a restart, it changes nothing.
    ///
    /// # Panics
    /// When the region began with versions, or got its floor from another entry.
    pub(crate) fn raise_floor(&self, start: &[u8], level: LogIndex) {
        let table = self.database.floors.table.get().expect("the region had no floor, so there is a table");
        floor_of(table, start).raise(level, &self.database.db);
    }
}
