//! Opening a new member, and the cost of idle members.
//!
//! Owns the rows of both. An idle row counts one second as one operation, so that its CPU column is in microseconds per
//! second: 10,000 are one percent of a core.

use std::thread;
use std::time::{Duration, Instant};

use almadia::{Config, Store};

use crate::data::{directory, scattered, value};
use crate::group::Group;
use crate::load::Measured;
use crate::members::Members;
use crate::meter::{Reading, Usage};
use crate::report::Row;

const OPENS: u64 = 9;
/// The background work of a member's start has ended by then.
const SETTLING: Duration = Duration::from_millis(1000);
const IDLE_SECONDS: u64 = 3;

pub fn run(group: &Group) {
    // First, before other rows have left memory allocated in this process.
    group.row("idle second/1/0", || idle("idle second/1/0", &Members::open(1)));
    group.row("idle second/3/0", || idle("idle second/3/0", &Members::open(3)));
    group.row("open to first write/1/1", || opens("open to first write/1/1"));
}

/// Measures idle members after one write, so that every part of a member has run once.
pub fn idle(name: &str, members: &Members) -> Row {
    let key = scattered(0);
    members.leaders().of(&key).put(&key, value(&key)).expect("all members are up");
    thread::sleep(SETTLING);
    let before = Reading::now();
    thread::sleep(Duration::from_secs(IDLE_SECONDS));
    let usage = Reading::now().since(&before);
    let seconds = (0..IDLE_SECONDS).map(|_| Duration::from_secs(1)).collect();
    Row::new(name.to_owned(), members.count() as u64, 0, &Measured::of(seconds, usage))
}

/// Measures opening a new store up to its first write. The CPU is unknown, because the threads that used it have ended.
fn opens(name: &str) -> Row {
    let samples: Vec<Duration> = (0..OPENS).map(|_| open()).collect();
    let usage = Usage { wall: samples.iter().sum(), ..Usage::default() };
    let row = Row::new(name.to_owned(), 1, 1, &Measured::of(samples, usage));
    Row { cpu_us_per_op: f64::NAN, switches_per_op: f64::NAN, others_percent: f64::NAN, ..row }
}

fn open() -> Duration {
    let directory = directory();
    let key = scattered(0);
    let begun = Instant::now();
    let store = Store::open(directory.path().join("store"), &Config::default()).expect("a new directory");
    store.put(&key, value(&key)).expect("a single member leads");
    begun.elapsed()
}
