//! The limits of the machine, and how close the raft log comes to them.
//!
//! Owns the rows that bound what the others can reach: a sync, a round trip between threads and over loopback, and the
//! log store's own appends on the same disk.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use almadia::internal::{Entry, LogWrite};
use almadia::internal::{LogOptions, LogStore};
use almadia::{LogIndex, RegionId, Term};

use crate::data::{Key, directory};
use crate::group::Group;
use crate::load::{measure_for, on_threads};
use crate::report::Row;

const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(1000);

const MESSAGE_BYTES: usize = 250;
const SYNC_BYTES: usize = 4096;
const FILE_BYTES: usize = 64 << 20;
/// A 16-byte key and a 100-byte value.
const ENTRY_BYTES: usize = 116;
const KEPT_ENTRIES: u64 = 10_000;

pub fn run(group: &Group) {
    group.row("fdatasync of 4 KiB/0/1", || limit("fdatasync of 4 KiB/0/1", syncs()));
    group.row("loopback round trip/0/1", || limit("loopback round trip/0/1", round_trips()));
    group.row("thread wake-up round trip/0/1", || limit("thread wake-up round trip/0/1", wake_ups()));
    for (name, count) in [("log store, 1 entry a sync/0/1", 1), ("log store, 512 entries a sync/0/1", 512)] {
        group.row(name, || limit(name, appends(count)).with_baseline("fdatasync of 4 KiB/0/1"));
    }
}

/// Measures one thread that repeats `call`.
fn limit(name: &str, call: impl FnMut() + Send + 'static) -> Row {
    let call = Mutex::new(Some(call));
    let make = || {
        let mut call = call.lock().expect("used by this thread only").take().expect("there is one client");
        move |_: &Key| {
            call();
            Ok(())
        }
    };
    let measured = measure_for(1, WARM_UP, MEASURED, |clients| on_threads(clients, make));
    Row::new(name.to_owned(), 0, 1, &measured.expect("the call has no errors"))
}

/// Overwrites a file that has all its blocks, with a sync after each write.
fn syncs() -> impl FnMut() + Send + 'static {
    let directory = directory();
    let path = directory.path().join("bare");
    std::fs::write(&path, vec![1; FILE_BYTES]).expect("there is room for 64 MiB");
    let file = File::options().write(true).open(&path).expect("just written");
    file.sync_all().expect("a healthy disk");
    let (buffer, mut at) = ([2; SYNC_BYTES], 0);
    move || {
        let _kept = &directory;
        file.write_all_at(&buffer, at as u64).expect("a healthy disk");
        file.sync_data().expect("a healthy disk");
        at = (at + SYNC_BYTES) % FILE_BYTES;
    }
}

fn round_trips() -> impl FnMut() + Send + 'static {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (mut far, _) = listener.accept().expect("dialed");
    near.set_nodelay(true).expect("a socket");
    far.set_nodelay(true).expect("a socket");
    let echo = move || {
        let mut bytes = [0; MESSAGE_BYTES];
        while far.read_exact(&mut bytes).is_ok() {
            far.write_all(&bytes).expect("still open");
        }
    };
    // The thread ends when the near socket is dropped.
    thread::Builder::new().name("echo".to_owned()).spawn(echo).expect("a thread can be started");
    move || {
        near.write_all(&[7; MESSAGE_BYTES]).expect("still open");
        near.read_exact(&mut [0; MESSAGE_BYTES]).expect("still open");
    }
}

/// The state of two threads that wake each other alternately.
#[derive(Default)]
struct PingPong {
    /// Whether the far thread runs next.
    is_far: AtomicBool,
    ended: AtomicBool,
}

impl PingPong {
    fn wait(&self, until_far: bool) {
        while self.is_far.load(Ordering::Acquire) != until_far && !self.ended.load(Ordering::Acquire) {
            thread::park();
        }
    }
}

/// The far thread; it ends when this is dropped.
struct Far {
    state: Arc<PingPong>,
    thread: thread::Thread,
}

impl Drop for Far {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn wake_ups() -> impl FnMut() + Send + 'static {
    let mut far: Option<Far> = None;
    move || {
        // Started by the first call, because the far thread must know which thread to wake.
        let far = far.get_or_insert_with(far_thread);
        far.state.is_far.store(true, Ordering::Release);
        far.thread.unpark();
        far.state.wait(false);
    }
}

fn far_thread() -> Far {
    let (state, near) = (Arc::new(PingPong::default()), thread::current());
    let shared = Arc::clone(&state);
    let body = move || {
        while !shared.ended.load(Ordering::Acquire) {
            shared.wait(true);
            shared.is_far.store(false, Ordering::Release);
            near.unpark();
        }
    };
    let spawned = thread::Builder::new().name("echo".to_owned()).spawn(body);
    Far { state, thread: spawned.expect("a thread can be started").thread().clone() }
}

/// Appends `count` entries at a time and truncates the log as a store would.
fn appends(count: u64) -> impl FnMut() + Send + 'static {
    let directory = directory();
    let opened = LogStore::open(&directory.path().join("log"), LogOptions::default());
    let (log, _) = opened.expect("a new directory");
    let mut next = 1;
    move || {
        let _kept = &directory;
        next = append(&log, next, count);
    }
}

fn append(log: &LogStore, next: u64, count: u64) -> u64 {
    let data = bytes::Bytes::from_static(&[7; ENTRY_BYTES]);
    let entry = |index| Entry { index, term: 1, data: data.clone(), ..Entry::default() };
    let mut write = LogWrite::new(RegionId(1));
    write.entries = (next..next + count).map(entry).collect();
    if next % 1024 <= count {
        write.truncate_to = next.checked_sub(KEPT_ENTRIES).map(|index| (LogIndex(index), Term(1)));
    }
    log.append(&[write]).expect("a healthy disk");
    next + count
}
