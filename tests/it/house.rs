//! Metrics of the code base: what makes it hard to enter, counted.
//!
//! `tests/house.txt` has the value of each metric and its goal. An improvement is recorded with
//! `ALMADIA_UPDATE_HOUSE=1`, so that it lasts; the test fails when a value gets worse, or differs from the recorded
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tidy::collect;

/// Most lines of a function that can be taken in at a glance.
const FUNCTION_LINES_MAX: usize = 60;

/// One source file without its tests and comments.
struct Source {
    /// `core`, `peer`, `forwards`.
    path: Vec<String>,
    lines: Vec<String>,
}

struct Figure {
    name: &'static str,
    value: usize,
    goal: usize,
    /// Whether more is better.
    grows: bool,
    /// What contributes most to the value.
    details: Vec<String>,
}

#[test]
fn no_figure_of_the_house_gets_worse() {
    let sources = sources();
    assert!(sources.len() > 100, "the sources are where they belong");
    let figures = [
        largest_struct(&sources),
        circles(&sources),
        public_items(&sources),
        long_functions(&sources),
        assertions(&sources),
        planted_outside_the_switch(&sources),
        journey("files a write passes", "### A write:", 22),
        journey("files a read under a lease passes", "### A read:", 10),
    ];
    let file = root().join("tests/house.txt");
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    let recorded: BTreeMap<_, _> = recorded.lines().filter_map(parsed).collect();

    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for Figure { name, value, grows, details, .. } in &figures {
        let before = *recorded.get(*name).unwrap_or_else(|| panic!("tests/house.txt has no line '{name}'"));
        let got_worse = if *grows { *value < before } else { *value > before };
        let change = format!("{name}: {before} became {value}: {}", details.join(", "));
        if got_worse {
            worse.push(change);
        } else if *value != before {
            better.push(change);
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
    if std::env::var_os("ALMADIA_UPDATE_HOUSE").is_some() {
        return fs::write(file, table(&figures)).expect("writable");
    }
    assert!(better.is_empty(), "write it down with ALMADIA_UPDATE_HOUSE=1: {}", better.join("\n"));
}

fn table(figures: &[Figure]) -> String {
    let mut table = String::new();
    for Figure { name, value, goal, .. } in figures {
        writeln!(table, "{name:<50} {value:>5}   goal {goal:>4}").expect("a string grows");
    }
    table
}

fn parsed(line: &str) -> Option<(&str, usize)> {
    let (rest, _) = line.split_once("   goal")?;
    let (name, value) = rest.trim_end().rsplit_once(' ')?;
    Some((name.trim_end(), value.parse().ok()?))
}

fn largest_struct(sources: &[Source]) -> Figure {
    let mut structs = Vec::new();
    for source in sources {
        let mut lines = source.lines.iter();
        while let Some(line) = lines.next() {
            if line.contains("struct ") && line.ends_with('{') && !line.starts_with(' ') {
                let fields = lines.by_ref().take_while(|line| *line != "}");
                let is_field = |line: &&String| line.starts_with("    ") && line.contains(": ");
                structs.push((fields.filter(is_field).count(), line.trim_end_matches(" {").to_owned()));
            }
        }
    }
    // Options are lists and may be long.
    structs.retain(|(_, name)| {
        !name.contains("Options") && !name.contains("Config") && !name.contains("almadia_")
    });
    structs.sort_unstable_by(|one, other| other.cmp(one));
    let details = structs.iter().take(5).map(|(fields, name)| format!("{name} {fields}")).collect();
    Figure { name: "fields of the largest struct", value: structs[0].0, goal: 15, grows: false, details }
}

/// Modules that import each other, directly or through others. A module and its own children are one.
fn circles(sources: &[Source]) -> Figure {
    let modules: BTreeSet<_> = sources.iter().map(|source| unit(&source.path)).collect();
    let mut edges: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for source in sources {
        let own = unit(&source.path);
        let targets = source.lines.iter().flat_map(|line| imports(line, &source.path));
        let targets = targets.map(|path| unit(&path)).filter(|to| modules.contains(to));
        let outside = targets.filter(|to| !to.starts_with(&own) && !own.starts_with(to));
        edges.entry(own.clone()).or_default().extend(outside);
    }
    let reach: BTreeMap<_, _> = modules.iter().map(|from| (from, reachable(from, &edges))).collect();
    let mut groups = BTreeSet::new();
    for (from, reached) in &reach {
        let mutual: Vec<_> = reached.iter().filter(|to| reach[to].contains(*from)).cloned().collect();
        if mutual.len() > 1 {
            groups.insert(mutual.iter().map(|path| path.join("::")).collect::<Vec<_>>().join(" "));
        }
    }
    let details = groups.iter().cloned().collect();
    Figure { name: "circles of imports", value: groups.len(), goal: 0, grows: false, details }
}

fn reachable(from: &[String], edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> BTreeSet<Vec<String>> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_vec()]);
    while let Some(next) = open.pop() {
        let targets = edges.get(&next).into_iter().flatten();
        open.extend(targets.filter(|to| seen.insert((*to).clone())).cloned());
    }
    seen
}

/// The first two parts of a path: a module with a directory of its own counts as one with its contents.
fn unit(path: &[String]) -> Vec<String> {
    path.iter().take(2).cloned().collect()
}

/// The paths that a line imports from this crate.
fn imports(line: &str, own: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (word, base) in [("crate::", &[][..]), ("super::", &own[..own.len().saturating_sub(1)])] {
        for rest in line.split(word).skip(1) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            let (_, list) = rest.split_at(end);
            let mut path: Vec<_> = base.to_vec();
            path.extend(rest[..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned));
            match list.strip_prefix('{') {
                Some(list) => found.extend(list.split(',').map(|name| {
                    let name: String =
                        name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    [path.clone(), vec![name]].concat()
                })),
                None => found.push(path),
            }
        }
    }
    // A path ends with names of items, which are no modules: its prefixes are looked up.
    found.iter().flat_map(|path| (1..=path.len()).map(|end| path[..end].to_vec())).collect()
}

fn public_items(sources: &[Source]) -> Figure {
    let is_public = |line: &String| {
        let words = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "use"];
        let rest = line.trim_start().strip_prefix("pub ");
        rest.is_some_and(|rest| words.iter().any(|word| rest.starts_with(&format!("{word} "))))
    };
    let outside = sources.iter().filter(|source| source.path[0] != "capi");
    let counted = outside.map(|source| (source.lines.iter().filter(|line| is_public(line)).count(), source));
    let counted: Vec<_> = counted.map(|(count, source)| (count, source.path.join("::"))).collect();
    let value = counted.iter().map(|(count, _)| count).sum();
    let details = counted.iter().map(|(count, path)| format!("{path} {count}")).collect();
    Figure { name: "public items outside the C interface", value, goal: 400, grows: false, details }
}

fn long_functions(sources: &[Source]) -> Figure {
    let mut long = Vec::new();
    for source in sources {
        let mut begun: Option<(usize, usize, &str)> = None;
        for (at, line) in source.lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_signature =
                line.trim_start().contains("fn ") && !line.trim_end().ends_with([';', ',', '}']);
            if is_signature && begun.is_none() {
                begun = Some((at, indent, line));
            }
            if let Some((from, depth, name)) = begun
                && indent == depth
                && line.trim() == "}"
            {
                if at - from > FUNCTION_LINES_MAX {
                    long.push(format!("{} {}", source.path.join("::"), name.trim()));
                }
                begun = None;
            }
        }
    }
    Figure {
        name: "functions of more than 60 lines",
        value: long.len(),
        goal: 0,
        grows: false,
        details: long,
    }
}

fn assertions(sources: &[Source]) -> Figure {
    let core = || sources.iter().filter(|source| source.path[0] == "core").flat_map(|source| &source.lines);
    let asserts = core().filter(|line| line.contains("assert!(") || line.contains("assert_eq!(")).count();
    let value = asserts * 1000 / core().filter(|line| !line.trim().is_empty()).count();
    Figure {
        name: "assertions in a thousand lines of the core",
        value,
        goal: 40,
        grows: true,
        details: Vec::new(),
    }
}

/// Where the product knows of planted faults other than by asking the one switch, which is false at compile time: as a
/// field, an argument, a type.
fn planted_outside_the_switch(sources: &[Source]) -> Figure {
    let product =
        sources.iter().filter(|source| source.path != ["core", "planted"] && source.path[0] == "core");
    let lines = product.flat_map(|source| source.lines.iter().map(|line| (source.path.join("::"), line)));
    let is_known = |line: &str| {
        let rest = line.replace("planted::has(Fault::", "").replace("planted::is_any()", "");
        !rest.starts_with("use ")
            && !rest.ends_with("mod planted;")
            && (rest.contains("planted") || rest.contains("Fault"))
    };
    let places: Vec<_> = lines.filter(|(_, line)| is_known(line)).map(|(path, _)| path).collect();
    Figure {
        name: "planted faults known other than by the switch",
        value: places.len(),
        goal: 0,
        grows: false,
        details: places,
    }
}

/// How many files a newcomer opens to follow a call, by ARCHITECTURE.md. Each of its steps names a file and a function
/// in it.
fn journey(name: &'static str, heading: &str, goal: usize) -> Figure {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let (_, journey) = architecture.split_once(heading).expect("the journey is described");
    let journey = journey.split("\n#").next().expect("up to the next heading");
    let mut files = BTreeSet::new();
    for step in journey.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())) {
        let named: Vec<_> = quoted(step).collect();
        let [file, function, ..] = named[..] else { panic!("no file and function: {step}") };
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("no such file: {step}"));
        assert!(source.contains(&definition(function)), "{file} has no function {function}");
        files.insert(file.to_owned());
    }
    assert!(files.len() > 5, "the steps are understood");
    Figure { name, value: files.len(), goal, grows: false, details: files.into_iter().collect() }
}

/// How the last part of `Type::function` is defined.
fn definition(function: &str) -> String {
    format!("fn {}", function.rsplit("::").next().expect("one part at least"))
}

/// A reader of the journeys can open every function: where one is first mentioned, its file is named too, or a number in
/// parentheses refers to the step that begins with the file.
#[test]
fn every_function_of_the_journeys_exists_in_a_file_that_is_named_with_it() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let (_, journeys) = architecture.split_once("## Journeys").expect("they are described");
    let (journeys, _) = journeys.split_once("## Thread map").expect("they end");
    // These have no goal, but their files and functions exist.
    journey("", "### Without a lease:", 0);
    journey("", "### A write on a follower:", 0);
    let journeys: Vec<_> = journeys.split("\n### ").skip(1).map(items).collect();
    let of_write = first_files(&journeys[0]);
    let mut sources = Vec::new();
    collect(&root().join("src"), &mut sources);
    let defines = |file: &str, name: &str| {
        let source = sources.iter().find(|source| source.ends_with(file));
        let source = source.unwrap_or_else(|| panic!("ARCHITECTURE.md names {file}, which is not there"));
        fs::read_to_string(source).expect("readable").contains(&definition(name))
    };

    let (mut mentioned, mut missing) = (BTreeSet::new(), Vec::new());
    for items in &journeys {
        let of_own = first_files(items);
        for item in items {
            let mut files = referred(item, &of_own, &of_write);
            files.extend(quoted(item).filter(|name| name.ends_with(".rs")));
            let functions = quoted(item).filter(|name| name.contains("::"));
            let first = functions.filter(|name| mentioned.insert((*name).to_owned()));
            missing.extend(first.filter(|name| !files.iter().any(|file| defines(file, name))));
        }
    }

    assert!(mentioned.len() > 60, "the journeys are understood");
    assert!(missing.is_empty(), "ARCHITECTURE.md names functions without their files: {missing:?}");
}

/// The steps and paragraphs of a journey.
fn items(journey: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    for line in journey.lines() {
        if line.is_empty() || line.starts_with(|first: char| first.is_ascii_digit()) {
            items.push(String::new());
        }
        items.last_mut().expect("one at least").extend([line, "\n"]);
    }
    items
}

/// The file with which each step begins, by the step's number.
fn first_files(items: &[String]) -> BTreeMap<usize, &str> {
    let steps = items.iter().filter_map(|item| Some((item.split_once(". ")?.0.parse().ok()?, item)));
    steps.filter_map(|(number, item)| Some((number, quoted(item).next()?))).collect()
}

/// The files of the steps to which an item refers by numbers in parentheses: of its own journey, or of a write's.
fn referred<'a>(
    item: &str,
    of_own: &BTreeMap<usize, &'a str>,
    of_write: &BTreeMap<usize, &'a str>,
) -> Vec<&'a str> {
    let groups = item.split('(').skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let mut files = Vec::new();
    for group in groups {
        let plain: String = group.split('`').step_by(2).collect();
        let words = plain.split([' ', ',', '\n']).filter(|word| !word.is_empty());
        let (numbers, words): (Vec<_>, Vec<_>) = words.partition(|word| word.parse::<usize>().is_ok());
        if words.iter().all(|word| ["write", "and", "to"].contains(word)) {
            let steps = if words.contains(&"write") { of_write } else { of_own };
            files.extend(numbers.iter().filter_map(|number| steps.get(&number.parse().ok()?).copied()));
        }
    }
    files
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The sources that are built into the library.
fn sources() -> Vec<Source> {
    let (mut found, base) = (Vec::new(), root().join("src"));
    collect(&base, &mut found);
    let path = |file: &Path| {
        let inside = file.strip_prefix(&base).expect("a source").with_extension("");
        let mut parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        parts
    };
    let is_product = |path: &Vec<String>| {
        let last = path.last().expect("not empty");
        let tests = ["tests", "fuzz", "corpus", "documented", "simulated_files"];
        let is_test = path.iter().any(|part| tests.contains(&part.as_str()));
        path[0] != "sim"
            && path[0] != "lib"
            && !is_test
            && !last.ends_with("_tests")
            && !last.ends_with("_fuzz")
    };
    let mut sources: Vec<_> = found
        .iter()
        .map(|file| Source { path: path(file), lines: product_lines(file) })
        .filter(|source| is_product(&source.path))
        .collect();
    sources.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn product_lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("readable");
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().expect("what is before");
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
