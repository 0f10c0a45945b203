//! Golden scripts: protocol behaviour as a conversation.
//!
//! Owns the commands of the files in `tests/scripts` and the runner that compares what a cluster says with what the
//! file says it says. Rounds, syncs, apply, time and network are separate commands, so a script can hold any of
//! them back. `ALMADIA_REWRITE=1 cargo test scripts` writes the files anew; read the difference before you commit it.
//!
//! A file is blocks of commands, a line `----`, and the output up to the next empty line. `#` begins a comment.
//!
//! ```text
//! cluster N... [lease=off]     members with these numbers, all running on empty disks
//! forget N...             an election timeout passes for N: it may vote for another leader
//! elect N                 N campaigns, everything is delivered and applied: N leads and is settled
//! campaign N              N asks for leadership at its next round
//! write N NAME KEY=VALUE  a write called NAME, to N's next round        [timeout=MS]
//! read N NAME             a linearizable read called NAME               [timeout=MS]
//! add-learner N M         N proposes to add M to the configuration
//! members N               the configuration N's engine holds
//! round N...              N turns the crank once
//! sync N works|crash-before|crash-after     what N's next sync does
//! apply N...              N applies what is committed: `engine` and `report` in one
//! engine N / report N     N's engine shows what is committed / N's peer and callers are told
//! tick N [TICKS]          N owes ticks, and the clock moves by them
//! clock MS                the clock moves alone
//! deliver [FROM->TO] [TYPE]    hands messages in flight to their recipients' next round
//! double [FROM->TO] [TYPE]     as deliver, but the messages stay in flight
//! lose [FROM->TO] [TYPE]       loses them
//! isolate N / heal        cuts every link of N / mends all links
//! settle                  rounds, deliveries and applies everywhere until nothing moves
//! crash N / restart N / flush N
//! status                  one line a member
//! data N                  N's keys and values
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::completion::{Completion, Position, Sink};
use crate::core::command::{CommandBuilder, Operation};
use crate::core::input::{Input, Propose};
use crate::core::ports::PeerMessage;
use crate::core::reads::Read;
use crate::error::{Outcome, Result};
use crate::sim::member::{ELECTION_TICKS, Member, NextSync, TICK};
use crate::sim::network::{Network, type_name};
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_EPOCH, LogIndex};

/// More exchanges than any script needs to come to rest.
const SETTLE_MAX: usize = 200;

struct Cluster {
    members: BTreeMap<u64, Member>,
    network: Network,
    clock: Timestamp,
    answers: Arc<Mutex<Vec<String>>>,
}

impl Default for Cluster {
    fn default() -> Self {
        // Some time after boot, as for any real member.
        let clock = Timestamp::default() + Duration::from_secs(60);
        Self { members: BTreeMap::new(), network: Network::default(), clock, answers: Arc::default() }
    }
}

impl Cluster {
    fn run(&mut self, line: &str) -> Vec<String> {
        let mut said = Vec::new();
        let words: Vec<_> = line.split_whitespace().collect();
        let (command, words) = words.split_first().expect("the parser drops empty lines");
        self.carry_out(command, words, &mut said);
        said.append(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        counted(said)
    }

    fn carry_out(&mut self, command: &str, words: &[&str], said: &mut Vec<String>) {
        match command {
            "cluster" => self.bootstrap(words),
            "forget" => words.iter().for_each(|node| self.member(node).owe_ticks(ELECTION_TICKS as u32)),
            "elect" => self.elect(number(words[0])),
            "campaign" => self.member(words[0]).feed(Input::Campaign),
            "write" => self.write(words),
            "read" => self.read(words),
            "add-learner" => self.member(words[0]).propose_learner(number(words[1])),
            "members" => said.push(describe_members(self.member(words[0]))),
            "round" => numbers(words).into_iter().for_each(|node| self.round(node, said)),
            "sync" => self.member(words[0]).next_sync = next_sync(words[1]),
            "apply" => words.iter().for_each(|node| self.member(node).apply(said)),
            "engine" => self.member(words[0]).write_engine(),
            "report" => self.member(words[0]).report_applied(said),
            "tick" => self.tick(words),
            "clock" => self.clock = self.clock + Duration::from_millis(number(words[0])),
            "deliver" | "double" | "lose" => self.network_command(command, words, said),
            "isolate" => self.isolate(number(words[0])),
            "heal" => self.network.heal(),
            "settle" => self.settle(),
            "crash" => self.member(words[0]).crash(),
            "restart" => self.member(words[0]).restart(),
            "flush" => self.member(words[0]).flush(),
            "status" => said.extend(self.members.values().map(describe_status)),
            "data" => said.extend(describe_data(self.member(words[0]))),
            _ => panic!("unknown command '{command}'"),
        }
    }

    fn member(&mut self, node: &str) -> &mut Member {
        self.members.get_mut(&number(node)).expect("a member of the cluster")
    }

    fn bootstrap(&mut self, words: &[&str]) {
        let (options, nodes): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.contains('='));
        let (lease, nodes) = (!options.contains(&"lease=off"), numbers(&nodes));
        self.members = nodes.iter().map(|&node| (node, Member::bootstrap(node, &nodes, lease))).collect();
    }

    fn elect(&mut self, node: u64) {
        self.members.get_mut(&node).expect("a member").feed(Input::Campaign);
        self.settle();
        // A heartbeat, so that the followers know what the leader has applied.
        self.members.get_mut(&node).expect("a member").owe_ticks(2);
        self.settle();
    }

    fn write(&mut self, words: &[&str]) {
        let [node, name, pair, options @ ..] = words else { panic!("write N NAME KEY=VALUE") };
        let (key, value) = pair.split_once('=').expect("KEY=VALUE");
        let mut builder = CommandBuilder::default();
        builder.push(Operation::Put { key: key.as_bytes(), value: value.as_bytes() });
        let data = builder.seal(BOOTSTRAP_EPOCH.version);
        let (deadline, completion) = (self.deadline(options), self.completion("write", name));
        self.member(node).feed(Input::Propose(Propose { data, deadline, completion }));
    }

    fn read(&mut self, words: &[&str]) {
        let [node, name, options @ ..] = words else { panic!("read N NAME") };
        let (deadline, completion) = (self.deadline(options), self.completion("read", name));
        self.member(node).feed(Input::Read(Read { deadline, completion, min_index: LogIndex(0) }));
    }

    fn deadline(&self, options: &[&str]) -> Timestamp {
        let ms = options.iter().find_map(|option| option.strip_prefix("timeout=")).map_or(60_000, number);
        self.clock + Duration::from_millis(ms)
    }

    fn completion(&self, kind: &'static str, name: &str) -> Completion {
        Completion::new(Box::new(Heard {
            name: format!("{kind} {name}"),
            answers: Arc::clone(&self.answers),
        }))
    }

    fn round(&mut self, node: u64, said: &mut Vec<String>) {
        said.push(format!("{node} turns"));
        let sent = self.members.get_mut(&node).expect("a member").round(self.clock, said);
        for message in sent {
            let line = super::network::describe(&message);
            if !self.network.send(message) {
                said.push(format!("  lost {line}"));
            }
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(answers.drain(..).map(|answer| format!("  {answer}")));
    }

    fn tick(&mut self, words: &[&str]) {
        let ticks = words.get(1).map_or(1, |ticks| number(ticks));
        for _ in 0..ticks {
            self.clock = self.clock + TICK;
            self.member(words[0]).owe_ticks(1);
        }
    }

    fn network_command(&mut self, command: &str, words: &[&str], said: &mut Vec<String>) {
        let wanted = |message: &PeerMessage| words.iter().all(|word| matches(message, word));
        let messages = match command {
            "double" => self.network.copies(wanted),
            _ => self.network.take(wanted),
        };
        for message in messages {
            said.push(format!("{command} {}", super::network::describe(&message)));
            if command != "lose" {
                let to = self.members.get_mut(&message.to().get()).expect("a member");
                to.feed(Input::Message(Box::new(message)));
            }
        }
    }

    fn isolate(&mut self, node: u64) {
        let others: Vec<_> = self.members.keys().copied().filter(|&other| other != node).collect();
        self.network.isolate(node, &others);
    }

    /// Everything everywhere until nothing moves, without a word but the answers.
    fn settle(&mut self) {
        for _ in 0..SETTLE_MAX {
            let mut moved = Vec::new();
            let nodes: Vec<_> = self.members.keys().copied().collect();
            self.network_command("deliver", &[], &mut moved);
            for node in nodes {
                let member = self.members.get_mut(&node).expect("just listed");
                let sent = member.round(self.clock, &mut moved);
                member.apply(&mut moved);
                for message in sent {
                    self.network.send(message);
                }
            }
            if moved.is_empty() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }
}

/// Writes down the one answer of a call.
struct Heard {
    name: String,
    answers: Arc<Mutex<Vec<String>>>,
}

impl Sink for Heard {
    fn deliver(self: Box<Self>, answer: Result<Position>) {
        let said = match answer {
            Ok(position) => format!("{}: ok at {}/{}", self.name, position.index, position.term),
            Err(error) => {
                let outcome = match error.outcome() {
                    Outcome::NotApplied => "not applied",
                    Outcome::Unknown => "unknown",
                };
                format!("{}: {} ({outcome})", self.name, error.code().name())
            }
        };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

fn matches(message: &PeerMessage, word: &str) -> bool {
    match word.split_once("->") {
        Some((from, to)) => message.from().get() == number(from) && message.to().get() == number(to),
        None => type_name(message) == word,
    }
}

/// Says lines that come several times once, with how often.
fn counted(said: Vec<String>) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for line in said {
        match lines.iter_mut().find(|(seen, _)| *seen == line) {
            Some((_, times)) => *times += 1,
            None => lines.push((line, 1)),
        }
    }
    let say = |(line, times)| if times == 1 { line } else { format!("{line} ({times} times)") };
    lines.into_iter().map(say).collect()
}

fn next_sync(word: &str) -> NextSync {
    match word {
        "works" => NextSync::Works,
        "crash-before" => NextSync::CrashBefore,
        "crash-after" => NextSync::CrashAfter,
        _ => panic!("a sync works, or crashes before or after it is durable"),
    }
}

fn describe_status(member: &Member) -> String {
    if !member.is_running() {
        return format!("{} down", member.node);
    }
    let status = member.peer().status();
    let role = format!("{:?}", status.role).to_lowercase();
    format!(
        "{} {role} term={} last={} commit={} applied={}",
        member.node, status.term, status.last_index, status.commit_index, status.applied_index
    )
}

fn describe_members(member: &Member) -> String {
    let (region, _) = member.engine().state();
    let (voters, learners) = (&region.members.voters, &region.members.learners);
    format!(
        "{} holds version {}: voters {voters:?} learners {learners:?}",
        member.node, region.epoch.conf_ver
    )
}

fn describe_data(member: &Member) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    member.engine().data().iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn numbers(words: &[&str]) -> Vec<u64> {
    words.iter().map(|word| number(word)).collect()
}

/// Runs one script and returns it with the output it ought to have.
fn replay(script: &str) -> String {
    let mut cluster = Cluster::default();
    let mut lines = script.lines();
    let mut replayed = String::new();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        if line == "----" {
            // The old output is skipped, the new one takes its place.
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            replayed.push_str("----\n");
            for line in commands.drain(..).flat_map(|command: String| cluster.run(&command)) {
                writeln!(replayed, "{line}").expect("a string grows");
            }
            replayed.push('\n');
            continue;
        }
        if !line.trim().is_empty() && !line.starts_with('#') {
            commands.push(line.to_owned());
        }
        writeln!(replayed, "{line}").expect("a string grows");
    }
    assert!(commands.is_empty(), "the last commands have no ---- and so no output to check");
    format!("{}\n", replayed.trim_end())
}

#[test]
fn scripts_say_what_their_files_say() {
    let rewrite = std::env::var_os("ALMADIA_REWRITE").is_some();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<_> =
        fs::read_dir(&directory).expect("it exists").map(|file| file.expect("readable").path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 9, "the scripts are where they belong");
    for path in scripts {
        let script = fs::read_to_string(&path).expect("readable");
        let replayed = replay(&script);
        if rewrite {
            fs::write(&path, replayed).expect("writable");
        } else {
            assert!(script == replayed, "{} says something else:\n{replayed}", path.display());
        }
    }
}
