//! The engine keeps data and apply state consistent, whatever happens to the process or the disk.

mod conditions;
mod convert;
mod damage;
mod floors;
mod gaps;
mod installing;
mod ranges;
mod reading;
mod surviving;

use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Engine, EngineOptions};
use crate::core::applied_write::AppliedWrite;
use crate::core::applier::ApplyBatch;
use crate::core::command::{Command, CommandBuilder, Operation};
use crate::core::region::Region;
use crate::error::{Code, Result};
use crate::types::{ApplyState, BOOTSTRAP_REGION, LogIndex, NodeId, RegionId, Term, Version};

/// A directory of its own for each test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static PLACES: AtomicUsize = AtomicUsize::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("almadia-engine-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a new place");
        Self(path)
    }

    /// A new engine with the bootstrap region.
    fn engine(&self) -> Engine {
        self.engine_with(&EngineOptions::default())
    }

    fn engine_with(&self, options: &EngineOptions) -> Engine {
        let engine = Engine::create(&self.0, options, unguarded()).expect("a new place");
        engine.bootstrap(&[region()], ApplyState::BOOTSTRAP).expect("a healthy disk");
        engine
    }

    fn open(&self) -> Result<Engine> {
        Engine::open(&self.0, &EngineOptions::default(), unguarded())
    }

    /// A copy of the directory as a crash at this point would leave it. File deletions must be disabled meanwhile. The
    /// manifest is copied before the tables are listed: it names a table only after the table is complete.
    fn crash_image(&self) -> Self {
        let image = Self::new();
        for is_turn in [is_manifest, |name: &str| !is_manifest(name)] {
            for name in file_names(&self.0).iter().filter(|name| is_turn(name)) {
                fs::copy(self.0.join(name), image.0.join(name)).expect("nothing deletes files");
            }
        }
        image
    }
}

fn is_manifest(name: &str) -> bool {
    name == "CURRENT" || name.starts_with("MANIFEST")
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it exists").map(|entry| entry.expect("it can be read"));
    entries.map(|entry| entry.file_name().into_string().expect("RocksDB writes ASCII names")).collect()
}

fn unguarded() -> Arc<dyn Any + Send + Sync> {
    Arc::new(())
}

fn region() -> Region {
    Region::bootstrap(&[NodeId(1)])
}

fn state(index: u64) -> ApplyState {
    ApplyState { index: LogIndex(index), term: Term(6) }
}

/// One command with these operations, applied at `index`.
fn batch(index: u64, operations: &[Operation<'_>]) -> ApplyBatch {
    let mut builder = CommandBuilder::default();
    operations.iter().for_each(|operation| builder.push(*operation));
    let Ok(Command::Write(write)) = Command::parse(builder.seal(1)) else { panic!("sealed above") };
    let mut batch = ApplyBatch::default();
    batch.writes.push(AppliedWrite::plain(write, Version::of(LogIndex(index), 1)));
    batch.states.push((BOOTSTRAP_REGION, state(index)));
    batch
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Operation<'a> {
    Operation::Put { key, value }
}

fn write(engine: &Engine, index: u64, operations: &[Operation<'_>]) {
    engine.write(&batch(index, operations)).expect("a healthy disk");
}

fn get(engine: &Engine, key: &[u8]) -> Option<Vec<u8>> {
    engine.get(key).expect("a healthy disk").map(|value| value.as_ref().to_vec())
}

fn applied(engine: &Engine) -> ApplyState {
    engine.regions().expect("a healthy disk")[0].1
}

#[test]
fn a_batch_takes_effect_in_order() {
    let place = Place::new();
    let engine = place.engine();

    let operations = [
        put(b"a", b"1"),
        put(b"b", b"1"),
        Operation::DeleteRange { begin: b"a", end: b"c" },
        put(b"b", b"2"),
        put(b"d", b"1"),
        Operation::Delete { key: b"d" },
        put(b"e", b"1"),
        put(b"e", b"2"),
    ];
    write(&engine, 6, &operations);

    let values = [b"a", b"b", b"d", b"e"].map(|key| get(&engine, key));
    assert_eq!(values, [None, Some(b"2".to_vec()), None, Some(b"2".to_vec())]);
    assert_eq!(applied(&engine), state(6));
}

#[test]
fn a_range_ends_before_its_end_key() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b""), put(b"b", b""), put(b"c", b"")]);

    write(&engine, 7, &[Operation::DeleteRange { begin: b"a", end: b"c" }]);

    assert_eq!([b"a", b"b", b"c"].map(|key| get(&engine, key).is_some()), [false, false, true]);
}

#[test]
fn an_empty_or_reversed_range_deletes_nothing() {
    let place = Place::new();
    let engine = place.engine();
    write(&engine, 6, &[put(b"a", b""), put(b"b", b"")]);

    let reversed = Operation::DeleteRange { begin: b"b", end: b"a" };
    write(&engine, 7, &[reversed, Operation::DeleteRange { begin: b"a", end: b"a" }, put(b"c", b"")]);

    assert_eq!([b"a", b"b", b"c"].map(|key| get(&engine, key).is_some()), [true; 3]);
}

#[test]
fn empty_keys_empty_values_and_large_values_are_kept() {
    let place = Place::new();
    let engine = place.engine();
    let large = vec![7; 300 << 10];

    write(&engine, 6, &[put(b"", b"nameless"), put(b"void", b""), put(b"large", &large)]);
    engine.flush().expect("a healthy disk");

    assert_eq!(get(&engine, b"").as_deref(), Some(&b"nameless"[..]));
    assert_eq!(get(&engine, b"void").as_deref(), Some(&b""[..]));
    assert_eq!(get(&engine, b"large"), Some(large));
    assert_eq!(get(&engine, b"nothing"), None);
}

#[test]
fn regions_are_read_back_in_order_with_their_states() {
    let place = Place::new();
    let engine = Engine::create(&place.0, &EngineOptions::default(), unguarded()).expect("a new place");
    let regions = [300, 2, 1].map(|id| Region { id: RegionId(id), ..region() });

    engine.bootstrap(&regions, ApplyState::BOOTSTRAP).expect("a healthy disk");
    let mut batch = ApplyBatch::default();
    let mut grown = regions[1].clone();
    grown.members.learners = vec![9];
    batch.regions.push(grown.clone());
    batch.states.push((grown.id, state(8)));
    engine.write(&batch).expect("a healthy disk");

    let expected = [
        (regions[2].clone(), ApplyState::BOOTSTRAP),
        (grown, state(8)),
        (regions[0].clone(), ApplyState::BOOTSTRAP),
    ];
    assert_eq!(engine.regions().expect("a healthy disk"), expected);
}

#[test]
fn a_region_without_an_apply_state_is_damage() {
    let place = Place::new();
    let engine = place.engine();
    let mut batch = ApplyBatch::default();
    batch.regions.push(Region { id: RegionId(2), ..region() });
    engine.write(&batch).expect("a healthy disk");

    let error = engine.regions().expect_err("region 2 has no apply state");

    assert_eq!(error.code(), Code::Corruption);
    assert!(error.detail().contains("missing apply state"), "{error}");
}

#[test]
fn the_meta_family_is_separate_from_user_keys() {
    let place = Place::new();
    let engine = place.engine();
    let key = crate::storage::keys::apply_state(BOOTSTRAP_REGION);

    write(&engine, 6, &[put(&key, b"mine")]);

    assert_eq!(get(&engine, &key).as_deref(), Some(&b"mine"[..]));
    assert_eq!(applied(&engine), state(6));
}
