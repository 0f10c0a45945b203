//! Conventions that can be checked automatically.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the bottom up: a module, named here without `crate::`, may import only from its own or an earlier row.
const LAYERS: &[&[&str]] = &[
    &["types", "time", "error", "address", "config", "completion", "metrics", "regions", "process"],
    &["core"],
    &["storage", "transport"],
    &["pollers"],
    &["store"],
    &["sim", "capi"],
];

#[test]
fn imports_only_go_down() {
    let mut wrong = Vec::new();
    for file in sources() {
        let own = module_of(&file);
        for (number, line) in numbered(&file) {
            for imported in imports(&line) {
                if layer(&imported) > layer(&own) && own != "lib" {
                    wrong.push(format!("{}:{number} imports {imported}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up:\n{}", wrong.join("\n"));
}

#[test]
fn the_core_has_no_clock_no_thread_no_lock_and_no_files() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::thread",
        "Mutex",
        "RwLock",
        "Condvar",
        "time::now",
        "Instant",
        "rocksdb",
    ];
    let core = sources().into_iter().filter(|file| module_of(file) == "core");
    let mut wrong = Vec::new();
    for file in core {
        for (number, line) in numbered(&file) {
            let used = forbidden.iter().find(|word| code_of(&line).contains(*word));
            wrong.extend(used.map(|word| format!("{}:{number} uses {word}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "the core touches the world:\n{}", wrong.join("\n"));
}

#[test]
fn threads_are_started_in_one_place() {
    let owner = Path::new("src/process/thread.rs");
    let is_test = |file: &Path| {
        let name = file.file_stem().expect("a source file has a name").to_string_lossy();
        name.ends_with("tests") || file.components().any(|part| part.as_os_str() == "tests")
    };
    let mut files = sources();
    collect(&root().join("bindings/python/src"), &mut files);
    // The simulation runs in tests and fuzzers only.
    files
        .retain(|file| !file.ends_with(owner) && !is_test(file) && !file.starts_with(root().join("src/sim")));
    let mut wrong = Vec::new();
    for file in files {
        let lines = numbered(&file);
        let has_std = lines.iter().any(|(_, line)| {
            let line = line.trim();
            line == "use std::thread;" || line.starts_with("use std::thread::{self")
        });
        for (number, line) in lines {
            let code = code_of(&line);
            let foreign = ["thread::Builder", "std::thread::spawn", "thread::scope", "pthread_create"];
            if foreign.iter().any(|word| code.contains(word)) || has_std && code.contains("thread::spawn(") {
                wrong.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "use process/thread.rs, which gives a thread its stack and its signals: {wrong:?}"
    );
}

#[test]
fn every_file_begins_with_a_description() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|file| !read(file).starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();

    assert!(silent.is_empty(), "files without //!: {silent:?}");
}

#[test]
fn nothing_prints_and_nothing_is_left_for_later() {
    let banned = ["println!", "eprintln!", "dbg!(", "todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore"];
    let mut wrong = Vec::new();
    for file in sources() {
        for (number, line) in numbered(&file) {
            let used = banned.iter().find(|word| line.contains(*word));
            wrong.extend(used.map(|word| format!("{}:{number} has {word}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let mut files = Vec::new();
    ["src", "tests", "bindings/python/src"].iter().for_each(|part| collect(&root().join(part), &mut files));
    let functions: String = files.iter().map(|file| read(file)).collect();
    let mut missing = Vec::new();
    for name in between(&text, '`') {
        let is_sentence =
            name.matches('_').count() >= 4 && name.chars().all(|c| c.is_lowercase() || c == '_');
        let exists = match name.rsplit_once('.') {
            Some((_, "rs")) => files.iter().any(|file| file.ends_with(name)) || root().join(name).exists(),
            Some((_, "c" | "py" | "txt" | "h" | "hpp")) => root().join(name).exists(),
            _ if is_sentence => functions.contains(&format!("fn {name}(")),
            _ => true,
        };
        missing.extend((!exists).then(|| format!("`{name}`")));
    }
    for name in between(&text, '*').filter(|name| name.matches(' ').count() >= 4) {
        let words: Vec<_> = name.split_whitespace().collect();
        let script = words.join("_").replace('-', "_").replace(',', "") + ".txt";
        missing.extend((!root().join("tests/scripts").join(script).exists()).then(|| format!("*{name}*")));
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:#?}");
}

/// The texts between two marks, on one line or over two; `**bold**` does not count.
fn between(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let plain = move |part: &&str| part.starts_with(|c: char| c.is_alphanumeric());
    text.split(mark).skip(1).step_by(2).filter(plain)
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 50, "the sources are found");
    found
}

/// The Rust files below `directory`.
pub fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("readable source")
}

fn numbered(file: &Path) -> Vec<(usize, String)> {
    // Tests at the end of a file may import anything.
    let text = read(file);
    let mut lines: Vec<_> = text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect();
    if let Some(end) = lines.iter().position(|(_, line)| line.trim_start() == "mod tests {") {
        lines.truncate(end);
    }
    lines
}

fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// `src/core/peer.rs` and `src/core.rs` belong to `core`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).expect("a source");
    let first = inside.components().next().expect("not empty").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn imports(line: &str) -> Vec<String> {
    let code = code_of(line);
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found: Vec<_> = code.split("crate::").skip(1).map(word).collect();
    if let Some(list) = code.trim_start().strip_prefix("use crate::{") {
        found.extend(list.split([',', '}', ';']).map(|part| word(part.trim())));
    }
    found.retain(|name| LAYERS.iter().any(|row| row.contains(&name.as_str())));
    found
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|row| row.contains(&module)).unwrap_or(LAYERS.len())
}
