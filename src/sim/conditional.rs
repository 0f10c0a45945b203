//! Conditional writes that clients make.
//!
//! Owns what such a write asks for, and what its answer says about the state in which it was judged. What always holds:
//! what a client concludes from an answer follows from the call, the answer and what it was told before, never from the
//! log; an answer that leaves something open leaves it open here, too.
//!
//! A counter is a register that only adds change, each by a power of two of its own. So its value says which adds took
//! effect, and to the checker a counter is a list of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::core::digest::RangeDigest;
use crate::effects::{Effects, OpResult};
use crate::sim::checker::{Change, Key, Observed};
use crate::sim::chosen::number_of;
use crate::sim::keys::key_of;
use crate::types::Version;

/// What must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The register has no value.
    Absent(Key),
    /// It has one.
    Present(Key),
    /// It has this version, with which a client saw this number or nothing, if any did.
    Version(Key, Version, Option<Option<u64>>),
    /// It has this value.
    Value(Key, Vec<u8>),
    /// The registers of a range are as they were seen.
    Range { range: [Vec<u8>; 2], digest: RangeDigest, seen: Vec<(Key, Option<u64>)> },
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A plain change.
    Change(Key, Change),
    /// Sets this bit of a counter.
    Add(Key, u32),
    /// Adds so much to a counter above zero that it cannot be done.
    AddTooMuch(Key),
    /// Appends this number to a list, under a key that follows from the version.
    PutVersioned(Key, u64),
    /// Removes a register and tells what it was.
    Pop(Key),
    /// The same for the first register with a value, from one to before another.
    TakeFirst([Key; 2]),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditional {
    /// All must be true.
    pub conditions: Vec<Condition>,
    /// Done then.
    pub then: Vec<Step>,
    /// Done otherwise; the write is refused when there is none.
    pub otherwise: Vec<Step>,
    /// The transaction whose commit it is.
    pub transaction: Option<Transaction>,
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// What it made of it, which is to mean the same.
    pub batch: Bytes,
    /// The registers that its client was shown. If it is committed, all of them are still so.
    pub shown: Vec<(Key, Option<u64>)>,
}

/// What clients know of the numbers behind versions.
pub(crate) type Numbers = BTreeMap<(Key, Version), u64>;

/// What an answer shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The state in which the write was judged.
    pub observed: Vec<(Key, Observed)>,
    /// What it did.
    pub changes: Vec<(Key, Change)>,
    /// What it certainly did not.
    pub left_out: Vec<(Key, Change)>,
}

impl Step {
    /// What it may change; of [`Step::TakeFirst`] only one.
    fn possible(self) -> Vec<(Key, Change)> {
        match self {
            Self::Change(key, change) => vec![(key, change)],
            Self::Add(key, bit) => vec![(key, Change::Append(u64::from(bit)))],
            Self::AddTooMuch(_) => Vec::new(),
            Self::PutVersioned(list, number) => vec![(list, Change::Append(number))],
            Self::Pop(key) => vec![(key, Change::Clear)],
            Self::TakeFirst([first, end]) => (first..end).map(|key| (key, Change::Clear)).collect(),
        }
    }

    /// The plain change that it is.
    pub(crate) fn as_change(self) -> Option<(Key, Change)> {
        if let Self::Change(key, change) = self { Some((key, change)) } else { None }
    }

    /// Whether the answer has a result of it.
    fn has_result(self) -> bool {
        !matches!(self, Self::Change(..))
    }

    fn show(self, result: Option<&OpResult>, shown: &mut Shown) {
        let nothing = |key| (key, Observed::Register(None));
        match (self, result) {
            (Self::Add(key, bit), Some(OpResult::Sum(sum))) => {
                let before = sum.wrapping_sub(1 << bit);
                shown.observed.push((key, Observed::List(bits_of(before))));
                shown.changes.extend(self.possible());
            }
            (Self::Pop(key), Some(OpResult::Nothing)) => shown.observed.push(nothing(key)),
            (Self::TakeFirst([first, end]), Some(OpResult::Nothing)) => {
                shown.observed.extend((first..end).map(nothing));
            }
            (Self::Pop(first) | Self::TakeFirst([first, _]), Some(OpResult::Value { key, value, .. })) => {
                let taken = key_of(key);
                shown.observed.extend((first..taken).map(nothing));
                shown.observed.push((taken, Observed::Register(Some(number_of(value)))));
                shown.changes.push((taken, Change::Clear));
            }
            _ => shown.changes.extend(self.possible()),
        }
    }
}

impl Conditional {
    /// What it changes if all conditions are true, and what otherwise, as far as that is known before the answer. Each
    /// part may or may not happen.
    pub(crate) fn possible(&self) -> Vec<Vec<(Key, Change)>> {
        let mut parts = Vec::new();
        for list in [&self.then, &self.otherwise] {
            let (takes, others): (Vec<Step>, Vec<Step>) =
                list.iter().partition(|step| matches!(step, Step::TakeFirst(_)));
            parts.push(others.into_iter().flat_map(Step::possible).collect());
            parts.extend(takes.into_iter().flat_map(Step::possible).map(|taken| vec![taken]));
        }
        parts.retain(|part: &Vec<_>| !part.is_empty());
        parts
    }

    /// What an answer shows that says that one of the lists was done.
    pub(crate) fn shown_by(&self, effects: &Effects, numbers: &Numbers) -> Shown {
        let failed = effects.failed.map(|failed| (failed.operation, failed.exists, failed.version));
        let mut shown = self.shown_by_conditions(failed, numbers);
        let (list, other) = match failed {
            None => (&self.then, &self.otherwise),
            Some(_) => (&self.otherwise, &self.then),
        };
        if let (Some(transaction), None) = (&self.transaction, failed) {
            let numbers = transaction.shown.iter();
            shown.observed.extend(numbers.map(|&(key, number)| (key, Observed::Register(number))));
        }
        let mut results = effects.results.iter().map(|(_, result)| result);
        for step in list {
            let result = if step.has_result() { results.next() } else { None };
            step.show(result, &mut shown);
        }
        let certain = other.iter().filter(|step| !matches!(step, Step::TakeFirst(_) | Step::Pop(_)));
        shown.left_out = certain.flat_map(|step| step.possible()).collect();
        shown.dedup()
    }

    /// What a refusal shows: the operation that it is about, whether its key was there, and its version.
    pub(crate) fn shown_by_refusal(&self, about: (u32, bool, Version), numbers: &Numbers) -> Shown {
        let mut shown = self.shown_by_conditions(Some(about), numbers);
        shown.left_out = self.possible().concat();
        shown.left_out.retain(|(_, change)| *change != Change::Clear);
        shown.dedup()
    }

    fn shown_by_conditions(&self, failed: Option<(u32, bool, Version)>, numbers: &Numbers) -> Shown {
        // The first operation is the mark.
        let of_failed = failed.map_or(usize::MAX, |(operation, ..)| operation as usize - 1);
        let mut observed = Vec::new();
        for condition in self.conditions.iter().take(of_failed) {
            condition.show_true(&mut observed);
        }
        if let (Some(condition), Some((_, exists, version))) = (self.conditions.get(of_failed), failed) {
            condition.show_false(exists, version, numbers, &mut observed);
        }
        Shown { observed, ..Shown::default() }
    }
}

impl Condition {
    fn show_true(&self, observed: &mut Vec<(Key, Observed)>) {
        match self {
            Self::Absent(key) => observed.push((*key, Observed::Register(None))),
            Self::Present(_) | Self::Version(_, _, None) => {}
            Self::Version(key, _, Some(number)) => observed.push((*key, Observed::Register(*number))),
            Self::Value(key, value) => observed.push((*key, Observed::Register(Some(number_of(value))))),
            Self::Range { seen, .. } => {
                observed.extend(seen.iter().map(|&(key, number)| (key, Observed::Register(number))));
            }
        }
    }

    fn show_false(
        &self,
        exists: bool,
        version: Version,
        numbers: &Numbers,
        observed: &mut Vec<(Key, Observed)>,
    ) {
        let key = match self {
            Self::Absent(key) | Self::Present(key) | Self::Version(key, ..) | Self::Value(key, _) => *key,
            Self::Range { .. } => return,
        };
        if !exists {
            observed.push((key, Observed::Register(None)));
        } else if let Some(&number) = numbers.get(&(key, version)) {
            observed.push((key, Observed::Register(Some(number))));
        }
    }
}

impl Shown {
    fn dedup(mut self) -> Self {
        let mut kept: Vec<(Key, Observed)> = Vec::new();
        for one in self.observed {
            if !kept.contains(&one) {
                kept.push(one);
            }
        }
        self.observed = kept;
        self
    }
}

/// The bits of a counter.
pub(crate) fn bits_of(sum: i64) -> BTreeSet<u64> {
    (0..64).filter(|bit| sum >> bit & 1 == 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Precondition;

    const NUMBERS: fn() -> Numbers = || [((1, Version(70)), 7)].into();

    fn failed(operation: u32, version: u64) -> Precondition {
        Precondition { operation, exists: version != 0, version: Version(version) }
    }

    #[test]
    fn an_answer_shows_the_state_in_which_the_write_was_judged() {
        let conditional = Conditional {
            conditions: vec![Condition::Absent(1)],
            then: vec![Step::Change(1, Change::Set(8)), Step::Add(1 << 20, 2)],
            otherwise: vec![Step::Change(2, Change::Set(9))],
            transaction: None,
        };
        let effects = Effects { failed: None, results: vec![(2, OpResult::Sum(5))] };

        let shown = conditional.shown_by(&effects, &NUMBERS());

        assert_eq!(shown.observed, [(1, Observed::Register(None)), (1 << 20, Observed::List([0].into()))]);
        assert_eq!(shown.changes, [(1, Change::Set(8)), (1 << 20, Change::Append(2))]);
        assert_eq!(shown.left_out, [(2, Change::Set(9))]);

        let other = Effects { failed: Some(failed(1, 70)), results: Vec::new() };
        let shown = conditional.shown_by(&other, &NUMBERS());

        assert_eq!(shown.observed, [(1, Observed::Register(Some(7)))]);
        assert_eq!(shown.changes, [(2, Change::Set(9))]);
    }

    #[test]
    fn a_refusal_shows_what_was_there_as_far_as_that_is_known() {
        let conditions = vec![Condition::Absent(1), Condition::Present(2)];
        let then = vec![Step::Change(3, Change::Set(8))];
        let conditional = Conditional { conditions, then, ..Conditional::default() };
        let shown = |operation, version| {
            conditional.shown_by_refusal((operation, version != 0, Version(version)), &NUMBERS())
        };

        assert_eq!(shown(1, 70).observed, [(1, Observed::Register(Some(7)))]);
        assert_eq!(shown(1, 71).observed, []);
        assert_eq!(shown(2, 0).observed, [(1, Observed::Register(None)), (2, Observed::Register(None))]);
        assert_eq!(shown(2, 0).left_out, [(3, Change::Set(8))]);
    }
}
