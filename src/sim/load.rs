//! The calls that clients make.
//!
//! Owns the choice of the next call: which member and region, what it writes or reads, its deadline. What always holds:
//! a write has at least one unique value or element by which it can be recognized; a list is abandoned for a new one
//! before it grows long.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::core::digest::{Digester, RangeDigest};
use crate::sim::calls::Request;
use crate::sim::checker::{Action, Change, Key, Level};
use crate::sim::chosen::{CallId, number_of, value_number};
use crate::sim::conditional::{Condition, Conditional, Step};
use crate::sim::disk::Data;
use crate::sim::keys::{FIRST_COUNTER, FIRST_LIST, place};
use crate::sim::plan::LoadPlan;
use crate::sim::random::Random;
use crate::sim::transaction;
use crate::types::{LogIndex, RegionId, Version};

/// Appends to one list before the next list starts.
const LIST_LENGTH: u32 = 30;
/// Adds to one counter before the next one starts: each has a bit of its own.
const COUNTER_BITS: u32 = 40;
/// The first number of the operations that a conditional write has beside its plain changes.
const FIRST_OF_CONDITIONAL: usize = 100;
/// So many conditional writes are the commit of a transaction.
const TRANSACTIONS_PERCENT: u32 = 25;

/// See the module.
#[derive(Debug)]
pub(crate) struct Load {
    plan: LoadPlan,
    appends: BTreeMap<RegionId, u32>,
    adds: BTreeMap<RegionId, u32>,
}

#[derive(Clone, Copy)]
enum Kind {
    SetOne,
    SetSeveral,
    Append,
    ClearOne,
    ClearSeveral,
}

impl Load {
    /// Clients that follow `plan`.
    pub(crate) fn new(plan: LoadPlan) -> Self {
        Self { plan, appends: BTreeMap::new(), adds: BTreeMap::new() }
    }

    /// The request of `client` for its call `call`, in a region whose log is known up to some index.
    pub(crate) fn draw(
        &mut self,
        client: usize,
        call: CallId,
        (region, shown): (RegionId, u64),
        random: &mut Random,
    ) -> Request {
        if random.percent(self.plan.reads_percent) {
            let local = random.percent(self.plan.local_percent);
            let level = if local { Level::Local } else { Level::Linearizable };
            let min_index = if local && random.percent(30) { shown + random.below(2) } else { 0 };
            let min_index = LogIndex(min_index);
            return Request { min_index, ..read(client, level, self.draw_keys(region, random)) };
        }
        let action = Action::Write(self.draw_changes(call, region, random));
        write(client, action)
    }

    /// Makes a conditional write of a plain one, or a read one of a counter, too. `seen` are the data of some member:
    /// what its caller believes.
    pub(crate) fn make_conditional(
        &mut self,
        request: &mut Request,
        (call, region): (CallId, RegionId),
        seen: &Data,
        random: &mut Random,
    ) {
        match &request.action {
            Action::Write(changes) if random.percent(self.plan.conditional_percent) => {
                let changes: Vec<_> =
                    changes.iter().map(|&(key, change)| Step::Change(key, change)).collect();
                request.conditional = Some(match random.percent(TRANSACTIONS_PERCENT) {
                    true => self.draw_transaction(call, region, seen, random),
                    false => self.draw_conditional(call, region, changes, seen, random),
                });
                request.action = Action::Transaction { observed: Vec::new(), changes: Vec::new() };
            }
            Action::Read { .. } if self.plan.conditional_percent > 0 && random.percent(30) => {
                request.keys.push(self.newest_counter(region));
            }
            _ => {}
        }
    }

    fn draw_transaction(
        &mut self,
        call: CallId,
        region: RegionId,
        seen: &Data,
        random: &mut Random,
    ) -> Conditional {
        let list = random.percent(40).then(|| self.next_list(region));
        let numbers = (FIRST_OF_CONDITIONAL..).map(|operation| value_number(call, operation));
        let registers = self.plan.registers as Key;
        transaction::run(region, registers, (seen, list), numbers, self.plan.value_bytes.clone(), random)
    }

    fn draw_conditional(
        &mut self,
        call: CallId,
        region: RegionId,
        changes: Vec<Step>,
        seen: &Data,
        random: &mut Random,
    ) -> Conditional {
        let mut conditional = Conditional { then: changes, ..Conditional::default() };
        for _ in 0..random.weighted(&[(15, 0), (65, 1), (20, 2)]) {
            let condition = self.draw_condition(&conditional.then, region, seen, random);
            conditional.conditions.push(condition);
        }
        self.draw_steps(call, region, &mut conditional.then, random);
        if random.percent(30) {
            let number = value_number(call, FIRST_OF_CONDITIONAL + 1);
            let key = random.index(self.plan.registers) as Key;
            conditional.otherwise = match random.below(2) {
                0 => vec![Step::Change(key, Change::Set(number))],
                _ => vec![Step::Change(self.next_list(region), Change::Append(number))],
            };
        }
        conditional
    }

    fn draw_condition(
        &self,
        changes: &[Step],
        region: RegionId,
        seen: &Data,
        random: &mut Random,
    ) -> Condition {
        let registers = self.plan.registers;
        let own = changes.iter().find_map(|step| match step {
            Step::Change(key, _) if *key < FIRST_LIST => Some(*key),
            _ => None,
        });
        let key = own.filter(|_| random.percent(70)).unwrap_or(random.index(registers) as Key);
        let found = seen.get(&place(region, key));
        match (random.below(100), found) {
            (0..35, Some(stored)) => {
                Condition::Version(key, stored.version, Some(Some(number_of(&stored.value))))
            }
            (0..35, None) => Condition::Version(key, Version::NONE, Some(None)),
            (35..42, Some(stored)) => Condition::Version(key, Version(stored.version.get() + 1), None),
            (42..60, Some(stored)) => Condition::Value(key, stored.value.clone()),
            (60..75, _) => Condition::Absent(key),
            (75..82, _) => Condition::Present(key),
            (82.., _) => range_condition([key, (key + 3).min(registers as Key)], region, seen),
            (_, None) => Condition::Absent(key),
        }
    }

    /// One more step, or none, that needs a look at the data.
    fn draw_steps(&mut self, call: CallId, region: RegionId, steps: &mut Vec<Step>, random: &mut Random) {
        let registers = self.plan.registers as Key;
        let first = random.index(self.plan.registers) as Key;
        let end = (first + 3).min(registers);
        let is_changed = |key: Key| steps.iter().any(|step| step.as_change().is_some_and(|it| it.0 == key));
        let is_free = !(first..end).any(is_changed);
        match random.below(100) {
            0..25 => steps.push(self.next_add(region)),
            25..28 => {
                let add = self.next_add(region);
                let Step::Add(counter, _) = add else { unreachable!("it is one") };
                steps.extend([add, Step::AddTooMuch(counter)]);
            }
            28..40 => {
                let number = value_number(call, FIRST_OF_CONDITIONAL);
                steps.push(Step::PutVersioned(self.next_list(region), number));
            }
            40..55 if is_free => steps.push(Step::Pop(first)),
            55..70 if is_free => steps.push(Step::TakeFirst([first, end])),
            _ => {}
        }
    }

    /// A write of one element, to check that writes work.
    pub(crate) fn probe_write(&mut self, client: usize, call: CallId, region: RegionId) -> Request {
        let changes = vec![(self.next_list(region), Change::Append(value_number(call, 0)))];
        write(client, Action::Write(changes))
    }

    /// A request to transfer leadership.
    pub(crate) fn transfer(client: usize) -> Request {
        write(client, Action::Write(Vec::new()))
    }

    /// A read of one register, to check that reads work.
    pub(crate) fn probe_read(client: usize) -> Request {
        read(client, Level::Linearizable, vec![0])
    }

    fn draw_changes(&mut self, call: CallId, region: RegionId, random: &mut Random) -> Vec<(Key, Change)> {
        let registers = self.plan.registers;
        let kinds = [
            (50, Kind::SetOne),
            (20, Kind::SetSeveral),
            (20, Kind::Append),
            (7, Kind::ClearOne),
            (3, Kind::ClearSeveral),
        ];
        let set = |(operation, key): (usize, usize)| (key as Key, Change::Set(value_number(call, operation)));
        let kind = random.weighted(&kinds);
        let mut changes: Vec<_> = match kind {
            Kind::Append => Vec::new(),
            Kind::SetOne => vec![set((0, random.index(registers)))],
            Kind::SetSeveral => {
                let count = 2 + random.index(3);
                random.sample(count, registers).into_iter().enumerate().map(set).collect()
            }
            Kind::ClearOne => vec![(random.index(registers) as Key, Change::Clear)],
            Kind::ClearSeveral => {
                let first = random.index(registers) as Key;
                let keys = first..(first + 3).min(registers as Key);
                keys.map(|key| (key, Change::Clear)).collect()
            }
        };
        if !matches!(kind, Kind::SetOne) {
            let operation = changes.len();
            changes.push((self.next_list(region), Change::Append(value_number(call, operation))));
        }
        changes
    }

    fn draw_keys(&self, region: RegionId, random: &mut Random) -> Vec<Key> {
        let registers = self.plan.registers;
        let several = 2 + random.index(3);
        let mut keys: Vec<_> = match random.below(100) {
            0..50 => random.sample(1, registers),
            50..70 => random.sample(several, registers),
            70..85 => Vec::new(),
            85..95 => random.sample(several, registers),
            _ => random.sample(registers, registers),
        }
        .into_iter()
        .map(|key| key as Key)
        .collect();
        if keys.is_empty() || random.percent(20) {
            let newest = self.newest_list(region);
            keys.push(newest - random.below(2).min(u64::from(newest - FIRST_LIST)) as Key);
        }
        keys
    }

    fn newest_list(&self, region: RegionId) -> Key {
        FIRST_LIST + self.appends.get(&region).copied().unwrap_or_default() / LIST_LENGTH
    }

    fn newest_counter(&self, region: RegionId) -> Key {
        FIRST_COUNTER + self.adds.get(&region).copied().unwrap_or_default() / COUNTER_BITS
    }

    fn next_add(&mut self, region: RegionId) -> Step {
        let adds = self.adds.entry(region).or_default();
        *adds += 1;
        let bit = *adds % COUNTER_BITS;
        Step::Add(self.newest_counter(region), bit)
    }

    fn next_list(&mut self, region: RegionId) -> Key {
        *self.appends.entry(region).or_default() += 1;
        self.newest_list(region)
    }
}

fn read(client: usize, level: Level, keys: Vec<Key>) -> Request {
    let action = Action::Read { level, observed: Vec::new() };
    Request { client, action, conditional: None, keys, min_index: LogIndex(0) }
}

fn write(client: usize, action: Action) -> Request {
    Request { client, action, conditional: None, keys: Vec::new(), min_index: LogIndex(0) }
}

fn range_condition(keys: [Key; 2], region: RegionId, seen: &Data) -> Condition {
    let range = keys.map(|key| place(region, key));
    let digest = digest(seen, &range);
    Condition::Range {
        range,
        digest,
        seen: (keys[0]..keys[1]).map(|key| (key, number(seen, region, key))).collect(),
    }
}

/// What a range looks like, computed as [`Snapshot::digest`](crate::store::Snapshot) does.
pub(crate) fn digest(seen: &Data, [begin, end]: &[Vec<u8>; 2]) -> RangeDigest {
    let mut digester = Digester::default();
    let range = (Bound::Included(begin.as_slice()), Bound::Excluded(end.as_slice()));
    seen.range::<[u8], _>(range).for_each(|(key, it)| digester.add(key, it.value.len(), it.version));
    digester.finish()
}

/// What a register holds.
pub(crate) fn number(seen: &Data, region: RegionId, key: Key) -> Option<u64> {
    seen.get(&place(region, key)).map(|stored| number_of(&stored.value))
}
