//! What members say to each other about writes that a follower forwards to its leader.
//!
//! Owns the two messages. What always holds: a session is the stream of writes to one leader in one term; its writes are
//! numbered without a gap; a refusal ends it, because the leader refuses everything behind the first write it refused, and
//! those writes open the next session, in their order. An answer may get lost: who misses one asks, and the leader
//! repeats what it was not told is known. The follower's side is [`forwarder`](super::forwarder), the
//! leader's [`sessions`](super::sessions).

use bytes::Bytes;

use crate::completion::Position;
use crate::error::Code;
use crate::types::{NodeId, Term};

/// A stretch of a session: writes numbered from `first` on, without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The follower.
    pub from: NodeId,
    /// The leader.
    pub to: NodeId,
    /// Differs in every run of the follower.
    pub boot_nonce: u64,
    /// The term whose leader this is for. It is refused by whoever leads in another.
    pub term: Term,
    /// Number of the session's first write, by which sessions are told apart.
    pub session: u64,
    /// Number of the first write here.
    pub first: u64,
    /// The follower needs no answer to any write before this number.
    pub answered: u64,
    /// Encoded commands. None at all asks what became of the writes before `first`.
    pub writes: Vec<Bytes>,
}

/// What became of writes of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardAnswer {
    /// The leader.
    pub from: NodeId,
    /// The follower.
    pub to: NodeId,
    /// As in [`Forward`].
    pub boot_nonce: u64,
    /// As in [`Forward`].
    pub session: u64,
    /// Writes whose outcome is known.
    pub verdicts: Vec<Verdict>,
    /// The session is over.
    pub refused: Option<Refused>,
}

/// The outcome of one forwarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The write.
    pub number: u64,
    /// Where it stands in the log, or why it does not.
    pub outcome: std::result::Result<Position, Code>,
}

/// No write of the session from this number on was accepted, or ever will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The first of them.
    pub first: u64,
    /// Why.
    pub code: Code,
}

impl Refused {
    /// The session is over because its term is: whoever says so does not lead in it, and knows of no write of the session
    /// whether it was accepted. No write has this number.
    pub const TERM_IS_OVER: Self = Self { first: u64::MAX, code: Code::LeadershipLost };
}

/// One forwarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Whose caller waits.
    pub node: NodeId,
    /// The run of that member.
    pub boot_nonce: u64,
    /// The session.
    pub session: u64,
    /// The number within the run.
    pub number: u64,
}
