//! `almadia_store`: one member, one directory.
//!
//! Owns open, shutdown, free and the questions about a store. What always holds: callbacks that run while a
//! store is freed may still call it, so it is shut down through a shared reference before its memory goes.

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::boundary::{self, ALMADIA_OK, ErrorSlot, almadia_code, almadia_error};
use super::bytes::c_string;
use super::calls::Calls;
use super::config::almadia_config;
use super::extensible;
use super::handle::{
    Boxed, HandleSlot, ProcessBound, ProcessId, ValueSlot, in_process, shared, taken_in_process,
};
use super::status::almadia_status;
use super::value::almadia_value;
use crate::process::thread::is_callback_thread;
use crate::store::Store;

/// An open store: one member of a cluster. Any number of threads may use it at once.
pub struct almadia_store {
    pub(super) store: Store,
    pub(super) calls: Arc<Calls>,
    process: ProcessId,
}

impl Boxed for almadia_store {}

impl ProcessBound for almadia_store {
    fn process(&self) -> ProcessId {
        self.process
    }
}

/// Opens the directory `path`, creating it at the first start (its parent must exist), and starts this member's
/// threads. `config` is read and not kept. The call returns when the member's own files are checked and open. It
/// does not wait for the other members (see almadia_store_wait_leader). Writes that were not flushed before the
/// last exit are applied again in the background; the first reads wait for that, within their timeouts.
///
/// With the option cluster.join the first start asks those members to let this one in and waits for it, for
/// cluster.join_timeout_ms at most: they do once almadia_members_change has added it. Then the data come in the
/// background: see almadia_store_wait_ready.
///
/// A relative `path` is resolved against the current working directory, which may change afterwards; the directory
/// itself must keep its path while the store is open. Each of the descriptors 0, 1 and 2 that is closed is opened
/// as /dev/null and stays open, in child processes too: otherwise a program that writes to a closed standard error
/// would write into the store. So close none of them while a store is open; redirect them to /dev/null instead.
///
/// `store` receives the handle; free it with almadia_store_free. Blocks: yes, on the disk, and until a member is let
/// in. Threads: any. Codes:
/// ALMADIA_INVALID_CONFIG (options that contradict each other), ALMADIA_INVALID_ARGUMENT (`path` is empty, a file,
/// or a directory that holds other files), ALMADIA_LOCKED (already open, here or in another process),
/// ALMADIA_WRONG_CLUSTER, ALMADIA_INCOMPATIBLE_FORMAT, ALMADIA_CORRUPTION, ALMADIA_IO (also when the system refuses a
/// thread: the errno is EAGAIN), ALMADIA_NO_SPACE, ALMADIA_PERMISSION, ALMADIA_NETWORK (the listen address; no
/// member has let this one in within the time), ALMADIA_REMOVED (it was removed before it was let in),
/// ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED (the parent process had a store open when it forked, or a snapshot, iterator
/// or value of one).
///
/// # Safety
/// `path` is NULL or ends with a NUL; `config` is NULL or live, and no other call changes it meanwhile; `store` and
/// `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_open(
    path: *const c_char,
    config: *const almadia_config,
    store: *mut *mut almadia_store,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or writable.
        let slot = unsafe { HandleSlot::new(store, "store") }?;
        boundary::may_block()?;
        // SAFETY: `path` is NULL or ends with a NUL.
        let path = unsafe { c_string(path, "path") }?;
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        // SAFETY: `config` is NULL or live.
        let config = unsafe { shared(config, "config") }?;
        let process = ProcessId::current();
        let store = Store::open(path, &config.config)?;
        slot.put(almadia_store { store, calls: Arc::default(), process });
        Ok(ALMADIA_OK)
    })
}

/// Stops a store within `timeout_ms` milliseconds. New calls return ALMADIA_CLOSED from now on. Calls in flight may
/// finish, except in the last second of that time (or in its last half, if that is shorter), which is reserved for
/// ending threads: then they fail with ALMADIA_SHUTDOWN_IN_FLIGHT (may have been applied) or ALMADIA_CLOSED (not
/// applied). In the time that they leave, an election timeout at most, the store hands over what it leads, as
/// almadia_leader_transfer does. With a timeout of 0, calls in flight are cut off at once, the other members must
/// first notice that this one is gone, and the threads have five seconds to end, of which they need very little
/// while the disk works.
///
/// On ALMADIA_OK every callback has returned, no callback will run again, and all threads have ended.
/// ALMADIA_SHUTTING_DOWN means that they have not: a disk that hangs, or a callback that does not return, keeps one
/// of them; the error says which. Every call is completed all the same. But until that thread ends, callbacks may
/// still run, so keep what they use, and the directory stays locked; a thread of the library waits for that end and
/// does the rest.
///
/// The handle stays valid until almadia_store_free; snapshots and iterators stay usable, and keep the directory
/// locked until they are freed. The function may be called again, also after ALMADIA_SHUTTING_DOWN, and by several
/// threads at once: every caller waits for the end, up to its own timeout. Blocks: yes, for the timeout at most.
/// Threads: any number at once. Codes: ALMADIA_SHUTTING_DOWN, ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `error` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_store_shutdown(
    store: *mut almadia_store,
    timeout_ms: u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        boundary::may_block()?;
        store.store.shutdown(Duration::from_millis(timeout_ms))?;
        Ok(ALMADIA_OK)
    })
}

/// Frees a store, after almadia_store_shutdown with a timeout of 0 if no shutdown has returned ALMADIA_OK. NULL is
/// fine. Callbacks that run meanwhile may still use the handle; no other thread may. If the threads do not end
/// within those five seconds, the handle is gone all the same, and the remaining callbacks run as after
/// ALMADIA_SHUTTING_DOWN: to be sure that there are none, shut the store down first. Inside a callback the function
/// does not wait: the handle is gone when it returns, a thread of the library does the rest, and calls in flight
/// are still completed. In a child process it does nothing.
///
/// Blocks: yes, for five seconds at most; inside a callback no. Threads: one.
///
/// # Safety
/// `store` is NULL or live; only its callbacks use it meanwhile, and nothing uses it afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn almadia_store_free(store: *mut almadia_store) {
    boundary::release(|| {
        if !is_callback_thread() {
            // SAFETY: `store` is NULL or live. Its callbacks may use it until this shutdown returns, which is why
            // this is a shared reference.
            if let Ok(store) = unsafe { in_process(store.cast_const(), "store") } {
                // The drop below is right in any case, and does not wait again.
                drop(store.store.shutdown(Duration::ZERO));
            }
        }
        // SAFETY: the caller does not use the store again, and no callback can run any more (or this is the
        // last one that may use it).
        drop(unsafe { taken_in_process(store) });
    });
}

/// Reports the state of this member. Begin `status` with ALMADIA_STATUS_INIT. It also works on a store that is
/// poisoned or shut down.
///
/// Blocks: no. Threads: any number at once. Codes: ALMADIA_INVALID_ARGUMENT (struct_size), ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `status` is NULL or points to `struct_size` writable bytes; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_status(
    store: *mut almadia_store,
    status: *mut almadia_status,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        let now = almadia_status::from(&store.store.status());
        // SAFETY: `status` is NULL or points to `struct_size` writable bytes.
        unsafe { extensible::write(status, &now) }?;
        Ok(ALMADIA_OK)
    })
}

/// Waits up to `timeout_ms` milliseconds until this member knows a leader of every region. `leader` receives the
/// number of the first region's leader; it may be NULL.
///
/// Blocks: yes. Threads: any number at once. Codes: ALMADIA_NO_LEADER (none in time), ALMADIA_CLOSED,
/// ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `leader` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_wait_leader(
    store: *mut almadia_store,
    timeout_ms: u64,
    leader: *mut u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        boundary::may_block()?;
        // SAFETY: `leader` is NULL or writable.
        let leader = unsafe { ValueSlot::optional(leader) };
        leader.put(store.store.wait_leader(Duration::from_millis(timeout_ms))?.get());
        Ok(ALMADIA_OK)
    })
}

/// Waits up to `timeout_ms` milliseconds until this member, which was opened with the option cluster.join, has the data of
/// every region. Before that reads here wait for it, within their own timeouts. A member that is no new one is ready once
/// it has applied what it had, usually at once.
///
/// Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_READ_TIMEOUT (not in time; the error
/// names a region, and waiting again is fine), ALMADIA_REMOVED, ALMADIA_CLOSED, ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK,
/// ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `error` is NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_wait_ready(
    store: *mut almadia_store,
    timeout_ms: u64,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        boundary::may_block()?;
        store.store.wait_ready(Duration::from_millis(timeout_ms))?;
        Ok(ALMADIA_OK)
    })
}

/// The metrics of this member since it was opened, as text in the Prometheus format (0.0.4): gauges of its state,
/// and histograms, in seconds, of each stage of writes and reads. Names and buckets do not change within a major
/// version.
///
/// `text` receives the handle; free it with almadia_value_free. Blocks: no. Threads: any number at once. Codes:
/// ALMADIA_FORKED.
///
/// # Safety
/// `store` is NULL or live; `text` and `error` are NULL or writable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn almadia_store_metrics(
    store: *mut almadia_store,
    text: *mut *mut almadia_value,
    error: *mut *mut almadia_error,
) -> almadia_code {
    // SAFETY: `error` is NULL or writable.
    boundary::call(unsafe { ErrorSlot::new(error) }, || {
        // SAFETY: `text` is NULL or writable.
        let slot = unsafe { HandleSlot::new(text, "text") }?;
        // SAFETY: `store` is NULL or live.
        let store = unsafe { in_process(store, "store") }?;
        slot.put(almadia_value::text(store.store.metrics()));
        Ok(ALMADIA_OK)
    })
}
