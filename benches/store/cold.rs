//! Plain writes beside conditions on keys that are only on disk.
//!
//! Owns the data, which no cache of the store can hold, and three rows for each kind of company: the writes beside it, the
//! company itself, and for how long a follower had not heard its leader, looked at all the while. What always holds: before
//! each run the files are dropped from the page cache; nobody else leads at its end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use almadia::{Batch, Store, WriteOptions};

use crate::data::{Key, key_among, scattered, value};
use crate::group::Group;
use crate::load::{Client, Measured, measure, measure_for};
use crate::members::{Members, Target};
use crate::meter::Reading;
use crate::report::Row;
use crate::writes::{batch, drive_all_with};

const MEMBERS: usize = 3;
/// As many as 400 MB are.
const KEYS: u64 = 400_000;
const VALUE_BYTES: usize = 1000;
const FILL_BATCH: u64 = 100;
const WRITERS: u64 = 8;
const COMPANY: u64 = 64;
/// The company is there a little earlier and later than the writes that are measured.
const COMPANY_WARM_UP: Duration = Duration::from_millis(300);
const COMPANY_MEASURED: Duration = Duration::from_millis(3500);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How a kind of company writes.
type MakeBatch = fn(&Key) -> Batch;

/// Measures all rows.
pub fn run(group: &Group) {
    let names =
        ["plain writes", "conditions on disk"].map(|company| format!("write beside {company}/3/{WRITERS}"));
    if !group.wants_any(&names) {
        return;
    }
    let small = [("engine.block_cache_bytes", "1048576"), ("engine.memtable_bytes", "1048576")];
    let members = Members::open_with(MEMBERS, &small);
    fill(&members);
    for (company, start) in [("plain writes", batch as MakeBatch), ("conditions on disk", if_on_disk)] {
        members.directories().for_each(|directory| drop_from_page_cache(&directory));
        beside(group, company, start, &members);
    }
}

fn fill(members: &Members) {
    let store = members.member(Target::Leader);
    for first in (0..KEYS).step_by(FILL_BATCH as usize) {
        let mut batch = Batch::new();
        for key in (first..first + FILL_BATCH).map(scattered) {
            batch.put(&key, &value(&key).repeat(VALUE_BYTES / value(&key).len())).expect("small");
        }
        store.write(&mut batch, &WriteOptions::default()).expect("all members are up");
    }
}

fn if_on_disk(key: &Key) -> Batch {
    let mut batch = Batch::new();
    batch.if_present(&key_among(key, KEYS)).expect("small");
    batch.put(key, value(key)).expect("small");
    batch
}

fn beside(group: &Group, company: &str, start: MakeBatch, members: &Members) {
    let (store, follower) = (members.member(Target::Leader), members.member(Target::Follower));
    let term = store.status().term;
    let is_over = Arc::new(AtomicBool::new(false));
    let silence = {
        let (is_over, leader) = (Arc::clone(&is_over), store.status().node);
        thread::spawn(move || look_for_silence(&follower, leader, &is_over))
    };
    let beside = {
        let store = Arc::clone(&store);
        let start_all = move |clients: Vec<Client>| drive_all_with(&store, clients, start);
        thread::spawn(move || measure_for(COMPANY, COMPANY_WARM_UP, COMPANY_MEASURED, start_all))
    };
    let writes = measure(WRITERS, |clients| drive_all_with(&store, clients, batch));
    let writes = writes.expect("members that are all up answer every call");
    let beside =
        beside.join().expect("it does not panic").expect("members that are all up answer every call");
    is_over.store(true, Ordering::Relaxed);
    let silence = silence.join().expect("it does not panic");
    assert_eq!(store.status().term, term, "another member leads");

    let row =
        |name: String, in_flight, measured: &Measured| Row::new(name, MEMBERS as u64, in_flight, measured);
    let baseline = format!("write beside plain writes/3/{WRITERS}");
    let name = format!("write beside {company}/3/{WRITERS}");
    group.print(&row(name, WRITERS, &writes).with_baseline(&baseline));
    group.print(&row(format!("{company}/3/{COMPANY}"), COMPANY, &beside));
    group.print(&row(format!("leader unheard beside {company}/3/0"), 0, &silence));
}

/// For how long `leader` was not heard, each time somebody looked.
fn look_for_silence(follower: &Store, leader: almadia::NodeId, is_over: &AtomicBool) -> Measured {
    let (before, mut samples) = (Reading::now(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let members = follower.members().members;
        let heard = members.iter().find(|member| member.node == leader).and_then(|member| member.last_heard);
        samples.push(heard.expect("it follows that leader"));
        thread::sleep(LOOK_EVERY);
    }
    Measured::of(samples, Reading::now().since(&before))
}

/// What is clean of each table is forgotten by the kernel, so that it must be read again. Some may be compacted away
/// meanwhile.
fn drop_from_page_cache(directory: &Path) {
    let files = std::fs::read_dir(directory.join("data"))
        .expect("it is a store")
        .map(|file| file.expect("readable").path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "sst")) {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", file.display())).args(["iflag=nocache", "count=0"]).stderr(Stdio::null());
        let is_dropped = dd.status().expect("coreutils").success();
        assert!(is_dropped || !file.exists(), "{} stays in memory", file.display());
    }
}
