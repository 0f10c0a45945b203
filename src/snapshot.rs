//! A reader's point-in-time view.
//!
//! Owns what a caller holds after its read was confirmed: the engine's view and the position it stands at. What
//! always holds: a snapshot never changes, may be used from any thread, and keeps the engine and the directory's
//! lock alive for as long as it, a value or an iterator of it lives, also after the store was shut down.

use std::time::Duration;

use crate::completion::Position;
use crate::error::Result;
use crate::storage::engine::View;
pub use crate::storage::engine::{Iter, IterOptions, PinnedValue, prefix_end};

/// How recent a snapshot must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Shows every write that was acknowledged, by any member, before the call. Costs a round trip to a majority.
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
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: View,
    position: Position,
}

impl Snapshot {
    pub(crate) fn new(view: View, position: Position) -> Self {
        Self { view, position }
    }

    /// The log position that was confirmed. The snapshot shows this state or a newer one.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The value of `key`, not copied; none when there is no such key.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<PinnedValue>> {
        self.view.get(key)
    }

    /// Copies the value of `key` into `buffer`, as much as fits, and returns its whole length.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_into(&self, key: &[u8], buffer: &mut [u8]) -> Result<Option<usize>> {
        self.view.get_into(key, buffer)
    }

    /// An iterator; it stands nowhere until its first seek.
    ///
    /// # Errors
    /// None today; the signature leaves room for bounds outside the snapshot's range.
    pub fn iter(&self, options: IterOptions) -> Result<Iter> {
        Ok(self.view.iter(options))
    }
}
