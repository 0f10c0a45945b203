//! The speed of the raft log, compared with the limit of the disk.
//!
//! Owns the workloads, their measurement and the table. What always holds: the log store and the bare disk are measured
//! in the same run, alternately, on the same file system, so that their ratio is meaningful on any disk. CPU is that of
//! the calling thread, user and kernel. Run with `cargo bench --bench log_store`; `ALMADIA_BENCH_DIR` selects the disk,
//! the default is that of the build directory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use almadia::internal::{Entry, HardState, LogWrite};
use almadia::internal::{LogOptions, LogStore};
use almadia::{LogIndex, RegionId, Term};

/// A 16-byte key, a 100-byte value.
const ENTRY_BYTES: usize = 116;
const KEPT_ENTRIES: u64 = 10_000;
const REGIONS: u64 = 256;
const ROUND: Duration = Duration::from_secs(3);

fn main() {
    let base =
        std::env::var_os("ALMADIA_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = base.join(format!("log-store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the bench directory can be made");
    println!(
        "{:<44} {:>10} {:>9} {:>9} {:>12} {:>9}",
        "", "syncs/s", "p50 us", "p99 us", "CPU us/sync", "MiB/s"
    );

    for held in [64, 1024, 4096] {
        let (a, r) = behind(&dir, held << 20);
        println!("{held} MiB {a:.1} us {r:.3} s");
    }
    if std::env::var_os("ONLY").is_some() {
        return;
    }
    let bare = bare_disk(&dir, 4096);
    row("bare 4 KiB write + fdatasync", &bare);
    let mut ratios = Vec::new();
    for (name, segment_bytes) in [("new segments", 256 << 20), ("recycled segments", 1 << 20)] {
        let one = appends(&dir, segment_bytes, 1);
        row(&format!("append, 1 entry of {ENTRY_BYTES} bytes, {name}"), &one);
        let again = bare_disk(&dir, 4096);
        row("bare 4 KiB write + fdatasync", &again);
        ratios.push((name, one.syncs_per_s() / ((bare.syncs_per_s() + again.syncs_per_s()) / 2.0)));
    }
    let bare_batch = bare_disk(&dir, 64 << 10);
    row("bare 64 KiB write + fdatasync", &bare_batch);
    let batch = appends(&dir, 64 << 20, 512);
    row("append, 512 entries", &batch);
    let (bytes, seconds) = recovery(&dir);
    let long: Vec<_> = [64, 1024, 4096].map(|mib| (mib, behind(&dir, mib << 20))).into();

    println!();
    ratios.iter().for_each(|(name, ratio)| println!("{ratio:.2} of the bare disk's syncs, {name}"));
    println!("{:.3} us CPU per entry at 512 entries per append", batch.cpu_us_per_sync() / 512.0);
    println!("{:.3} us CPU per entry of that for the bare write", bare_batch.cpu_us_per_sync() / 512.0);
    println!("recovery: {} MiB in {seconds:.3} s, {:.0} MiB/s", bytes >> 20, mib(bytes) / seconds);
    for (held, (append, reopen)) in long {
        println!(
            "behind a log of {held} MiB: {append:.1} us CPU per append, {reopen:.3} s CPU to open it again"
        );
    }
    let (bytes, extents) = many_regions(&dir);
    println!("{REGIONS} regions: {extents} positions for {} MiB of log", bytes >> 20);
    std::fs::remove_dir_all(&dir).expect("the bench directory can be removed");
}

/// The measurements of one workload.
struct Measured {
    latencies: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
    bytes: u64,
}

impl Measured {
    fn syncs_per_s(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    fn cpu_us_per_sync(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    fn percentile_us(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e6
    }
}

fn row(name: &str, measured: &Measured) {
    println!(
        "{name:<44} {:>10.0} {:>9.1} {:>9.1} {:>12.2} {:>9.1}",
        measured.syncs_per_s(),
        measured.percentile_us(50),
        measured.percentile_us(99),
        measured.cpu_us_per_sync(),
        mib(measured.bytes) / measured.wall.as_secs_f64(),
    );
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Repeats `work` for `ROUND`; it returns the number of bytes that it wrote.
fn measure(mut work: impl FnMut() -> u64) -> Measured {
    let (start, cpu_start) = (Instant::now(), thread_cpu());
    let (mut latencies, mut bytes, mut last) = (Vec::new(), 0, start);
    while last - start < ROUND {
        bytes += work();
        let now = Instant::now();
        latencies.push(now - last);
        last = now;
    }
    Measured { latencies, wall: last - start, cpu: thread_cpu() - cpu_start, bytes }
}

/// CPU time of this thread, user and kernel.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = stat.split_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("the first field is a number"))
}

/// Overwrites a file that has all its blocks, with a sync after each write.
fn bare_disk(dir: &Path, bytes: usize) -> Measured {
    const FILE_BYTES: usize = 64 << 20;
    let path = dir.join("bare");
    std::fs::write(&path, vec![1; FILE_BYTES]).expect("there is room for 64 MiB");
    let file = File::options().write(true).open(&path).expect("just written");
    file.sync_all().expect("the disk works");
    let (buffer, mut at) = (vec![2; bytes], 0);
    measure(|| {
        file.write_all_at(&buffer, at as u64).expect("the disk works");
        file.sync_data().expect("the disk works");
        at = (at + bytes) % FILE_BYTES;
        bytes as u64
    })
}

/// Appends `count` entries at a time and truncates the log as a store would.
fn appends(dir: &Path, segment_bytes: u64, count: u64) -> Measured {
    let dir = fresh(dir);
    let (store, _) =
        LogStore::open(&dir, LogOptions { segment_bytes, ..LogOptions::default() }).expect("opens");
    let mut next = 1;
    // Recycled segments are the usual case, so the warm-up recycles some, unless new ones are to be measured.
    for _ in 0..if segment_bytes > 64 << 20 { 100 } else { 4 * segment_bytes / (count * 150) } {
        next = append(&store, next, count);
    }
    let before = store.stats().synced_bytes;
    let mut measured = measure(|| {
        next = append(&store, next, count);
        0
    });
    measured.bytes = store.stats().synced_bytes - before;
    measured
}

fn append(store: &LogStore, next: u64, count: u64) -> u64 {
    let data = bytes::Bytes::from_static(&[7; ENTRY_BYTES]);
    let entry = |index| Entry { index, term: 1, data: data.clone(), ..Entry::default() };
    let mut write = LogWrite::new(RegionId(1));
    write.entries = (next..next + count).map(entry).collect();
    if next % 1024 <= count {
        write.truncate_to = next.checked_sub(KEPT_ENTRIES).map(|index| (LogIndex(index), Term(1)));
    }
    store.append(&[write]).expect("the disk works");
    next + count
}

fn fresh(dir: &Path) -> PathBuf {
    let dir = dir.join("log");
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => dir,
    }
}

/// Opens a log of 240 MiB whose files are in the page cache; returns the bytes and the seconds.
fn recovery(dir: &Path) -> (u64, f64) {
    let dir = fresh(dir);
    let (store, _) = LogStore::open(&dir, LogOptions::default()).expect("opens");
    let mut next = 1;
    while store.stats().synced_bytes < 240 << 20 {
        let data = bytes::Bytes::from_static(&[7; ENTRY_BYTES]);
        let entry = |index| Entry { index, term: 1, data: data.clone(), ..Entry::default() };
        let entries: Vec<_> = (next..next + 512).map(entry).collect();
        next += 512;
        store.append(&[LogWrite { entries, ..LogWrite::new(RegionId(1)) }]).expect("the disk works");
    }
    let bytes = store.stats().synced_bytes;
    drop(store);
    let start = Instant::now();
    let (_, logs) = LogStore::open(&dir, LogOptions::default()).expect("opens");
    assert_eq!(logs[0].last.0, LogIndex(next - 1), "every entry is recovered");
    (bytes, start.elapsed().as_secs_f64())
}

/// Bytes of a log whose frames have an entry of each of many regions, and how many positions are kept in memory for it,
/// of about a hundred bytes each.
fn many_regions(dir: &Path) -> (u64, usize) {
    let dir = fresh(dir);
    let (store, _) = LogStore::open(&dir, LogOptions::default()).expect("opens");
    let data = bytes::Bytes::from_static(&[7; ENTRY_BYTES]);
    let mut next = 1;
    while store.stats().synced_bytes < 256 << 20 {
        let entry = Entry { index: next, term: 1, data: data.clone(), ..Entry::default() };
        let write = |region| LogWrite { entries: vec![entry.clone()], ..LogWrite::new(RegionId(region)) };
        store.append(&(1..=REGIONS).map(write).collect::<Vec<_>>()).expect("the disk works");
        next += 1;
    }
    let positions = |region| store.stretches(RegionId(region)).expect("readable").len();
    (store.stats().synced_bytes, (1..=REGIONS).map(positions).sum())
}

/// CPU of an append to a log that holds `held_bytes` for a member that is away, in microseconds, and of opening that
/// log, in seconds. Neither may grow with the log, but for what reading it takes.
fn behind(dir: &Path, held_bytes: u64) -> (f64, f64) {
    const VALUE_BYTES: usize = 32 << 10;
    let dir = fresh(dir);
    let (store, _) = LogStore::open(&dir, LogOptions::default()).expect("opens");
    let data = bytes::Bytes::from(vec![7; VALUE_BYTES]);
    let mut next = 1;
    let mut append = |store: &LogStore, count: u64| {
        let entry = |index| Entry { index, term: 1, data: data.clone(), ..Entry::default() };
        let mut write = LogWrite::new(RegionId(1));
        write.entries = (next..next + count).map(entry).collect();
        next += count;
        // The commit index moves with every write of a member.
        write.hard_state = Some(HardState { term: 1, commit: next - 1, ..HardState::default() });
        store.append(&[write]).expect("the disk works");
    };
    while store.stats().live_bytes < held_bytes {
        append(&store, 1);
    }
    let measured = measure(|| {
        append(&store, 1);
        0
    });
    drop(store);
    let start = thread_cpu();
    drop(LogStore::open(&dir, LogOptions::default()).expect("opens"));
    (measured.cpu_us_per_sync(), (thread_cpu() - start).as_secs_f64())
}
