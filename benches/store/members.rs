//! Clusters of members on loopback, all in this process, with default options unless a row changes some.
//!
//! Owns the stores and their directories, which are removed with them, and the choice of the member that is called: the
//! leader, the leader of the region that owns a key, or a follower.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use almadia::Role;
use almadia::{Batch, Config, RegionStatus, Store, TransferOptions, WriteOptions};
use tempfile::TempDir;

use crate::data::{FILLED_KEYS, Key, directory, scattered, value};

/// Longer than any election, so that it only ends a hang.
const TIMEOUT: Duration = Duration::from_secs(30);
const FILL_BATCH: u64 = 500;

/// Which member is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Leader,
    Follower,
}

/// An open cluster.
pub struct Members {
    // Fields are dropped in this order: the stores close while their directories still exist.
    stores: Vec<Arc<Store>>,
    directory: TempDir,
}

impl Members {
    /// Opens `count` members of one region and waits until all know a leader.
    pub fn open(count: usize) -> Self {
        Self::open_with(count, &[])
    }

    /// Opens `count` members with `regions` equally wide regions, at most 65,536, and waits until all know all leaders.
    pub fn open_split(count: usize, regions: usize) -> Self {
        let settings = [("bootstrap.split_keys", &split_keys(regions)[..]), ("raft.spread_leaders", "false")];
        Self::open_with(count, &settings)
    }

    /// Opens `count` members with these options and waits until all know all leaders.
    pub fn open_with(count: usize, settings: &[(&str, &str)]) -> Self {
        let directory = directory();
        let mut configs = if count == 1 { vec![Config::default()] } else { configs(count) };
        for config in &mut configs {
            settings.iter().for_each(|(name, value)| config.set(name, value).expect("in range"));
        }
        let open = |(config, node): (&Config, usize)| {
            Arc::new(Store::open(directory.path().join(node.to_string()), config).expect("a new directory"))
        };
        let stores: Vec<_> = configs.iter().zip(1..).map(open).collect();
        for store in &stores {
            store.wait_leader(TIMEOUT).expect("all members are up");
        }
        Self { stores, directory }
    }

    /// The number of members.
    pub fn count(&self) -> usize {
        self.stores.len()
    }

    /// The member at this place, from 0 on.
    pub fn at(&self, place: usize) -> Arc<Store> {
        Arc::clone(&self.stores[place])
    }

    /// The directories of all members.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        (1..=self.stores.len()).map(|node| self.directory.path().join(node.to_string()))
    }

    /// The leaders of all regions, at a moment when each of them knew that it leads.
    pub fn leaders(&self) -> Leaders {
        let end = Instant::now() + TIMEOUT;
        loop {
            assert!(Instant::now() < end, "some region has no leader");
            self.stores[0].wait_leader(TIMEOUT).expect("all members are up");
            if let Some(leaders) = self.known_leaders() {
                return leaders;
            }
            std::thread::yield_now();
        }
    }

    /// Makes the first member lead every region.
    pub fn gather_leaders(&self) {
        let end = Instant::now() + TIMEOUT;
        let first = self.stores[0].status().node;
        let led_elsewhere = |status: &RegionStatus| status.leader.is_some_and(|leader| leader != first);
        while let Some(region) = self.stores[0].regions().iter().find(|status| led_elsewhere(status)) {
            assert!(Instant::now() < end, "some region does not change its leader");
            let leader = region.leader.expect("the search checked it").get() as usize;
            let (target, key) = (Some(first), region.start_key.to_vec());
            let options = TransferOptions { target, key, timeout: None };
            // The member may have lost its leadership meanwhile; the next iteration finds the new leader.
            let _ = self.stores[leader - 1].transfer_leader(&options);
        }
    }

    fn known_leaders(&self) -> Option<Leaders> {
        let statuses: Vec<_> = self.stores.iter().map(|store| store.regions()).collect();
        let mut leaders = Leaders { starts: Vec::new(), stores: Vec::new() };
        for (at, region) in statuses[0].iter().enumerate() {
            let leader = region.leader?.get() as usize;
            if statuses[leader - 1][at].role != Role::Leader {
                return None;
            }
            leaders.starts.push(region.start_key.to_vec());
            leaders.stores.push(Arc::clone(&self.stores[leader - 1]));
        }
        Some(leaders)
    }

    /// Writes the keys that the read rows read.
    pub fn fill(&self) {
        let leader = self.member(Target::Leader);
        for first in (0..FILLED_KEYS).step_by(FILL_BATCH as usize) {
            let mut batch = Batch::new();
            for number in first..first + FILL_BATCH {
                let key = scattered(number);
                batch.put(&key, value(&key)).expect("small");
            }
            leader.write(&mut batch, &WriteOptions::default()).expect("all members are up");
        }
    }

    /// The current leader, or one of its followers.
    pub fn member(&self, target: Target) -> Arc<Store> {
        let end = Instant::now() + TIMEOUT;
        loop {
            assert!(Instant::now() < end, "no member leads");
            let leader = self.stores[0].wait_leader(TIMEOUT).expect("all members are up").get() as usize;
            let status = self.stores[leader - 1].status();
            if status.leader == Some(status.node) {
                let at = if target == Target::Leader { leader - 1 } else { leader % self.stores.len() };
                return Arc::clone(&self.stores[at]);
            }
            std::thread::yield_now();
        }
    }
}

/// The leaders of all regions.
pub struct Leaders {
    /// The start keys of the regions, in order; the first is empty.
    starts: Vec<Vec<u8>>,
    /// The leader of each region.
    stores: Vec<Arc<Store>>,
}

impl Leaders {
    /// The leader of the region that owns `key`.
    pub fn of(&self, key: &Key) -> &Store {
        let behind = self.starts.partition_point(|start| start.as_slice() <= key.as_slice());
        &self.stores[behind - 1]
    }
}

/// The split keys of this many equally wide regions.
fn split_keys(regions: usize) -> String {
    let boundary = |at: usize| (at << 16) / regions;
    let keys = (1..regions).map(|at| format!("%{:02X}%{:02X}", boundary(at) >> 8, boundary(at) & 0xff));
    keys.collect::<Vec<_>>().join(",")
}

fn configs(count: usize) -> Vec<Config> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
    let members = listeners.iter().zip(1..).map(|(listener, node)| format!("{node}={}", address(listener)));
    let members = members.collect::<Vec<_>>().join(",");
    let config = |node: usize| {
        let mut config = Config::default();
        config.set("cluster.node_id", &node.to_string()).expect("in range");
        config.set("cluster.initial_members", &members).expect("well formed");
        config
    };
    (1..=count).map(config).collect()
}
