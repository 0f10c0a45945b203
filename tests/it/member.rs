//! Real stores on loopback, in one process.
//!
//! Owns the creation of clusters for the other tests: ports, temporary directories, short timeouts; and the reading of all
//! that a store has. Directories are removed with the cluster.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use almadia::{Code, Config, IterOptions, Reply, Role, Snapshot, SnapshotOptions, Store, Version};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Longer than any correct wait in these tests, so that it only ends a hang.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// Shuts down without waiting for calls in flight. On a busy machine the threads may take longer to end than the five
/// seconds that this allows.
pub fn shut_down_at_once(store: &Store) {
    if let Err(error) = store.shutdown(Duration::ZERO) {
        assert_eq!(error.code(), Code::ShuttingDown, "{error}");
        store.shutdown(HANG_TIMEOUT).expect("its threads end all the same");
    }
}

/// Three members of one cluster; each open or closed.
pub struct Cluster {
    // Dropped in this order: the stores close while their directories still exist.
    stores: Vec<Option<Store>>,
    addresses: Vec<String>,
    split_keys: String,
    configure: fn(&mut Config),
    directory: TempDir,
}

impl Cluster {
    /// Starts all three, with one region.
    pub fn start() -> Self {
        Self::start_split("")
    }

    /// Starts all three, with options of its own.
    pub fn start_with(configure: fn(&mut Config)) -> Self {
        Self::start_all("", configure)
    }

    /// Starts all three, with the regions that `split_keys` defines.
    pub fn start_split(split_keys: &str) -> Self {
        Self::start_all(split_keys, |_| {})
    }

    fn start_all(split_keys: &str, configure: fn(&mut Config)) -> Self {
        let mut cluster = Self {
            configure,
            directory: tempfile::tempdir().expect("a temporary directory"),
            addresses: reserved_addresses(3),
            stores: vec![None, None, None],
            split_keys: split_keys.to_owned(),
        };
        (1..=3).for_each(|node| cluster.open(node));
        cluster
    }

    /// Opens a closed member.
    pub fn open(&mut self, node: usize) {
        self.try_open(node).expect("opens");
    }

    /// Opens a closed member that may refuse.
    pub fn try_open(&mut self, node: usize) -> almadia::Result<()> {
        let store = Store::open(self.path(node), &self.config(node))?;
        self.stores[node - 1] = Some(store);
        Ok(())
    }

    /// The directory of a member.
    pub fn path(&self, node: usize) -> PathBuf {
        self.directory.path().join(node.to_string())
    }

    /// Shuts a member down without waiting for what is in flight.
    pub fn close(&mut self, node: usize) {
        drop(self.stores[node - 1].take());
    }

    /// An open member.
    pub fn member(&self, node: usize) -> &Store {
        self.stores[node - 1].as_ref().expect("open")
    }

    /// The number of the member that leads and knows that it does.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            for (at, store) in self.stores.iter().enumerate() {
                let Some(store) = store else { continue };
                let leader = store.wait_leader(HANG_TIMEOUT).expect("a majority is open");
                if leader.get() == at as u64 + 1 {
                    return at + 1;
                }
            }
            assert!(Instant::now() < deadline, "no member thinks that it leads");
            std::thread::yield_now();
        }
    }

    /// Writes a pair at a member that accepts it, retrying until one does.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Reply {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            let written = self.stores.iter().flatten().find_map(|store| store.put(key, value).ok());
            if let Some(written) = written {
                return written;
            }
            assert!(Instant::now() < deadline, "no member took the write of {key:?}");
        }
    }

    /// The member that leads each region and knows that it does, in the order of their keys.
    pub fn leaders(&self) -> Vec<usize> {
        let deadline = Instant::now() + HANG_TIMEOUT;
        let regions = self.stores.iter().flatten().next().expect("one is open").region_count();
        loop {
            let leaders: Option<Vec<_>> = (0..regions).map(|region| self.leader_of(region)).collect();
            if let Some(leaders) = leaders {
                return leaders;
            }
            assert!(Instant::now() < deadline, "not every region has a leader");
            std::thread::yield_now();
        }
    }

    /// If two members believe they lead, the one with the higher term.
    fn leader_of(&self, region: usize) -> Option<usize> {
        let open = self.stores.iter().zip(1..).filter_map(|(store, node)| Some((store.as_ref()?, node)));
        let statuses = open.map(|(store, node)| (store.region_at(region).expect("all have it"), node));
        let leading = statuses.filter(|(status, _)| status.role == Role::Leader);
        leading.max_by_key(|(status, _)| status.term).map(|(_, node)| node)
    }

    /// A snapshot of a member that shows all that is acknowledged.
    pub fn snapshot(&self, node: usize) -> Snapshot {
        let options = SnapshotOptions { timeout: Some(HANG_TIMEOUT), ..Default::default() };
        self.member(node).snapshot(&options).expect("a majority is open")
    }

    fn config(&self, node: usize) -> Config {
        let members: Vec<_> =
            self.addresses.iter().zip(1..).map(|(address, node)| format!("{node}={address}")).collect();
        let mut config = fast_config();
        config.set("cluster.node_id", &node.to_string()).expect("in range");
        config.set("cluster.initial_members", &members.join(",")).expect("any text");
        config.set("bootstrap.split_keys", &self.split_keys).expect("any text");
        (self.configure)(&mut config);
        config
    }
}

/// Short ticks for a quick first election, small files, and an election timeout longer than the stalls of a busy disk.
pub fn fast_config() -> Config {
    let mut config = Config::default();
    for (name, value) in [
        ("raft.tick_ms", "10"),
        ("raft.heartbeat_ms", "30"),
        ("raft.election_timeout_ms", "2000"),
        ("engine.memtable_bytes", "4194304"),
        ("log.segment_bytes", "4194304"),
    ] {
        config.set(name, value).expect("in range");
    }
    config
}

/// Waits until the members of every region know that each knows this feature level.
pub fn wait_for_level(store: &Store, level: u16) {
    let end = Instant::now() + HANG_TIMEOUT;
    while store.regions().iter().any(|region| region.feature_level < level) {
        assert!(Instant::now() < end, "the level rises by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All keys with their values and versions: by an iterator, and the same one by one.
pub fn read_all(store: &Store) -> BTreeMap<Vec<u8>, (Vec<u8>, Version)> {
    let options = SnapshotOptions { timeout: Some(HANG_TIMEOUT), ..Default::default() };
    let snapshot = store.snapshot(&options).expect("it leads");
    let mut iter = snapshot.iter(IterOptions::default()).expect("no bad bounds");
    let mut found = BTreeMap::new();
    iter.seek_to_first();
    while let Some((key, value, version)) = iter.versioned_item() {
        found.insert(key.to_vec(), (value.to_vec(), version));
        iter.next();
    }
    iter.status().expect("no error");
    for (key, (value, version)) in &found {
        let got = snapshot.get(key).expect("readable").expect("the iterator found it");
        assert_eq!((got.as_ref(), got.version()), (&value[..], *version));
    }
    found
}

/// Loopback addresses that are reserved until this process exits, even while their members are down.
pub fn reserved_addresses(count: usize) -> Vec<String> {
    (0..count).map(|_| reserved_address()).collect()
}

/// The address of a socket that is bound but never listens: the system assigns its port to no other socket, neither to
/// a listener nor to a connection, while a member may listen on it any number of times. A port that was only looked up
/// and released would sometimes belong to another test by the time its member listens.
fn reserved_address() -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Like the members' sockets, which could not share the port with it otherwise.
    socket.set_reuse_address(true).expect("a socket");
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    std::mem::forget(socket);
    address.to_string()
}
