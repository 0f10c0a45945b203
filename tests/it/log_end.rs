//! A damaged end of the raft log: what was acknowledged is either there or reported missing.
//!
//! A torn tail is what a crash leaves of a frame whose sync never returned. Everything before it was synced, and a
//! member that lacks some of that must not be taken for one that has all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use almadia::NodeId;
use almadia::{Code, Config, Store};

use crate::member::{Cluster, HANG_TIMEOUT};

const KEYS: u32 = 30;

/// Damage to the newest segment of a log.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The last bytes that were written, this many, are zeroed.
    Zeroed(usize),
    /// One bit flips, this many bytes before the end of what was written.
    Flipped(usize),
    /// The file is gone.
    Deleted,
}

fn newest_segment(store: &Path) -> PathBuf {
    let files =
        fs::read_dir(store.join("log")).expect("the store has a log").flatten().map(|file| file.path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.max().expect("a log has a segment")
}

fn damage(store: &Path, damage: Damage) {
    let segment = newest_segment(store);
    let mut bytes = fs::read(&segment).expect("readable");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("something was written") + 1;
    match damage {
        Damage::Zeroed(count) => bytes[end - count..end].fill(0),
        Damage::Flipped(before) => bytes[end - before] ^= 1,
        Damage::Deleted => return fs::remove_file(segment).expect("removable"),
    }
    fs::write(segment, bytes).expect("writable");
}

fn small_segments() -> Config {
    let mut config = Config::default();
    config.set("log.segment_bytes", "65536").expect("in range");
    config
}

#[test]
fn a_closed_store_whose_log_lost_its_end_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (number, kind) in [
        Damage::Zeroed(8),
        Damage::Zeroed(512),
        Damage::Zeroed(2000),
        Damage::Flipped(1),
        Damage::Flipped(100),
        Damage::Deleted,
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.path().join(number.to_string());
        let store = Store::open(&path, &small_segments()).expect("opens");
        for key in 0..KEYS {
            store.put(&key.to_be_bytes(), &[7; 4000]).expect("applied");
        }
        drop(store);
        damage(&path, kind);

        let opened = Store::open(&path, &small_segments());

        let error =
            opened.err().unwrap_or_else(|| panic!("{kind:?}: opened although acknowledged writes are gone"));
        assert_eq!(error.code(), Code::Corruption, "{kind:?}: {error}");
        assert!(error.detail().contains(".log, offset "), "{kind:?}: {error}");
        assert!(error.detail().contains("log.accept_lost_end"), "{kind:?}: {error}");
    }
}

#[test]
fn a_member_that_lost_the_end_of_its_log_elects_no_member_that_lacks_it() {
    let mut cluster = Cluster::start();
    // Member 1 will lack what is acknowledged next.
    cluster.put(b"before", b"1");
    cluster.close(1);
    cluster.put(b"acknowledged", b"2");
    let last = cluster.leader();
    let damaged = 5 - last;
    cluster.close(last);
    cluster.close(damaged);
    damage(&cluster.path(damaged), Damage::Zeroed(600));

    cluster.open(1);
    cluster.open(damaged);
    // Three election timeouts: enough time for an election that must not happen.
    let elected = cluster.member(1).wait_leader(Duration::from_secs(6));
    assert!(elected.is_err(), "{elected:?} was elected by a member that lost acknowledged entries");
    cluster.close(1);
    cluster.close(damaged);

    // With the member whose log is intact nothing is lost, and the damaged one catches up.
    cluster.open(last);
    cluster.open(1);
    assert_eq!(cluster.member(1).wait_leader(HANG_TIMEOUT).expect("two logs are whole"), NodeId(last as u64));
    cluster.open(damaged);
    for node in 1..=3 {
        let snapshot = cluster.snapshot(node);
        assert!(snapshot.get(b"acknowledged").expect("readable").is_some(), "node {node}");
    }
}

#[test]
fn a_member_that_lost_the_end_of_its_log_catches_up_with_an_idle_leader() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let damaged = leader % 3 + 1;
    for key in 0..KEYS {
        cluster.put(&key.to_be_bytes(), b"value");
    }
    cluster.close(damaged);
    damage(&cluster.path(damaged), Damage::Zeroed(600));

    cluster.open(damaged);

    let snapshot = cluster.snapshot(damaged);
    for key in 0..KEYS {
        assert!(snapshot.get(&key.to_be_bytes()).expect("readable").is_some(), "key {key}");
    }
}

#[test]
fn an_operator_can_continue_without_what_a_log_lost_by_naming_that_loss() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("one");
    let fill = |config: &Config, first: u32| {
        let store = Store::open(&path, config).expect("opens");
        for key in first..first + KEYS {
            store.put(&key.to_be_bytes(), &[7; 4000]).expect("applied");
        }
    };
    fill(&small_segments(), 0);
    damage(&path, Damage::Zeroed(512));
    let refusal = Store::open(&path, &small_segments()).err().expect("refused");

    let mut config = small_segments();
    config.set("log.accept_lost_end", &number_in(refusal.detail())).expect("a number");
    let store = Store::open(&path, &config).expect("its operator accepts the loss");
    let there = (0..KEYS).filter(|key| store.get(&key.to_be_bytes()).expect("readable").is_some()).count();
    assert_eq!(there as u32, KEYS - 1, "the last frame is gone");
    drop(store);

    // From now on it is a log like any other, and a further loss is a different one.
    fill(&config, KEYS);
    damage(&path, Damage::Zeroed(512));
    let again = Store::open(&path, &config).err().expect("this loss was not accepted");
    assert_eq!(again.code(), Code::Corruption);
    assert_ne!(number_in(again.detail()), number_in(refusal.detail()));
}

/// The number that a message says log.accept_lost_end is to be set to.
fn number_in(detail: &str) -> String {
    let (_, rest) = detail.split_once("log.accept_lost_end to ").expect("what to set");
    rest.split_whitespace().next().expect("a number").to_owned()
}
