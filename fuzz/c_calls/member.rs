//! The store under test, and the map that it is compared with.
//!
//! Owns a store of one member in a directory of its own, and the receiver of asynchronous answers. What always holds:
//! the map has what was acknowledged, also after the store was closed and reopened.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::{env, fs, process};

use almadia::capi::almadia_code;
use almadia::capi::completion::{
    almadia_completion, almadia_completion_code, almadia_completion_index, almadia_completion_take_snapshot,
};
use almadia::capi::config::{almadia_config, almadia_config_free, almadia_config_new, almadia_config_set};
use almadia::capi::done::almadia_done;
use almadia::capi::library::ALMADIA_ABI_VERSION;
use almadia::capi::raft_snapshot::{almadia_raft_snapshot_status, almadia_store_raft_snapshot_at};
use almadia::capi::region::{almadia_region_status, almadia_store_region_at, almadia_store_region_count};
use almadia::capi::snapshot::almadia_snapshot_free;
use almadia::capi::snapshot_open::almadia_snapshot_open;
use almadia::capi::status::almadia_status;
use almadia::capi::store::{
    almadia_store, almadia_store_free, almadia_store_metrics, almadia_store_open, almadia_store_shutdown,
    almadia_store_status, almadia_store_wait_leader,
};
use almadia::capi::store_event::{
    ALMADIA_STORE_EVENT_LEADER_CHANGED, almadia_config_set_event_callback, almadia_store_event,
};
use almadia::capi::transfer::{almadia_leader_transfer, almadia_leader_transfer_options};
use almadia::capi::value::{almadia_value_data, almadia_value_free, almadia_value_size};
use almadia::capi::write::almadia_delete;

use super::arguments::Input;
use super::options::Sized;
use super::rules::{END, INVALID_ARGUMENT, LOCKED, NULL_POINTER, OK, UNSUPPORTED, answer, expect};
use super::{Handles, SLOTS, iterating, put};

/// The contents of a store.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Long enough for a single member to become leader on a busy machine.
const LEADER_MS: u64 = 30_000;

/// See the module.
pub struct Member {
    pub store: *mut almadia_store,
    pub model: Model,
    directory: PathBuf,
    /// The largest log index returned so far.
    index: u64,
    store_events: Box<StoreEvents>,
}

/// The events of a store. Boxed, because its callback points to it.
#[derive(Default)]
struct StoreEvents {
    events: Mutex<Vec<(i32, almadia_code, u64, u64)>>,
    changed: Condvar,
}

unsafe extern "C" fn on_store_event(user: *mut c_void, event: *const almadia_store_event) {
    // SAFETY: `user` is the `StoreEvents` of a member, which outlives its store; the event is live until this returns.
    unsafe {
        let (store_events, event) = (&*user.cast::<StoreEvents>(), &*event);
        let found = (event.kind, event.code, event.region_id, event.leader_id);
        store_events.events.lock().expect("nothing panics while it is held").push(found);
        store_events.changed.notify_all();
    }
}

impl StoreEvents {
    /// Waits for the event that the store leads, and checks all events.
    fn check(&self) {
        let leads = |events: &Vec<(i32, almadia_code, u64, u64)>| events.iter().any(|event| event.3 == 1);
        let events = self.events.lock().expect("nothing panics while it is held");
        let events = self
            .changed
            .wait_while(events, |events| !leads(events))
            .expect("nothing panics while it is held");
        let is_known = |(kind, code, region, leader): &(i32, almadia_code, u64, u64)| {
            *kind == ALMADIA_STORE_EVENT_LEADER_CHANGED && *code == OK && *region > 0 && *leader <= 1
        };
        assert!(events.iter().all(is_known), "{events:?}");
        assert!(events.windows(2).all(|pair| pair[0].3 != pair[1].3), "each is a change: {events:?}");
    }
}

impl Member {
    /// A store in a new directory.
    #[must_use]
    pub fn open() -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("almadia-calls-{}-{number}", process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let mut member = Self {
            store: null_mut(),
            model: Model::new(),
            directory,
            index: 0,
            store_events: Box::default(),
        };
        assert_eq!(member.start(), OK);
        member
    }

    /// Opens the store and waits until it leads.
    fn start(&mut self) -> almadia_code {
        let path = CString::new(self.directory.join("store").as_os_str().as_bytes()).expect("no NUL in it");
        let mut config: *mut almadia_config = null_mut();
        // SAFETY: all pointers are live or writable, and the config is freed once.
        unsafe {
            assert_eq!(almadia_config_new(ALMADIA_ABI_VERSION, &raw mut config, null_mut()), OK);
            for (name, value) in [
                (c"raft.tick_ms", c"10"),
                (c"raft.heartbeat_ms", c"20"),
                (c"raft.election_timeout_ms", c"100"),
            ] {
                assert_eq!(
                    almadia_config_set(config, name.as_ptr(), value.as_ptr(), null_mut()),
                    OK,
                    "{name:?}"
                );
            }
            self.store_events.events.lock().expect("nothing panics while it is held").clear();
            let user = (&raw const *self.store_events).cast_mut().cast();
            let set =
                |config, error| almadia_config_set_event_callback(config, Some(on_store_event), user, error);
            assert_eq!(set(config, null_mut()), OK);
            assert_eq!(set(null_mut(), null_mut()), NULL_POINTER);
            let code = almadia_store_open(path.as_ptr(), config, &raw mut self.store, null_mut());
            almadia_config_free(config);
            if code == OK {
                assert_eq!(almadia_store_wait_leader(self.store, LEADER_MS, null_mut(), null_mut()), OK);
                self.store_events.check();
            }
            code
        }
    }

    /// Removes what the last input left.
    pub fn delete_all(&mut self) {
        for key in std::mem::take(&mut self.model).into_keys() {
            // SAFETY: the store is live and the key has its length.
            let code = unsafe { almadia_delete(self.store, key.as_ptr().cast(), key.len(), null_mut()) };
            assert_eq!(code, OK);
        }
    }

    /// Checks a log index: it must be larger than all before.
    pub fn check_newer(&mut self, index: u64) {
        assert!(index > self.index, "positions of a region grow");
        self.index = index;
    }

    /// The largest log index returned so far: of a write that was acknowledged.
    pub fn last_index(&self) -> u64 {
        self.index
    }

    /// Checks the status of the store, and requests a transfer of the leadership, which no other member can take.
    pub fn check_status(&mut self, input: &mut Input<'_>) {
        let store = self.store;
        // SAFETY: the store is live, structs have their sizes, outputs are writable.
        unsafe {
            assert_eq!(almadia_store_region_count(store), 1);
            let mut status = Sized::<almadia_status>::new();
            let wanted = output_verdict(status.vary(input));
            let code = answer(input, |error| almadia_store_status(store, status.pointer_mut(), error));
            assert_eq!(code, wanted);
            if code == OK {
                let status = &status.options;
                assert_eq!((status.node_id, status.leader_id, status.poisoned), (1, 1, OK));
                assert!(
                    status.applied_index <= status.commit_index && status.commit_index <= status.last_index
                );
            }
            let index = usize::from(input.number() % 3);
            let mut region = Sized::<almadia_region_status>::new();
            let wanted = if index == 0 { output_verdict(region.vary(input)) } else { END };
            expect(wanted, input, |error| almadia_store_region_at(store, index, region.pointer_mut(), error));
            let mut moving = Sized::<almadia_raft_snapshot_status>::new();
            let wanted = output_verdict(moving.vary(input));
            let code = answer(input, |error| {
                almadia_store_raft_snapshot_at(store, index, moving.pointer_mut(), error)
            });
            assert_eq!(code, if wanted == OK { END } else { wanted });
            expect(OK, input, |error| almadia_store_wait_leader(store, 1000, null_mut(), error));
            // The only voter leads already, and there is no other.
            let mut transfer = Sized::<almadia_leader_transfer_options>::new();
            transfer.options.target = if input.yes() { 1 } else { 9 };
            let wanted = match (transfer.options.target, transfer.vary(input)) {
                (9, (OK, true)) => INVALID_ARGUMENT,
                // Without options the leader chooses the target, and there is none.
                (_, (OK, false)) => INVALID_ARGUMENT,
                (_, (code, _)) => code,
            };
            let code = answer(input, |error| almadia_leader_transfer(store, transfer.pointer(), error));
            assert_eq!(code, wanted);
        }
    }

    /// Waits until cancelled writes in flight are applied or never will be, by a write that comes after them in the
    /// log.
    pub fn wait_for_all_before(&self) {
        let key = b"no input has so long a key";
        // SAFETY: the store is live and the key has its length.
        let code = unsafe { almadia_delete(self.store, key.as_ptr().cast(), key.len(), null_mut()) };
        assert_eq!(code, OK);
    }

    /// The contents of the store.
    pub fn contents(&self) -> Model {
        let mut snapshot = null_mut();
        // SAFETY: the store is live, the output writable, and the snapshot is freed once.
        unsafe {
            let code = almadia_snapshot_open(self.store, null(), &raw mut snapshot, null_mut());
            assert_eq!(code, OK);
            let contents = iterating::contents(snapshot);
            almadia_snapshot_free(snapshot);
            contents
        }
    }

    /// Checks the form of the store's metrics, whose values change with every call.
    pub fn check_metrics(&mut self, input: &mut Input<'_>) {
        let (store, mut text) = (self.store, null_mut());
        // SAFETY: the store is live or NULL, the output writable or NULL, and the text is freed once.
        unsafe {
            expect(OK, input, |error| almadia_store_metrics(store, &raw mut text, error));
            let bytes =
                std::slice::from_raw_parts(almadia_value_data(text).cast::<u8>(), almadia_value_size(text));
            let metrics = std::str::from_utf8(bytes).expect("text");
            assert!(metrics.ends_with('\n'), "lines end");
            metrics.lines().for_each(assert_is_metric);
            almadia_value_free(text);
            expect(NULL_POINTER, input, |error| almadia_store_metrics(store, null_mut(), error));
            expect(NULL_POINTER, input, |error| almadia_store_metrics(null_mut(), &raw mut text, error));
            assert!(text.is_null());
        }
    }

    /// Frees the store, which may be shut down, and reopens it.
    pub fn free_and_start(&mut self) {
        // SAFETY: the store is live and not used again after it is freed.
        unsafe { almadia_store_free(self.store) };
        assert_eq!(self.start(), OK);
    }

    /// Frees one handle, or closes the store and reopens it while all other handles live on.
    pub fn free_or_reopen(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let slot = input.slot(SLOTS);
        match input.number() {
            0xf0.. => self.reopen(input, handles),
            kind => match kind % 4 {
                0 => put(&mut handles.batches[slot], None),
                1 => put(&mut handles.snapshots[slot], None),
                2 => put(&mut handles.values[slot], None),
                _ => put(&mut handles.iters[slot], None),
            },
        }
    }

    fn reopen(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let store = self.store;
        // SAFETY: the store is live and not used again after it is freed.
        unsafe {
            if input.yes() {
                expect(OK, input, |error| almadia_store_shutdown(store, 100, error));
                expect(OK, input, |error| almadia_store_shutdown(store, 0, error));
            }
            almadia_store_free(store);
        }
        (0..SLOTS).for_each(|_| handles.snapshot_get(input));
        (0..SLOTS).for_each(|_| handles.move_iter(input));
        if handles.hold_directory() {
            assert_eq!(self.start(), LOCKED, "handles from reads keep the directory locked");
            handles.release_directory();
        }
        assert_eq!(self.start(), OK);
    }
}

/// A comment, or a name with labels and a number.
fn assert_is_metric(line: &str) {
    let is_comment = line.starts_with("# HELP almadia_") || line.starts_with("# TYPE almadia_");
    let sample = line.rsplit_once(' ').filter(|(name, _)| name.starts_with("almadia_"));
    assert!(is_comment || sample.is_some_and(|(_, number)| number.parse::<f64>().is_ok()), "{line}");
}

/// An output struct may be newer than ours with any content, but must not be missing.
fn output_verdict((code, given): (almadia_code, bool)) -> almadia_code {
    match code {
        _ if !given => NULL_POINTER,
        UNSUPPORTED => OK,
        other => other,
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // SAFETY: the store is live and not used again.
        unsafe { almadia_store_free(self.store) };
        // A directory left behind is harmless.
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// The received answers. Boxed, because callbacks point to it.
#[derive(Default)]
pub struct Answers {
    arrived: Box<Arrived>,
}

#[derive(Default)]
struct Arrived {
    answers: Mutex<Vec<(almadia_code, u64)>>,
    snapshot: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Answers {
    /// A receiver for one call; the call must be refused without a callback.
    pub fn done(&self, without_callback: bool) -> almadia_done {
        let mut done = Sized::<almadia_done>::new().options;
        done.callback = if without_callback { None } else { Some(arrive) };
        done.user = (&raw const *self.arrived).cast_mut().cast();
        done
    }

    /// Waits until `count` calls are answered; there must be no other answers.
    pub fn wait(&self, count: usize) -> Vec<(almadia_code, u64)> {
        let answers = self.arrived.answers.lock().expect("nothing panics while it is held");
        let all = self.arrived.changed.wait_while(answers, |answers| answers.len() < count);
        let answers = all.expect("nothing panics while it is held");
        assert_eq!(answers.len(), count, "one answer per call");
        answers.clone()
    }

    /// The snapshot from an answer.
    pub fn take_snapshot(&self) -> *mut almadia::capi::snapshot::almadia_snapshot {
        let taken = self.arrived.snapshot.lock().expect("nothing panics while it is held").take();
        taken.unwrap_or(0) as *mut _
    }
}

unsafe extern "C" fn arrive(user: *mut c_void, completion: *mut almadia_completion) {
    // SAFETY: `user` is the `Arrived` of an `Answers` that waits for this call; the completion is live until this
    // returns.
    unsafe {
        let arrived = &*user.cast::<Arrived>();
        let answer = (almadia_completion_code(completion), almadia_completion_index(completion));
        let snapshot = almadia_completion_take_snapshot(completion);
        if !snapshot.is_null() {
            *arrived.snapshot.lock().expect("nothing panics while it is held") = Some(snapshot as usize);
        }
        arrived.answers.lock().expect("nothing panics while it is held").push(answer);
        arrived.changed.notify_all();
    }
}
