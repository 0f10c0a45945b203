//! Link arguments of `libalmadia.so`.
//!
//! Owns the SONAME and the other linker flags. The C header is not generated here: it is committed, and a test checks
//! that it is current, so that a build needs no header generator.

#[path = "../rocksdb_guards.rs"]
mod rocksdb_guards;

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    rocksdb_guards::pass_to_linker();
    if var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for argument in link_arguments() {
            println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
        }
    }
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
