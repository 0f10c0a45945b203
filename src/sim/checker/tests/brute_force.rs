//! The definition of linearizability by exhaustive enumeration: every order of a tiny history.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Action, Change, Key, Level, Observed, Operation, Verdict};

/// All that a store holds.
#[derive(Clone, Default)]
struct State {
    registers: BTreeMap<Key, u64>,
    lists: BTreeMap<Key, BTreeSet<u64>>,
}

/// Whether the history has a linearization.
pub(crate) fn is_linearizable(history: &[Operation]) -> bool {
    let takes_part = |operation: &&Operation| match (&operation.action, operation.verdict) {
        (Action::Write(_) | Action::Transaction { .. }, verdict) => verdict != Verdict::NotApplied,
        (Action::Read { .. }, verdict) => verdict == Verdict::Ok,
    };
    let open: Vec<&Operation> = history.iter().filter(takes_part).collect();
    can_continue(&open, &State::default())
}

/// Tries each of the open operations as the next.
fn can_continue(open: &[&Operation], state: &State) -> bool {
    if open.iter().all(|operation| operation.verdict == Verdict::Unknown) {
        return true;
    }
    (0..open.len()).any(|place| {
        let next = open[place];
        let rest: Vec<&Operation> =
            open.iter().enumerate().filter(|&(other, _)| other != place).map(|(_, &one)| one).collect();
        let is_late = rest.iter().any(|other| answer(other) < call(next));
        !is_late && perform(next, state).is_some_and(|state| can_continue(&rest, &state))
    })
}

fn call(operation: &Operation) -> u64 {
    match operation.action {
        Action::Read { level: Level::Local, .. } => 0,
        _ => operation.invoked,
    }
}

fn answer(operation: &Operation) -> u64 {
    if operation.verdict == Verdict::Ok { operation.completed.expect("ok is an answer") } else { u64::MAX }
}

/// The state after the operation; None when it returned another state.
fn perform(operation: &Operation, state: &State) -> Option<State> {
    if !operation.observed().iter().all(|(key, observed)| state.shows(*key, observed)) {
        return None;
    }
    let mut state = state.clone();
    operation.changes().iter().for_each(|&(key, change)| state.change(key, change));
    Some(state)
}

impl State {
    fn change(&mut self, key: Key, change: Change) {
        match change {
            Change::Set(value) => drop(self.registers.insert(key, value)),
            Change::Clear => drop(self.registers.remove(&key)),
            Change::Append(element) => drop(self.lists.entry(key).or_default().insert(element)),
        }
    }

    fn shows(&self, key: Key, observed: &Observed) -> bool {
        match observed {
            Observed::Register(value) => self.registers.get(&key) == value.as_ref(),
            Observed::List(elements) => self.lists.get(&key).cloned().unwrap_or_default() == *elements,
        }
    }
}
