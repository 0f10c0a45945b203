//! Reads without leases: linearizable ones by read index, and what a snapshot costs beside RocksDB itself.
//!
//! Owns the rows of both, and the ways of reading that other rows share. What always holds: every value that is read is
//! checked; what is compared reads the same keys, which lie in the memtables of both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use almadia::{IterOptions, Snapshot, SnapshotOptions, Store};
use rocksdb::{DB, WriteBatch};
use tempfile::TempDir;

use crate::data::{FILLED_KEYS, Key, check, directory, filled_key, scattered, value};
use crate::group::{Group, retry};
use crate::load::{Lane, Measured, measure, measure_for, on_threads};
use crate::members::{Asked, Members};
use crate::report::Row;
use crate::writes::open_rocksdb;

const SCANNED_KEYS: usize = 1000;

const TURNS: u32 = 8;
const TURN: Duration = Duration::from_millis(200);
const TURN_WARM_UP: Duration = Duration::from_millis(20);

/// Rows of a cluster of so many members.
pub fn run(group: &Group, count: usize) {
    let members = Members::open_with(count, &[("read.lease", "false")]);
    members.fill();
    linearizable(group, &members, count as u64, "leader", Asked::Leader);
    if count > 1 {
        linearizable(group, &members, count as u64, "follower", Asked::Follower);
    } else {
        local(group, &members);
    }
}

fn linearizable(group: &Group, members: &Members, count: u64, title: &str, asked: Asked) {
    for in_flight in [1, 256] {
        let name = format!("read {title}/{count}/{in_flight}");
        group.row(&name, || {
            let measured = retry(|| {
                let store = members.member(asked);
                measure(in_flight, |lanes| start(&store, in_flight, lanes))
            });
            let row = Row::new(name.clone(), count, in_flight, &measured);
            match (asked, in_flight, count) {
                (Asked::Follower, ..) => row.beside(&format!("read leader/{count}/{in_flight}")),
                (_, 1, 1) => row.beside("thread wake-up round trip/0/1"),
                (_, 1, _) => row.beside("loopback round trip/0/1"),
                _ => row,
            }
        });
    }
}

/// Gets from one thread that waits, or keeps several snapshots on their way.
pub fn start(store: &Arc<Store>, in_flight: u64, lanes: Vec<Lane>) {
    if in_flight == 1 { block(store, lanes) } else { drive_all(store, lanes) }
}

fn block(store: &Arc<Store>, lanes: Vec<Lane>) {
    on_threads(lanes, || get_once(store));
}

/// One linearizable get at a time.
pub fn get_once(store: &Arc<Store>) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let store = Arc::clone(store);
    move |seed| {
        let key = filled_key(seed);
        check(&key, store.get(&key).map_err(|error| error.to_string())?)
    }
}

fn drive_all(store: &Arc<Store>, lanes: Vec<Lane>) {
    lanes.into_iter().for_each(|lane| drive(Arc::clone(store), lane));
}

/// Takes a snapshot, reads from it in the callback, and does it again from there.
fn drive(store: Arc<Store>, mut lane: Lane) {
    let key = filled_key(&lane.issue());
    let run = lane.run();
    let begun = Instant::now();
    let again = Arc::clone(&store);
    let callback = move |answer: almadia::Result<Snapshot>| {
        if let Err(error) = read(answer, &key) {
            return lane.run().fail(error);
        }
        if lane.answered(begun) {
            return drive(again, lane);
        }
        // Or the store might be dropped here, after its owner is done with it.
        drop(again);
        lane.rest();
    };
    if let Err(error) = store.snapshot_async(&SnapshotOptions::default(), callback) {
        run.fail(error.to_string());
    }
}

fn read(answer: almadia::Result<Snapshot>, key: &Key) -> Result<(), String> {
    let value = answer.and_then(|snapshot| snapshot.get(key)).map_err(|error| error.to_string())?;
    check(key, value)
}

/// What a caller does with a snapshot it has.
fn local(group: &Group, members: &Members) {
    let (raw, _directory) = filled_rocksdb();
    let snapshot = members.member(Asked::Leader).snapshot(&SnapshotOptions::default()).expect("it leads");
    let kinds = ["rocksdb get/0/1", "snapshot get/1/1"];
    side_by_side(group, kinds, 1, || raw_get(&raw), || get(&snapshot));
    let kinds = ["rocksdb iterate 1000 keys/0/1", "iterate 1000 keys/1/1"];
    side_by_side(group, kinds, 1, || raw_scan(&raw), || scan(&snapshot));
}

/// RocksDB and a store in turns, so that what else the machine does hits both alike.
pub fn side_by_side<R, O>(
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
    let (mut theirs, mut own) = (one_turn(&raw), one_turn(&ours));
    for _ in 1..TURNS {
        theirs.add(one_turn(&raw));
        own.add(one_turn(&ours));
    }
    group.print(&Row::new(names[0].to_owned(), 0, 1, &theirs));
    group.print(&Row::new(names[1].to_owned(), members, 1, &own).beside(names[0]));
}

fn one_turn<C>(make: impl Fn() -> C) -> Measured
where
    C: FnMut(&Key) -> Result<(), String> + Send + 'static,
{
    measure_for(1, TURN_WARM_UP, TURN, |lanes| on_threads(lanes, make)).expect("every key was put")
}

/// RocksDB with the keys of a filled store, as long as the directory is kept.
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
        check(&key, db.get_pinned(key).map_err(|error| error.to_string())?)
    }
}

fn get(snapshot: &Snapshot) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let snapshot = snapshot.clone();
    move |seed| {
        let key = filled_key(seed);
        check(&key, snapshot.get(&key).map_err(|error| error.to_string())?)
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
