//! Batches and writes.
//!
//! Owns the calls that change data and their expected effects: a refused batch is unchanged, a written one is empty,
//! and the model changes with every acknowledged write and no other.

use std::ptr::{null, null_mut};

use almadia::capi::almadia_code;
use almadia::capi::batch::{
    almadia_batch_bytes, almadia_batch_clear, almadia_batch_count, almadia_batch_delete,
    almadia_batch_delete_range, almadia_batch_new, almadia_batch_put,
};
use almadia::capi::position::almadia_position;
use almadia::capi::write::{
    almadia_delete, almadia_put, almadia_put_async, almadia_write, almadia_write_async,
};
use almadia::capi::write_options::almadia_write_options;

use super::arguments::{Bytes, Input};
use super::member::{Answers, Member, Model};
use super::options::Sized;
use super::rules::{
    BATCH_BYTES_MAX, INVALID_ARGUMENT, KEY_BYTES_MAX, NULL_POINTER, OK, TOO_LARGE, UNSUPPORTED, answer,
    expect,
};
use super::{Batch, Handles, SLOTS, put};

/// An upper bound of what an operation adds to a batch in addition to its bytes.
const OPERATION_BYTES_MAX: usize = 64;

/// One operation.
#[derive(Clone)]
pub enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

impl Change {
    pub fn apply(self, model: &mut Model) {
        match self {
            Self::Put(key, value) => drop(model.insert(key, value)),
            Self::Delete(key) => drop(model.remove(&key)),
            Self::DeleteRange(begin, end) => {
                let is_behind = |key: &Vec<u8>| !end.is_empty() && *key >= end;
                model.retain(|key, _| *key < begin || is_behind(key));
            }
        }
    }

    /// Whether it is a range with an end that is before its begin.
    pub fn is_reversed(&self) -> bool {
        matches!(self, Self::DeleteRange(begin, end) if begin > end && !end.is_empty())
    }

    /// The bytes that a range without an end takes in a batch for its end.
    pub fn bytes_of_no_end(&self) -> usize {
        if matches!(self, Self::DeleteRange(_, end) if end.is_empty()) { KEY_BYTES_MAX + 1 } else { 0 }
    }
}

impl Handles {
    pub fn new_batch(&mut self, input: &mut Input<'_>) {
        let mut handle = null_mut();
        let slot = input.slot(SLOTS);
        // SAFETY: the output is writable.
        expect(OK, input, |error| unsafe { almadia_batch_new(&raw mut handle, error) });
        assert!(!handle.is_null());
        put(&mut self.batches[slot], Some(Batch { handle, changes: Vec::new() }));
        // SAFETY: NULL is refused.
        expect(NULL_POINTER, input, |error| unsafe { almadia_batch_new(null_mut(), error) });
    }

    fn add(
        &mut self,
        input: &mut Input<'_>,
        arguments: &[&Bytes],
        change: Change,
        call: impl Fn(
            *mut almadia::capi::batch::almadia_batch,
            *mut *mut almadia::capi::almadia_error,
        ) -> almadia_code,
    ) {
        let Some(batch) = &mut self.batches[input.slot(SLOTS)] else {
            return expect(NULL_POINTER, input, |error| call(null_mut(), error));
        };
        let before = batch.bytes();
        let code = answer(input, |error| call(batch.handle, error));
        let wrong = arguments.iter().map(|bytes| bytes.verdict).find(|verdict| *verdict != OK);
        let is_reversed = change.is_reversed();
        let after = before
            + arguments.iter().map(|bytes| bytes.bytes.len()).sum::<usize>()
            + change.bytes_of_no_end();
        if code == OK {
            assert!(wrong.is_none() && !is_reversed, "wrong arguments are refused");
            assert!(after <= batch.bytes() && batch.bytes() <= BATCH_BYTES_MAX, "a batch has a limit");
            batch.changes.push(change);
        } else {
            let is_full = code == TOO_LARGE && after + OPERATION_BYTES_MAX > BATCH_BYTES_MAX;
            let is_wrong = arguments.iter().any(|bytes| bytes.verdict == code);
            assert!(is_full || is_wrong || (is_reversed && code == INVALID_ARGUMENT), "answered {code}");
            assert_eq!(batch.bytes(), before, "a refused batch is unchanged");
        }
        batch.check_count();
    }

    pub fn batch_put(&mut self, input: &mut Input<'_>) {
        let (key, value) = (input.key(), input.value());
        let change = Change::Put(key.bytes.clone(), value.bytes.clone());
        // SAFETY: the batch is live or NULL; the bytes have their lengths, or lengths that are refused.
        self.add(input, &[&key, &value], change, |batch, error| unsafe {
            almadia_batch_put(batch, key.data, key.length, value.data, value.length, error)
        });
    }

    pub fn batch_delete(&mut self, input: &mut Input<'_>) {
        let key = input.key();
        let change = Change::Delete(key.bytes.clone());
        // SAFETY: as above.
        self.add(input, &[&key], change, |batch, error| unsafe {
            almadia_batch_delete(batch, key.data, key.length, error)
        });
    }

    pub fn batch_delete_range(&mut self, input: &mut Input<'_>) {
        let (begin, end) = (input.key(), input.key());
        let change = Change::DeleteRange(begin.bytes.clone(), end.bytes.clone());
        // SAFETY: as above.
        self.add(input, &[&begin, &end], change, |batch, error| unsafe {
            almadia_batch_delete_range(batch, begin.data, begin.length, end.data, end.length, error)
        });
    }

    pub fn check_batch(&mut self, input: &mut Input<'_>) {
        let Some(batch) = &mut self.batches[input.slot(SLOTS)] else {
            // SAFETY: NULL is fine.
            unsafe {
                assert_eq!((almadia_batch_count(null()), almadia_batch_bytes(null())), (0, 0));
                almadia_batch_clear(null_mut());
            }
            return;
        };
        batch.check_count();
        if input.yes() {
            // SAFETY: the batch is live.
            unsafe { almadia_batch_clear(batch.handle) };
            batch.changes.clear();
            batch.check_count();
        }
    }
}

impl Batch {
    fn bytes(&self) -> usize {
        // SAFETY: the batch is live.
        unsafe { almadia_batch_bytes(self.handle) }
    }

    pub fn check_count(&self) {
        // SAFETY: the batch is live.
        assert_eq!(unsafe { almadia_batch_count(self.handle) }, self.changes.len());
    }
}

impl Member {
    pub fn write(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let WriteOptions { options, wanted, with_events } = WriteOptions::draw(input);
        let mut position = almadia_position { index: 7, term: 7 };
        let place = if input.yes() { &raw mut position } else { null_mut() };
        let store = self.store;
        let Some(batch) = &mut handles.batches[input.slot(SLOTS)] else {
            // SAFETY: NULL is refused before anything else can matter.
            let write = |error| unsafe { almadia_write(store, null_mut(), null(), place, error) };
            return expect(NULL_POINTER, input, write);
        };
        // SAFETY: store and batch are live, options have their size, the position is writable or NULL.
        let code = answer(input, |error| unsafe {
            almadia_write(store, batch.handle, options.pointer(), place, error)
        });
        // Both are wrong, and a callback is missing: the header does not specify which is reported.
        let two_faults = with_events && [NULL_POINTER, INVALID_ARGUMENT, UNSUPPORTED].contains(&code);
        assert!(code == wanted || two_faults, "answered {code}, not {wanted}");
        if code == OK {
            let is_read = batch.changes.is_empty();
            batch.changes.drain(..).for_each(|change| change.apply(&mut self.model));
            if !place.is_null() && is_read {
                assert!(position.index >= self.last_index(), "it covers what was written");
            } else if !place.is_null() {
                self.check_newer(position.index);
            }
        }
        batch.check_count();
    }

    pub fn put(&mut self, input: &mut Input<'_>) {
        let (key, value, store) = (input.key(), input.value(), self.store);
        // SAFETY: the store is live; the bytes have their lengths, or lengths that are refused.
        let code = answer(input, |error| unsafe {
            almadia_put(store, key.data, key.length, value.data, value.length, error)
        });
        assert_one_of(code, &[&key, &value]);
        if code == OK {
            Change::Put(key.bytes, value.bytes).apply(&mut self.model);
        }
    }

    pub fn delete(&mut self, input: &mut Input<'_>) {
        let (key, store) = (input.key(), self.store);
        // SAFETY: as above.
        let code = answer(input, |error| unsafe { almadia_delete(store, key.data, key.length, error) });
        assert_one_of(code, &[&key]);
        if code == OK {
            Change::Delete(key.bytes).apply(&mut self.model);
        }
    }

    /// A few concurrent writes; the sequence continues when all are answered.
    pub fn write_async(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let answers = Answers::default();
        let mut accepted = Vec::new();
        for _ in 0..1 + input.number() % 4 {
            let done = answers.done(input.number() == 0xff);
            let wanted = if done.callback.is_some() { OK } else { NULL_POINTER };
            let store = self.store;
            let held = handles.batches[input.slot(SLOTS)].as_mut().filter(|_| input.yes());
            let (code, changes) = match held {
                Some(batch) => {
                    // SAFETY: store and batch are live, the answers outlive every callback.
                    let code = answer(input, |error| unsafe {
                        almadia_write_async(store, batch.handle, null(), &raw const done, error)
                    });
                    let changes = if code == OK { std::mem::take(&mut batch.changes) } else { Vec::new() };
                    batch.check_count();
                    (code, changes)
                }
                None => {
                    let (key, value) = (input.good_key(), input.good_key());
                    // SAFETY: as above, and the bytes have their lengths.
                    let code = answer(input, |error| unsafe {
                        let (k, v) = (&key, &value);
                        almadia_put_async(store, k.data, k.length, v.data, v.length, &raw const done, error)
                    });
                    (code, vec![Change::Put(key.bytes, value.bytes)])
                }
            };
            assert_eq!(code, wanted);
            if code == OK {
                accepted.push(changes);
            }
        }
        let answered = answers.wait(accepted.len());
        assert!(answered.iter().all(|(code, _)| *code == OK), "{answered:?}");
        // Without operations a write is a read, which may overtake.
        let all_write = accepted.iter().all(|changes| !changes.is_empty());
        assert!(
            !all_write || answered.is_sorted_by_key(|(_, index)| *index),
            "one thread's writes complete in their order"
        );
        accepted.into_iter().flatten().for_each(|change| change.apply(&mut self.model));
    }
}

/// The options of a blocking write.
pub struct WriteOptions {
    pub options: Sized<almadia_write_options>,
    /// OK, or the code that any call with them must return.
    pub wanted: almadia_code,
    /// Whether they ask for events, which such a write has not.
    pub with_events: bool,
}

impl WriteOptions {
    pub fn draw(input: &mut Input<'_>) -> Self {
        let mut options = Sized::<almadia_write_options>::new();
        options.options.reserved = u32::from(input.number() == 0xff);
        options.options.events = if input.number() == 0xff { 1 } else { 0 };
        let (reserved, events) = (options.options.reserved, options.options.events);
        let (sized, given) = options.vary(input);
        let wanted = match (sized, given) {
            (OK, true) if reserved != 0 => UNSUPPORTED,
            (OK, true) if events != 0 => INVALID_ARGUMENT,
            (code, _) => code,
        };
        Self { options, wanted, with_events: given && events != 0 }
    }
}

/// Valid arguments are accepted; of several invalid ones any may be reported.
pub fn assert_one_of(code: almadia_code, arguments: &[&Bytes]) {
    if code == OK {
        assert!(arguments.iter().all(|bytes| bytes.verdict == OK), "wrong arguments are refused");
    } else {
        let full = arguments.iter().map(|bytes| bytes.bytes.len()).sum::<usize>() + OPERATION_BYTES_MAX;
        let is_full = code == TOO_LARGE && full > BATCH_BYTES_MAX;
        assert!(is_full || arguments.iter().any(|bytes| bytes.verdict == code), "answered {code}");
    }
}
