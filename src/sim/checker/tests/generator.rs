//! Histories of a correct store, and ways to corrupt them. One seed determines everything.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Action, Change, Key, Level, Observed, Operation, Verdict};

/// Keys from this one on are lists.
pub(crate) const LISTS_FROM: Key = 100;

/// A small generator of random numbers (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True in this many of 100 cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What kind of history. The rates are in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub operations: usize,
    /// Most calls outstanding at once.
    pub clients: usize,
    pub registers: usize,
    pub lists: usize,
    pub reads: usize,
    /// Of the operations, those on several keys.
    pub several_keys: usize,
    /// Of the changes of registers.
    pub deletes: usize,
    /// Of the writes.
    pub unknown: usize,
    pub not_applied: usize,
    /// Of the writes, those that find the keys that they change, and others.
    pub transactions: usize,
    /// Of the reads.
    pub local: usize,
    /// Whether answers carry log indexes.
    pub log_indexes: bool,
}

#[derive(Clone, Default)]
struct Contents {
    registers: BTreeMap<Key, u64>,
    lists: BTreeMap<Key, BTreeSet<u64>>,
}

/// An outstanding call.
struct Call {
    place: usize,
    verdict: Verdict,
    has_taken_effect: bool,
}

/// A simulated store.
struct Store<'r> {
    shape: Shape,
    random: &'r mut Random,
    now: u64,
    fresh: u64,
    contents: Contents,
    /// The contents of a member that lags behind, for LOCAL reads.
    behind: Contents,
    writes_done: u64,
    history: Vec<Operation>,
    calls: Vec<Call>,
    /// Writes answered as unknown that may still take effect.
    late: Vec<usize>,
}

/// The history of a correct store.
pub(crate) fn linearizable(shape: Shape, random: &mut Random) -> Vec<Operation> {
    let mut store = Store {
        shape,
        random,
        now: 0,
        fresh: 0,
        contents: Contents::default(),
        behind: Contents::default(),
        writes_done: 0,
        history: Vec::new(),
        calls: Vec::new(),
        late: Vec::new(),
    };
    while store.history.len() < shape.operations || !store.calls.is_empty() {
        store.step();
    }
    store.history
}

impl Store<'_> {
    fn step(&mut self) {
        self.now += 1;
        if self.random.percent(20) {
            self.behind = self.contents.clone();
        }
        if !self.late.is_empty() && self.random.percent(10) {
            let place = self.random.below(self.late.len());
            let write = self.late.swap_remove(place);
            self.take_effect(write);
        }
        let may_call = self.history.len() < self.shape.operations && self.calls.len() < self.shape.clients;
        if self.calls.is_empty() || (may_call && self.random.percent(40)) {
            return self.call();
        }
        let place = self.random.below(self.calls.len());
        if self.calls[place].has_taken_effect || self.calls[place].verdict == Verdict::NotApplied {
            self.answer(place);
        } else if self.calls[place].verdict == Verdict::Unknown && self.random.percent(50) {
            self.late.push(self.calls[place].place);
            self.answer(place);
        } else {
            self.calls[place].has_taken_effect = true;
            self.take_effect(self.calls[place].place);
        }
    }

    fn call(&mut self) {
        let is_read = self.random.percent(self.shape.reads);
        let action = if is_read { self.a_read() } else { self.a_write_or_transaction() };
        let place = self.history.len();
        let verdict = match self.random.below(100) {
            _ if is_read => Verdict::Ok,
            drawn if drawn < self.shape.unknown => Verdict::Unknown,
            drawn if drawn < self.shape.unknown + self.shape.not_applied => Verdict::NotApplied,
            _ => Verdict::Ok,
        };
        let client = self.random.below(self.shape.clients) as u32;
        let invoked = self.now;
        self.history.push(Operation { client, invoked, completed: None, verdict, action, index: None });
        self.calls.push(Call { place, verdict, has_taken_effect: false });
    }

    fn answer(&mut self, call: usize) {
        let call = self.calls.swap_remove(call);
        let is_heard = call.verdict != Verdict::Unknown || self.random.percent(50);
        self.history[call.place].completed = is_heard.then_some(self.now);
    }

    fn a_read(&mut self) -> Action {
        let level = if self.random.percent(self.shape.local) { Level::Local } else { Level::Linearizable };
        let nothing = |key| (key, nothing_at(key));
        Action::Read { level, observed: self.some_keys().into_iter().map(nothing).collect() }
    }

    fn a_write(&mut self) -> Action {
        let keys = self.some_keys();
        Action::Write(keys.into_iter().map(|key| (key, self.a_change(key))).collect())
    }

    fn a_write_or_transaction(&mut self) -> Action {
        let Action::Write(changes) = self.a_write() else { unreachable!("it writes") };
        if self.shape.transactions == 0 || !self.random.percent(self.shape.transactions) {
            return Action::Write(changes);
        }
        let more =
            if self.random.percent(self.shape.several_keys) { self.some_keys() } else { BTreeSet::new() };
        let mut keys: BTreeSet<Key> = changes.iter().map(|(key, _)| *key).collect();
        keys.extend(more);
        Action::Transaction {
            observed: keys.into_iter().map(|key| (key, nothing_at(key))).collect(),
            changes,
        }
    }

    fn a_change(&mut self, key: Key) -> Change {
        self.fresh += 1;
        match key {
            LISTS_FROM.. => Change::Append(self.fresh),
            _ if self.random.percent(self.shape.deletes) => Change::Clear,
            _ => Change::Set(self.fresh),
        }
    }

    fn some_keys(&mut self) -> BTreeSet<Key> {
        let all = self.shape.registers + self.shape.lists;
        let wanted = if self.random.percent(self.shape.several_keys) { 2 + self.random.below(2) } else { 1 };
        let mut keys = BTreeSet::new();
        for _ in 0..wanted {
            let drawn = self.random.below(all);
            let is_register = drawn < self.shape.registers;
            keys.insert(if is_register {
                drawn as Key
            } else {
                LISTS_FROM + (drawn - self.shape.registers) as Key
            });
        }
        keys
    }

    /// The linearization point of an operation.
    fn take_effect(&mut self, place: usize) {
        let operation = &mut self.history[place];
        match &mut operation.action {
            Action::Write(changes) | Action::Transaction { changes, .. } => {
                let changes = changes.clone();
                if let Action::Transaction { observed, .. } = &mut operation.action {
                    observed.iter_mut().for_each(|(key, observed)| *observed = self.contents.at(*key));
                }
                changes.iter().for_each(|&(key, change)| self.contents.change(key, change));
                self.writes_done += 1;
                // Three writes share an entry.
                operation.index = Some(self.writes_done.div_ceil(3));
            }
            Action::Read { level, observed } => {
                let source = if *level == Level::Local { &self.behind } else { &self.contents };
                observed.iter_mut().for_each(|(key, observed)| *observed = source.at(*key));
                operation.index = (*level == Level::Linearizable).then_some(self.writes_done / 3);
            }
        }
        if !self.shape.log_indexes || operation.verdict != Verdict::Ok {
            operation.index = None;
        }
    }
}

fn nothing_at(key: Key) -> Observed {
    if key < LISTS_FROM { Observed::Register(None) } else { Observed::List(BTreeSet::new()) }
}

impl Contents {
    fn change(&mut self, key: Key, change: Change) {
        match change {
            Change::Set(value) => drop(self.registers.insert(key, value)),
            Change::Clear => drop(self.registers.remove(&key)),
            Change::Append(element) => drop(self.lists.entry(key).or_default().insert(element)),
        }
    }

    fn at(&self, key: Key) -> Observed {
        if key < LISTS_FROM {
            Observed::Register(self.registers.get(&key).copied())
        } else {
            Observed::List(self.lists.get(&key).cloned().unwrap_or_default())
        }
    }
}

/// A history in which nearly all operations are concurrent and reads return arbitrary values.
pub(crate) fn wild(shape: Shape, random: &mut Random) -> Vec<Operation> {
    let mut history = linearizable(shape, random);
    for (place, operation) in history.iter_mut().enumerate() {
        // Delays answers until most calls overlap; adding the index keeps the times unique.
        operation.invoked = operation.invoked * 100 + place as u64;
        let later = 500 + random.below(30) as u64 * 100;
        operation.completed =
            operation.completed.map(|time| (time * 100 + later) / 100 * 100 + 50 + place as u64);
    }
    for place in 0..history.len() {
        if !history[place].observed().is_empty() && random.percent(70) {
            corrupt_at(&mut history, place, random);
        }
    }
    history
}

/// Changes what one client read or was answered; the history may or may not remain linearizable.
pub(crate) fn corrupt(history: &mut [Operation], random: &mut Random) {
    corrupt_at(history, random.below(history.len()), random);
}

fn corrupt_at(history: &mut [Operation], place: usize, random: &mut Random) {
    let known = known_values(history);
    let operation = &mut history[place];
    match &mut operation.action {
        Action::Write(_) => match random.below(3) {
            0 => operation.verdict = Verdict::NotApplied,
            1 => operation.verdict = Verdict::Ok,
            _ => operation.verdict = Verdict::Unknown,
        },
        Action::Read { observed, .. } | Action::Transaction { observed, .. } => {
            let (key, observed) = {
                let place = random.below(observed.len());
                &mut observed[place]
            };
            let values = known.get(key).cloned().unwrap_or_default();
            corrupt_observed(observed, &values, random);
        }
    }
    if operation.completed.is_none() && operation.verdict != Verdict::Unknown {
        operation.verdict = Verdict::Unknown;
    }
}

fn corrupt_observed(observed: &mut Observed, values: &[u64], random: &mut Random) {
    let drawn =
        if values.is_empty() || random.percent(15) { None } else { Some(values[random.below(values.len())]) };
    match observed {
        Observed::Register(value) => *value = drawn,
        Observed::List(elements) => match drawn {
            Some(element) if elements.remove(&element) => {}
            Some(element) => drop(elements.insert(element)),
            None => drop(elements.pop_last()),
        },
    }
}

fn known_values(history: &[Operation]) -> BTreeMap<Key, Vec<u64>> {
    let mut known: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    for &(key, change) in history.iter().flat_map(Operation::changes) {
        if let Change::Set(value) | Change::Append(value) = change {
            known.entry(key).or_default().push(value);
        }
    }
    known
}
