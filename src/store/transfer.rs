//! Handing leadership over, on request and before a shutdown.
//!
//! Owns the two forms of the request. What always holds: as for every call, exactly one answer; a member that shuts down
//! hands over what it leads while it still can, so that the others need not wait for an election timeout. How a leader
//! hands over is [`crate::core::transfer`]'s.

use std::sync::Arc;
use std::time::Duration;

use crate::completion::call::CallKind;
use crate::completion::{Completion, Waiter};
use crate::core::input::Input;
use crate::core::peer_status::Role;
use crate::core::transfer::TransferRequest;
use crate::error::Result;
use crate::store::admission::Permit;
use crate::store::latency::Kind;
use crate::store::{Due, Inner, Store, refuse_in_callback};
use crate::time::now;
use crate::types::{NodeId, RegionId};

/// How leadership is handed over.
#[derive(Clone, Debug, Default)]
pub struct TransferOptions {
    /// Who shall lead; none leaves the choice to the leader.
    pub target: Option<NodeId>,
    /// Any key of the region whose leadership it is about; with one region it does not matter.
    pub key: Vec<u8>,
    /// When the call is answered at the latest; none means the store's `write.timeout_ms`.
    pub timeout: Option<Duration>,
}

impl Store {
    /// Hands the leadership of a region over and waits until the target leads. Only the region's leader can; writes that
    /// come meanwhile wait and go to the new leader. When this member is the target already, that is a success.
    ///
    /// # Errors
    /// `NOT_LEADER` with the leader, also when another member than the target took over; `NO_LEADER`;
    /// `TRANSFER_IN_PROGRESS`; `LAGGING` when the target, or every member, is unreachable or too far behind;
    /// `INVALID_ARGUMENT` when the target does not vote; `TIMEOUT` when the target did not take over within an election
    /// timeout or by the deadline: it may still do so. And as [`Store::write_async`].
    pub fn transfer_leader(&self, options: &TransferOptions) -> Result<()> {
        refuse_in_callback()?;
        let waiter = Arc::new(Waiter::default());
        self.inner.transfer(options, |permit, due| self.inner.waiting(&waiter, Kind::Other, permit, due))?;
        waiter.answer().map(drop)
    }

    /// As [`Store::transfer_leader`]; `callback` learns the outcome, exactly once, on the thread "almadia-cb". When this
    /// returns an error the callback never runs.
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
        let timeout = options.timeout.unwrap_or(self.write_timeout);
        let due = Due::within(timeout, CallKind::Transfer, &[region]);
        let deadline = due.deadline;
        let completion = open(self.admission.admit(0)?, due)?;
        let request = TransferRequest { target: options.target, deadline, completion };
        self.push(region, Input::Transfer(request))
    }

    /// Hands over everything this member leads, within `timeout`.
    pub(super) fn hand_over(&self, timeout: Duration) {
        if timeout.is_zero() || self.health.poisoned().is_some() {
            return;
        }
        let deadline = now() + timeout.min(self.election_timeout);
        let led = self.regions.ids().iter().filter(|&&id| self.health.status(id).role == Role::Leader);
        let waiters: Vec<_> = led.filter_map(|&region| self.begin_hand_over(region, deadline)).collect();
        for waiter in waiters {
            // Whoever cannot take over elects a leader later.
            let _ = waiter.wait(deadline.since(now()));
        }
    }

    fn begin_hand_over(&self, region: RegionId, deadline: crate::time::Timestamp) -> Option<Arc<Waiter>> {
        let waiter = Arc::new(Waiter::default());
        let request = TransferRequest { target: None, deadline, completion: waiter.completion() };
        self.push(region, Input::Transfer(request)).ok().map(|()| waiter)
    }
}
