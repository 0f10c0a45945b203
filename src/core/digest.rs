//! What a range looked like, in a few bytes.
//!
//! Owns [`RangeDigest`] and how it is computed from the keys of a range and their versions. What always holds: the same
//! keys with the same versions have the same digest in every build, on every machine, for ever, for digests are in the
//! log; and no digest says more than that, so what was written over and back differs.
//!
//! ```text
//! digest  SipHash-2-4 of 128 bits under the key 0, over every key in its order: length u32 | key | version u64
//! ```
//! Numbers are little-endian. The hash keeps accidents apart. Who chooses keys to that end may find two ranges with one
//! digest, and can fool only transactions over keys that he may write.

pub(crate) mod siphash;

use crate::core::digest::siphash::SipHash;
use crate::types::Version;

/// What a range looked like when it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeDigest {
    /// Of its keys and their versions.
    pub digest: [u8; 16],
    /// How many keys there were.
    pub keys: u64,
    /// Bytes of the keys and values together.
    pub bytes: u64,
}

impl RangeDigest {
    /// Size of the encoding.
    pub const ENCODED_BYTES: usize = 32;

    /// The form in which it stands in a command.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ENCODED_BYTES] {
        let mut encoded = [0; Self::ENCODED_BYTES];
        encoded[..16].copy_from_slice(&self.digest);
        encoded[16..24].copy_from_slice(&self.keys.to_le_bytes());
        encoded[24..].copy_from_slice(&self.bytes.to_le_bytes());
        encoded
    }

    /// Reads that form.
    #[must_use]
    pub fn decode(encoded: &[u8; Self::ENCODED_BYTES]) -> Self {
        let [digest, numbers] = [&encoded[..16], &encoded[16..]];
        let [keys, bytes] = [&numbers[..8], &numbers[8..]];
        Self {
            digest: digest.try_into().expect("sixteen bytes"),
            keys: u64::from_le_bytes(keys.try_into().expect("eight bytes")),
            bytes: u64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    }
}

/// Computes the digest of a range from its keys in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digester {
    hash: SipHash,
    keys: u64,
    bytes: u64,
    #[cfg(any(test, feature = "simulation"))]
    last: Option<Vec<u8>>,
}

impl Digester {
    /// Adds the next key.
    pub(crate) fn add(&mut self, key: &[u8], value_bytes: usize, version: Version) {
        #[cfg(any(test, feature = "simulation"))]
        {
            assert!(self.last.as_deref().is_none_or(|last| last < key), "keys come in their order");
            self.last = Some(key.to_vec());
        }
        assert!(version != Version::NONE, "what is there has a version");
        let length = u32::try_from(key.len()).expect("keys are small");
        self.hash.write(&length.to_le_bytes());
        self.hash.write(key);
        self.hash.write(&version.get().to_le_bytes());
        self.keys += 1;
        self.bytes += (key.len() + value_bytes) as u64;
    }

    /// True when what was added is more than `seen`, and so will not be the same.
    #[must_use]
    pub(crate) fn is_beyond(&self, seen: &RangeDigest) -> bool {
        self.keys > seen.keys || self.bytes > seen.bytes
    }

    /// The digest of what was added.
    #[must_use]
    pub(crate) fn finish(&self) -> RangeDigest {
        RangeDigest { digest: self.hash.finish(), keys: self.keys, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, u64)]) -> RangeDigest {
        let mut digester = Digester::default();
        pairs.iter().for_each(|(key, version)| digester.add(key.as_bytes(), 3, Version(*version)));
        digester.finish()
    }

    #[test]
    fn an_insert_an_update_and_a_delete_change_the_digest() {
        let before = of(&[("a", 1), ("c", 2)]);

        assert_eq!(before, of(&[("a", 1), ("c", 2)]));
        assert_eq!((before.keys, before.bytes), (2, 8));
        for after in [&[("a", 1), ("b", 3), ("c", 2)][..], &[("a", 1), ("c", 3)], &[("a", 1)], &[]] {
            assert_ne!(of(after).digest, before.digest, "{after:?}");
        }
    }

    #[test]
    fn where_a_key_ends_is_part_of_the_digest() {
        // The bytes of the two keys in a row are the same, and so are those of the versions.
        assert_ne!(of(&[("a", 1), ("bc", 1)]).digest, of(&[("ab", 1), ("c", 1)]).digest);
    }

    #[test]
    fn digests_are_in_logs_and_never_change() {
        let digest = of(&[("apple", 1), ("pear", 7 << 16 | 3)]);

        assert_eq!(digest.digest, GOLDEN);
        assert_eq!(RangeDigest::default().keys, of(&[]).keys);
    }

    const GOLDEN: [u8; 16] =
        [0x09, 0x9c, 0x1e, 0x61, 0x4f, 0xd5, 0xf5, 0x76, 0xc6, 0x71, 0x5e, 0x70, 0x53, 0x40, 0x3e, 0x4b];

    #[test]
    fn the_encoding_comes_back() {
        let digest = RangeDigest { digest: *b"0123456789abcdef", keys: 1 << 40 | 7, bytes: u64::MAX - 5 };

        assert_eq!(RangeDigest::decode(&digest.encode()), digest);
        assert_eq!(digest.encode()[..19], *b"0123456789abcdef\x07\0\0");
    }
}
