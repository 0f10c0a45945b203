//! Looks at the data on the caller's own thread, between two looks at what the peers have published.
//!
//! Owns the four steps of a read under the leases of the regions it touches: note the term under which the lease is
//! published, take the view, read the clock, check that the term is the same and that the lease had not ended by that
//! clock. What always holds: if it succeeds, the view shows every write acknowledged by any member before the read began;
//! if it does not, nothing is known and the peer must be asked. Owns too the three steps of any other read: note which
//! data the regions have, look at them, check that they are the same. If that succeeds, they were whole. The meaning of a
//! lease is left to [`crate::core::lease`], and asking the peer to [`confirming`](super::confirming).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::completion::Position;
use crate::core::lease::{DataStamp, Glimpse, PublishedRegion};
use crate::time::now;
use crate::types::{LogIndex, RegionId};

/// The leases of all regions, as published by their peers.
#[derive(Debug)]
pub(super) struct Leases {
    of: BTreeMap<RegionId, Arc<PublishedRegion>>,
    #[cfg(test)]
    pub(super) moments: Moments,
}

impl Leases {
    /// The index up to which the engine contains a region's log; 0 for an unknown region.
    pub(super) fn applied(&self, region: RegionId) -> LogIndex {
        self.of.get(&region).map_or(LogIndex(0), |lease| lease.applied())
    }

    #[cfg(test)]
    pub(super) fn of(&self, region: RegionId) -> &PublishedRegion {
        &self.of[&region]
    }

    pub(super) fn new(leases: impl IntoIterator<Item = (RegionId, Arc<PublishedRegion>)>) -> Self {
        Self {
            of: leases.into_iter().collect(),
            #[cfg(test)]
            moments: Moments::default(),
        }
    }

    /// The result of `look`, if this member holds the lease of every one of `regions` before and after it; with the
    /// log position it shows, which is the default for several regions.
    ///
    /// The data were whole then, without a stamp: only a follower takes in a raft snapshot. Its peer has taken back what
    /// it published as a leader in the round in which it became one, before it hands the snapshot to the applier; and while
    /// it takes it in it does not lead. So whoever sees data of which something is gone sees at the second look another
    /// term than at the first, or none.
    pub(super) fn read<T>(&self, regions: &[RegionId], look: impl FnOnce() -> T) -> Option<(T, Position)> {
        match regions {
            [only] => {
                let lease = self.of.get(only)?;
                let glimpse = lease.glimpse()?;
                let seen = look();
                lease.still_holds(glimpse, now()).then(|| (seen, glimpse.position()))
            }
            several => self.read_several(several, look),
        }
    }

    /// The result of `look`, if the data of every one of `regions` were whole, and the same, from its beginning to its
    /// end: no raft snapshot took their place meanwhile.
    pub(super) fn whole<T>(&self, regions: &[RegionId], look: impl FnOnce() -> T) -> Option<T> {
        #[cfg(test)]
        let look = || self.moments.after(look(), &self.of);
        let seen = match regions {
            [only] => {
                let published = self.of.get(only)?;
                published.data().and_then(|stamp| {
                    let seen = look();
                    published.are_still(stamp).then_some(seen)
                })
            }
            several => self.whole_several(several, look),
        };
        #[cfg(test)]
        self.moments.count(seen.is_none());
        seen
    }

    fn whole_several<T>(&self, regions: &[RegionId], look: impl FnOnce() -> T) -> Option<T> {
        let stamps: Option<Vec<(&PublishedRegion, DataStamp)>> = regions
            .iter()
            .map(|region| {
                let published = self.of.get(region)?;
                Some((&**published, published.data()?))
            })
            .collect();
        let stamps = stamps?;
        let seen = look();
        stamps.iter().all(|(published, stamp)| published.are_still(*stamp)).then_some(seen)
    }

    fn read_several<T>(&self, regions: &[RegionId], look: impl FnOnce() -> T) -> Option<(T, Position)> {
        let glimpsed: Option<Vec<(&PublishedRegion, Glimpse)>> = regions
            .iter()
            .map(|region| {
                let lease = self.of.get(region)?;
                Some((&**lease, lease.glimpse()?))
            })
            .collect();
        let glimpsed = glimpsed?;
        let seen = look();
        let now = now();
        let held = glimpsed.iter().all(|(lease, glimpse)| lease.still_holds(*glimpse, now));
        held.then(|| (seen, Position::default()))
    }
}

/// The moment between a look and the check that the data were whole, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// The regions whose replacement begins after the next look.
    replaced: std::sync::Mutex<Vec<RegionId>>,
    /// How many looks were in vain.
    refused: std::sync::atomic::AtomicUsize,
}

#[cfg(test)]
impl Moments {
    /// The data of `region` are replaced from the next look on.
    pub(super) fn replace_at_next_look(&self, region: RegionId) {
        self.replaced.lock().expect("no panic under it").push(region);
    }

    /// How many looks were in vain so far.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn after<T>(&self, seen: T, of: &BTreeMap<RegionId, Arc<PublishedRegion>>) -> T {
        let replaced = std::mem::take(&mut *self.replaced.lock().expect("no panic under it"));
        replaced.iter().for_each(|region| of[region].begin_replacement());
        seen
    }

    fn count(&self, is_refused: bool) {
        self.refused.fetch_add(usize::from(is_refused), std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::lease::Lease;
    use crate::types::Term;

    const POSITION: Position = Position { index: LogIndex(9), term: Term(7) };

    fn valid() -> Lease {
        let mut lease = Lease::new(Duration::from_secs(3600));
        lease.renew_by_commit(now(), now());
        lease.publish(Some(POSITION));
        lease
    }

    #[test]
    fn a_read_needs_the_lease_of_every_region() {
        let (one, mut other) = (valid(), valid());
        let leases = Leases::new([(RegionId(1), one.published()), (RegionId(2), other.published())]);

        assert_eq!(leases.read(&[RegionId(1)], || 5), Some((5, POSITION)));
        assert_eq!(leases.read(&[RegionId(1), RegionId(2)], || 5), Some((5, Position::default())));
        other.expire();
        assert_eq!(leases.read(&[RegionId(1), RegionId(2)], || 5), None);
        assert_eq!(leases.read(&[RegionId(3)], || 5), None);
    }

    #[test]
    fn data_are_whole_unless_those_of_one_of_the_regions_are_replaced_meanwhile() {
        let (one, other) = (valid(), valid());
        let (first, second) = (one.published(), other.published());
        let leases = Leases::new([(RegionId(1), Arc::clone(&first)), (RegionId(2), Arc::clone(&second))]);
        let both = [RegionId(1), RegionId(2)];

        assert_eq!(leases.whole(&both, || 5), Some(5));
        assert_eq!(leases.whole(&both, || second.begin_replacement()), None);
        assert_eq!(leases.whole(&both, || unreachable!("a part of it is gone")), None::<()>);
        assert_eq!(leases.whole(&both[1..], || unreachable!("a part of it is gone")), None::<()>);
        assert_eq!(leases.whole(&both[..1], || 5), Some(5), "nothing happens to it");
        let replaced = || {
            first.begin_replacement();
            first.end_replacement();
        };
        assert_eq!(leases.whole(&both[..1], replaced), None, "the data before and those behind it");
        second.end_replacement();

        assert_eq!(leases.whole(&both, || 5), Some(5));
    }

    #[test]
    fn a_lease_that_expires_while_the_view_is_taken_does_not_count() {
        let mut lease = valid();
        let leases = Leases::new([(RegionId(1), lease.published())]);

        assert_eq!(leases.read(&[RegionId(1)], || lease.expire()), None);
    }
}
