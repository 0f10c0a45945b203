//! A raft snapshot of many keys of mixed sizes, and what it costs those who write in another region.
//!
//! Owns the data, the writer in the other region, and the two baselines: what the disk takes and what a loopback
//! connection carries, both alone and in the same run. What always holds: the writer makes one write at a time, the same
//! before the raft snapshot and during it, so that the two latencies are comparable; the third member has everything
//! that was written before it started when the clock is stopped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use almadia::{Batch, Store, WriteOptions};

use crate::members::{Cluster, disk};
use crate::{LOOK_EVERY, SETTLING, TIMEOUT, VALUE_POOL_BYTES, WRITERS, noise};

/// Keys before it are the data's, keys from it on are the other writer's: two regions.
const BORDER: &str = "p";
const OPTIONS: [&str; 2] = ["bootstrap.split_keys=p", "raft.spread_leaders=false"];
const BATCH_KEYS: u64 = 64;
/// Between two writes of the other writer.
const PAUSE: Duration = Duration::from_millis(1);
const OTHER_VALUE_BYTES: usize = 100;
/// How long the other writer is measured before the third member starts.
const BEFORE: Duration = Duration::from_secs(20);
const BASELINE_BYTES: usize = 2 << 30;
const CHUNK_BYTES: usize = 1 << 20;
const MB: f64 = 1e6;

/// Fills, starts the third member, and prints the figures. `options` are `name=value`; the others are the defaults.
pub fn measure(bytes: u64, options: &[&str]) {
    let cluster = Cluster::new(&[&OPTIONS, options].concat());
    let mut early = [cluster.start(1), cluster.start(2)];
    let leader = early[0].ask("leader");
    let leader = &mut early[usize::from(leader == "2")];
    let keys = leader.ask(&format!("mixed {bytes}"));
    thread::sleep(SETTLING);
    let [disk_mb_s, network_mb_s] = [disk_rate(), network_rate()];
    leader.ask("begin");
    thread::sleep(BEFORE);
    let without = leader.ask("end");
    let applied: u64 = leader.ask("applied").parse().expect("a number");

    leader.ask("begin");
    let begun = Instant::now();
    let mut third = cluster.start(3);
    leader.forget_peak();
    third.forget_peak();
    let before = [leader.memory(), third.memory()];
    while third.ask("applied").parse::<u64>().expect("a number") < applied {
        assert!(begun.elapsed() < TIMEOUT, "the third member does not catch up");
        thread::sleep(LOOK_EVERY);
    }
    let wall = begun.elapsed().as_secs_f64();
    let with = leader.ask("end");
    let after = [leader.memory(), third.memory()];
    assert_eq!(leader.ask("role"), "Leader", "the leadership has changed");

    let mb = bytes as f64 / MB;
    println!(
        "mixed: {mb:.0} MB in {keys} keys, {wall:.1} s, {:.1} MB/s; options {}",
        mb / wall,
        if options.is_empty() { "by default".to_owned() } else { options.join(" ") }
    );
    println!(
        "beside it: the disk alone {disk_mb_s:.0} MB/s, a loopback connection alone {network_mb_s:.0} MB/s"
    );
    for (at, role) in ["leader", "follower"].iter().enumerate() {
        let [before, after] = [&before[at], &after[at]];
        println!("{role}: {:.1} MiB resident before, {:.1} at the peak", before.resident, after.peak);
    }
    println!("one writer in another region, microseconds: without {without}; with {with}");
}

/// The rate at which the disk takes what is written and synced, in MB/s.
fn disk_rate() -> f64 {
    let path = disk().join("catch-up-baseline");
    let begun = Instant::now();
    let mut file = File::create(&path).expect("the disk is writable");
    let chunk = noise(CHUNK_BYTES);
    for _ in 0..BASELINE_BYTES / CHUNK_BYTES {
        file.write_all(&chunk).expect("the disk has room");
    }
    file.sync_all().expect("the disk is well");
    let rate = BASELINE_BYTES as f64 / MB / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).expect("it is ours");
    rate
}

/// The rate of one connection over loopback, in MB/s.
fn network_rate() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let begun = Instant::now();
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let chunk = noise(CHUNK_BYTES);
        (0..BASELINE_BYTES / CHUNK_BYTES).for_each(|_| stream.write_all(&chunk).expect("it reads"));
    });
    let mut stream = listener.accept().expect("the sender connects").0;
    let mut chunk = vec![0; CHUNK_BYTES];
    while stream.read(&mut chunk).expect("the sender writes") > 0 {}
    sender.join().expect("it has sent");
    BASELINE_BYTES as f64 / MB / begun.elapsed().as_secs_f64()
}

/// Writes keys and values of mixed sizes until they are so many bytes. They do not compress. Returns the number of keys.
pub fn fill(store: &Arc<Store>, bytes: u64) -> u64 {
    let pool: Arc<Vec<u8>> = Arc::new(noise(VALUE_POOL_BYTES));
    let (next, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = |_| {
        let (store, pool) = (Arc::clone(store), Arc::clone(&pool));
        let (next, written) = (Arc::clone(&next), Arc::clone(&written));
        thread::spawn(move || {
            while written.load(Ordering::Relaxed) < bytes {
                let first = next.fetch_add(BATCH_KEYS, Ordering::Relaxed);
                let mut batch = Batch::new();
                let sizes = (first..first + BATCH_KEYS).map(|number| put(&mut batch, &pool, number));
                let size: usize = sizes.sum();
                write(&store, &mut batch);
                written.fetch_add(size as u64, Ordering::Relaxed);
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    writers.into_iter().for_each(|writer| writer.join().expect("it writes"));
    next.load(Ordering::Relaxed)
}

/// Adds key `number` and its value, and returns the bytes of both.
fn put(batch: &mut Batch, pool: &[u8], number: u64) -> usize {
    let draw = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let value_bytes = match draw % 100 {
        0..70 => 100 + draw % 900,
        70..95 => 1_000 + draw % 15_000,
        _ => 16_000 + draw % 184_000,
    } as usize;
    let key = format!("k{number:016}{}", "-".repeat((draw % 64) as usize));
    assert!(key.as_str() < BORDER, "it is in the first region");
    let at = draw as usize % (pool.len() - value_bytes);
    batch.put(key.as_bytes(), &pool[at..at + value_bytes]).expect("within the limits");
    key.len() + value_bytes
}

fn write(store: &Store, batch: &mut Batch) {
    while let Err(error) = store.write(batch, &WriteOptions::default()) {
        assert_eq!(error.code(), almadia::Code::Overloaded, "{error}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The writer in the other region, while it runs.
pub struct OtherWriter {
    ends: Arc<AtomicBool>,
    latencies_us: Arc<Mutex<Vec<u64>>>,
    thread: JoinHandle<()>,
}

impl OtherWriter {
    pub fn begin(store: &Arc<Store>) -> Self {
        let (ends, latencies_us) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (store, end, latencies) = (Arc::clone(store), Arc::clone(&ends), Arc::clone(&latencies_us));
        let thread = thread::spawn(move || {
            for number in 0_u64.. {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let begun = Instant::now();
                let key = format!("{BORDER}{:04}", number % 1000);
                store.put(key.as_bytes(), &[7; OTHER_VALUE_BYTES]).expect("it has a majority");
                latencies.lock().expect("no panics").push(begun.elapsed().as_micros() as u64);
                thread::sleep(PAUSE);
            }
        });
        Self { ends, latencies_us, thread }
    }

    /// Ends it, and returns what it measured.
    pub fn end(self) -> String {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("it writes");
        let mut latencies = self.latencies_us.lock().expect("no panics").clone();
        latencies.sort_unstable();
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        format!("{} writes, p50 {}, p99 {}, longest {}", latencies.len(), at(50), at(99), at(100))
    }
}
