//! The calls that clients make.
//!
//! Owns the choice of the next call: which member and region, what it writes or reads, its deadline. What always holds:
//! a write has at least one unique value or element by which it can be recognized; a list is abandoned for a new one
//! before it grows long.

use std::collections::BTreeMap;

use crate::sim::calls::Request;
use crate::sim::checker::{Action, Change, Key, Level};
use crate::sim::chosen::{CallId, value_number};
use crate::sim::keys::FIRST_LIST;
use crate::sim::plan::LoadPlan;
use crate::sim::random::Random;
use crate::types::{LogIndex, RegionId};

/// Appends to one list before the next list starts.
const LIST_LENGTH: u32 = 30;

/// See the module.
#[derive(Debug)]
pub(crate) struct Load {
    plan: LoadPlan,
    appends: BTreeMap<RegionId, u32>,
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
        Self { plan, appends: BTreeMap::new() }
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

    fn next_list(&mut self, region: RegionId) -> Key {
        *self.appends.entry(region).or_default() += 1;
        self.newest_list(region)
    }
}

fn read(client: usize, level: Level, keys: Vec<Key>) -> Request {
    Request { client, action: Action::Read { level, observed: Vec::new() }, keys, min_index: LogIndex(0) }
}

fn write(client: usize, action: Action) -> Request {
    Request { client, action, keys: Vec::new(), min_index: LogIndex(0) }
}
