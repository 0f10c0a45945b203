//! A raft snapshot takes the place of a region's data, at once, and of nothing else.

use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rocksdb::CompactOptions;

use super::{Place, put, region, state, unguarded};
use crate::core::applied_write::AppliedWrite;
use crate::core::applier::ApplyBatch;
use crate::core::command::{Command, CommandBuilder, Operation};
use crate::core::raft_snapshot::{SnapshotHead, rows};
use crate::core::region::Region;
use crate::storage::engine::{Engine, EngineOptions, Export, IterOptions, View};
use crate::storage::staging::{Staged, Staging};
use crate::types::{ApplyState, LogIndex, RegionId, Version};

/// That which is installed.
const REGION: RegionId = RegionId(7);
/// The one before it, and the one behind it if there is one.
const NEIGHBOURS: [RegionId; 2] = [RegionId(6), RegionId(8)];

type Row = (Vec<u8>, Vec<u8>, Version);

fn middle(end: &[u8]) -> Region {
    Region { id: REGION, start_key: b"m".to_vec(), end_key: end.to_vec(), ..region() }
}

fn engine(place: &Place) -> Engine {
    Engine::create(&place.0, &EngineOptions::default(), unguarded()).expect("a new place")
}

/// With the region and its neighbours.
fn populated(place: &Place, end: &[u8]) -> Engine {
    let engine = engine(place);
    let before = Region { id: NEIGHBOURS[0], end_key: b"m".to_vec(), ..region() };
    let behind = Region { id: NEIGHBOURS[1], start_key: b"n".to_vec(), ..region() };
    let mut regions = vec![before, middle(end)];
    regions.extend(Some(behind).filter(|_| !end.is_empty()));
    engine.bootstrap(&regions, ApplyState::BOOTSTRAP).expect("a healthy disk");
    engine
}

fn write_at(engine: &Engine, region: RegionId, index: u64, operations: &[Operation<'_>]) {
    let mut batch = ApplyBatch::default();
    if !operations.is_empty() {
        let mut builder = CommandBuilder::default();
        operations.iter().for_each(|operation| builder.push(*operation));
        let Ok(Command::Write(write)) = Command::parse(builder.seal(1)) else { panic!("sealed above") };
        batch.writes.push(AppliedWrite::plain(write, Version::of(LogIndex(index), 1)));
    }
    batch.states.push((region, state(index)));
    engine.write(&batch).expect("a healthy disk");
}

/// The first step.
fn clear(engine: &Engine, head: &SnapshotHead) {
    let mut batch = ApplyBatch::default();
    batch.clears.push(head.clone());
    engine.write(&batch).expect("a healthy disk");
}

/// The last step.
fn end(engine: &Engine, head: &SnapshotHead) {
    let mut batch = ApplyBatch::default();
    batch.installed.push(head.region.id);
    batch.regions.push(head.region.clone());
    batch.states.push((head.region.id, head.state));
    engine.write(&batch).expect("a healthy disk");
}

fn export(engine: &Engine) -> Export {
    engine.export(REGION).expect("a healthy disk").expect("nothing is being installed")
}

fn rows_of(export: &Export, after: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rows = export.rows(after);
    while let Some((key, stored)) = rows.next().expect("a healthy disk") {
        found.push((key.to_vec(), stored.to_vec()));
    }
    assert!(rows.next().expect("a healthy disk").is_none(), "it stays at its end");
    found
}

/// Stages what `source` has of the region, in files of about so many bytes.
fn stage(staging: &Staging, source: &Engine, file_bytes: u64) -> Staged {
    let export = export(source);
    let mut writer =
        staging.begin(export.head(), [1, 2, 3], export.bytes_estimate()).expect("a healthy disk");
    writer.divide_at(file_bytes);
    let (mut count, mut crc) = (0, 0);
    for (key, stored) in rows_of(&export, None) {
        writer.put(&key, &stored).expect("in order");
        count += 1;
        crc = rows::checksum(crc, &key, &stored);
    }
    writer.finish(count, crc).expect("all rows are there")
}

fn contents(view: &View) -> Vec<Row> {
    let mut iter = view.iter(IterOptions::default());
    iter.seek_to_first();
    let mut found = Vec::new();
    while let Some((key, value, version)) = iter.versioned_item() {
        found.push((key.to_vec(), value.to_vec(), version));
        iter.next();
    }
    iter.status().expect("a healthy disk");
    found
}

/// What there must be once `source` is installed over `before`.
fn replaced(region: &Region, before: &[Row], source: &[Row]) -> Vec<Row> {
    let others = before.iter().filter(|row| !region.contains(&row.0));
    let mut all: Vec<_> =
        others.chain(source.iter().filter(|row| region.contains(&row.0))).cloned().collect();
    all.sort();
    all
}

/// An operation on a key of one of the regions.
#[derive(Clone, Debug)]
enum Edit {
    Put(Vec<u8>, u8),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(&b"almnz"[..]), prop::option::of(0..60u8)).prop_map(|(letter, number)| {
        let mut key = vec![letter];
        key.extend(number);
        key
    })
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        12 => (key(), any::<u8>()).prop_map(|(key, value)| Edit::Put(key, value)),
        3 => key().prop_map(Edit::Delete),
        1 => (key(), key()).prop_map(|(begin, end)| Edit::DeleteRange(begin, end)),
    ];
    vec(edit, 0..120)
}

fn apply(engine: &Engine, index: u64, edits: &[Edit]) {
    let values: Vec<_> =
        edits.iter().map(|edit| if let Edit::Put(_, value) = edit { [*value] } else { [0] }).collect();
    let operations = edits.iter().zip(&values).map(|(edit, value)| match edit {
        Edit::Put(key, _) => put(key, value),
        Edit::Delete(key) => Operation::Delete { key },
        Edit::DeleteRange(begin, end) => Operation::DeleteRange { begin, end },
    });
    write_at(engine, NEIGHBOURS[0], index, &operations.collect::<Vec<_>>());
}

/// In the last level, in a table of the first, and in memory.
fn apply_layers(engine: &Engine, layers: &[Vec<Edit>; 3]) {
    apply(engine, 6, &layers[0]);
    engine.flush().expect("a healthy disk");
    engine.database.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &CompactOptions::default());
    apply(engine, 7, &layers[1]);
    engine.flush().expect("a healthy disk");
    apply(engine, 8, &layers[2]);
}

/// Where the process ends before it begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Never,
    AfterClear,
    AfterFlush,
    AfterRemoval,
    AfterLink,
    AfterEnd,
}

const CRASHES: [Crash; 6] = [
    Crash::Never,
    Crash::AfterClear,
    Crash::AfterFlush,
    Crash::AfterRemoval,
    Crash::AfterLink,
    Crash::AfterEnd,
];

/// Makes the steps up to the crash.
fn steps_before(crash: Crash, engine: &Engine, staged: &Staged) {
    clear(engine, staged.head());
    match crash {
        Crash::Never | Crash::AfterClear => {}
        Crash::AfterFlush => engine.flush().expect("a healthy disk"),
        Crash::AfterRemoval => {
            engine.flush().expect("a healthy disk");
            engine.remove_old(&staged.head().region).expect("a healthy disk");
        }
        Crash::AfterLink => engine.install(staged).expect("a healthy disk"),
        Crash::AfterEnd => {
            engine.install(staged).expect("a healthy disk");
            end(engine, staged.head());
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    source: [Vec<Edit>; 3],
    target: [Vec<Edit>; 3],
    crash: Crash,
    has_view: bool,
    has_end: bool,
    file_bytes: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let layers = || [edits(), edits(), edits()];
    let flags = (any::<bool>(), any::<bool>(), prop::sample::select(&[0, 1 << 20][..]));
    (layers(), layers(), prop::sample::select(&CRASHES[..]), flags).prop_map(
        |(source, target, crash, flags)| {
            let (has_view, has_end, file_bytes) = flags;
            Case { source, target, crash, has_view, has_end, file_bytes }
        },
    )
}

fn check(case: &Case) -> std::result::Result<(), TestCaseError> {
    let range_end: &[u8] = if case.has_end { b"n" } else { b"" };
    let region = middle(range_end);
    let (source_place, place, staging_place) = (Place::new(), Place::new(), Place::new());
    let source = populated(&source_place, range_end);
    apply_layers(&source, &case.source);
    write_at(&source, REGION, 60, &[]);
    let staging = Staging::open(&staging_place.0).expect("a healthy disk");
    let staged = stage(&staging, &source, case.file_bytes);
    prop_assert_eq!(staged.head(), &SnapshotHead { region: region.clone(), state: state(60) });
    let source = contents(&source.view());

    let mut target = populated(&place, range_end);
    apply_layers(&target, &case.target);
    target.database.gaps.note_all();
    if case.crash != Crash::Never {
        steps_before(case.crash, &target, &staged);
        drop(target);
        target = place.open().expect("it was closed");
        target.database.gaps.note_all();
    }
    let before = contents(&target.view());
    let view = case.has_view.then(|| target.view());
    let mut iter = view.as_ref().map(|view| view.iter(IterOptions::default()));
    let passed = before.len() / 2;
    if let Some(iter) = &mut iter {
        iter.seek_to_first();
        (0..passed).for_each(|_| iter.next());
    }
    clear(&target, staged.head());
    let cleared = replaced(&region, &before, &[]);
    let during = target.view();
    prop_assert_eq!(&contents(&target.view()), &cleared);
    prop_assert_eq!(&contents(&target.view()), &cleared);
    if !case.has_view {
        drop(during);
        target.install(&staged).expect("a healthy disk");
    } else {
        target.install(&staged).expect("a healthy disk");
        prop_assert_eq!(&contents(&during), &cleared);
    }

    let expected = replaced(&region, &before, &source);
    prop_assert_eq!(&contents(&target.view()), &expected);
    prop_assert_eq!(&contents(&target.view()), &expected);
    prop_assert_eq!(target.pending_installs().expect("a healthy disk"), [(REGION, state(60))]);
    prop_assert!(target.export(REGION).expect("a healthy disk").is_none());
    if let (Some(view), Some(iter)) = (&view, &mut iter) {
        prop_assert_eq!(&contents(view), &before);
        for (key, value, version) in &before[passed..] {
            prop_assert_eq!(iter.versioned_item(), Some((&key[..], &value[..], *version)));
            iter.next();
        }
        prop_assert!(!iter.valid() && iter.status().is_ok());
    }
    target.install(&staged).expect("a healthy disk");
    end(&target, staged.head());
    prop_assert_eq!(&contents(&target.view()), &expected);
    prop_assert_eq!(target.pending_installs().expect("a healthy disk"), []);
    let regions = target.regions().expect("a healthy disk");
    prop_assert!(regions.contains(&(region.clone(), state(60))));

    drop((view, iter));
    target.flush().expect("a healthy disk");
    target.database.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &CompactOptions::default());
    prop_assert_eq!(&contents(&target.view()), &expected);
    Ok(())
}

#[test]
fn an_installed_region_is_the_source_s_and_the_others_are_as_they_were() {
    let config = Config { cases: 20, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&case(), |case| check(&case)).unwrap();
}

#[test]
fn after_a_crash_it_is_on_record_what_is_being_installed_if_anything_of_it_is_there() {
    let expected =
        [vec![], vec![], vec![(REGION, state(60))], vec![(REGION, state(60))], vec![(REGION, state(60))]];
    for (crash, expected) in CRASHES.into_iter().zip(expected) {
        let (source_place, place, staging_place) = (Place::new(), Place::new(), Place::new());
        let source = populated(&source_place, b"n");
        write_at(&source, REGION, 60, &[put(b"m1", b"new")]);
        let staged = stage(&Staging::open(&staging_place.0).expect("a healthy disk"), &source, 0);
        let engine = populated(&place, b"n");
        write_at(&engine, REGION, 6, &[put(b"m2", b"old")]);
        engine.flush().expect("a healthy disk");

        steps_before(crash, &engine, &staged);
        drop(engine);
        let engine = place.open().expect("it was closed");

        assert_eq!(engine.pending_installs().expect("a healthy disk"), expected, "{crash:?}");
        assert_eq!(engine.apply_state(REGION).expect("a healthy disk"), state(6));
        let keys: Vec<_> = contents(&engine.view()).into_iter().map(|(key, ..)| key).collect();
        let visible: &[&[u8]] = match crash {
            Crash::Never | Crash::AfterClear => &[b"m2"],
            Crash::AfterFlush | Crash::AfterRemoval => &[],
            Crash::AfterLink | Crash::AfterEnd => &[b"m1"],
        };
        assert_eq!(keys, visible, "{crash:?}");
    }
}

#[test]
fn ten_megabytes_in_many_files_come_over_whole() {
    const ROWS: u32 = 10_000;
    let (source_place, place, staging_place) = (Place::new(), Place::new(), Place::new());
    let source = populated(&source_place, b"n");
    // Nothing that can be compressed.
    let value = |number: u32| {
        let mut state = u64::from(number) + 1;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 56) as u8
        };
        (0..1000).map(|_| next()).collect::<Vec<_>>()
    };
    for first in (0..ROWS).step_by(500) {
        let rows: Vec<_> =
            (first..first + 500).map(|number| (format!("m{number:08}"), value(number))).collect();
        let puts: Vec<_> = rows.iter().map(|(key, value)| put(key.as_bytes(), value)).collect();
        write_at(&source, REGION, 60, &puts);
    }
    let staged = stage(&Staging::open(&staging_place.0).expect("a healthy disk"), &source, 100_000);
    let engine = populated(&place, b"n");

    clear(&engine, staged.head());
    engine.install(&staged).expect("a healthy disk");
    end(&engine, staged.head());

    assert!(staged.link_files().expect("a healthy disk").len() > 8);
    assert_eq!(rows_of(&export(&engine), None), rows_of(&export(&source), None));
}

#[test]
fn linked_files_lie_in_the_last_level_where_no_view_is_open_and_the_old_ones_are_gone() {
    for has_view in [false, true] {
        let (source_place, place, staging_place) = (Place::new(), Place::new(), Place::new());
        let source = populated(&source_place, b"n");
        write_at(&source, REGION, 60, &[put(b"m1", b"new"), put(b"m2", b"new")]);
        let staged = stage(&Staging::open(&staging_place.0).expect("a healthy disk"), &source, 0);
        let engine = populated(&place, b"n");
        let old: Vec<_> = (0..100u8).map(|number| [b'm', number]).collect();
        write_at(&engine, REGION, 6, &old.iter().map(|key| put(key, b"old")).collect::<Vec<_>>());
        engine.flush().expect("a healthy disk");
        engine.database.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &CompactOptions::default());

        let view = has_view.then(|| engine.view());
        clear(&engine, staged.head());
        engine.install(&staged).expect("a healthy disk");

        let tables = engine.database.db.live_files().expect("a healthy disk");
        let new = tables.iter().filter(|table| {
            table.column_family_name == "default" && matches!(table.start_key.as_deref(), Some(b"m1" | b"m2"))
        });
        let levels: Vec<_> = new.map(|table| table.level).collect();
        assert_eq!(levels.iter().all(|level| *level == 6), !has_view, "{levels:?}");
        assert_eq!(levels.len(), 2);
        if let Some(view) = view {
            assert_eq!(contents(&view).len(), old.len());
        } else {
            assert_eq!(tables.iter().filter(|table| table.column_family_name == "default").count(), 2);
        }
    }
}

#[test]
fn keys_come_into_a_stretch_that_iterators_leave_out() {
    let (source_place, place, staging_place) = (Place::new(), Place::new(), Place::new());
    let source = populated(&source_place, b"n");
    write_at(&source, REGION, 60, &[put(b"m1", b"new")]);
    let staged = stage(&Staging::open(&staging_place.0).expect("a healthy disk"), &source, 0);
    let engine = populated(&place, b"n");
    engine.database.gaps.note_all();
    write_at(&engine, REGION, 6, &[put(b"m0", b"old"), put(b"m1", b"old")]);
    engine.flush().expect("a healthy disk");
    clear(&engine, staged.head());
    // Known, since nothing is written meanwhile.
    let before = engine.view();
    assert_eq!((contents(&before).len(), contents(&engine.view()).len()), (0, 0));
    let known = engine.view().gaps().within(None, None);
    assert!(known.iter().any(|gap| *gap.begin <= b"m1"[..] && gap.ends_after(b"m1")), "{known:?}");

    engine.install(&staged).expect("a healthy disk");
    // What a view of before reports is not believed.
    assert_eq!(contents(&before).len(), 0);
    assert_eq!(contents(&before).len(), 0);

    assert_eq!(contents(&engine.view()).len(), 1);
    let mut latest = 0;
    let counted = crate::core::stored::Stored::scan(&engine.latest(), b"m", b"n", &mut |_, _, _| {
        latest += 1;
        ControlFlow::Continue(())
    });
    counted.expect("a healthy disk");
    assert_eq!(latest, 1);
}

#[test]
fn an_export_is_of_one_moment_has_no_other_region_s_keys_and_is_no_reader_s_view() {
    for range_end in [&b"n"[..], b""] {
        let place = Place::new();
        let engine = populated(&place, range_end);
        let keys = [&b"a"[..], b"lz", b"m", b"m\0", b"mz", b"n", b"z"];
        write_at(&engine, REGION, 6, &keys.map(|key| put(key, b"old")));

        let export = export(&engine);
        write_at(&engine, REGION, 7, &[put(b"m5", b"new"), Operation::Delete { key: b"m" }]);

        let own: Vec<_> = keys.into_iter().filter(|key| middle(range_end).contains(key)).collect();
        assert_eq!(export.head(), &SnapshotHead { region: middle(range_end), state: state(6) });
        assert_eq!(engine.live_views(), 0);
        for (at, key) in own.iter().enumerate() {
            let behind = rows_of(&export, Some(key));
            let expected = own[at + 1..].iter().map(|key| key.to_vec());
            assert!(behind.iter().map(|(key, _)| key.clone()).eq(expected));
        }
        let all = rows_of(&export, None);
        assert_eq!(all.len(), own.len());
        assert!(all.iter().all(|(_, stored)| stored.starts_with(b"old") && stored.len() == 12));
    }
}

#[test]
fn a_cleared_region_has_no_key_and_its_neighbours_have_all() {
    for range_end in [&b"n"[..], b""] {
        for filler in [1, 100u8] {
            let place = Place::new();
            let engine = populated(&place, range_end);
            let many: Vec<_> = (0..filler).map(|number| [b'm', number]).collect();
            let mut puts: Vec<_> = many.iter().map(|key| put(key, b"old")).collect();
            let others = [&b"l\xff"[..], b"m", b"m\xff\xff", b"n", b"\xff\xff\xff"];
            puts.extend(others.map(|key| put(key, b"old")));
            write_at(&engine, REGION, 6, &puts);
            let before = contents(&engine.view());

            let region = middle(range_end);
            clear(&engine, &SnapshotHead { region: region.clone(), state: state(60) });

            assert_eq!(contents(&engine.view()), replaced(&region, &before, &[]));
            assert_eq!(engine.pending_installs().expect("a healthy disk"), [(REGION, state(60))]);
        }
    }
}
