//! Staged raft snapshots go on where their sending was interrupted, and nothing damaged is taken for one.

use std::path::PathBuf;

use super::writer::Resume;
use super::*;
use crate::core::raft_snapshot::rows;
use crate::core::region::Region;
use crate::types::NodeId;

const SOURCE: [u64; 3] = [2, 77, 1];

/// A store's directory, removed at the end.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// As after a start.
    fn staging(&self) -> Staging {
        Staging::open(self.0.path()).expect("a healthy disk")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(INCOMING).join(name_of(RegionId(7), state(60))).join(name)
    }
}

fn state(index: u64) -> ApplyState {
    ApplyState { index: LogIndex(index), term: Term(6) }
}

fn head(index: u64) -> SnapshotHead {
    let (start_key, end_key) = (b"m".to_vec(), b"n".to_vec());
    let region = Region { id: RegionId(7), start_key, end_key, ..Region::bootstrap(&[NodeId(1)]) };
    SnapshotHead { region, state: state(index) }
}

/// Rows in order, with values as engines store them.
fn some_rows(count: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|number| (vec![b'm', number], vec![number, 0, 0, 1, 0, 0, 0, 0, 0, 0])).collect()
}

/// The count and the checksum.
fn sum(rows: &[(Vec<u8>, Vec<u8>)]) -> (u64, u32) {
    let crc = rows.iter().fold(0, |crc, (key, stored)| rows::checksum(crc, key, stored));
    (rows.len() as u64, crc)
}

fn begin(staging: &Staging) -> StagedWriter {
    staging.begin(&head(60), SOURCE, 0).expect("a healthy disk")
}

fn put_all(writer: &mut StagedWriter, rows: &[(Vec<u8>, Vec<u8>)]) {
    rows.iter().for_each(|(key, stored)| writer.put(key, stored).expect("in order"));
}

fn finish(writer: StagedWriter, rows: &[(Vec<u8>, Vec<u8>)]) -> Staged {
    let (count, crc) = sum(rows);
    writer.finish(count, crc).expect("all rows are there")
}

fn stage(staging: &Staging, rows: &[(Vec<u8>, Vec<u8>)]) -> Staged {
    let mut writer = begin(staging);
    writer.divide_at(0);
    put_all(&mut writer, rows);
    finish(writer, rows)
}

fn find(staging: &Staging) -> Result<Option<SnapshotHead>> {
    let found = staging.find(RegionId(7), state(60))?;
    Ok(found.map(|staged| staged.head().clone()))
}

#[test]
fn it_goes_on_behind_any_row_with_which_a_file_was_complete() {
    let rows = some_rows(9);
    for cut in 0..=rows.len() {
        let place = Place::new();
        let staging = place.staging();
        let mut writer = begin(&staging);
        writer.divide_at(0);
        put_all(&mut writer, &rows[..cut]);
        drop(writer);

        let mut writer = begin(&staging);
        let (count, crc) = sum(&rows[..cut]);
        let after = rows[..cut].last().map(|(key, _)| key.clone());
        assert_eq!(writer.resume(), Resume { after, rows: count, crc });
        put_all(&mut writer, &rows[cut..]);
        let staged = finish(writer, &rows);

        assert_eq!(staged.head(), &head(60));
        assert_eq!(staged.contents.files.len(), cut + usize::from(cut < rows.len()));
        assert_eq!(find(&staging).expect("it is whole"), Some(head(60)));
    }
}

#[test]
fn rows_of_a_file_that_was_not_complete_are_sent_again() {
    let (place, rows) = (Place::new(), some_rows(9));
    let staging = place.staging();
    let mut writer = begin(&staging);
    writer.divide_at(0);
    put_all(&mut writer, &rows[..3]);
    writer.divide_at(1 << 20);
    put_all(&mut writer, &rows[3..8]);
    drop(writer);

    let mut writer = begin(&staging);

    let (count, crc) = sum(&rows[..3]);
    assert_eq!(writer.resume(), Resume { after: Some(rows[2].0.clone()), rows: count, crc });
    put_all(&mut writer, &rows[3..]);
    assert_eq!(finish(writer, &rows).contents.files.len(), 4);
}

#[test]
fn another_source_another_region_record_and_damage_begin_anew() {
    let rows = some_rows(3);
    let damages: [fn(&Place); 4] = [
        |_| {},
        |place| fs::write(place.file("progress"), b"no record").expect("a healthy disk"),
        |place| fs::remove_file(place.file("1.rows")).expect("it was complete"),
        |place| fs::write(place.file("2.rows"), b"short").expect("a healthy disk"),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let place = Place::new();
        let staging = place.staging();
        let mut writer = begin(&staging);
        writer.divide_at(0);
        put_all(&mut writer, &rows);
        drop(writer);

        damage(&place);
        let source = if number == 0 { [2, 77, 2] } else { SOURCE };
        let mut writer = staging.begin(&head(60), source, 0).expect("a healthy disk");

        assert_eq!(writer.resume(), Resume::default(), "damage {number}");
        assert!(!place.file("0.rows").exists());
        put_all(&mut writer, &rows);
        finish(writer, &rows);
    }
}

#[test]
fn a_row_that_cannot_be_the_next_one_is_refused() {
    let stored = &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..];
    let flagged = &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..];
    let wrong = [(b"m5", stored), (b"m4", stored), (b"l9", stored), (b"n\0", stored), (b"m6", flagged)];
    for (key, stored) in wrong {
        let place = Place::new();
        let mut writer = begin(&place.staging());
        writer.put(b"m5", &[0; 9]).expect("the first");

        let error = writer.put(key, stored).expect_err("it is wrong");

        assert_eq!(error.code(), Code::Corruption, "{key:?}");
    }
    let place = Place::new();
    let mut writer = begin(&place.staging());
    assert_eq!(writer.put(b"n", stored).expect_err("the first behind the range").code(), Code::Corruption);
    writer.put(b"m", stored).expect("the first of the range");
}

#[test]
fn nothing_is_kept_of_rows_that_are_not_those_that_were_sent() {
    let rows = some_rows(3);
    let (count, crc) = sum(&rows);
    for (count, crc) in [(count + 1, crc), (count - 1, crc), (count, crc ^ 1)] {
        let place = Place::new();
        let staging = place.staging();
        let mut writer = begin(&staging);
        writer.divide_at(0);
        put_all(&mut writer, &rows);

        let error = writer.finish(count, crc).expect_err("others were sent");

        assert_eq!(error.code(), Code::Corruption);
        assert_eq!(find(&staging).expect("a healthy disk"), None);
        assert_eq!(begin(&staging).resume(), Resume::default());
    }
}

#[test]
fn a_region_without_rows_is_staged_without_files() {
    let place = Place::new();
    let staging = place.staging();

    let staged = finish(begin(&staging), &[]);

    assert_eq!(staged.link_files().expect("a healthy disk"), Vec::<PathBuf>::new());
    assert_eq!(place.staging().complete().expect("it is whole"), [head(60)]);
}

#[test]
fn every_cut_and_every_changed_byte_of_a_manifest_is_damage() {
    let place = Place::new();
    let staging = place.staging();
    stage(&staging, &some_rows(2));
    let path = place.file(MANIFEST);
    let whole = fs::read(&path).expect("it is complete");

    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a healthy disk");
        let error = find(&staging).expect_err("it is damaged");
        assert_eq!(error.code(), Code::Corruption);
        assert!(error.detail().contains(&path.display().to_string()), "{error}");
        assert_eq!(staging.complete().expect_err("it is damaged").code(), Code::Corruption);
    };
    for at in 0..whole.len() {
        refused(&whole[..at]);
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        refused(&changed);
    }
    fs::write(&path, &whole).expect("a healthy disk");
    assert_eq!(find(&staging).expect("it is whole"), Some(head(60)));
}

#[test]
fn a_manifest_of_a_newer_version_is_told_from_a_damaged_one() {
    let place = Place::new();
    let staging = place.staging();
    stage(&staging, &some_rows(1));

    let directory = open(place.file("").as_path()).expect("it exists");
    let magic = *b"almisnap";
    let mut body =
        record::read(&directory, MANIFEST, magic).expect("it is whole").expect("it is complete").body;
    body[0] = 2;
    record::write(&directory, MANIFEST, magic, record::Format::Current, &body).expect("a healthy disk");

    assert_eq!(find(&staging).expect_err("it is newer").code(), Code::IncompatibleFormat);
}

#[test]
fn a_missing_or_cut_file_of_a_complete_one_is_damage_and_is_named() {
    let damages: [fn(&Path); 2] = [
        |path| fs::remove_file(path).expect("it was complete"),
        |path| fs::write(path, b"cut").expect("a healthy disk"),
    ];
    for damage in damages {
        let place = Place::new();
        let staging = place.staging();
        stage(&staging, &some_rows(3));

        damage(&place.file("1.rows"));
        let error = find(&staging).expect_err("it is damaged");

        assert_eq!((error.code(), error.path()), (Code::Corruption, Some(place.file("1.rows").as_path())));
    }
}

#[test]
fn after_a_start_only_what_is_complete_and_referred_to_is_kept() {
    let (place, rows) = (Place::new(), some_rows(2));
    let staging = place.staging();
    stage(&staging, &rows);
    for index in [61, 62] {
        let mut writer = staging.begin(&head(index), SOURCE, 0).expect("a healthy disk");
        put_all(&mut writer, &rows);
        if index == 61 {
            finish(writer, &rows);
        }
    }

    let staging = place.staging();
    staging.keep_only(&[(RegionId(7), state(60)), (RegionId(7), state(62))]).expect("a healthy disk");

    assert_eq!(staging.complete().expect("it is whole"), [head(60)]);
    let incoming = place.0.path().join(INCOMING);
    assert_eq!(fs::read_dir(&incoming).expect("it exists").count(), 1);
    staging.remove(RegionId(7), state(60)).expect("a healthy disk");
    staging.remove(RegionId(7), state(60)).expect("it is gone already");
    assert_eq!(fs::read_dir(&incoming).expect("it exists").count(), 0);
}

#[test]
fn what_was_interrupted_since_the_start_is_kept_until_the_region_is_sent_another() {
    let (place, rows) = (Place::new(), some_rows(2));
    let staging = place.staging();
    let mut writer = begin(&staging);
    writer.divide_at(0);
    put_all(&mut writer, &rows);
    drop(writer);

    staging.keep_only(&[]).expect("a healthy disk");
    let mut writer = begin(&staging);
    assert_eq!(writer.resume().rows, 2);
    writer.put(b"mz", &rows[0].1).expect("in order");
    drop(writer);
    drop(staging.begin(&head(61), SOURCE, 0).expect("a healthy disk"));

    assert!(!place.file("").exists());
    assert_eq!(begin(&staging).resume(), Resume::default());
}

#[test]
fn two_do_not_write_to_one_place_and_a_complete_one_is_not_replaced() {
    let (place, rows) = (Place::new(), some_rows(2));
    let staging = place.staging();
    let writer = begin(&staging);
    let again = staging.begin(&head(60), SOURCE, 0).err().expect("it is being written");
    drop(writer);

    stage(&staging, &rows);
    let replaced = staging.begin(&head(60), [9, 9, 9], 0).err().expect("it is complete");

    assert_eq!((again.code(), replaced.code()), (Code::Overloaded, Code::Overloaded));
    assert_eq!(find(&staging).expect("it is whole"), Some(head(60)));
}

#[test]
fn other_names_in_the_directory_are_let_alone() {
    let place = Place::new();
    let staging = place.staging();
    let names = ["7-60", "07-60-6", "7-60-6-1", "-7-60-6", "lost+found"];
    for name in names {
        fs::create_dir(place.0.path().join(INCOMING).join(name)).expect("a new place");
    }

    staging.keep_only(&[]).expect("a healthy disk");

    assert_eq!(fs::read_dir(place.0.path().join(INCOMING)).expect("it exists").count(), names.len());
    assert_eq!(staging.complete().expect("there is none"), []);
}
