//! Writes of one key that judge or compute.
//!
//! Owns what each of them must come to, by the map: whether its condition is true there, what it takes, and the sum. What
//! must hold: a refused write changes nothing, and names the operation and whether the key is there.

use std::ops::Bound;
use std::ptr::{null, null_mut};

use almadia::capi::compare::{
    almadia_compare_and_delete, almadia_compare_and_set, almadia_compare_value_and_delete,
    almadia_compare_value_and_set, almadia_put_if_absent,
};
use almadia::capi::compute::{almadia_add, almadia_pop, almadia_put_versioned, almadia_take_first};
use almadia::capi::error::{almadia_error_code, almadia_error_free};
use almadia::capi::precondition::{almadia_error_precondition, almadia_precondition};
use almadia::capi::value::{
    almadia_value, almadia_value_data, almadia_value_free, almadia_value_size, almadia_value_version,
};
use almadia::capi::{almadia_code, almadia_error};

use super::arguments::Input;
use super::member::Member;
use super::rules::{INVALID_ARGUMENT, NOT_A_NUMBER, NOT_FOUND, OK, PRECONDITION_FAILED, answer};

/// The bytes of a value, which is freed.
fn taken(value: *mut almadia_value) -> Vec<u8> {
    assert!(!value.is_null());
    // SAFETY: it is live, and freed once; its bytes are copied before.
    unsafe {
        let bytes =
            std::slice::from_raw_parts(almadia_value_data(value).cast::<u8>(), almadia_value_size(value));
        let bytes = bytes.to_vec();
        almadia_value_free(value);
        bytes
    }
}

impl Member {
    /// One of the calls.
    pub fn judge(&mut self, input: &mut Input<'_>) {
        let key = input.good_key().bytes;
        match input.number() % 9 {
            0 => self.put_if_absent(input, key),
            1 => self.compare_and_set(input, key),
            2 => self.compare_value_and_set(input, key),
            3 => self.compare_and_delete(input, key),
            4 => self.compare_value_and_delete(input, key),
            5 => self.add(input, key),
            6 => self.pop(input, key),
            7 => self.take_first(input, key),
            _ => self.put_versioned(input, key),
        }
    }

    /// Makes a write that is refused unless `is_true`, and returns whether it was applied.
    fn judged(
        &self,
        is_true: bool,
        key: &[u8],
        input: &mut Input<'_>,
        call: impl Fn(*mut u64, *mut *mut almadia_error) -> almadia_code,
    ) -> bool {
        let mut version = 7_777_777_777_777_777;
        let mut error: *mut almadia_error = null_mut();
        let slot = if input.yes() { &raw mut error } else { null_mut() };
        let code = call(&raw mut version, slot);
        assert_eq!(code, if is_true { OK } else { PRECONDITION_FAILED });
        let exists = self.model.contains_key(key);
        assert_eq!(version > 0, is_true || exists, "of the write, or of what is there");
        if !error.is_null() {
            let mut found = almadia_precondition {
                struct_size: size_of::<almadia_precondition>(),
                operation: 7,
                version: 7,
                exists: 7,
                reserved: 7,
            };
            // SAFETY: the error is live and freed once; the struct has its size.
            unsafe {
                assert_eq!(almadia_error_code(error), PRECONDITION_FAILED);
                assert_eq!(almadia_error_precondition(error, &raw mut found), OK);
                almadia_error_free(error);
            }
            assert_eq!((found.operation, found.exists, found.version), (0, i32::from(exists), version));
        }
        is_true
    }

    fn put_if_absent(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let (value, store) = (input.good_key().bytes, self.store);
        let is_true = !self.model.contains_key(&key);
        // SAFETY: the store is live, the bytes have their lengths, outputs are NULL or writable; here and below.
        let done = self.judged(is_true, &key, input, |version, error| unsafe {
            let (key, value) = ((key.as_ptr().cast(), key.len()), (value.as_ptr().cast(), value.len()));
            almadia_put_if_absent(store, key.0, key.1, value.0, value.1, null(), version, error)
        });
        if done {
            self.model.insert(key, value);
        }
    }

    fn compare_and_set(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let (value, store) = (input.good_key().bytes, self.store);
        // A version that no key has: true only of none.
        let expected = if input.yes() { 0 } else { u64::MAX - 1 };
        let is_true = expected == 0 && !self.model.contains_key(&key);
        // SAFETY: as above.
        let done = self.judged(is_true, &key, input, |version, error| unsafe {
            let (key, value) = ((key.as_ptr().cast(), key.len()), (value.as_ptr().cast(), value.len()));
            almadia_compare_and_set(store, key.0, key.1, expected, value.0, value.1, null(), version, error)
        });
        if done {
            self.model.insert(key, value);
        }
    }

    fn compare_value_and_set(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let (expected, value, store) = (self.expected(input, &key), input.good_key().bytes, self.store);
        let is_true = self.model.get(&key) == Some(&expected);
        // SAFETY: as above.
        let done = self.judged(is_true, &key, input, |version, error| unsafe {
            let (key, value) = ((key.as_ptr().cast(), key.len()), (value.as_ptr().cast(), value.len()));
            let (data, length) = (expected.as_ptr().cast(), expected.len());
            almadia_compare_value_and_set(
                store,
                key.0,
                key.1,
                data,
                length,
                value.0,
                value.1,
                null(),
                version,
                error,
            )
        });
        if done {
            self.model.insert(key, value);
        }
    }

    fn compare_and_delete(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let store = self.store;
        let is_true = !self.model.contains_key(&key);
        // SAFETY: as above.
        self.judged(is_true, &key, input, |version, error| unsafe {
            almadia_compare_and_delete(store, key.as_ptr().cast(), key.len(), 0, null(), version, error)
        });
    }

    fn compare_value_and_delete(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let (expected, store) = (self.expected(input, &key), self.store);
        let is_true = self.model.get(&key) == Some(&expected);
        // SAFETY: as above.
        let done = self.judged(is_true, &key, input, |version, error| unsafe {
            let (data, length) = (expected.as_ptr().cast(), expected.len());
            almadia_compare_value_and_delete(
                store,
                key.as_ptr().cast(),
                key.len(),
                data,
                length,
                null(),
                version,
                error,
            )
        });
        if done {
            self.model.remove(&key);
        }
    }

    /// Often the value that is there.
    fn expected(&self, input: &mut Input<'_>, key: &[u8]) -> Vec<u8> {
        let other = input.good_key().bytes;
        self.model.get(key).filter(|_| input.yes()).cloned().unwrap_or(other)
    }

    fn add(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let (delta, store) = (i64::from(input.number()) << (u32::from(input.number()) % 57), self.store);
        let before = match self.model.get(&key) {
            None => Some(0),
            Some(value) => value.as_slice().try_into().map(i64::from_le_bytes).ok(),
        };
        let after = before.and_then(|before| before.checked_add(delta));
        let mut sum = 7;
        // SAFETY: as above.
        let code = answer(input, |error| unsafe {
            almadia_add(store, key.as_ptr().cast(), key.len(), delta, null(), &raw mut sum, error)
        });
        match after {
            Some(after) => {
                assert_eq!((code, sum), (OK, after));
                self.model.insert(key, after.to_le_bytes().to_vec());
            }
            None => assert_eq!((code, sum), (NOT_A_NUMBER, 7)),
        }
    }

    fn pop(&mut self, input: &mut Input<'_>, key: Vec<u8>) {
        let (store, mut value) = (self.store, null_mut());
        // SAFETY: as above.
        let code = answer(input, |error| unsafe {
            almadia_pop(store, key.as_ptr().cast(), key.len(), null(), &raw mut value, error)
        });
        let there = self.model.remove(&key);
        assert_eq!(code, if there.is_some() { OK } else { NOT_FOUND });
        assert_eq!((!value.is_null()).then(|| taken(value)), there);
    }

    fn take_first(&mut self, input: &mut Input<'_>, begin: Vec<u8>) {
        let (end, store) = (input.good_key().bytes, self.store);
        let (mut key, mut value) = (null_mut(), null_mut());
        // SAFETY: as above.
        let code = answer(input, |error| unsafe {
            let (from, to) = ((begin.as_ptr().cast(), begin.len()), (end.as_ptr().cast(), end.len()));
            almadia_take_first(store, from.0, from.1, to.0, to.1, null(), &raw mut key, &raw mut value, error)
        });
        if begin > end && !end.is_empty() {
            assert_eq!((code, key, value), (INVALID_ARGUMENT, null_mut(), null_mut()));
            return;
        }
        let behind = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let first = self.model.range((Bound::Included(begin), behind)).next().map(|(key, _)| key.clone());
        let there = first.map(|key| self.model.remove_entry(&key).expect("just seen"));
        assert_eq!(code, if there.is_some() { OK } else { NOT_FOUND });
        assert_eq!((!key.is_null()).then(|| (taken(key), taken(value))), there);
    }

    fn put_versioned(&mut self, input: &mut Input<'_>, prefix: Vec<u8>) {
        let (value, store, mut key) = (input.good_key().bytes, self.store, null_mut());
        // SAFETY: as above.
        let code = answer(input, |error| unsafe {
            let (prefix, value) =
                ((prefix.as_ptr().cast(), prefix.len()), (value.as_ptr().cast(), value.len()));
            almadia_put_versioned(store, prefix.0, prefix.1, value.0, value.1, null(), &raw mut key, error)
        });
        assert_eq!(code, OK);
        // SAFETY: it is live.
        let version = unsafe { almadia_value_version(key) };
        let made = [&prefix[..], &version.to_be_bytes(), &[0, 0]].concat();
        assert_eq!(taken(key), made);
        self.model.insert(made, value);
    }
}
