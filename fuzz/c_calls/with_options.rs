//! Calls of one key with options.
//!
//! Owns the calls that take options beside their key, and return a position: what they do must be what the plain calls
//! do, positions of writes must grow, and a read must be of a state that reflects every write acknowledged before.

use std::ptr::{NonNull, null_mut};

use almadia::capi::almadia_code;
use almadia::capi::get::almadia_get_with;
use almadia::capi::position::almadia_position;
use almadia::capi::snapshot_open::almadia_snapshot_options;
use almadia::capi::write::{almadia_delete_with, almadia_put_with};

use super::arguments::{Bytes, Input};
use super::member::Member;
use super::options::Sized;
use super::reading::read;
use super::rules::{INVALID_ARGUMENT, NOT_FOUND, NULL_POINTER, OK, READ_TIMEOUT, UNSUPPORTED, answer};
use super::writing::{Change, WriteOptions, assert_one_of};
use super::{Handles, SLOTS, put};

/// What a position holds before a call.
const UNTOUCHED: almadia_position = almadia_position { index: 7, term: 7 };
/// Further than any log goes here.
const BEYOND_THE_LOG: u64 = 1 << 40;

impl Member {
    pub fn with_options(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        match input.number() % 3 {
            0 => self.put_with(input),
            1 => self.delete_with(input),
            _ => self.get_with(input, handles),
        }
    }

    fn put_with(&mut self, input: &mut Input<'_>) {
        let (key, value) = (input.key(), input.value());
        let drawn = WriteOptions::draw(input);
        let (store, mut position, wants_position) = (self.store, UNTOUCHED, input.yes());
        let place = if wants_position { &raw mut position } else { null_mut() };
        // SAFETY: the store is live, the bytes have their lengths or are refused, options have their size, the position
        // is writable or NULL.
        let code = answer(input, |error| unsafe {
            let options = drawn.options.pointer();
            almadia_put_with(store, key.data, key.length, value.data, value.length, options, place, error)
        });
        self.written(code, &drawn, &[&key, &value], (wants_position, position));
        if code == OK {
            Change::Put(key.bytes, value.bytes).apply(&mut self.model);
        }
    }

    fn delete_with(&mut self, input: &mut Input<'_>) {
        let key = input.key();
        let drawn = WriteOptions::draw(input);
        let (store, mut position, wants_position) = (self.store, UNTOUCHED, input.yes());
        let place = if wants_position { &raw mut position } else { null_mut() };
        // SAFETY: as above.
        let code = answer(input, |error| unsafe {
            almadia_delete_with(store, key.data, key.length, drawn.options.pointer(), place, error)
        });
        self.written(code, &drawn, &[&key], (wants_position, position));
        if code == OK {
            Change::Delete(key.bytes).apply(&mut self.model);
        }
    }

    /// Checks the answer of a write of one key, and where it says that it stands.
    fn written(
        &mut self,
        code: almadia_code,
        drawn: &WriteOptions,
        arguments: &[&Bytes],
        (wants_position, position): (bool, almadia_position),
    ) {
        match drawn.wanted {
            OK => assert_one_of(code, arguments),
            wanted => {
                // Of several faults the header does not specify which is reported.
                let of_arguments = arguments.iter().any(|bytes| bytes.verdict == code);
                let of_events = drawn.with_events && [NULL_POINTER, INVALID_ARGUMENT].contains(&code);
                assert!(code != OK && (code == wanted || of_arguments || of_events), "answered {code}");
            }
        }
        if code == OK && wants_position {
            assert!(position.term > 0, "a write has a position");
            self.check_newer(position.index);
        } else {
            assert_eq!((position.index, position.term), (7, 7), "outputs are written on success");
        }
    }

    fn get_with(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let key = input.good_key();
        let (mut options, wanted) = self.draw_read_options(input);
        let (sized, given) = options.vary(input);
        let wanted = if sized == OK && given { wanted } else { sized };
        let (store, mut position, wants_position) = (self.store, UNTOUCHED, input.yes());
        let place = if wants_position { &raw mut position } else { null_mut() };
        let mut value = NonNull::dangling().as_ptr();
        // SAFETY: the store is live, options have their size, the outputs are writable or NULL, the bytes have their
        // lengths.
        let code = answer(input, |error| unsafe {
            let (options, value) = (options.pointer(), &raw mut value);
            almadia_get_with(store, key.data, key.length, options, value, place, error)
        });
        if wants_position && [OK, NOT_FOUND].contains(&code) {
            assert!(position.index >= self.last_index() && position.term > 0, "it reflects what was written");
        } else {
            assert_eq!((position.index, position.term), (7, 7), "outputs are written with an answer");
        }
        if wanted != OK {
            assert_eq!(code, wanted);
            return assert!(value.is_null(), "a value comes with a success");
        }
        let read = read(code, &key, value, &self.model, None);
        put(&mut handles.values[input.slot(SLOTS)], read);
    }

    /// Options of a read, and the code that they must cause.
    fn draw_read_options(&self, input: &mut Input<'_>) -> (Sized<almadia_snapshot_options>, almadia_code) {
        let mut options = Sized::<almadia_snapshot_options>::new();
        let fields = &mut options.options;
        fields.level = if input.number() < 0xf0 { i32::from(input.number() % 2) } else { 9 };
        fields.reserved = i32::from(input.number() == 0xff);
        let has_range = input.number() == 0xff;
        (fields.start, fields.start_length) = (c"k".as_ptr().cast(), usize::from(has_range));
        fields.min_index = match input.number() {
            0xff => BEYOND_THE_LOG,
            number if number % 2 == 1 => self.last_index(),
            _ => 0,
        };
        let is_in_vain = fields.level == 1 && fields.min_index == BEYOND_THE_LOG;
        fields.timeout_ms = u64::from(is_in_vain);
        let wanted = match () {
            () if fields.level == 9 || fields.reserved != 0 => UNSUPPORTED,
            () if has_range => INVALID_ARGUMENT,
            () if is_in_vain => READ_TIMEOUT,
            () => OK,
        };
        (options, wanted)
    }
}
