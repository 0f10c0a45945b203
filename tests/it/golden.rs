//! Golden directories: what the builds of earlier commits have written, which every later build must read.
//!
//! Each directory of `tests/golden` has `directory.tar.gz`, a store that the build of a commit wrote and that was killed
//! (`tests/golden/write.c`, `scripts/golden-directory.sh`), and `promises.txt`, what must be read from it, a line each:
//!
//! ```text
//! commit HASH                              who wrote it
//! option NAME VALUE                        of the configuration
//! regions COUNT
//! level LEVEL                              the feature level of its regions
//! present "KEY" "VALUE" times N version V  VALUE is repeated N times; V is 0 where the build told no versions
//! absent "KEY"                             it was there and is deleted
//! maybe "KEY" "VALUE" times N              it was sent and not answered
//! ```
//!
//! Owns the reader of both, and the proof that this build keeps the promises, goes on from there, and refuses what a
//! later one has written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use almadia::{Batch, Code, Config, Expected, Store, Version, WriteOptions};
use tempfile::{TempDir, tempdir};

use crate::member::{HANG_TIMEOUT, read_all, wait_for_level};
use crate::native::repository;

/// Those that there are at least.
const KEPT: [&str; 3] = ["level-0", "level-1", "level-2"];

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;
type Found = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

/// What must be read.
#[derive(Default)]
struct Promises {
    commit: String,
    config: Config,
    regions: usize,
    level: u16,
    present: Found,
    absent: BTreeSet<Vec<u8>>,
    maybe: Pairs,
}

impl Promises {
    fn of(name: &str) -> Self {
        let text = fs::read_to_string(golden(name).join("promises.txt")).expect("it is committed");
        let mut promises = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (kind, rest) = line.split_once(' ').expect("a line has a kind");
            promises.add(kind, rest).unwrap_or_else(|| panic!("{name}: {line}"));
        }
        promises
    }

    fn add(&mut self, kind: &str, rest: &str) -> Option<()> {
        match kind {
            "commit" => self.commit = rest.to_owned(),
            "option" => {
                let (name, value) = rest.split_once(' ')?;
                self.config.set(name, value).expect("what was in range stays in range");
            }
            "regions" => self.regions = rest.parse().ok()?,
            "level" => self.level = rest.parse().ok()?,
            "present" => {
                let (rest, version) = rest.rsplit_once(" version ")?;
                let (key, value) = pair(rest)?;
                self.present.insert(key, (value, Version(version.parse().ok()?)));
            }
            "absent" => _ = self.absent.insert(unquoted(rest)?.0),
            "maybe" => _ = pair(rest).map(|(key, value)| self.maybe.insert(key, value))?,
            _ => return None,
        }
        Some(())
    }

    /// What is read is what was promised: all of that, the same by each way to read it, and nothing else but what was sent
    /// at the end.
    fn check(&self, name: &str, found: &Found) {
        for (key, (value, version)) in &self.present {
            let shown = key.escape_ascii();
            let (is, of) = found.get(key).unwrap_or_else(|| panic!("{name}: {shown} is lost"));
            assert!(is == value, "{name}: {shown} has another value");
            assert!(*of > Version::NONE, "{name}: {shown} is there and has no version");
            assert!(self.level == 0 || of == version, "{name}: {shown} has version {of:?}, not {version:?}");
        }
        for (key, (value, _)) in found {
            let shown = key.escape_ascii();
            assert!(!self.absent.contains(key), "{name}: {shown} was deleted and is back");
            let is_sent = self.maybe.get(key) == Some(value);
            assert!(self.present.contains_key(key) || is_sent, "{name}: nobody wrote {shown}");
        }
    }
}

fn golden(name: &str) -> PathBuf {
    repository().join("tests/golden").join(name)
}

/// The names of all golden directories.
fn names() -> Vec<String> {
    let entries = fs::read_dir(repository().join("tests/golden")).expect("they are committed");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let with_store = paths.filter(|path| path.join("promises.txt").exists());
    let name_of = |path: PathBuf| path.file_name().expect("it has one").to_string_lossy().into_owned();
    let mut names: Vec<_> = with_store.map(name_of).collect();
    names.sort();
    assert!(KEPT.iter().all(|kept| names.iter().any(|name| name == kept)), "one is gone: {names:?}");
    names
}

/// A copy of a golden directory.
fn unpacked(name: &str) -> (TempDir, PathBuf) {
    let scratch = tempdir().expect("the temporary directory is writable");
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(golden(name).join("directory.tar.gz")).arg("-C").arg(scratch.path());
    assert!(tar.status().expect("tar is installed").success());
    let path = scratch.path().join("directory");
    (scratch, path)
}

/// `"KEY" "VALUE" times N`.
fn pair(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (key, rest) = unquoted(text)?;
    let (value, rest) = unquoted(rest.strip_prefix(' ')?)?;
    let times = rest.strip_prefix(" times ")?.parse().ok()?;
    Some((key, value.repeat(times)))
}

/// The bytes of the quoted text at the beginning, and what follows it.
fn unquoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let (inner, rest) = text.strip_prefix('"')?.split_once('"')?;
    let mut parts = inner.split("\\x");
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, plain) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(plain.as_bytes());
    }
    Some((bytes, rest))
}

/// Opens a store whose members all know what this build knows, once it knows that.
fn open(path: &Path, config: &Config) -> Store {
    let store = Store::open(path, config).expect("opens");
    store.wait_leader(HANG_TIMEOUT).expect("it leads");
    wait_for_level(&store, newest_level());
    store
}

/// That of a new store.
fn newest_level() -> u16 {
    static LEVEL: OnceLock<u16> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let scratch = tempdir().expect("the temporary directory is writable");
        let store = Store::open(scratch.path().join("new"), &Config::default()).expect("opens");
        store.region_at(0).expect("it has one").feature_level
    })
}

/// Writes in each way, what stands there and what does not; `found` becomes what must be read then.
fn write(store: &Store, promises: &Promises, found: &mut Found) {
    let options = WriteOptions::default();
    let gone: Vec<_> = promises.absent.iter().collect();
    let kept: Vec<_> = found.keys().cloned().collect();
    let [first, second, .., last] = &kept[..] else { panic!("there are many keys") };

    let put = store.put(first, b"put").expect("it leads").version;
    found.insert(first.clone(), (b"put".to_vec(), put));
    store.delete(second).expect("it leads");
    found.remove(second);
    let back = store.put_if_absent(gone[0], b"back", &options).expect("it is not there").version;
    found.insert(gone[0].clone(), (b"back".to_vec(), back));
    let seen = found[last].1;
    let set =
        store.compare_and_set(last, Expected::Version(seen), b"set", &options).expect("nobody wrote it");
    found.insert(last.clone(), (b"set".to_vec(), set.version));
    let mut batch = Batch::new();
    batch.delete_range(b"big/0000", b"big/0200").expect("in order");
    store.write(&mut batch, &options).expect("it leads");
    found.retain(|key, _| !(&b"big/0000"[..]..&b"big/0200"[..]).contains(&&key[..]));
    assert!(set.version > seen, "versions go on from where they were");
}

/// Every file and what it holds, but for those that say who has opened the directory, and how often.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                left.push(path);
            } else if !path.ends_with("LOCK") && !path.ends_with("run") {
                let content = fs::read(&path).expect("readable");
                files.insert(path, content);
            }
        }
    }
    files
}

fn put_number(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Gives a file the next version of its format, with the right checksum; returns the one that it had.
fn make_newer(path: &Path) -> u32 {
    let mut bytes = fs::read(path).expect("it is there");
    let version = u32::from_le_bytes(*bytes[8..].first_chunk().expect("it has a header"));
    put_number(&mut bytes, 8, version + 1);
    match &bytes[..8] {
        // A small record: the checksum of the header and the body.
        b"almident" | b"almidrun" => {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..]);
            put_number(&mut bytes, 16, crc);
        }
        // A segment: the checksum of the header's fields.
        b"ALMADLOG" => {
            let crc = crc32c::crc32c(&bytes[..48]);
            put_number(&mut bytes, 48, crc);
        }
        // A mark: the checksum of the version and what follows the checksum.
        b"ALMADEND" => {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[8..12]), &bytes[16..]);
            put_number(&mut bytes, 12, crc);
        }
        magic => panic!("{} begins with {}", path.display(), magic.escape_ascii()),
    }
    fs::write(path, bytes).expect("writable");
    version
}

#[test]
fn a_directory_of_each_earlier_build_is_read_written_and_read_again() {
    for name in names() {
        let promises = Promises::of(&name);
        let (present, absent) = (promises.present.len(), promises.absent.len());
        assert!(present > 300 && absent > 20 && promises.commit.len() == 40, "{name}: promises are lost");
        let (_scratch, path) = unpacked(&name);

        let store = open(&path, &promises.config);
        assert_eq!(store.region_count(), promises.regions, "{name}");
        let mut found = read_all(&store);
        promises.check(&name, &found);
        write(&store, &promises, &mut found);
        assert!(read_all(&store) == found, "{name}: what was written is not what is read");
        drop(store);

        let store = open(&path, &promises.config);
        assert!(read_all(&store) == found, "{name}: what was written is not what is read after a restart");
    }
}

/// The files with a version of their own in the directory of a member.
fn versioned_files(path: &Path) -> Vec<PathBuf> {
    let log = fs::read_dir(path.join("log")).expect("readable").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = log.filter(|file| file.extension().is_some_and(|kind| kind != "spare")).collect();
    files.extend(["ident", "run"].map(|name| path.join(name)));
    files.sort();
    files
}

#[test]
fn a_directory_of_a_later_format_is_refused_with_both_versions_and_is_not_touched() {
    let newest = KEPT[KEPT.len() - 1];
    let config = Promises::of(newest).config;
    let (_scratch, path) = unpacked(newest);
    let versioned = versioned_files(&path);
    assert!(versioned.len() >= 5, "two records, two marks, and a segment or more: {versioned:?}");

    for file in versioned {
        let (content, shown) = (fs::read(&file).expect("readable"), file.display());
        let version = make_newer(&file);
        let before = files(&path);

        let error = Store::open(&path, &config).err().expect("nobody can read it");

        assert_eq!(error.code(), Code::IncompatibleFormat, "{shown}: {error}");
        let message = error.to_string();
        let (theirs, ours) = (format!("format {}", version + 1), format!(" {version}"));
        for part in [&file.display().to_string(), &theirs, &ours] {
            assert!(message.contains(part), "{shown}: '{part}' is not in: {message}");
        }
        let after = files(&path);
        let changed: Vec<_> = before.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
        assert!(
            changed.is_empty() && before.len() == after.len(),
            "{shown} is newer, and these change: {changed:?}"
        );
        fs::write(&file, content).expect("writable");
    }
    open(&path, &config);
}
