//! Documentation is correct: generated pages are current, and code blocks compile and run.
//!
//! Owns the two pages that are generated from tables, `docs/failures.md` and `docs/options.md`; `ALMADIA_UPDATE_DOCS=1`
//! writes them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use almadia::Outcome;
use almadia::internal::CODES;
use almadia::internal::{OPTIONS, OptionKind};
use tempfile::tempdir;

use crate::native::{LIBRARY, SONAME, repository, shared_library, succeed};

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("it is in the repository")
}

/// Compares a page with its generated content, or writes it.
fn is_current(path: &str, wanted: &str) {
    if std::env::var_os("ALMADIA_UPDATE_DOCS").is_some() {
        fs::write(repository().join(path), wanted).expect("the tree is writable");
    }
    assert!(
        read(path) == wanted,
        "{path} is stale: ALMADIA_UPDATE_DOCS=1 cargo test --release --test it docs"
    );
}

#[test]
fn the_page_of_failures_is_generated_from_the_table_of_codes() {
    let mut page = String::from(
        "# Error codes\n\n\
         Generated from the table of codes (`src/error.rs`). `code / 100` is the category: 1 wrong call, 2 normal\n\
         negative result, 3 certainly not applied, 4 outcome unknown, 5 life cycle, 6 environment, 7 data, 9 a bug.\n\
         **Applied?** tells whether the write took effect: *no* is never wrong; *unknown* means applied, not\n\
         applied, or not yet applied. A read that shows the write settles it; one that does not show it settles\n\
         nothing. **Retry?** means that the same call, unchanged, can succeed later. In C the name has the prefix\n\
         `ALMADIA_`; in Python the exception carries `.code`, `.name`, `.outcome` and `.retryable`.\n\n\
         A call is answered at most 10 milliseconds after its deadline (`NO_LEADER`, `DEADLINE_BEFORE_START`,\n\
         `TIMEOUT`, `READ_TIMEOUT`), plus the time the machine takes to schedule a thread, even while a disk hangs,\n\
         an engine stalls or there is no leader. A write that was in no log by then never will be; the outcome of\n\
         one that was, or was sent to the leader, or to the member that is about to become it, is unknown.\n\n\
         A change of leader by itself leaves no outcome unknown: the member that was called sends the\n\
         write to the next leader, which proposes what its log does not have, or finds out first that it is in no\n\
         log, and it is applied once. So\n\
         *unknown* results only from a deadline, a cancellation, a shutdown or a failure of this store, and from a\n\
         transfer of state: a member that was far behind takes over another one's data instead of the log entries\n\
         that would have told. A process that exits loses its answers: after a restart, check for the effects of a\n\
         request before you repeat it.\n\n\
         | code | name | applied? | retry? | meaning |\n|---|---|---|---|---|\n",
    );
    let mut sorted = CODES.to_vec();
    sorted.sort_unstable_by_key(|(_, number, ..)| *number);
    for (code, number, name, message) in sorted {
        let applied = if code.outcome() == Outcome::Unknown { "**unknown**" } else { "no" };
        let retry = if code.is_retryable() { "yes" } else { "" };
        writeln!(page, "| {number} | `{name}` | {applied} | {retry} | {message} |").expect("strings grow");
    }

    is_current("docs/failures.md", &page);
}

#[test]
fn the_page_of_options_is_generated_from_the_table_of_options() {
    let mut page = String::from(
        "# Options\n\n\
         Generated from the table of options (`src/config.rs`). In C:\n\
         `almadia_config_set(config, name, value, &error)`; in Python a keyword argument with an underscore for the\n\
         dot, or `options={name: value}`. All are read when a store is opened.\n\n\
         | name | values | default | meaning |\n|---|---|---|---|\n",
    );
    for option in OPTIONS {
        let values = match option.kind {
            OptionKind::Text => "text".to_owned(),
            OptionKind::Switch => "true or false".to_owned(),
            OptionKind::Number(least, most) => format!("{least} to {most}"),
        };
        let default = if option.default.is_empty() { String::new() } else { format!("`{}`", option.default) };
        writeln!(page, "| `{}` | {values} | {default} | {} |", option.name, option.doc)
            .expect("strings grow");
    }

    is_current("docs/options.md", &page);
}

/// The fenced blocks of a page in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let after = page.split(&fence).skip(1);
    let inner = after.map(|rest| rest.split("```").next().expect("split gives one part at least"));
    inner.map(str::to_owned).collect()
}

/// Names that a block of a guide may use without declaring them.
const PREAMBLE: &str = r#"#include <almadia.h>
#include <stdio.h>
#define CHECK(call) do { if ((call) != ALMADIA_OK) return; } while (0)
struct surroundings { almadia_store *store; almadia_config *config; almadia_cq *cq; int answers; };
void on_answer(void *user, almadia_completion *completion);
void on_answer(void *user, almadia_completion *completion) { (void)user; (void)completion; }
"#;

#[test]
fn the_blocks_of_the_c_guide_compile_and_its_programs_run() {
    let directory = tempdir().expect("the temporary directory is writable");
    let found = blocks(&read("docs/c.md"), "c");
    assert!(found.len() >= 7, "the guide has its blocks");
    for name in [LIBRARY, SONAME] {
        symlink(shared_library(), directory.path().join(name)).expect("the scratch directory is writable");
    }

    let mut program_ran = false;
    for (number, block) in found.iter().enumerate() {
        if block.starts_with("#include") {
            let source = directory.path().join(format!("block{number}.c"));
            fs::write(&source, block).expect("the scratch directory is writable");
            let program = source.with_extension("");
            succeed(gcc(&source, directory.path()).arg("-o").arg(&program));
            let store = directory.path().join(format!("store{number}"));
            assert_eq!(succeed(Command::new(&program).arg(store)), "v\n");
            program_ran = true;
        } else {
            compile_block(number, block, directory.path());
        }
    }
    assert!(program_ran);
}

/// Compiles a block as the body of a function.
fn compile_block(number: usize, block: &str, directory: &Path) {
    let source = directory.join(format!("block{number}.c"));
    let body = format!(
        "{PREAMBLE}void block(struct surroundings *here);\nvoid block(struct surroundings *here)\n{{\n\
         almadia_store *store = here->store; almadia_config *config = here->config;\n\
         almadia_cq *cq = here->cq; almadia_error *error = NULL; int answers = here->answers;\n\
         (void)store; (void)config; (void)cq; (void)error; (void)answers;\n{block}}}\n"
    );
    fs::write(&source, body).expect("the scratch directory is writable");
    succeed(gcc(&source, directory).args(["-c", "-o"]).arg(source.with_extension("o")));
}

#[test]
fn what_the_guide_to_a_cluster_says_in_c_compiles_and_names_what_there_is() {
    let page = read("docs/cluster.md");
    let directory = tempdir().expect("the temporary directory is writable");
    let found = blocks(&page, "c");
    assert!(!found.is_empty(), "the guide shows a change of the members");

    for (number, block) in found.iter().enumerate() {
        compile_block(number, block, directory.path());
    }

    let header = read("include/almadia.h");
    let section = page.split("## Failures").next().expect("split gives one part at least");
    let words = section.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    let full = words.map(|word| word.replacen("..._", "ALMADIA_MEMBER_CHANGE_", 1));
    let names: Vec<_> = full.filter(|word| word.to_lowercase().starts_with("almadia_")).collect();
    assert!(names.iter().any(|name| name == "ALMADIA_MEMBER_CHANGE_DRAIN"), "the table is read");
    for name in names.iter().map(|name| name.trim_end_matches('.')) {
        assert!(header.contains(name), "{name} is in the guide and in no header");
    }
}

fn gcc(source: &Path, libraries: &Path) -> Command {
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    command.arg(repository().join("include")).arg(source).arg("-L").arg(libraries);
    command.arg("-lalmadia").arg(format!("-Wl,-rpath,{}", libraries.display()));
    command
}

#[test]
fn the_quick_start_for_c_in_the_readme_works_as_written() {
    let page = read("README.md");
    let directory = tempdir().expect("the temporary directory is writable");
    // What `make` creates in a clone.
    let library = directory.path().join("target/lib");
    fs::create_dir_all(&library).expect("the scratch directory is writable");
    for name in [LIBRARY, SONAME] {
        symlink(shared_library(), library.join(name)).expect("the scratch directory is writable");
    }
    for name in ["include", "examples"] {
        symlink(repository().join(name), directory.path().join(name)).expect("as above");
    }

    let example = read("examples/c/hello.c");
    assert!(blocks(&page, "c").contains(&example), "the README shows examples/c/hello.c as it is");
    let commands = blocks(&page, "sh").into_iter().find(|block| block.contains("cc examples/c/hello.c"));
    let commands = commands.expect("the README compiles it");
    let script = format!("cd {}\n{commands}", directory.path().display());
    let output = succeed(Command::new("bash").args(["-e", "-c", &script]));

    assert_eq!(output, "hello, world\n");
}

#[test]
fn every_page_that_a_page_links_to_exists() {
    for page in ["README.md", "docs/c.md", "docs/python.md", "docs/asyncio.md", "docs/cluster.md"] {
        let text = read(page);
        let base = repository().join(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let path =
                base.parent().expect("a page has a directory").join(target.split('#').next().expect("one"));
            assert!(path.exists(), "{page} points to {target}");
        }
    }
}
