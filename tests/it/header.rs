//! The C header: current, complete, and silent in every dialect.
//!
//! Owns the generation of `include/almadia.h`: cbindgen over `src/capi`, with the constants of all codes taken from the
//! table in `src/error.rs`. Set `ALMADIA_UPDATE_HEADER=1` to write it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use almadia::internal::CODES;
use tempfile::tempdir;

use crate::native::{repository, succeed};

/// The files of the interface, in the order in which a reader of the header should meet them.
const SOURCES: [&str; 36] = [
    "boundary",
    "library",
    "error",
    "log",
    "config",
    "store_event",
    "store",
    "status",
    "region",
    "raft_snapshot",
    "members",
    "batch",
    "batch_conditions",
    "position",
    "write_options",
    "write",
    "written",
    "precondition",
    "compare",
    "compute",
    "done",
    "completion",
    "cq",
    "snapshot_open",
    "snapshot",
    "range_digest",
    "get",
    "value",
    "iter",
    "txn_begin",
    "txn",
    "txn_commit",
    "conflict",
    "transfer",
    "members_change",
    "bytes",
];

fn header_path() -> PathBuf {
    repository().join("include/almadia.h")
}

fn committed() -> String {
    fs::read_to_string(header_path()).expect("the header is committed")
}

fn source_paths() -> impl Iterator<Item = PathBuf> {
    let capi = repository().join("src/capi");
    SOURCES.iter().map(move |name| capi.join(format!("{name}.rs")))
}

/// The constants of the codes, from the table of codes.
fn code_constants() -> String {
    let mut sorted: Vec<_> =
        CODES.iter().map(|(_, number, name, message)| (*number, *name, *message)).collect();
    sorted.push((0, "OK", "success"));
    sorted.sort_unstable();
    let mut text = String::from("#include \"almadia_platform.h\"\n");
    for (number, name, message) in sorted {
        let message = message[..1].to_uppercase() + &message[1..];
        write!(text, "\n/** {message} */\n#define ALMADIA_{name} {number}\n").expect("strings grow");
    }
    text
}

fn generated() -> String {
    let mut config =
        cbindgen::Config::from_file(repository().join("cbindgen.toml")).expect("it is well formed");
    config.after_includes = Some(code_constants());
    let builder =
        source_paths().fold(cbindgen::Builder::new().with_config(config), cbindgen::Builder::with_src);
    let mut bytes = Vec::new();
    builder.generate().expect("the sources parse").write(&mut bytes);
    one_line_comments(&without_safety(&String::from_utf8(bytes).expect("the sources are UTF-8")))
}

/// Leaves the `# Safety` sections out. They tell a Rust program what the top of the header tells a C program once.
fn without_safety(header: &str) -> String {
    let (mut lines, mut inside) = (Vec::new(), false);
    for line in header.lines() {
        if line.trim() == "* # Safety" {
            assert_eq!(lines.pop().map(str::trim), Some("*"), "the section is a paragraph of its own");
            inside = true;
        }
        inside &= line.trim() != "*/";
        if !inside {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// Puts a comment of one line on one line; cbindgen uses three.
fn one_line_comments(header: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in header.lines() {
        lines.push(line.to_owned());
        let [.., begin, text, end] = lines.as_slice() else { continue };
        if begin.trim() == "/**" && end.trim() == "*/" && text.trim().starts_with("* ") {
            let joined = format!("{} {} */", begin, &text.trim()[2..]);
            lines.truncate(lines.len() - 3);
            lines.push(joined);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_committed_header_is_generated_from_the_sources() {
    let generated = generated();
    if std::env::var_os("ALMADIA_UPDATE_HEADER").is_some() {
        fs::write(header_path(), &generated).expect("the tree is writable");
    }

    let same = committed() == generated;

    assert!(same, "include/almadia.h is stale: ALMADIA_UPDATE_HEADER=1 cargo test --release header");
}

#[test]
fn the_header_names_every_code_and_no_other() {
    let expected: BTreeMap<String, i32> =
        CODES.iter().map(|(_, number, name, _)| (format!("ALMADIA_{name}"), *number)).collect();

    // Codes are the only constants of three digits.
    let header = committed();
    let found: BTreeMap<String, i32> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
        .filter(|(_, number)| (100..1000).contains(number))
        .collect();

    assert_eq!(found, expected);
    assert!(header.contains("#define ALMADIA_OK 0\n"));
}

#[test]
fn every_function_of_the_header_is_in_the_sources_and_vice_versa() {
    let exported = exported_functions();

    assert!(exported.len() >= 60, "cbindgen lost functions: {exported:?}");
    assert_eq!(declared_functions(&committed()), exported);
}

#[test]
fn every_function_documents_whether_it_blocks_and_who_may_call_it() {
    for function in documented_functions() {
        for promise in ["Blocks: ", "Threads: "] {
            assert!(function.comment.contains(promise), "{} lacks '{promise}'", function.name);
        }
        let fails =
            function.signature.ends_with("-> almadia_code {") && function.signature.contains("unsafe");
        let states_codes = function.comment.contains("Codes: ")
            || function.name == "almadia_completion_code"
            || function.name == "almadia_error_code";
        assert!(!fails || states_codes, "{} lacks 'Codes: '", function.name);
    }
}

#[test]
fn no_exported_function_bypasses_the_boundary() {
    let functions = documented_functions();
    assert!(functions.len() >= 60);

    for function in functions {
        let first_statement = function
            .body
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with("//") && *line != "unsafe {")
            .expect("no body is empty");
        let constant = first_statement.starts_with("const ");
        assert!(
            constant || first_statement.starts_with("boundary::"),
            "{}: {first_statement}",
            function.name
        );
        assert_eq!(
            function.body.matches("boundary::call(").count()
                + function.body.matches("boundary::value(").count()
                + function.body.matches("boundary::release(").count(),
            1,
            "{}",
            function.name
        );
    }
}

#[test]
fn one_file_makes_and_frees_all_handles() {
    let directory = fs::read_dir(repository().join("src/capi")).expect("the sources are there");
    let files = directory.map(|file| file.expect("readable").path());
    let is_raw = |path: &PathBuf| {
        let source = fs::read_to_string(path).expect("readable");
        ["into_raw", "from_raw(", "Box::leak", "ManuallyDrop"].iter().any(|word| source.contains(word))
    };

    let found: Vec<_> = files.filter(is_raw).collect();

    assert_eq!(found, [repository().join("src/capi/handle.rs")]);
}

#[test]
fn the_header_compiles_alone_and_twice_in_every_dialect() {
    let directory = tempdir().expect("the temporary directory is writable");
    let include = repository().join("include");
    let source = "#include \"almadia.h\"\n#include \"almadia.h\"\n\
                  almadia_code probe(void);\nalmadia_code probe(void) { return ALMADIA_OK; }\n";

    for compiler in [("gcc", "g++"), ("clang", "clang++")] {
        if Command::new(compiler.0).arg("--version").output().is_err() {
            assert_eq!(compiler.0, "clang", "a C compiler is a build need");
            continue;
        }
        for standard in ["c99", "c11", "c2x"] {
            compile(compiler.0, standard, &directory.path().join("probe.c"), source, &include);
        }
        for standard in ["c++11", "c++17", "c++20"] {
            compile(compiler.1, standard, &directory.path().join("probe.cpp"), source, &include);
        }
    }
}

fn compile(compiler: &str, standard: &str, file: &Path, source: &str, include: &Path) {
    fs::write(file, source).expect("the scratch directory is writable");
    let mut command = Command::new(compiler);
    command.args([&format!("-std={standard}"), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
    if standard.starts_with("c9") || standard.starts_with("c1") {
        command.args(["-Wstrict-prototypes", "-Wc++-compat"]);
    }
    succeed(command.arg("-I").arg(include).arg(file));
}

/// An exported function as in the sources.
pub struct Function {
    pub name: String,
    pub comment: String,
    pub signature: String,
    body: String,
}

/// All exported functions.
pub fn documented_functions() -> Vec<Function> {
    source_paths()
        .flat_map(|path| functions_of(&fs::read_to_string(path).expect("the sources are there")))
        .collect()
}

/// Splits a source at its exported functions. rustfmt guarantees the shape: attributes before, `}` in column 0 after.
fn functions_of(source: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for (start, _) in source.match_indices("#[unsafe(no_mangle)]") {
        let comment: Vec<&str> =
            source[..start].lines().rev().take_while(|line| line.starts_with("///")).collect();
        let text = &source[start..];
        let text = &text[..text.find("\n}\n").expect("every function ends")];
        let (signature, body) = text.split_once("{\n").expect("every function has a body");
        let name = signature.split_once("extern \"C\" fn ").expect("every export is a C function").1;
        functions.push(Function {
            name: name.split('(').next().expect("split gives one part at least").to_owned(),
            comment: comment.into_iter().rev().map(|line| &line[3..]).collect(),
            signature: format!("{signature}{{"),
            body: body.to_owned(),
        });
    }
    functions
}

/// The names of all exported functions, sorted.
pub fn exported_functions() -> Vec<String> {
    let mut names: Vec<String> = documented_functions().into_iter().map(|function| function.name).collect();
    names.sort();
    names
}

/// The names of all functions a header declares, sorted.
pub fn declared_functions(header: &str) -> Vec<String> {
    let mut names: Vec<String> = header
        .split("\nALMADIA_API")
        .skip(1)
        .map(|declaration| declaration.split('(').next().expect("split gives one part at least"))
        .map(|before| before.split([' ', '*', '\n']).next_back().expect("as above").to_owned())
        .collect();
    names.sort();
    names
}
