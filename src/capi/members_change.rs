//! `almadia_member_change`: members that come, go and take other roles.
//!
//! Owns the C layout of a change, and the waiting and the asynchronous call. What always holds: a change says nothing that
//! its kind does not use, so that a later version may give it a meaning; what a list of changes contradicts is left to the
//! core.

use std::ffi::c_char;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::text;
use super::done::{Done, almadia_done};
use super::extensible::{self, Extensible};
use super::handle::in_process;
use super::members::{ALMADIA_MEMBER_LEARNER, ALMADIA_MEMBER_VOTER, almadia_member_role};
use super::store::almadia_store;
use super::write_options::timeout;
use crate::core::member_list::{MemberChange, MemberRole};
use crate::error::{Code, Error, Result};
use crate::types::NodeId;

/// What is to happen to a member: one of the ALMADIA_MEMBER_CHANGE_... constants. Later versions add some.
pub type almadia_member_change_kind = i32;

/// A new member, node_id, which others reach at `address`, and which is to be a `role`. Its program opens an empty
/// directory with the option cluster.join, before or after this call.
pub const ALMADIA_MEMBER_CHANGE_ADD: almadia_member_change_kind = 1;
/// node_id goes, for good: its number never comes back. It may be down. If it is up, its store returns ALMADIA_REMOVED
/// once it knows.
pub const ALMADIA_MEMBER_CHANGE_REMOVE: almadia_member_change_kind = 2;
/// node_id goes, for good, and a new member, by_id, which others reach at `address`, takes its place and its role; as
/// ALMADIA_MEMBER_CHANGE_ADD and _REMOVE in one step. For a member whose directory is lost.
pub const ALMADIA_MEMBER_CHANGE_REPLACE: almadia_member_change_kind = 3;
/// node_id, a learner, is to vote.
pub const ALMADIA_MEMBER_CHANGE_PROMOTE: almadia_member_change_kind = 4;
/// node_id, a voter, is to be a learner, and no longer preferred.
pub const ALMADIA_MEMBER_CHANGE_DEMOTE: almadia_member_change_kind = 5;
/// Others reach node_id at `address` from now on. A member that is opened with another transport.announce says so itself.
pub const ALMADIA_MEMBER_CHANGE_MOVE: almadia_member_change_kind = 6;
/// node_id, a voter, is to lead rather than others (is_preferred is 1), or no more than others (0).
pub const ALMADIA_MEMBER_CHANGE_PREFER: almadia_member_change_kind = 7;
/// node_id is not to lead as long as others can (is_drained is 1), as before it is taken down for long, or may lead again
/// (0).
pub const ALMADIA_MEMBER_CHANGE_DRAIN: almadia_member_change_kind = 8;

/// A change of the members of a cluster, for almadia_members_change. Begin with ALMADIA_MEMBER_CHANGE_INIT, and set kind and
/// what that kind uses; the other fields must be 0 and NULL. The text is copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_member_change {
    /// sizeof(almadia_member_change).
    pub struct_size: usize,
    /// What is to happen.
    pub kind: almadia_member_change_kind,
    /// ALMADIA_MEMBER_CHANGE_ADD: what the new member is to do. Without ALMADIA_MEMBER_LEARNER it votes.
    pub role: almadia_member_role,
    /// The number of the member that is changed, added, removed or replaced. That of a new member is higher than any that
    /// there ever was in this cluster, and below UINT64_MAX.
    pub node_id: u64,
    /// ALMADIA_MEMBER_CHANGE_REPLACE: the number of the new member.
    pub by_id: u64,
    /// ALMADIA_MEMBER_CHANGE_ADD, _REPLACE and _MOVE: where others reach the member, as `host:port` or `[address]:port` in
    /// UTF-8, NUL-terminated, at most 300 bytes; the port is not 0, and no other member has the same address.
    pub address: *const c_char,
    /// ALMADIA_MEMBER_CHANGE_PREFER: 1 or 0.
    pub is_preferred: i32,
    /// ALMADIA_MEMBER_CHANGE_DRAIN: 1 or 0.
    pub is_drained: i32,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and a pointer, which may be NULL.
unsafe impl Extensible for almadia_member_change {
    const NAME: &'static str = "member_change";
    const FIRST_SIZE: usize = size_of::<Self>();
}

fn refused(detail: String) -> Error {
    Error::with_detail(Code::InvalidArgument, detail)
}

fn member_role(number: almadia_member_role) -> Result<MemberRole> {
    match number {
        ALMADIA_MEMBER_VOTER => Ok(MemberRole::Voter),
        ALMADIA_MEMBER_LEARNER => Ok(MemberRole::Learner),
        _ => Err(refused(format!(
            "almadia_member_change.role is {number}; set ALMADIA_MEMBER_VOTER or ALMADIA_MEMBER_LEARNER"
        ))),
    }
}

fn switch(number: i32, name: &str) -> Result<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(refused(format!("almadia_member_change.{name} is {number}; set 0 or 1"))),
    }
}

impl almadia_member_change {
    /// Refuses what the kind does not use.
    fn check_unused(&self) -> Result<()> {
        let (adds, replaces, moves, prefers, drains) = (
            self.kind == ALMADIA_MEMBER_CHANGE_ADD,
            self.kind == ALMADIA_MEMBER_CHANGE_REPLACE,
            self.kind == ALMADIA_MEMBER_CHANGE_MOVE,
            self.kind == ALMADIA_MEMBER_CHANGE_PREFER,
            self.kind == ALMADIA_MEMBER_CHANGE_DRAIN,
        );
        let fields = [
            ("role", self.role != 0, adds),
            ("by_id", self.by_id != 0, replaces),
            ("address", !self.address.is_null(), adds || replaces || moves),
            ("is_preferred", self.is_preferred != 0, prefers),
            ("is_drained", self.is_drained != 0, drains),
        ];
        match fields.iter().find(|(_, is_set, is_used)| *is_set && !is_used) {
            Some((name, ..)) => Err(refused(format!(
                "almadia_member_change.{name} is set, which kind {} does not use; begin each change with \
                 ALMADIA_MEMBER_CHANGE_INIT",
                self.kind
            ))),
            None => Ok(()),
        }
    }

    /// The Rust form.
    ///
    /// # Safety
    /// `address` is NULL or ends with a NUL.
    unsafe fn parsed(&self) -> Result<MemberChange> {
        let node = NodeId(self.node_id);
        // SAFETY: passed on to the caller.
        let address = || unsafe { text(self.address, "almadia_member_change.address") }.map(str::to_owned);
        let change = match self.kind {
            ALMADIA_MEMBER_CHANGE_ADD => {
                MemberChange::Add { node, address: address()?, role: member_role(self.role)? }
            }
            ALMADIA_MEMBER_CHANGE_REMOVE => MemberChange::Remove { node },
            ALMADIA_MEMBER_CHANGE_REPLACE => {
                MemberChange::Replace { node, by: NodeId(self.by_id), address: address()? }
            }
            ALMADIA_MEMBER_CHANGE_PROMOTE => MemberChange::Promote { node },
            ALMADIA_MEMBER_CHANGE_DEMOTE => MemberChange::Demote { node },
            ALMADIA_MEMBER_CHANGE_MOVE => MemberChange::Move { node, address: address()? },
            ALMADIA_MEMBER_CHANGE_PREFER => {
                MemberChange::Prefer { node, is_preferred: switch(self.is_preferred, "is_preferred")? }
            }
            ALMADIA_MEMBER_CHANGE_DRAIN => {
                MemberChange::Drain { node, is_drained: switch(self.is_drained, "is_drained")? }
            }
            kind => {
                return Err(refused(format!(
                    "almadia_member_change.kind is {kind}; set one of the ALMADIA_MEMBER_CHANGE_... constants"
                )));
            }
        };
        self.check_unused()?;
        Ok(change)
    }
}

/// The Rust form of the caller's changes.
///
/// # Safety
/// `changes` is NULL or points to `count` structs that lie `struct_size` bytes apart, each of that size; their addresses
/// are NULL or end with a NUL.
unsafe fn member_changes(changes: *const almadia_member_change, count: usize) -> Result<Vec<MemberChange>> {
    // SAFETY: passed on to the caller.
    let changes = unsafe { extensible::read_all(changes, count, "changes") }?;
    // SAFETY: passed on to the caller.
    changes.iter().map(|change| unsafe { change.parsed() }).collect()
}

/// Changes the members of the cluster, all `count` changes at once or none, and waits until every region has followed: those
/// who come have the data, and those who go are needed no more. The changes are taken in their order. Any member may be
/// asked, also one that is to go. With a count of 0 (`changes` may be NULL then) nothing is changed, and the call waits for
/// the changes before it.
///
/// The cluster goes on serving meanwhile. A region waits, for as long as it takes, for a new member to be opened and to catch
/// up, and for a majority of live voters: almadia_members_unsettled says for whom. A timeout does not take a change back;
/// another change does. To see whether one that failed with an unknown outcome was made, look at almadia_members_list.
/// Repeated, a change that was made does no harm: who was added, replaced or removed is refused with
/// ALMADIA_INVALID_ARGUMENT, everything else stays as it is.
///
/// `timeout_ms` is in milliseconds; 0 means the option write.timeout_ms, which is short for members that have much data to
/// get. Blocks: yes, for the timeout at most. Threads: any number at once; changes that meet are made one after the other.
/// Codes: ALMADIA_INVALID_ARGUMENT (the changes contradict the list of members or each other, a field has no such value or
/// is not used by its kind, struct_size; the error says which), ALMADIA_UNSUPPORTED (a member runs a release that knows no
/// such changes; a field that this version does not know), ALMADIA_OVERLOADED, ALMADIA_NO_LEADER (the list was not changed,
/// because nobody led in time), ALMADIA_DEADLINE_BEFORE_START (the list was not changed; with a count of 0: a region has not
/// followed in time, and the error says what it waits for), ALMADIA_TIMEOUT (the list was or may be changed, and a region
/// has not followed in time; it goes on, and the error says what it waits for), ALMADIA_SHUTDOWN_IN_FLIGHT, ALMADIA_FAILED_IN_FLIGHT, ALMADIA_SKIPPED_IN_FLIGHT (outcome unknown),
/// ALMADIA_REMOVED (this member was removed, perhaps by this change), ALMADIA_CLOSED, ALMADIA_FORKED, ALMADIA_POISONED,
/// ALMADIA_WOULD_DEADLOCK.
///
/// # Safety
/// `store` is NULL or live; `changes` is NULL or points to `count` structs of `struct_size` readable bytes, one behind the
/// other, whose addresses are NULL or end with a NUL; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_members_change(
    store: *mut almadia_store,
    changes: *const almadia_member_change,
    count: usize,
    timeout_ms: u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `changes` is NULL or points to `count` structs, whose addresses are NULL or end with a NUL.
        let changes = unsafe { member_changes(changes, count) }?;
        boundary::may_block()?;
        store.store.change_members(&changes, timeout(timeout_ms))?;
        Ok(ALMADIA_OK)
    })
}

/// Starts changing the members of the cluster and returns: the way to add members from the thread that opens them. On
/// ALMADIA_OK the call will complete exactly once, with index and term 0, when every region has followed; after a failure
/// there will be no completion.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_INVALID_ARGUMENT (a field has no such value or is
/// not used by its kind, struct_size), ALMADIA_UNSUPPORTED (a field that this version does not know), ALMADIA_OVERLOADED,
/// ALMADIA_REMOVED, ALMADIA_CLOSED, ALMADIA_FORKED, ALMADIA_POISONED. The completion has the other codes: those of
/// almadia_members_change, so ALMADIA_INVALID_ARGUMENT too, with the same words, ALMADIA_CANCELLED and
/// ALMADIA_CANCELLED_IN_FLIGHT.
///
/// # Safety
/// `store` is NULL or live; `changes` is NULL or points to `count` structs of `struct_size` readable bytes, one behind the
/// other, whose addresses are NULL or end with a NUL; `done` is NULL or points to `struct_size` readable bytes: its
/// callback may be called once, on another thread, its `cq` is NULL or live, its `op` is NULL or writable; `error` is NULL
/// or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_members_change_async(
    store: *mut almadia_store,
    changes: *const almadia_member_change,
    count: usize,
    timeout_ms: u64,
    done: *const almadia_done,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        // SAFETY: `changes` is NULL or points to `count` structs, whose addresses are NULL or end with a NUL.
        let changes = unsafe { member_changes(changes, count) }?;
        // SAFETY: `done` keeps the promise of `Done::read`.
        let done = unsafe { Done::read(done) }?;
        done.submit(store, |asynchronous, receiver| {
            asynchronous.change_members(&changes, timeout(timeout_ms), |answer| receiver.answer(answer))
        })
    })
}
