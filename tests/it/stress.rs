//! The C interface under stress.
//!
//! The programs are in `tests/c`. A program with a number of rounds runs all of them plain and fewer with
//! AddressSanitizer, which looks for memory errors within a round and does not need a thousand of them. A program whose
//! forked child continues to allocate, while threads of the parent allocated at the fork, runs without
//! AddressSanitizer: the child inherits the allocator's locks as they were at the fork. The C library's allocator
//! resets them in the child, that of gcc's AddressSanitizer does not, so the child would sometimes wait forever for a
//! lock whose holder does not exist there. valgrind runs one thread at a time and has no such lock.

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
fn run_plain_and_sanitized(name: &str, plain: &[&str], address: &[&str]) {
    for (build, arguments) in [(Build::Plain, plain), (Build::Address, address)] {
        let (_directory, mut command) = compiled(name, build);
        succeed(command.args(arguments));
    }
}

/// Like [`run_plain_and_sanitized`], without looking for leaks: memory of threads that do not exist in a forked child
/// looks like a leak there.
fn run_without_leak_check(name: &str, plain: &[&str], address: &[&str]) {
    for (build, arguments) in [(Build::Plain, plain), (Build::Address, address)] {
        let (_directory, mut command) = compiled(name, build);
        succeed(command.args(arguments).env("ASAN_OPTIONS", "detect_leaks=0"));
    }
}

/// Valgrind's options for memory still allocated at the end.
const LEAK_CHECK: [&str; 2] = ["--leak-check=full", "--errors-for-leak-kinds=definite"];
const NO_LEAK_CHECK: [&str; 1] = ["--leak-check=no"];

/// Runs a program of `tests/c` under valgrind, which watches the library too.
fn run_under_valgrind(name: &str, arguments: &[&str], judged: &[&str]) {
    let (_directory, program) = compiled(name, Build::Plain);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9"]).args(judged);
    succeed(valgrind.arg(program.get_program()).args(program.get_args()).args(arguments));
}

/// Runs a program of `tests/c` with ThreadSanitizer, with the suppression from docs/c.md.
fn run_with_thread_sanitizer(name: &str, arguments: &[&str]) {
    let (directory, mut command) = compiled(name, Build::Thread);
    let suppressions = directory.path().join("tsan.supp");
    std::fs::write(&suppressions, "called_from_lib:libalmadia\n").expect("the directory is writable");
    let options = format!("halt_on_error=1:suppressions={}", suppressions.display());
    succeed(command.args(arguments).env("TSAN_OPTIONS", options));
}

#[test]
fn a_thousand_shutdowns_with_eight_threads_complete_every_accepted_call_once() {
    run_plain_and_sanitized("shutdown_storm", &["1000"], &["60"]);
}

#[test]
fn a_thousand_reopenings_leak_no_thread_no_descriptor_and_no_memory() {
    // Resident memory varies by 3 MiB with what the allocator keeps; 8 MiB in 900 rounds would be 9 KiB a round.
    // AddressSanitizer's allocator keeps freed memory, so only the plain program checks memory.
    run_plain_and_sanitized("reopen", &["1000", "8192"], &["101", "0"]);
}

#[test]
fn callbacks_that_block_for_ten_seconds_stop_neither_heartbeats_nor_other_calls() {
    // More than twice the longest time that followers wait for a heartbeat.
    run_plain_and_sanitized("blocked_callback", &["10000"], &["10000"]);
}

#[test]
fn while_a_disk_hangs_calls_are_answered_by_their_deadlines_and_a_shutdown_returns_by_its_own() {
    run_plain_and_sanitized("hung_disk", &[], &[]);
}

#[test]
fn floods_of_signals_disturb_no_call_and_reach_no_thread_of_the_library() {
    run_plain_and_sanitized("signals", &[], &[]);
}

#[test]
fn structs_of_older_and_newer_headers_are_understood_or_refused() {
    run_plain_and_sanitized("structs", &[], &[]);
}

#[test]
fn queues_work_with_many_poppers_many_stores_and_a_pop_inside_a_pop() {
    run_plain_and_sanitized("queue_storm", &[], &[]);
}

#[test]
fn a_cancelled_call_completes_once_and_reports_what_is_known() {
    run_plain_and_sanitized("cancelled", &[], &[]);
}

#[test]
fn the_log_callback_is_changed_while_records_flow() {
    run_plain_and_sanitized("log_storm", &[], &[]);
}

#[test]
fn a_forked_child_gets_an_error_and_may_exit_in_any_way_while_the_parent_continues() {
    let (_directory, mut command) = compiled("forked", Build::Plain);
    succeed(&mut command);

    // Memory of threads that do not exist in the child looks like a leak there.
    run_under_valgrind("forked", &[], &NO_LEAK_CHECK);
}

#[test]
fn a_child_that_outlives_its_parent_keeps_neither_directories_nor_ports() {
    // Its children touch no memory: they only wait to be killed.
    run_plain_and_sanitized("child_lives", &[], &[]);
}

#[test]
fn a_process_that_has_closed_its_stores_is_forked_and_its_children_open_some() {
    // Beside something left, threads of the parent allocate at the fork, and the children do too.
    run_without_leak_check("forked_after", &["left"], &[]);
}

#[test]
fn when_the_system_refuses_threads_opening_says_so_and_an_open_store_needs_none() {
    // They stand in front of functions that AddressSanitizer has taken the place of.
    for name in ["thread_limit", "process_limit"] {
        let (_directory, mut command) = compiled(name, Build::Plain);
        succeed(&mut command);
    }
}

#[test]
fn what_exceeds_the_limit_on_the_size_of_files_is_an_error_and_no_signal() {
    run_plain_and_sanitized("file_limit", &[], &[]);
}

#[test]
fn the_stacks_of_internal_threads_do_not_depend_on_the_environment() {
    let (_directory, mut command) = compiled("small_stacks", Build::Plain);
    succeed(command.env("RUST_MIN_STACK", "16384"));
}

#[test]
fn exit_at_any_time_is_harmless_and_loses_nothing_acknowledged() {
    // Memory still held by a process that exits in the middle of a call is no leak. It forks while it has no other
    // thread.
    run_without_leak_check("exits", &["5"], &["5"]);
}

#[test]
fn stores_of_one_cluster_and_of_several_live_in_one_process() {
    run_plain_and_sanitized("many_stores", &[], &[]);
}

#[test]
fn the_library_works_with_another_rocksdb_linked_before_or_after_it() {
    for libraries in [["-lalmadia", "-lrocksdb"], ["-lrocksdb", "-lalmadia"]] {
        for build in [Build::Plain, Build::Address] {
            let directory = tempdir().expect("the temporary directory is writable");
            let program = compile_with("tests/c/beside_rocksdb.c", build, directory.path(), &libraries);
            succeed(Command::new(program).arg(directory.path().join("store")));
        }
    }
}

#[test]
fn the_library_is_loaded_and_unloaded_as_a_plug_in() {
    for build in [Build::Plain, Build::Address] {
        let directory = tempdir().expect("the temporary directory is writable");
        let program = compile_unlinked("tests/c/loaded.c", build, directory.path());
        succeed(Command::new(program).arg(directory.path().join("store")).arg(shared_library()));
    }
}

#[test]
fn a_panic_of_an_internal_thread_poisons_one_store_and_the_host_sees_only_codes() {
    // The worker does not read our clock, and the thread that accepts connections only does under a flood:
    // `panic_tests` of the library inject panics there, and at other chosen places.
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
    run_plain_and_sanitized("pop_panics", &[], &[]);
}

#[test]
fn thread_sanitizer_sees_no_race_in_what_a_program_passes_to_its_callbacks() {
    for (name, arguments) in [
        ("callbacks", &[][..]),
        ("events", &[]),
        ("queue_storm", &[]),
        ("cancelled", &[]),
        ("shutdown_storm", &["10"]),
    ] {
        run_with_thread_sanitizer(name, arguments);
    }
}

#[test]
fn calls_of_every_kind_make_no_invalid_access_and_leak_no_memory() {
    for name in ["every_function", "null_pointers", "limits", "structs", "failures", "iterate"] {
        run_under_valgrind(name, &[], &LEAK_CHECK);
    }
}

#[test]
fn a_hundred_reopenings_make_no_invalid_access_and_leak_no_memory() {
    // The program takes the first hundred rounds as warm-up; resident memory means nothing under valgrind.
    run_under_valgrind("reopen", &["101", "0"], &LEAK_CHECK);
}

#[test]
fn queues_callbacks_and_shutdowns_make_no_invalid_access_and_leak_no_memory() {
    for name in ["callbacks", "queue", "queue_storm", "shutdown", "outlive"] {
        run_under_valgrind(name, &[], &LEAK_CHECK);
    }
    run_under_valgrind("shutdown_storm", &["2"], &LEAK_CHECK);
    run_under_valgrind("panics", &["almadia-apply", "1", "1"], &LEAK_CHECK);
    run_under_valgrind("pop_panics", &[], &LEAK_CHECK);
}

#[test]
fn a_store_opened_by_a_relative_path_is_not_affected_when_the_program_changes_its_directory() {
    run_plain_and_sanitized("relative", &[], &[]);
}

#[test]
fn a_long_log_holds_few_descriptors_and_writes_go_on_without_any_left() {
    run_plain_and_sanitized("few_descriptors", &[], &[]);
}

#[test]
fn a_program_that_writes_to_closed_standard_descriptors_reaches_no_file_of_the_store() {
    run_plain_and_sanitized("descriptors", &[], &[]);
}

#[test]
fn an_open_store_stays_locked_when_its_lock_files_are_removed() {
    run_plain_and_sanitized("lock_removed", &[], &[]);
}

#[test]
fn a_moved_store_does_not_write_its_log_into_the_store_that_replaced_it() {
    run_plain_and_sanitized("moved", &[], &[]);
}
