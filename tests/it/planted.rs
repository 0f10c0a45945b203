//! Nothing of a planted fault is in what users get.

use std::fs;
use std::path::Path;

use crate::native::shared_library;

#[test]
fn the_library_has_the_name_of_no_fault() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core/planted.rs");
    let list = fs::read_to_string(list).expect("readable");
    let (_, list) = list.split_once("\nfaults! {\n").expect("the list is there");
    let (list, _) = list.split_once("\n}\n").expect("the list ends");
    let lines = list.lines().map(str::trim).filter(|line| !line.starts_with("///"));
    let names: Vec<_> = lines.filter_map(|line| line.strip_suffix(',')).collect();
    assert!(names.len() > 40 && names.contains(&"LostEndIgnored"), "the list is understood: {names:?}");
    let library = fs::read(shared_library()).expect("readable");
    let contains = |text: &str| library.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains("FAILED_IN_FLIGHT"), "what the library says is found in it");

    let found: Vec<_> = names.into_iter().filter(|name| contains(name)).collect();

    assert!(found.is_empty(), "{found:?}");
}
