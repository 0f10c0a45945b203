//! A reader's point-in-time view.
//!
//! Owns what a caller holds after its read was confirmed: the engine's view and the position it stands at. What
//! always holds: a snapshot never changes, shows no key outside its range, may be used from any thread, and keeps the
//! engine and the directory's lock alive for as long as it, a value or an iterator of it lives, also after the store
//! was shut down.

use std::sync::Arc;
use std::time::Duration;

use crate::completion::Position;
use crate::error::{Code, Error, Result};
use crate::regions::{KeyRange, shown};
use crate::storage::engine::View;
pub use crate::storage::engine::{Iter, IterOptions, PinnedValue, prefix_end};
use crate::types::LogIndex;

/// How recent a snapshot must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Shows every write that was acknowledged, by any member, before the call, and the writes of a region in one order.
    /// Over several regions there is none: see [`Store::snapshot`](crate::Store::snapshot). Costs a round trip to a
    /// majority, unless this member leads and holds a lease.
    #[default]
    Linearizable,
    /// Shows what this member has applied, without asking anyone. May be old, and may go backwards over a restart.
    Local,
}

/// How a snapshot is taken.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// When the call is answered at the latest; none means the store's `read.timeout_ms`.
    pub timeout: Option<Duration>,
    /// How recent it must be.
    pub level: Level,
    /// Which keys it shows; all of them by default. Every region that owns one of them must confirm it, so a narrow
    /// range is cheaper than all keys in a cluster of several regions.
    pub range: KeyRange,
    /// A local snapshot waits until this member has applied its region up to here, such as the index of a write that
    /// was acknowledged elsewhere; 0 waits for nothing. Each region has a log of its own, so the range must lie within
    /// one. A linearizable snapshot shows every acknowledged write anyway and takes no notice.
    pub min_index: LogIndex,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: View,
    position: Position,
    /// None when all keys are in it.
    range: Option<Arc<KeyRange>>,
}

impl Snapshot {
    pub(crate) fn new(view: View, position: Position, range: &KeyRange) -> Self {
        let range = (!range.is_everything()).then(|| Arc::new(range.clone()));
        Self { view, position, range }
    }

    /// The log position that was confirmed; the snapshot shows this state or a newer one. Each region has a log of its
    /// own, so a snapshot over several regions has no position: index and term are 0.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The value of `key`, not copied; none when there is no such key.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the snapshot does not cover `key`, `IO` or `CORRUPTION` when the disk fails or its
    /// content does not match its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.check(key)?;
        self.view.get(key)
    }

    /// The values of `keys`, in their order, not copied; none where there is no such key.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<PinnedValue>>> {
        keys.iter().try_for_each(|key| self.check(key.as_ref()))?;
        self.view.get_many(keys)
    }

    /// As [`Snapshot::get`], without asking the disk: none when the value may be there only. For threads that must not
    /// wait.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_from_memory(&self, key: &[u8]) -> Result<Option<Option<PinnedValue>>> {
        self.check(key)?;
        let found = self.view.get_many_from_memory(&[key]).transpose()?;
        Ok(found.map(|mut values| values.pop().expect("one value for one key")))
    }

    /// Copies the value of `key` into `buffer`, as much as fits, and returns its whole length.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_into(&self, key: &[u8], buffer: &mut [u8]) -> Result<Option<usize>> {
        self.check(key)?;
        self.view.get_into(key, buffer)
    }

    /// An iterator over the keys that are both within the bounds of `options` and in the snapshot's range; it stands
    /// nowhere until its first seek.
    ///
    /// # Errors
    /// None today; the signature leaves room for bounds that cannot be kept.
    pub fn iter(&self, options: IterOptions) -> Result<Iter> {
        let options = match &self.range {
            Some(range) => cut(options, range),
            None => options,
        };
        Ok(self.view.iter(options))
    }

    fn check(&self, key: &[u8]) -> Result<()> {
        match &self.range {
            Some(range) if !range.contains(key) => Err(outside(key, range)),
            _ => Ok(()),
        }
    }
}

/// The keys that both allow.
fn cut(options: IterOptions, range: &KeyRange) -> IterOptions {
    let lower = options.lower.unwrap_or_default().max(range.start.clone());
    let end = (!range.end.is_empty()).then(|| range.end.clone());
    let upper = match (options.upper.filter(|upper| !upper.is_empty()), end) {
        (Some(upper), Some(end)) => Some(upper.min(end)),
        (upper, end) => upper.or(end),
    };
    // Bounds that exclude each other hold no keys; the engine is told so in the way it accepts.
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
    fn an_iterator_keeps_to_the_narrower_of_its_bounds_and_the_snapshots_range() {
        let owned = |lower: &str, upper: &str| (lower.into(), Some(upper.into()));

        assert_eq!(bounds(None, None, ("c", "m")), owned("c", "m"));
        assert_eq!(bounds(Some("a"), Some("z"), ("c", "m")), owned("c", "m"));
        assert_eq!(bounds(Some("d"), Some("e"), ("c", "m")), owned("d", "e"));
        assert_eq!(bounds(Some("d"), None, ("c", "")), ("d".into(), None));
        assert_eq!(bounds(None, Some("e"), ("c", "")), owned("c", "e"));
    }

    #[test]
    fn bounds_outside_the_snapshots_range_hold_no_keys() {
        let (lower, upper) = bounds(Some("n"), Some("z"), ("c", "m"));

        assert_eq!(Some(lower), upper);
    }

    #[test]
    fn a_key_outside_is_named_with_the_range() {
        let range = KeyRange { start: b"a".to_vec(), end: b"m%".to_vec() };

        let error = outside(b"z", &range);

        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.detail().contains("'z' is outside") && error.detail().contains("to 'm%25'"));
    }
}
