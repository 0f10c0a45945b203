//! User calls and their answers.
//!
//! Owns the script commands that make or cancel a call, and the list of answers given since a command started. What
//! always holds: an answer is recorded when it is given, once each time it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::completion::call::{Call, CallKind, CallRegions, Subject};
use crate::completion::deadlines::Deadlines;
use crate::completion::{Position, Reply, Sink};
use crate::core::caller_write::CallerWrite;
use crate::core::command::{CommandBuilder, Operation, seal_members};
use crate::core::digest::{Digester, RangeDigest};
use crate::core::input::Input;
use crate::core::member_list::{FOUNDER, ListedMember, MemberList, MemberRole, NOT_JOINED};
use crate::core::reads::Read;
use crate::core::region::Region;
use crate::core::transfer::TransferRequest;
use crate::effects::{OpResult, Precondition};
use crate::error::{Outcome, Result};
use crate::sim::disk::{Data, DiskEngine};
use crate::sim::script::cluster::{number, option};
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_EPOCH, InstanceId, LogIndex, NodeId, RegionId, Version};

/// Default timeout of a call.
const TIMEOUT_MS: u64 = 60_000;

/// Answers that no command has shown yet.
#[derive(Default)]
pub(crate) struct Answers {
    lines: Arc<Mutex<Vec<String>>>,
    /// By name.
    calls: BTreeMap<String, Call>,
}

impl Answers {
    /// Removes and returns the answers so far.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The input for `command` with `words`: the call's name, its arguments, and its options. The call is registered
    /// with `deadlines`.
    pub(crate) fn call(
        &mut self,
        command: &str,
        words: &[&str],
        now: Timestamp,
        deadlines: &Arc<Deadlines>,
        (engine, region): (&DiskEngine, RegionId),
    ) -> Input {
        let [name, rest @ ..] = words else { panic!("{command} N NAME") };
        let timeout_ms = option(rest, "timeout=").unwrap_or(TIMEOUT_MS);
        let deadline = now + Duration::from_millis(timeout_ms);
        let heard = Box::new(Heard { name: format!("{command} {name}"), lines: Arc::clone(&self.lines) });
        let min_index = LogIndex(option(rest, "min=").unwrap_or(0));
        let opened = deadlines.accept(subject(command, min_index, region), deadline, heard, Arc::new(()));
        let (completion, call) = opened.expect("a member that runs takes calls");
        self.calls.insert((*name).to_owned(), call);
        match command {
            "write" => Input::Write(CallerWrite {
                data: encoded(rest, engine.data()),
                deadline,
                completion,
                was_proposed: false,
            }),
            "list" => {
                let (region, _) = engine.state();
                Input::Write(CallerWrite {
                    data: seal_members(&list(rest, &region)),
                    deadline,
                    completion,
                    was_proposed: false,
                })
            }
            "read" => Input::Read(Read { deadline, completion, min_index }),
            "local" => Input::LocalRead(Read { deadline, completion, min_index }),
            _ => Input::Transfer(TransferRequest { target: target(rest[0]), deadline, completion }),
        }
    }

    /// The caller of `name` cancels the call.
    pub(crate) fn cancel(&self, name: &str) {
        if !self.calls[name].cancel() {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name} is answered"));
        }
    }
}

fn subject(command: &str, min_index: LogIndex, region: RegionId) -> Subject {
    let kind = match command {
        "write" | "list" => CallKind::Write,
        "read" => CallKind::Read,
        "local" => CallKind::LocalRead { min_index },
        _ => CallKind::Transfer,
    };
    Subject { kind, regions: CallRegions::One(region) }
}

/// The list of members that `words` name, each with `:learner` if it only learns and `#NUMBER` if that is the directory
/// which has joined. Unless they say another version, it follows the one that `region` has.
fn list(words: &[&str], region: &Region) -> MemberList {
    let before = region.list.as_ref();
    let bound = |node: NodeId| match before {
        Some(list) => list.get(node).map_or(NOT_JOINED, |known| known.instance),
        None if region.has_member(node) => FOUNDER,
        None => NOT_JOINED,
    };
    let listed = |word: &&&str| {
        let (word, instance) = word.split_once('#').map_or((**word, None), |(word, at)| (word, Some(at)));
        let (node, role) = match word.strip_suffix(":learner") {
            Some(node) => (node, MemberRole::Learner),
            None => (word, MemberRole::Voter),
        };
        let node = NodeId(number(node));
        let instance = instance.map_or_else(|| bound(node), |at| InstanceId(number(at)));
        ListedMember {
            node,
            instance,
            address: format!("host-{node}:1"),
            role,
            is_preferred: false,
            is_drained: false,
        }
    };
    let members: Vec<_> = words.iter().filter(|word| !word.contains('=')).map(|word| listed(&word)).collect();
    let version = before.map_or(0, |list| list.version) + 1;
    let highest = match before {
        Some(list) => list.highest,
        None => region.all_members().last().copied().unwrap_or_default(),
    };
    let highest = members.last().map_or(highest, |last| highest.max(last.node));
    MemberList { version: option(words, "version=").unwrap_or(version), highest, members }
}

/// The command for `operations`. A condition on a range says that it is as in `data`.
fn encoded(operations: &[&str], data: &Data) -> bytes::Bytes {
    let mut builder = CommandBuilder::default();
    for word in operations.iter().filter(|word| !word.starts_with("timeout=")) {
        if let Some(range) = word.strip_suffix('?') {
            let (begin, end) = halves(range, "..");
            builder.push(Operation::IfRange { begin, end, seen: &digest_of(data, begin, end).encode() });
        } else {
            builder.push(operation(word));
        }
    }
    builder.seal(BOOTSTRAP_EPOCH.version)
}

fn operation(word: &str) -> Operation<'_> {
    let (first, rest) = word.split_at(1);
    match first {
        "-" if rest.contains("..") => {
            let (begin, end) = halves(rest, "..");
            Operation::DeleteRange { begin, end }
        }
        "-" => Operation::Delete { key: rest.as_bytes() },
        "!" => Operation::IfAbsent { key: rest.as_bytes() },
        "?" => Operation::IfPresent { key: rest.as_bytes() },
        _ if word == "else" => Operation::Otherwise,
        _ if word.starts_with("pop:") => Operation::Pop { key: &word.as_bytes()[4..] },
        _ if word.starts_with("take:") => {
            let (begin, end) = halves(&word[5..], "..");
            Operation::TakeFirst { begin, end }
        }
        _ if word.contains("==") => {
            let (key, value) = halves(word, "==");
            Operation::IfValue { key, value }
        }
        _ if word.contains("+=") => {
            let (key, delta) = word.split_once("+=").expect("just seen");
            Operation::Add { key: key.as_bytes(), delta: delta.parse().expect("a number") }
        }
        _ if word.contains("*=") => {
            let (prefix, value) = halves(word, "*=");
            Operation::PutVersioned { prefix, value }
        }
        _ if word.contains('=') => {
            let (key, value) = halves(word, "=");
            Operation::Put { key, value }
        }
        _ if word.contains('@') => {
            let (key, version) = word.split_once('@').expect("just seen");
            let (index, ordinal) = version.split_once('/').expect("INDEX/ORDINAL");
            let version = Version::of(LogIndex(number(index)), number(ordinal) as u16);
            Operation::IfVersion { key: key.as_bytes(), version }
        }
        _ => panic!("'{word}' is no operation"),
    }
}

fn halves<'a>(word: &'a str, between: &str) -> (&'a [u8], &'a [u8]) {
    let (first, second) = word.split_once(between).unwrap_or_else(|| panic!("'{word}' lacks {between}"));
    (first.as_bytes(), second.as_bytes())
}

fn digest_of(data: &Data, begin: &[u8], end: &[u8]) -> RangeDigest {
    let mut digester = Digester::default();
    let inside = data.iter().filter(|(key, _)| begin <= &key[..] && &key[..] < end);
    inside.for_each(|(key, stored)| digester.add(key, stored.value.len(), stored.version));
    digester.finish()
}

/// What is told beyond the position.
fn describe_reply(reply: &Reply) -> String {
    let mut told = String::new();
    if let Some(failed) = reply.failed() {
        told += &format!(", else because of {}", describe_found(failed));
    }
    for (number, result) in reply.results() {
        told += &match result {
            OpResult::Nothing => format!(", {number}: nothing"),
            OpResult::Sum(sum) => format!(", {number}: sum {sum}"),
            OpResult::Key(_) => format!(", {number}: a key"),
            OpResult::Value { key, value, version } => {
                let text = String::from_utf8_lossy;
                let place = (version.index(), version.ordinal());
                format!(", {number}: {}={} of {}/{}", text(key), text(value), place.0, place.1)
            }
        };
    }
    told
}

fn describe_found(found: Precondition) -> String {
    let Precondition { operation, exists, version } = found;
    match exists {
        true => format!("{operation}: version {}/{}", version.index(), version.ordinal()),
        false => format!("{operation}: nothing there"),
    }
}

fn target(word: &str) -> Option<NodeId> {
    (word != "any").then(|| NodeId(number(word)))
}

/// Records the answer to a call.
struct Heard {
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sink for Heard {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        let line = match answer {
            Ok(reply) if reply == Reply::default() => format!("{}: ok", self.name),
            Ok(reply) => {
                let Position { index, term } = reply.position;
                format!("{}: ok at {index}/{term}{}", self.name, describe_reply(&reply))
            }
            Err(error) => {
                let outcome = match error.outcome() {
                    Outcome::NotApplied => "not applied",
                    Outcome::Unknown => "unknown",
                };
                let found = error.precondition().map(|found| format!(" by {}", describe_found(found)));
                let found = found.unwrap_or_default();
                format!("{}: {} ({outcome}){found}", self.name, error.code().name())
            }
        };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
