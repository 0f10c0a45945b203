//! What the engine costs: an insert by batch size and key order, a view, a get.
//!
//! Each figure is the best of several rounds, in microseconds of wall time on one thread. `raw` rows do the same
//! with RocksDB directly, on the same files.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use almadia::core::applier::ApplyBatch;
use almadia::core::command::{Command, CommandBuilder, Operation};
use almadia::core::region::Region;
use almadia::storage::engine::{Engine, EngineOptions, IterOptions};
use almadia::types::{ApplyState, BOOTSTRAP_REGION, LogIndex, NodeId, Term};

const PUTS: u64 = 20_480;
// Fits into one memtable, and into the block cache.
const KEYS: u64 = 100_000;
const READS: u64 = 200_000;
const ROUNDS: usize = 4;
const VALUE: [u8; 100] = [b'v'; 100];

fn main() {
    println!("{:<44}{:>10}", "16-byte keys, 100-byte values", "us/op");
    for order in [Order::Random, Order::Ascending] {
        for batch_ops in [1, 16, 256] {
            bench_put(order, batch_ops);
        }
    }
    let bed = Bed::filled();
    bench_view(&bed.engine);
    bench_get(&bed.engine, "in memory");
    bed.engine.flush().expect("there is space for the bench");
    bench_get(&bed.engine, "on disk");
    bench_raw_get(&bed.directory);
    bench_iter(&bed.engine);
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Random,
    Ascending,
}

impl Order {
    fn key(self, number: u64) -> [u8; 16] {
        match self {
            Self::Ascending => key(u128::from(number)),
            Self::Random => key(scattered(number)),
        }
    }
}

/// A bijection that looks random.
fn scattered(number: u64) -> u128 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u128::from(mixed ^ (mixed >> 31)) << 64
}

fn key(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

/// An engine in a directory of its own.
struct Bed {
    engine: Engine,
    directory: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("almadia-bench-engine-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let engine =
            Engine::create(&directory, &EngineOptions::default(), Arc::new(())).expect("a new directory");
        engine.bootstrap(&[Region::bootstrap(&[NodeId(1)])], ApplyState::BOOTSTRAP).expect("an empty engine");
        Self { engine, directory }
    }

    fn filled() -> Self {
        let bed = Self::new();
        for from in (0..KEYS).step_by(256) {
            let numbers = from..(from + 256).min(KEYS);
            bed.engine.write(&batch(Order::Random, numbers)).expect("there is space for the bench");
        }
        bed
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// One put a command, as many commands as numbers: what an apply round of that many entries makes.
fn batch(order: Order, numbers: std::ops::Range<u64>) -> ApplyBatch {
    let mut batch = ApplyBatch::default();
    let state = ApplyState { index: LogIndex(numbers.end), term: Term(5) };
    for number in numbers {
        let mut builder = CommandBuilder::default();
        builder.push(Operation::Put { key: &order.key(number), value: &VALUE });
        let Ok(Command::Write(write)) = Command::parse(builder.seal(1)) else { panic!("sealed above") };
        batch.writes.push(write);
    }
    batch.states.push((BOOTSTRAP_REGION, state));
    batch
}

fn bench_put(order: Order, batch_ops: u64) {
    let best = (0..ROUNDS).map(|_| time_puts(order, batch_ops)).fold(f64::INFINITY, f64::min);
    report(&format!("put, {order:?} keys, {batch_ops} a batch"), best);
}

/// The commands are made before the clock starts.
fn time_puts(order: Order, batch_ops: u64) -> f64 {
    let bed = Bed::new();
    let batches: Vec<_> =
        (0..PUTS).step_by(batch_ops as usize).map(|from| batch(order, from..from + batch_ops)).collect();
    let start = Instant::now();
    for batch in &batches {
        bed.engine.write(batch).expect("there is space for the bench");
    }
    start.elapsed().as_secs_f64() * 1e6 / (batches.len() as u64 * batch_ops) as f64
}

fn bench_view(engine: &Engine) {
    report("view, taken and dropped", best(|_| drop(black_box(engine.view()))));
}

fn bench_get(engine: &Engine, place: &str) {
    let view = engine.view();
    let mut buffer = [0; 128];
    let one_shot = best(|number| drop(black_box(there(engine.get(&read_key(number))))));
    report(&format!("get, {place}, one-shot"), one_shot);
    let from_view = best(|number| drop(black_box(there(view.get(&read_key(number))))));
    report(&format!("get, {place}, from a view"), from_view);
    let one_shot = best(|number| {
        black_box(there(engine.get_into(&read_key(number), &mut buffer)));
    });
    report(&format!("get_into, {place}, one-shot"), one_shot);
    let from_view = best(|number| {
        black_box(there(view.get_into(&read_key(number), &mut buffer)));
    });
    report(&format!("get_into, {place}, from a view"), from_view);
}

/// The same files, read by RocksDB with its own default options.
fn bench_raw_get(directory: &Path) {
    let families = ["default", "meta"];
    let raw = rocksdb::DB::open_cf_for_read_only(&rocksdb::Options::default(), directory, families, false);
    let raw = raw.expect("the engine has flushed");
    let pinned = best(|number| drop(black_box(there(raw.get_pinned(read_key(number))))));
    report("raw get_pinned, on disk", pinned);
    let copied = best(|number| drop(black_box(there(raw.get(read_key(number))))));
    report("raw get, on disk", copied);
}

fn bench_iter(engine: &Engine) {
    let view = engine.view();
    let mut iter = view.iter(IterOptions::default());
    iter.seek_to_first();
    let step = best(|_| {
        black_box(iter.item());
        iter.next();
        if !iter.valid() {
            iter.seek_to_first();
        }
    });
    report("iterator, key and value, next", step);
}

/// A key that was put, in an order that is neither that of the puts nor that of the keys.
fn read_key(number: u64) -> [u8; 16] {
    Order::Random.key(number * 7919 % KEYS)
}

fn there<T, E: std::fmt::Debug>(read: Result<Option<T>, E>) -> T {
    read.expect("a healthy disk").expect("it was put")
}

/// Microseconds a call in the best round.
fn best(mut call: impl FnMut(u64)) -> f64 {
    let round = |_| {
        let start = Instant::now();
        (0..READS).for_each(&mut call);
        start.elapsed().as_secs_f64() * 1e6 / READS as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn report(name: &str, us: f64) {
    println!("{name:<44}{us:>10.3}");
}
