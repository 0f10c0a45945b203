//! Heartbeats, which raft sends for each region by itself and members send each other for many at once.
//!
//! Owns what a heartbeat and the answer to one say, and their translation from and to raft's own messages. What always
//! holds: nothing that raft puts into such a message is left out, so a heartbeat in company says exactly what it would
//! say alone; each region is named once in a message, by rising numbers. Which of them travel together is
//! [`gathered`](crate::core::gathered)'s business, and what they mean is raft's: every one of them is stepped.

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};

use crate::core::reads::READ_ID_BYTES;
use crate::types::{LogIndex, NodeId, RegionEpoch, RegionId, Term};

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatKind {
    /// From a leader.
    Heartbeat,
    /// From a follower, to its leader.
    Answer,
}

/// What is said of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The term of the sender.
    pub term: Term,
    /// Up to where a leader lets its follower commit; how far a follower's log is committed.
    pub commit: LogIndex,
    /// The question that the leader asks the quorum, and its answer repeats.
    pub read: Option<[u8; READ_ID_BYTES]>,
}

/// The same, with the region it is said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfRegion {
    /// Whose raft group.
    pub region: RegionId,
    /// The sender's view of the region.
    pub epoch: RegionEpoch,
    /// What is said of it.
    pub heartbeat: Heartbeat,
}

/// The heartbeats of one member for another, or the answers to them, in all regions that have one at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeats {
    /// The leader of the regions; of answers, the follower.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// Which way it goes.
    pub kind: HeartbeatKind,
    /// Of the region that the message names.
    pub first: Heartbeat,
    /// Of further regions, by rising numbers, all of them above that one.
    pub others: Vec<OfRegion>,
}

/// One of them, as it reaches the peer of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Single {
    /// The sender.
    pub from: NodeId,
    /// The recipient.
    pub to: NodeId,
    /// Which way it goes.
    pub kind: HeartbeatKind,
    /// What is said.
    pub heartbeat: Heartbeat,
}

impl Single {
    /// What a message of raft says, if it is a heartbeat or the answer to one.
    ///
    /// # Panics
    /// When its context is no read id: raft puts nothing else there.
    #[must_use]
    pub(crate) fn of_raft(message: &Message) -> Option<Self> {
        let kind = kind_of(message)?;
        assert!(message.entries.is_empty(), "a heartbeat carries no entries");
        let read = (!message.context.is_empty())
            .then(|| message.context[..].try_into().expect("a question is asked under a read id"));
        let heartbeat = Heartbeat { term: Term(message.term), commit: LogIndex(message.commit), read };
        Some(Self { from: NodeId(message.from), to: NodeId(message.to), kind, heartbeat })
    }

    /// The message of raft that says the same.
    #[must_use]
    pub(crate) fn into_raft(self) -> Message {
        let Self { from, to, kind, heartbeat: Heartbeat { term, commit, read } } = self;
        Message {
            msg_type: match kind {
                HeartbeatKind::Heartbeat => MessageType::MsgHeartbeat,
                HeartbeatKind::Answer => MessageType::MsgHeartbeatResponse,
            },
            from: from.get(),
            to: to.get(),
            term: term.get(),
            commit: commit.get(),
            context: read.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id)),
            ..Message::default()
        }
    }
}

/// Whether raft means a heartbeat, or the answer to one.
#[must_use]
pub(crate) fn kind_of(message: &Message) -> Option<HeartbeatKind> {
    match message.get_msg_type() {
        MessageType::MsgHeartbeat => Some(HeartbeatKind::Heartbeat),
        MessageType::MsgHeartbeatResponse => Some(HeartbeatKind::Answer),
        _ => None,
    }
}

impl Heartbeats {
    /// A message about one region.
    #[must_use]
    pub(crate) fn of_one(single: Single) -> Self {
        let Single { from, to, kind, heartbeat: first } = single;
        assert!(from != to, "nobody has heartbeats for itself");
        Self { from, to, kind, first, others: Vec::new() }
    }

    /// Each of them by itself, with its region; `region` is the one that the message names.
    pub(crate) fn into_singles(self, region: RegionId) -> impl Iterator<Item = (RegionId, Single)> {
        let Self { from, to, kind, first, others } = self;
        let others = others.into_iter().map(|other| (other.region, other.heartbeat));
        let all = std::iter::once((region, first)).chain(others);
        all.map(move |(region, heartbeat)| (region, Single { from, to, kind, heartbeat }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(msg_type: MessageType, context: &'static [u8]) -> Message {
        let (term, commit) = (7, 12);
        Message { msg_type, from: 1, to: 2, term, commit, context: context.into(), ..Message::default() }
    }

    #[test]
    fn what_raft_says_is_said_in_full_and_of_heartbeats_only() {
        for kind in [MessageType::MsgHeartbeat, MessageType::MsgHeartbeatResponse] {
            for context in [&b""[..], &[7; READ_ID_BYTES]] {
                let said = message(kind, context);

                let single = Single::of_raft(&said).expect("a heartbeat");

                assert_eq!(single.into_raft(), said);
            }
        }
        assert_eq!(Single::of_raft(&message(MessageType::MsgAppend, b"")), None);
    }
}
