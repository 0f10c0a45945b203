//! Reads of data that are being replaced.
//!
//! The peers here take in no raft snapshot: they answer although the data of their regions are said to be replaced, as
//! real ones do only in the moment before they begin. So whoever looks then asks again until the test says that the new
//! data are there.

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use super::*;
use crate::completion::Waiter;
use crate::completion::call::CallKind;
use crate::config::Config;
use crate::store::batch::Batch;
use crate::store::snapshot::{Level, PinnedValue, Snapshot};
use crate::store::transaction::{Transaction, TransactionOptions};
use crate::store::values::KEYS_AT_ONCE_MAX;
use crate::store::{Store, WriteOptions};

const TIMEOUT: Duration = Duration::from_secs(20);
const KEY: &[u8] = b"k";
/// In the second region of two.
const LATER_KEY: &[u8] = b"z";

/// A store whose linearizable reads all ask their peers.
fn open(path: &Path) -> Store {
    let mut config = Config::default();
    for (name, value) in [("read.lease", "false"), ("bootstrap.split_keys", "m")] {
        config.set(name, value).expect("in range");
    }
    let store = Store::open(path, &config).expect("a directory of its own");
    store.wait_leader(TIMEOUT).expect("it is alone");
    for key in [KEY, LATER_KEY] {
        store.put(key, b"old").expect("it leads");
    }
    store
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// What a reader was shown of each key that it asked for, and the position it was told.
type Shown = (Vec<Vec<u8>>, Option<Position>);

fn of_snapshot(snapshot: &Snapshot) -> Shown {
    of_values(snapshot.get_many(&[KEY, LATER_KEY]).expect("a healthy disk"))
}

fn of_values(values: impl IntoIterator<Item = Option<PinnedValue>>) -> Shown {
    (values.into_iter().map(|value| value.expect("put").as_ref().to_vec()).collect(), None)
}

fn of_transaction(transaction: &Transaction) -> Shown {
    let value = transaction.get(KEY).expect("a healthy disk").expect("put");
    (vec![value.as_ref().to_vec()], None)
}

/// It reads nothing but the position.
fn of_reply(reply: Reply) -> Shown {
    (vec![b"new".to_vec()], Some(reply.position))
}

/// Reads from a store, and sends what it was shown.
type Read = fn(&Store, &SnapshotOptions, Sender<Shown>);

/// The data of `key` are replaced at the first look that `read` leads to. It is shown the new ones.
fn is_shown_the_new_data(key: &[u8], keys: usize, level: Level, read: Read) {
    let directory = tempfile::tempdir().expect("there is room");
    let store = open(directory.path());
    let (region, leases) = (store.inner.regions.region_of(key), &store.inner.leases);
    let options = SnapshotOptions { level, ..SnapshotOptions::default() };
    let (answered, answer) = mpsc::channel();
    leases.moments.replace_at_next_look(region);

    std::thread::scope(|scope| {
        scope.spawn(|| read(&store, &options, answered));
        // The first look was disturbed, and those behind it found nothing to look at.
        wait_until("it asks again", || leases.moments.refused() >= 3);
        assert!(answer.try_recv().is_err(), "there is nothing to be seen");
        let written = store.put(key, b"new").expect("it leads").position;
        leases.of(region).end_replacement();

        let (values, position) = answer.recv_timeout(TIMEOUT).expect("answered");
        assert_eq!(values.len(), keys);
        assert_eq!(values.last().expect("one at least"), b"new");
        assert!(position.is_none_or(|position| position == written), "the position is that of what was read");
    });
}

/// Makes a call that is answered by a callback.
fn callback<T>(
    answered: Sender<Shown>,
    shown: impl FnOnce(T) -> Shown + Send + 'static,
) -> impl FnOnce(Result<T>) + Send + 'static {
    move |read| answered.send(shown(read.expect("read"))).expect("the test waits")
}

const LEVELS: [Level; 2] = [Level::Linearizable, Level::Local];

/// Whether it blocks or not.
fn each_is_shown_the_new_data(key: &[u8], keys: usize, reads: [Read; 2]) {
    for level in LEVELS {
        reads.iter().for_each(|read| is_shown_the_new_data(key, keys, level, *read));
    }
}

#[test]
fn a_get_is_asked_for_again() {
    let blocking: Read = |store, options, answered| {
        let value = store.get_with(KEY, options).expect("read");
        answered.send(of_values([value])).expect("the test waits");
    };
    let asynchronous: Read = |store, options, answered| {
        let callback = callback(answered, |value| of_values([value]));
        store.asynchronous().get(KEY, options, callback).expect("open");
    };

    each_is_shown_the_new_data(KEY, 1, [blocking, asynchronous]);
}

#[test]
fn a_get_with_a_position_tells_that_of_the_new_data() {
    let blocking: Read = |store, options, answered| {
        let (value, position) = store.get_with_position(KEY, options).expect("read");
        answered.send((of_values([value]).0, Some(position))).expect("the test waits");
    };
    let asynchronous: Read = |store, options, answered| {
        let callback = callback(answered, |(value, position)| (of_values([value]).0, Some(position)));
        store.asynchronous().get_with_position(KEY, options, callback).expect("open");
    };

    each_is_shown_the_new_data(KEY, 1, [blocking, asynchronous]);
}

#[test]
fn a_get_of_keys_of_several_regions_needs_the_whole_data_of_each() {
    let blocking: Read = |store, options, answered| {
        let values = store.get_many(&[KEY, LATER_KEY], options).expect("read");
        answered.send(of_values(values)).expect("the test waits");
    };
    let asynchronous: Read = |store, options, answered| {
        let callback = callback(answered, of_values);
        store.asynchronous().get_many(&[KEY, LATER_KEY], options, callback).expect("open");
    };

    each_is_shown_the_new_data(LATER_KEY, 2, [blocking, asynchronous]);
}

#[test]
fn a_get_that_goes_to_the_read_pool_shows_the_new_data() {
    /// More than are read on the thread that has the confirmation.
    const KEYS: usize = KEYS_AT_ONCE_MAX + 1;
    let asynchronous: Read = |store, options, answered| {
        let callback = callback(answered, of_values);
        store.asynchronous().get_many(&[KEY; KEYS], options, callback).expect("open");
    };

    for level in LEVELS {
        is_shown_the_new_data(KEY, KEYS, level, asynchronous);
    }
}

#[test]
fn a_snapshot_is_opened_again() {
    let blocking: Read = |store, options, answered| {
        let snapshot = store.snapshot(options).expect("read");
        answered.send(of_snapshot(&snapshot)).expect("the test waits");
    };
    let asynchronous: Read = |store, options, answered| {
        let callback = callback(answered, |snapshot| of_snapshot(&snapshot));
        store.asynchronous().snapshot(options, callback).expect("open");
    };

    each_is_shown_the_new_data(LATER_KEY, 2, [blocking, asynchronous]);
}

fn begun_with(options: &SnapshotOptions) -> TransactionOptions {
    TransactionOptions { level: options.level, key: KEY.to_vec(), ..TransactionOptions::default() }
}

#[test]
fn a_transaction_begins_with_the_new_data() {
    let blocking: Read = |store, options, answered| {
        let transaction = store.begin(&begun_with(options)).expect("read");
        answered.send(of_transaction(&transaction)).expect("the test waits");
    };
    let asynchronous: Read = |store, options, answered| {
        let callback = callback(answered, |transaction| of_transaction(&transaction));
        store.asynchronous().begin(&begun_with(options), callback).expect("open");
    };

    each_is_shown_the_new_data(KEY, 1, [blocking, asynchronous]);
}

#[test]
fn a_write_of_nothing_tells_the_position_of_the_new_data() {
    let blocking: Read = |store, _, answered| {
        let reply = store.write(&mut Batch::new(), &WriteOptions::default()).expect("read");
        answered.send(of_reply(reply)).expect("the test waits");
    };
    let asynchronous: Read = |store, _, answered| {
        let (empty, options) = (&mut Batch::new(), WriteOptions::default());
        store.asynchronous().write(empty, &options, callback(answered, of_reply)).expect("open");
    };

    for read in [blocking, asynchronous] {
        is_shown_the_new_data(KEY, 1, Level::Linearizable, read);
    }
}

#[test]
fn a_read_of_another_region_is_not_disturbed() {
    let directory = tempfile::tempdir().expect("there is room");
    let store = open(directory.path());
    store.inner.leases.of(store.inner.regions.region_of(LATER_KEY)).begin_replacement();

    for level in LEVELS {
        let options = SnapshotOptions { level, ..SnapshotOptions::default() };
        assert!(store.get_with(KEY, &options).expect("read").is_some());
    }

    assert_eq!(store.inner.leases.moments.refused(), 0);
}

#[test]
fn a_read_of_data_that_do_not_come_ends_at_its_deadline() {
    let directory = tempfile::tempdir().expect("there is room");
    let store = open(directory.path());
    store.inner.leases.of(store.inner.regions.region_of(KEY)).begin_replacement();

    for level in LEVELS {
        let timeout = Some(Duration::from_millis(20));
        let options = SnapshotOptions { level, timeout, ..SnapshotOptions::default() };
        let (answered, answer) = mpsc::channel();
        let tell = move |read: Result<_>| answered.send(read.err()).expect("the test waits");
        store.asynchronous().get(KEY, &options, tell).expect("open");

        let blocking = store.get_with(KEY, &options).expect_err("there is nothing to be seen");
        let asynchronous = answer.recv_timeout(TIMEOUT).expect("answered").expect("refused");

        assert_eq!((blocking.code(), asynchronous.code()), (Code::ReadTimeout, Code::ReadTimeout));
        assert!(answer.recv_timeout(TIMEOUT).is_err(), "once");
    }
    wait_until("nothing is under way", || store.inner.admission.in_flight() == 0);
}

#[test]
fn a_read_of_data_that_do_not_come_can_be_cancelled() {
    let directory = tempfile::tempdir().expect("there is room");
    let store = open(directory.path());
    store.inner.leases.of(store.inner.regions.region_of(KEY)).begin_replacement();
    let (answered, answer) = mpsc::channel();

    let tell = move |read: Result<_>| answered.send(read.err()).expect("the test waits");
    let call = store.asynchronous().get(KEY, &SnapshotOptions::default(), tell).expect("open");
    wait_until("it asks again", || store.inner.leases.moments.refused() >= 2);

    assert!(call.cancel());
    let refused = answer.recv_timeout(TIMEOUT).expect("answered").expect("refused");
    assert_eq!(refused.code(), Code::Cancelled);
}

/// Keeps what it is given.
struct Kept(Completion);

impl Viewer for Kept {
    fn call(&self) -> &Completion {
        &self.0
    }

    fn into_call(self) -> Completion {
        self.0
    }

    fn go_on(self, seen: Result<(View, Position)>) {
        self.0.answer(seen.map(|(_, position)| position.into()));
    }
}

#[test]
fn a_read_that_asks_again_is_answered_although_the_store_was_closed_meanwhile() {
    let directory = tempfile::tempdir().expect("there is room");
    let store = open(directory.path());
    let (inner, engine) = (&store.inner, store.inner.engine().expect("open"));
    for keys in [&[KEY][..], &[KEY, LATER_KEY]] {
        let regions: Vec<_> = keys.iter().map(|key| inner.regions.region_of(key)).collect();
        inner.leases.of(regions[0]).begin_replacement();
        let due = Due::within(TIMEOUT, CallKind::Read, &regions);
        let waiter = Arc::new(Waiter::default());
        let confirming = Confirming {
            inner: Arc::clone(inner),
            engine: engine.clone(),
            due,
            latency: Latency::new(&inner.metrics, Kind::Read),
            is_accepted: false,
            viewer: Kept(waiter.completion()),
        };
        store.shutdown(TIMEOUT).expect("nothing holds it");

        Box::new(confirming).deliver(Ok(Reply::default()));

        let answer = waiter.wait(Duration::ZERO).expect("answered");
        assert_eq!(answer.expect_err("nobody confirms it").code(), Code::Closed);
    }
}
