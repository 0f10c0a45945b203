//! Keys, values, and the disk they are stored on.
//!
//! Owns the 16-byte keys in random order and the 100-byte values. What always holds: a key determines its value, so
//! that every read can be checked; values do not compress, so that all their bytes reach the disk.

use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

/// A key.
pub type Key = [u8; 16];

/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;

/// The number of keys that a store is filled with.
pub const FILLED_KEYS: u64 = 100_000;

const POOL_BYTES: usize = 1 << 16;

/// A bijection that looks random.
pub fn scattered(number: u64) -> Key {
    (u128::from(mixed(number)) << 64 | u128::from(number)).to_be_bytes()
}

/// One of the keys that a store was filled with, in an order unrelated to theirs.
pub fn filled_key(seed: &Key) -> Key {
    key_among(seed, FILLED_KEYS)
}

/// One of the first so many keys, in an order unrelated to theirs.
pub fn key_among(seed: &Key, count: u64) -> Key {
    let seed = u64::from_be_bytes(*seed.first_chunk().expect("a key is longer"));
    scattered(mixed(seed) % count)
}

/// The value of a key.
pub fn value(key: &Key) -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    let pool = POOL.get_or_init(|| (0..POOL_BYTES as u64 / 8).flat_map(|n| mixed(n).to_be_bytes()).collect());
    let at = usize::from(u16::from_be_bytes([key[2], key[3]])) % (POOL_BYTES - VALUE_BYTES);
    &pool[at..at + VALUE_BYTES]
}

/// Checks what was read for a key. A wrong value ends the process: a store that loses writes is not measured again. It
/// exits, because a panic would end no more than the callback or thread that reads.
pub fn check(key: &Key, read: Option<impl AsRef<[u8]>>) {
    let read = read.as_ref().map(AsRef::as_ref);
    if read != Some(value(key)) {
        eprintln!("key {key:02x?} was read as {read:02x?}");
        std::process::exit(1);
    }
}

/// The directory on the measured disk: `ALMADIA_BENCH_DIR`, or the build directory.
pub fn disk() -> PathBuf {
    std::env::var_os("ALMADIA_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

/// A new directory on that disk, removed when the returned value is dropped.
pub fn directory() -> TempDir {
    TempDir::with_prefix_in("store-bench-", disk()).expect("the disk is writable")
}

fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
