//! Numbers that stand for sets.
//!
//! Owns the fingerprint by which the search remembers where it failed. What always holds: the same set has the same
//! number, in whatever order it was built, in every run.

/// A number that stands for one thing being so; a set of such things is known by the exclusive or of theirs. At 128
/// bits two different sets do not meet in practice.
pub fn fingerprint_of(aspect: usize, value: usize) -> u128 {
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
