//! Members that come and go, between real stores.
//!
//! Owns what users see of it: one becomes three becomes five becomes three while writes go on, a member that is lost for
//! good is replaced under a new number, a member that was removed says so, and none of what was acknowledged is missing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use almadia::{
    Batch, Code, Config, IterOptions, Level, LogIndex, MemberChange, MemberRole, NodeId, SnapshotOptions,
    Store, WriteOptions,
};
use tempfile::TempDir;

use super::member::{HANG_TIMEOUT, fast_config, reserved_addresses};

/// A cluster that begins with one member.
struct Cluster {
    // Dropped in this order: the stores close while their directories still exist.
    stores: BTreeMap<u64, Store>,
    addresses: Vec<String>,
    split_keys: &'static str,
    directory: TempDir,
}

impl Cluster {
    fn of_one(split_keys: &'static str) -> Self {
        let mut cluster = Self {
            stores: BTreeMap::new(),
            addresses: reserved_addresses(6),
            split_keys,
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        cluster.open_founder();
        cluster
    }

    fn address(&self, node: u64) -> &str {
        &self.addresses[node as usize - 1]
    }

    fn config(&self, node: u64) -> Config {
        let mut config = fast_config();
        config.set("cluster.node_id", &node.to_string()).expect("in range");
        config.set("transport.announce", self.address(node)).expect("an address");
        config
    }

    fn open_founder(&mut self) {
        let mut config = self.config(1);
        config.set("bootstrap.split_keys", self.split_keys).expect("keys");
        self.open_with(1, &config);
    }

    fn open_with(&mut self, node: u64, config: &Config) {
        let path = self.directory.path().join(node.to_string());
        let store = Store::open(&path, config).expect("opens");
        self.stores.insert(node, store);
    }

    /// Opens a member that was added, or was open before.
    fn open(&mut self, node: u64) {
        let mut config = self.config(node);
        let others: Vec<_> =
            (1..=3).filter(|other| *other != node).map(|other| self.address(other)).collect();
        config.set("cluster.join", &others.join(",")).expect("addresses");
        self.open_with(node, &config);
    }

    fn add(&self, node: u64, role: MemberRole) -> MemberChange {
        MemberChange::Add { node: NodeId(node), address: self.address(node).to_owned(), role }
    }

    fn store(&self, node: u64) -> &Store {
        &self.stores[&node]
    }

    /// Asks a member for changes, while others may be opened.
    fn change(&self, asked: u64, changes: &[MemberChange]) {
        self.store(asked).change_members(changes, Some(HANG_TIMEOUT)).expect("every region follows");
    }

    /// Adds members and opens them.
    fn grow(&mut self, asked: u64, nodes: &[u64]) {
        let changes: Vec<_> = nodes.iter().map(|node| self.add(*node, MemberRole::Voter)).collect();
        let (sender, done) = std::sync::mpsc::channel();
        let asynchronous = self.store(asked).asynchronous();
        asynchronous
            .change_members(&changes, Some(HANG_TIMEOUT), move |answer| drop(sender.send(answer)))
            .expect("it is accepted");
        nodes.iter().for_each(|node| self.open(*node));
        nodes.iter().for_each(|node| self.store(*node).wait_ready(HANG_TIMEOUT).expect("it gets the data"));
        done.recv_timeout(HANG_TIMEOUT).expect("it is answered").expect("every region follows");
    }

    fn put(&self, asked: u64, key: &[u8], value: &[u8]) -> LogIndex {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            let mut batch = Batch::default();
            batch.put(key, value).expect("small");
            let options = WriteOptions { timeout: Some(HANG_TIMEOUT) };
            match self.store(asked).write(&mut batch, &options) {
                Ok(reply) => return reply.position.index,
                Err(error) if error.code().is_retryable() && Instant::now() < deadline => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// All that a member shows.
    fn pairs(&self, node: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let timeout = Some(HANG_TIMEOUT);
        let options = SnapshotOptions { level: Level::Linearizable, timeout, ..SnapshotOptions::default() };
        let snapshot = self.store(node).snapshot(&options).expect("it is confirmed");
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

    fn voters(&self, asked: u64) -> Vec<u64> {
        let members = self.store(asked).members().members;
        let voters = members.into_iter().filter(|member| member.role == MemberRole::Voter);
        voters.map(|member| member.node.get()).collect()
    }
}

/// Writes on the first member until it is told to stop; how many of them were acknowledged.
fn keep_writing(cluster: &Cluster, asked: u64, is_over: &AtomicBool, written: &AtomicU64) {
    while !is_over.load(Ordering::Relaxed) {
        let number = written.load(Ordering::Relaxed);
        cluster.put(asked, format!("{number:06}").as_bytes(), &number.to_le_bytes());
        written.store(number + 1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn one_becomes_three() {
    let mut cluster = Cluster::of_one("m");
    for number in 0..200 {
        cluster.put(1, format!("{}{number}", if number % 2 == 0 { "a" } else { "z" }).as_bytes(), b"value");
    }

    cluster.grow(1, &[2, 3]);

    assert_eq!(cluster.voters(3), [1, 2, 3]);
    let expected = cluster.pairs(1);
    assert_eq!(expected.len(), 200);
    assert!(cluster.pairs(2) == expected && cluster.pairs(3) == expected);
    let table = cluster.store(2).members();
    assert_eq!((table.unsettled, table.members.len()), (Vec::<String>::new(), 3));
}

#[test]
fn one_becomes_three_becomes_five_becomes_three_under_load() {
    let mut cluster = Cluster::of_one("000300,5");
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    cluster.put(1, b"first", b"");
    cluster.grow(1, &[2, 3]);

    cluster.grow(2, &[4, 5]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| keep_writing(&cluster, 3, &is_over, &written));
        let gone = [1, 2].map(|node| MemberChange::Remove { node: NodeId(node) });
        cluster.change(4, &gone);
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("every write succeeds");
    });

    assert_eq!(cluster.voters(3), [3, 4, 5]);
    let expected = cluster.pairs(3);
    assert_eq!(expected.len() as u64, 1 + written.load(Ordering::Relaxed));
    assert!(cluster.pairs(4) == expected && cluster.pairs(5) == expected);
    for gone in [1, 2] {
        let deadline = Instant::now() + HANG_TIMEOUT;
        let refused = loop {
            match cluster.store(gone).wait_ready(Duration::ZERO) {
                Err(error) if error.code() == Code::Removed => break error,
                _ => assert!(Instant::now() < deadline, "member {gone} learns that it was removed"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(refused.detail().contains("was removed"), "{refused}");
    }
}

#[test]
fn a_member_that_is_lost_for_good_is_replaced_under_a_new_number() {
    let mut cluster = Cluster::of_one("");
    cluster.grow(1, &[2, 3]);
    cluster.put(1, b"before", b"");
    drop(cluster.stores.remove(&3));
    std::fs::remove_dir_all(cluster.directory.path().join("3")).expect("its disk is gone");

    let replace =
        MemberChange::Replace { node: NodeId(3), by: NodeId(4), address: cluster.address(4).to_owned() };
    let (sender, done) = std::sync::mpsc::channel();
    let told = move |answer| drop(sender.send(answer));
    let asynchronous = cluster.store(2).asynchronous();
    asynchronous.change_members(&[replace], Some(HANG_TIMEOUT), told).expect("it is accepted");
    cluster.open(4);
    done.recv_timeout(HANG_TIMEOUT).expect("it is answered").expect("every region follows");

    assert_eq!(cluster.voters(4), [1, 2, 4]);
    assert_eq!(cluster.pairs(4), cluster.pairs(1));
    // Two of three serve.
    drop(cluster.stores.remove(&1));
    cluster.put(4, b"after", b"");
}
