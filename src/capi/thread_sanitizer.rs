//! A word to ThreadSanitizer, in a program that is compiled with it.
//!
//! It knows the locks of code that it compiled, not ours: what a program writes before a call and reads in the callback
//! would look like a race to it. Owns the two words that say otherwise, [`release`] before the call and [`acquire`]
//! before the callback. What always holds: in any other program they do nothing.

use std::ffi::{CStr, c_void};
use std::sync::LazyLock;

type Annotation = unsafe extern "C" fn(*mut c_void);

/// Both functions, when the program has them.
static ANNOTATIONS: LazyLock<Option<(Annotation, Annotation)>> =
    LazyLock::new(|| Some((find(c"__tsan_release")?, find(c"__tsan_acquire")?)));

/// Whoever acquires `address` later sees what this thread has written so far.
pub(super) fn release(address: *mut c_void) {
    if let Some((release, _)) = *ANNOTATIONS {
        // SAFETY: ThreadSanitizer takes any address as a name and does not follow it.
        unsafe { release(address) };
    }
}

/// This thread sees what was written before `address` was released.
pub(super) fn acquire(address: *mut c_void) {
    if let Some((_, acquire)) = *ANNOTATIONS {
        // SAFETY: as above.
        unsafe { acquire(address) };
    }
}

fn find(name: &CStr) -> Option<Annotation> {
    // SAFETY: the name ends with a NUL, and the handle stands for everything that the program has loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: who defines a function of this reserved name is ThreadSanitizer, whose header declares it so; NULL is None.
    unsafe { std::mem::transmute::<*mut c_void, Option<Annotation>>(found) }
}
