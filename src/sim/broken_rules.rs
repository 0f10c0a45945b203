//! Messages that break one rule.
//!
//! Owns, for each rule of the validator, how to turn a valid message into one that breaks this rule and no other:
//! random mutation seldom hits the right field and value. What always holds: the message was valid before, so the
//! mutation is the only thing wrong with it. Checking that it is refused is left to
//! [`hostile`](super::cluster::hostile).

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::core::forwarding::Forward;
use crate::core::heartbeats::HeartbeatKind;
use crate::core::membership::CONF_CHANGE_BYTES_MAX;
use crate::core::ports::{Body, Heartbeats, PeerMessage};
use crate::types::{LogIndex, NodeId, Term};

/// Number of rules; they are numbered from 1.
const RULES: u8 = 20;

/// Message types that members never send to each other.
const LOCAL: [MessageType; 7] = [
    MessageType::MsgHup,
    MessageType::MsgBeat,
    MessageType::MsgPropose,
    MessageType::MsgUnreachable,
    MessageType::MsgSnapStatus,
    MessageType::MsgCheckQuorum,
    MessageType::MsgTransferLeader,
];

/// Makes `message` break `rule` by the amount `far`; returns false when no message of its type can break it.
pub(crate) fn break_rule(message: &mut PeerMessage, rule: u8, far: u64) -> bool {
    let (own, other) = (message.to(), NodeId(100 + far));
    match (1 + rule % RULES, &mut message.body) {
        (1, Body::Raft(raft)) => raft.from = other.get(),
        (1, Body::Heartbeats(they)) => they.from = other,
        (1, Body::Forward(forward)) => forward.from = other,
        (1, Body::ForwardAnswer(answer)) => answer.from = other,
        (2, Body::Raft(raft)) => raft.to = other.get(),
        (2, Body::Heartbeats(they)) => they.to = other,
        (2, Body::Forward(forward)) => forward.to = other,
        (2, Body::ForwardAnswer(answer)) => answer.to = other,
        (3, Body::Raft(raft)) => raft.from = own.get(),
        (3, Body::Heartbeats(they)) => they.from = own,
        (3, Body::Forward(forward)) => forward.from = own,
        (3, Body::ForwardAnswer(answer)) => answer.from = own,
        (rule, Body::Raft(raft)) => return break_rule_of_raft(raft, rule, far),
        (rule, Body::Heartbeats(they)) => return break_rule_of_heartbeats(they, rule, far),
        _ => return false,
    }
    true
}

/// In all of its regions.
fn break_rule_of_heartbeats(they: &mut Heartbeats, rule: u8, far: u64) -> bool {
    let kind = they.kind;
    let others = they.others.iter_mut().map(|other| &mut other.heartbeat);
    let broken = std::iter::once(&mut they.first).chain(others).map(|heartbeat| {
        match (rule, kind) {
            (4, _) => heartbeat.term = Term(u64::MAX - far),
            (5, _) => heartbeat.term = Term(0),
            (12, HeartbeatKind::Heartbeat) => {
                heartbeat.commit = LogIndex(heartbeat.commit.get() + 10_000 + far)
            }
            _ => return false,
        }
        true
    });
    // Each of them, whatever became of those before.
    let broken: Vec<_> = broken.collect();
    broken.into_iter().all(|is_broken| is_broken)
}

fn break_rule_of_raft(raft: &mut Message, rule: u8, far: u64) -> bool {
    use MessageType::{
        MsgAppend, MsgAppendResponse, MsgReadIndex, MsgReadIndexResp, MsgRequestPreVote, MsgRequestVote,
        MsgTimeoutNow,
    };
    match (rule, raft.get_msg_type()) {
        (4, kind) if kind != MsgReadIndex => raft.term = u64::MAX - far,
        (5, kind) if kind != MsgReadIndex => raft.term = 0,
        (6, kind) if kind != MsgReadIndex => raft.set_msg_type(LOCAL[far as usize % LOCAL.len()]),
        (7, MsgAppend) => return with_entry(raft, far, |entry| entry.index += 1 + far),
        (8, MsgAppend) => {
            let term = raft.term;
            return with_entry(raft, far, |entry| entry.term = term + 1 + far);
        }
        (9, MsgAppend) => raft.log_term = 0,
        (10, MsgAppend) => {
            return with_entry(raft, far, |entry| {
                entry.set_entry_type(EntryType::EntryConfChangeV2);
                entry.data = vec![0; CONF_CHANGE_BYTES_MAX + 1].into();
            });
        }
        (11, MsgAppend) => {
            raft.index = u64::MAX - far % 2;
            let places = (0..raft.entries.len() as u64).map(|at| raft.index.wrapping_add(at + 1));
            let places: Vec<_> = places.collect();
            raft.entries.iter_mut().zip(places).for_each(|(entry, index)| entry.index = index);
        }
        (13, MsgReadIndex | MsgReadIndexResp) => {
            return with_entry(raft, 0, |entry| {
                let length = entry.data.len() + 1 + far as usize % 8;
                let mut data = entry.data.to_vec();
                data.resize(length, 0);
                entry.data = data.into();
            });
        }
        (14, MsgReadIndex | MsgReadIndexResp) => raft.entries.clear(),
        (15, MsgAppendResponse) => raft.index += 10_000 + far,
        (16, MsgAppendResponse) => (raft.reject, raft.reject_hint) = (true, raft.index + 1 + far),
        (17, MsgAppendResponse) => raft.request_snapshot = 1 + far,
        (18, MsgAppendResponse) => raft.set_msg_type(MsgTimeoutNow),
        (19, MsgRequestPreVote) => raft.context = Bytes::from_static(b"CampaignTransfer"),
        (19, MsgRequestVote) => raft.context = vec![b'C'; 1 + far as usize].into(),
        (20, kind) if ![MsgAppend, MsgReadIndex, MsgReadIndexResp].contains(&kind) => {
            raft.entries.push(Entry { term: raft.term, index: raft.index + 1, ..Entry::default() });
        }
        _ => return false,
    }
    true
}

fn with_entry(raft: &mut Message, at: u64, change: impl FnOnce(&mut Entry)) -> bool {
    let count = raft.entries.len().max(1);
    let entry = raft.entries.get_mut(at as usize % count);
    entry.map(change).is_some()
}

/// A forwarded write to the current leader, in a fresh attempt starting at `first`, so that only its payload can be
/// invalid.
pub(crate) fn fresh_forward(from: NodeId, to: NodeId, term: Term, first: u64, write: Bytes) -> Forward {
    Forward { from, to, boot: u64::MAX, term, attempt: first, first, resend: None, writes: vec![write] }
}
