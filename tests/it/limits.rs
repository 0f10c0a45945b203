//! Limits of the operating system as a Rust program meets them, where RocksDB's own threads cannot be replaced.
//!
//! C programs meet them in `tests/c/thread_limit.c`, `process_limit.c` and `file_limit.c`.

use std::env;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use almadia::{Code, Config, Store};
use tempfile::tempdir;

const THREADS: &str = "ALMADIA_TEST_THREADS";
const DIRECTORY: &str = "ALMADIA_TEST_DIRECTORY";
const TEST: &str = "limits::a_rust_program_is_told_when_the_system_refuses_threads";

/// More than a store of one member takes, beside the threads of the test itself.
const THREADS_MAX: u64 = 40;

#[test]
fn a_rust_program_is_told_when_the_system_refuses_threads() {
    if let (Ok(threads), Some(directory)) = (env::var(THREADS), env::var_os(DIRECTORY)) {
        return open_within(Path::new(&directory), threads.parse().expect("the parent says a number"));
    }

    let outcomes: Vec<_> = (1..=THREADS_MAX).chain([u64::MAX]).map(outcome_within).collect();

    assert_eq!(outcomes.first(), Some(&"refused"));
    assert_eq!(outcomes.last(), Some(&"opened"));
}

/// What a process says that may have so many threads.
fn outcome_within(threads: u64) -> &'static str {
    let directory = tempdir().expect("the temporary directory is writable");
    let mut child = Command::new(env::current_exe().expect("the test binary exists"));
    child.args(["--exact", TEST, "--nocapture", "--test-threads", "1"]);
    child.env(THREADS, threads.to_string()).env(DIRECTORY, directory.path());
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{threads} threads: {}\n{said}", output.status);
    ["refused", "opened"].into_iter().find(|word| said.contains(word)).expect("it is one of these")
}

fn open_within(directory: &Path, threads: u64) {
    become_ordinary(directory, threads);
    let mut config = Config::default();
    config.set("log.segment_bytes", "1048576").expect("in range");
    for _ in 0..3 {
        match Store::open(directory.join("store"), &config) {
            Ok(store) => store.put(b"k", b"v").map(drop).expect("it is alone"),
            Err(error) => {
                assert_eq!((error.code(), error.errno()), (Code::Io, Some(libc::EAGAIN)), "{error}");
                return println!("refused");
            }
        }
    }
    println!("opened");
}

/// Limits the threads of the user. Root has no limit: a user who runs nothing else takes its place.
fn become_ordinary(directory: &Path, threads: u64) {
    let user = 60_000 + std::process::id() % 5_000;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the calls read and write only `limit`.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &raw mut limit), 0);
        limit.rlim_cur = threads.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit), 0);
        if libc::geteuid() == 0 {
            chown(directory, Some(user), None).expect("root may");
            assert_eq!(libc::setresuid(user, user, user), 0);
        }
    }
}
