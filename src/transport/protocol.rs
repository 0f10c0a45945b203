//! The versions of what members say to each other.
//!
//! Owns which of them this build speaks, and what may be said in each. What always holds: a connection keeps to the
//! version of its hello; the newest is tried first, and an older one only with a member that knows no newer, and only
//! while nothing is in a log that such a member does not know. So members of this build and of earlier ones can be in
//! one cluster, and one that was upgraded is spoken to in the newest version as soon as it is dialed again.
//!
//! | version | level of its members | what differs |
//! |---|---|---|
//! | 4 | 0 | the hello tells no level; verdicts tell a position and nothing else |
//! | 5 | 1 and later, in the hello | the hello tells no purpose: every connection carries messages |
//! | 6 | 1 and later, in the hello | the hello announces no address, and nobody asks to join |
//! | 7 | 1 and later, in the hello | a connection may be for messages, a raft snapshot, or to join; forwarded writes may be sent again |

use super::wire::CodecError;
use crate::core::command::{is_conditional, is_level, is_members};
use crate::core::ports::{Body, PeerMessage};
use crate::error::Code;
#[cfg(any(test, feature = "simulation"))]
use crate::types::CONDITIONS_LEVEL;
use crate::types::Version;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum Protocol {
    /// That of the build before conditions.
    Four = 4,
    /// That of the build before raft snapshots.
    Five = 5,
    /// That of the build before members could change.
    Six = 6,
    /// The newest.
    Seven = 7,
}

impl Protocol {
    /// What this member speaks with those who know it.
    pub(crate) const NEWEST: Self = Self::Seven;

    /// The oldest that this build speaks.
    pub(crate) const OLDEST: Self = Self::Four;

    /// All that this build speaks, from the oldest to the newest.
    pub(crate) const ALL: [Self; 4] = [Self::Four, Self::Five, Self::Six, Self::Seven];

    /// Its number in a handshake.
    #[must_use]
    pub(crate) const fn number(self) -> u32 {
        self as u32
    }

    /// What two members speak, of which one says that it knows this feature level.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) const fn of_level(level: u16) -> Self {
        match level {
            0 => Self::Four,
            CONDITIONS_LEVEL => Self::Six,
            _ => Self::NEWEST,
        }
    }

    /// The version with this number, if this build speaks it.
    #[must_use]
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == number)
    }

    /// Whether a member that speaks this, and may know nothing newer, can make something of `message`. The core says
    /// nothing else to it; this is the last check.
    pub(super) fn check(self, message: &PeerMessage) -> Result<(), CodecError> {
        let is_newer = match self {
            Self::Four => is_newer_than_four(message) || is_resend(message),
            Self::Five | Self::Six => has_data(message, is_members) || is_resend(message),
            Self::Seven => false,
        };
        if is_newer { Err(CodecError::Newer) } else { Ok(()) }
    }
}

/// Whether the message has an entry or a write of such data.
fn has_data(message: &PeerMessage, is_such: fn(&[u8]) -> bool) -> bool {
    match &message.body {
        Body::Raft(raft) => raft.entries.iter().any(|entry| is_such(&entry.data)),
        Body::Forward(forward) => forward.writes.iter().any(|data| is_such(data)),
        Body::ForwardAnswer(_) | Body::Heartbeats(_) => false,
    }
}

fn is_resend(message: &PeerMessage) -> bool {
    matches!(&message.body, Body::Forward(forward) if forward.resend.is_some())
}

fn is_newer_than_four(message: &PeerMessage) -> bool {
    has_data(message, is_newer)
        || match &message.body {
            Body::ForwardAnswer(answer) => {
                answer.verdicts.iter().any(|verdict| match &verdict.outcome {
                    Ok(reply) => reply.effects().is_some() || reply.version != Version::UNKNOWN,
                    Err(refusal) => refusal.precondition.is_some() || is_newer_code(refusal.code),
                }) || answer.refused.is_some_and(|refused| is_newer_code(refused.code))
            }
            _ => false,
        }
}

fn is_newer_code(code: Code) -> bool {
    matches!(code, Code::PreconditionFailed | Code::Conflict | Code::NotANumber)
}

fn is_newer(data: &[u8]) -> bool {
    is_conditional(data) || is_level(data) || is_members(data)
}
