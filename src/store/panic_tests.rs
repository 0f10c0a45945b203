//! A panic in each internal thread.
//!
//! Owns the tests that a bug in the library stops one store and nothing else: every waiting caller is answered at
//! once, every accepted call exactly once, the store reports why it stopped, and the process survives. What always
//! holds: each test runs itself a second time as a child process, whose stderr must stay empty. Injecting the panics
//! is left to [`crate::process::planted_panics`].

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::process::planted_panics::{Place, is_waiting, plant};
use crate::{Batch, Code, Config, Result, SnapshotOptions, Store, StoreEvent, WriteOptions};

/// Longer than any of this takes, and shorter than the deadline of a call: a caller answered within this time did not
/// wait for its own deadline.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Too large to be applied by the thread that runs the round.
const LARGE: usize = 64 << 10;

/// Runs `body` in a child process, which must succeed and print nothing to stderr.
fn in_a_child(test: &str, body: impl FnOnce()) {
    const CHILD: &str = "ALMADIA_TEST_PLANTED_PANIC";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let itself = std::env::current_exe().expect("the test binary exists");
    let (_, module) = module_path!().split_once("::").expect("the crate's name comes first");
    let child = Command::new("timeout")
        .args(["--kill-after=5", "100"])
        .arg(itself)
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("timeout is part of coreutils");
    let (stdout, stderr) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && stdout.contains("1 passed"), "{}\n{stdout}\n{stderr}", child.status);
    assert!(stderr.is_empty(), "a panic of ours was printed:\n{stderr}");
}

fn config(options: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    let patient = [("write.timeout_ms", "60000"), ("read.timeout_ms", "60000")];
    for (name, value) in patient.iter().chain(options) {
        config.set(name, value).expect("in range");
    }
    config
}

/// Counts the answers of asynchronous calls.
#[derive(Default)]
struct Tally {
    accepted: AtomicUsize,
    answered: Arc<AtomicUsize>,
    codes: Arc<Mutex<Vec<Code>>>,
}

impl Tally {
    fn submit(&self, call: impl FnOnce(Box<dyn FnOnce(Option<Code>) + Send>) -> Result<()>) {
        let (answered, codes) = (Arc::clone(&self.answered), Arc::clone(&self.codes));
        let note = move |code: Option<Code>| {
            codes.lock().expect("no panic under it").extend(code);
            answered.fetch_add(1, Ordering::SeqCst);
        };
        match call(Box::new(note)) {
            Ok(()) => drop(self.accepted.fetch_add(1, Ordering::SeqCst)),
            Err(error) => {
                let code = error.code();
                assert!([Code::Overloaded, Code::Poisoned, Code::Closed].contains(&code), "{error}");
                std::thread::yield_now();
            }
        }
    }

    /// A small write, a large one and a snapshot.
    fn submit_each(&self, store: &Store) {
        for size in [1, LARGE] {
            let mut batch = Batch::new();
            batch.put(b"key", &vec![7; size]).expect("small enough");
            self.submit(|note| {
                let note = move |answer: Result<_>| note(answer.err().map(|error| error.code()));
                store.write_async(&mut batch, &WriteOptions::default(), note)
            });
        }
        self.submit(|note| {
            let note = move |answer: Result<_>| note(answer.err().map(|error| error.code()));
            store.snapshot_async(&SnapshotOptions::default(), note)
        });
    }

    /// A write that the timer must answer, at least if nothing else does.
    fn submit_late(&self, store: &Store) {
        let mut batch = Batch::new();
        batch.put(b"key", b"value").expect("small enough");
        let options = WriteOptions { timeout: Some(Duration::from_millis(1)) };
        self.submit(|note| {
            let note = move |answer: Result<_>| note(answer.err().map(|error| error.code()));
            store.write_async(&mut batch, &options, note)
        });
    }

    /// Call this once no callback can run any more.
    fn check(&self) {
        assert_eq!(self.answered.load(Ordering::SeqCst), self.accepted.load(Ordering::SeqCst));
        for code in self.codes.lock().expect("no panic under it").iter() {
            let is_explained = (300..600).contains(&code.number()) || *code == Code::Poisoned;
            assert!(is_explained, "{code:?}");
        }
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// Checks a store in which `thread` has panicked: every call fails and names it.
fn is_stopped_by(store: &Store, thread: &str) {
    let cause = store.status().poisoned.expect("the caller waited for it");
    assert_eq!(cause.code(), Code::Panic, "{thread}: {cause}");
    for refusal in [store.put(b"k", b"v").map(drop), store.get(b"k").map(drop)] {
        let refusal = refusal.expect_err("a stopped store does nothing");
        assert_eq!(refusal.code(), Code::Poisoned, "{thread}: {refusal}");
        assert!(refusal.detail().contains(thread), "{thread}: {refusal}");
    }
}

fn panics_alone(thread: &str, place: Place) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = config(&[("log.retain_bytes", "65536"), ("limits.in_flight_ops", "1000")]);
    let poisonings = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&poisonings);
    config.on_event(move |event| {
        told.fetch_add(usize::from(matches!(event, StoreEvent::Poisoned(_))), Ordering::SeqCst);
    });
    let store = Arc::new(Store::open(directory.path().join("store"), &config).expect("opens"));
    store.wait_leader(TIMEOUT).expect("it leads alone");
    store.put(b"before", b"the panic").expect("it leads");
    let tally = Tally::default();

    plant(thread, place);
    let blocked = Arc::clone(&store);
    // The raft thread itself applies only small, single writes.
    let is_calm = (thread, place) == ("almadia-raft", Place::Apply);
    let value = vec![1; if is_calm { 1 } else { LARGE }];
    let caller = std::thread::spawn(move || {
        loop {
            match blocked.put(b"blocked", &value) {
                Err(error) if error.code() != Code::Overloaded => return error,
                _ => std::thread::yield_now(),
            }
        }
    });
    wait_until(&format!("{thread} panics in its {place:?}"), || {
        if !is_calm {
            tally.submit_each(&store);
            tally.submit_late(&store);
        }
        store.status().poisoned.is_some()
    });

    assert!(!is_waiting());
    let answer = caller.join().expect("it does not panic");
    assert!([Code::FailedInFlight, Code::Poisoned].contains(&answer.code()), "{thread}: {answer}");
    is_stopped_by(&store, thread);
    store.shutdown(TIMEOUT).expect("not in a callback");
    tally.check();
    assert_eq!(poisonings.load(Ordering::SeqCst), 1, "{thread}: told once");
    drop(store);
    let again = Store::open(directory.path().join("store"), &config).expect("opens again");
    again.wait_leader(TIMEOUT).expect("it leads alone");
    let value = again.get(b"before").expect("readable").expect("acknowledged");
    assert_eq!(value.as_ref(), b"the panic");
}

#[test]
fn a_panic_of_a_thread_of_a_single_member_stops_the_store_and_not_the_host() {
    in_a_child("a_panic_of_a_thread_of_a_single_member_stops_the_store_and_not_the_host", || {
        for (thread, place) in [
            ("almadia-raft", Place::Loop),
            ("almadia-raft", Place::Round),
            ("almadia-raft", Place::Apply),
            ("almadia-apply", Place::Loop),
            ("almadia-apply", Place::Apply),
            ("almadia-worker", Place::Loop),
            ("almadia-timer", Place::Loop),
            ("almadia-cb", Place::Loop),
        ] {
            panics_alone(thread, place);
        }
    });
}

fn open_cluster(directory: &Path) -> (Vec<Store>, Vec<String>) {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    drop(listeners);
    let members: Vec<_> =
        addresses.iter().zip(1..).map(|(address, node)| format!("{node}={address}")).collect();
    let open = |node: usize| {
        let number = node.to_string();
        let options = [("cluster.node_id", &number[..]), ("cluster.initial_members", &members.join(","))];
        Store::open(directory.join(&number), &config(&options)).expect("opens")
    };
    let stores: Vec<_> = (1..=3).map(open).collect();
    stores.iter().for_each(|store| assert!(store.wait_leader(TIMEOUT).is_ok(), "all three are up"));
    (stores, addresses)
}

fn panics_among_three(thread: &str, place: Place) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (stores, addresses) = open_cluster(directory.path());
    let tally = Tally::default();

    plant(thread, place);
    wait_until(&format!("{thread} panics in its {place:?}"), || {
        stores.iter().for_each(|store| tally.submit_each(store));
        // Connecting makes the acceptor accept.
        addresses.iter().for_each(|address| drop(TcpStream::connect(address)));
        stores.iter().any(|store| store.status().poisoned.is_some())
    });

    assert!(!is_waiting());
    let (stopped, alive): (Vec<_>, Vec<_>) =
        stores.iter().partition(|store| store.status().poisoned.is_some());
    assert_eq!(stopped.len(), 1, "a panic stops one store");
    is_stopped_by(stopped[0], thread);
    for store in alive {
        wait_until("the other two go on", || store.put(b"after", b"the panic").is_ok());
    }
    for store in &stores {
        // A busy machine may need longer than the five seconds of the first attempt.
        if let Err(error) = store.shutdown(Duration::ZERO) {
            assert_eq!(error.code(), Code::ShuttingDown, "{error}");
            store.shutdown(TIMEOUT).expect("its threads end all the same");
        }
    }
    tally.check();
}

#[test]
fn a_panic_of_a_thread_of_the_network_stops_one_member_and_the_others_go_on() {
    in_a_child("a_panic_of_a_thread_of_the_network_stops_one_member_and_the_others_go_on", || {
        for (thread, place) in [
            ("almadia-send-2", Place::Loop),
            ("almadia-recv-2", Place::Loop),
            ("almadia-recv-2", Place::Round),
            ("almadia-accept", Place::Loop),
            ("almadia-hello", Place::Loop),
        ] {
            panics_among_three(thread, place);
        }
    });
}
