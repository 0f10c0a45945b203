//! What stands behind the user's bytes of a stored value.
//!
//! Owns its form. What always holds: it ends the value and is read from its end, so that a reader cuts a slice and copies
//! nothing; a value without it, or with one of a later version, is never taken for the user's bytes.
//!
//! ```text
//! user's bytes | version u64 | flags u8 = 0      (little-endian)
//! ```
//! The version is [`Version::UNKNOWN`] where nobody knows it any more: of values that a build without versions stored.
//! A flag will tell of more between the user's bytes and the version.

use crate::types::Version;

/// Bytes behind the user's.
pub(super) const TRAILER_BYTES: usize = 9;

/// What stands behind a value of this version.
#[inline]
pub(super) fn of(version: Version) -> [u8; TRAILER_BYTES] {
    assert!(version != Version::NONE, "what is stored was written");
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..8].copy_from_slice(&version.get().to_le_bytes());
    trailer
}

/// The stored form of `value`, in `buffer`.
pub(super) fn seal<'a>(value: &[u8], version: Version, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    buffer.reserve(value.len() + TRAILER_BYTES);
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(&of(version));
    buffer
}

/// The user's bytes of a stored value, and its version; none when it is not what this library writes.
#[inline]
pub(super) fn split(stored: &[u8]) -> Option<(&[u8], Version)> {
    let (value, trailer) = stored.split_last_chunk::<TRAILER_BYTES>()?;
    let [version @ .., flags] = trailer;
    (*flags == 0).then(|| (value, Version(u64::from_le_bytes(*version))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogIndex;

    #[test]
    fn what_was_stored_comes_back() {
        let version = Version::of(LogIndex(77), 3);
        let mut buffer = b"of the value before".to_vec();

        for value in [&b""[..], b"value", &[0; 9]] {
            for version in [version, Version::UNKNOWN] {
                assert_eq!(split(seal(value, version, &mut buffer)), Some((value, version)));
            }
        }
    }

    #[test]
    fn anything_else_is_recognized() {
        let mut buffer = Vec::new();
        let stored = seal(b"value", Version::of(LogIndex(6), 0), &mut buffer).to_vec();
        let flagged = [&stored[..stored.len() - 1], &[1]].concat();

        assert_eq!(split(&flagged), None);
        assert_eq!(split(&stored[..TRAILER_BYTES - 1]), None);
    }
}
