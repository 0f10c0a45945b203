//! Reads on the caller's own thread, under the leases of the regions they touch.
//!
//! Owns the four steps of such a read: note the term under which the lease is published, take the view, read the clock,
//! check that the term is the same and that the lease had not ended by that clock. What always holds: if it succeeds,
//! the view shows every write acknowledged by any member before the read began; if it does not, nothing is known and
//! the peer must be asked. The meaning of a lease is left to [`crate::core::lease`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::completion::Position;
use crate::core::lease::{Glimpse, PublishedRegion};
use crate::time::now;
use crate::types::{LogIndex, RegionId};

/// The leases of all regions, as published by their peers.
#[derive(Debug)]
pub(super) struct Leases {
    of: BTreeMap<RegionId, Arc<PublishedRegion>>,
}

impl Leases {
    /// The index up to which the engine contains a region's log; 0 for an unknown region.
    pub(super) fn applied(&self, region: RegionId) -> LogIndex {
        self.of.get(&region).map_or(LogIndex(0), |lease| lease.applied())
    }

    pub(super) fn new(leases: impl IntoIterator<Item = (RegionId, Arc<PublishedRegion>)>) -> Self {
        Self { of: leases.into_iter().collect() }
    }

    /// The result of `look`, if this member holds the lease of every one of `regions` before and after it; with the
    /// log position it shows, which is the default for several regions.
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
    fn a_lease_that_expires_while_the_view_is_taken_does_not_count() {
        let mut lease = valid();
        let leases = Leases::new([(RegionId(1), lease.published())]);

        assert_eq!(leases.read(&[RegionId(1)], || lease.expire()), None);
    }
}
