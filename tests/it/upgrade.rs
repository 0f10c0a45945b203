//! Directories that an earlier build has left.
//!
//! `format2.tar.gz` is the directory of a cluster of one, written by the build of commit aee86f9, the last one without
//! versions: the keys of [`left`], of which the large ones are in tables, and the latest writes in the log only. It was
//! made by a program that put what the functions here return, with the options of [`config`].

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use almadia::{Code, Config, Expected, Store, Version, WriteOptions};
use tempfile::{TempDir, tempdir};

use crate::member::{HANG_TIMEOUT, read_all, shut_down_at_once, wait_for_level};
use crate::native::repository;

const DIRECTORY: &str = "ALMADIA_TEST_DIRECTORY";
const KILLED: &str = "upgrade::a_conversion_that_is_killed_again_and_again_loses_nothing";
/// What the build of the fixture gave every key: see `docs/conditions.md`.
const UNKNOWN: Version = Version(1);
/// The first level at which keys have versions.
const VERSIONS_LEVEL: u16 = 1;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

fn config() -> Config {
    let mut config = Config::default();
    for (name, value) in [
        ("cluster.name", "format2"),
        ("bootstrap.split_keys", "g,n,t"),
        ("raft.tick_ms", "10"),
        ("raft.heartbeat_ms", "30"),
        ("raft.election_timeout_ms", "2000"),
        ("engine.memtable_bytes", "1048576"),
        ("log.segment_bytes", "65536"),
        ("log.retain_bytes", "65536"),
    ] {
        config.set(name, value).expect("in range");
    }
    config
}

/// The first value of a key.
fn first(letter: char, n: u32) -> Vec<u8> {
    match n % 6 {
        0 => Vec::new(),
        1 => vec![0; 9],
        2 => format!("plain {letter}{n}").into_bytes(),
        3 => [&b"like a trailer"[..], &[3, 0, 77, 0, 0, 0, 0, 0, 0]].concat(),
        4 => vec![0xff; 300],
        _ => vec![1, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// The keys that were written long before the end, and are in tables.
fn early() -> Pairs {
    let large = (0..1500u32).map(|n| (format!("big/{n:04}").into_bytes(), vec![n as u8; 16 << 10]));
    let mut pairs: Pairs = large.collect();
    for letter in ['a', 'h', 'p', 'x'] {
        pairs.extend((0..12).map(|n| (key(letter, n), first(letter, n))));
    }
    pairs.insert(Vec::new(), b"the first key".to_vec());
    pairs
}

/// What was changed at the end.
fn late() -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut changes = BTreeMap::new();
    for letter in ['a', 'h', 'p', 'x'] {
        changes.extend([1, 5, 9].map(|n| (key(letter, n), Some(format!("again {letter}{n}").into_bytes()))));
        // One by one, and as a range.
        changes.extend([2, 6, 10].map(|n| (key(letter, n), None)));
        changes.insert(format!("{letter}/new").into_bytes(), Some(b"new\0\0\0\0\0\0\0\0\0".to_vec()));
    }
    changes
}

/// What the build left.
fn left() -> Pairs {
    let mut pairs = early();
    for (key, value) in late() {
        match value {
            Some(value) => _ = pairs.insert(key, value),
            None => _ = pairs.remove(&key),
        }
    }
    pairs
}

fn key(letter: char, n: u32) -> Vec<u8> {
    format!("{letter}/{n:02}").into_bytes()
}

/// The directory as the build left it.
fn unpacked() -> (TempDir, PathBuf) {
    let scratch = tempdir().expect("the temporary directory is writable");
    let archive = repository().join("tests/it/format2.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(scratch.path());
    assert!(tar.status().expect("tar is installed").success());
    let path = scratch.path().join("format2");
    assert_eq!(ident_of(&path), (2, 1), "else there is nothing to convert");
    (scratch, path)
}

/// The format in the ident file, and what it says about the content.
fn ident_of(path: &Path) -> (u8, u8) {
    let ident = fs::read(path.join("ident")).expect("it is there, whole, at any moment");
    (ident[8], ident[20])
}

fn open(path: &Path) -> Store {
    let store = Store::open(path, &config()).expect("opens");
    store.wait_leader(HANG_TIMEOUT).expect("it leads");
    store
}

fn values_of(found: &BTreeMap<Vec<u8>, (Vec<u8>, Version)>) -> Pairs {
    found.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
}

#[test]
fn a_directory_without_versions_is_converted_and_is_a_member_like_any_other() {
    let (_scratch, path) = unpacked();

    let store = open(&path);
    assert_eq!(ident_of(&path), (3, 1));
    let found = read_all(&store);
    assert!(values_of(&found) == left(), "something is lost, or has changed");
    assert!(found.values().all(|(_, version)| *version != Version::NONE), "what is there has a version");
    wait_for_level(&store, VERSIONS_LEVEL);
    let written = store.put(b"a/00", b"new").expect("it leads").version;
    store.delete(b"a/01").expect("it leads");
    drop(store);

    let store = open(&path);
    let mut expected = left();
    expected.insert(b"a/00".to_vec(), b"new".to_vec());
    expected.remove(&b"a/01"[..]);
    let found = read_all(&store);
    assert!(values_of(&found) == expected, "something is lost, or has changed");
    assert!(written > UNKNOWN);
}

#[test]
fn conditions_work_as_soon_as_a_converted_directory_is_open() {
    let (_scratch, path) = unpacked();
    let options = WriteOptions::default();
    let seen = b"a/00";

    // It waits for the level instead of being refused.
    let store = Store::open(&path, &config()).expect("opens");
    let refused = store.put_if_absent(seen, b"new", &options).expect_err("it is there");
    assert_eq!(refused.code(), Code::PreconditionFailed);
    store.put_if_absent(b"z/first", b"new", &options).expect("it is not there");
    wait_for_level(&store, VERSIONS_LEVEL);

    let found = read_all(&store);
    let version = |key: &[u8]| found[key].1;
    let floor = version(seen);
    assert!(floor > UNKNOWN && refused.precondition().is_some_and(|found| found.version == floor));
    assert_eq!(version(b"a/03"), floor, "all that was not written since has the version of the entry");
    store.compare_and_set(seen, Expected::Version(floor), b"seen", &options).expect("nobody has written it");
    let late =
        store.compare_and_set(seen, Expected::Version(floor), b"again", &options).expect_err("somebody has");
    assert_eq!(late.code(), Code::PreconditionFailed);
    drop(store);

    let store = open(&path);
    wait_for_level(&store, VERSIONS_LEVEL);
    let again = read_all(&store);
    assert_eq!(again[&b"a/03"[..]].1, floor);
    assert!(again[&seen[..]].1 > floor);
}

#[test]
fn a_conversion_that_is_killed_again_and_again_loses_nothing() {
    if let Some(path) = env::var_os(DIRECTORY) {
        return drop(open(Path::new(&path)));
    }

    // On a busy machine the process may be done before this one comes to kill it; then it begins anew.
    while killed_while_converting() < 3 {}
}

/// Has a directory converted by processes that are killed, later each time, until one is faster. Returns how many were
/// killed while they converted.
fn killed_while_converting() -> u32 {
    let (_scratch, path) = unpacked();

    let (mut kills, mut delay) = (0, Duration::ZERO);
    while is_killed(&path, delay) {
        kills += u32::from(ident_of(&path) == (3, 2));
        delay += Duration::from_millis(5);
    }

    let store = open(&path);
    assert!(values_of(&read_all(&store)) == left(), "something is lost, or has changed");
    shut_down_at_once(&store);
    kills
}

/// Opens the directory in a process that is killed this long after it has locked it; false when it is faster.
fn is_killed(path: &Path, delay: Duration) -> bool {
    let mut child = Command::new(env::current_exe().expect("the test binary exists"));
    child.args(["--exact", KILLED, "--test-threads", "1"]).env(DIRECTORY, path).stdout(Stdio::null());
    let before = locked_by(path);
    let mut child = child.spawn().expect("it starts");
    while ident_of(path).0 == 2 || locked_by(path) == before {
        if is_over(&mut child) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(delay);
    if is_over(&mut child) {
        return false;
    }
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    true
}

/// Whoever had the directory open last.
fn locked_by(path: &Path) -> Vec<u8> {
    fs::read(path.join("LOCK")).expect("it is there since the first start")
}

fn is_over(child: &mut Child) -> bool {
    let over = child.try_wait().expect("it is our child");
    assert!(over.is_none_or(|status| status.success()), "it failed");
    over.is_some()
}
