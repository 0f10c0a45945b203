//! Structs that grow: those that begin with `struct_size`.
//!
//! Owns the rule that lets a program compiled against an older or a newer header pass its struct to this
//! library. Older struct: the fields it lacks count as zero. Newer struct: the fields we lack must be zero,
//! otherwise the program asked for something we do not offer. What always holds: never a byte beyond
//! `struct_size` is touched.

use std::mem::{MaybeUninit, size_of};
use std::ptr;

use super::handle::null;
use crate::error::{Code, Error, Result};

/// No struct of the interface will ever be larger; a larger `struct_size` is memory that was never set.
const STRUCT_BYTES_MAX: usize = 4096;

/// A struct whose first field is `struct_size: usize` and for which all bytes zero is a valid value.
///
/// # Safety
/// The implementor is `repr(C)` and has exactly these two properties.
pub(super) unsafe trait Extensible: Copy {
    /// Its name in the header, without `almadia_`.
    const NAME: &'static str;
    /// Its size when it first appeared; no program has a smaller one.
    const FIRST_SIZE: usize;
}

/// Reads a struct from C; NULL means all defaults, which are zero.
///
/// # Safety
/// `pointer` is NULL or points to a struct of `struct_size` bytes that nobody changes during the call.
pub(super) unsafe fn read_or_default<T: Extensible>(pointer: *const T) -> Result<T> {
    // SAFETY: T promises that all bytes zero is a valid value.
    if pointer.is_null() { Ok(unsafe { zeroed() }) } else { unsafe { read(pointer) } }
}

/// Reads a struct from C.
///
/// # Safety
/// As [`read_or_default`].
pub(super) unsafe fn read<T: Extensible>(pointer: *const T) -> Result<T> {
    // SAFETY: passed on to the caller.
    let theirs = unsafe { claimed_size(pointer) }?;
    let ours = size_of::<T>();
    if theirs > ours {
        // SAFETY: the caller promises `struct_size` readable bytes.
        let tail = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(ours), theirs - ours) };
        if tail.iter().any(|byte| *byte != 0) {
            let detail = format!("almadia_{} sets a field that this version does not know", T::NAME);
            return Err(Error::with_detail(Code::Unsupported, detail));
        }
    }
    // SAFETY: T promises that zero is valid, and that its bytes can be copied; the caller promises the
    // source.
    unsafe {
        let mut value = zeroed::<T>();
        ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), theirs.min(ours));
        Ok(value)
    }
}

/// Reads an array of structs from C; NULL stands for none. They are as far apart as their program thinks that they are
/// large, so all have the same `struct_size`.
///
/// # Safety
/// `pointer` is NULL or points to `count` structs that lie one behind the other, each of the `struct_size` bytes that it
/// states, and that nobody changes during the call.
pub(super) unsafe fn read_all<T: Extensible>(pointer: *const T, count: usize, name: &str) -> Result<Vec<T>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: passed on to the caller: there is a first one.
    let stride = unsafe { claimed_size(pointer) }?;
    let fits = count.checked_mul(stride).is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if count > 1 && !(fits && stride.is_multiple_of(align_of::<T>())) {
        let detail = format!("{name}: {count} structs of {stride} bytes cannot lie one behind the other");
        return Err(Error::with_detail(Code::InvalidArgument, detail));
    }
    let element = |at: usize| {
        // SAFETY: the caller promises that each of them is there, and aligned as the first one is.
        let (element, size) = unsafe {
            let element = pointer.cast::<u8>().add(at * stride).cast::<T>();
            (element, claimed_size(element)?)
        };
        if size != stride {
            let detail = format!("{name}: struct_size is {size} in element {at}, and {stride} in the first");
            return Err(Error::with_detail(Code::InvalidArgument, detail));
        }
        // SAFETY: passed on to the caller.
        unsafe { read(element) }
    };
    (0..count).map(element).collect()
}

/// Writes a struct to C, keeping the caller's `struct_size`; fields it has and we lack become zero.
///
/// # Safety
/// `pointer` is NULL or points to a writable struct of `struct_size` bytes.
pub(super) unsafe fn write<T: Extensible>(pointer: *mut T, value: &T) -> Result<()> {
    // SAFETY: passed on to the caller.
    let theirs = unsafe { claimed_size(pointer) }?;
    let common = theirs.min(size_of::<T>());
    // SAFETY: the caller promises `struct_size` writable bytes; the first field is that size and stays.
    unsafe {
        ptr::write_bytes(pointer.cast::<u8>(), 0, theirs);
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), pointer.cast::<u8>(), common);
        pointer.cast::<usize>().write(theirs);
    }
    Ok(())
}

/// The `struct_size` the caller set.
///
/// # Safety
/// `pointer` is NULL or points to a struct that begins with its `struct_size`.
unsafe fn claimed_size<T: Extensible>(pointer: *const T) -> Result<usize> {
    if pointer.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: passed on to the caller.
    let size = unsafe { pointer.cast::<usize>().read() };
    if (T::FIRST_SIZE..=STRUCT_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    let detail = format!(
        "almadia_{}.struct_size is {size}; initialize it with ALMADIA_{}_INIT",
        T::NAME,
        T::NAME.to_ascii_uppercase()
    );
    Err(Error::with_detail(Code::InvalidArgument, detail))
}

/// A value of zeros.
///
/// # Safety
/// Zero is a valid value of `T`, which [`Extensible`] promises.
unsafe fn zeroed<T: Extensible>() -> T {
    // SAFETY: passed on to the caller.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Old {
        struct_size: usize,
        first: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct New {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: both are repr(C), begin with struct_size and consist of integers.
    unsafe impl Extensible for Old {
        const NAME: &'static str = "sample";
        const FIRST_SIZE: usize = 16;
    }

    // SAFETY: as above.
    unsafe impl Extensible for New {
        const NAME: &'static str = "sample";
        const FIRST_SIZE: usize = 16;
    }

    fn code<T>(result: Result<T>) -> Option<Code> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn the_fields_an_older_program_lacks_are_zero() {
        let old = Old { struct_size: 16, first: 7 };

        // SAFETY: the struct has the 16 bytes its struct_size states.
        let read = unsafe { read::<New>((&raw const old).cast()) }.expect("an older struct is fine");

        assert_eq!(read, New { struct_size: 16, first: 7, second: 0 });
    }

    #[test]
    fn a_newer_program_may_set_only_fields_we_know() {
        let mut new = New { struct_size: 24, first: 7, second: 0 };
        // SAFETY: the struct has the 24 bytes its struct_size states.
        assert_eq!(unsafe { read::<Old>((&raw const new).cast()) }.expect("tail is zero").first, 7);

        new.second = 1;

        // SAFETY: as above.
        assert_eq!(code(unsafe { read::<Old>((&raw const new).cast()) }), Some(Code::Unsupported));
    }

    #[test]
    fn the_structs_of_an_array_are_as_far_apart_as_their_program_thinks() {
        let mut new = [7, 8, 9].map(|first| New { struct_size: 24, first, second: 0 });
        let read_old = |new: &[New; 3]| {
            // SAFETY: each of the three structs has the 24 bytes its struct_size states.
            unsafe { read_all::<Old>(new.as_ptr().cast(), 3, "array") }
        };
        let firsts: Vec<_> = read_old(&new).expect("tails are zero").iter().map(|old| old.first).collect();
        assert_eq!(firsts, [7, 8, 9]);

        new[2].second = 1;
        assert_eq!(code(read_old(&new)), Some(Code::Unsupported));
        new[2] = New { struct_size: 16, first: 9, second: 0 };
        assert_eq!(code(read_old(&new)), Some(Code::InvalidArgument));
        new[0].struct_size = 23;
        assert_eq!(code(read_old(&new)), Some(Code::InvalidArgument));
    }

    #[test]
    fn an_array_may_be_missing_only_without_elements() {
        let none = std::ptr::null::<Old>();

        // SAFETY: NULL is not followed.
        let (empty, missing) = unsafe { (read_all(none, 0, "array"), read_all(none, 1, "array")) };

        assert_eq!(empty.expect("none were announced"), []);
        assert_eq!(code(missing), Some(Code::NullPointer));
    }

    #[test]
    fn a_struct_size_that_was_never_set_is_refused() {
        for struct_size in [0, 8, 15, 4097, usize::MAX] {
            let mut old = Old { struct_size, first: 0 };

            // SAFETY: nothing behind struct_size is read when it is out of range.
            let (read, written) =
                unsafe { (read(&raw const old), write(&raw mut old, &Old { struct_size: 16, first: 1 })) };

            assert_eq!(code(read), Some(Code::InvalidArgument));
            assert_eq!(code(written), Some(Code::InvalidArgument));
            assert_eq!(old.first, 0);
        }
    }

    #[test]
    fn writing_touches_no_byte_beyond_the_callers_struct() {
        let mut callers = [Old { struct_size: 16, first: 1 }, Old { struct_size: 99, first: 99 }];

        // SAFETY: the first element has the 16 bytes its struct_size states.
        unsafe { write(callers.as_mut_ptr().cast(), &New { struct_size: 24, first: 7, second: 8 }) }
            .expect("fits");

        assert_eq!(callers, [Old { struct_size: 16, first: 7 }, Old { struct_size: 99, first: 99 }]);
    }

    #[test]
    fn writing_to_a_newer_struct_zeroes_what_we_do_not_know() {
        let mut new = New { struct_size: 24, first: 1, second: 9 };

        // SAFETY: the struct has the 24 bytes its struct_size states.
        unsafe { write((&raw mut new).cast(), &Old { struct_size: 16, first: 7 }) }.expect("fits");

        assert_eq!(new, New { struct_size: 24, first: 7, second: 0 });
    }
}
