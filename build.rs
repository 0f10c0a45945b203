//! Link arguments of `libalmadia.so`.
//!
//! Owns the SONAME and the other linker flags. The C header is not generated here: it is committed, and a test checks
//! that it is current, so that a build needs no header generator.

use std::env::var;

/// `std::thread::_M_start_thread(std::unique_ptr<std::thread::_State>, void (*)())`
const START_THREAD: &str =
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if guards_rocksdb() {
        for function in ["__cxa_atexit", START_THREAD] {
            println!("cargo:rustc-cdylib-link-arg=-Wl,--wrap={function}");
        }
    }
    // Cargo passes these on to a cdylib that depends on this crate, but the Python module must not have this SONAME and
    // must leave Python's symbols undefined. It is the one that is built without the C functions.
    let is_c_library = var("CARGO_FEATURE_CAPI").is_ok();
    if is_c_library && var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for argument in link_arguments() {
            println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
        }
    }
}

/// Where `src/storage/engine/at_exit.rs` decides whether RocksDB's destructors run at exit, and `threads.rs` beside it
/// starts RocksDB's threads; in the Python module too.
fn guards_rocksdb() -> bool {
    let is = |name: &str, values: &[&str]| var(name).is_ok_and(|value| values.contains(&value.as_str()));
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

fn number(part: &str) -> String {
    var(format!("CARGO_PKG_VERSION_{part}")).expect("Cargo sets it for every build script")
}
