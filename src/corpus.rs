//! The committed inputs of the fuzz targets.
//!
//! Owns how tests read and replay them. What always holds: a target without inputs fails, and so does an input that
//! once found something; mutations follow from a fixed seed, so that a failure happens again, and its input is told.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::{fs, io::Write as _};

/// A target whose corpus is smaller was not fuzzed.
const INPUTS_MIN: usize = 5;
/// No committed input is longer.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Replays every committed input of `target` through its door, then `mutations` mutations of them.
pub(crate) fn replay(target: &str, mutations: usize, door: impl Fn(&[u8])) {
    let inputs = inputs(target);
    inputs.iter().for_each(|(name, input)| throw(&format!("fuzz/corpus/{target}/{name}"), input, &door));
    let mut draw = Draw(0x5eed);
    for number in 0..mutations {
        let mut input = inputs[draw.below(inputs.len())].1.clone();
        for _ in 0..=draw.below(5) {
            mutate(&mut input, &inputs, &mut draw);
        }
        input.truncate(INPUT_BYTES_MAX);
        throw(&format!("mutation {number} of {target}"), &input, &door);
    }
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("a corpus is committed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() >= INPUTS_MIN, "{} has inputs", directory.display());
    let name = |path: &PathBuf| path.file_name().expect("listed").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).expect("readable"))).collect()
}

/// Gives one input to the door; says which one it was before a panic goes on.
fn throw(name: &str, input: &[u8], door: &impl Fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| door(input))) {
        let _ = writeln!(std::io::stderr(), "{name} fails; its bytes are \"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

fn mutate(input: &mut Vec<u8>, inputs: &[(String, Vec<u8>)], draw: &mut Draw) {
    let at = draw.below(input.len() + 1);
    match draw.below(6) {
        0 if at < input.len() => input[at] ^= 1 << draw.below(8),
        1 if at < input.len() => input[at] = draw.byte(),
        2 => input.truncate(at),
        3 => input.insert(at, draw.byte()),
        4 => {
            let end = input.len().min(at + draw.below(64));
            input.extend_from_within(at..end);
        }
        _ => {
            let other = &inputs[draw.below(inputs.len())].1;
            let from = draw.below(other.len() + 1);
            let end = other.len().min(from + draw.below(64));
            input.splice(at..at, other[from..end].iter().copied());
        }
    }
}

/// A small pseudo-random generator (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}
