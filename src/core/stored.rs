//! What the judge asks of the engine.
//!
//! Owns the port through which the data are read where conditions are judged; one of [`ports`](super::ports), in a file
//! of its own because the applier, which the others know, stands on it. What always holds: what is read is the state
//! after the engine's last batch and nothing newer or older.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::error::Result;
use crate::types::Version;

/// What a scan shows each key, value and version to.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8], Version) -> ControlFlow<()> + 'a;

/// The data as they are after the engine's last batch, for those who judge what comes next. A value without a version
/// is damage, never absence.
pub(crate) trait Stored {
    /// The value of `key`, and its version.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content makes no sense.
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Version)>>;

    /// The version of `key`; [`Version::NONE`] when it is not there.
    ///
    /// # Errors
    /// As [`Stored::get`].
    fn version_of(&self, key: &[u8]) -> Result<Version>;

    /// The versions of `keys`, which are in their order, each once. There may be fewer, those of the first keys, where it
    /// would take much memory to find more together.
    ///
    /// # Errors
    /// As [`Stored::get`].
    fn versions_of(&self, keys: &[&[u8]]) -> Result<Vec<Version>> {
        keys.iter().map(|key| self.version_of(key)).collect()
    }

    /// Shows `each` the keys from `begin` to `end`, in their order, with their values and versions, until it breaks.
    /// An empty `end` is that of all keys. What `begin` lies behind is an empty range.
    ///
    /// # Errors
    /// As [`Stored::get`].
    fn scan(&self, begin: &[u8], end: &[u8], each: &mut Each<'_>) -> Result<()>;
}
