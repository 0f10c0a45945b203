//! Snapshots and values.
//!
//! Owns the calls that read, each compared with the model as of its snapshot.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use almadia::capi::almadia_code;
use almadia::capi::get::{almadia_get, almadia_snapshot_get, almadia_snapshot_get_into};
use almadia::capi::snapshot::{almadia_snapshot_clone, almadia_snapshot_index, almadia_snapshot_term};
use almadia::capi::snapshot_open::{
    almadia_snapshot_open, almadia_snapshot_open_async, almadia_snapshot_options,
};
use almadia::capi::value::{almadia_value, almadia_value_data, almadia_value_free, almadia_value_size};

use super::arguments::{Bytes, Input};
use super::member::{Answers, Member, Model};
use super::options::Sized;
use super::rules::{
    BUFFER_TOO_SMALL, INVALID_ARGUMENT, NOT_FOUND, NULL_POINTER, OK, UNSUPPORTED, answer, expect,
};
use super::{Handles, SLOTS, Snapshot, Value, put};

/// Bytes after a buffer that must not change.
const GUARD: [u8; 8] = [0xa5; 8];

impl Member {
    pub fn get(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let (key, store) = (input.key(), self.store);
        let mut value = NonNull::dangling().as_ptr();
        let out = if input.number() == 0xff { null_mut() } else { &raw mut value };
        // SAFETY: the store is live, the output writable or NULL, the bytes have their lengths or are refused.
        let code = answer(input, |error| unsafe { almadia_get(store, key.data, key.length, out, error) });
        if out.is_null() {
            assert!(code == NULL_POINTER || code == key.verdict, "answered {code}");
            return;
        }
        let read = read(code, &key, value, &self.model, None);
        put(&mut handles.values[input.slot(SLOTS)], read);
    }

    pub fn open_snapshot(&mut self, input: &mut Input<'_>, handles: &mut Handles) {
        let mut options = Sized::<almadia_snapshot_options>::new();
        let (start, end) = (input.good_key(), input.good_key());
        let fields = &mut options.options;
        fields.level = if input.number() < 0xf0 { i32::from(input.number() % 2) } else { 9 };
        fields.reserved = i32::from(input.number() == 0xff);
        (fields.start, fields.start_length) = (start.data, start.length);
        (fields.end, fields.end_length) = (end.data, end.length);
        let unknown = fields.level == 9 || fields.reserved != 0;
        let is_reversed = !end.bytes.is_empty() && start.bytes > end.bytes;
        let (sized, given) = options.vary(input);
        let wanted = match sized {
            OK if given && unknown => UNSUPPORTED,
            OK if given && is_reversed => INVALID_ARGUMENT,
            code => code,
        };
        let (code, handle) = if input.yes() {
            self.snapshot_now(input, &options)
        } else {
            self.snapshot_async(input, &options)
        };
        let range = if given { (start.bytes, end.bytes) } else { Default::default() };
        // A range that begins where it ends may be refused or accepted; the header says "ends before it starts".
        assert_eq!(code, wanted, "range {range:?}");
        if code == OK {
            let within = |key: &Vec<u8>| *key >= range.0 && (range.1.is_empty() || *key < range.1);
            let shows = self.model.iter().filter(|(key, _)| within(key));
            let shows = shows.map(|(key, value)| (key.clone(), value.clone())).collect();
            put(&mut handles.snapshots[input.slot(SLOTS)], Some(Snapshot { handle, shows, range }));
        }
    }

    fn snapshot_now(
        &self,
        input: &mut Input<'_>,
        options: &Sized<almadia_snapshot_options>,
    ) -> (almadia_code, *mut almadia::capi::snapshot::almadia_snapshot) {
        let (store, mut handle) = (self.store, NonNull::dangling().as_ptr());
        // SAFETY: the store is live, options have their size, the output is writable.
        let code = answer(input, |error| unsafe {
            almadia_snapshot_open(store, options.pointer(), &raw mut handle, error)
        });
        assert_eq!(handle.is_null(), code != OK, "a handle comes with a success");
        (code, handle)
    }

    fn snapshot_async(
        &self,
        input: &mut Input<'_>,
        options: &Sized<almadia_snapshot_options>,
    ) -> (almadia_code, *mut almadia::capi::snapshot::almadia_snapshot) {
        let (store, answers) = (self.store, Answers::default());
        let done = answers.done(false);
        // SAFETY: as above, and the answers outlive the callback.
        let code = answer(input, |error| unsafe {
            almadia_snapshot_open_async(store, options.pointer(), &raw const done, error)
        });
        let answered = answers.wait(usize::from(code == OK));
        assert!(answered.iter().all(|(code, _)| *code == OK), "{answered:?}");
        (code, answers.take_snapshot())
    }
}

/// Compares the result of a read with the model.
pub fn read(
    code: almadia_code,
    key: &Bytes,
    value: *mut almadia_value,
    model: &Model,
    range: Option<&(Vec<u8>, Vec<u8>)>,
) -> Option<Value> {
    assert_eq!(value.is_null(), code != OK, "a value comes with a success");
    if key.verdict != OK {
        // A key that is too long for a write may simply be not found.
        assert!(code == key.verdict || code == NOT_FOUND || code == INVALID_ARGUMENT, "answered {code}");
        return None;
    }
    assert_eq!(code, wanted_read(&key.bytes, model, range), "key {:?}", key.bytes.escape_ascii().to_string());
    (code == OK).then(|| {
        let value = Value { handle: value, bytes: model[&key.bytes].clone() };
        value.check();
        value
    })
}

fn wanted_read(key: &[u8], model: &Model, range: Option<&(Vec<u8>, Vec<u8>)>) -> almadia_code {
    let outside = range.is_some_and(|(start, end)| key < &start[..] || (!end.is_empty() && key >= &end[..]));
    match model.contains_key(key) {
        _ if outside => INVALID_ARGUMENT,
        true => OK,
        false => NOT_FOUND,
    }
}

impl Value {
    /// Whether it has the expected bytes.
    pub fn is_same(&self) -> bool {
        // SAFETY: the value is live; its bytes are read only up to their size.
        unsafe {
            let (data, size) = (almadia_value_data(self.handle), almadia_value_size(self.handle));
            assert!(!data.is_null(), "a value has bytes, if only none");
            size == self.bytes.len()
                && (size == 0 || std::slice::from_raw_parts(data.cast::<u8>(), size) == self.bytes)
        }
    }

    fn check(&self) {
        assert!(self.is_same(), "a value has the bytes that were written, as long as it lives");
    }
}

impl Handles {
    pub fn clone_snapshot(&mut self, input: &mut Input<'_>) {
        let (from, to) = (input.slot(SLOTS), input.slot(SLOTS));
        let mut handle = NonNull::dangling().as_ptr();
        let Some(snapshot) = &self.snapshots[from] else {
            // SAFETY: NULL is refused.
            expect(NULL_POINTER, input, |error| unsafe {
                almadia_snapshot_clone(null_mut(), &raw mut handle, error)
            });
            return assert!(handle.is_null());
        };
        // SAFETY: the snapshot is live, the output writable.
        expect(OK, input, |error| unsafe { almadia_snapshot_clone(snapshot.handle, &raw mut handle, error) });
        let place = |handle| unsafe { (almadia_snapshot_index(handle), almadia_snapshot_term(handle)) };
        assert_eq!(place(handle), place(snapshot.handle), "it is the same snapshot");
        let (shows, range) = (snapshot.shows.clone(), snapshot.range.clone());
        put(&mut self.snapshots[to], Some(Snapshot { handle, shows, range }));
    }

    pub fn snapshot_get(&mut self, input: &mut Input<'_>) {
        let key = input.key();
        let Some(snapshot) = &self.snapshots[input.slot(SLOTS)] else { return };
        let mut value = NonNull::dangling().as_ptr();
        // SAFETY: the snapshot is live, the output writable, the bytes have their lengths or are refused.
        let code = answer(input, |error| unsafe {
            almadia_snapshot_get(snapshot.handle, key.data, key.length, &raw mut value, error)
        });
        let read = read(code, &key, value, &snapshot.shows, Some(&snapshot.range));
        put(&mut self.values[input.slot(SLOTS)], read);
    }

    pub fn snapshot_get_into(&mut self, input: &mut Input<'_>) {
        let key = input.good_key();
        let Some(snapshot) = &self.snapshots[input.slot(SLOTS)] else { return };
        let capacity = usize::from(input.number() % 8);
        let mut buffer = [[0; 8], GUARD].concat();
        let mut length = 77;
        let into: *mut c_void =
            if capacity == 0 && input.yes() { null_mut() } else { buffer.as_mut_ptr().cast() };
        // SAFETY: the snapshot is live and the buffer has more than its capacity.
        let code = answer(input, |error| unsafe {
            let (key, length) = (&key, &raw mut length);
            almadia_snapshot_get_into(snapshot.handle, key.data, key.length, into, capacity, length, error)
        });
        let value = snapshot.shows.get(&key.bytes);
        let wanted = match value {
            Some(value) if value.len() > capacity => BUFFER_TOO_SMALL,
            _ => wanted_read(&key.bytes, &snapshot.shows, Some(&snapshot.range)),
        };
        assert_eq!(code, wanted);
        let copied = value.filter(|_| code == OK).map_or(0, Vec::len);
        let expected = if code == OK || code == BUFFER_TOO_SMALL { value.map_or(0, Vec::len) } else { 77 };
        assert_eq!(length, expected, "the length is returned even when the buffer is too small");
        assert!(value.is_none_or(|value| buffer[..copied] == value[..copied]));
        assert!(
            buffer[capacity..8].iter().all(|byte| *byte == 0) && buffer[8..] == GUARD,
            "no byte after it is changed"
        );
    }

    pub fn check_value(&mut self, input: &mut Input<'_>) {
        match &self.values[input.slot(SLOTS)] {
            Some(value) => value.check(),
            // SAFETY: NULL is fine.
            None => unsafe {
                assert!(almadia_value_data(null_mut()).is_null() && almadia_value_size(null_mut()) == 0);
                almadia_value_free(null_mut());
            },
        }
    }

    pub fn use_config(&mut self, input: &mut Input<'_>) {
        use super::rules::{ABI_MISMATCH, END, INVALID_CONFIG};
        use almadia::capi::config::{
            almadia_config_free, almadia_config_get, almadia_config_new, almadia_config_option_at,
            almadia_config_option_count, almadia_config_set, almadia_option,
        };
        let version = u32::from(input.number() != 0xff);
        let mut made = NonNull::dangling().as_ptr();
        let wanted = if version == 1 { OK } else { ABI_MISMATCH };
        // SAFETY: outputs are writable, strings end with NUL, the buffer has its capacity, handles are live.
        unsafe {
            expect(wanted, input, |error| almadia_config_new(version, &raw mut made, error));
            almadia_config_free(std::mem::replace(
                &mut self.config,
                if wanted == OK { made } else { null_mut() },
            ));
            assert_eq!(made.is_null(), wanted != OK);
            let count = almadia_config_option_count();
            let mut option = Sized::<almadia_option>::new();
            let index = usize::from(input.number());
            let known = almadia_config_option_at(index, &raw mut option.options);
            assert_eq!(known, if index < count { OK } else { END });
            let length = usize::from(input.number() % 16);
            let text: Vec<u8> = input.take(length).iter().copied().filter(|byte| *byte != 0).collect();
            let is_text = std::str::from_utf8(&text).is_ok();
            let text = std::ffi::CString::new(text).expect("no NUL");
            let name = if known == OK { option.options.name } else { c"no.such.option".as_ptr() };
            let config = self.config;
            let code = answer(input, |error| almadia_config_set(config, name, text.as_ptr(), error));
            let refused = match (config.is_null(), is_text) {
                (true, _) => NULL_POINTER,
                (_, false) => INVALID_ARGUMENT,
                _ => INVALID_CONFIG,
            };
            let may_be_taken = !config.is_null() && is_text && known == OK;
            assert!(code == refused || (code == OK && may_be_taken), "answered {code}");
            let mut buffer = [0_u8; 32];
            let (capacity, mut length) = (usize::from(input.number() % 32), 0);
            let code = answer(input, |error| {
                almadia_config_get(config, name, buffer.as_mut_ptr().cast(), capacity, &raw mut length, error)
            });
            let wanted = match (config.is_null(), known == OK, length < capacity) {
                (true, ..) => NULL_POINTER,
                (_, false, _) => INVALID_CONFIG,
                (.., true) => OK,
                _ => BUFFER_TOO_SMALL,
            };
            assert_eq!(code, wanted);
            assert!(code != OK || buffer[length] == 0, "it ends with a NUL");
        }
    }
}
