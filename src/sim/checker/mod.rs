//! The checker: could a linearizable store have produced this history?
//!
//! Owns [`check`]. It takes the history of one region (the unit of atomicity) and returns a [`Report`], or the
//! [`Violation`] that proves the history impossible. It knows nothing of Raft, logs and members.
//!
//! # Guarantees
//! **Sound**: a history that a linearizable store can produce is never refused. A write of unknown outcome may take
//! effect at any time after its invocation, once or never; a write answered with "not applied" never does.
//!
//! **Complete when it says so**: `Report::linearization_found` means that a linearization was found and then confirmed
//! by executing it. Such a pass is a proof, not merely the absence of anomalies. When the search gives up, these cases
//! are still decided:
//! - a single register without deletes; any number of lists, with batches and snapshots over them;
//! - over several registers, everything that follows from real-time order, from write-read dependencies, and by
//!   repeated inference from the version order: of two versions of a register, all reads of one precede the write
//!   of the other.
//!
//! (Up to 2 million pairs of versions of unknown order in one register; a working store with 100 clients left some
//! tens of thousands.)
//!
//! Not decided without a linearization, because the problem is NP-complete: anomalies that show only when several
//! unordered pairs of writes to several registers (or several deletes) are tried in all combinations.
//!
//! A transaction finds a state and changes it at one point; one that was refused is a read.
//!
//! A LOCAL read may return an old state: it is checked as if it had been invoked at the start of the history. It must
//! show one consistent state that existed before its response. Monotonic reads are not required of a client's LOCAL
//! reads.
//!
//! Log indexes (`Operation::index`) are checked last and separately, see [`index`]; they settle the version order of
//! nearly all writes.
//!
//! # How
//! 1. [`writers`], [`facts`]: recover the writer of every version read, and the version order of each list.
//! 2. [`graph`], [`lists`], [`registers`]: build the dependency graph and infer the version order of registers. A cycle
//!    is a violation; [`paths`] and [`explain`] make it readable.
//! 3. [`search`], [`linearization`]: find a linearization, or prove that there is none. [`replay`] confirms the one
//!    found; [`shrink`] reduces a history that has none to a few operations.
//! 4. [`index`]: the same again with the log indexes that the store reported.
//!
//! # Sources
//! - Herlihy, Wing: Linearizability, 1990. The definition, and locality.
//! - Gibbons, Korach: Testing shared memories, SIAM J. Comput. 1997. One register with distinct values is decided
//!   by comparing zones; the general problem is NP-complete.
//! - Wing, Gong: Testing and verifying concurrent objects, 1993; Lowe: Testing for linearizability, 2017. The search,
//!   and its cache of visited configurations.
//! - Prosser: Hybrid algorithms for the constraint satisfaction problem, 1993. Conflict-directed backjumping.
//! - Adya: Weak consistency, 1999. Versions, dependencies, and the anomalies G0 to G2.
//! - Kingsbury, Alvaro: Elle, VLDB 2020. Recoverability, dependency graphs with real-time order, anomalies; lists
//!   make the version order visible.
//! - Biswas, Enea: On the complexity of checking transactional consistency, OOPSLA 2019; Tan et al.: Cobra, OSDI
//!   2020. Inferring the version order to a fixed point, and searching for what that leaves open.

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

pub(crate) use history::{Action, Change, Key, Level, Observed, Operation, Verdict};
pub(crate) use violation::{Anomaly, Violation};

use facts::{Facts, Fate};
use graph::Graph;
use registers::Registers;
use search::{Outcome, Search};

/// What a run proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Reads answered with Ok, LOCAL ones included.
    pub reads: usize,
    /// Those among them that are LOCAL.
    pub reads_local: usize,
    /// Reads of several keys at once.
    pub reads_of_several_keys: usize,
    /// Writes answered with Ok.
    pub writes_ok: usize,
    /// Writes answered with not-applied.
    pub writes_not_applied: usize,
    /// Writes of unknown outcome.
    pub writes_unknown: usize,
    /// Those among them that some read shows to have taken effect.
    pub writes_unknown_seen: usize,
    /// Whether a linearization was found and confirmed: the pass is a proof.
    pub linearization_found: bool,
    /// Whether the store reported log indexes, and the history is linearizable in their order.
    pub log_order_agrees: bool,
}

/// Checks the history of one region.
///
/// # Errors
/// The violation, when no linearizable store produces this history.
pub(crate) fn check(history: &[Operation]) -> Result<Report, Violation> {
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

    report.linearization_found = decide(&facts, &mut graph, &mut registers)?;

    if index::add_edges(&facts, &mut graph) {
        let agrees = decide(&facts, &mut graph, &mut registers);
        report.linearization_found |= agrees.map_err(Violation::of_log_order)?;
        report.log_order_agrees = true;
    }
    Ok(report)
}

/// Whether a linearization was found; otherwise the search gave up, and nothing rules one out.
fn decide(facts: &Facts, graph: &mut Graph, registers: &mut Registers) -> Result<bool, Violation> {
    let bounds = registers.saturate(graph).map_err(|cycle| explain::violation(facts, graph, &cycle))?;
    match Search::new(facts, graph, registers, &bounds).run() {
        Outcome::Found(order) => {
            assert!(
                replay::is_linearization(facts.history, &order),
                "the search returned an order that is no linearization"
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
