//! The confirmation of an order.
//!
//! Owns the definition of linearizability in its plainest form: perform the operations one after the other on an
//! ordinary map and compare. It knows nothing of the graph and the search, so that a mistake in those cannot let a
//! history pass whose order was found.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Action;
use super::history::{Change, Key, Level, Observed, Operation, Verdict};

/// Whether `order` explains the whole history: every operation answered with Ok is there once, none answered with
/// not-applied is, real time is kept, and every read shows the state at its place.
pub fn explains(history: &[Operation], order: &[usize]) -> bool {
    is_complete(history, order) && keeps_time(history, order) && shows_states(history, order)
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

fn keeps_time(history: &[Operation], order: &[usize]) -> bool {
    let mut latest_call = 0;
    order.iter().all(|&place| {
        let operation = &history[place];
        let is_local = matches!(operation.action, Action::Read { level: Level::Local, .. });
        latest_call = latest_call.max(if is_local { 0 } else { operation.invoked });
        operation.verdict != Verdict::Ok || operation.completed.is_some_and(|answer| answer > latest_call)
    })
}

fn shows_states(history: &[Operation], order: &[usize]) -> bool {
    let mut registers: BTreeMap<Key, u64> = BTreeMap::new();
    let mut lists: BTreeMap<Key, BTreeSet<u64>> = BTreeMap::new();
    order.iter().all(|&place| {
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
        history[place].observed().iter().all(|(key, observed)| match observed {
            Observed::Register(value) => registers.get(key) == value.as_ref(),
            Observed::List(elements) => lists.get(key).map_or(elements.is_empty(), |list| list == elements),
        })
    })
}
