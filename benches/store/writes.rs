//! Writes: one key per call, acknowledged when durable and applied.
//!
//! Owns the rows of one and of three members, those of RocksDB's own synced writes, and the variants through a follower
//! with one log entry per write, and with conditions. What always holds: after each run the last write of every client is read back.

use std::sync::Arc;
use std::time::Instant;

use almadia::{Batch, SnapshotOptions, Store, WriteOptions};
use rocksdb::{DB, DBCompressionType, Options};

use crate::data::{Key, check, directory, value};
use crate::group::{Group, retry};
use crate::load::{Client, Measured, measure, on_threads};
use crate::members::{Leaders, Members, Target};
use crate::report::Row;

/// On a small machine more threads than this only wait for each other.
const BASELINE_THREADS_MAX: u64 = 64;

/// Measures the rows of a cluster of `count` members.
pub fn run(group: &Group, count: usize) {
    let members = Members::open(count);
    let name = format!("write blocking/{count}/1");
    group.row(&name, || versus_rocksdb(measured(&members, Target::Leader, 1, block), &name, count, 1));
    for in_flight in [1, 64, 256, 1000] {
        let name = format!("write/{count}/{in_flight}");
        group.row(&name, || {
            versus_rocksdb(measured(&members, Target::Leader, in_flight, drive_all), &name, count, in_flight)
        });
    }
    conditional(group, &members);
    if count > 1 {
        variants(group, members, count);
    }
}

/// Writes with conditions, each on its own key or all on one, beside the same number of writes without.
fn conditional(group: &Group, members: &Members) {
    let (count, in_flight) = (members.count(), 256);
    let kinds: [(&str, Starter); 2] = [
        ("write if absent", |store, clients| drive_all_with(store, clients, put_if_absent)),
        ("add to one key", |store, clients| drive_all_with(store, clients, add_to_one)),
    ];
    for (title, start) in kinds {
        let name = format!("{title}/{count}/{in_flight}");
        group.row(&name, || {
            let store = members.member(Target::Leader);
            let measured = retry(|| measure(in_flight, |clients| start(&store, clients)));
            let row = Row::new(name.clone(), count as u64, in_flight, &measured);
            row.with_baseline(&format!("write/{count}/{in_flight}"))
        });
    }
}

/// How the clients of a run begin.
type Starter = fn(&Arc<Store>, Vec<Client>);

/// The same writes through a follower, and with one log entry per write.
fn variants(group: &Group, members: Members, count: usize) {
    variant(group, "write forwarded", &[1, 64, 256], &members, Target::Follower);
    drop(members);
    let (title, in_flight) = ("write, no group", [64, 256, 1000]);
    if group.wants_any(&in_flight.map(|in_flight| format!("{title}/{count}/{in_flight}"))) {
        let members = Members::open_with(count, &[("write.group_bytes", "0")]);
        variant(group, title, &in_flight, &members, Target::Leader);
    }
}

fn variant(group: &Group, title: &str, in_flight: &[u64], members: &Members, target: Target) {
    let count = members.count();
    for &in_flight in in_flight {
        let name = format!("{title}/{count}/{in_flight}");
        group.row(&name, || {
            let measured = measured(members, target, in_flight, drive_all);
            let row = Row::new(name.clone(), count as u64, in_flight, &measured);
            row.with_baseline(&format!("write/{count}/{in_flight}"))
        });
    }
}

fn versus_rocksdb(measured: Measured, name: &str, count: usize, in_flight: u64) -> Row {
    let baseline = format!("rocksdb write/0/{}", in_flight.min(BASELINE_THREADS_MAX));
    Row::new(name.to_owned(), count as u64, in_flight, &measured).with_baseline(&baseline)
}

fn measured(members: &Members, target: Target, in_flight: u64, start: Starter) -> Measured {
    retry(|| {
        let store = members.member(target);
        let measured = measure(in_flight, |clients| start(&store, clients))?;
        let snapshot = store.snapshot(&SnapshotOptions::default()).map_err(|error| error.to_string())?;
        let read = |key: &Key| check(key, snapshot.get(key).expect("a healthy disk"));
        measured.last_keys.iter().for_each(read);
        Ok(measured)
    })
}

fn block(store: &Arc<Store>, clients: Vec<Client>) {
    on_threads(clients, || {
        let store = Arc::clone(store);
        move |key: &Key| {
            let written = store.write(&mut batch(key), &WriteOptions::default());
            written.map(drop).map_err(|error| error.to_string())
        }
    });
}

/// Selects the store that a key is written to.
pub trait Route: Send + Sync + 'static {
    fn store(&self, key: &Key) -> &Store;
}

impl Route for Store {
    fn store(&self, _: &Key) -> &Store {
        self
    }
}

impl Route for Leaders {
    fn store(&self, key: &Key) -> &Store {
        self.of(key)
    }
}

/// Starts all clients, each with asynchronous writes.
pub fn drive_all(route: &Arc<impl Route>, clients: Vec<Client>) {
    drive_all_with(route, clients, batch);
}

/// The same with writes of another kind.
pub fn drive_all_with(route: &Arc<impl Route>, clients: Vec<Client>, batch: fn(&Key) -> Batch) {
    clients.into_iter().for_each(|client| drive(Arc::clone(route), client, batch));
}

/// Issues a write, and the next one from its callback.
fn drive(route: Arc<impl Route>, mut client: Client, batch: fn(&Key) -> Batch) {
    let key = client.issue();
    let run = client.run();
    let begun = Instant::now();
    let again = Arc::clone(&route);
    let callback = move |answer: almadia::Result<almadia::Reply>| {
        if let Err(error) = answer {
            return client.run().fail(error.to_string());
        }
        if client.answered(begun) {
            return drive(again, client, batch);
        }
        // Before `finish`: the run may end then, and this callback could drop the last reference to the store.
        drop(again);
        client.finish();
    };
    if let Err(error) = route.store(&key).write_async(&mut batch(&key), &WriteOptions::default(), callback) {
        run.fail(error.to_string());
    }
}

fn put_if_absent(key: &Key) -> Batch {
    let mut batch = Batch::new();
    batch.if_absent(key).expect("small");
    batch.put(key, value(key)).expect("small");
    batch
}

fn add_to_one(_: &Key) -> Batch {
    let mut batch = Batch::new();
    batch.add(b"count", 1).expect("small");
    batch
}

/// One put.
pub fn batch(key: &Key) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value(key)).expect("small");
    batch
}

/// Measures RocksDB with synced writes, with a thread for each call in flight.
pub fn run_baseline(group: &Group) {
    for in_flight in [1, BASELINE_THREADS_MAX] {
        let name = format!("rocksdb write/0/{in_flight}");
        group.row(&name, || Row::new(name.clone(), 0, in_flight, &measure_baseline(in_flight)));
    }
}

fn measure_baseline(in_flight: u64) -> Measured {
    let directory = directory();
    let db = Arc::new(open_rocksdb(&directory.path().join("db")));
    let synced = || {
        let db = Arc::clone(&db);
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(true);
        move |key: &Key| db.put_opt(key, value(key), &options).map_err(|error| error.to_string())
    };
    let measured = measure(in_flight, |clients| on_threads(clients, synced)).expect("a healthy disk");
    for key in &measured.last_keys {
        check(key, db.get(key).expect("a healthy disk"));
    }
    measured
}

/// RocksDB with its default options, except for the memtable size and the compression, which are a store's defaults.
pub fn open_rocksdb(path: &std::path::Path) -> DB {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(32 << 20);
    options.set_compression_type(DBCompressionType::Lz4);
    DB::open(&options, path).expect("a new directory")
}
