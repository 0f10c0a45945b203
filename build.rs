//! Linker arguments of the shared libraries that we ship: `libalmadia.so` and the Python module.
//!
//! The build script of their packages, `bindings/c` and `bindings/python`. This package itself has none: Cargo would pass
//! the arguments on to a shared library of anybody who depends on it, which would get our SONAME, and our functions in
//! the place of two of the C and C++ libraries'. The C header is not generated here: it is committed, and a test checks
//! that it is current, so that a build needs no header generator.

use std::env::var;

/// `std::thread::_M_start_thread(std::unique_ptr<std::thread::_State>, void (*)())`
const START_THREAD: &str =
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE";

fn main() {
    println!("cargo:rerun-if-changed=../../build.rs");
    if guards_rocksdb() {
        for function in ["__cxa_atexit", START_THREAD] {
            pass(&format!("--wrap={function}"));
        }
    }
    // The Python module must not have this SONAME and must leave Python's symbols undefined.
    if is("CARGO_PKG_NAME", &["almadia-c"]) && is("CARGO_CFG_TARGET_OS", &["linux"]) {
        link_arguments().iter().for_each(|argument| pass(argument));
    }
}

/// Where `src/storage/engine/at_exit.rs` decides whether RocksDB's destructors run at exit, and `threads.rs` beside it
/// starts RocksDB's threads.
fn guards_rocksdb() -> bool {
    is("CARGO_CFG_TARGET_OS", &["linux"]) && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"])
}

fn link_arguments() -> [String; 3] {
    // While the major version is 0, a minor version may change the interface, so both are in the name.
    let soname = format!("libalmadia.so.{}.{}", number("MAJOR"), number("MINOR"));
    [
        // Without a SONAME, programs record the path they were linked with.
        format!("-soname,{soname}"),
        // Otherwise a library that lacks one of its own dependencies links here and fails for its users.
        "--no-undefined".to_owned(),
        // Thread-local destructors and the fork handler stay registered, so the code must stay mapped after dlclose.
        "-z,nodelete".to_owned(),
    ]
}

fn pass(argument: &str) {
    println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
}

fn is(name: &str, values: &[&str]) -> bool {
    var(name).is_ok_and(|value| values.contains(&value.as_str()))
}

fn number(part: &str) -> String {
    var(format!("CARGO_PKG_VERSION_{part}")).expect("Cargo sets it for every build script")
}
