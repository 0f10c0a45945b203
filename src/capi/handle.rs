//! Handles: what C holds instead of a Rust value.
//!
//! Owns how a handle is made, borrowed, taken back, and what it does in a child process. What always holds: a pointer
//! is followed only after it was compared with NULL; a handle that C owns is a `Box`, and only this file makes and
//! frees it; a handle that owns threads, locks or files answers `ALMADIA_FORKED` in a child process, and freeing it
//! there does nothing, because a lock it needs may have been held by a thread that does not exist in the child.

use crate::error::{Code, Error, Result};
pub(super) use crate::process::fork::ProcessId;

/// A type whose values C can own. Each of them is a `Box` then, and of C alone: what is shared, such as the queue of
/// an `almadia_cq`, is a field of it. The mark keeps everything else out of [`given`] and [`taken`]. What C may only
/// look at until a callback returns, or as long as it has the owner, is a field or a local variable, and never passes
/// [`given`].
pub(super) trait Boxed: Sized {}

/// A handle that does not work in a child process.
pub(super) trait ProcessBound {
    /// The process it was made in.
    fn process(&self) -> ProcessId;
}

/// A pointer that must not be NULL is NULL.
pub(super) fn null(name: &str) -> Error {
    Error::with_detail(Code::NullPointer, name)
}

/// The referent of a pointer other threads may use too.
///
/// # Safety
/// `pointer` is NULL or came from us, was not freed, and stays so during the call.
pub(super) unsafe fn shared<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: passed on to the caller.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// As [`shared`], for a handle that does not work in a child process.
///
/// # Safety
/// As [`shared`].
pub(super) unsafe fn in_process<'a, T: ProcessBound>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: passed on to the caller.
    let handle = unsafe { shared(pointer, name) }?;
    handle.process().check()?;
    Ok(handle)
}

/// The referent of a pointer only this call uses.
///
/// # Safety
/// As [`shared`], and no other call uses the handle meanwhile.
pub(super) unsafe fn exclusive<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: passed on to the caller.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// Gives `value` to C, which owns it from now on.
pub(super) fn given<T: Boxed>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// As [`given`]; NULL for none.
pub(super) fn given_if_any<T: Boxed>(value: Option<T>) -> *mut T {
    value.map_or(std::ptr::null_mut(), given)
}

/// Takes a handle back from C; none for NULL.
///
/// # Safety
/// `pointer` is NULL or came from [`given`] and is never used again.
pub(super) unsafe fn taken<T: Boxed>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: passed on to the caller; what C owns of a `Boxed` type came from `given`.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// As [`taken`]; none in a child process too, where the handle is left as it is.
///
/// # Safety
/// As [`taken`].
pub(super) unsafe fn taken_in_process<T: Boxed + ProcessBound>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: passed on to the caller.
    let in_process = unsafe { pointer.as_ref() }.is_some_and(|handle| handle.process().is_current());
    // SAFETY: passed on to the caller.
    if in_process { unsafe { taken(pointer) } } else { None }
}

/// Where a function puts the handle it made. NULL from the first moment, so that a failure leaves it so.
pub(super) struct HandleSlot<T>(*mut *mut T);

impl<T: Boxed> HandleSlot<T> {
    /// Clears the slot.
    ///
    /// # Safety
    /// `pointer` is NULL or valid for writing during the call.
    pub(super) unsafe fn new(pointer: *mut *mut T, name: &str) -> Result<Self> {
        if pointer.is_null() {
            return Err(null(name));
        }
        // SAFETY: passed on to the caller.
        unsafe { pointer.write(std::ptr::null_mut()) };
        Ok(Self(pointer))
    }

    /// A slot that the caller may leave out: none for NULL.
    ///
    /// # Safety
    /// As [`HandleSlot::new`].
    pub(super) unsafe fn optional(pointer: *mut *mut T) -> Option<Self> {
        // SAFETY: passed on to the caller.
        unsafe { Self::new(pointer, "") }.ok()
    }

    /// Gives `value` to C.
    pub(super) fn put(self, value: T) {
        // SAFETY: `new` was promised that the pointer is valid for writing during the call.
        unsafe { self.0.write(given(value)) };
    }
}

/// Where a function puts a plain value on success.
pub(super) struct ValueSlot<T>(*mut T);

impl<T> ValueSlot<T> {
    /// A slot that must be there.
    ///
    /// # Safety
    /// `pointer` is NULL or valid for writing during the call.
    pub(super) unsafe fn new(pointer: *mut T, name: &str) -> Result<Self> {
        if pointer.is_null() { Err(null(name)) } else { Ok(Self(pointer)) }
    }

    /// A slot the caller may leave out.
    ///
    /// # Safety
    /// As [`ValueSlot::new`].
    pub(super) unsafe fn optional(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// Writes the value, unless the slot was left out.
    pub(super) fn put(&self, value: T) {
        if !self.0.is_null() {
            // SAFETY: the constructor was promised that the pointer is valid for writing during the call.
            unsafe { self.0.write(value) };
        }
    }
}

/// Where a function puts several plain values.
pub(super) struct ArraySlot<T> {
    start: *mut T,
    capacity: usize,
}

impl<T> ArraySlot<T> {
    /// An array that must be there.
    ///
    /// # Safety
    /// `pointer` is NULL or valid for writing `capacity` values during the call.
    pub(super) unsafe fn new(pointer: *mut T, capacity: usize, name: &str) -> Result<Self> {
        if pointer.is_null() { Err(null(name)) } else { Ok(Self { start: pointer, capacity }) }
    }

    /// Writes the values one behind the other; there must be room for all.
    pub(super) fn put(&self, values: impl Iterator<Item = T>) {
        for (place, value) in values.enumerate() {
            assert!(place < self.capacity, "no more was asked for than there is room");
            // SAFETY: `new` was promised that all places below `capacity` are valid for writing.
            unsafe { self.start.add(place).write(value) };
        }
    }
}
