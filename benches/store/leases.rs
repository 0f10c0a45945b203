//! Reads under leases: on the caller's thread on the leader, and on a follower, whose leader answers immediately.
//!
//! Owns their rows. What always holds: gets on the leader and gets of a RocksDB with the same keys are measured in
//! alternate rounds; every value that is read is checked.

use std::sync::Arc;

use almadia::{SnapshotOptions, Store};

use crate::c_interface::CStore;
use crate::data::{Key, filled_key};
use crate::group::{Group, retry};
use crate::load::{measure, on_threads};
use crate::members::{Members, Target};
use crate::reads::{filled_rocksdb, get_once, interleave, raw_get, start};
use crate::report::Row;

/// Measures the rows of a cluster of `count` members.
pub fn run(group: &Group, count: usize) {
    let members = Members::open(count);
    members.fill();
    at_leader(group, &members);
    if count > 1 {
        at_follower(group, &members);
    } else {
        drop(members);
        from_c(group);
    }
}

fn at_leader(group: &Group, members: &Members) {
    let count = members.count() as u64;
    let leader = members.member(Target::Leader);
    let names = [format!("rocksdb get beside lease of {count}/0/1"), format!("lease get/{count}/1")];
    if group.wants_any(&names) {
        let (raw, _directory) = filled_rocksdb();
        let names = names.each_ref().map(String::as_str);
        interleave(group, names, count, || raw_get(&raw), || get_once(&leader));
    }
    let name = format!("lease snapshot/{count}/1");
    group.row(&name, || {
        let measured = retry(|| measure(1, |clients| on_threads(clients, || snapshot(&leader))));
        Row::new(name.clone(), count, 1, &measured)
    });
}

/// Takes a snapshot and drops it.
fn snapshot(store: &Arc<Store>) -> impl FnMut(&Key) -> Result<(), String> + Send + 'static {
    let store = Arc::clone(store);
    move |_| store.snapshot(&SnapshotOptions::default()).map(drop).map_err(|error| error.to_string())
}

/// The same through the C functions, which need a store that they opened.
fn from_c(group: &Group) {
    let name = "lease snapshot in C/1/1";
    group.row(name, || {
        let store = Arc::new(CStore::open());
        let snapshot = || {
            let store = Arc::clone(&store);
            move |_: &Key| store.snapshot()
        };
        let measured = retry(|| measure(1, |clients| on_threads(clients, snapshot)));
        Row::new(name.to_owned(), 1, 1, &measured).with_baseline("lease snapshot/1/1")
    });
    let names = ["rocksdb get beside lease in C/0/1", "lease get in C/1/1"];
    if group.wants_any(&names.map(str::to_owned)) {
        let store = Arc::new(CStore::open());
        store.fill();
        let get = || {
            let store = Arc::clone(&store);
            move |seed: &Key| store.get(&filled_key(seed))
        };
        let (raw, _directory) = filled_rocksdb();
        interleave(group, names, 1, || raw_get(&raw), get);
    }
}

fn at_follower(group: &Group, members: &Members) {
    let count = members.count() as u64;
    for in_flight in [1, 256] {
        let name = format!("lease get at follower/{count}/{in_flight}");
        group.row(&name, || {
            let measured = retry(|| {
                let follower = members.member(Target::Follower);
                measure(in_flight, |clients| start(&follower, in_flight, clients))
            });
            let row = Row::new(name.clone(), count, in_flight, &measured);
            row.with_baseline(&format!("read follower/{count}/{in_flight}"))
        });
    }
}
