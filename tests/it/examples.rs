//! The examples work: each is compiled and run as a user would.
//!
//! The first example of each language is tested with that language.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::tempdir;

use crate::member::reserved_addresses;
use crate::native::{Build, compile, repository, succeed};

#[test]
fn the_callback_example_counts_the_answer_of_every_put() {
    let directory = tempdir().expect("the temporary directory is writable");
    let program = compile("examples/c/callback.c", Build::Address, directory.path());

    let output = succeed(Command::new(program).arg(directory.path().join("store")));

    assert_eq!(output, "1000 applied, 0 not applied, 0 unknown\n");
}

/// The answers of the epoll example to `commands`, one per line, in no particular order.
fn answers_of_epoll(program: &Path, store: &Path, commands: &str) -> BTreeSet<String> {
    let mut piped = Command::new("sh");
    piped.args(["-c", "printf '%s' \"$1\" | \"$2\" \"$3\"", "sh", commands]).arg(program).arg(store);
    succeed(&mut piped).lines().map(str::to_owned).collect()
}

#[test]
fn the_epoll_example_answers_every_command_on_its_only_thread() {
    let directory = tempdir().expect("the temporary directory is writable");
    let program = compile("examples/c/epoll.c", Build::Address, directory.path());
    let store = directory.path().join("store");
    let puts: String = (0..500).map(|number| format!("put key{number} value {number}\n")).collect();

    let put = answers_of_epoll(&program, &store, &puts);
    let got = answers_of_epoll(&program, &store, "get key7\nget none\nput\ncount\n");

    assert_eq!(put, (0..500).map(|number| format!("put key{number} value {number}: ok")).collect());
    assert_eq!(got.len(), 4, "{got:?}");
    for answer in ["get key7: value 7", "get none: no such key"] {
        assert!(got.contains(answer), "{got:?}");
    }
    for refused in ["put: not applied: ", "count: not applied: "] {
        assert!(got.iter().any(|answer| answer.starts_with(refused)), "{got:?}");
    }
    let source = fs::read_to_string(repository().join("examples/c/epoll.c")).expect("the example is there");
    assert!(!source.contains("pthread"), "the example has no thread of its own");
}

/// One running member of the C++ example, which ends when it is dropped.
struct Member {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Member {
    fn start(program: &Path, number: usize, directory: &Path, members: &str) -> Self {
        let mut process = Command::new("timeout")
            .args(["--kill-after=5", "120"])
            .arg(program)
            .arg(number.to_string())
            .arg(directory.join(format!("store-{number}")))
            .arg(members)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was compiled");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, output }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the program writes text");
        line
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("it was started").success());
    }
}

#[test]
fn three_members_of_the_cpp_example_see_what_all_three_wrote() {
    let directory = tempdir().expect("the temporary directory is writable");
    let program = crate::cpp::compile_sanitized("examples/cpp/member.cpp", directory.path());
    let addresses = reserved_addresses(3);
    let numbered = addresses.iter().enumerate().map(|(at, address)| format!("{}={address}", at + 1));
    let members = numbered.collect::<Vec<_>>().join(",");

    let mut running: Vec<_> =
        (1..=3).map(|number| Member::start(&program, number, directory.path(), &members)).collect();

    for member in &mut running {
        assert!(member.next_line().starts_with("leader: "));
        assert_eq!(member.next_line(), "pairs: 300\n");
    }
    for member in running {
        member.end();
    }
}
