//! What reaches a peer.
//!
//! Owns the one list of everything a peer can be told, beside ticks. Each input belongs to one region; the mailbox
//! carries them in order of arrival. What a peer makes of them is its own business.

use crate::core::applier::Applied;
use crate::core::caller_write::CallerWrite;
use crate::core::ports::{Body, Heartbeats, PeerMessage};
use crate::core::raft_snapshot::{SnapshotHead, SnapshotMessage};
use crate::core::reads::Read;
use crate::core::transfer::TransferRequest;
use crate::error::Error;
use crate::types::{LogIndex, NodeId, RegionId};

/// What a member said about itself when it last connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Who.
    pub node: NodeId,
    /// How often that member was started, over its whole life.
    pub boot_count: u64,
    /// Differs in every boot; also in those of a member that was put back to an earlier copy of its directory.
    pub boot: u64,
    /// Its log lost its end, in this region or another, and it does not have it back.
    pub lost_end: bool,
    /// The highest feature level that its build knows.
    pub level: u16,
}

/// What a peer can be told, beside ticks.
#[derive(Debug)]
pub(crate) enum Input {
    /// A message of another member, but no heartbeats.
    Message(Box<PeerMessage>),
    /// Heartbeats, or the answers to them, of the region it is given with and of others.
    Heartbeats(Box<Heartbeats>),
    /// A write of a caller.
    Write(CallerWrite),
    /// A linearizable read of a caller.
    Read(Read),
    /// A local read of a caller: any state no older than the log recorded when the store was opened.
    LocalRead(Read),
    /// Entries took effect.
    Applied(Box<Applied>),
    /// The engine has flushed everything up to this index.
    Flushed(LogIndex),
    /// Messages to this member were lost.
    Unreachable(NodeId),
    /// The connection to this member was lost. What was sent on it may have arrived.
    Disconnected(NodeId),
    /// There is a connection to this member again.
    Connected(NodeId),
    /// This member has connected, and said who it is; what it sends comes behind this.
    Introduced(Introduction),
    /// Hand leadership over.
    Transfer(TransferRequest),
    /// A raft snapshot was made for this member, or could not be.
    Exported(NodeId, Option<Box<SnapshotHead>>),
    /// A member has taken so many bytes of the raft snapshot that it is sent, over all connections.
    SnapshotMoved(NodeId, u64),
    /// The sending of a raft snapshot at this index is over; true when its receiver has all of it.
    SnapshotEnded(NodeId, LogIndex, bool),
    /// A raft snapshot has arrived and its data are staged, durably.
    Staged(Box<SnapshotMessage>),
    /// Ask for leadership now.
    Campaign,
}

impl Input {
    /// What a message of another member is, and which region it names.
    #[must_use]
    pub(crate) fn of_message(message: PeerMessage) -> (RegionId, Self) {
        let region = message.region;
        match message.body {
            Body::Heartbeats(they) => (region, Self::Heartbeats(Box::new(they))),
            _ => (region, Self::Message(Box::new(message))),
        }
    }

    /// Answers whoever waits for what never reaches a peer.
    pub(crate) fn refuse(self, error: &Error) {
        match self {
            Self::Write(write) => write.completion.answer(Err(error.clone())),
            Self::Read(read) | Self::LocalRead(read) => read.completion.answer(Err(error.clone())),
            Self::Transfer(request) => request.completion.answer(Err(error.clone())),
            _ => {}
        }
    }
}
