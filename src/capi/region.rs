//! `almadia_region_status`: what a member knows about one region.
//!
//! Owns the C layout of it and the enumeration of a store's regions. What always holds: regions are numbered in the
//! order of their keys, and their boundaries stay where they are in memory for as long as the store lives.

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::almadia_slice;
use super::extensible::{self, Extensible};
use super::handle::in_process;
use super::status::{almadia_role, role_number};
use super::store::almadia_store;
use crate::error::Code;
use crate::store::status::RegionStatus;

/// The state of one region on this member, as almadia_store_region_at reports it. Begin with
/// ALMADIA_REGION_STATUS_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_region_status {
    /// sizeof(almadia_region_status).
    pub struct_size: usize,
    /// The number of the region, the same on every member.
    pub region_id: u64,
    /// The number of the leading member, as far as this one knows; 0 when it knows none.
    pub leader_id: u64,
    /// The raft term of the region.
    pub term: u64,
    /// Entries of the region's log up to this index are committed.
    pub commit_index: u64,
    /// Entries of the region's log up to this index are applied here; a local snapshot shows them.
    pub applied_index: u64,
    /// The index of the region's last entry in this member's log.
    pub last_index: u64,
    /// The first key of the region; of size 0 when the region begins at the first key of all. It belongs to the
    /// store and is valid until almadia_store_free.
    pub start_key: almadia_slice,
    /// The first key after the region; of size 0 when there is none. It belongs to the store as well.
    pub end_key: almadia_slice,
    /// The role of this member in the region.
    pub role: almadia_role,
    /// Always 0.
    pub reserved: i32,
    /// What the region's log may hold, because the libraries of all members know it. 0: a member runs a release that
    /// knows no conditions, or did a moment ago. 1: conditions, but no changes of members. 2: everything that this release
    /// offers.
    pub feature_level: u64,
    /// 1 while this member takes in a raft snapshot of the region: nothing is read here until that is done. Otherwise 0.
    pub installing: u64,
    /// How many members this one, as the region's leader, helps with a raft snapshot: from when it is made until they have
    /// caught up.
    pub helped: u64,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers and pointers, which may be NULL.
unsafe impl Extensible for almadia_region_status {
    const NAME: &'static str = "region_status";
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, feature_level);
}

impl From<&RegionStatus<'_>> for almadia_region_status {
    fn from(status: &RegionStatus<'_>) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            region_id: status.id.get(),
            leader_id: status.leader.map_or(0, |node| node.get()),
            term: status.term.get(),
            commit_index: status.commit_index.get(),
            applied_index: status.applied_index.get(),
            last_index: status.last_index.get(),
            start_key: almadia_slice::lend(status.start_key),
            end_key: almadia_slice::lend(status.end_key),
            role: role_number(status.role),
            reserved: 0,
            feature_level: status.feature_level.into(),
            installing: status.installing.into(),
            helped: status.helped,
        }
    }
}

/// The number of regions of the store; 1 unless the option bootstrap.split_keys says otherwise. 0 for NULL.
///
/// Blocks: no. Threads: any number at once.
///
/// # Safety
/// `store` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_store_region_count(store: *mut almadia_store) -> usize {
    // SAFETY: `store` is NULL or live.
    boundary::value(0, || unsafe { store.as_ref() }.map_or(0, |store| store.store.region_count()))
}

/// Reports the state of the region at `index`, from 0 to almadia_store_region_count() - 1, in the order of their
/// keys. Begin `status` with ALMADIA_REGION_STATUS_INIT. It also works on a store that is poisoned or shut down.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_END (no region has this index; without an
/// error object), ALMADIA_INVALID_ARGUMENT (struct_size), ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `status` is NULL or points to `struct_size` writable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_region_at(
    store: *mut almadia_store,
    index: usize,
    status: *mut almadia_region_status,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        let Some(region) = store.store.region_at(index) else { return Ok(Code::End.number()) };
        // SAFETY: `status` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(status, &almadia_region_status::from(&region)) }?;
        Ok(ALMADIA_OK)
    })
}
