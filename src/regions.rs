//! The regions of a store and the keys that they own.
//!
//! Owns the partition of the key space: the table that maps keys and ranges to regions, and the text form of keys in
//! the configuration and in messages. What always holds: the regions of a table cover all keys, in order, without gap
//! or overlap; with one region no key is ever compared. Everything else about a region is left to the core.

use crate::types::KEY_BYTES_MAX;
use crate::types::RegionId;

/// Most initial regions of a cluster: each costs every member memory and heartbeats.
pub(crate) const REGIONS_MAX: usize = 1024;

/// Longer keys are cut in messages.
const SHOWN_BYTES_MAX: usize = 64;

/// A half-open range of keys. The default is all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Vec<u8>,
    /// The exclusive end; empty means that the range has no end.
    pub end: Vec<u8>,
}

impl KeyRange {
    /// True when `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.end.is_empty() || key < self.end.as_slice())
    }

    /// True when every key lies in the range.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.start.is_empty() && self.end.is_empty()
    }
}

/// The regions of a store in the order of their keys.
#[derive(Debug)]
pub(crate) struct RegionMap {
    ids: Vec<RegionId>,
    /// Invariant: one for each of `ids`, ascending, the first empty. A region ends where the next one starts.
    starts: Vec<Vec<u8>>,
}

impl RegionMap {
    /// The table of `regions`, in any order. None unless they cover all keys exactly once.
    #[must_use]
    pub(crate) fn new(mut regions: Vec<(RegionId, KeyRange)>) -> Option<Self> {
        regions.sort_by(|(_, a), (_, b)| a.start.cmp(&b.start));
        let begins = regions.first().is_some_and(|(_, range)| range.start.is_empty());
        let ends = regions.last().is_some_and(|(_, range)| range.end.is_empty());
        let joins = |pair: &[(RegionId, KeyRange)]| {
            let (left, right) = (&pair[0].1, &pair[1].1);
            left.end == right.start && left.start < right.start
        };
        if !begins || !ends || !regions.windows(2).all(joins) {
            return None;
        }
        let (ids, starts) = regions.into_iter().map(|(id, range)| (id, range.start)).unzip();
        Some(Self { ids, starts })
    }

    /// All regions in key order; never empty.
    #[must_use]
    pub(crate) fn ids(&self) -> &[RegionId] {
        &self.ids
    }

    /// The region that owns the smallest keys.
    #[must_use]
    pub(crate) fn first(&self) -> RegionId {
        self.ids[0]
    }

    /// The region that owns `key`.
    #[must_use]
    pub(crate) fn region_of(&self, key: &[u8]) -> RegionId {
        self.ids[self.place_of(key)]
    }

    /// The regions that own keys of `range`, in key order; of an empty range the one that owns its start.
    #[must_use]
    pub(crate) fn regions_in(&self, range: &KeyRange) -> &[RegionId] {
        let (first, last) = self.places_of(&range.start, &range.end);
        &self.ids[first..=last]
    }

    /// The index in [`RegionMap::ids`] of the owner of `key`.
    #[must_use]
    pub(crate) fn place_of(&self, key: &[u8]) -> usize {
        // The first region starts at the smallest key, so only the others need to be compared.
        self.starts[1..].partition_point(|start| start.as_slice() <= key)
    }

    /// The indexes in [`RegionMap::ids`] of the owners of the first and of the last key of a range.
    #[must_use]
    pub(crate) fn places_of(&self, start: &[u8], end: &[u8]) -> (usize, usize) {
        let first = self.place_of(start);
        let before_end = |start: &Vec<u8>| end.is_empty() || start.as_slice() < end;
        (first, self.starts[1..].partition_point(before_end).max(first))
    }

    /// The range of the region at index `place` in [`RegionMap::ids`]: its first key, and its exclusive end, which is
    /// empty when there is none.
    #[must_use]
    pub(crate) fn range_at(&self, place: usize) -> (&[u8], &[u8]) {
        (&self.starts[place], self.starts.get(place + 1).map_or(&[], Vec::as_slice))
    }
}

/// Parses keys separated by commas, each byte as it is or as `%XX`, and returns them in order.
///
/// # Errors
/// What is wrong: an empty, duplicate or too long key, a `%` without two hexadecimal digits, too many keys.
pub(crate) fn parse_split_keys(text: &str) -> Result<Vec<Vec<u8>>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = text.split(',').map(parse_split_key).collect::<Result<Vec<_>, _>>()?;
    if keys.len() >= REGIONS_MAX {
        return Err(format!("there are {} keys; at most {} are allowed", keys.len(), REGIONS_MAX - 1));
    }
    keys.sort();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("the key '{}' occurs twice", shown(&twice[0]))),
        None => Ok(keys),
    }
}

fn parse_split_key(text: &str) -> Result<Vec<u8>, String> {
    let mut key = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escaped =
            || format!("'{text}' has a '%' without two hexadecimal digits; '%25' is the percent sign");
        key.push(match byte {
            b'%' => hexadecimal(bytes.next(), bytes.next()).ok_or_else(escaped)?,
            byte => byte,
        });
    }
    if key.is_empty() {
        return Err("an empty key splits nothing; is there a comma too many?".to_owned());
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(format!("'{}' has {} bytes, the limit is {KEY_BYTES_MAX}", shown(&key), key.len()));
    }
    Ok(key)
}

fn hexadecimal(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A key in readable form, as [`parse_split_keys`] accepts it. Long ones are cut.
#[must_use]
pub(crate) fn shown(key: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b',' | b'\'');
    let escape = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let mut text: String = key.iter().take(SHOWN_BYTES_MAX).map(escape).collect();
    if key.len() > SHOWN_BYTES_MAX {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange { start: start.into(), end: end.into() }
    }

    /// Region 1 up to "g", 2 up to "p", 3 after that.
    fn three() -> RegionMap {
        let ranges = [(3, range("p", "")), (1, range("", "g")), (2, range("g", "p"))];
        RegionMap::new(ranges.map(|(id, range)| (RegionId(id), range)).into()).expect("they cover all keys")
    }

    fn ids(found: &[RegionId]) -> Vec<u64> {
        found.iter().map(|id| id.get()).collect()
    }

    #[test]
    fn a_key_belongs_to_the_region_of_its_range_and_a_boundary_to_the_right_one() {
        let map = three();

        for (key, owner) in [("", 1), ("fzzz", 1), ("g", 2), ("g\0", 2), ("ozz", 2), ("p", 3), ("zz", 3)] {
            assert_eq!(map.region_of(key.as_bytes()), RegionId(owner), "{key}");
        }
    }

    #[test]
    fn a_range_touches_the_regions_that_own_one_of_its_keys() {
        let map = three();

        let cases: [((&str, &str), &[u64]); 7] = [
            (("", ""), &[1, 2, 3]),
            (("", "g"), &[1]),
            (("a", "g\0"), &[1, 2]),
            (("g", "p"), &[2]),
            (("h", ""), &[2, 3]),
            (("x", "y"), &[3]),
            (("g", "g"), &[2]),
        ];
        for ((start, end), expected) in cases {
            assert_eq!(ids(map.regions_in(&range(start, end))), expected, "{start}..{end}");
        }
    }

    #[test]
    fn each_region_ends_where_the_next_one_starts() {
        let map = three();

        assert_eq!(map.range_at(0), (&b""[..], &b"g"[..]));
        assert_eq!(map.range_at(2), (&b"p"[..], &b""[..]));
    }

    #[test]
    fn regions_with_gaps_or_overlaps_are_no_table() {
        let wrong: [&[(&str, &str)]; 6] = [
            &[],
            &[("a", "")],
            &[("", "a")],
            &[("", "a"), ("b", "")],
            &[("", "b"), ("a", "")],
            &[("", ""), ("", "")],
        ];
        for ranges in wrong {
            let regions = ranges.iter().zip(1..).map(|((start, end), id)| (RegionId(id), range(start, end)));
            assert!(RegionMap::new(regions.collect()).is_none(), "{ranges:?}");
        }
    }

    #[test]
    fn split_keys_are_sorted_and_any_byte_can_be_one() {
        let keys = parse_split_keys("m,%00%fF,a b,%2C%25").expect("well formed");

        assert_eq!(keys, [&b"\x00\xff"[..], b",%", b"a b", b"m"]);
        assert_eq!(parse_split_keys(""), Ok(Vec::new()));
    }

    #[test]
    fn a_shown_key_survives_the_round_trip() {
        let key: Vec<u8> = (0..=255).collect();
        for part in key.chunks(SHOWN_BYTES_MAX) {
            assert_eq!(parse_split_keys(&shown(part)), Ok(vec![part.to_vec()]));
        }
        assert_eq!(shown(&[b'a'; SHOWN_BYTES_MAX + 1]), "a".repeat(SHOWN_BYTES_MAX) + "...");
    }

    #[test]
    fn malformed_split_keys_are_refused_by_name() {
        let refused = |text: &str| parse_split_keys(text).expect_err("malformed");

        assert!(refused("m,a,m").contains("'m' occurs twice"));
        assert!(refused("%6d,m").contains("'m' occurs twice"));
        for text in ["a,,b", ",", "a,"] {
            assert!(refused(text).contains("empty key"), "{text}");
        }
        for text in ["%", "%2", "%2g", "b%+1", "%\u{e9}0"] {
            assert!(refused(text).contains(&format!("'{text}' has a '%'")), "{text}");
        }
        assert!(refused(&"k".repeat(KEY_BYTES_MAX + 1)).contains("the limit is"));
    }

    #[test]
    fn the_largest_number_of_regions_needs_one_key_less() {
        let keys = |count: usize| (0..count).map(|n| format!("{n:04}")).collect::<Vec<_>>().join(",");

        assert_eq!(parse_split_keys(&keys(REGIONS_MAX - 1)).map(|keys| keys.len()), Ok(REGIONS_MAX - 1));
        assert!(parse_split_keys(&keys(REGIONS_MAX)).is_err());
    }
}
