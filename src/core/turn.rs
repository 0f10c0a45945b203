//! What one peer contributes to one round.
//!
//! Owns the intermediate state between "raft has something to do" and "it is done": the part of raft's ready that
//! must wait for the round's log write. What always holds: a turn that was begun is finished in the same round or
//! the store is poisoned.

use raft::Ready;
use raft::eraftpb::{Entry, Message};

use crate::core::applier::ApplyTask;
use crate::core::ports::{LogWrite, PeerMessage};

/// A turn whose log write is not durable yet.
pub struct BegunTurn {
    /// Messages that may leave before the log write: a leader's (raft thesis 10.2.1).
    pub messages: Vec<PeerMessage>,
    /// What the round must make durable.
    pub write: LogWrite,
    /// What may leave only after it.
    pub(super) persisted: Vec<Message>,
    pub(super) ready: Option<Ready>,
    pub(super) committed: Vec<Entry>,
}

/// A turn whose log write is durable.
pub struct FinishedTurn {
    /// Votes, acknowledgements and what they set free.
    pub messages: Vec<PeerMessage>,
    /// A commit index that must be durable before `task` is handed on, because the task changes the configuration:
    /// otherwise power loss could bring back the old, perhaps smaller one, and let it elect itself (DESIGN 7).
    pub commit_guard: Option<LogWrite>,
    /// Newly committed entries with this member's proposals among them.
    pub task: Option<ApplyTask>,
}
