//! Injection of hostile messages into the normal traffic.
//!
//! Owns how a message that no member sent reaches a member, and the checks that follow immediately. What always holds:
//! a message that the validator promises to refuse is delivered alone, in a round of its own, and leaves the member
//! unchanged. The validator's rules are restated here independently of its implementation. A message that a member
//! could have sent itself is left to the fuzzer: raft believes a member that lies.

use bytes::Bytes;
use raft::eraftpb::{EntryType, Message, MessageType};

use super::Cluster;
use crate::core::command::{Command, Operation};
use crate::core::membership::CONF_CHANGE_BYTES_MAX;
use crate::core::peer::Peer;
use crate::core::peer_status::{PeerStatus, Role};
use crate::core::ports::{Body, PeerMessage};
use crate::core::reads::READ_ID_BYTES;
use crate::sim::invariants::Check;
use crate::sim::network::{self, of_raft};
use crate::types::{NodeId, RegionId};

/// How far ahead a message's term may be; see the validator.
const TERM_JUMP_MAX: u64 = 1 << 20;

/// A sent message: its link, the boot of its sender, and its bytes.
pub(crate) type Sent = ((usize, usize), u64, Bytes);

impl Cluster {
    /// A recent message; none if none has been sent.
    pub(crate) fn any_sent(&self, number: usize) -> Option<&Sent> {
        let [rare, common] = &self.sent;
        let count = rare.len() + common.len();
        rare.iter().chain(common).nth(number % count.max(1))
    }

    /// True when exactly this message was sent on this link recently.
    pub(crate) fn was_sent(&self, link: (usize, usize), message: &PeerMessage) -> bool {
        let same = |bytes: &Bytes| network::decode(bytes).is_ok_and(|sent| sent == *message);
        self.sent.iter().flatten().any(|(sent_on, _, bytes)| *sent_on == link && same(bytes))
    }

    /// Delivers a sent message again.
    pub(crate) fn arrive_again(&mut self, sent: &Sent) {
        self.receive(sent.0, sent.1, &sent.2);
    }

    /// Whether the validator of `host` promises to refuse `message` in its current state, in each region that it names;
    /// true also if `host` is down.
    pub(crate) fn must_refuse(&self, host: usize, message: &PeerMessage) -> bool {
        match &message.body {
            Body::Raft(_) | Body::Heartbeats(_) => of_raft(message).iter().all(|(region, raft)| {
                self.addressed_peer(host, *region, message).is_none_or(|peer| breaks_a_rule(raft, peer))
            }),
            Body::Forward(_) | Body::ForwardAnswer(_) => {
                self.addressed_peer(host, message.region, message).is_none()
            }
        }
    }

    /// The peer that the message may be for.
    fn addressed_peer(&self, host: usize, region: RegionId, message: &PeerMessage) -> Option<&Peer> {
        let (node, from) = (NodeId(host as u64 + 1), message.from());
        let peer = self.hosts[host].member.peer_of(region)?;
        // Whoever speaks is heard, in the configuration or not.
        let is_somebody = from != node && ![0, u64::MAX].contains(&from.get());
        (message.to() == node && is_somebody).then_some(peer)
    }

    /// The member that considers itself leader of `region`, and its term.
    pub(crate) fn leader_of(&self, region: RegionId) -> Option<(usize, u64)> {
        let statuses = self.hosts.iter().map(|host| host.member.peer_of(region).map(Peer::status));
        let leads = |(at, status): (usize, Option<PeerStatus>)| {
            let status = status.filter(|status| status.role == Role::Leader)?;
            Some((at, status.term.get()))
        };
        statuses.enumerate().filter_map(leads).max_by_key(|(_, term)| *term)
    }

    /// Whether `data` is a single write whose keys are all in `region`.
    pub(crate) fn may_be_logged(&self, host: usize, region: RegionId, data: &Bytes) -> bool {
        let Some(peer) = self.hosts[host].member.peer_of(region) else { return false };
        let owned = |operation| match operation {
            Operation::Put { key, .. } | Operation::Delete { key } => peer.region().contains(key),
            Operation::DeleteRange { begin, .. } => peer.region().contains(begin),
            judged => peer.region().owns(judged),
        };
        let Ok(Command::Write(write)) = Command::parse(data.clone()) else { return false };
        write.operations().all(owned)
    }

    /// Makes `host` process its pending inputs, so that a message can be judged in isolation.
    ///
    /// # Errors
    /// The violated invariant, in words.
    pub(crate) fn take_what_waits(&mut self, host: usize) -> Check {
        while self.hosts[host].next_turn() > self.now {
            self.step()?;
        }
        self.run_round(host);
        self.judged()
    }

    /// Delivers a message that must be refused to `host`, which has no pending inputs.
    ///
    /// # Errors
    /// What happened instead, in words, when it was not refused or had any effect.
    pub(crate) fn throw_refused(&mut self, host: usize, message: &PeerMessage) -> Check {
        let regions = message.regions();
        let before = regions.iter().map(|region| self.refusals_and_status(host, *region)).collect::<Vec<_>>();
        self.throw(host, message)?;
        for (&region, before) in regions.iter().zip(before) {
            let Some(before) = before else { continue };
            let Some(after) = self.refusals_and_status(host, region) else {
                return Err(format!("{} does not run after {message:?}", host + 1));
            };
            if after.0 == before.0 {
                return Err(format!("{} did not refuse {message:?} in region {region}", host + 1));
            }
            if after.1 != before.1 {
                return Err(format!("{:?} became {:?} by {message:?}", before.1, after.1));
            }
        }
        Ok(())
    }

    /// Delivers an arbitrary message to `host`.
    ///
    /// # Errors
    /// The violated invariant, in words.
    pub(crate) fn throw(&mut self, host: usize, message: &PeerMessage) -> Check {
        self.hosts[host].member.feed_message(message.clone());
        self.run_round(host);
        self.judged()
    }

    /// The number of refused messages so far; term, role, leader, commit.
    fn refusals_and_status(&self, host: usize, region: RegionId) -> Option<(u64, (u64, Role, u64, u64))> {
        let peer = self.hosts[host].member.peer_of(region)?;
        let status = peer.status();
        let leader = status.leader.map_or(0, NodeId::get);
        let status = (status.term.get(), status.role, leader, status.commit_index.get());
        Some((peer.refused_messages(), status))
    }

    fn judged(&mut self) -> Check {
        self.take_answers();
        self.ledger.broken().map_or(Ok(()), |words| Err(words.to_owned()))
    }
}

fn breaks_a_rule(raft: &Message, peer: &Peer) -> bool {
    use MessageType::{
        MsgAppend, MsgAppendResponse, MsgBeat, MsgCheckQuorum, MsgHeartbeat, MsgHup, MsgPropose,
        MsgReadIndex, MsgReadIndexResp, MsgRequestPreVote, MsgRequestVote, MsgSnapStatus, MsgSnapshot,
        MsgTimeoutNow, MsgTransferLeader, MsgUnreachable,
    };
    let status = peer.status();
    let (term, last) = (status.term.get(), status.last_index.get());
    let kind = raft.get_msg_type();
    let term_is_sane = if kind == MsgReadIndex {
        raft.term == 0
    } else {
        raft.term > 0 && raft.term - raft.term.min(term) <= TERM_JUMP_MAX
    };
    if !term_is_sane {
        return true;
    }
    match kind {
        MsgHup | MsgBeat | MsgPropose | MsgSnapshot | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum
        | MsgTransferLeader => true,
        MsgAppend => !is_contiguous(raft),
        MsgHeartbeat => raft.commit > last || !raft.entries.is_empty(),
        MsgReadIndex | MsgReadIndexResp => {
            raft.entries.len() != 1 || raft.entries[0].data.len() != READ_ID_BYTES
        }
        _ if !raft.entries.is_empty() => true,
        MsgTimeoutNow => status.leader.map(NodeId::get) != Some(raft.from),
        MsgRequestPreVote => !raft.context.is_empty(),
        MsgRequestVote => !raft.context.is_empty() && raft.context != b"CampaignTransfer"[..],
        MsgAppendResponse if status.role == Role::Leader => {
            let hint_is_ahead = raft.reject && raft.reject_hint > raft.index;
            raft.request_snapshot != 0 || hint_is_ahead || raft.index > last
        }
        _ => false,
    }
}

/// Whether entries directly follow the position that the message names and each other, in terms that do not decrease
/// and do not exceed the message's own.
fn is_contiguous(raft: &Message) -> bool {
    let mut before = (raft.index, raft.log_term);
    for entry in raft.entries.iter() {
        let follows = before.0.checked_add(1) == Some(entry.index) && entry.term >= before.1;
        let too_large =
            entry.get_entry_type() != EntryType::EntryNormal && entry.data.len() > CONF_CHANGE_BYTES_MAX;
        if !follows || entry.term > raft.term || too_large {
            return false;
        }
        before = (entry.index, entry.term);
    }
    raft.log_term != 0 && before.0 != u64::MAX
}
