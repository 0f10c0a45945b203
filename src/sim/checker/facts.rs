//! What is certain from the history alone, by key.
//!
//! Owns the first pass over a history: which operations a linearization needs, within which interval each takes effect,
//! the writer of what each read returned, and the version order of each list. What always holds: a write that was read
//! took effect, whatever its caller was answered; the states of a list that reads show form a chain under inclusion,
//! because a list only grows. Cycles between operations are left to the graph.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Change, Key, Observed, Operation, Verdict};
use super::violation::{Anomaly, Violation};
use super::writers::{Kind, Writers};

/// Whether an operation is part of a linearization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It took effect, or returned a state.
    Required,
    /// A write of unknown outcome that nobody read but that deletes something: it may explain a read of None.
    Optional,
    /// It did not take effect, or no read can tell whether it did.
    Excluded,
}

/// The bounds of an operation's linearization point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Not before this event.
    pub from: u64,
    /// Not after this event; `u64::MAX` means unbounded.
    pub to: u64,
}

impl Span {
    /// No bounds.
    pub(crate) const ANY: Span = Span { from: 0, to: u64::MAX };

    fn of(operation: &Operation) -> Span {
        Span {
            from: if operation.is_local() { 0 } else { operation.invoked },
            to: operation.completed.filter(|_| operation.verdict == Verdict::Ok).unwrap_or(u64::MAX),
        }
    }
}

/// The reads and writes of one register; None is a delete, or a read of nothing.
#[derive(Debug, Default)]
pub(crate) struct Register {
    pub writes: Vec<(usize, Option<u64>)>,
    pub reads: Vec<(usize, Option<u64>)>,
}

/// The versions of one list that were read, in version order, and the appends that nobody read.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub versions: Vec<ListVersion>,
    pub unread: Vec<usize>,
}

/// One version of a list.
#[derive(Debug, Default)]
pub(crate) struct ListVersion {
    /// Writes of the elements that the version before lacks; a write of several elements appears several times.
    pub writes: Vec<usize>,
    /// Reads of exactly this version.
    pub reads: Vec<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Facts<'h> {
    pub history: &'h [Operation],
    pub fates: Vec<Fate>,
    pub spans: Vec<Span>,
    pub registers: BTreeMap<Key, Register>,
    pub lists: BTreeMap<Key, List>,
}

impl<'h> Facts<'h> {
    /// Analyses the history.
    pub(crate) fn of(history: &'h [Operation]) -> Result<Facts<'h>, Violation> {
        let mut writers = Writers::of(history)?;
        let mut seen = vec![false; history.len()];
        let registers = read_registers(history, &mut writers, &mut seen)?;
        let lists = read_lists(history, &mut writers, &mut seen)?;
        let fates: Vec<Fate> =
            history.iter().zip(&seen).map(|(operation, &seen)| fate_of(operation, seen)).collect();
        let spans = history.iter().zip(&fates).map(|(operation, &fate)| span_of(operation, fate)).collect();
        let mut facts = Facts { history, fates, spans, registers, lists };
        facts.add_writes(&writers);
        Ok(facts)
    }

    fn add_writes(&mut self, writers: &Writers) {
        for (write, operation) in self.history.iter().enumerate() {
            if self.fates[write] == Fate::Excluded {
                continue;
            }
            for (key, value) in final_values(operation) {
                self.registers.entry(key).or_default().writes.push((write, value));
            }
            for &(key, change) in operation.changes() {
                if let Change::Append(element) = change
                    && !writers.is_read(key, element)
                {
                    self.lists.entry(key).or_default().unread.push(write);
                }
            }
        }
    }
}

/// The version that a batch installs in each register it writes.
pub(crate) fn final_values(operation: &Operation) -> BTreeMap<Key, Option<u64>> {
    let changes = operation.changes().iter();
    let values = changes.filter_map(|&(key, change)| match change {
        Change::Set(value) => Some((key, Some(value))),
        Change::Clear => Some((key, None)),
        Change::Append(_) => None,
    });
    values.collect()
}

fn fate_of(operation: &Operation, seen: bool) -> Fate {
    let deletes = || final_values(operation).values().any(Option::is_none);
    match operation.verdict {
        Verdict::Ok => Fate::Required,
        Verdict::Unknown if operation.is_write() && seen => Fate::Required,
        Verdict::Unknown if operation.is_write() && deletes() => Fate::Optional,
        Verdict::Unknown | Verdict::NotApplied => Fate::Excluded,
    }
}

fn span_of(operation: &Operation, fate: Fate) -> Span {
    if fate == Fate::Excluded { Span::ANY } else { Span::of(operation) }
}

fn read_registers(
    history: &[Operation],
    writers: &mut Writers,
    seen: &mut [bool],
) -> Result<BTreeMap<Key, Register>, Violation> {
    let mut registers: BTreeMap<Key, Register> = BTreeMap::new();
    let mut overwritten: BTreeMap<(Key, u64), usize> = BTreeMap::new();
    for (read, operation) in history.iter().enumerate() {
        for (key, observed) in operation.observed() {
            let Observed::Register(value) = observed else { continue };
            writers.note_kind(history, read, *key, Kind::Register)?;
            if let Some(value) = value {
                seen[writers.writer_of(history, read, *key, *value)?] = true;
                let overwrites = operation.changes().iter().any(|(changed, _)| changed == key);
                if overwrites
                    && let Some(other) = overwritten.insert((*key, *value), read)
                    && other != read
                {
                    return Err(lost_update(history, *key, *value, [other, read]));
                }
            }
            registers.entry(*key).or_default().reads.push((read, *value));
        }
    }
    Ok(registers)
}

fn lost_update(history: &[Operation], key: Key, value: u64, both: [usize; 2]) -> Violation {
    let [one, other] = both;
    let why = format!("#{one} and #{other} found {value} at key {key}, and each was the next to write it");
    Violation::plain(history, Anomaly::LostUpdate, &both, why)
}

fn read_lists(
    history: &[Operation],
    writers: &mut Writers,
    seen: &mut [bool],
) -> Result<BTreeMap<Key, List>, Violation> {
    let mut shown: BTreeMap<Key, Vec<(&BTreeSet<u64>, usize)>> = BTreeMap::new();
    for (read, operation) in history.iter().enumerate() {
        for (key, observed) in operation.observed() {
            let Observed::List(elements) = observed else { continue };
            writers.note_kind(history, read, *key, Kind::List)?;
            shown.entry(*key).or_default().push((elements, read));
        }
    }
    let mut lists = BTreeMap::new();
    for (key, mut states) in shown {
        states.sort_by_key(|&(elements, read)| (elements.len(), read));
        lists.insert(key, version_order(history, writers, seen, key, &states)?);
    }
    Ok(lists)
}

/// Sorts the states of one list into versions, smallest first.
fn version_order(
    history: &[Operation],
    writers: &mut Writers,
    seen: &mut [bool],
    key: Key,
    states: &[(&BTreeSet<u64>, usize)],
) -> Result<List, Violation> {
    let nothing = BTreeSet::new();
    let mut before: (&BTreeSet<u64>, usize) = (&nothing, 0);
    let mut list = List::default();
    for &(elements, read) in states {
        let mut writes = Vec::new();
        for &element in elements.difference(before.0) {
            writes.push(writers.writer_of(history, read, key, element)?);
            writers.note_read(key, element);
        }
        if let Some(lost) = before.0.difference(elements).next() {
            return Err(incompatible_order(
                history,
                key,
                before.1,
                read,
                *lost,
                elements.difference(before.0).next(),
            ));
        }
        for &write in &writes {
            seen[write] = true;
        }
        if list.versions.is_empty() || !writes.is_empty() {
            list.versions.push(ListVersion { writes, reads: Vec::new() });
        }
        let version = list.versions.last_mut().expect("the first state opens a version");
        version.reads.push(read);
        before = (elements, read);
    }
    Ok(list)
}

fn incompatible_order(
    history: &[Operation],
    key: Key,
    one: usize,
    other: usize,
    of_one: u64,
    of_other: Option<&u64>,
) -> Violation {
    let of_other = of_other.expect("the larger state has an element that the smaller one lacks");
    let why = format!(
        "list {key} only grows, yet #{one} shows {of_one} and not {of_other}, #{other} shows {of_other} and not \
         {of_one}"
    );
    Violation::plain(history, Anomaly::IncompatibleOrder, &[one, other], why)
}
