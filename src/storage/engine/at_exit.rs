//! What the engine must not do when the process exits.
//!
//! Owns the end of RocksDB's static objects: they are never destroyed. Their destructors join RocksDB's threads, which do
//! not exist in a forked child, and destroy locks that a store which was not shut down still uses: `exit()` then crashes
//! or hangs. Nothing is lost with them, since all that must survive is on the disk before it is acknowledged, and the
//! library is never unloaded. What always holds: this concerns the C++ code inside our own shared library only. The
//! linker hands its registrations of destructors to the function below (`--wrap`, see `build.rs`); a Rust program that
//! links this crate into its executable keeps RocksDB's own behaviour.

// In assembly, because a function that Rust exports would be seen by the whole process. It answers 0: registered.
#[allow(unsafe_code)] // Named corner: two instructions that touch nothing but the register of the answer.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod never_registered {
    #[cfg(target_arch = "x86_64")]
    macro_rules! answer_zero {
        () => {
            "xor eax, eax"
        };
    }
    #[cfg(target_arch = "aarch64")]
    macro_rules! answer_zero {
        () => {
            "mov w0, wzr"
        };
    }
    core::arch::global_asm!(
        ".pushsection .text.__wrap___cxa_atexit, \"ax\", @progbits",
        ".globl __wrap___cxa_atexit",
        ".hidden __wrap___cxa_atexit",
        ".type __wrap___cxa_atexit, @function",
        "__wrap___cxa_atexit:",
        answer_zero!(),
        "ret",
        ".size __wrap___cxa_atexit, . - __wrap___cxa_atexit",
        ".popsection",
    );
}
