//! Frames: the unit of atomicity and durability.
//!
//! Owns the 16 bytes in front of a frame's body and the answer to one question: do these bytes start with a
//! frame that was written here, in this life of this segment?
//!
//! ```text
//! crc u32 | body length u32 | counter u64 xor salt | body                    (little-endian)
//! crc = crc32c(segment number, segment salt, everything after the crc)
//! ```
//! What always holds: a frame is a multiple of 8 bytes long, padding included in the body and the checksum,
//! and its counter is one more than that of the frame before it, also across segments. Number and salt
//! make the stale bytes of a recycled segment invalid. The salt is drawn at random for each segment, so
//! nobody can store a value that looks like a frame. The contents of a body are left to [`super::items`].

/// Bytes in front of a body.
pub(super) const HEADER_BYTES: usize = 16;
/// Every frame starts and ends at a multiple of this.
pub(super) const ALIGNMENT_BYTES: usize = 8;
/// The longest frame that is ever written. Offsets in segments have 32 bits; this leaves room for the rest.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 30;

const CHECKED_FROM: usize = 4;

/// Distinguishes the frames of one life of one segment from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    seed: u32,
    salt: u64,
}

/// A frame that passed its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Its number in the sequence of all frames of the log; the first is 1.
    pub counter: u64,
    /// Items and padding.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Length on disk, header included.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

impl Seal {
    /// The seal of segment `number` in the life that `salt` was drawn for.
    pub(super) fn new(number: u64, salt: u64) -> Self {
        let seed = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &salt.to_le_bytes());
        Self { seed, salt }
    }

    /// Fills in the header of `frame`, whose first [`HEADER_BYTES`] are reserved for it.
    pub(super) fn close(self, frame: &mut [u8], counter: u64) {
        assert!(frame.len().is_multiple_of(ALIGNMENT_BYTES), "a frame is padded before it is sealed");
        assert!(frame.len() <= FRAME_BYTES_MAX, "the writer refuses longer frames");
        let body_bytes = u32::try_from(frame.len() - HEADER_BYTES).expect("FRAME_BYTES_MAX fits in 32 bits");
        frame[4..8].copy_from_slice(&body_bytes.to_le_bytes());
        frame[8..16].copy_from_slice(&(counter ^ self.salt).to_le_bytes());
        let crc = crc32c::crc32c_append(self.seed, &frame[CHECKED_FROM..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The frame that `bytes` start with, if it is complete and valid.
    pub(super) fn open(self, bytes: &[u8]) -> Option<Frame<'_>> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let end = claimed_bytes(header)?;
        let frame = bytes.get(..end)?;
        let crc = u32::from_le_bytes(*header.first_chunk().expect("a header has 16 bytes"));
        let valid = crc == crc32c::crc32c_append(self.seed, &frame[CHECKED_FROM..]);
        valid.then(|| Frame { counter: self.claimed_counter(header), body: &frame[HEADER_BYTES..] })
    }

    /// The counter that a header claims.
    pub(super) fn claimed_counter(self, header: &[u8; HEADER_BYTES]) -> u64 {
        u64::from_le_bytes(*header.last_chunk().expect("a header has 16 bytes")) ^ self.salt
    }
}

/// The frame length that a header claims, if it is possible.
pub(super) fn claimed_bytes(header: &[u8; HEADER_BYTES]) -> Option<usize> {
    let claimed = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let bytes = usize::try_from(claimed).ok()?.checked_add(HEADER_BYTES)?;
    (bytes.is_multiple_of(ALIGNMENT_BYTES) && bytes <= FRAME_BYTES_MAX).then_some(bytes)
}

/// Clears `buffer` and reserves room for a header.
pub(super) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER_BYTES, 0);
}

/// Pads `buffer` to the alignment with zeros, which no item starts with.
pub(super) fn pad(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT_BYTES), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seal: Seal, counter: u64, body: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        begin(&mut buffer);
        buffer.extend_from_slice(body);
        pad(&mut buffer);
        seal.close(&mut buffer, counter);
        buffer
    }

    #[test]
    fn a_sealed_frame_opens_with_its_counter_and_padded_body() {
        let seal = Seal::new(7, 99);
        let mut bytes = frame(seal, 42, b"hello");
        bytes.extend_from_slice(b"stale");

        let opened = seal.open(&bytes).unwrap();

        assert_eq!((opened.counter, opened.body, opened.bytes()), (42, b"hello\0\0\0".as_slice(), 24));
    }

    #[test]
    fn every_single_bit_matters() {
        let seal = Seal::new(7, 99);
        let bytes = frame(seal, 42, b"hello, frame");

        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_invalid() {
        let seal = Seal::new(7, 99);
        let bytes = frame(seal, 42, b"hello, frame");

        for length in 0..bytes.len() {
            assert_eq!(seal.open(&bytes[..length]), None);
        }
    }

    #[test]
    fn a_frame_of_another_segment_or_another_life_is_invalid() {
        let bytes = frame(Seal::new(7, 99), 42, b"hello");

        assert_eq!(Seal::new(8, 99).open(&bytes), None);
        assert_eq!(Seal::new(7, 98).open(&bytes), None);
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Seal::new(1, 0).open(&[0; 64]), None);
    }
}
