//! What members say to each other about writes that one forwards to the leader.
//!
//! Owns the two messages. What always holds: a member numbers what it forwards, and never gives a number to two writes;
//! an *attempt* is a stream of numbers in order, to one leader in one term, of which none gets lost unnoticed; the leader
//! accepts each number once, in order, and nothing at all in another term. A refusal ends the attempt: nothing from the
//! refused number on was accepted, or ever will be. The next attempt begins when the member has heard of it, with what was
//! refused. An answer may get lost: a lost refusal is sent again when the member asks, and the outcomes of its writes a
//! member finds in its own log, by their [`tags`]. The member's side is [`forwarder`], at the [`pace`] that its leader can
//! follow; the leader's is [`attempts`].
//!
//! When another member comes to lead, what is undecided may be in its log, or not. It is sent again under the same
//! numbers (a [`Resend`]), and the leader proposes what its log does not have. So no log ever has a number of a member
//! twice: a leader adds a number that its log has not, and all logs are beginnings of what leaders had.
//!
//! Where a leader cannot look, the member waits for the fence. The *fence* of a write is the first entry of a later term
//! than those in which it was sent, once this member has applied it. Terms never fall in a log, so a write that the member
//! has not met by then is in no log, and never will be.

pub(crate) mod attempts;
pub(crate) mod early;
pub(crate) mod forwarder;
pub(crate) mod pace;
pub(crate) mod search;
pub(crate) mod tags;

use bytes::Bytes;

use crate::completion::Reply;
use crate::effects::OpResult;
use crate::error::{Code, Refusal};
use crate::types::{LogIndex, NodeId, Term};

/// Writes of an attempt, numbered from `first` on without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Whose callers wait.
    pub from: NodeId,
    /// The leader.
    pub to: NodeId,
    /// Differs in every boot of the member.
    pub boot: u64,
    /// The term in which this is to be proposed, or never.
    pub term: Term,
    /// The attempt: its first number, unless it is a [`Resend`].
    pub attempt: u64,
    /// Number of the first write here.
    pub first: u64,
    /// Set in all messages of an attempt that sends writes again.
    pub(crate) resend: Option<Resend>,
    /// Encoded commands. None at all asks whether everything before `first` has arrived.
    pub writes: Vec<Bytes>,
}

impl Forward {
    /// About how much its writes take.
    #[must_use]
    pub(crate) fn weight_bytes(&self) -> usize {
        self.writes.iter().map(|data| size_of::<Bytes>() + data.len()).sum()
    }
}

/// Of an attempt that sends writes again, under their numbers, which may be in the leader's log from earlier terms. The
/// leader proposes those of them that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resend {
    /// The first number of the attempt. The attempt itself has a number that no write has.
    pub first: u64,
    /// Up to here the member has applied the log, and met none of them.
    pub above: LogIndex,
    /// Numbers from here up to the first of the message stand for nothing any more.
    pub behind: u64,
}

/// What became of forwarded writes.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardAnswer {
    /// The leader.
    pub from: NodeId,
    /// The member that forwarded them.
    pub to: NodeId,
    /// As in [`Forward`].
    pub boot: u64,
    /// The attempt that is over, when there is a refusal.
    pub attempt: u64,
    /// Writes whose outcome is known.
    pub verdicts: Vec<Verdict>,
    /// The attempt is over.
    pub refused: Option<Refused>,
}

/// The outcome of one forwarded write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The write.
    pub number: u64,
    /// What its caller is told.
    pub outcome: std::result::Result<Reply, Refusal>,
}

impl Verdict {
    /// What the operations of the write came to.
    #[must_use]
    pub fn results(&self) -> &[(u32, OpResult)] {
        self.outcome.as_ref().map_or(&[], Reply::results)
    }

    /// About how much they take.
    #[must_use]
    pub(crate) fn result_bytes(&self) -> usize {
        let bytes = |(_, result): &(u32, OpResult)| size_of::<(u32, OpResult)>() + result.payload_bytes();
        self.results().iter().map(bytes).sum()
    }
}

/// No write of an attempt from this number on was accepted, or ever will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The first of them.
    pub first: u64,
    /// Why.
    pub code: Code,
}

/// One boot of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The member.
    pub node: NodeId,
    /// Differs in every boot.
    pub boot: u64,
}

/// One forwarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Whose caller waits.
    pub origin: Origin,
    /// Its number.
    pub number: u64,
}
