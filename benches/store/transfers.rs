//! What a change of leader costs writers.
//!
//! Owns one row for each kind of member: the old leader, the new one and the third. Each has a writer that makes one write
//! after the other while the leadership goes round; a sample is the longest write of a member that was under way at a
//! transfer. What always holds: each transfer comes about, and every write succeeds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use almadia::{Store, TransferOptions};

use crate::data::{scattered, value};
use crate::group::Group;
use crate::load::Measured;
use crate::members::{Members, Target};
use crate::meter::Usage;
use crate::report::Row;

const MEMBERS: usize = 3;
/// Of each member.
const WRITERS: usize = 8;
const TRANSFERS: usize = 60;
const BETWEEN: Duration = Duration::from_millis(50);
const ROLES: [&str; 3] = ["old leader", "new leader", "third"];

/// When a write was made and answered.
type Span = (Instant, Instant);

/// When a transfer was asked for and known to be over, and the places of the old and the new leader.
struct Transfer {
    span: Span,
    old: usize,
    new: usize,
}

/// Measures all rows.
pub fn run(group: &Group) {
    let names = ROLES.map(|role| format!("write across a transfer, {role}/{MEMBERS}/{WRITERS}"));
    if !group.wants_any(&names) {
        return;
    }
    let members = Members::open(MEMBERS);
    let is_over = AtomicBool::new(false);
    let (spans, transfers) = thread::scope(|scope| {
        let writer = |at: usize| {
            let (store, is_over) = (members.at(at / WRITERS), &is_over);
            scope.spawn(move || write_until(&store, at as u64, is_over))
        };
        let writers: Vec<_> = (0..MEMBERS * WRITERS).map(writer).collect();
        let transfers: Vec<_> = (0..TRANSFERS).map(|_| transfer(&members)).collect();
        is_over.store(true, Ordering::Relaxed);
        let spans: Vec<_> = writers.into_iter().map(|writer| writer.join().expect("it writes")).collect();
        (spans, transfers)
    });
    for (role, name) in names.iter().enumerate() {
        let samples = transfers.iter().map(|transfer| longest(&spans, transfer, role)).collect();
        group.row(name, || row(name, samples));
    }
}

/// The CPU is unknown: all roles share one run.
fn row(name: &str, samples: Vec<Duration>) -> Row {
    let usage = Usage { wall: samples.iter().sum(), ..Usage::default() };
    let row = Row::new(name.to_owned(), MEMBERS as u64, WRITERS as u64, &Measured::of(samples, usage));
    Row { cpu_us_per_op: f64::NAN, switches_per_op: f64::NAN, others_percent: f64::NAN, ..row }
}

fn write_until(store: &Store, writer: u64, is_over: &AtomicBool) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut keys = (0..).map(|number| scattered((writer << 32) + number));
    while !is_over.load(Ordering::Relaxed) {
        let key = keys.next().expect("without end");
        let begun = Instant::now();
        store.put(&key, value(&key)).expect("a transfer makes no write fail");
        spans.push((begun, Instant::now()));
    }
    spans
}

/// Moves the leadership to the next member.
fn transfer(members: &Members) -> Transfer {
    thread::sleep(BETWEEN);
    let leader = members.member(Target::Leader);
    let old = leader.status().node.get() as usize - 1;
    let new = (old + 1) % MEMBERS;
    let target = Some(members.at(new).status().node);
    let begun = Instant::now();
    let options = TransferOptions { target, ..TransferOptions::default() };
    leader.transfer_leader(&options).expect("all members are up");
    Transfer { span: (begun, Instant::now()), old, new }
}

/// The longest of the writes of the member with this role that were under way during the transfer.
fn longest(spans: &[Vec<Span>], transfer: &Transfer, role: usize) -> Duration {
    let third = MEMBERS - transfer.old - transfer.new;
    let member = [transfer.old, transfer.new, third][role];
    let writers = &spans[member * WRITERS..(member + 1) * WRITERS];
    let is_across = |span: &&Span| span.0 <= transfer.span.1 && span.1 >= transfer.span.0;
    let across = writers.iter().flatten().filter(is_across);
    across.map(|span| span.1 - span.0).max().expect("somebody always writes")
}
