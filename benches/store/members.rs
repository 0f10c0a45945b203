//! Members on loopback, all in this process, with default options.
//!
//! Owns their directories, which go with them, and the choice of who is asked: the leader or a follower.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use almadia::{Batch, Config, Store, WriteOptions};
use tempfile::TempDir;

use crate::data::{FILLED_KEYS, directory, scattered, value};

/// Longer than any election, so that it only ends a hang.
const PATIENCE: Duration = Duration::from_secs(30);
const FILL_BATCH: u64 = 500;

/// Which member is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Leader,
    Follower,
}

/// An open cluster.
pub struct Members {
    // Dropped in this order: the stores close while their directories still exist.
    stores: Vec<Arc<Store>>,
    _directory: TempDir,
}

impl Members {
    /// Opens `count` members and waits until all know a leader.
    pub fn open(count: usize) -> Self {
        let directory = directory();
        let configs = if count == 1 { vec![Config::default()] } else { configs(count) };
        let open = |(config, node): (&Config, usize)| {
            Arc::new(Store::open(directory.path().join(node.to_string()), config).expect("a new directory"))
        };
        let stores: Vec<_> = configs.iter().zip(1..).map(open).collect();
        for store in &stores {
            store.wait_leader(PATIENCE).expect("all members are up");
        }
        Self { stores, _directory: directory }
    }

    /// Writes the keys that reads are made of.
    pub fn fill(&self) {
        let leader = self.member(Asked::Leader);
        for first in (0..FILLED_KEYS).step_by(FILL_BATCH as usize) {
            let mut batch = Batch::new();
            for number in first..first + FILL_BATCH {
                let key = scattered(number);
                batch.put(&key, value(&key)).expect("small");
            }
            leader.write(&mut batch, &WriteOptions::default()).expect("all members are up");
        }
    }

    /// The leader as of now, or one that follows it.
    pub fn member(&self, asked: Asked) -> Arc<Store> {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no member leads");
            let leader = self.stores[0].wait_leader(PATIENCE).expect("all members are up").get() as usize;
            let status = self.stores[leader - 1].status();
            if status.leader == Some(status.node) {
                let at = if asked == Asked::Leader { leader - 1 } else { leader % self.stores.len() };
                return Arc::clone(&self.stores[at]);
            }
            std::thread::yield_now();
        }
    }
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
