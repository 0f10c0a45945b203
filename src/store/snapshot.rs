//! A reader's point-in-time view.
//!
//! Owns what a caller holds after its read was confirmed: the engine's view and its log position. What always holds:
//! a snapshot never changes, shows no key outside its range, may be used from any thread, and keeps the engine and
//! the directory's lock alive as long as it or one of its values or iterators exists, even after the store was shut
//! down. Confirming the read is left to the store and its peers.

use std::sync::Arc;
use std::time::Duration;

use crate::completion::Position;
use crate::core::digest::{Digester, RangeDigest};
use crate::error::{Code, Error, Result};
use crate::metrics::CallType;
use crate::regions::{KeyRange, shown};
use crate::storage::engine::View;
pub use crate::storage::engine::{Iter, IterOptions, PinnedValue, prefix_end};
use crate::store::conditions::check_range;
use crate::types::{LogIndex, RANGE_BYTES_MAX, RANGE_KEYS_MAX};

/// How recent a snapshot must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Shows every write acknowledged by any member before the call, and the writes of each region in one order.
    /// Across several regions there is no common order: see [`Store::snapshot`](crate::Store::snapshot). Costs a
    /// round trip to a majority, unless this member leads and holds a lease.
    #[default]
    Linearizable,
    /// Shows what this member has applied, without asking any other. May be stale, and may go backwards across a
    /// restart.
    Local,
}

/// How a snapshot is taken, or keys are read without one.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// Latest time at which the call is answered; none means the store's `read.timeout_ms`.
    pub timeout: Option<Duration>,
    /// How recent it must be.
    pub level: Level,
    /// Which keys it shows; all of them by default. Every region that owns one of them must confirm it, so in a
    /// cluster of several regions a narrow range is cheaper than all keys.
    pub range: KeyRange,
    /// A local snapshot waits until this member has applied its region at least up to this index, such as that of a
    /// write acknowledged elsewhere; 0 does not wait. `READ_TIMEOUT` when it has not by the deadline, also for an index
    /// at which the log has nothing yet. A linearizable snapshot ignores this, as it shows every acknowledged write
    /// anyway.
    ///
    /// Each region has its own log, so the range must lie within one region, and the index must be from that region:
    /// one from another says nothing about it.
    pub min_index: LogIndex,
}

impl SnapshotOptions {
    /// What a read with these options is counted as.
    pub(super) fn call_type(&self) -> CallType {
        match self.level {
            Level::Linearizable => CallType::Read,
            Level::Local => CallType::LocalRead,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: View,
    position: Position,
    /// None if all keys are in range.
    range: Option<Arc<KeyRange>>,
}

impl Snapshot {
    pub(crate) fn new(view: View, position: Position, range: &KeyRange) -> Self {
        let range = (!range.is_everything()).then(|| Arc::new(range.clone()));
        Self { view, position, range }
    }

    /// The log position that was confirmed; the snapshot shows the state at this position or later. Each region has
    /// its own log, so a snapshot of several regions has no position: index and term are 0.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The value of `key`, without copying it; none if the key does not exist.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the snapshot does not cover `key`, `IO` or `CORRUPTION` when the disk fails or its
    /// content does not match its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.check(key)?;
        self.view.get(key)
    }

    /// The values of `keys`, in the order of the keys, without copying them; none for a key that does not exist.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<PinnedValue>>> {
        keys.iter().try_for_each(|key| self.check(key.as_ref()))?;
        self.view.get_many(keys)
    }

    /// As [`Snapshot::get`], without reading the disk: the outer option is none if the value may exist only there.
    /// For threads that must not block.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_from_memory(&self, key: &[u8]) -> Result<Option<Option<PinnedValue>>> {
        self.check(key)?;
        let found = self.view.get_many_from_memory(&[key]).transpose()?;
        Ok(found.map(|mut values| values.pop().expect("one value for one key")))
    }

    /// Copies as much of the value of `key` into `buffer` as fits, and returns its full length.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_into(&self, key: &[u8], buffer: &mut [u8]) -> Result<Option<usize>> {
        self.check(key)?;
        self.view.get_into(key, buffer)
    }

    /// An iterator over the keys that are both within the bounds of `options` and in the snapshot's range; it has no
    /// position until its first seek.
    ///
    /// # Errors
    /// None today; the signature leaves room for bounds that cannot be applied.
    pub fn iter(&self, options: IterOptions) -> Result<Iter> {
        Ok(self.view.iter(self.cut(options)))
    }

    /// The bounds of such an iterator.
    pub(super) fn cut(&self, options: IterOptions) -> IterOptions {
        match &self.range {
            Some(range) => cut(options, range),
            None => IterOptions { upper: options.upper.filter(|upper| !upper.is_empty()), ..options },
        }
    }

    /// What the keys from `begin` up to but not including `end` look like, for [`Batch::if_range`](crate::Batch::if_range);
    /// an empty `end` means up to the last key. All of them are read.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the snapshot does not cover the range, or `begin > end` and `end` is not empty; `TOO_LARGE`
    /// when it has more than 65,536 keys or 64 MiB; `IO` or `CORRUPTION` as [`Snapshot::get`].
    pub fn digest(&self, begin: &[u8], end: &[u8]) -> Result<RangeDigest> {
        check_range(begin, end)?;
        if let Some(range) = self.range.as_ref().filter(|range| !covers(range, begin, end)) {
            return Err(outside(if begin < &range.start[..] { begin } else { end }, range));
        }
        let bound = |key: &[u8]| (!key.is_empty()).then(|| key.to_vec());
        let options = IterOptions { lower: bound(begin), upper: bound(end), ..IterOptions::default() };
        let mut iter = self.iter(options)?;
        let mut digester = Digester::default();
        iter.seek_to_first();
        while let Some((key, value, version)) = iter.versioned_item() {
            digester.add(key, value.len(), version);
            if digester.is_beyond(&MOST) {
                let detail =
                    "a range has more than 65,536 keys or 64 MiB, which is more than a condition may look at";
                return Err(Error::with_detail(Code::TooLarge, detail));
            }
            iter.next();
        }
        iter.status()?;
        Ok(digester.finish())
    }

    fn check(&self, key: &[u8]) -> Result<()> {
        match &self.range {
            Some(range) if !range.contains(key) => Err(outside(key, range)),
            _ => Ok(()),
        }
    }
}

/// What a condition may look at.
const MOST: RangeDigest =
    RangeDigest { digest: [0; 16], keys: RANGE_KEYS_MAX as u64, bytes: RANGE_BYTES_MAX as u64 };

/// True when `range` contains all keys from `begin` to `end`.
fn covers(range: &KeyRange, begin: &[u8], end: &[u8]) -> bool {
    begin >= &range.start[..] && (range.end.is_empty() || !end.is_empty() && end <= &range.end[..])
}

/// The intersection of the two ranges.
fn cut(options: IterOptions, range: &KeyRange) -> IterOptions {
    let lower = options.lower.unwrap_or_default().max(range.start.clone());
    let end = (!range.end.is_empty()).then(|| range.end.clone());
    let upper = match (options.upper.filter(|upper| !upper.is_empty()), end) {
        (Some(upper), Some(end)) => Some(upper.min(end)),
        (upper, end) => upper.or(end),
    };
    // Disjoint bounds contain no keys; they are passed as an empty range, which the engine accepts.
    let upper = upper.map(|upper| upper.max(lower.clone()));
    IterOptions { lower: Some(lower), upper, ..options }
}

fn outside(key: &[u8], range: &KeyRange) -> Error {
    let (start, end) = (shown(&range.start), shown(&range.end));
    let end = if range.end.is_empty() { "without an end".to_owned() } else { format!("to '{end}'") };
    let detail = format!("key '{}' is outside the snapshot's range from '{start}' {end}", shown(key));
    Error::with_detail(Code::InvalidArgument, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(lower: Option<&str>, upper: Option<&str>, range: (&str, &str)) -> (Vec<u8>, Option<Vec<u8>>) {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let options =
            IterOptions { lower: lower.map(bytes), upper: upper.map(bytes), ..IterOptions::default() };
        let cut = cut(options, &KeyRange { start: bytes(range.0), end: bytes(range.1) });
        (cut.lower.expect("always set"), cut.upper)
    }

    #[test]
    fn an_iterator_is_limited_to_the_intersection_of_its_bounds_and_the_snapshots_range() {
        let owned = |lower: &str, upper: &str| (lower.into(), Some(upper.into()));

        assert_eq!(bounds(None, None, ("c", "m")), owned("c", "m"));
        assert_eq!(bounds(Some("a"), Some("z"), ("c", "m")), owned("c", "m"));
        assert_eq!(bounds(Some("d"), Some("e"), ("c", "m")), owned("d", "e"));
        assert_eq!(bounds(Some("d"), None, ("c", "")), ("d".into(), None));
        assert_eq!(bounds(None, Some("e"), ("c", "")), owned("c", "e"));
    }

    #[test]
    fn bounds_outside_the_snapshots_range_contain_no_keys() {
        let (lower, upper) = bounds(Some("n"), Some("z"), ("c", "m"));

        assert_eq!(Some(lower), upper);
    }

    #[test]
    fn an_error_for_a_key_out_of_range_names_the_key_and_the_range() {
        let range = KeyRange { start: b"a".to_vec(), end: b"m%".to_vec() };

        let error = outside(b"z", &range);

        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.detail().contains("'z' is outside") && error.detail().contains("to 'm%25'"));
    }
}
