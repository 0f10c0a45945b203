//! The load generator: keeps a number of calls in flight and measures them.
//!
//! Owns the closed-loop clients: each keeps one call in flight and issues the next when the last is answered, on the
//! thread that receives the answer. What always holds: a client belongs to one thread at a time, so measuring takes no
//! lock; only calls answered in the measuring phase are counted; a run succeeds when every issued call was answered
//! correctly. What a call does is left to the rows.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{Key, scattered};
use crate::meter::{Reading, Usage, rss_mib, thread_cpu};

const WARM_UP: Duration = Duration::from_millis(600);
const MEASURED: Duration = Duration::from_millis(2400);
/// Longer than any call's deadline, so that it only ends a hang.
const TIMEOUT: Duration = Duration::from_secs(30);

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
/// Calls continue but no longer count, so that every thread still runs when the counters are read.
const READING: u8 = 2;
const ENDED: u8 = 3;

/// State shared by the clients of one run.
pub struct Run {
    phase: AtomicU8,
    ended: Sender<Result<Client, String>>,
}

impl Run {
    /// Reports that a client failed.
    pub fn fail(&self, error: String) {
        // The receiver is gone when another client failed before.
        let _ = self.ended.send(Err(error));
    }
}

/// A closed-loop client: one call in flight at a time.
pub struct Client {
    run: Arc<Run>,
    number: u64,
    issued: u64,
    answered: u64,
    last_key: Key,
    /// Latencies in nanoseconds, capped at 4.3 s.
    samples: Vec<u32>,
}

impl Client {
    /// The state shared by all clients.
    pub fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run)
    }

    /// Begins a call; returns a key that no other call of this process gets.
    pub fn issue(&mut self) -> Key {
        self.issued += 1;
        self.last_key = scattered(self.number << 32 | self.issued);
        self.last_key
    }

    /// Ends the call that began at `begun`. False when the client must stop.
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

    /// Returns the client to the run when it has stopped.
    pub fn finish(self) {
        let run = Arc::clone(&self.run);
        // The receiver is gone when another client failed before.
        let _ = run.ended.send(Ok(self));
    }
}

/// The result of a run.
pub struct Measured {
    /// The latency of each counted call in nanoseconds, sorted.
    samples: Vec<u32>,
    /// CPU, context switches and time.
    pub usage: Usage,
    /// Memory of the process at the end.
    pub rss_mib: f64,
    /// The last key of each client.
    pub last_keys: Vec<Key>,
}

impl Measured {
    /// The result of calls that were measured elsewhere.
    pub fn of(samples: Vec<Duration>, usage: Usage) -> Self {
        let nanos = |took: &Duration| u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
        let mut samples: Vec<u32> = samples.iter().map(nanos).collect();
        samples.sort_unstable();
        Self { samples, usage, rss_mib: rss_mib(), last_keys: Vec::new() }
    }

    /// Adds another run of the same calls.
    pub fn add(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.samples.sort_unstable();
        self.usage.add(&other.usage);
        self.rss_mib = other.rss_mib;
        self.last_keys = other.last_keys;
    }

    /// Counted calls.
    pub fn ops(&self) -> f64 {
        self.samples.len() as f64
    }

    /// Counted calls per second.
    pub fn ops_per_s(&self) -> f64 {
        self.ops() / self.usage.wall.as_secs_f64()
    }

    /// A percentile of the latency.
    pub fn percentile_us(&self, percent: usize) -> f64 {
        let at = self.samples.len().saturating_sub(1) * percent / 100;
        self.samples.get(at).map_or(0.0, |&nanos| f64::from(nanos) / 1e3)
    }
}

/// Runs `in_flight` clients, which `start` starts.
///
/// # Errors
/// When a call failed or was not answered. Nothing was measured then.
pub fn measure(in_flight: u64, start: impl FnOnce(Vec<Client>)) -> Result<Measured, String> {
    measure_for(in_flight, WARM_UP, MEASURED, start)
}

/// As [`measure`], with these durations.
///
/// # Errors
/// As [`measure`].
pub fn measure_for(
    in_flight: u64,
    warm_up: Duration,
    measured: Duration,
    start: impl FnOnce(Vec<Client>),
) -> Result<Measured, String> {
    let (ended, finished) = channel();
    let run = Arc::new(Run { phase: AtomicU8::new(WARMING_UP), ended });
    start((0..in_flight).map(|_| new_client(&run)).collect());
    thread::sleep(warm_up);
    run.phase.store(MEASURING, Ordering::Relaxed);
    let before = Reading::now();
    thread::sleep(measured);
    run.phase.store(READING, Ordering::Relaxed);
    let usage = Reading::now().since(&before);
    let rss_mib = rss_mib();
    run.phase.store(ENDED, Ordering::Relaxed);
    let clients = collect(&finished, in_flight)?;
    let last_keys = clients.iter().map(|client| client.last_key).collect();
    let mut samples: Vec<u32> = clients.into_iter().flat_map(|client| client.samples).collect();
    samples.sort_unstable();
    if samples.is_empty() {
        return Err("no call was answered in time".to_owned());
    }
    Ok(Measured { samples, usage, rss_mib, last_keys })
}

fn new_client(run: &Arc<Run>) -> Client {
    let (issued, answered, samples) = (0, 0, Vec::new());
    Client {
        run: Arc::clone(run),
        number: next_number(),
        issued,
        answered,
        last_key: Key::default(),
        samples,
    }
}

/// Unique in this process; number 0 is left to the keys that stores are filled with.
fn next_number() -> u64 {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn collect(finished: &Receiver<Result<Client, String>>, count: u64) -> Result<Vec<Client>, String> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let client = finished.recv_timeout(TIMEOUT).map_err(|_| "a call was never answered".to_owned())??;
        if client.issued != client.answered {
            return Err(format!("{} calls were issued and {} answered", client.issued, client.answered));
        }
        clients.push(client);
    }
    Ok(clients)
}

/// Runs each client on its own thread, with blocking calls. `make` creates the call of one thread.
pub fn on_threads<C>(clients: Vec<Client>, make: impl Fn() -> C)
where
    C: FnMut(&Key) -> Result<(), String> + Send + 'static,
{
    for mut client in clients {
        let mut call = make();
        let body = move || {
            loop {
                let key = client.issue();
                let begun = Instant::now();
                if let Err(error) = call(&key) {
                    return client.run.fail(error);
                }
                if !client.answered(begun) {
                    // Release what the call holds first: the run may end as soon as the client is back.
                    drop(call);
                    return client.finish();
                }
            }
        };
        thread::Builder::new().name("caller".to_owned()).spawn(body).expect("a thread can be started");
    }
}

/// CPU of the client itself per call: the key, the clock and the sample. Every row subtracts it.
pub fn own_us_per_op() -> f64 {
    static MEASURED_ONCE: OnceLock<f64> = OnceLock::new();
    *MEASURED_ONCE.get_or_init(|| {
        const CALLS: u32 = 200_000;
        let (ended, _kept) = channel();
        let mut client = new_client(&Arc::new(Run { phase: AtomicU8::new(MEASURING), ended }));
        let before = thread_cpu();
        for _ in 0..CALLS {
            std::hint::black_box(client.issue());
            std::hint::black_box(client.answered(Instant::now()));
        }
        (thread_cpu() - before).as_secs_f64() * 1e6 / f64::from(CALLS)
    })
}
