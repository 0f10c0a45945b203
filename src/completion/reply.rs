//! What a call is told that succeeded.
//!
//! Owns [`Reply`]. What always holds: the reply to a write says the same whoever gives it, the leader or the member's own
//! log.

use crate::completion::Position;
use crate::types::Version;

/// The answer to a call that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// Of a write the place of its entry in the log of its region, of a read the state that it may show.
    pub position: Position,
    /// Of a write the version of all that it set, of a read [`Version::NONE`].
    pub version: Version,
}

impl Reply {
    /// The reply to a write.
    #[must_use]
    pub(crate) fn to_write(position: Position, version: Version) -> Self {
        assert_eq!(version.index(), position.index, "a version is a place in the write's entry");
        Self { position, version }
    }
}

impl From<Position> for Reply {
    fn from(position: Position) -> Self {
        Self { position, version: Version::NONE }
    }
}
