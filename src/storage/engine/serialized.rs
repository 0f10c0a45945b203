//! A batch of changes of the user's data in the form in which RocksDB keeps a write batch.
//!
//! Owns the bytes of that form, which RocksDB documents and reads back from any of its logs. What always holds: what comes
//! out is, byte for byte, what the binding makes of the same changes and of values with their trailers; a test compares
//! them. Made here, a put costs a third of the binding's call, and its value and trailer need not stand beside each other
//! first. What goes into other column families than that of the data is the binding's.
//!
//! ```text
//! sequence number u64 = 0 | changes u32 | changes x ( tag u8 | varint length, key | varint length, value )
//! tags: 0 deletion, without a value; 1 put; 15 deletion of a range, whose end stands for the value
//! ```

use rocksdb::WriteBatch;

use super::trailer::{self, TRAILER_BYTES};
use crate::types::Version;

const HEADER_BYTES: usize = 12;
/// Where the number of changes is.
const COUNT: usize = 8;
const DELETION: u8 = 0;
const PUT: u8 = 1;
const RANGE_DELETION: u8 = 15;

/// See the module.
pub(super) struct SerializedBatch {
    bytes: Vec<u8>,
    count: u32,
}

impl SerializedBatch {
    /// Nothing yet, and room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        Self { bytes: buffer, count: 0 }
    }

    /// Sets `key` to `value`, which has this version.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8], version: Version) {
        self.change(PUT, key);
        self.length(value.len() + TRAILER_BYTES);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&trailer::of(version));
    }

    /// Removes `key`.
    pub(super) fn delete(&mut self, key: &[u8]) {
        self.change(DELETION, key);
    }

    /// Removes every key in `begin..end`.
    pub(super) fn delete_range(&mut self, begin: &[u8], end: &[u8]) {
        self.change(RANGE_DELETION, begin);
        self.length(end.len());
        self.bytes.extend_from_slice(end);
    }

    /// These changes, and behind them those of `rest`.
    pub(super) fn followed_by(mut self, rest: &WriteBatch) -> WriteBatch {
        let rest_count = u32::try_from(rest.len()).expect("RocksDB counts so far");
        let count = self.count.checked_add(rest_count).expect("memory ends before");
        self.bytes.extend_from_slice(&rest.data()[HEADER_BYTES..]);
        self.bytes[COUNT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        WriteBatch::from_data(&self.bytes)
    }

    fn change(&mut self, tag: u8, key: &[u8]) {
        self.count += 1;
        self.bytes.push(tag);
        self.length(key.len());
        self.bytes.extend_from_slice(key);
    }

    fn length(&mut self, length: usize) {
        let mut rest = u32::try_from(length).expect("a key or value is no longer than its batch");
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80); // Truncation is the point: the low seven bits.
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogIndex;

    #[test]
    fn the_bytes_are_those_of_the_binding() {
        let version = Version::of(LogIndex(77), 3);
        let texts = [0, 1, 100, 127 - TRAILER_BYTES, 127, 128, 300, 70_000].map(|length| vec![7; length]);
        let (mut ours, mut theirs) = (SerializedBatch::with_capacity(0), WriteBatch::default());
        for [one, other] in texts.iter().flat_map(|one| texts.each_ref().map(|other| [one, other])) {
            ours.put(one, other, version);
            theirs.put(one, trailer::seal(other, version, &mut Vec::new()));
            ours.delete(one);
            theirs.delete(one);
            ours.delete_range(one, other);
            theirs.delete_range(&one[..], &other[..]);
        }
        let mut rest = WriteBatch::default();
        rest.put(b"rest", b"value");
        theirs.put(b"rest", b"value");

        let ours = ours.followed_by(&rest);

        assert_eq!(ours.len(), 3 * 64 + 1);
        assert!(ours.data() == theirs.data(), "they differ");
        let nothing = SerializedBatch::with_capacity(10).followed_by(&WriteBatch::default());
        assert_eq!(nothing.data(), WriteBatch::default().data());
    }
}
