//! The C interface as C programs see it: the ELF file, and programs that use every part of it.
//!
//! The programs are in `tests/c`; each is compiled as C99 with all warnings as errors and runs twice, plain and with
//! AddressSanitizer, which also reports what was never freed.

use std::process::Command;

use tempfile::tempdir;

use crate::header::exported_functions;
use crate::native::{Build, SONAME, compile, repository, shared_library, succeed};

/// Compiles and runs a program of `tests/c` both ways, each in a directory of its own.
fn passes(name: &str) {
    for build in [Build::Plain, Build::Address] {
        let directory = tempdir().expect("the temporary directory is writable");
        let program = compile(&format!("tests/c/{name}.c"), build, directory.path());
        succeed(Command::new(program).arg(directory.path().join("store")));
    }
}

#[test]
fn hello_world_in_c_is_short_and_prints_hello() {
    let source =
        std::fs::read_to_string(repository().join("examples/c/hello.c")).expect("the example is there");
    assert!(source.lines().count() < 40, "the first example must fit on a screen");

    let directory = tempdir().expect("the temporary directory is writable");
    let program = compile("examples/c/hello.c", Build::Address, directory.path());
    let output = succeed(Command::new(program).arg(directory.path().join("store")));

    assert_eq!(output, "hello, world\n");
}

#[test]
fn every_function_works_once_from_c() {
    passes("every_function");
}

#[test]
fn null_is_refused_or_ignored_everywhere() {
    passes("null_pointers");
}

#[test]
fn limits_are_exact_and_structs_of_other_versions_are_understood() {
    passes("limits");
}

#[test]
fn errors_tell_what_happened_and_whether_it_was_applied() {
    passes("failures");
}

#[test]
fn callbacks_follow_their_rules() {
    passes("callbacks");
}

#[test]
fn snapshots_values_and_iterators_outlive_the_store() {
    passes("outlive");
}

#[test]
fn shutdown_completes_every_accepted_write_exactly_once() {
    passes("shutdown");
}

#[test]
fn iterators_respect_their_bounds_and_direction() {
    passes("iterate");
}

#[test]
fn a_store_of_several_regions_routes_refuses_and_reads_by_range() {
    passes("regions");
}

#[test]
fn leadership_is_handed_over_refused_and_given_up_at_shutdown() {
    passes("transfer");
}

#[test]
fn members_are_added_replaced_and_removed_and_listed() {
    passes("members");
}

#[test]
fn a_write_reports_its_progress_before_it_completes() {
    passes("events");
}

#[test]
fn a_call_says_how_recent_from_where_on_and_how_long_and_is_told_its_position() {
    passes("per_call");
}

#[test]
fn a_key_has_the_same_version_however_and_wherever_it_is_read() {
    passes("versions");
}

#[test]
fn writes_with_conditions_count_and_queue_without_a_lock_on_three_members() {
    passes("conditions");
}

#[test]
fn transactions_never_make_or_lose_money_on_three_members() {
    passes("transactions");
}

#[test]
fn a_normal_start_logs_no_warning_and_a_member_that_stays_away_one() {
    passes("quiet_start");
}

#[test]
fn completion_queues_deliver_every_answer_once() {
    passes("queue");
}

#[test]
fn the_library_exports_exactly_the_functions_of_the_header() {
    let symbols = succeed(
        Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(shared_library()),
    );

    let mut exported: Vec<&str> = symbols.lines().collect();
    exported.sort_unstable();

    assert_eq!(exported, exported_functions());
}

#[test]
fn the_library_states_its_name_and_needs_only_the_c_and_cpp_runtimes() {
    let dynamic = succeed(Command::new("readelf").arg("-dW").arg(shared_library()));
    let bracketed = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(&format!("({tag})")));
        let inner = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
        lines.filter_map(inner).collect()
    };

    assert_eq!(bracketed("SONAME"), [SONAME]);
    for needed in bracketed("NEEDED") {
        let known = ["libstdc++.so.", "libgcc_s.so.", "libm.so.", "libc.so.", "ld-linux"];
        assert!(known.iter().any(|name| needed.starts_with(name)), "{needed}");
    }
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    for unwanted in ["(RPATH)", "(RUNPATH)", "(TEXTREL)"] {
        assert!(!dynamic.contains(unwanted), "{dynamic}");
    }
}
