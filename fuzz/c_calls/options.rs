//! Structs that begin with their size.
//!
//! Owns how options are passed: not at all, as they are, as an older and as a newer program would, with an unknown
//! field, and with a size that was never set. A struct has room for all of them, so no read is out of bounds.

use std::mem::size_of;
use std::ptr::{null, null_mut};

use almadia::capi::almadia_code;

use super::arguments::Input;
use super::rules::{INVALID_ARGUMENT, OK, UNSUPPORTED};

/// A C struct with room after it.
#[repr(C)]
pub struct Sized<T> {
    pub options: T,
    behind: [u64; 4],
    is_given: bool,
}

impl<T> Sized<T> {
    /// All zeros except for the size.
    pub fn new() -> Self {
        // SAFETY: the structs of the interface consist of integers, pointers and optional functions, which may be zero,
        // and begin with their size.
        unsafe {
            let mut sized = std::mem::zeroed::<Self>();
            sized.set_size(size_of::<T>());
            sized.is_given = true;
            sized
        }
    }

    fn set_size(&mut self, size: usize) {
        // SAFETY: every such struct begins with its size.
        unsafe { (&raw mut self.options).cast::<usize>().write(size) }
    }

    /// Lets the input choose how it is passed, and returns the code that any call must return for that. `given` is
    /// false when NULL is passed, so that what was set has no effect.
    pub fn vary(&mut self, input: &mut Input<'_>) -> (almadia_code, bool) {
        match input.number() {
            0xff => {
                self.set_size(usize::from(input.number()) % 8);
                (INVALID_ARGUMENT, true)
            }
            0xfe => {
                self.set_size(4097 + usize::from(input.number()));
                (INVALID_ARGUMENT, true)
            }
            0xfd => {
                self.set_size(size_of::<T>() + size_of::<[u64; 4]>());
                (OK, true)
            }
            0xfc => {
                self.set_size(size_of::<T>() + size_of::<[u64; 4]>());
                self.behind[usize::from(input.number()) % 4] = 1;
                (UNSUPPORTED, true)
            }
            0xfb => {
                self.is_given = false;
                (OK, false)
            }
            _ => (OK, true),
        }
    }

    /// For a call that reads it.
    pub fn pointer(&self) -> *const T {
        if self.is_given { (&raw const *self).cast() } else { null() }
    }

    /// For a call that writes it.
    pub fn pointer_mut(&mut self) -> *mut T {
        if self.is_given { (&raw mut *self).cast() } else { null_mut() }
    }
}
