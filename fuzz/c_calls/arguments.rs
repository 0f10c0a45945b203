//! The arguments of calls.
//!
//! Owns the input and its translation into keys, values and lengths: short ones that often coincide, empty ones with
//! and without NULL, ones exactly at and one past a limit, and pairs of pointer and length that the header forbids.

use std::ffi::c_void;
use std::ptr::{NonNull, null};
use std::sync::LazyLock;

use almadia::capi::almadia_code;

use super::rules::{INVALID_ARGUMENT, KEY_BYTES_MAX, NULL_POINTER, OK, TOO_LARGE, VALUE_BYTES_MAX};

/// The source of long keys and values.
static LONG: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0xff; VALUE_BYTES_MAX + 1]);

/// The rest of the input; zeros after its end.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    /// One of `count` slots.
    pub fn slot(&mut self, count: usize) -> usize {
        usize::from(self.number()) % count
    }

    pub fn yes(&mut self) -> bool {
        self.number() % 2 == 1
    }

    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(length));
        self.rest = rest;
        taken
    }

    /// A key; rarely one at or past its limit.
    pub fn key(&mut self) -> Bytes {
        Bytes::draw(self, KEY_BYTES_MAX)
    }

    /// A value; rarely one at or past its limit.
    pub fn value(&mut self) -> Bytes {
        Bytes::draw(self, VALUE_BYTES_MAX)
    }

    /// A key that every function accepts.
    pub fn good_key(&mut self) -> Bytes {
        let length = usize::from(self.number() % 4);
        Bytes::of(self.take(length))
    }
}

/// A pointer, a length, and their meaning.
pub struct Bytes {
    pub data: *const c_void,
    pub length: usize,
    /// OK, or the code that any call with them must return.
    pub verdict: almadia_code,
    /// What `data` points to; empty when the verdict is not OK.
    pub bytes: Vec<u8>,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        // An empty vector's pointer is not NULL, but must not be read.
        Self { data: bytes.as_ptr().cast(), length: bytes.len(), verdict: OK, bytes }
    }

    /// No bytes: NULL and 0.
    pub fn none() -> Self {
        Self { data: null(), length: 0, verdict: OK, bytes: Vec::new() }
    }

    fn wrong(data: *const c_void, length: usize, verdict: almadia_code) -> Self {
        Self { data, length, verdict, bytes: Vec::new() }
    }

    fn draw(input: &mut Input<'_>, limit: usize) -> Self {
        let anywhere = NonNull::<u8>::dangling().as_ptr().cast_const().cast();
        match input.number() {
            0xff => Self::of(&LONG[..limit]),
            0xfe => Self::wrong(LONG.as_ptr().cast(), limit + 1, TOO_LARGE),
            0xfd => Self::wrong(null(), usize::from(input.number()) + 1, NULL_POINTER),
            0xfc => Self::wrong(anywhere, usize::MAX, INVALID_ARGUMENT),
            0xfb => Self::none(),
            short => Self::of(input.take(usize::from(short % 5))),
        }
    }
}
