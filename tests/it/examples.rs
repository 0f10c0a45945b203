//! The examples do what they say: each is compiled as its users would and run.
//!
//! The first examples of each language are with the tests of that language.

use std::process::Command;

use tempfile::tempdir;

use crate::native::{Build, compile, succeed};

#[test]
fn the_callback_example_counts_the_answer_of_every_put() {
    let directory = tempdir().expect("the temporary directory is writable");
    let program = compile("examples/c/callback.c", Build::Address, directory.path());

    let said = succeed(Command::new(program).arg(directory.path().join("store")));

    assert_eq!(said, "1000 applied, 0 not applied, 0 unknown\n");
}
