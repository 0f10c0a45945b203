//! A Rust library that depends on this one, as its users see it: with no name and no function of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::native::{repository, shared_library, succeed};

/// Makes a package in `directory` that depends on this one and builds a shared library, with the profile of this
/// repository, so that the dependencies are those that are built already.
fn make_package(directory: &Path) {
    let own = fs::read_to_string(repository().join("Cargo.toml")).expect("it is there");
    let (_, profile) = own.split_once("[profile.release]").expect("it has a profile");
    let manifest = format!(
        "[workspace]\n\n[package]\nname = \"downstream\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = \"lib.rs\"\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nalmadia = {{ path = {:?} }}\n\n[profile.release]{profile}",
        repository()
    );
    fs::write(directory.join("Cargo.toml"), manifest).expect("writable");
    fs::copy(repository().join("Cargo.lock"), directory.join("Cargo.lock")).expect("it is there");
    for name in ["lib.rs", "main.c"] {
        fs::copy(repository().join("tests/install/rust").join(name), directory.join(name))
            .expect("it is there");
    }
}

#[test]
fn a_shared_library_in_rust_on_top_of_ours_has_its_own_name_and_functions_alone() {
    let directory = tempdir().expect("the temporary directory is writable");
    make_package(directory.path());
    let deps = shared_library().parent().expect("it is in a directory").to_owned();
    let target = deps.ancestors().nth(2).expect("target/release/deps");

    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--offline", "--manifest-path"]);
    cargo.arg(directory.path().join("Cargo.toml")).env("CARGO_TARGET_DIR", target);
    succeed(&mut cargo);
    let library = target.join("release/libdownstream.so");
    let symbols =
        succeed(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(&library));
    let dynamic = succeed(Command::new("readelf").arg("-dW").arg(&library));
    let program = directory.path().join("program");
    let mut cc = Command::new("cc");
    cc.arg(directory.path().join("main.c")).arg("-o").arg(&program);
    cc.arg("-L").arg(target.join("release")).arg("-ldownstream");
    succeed(cc.arg(format!("-Wl,-rpath,{}", target.join("release").display())));

    assert_eq!(symbols, "downstream_count\n");
    assert!(!dynamic.contains("almadia") && !dynamic.contains("NODELETE"), "{dynamic}");
    assert_eq!(succeed(Command::new(program).arg(directory.path().join("store"))), "1 2\n");
}
