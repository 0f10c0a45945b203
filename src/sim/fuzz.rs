//! The fuzzer's entry point to a running cluster.
//!
//! Owns the translation of arbitrary bytes into hostile messages between members that serve clients, elect, crash and
//! restart. What always holds: a message that no member may send - to another member, from a stranger, of a local-only
//! type, with entries that are not contiguous, a commit index beyond the log, an invented term, or for a region that
//! does not exist - is refused and changes nothing; all invariants of the simulator hold meanwhile, and a healed
//! cluster serves and converges; real messages may be replayed. A message that a member could have sent itself is a lie
//! of that member (a Byzantine fault), which can break invariants between members: lies are kept until the end, when
//! each is delivered to its recipient, which must not crash on it.
//!
//! A forwarded write that may not be in the log - no command, a command only members may issue, a write to another
//! region's keys - is refused by the leader too, although the message alone does not show that it is invalid.
//!
//! Input format: a seed (u16) for the plan, then steps (kind u8 and its operands).

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::core::command::{CommandBuilder, Operation, seal_group, seal_truncate};
use crate::core::heartbeats::{HeartbeatKind, OfRegion};
use crate::core::ports::{Body, Heartbeats, PeerMessage};
use crate::core::reads::READ_ID_BYTES;
use crate::sim::broken_rules::{break_rule, fresh_forward};
use crate::sim::checker;
use crate::sim::cluster::Cluster;
use crate::sim::invariants::Check;
use crate::sim::network;
use crate::sim::plan::Plan;
use crate::sim::run;
use crate::sim::trace::Trace;
use crate::transport::codec;
use crate::transport::protocol::Protocol;
use crate::types::{BOOTSTRAP_EPOCH, LogIndex, NodeId, RegionId, Term};

/// Steps of an input that are executed; the rest is ignored.
const STEPS_MAX: usize = 200;
/// Maximum number of events between two steps.
const EVENTS_MAX: usize = 256;
/// Messages examined to find one that can break a rule.
const TRIES_MAX: usize = 64;
/// Events after a lie about forwarded writes.
const EVENTS_AFTER_LIE: usize = 200;
/// Maximum number of invalid forwarded commands that are executed.
const NONSENSE_MAX: usize = 4;
/// Length of the fault phase in election timeouts, if the input is long enough.
const ROUGH_TIMEOUTS: u64 = 12;

/// Runs a cluster under hostile messages derived from `data` and checks the invariants.
///
/// # Panics
/// When an invariant is violated.
pub fn fuzz_cluster(data: &[u8]) {
    let Some((seed, rest)) = data.split_first_chunk::<2>() else { return };
    let seed = u16::from_le_bytes(*seed);
    if let Err(words) = live(plan(seed), Input { rest }) {
        panic!("seed {seed}: {words}");
    }
}

/// A simulator plan, limited to what one input can afford.
fn plan(seed: u16) -> Plan {
    let mut plan = Plan::draw(u64::from(seed));
    plan.upgrade = false;
    plan.members = plan.members.clamp(2, 5);
    plan.safety = ROUGH_TIMEOUTS * plan.election_timeout();
    plan.load.value_bytes = 8..24;
    let election = plan.election_timeout();
    if let Some(change) = &mut plan.members_change {
        // In so short a time somebody is to come, and somebody to go.
        change.pause = election;
    }
    plan
}

fn live(plan: Plan, mut input: Input<'_>) -> Check {
    let end = plan.safety;
    let mut cluster = Cluster::new(plan, Trace::new(None, 0));
    let (mut lies, mut nonsense) = (Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        let Some(kind) = input.byte() else { break };
        if cluster.now > end {
            break;
        }
        match kind {
            0xe0.. => say_broken(&mut cluster, &mut input, &mut lies)?,
            0xd0..0xd8 => say_to_another(&mut cluster, &mut input, &mut lies)?,
            0xd8..0xe0 => nonsense.push((usize::from(input.number()), unfit(&mut input))),
            _ => step(&mut cluster, kind, &mut input, &mut lies)?,
        }
    }
    run::heal_and_agree(&mut cluster)?;
    let mut numbered = (1..).zip(nonsense.into_iter().take(NONSENSE_MAX));
    numbered.try_for_each(|(number, (at, data))| forward(&mut cluster, at, number, data))?;
    for &region in cluster.regions() {
        let judged = checker::check(&cluster.calls.history(region));
        judged.map_err(|violation| format!("region {region}: {violation}"))?;
    }
    // Lies about forwarded writes first: the others would make members diverge.
    lies.sort_by_key(|(host, lie)| (!is_about_writes(lie), *host));
    lies.dedup_by_key(|(host, lie)| (!is_about_writes(lie), *host));
    cluster.ledger.close();
    lies.iter().try_for_each(|(host, lie)| hear_lie(&mut cluster, *host, lie))
}

type Lies = Vec<(usize, PeerMessage)>;

fn step(cluster: &mut Cluster, kind: u8, input: &mut Input<'_>, lies: &mut Lies) -> Check {
    match kind % 6 {
        0 | 1 => {
            let events = 1 + usize::from(input.number()) * EVENTS_MAX / 256;
            (0..events).try_for_each(|_| cluster.step())
        }
        2 => {
            if let Some(sent) = cluster.any_sent(input.number().into()).cloned() {
                cluster.arrive_again(&sent);
            }
            Ok(())
        }
        3 => {
            let Some((link, _, bytes)) = cluster.any_sent(input.number().into()).cloned() else {
                return Ok(());
            };
            let mut message = network::decode(&bytes).expect("the codec reads what it wrote");
            for _ in 0..1 + input.number() % 3 {
                change(&mut message, input);
            }
            say(cluster, link.1, message, lies)
        }
        4 => {
            let Some((link, _, bytes)) = cluster.any_sent(input.number().into()).cloned() else {
                return Ok(());
            };
            let mut bytes = bytes.to_vec();
            for _ in 0..1 + input.number() % 3 {
                let at = usize::from(input.number()) % bytes.len();
                bytes[at] = input.number();
            }
            hear(cluster, link.1, bytes.into(), lies)
        }
        _ => {
            let host = usize::from(input.number()) % cluster.hosts.len();
            let length = usize::from(input.number());
            let version = Protocol::NEWEST.number().to_le_bytes();
            hear(cluster, host, [&version[..], input.take(length)].concat().into(), lies)
        }
    }
}

/// Sends a recent message with one rule broken.
fn say_broken(cluster: &mut Cluster, input: &mut Input<'_>, lies: &mut Lies) -> Check {
    let (rule, far, start) = (input.number(), input.number(), usize::from(input.number()));
    for number in start..start + TRIES_MAX {
        let Some((link, _, bytes)) = cluster.any_sent(number).cloned() else { break };
        let mut message = network::decode(&bytes).expect("the codec reads what it wrote");
        if break_rule(&mut message, rule, far.into()) {
            return say(cluster, link.1, message, lies);
        }
    }
    Ok(())
}

/// Sends a recent message in the name of any machine to any other, whether these are members, were some or may become some.
fn say_to_another(cluster: &mut Cluster, input: &mut Input<'_>, lies: &mut Lies) -> Check {
    let number = usize::from(input.number());
    let [from, to] = [input.number(), input.number()].map(|at| usize::from(at) % cluster.hosts.len());
    let Some((_, _, bytes)) = cluster.any_sent(number).cloned() else { return Ok(()) };
    let mut message = network::decode(&bytes).expect("the codec reads what it wrote");
    readdress(&mut message, NodeId(from as u64 + 1), NodeId(to as u64 + 1));
    say(cluster, to, message, lies)
}

fn readdress(message: &mut PeerMessage, from: NodeId, to: NodeId) {
    match &mut message.body {
        Body::Raft(raft) => (raft.from, raft.to) = (from.get(), to.get()),
        Body::Heartbeats(they) => (they.from, they.to) = (from, to),
        Body::Forward(forward) => (forward.from, forward.to) = (from, to),
        Body::ForwardAnswer(answer) => (answer.from, answer.to) = (from, to),
    }
}

/// Data that may not be in any log, or not in every region's: arbitrary bytes, a command only members may issue, a
/// write to an arbitrary key.
fn unfit(input: &mut Input<'_>) -> Bytes {
    let (kind, length) = (input.number(), usize::from(input.number() % 32));
    let bytes = input.take(length);
    let mut builder = CommandBuilder::default();
    builder.push(Operation::Put { key: bytes, value: b"nonsense" });
    let write = builder.seal(BOOTSTRAP_EPOCH.version);
    match kind % 4 {
        0 => Bytes::copy_from_slice(bytes),
        1 => seal_truncate(LogIndex(u64::from(kind)), BOOTSTRAP_EPOCH.version),
        2 => seal_group([write].iter()),
        _ => write,
    }
}

/// Forwards `data` to the leader of one of the regions; it must be refused unless that region's log may contain it.
fn forward(cluster: &mut Cluster, at: usize, number: u64, data: Bytes) -> Check {
    let region = cluster.regions()[at % cluster.regions().len()];
    let Some((leader, term)) = cluster.leader_of(region) else { return Ok(()) };
    let from = (leader + 1) % cluster.hosts.len();
    let [from, to] = [from, leader].map(|host| NodeId(host as u64 + 1));
    let forward = fresh_forward(from, to, Term(term), number, data.clone());
    let message = PeerMessage { region, epoch: BOOTSTRAP_EPOCH, body: Body::Forward(forward) };
    if cluster.may_be_logged(leader, region, &data) {
        return Ok(());
    }
    cluster.take_what_waits(leader)?;
    cluster.throw_refused(leader, &message)
}

/// Bytes that do not decode to a message end their connection and have no other effect.
fn hear(cluster: &mut Cluster, host: usize, bytes: Bytes, lies: &mut Lies) -> Check {
    network::decode(&bytes).map_or(Ok(()), |message| say(cluster, host, message, lies))
}

fn say(cluster: &mut Cluster, host: usize, message: PeerMessage, lies: &mut Lies) -> Check {
    // A message that the codec does not carry reaches nobody.
    if codec::encode(&message, Protocol::NEWEST, &mut Vec::new()).is_err() {
        return Ok(());
    }
    cluster.take_what_waits(host)?;
    if cluster.must_refuse(host, &message) {
        return cluster.throw_refused(host, &message);
    }
    let link = (message.from().get() as usize - 1, host);
    if !cluster.was_sent(link, &message) {
        lies.push((host, message));
    }
    Ok(())
}

/// Whether a message is about forwarded writes.
fn is_about_writes(message: &PeerMessage) -> bool {
    matches!(message.body, Body::Forward(_) | Body::ForwardAnswer(_))
}

/// The recipient of a lie may believe it, but must keep running; when the lie is about forwarded writes, which a member
/// may write and lose as it likes, so must all others.
fn hear_lie(cluster: &mut Cluster, host: usize, lie: &PeerMessage) -> Check {
    if cluster.must_refuse(host, lie) {
        return Ok(());
    }
    // Some machines are no members: not yet, or no more.
    let running = |cluster: &Cluster| cluster.hosts.iter().filter(|host| host.member.is_running()).count();
    let ran = running(cluster);
    // What the ledger reports after a believed lie violates no invariant of ours.
    let _believed = cluster.throw(host, lie);
    if is_about_writes(lie) {
        (0..EVENTS_AFTER_LIE).for_each(|_| drop(cluster.step()));
    }
    if running(cluster) >= ran { Ok(()) } else { Err(format!("a member fell over {lie:?} to {}", host + 1)) }
}

/// Replaces one field of a message.
fn change(message: &mut PeerMessage, input: &mut Input<'_>) {
    let (field, value) = (input.number(), input.word());
    match field % 16 {
        14 => return message.region = RegionId(value),
        15 => return message.epoch.conf_ver = value,
        _ => {}
    }
    match &mut message.body {
        Body::Raft(raft) => change_raft(raft, field, value, input),
        Body::Heartbeats(they) => change_heartbeats(they, field, value),
        Body::Forward(forward) => match field % 8 {
            0 => forward.to = NodeId(value),
            1 => forward.from = NodeId(value),
            2 => forward.boot = value,
            3 => forward.term = Term(value),
            4 => forward.attempt = value,
            5 => forward.first = value,
            _ => forward.writes.push(Bytes::copy_from_slice(input.take(value as usize % 64))),
        },
        Body::ForwardAnswer(answer) => match field % 6 {
            0 => answer.to = NodeId(value),
            1 => answer.from = NodeId(value),
            2 => answer.boot = value,
            3 => answer.attempt = value,
            4 => answer.refused = None,
            _ => answer.verdicts.iter_mut().for_each(|verdict| verdict.number = value),
        },
    }
}

fn change_heartbeats(they: &mut Heartbeats, field: u8, value: u64) {
    let other = they.others.last_mut().map(|other| &mut other.heartbeat);
    let changed = if field < 128 { &mut they.first } else { other.unwrap_or(&mut they.first) };
    match field % 8 {
        0 => they.to = NodeId(value),
        1 => they.from = NodeId(value),
        2 => they.kind = HeartbeatKind::Heartbeat,
        3 => they.kind = HeartbeatKind::Answer,
        4 => changed.term = Term(value),
        5 => changed.commit = LogIndex(value),
        6 => changed.read = changed.read.is_none().then_some([value.to_le_bytes()[0]; READ_ID_BYTES]),
        _ => {
            let (region, heartbeat) = (RegionId(value), *changed);
            they.others.push(OfRegion { region, epoch: BOOTSTRAP_EPOCH, heartbeat });
        }
    }
}

fn change_raft(raft: &mut Message, field: u8, value: u64, input: &mut Input<'_>) {
    match field % 14 {
        0 => raft.to = value,
        1 => raft.from = value,
        2 => raft.term = value,
        3 => raft.set_msg_type(MessageType::from_number(value)),
        4 => raft.log_term = value,
        5 => raft.index = value,
        6 => raft.commit = value,
        7 => raft.commit_term = value,
        8 => raft.request_snapshot = value,
        9 => raft.reject_hint = value,
        10 => raft.reject = !raft.reject,
        11 => raft.context = Bytes::copy_from_slice(input.take(value as usize % 32)),
        12 => change_entries(raft, value, input),
        _ => raft.priority = value.cast_signed(),
    }
}

fn change_entries(raft: &mut Message, value: u64, input: &mut Input<'_>) {
    let mut entries = std::mem::take(&mut raft.entries).into_vec();
    let at = usize::from(input.number()) % entries.len().max(1);
    match (input.number() % 6, entries.get_mut(at)) {
        (0, Some(entry)) => entry.term = value,
        (1, Some(entry)) => entry.index = value,
        (2, Some(entry)) => entry.data = Bytes::copy_from_slice(input.take(value as usize % 64)),
        (3, Some(entry)) => entry.set_entry_type(EntryType::EntryConfChangeV2),
        (4, Some(_)) => drop(entries.remove(at)),
        _ => entries.push(Entry { term: raft.term, index: value, ..Entry::default() }),
    }
    raft.entries = entries.into();
}

trait FromNumber {
    fn from_number(number: u64) -> Self;
}

impl FromNumber for MessageType {
    /// Any type except a raft snapshot, which the codec does not carry.
    fn from_number(number: u64) -> Self {
        protobuf::ProtobufEnum::from_i32((number % 19) as i32).unwrap_or(Self::MsgHup)
    }
}

/// The rest of the input; reads past its end yield zeros.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    /// A small number, one near the maximum, one at the edge of a plausible term, or any eight bytes.
    fn word(&mut self) -> u64 {
        let low = u64::from(self.number());
        match self.number() % 6 {
            0..=2 => low,
            3 => u64::MAX - low,
            4 => (1 << 20) + low,
            _ => {
                let mut word = [0; 8];
                let taken = self.take(8);
                word[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(word)
            }
        }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(length));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::replay;

    #[test]
    fn the_corpus_of_hostile_messages_and_its_mutations_pass() {
        replay("cluster", 200, fuzz_cluster);
    }
}
