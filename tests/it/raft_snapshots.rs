//! Members that were away for so long that they get the data themselves, between real stores.
//!
//! Owns what users see of it: the logs of the others stay short, and a member that comes back has everything, while
//! writes go on; and what operators see: progress, counters and events.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use almadia::{
    Batch, Config, IterOptions, Level, LogIndex, NodeId, RaftSnapshotStage, RaftSnapshotStatus,
    SnapshotOptions, Store, StoreEvent, WriteOptions,
};

use super::member::{Cluster, HANG_TIMEOUT};

/// Between two looks at the files.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const BEHIND_BYTES: u64 = 256 << 10;
const SEGMENT_BYTES: u64 = 64 << 10;
const VALUE_BYTES: usize = 10 << 10;

fn short_logs(config: &mut Config) {
    let bytes = [
        ("log.retain_bytes", 64 << 10),
        ("log.behind_bytes", BEHIND_BYTES),
        ("log.segment_bytes", SEGMENT_BYTES),
    ];
    for (name, value) in bytes {
        config.set(name, &value.to_string()).expect("in range");
    }
}

/// Writes `count` values over 300 keys, and deletes some; each round writes others.
fn write(cluster: &Cluster, round: u32, count: u32) {
    for number in 0..count {
        let key = format!("{:05}", (number * 7 + round) % 300);
        let mut value = vec![round as u8; VALUE_BYTES];
        value[..4].copy_from_slice(&number.to_le_bytes());
        cluster.put(key.as_bytes(), &value);
    }
    let mut batch = Batch::default();
    batch.delete_range(b"00100", format!("{:05}", 100 + round % 50).as_bytes()).expect("a range");
    let options = WriteOptions { timeout: Some(HANG_TIMEOUT) };
    cluster.member(cluster.leader()).write(&mut batch, &options).expect("it works");
}

fn log_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path.join("log")).expect("it is open");
    // A file may be renamed to a spare concurrently.
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// All that a member shows by itself once it has applied so much.
fn pairs(store: &Store, min_index: LogIndex) -> Vec<(Vec<u8>, Vec<u8>)> {
    let timeout = Some(HANG_TIMEOUT);
    let options = SnapshotOptions { level: Level::Local, min_index, timeout, ..SnapshotOptions::default() };
    let snapshot = store.snapshot(&options).expect("it catches up");
    let mut iter = snapshot.iter(IterOptions::default()).expect("no bounds");
    let mut pairs = Vec::new();
    iter.seek_to_first();
    while let Some((key, value)) = iter.item() {
        pairs.push((key.to_vec(), value.to_vec()));
        iter.next();
    }
    iter.status().expect("readable");
    pairs
}

#[test]
fn a_member_that_was_away_for_long_gets_the_data_and_the_logs_of_the_others_stay_short() {
    let mut cluster = Cluster::start_with(short_logs);
    write(&cluster, 1, 100);
    for away in [3, 1, 2] {
        cluster.close(away);
        write(&cluster, 10 + away as u32, 600);
        let others: Vec<_> = (1..=3).filter(|node| *node != away).collect();
        // What is kept for the one that is away, what is kept anyway, a few segments and some spares.
        let most = 2 * BEHIND_BYTES + 14 * SEGMENT_BYTES;
        for node in &others {
            wait_until("its log stays short", || log_bytes(&cluster.path(*node)) <= most);
        }

        cluster.open(away);
        let last = cluster.put(b"last", &[away as u8]).position.index;

        let expected = pairs(cluster.member(others[0]), last);
        assert!(pairs(cluster.member(away), last) == expected, "member {away} has what the others have");
    }
}

#[test]
fn a_member_catches_up_while_the_others_write_without_a_pause() {
    let mut cluster = Cluster::start_with(short_logs);
    cluster.close(3);
    write(&cluster, 1, 800);
    let is_over = AtomicBool::new(false);
    cluster.open(3);

    let last = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 2;
            while !is_over.load(Ordering::Relaxed) {
                write(&cluster, round, 50);
                round += 1;
            }
        });
        let caught_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..5 {
                let index = cluster.put(b"mark", b"").position.index;
                let shown = pairs(cluster.member(3), index);
                assert!(shown.len() > 100, "it shows all of it or nothing");
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("writes are taken all the time");
        caught_up.expect("it catches up");
        cluster.put(b"last", b"").position.index
    });

    assert!(pairs(cluster.member(3), last) == pairs(cluster.member(1), last), "both have the same");
}

/// What the members of the test below were told, each with who told it.
static TOLD: Mutex<Vec<(String, StoreEvent)>> = Mutex::new(Vec::new());

/// So slow that the test sees it on its way.
fn slow_and_told(config: &mut Config) {
    short_logs(config);
    config.set("raft_snapshot.bytes_per_second", &(512 << 10).to_string()).expect("in range");
    let node = config.get("cluster.node_id").expect("an option");
    config.on_event(move |event| {
        TOLD.lock().expect("no test panics in it").push((node.clone(), event.clone()))
    });
}

fn told(node: usize, is_meant: impl Fn(&StoreEvent) -> bool) -> bool {
    let told = TOLD.lock().expect("no test panics in it");
    told.iter().any(|(teller, event)| *teller == node.to_string() && is_meant(event))
}

/// A value of the metrics of a member.
fn metric(store: &Store, name: &str) -> u64 {
    let text = store.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().expect("a number")
}

/// Whether `of` has one on its way, of which something has come.
fn moves(of: &Store, stage: RaftSnapshotStage, from: usize, to: usize) -> bool {
    let (from, to) = (Some(NodeId(from as u64)), NodeId(to as u64));
    let is_meant = |it: &RaftSnapshotStatus| (it.from, it.to, it.stage) == (from, to, stage) && it.bytes > 0;
    of.raft_snapshots().iter().any(|it| is_meant(it) && it.index > LogIndex(0) && it.bytes_estimate > 0)
}

#[test]
fn operators_see_how_far_a_raft_snapshot_has_come_and_what_became_of_it() {
    let mut cluster = Cluster::start_with(slow_and_told);
    let leader = cluster.leader();
    let away = leader % 3 + 1;
    cluster.close(away);
    write(&cluster, 1, 600);
    let most = 2 * BEHIND_BYTES + 14 * SEGMENT_BYTES;
    wait_until("the log stays short", || log_bytes(&cluster.path(leader)) <= most);

    cluster.open(away);
    let (sender, receiver) = (cluster.member(leader), cluster.member(away));
    let (mut sent, mut received) = (false, false);
    wait_until("both show that it is under way", || {
        if moves(sender, RaftSnapshotStage::Sending, leader, away) && sender.status().snapshots_sending == 1 {
            sent |= sender.regions()[0].helped == 1;
        }
        if moves(receiver, RaftSnapshotStage::Receiving, leader, away) {
            received |= receiver.status().snapshots_receiving == 1
                && metric(receiver, "almadia_raft_snapshots_now{what=\"receiving\"}") == 1;
        }
        sent && received
    });
    let last = cluster.put(b"last", b"").position.index;
    assert!(pairs(receiver, last) == pairs(sender, last), "it has what the others have");

    wait_until("nothing is under way", || {
        let rests = |store: &Store| store.raft_snapshots().is_empty() && store.regions()[0].helped == 0;
        rests(sender) && rests(receiver) && !receiver.regions()[0].installing
    });
    for (store, what) in [(sender, "sent"), (receiver, "received"), (receiver, "installed")] {
        let name = format!("almadia_raft_snapshots_total{{what=\"{what}\"}}");
        assert!(metric(store, &name) >= 1, "{what} is counted");
    }
    let sent_bytes = metric(sender, "almadia_raft_snapshot_sent_bytes_total");
    let received_bytes = metric(receiver, "almadia_raft_snapshot_received_bytes_total");
    assert!(sent_bytes > VALUE_BYTES as u64 * 100 && received_bytes >= sent_bytes, "bytes are counted");
    let receiver = NodeId(away as u64);
    wait_until("the leader tells that it was sent", || {
        told(leader, |event| {
            matches!(event, StoreEvent::RaftSnapshotSent { to, is_delivered: true, index, .. }
                if *to == receiver && *index > LogIndex(0))
        })
    });
    wait_until("the member tells that it is installed", || {
        told(away, |event| {
            matches!(event, StoreEvent::RaftSnapshotInstalled { from: Some(from), index, .. }
                if *from == NodeId(leader as u64) && *index > LogIndex(0))
        })
    });
}
