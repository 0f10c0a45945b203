//! The completeness of the C tests.
//!
//! Owns the comparison of the exported functions with the programs that exercise them: NULL for every pointer, every
//! blocking call inside a callback, every handle in a child process. The test fails for a new function that they leave
//! out.

use std::fs;

use crate::header::{Function, documented_functions};
use crate::native::repository;

fn program(name: &str) -> String {
    let source = fs::read_to_string(repository().join("tests/c").join(name)).expect("the program is there");
    // Formatting may break lines anywhere.
    source.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parameters of a function, each with its type.
fn parameters(function: &Function) -> Vec<(String, String)> {
    let (_, list) = function.signature.split_once(&format!("{}(", function.name)).expect("it has parameters");
    let (list, _) = list.rsplit_once(')').expect("and their end");
    let parameter = |text: &str| {
        let (name, kind) = text.split_once(':')?;
        Some((name.trim().to_owned(), kind.trim().to_owned()))
    };
    list.split(',').filter_map(parameter).collect()
}

/// The arguments of every call of `name` in `source`.
fn calls<'a>(source: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let call = format!("{name}(");
    source.match_indices(&call).map(|(at, _)| arguments(&source[at + call.len()..])).collect()
}

/// Splits at the commas outside brackets, up to the bracket that closes the call.
fn arguments(text: &str) -> Vec<&str> {
    let (mut found, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            b',' if depth > 0 => {}
            b',' | b')' => {
                found.push(text[begin..at].trim());
                begin = at + 1;
                if byte == b')' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_function_is_called_by_a_program_of_the_tests() {
    let files = fs::read_dir(repository().join("tests/c")).expect("the programs are there");
    let names = files.map(|file| file.expect("readable").file_name().into_string().expect("a plain name"));
    let sources: Vec<_> = names.filter(|name| name.ends_with(".c") && name != "null_pointers.c").collect();
    let calls: String = sources.iter().map(|name| program(name)).collect();
    let functions = documented_functions();
    let names = functions.iter().map(|function| &function.name);

    let missing: Vec<_> = names.filter(|name| !calls.contains(&format!("{name}("))).collect();

    assert!(missing.is_empty(), "no program of tests/c calls {missing:?}");
}

#[test]
fn null_is_tried_for_every_pointer_of_every_function() {
    let source = program("null_pointers.c");
    let mut left_out = Vec::new();
    let mut pointers = 0;

    for function in documented_functions() {
        let calls = calls(&source, &function.name);
        for (at, (name, kind)) in parameters(&function).iter().enumerate() {
            if kind.starts_with('*') || kind.ends_with("_callback") {
                pointers += 1;
                if !calls.iter().any(|arguments| arguments.get(at) == Some(&"NULL")) {
                    left_out.push(format!("{}: {name}", function.name));
                }
            }
        }
    }

    assert!(pointers >= 150, "pointers were lost: {pointers}");
    assert!(left_out.is_empty(), "tests/c/null_pointers.c does not try NULL for\n{}", left_out.join("\n"));
}

/// The functions that satisfy `is_concerned` and are not called in `program` with this answer expected.
fn missing(
    program_name: &str,
    answer: &str,
    is_concerned: impl Fn(&Function) -> bool,
) -> (usize, Vec<String>) {
    let source = program(program_name);
    let concerned: Vec<_> = documented_functions().into_iter().filter(is_concerned).collect();
    let is_missing =
        |function: &&Function| !source.contains(&format!("CHECK_CODE({answer}, {}(", function.name));
    let names = concerned.iter().filter(is_missing).map(|function| function.name.clone()).collect();
    (concerned.len(), names)
}

#[test]
fn every_call_that_blocks_is_tried_in_a_callback() {
    let blocks = |function: &Function| {
        function.comment.contains("Blocks: yes") && !function.comment.contains("inside a callback no")
    };

    let (concerned, left_out) = missing("callbacks.c", "ALMADIA_WOULD_DEADLOCK", blocks);

    assert!(concerned >= 12, "functions were lost: {concerned}");
    assert!(left_out.is_empty(), "tests/c/callbacks.c does not try {left_out:?}");
}

#[test]
fn every_call_with_a_handle_of_its_process_is_tried_in_a_child() {
    let kinds = ["store", "snapshot", "txn", "iter", "values", "cq"];
    let belongs = |function: &Function| {
        let first = parameters(function).into_iter().next();
        let is_handle = |kind: &str| {
            kinds.iter().any(|handle| {
                kind == format!("*mut almadia_{handle}") || kind == format!("*const almadia_{handle}")
            })
        };
        function.signature.contains("-> almadia_code") && first.is_some_and(|(_, kind)| is_handle(&kind))
    };

    let (concerned, left_out) = missing("forked.c", "ALMADIA_FORKED", belongs);

    assert!(concerned >= 29, "functions were lost: {concerned}");
    assert!(left_out.is_empty(), "tests/c/forked.c does not try {left_out:?}");
}

#[test]
fn every_struct_that_can_grow_is_tried_in_other_sizes() {
    let platform =
        fs::read_to_string(repository().join("include/almadia_platform.h")).expect("it is committed");
    let source = program("structs.c");
    let initialisers: Vec<_> = platform
        .lines()
        .filter_map(|line| line.strip_prefix("#define ALMADIA_")?.split_once("_INIT {sizeof("))
        .map(|(name, _)| format!("ALMADIA_{name}_INIT"))
        .collect();

    let left_out: Vec<_> = initialisers.iter().filter(|name| !source.contains(name.as_str())).collect();

    assert!(initialisers.len() >= 8, "structs were lost: {initialisers:?}");
    assert!(left_out.is_empty(), "tests/c/structs.c does not try {left_out:?}");
}
