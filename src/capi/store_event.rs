//! What a store tells of itself unasked.
//!
//! Owns the C view of store events. What always holds: the callback runs on the thread "almadia-cb" of the store it is
//! about, by the rules of its other callbacks.

use std::ffi::c_void;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::config::almadia_config;
use super::handle::exclusive;
use crate::completion::store_events::StoreEvent;

/// What happened to a store: one of the ALMADIA_STORE_EVENT_... constants. Later versions add some: ignore those
/// that you do not know.
pub type almadia_store_event_kind = i32;

/// The leader of region_id has changed, as far as this member knows: it is leader_id now, or 0 while no leader is
/// known.
pub const ALMADIA_STORE_EVENT_LEADER_CHANGED: almadia_store_event_kind = 1;
/// The store stopped working, for the reason `code`, and returns ALMADIA_POISONED from now on.
pub const ALMADIA_STORE_EVENT_POISONED: almadia_store_event_kind = 2;
/// This member, as a leader, has sent node_id the data of region_id as a raft snapshot, up to `index` of the region's log:
/// is_delivered says whether node_id has all of it. If not, it is tried again.
pub const ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_SENT: almadia_store_event_kind = 3;
/// The data of a raft snapshot from node_id, up to `index` of the log of region_id, have become those of this member.
pub const ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_INSTALLED: almadia_store_event_kind = 4;
/// This member, node_id, was removed from its cluster, for good, and its store returns ALMADIA_REMOVED from now on. Shut it
/// down; its directory is of no more use.
pub const ALMADIA_STORE_EVENT_REMOVED: almadia_store_event_kind = 5;

/// One event of a store. It belongs to the library and is valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct almadia_store_event {
    /// sizeof(almadia_store_event) as the library knows it; fields beyond it do not exist.
    pub struct_size: usize,
    /// What happened.
    pub kind: almadia_store_event_kind,
    /// Why, for ALMADIA_STORE_EVENT_POISONED; otherwise ALMADIA_OK.
    pub code: almadia_code,
    /// The region; 0 for ALMADIA_STORE_EVENT_POISONED and ALMADIA_STORE_EVENT_REMOVED.
    pub region_id: u64,
    /// The number of the leading member, for ALMADIA_STORE_EVENT_LEADER_CHANGED; 0 while no leader is known.
    pub leader_id: u64,
    /// The raft term, for ALMADIA_STORE_EVENT_LEADER_CHANGED.
    pub term: u64,
    /// The other member, for a raft snapshot; 0 when one was installed that came before the store was opened. This member,
    /// for ALMADIA_STORE_EVENT_REMOVED.
    pub node_id: u64,
    /// Up to here the region's log is in the raft snapshot.
    pub index: u64,
    /// 1 when the other member has all of it, for ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_SENT; otherwise 0.
    pub is_delivered: i32,
    /// Always 0.
    pub reserved: i32,
}

/// Called for an event of a store, on that store's thread "almadia-cb" and by the rules of its callbacks. It
/// reports the newest state: of several changes while the thread is busy, it may report only the last.
pub type almadia_store_event_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, event: *const almadia_store_event)>;

/// A checked callback.
struct Listener {
    callback: unsafe extern "C" fn(*mut c_void, *const almadia_store_event),
    user: *mut c_void,
}

// SAFETY: the caller promises that its callback may run on the completion thread of every store it opens with this
// configuration, with `user`, which nobody here follows.
unsafe impl Send for Listener {}
// SAFETY: as above.
unsafe impl Sync for Listener {}

impl Listener {
    fn tell(&self, event: &StoreEvent) {
        let mut told = almadia_store_event {
            struct_size: size_of::<almadia_store_event>(),
            kind: 0,
            code: ALMADIA_OK,
            region_id: 0,
            leader_id: 0,
            term: 0,
            node_id: 0,
            index: 0,
            is_delivered: 0,
            reserved: 0,
        };
        match event {
            StoreEvent::LeaderChanged { region, leader, term } => {
                told.kind = ALMADIA_STORE_EVENT_LEADER_CHANGED;
                (told.region_id, told.term) = (region.get(), term.get());
                told.leader_id = leader.map_or(0, |leader| leader.get());
            }
            StoreEvent::RaftSnapshotSent { region, to, index, is_delivered } => {
                told.kind = ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_SENT;
                (told.region_id, told.node_id, told.index) = (region.get(), to.get(), index.get());
                told.is_delivered = i32::from(*is_delivered);
            }
            StoreEvent::RaftSnapshotInstalled { region, from, index } => {
                told.kind = ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_INSTALLED;
                (told.region_id, told.index) = (region.get(), index.get());
                told.node_id = from.map_or(0, |from| from.get());
            }
            StoreEvent::Removed { node } => {
                (told.kind, told.node_id) = (ALMADIA_STORE_EVENT_REMOVED, node.get());
            }
            StoreEvent::Poisoned(why) => {
                told.kind = ALMADIA_STORE_EVENT_POISONED;
                told.code = why.code().number();
            }
        }
        // SAFETY: whoever made this was promised that it may be called while its store lives.
        unsafe { (self.callback)(self.user, &raw const told) };
    }
}

/// Sets the callback for the events of every store that is opened with this configuration from now on. It runs on
/// the thread "almadia-cb" of the store in question, until that store's shutdown returns; NULL ends that for stores
/// opened later. `user` is passed to each call.
///
/// Blocks: no. Threads: one at a time. Codes: none but ALMADIA_NULL_POINTER.
///
/// # Safety
/// `config` is NULL or live, and no other call uses it meanwhile; `callback` is NULL, or may be called with `user` on
/// the threads of every store that is opened with this configuration, until that store has ended; `error` is NULL or
/// writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_config_set_event_callback(
    config: *mut almadia_config,
    callback: almadia_store_event_callback,
    user: *mut c_void,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `config` is NULL or live, and no other call uses it.
        let config = &mut unsafe { exclusive(config, "config") }?.config;
        match callback {
            Some(callback) => {
                let listener = Listener { callback, user };
                config.on_event(move |event| listener.tell(event));
            }
            None => config.ignore_events(),
        }
        Ok(ALMADIA_OK)
    })
}
