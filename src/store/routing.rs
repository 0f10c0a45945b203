//! Determines the region of a write.
//!
//! Owns the rule that a batch lies within one region, which makes it atomic. What always holds: in a store with one
//! region, no operation is inspected. The regions' key ranges are left to [`crate::regions`].

use bytes::Bytes;

use crate::core::command::{Command, Operation, versioned_keys};
use crate::error::{Code, Error, Result};
use crate::regions::{RegionMap, shown};
use crate::store::batch::BEHIND_ALL_KEYS;
use crate::types::KEY_BYTES_MAX;
use crate::types::RegionId;

/// The region that owns every key of a sealed batch; the first region for an empty batch.
///
/// # Errors
/// `BATCH_ACROSS_REGIONS`, naming a region boundary that the batch crosses.
pub(super) fn region_of_batch(regions: &RegionMap, data: &Bytes) -> Result<RegionId> {
    if let [only] = regions.ids() {
        return Ok(*only);
    }
    let Ok(Command::Write(write)) = Command::parse(data.clone()) else {
        unreachable!("a batch was sealed by this library a moment ago")
    };
    let mut home: Option<(usize, &[u8])> = None;
    for operation in write.operations() {
        let Some((place, key)) = place_of(regions, operation)? else { continue };
        match home {
            Some((other, first)) if other != place => return Err(two_regions(regions, first, key)),
            _ => home = Some((place, key)),
        }
    }
    Ok(home.map_or(regions.first(), |(place, _)| regions.ids()[place]))
}

/// The index of one operation's region, and one of the operation's keys; none for an operation without keys.
fn place_of<'a>(regions: &RegionMap, operation: Operation<'a>) -> Result<Option<(usize, &'a [u8])>> {
    match operation {
        Operation::Put { key, .. } | Operation::Delete { key } => Ok(Some((regions.place_of(key), key))),
        Operation::Add { key, .. } | Operation::Pop { key } => Ok(Some((regions.place_of(key), key))),
        Operation::IfAbsent { key } | Operation::IfPresent { key } => Ok(Some((regions.place_of(key), key))),
        Operation::IfVersion { key, .. } | Operation::IfValue { key, .. } => {
            Ok(Some((regions.place_of(key), key)))
        }
        Operation::PutVersioned { prefix, .. } => place_of_prefix(regions, prefix).map(Some),
        Operation::DeleteRange { begin, end } => {
            place_of_range(regions, "delete_range", begin, end).map(Some)
        }
        Operation::TakeFirst { begin, end } => {
            place_of_range(regions, "take_first", begin, or_last(end)).map(Some)
        }
        Operation::IfRange { begin, end, .. } => {
            place_of_range(regions, "if_range", begin, or_last(end)).map(Some)
        }
        Operation::Otherwise => Ok(None),
    }
}

fn place_of_range<'a>(
    regions: &RegionMap,
    what: &str,
    begin: &'a [u8],
    end: &'a [u8],
) -> Result<(usize, &'a [u8])> {
    // An empty range has no last key.
    if begin >= end {
        return Ok((regions.place_of(begin), begin));
    }
    match regions.places_of(begin, end) {
        (first, last) if first == last => Ok((first, begin)),
        (first, last) => Err(wide_range(regions, what, (begin, end), (first, last))),
    }
}

/// All keys that may be made of the prefix must be in one region, for only the log decides which one it is.
fn place_of_prefix<'a>(regions: &RegionMap, prefix: &'a [u8]) -> Result<(usize, &'a [u8])> {
    let [first, last] = versioned_keys(prefix).map(|key| regions.place_of(&key));
    if first == last {
        return Ok((first, prefix));
    }
    Err(across(format!(
        "the keys that put_versioned makes of '{}' may be in regions {} to {}, the first boundary between them is \
         '{}'; use a prefix whose keys are all in one region",
        shown(prefix),
        regions.ids()[first],
        regions.ids()[last],
        shown(regions.range_at(first).1)
    )))
}

/// The end of a range, which for an empty one is behind all keys.
fn or_last(end: &[u8]) -> &[u8] {
    if end.is_empty() { &BEHIND_ALL_KEYS } else { end }
}

fn two_regions(regions: &RegionMap, one: &[u8], other: &[u8]) -> Error {
    let (low, high) = (one.min(other), one.max(other));
    let boundary = regions.range_at(regions.place_of(high)).0;
    across(format!(
        "key '{}' is in region {} and key '{}' in region {}, with the boundary '{}' between them; write one batch \
         for each region",
        shown(low),
        regions.region_of(low),
        shown(high),
        regions.region_of(high),
        shown(boundary)
    ))
}

fn wide_range(regions: &RegionMap, what: &str, range: (&[u8], &[u8]), places: (usize, usize)) -> Error {
    let end =
        if range.1.len() > KEY_BYTES_MAX { "the end".to_owned() } else { format!("'{}'", shown(range.1)) };
    across(format!(
        "{what} from '{}' to {end} touches regions {} to {}, the first boundary in it is '{}'; split it at the \
         boundaries and write one batch for each region",
        shown(range.0),
        regions.ids()[places.0],
        regions.ids()[places.1],
        shown(regions.range_at(places.0).1)
    ))
}

fn across(detail: String) -> Error {
    Error::with_detail(Code::BatchAcrossRegions, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::RangeDigest;
    use crate::regions::KeyRange;
    use crate::store::batch::Batch;

    /// Region 1 up to "g", 2 up to "p", 3 from there.
    fn three() -> RegionMap {
        let range = |start: &str, end: &str| KeyRange { start: start.into(), end: end.into() };
        let regions = vec![
            (RegionId(1), range("", "g")),
            (RegionId(2), range("g", "p")),
            (RegionId(3), range("p", "")),
        ];
        RegionMap::new(regions).expect("they cover all keys")
    }

    fn route(fill: impl FnOnce(&mut Batch) -> Result<()>) -> Result<RegionId> {
        let mut batch = Batch::new();
        fill(&mut batch)?;
        region_of_batch(&three(), &batch.seal(1))
    }

    #[test]
    fn a_batch_goes_to_the_region_of_its_keys() {
        let both = |batch: &mut Batch| {
            batch.put(b"g", b"v")?;
            batch.delete_range(b"h", b"p")?;
            batch.delete(b"ozz")
        };

        assert_eq!(route(both).expect("within one"), RegionId(2));
        assert_eq!(route(|batch| batch.put(b"zz", b"v")).expect("within one"), RegionId(3));
        assert_eq!(route(|batch| batch.delete_range(b"q", b"")).expect("to the end"), RegionId(3));
        assert_eq!(route(|_| Ok(())).expect("empty"), RegionId(1));
        assert_eq!(route(|batch| batch.delete_range(b"p", b"p")).expect("no keys"), RegionId(3));
    }

    #[test]
    fn a_batch_across_a_boundary_is_refused_with_an_error_that_names_it() {
        let error = route(|batch| {
            batch.put(b"q,1", b"v")?;
            batch.put(b"a", b"v")
        })
        .expect_err("two regions");

        assert_eq!(error.code(), Code::BatchAcrossRegions);
        let detail = error.detail();
        assert!(detail.contains("'a' is in region 1 and key 'q%2C1' in region 3"), "{detail}");
        assert!(detail.contains("boundary 'p'"), "{detail}");
    }

    #[test]
    fn a_range_across_boundaries_is_refused_with_an_error_that_names_the_first() {
        let error = route(|batch| batch.delete_range(b"a", b"p")).expect_err("two regions");

        assert_eq!(error.code(), Code::BatchAcrossRegions);
        let detail = error.detail();
        assert!(
            detail.contains("from 'a' to 'p' touches regions 1 to 2") && detail.contains("'g'"),
            "{detail}"
        );
        let error = route(|batch| batch.delete_range(b"h", b"")).expect_err("two regions");
        assert!(error.detail().contains("from 'h' to the end touches regions 2 to 3"), "{error}");
    }

    #[test]
    fn what_is_looked_at_and_every_key_that_may_be_made_belong_to_one_region() {
        let regions = three();
        let place = |operation| place_of(&regions, operation).map(|home| home.map(|(place, _)| place));
        let detail = |operation| place(operation).expect_err("two regions").detail().to_owned();
        let seen = &[0; RangeDigest::ENCODED_BYTES];

        let takes = |begin, end| Operation::TakeFirst { begin, end };
        assert_eq!(place(takes(b"g", b"p")).expect("one"), Some(1));
        assert_eq!(place(takes(b"q", b"")).expect("to the end"), Some(2));
        assert!(detail(takes(b"a", b"h")).contains("take_first from 'a' to 'h' touches regions 1 to 2"));
        let range = Operation::IfRange { begin: b"h", end: b"", seen };
        assert!(detail(range).contains("if_range from 'h' to the end touches regions 2 to 3"));
        assert_eq!(place(Operation::PutVersioned { prefix: b"gq/", value: b"" }).expect("one"), Some(1));
        assert_eq!(place(Operation::IfAbsent { key: b"p" }).expect("one"), Some(2));
        assert_eq!(place(Operation::Otherwise).expect("none"), None);
    }

    #[test]
    fn a_prefix_with_a_boundary_between_its_keys_is_refused() {
        let range = |start: &[u8], end: &[u8]| KeyRange { start: start.into(), end: end.into() };
        let border = b"q\x7f";
        let regions = vec![(RegionId(1), range(b"", border)), (RegionId(2), range(border, b""))];
        let regions = RegionMap::new(regions).expect("they cover all keys");

        let error = place_of(&regions, Operation::PutVersioned { prefix: b"q", value: b"" });

        let error = error.expect_err("its keys may be in both");
        assert_eq!(error.code(), Code::BatchAcrossRegions);
        assert!(error.detail().contains("makes of 'q' may be in regions 1 to 2"), "{error}");
    }
}
