//! The rows of a raft snapshot, on their way.
//!
//! Owns their form in a chunk of bytes, and the checksum over all of them. What always holds: a chunk has whole rows; the
//! checksum depends on the rows and their order, not on how chunks divide them. What is a value here is what engines
//! store. That rows are in order and belong to the region is left to those who stage them.
//!
//! ```text
//! a row:              varint key length | key | varint value length | value
//! what is summed up:  key length u32 | value length u32 | key | value      (little-endian)
//! ```

use crate::varint::{self, Reader};

/// Appends a row to `chunk`.
pub(crate) fn put(chunk: &mut Vec<u8>, key: &[u8], stored: &[u8]) {
    for part in [key, stored] {
        varint::put(chunk, part.len() as u64);
        chunk.extend_from_slice(part);
    }
}

/// Takes the first row off `chunk`, which is not empty; none when it is damaged.
pub(crate) fn take<'a>(chunk: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut reader = Reader::new(chunk);
    let length = reader.varint()?;
    let key = reader.take(length)?;
    let length = reader.varint()?;
    let stored = reader.take(length)?;
    *chunk = reader.rest();
    Some((key, stored))
}

/// The checksum of some rows and one more behind them, where `crc` is theirs; that of none is 0.
#[must_use]
pub(crate) fn checksum(crc: u32, key: &[u8], stored: &[u8]) -> u32 {
    let mut lengths = [0; 8];
    for (place, part) in lengths.chunks_exact_mut(4).zip([key, stored]) {
        let length = u32::try_from(part.len()).expect("keys and values are far smaller");
        place.copy_from_slice(&length.to_le_bytes());
    }
    [&lengths, key, stored].into_iter().fold(crc, crc32c::crc32c_append)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_round_trip_and_a_cut_one_is_refused() {
        let rows = [(&b""[..], &b"value"[..]), (b"key", b""), (b"longer", &[7; 300])];
        let mut chunk = Vec::new();
        rows.iter().for_each(|(key, stored)| put(&mut chunk, key, stored));

        let mut rest = chunk.as_slice();
        for row in rows {
            assert_eq!(take(&mut rest), Some(row));
        }
        assert!(rest.is_empty());
        let mut last = Vec::new();
        put(&mut last, rows[2].0, rows[2].1);
        assert!((0..last.len()).all(|length| take(&mut &last[..length]).is_none()));
    }

    #[test]
    fn the_checksum_tells_where_a_row_is_divided_and_in_which_order_they_are() {
        let of =
            |rows: &[(&[u8], &[u8])]| rows.iter().fold(0, |crc, (key, stored)| checksum(crc, key, stored));

        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[(b"key", b"value")]), crc32c::crc32c(b"\x03\0\0\0\x05\0\0\0keyvalue"));
        assert_ne!(of(&[(b"key", b"value")]), of(&[(b"keyv", b"alue")]));
        assert_ne!(of(&[(b"a", b""), (b"b", b"")]), of(&[(b"b", b""), (b"a", b"")]));
        assert_ne!(of(&[(b"", b"")]), of(&[(b"", b""), (b"", b"")]));
    }
}
