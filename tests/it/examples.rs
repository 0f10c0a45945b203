//! The examples work: each is compiled and run as a user would.
//!
//! The first example of each language is tested with that language.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use almadia::{Config, IterOptions, SnapshotOptions, Store};
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

/// What the recipes tell however often they are run on one store, and by whatever programs.
const RECIPES: &str = "counter: 20\nnames: 1 of 4 got the name\ndocument: 40\n\
                       queue: 12 completed, some taken over\n";

/// All keys of a queue, without `prefix`, and their values.
fn stored_queue(store: &Path, prefix: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let store = Store::open(store, &Config::default()).expect("nobody else has it open");
    let snapshot = store.snapshot(&SnapshotOptions::default()).expect("it leads itself");
    let mut iter = snapshot.iter(IterOptions::prefix(prefix)).expect("the range is one");
    let mut found = BTreeMap::new();
    iter.seek_to_first();
    while let Some((key, value)) = iter.item() {
        found.insert(key[prefix.len()..].to_vec(), value.to_vec());
        iter.next();
    }
    iter.status().expect("the disk is readable");
    found
}

/// The ids of the tasks whose keys begin with `part`.
fn ids(queue: &BTreeMap<Vec<u8>, Vec<u8>>, part: &str) -> Vec<[u8; 10]> {
    let tails = queue.keys().filter_map(|key| key.strip_prefix(part.as_bytes()));
    tails.map(|id| id.try_into().expect("a version and the number of an operation")).collect()
}

/// The queue is stored as `almadia/recipes/_tasks.py` of the Python package has it; the first of twelve tasks is claimed,
/// for 1000 ms and for the first time.
fn assert_stored_as_in_python(queue: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let (waiting, claimed) = (ids(queue, "waiting/"), ids(queue, "claimed/"));
    assert_eq!((waiting.len(), claimed.len(), queue.len()), (11, 1, 11 + 1 + 12 + 12));
    assert!(waiting.iter().all(|id| *id > claimed[0]), "the first task is taken first");
    for (number, id) in claimed.iter().chain(&waiting).enumerate() {
        let mut wide = [0; 16];
        wide[6..].copy_from_slice(id);
        let record = (u128::from_be_bytes(wide) + 1).to_be_bytes();
        let payload = &queue[&[b"task/", &record[6..]].concat()];
        assert_eq!(payload, format!("letter {number}").as_bytes());
        assert_eq!(queue[format!("once/{number}").as_bytes()], b"");
    }
    assert!(
        waiting.iter().all(|id| queue[&[b"waiting/", &id[..]].concat()].is_empty()),
        "none was taken before"
    );
    let claim = &queue[&[b"claimed/", &claimed[0][..]].concat()];
    assert_eq!(claim[16..], [0, 0, 0, 0, 0, 0, 0x03, 0xe8, 0, 0, 0, 1], "{claim:?}");
    assert_ne!(claim[..16], [0; 16]);
}

/// One program puts tasks and dies with one of them, the other works on, and the first finds nothing left to do.
fn assert_shared(directory: &Path, putting: &Path, working: &Path) {
    let store = directory.join("store");
    assert_eq!(succeed(Command::new(putting).arg(&store).arg("put")), "");
    assert_stored_as_in_python(&stored_queue(&store, b"recipes/mail/"));
    assert_eq!(succeed(Command::new(working).arg(&store)), RECIPES);
    assert_eq!(succeed(Command::new(putting).arg(&store)), RECIPES);
    fs::remove_dir_all(store).expect("nobody has it open");
}

#[test]
fn the_recipes_in_c_and_cpp_share_what_they_store_and_the_queue_is_as_in_python() {
    let directory = tempdir().expect("the temporary directory is writable");
    let programs = [
        compile("examples/c/recipes.c", Build::Address, directory.path()),
        crate::cpp::compile_sanitized("examples/cpp/recipes.cpp", directory.path()),
    ];

    assert_shared(directory.path(), &programs[0], &programs[1]);
    assert_shared(directory.path(), &programs[1], &programs[0]);
}

/// A library to preload with which the syncs of a log hang while a file exists.
fn hung_disk(directory: &Path) -> PathBuf {
    let library = directory.join("hung_disk.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
    succeed(cc.arg(repository().join("tests/shim/hung_disk.c")));
    library
}

/// Lets the disk hang again and again, for three times as long as a write waits, until `is_over`; returns how often it did.
fn hang_until(is_over: &AtomicBool, file: &Path) -> usize {
    let inside = file.with_extension("inside");
    let mut hung = 0;
    while !is_over.load(Ordering::Relaxed) {
        fs::write(file, b"").expect("the temporary directory is writable");
        thread::sleep(Duration::from_millis(150));
        fs::remove_file(file).expect("it was written");
        hung += usize::from(fs::remove_file(&inside).is_ok());
        thread::sleep(Duration::from_millis(150));
    }
    hung
}

#[test]
fn the_recipes_have_their_effect_once_when_the_outcomes_of_their_writes_are_unknown() {
    let directory = tempdir().expect("the temporary directory is writable");
    let (shim, file) = (hung_disk(directory.path()), directory.path().join("hung"));
    let programs = [
        compile("examples/c/recipes.c", Build::Plain, directory.path()),
        crate::cpp::compile_plain("examples/cpp/recipes.cpp", directory.path()),
    ];
    for program in programs {
        let is_over = AtomicBool::new(false);
        let store = directory.path().join(program.file_name().expect("it is a file")).with_extension("store");
        let mut command = Command::new(&program);
        command.arg(store).arg("write.timeout_ms=50").env("LD_PRELOAD", &shim).env("HUNG_SYNCS", &file);

        let (told, hung) = thread::scope(|scope| {
            let hanging = scope.spawn(|| hang_until(&is_over, &file));
            let told = scope.spawn(|| succeed(&mut command)).join();
            is_over.store(true, Ordering::Relaxed);
            (told.expect("it ends well"), hanging.join().expect("it only waits"))
        });

        assert_eq!(told, RECIPES);
        assert!(hung > 0, "no write met a hung disk");
    }
}
