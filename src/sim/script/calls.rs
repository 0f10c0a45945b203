//! Calls of users and their answers.
//!
//! Owns the words of a script that make a call or cancel it, and the list of answers that came since a command began.
//! What always holds: an answer is written down when it is given, once each time it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::completion::call::{Call, CallKind, CallRegions, Subject};
use crate::completion::deadlines::Deadlines;
use crate::completion::{Position, Sink};
use crate::core::command::{CommandBuilder, Operation};
use crate::core::input::Input;
use crate::core::propose::Propose;
use crate::core::reads::Read;
use crate::core::transfer::TransferRequest;
use crate::error::{Outcome, Result};
use crate::sim::script::cluster::{number, option};
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, LogIndex, NodeId};

/// A call that says nothing else has this long.
const TIMEOUT_MS: u64 = 60_000;

/// What callers were told and no command has shown yet.
#[derive(Default)]
pub(crate) struct Answers {
    lines: Arc<Mutex<Vec<String>>>,
    /// By name.
    calls: BTreeMap<String, Call>,
}

impl Answers {
    /// Takes out the answers so far.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The input of `command` with `words`: the call's name, what it is about, and its options. It is listed among
    /// `deadlines`.
    pub(crate) fn call(
        &mut self,
        command: &str,
        words: &[&str],
        now: Timestamp,
        deadlines: &Arc<Deadlines>,
    ) -> Input {
        let [name, rest @ ..] = words else { panic!("{command} N NAME") };
        let timeout_ms = option(rest, "timeout=").unwrap_or(TIMEOUT_MS);
        let deadline = now + Duration::from_millis(timeout_ms);
        let heard = Box::new(Heard { name: format!("{command} {name}"), lines: Arc::clone(&self.lines) });
        let opened = deadlines.open(subject(command), deadline, heard, Arc::new(()));
        let (completion, call) = opened.expect("a member that runs takes calls");
        self.calls.insert((*name).to_owned(), call);
        let min_index = LogIndex(option(rest, "min=").unwrap_or(0));
        match command {
            "write" => Input::Propose(Propose { data: encoded(rest), deadline, completion }),
            "read" => Input::Read(Read { deadline, completion, min_index }),
            "local" => Input::LocalRead(Read { deadline, completion, min_index }),
            _ => Input::Transfer(TransferRequest { target: target(rest[0]), deadline, completion }),
        }
    }

    /// The caller of `name` cancels it.
    pub(crate) fn cancel(&self, name: &str) {
        if !self.calls[name].cancel() {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name} is answered"));
        }
    }
}

fn subject(command: &str) -> Subject {
    let kind = match command {
        "write" => CallKind::Write,
        "read" => CallKind::Read,
        "local" => CallKind::LocalRead,
        _ => CallKind::Transfer,
    };
    Subject { kind, regions: CallRegions::One(BOOTSTRAP_REGION) }
}

fn encoded(operations: &[&str]) -> bytes::Bytes {
    let mut builder = CommandBuilder::default();
    for word in operations.iter().filter(|word| !word.starts_with("timeout=")) {
        builder.push(match (word.strip_prefix('-'), word.split_once('=')) {
            (Some(key), _) => Operation::Delete { key: key.as_bytes() },
            (None, Some((key, value))) => Operation::Put { key: key.as_bytes(), value: value.as_bytes() },
            (None, None) => panic!("'{word}' is neither KEY=VALUE nor -KEY"),
        });
    }
    builder.seal(BOOTSTRAP_EPOCH.version)
}

fn target(word: &str) -> Option<NodeId> {
    (word != "any").then(|| NodeId(number(word)))
}

/// Writes down the one answer of a call.
struct Heard {
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sink for Heard {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        let line = match answer {
            Ok(position) if position == Position::default() => format!("{}: ok", self.name),
            Ok(position) => format!("{}: ok at {}/{}", self.name, position.index, position.term),
            Err(error) => {
                let outcome = match error.outcome() {
                    Outcome::NotApplied => "not applied",
                    Outcome::Unknown => "unknown",
                };
                format!("{}: {} ({outcome})", self.name, error.code().name())
            }
        };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
