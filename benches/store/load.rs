//! Keeping a number of calls in flight, and measuring what comes of it.
//!
//! Owns the lanes: each keeps one call in flight and begins the next when the last was answered, on the thread that
//! learns of the answer. What always holds: a lane belongs to one thread at a time, so measuring takes no lock; only
//! calls answered while the run is measured are counted; a run succeeds when every call that was issued was answered
//! well. What a call is, is left to the rows.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{Key, scattered};
use crate::meter::{Reading, Spent, rss_mib, thread_cpu};

const WARM_UP: Duration = Duration::from_millis(600);
const MEASURED: Duration = Duration::from_millis(2400);
/// Longer than any deadline of a call, so that it only ends a hang.
const PATIENCE: Duration = Duration::from_secs(30);

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
/// Calls go on and no longer count, so that every thread still runs when the counters are read.
const READING: u8 = 2;
const ENDED: u8 = 3;

/// What the lanes of one run share.
pub struct Run {
    phase: AtomicU8,
    ended: Sender<Result<Lane, String>>,
}

impl Run {
    /// A lane cannot go on.
    pub fn fail(&self, error: String) {
        // Nobody listens any more when another lane failed before.
        let _ = self.ended.send(Err(error));
    }
}

/// One call in flight, over and over.
pub struct Lane {
    run: Arc<Run>,
    number: u64,
    issued: u64,
    answered: u64,
    last_key: Key,
    /// In nanoseconds; longer than 4 s shows as 4 s.
    samples: Vec<u32>,
}

impl Lane {
    /// What all lanes share.
    pub fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run)
    }

    /// Begins a call: a key that no other call of this process is given.
    pub fn issue(&mut self) -> Key {
        self.issued += 1;
        self.last_key = scattered(self.number << 32 | self.issued);
        self.last_key
    }

    /// Ends the call that began at `begun`. False when the lane shall rest.
    pub fn answered(&mut self, begun: Instant) -> bool {
        self.answered += 1;
        match self.run.phase.load(Ordering::Relaxed) {
            MEASURING => {
                let took = begun.elapsed().as_nanos();
                self.samples.push(u32::try_from(took).unwrap_or(u32::MAX));
                true
            }
            phase => phase != ENDED,
        }
    }

    /// Hands the lane back.
    pub fn rest(self) {
        let run = Arc::clone(&self.run);
        // Nobody listens any more when another lane failed before.
        let _ = run.ended.send(Ok(self));
    }
}

/// What a run was.
pub struct Measured {
    /// In nanoseconds, sorted; one a counted call.
    samples: Vec<u32>,
    /// CPU, switches and time.
    pub spent: Spent,
    /// Memory of the process at the end.
    pub rss_mib: f64,
    /// The last key of each lane.
    pub last_keys: Vec<Key>,
}

impl Measured {
    /// A run whose calls were made elsewhere.
    pub fn of(samples: Vec<Duration>, spent: Spent) -> Self {
        let nanos = |took: &Duration| u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
        let mut samples: Vec<u32> = samples.iter().map(nanos).collect();
        samples.sort_unstable();
        Self { samples, spent, rss_mib: rss_mib(), last_keys: Vec::new() }
    }

    /// Adds another run of the same.
    pub fn add(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.samples.sort_unstable();
        self.spent.add(&other.spent);
        self.rss_mib = other.rss_mib;
        self.last_keys = other.last_keys;
    }

    /// Calls counted.
    pub fn ops(&self) -> f64 {
        self.samples.len() as f64
    }

    /// Calls a second.
    pub fn ops_per_s(&self) -> f64 {
        self.ops() / self.spent.wall.as_secs_f64()
    }

    /// The latency that so many percent of the calls did not exceed.
    pub fn percentile_us(&self, percent: usize) -> f64 {
        let at = self.samples.len().saturating_sub(1) * percent / 100;
        self.samples.get(at).map_or(0.0, |&nanos| f64::from(nanos) / 1e3)
    }
}

/// Runs as many lanes as `in_flight`; `start` sets them going.
///
/// # Errors
/// What went wrong with a call. The run is void then.
pub fn measure(in_flight: u64, start: impl FnOnce(Vec<Lane>)) -> Result<Measured, String> {
    measure_for(in_flight, WARM_UP, MEASURED, start)
}

/// As [`measure`], for as long as it says.
///
/// # Errors
/// As [`measure`].
pub fn measure_for(
    in_flight: u64,
    warm_up: Duration,
    measured: Duration,
    start: impl FnOnce(Vec<Lane>),
) -> Result<Measured, String> {
    let (ended, lanes) = channel();
    let run = Arc::new(Run { phase: AtomicU8::new(WARMING_UP), ended });
    start((0..in_flight).map(|_| lane(&run)).collect());
    thread::sleep(warm_up);
    run.phase.store(MEASURING, Ordering::Relaxed);
    let before = Reading::now();
    thread::sleep(measured);
    run.phase.store(READING, Ordering::Relaxed);
    let spent = Reading::now().since(&before);
    let rss_mib = rss_mib();
    run.phase.store(ENDED, Ordering::Relaxed);
    let lanes = collect(&lanes, in_flight)?;
    let last_keys = lanes.iter().map(|lane| lane.last_key).collect();
    let mut samples: Vec<u32> = lanes.into_iter().flat_map(|lane| lane.samples).collect();
    samples.sort_unstable();
    if samples.is_empty() {
        return Err("no call was answered in time".to_owned());
    }
    Ok(Measured { samples, spent, rss_mib, last_keys })
}

fn lane(run: &Arc<Run>) -> Lane {
    let (issued, answered, samples) = (0, 0, Vec::new());
    Lane { run: Arc::clone(run), number: next_number(), issued, answered, last_key: Key::default(), samples }
}

/// Lanes are numbered throughout the process; the keys that were there before have number 0.
fn next_number() -> u64 {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn collect(ended: &Receiver<Result<Lane, String>>, count: u64) -> Result<Vec<Lane>, String> {
    let mut lanes = Vec::new();
    for _ in 0..count {
        let lane = ended.recv_timeout(PATIENCE).map_err(|_| "a call was never answered".to_owned())??;
        if lane.issued != lane.answered {
            return Err(format!("{} calls were issued and {} answered", lane.issued, lane.answered));
        }
        lanes.push(lane);
    }
    Ok(lanes)
}

/// Gives each lane a thread that calls and waits. `make` makes what a thread calls.
pub fn on_threads<C>(lanes: Vec<Lane>, make: impl Fn() -> C)
where
    C: FnMut(&Key) -> Result<(), String> + Send + 'static,
{
    for mut lane in lanes {
        let mut call = make();
        let body = move || {
            loop {
                let key = lane.issue();
                let begun = Instant::now();
                if let Err(error) = call(&key) {
                    return lane.run.fail(error);
                }
                if !lane.answered(begun) {
                    // What the call holds must be gone when the lane is back.
                    drop(call);
                    return lane.rest();
                }
            }
        };
        thread::Builder::new().name("caller".to_owned()).spawn(body).expect("the system has threads");
    }
}

/// CPU that a lane itself takes for a call: the key, the clock and the sample. It is subtracted everywhere.
pub fn own_us_per_op() -> f64 {
    static MEASURED_ONCE: OnceLock<f64> = OnceLock::new();
    *MEASURED_ONCE.get_or_init(|| {
        const CALLS: u32 = 200_000;
        let (ended, _kept) = channel();
        let mut lane = lane(&Arc::new(Run { phase: AtomicU8::new(MEASURING), ended }));
        let before = thread_cpu();
        for _ in 0..CALLS {
            std::hint::black_box(lane.issue());
            std::hint::black_box(lane.answered(Instant::now()));
        }
        (thread_cpu() - before).as_secs_f64() * 1e6 / f64::from(CALLS)
    })
}
