//! What a raft message must satisfy before it may reach `raft`.
//!
//! Owns the boundary between the wire and `RawNode::step`, which trusts everything it is given: a heartbeat with too
//! large a commit panics it, a message from a stranger makes the stranger its leader, a term of `u64::MAX` wraps
//! around. What always holds behind this boundary: the message is for this peer, from another member of the
//! cluster, in this member's configuration or not, of a type that members send each other, and its numbers are possible. The order and meaning of
//! possible messages is raft's own business.

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use crate::core::forwarding::tags;
use crate::core::membership::CONF_CHANGE_BYTES_MAX;
use crate::core::reads::READ_ID_BYTES;
use crate::types::{LOG_INDEX_MAX, LogIndex, NodeId, Term};

/// How far ahead of ours a message's term may be. Terms grow by one an election: a million elections missed is a
/// broken or hostile peer, not a lagging member.
const TERM_JUMP_MAX: u64 = 1 << 20;

/// What a vote says whose candidate was told to take over; raft's own word.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// What the validator knows of the peer it guards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded {
    /// This member.
    pub node: NodeId,
    /// The peer hears nobody but the members of its configuration.
    pub turns_away: bool,
    /// Current term.
    pub term: Term,
    /// Current role.
    pub role: StateRole,
    /// The leader it follows; 0 for none.
    pub leader: NodeId,
    /// Last index of the log.
    pub last_index: LogIndex,
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Addressed to another node.
    #[error("addressed to another node")]
    Recipient,
    /// The sender is nobody, or this member itself.
    #[error("sent by a node that is no member")]
    Sender,
    /// A type that is never sent between members, or not by this version.
    #[error("a message type that members do not send")]
    Type,
    /// The term is zero or impossibly large.
    #[error("impossible term")]
    Term,
    /// The entries do not follow each other.
    #[error("entries that do not follow each other")]
    Entries,
    /// An entry whose tags name writes that it does not have.
    #[error("an entry with malformed tags")]
    Tags,
    /// An index beyond the end of our log.
    #[error("an index beyond the end of our log")]
    Index,
    /// Malformed read id.
    #[error("malformed read id")]
    ReadId,
}

/// Checks one message.
///
/// # Errors
/// The first rule it breaks.
pub(crate) fn check(message: &Message, guarded: Guarded) -> Result<(), Refusal> {
    check_addresses(message, guarded)?;
    check_term(message, guarded)?;
    match message.get_msg_type() {
        MessageType::MsgAppend => check_entries(message),
        MessageType::MsgHeartbeat => no_entries(message).and(within(message.commit, guarded)),
        MessageType::MsgAppendResponse if guarded.role == StateRole::Leader => {
            no_entries(message).and(check_acknowledgement(message, guarded))
        }
        // The word by which a vote asks to skip the time in which a follower refuses votes. Whoever was told to take
        // over may say it, and asks for no vote in advance.
        MessageType::MsgRequestVote if message.context == TRANSFER => no_entries(message),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if !message.context.is_empty() => {
            Err(Refusal::Type)
        }
        MessageType::MsgTimeoutNow if NodeId(message.from) == guarded.leader => no_entries(message),
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => check_read_id(message),
        MessageType::MsgAppendResponse
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => no_entries(message),
        // Local types, forwarded proposals (raft's own forwarding loses the answer), transfer requests and raft
        // snapshots, which members do not send, and a TimeoutNow of anybody but the leader.
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgSnapshot
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow => Err(Refusal::Type),
    }
}

fn check_addresses(message: &Message, guarded: Guarded) -> Result<(), Refusal> {
    if message.to != guarded.node.get() {
        return Err(Refusal::Recipient);
    }
    let is_nobody = [0, u64::MAX].contains(&message.from);
    if message.from == message.to || is_nobody || guarded.turns_away {
        return Err(Refusal::Sender);
    }
    Ok(())
}

fn check_term(message: &Message, guarded: Guarded) -> Result<(), Refusal> {
    let termless = message.get_msg_type() == MessageType::MsgReadIndex;
    let possible = 1..=guarded.term.get().saturating_add(TERM_JUMP_MAX);
    match message.term {
        0 if termless => Ok(()),
        term if !termless && possible.contains(&term) => Ok(()),
        _ => Err(Refusal::Term),
    }
}

/// raft trusts a leader's numbers: a position whose term it does not know counts as matching, so there is none
/// without a term; and the indices must fit into versions.
fn check_entries(message: &Message) -> Result<(), Refusal> {
    let countable = message.index.checked_add(message.entries.len() as u64 + 1);
    let countable = countable.is_some_and(|end| end <= LOG_INDEX_MAX);
    if message.log_term == 0 || !countable {
        return Err(Refusal::Entries);
    }
    let mut term = message.log_term;
    for (entry, after) in message.entries.iter().zip(message.index..) {
        let follows = after.checked_add(1) == Some(entry.index);
        if !follows || entry.term < term || entry.term > message.term {
            return Err(Refusal::Entries);
        }
        let changes_membership = entry.get_entry_type() != raft::eraftpb::EntryType::EntryNormal;
        if changes_membership && (entry.data.len() > CONF_CHANGE_BYTES_MAX || !entry.context.is_empty()) {
            return Err(Refusal::Entries);
        }
        tags::parse(&entry.context, &entry.data).map_err(|_| Refusal::Tags)?;
        term = entry.term;
    }
    Ok(())
}

/// An acknowledgement is of an entry we have. A rejection points back, from where we sent to where the follower's log
/// may agree, and asks for no raft snapshot, which this version does not send.
fn check_acknowledgement(message: &Message, guarded: Guarded) -> Result<(), Refusal> {
    if message.request_snapshot != 0 {
        return Err(Refusal::Type);
    }
    if message.reject && message.reject_hint > message.index {
        return Err(Refusal::Index);
    }
    within(message.index, guarded)
}

fn check_read_id(message: &Message) -> Result<(), Refusal> {
    let [id] = message.entries.as_ref() else { return Err(Refusal::ReadId) };
    if id.data.len() == READ_ID_BYTES { Ok(()) } else { Err(Refusal::ReadId) }
}

fn no_entries(message: &Message) -> Result<(), Refusal> {
    if message.entries.is_empty() { Ok(()) } else { Err(Refusal::Entries) }
}

fn within(index: u64, guarded: Guarded) -> Result<(), Refusal> {
    if index <= guarded.last_index.get() { Ok(()) } else { Err(Refusal::Index) }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    const STRANGER: u64 = 9;

    fn checked(change: impl FnOnce(&mut Message)) -> Result<(), Refusal> {
        let mut message = Message { from: 2, to: 1, term: 7, ..Default::default() };
        message.set_msg_type(MessageType::MsgHeartbeat);
        change(&mut message);
        let guarded = Guarded {
            node: NodeId(1),
            turns_away: message.from == STRANGER,
            term: Term(7),
            role: StateRole::Leader,
            leader: NodeId(2),
            last_index: LogIndex(20),
        };
        check(&message, guarded)
    }

    #[test]
    fn a_heartbeat_within_the_log_passes_and_one_beyond_it_does_not() {
        assert_eq!(checked(|m| m.commit = 20), Ok(()));
        assert_eq!(checked(|m| m.commit = 21), Err(Refusal::Index));
    }

    #[test]
    fn messages_to_others_and_from_nobody_or_ourselves_are_refused() {
        assert_eq!(checked(|m| m.to = 2), Err(Refusal::Recipient));
        assert_eq!(checked(|m| m.from = STRANGER), Err(Refusal::Sender));
        assert_eq!(checked(|m| m.from = 0), Err(Refusal::Sender));
        assert_eq!(checked(|m| m.from = 1), Err(Refusal::Sender));
        assert_eq!(checked(|m| m.from = 12), Ok(()), "it may have come by a change that is not applied here");
    }

    #[test]
    fn impossible_terms_are_refused() {
        assert_eq!(checked(|m| m.term = 0), Err(Refusal::Term));
        assert_eq!(checked(|m| m.term = u64::MAX), Err(Refusal::Term));
        assert_eq!(checked(|m| m.term = 7 + TERM_JUMP_MAX), Ok(()));
    }

    #[test]
    fn local_and_unsupported_types_are_refused() {
        for local in [
            MessageType::MsgHup,
            MessageType::MsgPropose,
            MessageType::MsgTransferLeader,
            MessageType::MsgSnapshot,
        ] {
            assert_eq!(checked(|m| m.set_msg_type(local)), Err(Refusal::Type));
        }
    }

    #[test]
    fn entries_must_follow_the_index_and_each_other_with_growing_terms() {
        let append = |places: &'static [(u64, u64)]| {
            checked(move |m| {
                m.set_msg_type(MessageType::MsgAppend);
                (m.index, m.log_term) = (10, 5);
                let entry = |&(term, index): &(u64, u64)| Entry { term, index, ..Default::default() };
                m.entries = places.iter().map(entry).collect::<Vec<_>>().into();
            })
        };

        assert_eq!(append(&[(5, 11), (7, 12)]), Ok(()));
        assert_eq!(append(&[(5, 12)]), Err(Refusal::Entries));
        assert_eq!(append(&[(4, 11)]), Err(Refusal::Entries));
        assert_eq!(append(&[(8, 11)]), Err(Refusal::Entries));
        assert_eq!(append(&[(6, 11), (5, 12)]), Err(Refusal::Entries));
    }

    #[test]
    fn an_append_after_the_last_possible_index_or_without_a_term_is_refused() {
        let after = |index, log_term| {
            checked(move |m| {
                m.set_msg_type(MessageType::MsgAppend);
                (m.index, m.log_term) = (index, log_term);
                m.entries =
                    vec![Entry { term: 7, index: index.wrapping_add(1), ..Default::default() }].into();
            })
        };

        assert_eq!(after(10, 5), Ok(()));
        assert_eq!(after(u64::MAX, 5), Err(Refusal::Entries));
        assert_eq!(after(u64::MAX - 1, 5), Err(Refusal::Entries));
        assert_eq!(after(10, 0), Err(Refusal::Entries));
    }

    #[test]
    fn a_rejection_points_back_into_our_log_and_asks_for_no_snapshot() {
        let reject = |index, reject_hint, request_snapshot| {
            checked(move |m| {
                m.set_msg_type(MessageType::MsgAppendResponse);
                m.reject = true;
                (m.index, m.reject_hint, m.request_snapshot) = (index, reject_hint, request_snapshot);
            })
        };

        assert_eq!(reject(20, 15, 0), Ok(()));
        assert_eq!(reject(21, 15, 0), Err(Refusal::Index));
        assert_eq!(reject(20, u64::MAX, 0), Err(Refusal::Index));
        assert_eq!(reject(20, 15, 1), Err(Refusal::Type));
    }

    #[test]
    fn only_a_vote_may_claim_a_transfer() {
        let vote = |msg_type, context: &'static [u8]| {
            checked(move |m| {
                m.set_msg_type(msg_type);
                m.context = context.into();
            })
        };

        assert_eq!(vote(MessageType::MsgRequestVote, b""), Ok(()));
        assert_eq!(vote(MessageType::MsgRequestVote, b"CampaignTransfer"), Ok(()));
        assert_eq!(vote(MessageType::MsgRequestVote, b"something else"), Err(Refusal::Type));
        assert_eq!(vote(MessageType::MsgRequestPreVote, b"CampaignTransfer"), Err(Refusal::Type));
    }

    #[test]
    fn only_the_leader_may_timeout_now() {
        let timeout_now = |from| {
            checked(move |m| {
                m.set_msg_type(MessageType::MsgTimeoutNow);
                m.from = from;
            })
        };

        assert_eq!(timeout_now(2), Ok(()));
        assert_eq!(timeout_now(3), Err(Refusal::Type));
    }

    #[test]
    fn an_acknowledgement_beyond_the_leaders_log_is_refused() {
        let acknowledge = |index| {
            checked(move |m| {
                m.set_msg_type(MessageType::MsgAppendResponse);
                m.index = index;
            })
        };

        assert_eq!(acknowledge(20), Ok(()));
        assert_eq!(acknowledge(21), Err(Refusal::Index));
    }

    #[test]
    fn a_read_id_has_one_length() {
        let ask = |bytes| {
            checked(move |m| {
                m.set_msg_type(MessageType::MsgReadIndex);
                m.term = 0;
                m.entries = vec![Entry { data: vec![0; bytes].into(), ..Default::default() }].into();
            })
        };

        assert_eq!(ask(READ_ID_BYTES), Ok(()));
        assert_eq!(ask(READ_ID_BYTES + 1), Err(Refusal::ReadId));
    }
}
