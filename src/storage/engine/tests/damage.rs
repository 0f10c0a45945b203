//! Damaged files are reported, never read as if they were intact.

use std::fs;

use super::{Place, applied, file_names, get, put, state, unguarded, write};
use crate::error::{Code, Result};
use crate::storage::engine::{Engine, EngineOptions, IterOptions};

/// A closed engine with 100 keys in tables.
fn used() -> Place {
    let place = Place::new();
    let engine = place.engine();
    for index in 6..106 {
        write(&engine, index, &[put(&index.to_be_bytes(), &[index as u8; 100])]);
    }
    engine.flush().expect("a healthy disk");
    drop(engine);
    place
}

/// Everything the engine holds, or the first error on the way.
fn read_all(place: &Place) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let engine = place.open()?;
    let (_, applied) = engine.regions()?[0];
    assert_eq!(applied, state(105));
    let mut iter = engine.view().iter(IterOptions::default());
    let mut read = Vec::new();
    iter.seek_to_first();
    while let Some((key, value)) = iter.item() {
        read.push((key.to_vec(), value.to_vec()));
        iter.next();
    }
    iter.status()?;
    Ok(read)
}

fn named(place: &Place, part: &str) -> Vec<String> {
    file_names(&place.0).into_iter().filter(|name| name.contains(part)).collect()
}

#[test]
fn a_changed_byte_is_detected_or_harmless() {
    let place = used();
    let whole = read_all(&place).expect("a healthy disk");
    let files = [named(&place, ".sst"), named(&place, "MANIFEST"), named(&place, "CURRENT")].concat();
    let mut found = 0;
    for name in files {
        let bytes = fs::read(place.0.join(&name)).expect("it exists");
        for at in (0..bytes.len()).step_by(bytes.len() / 8 + 1) {
            let image = place.crash_image();
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            fs::write(image.0.join(&name), changed).expect("a healthy disk");
            match read_all(&image) {
                Ok(read) => assert_eq!(read, whole, "{name} at {at}"),
                Err(error) => {
                    assert_eq!(error.code(), Code::Corruption, "{name} at {at}: {error}");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 10, "most bytes matter");
}

#[test]
fn a_missing_file_is_damage() {
    let place = used();
    for part in [".sst", "MANIFEST", "CURRENT"] {
        for name in named(&place, part) {
            let image = place.crash_image();
            fs::remove_file(image.0.join(&name)).expect("it exists");

            let error = read_all(&image).expect_err("it is needed");

            assert_eq!(error.code(), Code::Corruption, "{name}: {error}");
            assert!(error.detail().contains(&image.0.display().to_string()), "{name}: {error}");
        }
    }
}

#[test]
fn a_missing_database_is_damage_and_none_is_created() {
    let place = Place::new();

    let error = place.open().expect_err("there is none");

    assert_eq!(error.code(), Code::Corruption, "{error}");
    assert!(named(&place, "CURRENT").is_empty());
}

#[test]
fn a_database_is_not_created_over_another() {
    let place = used();

    let made = Engine::create(&place.0, &EngineOptions::default(), unguarded());

    assert!(made.expect_err("there is one").detail().contains("exists"));
    let engine = place.open().expect("it is untouched");
    assert_eq!(applied(&engine), state(105));
    assert_eq!(get(&engine, &6u64.to_be_bytes()), Some(vec![6; 100]));
}
