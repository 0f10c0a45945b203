//! Resources that must not grow with restarts, and must come back.
//!
//! Owns stores that are reopened many times or become idle, and the size of their logs. Its descriptors, threads and memory are counted
//! in a separate process, the only place where they can be (`stress.rs`).

use std::path::Path;
use std::time::{Duration, Instant};

use almadia::Store;

use super::member::{HANG_TIMEOUT, fast_config};

/// Between two looks at the files.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes that each run writes: less than twice what is to be retained.
const RUN_BYTES: usize = 96 << 10;
const RETAIN_BYTES: usize = 64 << 10;
/// The smallest segments, of which a log keeps a few and some spares.
const LOG_BYTES_MAX: u64 = 12 * (64 << 10);

fn open(path: &Path) -> Store {
    let mut config = fast_config();
    for (name, value) in [("log.retain_bytes", RETAIN_BYTES), ("log.segment_bytes", 64 << 10)] {
        config.set(name, &value.to_string()).expect("in range");
    }
    Store::open(path, &config).expect("opens")
}

fn log_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path.join("log")).expect("it is open");
    // A file may be renamed to a spare concurrently.
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn a_store_that_is_reopened_many_times_keeps_no_more_log_than_one_that_stays_open() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    for _ in 0..30 {
        let store = open(&path);
        (0..6).for_each(|key| _ = store.put(&[key], &vec![key; RUN_BYTES / 6]).expect("it works"));
    }

    let _store = open(&path);
    wait_for_short_log(&path);
}

#[test]
fn a_store_that_becomes_idle_gives_the_space_of_its_log_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let store = open(&path);
    (0..40).for_each(|key| _ = store.put(&[key], &vec![key; 256 << 10]).expect("it works"));

    wait_for_short_log(&path);
}

/// Nobody calls meanwhile.
fn wait_for_short_log(path: &Path) {
    let deadline = Instant::now() + HANG_TIMEOUT;
    while log_bytes(path) > LOG_BYTES_MAX {
        assert!(Instant::now() < deadline, "the log keeps {} bytes", log_bytes(path));
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[test]
fn what_a_start_applied_again_is_written_to_a_table() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let mut config = fast_config();
    config.set("engine.memtable_bytes", "33554432").expect("in range");
    let store = Store::open(&path, &config).expect("opens");
    (0..20).for_each(|key| _ = store.put(&[key], &vec![key; 200 << 10]).expect("it works"));
    drop(store);
    let before = tables(&path);

    let store = Store::open(&path, &config).expect("opens");

    let start = Instant::now();
    while tables(&path) == before {
        assert!(start.elapsed() < HANG_TIMEOUT, "what was applied again is still in memory");
        std::thread::sleep(POLL_INTERVAL);
    }
    assert_eq!(store.get(&[7]).expect("it works").map(|value| value.as_ref().len()), Some(200 << 10));
}

fn tables(path: &Path) -> usize {
    let files = std::fs::read_dir(path.join("data")).expect("it was opened");
    files
        .filter(|file| {
            file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|name| name == "sst"))
        })
        .count()
}
