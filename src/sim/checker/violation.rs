//! What the checker says when a history cannot be.
//!
//! Owns the names of the rules and the words of a verdict. What always holds: a violation shows every operation it
//! speaks of with its times and what it wrote or saw, so that it is understood without the history.

use std::fmt;

use super::history::{Action, Change, Observed, Operation, Verdict};

/// The promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// The history itself breaks the recorder's rules; says nothing about the store.
    Malformed,
    /// A read shows a value nobody wrote.
    GarbageRead,
    /// A read shows a write whose caller was told that it did not happen.
    AbortedRead,
    /// A read was answered before the write that it shows was called.
    FutureRead,
    /// A read shows one change of a batch and the state before another change of it.
    FracturedRead,
    /// Two states of a list that only grows, of which neither contains the other.
    IncompatibleOrder,
    /// A read shows less than was finished, or seen, before it was called.
    StaleRead,
    /// What the reads show contradicts itself whatever the times were.
    DependencyCycle,
    /// No single clash is at fault, but all orders were tried and none explains every read.
    NoLinearization,
    /// The history is possible, but not in the order of the log that the store itself told.
    LogOrder,
}

impl Anomaly {
    /// The promise in words.
    pub fn description(self) -> &'static str {
        match self {
            Anomaly::Malformed => "the history breaks the recorder's rules",
            Anomaly::GarbageRead => "a read shows a value that nobody wrote",
            Anomaly::AbortedRead => "a write that was answered with certainly not applied is seen",
            Anomaly::FutureRead => "a read shows a write that was called only after the read was answered",
            Anomaly::FracturedRead => "a read shows half a batch",
            Anomaly::IncompatibleOrder => {
                "two reads show states of a list of which neither contains the other"
            }
            Anomaly::StaleRead => {
                "a read is stale: what it misses was finished, or seen, before it was called"
            }
            Anomaly::DependencyCycle => "the reads contradict each other on the order of the writes",
            Anomaly::NoLinearization => {
                "every order of the operations was tried, and none explains all reads"
            }
            Anomaly::LogOrder => "the log positions that the store told contradict what its reads show",
        }
    }
}

/// A history that no linearizable store produces, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise that was broken.
    pub anomaly: Anomaly,
    /// The operations involved, as places in the history, ascending.
    pub operations: Vec<usize>,
    shown: Vec<String>,
    reasons: Vec<String>,
}

impl Violation {
    /// A violation with a reason of one sentence.
    pub fn plain(history: &[Operation], anomaly: Anomaly, operations: &[usize], reason: String) -> Violation {
        Violation::reasoned(history, anomaly, operations.to_vec(), vec![reason])
    }

    /// A violation with a chain of reasons, one a line.
    pub fn reasoned(
        history: &[Operation],
        anomaly: Anomaly,
        mut operations: Vec<usize>,
        reasons: Vec<String>,
    ) -> Violation {
        operations.sort_unstable();
        operations.dedup();
        Violation { anomaly, operations, shown: Vec::new(), reasons }.shown_as_in(history)
    }

    /// The same, with the operations as this history has them.
    pub fn shown_as_in(mut self, history: &[Operation]) -> Violation {
        self.shown = self.operations.iter().map(|&place| sketch(place, &history[place])).collect();
        self
    }

    /// The same, found only with the help of log positions.
    pub fn of_log_order(self) -> Violation {
        Violation { anomaly: Anomaly::LogOrder, ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "not linearizable ({:?}): {}", self.anomaly, self.anomaly.description())?;
        for operation in &self.shown {
            writeln!(out, "  {operation}")?;
        }
        writeln!(out, "because")?;
        for reason in &self.reasons {
            writeln!(out, "  {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// One operation in one line.
fn sketch(place: usize, operation: &Operation) -> String {
    let times = match operation.completed {
        Some(completed) => format!("[{}, {completed}]", operation.invoked),
        None => format!("[{}, never]", operation.invoked),
    };
    let verdict = match operation.verdict {
        Verdict::Ok => "ok",
        Verdict::NotApplied => "not applied",
        Verdict::Unknown => "unknown",
    };
    let index = operation.index.map(|index| format!(" index {index}")).unwrap_or_default();
    let action = sketch_action(operation);
    format!("#{place} client {} {times} {verdict}{index}: {action}", operation.client)
}

fn sketch_action(operation: &Operation) -> String {
    let level = if operation.is_local() { "local read" } else { "read" };
    match &operation.action {
        Action::Write(changes) => format!("write {}", listed(changes.iter().map(sketch_change))),
        Action::Read { observed, .. } => format!("{level} {}", listed(observed.iter().map(sketch_observed))),
    }
}

fn sketch_change((key, change): &(u32, Change)) -> String {
    match change {
        Change::Set(value) => format!("key {key} = {value}"),
        Change::Clear => format!("delete key {key}"),
        Change::Append(element) => format!("list {key} += {element}"),
    }
}

fn sketch_observed((key, observed): &(u32, Observed)) -> String {
    match observed {
        Observed::Register(Some(value)) => format!("key {key} = {value}"),
        Observed::Register(None) => format!("key {key} = nothing"),
        Observed::List(elements) if elements.len() <= 8 => format!("list {key} = {elements:?}"),
        Observed::List(elements) => format!("list {key} of {} elements", elements.len()),
    }
}

/// The parts, or the first of them when they are many.
fn listed(parts: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN_MAX: usize = 12;
    let more = parts.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<String> = parts.take(SHOWN_MAX).collect();
    if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
}
