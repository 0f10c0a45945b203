//! The members, the network and the clock of a script.
//!
//! Owns the effects of the commands. What always holds: nothing moves except by a command, and each command reports
//! everything that it caused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::core::applier::Slice;
use crate::core::input::Input;
use crate::core::ports::PeerMessage;
use crate::core::region::Region;
use crate::sim::keys;
use crate::sim::member::{ELECTION_TICKS, Member, NextSync, Setup, TICK};
use crate::sim::network::{Network, describe, type_name};
use crate::sim::script::calls::Answers;
use crate::sim::script::describe::{
    counted, describe_data, describe_lease, describe_level, describe_members, describe_status,
    describe_versions,
};
use crate::sim::script::looks::Looks;
use crate::sim::script::snapshots::{Snapshots, install};
use crate::time::Timestamp;
use crate::transport::protocol::Protocol;
use crate::types::{BOOTSTRAP_REGION, NEWEST_LEVEL, NodeId, RegionId};

/// More exchanges than any script needs to become idle.
const SETTLE_MAX: usize = 200;

/// The members of a script, by number.
pub(crate) type Members = BTreeMap<u64, Member>;

/// See the module.
pub(crate) struct Cluster {
    members: Members,
    /// For members that join.
    setup: Setup,
    /// The region that the command is about; none when it names none.
    region: Option<RegionId>,
    network: Network,
    /// Members whose engines are stalled.
    stalled: BTreeSet<u64>,
    /// Messages taken out of flight until they are released.
    held: Vec<PeerMessage>,
    snapshots: Snapshots,
    clock: Timestamp,
    answers: Answers,
    looks: Looks,
}

impl Cluster {
    /// A cluster without members.
    pub(crate) fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            setup: Setup::default(),
            region: None,
            network: Network::default(),
            stalled: BTreeSet::new(),
            held: Vec::new(),
            snapshots: Snapshots::default(),
            // Some time after boot, as for any real member.
            clock: Timestamp::default() + Duration::from_secs(60),
            answers: Answers::default(),
            looks: Looks::default(),
        }
    }
}

impl Cluster {
    /// Executes one line and returns what it caused.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let mut output = Vec::new();
        let of_region = |word: &&str| word.starts_with("region=");
        let (region, words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(of_region);
        self.region = option(&region, "region=").map(RegionId);
        let (command, words) = words.split_first().expect("the parser drops empty lines");
        self.carry_out(command, words, &mut output);
        output.append(&mut self.answers.take());
        counted(output)
    }

    fn carry_out(&mut self, command: &str, words: &[&str], output: &mut Vec<String>) {
        match command {
            "cluster" => self.bootstrap(words),
            "elect" => self.elect(number(words[0])),
            "campaign" => self.campaign(number(words[0])),
            "write" | "read" | "local" | "transfer" | "list" => self.call(command, words),
            "cancel" => self.answers.cancel(words[0]),
            "glimpse" | "view" | "look" => self.take_look(command, words, output),
            "add-learner" => self.add_learner(words),
            "join" => numbers(words).into_iter().for_each(|node| self.join(node)),
            "make" => numbers(words).into_iter().for_each(|node| self.make(node, output)),
            "install" => install(self.member(words[0]), output),
            "timer" => numbers(words).into_iter().for_each(|node| self.answer_late(node)),
            "round" => numbers(words).into_iter().for_each(|node| self.round(node, output)),
            "sync" => self.member(words[0]).next_sync = next_sync(words[1]),
            "apply" => self.apply(words, output),
            "engine" => self.member(words[0]).write_engine(),
            "report" => self.member(words[0]).report_applied(output),
            "stall" => _ = self.stalled.insert(number(words[0])),
            "recover" => _ = self.stalled.remove(&number(words[0])),
            "flush" => self.member(words[0]).flush(),
            "crash" => self.crash(number(words[0])),
            "restart" => self.restart(number(words[0])),
            "upgrade" => self.upgrade(number(words[0])),
            "levels" => output.extend(self.members.values().map(describe_level)),
            "lose-end" => self.lose_end(words),
            "introduce" => self.introduce(number(words[0])),
            "tick" | "forget" | "clock" | "pass" => self.move_time(command, words),
            "settle" => self.settle(),
            "deliver" | "double" | "lose" | "hold" | "release" => {
                self.move_messages(command, words, output);
                self.snapshots.carry_on(command, words, &mut self.members, output);
            }
            "isolate" | "cut" | "heal" | "disconnect" | "connect" => self.change_links(command, words),
            "status" => {
                let region = self.region();
                output.extend(self.members.values().map(|member| describe_status(member, region)));
            }
            "data" => output.extend(describe_data(self.member(words[0]).engine().data())),
            "versions" => output.extend(describe_versions(self.member(words[0]).engine().data())),
            "members" => {
                let region = self.region();
                output.extend(describe_members(self.member(words[0]), region));
            }
            "lease" => output.push(describe_lease(&self.members[&number(words[0])], self.clock)),
            _ => panic!("unknown command '{command}'"),
        }
    }

    fn member(&mut self, node: &str) -> &mut Member {
        self.members.get_mut(&number(node)).expect("a member of the cluster")
    }

    /// The region that the command is about.
    fn region(&self) -> RegionId {
        self.region.unwrap_or(BOOTSTRAP_REGION)
    }

    fn bootstrap(&mut self, words: &[&str]) {
        let (options, nodes): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
        self.setup = setup_of(&options);
        self.snapshots.by_hand = options.contains(&"snapshots=held");
        let nodes = numbers(&nodes);
        let voters: Vec<_> = nodes.iter().map(|&node| NodeId(node)).collect();
        let old: Vec<_> = options.iter().filter_map(|word| word.strip_prefix("old=")).map(number).collect();
        let level = if old.is_empty() { NEWEST_LEVEL } else { 0 };
        let count = option(&options, "regions=").map_or(1, |count| count as usize);
        let regions = keys::regions(count, &voters).into_iter().map(|region| Region { level, ..region });
        let regions: Vec<_> = regions.collect();
        let known_level = |node| if old.contains(&node) { 0 } else { NEWEST_LEVEL };
        let setup = |node| Setup { known_level: known_level(node), ..self.setup.clone() };
        let member = |node| (node, Member::bootstrap_with(node, &regions, setup(node)));
        self.members = nodes.into_iter().map(member).collect();
        self.introduce_all();
    }

    /// A member that has joined: of the regions it has nothing but their ranges.
    fn join(&mut self, node: u64) {
        let engine = self.members.values().next().expect("somebody is asked").engine();
        let place = |id| {
            let (Region { start_key, end_key, epoch, .. }, _) = engine.state_of(id);
            Region::without_data(id, start_key, end_key, epoch.version)
        };
        let regions: Vec<_> = engine.regions().map(place).collect();
        let member = Member::bootstrap_with(node, &regions, self.setup.clone());
        assert!(self.members.insert(node, member).is_none(), "a number is used once");
        self.introduce_all();
    }

    /// Restarts a member, and connects it to the others.
    fn restart(&mut self, node: u64) {
        self.snapshots.forget(node);
        self.members.get_mut(&node).expect("a member").restart();
        self.introduce_all();
    }

    fn crash(&mut self, node: u64) {
        self.snapshots.forget(node);
        self.members.get_mut(&node).expect("a member").crash();
    }

    /// Ends a member of the build before, and starts it as one of the newest.
    fn upgrade(&mut self, node: u64) {
        let member = self.members.get_mut(&node).expect("a member");
        member.flush();
        member.crash();
        member.run_build(NEWEST_LEVEL);
        self.restart(node);
    }

    fn elect(&mut self, node: u64) {
        self.campaign(node);
        self.settle();
        // A heartbeat, so that the followers know what the leader has applied.
        self.members.get_mut(&node).expect("a member").owe_ticks(2);
        self.settle();
    }

    fn campaign(&mut self, node: u64) {
        let region = self.region();
        self.members.get_mut(&node).expect("a member").feed_to(region, Input::Campaign);
    }

    fn add_learner(&mut self, words: &[&str]) {
        let region = self.region();
        self.member(words[0]).propose_change_of_learner(region, number(words[1]));
    }

    fn make(&mut self, node: u64, output: &mut Vec<String>) {
        self.snapshots.make(self.members.get_mut(&node).expect("a member"), output);
    }

    fn lose_end(&mut self, words: &[&str]) {
        let frames = words.get(1).map_or(1, |frames| number(frames));
        assert!(self.member(words[0]).lose_end(frames as usize), "the log has not so many frames");
    }

    fn introduce(&mut self, node: u64) {
        let introduction = self.members[&node].introduction();
        for member in self.members.values_mut().filter(|member| member.node != node) {
            let regions: Vec<_> = member.engine().regions().collect();
            regions.into_iter().for_each(|region| member.feed_to(region, Input::Introduced(introduction)));
        }
    }

    fn introduce_all(&mut self) {
        let all: Vec<_> = self.members.keys().copied().collect();
        all.into_iter().for_each(|node| self.introduce(node));
    }

    fn call(&mut self, command: &str, words: &[&str]) {
        let [node, call @ ..] = words else { panic!("{command} N NAME ...") };
        let region = self.region();
        let member = self.members.get_mut(&number(node)).expect("a member of the cluster");
        let deadlines = member.deadlines().expect("it runs");
        let input = self.answers.call(command, call, self.clock, deadlines, (member.engine(), region));
        member.feed_to(region, input);
    }

    fn take_look(&mut self, command: &str, words: &[&str], output: &mut Vec<String>) {
        let [node, name] = words else { panic!("{command} N NAME") };
        let member = &self.members[&number(node)];
        match command {
            "glimpse" => output.push(self.looks.glimpse(name, member)),
            "view" => self.looks.view(name, member),
            _ => output.push(self.looks.look(name, self.clock)),
        }
    }

    fn answer_late(&mut self, node: u64) {
        self.members.get_mut(&node).expect("a member").answer_late(self.clock);
    }

    fn round(&mut self, node: u64, output: &mut Vec<String>) {
        output.push(format!("{node} turns"));
        let sent = self.turn(node, output);
        for message in sent {
            let line = describe(&message);
            if !self.send(message) {
                output.push(format!("  lost {line}"));
            }
        }
        output.extend(self.answers.take().into_iter().map(|answer| format!("  {answer}")));
    }

    /// A round of a member. Returns the messages that it sends.
    fn turn(&mut self, node: u64, output: &mut Vec<String>) -> Vec<PeerMessage> {
        let member = self.members.get_mut(&node).expect("a member");
        let outcome = member.run_round(self.clock, output);
        if outcome.end.is_some() {
            member.crash();
        } else {
            let is_cut = |to| self.network.is_cut(node, to);
            self.snapshots.take_over(member, outcome.errands, is_cut, output);
        }
        outcome.sent.into_iter().map(|(message, _)| message).collect()
    }

    /// False when the link is cut.
    fn send(&mut self, message: PeerMessage) -> bool {
        let level = |node: NodeId| self.members.get(&node.get()).map_or(NEWEST_LEVEL, Member::known_level);
        let protocol = Protocol::of_level(level(message.from()).min(level(message.to())));
        self.network.send(message, protocol)
    }

    fn apply(&mut self, words: &[&str], output: &mut Vec<String>) {
        let (options, nodes): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
        let limit = |name| option(&options, name).map_or(usize::MAX, |count| count as usize);
        let slice = Slice { entries: limit("entries="), bytes: limit("bytes="), ..Slice::ALL };
        for node in nodes {
            let member = self.member(node);
            apply(member, slice, output);
        }
    }

    fn move_time(&mut self, command: &str, words: &[&str]) {
        match command {
            "clock" => self.clock = self.clock + Duration::from_millis(number(words[0])),
            "forget" => self.tick(&numbers(words), ELECTION_TICKS as u64),
            "pass" => self.pass(number(words[0])),
            _ => {
                let nodes: Vec<_> = words[0].split(',').map(number).collect();
                self.tick(&nodes, words.get(1).map_or(1, |ticks| number(ticks)));
            }
        }
    }

    fn tick(&mut self, nodes: &[u64], ticks: u64) {
        let ticks = u32::try_from(ticks).expect("no script waits that long");
        self.clock = self.clock + TICK * ticks;
        for node in nodes {
            self.members.get_mut(node).expect("a member").owe_ticks(ticks);
        }
    }

    fn pass(&mut self, ticks: u64) {
        let everyone: Vec<_> = self.members.keys().copied().collect();
        for _ in 0..ticks {
            self.tick(&everyone, 1);
            self.settle();
        }
    }

    fn move_messages(&mut self, command: &str, words: &[&str], output: &mut Vec<String>) {
        let region = self.region;
        let wanted = |message: &PeerMessage| {
            let is_of_it = region.is_none_or(|region| message.region == region);
            is_of_it && words.iter().all(|word| matches(message, word))
        };
        let messages = match command {
            "double" => self.network.copies(wanted),
            "release" => std::mem::take(&mut self.held),
            _ => self.network.take(wanted),
        };
        for message in messages {
            output.push(format!("{command} {}", describe(&message)));
            match command {
                "lose" => {}
                "hold" => self.held.push(message),
                _ => {
                    let to = self.members.get_mut(&message.to().get()).expect("a member");
                    to.feed_message(message);
                }
            }
        }
    }

    fn change_links(&mut self, command: &str, words: &[&str]) {
        match command {
            "heal" => self.network.heal(),
            "isolate" => self.isolate(number(words[0])),
            "cut" => {
                let (from, to) = words[0].split_once("->").expect("FROM->TO");
                self.network.cut(number(from), number(to));
            }
            "disconnect" => {
                self.disconnect(number(words[0]), number(words[1]));
                self.disconnect(number(words[1]), number(words[0]));
            }
            _ => {
                self.member(words[0]).feed(Input::Connected(NodeId(number(words[1]))));
                self.member(words[1]).feed(Input::Connected(NodeId(number(words[0]))));
            }
        }
        self.snapshots.lose_cut(&mut self.members, |from, to| self.network.is_cut(from, to));
    }

    fn isolate(&mut self, node: u64) {
        let others: Vec<_> = self.members.keys().copied().filter(|&other| other != node).collect();
        self.network.isolate(node, &others);
    }

    fn disconnect(&mut self, node: u64, from: u64) {
        self.network.take(|message| (message.from().get(), message.to().get()) == (from, node));
        self.members.get_mut(&node).expect("a member").feed(Input::Disconnected(NodeId(from)));
    }

    /// Runs everything everywhere until nothing moves, reporting only answers.
    fn settle(&mut self) {
        for _ in 0..SETTLE_MAX {
            let (mut moved, mut all_sent) = (Vec::new(), Vec::new());
            self.move_messages("deliver", &[], &mut moved);
            if !self.snapshots.by_hand {
                self.snapshots.carry_on("deliver", &[], &mut self.members, &mut moved);
            }
            for node in self.members.keys().copied().collect::<Vec<_>>() {
                all_sent.extend(self.turn(node, &mut moved));
                if !self.snapshots.by_hand {
                    self.make(node, &mut moved);
                }
                let member = self.members.get_mut(&node).expect("a member");
                if !self.stalled.contains(&node) {
                    apply(member, Slice::ALL, &mut moved);
                    if member.has_to_install() && !self.snapshots.by_hand {
                        install(member, &mut moved);
                    }
                }
            }
            for message in all_sent {
                self.send(message);
            }
            if moved.is_empty() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }
}

fn apply(member: &mut Member, slice: Slice, output: &mut Vec<String>) {
    let had_to_install = member.has_to_install();
    member.apply_write(slice);
    if member.has_to_install() && !had_to_install {
        output.push(format!("{} empties what the snapshot replaces", member.node));
    }
    member.report_applied(output);
}

/// Configuration of the members.
fn setup_of(options: &[&str]) -> Setup {
    let mut setup = Setup::default();
    if options.contains(&"lease=off") {
        setup.lease_max = Duration::ZERO;
    }
    if options.contains(&"group=off") {
        setup.group_bytes_max = 0;
    }
    if let Some(bytes) = option(options, "uncommitted=") {
        setup.uncommitted_bytes_max = bytes;
    }
    if let Some(bytes) = option(options, "propose=") {
        setup.propose_bytes_max = bytes as usize;
    }
    if let Some(bytes) = option(options, "window=") {
        setup.forward_window_bytes = bytes as usize;
    }
    if let Some(count) = option(options, "questions=") {
        setup.limits.questions = count as usize;
    }
    if let Some(bytes) = option(options, "retain=") {
        setup.log_retain_bytes = bytes;
    }
    if let Some(bytes) = option(options, "behind=") {
        setup.log_behind_bytes = bytes;
    }
    setup.elections = option(options, "elections=");
    setup
}

fn matches(message: &PeerMessage, word: &str) -> bool {
    match word.split_once("->") {
        Some((from, to)) => message.from().get() == number(from) && message.to().get() == number(to),
        None => type_name(message) == word,
    }
}

fn next_sync(word: &str) -> NextSync {
    match word {
        "works" => NextSync::Works,
        "fails" => NextSync::FailBefore,
        "crash-before" => NextSync::CrashBefore,
        "crash-after" => NextSync::CrashAfter,
        _ => panic!("a sync works, fails, or crashes before or after it is durable"),
    }
}

/// The number after `name`, which ends with `=`, if it is among `options`.
pub(crate) fn option(options: &[&str], name: &str) -> Option<u64> {
    options.iter().find_map(|option| option.strip_prefix(name)).map(number)
}

/// Parses a word as a number.
pub(crate) fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("'{word}' is no number"))
}

fn numbers(words: &[&str]) -> Vec<u64> {
    words.iter().map(|word| number(word)).collect()
}
