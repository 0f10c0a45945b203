//! SipHash-2-4 with 128 bits, as its authors published it.
//!
//! Owns the computation, for bytes that come in pieces. What always holds: how they are cut into pieces does not matter.

/// What was hashed so far.
#[derive(Clone, Debug)]
pub(crate) struct SipHash {
    state: [u64; 4],
    /// The bytes that do not fill a word yet, the first one lowest.
    tail: u64,
    /// Bytes so far.
    length: u64,
}

impl Default for SipHash {
    fn default() -> Self {
        Self::keyed([0, 0])
    }
}

impl SipHash {
    /// Nothing yet, under a key.
    fn keyed(key: [u64; 2]) -> Self {
        let state = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        Self { state, tail: 0, length: 0 }
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = (self.length % 8) as usize;
            let (head, rest) = bytes.split_at(bytes.len().min(8 - at));
            let mut word = [0; 8];
            word[at..at + head.len()].copy_from_slice(head);
            self.tail |= u64::from_le_bytes(word);
            self.length += head.len() as u64;
            if self.length.is_multiple_of(8) {
                self.take(self.tail);
                self.tail = 0;
            }
            bytes = rest;
        }
    }

    /// The hash of the bytes so far.
    #[must_use]
    pub(crate) fn finish(&self) -> [u8; 16] {
        let mut last = self.clone();
        last.take(self.tail | self.length << 56);
        last.state[2] ^= 0xee;
        (0..4).for_each(|_| last.round());
        let low = last.word();
        last.state[1] ^= 0xdd;
        (0..4).for_each(|_| last.round());
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&low.to_le_bytes());
        hash[8..].copy_from_slice(&last.word().to_le_bytes());
        hash
    }

    fn take(&mut self, word: u64) {
        self.state[3] ^= word;
        self.round();
        self.round();
        self.state[0] ^= word;
    }

    fn word(&self) -> u64 {
        self.state.iter().fold(0, |sum, word| sum ^ word)
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.state;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.state = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under the key 00 01 ... 0f, of the bytes 00 01 ... of these lengths: from the authors' reference, and the same
    /// as OpenSSL's.
    const VECTORS: [(u8, &str); 5] = [
        (0, "a3817f04ba25a8e66df67214c7550293"),
        (1, "da87c1d86b99af44347659119b22fc45"),
        (8, "3b62a9ba6258f5610f83e264f31497b4"),
        (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
        (63, "5150d1772f50834a503e069a973fbd7c"),
    ];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn it_agrees_with_the_reference() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

        for (length, wanted) in VECTORS {
            let mut hash = SipHash::keyed(key);
            hash.write(&(0..length).collect::<Vec<_>>());
            assert_eq!(hex(&hash.finish()), wanted, "{length} bytes");
        }
    }

    #[test]
    fn how_the_bytes_are_cut_does_not_matter() {
        let bytes: Vec<u8> = (0..40).collect();
        let mut whole = SipHash::default();
        whole.write(&bytes);

        for piece in 1..=bytes.len() {
            let mut hash = SipHash::default();
            bytes.chunks(piece).for_each(|chunk| hash.write(chunk));
            assert_eq!(hash.finish(), whole.finish(), "pieces of {piece}");
        }
    }
}
