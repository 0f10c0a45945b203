//! The judge: is what clients saw possible for one linearizable store?
//!
//! Owns [`check`]. It takes the history of one region (the unit of atomicity) and answers with a [`Report`], or with
//! the [`Violation`] that makes the history impossible. It knows nothing of Raft, logs and members.
//!
//! # What is promised
//! **Sound**: a history that a linearizable store can produce is never refused. Writes of unknown outcome may take
//! effect at any time after their call, once or never; writes answered with "not applied" never.
//!
//! **Complete where it says so**: `Report::order_found` means that an order was found which explains everything, and
//! that plain execution in that order confirmed it. Such a pass is a proof, not an absence of findings. Without it
//! (the search gave up) these are decided all the same:
//! - registers without deletes, each key alone; lists, each alone and together, with batches and snapshots of any
//!   number of lists;
//! - over several registers, everything that follows from real time, from what was read, and step by step from
//!   "of two values of a register one is over before the other begins".
//!
//! (Up to 2 million pairs of values whose order is open in one register; a working store with 100
//! clients left some tens of thousands.)
//!
//! Not decided without an order, because the problem is NP-complete: contradictions that show only when
//! several pairs of unordered writes to several registers (or several deletes) are tried in all combinations.
//!
//! A LOCAL read may be old: it is judged as a read that was called at the beginning of the history. It must show one
//! consistent state that existed before its answer. That a client's local reads do not go back is not demanded.
//!
//! Log positions (`Operation::index`) are judged last and apart, see [`index`]; with them nearly every order of
//! writes is known.
//!
//! # How
//! 1. [`written`], [`facts`]: every value seen has one writer that may have written it; states of a list form a chain.
//! 2. [`graph`], [`lists`], [`registers`]: what must precede what; a cycle is a violation, [`paths`] and [`explain`]
//!    make it readable.
//! 3. [`search`], [`attempt`]: an order, or the proof that there is none; [`replay`] confirms the order, [`shrink`]
//!    reduces a history that has none to a few operations.
//! 4. [`index`]: the same once more with the positions that the store told.
//!
//! # Sources
//! - Herlihy, Wing: Linearizability, 1990. The definition, and locality.
//! - Gibbons, Korach: Testing shared memories, SIAM J. Comput. 1997. One register with distinct values is decided
//!   by comparing zones; the general problem is NP-complete.
//! - Wing, Gong: Testing and verifying concurrent objects, 1993; Lowe: Testing for linearizability, 2017. The
//!   search, and its memory of failures.
//! - Kingsbury, Alvaro: Elle, VLDB 2020. Dependency graphs with real time; lists make the order visible.
//! - Biswas, Enea: On the complexity of checking transactional consistency, OOPSLA 2019; Tan et al.: Cobra, OSDI
//!   2020. Saturation of the order of writes, and search for what it leaves.

mod history;
mod violation;
mod writers;
mod facts;
mod graph;
mod lists;
mod registers;
mod paths;
mod explain;
mod linearization;
mod search;
mod replay;
mod shrink;
mod index;
#[cfg(test)]
mod tests;

pub use history::{Action, Change, Key, Level, Observed, Operation, Verdict};
pub use violation::{Anomaly, Violation};

use facts::{Facts, Fate};
use graph::Graph;
use registers::Registers;
use search::{Outcome, Search};

/// What a run proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Reads answered with Ok, LOCAL ones included.
    pub reads: usize,
    /// Of these the LOCAL ones.
    pub reads_local: usize,
    /// Reads of several keys at once.
    pub reads_of_several_keys: usize,
    /// Writes answered with Ok.
    pub writes_ok: usize,
    /// Writes answered with not-applied.
    pub writes_not_applied: usize,
    /// Writes of unknown outcome.
    pub writes_unknown: usize,
    /// Of these the ones that some read shows to have taken effect.
    pub writes_unknown_seen: usize,
    /// Whether an order that explains everything was found and confirmed: the pass is a proof.
    pub linearization_found: bool,
    /// Whether the store told log positions, and they agree.
    pub log_order_agrees: bool,
}

/// Judges the history of one region.
///
/// # Errors
/// The violation, when no linearizable store produces this history.
pub fn check(history: &[Operation]) -> Result<Report, Violation> {
    check_once(history).map_err(|violation| match violation.anomaly {
        Anomaly::NoLinearization => shrink::reduced(history, violation, |trial| check_once(trial).map(drop)),
        _ => violation,
    })
}

fn check_once(history: &[Operation]) -> Result<Report, Violation> {
    let facts = Facts::of(history)?;
    let mut graph = Graph::new(&facts.spans);
    lists::add_edges(&facts, &mut graph);
    let mut registers = Registers::new(&facts, &mut graph);
    let mut report = count(&facts);

    report.linearization_found = judge(&facts, &mut graph, &mut registers)?;

    if index::add_edges(&facts, &mut graph) {
        let agrees = judge(&facts, &mut graph, &mut registers);
        report.linearization_found |= agrees.map_err(Violation::of_log_order)?;
        report.log_order_agrees = true;
    }
    Ok(report)
}

/// Whether an order was found; otherwise nothing was found to speak against one.
fn judge(facts: &Facts, graph: &mut Graph, registers: &mut Registers) -> Result<bool, Violation> {
    let bounds = registers.saturate(graph).map_err(|cycle| explain::violation(facts, graph, &cycle))?;
    match Search::new(facts, graph, registers, &bounds).run() {
        Outcome::Found(order) => {
            assert!(
                replay::explains(facts.history, &order),
                "the search found an order that explains nothing"
            );
            Ok(true)
        }
        Outcome::Refuted { linearized, stuck } => Err(explain::no_linearization(facts, linearized, &stuck)),
        Outcome::GaveUp => Ok(false),
    }
}

fn count(facts: &Facts) -> Report {
    let mut report = Report::default();
    for (operation, &fate) in facts.history.iter().zip(&facts.fates) {
        match (operation.is_write(), operation.verdict) {
            (true, Verdict::Ok) => report.writes_ok += 1,
            (true, Verdict::NotApplied) => report.writes_not_applied += 1,
            (true, Verdict::Unknown) => {
                report.writes_unknown += 1;
                report.writes_unknown_seen += usize::from(fate == Fate::Required);
            }
            (false, Verdict::Ok) => {
                report.reads += 1;
                report.reads_local += usize::from(operation.is_local());
                report.reads_of_several_keys += usize::from(operation.observed().len() > 1);
            }
            (false, _) => {}
        }
    }
    report
}
