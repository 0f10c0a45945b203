//! Violations and the anomalies they are.
//!
//! Owns the names of the anomalies and the text of a violation. What always holds: a violation shows every operation it
//! mentions with its times and what it wrote or read, so that it can be understood without the history.

use std::fmt;

use super::history::{Action, Change, Observed, Operation, Verdict};

/// What is wrong with a history, by the names of Adya and of Elle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Anomaly {
    /// The history is not well-formed, because of a bug in its recorder; nothing is known about the store.
    Malformed,
    /// A read returned a value that nobody wrote.
    GarbageRead,
    /// G1a, a dirty read: a read returned a write that was answered with not applied.
    AbortedRead,
    /// G1b: a read returned a value that the same batch overwrote.
    IntermediateRead,
    /// A read was answered before the write that it returned was invoked.
    FutureRead,
    /// G-single within a batch: a read shows one change of it and the state before another.
    FracturedRead,
    /// Two reads returned versions of a list, which only grows, of which neither contains the other.
    IncompatibleOrder,
    /// P4: two transactions found the same version of a register, and both overwrote it.
    LostUpdate,
    /// A dependency cycle that needs real-time order: mostly G-single-realtime, a read that misses what was complete,
    /// or read, before it was invoked.
    StaleRead,
    /// A dependency cycle without real-time order (G0, G1c, G-single or G2): not even serializable.
    DependencyCycle,
    /// No inferred cycle, but the search tried all orders and none is a linearization.
    NoLinearization,
    /// The history is linearizable, but not in the order of the log indexes that the store reported.
    LogOrder,
}

impl Anomaly {
    /// The anomaly in words.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Anomaly::Malformed => "the history is not well-formed",
            Anomaly::GarbageRead => "a read returned a value that nobody wrote",
            Anomaly::AbortedRead => "a read returned a write that was answered with not applied (G1a)",
            Anomaly::IntermediateRead => "a read returned a value that its own batch overwrote (G1b)",
            Anomaly::FutureRead => {
                "a read returned a write that was invoked only after the read was answered"
            }
            Anomaly::FracturedRead => "a read shows only a part of a batch",
            Anomaly::IncompatibleOrder => {
                "two reads returned versions of a list of which neither contains the other"
            }
            Anomaly::LostUpdate => "two transactions overwrote the same version, which both had found (P4)",
            Anomaly::StaleRead => {
                "a read is stale: what it misses was complete, or read, before it was invoked"
            }
            Anomaly::DependencyCycle => "the dependencies form a cycle, whatever the real-time order",
            Anomaly::NoLinearization => {
                "every order of the operations was tried, and none is a linearization"
            }
            Anomaly::LogOrder => "the log indexes that the store reported contradict what its reads returned",
        }
    }
}

/// A history that no linearizable store produces, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// What is wrong.
    pub anomaly: Anomaly,
    /// The operations involved, as indexes into the history, ascending.
    pub operations: Vec<usize>,
    shown: Vec<String>,
    reasons: Vec<String>,
}

impl Violation {
    /// A violation with one reason.
    pub(crate) fn plain(
        history: &[Operation],
        anomaly: Anomaly,
        operations: &[usize],
        reason: String,
    ) -> Violation {
        Violation::reasoned(history, anomaly, operations.to_vec(), vec![reason])
    }

    /// A violation with several reasons, one a line.
    pub(crate) fn reasoned(
        history: &[Operation],
        anomaly: Anomaly,
        mut operations: Vec<usize>,
        reasons: Vec<String>,
    ) -> Violation {
        operations.sort_unstable();
        operations.dedup();
        Violation { anomaly, operations, shown: Vec::new(), reasons }.shown_as_in(history)
    }

    /// The same, with the operations as they are in this history.
    pub(crate) fn shown_as_in(mut self, history: &[Operation]) -> Violation {
        self.shown = self.operations.iter().map(|&place| sketch(place, &history[place])).collect();
        self
    }

    /// The same, found only with the help of log indexes.
    pub(crate) fn of_log_order(self) -> Violation {
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
        Action::Transaction { observed, changes } => {
            let (found, done) = (observed.iter().map(sketch_observed), changes.iter().map(sketch_change));
            format!("find {} and write {}", listed(found), listed(done))
        }
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
