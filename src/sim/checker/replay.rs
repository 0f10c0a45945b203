//! Confirms a linearization by executing it.
//!
//! Owns the definition of linearizability in its plainest form: apply the operations one by one to an ordinary map and
//! compare what reads return. What a transaction finds is the state before its own changes. It knows nothing of the graph and the search, so that a bug in those cannot turn an
//! order that is no linearization into a pass.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Action;
use super::history::{Change, Key, Level, Observed, Operation, Verdict};

/// Whether `order` linearizes the history: it has every operation answered with Ok once and none answered with
/// not-applied, respects real-time order, and every read returns the state at its point.
pub(crate) fn is_linearization(history: &[Operation], order: &[usize]) -> bool {
    is_complete(history, order) && respects_real_time(history, order) && reads_are_legal(history, order)
}

fn is_complete(history: &[Operation], order: &[usize]) -> bool {
    let mut times = vec![0; history.len()];
    for &place in order {
        times[place] += 1;
    }
    history.iter().zip(times).all(|(operation, times)| match operation.verdict {
        Verdict::Ok => times == 1,
        Verdict::NotApplied => times == 0,
        Verdict::Unknown => times <= 1,
    })
}

fn respects_real_time(history: &[Operation], order: &[usize]) -> bool {
    let mut latest_invocation = 0;
    order.iter().all(|&place| {
        let operation = &history[place];
        let is_local = matches!(operation.action, Action::Read { level: Level::Local, .. });
        latest_invocation = latest_invocation.max(if is_local { 0 } else { operation.invoked });
        operation.verdict != Verdict::Ok
            || operation.completed.is_some_and(|response| response > latest_invocation)
    })
}

fn reads_are_legal(history: &[Operation], order: &[usize]) -> bool {
    let mut registers: BTreeMap<Key, u64> = BTreeMap::new();
    let mut lists: BTreeMap<Key, BTreeSet<u64>> = BTreeMap::new();
    order.iter().all(|&place| {
        let is_legal = history[place].observed().iter().all(|(key, observed)| match observed {
            Observed::Register(value) => registers.get(key) == value.as_ref(),
            Observed::List(elements) => lists.get(key).map_or(elements.is_empty(), |list| list == elements),
        });
        for &(key, change) in history[place].changes() {
            match change {
                Change::Set(value) => registers.insert(key, value),
                Change::Clear => registers.remove(&key),
                Change::Append(element) => {
                    lists.entry(key).or_default().insert(element);
                    None
                }
            };
        }
        is_legal
    })
}
