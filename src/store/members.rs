//! The members of the cluster, as callers see and change them.
//!
//! Owns the blocking and the callback form of a change, and the wait of a member that has just joined. What always holds: a
//! change that was answered without an error has been followed by every region. How a change is made is left to
//! [`crate::pollers::members`], how a region follows it to the core.

use std::sync::Arc;
use std::time::Duration;

use crate::completion::call::{Call, CallKind};
use crate::completion::{Completion, Waiter};
use crate::core::member_list::MemberChange;
use crate::error::{Code, Error, Result};
use crate::metrics::CallType;
use crate::pollers::members::{MemberStatus, Members};
use crate::store::admission::Permit;
use crate::store::asynchronous::Asynchronous;
use crate::store::latency::Kind;
use crate::store::{Due, Inner, Store, refuse_in_callback};
use crate::types::BOOTSTRAP_REGION;

/// The members of a cluster, as one of them sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberTable {
    /// Counts the changes; 0 as long as there was none.
    pub version: u64,
    /// In order of their numbers.
    pub members: Vec<MemberStatus>,
    /// What the regions wait for that have not followed the last change yet, in words; empty when all have.
    pub unsettled: Vec<String>,
}

impl Store {
    /// The members of the cluster as this one knows them. Never blocks.
    #[must_use]
    pub fn members(&self) -> MemberTable {
        let (version, members) = self.inner.members.list();
        MemberTable { version, members, unsettled: self.inner.members.unsettled() }
    }

    /// Changes the members of the cluster, all at once, and waits until every region has followed: those who come have the
    /// data, and those who go are needed no more. Any member may be asked. Without any change it waits for those before.
    ///
    /// A region goes on serving meanwhile. It waits, for as long as it takes, for a new member to come and to catch up, and
    /// for a majority of live voters: [`Store::members`] says for whom. What was asked for is taken back by another change.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the changes contradict the list or each other, with the reason; `UNSUPPORTED` while a member
    /// runs an earlier release; `TIMEOUT` when a region has not followed by then, which goes on, with what it waits for;
    /// `NO_LEADER` and `DEADLINE_BEFORE_START` when the list was not changed, and the latter without changes when a region
    /// has not followed; and as [`Store::write`].
    pub fn change_members(&self, changes: &[MemberChange], timeout: Option<Duration>) -> Result<()> {
        self.inner.counted(CallType::Members, || {
            refuse_in_callback()?;
            let waiter = Arc::new(Waiter::default());
            let open = |permit, due| self.inner.waiting(&waiter, Kind::Other, permit, due);
            self.inner.change_members(changes, timeout, open)?;
            let answer = waiter.answer().map(drop);
            answer.map_err(|error| with_what_is_unsettled(error, &self.inner.members, changes.is_empty()))
        })
    }

    /// Waits until this member, which has joined a cluster, has the data of every region. A member of the first hour is
    /// ready as soon as it is open.
    ///
    /// # Errors
    /// `READ_TIMEOUT` after `timeout`; `REMOVED`, `CLOSED` or `POISONED`.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        refuse_in_callback()?;
        self.inner.health.wait_ready(self.inner.regions.ids(), timeout)
    }
}

impl Asynchronous<'_> {
    /// As [`Store::change_members`]; `callback` receives the outcome, with the errors that has.
    ///
    /// # Errors
    /// `OVERLOADED`, `CLOSED` or `POISONED`.
    pub fn change_members<F>(
        &self,
        changes: &[MemberChange],
        timeout: Option<Duration>,
        callback: F,
    ) -> Result<Call>
    where
        F: FnOnce(Result<()>) + Send + 'static,
    {
        self.inner.counted_if_refused(CallType::Members, || {
            // The call is one of those that it keeps.
            let (members, is_wait) = (Arc::downgrade(&self.inner.members), changes.is_empty());
            let callback = move |answer: Result<_>| {
                callback(answer.map(drop).map_err(|error| match members.upgrade() {
                    Some(members) => with_what_is_unsettled(error, &members, is_wait),
                    None => error,
                }));
            };
            let sink = self.sink_of(CallType::Members, Kind::Other, None, callback)?;
            self.accept(sink, |open| self.inner.change_members(changes, timeout, open))
        })
    }
}

impl Inner {
    fn change_members(
        &self,
        changes: &[MemberChange],
        timeout: Option<Duration>,
        open: impl FnOnce(Permit, Due) -> Result<Completion>,
    ) -> Result<()> {
        self.health.check()?;
        let timeout = timeout.unwrap_or(self.timeouts.write);
        let due = Due::within(timeout, CallKind::Write, &[BOOTSTRAP_REGION]);
        let deadline = due.deadline;
        let completion = open(self.admission.admit(0)?, due)?;
        self.members.change(changes.to_vec(), deadline, completion);
        Ok(())
    }
}

/// The error of a change, or only a wait for those before, with what the regions wait for, if they were waited for.
fn with_what_is_unsettled(error: Error, members: &Members, is_wait: bool) -> Error {
    let has_waited = match error.code() {
        Code::Timeout => true,
        Code::DeadlineBeforeStart => is_wait,
        _ => false,
    };
    let unsettled = if has_waited { members.unsettled() } else { Vec::new() };
    if unsettled.is_empty() { error } else { error.and(&unsettled.join("; ")) }
}
