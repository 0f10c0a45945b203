//! CPU and memory of this process and CPU of the machine, as the kernel counts them.
//!
//! Owns the reading of `/proc`. What always holds: the CPU time of this process comes from the scheduler's nanosecond
//! counter of each thread, not from clock ticks; the main thread only waits during a measurement and is not counted. A
//! thread that ended before the second reading is missed, so that reading must be taken while all threads run.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// The kernel counts machine-wide time in units of 10 ms, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// The counters at one moment.
pub struct Reading {
    at: Instant,
    threads: BTreeMap<u32, ThreadCounters>,
    machine: MachineCounters,
}

struct ThreadCounters {
    name: String,
    cpu: Duration,
    switches: u64,
}

struct MachineCounters {
    busy: Duration,
    stolen: Duration,
}

/// The resources used between two readings.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Time between the readings.
    pub wall: Duration,
    /// CPU of this process, by the names of its threads.
    pub by_thread: BTreeMap<String, Duration>,
    /// Context switches of this process's threads, voluntary or not.
    pub switches: u64,
    /// CPU of other processes, including the kernel's on their behalf.
    pub others: Duration,
    /// CPU stolen by the hypervisor.
    pub stolen: Duration,
}

impl Reading {
    /// Reads all counters, in about a millisecond.
    pub fn now() -> Self {
        Self { at: Instant::now(), threads: threads(), machine: machine() }
    }

    /// The difference to an earlier reading.
    pub fn since(&self, earlier: &Self) -> Usage {
        let mut usage = Usage { wall: self.at - earlier.at, ..Usage::default() };
        for (id, thread) in &self.threads {
            let before = earlier.threads.get(id);
            let cpu = thread.cpu - before.map_or(Duration::ZERO, |before| before.cpu);
            *usage.by_thread.entry(thread.name.clone()).or_default() += cpu;
            usage.switches += thread.switches - before.map_or(0, |before| before.switches);
        }
        let busy = self.machine.busy.saturating_sub(earlier.machine.busy);
        usage.others = busy.saturating_sub(usage.cpu());
        usage.stolen = self.machine.stolen.saturating_sub(earlier.machine.stolen);
        usage
    }
}

impl Usage {
    /// Adds the usage of another run.
    pub fn add(&mut self, other: &Self) {
        self.wall += other.wall;
        self.switches += other.switches;
        self.others += other.others;
        self.stolen += other.stolen;
        for (name, cpu) in &other.by_thread {
            *self.by_thread.entry(name.clone()).or_default() += *cpu;
        }
    }

    /// CPU of this process.
    pub fn cpu(&self) -> Duration {
        self.by_thread.values().sum()
    }
}

/// Resident memory of this process, in MiB.
pub fn rss_mib() -> f64 {
    const PAGE_BYTES: f64 = 4096.0;
    let statm = read("/proc/self/statm");
    let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse::<f64>().ok());
    pages.expect("the second field of statm is a number") * PAGE_BYTES / f64::from(1 << 20)
}

/// CPU of the calling thread.
pub fn thread_cpu() -> Duration {
    cpu_of("/proc/thread-self").expect("the calling thread runs")
}

fn threads() -> BTreeMap<u32, ThreadCounters> {
    let entries = fs::read_dir("/proc/self/task").expect("Linux has it");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A thread may end between the listing and the reading.
    let others = ids.filter(|id| *id != std::process::id());
    others.filter_map(|id| Some((id, thread(&format!("/proc/self/task/{id}"))?))).collect()
}

fn thread(directory: &str) -> Option<ThreadCounters> {
    let name = fs::read_to_string(format!("{directory}/comm")).ok()?;
    let status = fs::read_to_string(format!("{directory}/status")).ok()?;
    let switches = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
    let switches = switches.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum();
    Some(ThreadCounters { name: role(name.trim()), cpu: cpu_of(directory)?, switches })
}

/// The name without a peer's number or RocksDB's priority: such threads do the same work.
fn role(name: &str) -> String {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if name.starts_with("rocksdb") { "rocksdb".to_owned() } else { name.to_owned() }
}

fn cpu_of(directory: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("{directory}/schedstat")).ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn machine() -> MachineCounters {
    let stat = read("/proc/stat");
    let first = stat.lines().next().expect("the first line is of all processors");
    let ticks: Vec<u32> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: u32 = [0, 1, 2, 5, 6].iter().map(|&at| ticks[at]).sum();
    MachineCounters { busy: TICK * busy, stolen: TICK * ticks[7] }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).expect("Linux has it")
}
