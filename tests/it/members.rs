//! Members that come and go, between real stores.
//!
//! Owns what users see of it: one becomes three becomes five becomes three while writes go on, a member that is lost for
//! good is replaced under a new number, a member that was removed says so, and none of what was acknowledged is missing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use almadia::{
    Batch, Code, Config, IterOptions, Level, LogIndex, MemberChange, MemberRole, NodeId, Outcome,
    SnapshotOptions, Store, WriteOptions,
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
    // Nobody is needed any more who voted alone before.
    drop(cluster.stores.remove(&1));
    cluster.put(2, b"a", b"");
    cluster.put(3, b"z", b"");
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

/// Asks again and again until it holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_learner_has_everything_and_no_vote_until_it_is_promoted() {
    let mut cluster = Cluster::of_one("");
    cluster.put(1, b"before", b"");
    let (sender, done) = std::sync::mpsc::channel();
    let told = move |answer| drop(sender.send(answer));
    let learner = [cluster.add(2, MemberRole::Learner)];
    cluster.store(1).asynchronous().change_members(&learner, Some(HANG_TIMEOUT), told).expect("accepted");
    cluster.open(2);
    done.recv_timeout(HANG_TIMEOUT).expect("it is answered").expect("every region follows");

    assert_eq!(cluster.voters(1), [1]);
    assert_eq!(cluster.pairs(2), cluster.pairs(1));
    // The only voter needs nobody.
    drop(cluster.stores.remove(&2));
    cluster.put(1, b"alone", b"");
    cluster.open(2);
    cluster.change(2, &[MemberChange::Promote { node: NodeId(2) }]);
    assert_eq!(cluster.voters(1), [1, 2]);
    cluster.change(1, &[MemberChange::Demote { node: NodeId(1) }]);
    wait_until("the new voter leads", || cluster.store(1).status().leader == Some(NodeId(2)));
    cluster.put(1, b"after", b"");
    assert_eq!(cluster.pairs(2), cluster.pairs(1));
}

#[test]
fn a_number_is_joined_by_one_directory() {
    let mut cluster = Cluster::of_one("");
    cluster.grow(1, &[2, 3]);
    drop(cluster.stores.remove(&3));
    let path = cluster.directory.path().join("3");
    std::fs::remove_dir_all(&path).expect("its disk is gone");

    let mut config = cluster.config(3);
    config.set("cluster.join", cluster.address(1)).expect("an address");
    config.set("cluster.join_timeout_ms", "1500").expect("in range");
    let refused = Store::open(&path, &config).err().expect("it is not let in");

    assert!(refused.detail().contains("belongs to another directory"), "{refused}");
    // Nor is anybody who was not added.
    let mut config = cluster.config(5);
    config.set("cluster.join", cluster.address(2)).expect("an address");
    config.set("cluster.join_timeout_ms", "100").expect("in range");
    let refused = Store::open(cluster.directory.path().join("5"), &config).err().expect("it is not let in");
    assert!(refused.detail().contains("is not in the list of members"), "{refused}");
    assert_eq!(refused.code(), Code::Network);
}

#[test]
fn changes_that_make_no_sense_are_refused_with_a_reason() {
    let mut cluster = Cluster::of_one("");
    let refused = |cluster: &Cluster, change: MemberChange| {
        let error = cluster.store(1).change_members(&[change], Some(HANG_TIMEOUT)).expect_err("refused");
        assert_eq!(error.code(), Code::InvalidArgument);
        error.detail().to_owned()
    };

    assert!(refused(&cluster, cluster.add(1, MemberRole::Voter)).contains("is a member already"));
    let remove = MemberChange::Remove { node: NodeId(1) };
    assert!(refused(&cluster, remove.clone()).contains("left to vote"));
    cluster.grow(1, &[2]);
    cluster.change(2, &[MemberChange::Remove { node: NodeId(2) }]);
    assert!(refused(&cluster, cluster.add(2, MemberRole::Voter)).contains("the next free one is 3"));
    let far = MemberChange::Add { node: NodeId(3), address: "192.0.2.1:7".into(), role: MemberRole::Voter };
    assert!(refused(&cluster, far).contains("transport.insecure"));
    // Nothing of that has done harm.
    cluster.put(1, b"key", b"");
}

#[test]
fn a_member_comes_back_at_another_address() {
    let mut cluster = Cluster::of_one("");
    cluster.grow(1, &[2, 3]);
    drop(cluster.stores.remove(&2));
    cluster.addresses[1] = reserved_addresses(1).remove(0);

    cluster.open(2);

    cluster.put(2, b"key", b"");
    let address = cluster.address(2).to_owned();
    wait_until("everybody knows the address", || {
        let knows = |node| cluster.store(node).members().members[1].address == address;
        [1, 2, 3].into_iter().all(knows)
    });
    assert_eq!(cluster.pairs(2), cluster.pairs(1));
}

#[test]
fn members_that_are_drained_lead_nothing_and_preferred_ones_lead_all() {
    let mut cluster = Cluster::of_one("b,c,d,e,f");
    cluster.grow(1, &[2, 3]);
    let led = |cluster: &Cluster| {
        let members = cluster.store(3).members().members;
        members.iter().map(|member| member.led_regions).collect::<Vec<_>>()
    };
    wait_until("each leads two", || led(&cluster) == [2, 2, 2]);

    cluster.change(2, &[MemberChange::Drain { node: NodeId(1), is_drained: true }]);
    wait_until("the others lead three each", || led(&cluster) == [0, 3, 3]);
    cluster.change(2, &[MemberChange::Prefer { node: NodeId(3), is_preferred: true }]);
    wait_until("the preferred one leads", || led(&cluster) == [0, 0, 6]);
    let back = [
        MemberChange::Drain { node: NodeId(1), is_drained: false },
        MemberChange::Prefer { node: NodeId(3), is_preferred: false },
    ];
    cluster.change(1, &back);
    wait_until("each leads two again", || led(&cluster) == [2, 2, 2]);
}

#[test]
fn a_removed_leader_hands_over_and_says_that_it_was_removed() {
    let mut cluster = Cluster::of_one("m");
    cluster.grow(1, &[2, 3]);
    cluster.change(1, &[MemberChange::Prefer { node: NodeId(1), is_preferred: true }]);
    wait_until("it leads both", || cluster.store(2).members().members[0].led_regions == 2);

    cluster.change(2, &[MemberChange::Remove { node: NodeId(1) }]);

    assert_eq!(cluster.voters(3), [2, 3]);
    cluster.put(2, b"a", b"");
    cluster.put(3, b"z", b"");
    wait_until("it says so", || says_removed(cluster.store(1)));
}

fn says_removed(store: &Store) -> bool {
    let mut batch = Batch::default();
    batch.put(b"key", b"").expect("small");
    let options = WriteOptions { timeout: Some(Duration::from_millis(100)) };
    store.write(&mut batch, &options).is_err_and(|error| error.code() == Code::Removed)
}

/// Adds member 4 under an address at which nobody is.
fn add_astray(cluster: &Cluster, nowhere: &str) -> std::sync::mpsc::Receiver<almadia::Result<()>> {
    let (sender, done) = std::sync::mpsc::channel();
    let astray =
        [MemberChange::Add { node: NodeId(4), address: nowhere.to_owned(), role: MemberRole::Voter }];
    let told = move |answer| drop(sender.send(answer));
    cluster.store(1).asynchronous().change_members(&astray, Some(HANG_TIMEOUT), told).expect("accepted");
    done
}

/// Member 4 is let in, and nobody can reach it to send it anything.
fn open_astray(cluster: &mut Cluster, nowhere: &str) {
    let mut config = cluster.config(4);
    config.set("cluster.join", cluster.address(2)).expect("an address");
    config.set("transport.announce", nowhere).expect("an address");
    config.set("transport.listen", cluster.address(4)).expect("an address");
    cluster.open_with(4, &config);
}

#[test]
fn a_new_member_that_is_listed_under_a_wrong_address_finds_the_others() {
    let mut cluster = Cluster::of_one("m");
    cluster.grow(1, &[2, 3]);
    cluster.put(1, b"key", b"");

    let done = add_astray(&cluster, &reserved_addresses(1)[0]);
    cluster.open(4);

    done.recv_timeout(HANG_TIMEOUT).expect("it is answered").expect("every region follows");
    assert_eq!(cluster.pairs(4), cluster.pairs(1));
    let address = cluster.address(4).to_owned();
    wait_until("the list is corrected", || cluster.store(2).members().members[3].address == address);
}

#[test]
fn a_new_member_that_nobody_could_reach_finds_the_others_at_its_next_start() {
    let mut cluster = Cluster::of_one("m");
    cluster.grow(1, &[2, 3]);
    cluster.put(1, b"key", b"");
    let nowhere = reserved_addresses(1).remove(0);
    let done = add_astray(&cluster, &nowhere);
    open_astray(&mut cluster, &nowhere);
    let unheard = cluster.store(4).wait_ready(Duration::ZERO).expect_err("nobody can send it anything");
    assert_eq!(unheard.code(), Code::ReadTimeout);
    drop(cluster.stores.remove(&4));

    cluster.open(4);

    done.recv_timeout(HANG_TIMEOUT).expect("it is answered").expect("every region follows");
    assert_eq!(cluster.pairs(4), cluster.pairs(1));
}

#[test]
fn a_new_member_that_is_removed_before_it_has_anything_says_so() {
    let mut cluster = Cluster::of_one("m");
    cluster.grow(1, &[2, 3]);
    let nowhere = reserved_addresses(1).remove(0);
    let done = add_astray(&cluster, &nowhere);
    open_astray(&mut cluster, &nowhere);
    drop(cluster.stores.remove(&4));
    cluster.change(1, &[MemberChange::Remove { node: NodeId(4) }]);
    done.recv_timeout(HANG_TIMEOUT).expect("it is answered").expect("every region follows the later list");

    cluster.open(4);

    wait_until("it says so", || says_removed(cluster.store(4)));
    let mut config = cluster.config(4);
    config.set("cluster.join", cluster.address(2)).expect("an address");
    let empty = cluster.directory.path().join("another");
    let refused = Store::open(&empty, &config).err().expect("its number is used");
    assert_eq!(refused.code(), Code::Removed, "{refused}");
}

#[test]
fn a_change_that_ends_by_its_deadline_says_whom_it_waits_for_however_it_was_asked() {
    let cluster = Cluster::of_one("");
    cluster.put(1, b"key", b"");
    let store = cluster.store(1);
    let short = Some(Duration::from_millis(300));
    let asked_for = |changes: &[MemberChange]| {
        let (sender, done) = std::sync::mpsc::channel();
        let told = move |answer| drop(sender.send(answer));
        store.asynchronous().change_members(changes, short, told).expect("accepted");
        [store.change_members(changes, short), done.recv_timeout(HANG_TIMEOUT).expect("it is answered")]
    };
    wait_until("it is listed", || {
        drop(store.change_members(&[cluster.add(2, MemberRole::Voter)], short));
        store.members().members.len() == 2
    });

    let prefer = [MemberChange::Prefer { node: NodeId(1), is_preferred: true }];
    wait_until("made in time, twice", || {
        let answers = asked_for(&prefer).map(|answer| answer.expect_err("node 2 does not come"));
        let is_made = answers.iter().all(|error| error.code() == Code::Timeout);
        assert!(!is_made || answers.iter().all(|error| error.detail().contains("node 2")), "{answers:?}");
        is_made
    });
    for answer in asked_for(&[]) {
        let error = answer.expect_err("node 2 does not come");
        assert_eq!((error.code(), error.outcome()), (Code::DeadlineBeforeStart, Outcome::NotApplied));
        assert!(error.detail().contains("node 2"), "{error}");
    }
}

#[test]
fn a_change_without_a_leader_was_certainly_not_made() {
    let mut cluster = Cluster::of_one("");
    cluster.grow(1, &[2]);
    drop(cluster.stores.remove(&2));
    wait_until("it leads no more", || cluster.store(1).status().leader.is_none());
    let before = cluster.store(1).members().version;

    let demote = [MemberChange::Demote { node: NodeId(2) }];
    let refused = cluster.store(1).change_members(&demote, Some(Duration::from_millis(300)));

    let error = refused.expect_err("nobody leads");
    assert_eq!((error.code(), error.outcome()), (Code::NoLeader, Outcome::NotApplied), "{error}");
    cluster.open(2);
    cluster.change(2, &[]);
    assert_eq!(cluster.store(1).members().version, before);
}

#[test]
fn members_know_when_they_heard_each_other_and_which_release_each_runs() {
    let mut cluster = Cluster::of_one("");
    let own = cluster.store(1).members().members.remove(0);
    assert_eq!((own.last_heard, &*own.version), (Some(Duration::ZERO), env!("CARGO_PKG_VERSION")));
    cluster.grow(1, &[2]);
    let of_two = |asked: u64| cluster.store(asked).members().members.remove(1);
    assert_eq!(of_two(2).version, env!("CARGO_PKG_VERSION"));
    assert!(of_two(1).last_heard.is_some() && of_two(1).version == env!("CARGO_PKG_VERSION"));
    let third = [cluster.add(3, MemberRole::Learner)];
    wait_until("it is listed", || {
        drop(cluster.store(1).change_members(&third, Some(Duration::from_millis(300))));
        cluster.store(1).members().members.len() == 3
    });
    let three = cluster.store(1).members().members.remove(2);
    assert_eq!((three.last_heard, &*three.version), (None, ""), "it never came");

    drop(cluster.stores.remove(&2));

    let silent = Duration::from_millis(300);
    let of_two = |asked: u64| cluster.store(asked).members().members.remove(1);
    wait_until("it is silent", || of_two(1).last_heard.is_some_and(|ago| ago > silent));
    assert_eq!(of_two(1).version, env!("CARGO_PKG_VERSION"), "what it said stays true");
}
