//! The linker arguments that put our own functions in the place of two of the C and C++ libraries'.
//!
//! Shared by the build scripts of the two shared libraries that we ship, for C and for Python. There
//! `src/storage/engine/at_exit.rs` decides whether RocksDB's destructors run at exit, and `threads.rs` beside it starts
//! RocksDB's threads. A Rust program that links RocksDB into itself does not get them: they would change what its own
//! C++ code does.

use std::env::var;

/// `std::thread::_M_start_thread(std::unique_ptr<std::thread::_State>, void (*)())`
const START_THREAD: &str =
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE";

pub fn pass_to_linker() {
    println!("cargo:rerun-if-changed=../rocksdb_guards.rs");
    let is = |name: &str, values: &[&str]| var(name).is_ok_and(|value| values.contains(&value.as_str()));
    if is("CARGO_CFG_TARGET_OS", &["linux"]) && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"]) {
        for function in ["__cxa_atexit", START_THREAD] {
            println!("cargo:rustc-cdylib-link-arg=-Wl,--wrap={function}");
        }
    }
}
