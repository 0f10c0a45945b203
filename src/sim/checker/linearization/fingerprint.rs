//! Fingerprints of sets.
//!
//! Owns the hash by which the search recognizes a configuration it has visited (Zobrist hashing). What always holds:
//! equal sets have equal fingerprints, in whatever order they were built, in every run.

/// The fingerprint of one fact; that of a set is the exclusive or of its members'. At 128 bits different sets do not
/// collide in practice.
pub(crate) fn fingerprint_of(aspect: usize, value: usize) -> u128 {
    let seed = ((aspect as u64) << 40) ^ value as u64;
    let (high, low) = (scramble(seed), scramble(seed ^ 0x5555_5555_5555_5555));
    (u128::from(high) << 64) | u128::from(low)
}

/// The finalizer of splitmix64.
fn scramble(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
