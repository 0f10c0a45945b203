//! Which writes of an entry were forwarded, and under which numbers.
//!
//! Owns the encoding of an entry's context. A member that forwarded a write finds it in the log by its tag, whoever
//! proposed it and whatever became of the leader's answer. What always holds: an entry whose writes are all its
//! leader's own has no tags, and costs nothing; a tag names writes that the entry has.
//!
//! ```text
//! tags  version u8 = 1 | tag, tag ...
//! tag   writes skipped since the last tag, writes, node (varints) | boot u64 | number of the first write (varint)
//! ```
//! A tag stands for writes that follow each other in the entry and in the numbers of one boot of one member.

use bytes::Bytes;

use crate::core::command::writes_of;
use crate::core::forwarding::{Origin, RequestId};
use crate::types::NodeId;
use crate::varint::{self, Reader};

const VERSION: u8 = 1;
/// What a tag of a small node and number takes with the version in front of it.
const SINGLE_BYTES: usize = 16;

/// Writes of an entry that one member forwarded, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Place of the first of them among the entry's writes.
    pub place: usize,
    /// How many there are, one at least.
    pub writes: usize,
    /// Whose callers wait.
    pub origin: Origin,
    /// The number of the first.
    pub first: u64,
}

impl Tag {
    fn new(place: usize, id: RequestId) -> Self {
        Self { place, writes: 1, origin: id.origin, first: id.number }
    }

    /// Whether `id` is the write at `place`, as one more of these.
    fn goes_on(&self, place: usize, id: RequestId) -> bool {
        place == self.place + self.writes
            && id.origin == self.origin
            && id.number == self.first + self.writes as u64
    }
}

/// The context of an entry of these writes: for each the member that forwarded it, if one did.
#[must_use]
pub(crate) fn seal(writes: impl Iterator<Item = Option<RequestId>>) -> Bytes {
    let mut sealed = Vec::new();
    let mut open: Option<Tag> = None;
    let mut end = 0;
    for (place, id) in writes.enumerate() {
        let Some(id) = id else { continue };
        match &mut open {
            Some(tag) if tag.goes_on(place, id) => tag.writes += 1,
            _ => put(&mut sealed, open.replace(Tag::new(place, id)), &mut end),
        }
    }
    put(&mut sealed, open, &mut end);
    assert!(sealed.is_empty() || end > 0, "a tag names a write");
    sealed.into()
}

/// `end` is the place behind the last tag.
fn put(sealed: &mut Vec<u8>, tag: Option<Tag>, end: &mut usize) {
    let Some(Tag { place, writes, origin, first }) = tag else { return };
    assert!(place >= *end && writes > 0, "tags are in the order of the writes, and of one at least");
    if sealed.is_empty() {
        sealed.reserve_exact(SINGLE_BYTES);
        sealed.push(VERSION);
    }
    for number in [(place - *end) as u64, writes as u64, origin.node.get()] {
        varint::put(sealed, number);
    }
    sealed.extend_from_slice(&origin.boot.to_le_bytes());
    varint::put(sealed, first);
    *end = place + writes;
}

/// Why a context is no tags of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TagsError {
    /// Written by a newer version of this library.
    #[error("tags of version {0} are newer than this library")]
    Version(u8),
    /// Not tags, or not of this entry.
    #[error("malformed tags")]
    Malformed,
}

/// The tags of an entry, in the order of its writes.
///
/// # Errors
/// When a newer version wrote them, or they name writes that `data` does not have.
pub(crate) fn parse<'a>(context: &'a [u8], data: &[u8]) -> Result<Tags<'a>, TagsError> {
    let Some((&version, rest)) = context.split_first() else {
        return Ok(Tags { reader: Reader::new(context), end: 0 });
    };
    if version != VERSION {
        return Err(TagsError::Version(version));
    }
    let tags = Tags { reader: Reader::new(rest), end: 0 };
    let (mut checked, writes) = (tags.clone(), writes_of(data));
    while !checked.reader.rest().is_empty() {
        let tag = checked.read().ok_or(TagsError::Malformed)?;
        if tag.writes == 0 || checked.end > writes {
            return Err(TagsError::Malformed);
        }
    }
    Ok(tags)
}

/// Walks over checked tags.
#[derive(Clone, Debug)]
pub(crate) struct Tags<'a> {
    reader: Reader<'a>,
    end: usize,
}

impl Tags<'_> {
    fn read(&mut self) -> Option<Tag> {
        let [skipped, writes, node] = [self.reader.varint()?, self.reader.varint()?, self.reader.varint()?];
        let boot = u64::from_le_bytes(self.reader.take(8)?.try_into().expect("eight bytes"));
        let first = self.reader.varint()?;
        let place = self.end.checked_add(usize::try_from(skipped).ok()?)?;
        let writes = usize::try_from(writes).ok()?;
        self.end = place.checked_add(writes)?;
        first.checked_add(writes as u64)?;
        Some(Tag { place, writes, origin: Origin { node: NodeId(node), boot }, first })
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        if self.reader.rest().is_empty() { None } else { self.read() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::command::{CommandBuilder, seal_group};

    fn id(node: u64, number: u64) -> Option<RequestId> {
        Some(RequestId { origin: Origin { node: NodeId(node), boot: u64::MAX - node }, number })
    }

    fn group(writes: usize) -> Bytes {
        seal_group(vec![CommandBuilder::default().seal(1); writes].iter())
    }

    fn places(tags: Tags<'_>) -> Vec<(usize, usize, u64, u64)> {
        tags.map(|tag| (tag.place, tag.writes, tag.origin.node.get(), tag.first)).collect()
    }

    #[test]
    fn what_a_leader_proposes_for_its_own_callers_has_no_tags() {
        assert!(seal([None, None].into_iter()).is_empty());
        assert_eq!(parse(b"", &group(2)).map(places), Ok(vec![]));
    }

    #[test]
    fn writes_of_three_members_are_found_by_their_places() {
        let writes = [None, id(2, 7), id(2, 8), id(3, 1), None, None, id(2, 9), id(2, 11)];

        let sealed = seal(writes.into_iter());

        let found = parse(&sealed, &group(8)).map(places);
        assert_eq!(found, Ok(vec![(1, 2, 2, 7), (3, 1, 3, 1), (6, 1, 2, 9), (7, 1, 2, 11)]));
        assert_eq!(
            parse(&sealed, &group(7)).map(places),
            Err(TagsError::Malformed),
            "there is no eighth write"
        );
    }

    #[test]
    fn a_single_write_has_one_place() {
        let sealed = seal([id(2, 7)].into_iter());
        let single = CommandBuilder::default().seal(1);

        assert_eq!(parse(&sealed, &single).map(places), Ok(vec![(0, 1, 2, 7)]));
        assert_eq!(parse(&sealed, b"").map(places), Err(TagsError::Malformed));
        assert_eq!(sealed.len(), 1 + 3 + 8 + 1);
    }

    #[test]
    fn tags_of_another_version_are_not_guessed() {
        assert_eq!(parse(&[2, 0], &group(1)).map(places), Err(TagsError::Version(2)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_tags_of_the_entry_or_refused(
            tail in prop::collection::vec(any::<u8>(), 0..64), writes in 0..5_usize
        ) {
            let context = [vec![VERSION], tail].concat();
            if let Ok(tags) = parse(&context, &group(writes)) {
                tags.for_each(|tag| assert!(tag.writes > 0 && tag.place + tag.writes <= writes));
            }
        }
    }
}
