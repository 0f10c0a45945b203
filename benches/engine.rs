//! The cost of the engine's operations: inserts by batch size and key order, views, gets and iteration.
//!
//! Each figure is the best of several rounds, in microseconds of wall time on one thread, or where it says so of CPU time. `raw` rows do the same with
//! RocksDB directly, on the same files. Run with `cargo bench --bench engine`, or `cargo bench --bench engine -- NAME`
//! for some of its parts: `put`, `read`, `ranges`, `queue`, and `amplification` and `restart`, which take minutes and
//! run only when they are named.

#[path = "engine/scale.rs"]
mod scale;
#[path = "engine/tombstones.rs"]
mod tombstones;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use almadia::internal::ApplyBatch;
use almadia::internal::Region;
use almadia::internal::{AppliedWrite, Command, CommandBuilder, Operation};
use almadia::internal::{ApplyState, BOOTSTRAP_REGION};
use almadia::internal::{Engine, EngineOptions, IterOptions};
use almadia::{LogIndex, NodeId, Term, Version};

const PUTS: u64 = 204_800;
const PUT_ROUNDS: usize = 4;
// Fits into the block cache.
const KEYS: u64 = 100_000;
const CALLS: u64 = 10_000;
const ROUNDS: u64 = 40;
const VALUE: [u8; 100] = [b'v'; 100];

fn main() {
    let named: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_named = |part: &str| named.iter().any(|name| name == part);
    let runs = |part: &str| named.is_empty() || is_named(part);
    println!("16-byte keys, 100-byte values{:>17}{:>10}", "us/op", "x best");
    if runs("put") {
        [1, 16, 256, 1024].into_iter().for_each(bench_put);
    }
    if runs("read") {
        bench_reads();
    }
    if runs("ranges") {
        tombstones::bench_ranges();
    }
    if runs("queue") {
        tombstones::bench_queue();
    }
    if is_named("amplification") {
        scale::bench_amplification();
    }
    if is_named("restart") {
        scale::bench_restart();
    }
}

fn bench_reads() {
    let fixture = Fixture::filled();
    bench_view(&fixture.engine);
    bench_get(&fixture);
    fixture.engine.flush().expect("the disk has room");
    bench_get_flushed(&fixture);
    bench_iter(&fixture);
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

/// An engine in its own directory.
struct Fixture {
    engine: Engine,
    directory: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("almadia-bench-engine-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let engine = Engine::create(&directory, &options(), Arc::new(())).expect("a new directory");
        engine.bootstrap(&[Region::bootstrap(&[NodeId(1)])], ApplyState::BOOTSTRAP).expect("an empty engine");
        Self { engine, directory }
    }

    fn filled() -> Self {
        let fixture = Self::new();
        for from in (0..KEYS).step_by(256) {
            let numbers = from..(from + 256).min(KEYS);
            fixture.engine.write(&batch(Order::Random, numbers)).expect("the disk has room");
        }
        fixture
    }

    /// The same files, opened by RocksDB with its default options.
    fn raw(&self) -> rocksdb::DB {
        let (options, families) = (rocksdb::Options::default(), ["default", "meta"]);
        let raw = rocksdb::DB::open_cf_for_read_only(&options, &self.directory, families, false);
        raw.expect("the engine has flushed")
    }
}

/// The default options, but for `ALMADIA_BENCH_MEMTABLE_MIB`.
fn options() -> EngineOptions {
    let mut options = EngineOptions::default();
    if let Ok(mib) = std::env::var("ALMADIA_BENCH_MEMTABLE_MIB") {
        options.memtable_bytes = mib.parse::<usize>().expect("a number") << 20;
    }
    options
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// One command with one put for each number, as an apply round of that many entries builds it.
fn batch(order: Order, numbers: std::ops::Range<u64>) -> ApplyBatch {
    let index = numbers.end;
    let mut batch = ApplyBatch::default();
    for number in numbers {
        push(&mut batch, Operation::Put { key: &order.key(number), value: &VALUE });
    }
    batch.states.push((BOOTSTRAP_REGION, state(index)));
    batch
}

/// A batch of one command.
fn single(index: u64, operation: Operation<'_>) -> ApplyBatch {
    let mut batch = ApplyBatch::default();
    push(&mut batch, operation);
    batch.states.push((BOOTSTRAP_REGION, state(index)));
    batch
}

/// Adds a command with one operation.
fn push(batch: &mut ApplyBatch, operation: Operation<'_>) {
    let mut builder = CommandBuilder::default();
    builder.push(operation);
    let Ok(Command::Write(write)) = Command::parse(builder.seal(1)) else { panic!("sealed above") };
    batch.writes.push(AppliedWrite::plain(write, Version(1)));
}

fn state(index: u64) -> ApplyState {
    ApplyState { index: LogIndex(index), term: Term(5) }
}

fn bench_put(batch_ops: u64) {
    let mut times = [Order::Random, Order::Ascending].map(|order| Row::new(&format!("{order:?}"), order));
    for _ in 0..PUT_ROUNDS {
        times.iter_mut().for_each(|row| row.note(time_puts(row.what, batch_ops)));
    }
    print(&format!("put, {batch_ops} a batch, CPU time"), &times);
}

/// The commands are built before the clock starts.
fn time_puts(order: Order, batch_ops: u64) -> f64 {
    let fixture = Fixture::new();
    let batches: Vec<_> =
        (0..PUTS).step_by(batch_ops as usize).map(|from| batch(order, from..from + batch_ops)).collect();
    let start = cpu_time();
    for batch in &batches {
        fixture.engine.write(batch).expect("the disk has room");
    }
    (cpu_time() - start).as_secs_f64() * 1e6 / PUTS as f64
}

/// What this thread has used so far.
fn cpu_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = times.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

fn bench_view(engine: &Engine) {
    compare("view", &mut [("taken and dropped", &mut |_| drop(black_box(engine.view())))]);
}

fn bench_get(fixture: &Fixture) {
    let (engine, view) = (&fixture.engine, fixture.engine.view());
    let (mut buffer, mut other_buffer) = ([0; 128], [0; 128]);
    compare(
        "get, in memory",
        &mut [
            ("one-shot", &mut |number| drop(found(engine.get(&read_key(number))))),
            ("from a view", &mut |number| drop(found(view.get(&read_key(number))))),
            ("one-shot into a buffer", &mut |number| {
                black_box(found(engine.get_into(&read_key(number), &mut buffer)));
            }),
            ("from a view into a buffer", &mut |number| {
                black_box(found(view.get_into(&read_key(number), &mut other_buffer)));
            }),
        ],
    );
}

fn bench_get_flushed(fixture: &Fixture) {
    let (engine, view, raw) = (&fixture.engine, fixture.engine.view(), fixture.raw());
    let mut buffer = [0; 128];
    compare(
        "get, from a file",
        &mut [
            ("one-shot", &mut |number| drop(found(engine.get(&read_key(number))))),
            ("from a view", &mut |number| drop(found(view.get(&read_key(number))))),
            ("from a view into a buffer", &mut |number| {
                black_box(found(view.get_into(&read_key(number), &mut buffer)));
            }),
            ("raw, pinned", &mut |number| drop(found(raw.get_pinned(read_key(number))))),
            ("raw, copied", &mut |number| drop(found(raw.get(read_key(number))))),
        ],
    );
}

fn bench_iter(fixture: &Fixture) {
    let (view, raw) = (fixture.engine.view(), fixture.raw());
    let mut iterator = view.iter(IterOptions::default());
    let mut raw_iterator = raw.raw_iterator();
    compare(
        "iterator, key, value and next",
        &mut [
            ("from a view", &mut |_| {
                if black_box(iterator.item()).is_none() {
                    iterator.seek_to_first();
                }
                iterator.next();
            }),
            ("raw", &mut |_| {
                if black_box(raw_iterator.item()).is_none() {
                    raw_iterator.seek_to_first();
                }
                raw_iterator.next();
            }),
        ],
    );
}

/// A key that was put, in an order that is neither that of the puts nor that of the keys.
fn read_key(number: u64) -> [u8; 16] {
    Order::Random.key(number * 7919 % KEYS)
}

fn found<T, E: std::fmt::Debug>(read: Result<Option<T>, E>) -> T {
    black_box(read.expect("a healthy disk").expect("it was put"))
}

/// One operation to measure, and its best time so far.
struct Row<T> {
    name: String,
    what: T,
    us: f64,
}

impl<T> Row<T> {
    fn new(name: &str, what: T) -> Self {
        Self { name: name.to_owned(), what, us: f64::INFINITY }
    }

    fn note(&mut self, us: f64) {
        self.us = self.us.min(us);
    }
}

/// Alternates short rounds of all operations, so that other load on the machine affects them alike.
fn compare(title: &str, operations: &mut [(&str, &mut dyn FnMut(u64))]) {
    let mut rows: Vec<_> = operations.iter_mut().map(|(name, call)| Row::new(name, call)).collect();
    for round in 0..ROUNDS {
        for row in &mut rows {
            let numbers = round * CALLS..(round + 1) * CALLS;
            let start = Instant::now();
            numbers.for_each(&mut row.what);
            row.note(start.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
        }
    }
    print(title, &rows);
}

fn print<T>(title: &str, rows: &[Row<T>]) {
    println!("{title}");
    let best = rows.iter().map(|row| row.us).fold(f64::INFINITY, f64::min);
    for Row { name, us, .. } in rows {
        println!("    {name:<32}{us:>10.3}{:>10.2}", us / best);
    }
}
