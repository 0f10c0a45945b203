//! A directory is opened only by its owner, and survives crashes and damage.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Content, Directory, Identity};
use crate::error::{Code, Error};
use crate::types::{ClusterId, InstanceId, NodeId};

/// A path of its own for each test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static PLACES: AtomicUsize = AtomicUsize::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("almadia-directory-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// The place after a completed first start.
    fn used() -> Self {
        let place = Self::new();
        let directory = place.open().expect("a new place");
        assert_eq!(directory.content(), Content::Nothing);
        directory.finish().expect("a healthy disk");
        place
    }

    /// One that a member of the format before has left.
    fn unversioned() -> Self {
        let place = Self::used();
        let directory = place.open().expect("its own directory");
        directory.admit(NodeId(1), InstanceId(0xaa)).expect("first met");
        drop(directory);
        ["ident", "peers", "run"].iter().for_each(|name| place.rewrite(name, |bytes| bytes[8] = 2));
        place
    }

    fn open(&self) -> Result<Directory, Error> {
        Directory::open(&self.0, &identity())
    }

    /// After this change, and only then.
    fn refused_as(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let whole = fs::read(self.file(name)).expect("the file exists");
        self.rewrite(name, change);
        assert_says(&self.refused(), Code::Corruption, &[name, "makes no sense"]);
        self.damage(name, |bytes| *bytes = whole);
    }

    fn refused(&self) -> Error {
        self.open().expect_err("it must be refused")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Changes a record, checksum included.
    fn rewrite(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        self.damage(name, |bytes| {
            change(bytes);
            let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..]);
            bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        });
    }

    /// The format of a record, and the first byte of its body.
    fn format(&self, name: &str) -> (u8, u8) {
        let bytes = fs::read(self.file(name)).expect("the file exists");
        (bytes[8], bytes[20])
    }

    fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.file(name)).expect("the file exists");
        change(&mut bytes);
        fs::write(self.file(name), bytes).expect("a healthy disk");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn identity() -> Identity {
    Identity { cluster: ClusterId(0xc1), cluster_name: "orders".to_owned(), node: NodeId(2) }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

/// The error has the code, and its text names every one of `words`.
fn assert_says(error: &Error, code: Code, words: &[&str]) {
    assert_eq!(error.code(), code, "{error}");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in {text:?}"));
}

#[test]
fn a_first_start_creates_a_private_directory() {
    let place = Place::new();

    let directory = place.open().expect("a new place");

    assert_eq!(directory.content(), Content::Nothing);
    assert!(directory.log().is_dir());
    assert!(directory.data().is_dir());
    assert_eq!([place.0.clone(), directory.log(), directory.data()].map(|path| mode(&path)), [0o700; 3]);
    assert_eq!(["LOCK", "ident"].map(|name| mode(&place.file(name))), [0o600; 2]);
}

#[test]
fn a_restarted_member_is_the_same_instance() {
    let place = Place::new();
    let directory = place.open().expect("a new place");
    let instance = directory.instance();
    directory.finish().expect("a healthy disk");
    drop(directory);

    let directory = place.open().expect("its own directory");

    assert_eq!(directory.content(), Content::Current);
    assert_eq!(directory.instance(), instance);
}

#[test]
fn two_directories_are_two_instances() {
    let instances = [Place::new(), Place::new()].map(|place| place.open().expect("a new place").instance());

    assert_ne!(instances[0], instances[1]);
}

#[test]
fn an_incomplete_first_start_starts_over() {
    let place = Place::new();
    let directory = place.open().expect("a new place");
    fs::write(directory.data().join("half"), "written").expect("a healthy disk");
    drop(directory);

    let directory = place.open().expect("its own directory");

    assert_eq!(directory.content(), Content::Nothing);
    assert_eq!(fs::read_dir(directory.data()).expect("it exists").count(), 0);
}

#[test]
fn a_crash_before_the_ident_file_is_written_starts_over() {
    let place = Place::new();
    fs::create_dir(&place.0).expect("a new place");
    for leftover in ["LOCK", "ident.tmp"] {
        fs::write(place.file(leftover), "x").expect("a healthy disk");
    }
    fs::create_dir(place.file("lost+found")).expect("a new place");

    let directory = place.open().expect("nothing of value is in it");

    assert_eq!(directory.content(), Content::Nothing);
}

#[test]
fn a_member_keeps_its_files_after_its_first_start() {
    let place = Place::used();
    fs::write(place.file("data").join("value"), "dear").expect("a healthy disk");

    let directory = place.open().expect("its own directory");

    assert_eq!(fs::read(directory.data().join("value")).expect("kept"), b"dear");
}

#[test]
fn a_second_store_in_the_same_process_is_locked_out_with_that_reason() {
    let place = Place::used();
    let _held = place.open().expect("its own directory");

    let pid = std::process::id().to_string();
    let path = place.0.display().to_string();
    assert_says(&place.refused(), Code::Locked, &[&path, "this process", &pid, "close that store"]);
}

#[test]
fn another_process_that_holds_the_lock_is_named() {
    let place = Place::used();
    let _held = place.open().expect("its own directory");
    fs::write(place.file("LOCK"), "4711\n").expect("a healthy disk");

    assert_says(&place.refused(), Code::Locked, &["process 4711"]);
}

#[test]
fn the_directory_stays_locked_until_the_last_guard_is_dropped() {
    let place = Place::used();
    let directory = place.open().expect("its own directory");
    let guard = directory.lock_guard();
    drop(directory);
    assert_eq!(place.refused().code(), Code::Locked);

    drop(guard);

    assert!(place.open().is_ok());
}

#[test]
fn another_cluster_is_refused_by_name() {
    let place = Place::used();
    let other = Identity { cluster: ClusterId(0xd2), cluster_name: "billing".to_owned(), ..identity() };

    let error = Directory::open(&place.0, &other).expect_err("not its directory");

    let ids = ["'orders'", "'billing'", "00000000000000c1", "00000000000000d2"];
    assert_says(&error, Code::WrongCluster, &ids);
    assert_says(&error, Code::WrongCluster, &[&place.0.display().to_string(), "choose another directory"]);
}

#[test]
fn another_node_is_refused_by_number() {
    let place = Place::used();
    let other = Identity { node: NodeId(3), ..identity() };

    let error = Directory::open(&place.0, &other).expect_err("not its directory");

    assert_says(&error, Code::WrongCluster, &["belongs to node 2", "node 3", "correct the node id"]);
}

#[test]
fn an_unknown_format_is_refused() {
    let place = Place::used();
    place.rewrite("ident", |bytes| bytes[8] = 1);

    assert_says(&place.refused(), Code::IncompatibleFormat, &["ident", "format 1", "the earlier version"]);
    place.rewrite("ident", |bytes| bytes[8] = 4);

    assert_says(&place.refused(), Code::IncompatibleFormat, &["ident", "format 4", "use a newer one"]);
}

#[test]
fn a_directory_of_the_format_before_stays_one_until_it_is_converted() {
    let place = Place::unversioned();
    let instance = place.open().expect("it is to be converted").instance();

    let directory = place.open().expect("it is to be converted");

    assert_eq!((directory.content(), directory.instance()), (Content::Unversioned, instance));
    let formats = ["ident", "peers", "run"].map(|name| place.format(name).0);
    assert_eq!(formats, [2; 3], "the build that wrote it can come back");
    assert!(directory.admit(NodeId(1), InstanceId(0xbb)).is_err(), "the peers are remembered");
    assert_eq!(directory.boot_count(), 4);
}

#[test]
fn a_directory_that_is_being_converted_is_refused_by_builds_that_do_not_convert() {
    let place = Place::unversioned();
    let directory = place.open().expect("it is to be converted");

    directory.begin_conversion().expect("a healthy disk");
    drop(directory);

    // The format before is 2, and this format without conversion knew 0 and 1.
    assert_eq!(place.format("ident"), (3, 2));
    let directory = place.open().expect("the conversion goes on");
    assert_eq!((directory.content(), directory.boot_count()), (Content::Converting, 4));
    directory.finish().expect("a healthy disk");
    drop(directory);
    assert_eq!(place.format("ident"), (3, 1));
    assert_eq!(place.open().expect("its own directory").content(), Content::Current);
    place.refused_as("ident", |bytes| bytes[20] = 3);
    place.refused_as("ident", |bytes| (bytes[8], bytes[20]) = (2, 2));
}

#[test]
fn a_first_start_of_the_format_before_that_did_not_complete_starts_over() {
    let place = Place::new();
    drop(place.open().expect("a new place"));
    ["ident", "run"].iter().for_each(|name| place.rewrite(name, |bytes| bytes[8] = 2));

    let directory = place.open().expect("nothing of value is in it");

    assert_eq!(directory.content(), Content::Nothing);
}

#[test]
fn a_damaged_ident_is_refused_wherever_it_is_damaged() {
    let place = Place::used();
    let whole = fs::read(place.file("ident")).expect("the file exists");
    for at in 0..whole.len() {
        place.damage("ident", |bytes| bytes[at] ^= 1);
        assert_says(&place.refused(), Code::Corruption, &["ident", "offset"]);
        place.damage("ident", |bytes| bytes.clone_from(&whole));
    }
    for length in 0..whole.len() {
        place.damage("ident", |bytes| bytes.truncate(length));
        assert_says(&place.refused(), Code::Corruption, &["ident", "offset"]);
        place.damage("ident", |bytes| bytes.clone_from(&whole));
    }
    assert!(place.open().is_ok());
}

#[test]
fn someone_elses_directory_is_refused_and_left_as_it_was() {
    let place = Place::new();
    fs::create_dir(&place.0).expect("a new place");
    fs::write(place.file("thesis.tex"), "years of work").expect("a healthy disk");

    let error = place.refused();

    let path = place.0.display().to_string();
    let words = [path.as_str(), "not empty and not an Almadia directory", "thesis.tex", "new directory"];
    assert_says(&error, Code::InvalidArgument, &words);
    assert_eq!(fs::read_dir(&place.0).expect("it exists").count(), 1);
}

#[test]
fn a_member_that_lost_its_ident_file_is_not_wiped() {
    let place = Place::used();
    fs::remove_file(place.file("ident")).expect("it exists");

    assert_says(&place.refused(), Code::InvalidArgument, &["no ident file"]);
    assert!(place.file("data").is_dir());
}

#[test]
fn a_member_that_lost_a_subdirectory_is_refused() {
    let place = Place::used();
    fs::remove_dir(place.file("data")).expect("it exists");

    assert_says(&place.refused(), Code::Corruption, &["data", "gone"]);
}

#[test]
fn a_path_that_is_a_file_is_refused() {
    let place = Place::new();
    fs::write(&place.0, "a file").expect("a healthy disk");

    let error = place.refused();
    fs::remove_file(&place.0).expect("it exists");

    assert_says(&error, Code::InvalidArgument, &[&place.0.display().to_string(), "not a directory"]);
}

#[test]
fn a_path_without_a_parent_is_refused() {
    let place = Place::new();

    let error = Directory::open(&place.file("deeper"), &identity()).expect_err("no parent");

    assert_says(&error, Code::Io, &["create directory", "deeper"]);
    assert_eq!(error.errno(), Some(libc::ENOENT));
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    for bits in [0o770, 0o702, 0o777] {
        let place = Place::used();
        fs::set_permissions(&place.0, Permissions::from_mode(bits)).expect("it is ours");

        let bits = format!("{bits:o}");
        assert_says(
            &place.refused(),
            Code::Permission,
            &[&bits, "chmod go-w", &place.0.display().to_string()],
        );
    }
}

#[test]
fn a_peer_is_remembered_and_a_changed_one_refused_even_after_a_restart() {
    let place = Place::used();
    let directory = place.open().expect("its own directory");
    directory.admit(NodeId(1), InstanceId(0xaa)).expect("first met");
    directory.admit(NodeId(3), InstanceId(0xcc)).expect("first met");
    drop(directory);

    let directory = place.open().expect("its own directory");

    assert_eq!(directory.admit(NodeId(1), InstanceId(0xaa)), Ok(()));
    let text = directory.admit(NodeId(3), InstanceId(0xdd)).expect_err("another instance");
    for words in ["node 3", "00000000000000cc", "00000000000000dd", "lost its disk", "new node id"] {
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
    assert_eq!(directory.admit(NodeId(3), InstanceId(0xcc)), Ok(()));
}

#[test]
fn a_peer_that_cannot_be_remembered_is_not_admitted() {
    let place = Place::used();
    let directory = place.open().expect("its own directory");
    fs::create_dir(place.file("peers.tmp")).expect("it is ours");

    let text = directory.admit(NodeId(1), InstanceId(1)).expect_err("nowhere to write");
    assert!(text.contains("cannot remember node 1"), "{text:?}");
    fs::remove_dir(place.file("peers.tmp")).expect("it exists");

    assert_eq!(directory.admit(NodeId(1), InstanceId(2)), Ok(()));
}

#[test]
fn a_damaged_peers_file_is_refused() {
    let place = Place::used();
    let directory = place.open().expect("its own directory");
    directory.admit(NodeId(1), InstanceId(1)).expect("first met");
    drop(directory);
    place.damage("peers", |bytes| *bytes.last_mut().expect("not empty") ^= 1);

    assert_says(&place.refused(), Code::Corruption, &["peers", "offset 16", "checksum"]);
}

#[test]
fn a_lock_outlives_its_directory_while_a_guard_is_held() {
    let place = Place::used();
    let directory = place.open().expect("its own directory");
    let guard = directory.lock_guard();

    drop(directory);

    assert_eq!(Arc::strong_count(&guard), 1);
}
