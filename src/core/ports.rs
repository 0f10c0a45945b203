//! What the core asks of the world, and nothing more.
//!
//! Owns the narrow ports between the deterministic core and the disk, the network and the apply poller.
//! `storage` and `pollers` implement them for real, the test runner implements them with a clock, a disk
//! and a network that a script moves by hand. Of the world outside the core knows these, raft's own types and `bytes`.

pub(crate) use raft::eraftpb::Message;
pub use raft::eraftpb::{Entry, HardState};

use crate::completion::{Completion, Position, Reply, WriteEvent};
use crate::core::applier::ApplyTask;
pub(crate) use crate::core::forwarding::{Forward, ForwardAnswer};
pub(crate) use crate::core::heartbeats::Heartbeats;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::core::region_members::RegionMembers;
use crate::error::Result;
use crate::types::{ApplyState, LogIndex, NodeId, RegionEpoch, RegionId, Term};

/// What one pass of a round writes to the log of one region. All writes of a pass go into one frame and become
/// durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogWrite {
    /// Whose log.
    pub region: RegionId,
    /// Replaces the stored term, vote and commit.
    pub hard_state: Option<HardState>,
    /// Contiguous. An entry at or below the last stored index replaces that entry and all after it.
    pub entries: Vec<Entry>,
    /// Entries up to and including this one are gone: it becomes the log's dummy first entry. On a region
    /// the log does not know yet it creates the log. If the log has no such entry, all of it is gone: that is how a raft
    /// snapshot is taken in.
    pub truncate_to: Option<(LogIndex, Term)>,
    /// The log has got back what it lost with its end: no later start misses that any more.
    pub has_lost_end_back: bool,
}

impl LogWrite {
    /// A write that does nothing yet.
    #[must_use]
    pub fn new(region: RegionId) -> Self {
        Self { region, ..Self::default() }
    }

    /// True when there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let changes = self.hard_state.is_some() || !self.entries.is_empty() || self.truncate_to.is_some();
        !changes && !self.has_lost_end_back
    }
}

/// What a peer has others do about raft snapshots. No round waits for it; what comes of it is an input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Errand {
    /// Make one of the region for this member. `Input::Exported` follows.
    Export(RegionId, NodeId),
    /// Send what was made for its receiver last. `Input::SnapshotEnded` follows.
    Send(Box<SnapshotMessage>),
    /// Nobody needs what was made of the region for this member, and nobody waits for its sending.
    Cancel(RegionId, NodeId),
    /// Nobody needs what is staged of the region at this apply state.
    Discard(RegionId, ApplyState),
}

/// Reads back what the log store holds. Called by one thread at a time, the one that runs a round, for entries that the
/// peer's own cache no longer has.
pub(crate) trait LogReader: Send + Sync {
    /// Entries `low..high`, cut after the one that makes the sum of encoded sizes reach `max_bytes`, but
    /// never less than one. The caller has checked that the range lies inside the log.
    ///
    /// # Errors
    /// `IO` or `CORRUPTION` when the disk fails or its content does not match its checksum.
    fn read(&self, region: RegionId, low: LogIndex, high: LogIndex, max_bytes: u64) -> Result<Vec<Entry>>;

    /// The term of the entry at `index`, or of the truncated entry right before the first.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    fn term(&self, region: RegionId, index: LogIndex) -> Result<Term>;
}

/// What crosses between members, with the region it belongs to; heartbeats name others as well.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage {
    /// Whose raft group.
    pub region: RegionId,
    /// The sender's view of the region.
    pub epoch: RegionEpoch,
    /// What is said.
    pub body: Body,
}

/// What members say to each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A message of raft, but no heartbeat and no answer to one; `from` and `to` are node ids.
    Raft(Message),
    /// Heartbeats of raft, or the answers to them.
    Heartbeats(Heartbeats),
    /// Writes of a follower's callers, for its leader to propose.
    Forward(Forward),
    /// What became of forwarded writes.
    ForwardAnswer(ForwardAnswer),
}

impl PeerMessage {
    /// The regions of which something is said.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) fn regions(&self) -> Vec<RegionId> {
        let others = match &self.body {
            Body::Heartbeats(they) => they.others.iter().map(|other| other.region).collect(),
            _ => Vec::new(),
        };
        [vec![self.region], others].concat()
    }

    /// Who sent it, by its own account.
    #[must_use]
    pub fn from(&self) -> NodeId {
        match &self.body {
            Body::Raft(message) => NodeId(message.from),
            Body::Heartbeats(they) => they.from,
            Body::Forward(forward) => forward.from,
            Body::ForwardAnswer(answer) => answer.from,
        }
    }

    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        match &self.body {
            Body::Raft(message) => NodeId(message.to),
            Body::Heartbeats(they) => they.to,
            Body::Forward(forward) => forward.to,
            Body::ForwardAnswer(answer) => answer.to,
        }
    }

    /// The message of raft it carries, if it does.
    #[must_use]
    pub fn raft(&self) -> Option<&Message> {
        match &self.body {
            Body::Raft(message) => Some(message),
            _ => None,
        }
    }

    /// The message of raft it carries, for tests to change.
    ///
    /// # Panics
    /// When it carries none.
    #[doc(hidden)]
    pub fn raft_mut(&mut self) -> &mut Message {
        match &mut self.body {
            Body::Raft(message) => message,
            other => panic!("not a message of raft: {other:?}"),
        }
    }
}

/// The world as a round sees it.
pub(crate) trait RoundIo {
    /// Hands messages to the network; they may be lost, doubled and reordered from here on.
    fn send(&mut self, messages: Vec<PeerMessage>);

    /// Makes all writes durable together before it returns.
    ///
    /// # Errors
    /// When that cannot be known. The round ends and the store is poisoned: whatever the disk holds now, nothing
    /// has been promised about it.
    fn append(&mut self, writes: &[LogWrite]) -> Result<()>;

    /// Hands committed entries to the applier.
    fn apply(&mut self, task: ApplyTask);

    /// Has something done about raft snapshots, by and by.
    fn run(&mut self, errand: Errand);

    /// The configuration of a region, or the list of members that it has, is another than before, or how far its leader
    /// has come with the list.
    fn members_moved(&mut self, region: RegionId, members: RegionMembers);

    /// Tells a caller who wants to hear of it how far its write has come.
    fn happened(&mut self, completion: &Completion, event: WriteEvent, position: Position);

    /// Answers a caller.
    fn answer(&mut self, completion: Completion, answer: Result<Reply>);
}
