//! User calls and their answers.
//!
//! Owns the script commands that make or cancel a call, and the list of answers given since a command started. What
//! always holds: an answer is recorded when it is given, once each time it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::completion::call::{Call, CallKind, CallRegions, Subject};
use crate::completion::deadlines::Deadlines;
use crate::completion::{Reply, Sink};
use crate::core::caller_write::CallerWrite;
use crate::core::command::{CommandBuilder, Operation};
use crate::core::input::Input;
use crate::core::reads::Read;
use crate::core::transfer::TransferRequest;
use crate::error::{Outcome, Result};
use crate::sim::script::cluster::{number, option};
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, LogIndex, NodeId};

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
    ) -> Input {
        let [name, rest @ ..] = words else { panic!("{command} N NAME") };
        let timeout_ms = option(rest, "timeout=").unwrap_or(TIMEOUT_MS);
        let deadline = now + Duration::from_millis(timeout_ms);
        let heard = Box::new(Heard { name: format!("{command} {name}"), lines: Arc::clone(&self.lines) });
        let min_index = LogIndex(option(rest, "min=").unwrap_or(0));
        let opened = deadlines.accept(subject(command, min_index), deadline, heard, Arc::new(()));
        let (completion, call) = opened.expect("a member that runs takes calls");
        self.calls.insert((*name).to_owned(), call);
        match command {
            "write" => Input::Write(CallerWrite { data: encoded(rest), deadline, completion }),
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

fn subject(command: &str, min_index: LogIndex) -> Subject {
    let kind = match command {
        "write" => CallKind::Write,
        "read" => CallKind::Read,
        "local" => CallKind::LocalRead { min_index },
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

/// Records the answer to a call.
struct Heard {
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sink for Heard {
    fn deliver(self: Box<Self>, answer: Result<Reply>) {
        let line = match answer {
            Ok(reply) if reply == Reply::default() => format!("{}: ok", self.name),
            Ok(Reply { position, .. }) => {
                format!("{}: ok at {}/{}", self.name, position.index, position.term)
            }
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
