//! The layout of the engine's `meta` column family.
//!
//! Owns its keys, and the values that hold an apply state and how far a conversion has come. What always holds: keys sort by kind, then by region
//! id, so one scan over a kind finds every region in order; every value begins with its version. The stored
//! form of a region is [`Region`](crate::core::region::Region)'s own; user keys are in another column family.
//!
//! ```text
//! 'r' region id, big-endian u64  ->  Region::encode
//! 'i' region id, big-endian u64  ->  version u8 = 1 | index u64 | term u64 of the raft snapshot that is being installed
//! 's' region id, big-endian u64  ->  version u8 = 1 | applied index u64 | applied term u64   (little-endian)
//! 'w'                             ->  version u8 = 1 | 0, or 1 and the key up to which the values are converted
//! ```

use crate::types::{ApplyState, LogIndex, RegionId, Term};

/// Bytes of the keys of regions and apply states.
pub(crate) const KEY_BYTES: usize = 9;
/// Bytes of a stored apply state.
pub(crate) const APPLY_STATE_BYTES: usize = 17;

/// First byte of the keys under which regions are stored.
pub(crate) const REGION_KIND: u8 = b'r';

/// First byte of the keys under which is stored that a raft snapshot is being installed; the value has the form of an apply
/// state, the one that the region will have.
pub(crate) const INSTALLING_KIND: u8 = b'i';

const APPLY_STATE_KIND: u8 = b's';
const APPLY_STATE_VERSION: u8 = 1;

/// The key under which is stored how far a conversion has come; only while there is one.
pub(crate) const WALKED: [u8; 1] = *b"w";
const WALKED_VERSION: u8 = 1;

/// How far a conversion has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// No value is converted.
    Nothing,
    /// The values of all keys up to this one are, itself included, and no others.
    UpTo(Vec<u8>),
}

impl Walked {
    /// The stored form.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Nothing => vec![WALKED_VERSION, 0],
            Self::UpTo(key) => [&[WALKED_VERSION, 1], &key[..]].concat(),
        }
    }

    /// Reads that form; none when it is damaged or of a newer version.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [WALKED_VERSION, 0] => Some(Self::Nothing),
            [WALKED_VERSION, 1, key @ ..] => Some(Self::UpTo(key.to_vec())),
            _ => None,
        }
    }
}

/// The key of `region`.
#[must_use]
pub(crate) fn region(region: RegionId) -> [u8; KEY_BYTES] {
    key(REGION_KIND, region)
}

/// The key of the apply state of `region`.
#[must_use]
pub(crate) fn apply_state(region: RegionId) -> [u8; KEY_BYTES] {
    key(APPLY_STATE_KIND, region)
}

/// The key under which is stored what is being installed in `region`; only while something is.
#[must_use]
pub(crate) fn installing(region: RegionId) -> [u8; KEY_BYTES] {
    key(INSTALLING_KIND, region)
}

/// The region of a key that [`installing`] made; none for any other key.
#[must_use]
pub(crate) fn installing_region(key: &[u8]) -> Option<RegionId> {
    let (&kind, region) = key.split_first()?;
    let region = RegionId(u64::from_be_bytes(region.try_into().ok()?));
    (kind == INSTALLING_KIND).then_some(region)
}

/// The stored form of an apply state.
#[must_use]
pub(crate) fn encode_apply_state(state: ApplyState) -> [u8; APPLY_STATE_BYTES] {
    let mut bytes = [APPLY_STATE_VERSION; APPLY_STATE_BYTES];
    bytes[1..9].copy_from_slice(&state.index.get().to_le_bytes());
    bytes[9..].copy_from_slice(&state.term.get().to_le_bytes());
    bytes
}

/// Decodes a stored apply state; none when it is damaged or of a newer version.
#[must_use]
pub(crate) fn decode_apply_state(bytes: &[u8]) -> Option<ApplyState> {
    let (&version, rest) = bytes.split_first()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let term: &[u8; 8] = rest.try_into().ok()?;
    let state =
        ApplyState { index: LogIndex(u64::from_le_bytes(*index)), term: Term(u64::from_le_bytes(*term)) };
    (version == APPLY_STATE_VERSION).then_some(state)
}

fn key(kind: u8, region: RegionId) -> [u8; KEY_BYTES] {
    let mut key = [kind; KEY_BYTES];
    key[1..].copy_from_slice(&region.get().to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: ApplyState = ApplyState { index: LogIndex(0x0102_0304_0506), term: Term(9) };

    #[test]
    fn an_apply_state_survives_the_round_trip() {
        assert_eq!(decode_apply_state(&encode_apply_state(STATE)), Some(STATE));
    }

    #[test]
    fn the_stored_form_of_an_apply_state_never_changes() {
        let expected = [1, 6, 5, 4, 3, 2, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];

        assert_eq!(encode_apply_state(STATE), expected);
    }

    #[test]
    fn a_cut_longer_or_newer_apply_state_is_refused() {
        let whole = encode_apply_state(STATE);
        let newer = [&[2], &whole[1..]].concat();

        assert!((0..whole.len()).all(|length| decode_apply_state(&whole[..length]).is_none()));
        assert!(decode_apply_state(&[&whole[..], &[0]].concat()).is_none());
        assert!(decode_apply_state(&newer).is_none());
    }

    #[test]
    fn how_far_a_conversion_has_come_survives_the_round_trip() {
        let cases = [Walked::Nothing, Walked::UpTo(Vec::new()), Walked::UpTo(vec![0, 255])];

        let stored = cases.each_ref().map(Walked::encode);

        assert_eq!(stored, [vec![1, 0], vec![1, 1], vec![1, 1, 0, 255]]);
        assert_eq!(stored.map(|stored| Walked::decode(&stored)), cases.map(Some));
        for other in [&[][..], &[1], &[1, 0, 0], &[1, 2], &[2, 0]] {
            assert_eq!(Walked::decode(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_key_of_what_is_being_installed_tells_its_region() {
        let key = installing(RegionId(300));

        assert_eq!(key, [b'i', 0, 0, 0, 0, 0, 0, 1, 44]);
        assert_eq!(installing_region(&key), Some(RegionId(300)));
        assert_eq!(installing_region(&key[..8]), None);
        assert_eq!(installing_region(&apply_state(RegionId(300))), None);
    }

    #[test]
    fn keys_sort_by_kind_and_then_by_region_id() {
        let regions = [1, 2, 255, 256, u64::MAX].map(RegionId);
        let mut keys: Vec<_> = regions.iter().map(|id| region(*id)).collect();
        keys.extend(regions.iter().map(|id| apply_state(*id)));

        assert!(keys.is_sorted());
    }
}
