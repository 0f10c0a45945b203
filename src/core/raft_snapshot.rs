//! What is said of a raft snapshot: what it is of, and that a leader sends it to a member.
//!
//! Owns [`SnapshotHead`] and [`SnapshotMessage`] and their encodings. What always holds: the data of a raft snapshot are
//! the region's at exactly the apply state of its head, and so is the region's record. The data travel and are kept
//! apart from it.

pub(crate) mod rows;

use raft::eraftpb::{Message, MessageType, Snapshot};

use crate::core::region::Region;
use crate::types::{ApplyState, LOG_INDEX_MAX, LogIndex, NodeId, Term};

const VERSION: u8 = 1;

/// A raft snapshot without its data.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotHead {
    /// The region as it was, with its configuration.
    pub region: Region,
    /// Up to here the log is in the data, no more and no less.
    pub state: ApplyState,
}

impl SnapshotHead {
    /// The encoded form: version u8 | applied index u64 | applied term u64, little-endian | [`Region::encode`].
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.is_possible(), "what is made of a region makes sense");
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.state.index.get().to_le_bytes());
        out.extend_from_slice(&self.state.term.get().to_le_bytes());
        out.extend_from_slice(&self.region.encode());
        out
    }

    /// Whether a peer can begin with it. What a leader makes is; raft, or the applier, panics at anything else.
    #[must_use]
    pub(crate) fn is_possible(&self) -> bool {
        let members = &self.region.members;
        let has = |list: &[u64], node: &u64| list.contains(node);
        let (voters, outgoing) = (&members.voters, &members.voters_outgoing);
        let is_joint = !outgoing.is_empty();
        let lists = [voters, outgoing, &members.learners, &members.learners_next];
        let is_double = |list: &&Vec<u64>| list.iter().enumerate().any(|(at, node)| has(&list[..at], node));
        !voters.is_empty()
            && !lists.iter().any(is_double)
            && !lists.iter().any(|list| has(list, &0))
            && !members.learners.iter().any(|node| has(voters, node) || has(outgoing, node))
            && members.learners_next.iter().all(|node| has(outgoing, node) && !has(voters, node))
            && (is_joint || (members.learners_next.is_empty() && !members.auto_leave))
            && self.region.floor_index <= self.state.index
            && self.region.may_have_settled(self.region.settled_version)
            && self.state.index.get() <= LOG_INDEX_MAX
    }

    /// Reads that form; none when it is damaged or of a newer version.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (index, rest) = rest.split_first_chunk::<8>()?;
        let (term, rest) = rest.split_first_chunk::<8>()?;
        let index = LogIndex(u64::from_le_bytes(*index));
        let state = ApplyState { index, term: Term(u64::from_le_bytes(*term)) };
        let is_possible = version == VERSION && index > LogIndex(0) && index < LogIndex(u64::MAX);
        is_possible.then_some(())?;
        Some(Self { region: Region::decode(rest)?, state })
    }
}

/// That a leader sends a raft snapshot: what is told first of it, and what the member's raft is told when it has arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotMessage {
    /// The leader.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// The leader's term.
    pub term: Term,
    /// Of what it is.
    pub head: SnapshotHead,
}

impl SnapshotMessage {
    /// The encoded form: from u64 | to u64 | term u64, little-endian | [`SnapshotHead::encode`].
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = [self.from.get(), self.to.get(), self.term.get()];
        let mut out: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        out.extend_from_slice(&self.head.encode());
        out
    }

    /// Reads that form; none when it is damaged or of a newer version.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (from, rest) = bytes.split_first_chunk::<8>()?;
        let (to, rest) = rest.split_first_chunk::<8>()?;
        let (term, rest) = rest.split_first_chunk::<8>()?;
        let [from, to, term] = [from, to, term].map(|number| u64::from_le_bytes(*number));
        let head = SnapshotHead::decode(rest)?;
        Some(Self { from: NodeId(from), to: NodeId(to), term: Term(term), head })
    }

    /// What raft is told.
    #[must_use]
    pub(crate) fn to_raft(&self) -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        (message.from, message.to, message.term) = (self.from.get(), self.to.get(), self.term.get());
        assert!(self.head.state.term <= self.term, "a leader has no entries of later terms");
        message.set_snapshot(raft_form(&self.head));
        message
    }
}

/// The head as raft knows it.
#[must_use]
pub(crate) fn raft_form(head: &SnapshotHead) -> Snapshot {
    assert!(head.state.index > LogIndex(0), "raft takes a snapshot at 0 for none");
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (head.state.index.get(), head.state.term.get());
    metadata.set_conf_state(head.region.members.clone());
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> SnapshotMessage {
        let region = Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)]);
        let state = ApplyState { index: LogIndex(70_000), term: Term(9) };
        SnapshotMessage {
            from: NodeId(2),
            to: NodeId(3),
            term: Term(11),
            head: SnapshotHead { region, state },
        }
    }

    #[test]
    fn a_message_survives_the_round_trip_and_any_cut_of_it_is_refused() {
        let bytes = message().encode();

        assert_eq!(SnapshotMessage::decode(&bytes), Some(message()));
        assert!((0..bytes.len()).all(|length| SnapshotMessage::decode(&bytes[..length]).is_none()));
        let mut newer = bytes;
        newer[24] = VERSION + 1;
        assert_eq!(SnapshotMessage::decode(&newer), None);
    }

    #[test]
    fn raft_is_told_place_term_and_configuration() {
        let told = message().to_raft();

        let metadata = told.get_snapshot().get_metadata();
        assert_eq!((told.from, told.to, told.term), (2, 3, 11));
        assert_eq!((metadata.index, metadata.term), (70_000, 9));
        assert_eq!(metadata.get_conf_state().voters, [1, 2, 3]);
    }
}
