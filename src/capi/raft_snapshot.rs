//! `almadia_raft_snapshot_status`: a raft snapshot under way.
//!
//! Owns the C layout of it and the enumeration of those that a store makes, sends, receives and installs. What always
//! holds: each call looks anew, so what an index stands for may change from one call to the next.

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::extensible::{self, Extensible};
use super::handle::in_process;
use super::store::almadia_store;
use crate::error::Code;
use crate::pollers::snapshots::{RaftSnapshotStage, RaftSnapshotStatus};

/// How far a raft snapshot has come: one of the ALMADIA_RAFT_SNAPSHOT_... constants. Later versions add some.
pub type almadia_raft_snapshot_stage = i32;

/// This member, which leads, makes it for another one, or it waits for its turn.
pub const ALMADIA_RAFT_SNAPSHOT_MAKING: almadia_raft_snapshot_stage = 1;
/// This member sends it.
pub const ALMADIA_RAFT_SNAPSHOT_SENDING: almadia_raft_snapshot_stage = 2;
/// This member receives it.
pub const ALMADIA_RAFT_SNAPSHOT_RECEIVING: almadia_raft_snapshot_stage = 3;
/// This member has all of it, and puts it in the place of what it had of the region.
pub const ALMADIA_RAFT_SNAPSHOT_INSTALLING: almadia_raft_snapshot_stage = 4;

/// A raft snapshot: the data of a region on their way to a member that needs entries that the log of its leader has no
/// more, as almadia_store_raft_snapshot_at reports it. Begin with ALMADIA_RAFT_SNAPSHOT_STATUS_INIT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_raft_snapshot_status {
    /// sizeof(almadia_raft_snapshot_status).
    pub struct_size: usize,
    /// The number of the region.
    pub region_id: u64,
    /// The member that sends it; 0 when it came before the store was opened.
    pub from_id: u64,
    /// The member that gets it.
    pub to_id: u64,
    /// Up to here the region's log is in it; 0 while it is made.
    pub index: u64,
    /// How many bytes of it the receiver has taken.
    pub bytes: u64,
    /// About how many there will be; 0 while that is unknown.
    pub bytes_estimate: u64,
    /// How far it has come.
    pub stage: almadia_raft_snapshot_stage,
    /// Always 0.
    pub reserved: i32,
}

// SAFETY: repr(C), begins with struct_size, and consists of integers.
unsafe impl Extensible for almadia_raft_snapshot_status {
    const NAME: &'static str = "raft_snapshot_status";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// What is written when there is no more.
const NONE: almadia_raft_snapshot_status = almadia_raft_snapshot_status {
    struct_size: size_of::<almadia_raft_snapshot_status>(),
    region_id: 0,
    from_id: 0,
    to_id: 0,
    index: 0,
    bytes: 0,
    bytes_estimate: 0,
    stage: 0,
    reserved: 0,
};

impl From<&RaftSnapshotStatus> for almadia_raft_snapshot_status {
    fn from(status: &RaftSnapshotStatus) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            region_id: status.region.get(),
            from_id: status.from.map_or(0, |node| node.get()),
            to_id: status.to.get(),
            index: status.index.get(),
            bytes: status.bytes,
            bytes_estimate: status.bytes_estimate,
            stage: match status.stage {
                RaftSnapshotStage::Making => ALMADIA_RAFT_SNAPSHOT_MAKING,
                RaftSnapshotStage::Sending => ALMADIA_RAFT_SNAPSHOT_SENDING,
                RaftSnapshotStage::Receiving => ALMADIA_RAFT_SNAPSHOT_RECEIVING,
                RaftSnapshotStage::Installing => ALMADIA_RAFT_SNAPSHOT_INSTALLING,
            },
            reserved: 0,
        }
    }
}

/// Reports the raft snapshot at `index`, from 0 until ALMADIA_END, of those that this member makes, sends, receives and
/// installs at this moment. Usually there is none. Each call looks anew: when one begins or ends meanwhile, a walk over the
/// indices may miss another or see it twice. Begin `status` with ALMADIA_RAFT_SNAPSHOT_STATUS_INIT; at the
/// end it is cleared.
///
/// Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_END (there are no more; without an error object),
/// ALMADIA_INVALID_ARGUMENT (struct_size), ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `status` is NULL or points to `struct_size` writable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_raft_snapshot_at(
    store: *mut almadia_store,
    index: usize,
    status: *mut almadia_raft_snapshot_status,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        let snapshots = store.store.raft_snapshots();
        // Written at the end too, so that a broken struct is found although there is no raft snapshot.
        let shown = snapshots.get(index).map_or(NONE, almadia_raft_snapshot_status::from);
        // SAFETY: `status` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(status, &shown) }?;
        Ok(if index < snapshots.len() { ALMADIA_OK } else { Code::End.number() })
    })
}
