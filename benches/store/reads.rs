//! Reads without leases: linearizable reads by read index, and reads of an open snapshot compared with RocksDB's own.
//!
//! Owns the rows of both, and the reading functions that other rows share. What always holds: every value of a get is
//! checked; compared rows read the same keys, which are in the memtables of both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use almadia::{IterOptions, Snapshot, SnapshotOptions, Store};
use rocksdb::{DB, WriteBatch};
use tempfile::TempDir;

use crate::data::{FILLED_KEYS, Key, check, directory, filled_key, scattered, value};
use crate::group::{Group, retry};
use crate::load::{Client, Measured, measure, measure_for, on_threads};
use crate::members::{Members, Target};
use crate::report::Row;
use crate::writes::open_rocksdb;

const SCANNED_KEYS: usize = 1000;

const ROUNDS: u32 = 8;
const ROUND: Duration = Duration::from_millis(200);
const ROUND_WARM_UP: Duration = Duration::from_millis(20);

/// Measures the rows of a cluster of `count` members.
pub fn run(group: &Group, count: usize) {
    let members = Members::open_with(count, &[("read.lease", "false")]);
    members.fill();
    linearizable(group, &members, count as u64, "leader", Target::Leader);
    if count > 1 {
        linearizable(group, &members, count as u64, "follower", Target::Follower);
    } else {
        local(group, &members);
    }
}

fn linearizable(group: &Group, members: &Members, count: u64, title: &str, target: Target) {
    for in_flight in [1, 256] {
        let name = format!("read {title}/{count}/{in_flight}");
        group.row(&name, || {
            let measured = retry(|| {
                let store = members.member(target);
                measure(in_flight, |clients| start(&store, in_flight, clients))
            });
            let row = Row::new(name.clone(), count, in_flight, &measured);
            match (target, in_flight, count) {
                (Target::Follower, ..) => row.with_baseline(&format!("read leader/{count}/{in_flight}")),
                (_, 1, 1) => row.with_baseline("thread wake-up round trip/0/1"),
                (_, 1, _) => row.with_baseline("loopback round trip/0/1"),
                _ => row,
            }
        });
    }
}

/// Starts blocking gets for one call in flight, otherwise asynchronous snapshots that are each read once.
pub fn start(store: &Arc<Store>, in_flight: u64, clients: Vec<Client>) {
    if in_flight == 1 { block(store, clients) } else { drive_all(store, clients) }
}

fn block(store: &Arc<Store>, clients: Vec<Client>) {
    on_threads(clients, || get_once(store));
}

/// A call that makes one linearizable get.
pub fn get_once(store: &Arc<Store>) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let store = Arc::clone(store);
    move |seed| {
        let key = filled_key(seed);
        check(&key, store.get(&key).map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn drive_all(store: &Arc<Store>, clients: Vec<Client>) {
    clients.into_iter().for_each(|client| drive(Arc::clone(store), client));
}

/// Requests a snapshot, reads one key of it in the callback, and requests the next from there.
fn drive(store: Arc<Store>, mut client: Client) {
    let key = filled_key(&client.issue());
    let run = client.run();
    let begun = Instant::now();
    let again = Arc::clone(&store);
    let callback = move |answer: almadia::Result<Snapshot>| {
        if let Err(error) = read(answer, &key) {
            return client.run().fail(error);
        }
        if client.answered(begun) {
            return drive(again, client);
        }
        // Before `finish`: the run may end then, and this callback could drop the last reference to the store.
        drop(again);
        client.finish();
    };
    if let Err(error) = store.snapshot_async(&SnapshotOptions::default(), callback) {
        run.fail(error.to_string());
    }
}

fn read(answer: almadia::Result<Snapshot>, key: &Key) -> Result<(), String> {
    let value = answer.and_then(|snapshot| snapshot.get(key)).map_err(|error| error.to_string())?;
    check(key, value);
    Ok(())
}

/// Gets and iteration on an open snapshot.
fn local(group: &Group, members: &Members) {
    let (raw, _directory) = filled_rocksdb();
    let snapshot = members.member(Target::Leader).snapshot(&SnapshotOptions::default()).expect("it leads");
    let kinds = ["rocksdb get/0/1", "snapshot get/1/1"];
    interleave(group, kinds, 1, || raw_get(&raw), || get(&snapshot));
    let kinds = ["rocksdb iterate 1000 keys/0/1", "iterate 1000 keys/1/1"];
    interleave(group, kinds, 1, || raw_scan(&raw), || scan(&snapshot));
}

/// Measures RocksDB and a store in alternate rounds, so that other load on the machine affects both alike.
pub fn interleave<R, O>(
    group: &Group,
    names: [&str; 2],
    members: u64,
    raw: impl Fn() -> R,
    ours: impl Fn() -> O,
) where
    R: FnMut(&Key) -> Result<(), String> + Send + 'static,
    O: FnMut(&Key) -> Result<(), String> + Send + 'static,
{
    if !group.wants(names[0]) && !group.wants(names[1]) {
        return;
    }
    let (mut theirs, mut own) = (one_round(&raw), one_round(&ours));
    for _ in 1..ROUNDS {
        theirs.add(one_round(&raw));
        own.add(one_round(&ours));
    }
    group.print(&Row::new(names[0].to_owned(), 0, 1, &theirs));
    group.print(&Row::new(names[1].to_owned(), members, 1, &own).with_baseline(names[0]));
}

fn one_round<C>(make: impl Fn() -> C) -> Measured
where
    C: FnMut(&Key) -> Result<(), String> + Send + 'static,
{
    measure_for(1, ROUND_WARM_UP, ROUND, |clients| on_threads(clients, make)).expect("every key was put")
}

/// RocksDB with the keys of a filled store, and its directory, which must outlive it.
pub fn filled_rocksdb() -> (Arc<DB>, TempDir) {
    let directory = directory();
    let db = open_rocksdb(&directory.path().join("db"));
    fill_rocksdb(&db);
    (Arc::new(db), directory)
}

fn fill_rocksdb(db: &DB) {
    let mut batch = WriteBatch::default();
    for number in 0..FILLED_KEYS {
        let key = scattered(number);
        batch.put(key, value(&key));
    }
    db.write(batch).expect("a healthy disk");
}

pub fn raw_get(db: &Arc<DB>) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let db = Arc::clone(db);
    move |seed| {
        let key = filled_key(seed);
        check(&key, db.get_pinned(key).map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn get(snapshot: &Snapshot) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let snapshot = snapshot.clone();
    move |seed| {
        let key = filled_key(seed);
        check(&key, snapshot.get(&key).map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn raw_scan(db: &Arc<DB>) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let db = Arc::clone(db);
    move |seed| {
        let mut iterator = db.raw_iterator();
        iterator.seek(seed);
        for _ in 0..SCANNED_KEYS {
            match iterator.item() {
                Some(item) => drop(std::hint::black_box(item)),
                None => iterator.seek_to_first(),
            }
            iterator.next();
        }
        iterator.status().map_err(|error| error.to_string())
    }
}

fn scan(snapshot: &Snapshot) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let snapshot = snapshot.clone();
    move |seed| {
        let mut iterator = snapshot.iter(IterOptions::default()).map_err(|error| error.to_string())?;
        iterator.seek(seed);
        for _ in 0..SCANNED_KEYS {
            match iterator.item() {
                Some(item) => drop(std::hint::black_box(item)),
                None => iterator.seek_to_first(),
            }
            iterator.next();
        }
        iterator.status().map_err(|error| error.to_string())
    }
}
