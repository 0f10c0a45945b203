//! Promises under fire: the C interface at bad moments.
//!
//! The programs are in `tests/c`. A program that counts rounds runs all of them plain and fewer with AddressSanitizer,
//! which looks for what a round does to memory and needs no thousand of them. A program whose child works on with memory, after
//! a fork beside threads that allocate, runs under none: the child inherits the allocator's locks as they are at the fork, which
//! the C library's allocator mends in the child and that of gcc's AddressSanitizer does not, so that the child now and then waits
//! for ever for a lock whose holder it does not have. valgrind runs one thread at a time and has no such lock.

use std::process::Command;

use tempfile::{TempDir, tempdir};

use crate::native::{
    Build, compile, compile_unlinked, compile_with, shared_library, succeed, succeed_silently,
};

/// Compiles a program of `tests/c` in a directory of its own.
fn compiled(name: &str, build: Build) -> (TempDir, Command) {
    let directory = tempdir().expect("the temporary directory is writable");
    let program = compile(&format!("tests/c/{name}.c"), build, directory.path());
    let mut command = Command::new(program);
    command.arg(directory.path().join("store"));
    (directory, command)
}

/// Runs a program of `tests/c` plain and with AddressSanitizer, each with arguments of its own.
fn endures(name: &str, plain: &[&str], address: &[&str]) {
    for (build, arguments) in [(Build::Plain, plain), (Build::Address, address)] {
        let (_directory, mut command) = compiled(name, build);
        succeed(command.args(arguments));
    }
}

/// As [`endures`], where what is left in memory at the end says nothing.
fn endures_whatever_is_left(name: &str, arguments: &[&str]) {
    for build in [Build::Plain, Build::Address] {
        let (_directory, mut command) = compiled(name, build);
        succeed(command.args(arguments).env("ASAN_OPTIONS", "detect_leaks=0"));
    }
}

/// How valgrind judges what is left in memory.
const LOSES_NOTHING: [&str; 2] = ["--leak-check=full", "--errors-for-leak-kinds=definite"];
const WHATEVER_IS_LEFT: [&str; 1] = ["--leak-check=no"];

/// Runs a program of `tests/c` under valgrind, which watches the library too.
fn endures_under_valgrind(name: &str, arguments: &[&str], judged: &[&str]) {
    let (_directory, program) = compiled(name, Build::Plain);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9"]).args(judged);
    succeed(valgrind.arg(program.get_program()).args(program.get_args()).args(arguments));
}

/// Runs a program of `tests/c` with ThreadSanitizer, told what docs/c.md tells it.
fn endures_thread_sanitizer(name: &str, arguments: &[&str]) {
    let (directory, mut command) = compiled(name, Build::Thread);
    let suppressions = directory.path().join("tsan.supp");
    std::fs::write(&suppressions, "called_from_lib:libalmadia\n").expect("the directory is writable");
    let options = format!("halt_on_error=1:suppressions={}", suppressions.display());
    succeed(command.args(arguments).env("TSAN_OPTIONS", options));
}

#[test]
fn a_thousand_shutdowns_by_eight_threads_complete_every_accepted_call_once() {
    endures("shutdown_storm", &["1000"], &["60"]);
}

#[test]
fn a_thousand_reopenings_leave_no_thread_no_descriptor_and_no_memory_behind() {
    // Resident memory swings by 3 MiB with what the allocator keeps; 8 MiB in 900 rounds would be 9 KiB a round.
    // AddressSanitizer's allocator keeps what is freed, so memory is judged by the plain program alone.
    endures("reopen", &["1000", "8192"], &["101", "0"]);
}

#[test]
fn callbacks_that_block_for_ten_seconds_stop_neither_heartbeats_nor_other_calls() {
    // More than twice the longest time its followers wait for a heartbeat.
    endures("blocked_callback", &["10000"], &["10000"]);
}

#[test]
fn while_a_disk_hangs_calls_are_answered_by_their_deadlines_and_a_shutdown_returns_by_its_own() {
    endures("hung_disk", &[], &[]);
}

#[test]
fn storms_of_signals_disturb_no_call_and_reach_no_thread_of_the_library() {
    endures("signals", &[], &[]);
}

#[test]
fn structs_of_older_and_newer_headers_are_understood_or_refused() {
    endures("structs", &[], &[]);
}

#[test]
fn queues_endure_many_poppers_many_stores_and_a_pop_inside_a_pop() {
    endures("queue_storm", &[], &[]);
}

#[test]
fn a_cancelled_call_completes_once_and_says_what_is_known() {
    endures("cancelled", &[], &[]);
}

#[test]
fn the_log_callback_is_changed_while_records_flow() {
    endures("log_storm", &[], &[]);
}

#[test]
fn a_forked_child_is_told_so_and_ends_as_it_likes_while_the_parent_works_on() {
    let (_directory, mut command) = compiled("forked", Build::Plain);
    succeed(&mut command);

    // What belongs to threads that do not exist in the child looks like a leak there.
    endures_under_valgrind("forked", &[], &WHATEVER_IS_LEFT);
}

#[test]
fn a_child_that_lives_on_keeps_neither_directories_nor_ports_of_its_parent() {
    // Its children touch no memory: they only wait to be killed.
    endures("child_lives", &[], &[]);
}

#[test]
fn exit_at_any_moment_is_harmless_and_loses_nothing_acknowledged() {
    // What a process that ends in the middle of something still holds is no leak. It forks while it has no other thread.
    endures_whatever_is_left("exits", &["5"]);
}

#[test]
fn stores_of_one_cluster_and_of_several_live_in_one_process() {
    endures("many_stores", &[], &[]);
}

#[test]
fn the_library_works_beside_another_rocksdb_linked_before_or_behind_it() {
    for libraries in [["-lalmadia", "-lrocksdb"], ["-lrocksdb", "-lalmadia"]] {
        for build in [Build::Plain, Build::Address] {
            let directory = tempdir().expect("the temporary directory is writable");
            let program = compile_with("tests/c/beside_rocksdb.c", build, directory.path(), &libraries);
            succeed(Command::new(program).arg(directory.path().join("store")));
        }
    }
}

#[test]
fn the_library_is_loaded_and_let_go_as_a_plug_in() {
    for build in [Build::Plain, Build::Address] {
        let directory = tempdir().expect("the temporary directory is writable");
        let program = compile_unlinked("tests/c/loaded.c", build, directory.path());
        succeed(Command::new(program).arg(directory.path().join("store")).arg(shared_library()));
    }
}

#[test]
fn a_panic_of_an_internal_thread_poisons_one_store_and_the_host_hears_nothing_but_codes() {
    // The worker reads no clock of ours, and the thread that accepts connections only in a flood: `panic_tests` of the
    // library plants theirs, and others at chosen places.
    let alone = ["almadia-raft", "almadia-apply", "almadia-cb"].map(|thread| (thread, "1"));
    let among_three =
        ["almadia-raft", "almadia-send-2", "almadia-recv-2", "almadia-hello"].map(|thread| (thread, "3"));
    for (thread, members) in alone.into_iter().chain(among_three) {
        for build in [Build::Plain, Build::Address] {
            let (_directory, mut command) = compiled("panics", build);
            succeed_silently(command.args([thread, members, "1"]));
        }
    }
}

#[test]
fn a_panic_anywhere_between_an_answer_and_its_callback_loses_none() {
    for thread in ["almadia-raft", "almadia-apply", "almadia-cb"] {
        for reading in 2..=20 {
            let (_directory, mut command) = compiled("panics", Build::Plain);
            succeed_silently(command.args([thread, "1", &reading.to_string()]));
        }
    }
    for reading in 2..=8 {
        let (_directory, mut command) = compiled("panics", Build::Plain);
        succeed_silently(command.args(["almadia-recv-2", "3", &reading.to_string()]));
    }
    endures("pop_panics", &[], &[]);
}

#[test]
fn what_a_program_hands_to_its_callbacks_is_no_race_to_thread_sanitizer() {
    for (name, arguments) in [
        ("callbacks", &[][..]),
        ("events", &[]),
        ("queue_storm", &[]),
        ("cancelled", &[]),
        ("shutdown_storm", &["10"]),
    ] {
        endures_thread_sanitizer(name, arguments);
    }
}

#[test]
fn calls_of_every_kind_make_no_invalid_access_and_lose_no_memory() {
    for name in ["every_function", "null_pointers", "limits", "structs", "failures", "iterate"] {
        endures_under_valgrind(name, &[], &LOSES_NOTHING);
    }
}

#[test]
fn a_hundred_reopenings_make_no_invalid_access_and_lose_no_memory() {
    // The first hundred rounds warm up; what is resident is valgrind's own affair.
    endures_under_valgrind("reopen", &["101", "0"], &LOSES_NOTHING);
}

#[test]
fn queues_callbacks_and_closings_make_no_invalid_access_and_lose_no_memory() {
    for name in ["callbacks", "queue", "queue_storm", "shutdown", "outlive"] {
        endures_under_valgrind(name, &[], &LOSES_NOTHING);
    }
    endures_under_valgrind("shutdown_storm", &["2"], &LOSES_NOTHING);
    endures_under_valgrind("panics", &["almadia-apply", "1", "1"], &LOSES_NOTHING);
    endures_under_valgrind("pop_panics", &[], &LOSES_NOTHING);
}

#[test]
fn a_store_opened_by_a_relative_path_stays_where_it_is_when_the_program_changes_its_directory() {
    endures("relative", &[], &[]);
}

#[test]
fn a_program_that_writes_to_closed_standard_descriptors_reaches_no_file_of_the_store() {
    endures("descriptors", &[], &[]);
}

#[test]
fn nobody_opens_a_running_store_whose_lock_files_were_removed() {
    endures("lock_removed", &[], &[]);
}

#[test]
fn a_store_that_is_moved_away_writes_its_log_into_no_other_store_in_its_place() {
    endures("moved", &[], &[]);
}
