//! Calls with many keys.
//!
//! Owns the calls that read several keys and those that add several operations to a batch: the result for each key must
//! be that of a call for this key alone, and a batch gets all operations or none.

use std::ptr::{NonNull, null, null_mut};

use almadia::capi::batch::{almadia_batch_append_ops, almadia_batch_bytes, almadia_op};
use almadia::capi::get::{almadia_multi_get, almadia_snapshot_multi_get};
use almadia::capi::snapshot_open::almadia_snapshot_options;
use almadia::capi::value::{almadia_values, almadia_values_at, almadia_values_count, almadia_values_free};
use almadia::capi::{almadia_code, almadia_slice};

use super::arguments::{Bytes, Input};
use super::member::{Member, Model};
use super::options::Sized;
use super::rules::{
    END, INVALID_ARGUMENT, NOT_FOUND, NULL_POINTER, OK, TOO_LARGE, UNSUPPORTED, answer, expect,
};
use super::writing::Change;
use super::{Free, Handles, SLOTS, put};

/// Most keys of one call.
const KEYS_MAX: usize = 5;

/// Values that were read, and their expected bytes.
pub struct Values {
    pub handle: *mut almadia_values,
    pub shows: Vec<Option<Vec<u8>>>,
}

impl Free for Values {
    fn free(&mut self) {
        // SAFETY: the handle is live and not used again.
        unsafe { almadia_values_free(self.handle) }
    }
}

impl Values {
    /// What `model` has of `keys`.
    pub fn of(handle: *mut almadia_values, keys: &[Bytes], model: &Model) -> Self {
        let shows = keys.iter().map(|key| model.get(&key.bytes).cloned()).collect();
        Self { handle, shows }
    }

    /// All values, as the library returns them.
    pub fn returned(&self) -> Vec<Option<Vec<u8>>> {
        let slice = |at| {
            let mut value = almadia_slice { data: null(), size: 77 };
            // SAFETY: the values are live, the output is writable, and borrowed memory is copied immediately.
            match unsafe { almadia_values_at(self.handle, at, &raw mut value) } {
                OK if value.size == 0 => Some(Some(Vec::new())),
                OK => Some(Some(
                    unsafe { std::slice::from_raw_parts(value.data.cast::<u8>(), value.size) }.to_vec(),
                )),
                NOT_FOUND => Some(None),
                END => None,
                other => panic!("answered {other}"),
            }
        };
        (0..).map_while(slice).collect()
    }

    pub fn check(&self) {
        assert_eq!(self.returned(), self.shows);
        // SAFETY: the values are live or NULL; the output is writable or NULL.
        unsafe {
            assert_eq!(almadia_values_count(self.handle), self.shows.len());
            assert_eq!(almadia_values_count(null_mut()), 0);
            let mut value = almadia_slice { data: null(), size: 0 };
            assert_eq!(almadia_values_at(self.handle, usize::MAX, &raw mut value), END);
            assert_eq!(almadia_values_at(self.handle, 0, null_mut()), NULL_POINTER);
            assert_eq!(almadia_values_at(null_mut(), 0, &raw mut value), NULL_POINTER);
            almadia_values_free(null_mut());
        }
    }
}

/// Keys for one call; valid ones only, or any.
pub fn keys(input: &mut Input<'_>, only_good: bool) -> Vec<Bytes> {
    let count = input.slot(KEYS_MAX + 1);
    (0..count).map(|_| if only_good { input.good_key() } else { input.key() }).collect()
}

pub fn slices_of(keys: &[Bytes]) -> Vec<almadia_slice> {
    keys.iter().map(|key| almadia_slice { data: key.data, size: key.length }).collect()
}

/// What any call returns for an array of these keys; it may name any of several invalid ones.
fn may_be_refused(code: almadia_code, keys: &[Bytes]) -> bool {
    keys.iter().any(|key| key.verdict != OK && (key.verdict == code || code == INVALID_ARGUMENT))
}

impl Member {
    pub fn multi_get(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let (keys, store) = (keys(input, false), self.store);
        let mut options = Sized::<almadia_snapshot_options>::new();
        let end = if input.number() == 0xff { input.good_key() } else { Bytes::none() };
        (options.options.end, options.options.end_length) = (end.data, end.length);
        options.options.level = i32::from(input.yes());
        let (sized, given) = options.vary(input);
        let slices = slices_of(&keys);
        let mut handle = NonNull::dangling().as_ptr();
        // SAFETY: the store is live, there are so many slices, each with bytes or refused, options have their size.
        let code = answer(input, |error| unsafe {
            almadia_multi_get(store, slices.as_ptr(), slices.len(), options.pointer(), &raw mut handle, error)
        });
        assert_eq!(handle.is_null(), code != OK, "a handle comes with a success");
        let has_range = given && end.length > 0;
        if code != OK {
            let refused = (sized != OK && code == sized) || (has_range && code == INVALID_ARGUMENT);
            return assert!(refused || may_be_refused(code, &keys), "answered {code}");
        }
        let wrong = keys.iter().any(|key| key.verdict != OK && key.verdict != TOO_LARGE);
        assert!(sized == OK && !has_range && !wrong, "wrong arguments are refused");
        let read = Values::of(handle, &keys, &self.model);
        read.check();
        put(&mut handles.many[input.slot(SLOTS)], Some(read));
        // SAFETY: outputs are NULL or writable; a missing array is refused, an empty one may be missing.
        unsafe {
            let keys = slices.as_ptr();
            expect(NULL_POINTER, input, |error| {
                almadia_multi_get(store, keys, slices.len(), null(), null_mut(), error)
            });
            expect(NULL_POINTER, input, |error| {
                almadia_multi_get(store, null(), 1, null(), &raw mut handle, error)
            });
            assert!(handle.is_null());
            expect(OK, input, |error| almadia_multi_get(store, null(), 0, null(), &raw mut handle, error));
            assert_eq!(almadia_values_count(handle), 0);
            almadia_values_free(handle);
        }
    }
}

impl Handles {
    pub fn check_many(&mut self, input: &mut Input<'_>) {
        match &self.many[input.slot(SLOTS)] {
            Some(values) => values.check(),
            None => super::in_flight::check_null_completion(),
        }
        if input.yes() {
            put(&mut self.many[input.slot(SLOTS)], None);
        }
    }

    pub fn snapshot_multi_get(&mut self, input: &mut Input<'_>) {
        let keys = keys(input, false);
        let slices = slices_of(&keys);
        let mut handle = NonNull::dangling().as_ptr();
        let Some(snapshot) = &self.snapshots[input.slot(SLOTS)] else {
            // SAFETY: NULL is refused.
            expect(NULL_POINTER, input, |error| unsafe {
                almadia_snapshot_multi_get(null_mut(), null(), 0, &raw mut handle, error)
            });
            return assert!(handle.is_null());
        };
        // SAFETY: the snapshot is live, there are so many slices, each with bytes or refused.
        let code = answer(input, |error| unsafe {
            let (keys, count) = (slices.as_ptr(), slices.len());
            almadia_snapshot_multi_get(snapshot.handle, keys, count, &raw mut handle, error)
        });
        assert_eq!(handle.is_null(), code != OK, "a handle comes with a success");
        let (start, end) = &snapshot.range;
        let outside = |key: &Bytes| key.bytes < *start || (!end.is_empty() && key.bytes >= *end);
        let is_outside = keys.iter().any(|key| key.verdict == OK && outside(key));
        if code != OK {
            let refused = is_outside && code == INVALID_ARGUMENT;
            return assert!(refused || may_be_refused(code, &keys), "answered {code}");
        }
        let wrong = keys.iter().any(|key| key.verdict != OK && key.verdict != TOO_LARGE);
        assert!(!is_outside && !wrong, "wrong arguments are refused");
        let read = Values::of(handle, &keys, &snapshot.shows);
        read.check();
        put(&mut self.many[input.slot(SLOTS)], Some(read));
    }

    pub fn batch_append_ops(&mut self, input: &mut Input<'_>) {
        let drawn: Vec<_> = (0..input.slot(KEYS_MAX + 1)).map(|_| Drawn::read(input)).collect();
        let ops: Vec<_> = drawn.iter().map(|drawn| drawn.op).collect();
        let (array, count) =
            if input.number() == 0xff { (null(), 1 + ops.len()) } else { (ops.as_ptr(), ops.len()) };
        let Some(batch) = &mut self.batches[input.slot(SLOTS)] else {
            // SAFETY: NULL is refused.
            return expect(NULL_POINTER, input, |error| unsafe {
                almadia_batch_append_ops(null_mut(), array, count, error)
            });
        };
        // SAFETY: the batch is live.
        let bytes = |handle| unsafe { almadia_batch_bytes(handle) };
        let before = bytes(batch.handle);
        // SAFETY: the batch is live, there are so many operations, each with bytes or lengths that are refused.
        let code =
            answer(input, |error| unsafe { almadia_batch_append_ops(batch.handle, array, count, error) });
        if code == OK {
            assert!(!array.is_null() && drawn.iter().all(|drawn| drawn.verdicts.is_empty()), "all are good");
            batch.changes.extend(drawn.into_iter().filter_map(|drawn| drawn.change));
        } else {
            let payload: usize = drawn.iter().map(Drawn::bytes).sum();
            let is_full = code == TOO_LARGE && before + payload > super::rules::BATCH_BYTES_MAX;
            let is_wrong = drawn.iter().any(|drawn| drawn.verdicts.contains(&code));
            let is_missing = array.is_null() && code == NULL_POINTER;
            assert!(is_full || is_wrong || is_missing, "answered {code}");
            assert_eq!(bytes(batch.handle), before, "all or none");
        }
        batch.check_count();
    }
}

/// One operation and its errors.
struct Drawn {
    op: almadia_op,
    /// The bytes that it points to.
    arguments: [Bytes; 2],
    change: Option<Change>,
    verdicts: Vec<almadia_code>,
}

impl Drawn {
    fn read(input: &mut Input<'_>) -> Self {
        let kind = input.number();
        let (key, value) =
            (input.key(), if kind % 4 == 1 && kind < 0xe0 { Bytes::none() } else { input.value() });
        let mut verdicts: Vec<_> =
            [&key, &value].map(|bytes| bytes.verdict).into_iter().filter(|v| *v != OK).collect();
        let (number, change) = match kind % 4 {
            0 => (1, Some(Change::Put(key.bytes.clone(), value.bytes.clone()))),
            1 => {
                if value.length > 0 {
                    verdicts.push(INVALID_ARGUMENT);
                }
                (2, Some(Change::Delete(key.bytes.clone())))
            }
            2 => {
                let change = Change::DeleteRange(key.bytes.clone(), value.bytes.clone());
                if change.is_reversed() {
                    verdicts.push(INVALID_ARGUMENT);
                }
                // The end of a range is checked like a key.
                if value.length > super::rules::KEY_BYTES_MAX {
                    verdicts.push(TOO_LARGE);
                }
                (3, Some(change))
            }
            _ => match kind {
                0xff => (i32::MIN, None),
                0xfb => (0, None),
                0xf7 => (4, None),
                _ => (1, Some(Change::Put(key.bytes.clone(), value.bytes.clone()))),
            },
        };
        let reserved = i32::from(input.number() == 0xff);
        if change.is_none() || reserved != 0 {
            verdicts.push(UNSUPPORTED);
        }
        let slice = |bytes: &Bytes| almadia_slice { data: bytes.data, size: bytes.length };
        let op = almadia_op { kind: number, reserved, key: slice(&key), value: slice(&value) };
        Self { op, arguments: [key, value], change, verdicts }
    }

    /// An upper bound of what it adds to a batch: its payload and a little more.
    fn bytes(&self) -> usize {
        let given: usize = self.arguments.iter().map(|bytes| bytes.bytes.len()).sum();
        given + self.change.as_ref().map_or(0, Change::bytes_of_no_end) + 64
    }
}
