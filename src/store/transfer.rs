//! Hands leadership over, on request and before a shutdown.
//!
//! Owns the blocking and the callback form of the request. What always holds: exactly one answer, as for every call;
//! a member that shuts down hands over its leaderships while it still can, so that the others need not wait for an
//! election timeout. How a leader hands over is left to [`crate::core::transfer`].

use std::sync::Arc;
use std::time::Duration;

use crate::completion::call::CallKind;
use crate::completion::{Completion, Waiter};
use crate::core::input::Input;
use crate::core::peer_status::Role;
use crate::core::transfer::TransferRequest;
use crate::error::Result;
use crate::metrics::CallType;
use crate::store::admission::Permit;
use crate::store::latency::Kind;
use crate::store::{Due, Inner, Store, refuse_in_callback};
use crate::time::now;
use crate::types::{NodeId, RegionId};

/// How leadership is handed over.
#[derive(Clone, Debug, Default)]
pub struct TransferOptions {
    /// The member that should lead; if none, the leader chooses.
    pub target: Option<NodeId>,
    /// Any key of the region whose leadership is handed over; irrelevant if there is only one region.
    pub key: Vec<u8>,
    /// Latest time at which the call is answered; none means the store's `write.timeout_ms`.
    pub timeout: Option<Duration>,
}

impl Store {
    /// Hands the leadership of a region over and waits until the target leads. Only the region's leader can do this;
    /// writes that arrive meanwhile wait and go to the new leader. If this member already is the target, the call
    /// succeeds.
    ///
    /// # Errors
    /// `NOT_LEADER` with the leader, also if a member other than the target took over; `NO_LEADER`;
    /// `TRANSFER_IN_PROGRESS`; `LAGGING` when the target, or every member, is unreachable or too far behind;
    /// `INVALID_ARGUMENT` when the target is not a voter, or without a target when there is no other voter; `TIMEOUT`
    /// when the target did not take over within an election timeout or by the deadline, although it may still do so; and
    /// as [`Store::write_async`].
    pub fn transfer_leader(&self, options: &TransferOptions) -> Result<()> {
        self.inner.counted(CallType::Transfer, || {
            refuse_in_callback()?;
            let waiter = Arc::new(Waiter::default());
            let open = |permit, due| self.inner.waiting(&waiter, Kind::Other, permit, due);
            self.inner.transfer(options, open)?;
            waiter.answer().map(drop)
        })
    }

    /// As [`Store::transfer_leader`]; `callback` receives the outcome exactly once, on the thread "almadia-cb". If
    /// this returns an error, the callback never runs.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn transfer_leader_async<F>(&self, options: &TransferOptions, callback: F) -> Result<()>
    where
        F: FnOnce(Result<()>) + Send + 'static,
    {
        self.asynchronous().transfer_leader(options, callback).map(drop)
    }
}

impl Inner {
    pub(super) fn transfer(
        &self,
        options: &TransferOptions,
        open: impl FnOnce(Permit, Due) -> Result<Completion>,
    ) -> Result<()> {
        self.health.check()?;
        let region = self.regions.region_of(&options.key);
        let timeout = options.timeout.unwrap_or(self.timeouts.write);
        let due = Due::within(timeout, CallKind::Transfer, &[region]);
        let deadline = due.deadline;
        let completion = open(self.admission.admit(0)?, due)?;
        let request = TransferRequest { target: options.target, deadline, completion };
        self.push(region, Input::Transfer(request))
    }

    /// Hands over every leadership of this member, within `timeout`.
    pub(super) fn hand_over(&self, timeout: Duration) {
        if timeout.is_zero() || self.health.poisoned().is_some() {
            return;
        }
        let deadline = now() + timeout.min(self.timeouts.election);
        let led = self.regions.ids().iter().filter(|&&id| self.health.status(id).role == Role::Leader);
        let waiters: Vec<_> = led.filter_map(|&region| self.begin_hand_over(region, deadline)).collect();
        for waiter in waiters {
            // If no member can take over, the others elect a leader later.
            let _ = waiter.wait(deadline.since(now()));
        }
    }

    fn begin_hand_over(&self, region: RegionId, deadline: crate::time::Timestamp) -> Option<Arc<Waiter>> {
        let waiter = Arc::new(Waiter::default());
        let request = TransferRequest { target: None, deadline, completion: waiter.completion() };
        self.push(region, Input::Transfer(request)).ok().map(|()| waiter)
    }
}
