//! Transactions that clients make.
//!
//! Owns a program that reads and writes at random, and what it concludes: the batch that the product's own transaction
//! makes of it, and the same in the words of the checker. What always holds: what the program was shown is in its
//! conclusion, however the transaction remembers it; it looks at registers, and may append to a list, which it does not
//! read.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::command::{Operation, Write};
use crate::core::digest::RangeDigest;
use crate::sim::checker::{Change, Key};
use crate::sim::chosen::value_of;
use crate::sim::conditional::{Condition, Conditional, Step, Transaction};
use crate::sim::disk::Data;
use crate::sim::keys::{element, key_of, place};
use crate::sim::load::{digest, number};
use crate::sim::random::Random;
use crate::store::batch::Batch;
use crate::store::transaction::Shared;
use crate::store::transaction::merge::{Listed, Merge};
use crate::types::{BOOTSTRAP_EPOCH, RegionId, Version};

/// A client's transaction under way.
struct Program<'a> {
    region: RegionId,
    registers: Key,
    seen: &'a Data,
    shared: Shared,
    /// What it was shown of the registers that it had not written.
    shown: BTreeMap<Key, Option<u64>>,
    /// What it has written.
    written: BTreeMap<Key, Change>,
    value_bytes: Range<u64>,
}

/// A transaction that sees the data `seen`, of this many registers, and may append to `list`. Each of `numbers` is for one
/// value.
pub(crate) fn run(
    region: RegionId,
    registers: Key,
    (seen, list): (&Data, Option<Key>),
    mut numbers: impl Iterator<Item = u64>,
    value_bytes: Range<u64>,
    random: &mut Random,
) -> Conditional {
    let (shown, written) = (BTreeMap::new(), BTreeMap::new());
    let mut program =
        Program { region, registers, seen, shared: Shared::default(), shown, written, value_bytes };
    for _ in 0..1 + random.below(6) {
        let key = random.below(u64::from(registers)) as Key;
        match random.below(100) {
            0..30 => program.get(key),
            30..55 => program.scan(key, random),
            55..85 => program.put(key, numbers.next().expect("without end"), random),
            85..95 => program.delete(key),
            _ => program.delete_range([key, (key + 3).min(registers)]),
        }
    }
    let append = list.map(|list| (list, numbers.next().expect("without end")));
    program.conclude(append, random)
}

impl Program<'_> {
    fn get(&mut self, key: Key) {
        let place = place(self.region, key);
        if self.shared.writes.look(&place).is_none() {
            let version = self.seen.get(&place).map_or(Version::NONE, |stored| stored.version);
            self.shared.reads.saw(&place, version).expect("few keys");
            self.show(key);
        }
    }

    /// Walks from a register in either direction for some steps, and perhaps turns round.
    fn scan(&mut self, from: Key, random: &mut Random) {
        let bounds = [0, self.registers].map(|key| place(self.region, key));
        let [lower, upper] = bounds;
        let inside = self.seen.range::<Vec<u8>, _>(&lower..&upper);
        let source = Listed::new(inside.map(|(key, it)| (key.clone(), it.value.clone(), it.version)));
        let mut merge = Merge::new(source, lower, Some(upper), false);
        let mut is_ascending = random.percent(50);
        let place = place(self.region, from);
        let found = match is_ascending {
            true => merge.seek(&place, &mut self.shared),
            false => merge.seek_for_prev(&place, &mut self.shared),
        };
        found.expect("few keys");
        let mut at = self.note_walk(from, &merge, is_ascending);
        for _ in 0..random.below(5) {
            let Some(here) = at else { break };
            is_ascending ^= random.percent(15);
            let found = match is_ascending {
                true => merge.next(&mut self.shared),
                false => merge.prev(&mut self.shared),
            };
            found.expect("few keys");
            at = self.note_walk(here, &merge, is_ascending);
        }
    }

    /// Notes what a step shows: the registers from here to where it came, or to the end, but those that the transaction has
    /// written over. Returns where it came.
    fn note_walk(&mut self, from: Key, merge: &Merge<Listed>, is_ascending: bool) -> Option<Key> {
        let at = merge.item().map(|(key, ..)| key_of(key));
        let passed = match is_ascending {
            true => from..at.map_or(self.registers, |at| at + 1),
            false => at.unwrap_or(0)..from + 1,
        };
        for key in passed {
            if self.shared.writes.look(&place(self.region, key)).is_none() {
                self.show(key);
            }
        }
        at
    }

    fn show(&mut self, key: Key) {
        self.shown.insert(key, number(self.seen, self.region, key));
    }

    fn put(&mut self, key: Key, number: u64, random: &mut Random) {
        let value = value_of(number, random.within(self.value_bytes.clone()) as usize);
        self.shared.writes.touch(&place(self.region, key), Some(&value));
        self.written.insert(key, Change::Set(number));
    }

    fn delete(&mut self, key: Key) {
        self.shared.writes.touch(&place(self.region, key), None);
        self.written.insert(key, Change::Clear);
    }

    fn delete_range(&mut self, [begin, end]: [Key; 2]) {
        let [first, behind] = [begin, end].map(|key| place(self.region, key));
        self.shared.writes.empty(&first, &behind);
        self.written.extend((begin..end).map(|key| (key, Change::Clear)));
    }

    fn conclude(mut self, append: Option<(Key, u64)>, random: &mut Random) -> Conditional {
        if let Some((list, number)) = append {
            let value = value_of(number, random.within(self.value_bytes.clone()) as usize);
            self.shared.writes.touch(&element(self.region, list, number), Some(&value));
        }
        let mut batch = Batch::new();
        let digest = |begin: &[u8], end: &[u8]| Ok(digest(self.seen, &[begin.to_vec(), end.to_vec()]));
        self.shared.reads.add_to(&mut batch, digest).expect("few keys and ranges");
        self.shared.writes.add_to(&mut batch).expect("few keys");
        let changes = self.written.iter().map(|(key, change)| (*key, *change));
        let append = append.map(|(list, number)| (list, Change::Append(number)));
        Conditional {
            conditions: self.conditions(&batch.operations()),
            then: changes.chain(append).map(|(key, change)| Step::Change(key, change)).collect(),
            otherwise: Vec::new(),
            transaction: Some(Transaction {
                batch: batch.seal(BOOTSTRAP_EPOCH.version),
                shown: self.shown.into_iter().collect(),
            }),
        }
    }

    /// The conditions that the transaction made, in their order.
    fn conditions(&self, write: &Write) -> Vec<Condition> {
        let made = write.operations().filter_map(|operation| match operation {
            Operation::IfVersion { key, version } => {
                let key = key_of(key);
                Some(Condition::Version(key, version, Some(number(self.seen, self.region, key))))
            }
            Operation::IfRange { begin, end, seen } => {
                let range = [begin.to_vec(), end.to_vec()];
                let is_inside = |key: &Key| (begin..end).contains(&&place(self.region, *key)[..]);
                let inside = (0..self.registers).filter(is_inside);
                let registers = inside.map(|key| (key, number(self.seen, self.region, key))).collect();
                Some(Condition::Range { range, digest: RangeDigest::decode(seen), seen: registers })
            }
            _ => None,
        });
        made.collect()
    }
}
