//! Iterators.
//!
//! Owns the calls that move an iterator and the check of what it shows: exactly the pairs of its snapshot that are
//! within its bounds and have its prefix, in its direction.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use almadia::capi::iter::{
    almadia_iter_code, almadia_iter_first, almadia_iter_free, almadia_iter_key, almadia_iter_last,
    almadia_iter_new, almadia_iter_next, almadia_iter_next_n, almadia_iter_next_n_versions,
    almadia_iter_options, almadia_iter_prev, almadia_iter_seek, almadia_iter_seek_for_prev,
    almadia_iter_valid, almadia_iter_value,
};
use almadia::capi::{almadia_kv, almadia_slice};

use super::arguments::Input;
use super::member::Model;
use super::options::Sized;
use super::rules::{END, INVALID_ARGUMENT, NULL_POINTER, OK, UNSUPPORTED, answer, expect};
use super::{Handles, Iter, Place, SLOTS, put};

impl Handles {
    pub fn new_iter(&mut self, input: &mut Input<'_>) {
        let mut options = Sized::<almadia_iter_options>::new();
        let [lower, upper, prefix] = [(); 3].map(|()| input.good_key());
        let fields = &mut options.options;
        (fields.lower, fields.lower_length) = (lower.data, lower.length);
        (fields.upper, fields.upper_length) = (upper.data, upper.length);
        (fields.prefix, fields.prefix_length) = (prefix.data, prefix.length);
        fields.reverse = i32::from(input.yes());
        fields.reserved = i32::from(input.number() == 0xff);
        let is_reverse = fields.reverse == 1;
        let reserved = fields.reserved;
        let (sized, given) = options.vary(input);
        let wanted = if sized == OK && given && reserved != 0 { UNSUPPORTED } else { sized };
        let mut handle = NonNull::dangling().as_ptr();
        let Some(snapshot) = &self.snapshots[input.slot(SLOTS)] else { return };
        // SAFETY: the snapshot is live, options have their size, the output is writable.
        let code = answer(input, |error| unsafe {
            almadia_iter_new(snapshot.handle, options.pointer(), &raw mut handle, error)
        });
        assert_eq!(code, wanted);
        assert_eq!(handle.is_null(), code != OK, "a handle comes with a success");
        if code != OK {
            return;
        }
        let shown = |key: &[u8]| {
            !given
                || (key >= &lower.bytes[..]
                    && (upper.bytes.is_empty() || key < &upper.bytes[..])
                    && key.starts_with(&prefix.bytes))
        };
        let pairs = snapshot.shows.iter().filter(|(key, _)| shown(key));
        let mut pairs: Vec<_> = pairs.map(|(key, value)| (key.clone(), value.clone())).collect();
        let is_reverse = given && is_reverse;
        if is_reverse {
            pairs.reverse();
        }
        let iter = Iter { handle, pairs, is_reverse, place: Place::NeverMoved };
        iter.check();
        put(&mut self.iters[input.slot(SLOTS)], Some(iter));
    }

    pub fn move_iter(&mut self, input: &mut Input<'_>) {
        let Some(iter) = &mut self.iters[input.slot(SLOTS)] else {
            // SAFETY: NULL is fine.
            unsafe {
                assert!(!almadia_iter_first(null_mut()) && !almadia_iter_next(null_mut()));
                assert!(!almadia_iter_valid(null_mut()) && slice(almadia_iter_key(null_mut())).is_none());
            }
            return;
        };
        for _ in 0..1 + input.number() % 4 {
            iter.go(input);
        }
    }

    pub fn iter_next_n(&mut self, input: &mut Input<'_>) {
        let number = usize::from(input.number());
        let (capacity, with_versions) = (number % 6, number / 6 % 2 == 1);
        let Some(iter) = &mut self.iters[input.slot(SLOTS)] else { return };
        let none = almadia_slice { data: std::ptr::null(), size: 0 };
        let mut pairs = [almadia_kv { key: none, value: none }; 6];
        let (mut versions, mut count) = ([0; 6], 99);
        // SAFETY: the iterator is live and there is room for `capacity` pairs and versions.
        let code = answer(input, |error| unsafe {
            let (pairs, count) = (pairs.as_mut_ptr(), &raw mut count);
            if with_versions {
                let versions = versions.as_mut_ptr();
                almadia_iter_next_n_versions(iter.handle, pairs, versions, capacity, count, error)
            } else {
                almadia_iter_next_n(iter.handle, pairs, capacity, count, error)
            }
        });
        if capacity == 0 {
            return assert_eq!(code, INVALID_ARGUMENT);
        }
        let left = match iter.place {
            Place::NeverMoved => &iter.pairs[..],
            Place::At(at) => &iter.pairs[at..],
            Place::Nowhere => &[],
        };
        assert_eq!((code, count == 0), if left.is_empty() { (END, true) } else { (OK, false) });
        assert!(count <= capacity.min(left.len()));
        let told = versions.iter().filter(|version| **version > 0).count();
        assert_eq!(told, if with_versions { count } else { 0 }, "each pair has a version");
        for (pair, (key, value)) in pairs[..count].iter().zip(left) {
            assert_eq!((bytes(pair.key), bytes(pair.value)), (&key[..], &value[..]));
        }
        let at = iter.pairs.len() - left.len() + count;
        iter.place = if at < iter.pairs.len() { Place::At(at) } else { Place::Nowhere };
        iter.check();
    }
}

impl Iter {
    fn go(&mut self, input: &mut Input<'_>) {
        let key = input.good_key();
        let (data, length): (*const c_void, usize) = (key.data, key.length);
        let (last, reverse) = (self.pairs.len().checked_sub(1), self.is_reverse);
        // How many pairs come before `key` in the direction of the iteration, and whether the next one is `key`.
        let behind = |own: &[u8]| if reverse { own < &key.bytes[..] } else { own > &key.bytes[..] };
        let before = |own: &[u8]| !behind(own) && own != &key.bytes[..];
        let first_at = self.pairs.iter().position(|(own, _)| !before(own));
        let last_at = self.pairs.iter().rposition(|(own, _)| !behind(own));
        let first = (!self.pairs.is_empty()).then_some(0);
        // SAFETY: the iterator is live, the key has its length.
        let (moved, to) = unsafe {
            match (input.number() % 6, self.place) {
                (0, _) => (almadia_iter_first(self.handle), first),
                (1, _) => (almadia_iter_last(self.handle), last),
                (2, _) => (almadia_iter_seek(self.handle, data, length), first_at),
                (3, _) => (almadia_iter_seek_for_prev(self.handle, data, length), last_at),
                (4, place) => {
                    let next = match place {
                        Place::NeverMoved => first,
                        Place::At(at) => Some(at + 1).filter(|at| *at < self.pairs.len()),
                        Place::Nowhere => None,
                    };
                    (almadia_iter_next(self.handle), next)
                }
                (_, place) => {
                    let previous = match place {
                        Place::NeverMoved => last,
                        Place::At(at) => at.checked_sub(1),
                        Place::Nowhere => None,
                    };
                    (almadia_iter_prev(self.handle), previous)
                }
            }
        };
        self.place = to.map_or(Place::Nowhere, Place::At);
        assert_eq!(moved, to.is_some(), "it returns whether it is at a pair");
        self.check();
        expect(OK, input, |error| unsafe { almadia_iter_code(self.handle, error) });
        expect(NULL_POINTER, input, |error| unsafe { almadia_iter_code(null_mut(), error) });
    }

    fn check(&self) {
        let shown = match self.place {
            Place::At(at) => self.pairs.get(at),
            Place::NeverMoved | Place::Nowhere => None,
        };
        // SAFETY: the iterator is live, and borrowed memory is read before it moves.
        unsafe {
            assert_eq!(almadia_iter_valid(self.handle), shown.is_some());
            let (key, value) = (almadia_iter_key(self.handle), almadia_iter_value(self.handle));
            assert_eq!(slice(key), shown.map(|(key, _)| &key[..]));
            assert_eq!(slice(value), shown.map(|(_, value)| &value[..]));
        }
    }
}

/// All that a snapshot shows.
pub fn contents(snapshot: *const almadia::capi::snapshot::almadia_snapshot) -> Model {
    let mut handle = null_mut();
    // SAFETY: the snapshot is live, and the iterator is freed once; borrowed memory is copied before it moves.
    unsafe {
        let code = almadia_iter_new(snapshot, std::ptr::null(), &raw mut handle, null_mut());
        assert_eq!(code, OK);
        let mut model = Model::new();
        let mut on = almadia_iter_first(handle);
        while on {
            let (key, value) = (almadia_iter_key(handle), almadia_iter_value(handle));
            model.insert(bytes(key).to_vec(), bytes(value).to_vec());
            on = almadia_iter_next(handle);
        }
        assert_eq!(almadia_iter_code(handle, null_mut()), OK);
        almadia_iter_free(handle);
        model
    }
}

/// The bytes of a slice; none for {NULL, 0}.
fn slice<'a>(slice: almadia_slice) -> Option<&'a [u8]> {
    if slice.data.is_null() {
        assert_eq!(slice.size, 0);
        return None;
    }
    // SAFETY: the library guarantees that many bytes, and the caller compares them immediately.
    Some(unsafe { std::slice::from_raw_parts(slice.data.cast(), slice.size) })
}

/// The same for a slice that must not be {NULL, 0}.
fn bytes<'a>(lent: almadia_slice) -> &'a [u8] {
    slice(lent).unwrap_or_default()
}
