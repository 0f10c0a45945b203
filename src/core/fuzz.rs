//! The fuzzer's door to commands.
//!
//! Owns the translation of arbitrary bytes into entries of a log, and the check of what the applier makes of them. What
//! must hold, for any data in any entry: the parser takes exactly what is a command by the format, which is written
//! down here once more ([`meaning`]), and reads the same out of it; the applier carries the writes of the region's
//! epoch out and no other, answers each write to the one who waits for it, and stops at the first entry that is no
//! command with `CORRUPTION` or `INCOMPATIBLE_FORMAT`; what it does can be encoded again and means the same; nothing
//! panics.
//!
//! The first byte chooses how far the input gets by itself: entries of raw data, or commands built from a list of
//! operations, alone or in a group, before some of their bits are flipped.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use crate::core::applier::{Applier, ApplyBatch, ApplyTask, Slice};
use crate::core::change::Change;
use crate::core::command::{
    Command, CommandBuilder, CommandError, HEADER_BYTES, Operation, Write, seal_group, seal_level,
    seal_members, seal_settled, seal_truncate,
};
use crate::core::digest::RangeDigest;
use crate::core::forwarding::{Origin, RequestId};
use crate::core::judge::NoData;
use crate::core::member_list::{FOUNDER, ListedMember, MemberList, MemberRole, NOT_JOINED};
use crate::core::proposals::{CommittedProposal, Requester};
use crate::core::region::Region;
use crate::error::{Code, Error};
use crate::types::{ApplyState, BOOTSTRAP_EPOCH, InstanceId, LogIndex, NEWEST_LEVEL, NodeId, Version};

/// Requesters that wait for each entry, whether or not it has so many writes.
const REQUESTERS: u64 = 3;
/// Members 1, 2, ... of the region.
const FOUNDERS: u64 = 3;

/// Applies entries made of `data` and checks what must hold.
///
/// # Panics
/// When it does not hold.
pub fn fuzz_commands(data: &[u8]) {
    let Some((way, rest)) = data.split_first() else { return };
    let mut input = Input { rest };
    let entries = match way % 3 {
        0 => vec![(EntryType::EntryNormal, Bytes::copy_from_slice(rest))],
        1 => raw_entries(&mut input),
        _ => vec![(EntryType::EntryNormal, built(&mut input))],
    };
    entries.iter().for_each(|(_, data)| read(data));
    apply(entries);
}

/// The parser reads what the format says, and no other bytes.
fn read(data: &Bytes) {
    match (Command::parse(data.clone()), meaning(data)) {
        (Ok(command), Some(meant)) => {
            assert_eq!(meaning_of(&command), meant);
            means_the_same(&command);
        }
        (Err(CommandError::Version(version)), None) => assert!(version == data[0] && version != 1),
        (Err(CommandError::Malformed), None) => {
            assert!(data.len() < HEADER_BYTES || data[0] == 1, "another version is told");
        }
        (read, meant) => {
            panic!("{:?} is read as {read:?}, but means {meant:?}", data.escape_ascii().to_string())
        }
    }
}

/// Entries of a type and of data behind its length (u16).
fn raw_entries(input: &mut Input<'_>) -> Vec<(EntryType, Bytes)> {
    let mut entries = Vec::new();
    while let Some(kind) = input.byte() {
        let types = [EntryType::EntryNormal, EntryType::EntryConfChangeV2, EntryType::EntryConfChange];
        let length = usize::from(input.byte().unwrap_or(0)) | usize::from(input.byte().unwrap_or(0)) << 8;
        entries.push((types[usize::from(kind) % 3], Bytes::copy_from_slice(input.take(length))));
    }
    entries
}

/// A command of operations (tag, key, value), each behind its length; tags beyond them seal what came so far into a
/// group, end the list with a truncation, or end it with flips (place u8, bit u8). One that begins with another tag is
/// about the members.
fn built(input: &mut Input<'_>) -> Bytes {
    if let Some((&tag @ (OF_LIST | OF_SETTLED), rest)) = input.rest.split_first() {
        input.rest = rest;
        let sealed = about_members(tag, input);
        means_the_same(&Command::parse(sealed.clone()).expect("what was sealed can be read"));
        return flipped(&sealed, input);
    }
    let (mut builder, mut writes) = (CommandBuilder::default(), Vec::new());
    let mut wanted = Vec::new();
    let mut truncation = None;
    while let Some(tag) = input.byte() {
        match tag % 8 {
            7 => break,
            6 => truncation = Some(LogIndex(u64::from(input.byte().unwrap_or(0)))),
            5 => {
                let epoch = u64::from(input.byte().unwrap_or(1) % 3);
                writes.push(std::mem::take(&mut builder).seal(epoch));
            }
            tag => {
                let (first, second) = (input.bytes(), input.bytes());
                let operation = match tag {
                    0 | 1 => Operation::Put { key: first, value: second },
                    2 => Operation::Delete { key: first },
                    3 => Operation::DeleteRange { begin: first, end: second },
                    _ => judged(first, second, &builder),
                };
                builder.push(operation);
                wanted.push(owned(operation));
            }
        }
    }
    writes.push(builder.seal(BOOTSTRAP_EPOCH.version));
    let sealed = match truncation {
        Some(index) => seal_truncate(index, BOOTSTRAP_EPOCH.version),
        None if writes.len() == 1 => writes.remove(0),
        None => seal_group(writes.iter()),
    };
    let command = Command::parse(sealed.clone()).expect("what was sealed can be read");
    let parsed = match meaning_of(&command) {
        Meaning::Truncate(index) => {
            assert_eq!(Some(LogIndex(index)), truncation);
            return flipped(&sealed, input);
        }
        Meaning::Level(_) | Meaning::Members(_) | Meaning::Settled(_) => unreachable!("none was sealed"),
        Meaning::Write((_, operations)) => operations,
        Meaning::Group(writes) => writes.into_iter().flat_map(|(_, operations)| operations).collect(),
    };
    assert_eq!(parsed, wanted, "a command says what it was told");
    flipped(&sealed, input)
}

/// Tags of commands about the members.
const OF_LIST: u8 = 0xf0;
const OF_SETTLED: u8 = 0xf1;

/// A list (version, the highest number, members: each number, role and instance), or that one of a version is followed.
fn about_members(tag: u8, input: &mut Input<'_>) -> Bytes {
    let version = u64::from(input.byte().unwrap_or(1));
    if tag == OF_SETTLED {
        return seal_settled(version);
    }
    let highest = NodeId(u64::from(input.byte().unwrap_or(3)));
    let mut members = BTreeMap::new();
    for _ in 0..input.byte().unwrap_or(0) % 8 {
        let [node, role, instance] = [(); 3].map(|()| input.byte().unwrap_or(0));
        let node = NodeId(1 + u64::from(node) % 16);
        let member = ListedMember {
            node,
            instance: [NOT_JOINED, FOUNDER, InstanceId(u64::from(instance))][usize::from(instance) % 3],
            address: "a:1".repeat(usize::from(role >> 4)),
            role: if role & 1 == 0 { MemberRole::Voter } else { MemberRole::Learner },
            is_preferred: role & 3 == 2,
            is_drained: role & 4 != 0,
        };
        members.insert(node, member);
    }
    let somebody = NodeId(1);
    if !members.values().any(|member| member.role == MemberRole::Voter) {
        let voter = ListedMember {
            node: somebody,
            instance: FOUNDER,
            address: String::new(),
            role: MemberRole::Voter,
            is_preferred: false,
            is_drained: false,
        };
        members.insert(somebody, voter);
    }
    let highest = highest.max(*members.keys().next_back().expect("somebody votes"));
    seal_members(&MemberList { version: version.max(1), highest, members: members.into_values().collect() })
}

/// An operation that is judged, if it may come next.
fn judged<'a>(first: &'a [u8], second: &'a [u8], builder: &CommandBuilder) -> Operation<'a> {
    const SEEN: [u8; RangeDigest::ENCODED_BYTES] = [3; RangeDigest::ENCODED_BYTES];
    let number = second.first().map_or(0, |byte| u64::from(*byte));
    let operation = match number % 11 {
        0 => Operation::Add { key: first, delta: second.len() as i64 - 3 },
        1 => Operation::PutVersioned { prefix: first, value: second },
        2 => Operation::Pop { key: first },
        3 => Operation::TakeFirst { begin: first, end: second },
        4 => Operation::IfAbsent { key: first },
        5 => Operation::IfPresent { key: first },
        6 => Operation::IfVersion { key: first, version: Version(number) },
        7 => Operation::IfValue { key: first, value: second },
        8 => Operation::IfRange { begin: first, end: second, seen: &SEEN },
        _ => Operation::Otherwise,
    };
    let may_follow = !operation.is_condition() && operation != Operation::Otherwise;
    if may_follow || !builder.has_otherwise() { operation } else { Operation::Pop { key: first } }
}

fn flipped(sealed: &[u8], input: &mut Input<'_>) -> Bytes {
    let mut bytes = sealed.to_vec();
    while let (Some(place), Some(bit)) = (input.byte(), input.byte()) {
        let at = usize::from(place) % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
    }
    bytes.into()
}

/// Encoded again it may have other bytes, but not another meaning.
fn means_the_same(command: &Command) {
    let again = match command {
        Command::Truncate(index) => seal_truncate(*index, 0),
        Command::Level(level) => seal_level(*level, 0),
        Command::Members(list) => seal_members(list),
        Command::Settled(version) => seal_settled(*version),
        Command::Write(write) => rebuilt(write),
        Command::Group(writes) => seal_group(writes.iter().map(rebuilt).collect::<Vec<_>>().iter()),
    };
    let again = Command::parse(again).expect("what was sealed can be read");
    assert_eq!(meaning_of(&again), meaning_of(command));
}

fn rebuilt(write: &Write) -> Bytes {
    let mut builder = CommandBuilder::default();
    write.operations().for_each(|operation| builder.push(operation));
    let again = builder.seal(write.epoch_version());
    assert!(again.len() <= write.encoded_bytes(), "our own encoding is the shortest");
    again
}

type Owned = (u8, Vec<u8>, Vec<u8>);

fn owned(operation: Operation<'_>) -> Owned {
    match operation {
        Operation::Put { key, value } => (1, key.to_vec(), value.to_vec()),
        Operation::Delete { key } => (2, key.to_vec(), Vec::new()),
        Operation::DeleteRange { begin, end } => (3, begin.to_vec(), end.to_vec()),
        Operation::Add { key, delta } => (4, key.to_vec(), delta.to_le_bytes().to_vec()),
        Operation::PutVersioned { prefix, value } => (5, prefix.to_vec(), value.to_vec()),
        Operation::Pop { key } => (6, key.to_vec(), Vec::new()),
        Operation::TakeFirst { begin, end } => (7, begin.to_vec(), end.to_vec()),
        Operation::IfAbsent { key } => (16, key.to_vec(), Vec::new()),
        Operation::IfPresent { key } => (17, key.to_vec(), Vec::new()),
        Operation::IfVersion { key, version } => (18, key.to_vec(), version.get().to_le_bytes().to_vec()),
        Operation::IfValue { key, value } => (19, key.to_vec(), value.to_vec()),
        Operation::IfRange { begin, end, seen } => (20, begin.to_vec(), [end, &seen[..]].concat()),
        Operation::Otherwise => (32, Vec::new(), Vec::new()),
    }
}

fn changed(change: Change<'_>) -> Owned {
    match change {
        Change::Put { key, value } => (1, key.to_vec(), value.to_vec()),
        Change::Delete { key } => (2, key.to_vec(), Vec::new()),
        Change::DeleteRange { begin, end } => (3, begin.to_vec(), end.to_vec()),
    }
}

fn meaning_of(command: &Command) -> Meaning {
    let of_write = |write: &Write| (write.epoch_version(), write.operations().map(owned).collect());
    match command {
        Command::Truncate(index) => Meaning::Truncate(index.get()),
        Command::Level(level) => Meaning::Level(*level),
        Command::Members(list) => Meaning::Members(list.encode()),
        Command::Settled(version) => Meaning::Settled(*version),
        Command::Write(write) => Meaning::Write(of_write(write)),
        Command::Group(writes) => Meaning::Group(writes.iter().map(of_write).collect()),
    }
}

/// What a command says: a write is an epoch version and its operations.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Truncate(u64),
    Level(u16),
    Members(Vec<u8>),
    Settled(u64),
    Write((u64, Vec<Owned>)),
    Group(Vec<(u64, Vec<Owned>)>),
}

/// What the format says about `data`, read without a look at how the parser does it.
fn meaning(data: &[u8]) -> Option<Meaning> {
    let (header, mut body) = data.split_first_chunk::<HEADER_BYTES>()?;
    match header[..2] {
        [1, 1 | 4] => meant_write(data).map(Meaning::Write),
        [1, 7] => body.try_into().ok().map(|version| Meaning::Settled(u64::from_le_bytes(version))),
        [1, 6] => MemberList::decode(body).map(|list| Meaning::Members(list.encode())),
        [1, 5] => body.try_into().ok().map(|level| Meaning::Level(u16::from_le_bytes(level))),
        [1, 2] => body.try_into().ok().map(|index| Meaning::Truncate(u64::from_le_bytes(index))),
        [1, 3] => {
            let count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            let mut writes = Vec::new();
            let mut conditional = false;
            for _ in 0..count {
                let write = meant_bytes(&mut body)?;
                conditional |= write.get(1) == Some(&4);
                writes.push(meant_write(write)?);
            }
            let flagged = if conditional { header[2..4] == [1, 0] } else { header[2] & 1 == 0 };
            (body.is_empty() && flagged && count <= 65_536).then_some(Meaning::Group(writes))
        }
        _ => None,
    }
}

fn meant_write(data: &[u8]) -> Option<(u64, Vec<Owned>)> {
    let (header, mut body) = data.split_first_chunk::<HEADER_BYTES>()?;
    let count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let mut operations = Vec::new();
    for _ in 0..count {
        let (&tag, rest) = body.split_first()?;
        body = rest;
        let first = if tag == 32 { Vec::new() } else { meant_bytes(&mut body)?.to_vec() };
        let mut second = match tag {
            1 | 3 | 5 | 7 | 19 | 20 => meant_bytes(&mut body)?.to_vec(),
            _ => Vec::new(),
        };
        let (numbers, rest) = body.split_at_checked(match tag {
            4 | 18 => 8,
            20 => 32,
            _ => 0,
        })?;
        body = rest;
        second.extend_from_slice(numbers);
        operations.push((tag, first, second));
    }
    let plain = operations.iter().all(|(tag, ..)| (1..=3).contains(tag));
    let known = operations.iter().all(|(tag, ..)| matches!(tag, 1..=7 | 16..=20 | 32));
    let mut behind = operations.iter().map(|(tag, ..)| *tag).skip_while(|tag| *tag != 32).skip(1);
    let kind_is_right = match header[..2] {
        [1, 1] => plain,
        [1, 4] => !plain && count <= 65_536 && header[2..4] == [0, 0] && behind.all(|tag| tag < 16),
        _ => false,
    };
    let epoch_version = u64::from_le_bytes(*header.last_chunk().expect("a header is longer"));
    (kind_is_right && known && body.is_empty()).then_some((epoch_version, operations))
}

/// Bytes behind their length: seven bits a byte, five bytes at most.
fn meant_bytes<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let last = body.iter().take(5).position(|byte| *byte < 0x80)?;
    let (digits, rest) = body.split_at(last + 1);
    let length = digits.iter().rev().fold(0_usize, |length, digit| length << 7 | usize::from(digit & 0x7f));
    let (bytes, rest) = rest.split_at_checked(length)?;
    *body = rest;
    Some(bytes)
}

fn apply(entries: Vec<(EntryType, Bytes)>) {
    let founders: Vec<_> = (1..=FOUNDERS).map(NodeId).collect();
    let region = Region::bootstrap(&founders);
    let (id, state) = (region.id, ApplyState::BOOTSTRAP);
    let mut applier = Applier::new(Origin { node: NodeId(1), boot: 42 }, NEWEST_LEVEL, region, state);
    let (first, count) = (state.index.get() + 1, entries.len() as u64);
    let wanted = Wanted::of(&entries, first);
    let proposals =
        entries.iter().zip(first..).map(|((kind, data), index)| waiting(index, verdicts(*kind, data)));
    let proposals = proposals.collect();
    let entries = entries.into_iter().zip(first..).map(|((kind, data), index)| {
        let mut entry = Entry { index, term: state.term.get(), data, ..Entry::default() };
        entry.set_entry_type(kind);
        entry
    });
    applier.queue(ApplyTask { entries: entries.collect(), proposals, ..ApplyTask::of(id) });

    let (batches, stopped_by) = apply_all(&mut applier);
    let reports = || batches.iter().flat_map(|batch| &batch.reports);
    assert_eq!(stopped_by, wanted.stopped_by, "an entry that cannot be read stops the state machine");
    if stopped_by.is_none() {
        assert!(reports().next_back().is_none_or(|report| report.state.index.get() == first + count - 1));
        let truncated = reports().filter_map(|report| report.truncate_to).max();
        assert_eq!(truncated.map(LogIndex::get), wanted.truncated);
        assert!(reports().all(|report| report.raised.is_none()), "the region began with the highest level");
        let list = reports().filter_map(|report| report.list.as_ref()).next_back();
        let settled = reports().filter_map(|report| report.settled).max().unwrap_or_default();
        assert!(list.is_none_or(|list| settled <= list.version), "nobody has followed what is to come");
        if let Some(members) = wanted.members {
            assert_eq!((list, settled), (members.list.as_ref(), members.settled));
        }
    }
    let plain = batches.iter().flat_map(|batch| &batch.writes).filter(|write| write.as_plain().is_some());
    let written = plain.map(|write| write.changes().map(changed).collect::<Vec<_>>());
    assert!(written.eq(wanted.writes), "exactly the writes of the region's epoch are carried out");
    // A state machine that was stopped tells nobody anything.
    let told = reports().flat_map(|report| &report.forwarded_to_here);
    let told: Vec<_> =
        told.map(|(id, verdict)| (id.number, verdict.as_ref().err().map(Error::code))).collect();
    if wanted.stopped_by.is_none() {
        let as_wanted = |((number, code), wanted): (&(u64, Option<Code>), &Verdict)| match wanted {
            Verdict::Any(at) => number == at,
            Verdict::Known(at, wanted) => number == at && code == wanted,
        };
        let same = told.len() == wanted.verdicts.len() && told.iter().zip(&wanted.verdicts).all(as_wanted);
        assert!(same, "each write answers who waits for it: {told:?}, not {:?}", wanted.verdicts);
    }
}

/// The batches that what waits fills, the last one perhaps in part, and what ended it.
fn apply_all(applier: &mut Applier) -> (Vec<ApplyBatch>, Option<Code>) {
    let mut batches = Vec::new();
    while applier.backlog() > 0 {
        let mut batch = ApplyBatch::default();
        let filled = applier.fill(&mut batch, Slice::ALL, &NoData);
        batches.push(batch);
        if let Err(error) = filled {
            return (batches, Some(error.code()));
        }
    }
    (batches, None)
}

/// Operations with a larger tag are judged: see `judge`.
const LAST_PLAIN_TAG: u8 = 3;

/// What becomes of lists of members.
struct Members {
    list: Option<MemberList>,
    settled: u64,
}

impl Members {
    /// The verdict on a list that comes next, by the rules of `member_list` written down once more.
    fn take(&mut self, next: MemberList) -> Option<Code> {
        let before = self.list.as_ref();
        if next.version != before.map_or(1, |list| list.version + 1) {
            return Some(Code::Conflict);
        }
        let founders = || (1..=FOUNDERS).map(|node| (NodeId(node), FOUNDER));
        let known: BTreeMap<_, _> = match before {
            Some(list) => list.members.iter().map(|member| (member.node, member.instance)).collect(),
            None => founders().collect(),
        };
        let highest = before.map_or(NodeId(FOUNDERS), |list| list.highest);
        let is_fit = |member: &ListedMember| match known.get(&member.node) {
            Some(&instance) => instance == NOT_JOINED || instance == member.instance,
            None => member.node > highest,
        };
        let last = next.members.last().expect("somebody votes").node;
        if !next.members.iter().all(is_fit) || next.highest != highest.max(last) {
            return Some(Code::InvalidArgument);
        }
        self.list = Some(next);
        None
    }

    fn settle(&mut self, version: u64) {
        if version <= self.list.as_ref().map_or(0, |list| list.version) {
            self.settled = self.settled.max(version);
        }
    }
}

/// What entries must do.
struct Wanted {
    /// None where a change of members makes what may come next unknown here.
    members: Option<Members>,
    writes: Vec<Vec<Owned>>,
    verdicts: Vec<Verdict>,
    truncated: Option<u64>,
    stopped_by: Option<Code>,
}

/// What a requester, by its number, is told: a code, none for success.
#[derive(Debug)]
enum Verdict {
    Known(u64, Option<Code>),
    /// Whether a change of members is possible, or a condition true, is not judged here.
    Any(u64),
}

impl Wanted {
    fn of(entries: &[(EntryType, Bytes)], first: u64) -> Self {
        let mut effects = Self {
            members: Some(Members { list: None, settled: 0 }),
            writes: Vec::new(),
            verdicts: Vec::new(),
            truncated: None,
            stopped_by: None,
        };
        for ((kind, data), index) in entries.iter().zip(first..) {
            match (kind, meaning(data)) {
                (EntryType::EntryConfChange | EntryType::EntryConfChangeV2, _) => {
                    effects.members = None;
                    effects.verdicts.push(Verdict::Any(number_of(index, 0)));
                }
                _ if data.is_empty() => effects.verdicts.push(Verdict::Known(number_of(index, 0), None)),
                (_, Some(Meaning::Truncate(to))) => effects.truncated = effects.truncated.max(Some(to)),
                (_, Some(Meaning::Settled(version))) => {
                    effects.members.iter_mut().for_each(|members| members.settle(version));
                }
                (_, Some(Meaning::Level(level))) if level <= NEWEST_LEVEL => {}
                (_, Some(Meaning::Level(_))) => {
                    return Self { stopped_by: Some(Code::IncompatibleFormat), ..effects };
                }
                (_, Some(Meaning::Members(list))) => {
                    let number = number_of(index, 0);
                    let list = MemberList::decode(&list).expect("just read");
                    let verdict = effects.members.as_mut().map(|members| members.take(list));
                    effects.verdicts.push(match verdict {
                        Some(code) => Verdict::Known(number, code),
                        None => Verdict::Any(number),
                    });
                }
                (_, Some(Meaning::Write(write))) => effects.write(index, vec![write]),
                (_, Some(Meaning::Group(writes))) => effects.write(index, writes),
                (_, None) => {
                    let newer = data.len() >= HEADER_BYTES && data[0] != 1;
                    let code = if newer { Code::IncompatibleFormat } else { Code::Corruption };
                    return Self { stopped_by: Some(code), ..effects };
                }
            }
        }
        effects
    }

    fn write(&mut self, index: u64, writes: Vec<(u64, Vec<Owned>)>) {
        for ((epoch_version, operations), place) in writes.into_iter().zip(0..) {
            let is_present = epoch_version == BOOTSTRAP_EPOCH.version;
            let is_judged = operations.iter().any(|(tag, ..)| *tag > LAST_PLAIN_TAG);
            if place < REQUESTERS {
                let number = number_of(index, place);
                self.verdicts.push(match (is_present, is_judged) {
                    (false, _) => Verdict::Known(number, Some(Code::RegionChanged)),
                    (true, false) => Verdict::Known(number, None),
                    (true, true) => Verdict::Any(number),
                });
            }
            if is_present && !is_judged {
                self.writes.push(operations);
            }
        }
    }
}

/// The number of the requester at `place` of those that wait for an entry.
fn number_of(index: u64, place: u64) -> u64 {
    index * REQUESTERS + place
}

/// How many verdicts an entry brings.
fn verdicts(kind: EntryType, data: &Bytes) -> u64 {
    match (kind, meaning(data)) {
        (EntryType::EntryConfChange | EntryType::EntryConfChangeV2, _) | (_, Some(Meaning::Write(_))) => 1,
        _ if data.is_empty() => 1,
        (_, Some(Meaning::Group(writes))) => writes.len() as u64,
        (_, Some(Meaning::Members(_))) => 1,
        (_, Some(Meaning::Truncate(_) | Meaning::Level(_) | Meaning::Settled(_)) | None) => 0,
    }
}

/// Those who wait for an entry with so many verdicts: some of them at most.
fn waiting(index: u64, verdicts: u64) -> CommittedProposal {
    let request = |place| {
        let number = number_of(index, place);
        Some(Requester::Follower(RequestId { origin: Origin { node: NodeId(2), boot: 1 }, number }))
    };
    let requesters = (0..verdicts.min(REQUESTERS)).map(request).collect();
    CommittedProposal { index: LogIndex(index), requesters }
}

/// What is left of the input.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(self.rest.len().min(length));
        self.rest = rest;
        taken
    }

    /// Bytes behind their length.
    fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte().unwrap_or(0);
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::replay;

    /// An entry for `raw_entries`.
    fn raw(data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).expect("short").to_le_bytes();
        [&[0], &length[..], data].concat()
    }

    fn list(version: u64, nodes: &[u64]) -> Bytes {
        let member = |&node: &u64| ListedMember {
            node: NodeId(node),
            instance: if node <= FOUNDERS { FOUNDER } else { NOT_JOINED },
            address: "a:1".to_owned(),
            role: MemberRole::Voter,
            is_preferred: false,
            is_drained: false,
        };
        let highest = NodeId(*nodes.last().expect("somebody"));
        seal_members(&MemberList { version, highest, members: nodes.iter().map(member).collect() })
    }

    #[test]
    fn lists_and_what_follows_them_come_in_any_order() {
        let lists = [list(1, &[1, 2, 3]), list(1, &[1, 2, 4]), list(2, &[1, 4, 5]), list(3, &[1, 3])];
        let settled = [0, 1, 2, u64::MAX].map(seal_settled);
        let commands = [&lists[..], &settled[..]].concat();
        for first in &commands {
            for second in &commands {
                for third in &commands {
                    fuzz_commands(&[&[1], &raw(first)[..], &raw(second), &raw(third)].concat());
                }
            }
        }
    }

    #[test]
    fn the_corpus_of_commands_and_mutations_of_it_hold() {
        replay("commands", 20_000, fuzz_commands);
    }
}
