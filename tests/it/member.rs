//! Real stores on loopback, in one process.
//!
//! Owns the making of clusters for the tests beside it: free ports, temporary directories, short timeouts. Nothing
//! is left behind: directories go with the cluster.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use almadia::{Config, Snapshot, SnapshotOptions, Store};
use tempfile::TempDir;

/// Longer than any correct wait in these tests, so that it only ends a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Three members of one cluster; each open or closed.
pub struct Cluster {
    // Dropped in this order: the stores close while their directories still exist.
    stores: Vec<Option<Store>>,
    addresses: Vec<String>,
    directory: TempDir,
}

impl Cluster {
    /// Starts all three.
    pub fn start() -> Self {
        let mut cluster = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            addresses: free_addresses(3),
            stores: vec![None, None, None],
        };
        (1..=3).for_each(|node| cluster.open(node));
        cluster
    }

    /// Opens a closed member.
    pub fn open(&mut self, node: usize) {
        let path = self.directory.path().join(node.to_string());
        let store = Store::open(path, &self.config(node)).expect("opens");
        self.stores[node - 1] = Some(store);
    }

    /// Shuts a member down without waiting for what is in flight.
    pub fn close(&mut self, node: usize) {
        drop(self.stores[node - 1].take());
    }

    /// An open member.
    pub fn member(&self, node: usize) -> &Store {
        self.stores[node - 1].as_ref().expect("open")
    }

    /// The number of the member that leads and knows it.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (at, store) in self.stores.iter().enumerate() {
                let Some(store) = store else { continue };
                let leader = store.wait_leader(PATIENCE).expect("a majority is open");
                if leader.get() == at as u64 + 1 {
                    return at + 1;
                }
            }
            assert!(Instant::now() < deadline, "no member thinks that it leads");
            std::thread::yield_now();
        }
    }

    /// A snapshot of a member that shows all that is acknowledged.
    pub fn snapshot(&self, node: usize) -> Snapshot {
        let options = SnapshotOptions { timeout: Some(PATIENCE), ..Default::default() };
        self.member(node).snapshot(&options).expect("a majority is open")
    }

    fn config(&self, node: usize) -> Config {
        let members: Vec<_> =
            self.addresses.iter().zip(1..).map(|(address, node)| format!("{node}={address}")).collect();
        let mut config = fast_config();
        config.set("cluster.node_id", &node.to_string()).expect("in range");
        config.set("cluster.initial_members", &members.join(",")).expect("any text");
        config
    }
}

/// Short timeouts, so that elections are quick.
pub fn fast_config() -> Config {
    let mut config = Config::default();
    for (name, value) in [
        ("raft.tick_ms", "10"),
        ("raft.heartbeat_ms", "30"),
        ("raft.election_timeout_ms", "200"),
        ("engine.memtable_bytes", "4194304"),
        ("log.segment_bytes", "4194304"),
    ] {
        config.set(name, value).expect("in range");
    }
    config
}

/// Loopback addresses nobody listens on.
pub fn free_addresses(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound").to_string()).collect()
}
