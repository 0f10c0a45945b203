//! Keeps RocksDB's static destructors from crashing the process at exit.
//!
//! Owns the destruction of RocksDB's static objects. Their destructors join RocksDB's threads, which do not exist in a
//! forked child, and destroy locks that a store which was not shut down still uses: `exit()` would crash or hang. What
//! always holds: they run only in the process that created the objects, and only when no database is open. Skipping
//! them loses nothing, since everything that must survive is on disk before it is acknowledged. This concerns the C++
//! code inside our own shared library only: the linker hands its registrations of destructors to `register` (`--wrap`,
//! see `build.rs`); a Rust program that links this crate into its executable keeps RocksDB's own behaviour.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Databases that are open, are being opened, or are being closed.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A registration came here, which happens before the first function of the library can be called.
static IS_WRAPPED: AtomicBool = AtomicBool::new(false);

/// Whether the linker was given the arguments of `build.rs` (`--wrap`). Then this copy of RocksDB is ours alone.
pub(super) fn is_wrapped() -> bool {
    IS_WRAPPED.load(Ordering::Relaxed)
}

/// Keeps the static objects alive. It must outlive its database.
pub(super) struct Alive(());

impl Alive {
    pub(super) fn new() -> Self {
        OPEN.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }
}

#[allow(unsafe_code)] // Named corner: this stands in for a function of the C library.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod registering {
    use std::ffi::{c_int, c_void};
    use std::sync::atomic::Ordering;

    use super::{IS_WRAPPED, OPEN};
    use crate::process::fork::ProcessId;

    type Destroy = unsafe extern "C" fn(*mut c_void);
    type Register = unsafe extern "C" fn(Destroy, *mut c_void, *mut c_void) -> c_int;

    // In assembly, because a function that Rust exports would be visible to the whole process.
    #[cfg(target_arch = "x86_64")]
    macro_rules! jump {
        () => {
            "jmp {register}"
        };
    }
    #[cfg(target_arch = "aarch64")]
    macro_rules! jump {
        () => {
            "b {register}"
        };
    }
    core::arch::global_asm!(
        ".pushsection .text.__wrap___cxa_atexit, \"ax\", @progbits",
        ".globl __wrap___cxa_atexit",
        ".hidden __wrap___cxa_atexit",
        ".type __wrap___cxa_atexit, @function",
        "__wrap___cxa_atexit:",
        jump!(),
        ".size __wrap___cxa_atexit, . - __wrap___cxa_atexit",
        ".popsection",
        register = sym register,
    );

    /// A registered destructor.
    struct Registered {
        destroy: Destroy,
        object: *mut c_void,
        process: ProcessId,
    }

    /// Registers a destructor that runs only where it is safe. 0 on success.
    unsafe extern "C" fn register(destroy: Destroy, object: *mut c_void, library: *mut c_void) -> c_int {
        IS_WRAPPED.store(true, Ordering::Relaxed);
        // SAFETY: the name ends with a NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__cxa_atexit".as_ptr()) };
        if found.is_null() {
            // Never destroyed, which is harmless.
            return 0;
        }
        // SAFETY: the C++ ABI gives the function of this name this type.
        let real = unsafe { std::mem::transmute::<*mut c_void, Register>(found) };
        let registered =
            Box::into_raw(Box::new(Registered { destroy, object, process: ProcessId::current() }));
        // SAFETY: `run` may be called once with `registered`, and takes it back then.
        unsafe { real(run, registered.cast(), library) }
    }

    unsafe extern "C" fn run(registered: *mut c_void) {
        // SAFETY: `register` made it, and it is called once.
        let Registered { destroy, object, process } =
            *unsafe { Box::from_raw(registered.cast::<Registered>()) };
        if process.is_current() && OPEN.load(Ordering::SeqCst) == 0 {
            // SAFETY: whoever registered it asked for this call at exit.
            unsafe { destroy(object) };
        }
    }
}
