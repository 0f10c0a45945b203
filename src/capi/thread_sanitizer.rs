//! A word to ThreadSanitizer, in a program that is compiled with it.
//!
//! It knows the locks of code that it compiled, not ours: what a program writes before a call and reads in the callback
//! would look like a race to it. Owns the two words that say otherwise, [`release`] before the call and [`acquire`]
//! before the callback. What always holds: in any other program they do nothing; an address of the program's is a name
//! here, which is looked up and never followed.

use std::ffi::{CStr, c_void};
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

type Annotation = unsafe extern "C" fn(*mut c_void);

/// Both functions, when the program has them.
static ANNOTATIONS: LazyLock<Option<(Annotation, Annotation)>> =
    LazyLock::new(|| Some((find(c"__tsan_release")?, find(c"__tsan_acquire")?)));

/// What stands for the addresses, because ThreadSanitizer finds its own memory by those that it is given and crashes
/// where nothing can be. Addresses that share one hide a race at worst.
static NAMES: [AtomicU64; 1 << NAME_BITS] = [const { AtomicU64::new(0) }; 1 << NAME_BITS];
const NAME_BITS: u32 = 10;

fn name_of(address: *mut c_void) -> *mut c_void {
    let mixed = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    NAMES[(mixed >> (u64::BITS - NAME_BITS)) as usize].as_ptr().cast()
}

/// Whoever acquires `address` later sees what this thread has written so far.
pub(super) fn release(address: *mut c_void) {
    if let Some((release, _)) = *ANNOTATIONS {
        // SAFETY: the name is memory of ours that lives for ever.
        unsafe { release(name_of(address)) };
    }
}

/// This thread sees what was written before `address` was released.
pub(super) fn acquire(address: *mut c_void) {
    if let Some((_, acquire)) = *ANNOTATIONS {
        // SAFETY: as above.
        unsafe { acquire(name_of(address)) };
    }
}

fn find(name: &CStr) -> Option<Annotation> {
    // SAFETY: the name ends with a NUL, and the handle stands for everything that the program has loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: who defines a function of this reserved name is ThreadSanitizer, whose header declares it so; NULL is
    // None.
    unsafe { std::mem::transmute::<*mut c_void, Option<Annotation>>(found) }
}
