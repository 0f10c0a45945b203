//! Messages in flight.
//!
//! Owns messages that were sent and not yet delivered or lost. What always holds: every message passes through the real
//! codec, so a script or a simulation sends exactly what a socket would carry.

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, EntryType, Message, MessageType,
};

use crate::completion::Reply;
use crate::core::command::{Command, Operation, Write};
use crate::core::forwarding::Refused;
use crate::core::heartbeats::HeartbeatKind;
use crate::core::membership;
use crate::core::ports::{Body, Forward, ForwardAnswer, Heartbeats, PeerMessage};
use crate::transport::codec::{self, CodecError};
use crate::transport::protocol::Protocol;
use crate::types::{BOOTSTRAP_REGION, RegionId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Network {
    in_flight: Vec<PeerMessage>,
    /// One-way links (from, to) that drop everything.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    /// Sends a message; false when the link is cut and the message is lost.
    pub(crate) fn send(&mut self, message: PeerMessage, protocol: Protocol) -> bool {
        let lost = self.is_cut(message.from().get(), message.to().get());
        if !lost {
            self.in_flight.push(through_the_codec(&message, protocol));
        }
        !lost
    }

    /// Removes and returns, in sending order, the messages that `wanted` selects.
    pub(crate) fn take(&mut self, wanted: impl Fn(&PeerMessage) -> bool) -> Vec<PeerMessage> {
        self.in_flight.extract_if(.., |message| wanted(message)).collect()
    }

    /// Copies the messages that `wanted` selects, as a network that duplicates would.
    pub(crate) fn copies(&self, wanted: impl Fn(&PeerMessage) -> bool) -> Vec<PeerMessage> {
        self.in_flight.iter().filter(|message| wanted(message)).cloned().collect()
    }

    /// Cuts all links between `node` and the others, in both directions, and drops what is in flight on them.
    pub(crate) fn isolate(&mut self, node: u64, others: &[u64]) {
        self.cut.extend(others.iter().flat_map(|&other| [(node, other), (other, node)]));
        self.take(|message| message.from().get() == node || message.to().get() == node);
    }

    /// Cuts the link from `from` to `to`, and drops what is in flight on it.
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
        self.take(|message| message.from().get() == from && message.to().get() == to);
    }

    /// Whether the link from `from` to `to` is cut.
    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Repairs every link.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }
}

/// Encodes and decodes a message, as a socket of this version would.
pub(crate) fn through_the_codec(message: &PeerMessage, protocol: Protocol) -> PeerMessage {
    decode(&encode(message, protocol)).expect("the codec reads what it wrote")
}

/// What a connection of this version carries of `message`, behind the number of the version.
///
/// # Panics
/// When the message is nothing that such a connection can carry.
pub(crate) fn encode(message: &PeerMessage, protocol: Protocol) -> Bytes {
    let mut encoded = Vec::with_capacity(64);
    encoded.extend_from_slice(&protocol.number().to_le_bytes());
    codec::encode(message, protocol, &mut encoded).expect("the core sends what the codec carries");
    encoded.into()
}

/// The other way.
pub(crate) fn decode(bytes: &Bytes) -> Result<PeerMessage, CodecError> {
    let number = bytes.first_chunk::<4>().ok_or(CodecError::Truncated)?;
    let protocol = Protocol::of_number(u32::from_le_bytes(*number)).ok_or(CodecError::Newer)?;
    codec::decode(&bytes.slice(4..), protocol)
}

/// What a message tells raft, in each region by itself.
pub(crate) fn of_raft(message: &PeerMessage) -> Vec<(RegionId, Message)> {
    match &message.body {
        Body::Raft(raft) => vec![(message.region, raft.clone())],
        Body::Heartbeats(they) => {
            let singles = they.clone().into_singles(message.region);
            singles.map(|(region, single)| (region, single.into_raft())).collect()
        }
        Body::Forward(_) | Body::ForwardAnswer(_) => Vec::new(),
    }
}

/// A message's type as spelled in scripts.
pub(crate) fn type_name(message: &PeerMessage) -> &'static str {
    match &message.body {
        Body::Raft(message) => raft_type_name(message),
        Body::Heartbeats(Heartbeats { kind: HeartbeatKind::Heartbeat, .. }) => "heartbeat",
        Body::Heartbeats(Heartbeats { kind: HeartbeatKind::Answer, .. }) => "heartbeat-ok",
        Body::Forward(_) => "forward",
        Body::ForwardAnswer(_) => "forward-answer",
    }
}

fn raft_type_name(message: &Message) -> &'static str {
    match message.get_msg_type() {
        MessageType::MsgAppend => "append",
        MessageType::MsgAppendResponse if message.reject => "append-rejected",
        MessageType::MsgAppendResponse => "append-ok",
        MessageType::MsgRequestVote => "vote",
        MessageType::MsgRequestVoteResponse if message.reject => "vote-refused",
        MessageType::MsgRequestVoteResponse => "vote-granted",
        MessageType::MsgRequestPreVote => "pre-vote",
        MessageType::MsgRequestPreVoteResponse if message.reject => "pre-vote-refused",
        MessageType::MsgRequestPreVoteResponse => "pre-vote-granted",
        MessageType::MsgReadIndex => "read-index",
        MessageType::MsgReadIndexResp => "read-index-answer",
        MessageType::MsgTimeoutNow => "timeout-now",
        other => unreachable!("members do not send {other:?}"),
    }
}

/// A message as one line of script output.
pub(crate) fn describe(message: &PeerMessage) -> String {
    let mut head = format!("{}->{} {}", message.from(), message.to(), type_name(message));
    if message.region != BOOTSTRAP_REGION {
        head.push_str(&format!(" region={}", message.region));
    }
    match &message.body {
        Body::Raft(message) => describe_raft(head, message),
        Body::Heartbeats(_) => describe_heartbeats(head, message),
        Body::Forward(forward) => describe_forward(head, forward),
        Body::ForwardAnswer(answer) => describe_forward_answer(head, answer),
    }
}

fn describe_heartbeats(mut line: String, message: &PeerMessage) -> String {
    for (region, heartbeat) in of_raft(message) {
        if region != message.region {
            line.push_str(&format!("; region {region}:"));
        }
        line = describe_raft(line, &heartbeat);
    }
    line
}

fn describe_forward(mut line: String, forward: &Forward) -> String {
    line.push_str(&format!(" term={} attempt={} first={}", forward.term, forward.attempt, forward.first));
    let writes: Vec<_> = forward.writes.iter().map(|data| describe_command(data.clone())).collect();
    line.push_str(&format!(" [{}]", writes.join(", ")));
    line
}

fn describe_forward_answer(mut line: String, answer: &ForwardAnswer) -> String {
    for verdict in &answer.verdicts {
        match &verdict.outcome {
            Ok(Reply { position, .. }) => {
                line.push_str(&format!(" {}: {}/{}", verdict.number, position.index, position.term));
            }
            Err(refusal) => line.push_str(&format!(" {}: {}", verdict.number, refusal.code.name())),
        }
    }
    if let Some(Refused { first, code }) = answer.refused {
        line.push_str(&format!(" attempt={} refused from {first}: {}", answer.attempt, code.name()));
    }
    line
}

fn describe_raft(mut line: String, message: &Message) -> String {
    let mut field = |name: &str, value: u64| line.push_str(&format!(" {name}={value}"));
    if message.term != 0 {
        field("term", message.term);
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            field("after", message.index);
            field("commit", message.commit);
        }
        MessageType::MsgAppendResponse | MessageType::MsgReadIndexResp | MessageType::MsgTimeoutNow => {
            field("index", message.index);
        }
        MessageType::MsgHeartbeat => field("commit", message.commit),
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse
            if message.commit > 0 =>
        {
            field("commit", message.commit);
        }
        _ => {}
    }
    if message.get_msg_type() == MessageType::MsgAppend {
        let entries: Vec<_> = message.entries.iter().map(describe_entry).collect();
        line.push_str(&format!(" [{}]", entries.join(", ")));
    }
    let asks =
        matches!(message.get_msg_type(), MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse);
    if asks && !message.context.is_empty() {
        line.push_str(" with read");
    }
    line
}

/// An entry as `index/term what`.
pub(crate) fn describe_entry(entry: &raft::eraftpb::Entry) -> String {
    let place = format!("{}/{}", entry.index, entry.term);
    if entry.get_entry_type() != EntryType::EntryNormal {
        return format!("{place} {}", describe_change(entry));
    }
    if entry.data.is_empty() {
        return format!("{place} empty");
    }
    format!("{place} {}", describe_command(entry.data.clone()))
}

/// Who votes, learns or goes by a change of the configuration.
fn describe_change(entry: &raft::eraftpb::Entry) -> String {
    let Some(change) = membership::parse(entry) else { return "malformed membership change".to_owned() };
    let what = |single: &ConfChangeSingle| match single.get_change_type() {
        ConfChangeType::AddNode => format!("{} votes", single.node_id),
        ConfChangeType::AddLearnerNode => format!("{} learns", single.node_id),
        ConfChangeType::RemoveNode => format!("{} goes", single.node_id),
    };
    let changes: Vec<_> = change.changes.iter().map(what).collect();
    match (changes.is_empty(), change.get_transition()) {
        (true, _) => "joint step ends".to_owned(),
        (false, ConfChangeTransition::Explicit) => format!("joint step: {}", changes.join(", ")),
        (false, _) => changes.join(", "),
    }
}

fn describe_command(data: Bytes) -> String {
    match Command::parse(data) {
        Ok(Command::Write(write)) => describe_write(&write),
        Ok(Command::Group(writes)) => {
            let writes: Vec<_> = writes.iter().map(describe_write).collect();
            format!("({})", writes.join("; "))
        }
        Ok(Command::Truncate(index)) => format!("truncate {index}"),
        Ok(Command::Level(level)) => format!("level {level}"),
        Ok(Command::Settled(version)) => format!("settled {version}"),
        Ok(Command::Members(list)) => format!("members {}", list.version),
        Err(error) => error.to_string(),
    }
}

fn describe_write(write: &Write) -> String {
    let operations: Vec<_> = write.operations().map(describe_operation).collect();
    operations.join(" ")
}

fn describe_operation(operation: Operation<'_>) -> String {
    let text = String::from_utf8_lossy;
    match operation {
        Operation::Put { key, value } => format!("{}={}", text(key), text(value)),
        Operation::Delete { key } => format!("-{}", text(key)),
        Operation::DeleteRange { begin, end } => format!("-{}..{}", text(begin), text(end)),
        Operation::Add { key, delta } => format!("{}+={delta}", text(key)),
        Operation::PutVersioned { prefix, value } => format!("{}*={}", text(prefix), text(value)),
        Operation::Pop { key } => format!("pop:{}", text(key)),
        Operation::TakeFirst { begin, end } => format!("take:{}..{}", text(begin), text(end)),
        Operation::IfAbsent { key } => format!("!{}", text(key)),
        Operation::IfPresent { key } => format!("?{}", text(key)),
        Operation::IfVersion { key, version } => {
            format!("{}@{}/{}", text(key), version.index(), version.ordinal())
        }
        Operation::IfValue { key, value } => format!("{}=={}", text(key), text(value)),
        Operation::IfRange { begin, end, .. } => format!("{}..{}?", text(begin), text(end)),
        Operation::Otherwise => "else".to_owned(),
    }
}
