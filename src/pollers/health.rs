//! Whether the store works, and what its peers' standing is.
//!
//! Owns the first error that stopped the store, whether it is closing, and the published status of each region.
//! What always holds: a store is poisoned once and for good, by its first error; whoever waits for a change of
//! status is woken by it. Acting on it is left to the pollers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::core::peer_status::PeerStatus;
use crate::error::{Code, Error, Result};
use crate::types::{NodeId, RegionId};

/// See the module.
#[derive(Debug, Default)]
pub struct Health {
    poison: OnceLock<Error>,
    closing: AtomicBool,
    statuses: Mutex<BTreeMap<RegionId, PeerStatus>>,
    changed: Condvar,
}

impl Health {
    /// Stops the store for good. Only the first error counts.
    pub fn poison(&self, error: Error) {
        if self.poison.set(error.clone()).is_ok() {
            log::error!("the store stops: {error}");
        }
        self.wake_waiters();
    }

    /// The error that stopped the store.
    #[must_use]
    pub fn poisoned(&self) -> Option<&Error> {
        self.poison.get()
    }

    /// From now on no call is accepted.
    pub fn begin_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake_waiters();
    }

    /// Whether calls are accepted.
    ///
    /// # Errors
    /// `CLOSED` or `POISONED`, the latter with what happened.
    pub fn check(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Closed));
        }
        self.poisoned().map_or(Ok(()), |cause| Err(poisoned_by(cause)))
    }

    /// Publishes the standing of a peer.
    pub fn publish(&self, region: RegionId, status: PeerStatus) {
        let mut statuses = self.lock();
        let before = statuses.insert(region, status);
        if before.map(|before| before.leader) != Some(status.leader) {
            self.changed.notify_all();
        }
    }

    /// The last published standing of a peer.
    #[must_use]
    pub fn status(&self, region: RegionId) -> PeerStatus {
        self.lock().get(&region).copied().unwrap_or_default()
    }

    /// Waits until the region has a leader.
    ///
    /// # Errors
    /// `NO_LEADER` after `patience`, or why the store takes no calls.
    pub fn wait_leader(&self, region: RegionId, patience: Duration) -> Result<NodeId> {
        let leaderless = |statuses: &mut BTreeMap<RegionId, PeerStatus>| {
            statuses.get(&region).and_then(|status| status.leader).is_none() && self.check().is_ok()
        };
        let waited = self.changed.wait_timeout_while(self.lock(), patience, leaderless);
        let (statuses, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let leader = statuses.get(&region).and_then(|status| status.leader);
        leader.ok_or_else(|| Error::new(Code::NoLeader))
    }

    /// Under the lock, so that nobody is between looking and falling asleep.
    fn wake_waiters(&self) {
        let _held = self.lock();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegionId, PeerStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller is told whose call certainly changed nothing.
#[must_use]
pub fn poisoned_by(cause: &Error) -> Error {
    Error::with_detail(Code::Poisoned, cause.to_string())
}

/// What a caller is told whose write was under way.
#[must_use]
pub fn in_flight_at(cause: &Error) -> Error {
    Error::with_detail(Code::FailedInFlight, cause.to_string())
}
