//! The C++ header as C++ programs see it: both compilers, every standard, with and without exceptions.
//!
//! The programs are in `tests/cpp`. Each is compiled with all warnings as errors and runs against real stores, with
//! AddressSanitizer and UndefinedBehaviorSanitizer if exceptions are on. Also owns the codes of `almadia.hpp`, which
//! are generated from the table of codes; `ALMADIA_UPDATE_HEADER=1` writes them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use almadia::internal::CODES;
use tempfile::tempdir;

use crate::native::{cached, compile_object, link_library, repository, succeed};

/// How a C++ program is compiled.
#[derive(Clone, Copy)]
struct Dialect {
    compiler: &'static str,
    standard: &'static str,
    flags: &'static [&'static str],
}

const SANITIZED: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const WITHOUT_EXCEPTIONS: &[&str] = &["-fno-exceptions", "-fno-rtti"];
/// g++ finds more to warn of while it optimises.
const WITHOUT_EXCEPTIONS_OPTIMISED: &[&str] = &["-O1", "-fno-exceptions", "-fno-rtti"];
const PLAIN: &[&str] = &["-O1"];

const fn dialect(compiler: &'static str, standard: &'static str, flags: &'static [&'static str]) -> Dialect {
    Dialect { compiler, standard, flags }
}

/// Each compiler, each standard, and each set of flags at least once with each compiler.
const DIALECTS: &[Dialect] = &[
    dialect("g++", "c++17", SANITIZED),
    dialect("g++", "c++2b", WITHOUT_EXCEPTIONS_OPTIMISED),
    dialect("clang++", "c++17", WITHOUT_EXCEPTIONS),
    dialect("clang++", "c++20", SANITIZED),
];

/// Coroutines need a compiler that implements the standard's; that is g++ wherever these tests run.
const COROUTINE_DIALECTS: &[Dialect] =
    &[dialect("g++", "c++20", SANITIZED), dialect("g++", "c++2b", WITHOUT_EXCEPTIONS_OPTIMISED)];

/// A compiler with every warning a careful user may have on, all of them errors.
fn compiler(dialect: Dialect) -> Command {
    let mut command = Command::new(dialect.compiler);
    command.arg(format!("-std={}", dialect.standard)).args(dialect.flags);
    command.args(["-g", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]);
    command.arg("-I").arg(repository().join("include"));
    command
}

/// Compiles `sources`, paths below the repository, against the library and returns the program.
fn compile(sources: &[&str], dialect: Dialect, directory: &Path) -> PathBuf {
    let object = |(at, source): (usize, &&str)| {
        let object = directory.join(format!("{at}.o"));
        compile_object(&compiler(dialect), &repository().join(source), &object)
    };
    link(sources.iter().enumerate().map(object).collect(), dialect, directory)
}

/// Links `objects` against the library and returns the program.
fn link(objects: Vec<PathBuf>, dialect: Dialect, directory: &Path) -> PathBuf {
    link_library(directory);
    let program = directory.join("program");
    let mut command = compiler(dialect);
    command.args(objects).arg("-o").arg(&program).arg("-L").arg(directory).args(["-lalmadia", "-lpthread"]);
    succeed(command.arg(format!("-Wl,-rpath,{}", directory.display())));
    program
}

/// Compiles one program with the sanitizers.
pub fn compile_sanitized(source: &str, directory: &Path) -> PathBuf {
    compile(&[source], DIALECTS[0], directory)
}

/// Compiles one program as a user would.
pub fn compile_plain(source: &str, directory: &Path) -> PathBuf {
    compile(&[source], dialect("g++", "c++17", PLAIN), directory)
}

/// Compiles and runs one program in each of `dialects`, each in a directory of its own.
fn passes(sources: &[&str], dialects: &[Dialect]) {
    for dialect in dialects {
        let directory = tempdir().expect("the temporary directory is writable");
        let program = compile(sources, *dialect, directory.path());
        succeed(Command::new(program).arg(directory.path().join("store")));
    }
}

#[test]
fn hello_world_in_cpp_is_short_and_prints_hello() {
    let source =
        fs::read_to_string(repository().join("examples/cpp/hello.cpp")).expect("the example is there");
    assert!(source.lines().count() < 20, "the first example must fit on a screen");

    let directory = tempdir().expect("the temporary directory is writable");
    let program = compile_sanitized("examples/cpp/hello.cpp", directory.path());
    let output = succeed(Command::new(program).arg(directory.path().join("store")));

    assert_eq!(output, "hello, world\n");
}

/// Warnings that programs turn on beside those of [`compiler`], and may have as errors.
const PICKY_GNU: &[&str] = &[
    "-Wzero-as-null-pointer-constant",
    "-Weffc++",
    "-Wold-style-cast",
    "-Wuseless-cast",
    "-Wsign-conversion",
    "-Wcast-qual",
    "-Wredundant-decls",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wsuggest-override",
];
/// All that there are, except those that ask for another language, or for a file beside the header.
const PICKY_CLANG: &[&str] =
    &["-Weverything", "-Wno-c++98-compat", "-Wno-c++98-compat-pedantic", "-Wno-padded", "-Wno-weak-vtables"];

#[test]
fn no_program_gets_a_warning_from_a_header() {
    let cases = [("g++", "c++17", PICKY_GNU), ("g++", "c++20", PICKY_GNU), ("clang++", "c++17", PICKY_CLANG)];
    let programs = [
        "initialisers",
        "blocking",
        "asynchronous",
        "queue",
        "conditions",
        "transactions",
        "members",
        "coroutines",
    ];
    let (mut warnings, scratch) = (Vec::new(), tempdir().expect("the temporary directory is writable"));
    for (name, standard, flags) in cases {
        let programs = programs.iter().filter(|&&program| program != "coroutines" || standard == "c++20");
        for program in programs {
            let mut command = Command::new(name);
            command.arg(format!("-std={standard}")).args(["-Wall", "-Wextra"]).args(flags);
            command.arg("-I").arg(repository().join("include"));
            let source = repository().join(format!("tests/cpp/{program}.cpp"));
            let mut command = cached(&command);
            command.arg("-c").arg(source).arg("-o").arg(scratch.path().join("object"));
            let output = command.output().expect("a compiler");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let of_header = |line: &&str| line.contains("include/almadia") && line.contains("warning:");
            warnings.extend(said.lines().filter(of_header).map(|line| format!("{name} {standard}: {line}")));
        }
    }

    warnings.sort();
    warnings.dedup();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
}

#[test]
fn every_blocking_call_works_from_cpp() {
    passes(&["tests/cpp/blocking.cpp"], DIALECTS);
}

#[test]
fn writes_with_conditions_work_from_cpp_on_three_members() {
    passes(&["tests/cpp/conditions.cpp"], DIALECTS);
}

#[test]
fn transactions_work_from_cpp_on_three_members() {
    passes(&["tests/cpp/transactions.cpp"], DIALECTS);
}

#[test]
fn callables_and_futures_follow_their_rules() {
    passes(&["tests/cpp/asynchronous.cpp"], DIALECTS);
}

#[test]
fn every_asynchronous_call_can_be_awaited() {
    passes(&["tests/cpp/coroutines.cpp"], COROUTINE_DIALECTS);
}

#[test]
fn completions_reach_the_threads_that_run_their_queue() {
    passes(&["tests/cpp/queue.cpp"], DIALECTS);
}

#[test]
fn three_members_in_one_cpp_program_work_together() {
    passes(&["tests/cpp/cluster.cpp"], DIALECTS);
}

#[test]
fn members_come_and_go_in_one_cpp_program() {
    passes(&["tests/cpp/members.cpp"], DIALECTS);
}

#[test]
fn the_cpp_header_is_included_twice_in_one_unit_and_in_two() {
    passes(&["tests/cpp/twice.cpp", "tests/cpp/twice_other.cpp"], DIALECTS);
}

#[test]
fn objects_with_and_without_exceptions_work_in_one_program() {
    for name in ["g++", "clang++"] {
        let directory = tempdir().expect("the temporary directory is writable");
        let object = |dialect, source: &str| {
            let (source, object) =
                (repository().join("tests/cpp").join(source), directory.path().join(source));
            compile_object(&compiler(dialect), &source, &object.with_extension("o"))
        };
        let objects = vec![
            object(dialect(name, "c++20", PLAIN), "modes.cpp"),
            object(dialect(name, "c++17", WITHOUT_EXCEPTIONS), "modes_other.cpp"),
        ];
        let program = link(objects, dialect(name, "c++20", PLAIN), directory.path());
        succeed(Command::new(program).arg(directory.path().join("store")));
    }
}

#[test]
fn the_cpp_header_is_silent_in_every_dialect() {
    let directory = tempdir().expect("the temporary directory is writable");
    let object = directory.path().join("object");

    for name in ["g++", "clang++"] {
        for standard in ["c++17", "c++20", "c++2b"] {
            for flags in [PLAIN, WITHOUT_EXCEPTIONS] {
                let alone = repository().join("tests/cpp/header_alone.cpp");
                compile_object(&compiler(dialect(name, standard, flags)), &alone, &object);
            }
        }
    }
}

/// The enumerators of `almadia::code`, from the table of codes.
fn code_enumerators() -> String {
    let mut sorted: Vec<_> =
        CODES.iter().map(|(_, number, name, message)| (*number, *name, *message)).collect();
    sorted.push((0, "OK", "success"));
    sorted.sort_unstable();
    let mut text = String::new();
    for (_, name, message) in sorted {
        let sentence =
            message[..1].to_uppercase() + &message[1..] + if message.ends_with('?') { "" } else { "." };
        let enumerator = name.to_lowercase();
        write!(text, "    /** {sentence} */\n    {enumerator} = ALMADIA_{name},\n").expect("strings grow");
    }
    text
}

#[test]
fn the_cpp_header_names_every_code_and_no_other() {
    let path = repository().join("include/almadia.hpp");
    let header = fs::read_to_string(&path).expect("the header is committed");
    let (before, rest) =
        header.split_once("enum class code : almadia_code {\n").expect("the codes are an enum");
    let (found, behind) = rest.split_once("};\n").expect("which ends");
    let expected = code_enumerators();
    if std::env::var_os("ALMADIA_UPDATE_HEADER").is_some() {
        let updated = format!("{before}enum class code : almadia_code {{\n{expected}}};\n{behind}");
        fs::write(&path, updated).expect("the tree is writable");
        return;
    }

    assert_eq!(found, expected, "almadia.hpp is stale: ALMADIA_UPDATE_HEADER=1 cargo test --release header");
}

/// True for a declaration that needs no documentation: copies, moves, and what the standard prescribes.
fn needs_no_comment(line: &str) -> bool {
    const PRESCRIBED: [&str; 10] = [
        "= delete",
        "= default",
        "operator=(",
        "~",
        "friend class",
        "namespace ",
        "static_assert",
        "&&other)",
        "    using ",
        "inline scan_range::",
    ];
    let forward = (line.starts_with("class ") || line.starts_with("template ")) && line.ends_with(';');
    forward || PRESCRIBED.iter().any(|part| line.contains(part))
}

#[test]
fn every_public_name_of_the_cpp_header_is_documented() {
    let header =
        fs::read_to_string(repository().join("include/almadia.hpp")).expect("the header is committed");
    let (mut inside_detail, mut inside_type, mut public) = (false, false, true);
    let (mut before, mut documented, mut silent) = ("", 0, Vec::new());

    for (at, line) in header.lines().enumerate() {
        let text = line.trim();
        match line {
            "namespace detail {" => inside_detail = true,
            "} // namespace detail" => inside_detail = false,
            "  public:" => public = true,
            "  private:" | "  protected:" => public = false,
            "};" => (inside_type, public) = (false, true),
            _ => {}
        }
        let member = inside_type && public && line.starts_with("    ") && !line.starts_with("     ");
        let begins = before.is_empty() || before.ends_with([';', '}', ':', '{']) || before.ends_with("*/");
        let code = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text != "public:";
        let top = !line.starts_with(' ');
        if !inside_detail && (top || member) && begins && code && !before.starts_with('#') {
            if before.ends_with("*/") {
                documented += 1;
            } else if !needs_no_comment(line) && !text.ends_with("private:") {
                silent.push(format!("{}: {line}", at + 1));
            }
        }
        if top && line.ends_with('{') && ["class ", "struct "].iter().any(|kind| line.contains(kind)) {
            (inside_type, public) = (true, line.contains("struct ") || line.contains("enum class "));
        }
        before = text;
    }

    assert!(documented > 250, "the header was understood: {documented}");
    assert!(silent.is_empty(), "without a comment:\n{}", silent.join("\n"));
}
