//! What shows only in a long run or a large store: write amplification, and gets after a restart.

use std::sync::Arc;
use std::time::Instant;

use almadia::internal::{ApplyBatch, BOOTSTRAP_REGION, Engine, Operation};

use super::{Fixture, Order, VALUE, batch, cpu_time, found, options, push, scattered, state};

const UPDATES: u64 = 10_000_000;
/// Keys that are updated again and again.
const UPDATED_KEYS: u64 = 2_000_000;
const STORED_KEYS: u64 = 10_000_000;
/// What a restart applies again: nearly a memtable.
const REPLAYED: u64 = 150_000;
const GETS: u64 = 100_000;
const GET_ROUNDS: u64 = 5;
const BATCH: u64 = 256;

/// Bytes written to the disk for a byte put. Without a write-ahead log these are tables only.
pub fn bench_amplification() {
    let fixture = Fixture::new();
    let (written, start) = (written_bytes(), Instant::now());
    for from in (0..UPDATES).step_by(BATCH as usize) {
        // Each key about as often as any other, in an order that has no pattern, and values that do not compress.
        let mut batch = ApplyBatch::default();
        for number in from..from + BATCH {
            let key = Order::Random.key(random(number) % UPDATED_KEYS);
            push(&mut batch, Operation::Put { key: &key, value: &random_value(number) });
        }
        batch.states.push((BOOTSTRAP_REGION, state(from)));
        fixture.engine.write(&batch).expect("the disk has room");
    }
    let took = start.elapsed();
    fixture.engine.flush().expect("the disk has room");
    let written = written_bytes() - written;
    let put = UPDATES * (16 + VALUE.len() as u64);
    println!("{UPDATES} updates of {UPDATED_KEYS} keys, {BATCH} a batch");
    println!("    {:<32}{:>10.3}", "us a put", took.as_secs_f64() * 1e6 / UPDATES as f64);
    println!("    {:<32}{:>10.3}", "bytes written for a byte put", written as f64 / put as f64);
}

/// A number that looks random.
fn random(number: u64) -> u64 {
    (scattered(number) >> 64) as u64
}

fn random_value(number: u64) -> [u8; VALUE.len()] {
    let mut value = VALUE;
    for (at, bytes) in value.chunks_mut(8).enumerate() {
        bytes.copy_from_slice(&random(number ^ (at as u64) << 56).to_le_bytes()[..bytes.len()]);
    }
    value
}

/// What this process has written to files.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("it is among them");
    line.parse().expect("a number")
}

/// Gets in a large store after a restart that has applied some entries again, and the same by RocksDB.
pub fn bench_restart() {
    let mut fixture = Fixture::new();
    for from in (0..STORED_KEYS).step_by(BATCH as usize) {
        let numbers = from..(from + BATCH).min(STORED_KEYS);
        fixture.engine.write(&batch(Order::Random, numbers)).expect("the disk has room");
    }
    fixture.engine.flush().expect("the disk has room");
    let placeholder = std::env::temp_dir().join(format!("almadia-bench-none-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&placeholder);
    let none = Engine::create(&placeholder, &options(), Arc::new(())).expect("a new directory");
    drop(std::mem::replace(&mut fixture.engine, none));
    fixture.engine = Engine::open(&fixture.directory, &options(), Arc::new(())).expect("it was closed");
    let _ = std::fs::remove_dir_all(&placeholder);
    for from in (STORED_KEYS - REPLAYED..STORED_KEYS).step_by(BATCH as usize) {
        let numbers = from..(from + BATCH).min(STORED_KEYS);
        fixture.engine.write(&batch(Order::Random, numbers)).expect("the disk has room");
    }
    println!("gets of {STORED_KEYS} keys, CPU time");
    show("after a restart", &fixture);
    fixture.engine.flush().expect("the disk has room");
    show("and a flush", &fixture);
}

fn show(title: &str, fixture: &Fixture) {
    let raw = raw(fixture);
    let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
    for round in 0..GET_ROUNDS {
        let keys: Vec<_> = (round * GETS..(round + 1) * GETS)
            .map(|number| Order::Random.key(random(number) % STORED_KEYS))
            .collect();
        let start = cpu_time();
        keys.iter().for_each(|key| drop(found(fixture.engine.get(key))));
        ours = ours.min((cpu_time() - start).as_secs_f64() * 1e6 / GETS as f64);
        let start = cpu_time();
        keys.iter().for_each(|key| drop(found(raw.get_pinned(key))));
        theirs = theirs.min((cpu_time() - start).as_secs_f64() * 1e6 / GETS as f64);
    }
    println!("    {title}");
    println!("    {:<32}{ours:>10.3}", "one-shot");
    println!("    {:<32}{theirs:>10.3}", "raw, pinned");
    println!("    {:<32}{:>10.3}", "rate, of raw", theirs / ours);
}

/// The tables, opened by RocksDB with a cache and filters like the engine's.
fn raw(fixture: &Fixture) -> rocksdb::DB {
    let mut tables = rocksdb::BlockBasedOptions::default();
    tables.set_block_cache(&rocksdb::Cache::new_hyper_clock_cache(options().block_cache_bytes, 0));
    tables.set_bloom_filter(10.0, false);
    let mut options = rocksdb::Options::default();
    options.set_block_based_table_factory(&tables);
    let families = ["default", "meta"].map(|name| (name, options.clone()));
    let raw = rocksdb::DB::open_cf_with_opts_for_read_only(&options, &fixture.directory, families, false);
    raw.expect("the engine has flushed")
}
