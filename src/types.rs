//! Identifiers, the vocabulary of regions, and how large a write may be.
//!
//! Owns the newtypes that keep node ids, terms and log indexes apart, and the limits that callers, leaders and logs
//! share. Raw `u64` appears only next to the `raft` crate, and `get()` marks every such place.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The raw number, for the `raft` crate, the wire and the disk.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(raw: u64) -> Self {
                Self(raw)
            }
        }
    };
}

id! {
    /// A member of the cluster, chosen by the user, 1 or more, never reused. Also the raft id of that
    /// member's peer in every region: a store holds at most one peer of a region.
    NodeId
}
id! {
    /// A raft group and the key range it owns. The bootstrap region is 1.
    RegionId
}
id! {
    /// A raft term.
    Term
}
id! {
    /// A position in a region's raft log.
    LogIndex
}
id! {
    /// Identifies a cluster: a digest of its configured name and its initial members.
    ClusterId
}
id! {
    /// Drawn at random when a member's directory is created. A member that returns under its node id with another
    /// instance id has lost its disk and must not take part.
    InstanceId
}

id! {
    /// The version of a key: the place in its region's log of the write that set it. The versions of a key only grow;
    /// those of keys of different regions have nothing to do with each other. Zero is the version of what is not there.
    Version
}

impl Version {
    /// Of a key that is not there.
    pub const NONE: Self = Self(0);

    /// Of a key that is there, as long as members may hold different versions of it, or none. No key ever has it for good
    /// and no write has it at all, so no condition on it is true: a log begins behind index 5.
    pub(crate) const UNKNOWN: Self = Self(1);

    /// The version of what write number `ordinal` of the entry at `index` sets.
    ///
    /// # Panics
    /// When `index` is 2^48 or more: no log is so long.
    #[must_use]
    pub const fn of(index: LogIndex, ordinal: u16) -> Self {
        assert!(index.0 <= LOG_INDEX_MAX, "no log is so long");
        Self(index.0 << u16::BITS | ordinal as u64)
    }

    /// The index of the entry.
    #[must_use]
    pub const fn index(self) -> LogIndex {
        LogIndex(self.0 >> u16::BITS)
    }

    /// The number of the write within its entry.
    #[must_use]
    pub const fn ordinal(self) -> u16 {
        self.0 as u16 // Truncation is the point: the low sixteen bits.
    }
}

impl LogIndex {
    /// The next position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Every region's log starts after this truncated entry, so that a member that starts empty later can only catch up by
/// a raft snapshot and never from a log that looks complete.
pub(crate) const BOOTSTRAP_INDEX: LogIndex = LogIndex(5);
/// The term of [`BOOTSTRAP_INDEX`].
pub(crate) const BOOTSTRAP_TERM: Term = Term(5);
/// The region that owns all keys at bootstrap.
pub const BOOTSTRAP_REGION: RegionId = RegionId(1);

/// The version of a region: `conf_ver` grows with each membership change, `version` with each change of
/// its key range. Stored and checked from the first day so that split and merge need no new format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegionEpoch {
    /// Counts membership changes.
    pub conf_ver: u64,
    /// Counts changes of the key range.
    pub version: u64,
}

/// The epoch of a new region.
pub const BOOTSTRAP_EPOCH: RegionEpoch = RegionEpoch { conf_ver: 1, version: 1 };

/// How far a region's log is applied. Written in the same batch as the data it describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyState {
    /// Index of the last applied entry.
    pub index: LogIndex,
    /// Term of the last applied entry.
    pub term: Term,
}

impl ApplyState {
    /// The state of a region that has applied nothing yet.
    pub const BOOTSTRAP: Self = Self { index: BOOTSTRAP_INDEX, term: BOOTSTRAP_TERM };
}

/// The last index of a log: a version has 48 bits for it. A million entries a second reach it after nine years.
pub(crate) const LOG_INDEX_MAX: u64 = (1 << 48) - 1;
/// Most writes of an entry: a version has 16 bits for their number.
pub(crate) const ENTRY_WRITES_MAX: usize = 1 << 16;

/// The feature level from which on a region's log may hold writes with conditions, and its keys have versions that are the
/// same on every member. A region at level 0 has members of the build before, or had them a moment ago.
pub(crate) const CONDITIONS_LEVEL: u16 = 1;
/// The feature level from which on the members of a cluster may change.
pub(crate) const MEMBERS_LEVEL: u16 = 2;
/// The highest feature level that this build knows.
pub(crate) const NEWEST_LEVEL: u16 = MEMBERS_LEVEL;
/// Most members that a cluster may have.
pub(crate) const MEMBERS_MAX: usize = 64;

/// Longest key in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 16 * 1024;
/// Largest value in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024 - 64 * 1024;
/// Largest encoded batch in bytes: keys, values and at most 11 bytes per operation.
pub(crate) const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most operations of a batch. They are applied together, in tens of milliseconds, and other writes and reads of this
/// store wait for that. An operation's number within its write fits into 16 bits.
pub(crate) const BATCH_OPERATIONS_MAX: usize = 1 << 16;
/// Most keys and ranges that a transaction reads, each of which is a condition of its batch; with as much as it may write,
/// the batch is not too heavy.
pub(crate) const TRANSACTION_READS_MAX: usize = 2_048;
/// Most keys and ranges that a transaction writes.
pub(crate) const TRANSACTION_WRITES_MAX: usize = 32_768;
/// Most keys that the range conditions of an entry look at, together.
pub(crate) const RANGE_KEYS_MAX: usize = 1 << 16;
/// Most bytes of keys and values that the range conditions of an entry look at, together. Larger values than a kilobyte
/// leave fewer keys.
pub(crate) const RANGE_BYTES_MAX: usize = 64 * 1024 * 1024;
