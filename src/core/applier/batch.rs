//! What one engine commit does, over any number of regions, and how much of it there may be.
//!
//! Owns what the commit writes, whom it reports to and whom it answers, and the limits of a batch. What always holds: it
//! ends with an entry, never inside one. What goes in is the [`Applier`](super::Applier)'s.

use raft::eraftpb::ConfChangeV2;

use crate::completion::{Completion, Reply};
use crate::core::applied_write::AppliedWrite;
use crate::core::change::Change;
use crate::core::command::Write;
use crate::core::forwarding::RequestId;
use crate::core::judge::Overlay;
use crate::core::member_list::MemberList;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::error::Result;
use crate::types::{ApplyState, LogIndex, RegionId, Version};

/// An engine batch with more operations ends before the first entry with conditions, so that few pay for few.
const NOTED_OPERATIONS_MAX: usize = 64;

/// What the peer learns after its entries took effect.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Whose entries.
    pub region: RegionId,
    /// The new apply state.
    pub state: ApplyState,
    /// The data are those of a raft snapshot, and of what came behind it.
    pub installed: bool,
    /// The log may be dropped up to here once the engine has flushed beyond it.
    pub truncate_to: Option<LogIndex>,
    /// Accepted membership changes for the raft node, in order. A refused one is over once it is applied.
    pub conf_changes: Vec<ConfChangeV2>,
    /// The feature level rose to this, by this entry.
    pub raised: Option<(u16, LogIndex)>,
    /// The members of the cluster are to be these.
    pub list: Option<MemberList>,
    /// The configuration is settled on the list of this version.
    pub settled: Option<u64>,
    /// What other members are to be told about the writes they forwarded.
    pub forwarded_to_here: Vec<(RequestId, Result<Reply>)>,
    /// What became of writes that this boot of this member forwarded, by their numbers, in log order.
    pub forwarded_from_here: Vec<(u64, Result<Reply>)>,
}

/// Effects of one engine commit over any number of regions, in the order in which they must happen: write the data,
/// states and regions as one engine batch, then report, then answer. (After an answer that came before the report, the
/// caller's next read could get an older position than that answer has, or wait for the report.)
#[derive(Debug, Default)]
pub struct ApplyBatch {
    /// Data, in order.
    pub writes: Vec<AppliedWrite>,
    /// New apply states, one a region.
    pub states: Vec<(RegionId, ApplyState)>,
    /// Regions whose stored form changed.
    pub regions: Vec<Region>,
    /// Regions that lose all their keys before anything else is written, because a raft snapshot is to be installed; until
    /// one of `installed` ends that, it is on record.
    pub clears: Vec<SnapshotHead>,
    /// Regions whose raft snapshot is installed: no longer on record.
    pub installed: Vec<RegionId>,
    /// What the peers learn.
    pub reports: Vec<Applied>,
    /// Answers in log order.
    pub answers: Vec<(Completion, Result<Reply>)>,
    /// What conditions that come later must know of the writes; there is none before the first condition.
    pub(super) overlay: Option<Overlay>,
    /// Nothing more goes in.
    pub(super) is_closed: bool,
    pub(super) entries: usize,
    pub(super) encoded_bytes: usize,
    pub(super) operations: usize,
}

impl ApplyBatch {
    /// What changes in the data, in order, each with the version of what it sets.
    pub fn changes(&self) -> impl Iterator<Item = (Change<'_>, Version)> {
        self.writes.iter().flat_map(|write| write.changes().map(|change| (change, write.version())))
    }

    /// What a condition must know of the writes so far.
    pub(super) fn overlay(&mut self) -> &mut Overlay {
        let writes = &self.writes;
        self.overlay.get_or_insert_with(|| {
            let mut overlay = Overlay::default();
            for write in writes {
                let plain = write.as_plain().expect("what was judged had an overlay");
                overlay.note(plain, write.version());
            }
            overlay
        })
    }

    /// Counts what `write` takes of the slice. It may declare anything: what is in the log is held to no bound.
    pub(super) fn charge(&mut self, write: &Write) {
        let weight = write.weight();
        let declared = usize::try_from(weight.bytes).unwrap_or(usize::MAX);
        self.encoded_bytes =
            self.encoded_bytes.saturating_add(write.encoded_bytes()).saturating_add(declared);
        self.operations = self.operations.saturating_add(weight.steps());
    }

    /// Whether what it holds would first have to be noted for a condition, and that is much.
    pub(super) fn would_be_noted(&self) -> bool {
        self.overlay.is_none() && self.operations > NOTED_OPERATIONS_MAX
    }

    /// True when there is nothing to write, answer or report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty() && self.clears.is_empty()
    }

    /// Size of the commands in this batch.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }
}

/// How much goes into one engine batch, of one region or of all. It is full with the entry that brings it to one of
/// these; an entry is never divided, because its writes take effect at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Entries.
    pub entries: usize,
    /// Bytes of their commands.
    pub bytes: usize,
    /// Operations: what the engine's time goes to when they are small.
    pub operations: usize,
}

impl Slice {
    /// Everything.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) const ALL: Self = Self { entries: usize::MAX, bytes: usize::MAX, operations: usize::MAX };

    /// What `batch` leaves of it.
    #[must_use]
    pub(crate) fn left_by(self, batch: &ApplyBatch) -> Self {
        if batch.is_closed {
            return Self { entries: 0, bytes: 0, operations: 0 };
        }
        Self {
            entries: self.entries.saturating_sub(batch.entries),
            bytes: self.bytes.saturating_sub(batch.encoded_bytes),
            operations: self.operations.saturating_sub(batch.operations),
        }
    }

    /// An equal part of it, for one of so many.
    #[must_use]
    pub(crate) fn share(self, sharers: usize) -> Self {
        assert!(sharers > 0, "somebody gets it");
        Self {
            entries: self.entries.div_ceil(sharers),
            bytes: self.bytes.div_ceil(sharers),
            operations: self.operations.div_ceil(sharers),
        }
    }

    /// True when nothing more goes in.
    #[must_use]
    pub(crate) fn is_used_up(self) -> bool {
        self.entries == 0 || self.bytes == 0 || self.operations == 0
    }
}
