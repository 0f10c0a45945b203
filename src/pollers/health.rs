//! Whether the store works, and the status of its peers.
//!
//! Owns the first error that stopped the store, whether it is closing, and the published status of each region. What
//! always holds: a store is poisoned once and for good, by its first error; every thread waiting for a status change
//! is woken by it. Reacting to it is left to the pollers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::completion::store_events::StoreEvents;
use crate::core::peer_status::PeerStatus;
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, NodeId, RegionId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Health {
    poison: OnceLock<Error>,
    closing: AtomicBool,
    /// The member was removed from its cluster.
    removed: OnceLock<NodeId>,
    statuses: Mutex<BTreeMap<RegionId, PeerStatus>>,
    changed: Condvar,
    events: OnceLock<Arc<StoreEvents>>,
}

impl Health {
    /// From now on, notifies `events` of changes.
    pub(crate) fn tell(&self, events: Arc<StoreEvents>) {
        assert!(self.events.set(events).is_ok(), "a store has one listener, from its start");
    }

    /// Stops the store for good. Only the first error counts.
    pub(crate) fn poison(&self, error: Error) {
        if self.poison.set(error.clone()).is_ok() {
            log::error!("the store stops: {error}");
            if let Some(events) = self.events.get() {
                events.poisoned(&error);
            }
        }
        self.wake_waiters();
    }

    /// The error that stopped the store.
    #[must_use]
    pub(crate) fn poisoned(&self) -> Option<&Error> {
        self.poison.get()
    }

    /// From now on, no call is accepted.
    pub(crate) fn begin_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake_waiters();
    }

    /// From now on no call is accepted: `node`, this member, was removed from its cluster. Its peers go on, since others may
    /// not know yet and need its vote.
    pub(crate) fn remove(&self, node: NodeId) {
        if self.removed.set(node).is_ok() {
            log::warn!("node {node}, this member, was removed from its cluster: it takes no more calls");
            if let Some(events) = self.events.get() {
                events.removed(node);
            }
        }
        self.wake_waiters();
    }

    /// Whether calls are accepted.
    ///
    /// # Errors
    /// `CLOSED`, `REMOVED`, or `POISONED` with the cause.
    pub(crate) fn check(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Closed));
        }
        self.check_member()?;
        self.poisoned().map_or(Ok(()), |cause| Err(poisoned_by(cause)))
    }

    /// Whether this member belongs to its cluster.
    ///
    /// # Errors
    /// `REMOVED`.
    pub(crate) fn check_member(&self) -> Result<()> {
        let removed =
            |node| Error::with_detail(Code::Removed, format!("node {node} was removed from its cluster"));
        self.removed.get().map_or(Ok(()), |node| Err(removed(node)))
    }

    /// Publishes the status of the peers whose status has changed, in one step.
    pub(crate) fn publish_all(&self, moved: impl IntoIterator<Item = (RegionId, PeerStatus)>) {
        let mut statuses = self.lock();
        let (mut changes, mut is_readier) = (Vec::new(), false);
        for (region, status) in moved {
            let before = statuses.insert(region, status).unwrap_or_default();
            is_readier |= readiness(&before) != readiness(&status);
            if before.leader != status.leader {
                changes.push((region, status));
                if let Some(events) = self.events.get() {
                    events.leader_changed(region, status.leader, status.term);
                }
            }
        }
        if !changes.is_empty() || is_readier {
            self.changed.notify_all();
        }
        drop(statuses);
        // Without the lock: the program's logger may ask for the status.
        changes.iter().for_each(|(region, status)| log_leader(*region, status));
    }

    /// Tells the listener that the sending of a raft snapshot ended.
    pub(crate) fn tell_sent(&self, to: (RegionId, NodeId), index: LogIndex, is_delivered: bool) {
        if let Some(events) = self.events.get() {
            events.raft_snapshot_sent(to, index, is_delivered);
        }
    }

    /// Tells the listener that a raft snapshot is installed.
    pub(crate) fn tell_installed(&self, region: RegionId, from: Option<NodeId>, index: LogIndex) {
        if let Some(events) = self.events.get() {
            events.raft_snapshot_installed(region, from, index);
        }
    }

    /// The last published status of a peer.
    #[must_use]
    pub(crate) fn status(&self, region: RegionId) -> PeerStatus {
        self.lock().get(&region).copied().unwrap_or_default()
    }

    /// How many regions each member leads, as far as is known.
    #[must_use]
    pub(crate) fn led_regions(&self) -> BTreeMap<NodeId, usize> {
        let mut counts = BTreeMap::new();
        for leader in self.lock().values().filter_map(|status| status.leader) {
            *counts.entry(leader).or_default() += 1;
        }
        counts
    }

    /// The member for which a leader on this store keeps more log than it is to retain, if there is one.
    #[must_use]
    pub(crate) fn log_holder(&self) -> Option<NodeId> {
        self.lock().values().find_map(|status| status.log_holder)
    }

    /// True if `holds` is true for the last published status of each of these peers.
    #[must_use]
    pub(crate) fn is_each(&self, regions: &[RegionId], holds: impl Fn(&PeerStatus) -> bool) -> bool {
        let statuses = self.lock();
        regions.iter().all(|region| statuses.get(region).is_some_and(&holds))
    }

    /// True if `holds` is true for the last published status of any peer.
    #[must_use]
    pub(crate) fn is_any(&self, holds: impl Fn(&PeerStatus) -> bool) -> bool {
        self.lock().values().any(holds)
    }

    /// The highest feature level of the regions: every member knows it.
    #[must_use]
    pub(crate) fn level(&self) -> u16 {
        self.lock().values().map(|status| status.level).max().unwrap_or(0)
    }

    /// Waits until each of `regions`, which must not be empty, has a leader; returns the leader of the first.
    ///
    /// # Errors
    /// `NO_LEADER` after `timeout`, naming the first region without a leader; or the reason why the store takes no
    /// calls.
    pub(crate) fn wait_leaders(&self, regions: &[RegionId], timeout: Duration) -> Result<NodeId> {
        let leader = |statuses: &BTreeMap<RegionId, PeerStatus>, region| {
            statuses.get(region).and_then(|status: &PeerStatus| status.leader)
        };
        let leaderless = |statuses: &mut BTreeMap<RegionId, PeerStatus>| {
            regions.iter().any(|region| leader(statuses, region).is_none()) && self.check().is_ok()
        };
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, leaderless);
        let (statuses, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        match regions.iter().find(|region| leader(&statuses, region).is_none()) {
            Some(without) => {
                Err(Error::with_detail(Code::NoLeader, format!("region {without} has no known leader")))
            }
            None => Ok(leader(&statuses, &regions[0]).expect("none of the regions is without")),
        }
    }

    /// Waits until each of `regions` has data that may be read.
    ///
    /// # Errors
    /// `READ_TIMEOUT` after `timeout`, naming the first region without; or the reason why the store takes no calls.
    pub(crate) fn wait_ready(&self, regions: &[RegionId], timeout: Duration) -> Result<()> {
        let missing = |statuses: &BTreeMap<RegionId, PeerStatus>| {
            let is_ready = |region: &&RegionId| {
                statuses
                    .get(region)
                    .is_some_and(|status| status.has_data && !status.installing && status.replayed)
            };
            regions.iter().find(|region| !is_ready(region)).copied()
        };
        let waits = |statuses: &mut BTreeMap<RegionId, PeerStatus>| {
            missing(statuses).is_some() && self.check().is_ok()
        };
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, waits);
        let (statuses, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        match missing(&statuses) {
            Some(region) => {
                let detail = format!("region {region} was not given its data yet");
                Err(Error::with_detail(Code::ReadTimeout, detail))
            }
            None => Ok(()),
        }
    }

    /// Under the lock, so that no thread is between its check and its sleep.
    fn wake_waiters(&self) {
        let _held = self.lock();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegionId, PeerStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn readiness(status: &PeerStatus) -> [bool; 3] {
    [status.has_data, status.installing, status.replayed]
}

fn log_leader(region: RegionId, PeerStatus { leader, term, .. }: &PeerStatus) {
    match leader {
        Some(leader) => log::info!("region {region}: node {leader} leads in term {term}"),
        None => log::info!("region {region} has no known leader in term {term}"),
    }
}

/// The error for a call that certainly changed nothing.
#[must_use]
pub(crate) fn poisoned_by(cause: &Error) -> Error {
    Error::with_detail(Code::Poisoned, cause.to_string()).with_errno(cause.errno())
}

/// The error for a write that was in flight.
#[must_use]
pub(crate) fn in_flight_at(cause: &Error) -> Error {
    Error::with_detail(Code::FailedInFlight, cause.to_string()).with_errno(cause.errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGIONS: [RegionId; 2] = [RegionId(1), RegionId(2)];

    fn led_by(node: u64) -> PeerStatus {
        PeerStatus { leader: Some(NodeId(node)), replayed: true, ..PeerStatus::default() }
    }

    #[test]
    fn wait_leaders_waits_for_every_region_and_returns_the_leader_of_the_first() {
        let health = Health::default();

        health.publish_all([(REGIONS[0], led_by(7))]);
        let error = health.wait_leaders(&REGIONS, Duration::ZERO).expect_err("region 2 has none");
        health.publish_all([(REGIONS[1], led_by(8))]);

        assert_eq!(error.code(), Code::NoLeader);
        assert!(error.detail().contains("region 2"), "{error}");
        assert_eq!(health.wait_leaders(&REGIONS, Duration::ZERO).expect("both have one"), NodeId(7));
    }

    #[test]
    fn no_condition_holds_for_a_peer_without_a_published_status() {
        let health = Health::default();

        health.publish_all([(REGIONS[0], led_by(7))]);

        assert!(health.is_each(&REGIONS[..1], |status| status.replayed));
        assert!(!health.is_each(&REGIONS, |_| true));
        assert_eq!(health.status(REGIONS[1]), PeerStatus::default());
    }
}
