//! `cargo bench --bench catch_up`: the memory of the processes while one member catches up.
//!
//! Owns a cluster of three members, each in a process of its own. Two of them take 2 GB of writes while the third is
//! away; then it is started, and the kernel's figures for the leader and for it are taken until it has applied
//! everything: once with values of 32 KiB, once with the largest ones. What always holds: the peak is the kernel's own
//! (`VmHWM`), reset when the third member starts, so no sample misses it; file mappings are counted apart, page cache
//! not at all, since no process owns it; a run in which the leadership changed is an error.
//!
//! `cargo bench --bench catch_up -- 32k 2000` measures only these values and so many MB; `-- mixed 5000` a raft snapshot
//! of values of mixed sizes, beside writes in another region ([`mixed`]), with options as `name=value`.
//! `ALMADIA_BENCH_DIR` selects the disk; the default is that of the build directory. It takes three times the data, and
//! its log.

#[path = "catch_up/members.rs"]
mod members;
#[path = "catch_up/mixed.rs"]
mod mixed;

use std::io::stdin;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use almadia::{Config, Store};

use crate::members::{Cluster, MEMBER_FLAG};
use crate::mixed::OtherWriter;

/// The sizes of the values by their names on the command line: eight writes share a disk write of some size, and the
/// largest ones stand alone.
const SIZES: [(&str, usize); 2] = [("32k", 32 << 10), ("8m", 8_323_072)];
const MEGABYTES: u64 = 2000;
/// Callers that write at the same time.
const WRITERS: u64 = 8;
const VALUE_POOL_BYTES: usize = 16 << 20;
/// The engine has flushed and compacted what it will, and the allocator has what it keeps.
const SETTLING: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longer than any wait here, so that it only ends a hang.
const TIMEOUT: Duration = Duration::from_secs(600);

fn main() {
    // Cargo adds the flag `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, node, members, directory, options @ ..] = arguments.as_slice()
        && flag == MEMBER_FLAG
    {
        return serve(node, members, Path::new(directory), options);
    }
    let megabytes = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(MEGABYTES);
    let chosen = |name: &str| {
        arguments.iter().all(|argument| argument.parse::<u64>().is_ok())
            || arguments.iter().any(|argument| argument == name)
    };
    if arguments.iter().any(|argument| argument == "mixed") {
        let options: Vec<_> =
            arguments.iter().map(String::as_str).filter(|argument| argument.contains('=')).collect();
        return mixed::measure(megabytes * 1_000_000, &options);
    }
    println!(
        "{megabytes} MB; MiB resident: before the start of the third member, at the peak, and after it has all"
    );
    println!("values  member     before    peak   after   file    CPU s   wall s");
    for (name, bytes) in SIZES.iter().filter(|(name, _)| chosen(name)) {
        measure(name, *bytes, megabytes * 1_000_000);
    }
}

/// Writes, starts the third member, and prints what the leader and it took until it had caught up.
fn measure(name: &str, value_bytes: usize, bytes: u64) {
    let cluster = Cluster::new(&[]);
    let mut early = [cluster.start(1), cluster.start(2)];
    let leader = early[0].ask("leader");
    let leader = &mut early[usize::from(leader == "2")];
    leader.ask(&format!("fill {} {value_bytes}", bytes / value_bytes as u64));
    thread::sleep(SETTLING);
    let applied: u64 = leader.ask("applied").parse().expect("a number");

    let mut third = cluster.start(3);
    let begun = Instant::now();
    leader.forget_peak();
    third.forget_peak();
    let before = [leader.memory(), third.memory()];
    let cpu_before = [leader.cpu_s(), third.cpu_s()];
    while third.ask("applied").parse::<u64>().expect("a number") < applied {
        assert!(begun.elapsed() < TIMEOUT, "the third member does not catch up");
        thread::sleep(LOOK_EVERY);
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu = [leader.cpu_s() - cpu_before[0], third.cpu_s() - cpu_before[1]];
    let after = [leader.memory(), third.memory()];
    assert_eq!(leader.ask("role"), "Leader", "the leadership has changed");

    for (at, role) in ["leader", "follower"].iter().enumerate() {
        println!(
            "{name:<7} {role:<9} {:>7.1} {:>7.1} {:>7.1} {:>6.1} {:>8.1} {wall:>8.1}",
            before[at].resident, after[at].peak, after[at].resident, after[at].file, cpu[at]
        );
    }
}

/// Runs a member that does what the lines of the standard input say, and answers each with a line.
fn serve(node: &str, members: &str, directory: &Path, options: &[String]) {
    let mut config = Config::default();
    config.set("cluster.node_id", node).expect("in range");
    config.set("cluster.initial_members", members).expect("well formed");
    for option in options {
        let (name, value) = option.split_once('=').expect("name=value");
        config.set(name, value).expect("in range");
    }
    let store = Arc::new(Store::open(directory, &config).expect("a new directory"));
    let mut other_writer = None;
    println!("open");
    for line in stdin().lines() {
        let line = line.expect("a readable pipe");
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["leader"] => println!("{}", store.wait_leader(TIMEOUT).expect("a majority is up")),
            ["role"] => println!("{:?}", store.status().role),
            ["applied"] => println!("{}", store.status().applied_index),
            ["fill", count, value_bytes] => {
                fill(&store, count.parse().expect("a number"), value_bytes.parse().expect("a number"));
                println!("filled");
            }
            ["mixed", bytes] => println!("{}", mixed::fill(&store, bytes.parse().expect("a number"))),
            ["begin"] => {
                other_writer = Some(OtherWriter::begin(&store));
                println!("begun");
            }
            ["end"] => println!("{}", other_writer.take().expect("it has begun").end()),
            _ => panic!("unknown command {line}"),
        }
    }
}

/// Writes so many values of that size, with rising keys. They do not compress.
fn fill(store: &Arc<Store>, count: u64, value_bytes: usize) {
    let pool: Arc<Vec<u8>> = Arc::new(noise(VALUE_POOL_BYTES));
    let next = Arc::new(AtomicU64::new(0));
    let writer = |_| {
        let (store, pool, next) = (Arc::clone(store), Arc::clone(&pool), Arc::clone(&next));
        thread::spawn(move || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let at = (number as usize * 4099) % (pool.len() - value_bytes);
                write(&store, &number.to_be_bytes(), &pool[at..at + value_bytes]);
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    writers.into_iter().for_each(|writer| writer.join().expect("it writes"));
}

/// A store whose engine is behind takes no writes for a moment.
fn write(store: &Store, key: &[u8], value: &[u8]) {
    while let Err(error) = store.put(key, value) {
        assert_eq!(error.code(), almadia::Code::Overloaded, "{error}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}
