//! Transactions.
//!
//! Owns one of each slot, and what it must see: the data as they were when it began, and its own writes over them. What
//! must hold: it commits if nothing was written since it began, and only if what it has read is as it was; then, and not
//! otherwise, its writes are there.

use std::collections::BTreeSet;
use std::ptr::{null, null_mut};

use almadia::capi::iter::{
    almadia_iter_code, almadia_iter_first, almadia_iter_free, almadia_iter_key, almadia_iter_last,
    almadia_iter_next, almadia_iter_options, almadia_iter_prev, almadia_iter_value,
};
use almadia::capi::txn::{
    almadia_txn, almadia_txn_delete, almadia_txn_delete_range, almadia_txn_free, almadia_txn_get,
    almadia_txn_get_exempt, almadia_txn_iter, almadia_txn_iter_exempt, almadia_txn_put,
};
use almadia::capi::txn_begin::almadia_txn_begin;
use almadia::capi::txn_commit::almadia_txn_commit;
use almadia::capi::value::{almadia_value_data, almadia_value_free, almadia_value_size};
use almadia::capi::{almadia_code, almadia_slice};

use super::arguments::Input;
use super::member::{Member, Model};
use super::rules::{CONFLICT, INVALID_ARGUMENT, NOT_FOUND, OK, answer, expect};
use super::writing::Change;
use super::{Free, Handles, SLOTS, put};

/// A transaction, and what it must be like.
pub struct Transaction {
    handle: *mut almadia_txn,
    /// The data when it began.
    began: Model,
    /// What it sees.
    sees: Model,
    /// Keys that it has read, and not written before.
    read: BTreeSet<Vec<u8>>,
    /// What it had emptied whenever it iterated over everything else.
    iterated: Vec<Vec<Change>>,
    /// Ranges that it has emptied.
    emptied: Vec<Change>,
    changes: Vec<Change>,
    written: BTreeSet<Vec<u8>>,
    is_over: bool,
}

impl Free for Transaction {
    fn free(&mut self) {
        // SAFETY: the handle is live and not used again.
        unsafe { almadia_txn_free(self.handle) }
    }
}

/// Whether one of the ranges has `key`.
fn is_emptied(ranges: &[Change], key: &[u8]) -> bool {
    ranges.iter().any(|range| {
        matches!(range, Change::DeleteRange(begin, end) if **begin <= *key && (end.is_empty() || *key < **end))
    })
}

/// Copies what a slice points to.
fn bytes_of(slice: almadia_slice) -> Vec<u8> {
    // SAFETY: the iterator that lends it is not moved meanwhile; an empty one may point nowhere.
    if slice.size == 0 {
        Vec::new()
    } else {
        unsafe { std::slice::from_raw_parts(slice.data.cast(), slice.size) }.to_vec()
    }
}

impl Member {
    /// Begins a transaction, uses it, or commits it.
    pub fn transact(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let slot = &mut handles.transactions[input.slot(SLOTS)];
        let Some(transaction) = slot.as_mut().filter(|transaction| !transaction.is_over) else {
            let mut handle = null_mut();
            // SAFETY: the store is live, the output is writable.
            expect(OK, input, |error| unsafe {
                almadia_txn_begin(self.store, null(), &raw mut handle, error)
            });
            return put(slot, Some(Transaction::new(handle, self.model.clone())));
        };
        match input.number() % 9 {
            0 | 1 => transaction.get(input),
            2 => transaction.iterate(input),
            3 | 4 => transaction.put(input),
            5 => transaction.delete(input),
            6 => transaction.delete_range(input),
            _ => transaction.commit(input, &mut self.model),
        }
    }
}

impl Transaction {
    fn new(handle: *mut almadia_txn, began: Model) -> Self {
        let (sees, read, written) = (began.clone(), BTreeSet::new(), BTreeSet::new());
        let (iterated, emptied, changes) = (Vec::new(), Vec::new(), Vec::new());
        Self { handle, began, sees, read, iterated, emptied, changes, written, is_over: false }
    }

    /// Whether it holds on to the data.
    pub fn is_open(&self) -> bool {
        !self.is_over
    }

    fn get(&mut self, input: &mut Input<'_>) {
        let (key, is_exempt, mut value) = (input.good_key(), input.yes(), null_mut());
        let get = if is_exempt { almadia_txn_get_exempt } else { almadia_txn_get };
        // SAFETY: the handle is live, the key has its length, the output is writable.
        let code =
            answer(input, |error| unsafe { get(self.handle, key.data, key.length, &raw mut value, error) });
        let seen = self.sees.get(&key.bytes);
        assert_eq!(code, if seen.is_some() { OK } else { NOT_FOUND });
        if let Some(seen) = seen {
            // SAFETY: the value is live, and freed once.
            unsafe {
                let (data, size) = (almadia_value_data(value).cast::<u8>(), almadia_value_size(value));
                assert!(
                    size == seen.len() && (size == 0 || std::slice::from_raw_parts(data, size) == &seen[..])
                );
                almadia_value_free(value);
            }
        }
        if !is_exempt && !self.written.contains(&key.bytes) && !is_emptied(&self.emptied, &key.bytes) {
            self.read.insert(key.bytes);
        }
    }

    /// Walks over everything that it sees, from one end or the other.
    fn iterate(&mut self, input: &mut Input<'_>) {
        let (is_exempt, is_reverse, is_backwards) = (input.yes(), input.yes(), input.yes());
        let iterate = if is_exempt { almadia_txn_iter_exempt } else { almadia_txn_iter };
        let options = almadia_iter_options {
            struct_size: size_of::<almadia_iter_options>(),
            lower: null(),
            lower_length: 0,
            upper: null(),
            upper_length: 0,
            prefix: null(),
            prefix_length: 0,
            reverse: i32::from(is_reverse),
            reserved: 0,
        };
        let (mut iter, mut found) = (null_mut(), Vec::new());
        // SAFETY: the handle is live, the options have their size; the iterator is live, and freed once.
        unsafe {
            expect(OK, input, |error| iterate(self.handle, &raw const options, &raw mut iter, error));
            let mut on = if is_backwards { almadia_iter_last(iter) } else { almadia_iter_first(iter) };
            while on {
                found.push((bytes_of(almadia_iter_key(iter)), bytes_of(almadia_iter_value(iter))));
                on = if is_backwards { almadia_iter_prev(iter) } else { almadia_iter_next(iter) };
            }
            assert_eq!(almadia_iter_code(iter, null_mut()), OK);
            almadia_iter_free(iter);
        }
        if is_reverse != is_backwards {
            found.reverse();
        }
        assert!(found.iter().map(|(key, value)| (key, value)).eq(self.sees.iter()), "it shows what it sees");
        if !is_exempt {
            self.iterated.push(self.emptied.clone());
        }
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let (key, value) = (input.good_key(), input.good_key());
        // SAFETY: the handle is live, the bytes have their lengths.
        expect(OK, input, |error| unsafe {
            almadia_txn_put(self.handle, key.data, key.length, value.data, value.length, error)
        });
        self.written.insert(key.bytes.clone());
        self.change(Change::Put(key.bytes, value.bytes));
    }

    fn delete(&mut self, input: &mut Input<'_>) {
        let key = input.good_key();
        // SAFETY: as above.
        expect(OK, input, |error| unsafe { almadia_txn_delete(self.handle, key.data, key.length, error) });
        self.written.insert(key.bytes.clone());
        self.change(Change::Delete(key.bytes));
    }

    fn delete_range(&mut self, input: &mut Input<'_>) {
        let (begin, end) = (input.good_key(), input.good_key());
        let change = Change::DeleteRange(begin.bytes.clone(), end.bytes.clone());
        let wanted = if change.is_reversed() { INVALID_ARGUMENT } else { OK };
        // SAFETY: as above.
        expect(wanted, input, |error| unsafe {
            almadia_txn_delete_range(self.handle, begin.data, begin.length, end.data, end.length, error)
        });
        if wanted == OK {
            self.emptied.push(change.clone());
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.sees);
        self.changes.push(change);
    }

    fn commit(&mut self, input: &mut Input<'_>, model: &mut Model) {
        // SAFETY: the handle is live.
        let commit = |error| unsafe { almadia_txn_commit(self.handle, null(), error) };
        let code: almadia_code = answer(input, commit);
        let is_same = |key: &Vec<u8>| self.began.get(key) == model.get(key);
        if code == OK {
            // One that wrote nothing may have been overtaken: what it read was so when it began.
            let keys = || self.began.keys().chain(model.keys());
            let is_whole = |emptied: &Vec<Change>| keys().all(|key| is_emptied(emptied, key) || is_same(key));
            let is_true = self.read.iter().all(is_same) && self.iterated.iter().all(is_whole);
            assert!(is_true || self.changes.is_empty(), "what it has read is as it was");
            self.changes.drain(..).for_each(|change| change.apply(model));
        } else {
            assert_eq!(code, CONFLICT);
            assert!(!self.read.is_empty() || !self.iterated.is_empty(), "it has read something");
        }
        self.is_over = true;
        // SAFETY: as above.
        expect(INVALID_ARGUMENT, input, |error| unsafe { almadia_txn_commit(self.handle, null(), error) });
    }
}
