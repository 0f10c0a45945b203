//! Golden client programs: what was compiled with the header of an earlier release runs with the library of today.
//!
//! Some directories of `tests/golden` have the header of their commit and a program of that time, `client.c`. Owns the
//! proof that such programs need not be compiled again: the program itself runs, and what the header says of functions,
//! numbers and structs, which a compiler puts into a program, still holds. A header that is kept is never changed. If a
//! test here fails, the interface is what has to change, or the ABI becomes another one, for everybody who can read
//! `ALMADIA_ABI_VERSION`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::tempdir;

use crate::header::declared_functions;
use crate::native::{Build, compile, repository, shared_library, succeed};

/// A header without its comments.
struct Header {
    directory: PathBuf,
    text: String,
}

impl Header {
    fn of(directory: PathBuf) -> Self {
        let text = fs::read_to_string(directory.join("almadia.h")).expect("it is committed");
        let mut parts = text.split("/*");
        let first = parts.next().unwrap_or_default().to_owned();
        let outside = parts.filter_map(|part| Some(part.split_once("*/")?.1));
        let text = outside.fold(first, |text, part| text + part);
        Self { directory, text }
    }

    fn present() -> Self {
        Self::of(repository().join("include"))
    }

    /// Each constant that is a number.
    fn constants(&self) -> BTreeMap<&str, &str> {
        let defined = self.text.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
        defined.filter(|(_, value)| value.starts_with(|first: char| first.is_ascii_digit())).collect()
    }

    /// Each declaration of a function or a type that is no struct, without the names of parameters.
    fn declarations(&self) -> BTreeSet<String> {
        let code = self.text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
        let statements = code.split(';').map(|statement| one_spaced(&without_attributes(statement)));
        let ends = |statement: &String| statement.ends_with(')') || statement.starts_with("typedef ");
        let outside = statements.filter(|statement| ends(statement) && !statement.contains(['{', '}']));
        outside.map(|statement| without_names(&statement)).collect()
    }

    /// The fields of each struct whose fields programs see.
    fn structs(&self) -> BTreeMap<&str, Vec<&str>> {
        let bodies = self.text.split("typedef struct ").skip(1).filter_map(|text| {
            let (name, rest) = text.split_once(|after: char| !is_of_name(after))?;
            let (body, _) = rest.strip_prefix('{')?.split_once('}')?;
            Some((name, body.split(';').filter_map(name_of_field).collect()))
        });
        bodies.collect()
    }

    /// Where each of these fields is, as a compiler sees it: `STRUCT.FIELD` with its offset and its size, and each struct
    /// with its size.
    fn layout(&self, structs: &BTreeMap<&str, Vec<&str>>) -> BTreeMap<String, Vec<u64>> {
        let mut source = String::from("#include \"almadia.h\"\n#include <stdio.h>\nint main(void) {\n");
        for (name, fields) in structs {
            writeln!(source, "printf(\"{name} %zu\\n\", sizeof({name}));").expect("a string grows");
            for field in fields {
                let (at, size) =
                    (format!("offsetof({name}, {field})"), format!("sizeof((({name} *)0)->{field})"));
                writeln!(source, "printf(\"{name}.{field} %zu %zu\\n\", {at}, {size});")
                    .expect("a string grows");
            }
        }
        source.push_str("return 0; }\n");
        let scratch = tempdir().expect("the temporary directory is writable");
        let (file, program) = (scratch.path().join("layout.c"), scratch.path().join("layout"));
        fs::write(&file, source).expect("writable");
        let mut compiler = Command::new("cc");
        succeed(compiler.arg("-std=c99").arg("-I").arg(&self.directory).arg("-o").arg(&program).arg(&file));
        let printed = succeed(&mut Command::new(program));
        let lines = printed.lines().filter_map(|line| line.split_once(' '));
        let numbers = |text: &str| text.split(' ').map(|word| word.parse().expect("a number")).collect();
        lines.map(|(name, words)| (name.to_owned(), numbers(words))).collect()
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn one_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn without_attributes(statement: &str) -> String {
    ["ALMADIA_API", "ALMADIA_NODISCARD"]
        .iter()
        .fold(statement.to_owned(), |text, word| text.replace(word, ""))
}

/// A declaration whose parameters are only types: `int f(int one, T *two)` becomes `int f(int, T *)`.
fn without_names(declaration: &str) -> String {
    let Some((head, list)) = declaration.rsplit_once('(') else { return declaration.to_owned() };
    let parameters = list.trim_end_matches(')').split(',').map(|parameter| {
        let kind = parameter.trim().trim_end_matches(is_of_name).trim_end();
        if kind.is_empty() { parameter.trim() } else { kind }
    });
    format!("{head}({})", parameters.collect::<Vec<_>>().join(", "))
}

fn name_of_field(declaration: &str) -> Option<&str> {
    let declaration = declaration.split('[').next()?.trim_end();
    let name = declaration.rsplit(|letter| !is_of_name(letter)).next()?;
    (!name.is_empty()).then_some(name)
}

/// The directories of golden programs.
fn kept() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("tests/golden")).expect("they are committed");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let kept: Vec<_> = paths.filter(|path| path.join("almadia.h").exists()).collect();
    assert!(kept.iter().any(|path| path.ends_with("level-1")), "the first one is gone: {kept:?}");
    kept
}

#[test]
fn a_program_that_was_compiled_with_an_earlier_header_works() {
    for directory in kept() {
        let source = directory.join("client.c");
        let source = source.strip_prefix(repository()).expect("it is in the repository").to_string_lossy();
        for build in [Build::Plain, Build::Address] {
            let scratch = tempdir().expect("the temporary directory is writable");
            let program = compile(&source, build, scratch.path());

            let printed = succeed(Command::new(program).arg(scratch.path().join("store")));

            assert_eq!(printed, "done\n", "{source}");
        }
    }
}

#[test]
fn every_function_of_an_earlier_header_is_exported_and_takes_what_it_took() {
    let symbols = succeed(
        Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(shared_library()),
    );
    let exported: BTreeSet<_> = symbols.lines().collect();
    let present = Header::present().declarations();

    for directory in kept() {
        let text = fs::read_to_string(directory.join("almadia.h")).expect("it is committed");
        let functions = declared_functions(&text);
        let declarations = Header::of(directory.clone()).declarations();
        assert!(functions.len() >= 150, "functions were lost: {}", functions.len());
        assert!(declarations.len() >= functions.len(), "declarations were lost: {}", declarations.len());

        let gone: Vec<_> = functions.iter().filter(|name| !exported.contains(name.as_str())).collect();
        let changed: Vec<_> = declarations.difference(&present).collect();

        let shown = directory.display();
        assert!(gone.is_empty(), "programs compiled with the header of {shown} do not start: {gone:?}");
        assert!(
            changed.is_empty(),
            "{shown}/almadia.h declares, and include/almadia.h does not:\n{changed:#?}"
        );
    }
}

#[test]
fn every_number_of_an_earlier_header_means_what_it_meant() {
    let present = Header::present();
    let present = present.constants();

    for directory in kept() {
        let header = Header::of(directory);
        let constants = header.constants();
        assert!(constants.len() >= 70, "constants were lost: {}", constants.len());

        let changed: Vec<_> =
            constants.iter().filter(|(name, value)| present.get(*name) != Some(value)).collect();

        assert!(changed.is_empty(), "{}: {changed:?}", header.directory.display());
    }
}

#[test]
fn every_struct_of_an_earlier_header_has_its_fields_where_they_were_and_grows_only_if_it_says_its_size() {
    let present = Header::present();

    for directory in kept() {
        let header = Header::of(directory);
        let structs = header.structs();
        assert!(structs.len() >= 15, "structs were lost: {:?}", structs.keys());
        let (before, now) = (header.layout(&structs), present.layout(&structs));

        for (place, numbers) in &before {
            let of_struct = structs.get(place.as_str());
            let may_grow = of_struct.is_some_and(|fields| fields.first() == Some(&"struct_size"));
            let is_same = now[place] == *numbers || (may_grow && now[place] > *numbers);
            assert!(is_same, "{}: {place}: {numbers:?} became {:?}", shown(&header), now[place]);
        }
    }
}

fn shown(header: &Header) -> std::path::Display<'_> {
    Path::display(&header.directory)
}
