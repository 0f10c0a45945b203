//! What deletes leave behind: gets after many range deletions, and the head of a queue after many pops.

use std::hint::black_box;
use std::time::{Duration, Instant};

use almadia::internal::{ApplyBatch, BOOTSTRAP_REGION, IterOptions, Operation};

use super::{CALLS, Fixture, VALUE, found, key, push, read_key, single, state};

const RANGES: u64 = 12_000;
/// Keys in a wide range.
const WIDE: u64 = 50;
const POPS: u64 = 199_000;
/// Items in the queue while it is used.
const QUEUE: u64 = 1_000;
const PUSHES: u64 = 1_000_000;
/// The queue is given up after this long.
const QUEUE_TIME: Duration = Duration::from_secs(60);

/// Gets in a fresh store, and after range deletions of keys that lie elsewhere.
pub fn bench_ranges() {
    for (name, keys) in [("1 key", 1), ("50 keys", WIDE)] {
        let fixture = Fixture::filled();
        let mut batch = ApplyBatch::default();
        for number in 0..RANGES * keys {
            push(&mut batch, Operation::Put { key: &low_key(number), value: &VALUE });
            if batch.writes.len() == 4096 || number + 1 == RANGES * keys {
                batch.states.push((BOOTSTRAP_REGION, state(number)));
                fixture.engine.write(&std::mem::take(&mut batch)).expect("the disk has room");
            }
        }
        println!("get, with {RANGES} range deletions of {name} each");
        show("before them", time_gets(&fixture));
        let (mut deleting, mut reading) = (Duration::ZERO, Duration::ZERO);
        for number in 0..RANGES {
            let (begin, end) = (low_key(number * keys), low_key((number + 1) * keys));
            let batch = single(number, Operation::DeleteRange { begin: &begin, end: &end });
            let start = Instant::now();
            fixture.engine.write(&batch).expect("the disk has room");
            deleting += start.elapsed();
            let start = Instant::now();
            drop(found(fixture.engine.get(&read_key(number))));
            reading += start.elapsed();
        }
        show("one after each of them", micros(reading) / RANGES as f64);
        show("after them", time_gets(&fixture));
        show("(a range deletion)", micros(deleting) / RANGES as f64);
    }
}

/// A key below those with which a fixture is filled.
fn low_key(number: u64) -> [u8; 16] {
    key(u128::from(number))
}

fn time_gets(fixture: &Fixture) -> f64 {
    let mut best = f64::INFINITY;
    for round in 0..5 {
        let start = Instant::now();
        for number in round * CALLS..(round + 1) * CALLS {
            drop(found(fixture.engine.get(&read_key(number))));
        }
        best = best.min(micros(start.elapsed()) / CALLS as f64);
    }
    best
}

/// Reads of a queue's first item.
pub fn bench_queue() {
    println!("the head of a queue after {POPS} pops");
    let fixture = Fixture::filled();
    edit(&fixture, 0..POPS + QUEUE, |batch, number| {
        push(batch, Operation::Put { key: &low_key(number), value: &VALUE });
    });
    edit(&fixture, 0..POPS, |batch, number| push(batch, Operation::Delete { key: &low_key(number) }));
    show_reads("", &(0..100).map(|_| time_head(&fixture, POPS)).collect::<Vec<_>>());
    let range = Operation::DeleteRange { begin: &low_key(0), end: &low_key(POPS) };
    fixture.engine.write(&single(1, range)).expect("the disk has room");
    show_reads(" and a range deletion", &(0..100).map(|_| time_head(&fixture, POPS)).collect::<Vec<_>>());

    drop(fixture);

    println!("the head of a queue in use, with {QUEUE} items");
    let fixture = Fixture::filled();
    edit(&fixture, 0..QUEUE, |batch, number| {
        push(batch, Operation::Put { key: &low_key(number), value: &VALUE });
    });
    let start = Instant::now();
    let mut reads = Vec::new();
    for number in 0..PUSHES {
        let (pushed, popped) = (low_key(number + QUEUE), low_key(number));
        let item = Operation::Put { key: &pushed, value: &VALUE };
        fixture.engine.write(&single(number, item)).expect("the disk has room");
        reads.push(time_head(&fixture, number));
        let item = Operation::Delete { key: &popped };
        fixture.engine.write(&single(number, item)).expect("the disk has room");
        if start.elapsed() > QUEUE_TIME {
            println!("    given up after {} of {PUSHES} items", number + 1);
            break;
        }
    }
    show_reads("", &reads);
    show("(an item in all)", micros(start.elapsed()) / reads.len() as f64);
}

fn edit(fixture: &Fixture, numbers: std::ops::Range<u64>, push: impl Fn(&mut ApplyBatch, u64)) {
    for from in numbers.clone().step_by(256) {
        let mut batch = ApplyBatch::default();
        (from..(from + 256).min(numbers.end)).for_each(|number| push(&mut batch, number));
        batch.states.push((BOOTSTRAP_REGION, state(from)));
        fixture.engine.write(&batch).expect("the disk has room");
    }
}

fn time_head(fixture: &Fixture, expected: u64) -> f64 {
    let start = Instant::now();
    let mut iter = fixture.engine.view().iter(IterOptions::prefix(&low_key(0)[..8]));
    iter.seek_to_first();
    assert_eq!(black_box(iter.key()), Some(&low_key(expected)[..]));
    drop(iter);
    micros(start.elapsed())
}

fn show_reads(name: &str, reads: &[f64]) {
    let mut sorted = reads.to_vec();
    sorted.sort_by(f64::total_cmp);
    for (quantile, part) in [("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("largest", 1.0)] {
        let at = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len()) - 1;
        show(&format!("{quantile}{name}"), sorted[at]);
    }
    show(&format!("first{name}"), reads[0]);
}

fn show(name: &str, us: f64) {
    println!("    {name:<32}{us:>10.3}");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
