//! Numbers and byte strings as they cross the network.
//!
//! Owns the variable-length number and the [`Cursor`] that reads untrusted bytes. What always holds: every
//! value has exactly one encoding, so whatever decodes encodes back to the same bytes; nothing is read past
//! the end; no length is trusted before the bytes after it are there. What the numbers mean is left to
//! [`codec`](super::codec).

use bytes::Bytes;

/// Data of this size and above stays in the received buffer.
pub(super) const SHARED_BYTES_MIN: usize = 32 << 10;

/// Why bytes are not a message, or a message cannot cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// The bytes end inside a value.
    #[error("the message ends inside a value")]
    Truncated,
    /// There are bytes after the message.
    #[error("there are bytes after the message")]
    TrailingBytes,
    /// A number is not in its shortest form, or has more than 64 bits.
    #[error("a number is not in its shortest form")]
    Number,
    /// This message type does not exist.
    #[error("unknown message type {0}")]
    MessageType(u8),
    /// This entry type does not exist.
    #[error("unknown entry type {0}")]
    EntryType(u8),
    /// A flag is set that this version does not know.
    #[error("unknown flag")]
    Flag,
    /// A field is present whose value says that it is to be left out.
    #[error("a field is present that should have been left out")]
    Redundant,
    /// More than [`ENTRIES_MAX`](super::codec::ENTRIES_MAX) entries, or more than the bytes can hold.
    #[error("too many entries")]
    TooManyEntries,
    /// More than [`MESSAGES_MAX`](super::codec::MESSAGES_MAX) messages.
    #[error("too many messages")]
    TooManyMessages,
    /// Heartbeats name a region twice, or not in the order of their numbers.
    #[error("heartbeats of regions that do not rise")]
    Regions,
    /// Heartbeats travel together and never as messages of raft.
    #[error("a heartbeat does not travel as a message of raft")]
    Heartbeat,
    /// This outcome does not exist.
    #[error("unknown outcome {0}")]
    Outcome(u64),
    /// A write's place that no log and no entry has.
    #[error("a place that no write has")]
    Version,
    /// It tells of something that the version of the connection has no word for.
    #[error("the other member does not know what it tells of")]
    Newer,
    /// A raft snapshot has its own connection and never travels here.
    #[error("a raft snapshot does not travel as a message")]
    Snapshot,
}

/// Bytes of the longest number: 64 bits in groups of seven.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`, seven bits in each byte, the lowest first; the top bit says that more follow.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a byte string after its length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads one range of a received buffer from front to back.
pub(super) struct Cursor<'a> {
    buffer: &'a Bytes,
    at: usize,
    /// Invariant: `at <= end <= buffer.len()`.
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Reads all of `buffer`.
    pub(super) fn new(buffer: &'a Bytes) -> Self {
        Self { buffer, at: 0, end: buffer.len() }
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Splits off the next `len` bytes as a cursor of their own.
    pub(super) fn take(&mut self, len: usize) -> Result<Self, CodecError> {
        let at = self.advance(len)?;
        Ok(Self { buffer: self.buffer, at, end: self.at })
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        let at = self.advance(1)?;
        Ok(self.buffer[at])
    }

    /// The next two bytes, little-endian.
    pub(super) fn u16(&mut self) -> Result<u16, CodecError> {
        Ok(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// The next four bytes, little-endian.
    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes([self.byte()?, self.byte()?, self.byte()?, self.byte()?]))
    }

    /// The next eight bytes, little-endian.
    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// As many bytes as the array has.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let at = self.advance(N)?;
        Ok(self.buffer[at..self.at].try_into().expect("so many bytes"))
    }

    /// The next variable-length number, which must be in its shortest form.
    pub(super) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for group in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            // The tenth byte has room for one bit only.
            if group == VARINT_BYTES_MAX - 1 && byte > 1 {
                return Err(CodecError::Number);
            }
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                let is_shortest = byte != 0 || group == 0;
                return if is_shortest { Ok(value) } else { Err(CodecError::Number) };
            }
        }
        Err(CodecError::Number)
    }

    /// The next byte string: a slice of the received buffer, not a copy.
    pub(super) fn bytes(&mut self) -> Result<Bytes, CodecError> {
        let len = usize::try_from(self.varint()?).map_err(|_| CodecError::Truncated)?;
        let at = self.advance(len)?;
        Ok(self.buffer.slice(at..self.at))
    }

    /// The next byte string whose length is a fixed number (u32).
    pub(super) fn prefixed(&mut self) -> Result<Bytes, CodecError> {
        let len = self.u32()? as usize;
        let at = self.advance(len)?;
        Ok(self.buffer.slice(at..self.at))
    }

    /// Fails unless everything was read.
    pub(super) fn finish(&self) -> Result<(), CodecError> {
        if self.remaining() == 0 { Ok(()) } else { Err(CodecError::TrailingBytes) }
    }

    /// Moves past `len` bytes and returns where they begin.
    fn advance(&mut self, len: usize) -> Result<usize, CodecError> {
        if len > self.remaining() {
            return Err(CodecError::Truncated);
        }
        let at = self.at;
        self.at += len;
        Ok(at)
    }
}

/// A count of things that take at least `bytes_min` each, of which a batch may hold `entries_left` more.
pub(super) fn read_count(
    cursor: &mut Cursor<'_>,
    bytes_min: usize,
    entries_left: &mut usize,
) -> Result<usize, CodecError> {
    let count = usize::try_from(cursor.varint()?).map_err(|_| CodecError::TooManyEntries)?;
    if count > cursor.remaining() / bytes_min {
        return Err(CodecError::TooManyEntries);
    }
    *entries_left = entries_left.checked_sub(count).ok_or(CodecError::TooManyEntries)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<u64, CodecError> {
        let buffer = Bytes::copy_from_slice(bytes);
        let mut cursor = Cursor::new(&buffer);
        let value = cursor.varint()?;
        cursor.finish()?;
        Ok(value)
    }

    #[test]
    fn numbers_of_every_length_come_back() {
        for bits in 0..64 {
            for value in [1_u64 << bits, (1_u64 << bits) - 1, u64::MAX >> bits] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(read(&out), Ok(value));
            }
        }
    }

    #[test]
    fn overlong_and_oversized_numbers_are_refused() {
        assert_eq!(read(&[0x80, 0x00]), Err(CodecError::Number), "zero in two bytes");
        assert_eq!(read(&[0xff, 0x80, 0x00]), Err(CodecError::Number), "127 in three bytes");
        assert_eq!(read(&[0xff; 10]), Err(CodecError::Number), "more than 64 bits");
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]), Err(CodecError::Number));
    }

    #[test]
    fn a_byte_string_longer_than_the_input_is_refused() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        let buffer = Bytes::from(out);

        assert_eq!(Cursor::new(&buffer).bytes(), Err(CodecError::Truncated));
    }
}
