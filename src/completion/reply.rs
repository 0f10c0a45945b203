//! What a call is told that succeeded.
//!
//! Owns [`Reply`]. What always holds: the reply to a write says the same whoever gives it, the leader or the member's own
//! log. A region whose members do not all know versions tells none: [`Version::UNKNOWN`].

use std::sync::Arc;

use crate::completion::Position;
use crate::effects::{Effects, OpResult, Precondition};
use crate::types::Version;

/// The answer to a call that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// Of a write the place of its entry in the log of its region, of a read the state that it may show.
    pub position: Position,
    /// Of a write the version of all that it set, of a read [`Version::NONE`].
    pub version: Version,
    /// What a write with conditions found and computed, if it has anything to tell.
    effects: Option<Arc<Effects>>,
}

impl Reply {
    /// The reply to a write.
    #[must_use]
    pub(crate) fn to_write(position: Position, version: Version, effects: Effects) -> Self {
        let is_its_own = version.index() == position.index || version == Version::UNKNOWN;
        assert!(is_its_own, "a version is a place in the write's entry");
        let effects = (effects != Effects::default()).then(|| Arc::new(effects));
        Self { position, version, effects }
    }

    /// What a write with conditions found and computed; none for one that has nothing to tell.
    #[must_use]
    pub fn effects(&self) -> Option<&Effects> {
        self.effects.as_deref()
    }

    /// The condition that was false, and so the other list of the batch was applied.
    #[must_use]
    pub fn failed(&self) -> Option<Precondition> {
        self.effects()?.failed
    }

    /// The results of those operations that have one, with their numbers in the batch.
    #[must_use]
    pub fn results(&self) -> &[(u32, OpResult)] {
        self.effects().map_or(&[], |effects| &effects.results)
    }
}

impl From<Position> for Reply {
    fn from(position: Position) -> Self {
        Self { position, version: Version::NONE, effects: None }
    }
}
