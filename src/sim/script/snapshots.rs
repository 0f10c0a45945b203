//! Raft snapshots, which a script moves by hand.
//!
//! Owns those that leaders want to have made, and those that are under way. What always holds: each step is a command of
//! its own; a sender that lives hears of the end of every sending, and only what was delivered is staged.

use std::sync::Arc;

use crate::core::input::Input;
use crate::core::ports::Errand;
use crate::core::raft_snapshot::SnapshotMessage;
use crate::sim::disk::Data;
use crate::sim::member::{Image, Member};
use crate::sim::script::cluster::{Members, number};
use crate::sim::watch::{of_region, place};
use crate::types::{NodeId, RegionId};

/// See the module.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// Nothing is done about them but by commands that name them.
    pub by_hand: bool,
    /// Who wants to make one of a region, and for whom.
    wanted: Vec<(u64, RegionId, NodeId)>,
    under_way: Vec<UnderWay>,
    /// Set aside until they are released.
    held: Vec<UnderWay>,
}

/// A raft snapshot with its data, or the news that it has arrived, on the way back.
#[derive(Clone)]
struct UnderWay {
    /// Of its sender.
    boot: u64,
    message: SnapshotMessage,
    data: Arc<Data>,
    has_arrived: bool,
}

impl UnderWay {
    fn sender(&self) -> u64 {
        self.message.from.get()
    }

    fn receiver(&self) -> u64 {
        self.message.to.get()
    }

    /// From where to where it goes now.
    fn way(&self) -> (u64, u64) {
        let (from, to) = (self.sender(), self.receiver());
        if self.has_arrived { (to, from) } else { (from, to) }
    }

    fn matches(&self, word: &str) -> bool {
        match word.split_once("->") {
            Some((from, to)) => self.way() == (number(from), number(to)),
            None => word == if self.has_arrived { "snapshot-ok" } else { "snapshot" },
        }
    }

    fn describe(&self) -> String {
        let (from, to) = self.way();
        let (term, head) = (self.message.term, &self.message.head);
        let what = if self.has_arrived { "snapshot-ok" } else { "snapshot" };
        format!("{from}->{to} {what} term={term} at {}{}", place(head.state), of_region(head.region.id))
    }

    fn tell_sender(&self, members: &mut Members, is_delivered: bool) {
        let sender = members.get_mut(&self.sender()).expect("a member");
        if sender.is_running() && sender.boot() == self.boot {
            let index = self.message.head.state.index;
            let input = Input::SnapshotEnded(self.message.to, index, is_delivered);
            sender.feed_to(self.message.head.region.id, input);
        }
    }
}

impl Snapshots {
    /// Takes over what a round of `member` left to others. `is_cut` says whether nothing reaches a member.
    pub(crate) fn take_over(
        &mut self,
        member: &mut Member,
        errands: Vec<Errand>,
        is_cut: impl Fn(u64) -> bool,
        output: &mut Vec<String>,
    ) {
        let node = member.node;
        for errand in errands {
            match errand {
                Errand::Export(region, to) => {
                    output.push(format!("  {node} is to make a snapshot for {to}{}", of_region(region)));
                    self.wanted.push((node, region, to));
                }
                Errand::Send(message) => {
                    let is_cut = is_cut(message.to.get());
                    self.send(member, *message, is_cut, output);
                }
                Errand::Cancel(region, to) => {
                    self.wanted.retain(|wanted| *wanted != (node, region, to));
                    member.drop_made(region, to);
                }
                Errand::Discard(region, state) => {
                    output.push(format!(
                        "  {node} drops what is staged at {}{}",
                        place(state),
                        of_region(region)
                    ));
                    member.discard(region, state);
                }
            }
        }
    }

    fn send(
        &mut self,
        member: &mut Member,
        message: SnapshotMessage,
        is_cut: bool,
        output: &mut Vec<String>,
    ) {
        let made = member.take_made(&message);
        let Image { data, .. } = made.expect("what is sent was made, and nobody has dropped it");
        let sent = UnderWay { boot: member.boot(), message, data, has_arrived: false };
        output.push(format!("  {}{}", if is_cut { "lost " } else { "" }, sent.describe()));
        if is_cut {
            let (index, region) = (sent.message.head.state.index, sent.message.head.region.id);
            member.feed_to(region, Input::SnapshotEnded(sent.message.to, index, false));
        } else {
            self.under_way.push(sent);
        }
    }

    /// `member` makes what it wants to make.
    pub(crate) fn make(&mut self, member: &mut Member, output: &mut Vec<String>) {
        let node = member.node;
        for (_, region, to) in self.wanted.extract_if(.., |wanted| wanted.0 == node) {
            if !member.is_running() {
                continue;
            }
            let of = of_region(region);
            if member.engine().replaces(region).is_some() {
                output.push(format!("{node} can make no snapshot for {to}: its own data are replaced{of}"));
            } else {
                let (_, state) = member.engine().state_of(region);
                output.push(format!("{node} makes a snapshot for {to} at {}{of}", place(state)));
            }
            member.export(region, to);
        }
    }

    /// A member that has crashed wants nothing any more.
    pub(crate) fn forget(&mut self, node: u64) {
        self.wanted.retain(|wanted| wanted.0 != node);
    }

    /// Delivers, doubles, loses, holds or releases those that all `words` name.
    pub(crate) fn carry_on(
        &mut self,
        command: &str,
        words: &[&str],
        members: &mut Members,
        output: &mut Vec<String>,
    ) {
        let wanted = |it: &UnderWay| words.iter().all(|word| it.matches(word));
        let chosen: Vec<_> = match command {
            "double" => self.under_way.iter().filter(|it| wanted(it)).cloned().collect(),
            "release" => std::mem::take(&mut self.held),
            _ => self.under_way.extract_if(.., |it| wanted(it)).collect(),
        };
        for mut it in chosen {
            let line = it.describe();
            let is_of_this_life = it.has_arrived || members[&it.sender()].boot() == it.boot;
            match command {
                "hold" => self.held.push(it),
                "lose" => it.tell_sender(members, false),
                _ if it.has_arrived => it.tell_sender(members, true),
                _ if !is_of_this_life || !members[&it.receiver()].is_running() => {
                    output.push(format!("lose {line}"));
                    it.tell_sender(members, false);
                    continue;
                }
                _ => {
                    let receiver = members.get_mut(&it.receiver()).expect("a member");
                    receiver.stage(it.message.clone(), Arc::clone(&it.data));
                    it.has_arrived = true;
                    if command != "double" {
                        self.under_way.push(it);
                    }
                }
            }
            output.push(format!("{command} {line}"));
        }
    }

    /// What is under way on links that are cut is lost.
    pub(crate) fn lose_cut(&mut self, members: &mut Members, is_cut: impl Fn(u64, u64) -> bool) {
        for lost in self.under_way.extract_if(.., |it| is_cut(it.way().0, it.way().1)) {
            lost.tell_sender(members, false);
        }
    }
}

/// `member` links the data of the raft snapshot that its applier waits for, and hands back to it.
pub(crate) fn install(member: &mut Member, output: &mut Vec<String>) {
    let regions: Vec<_> = member.engine().regions().collect();
    let replaced = regions.into_iter().find_map(|region| Some((region, member.engine().replaces(region)?)));
    let Some((region, state)) = replaced.filter(|_| member.has_to_install()) else {
        return output.push(format!("{} has nothing to install", member.node));
    };
    output.push(format!("{} links the data at {}{}", member.node, place(state), of_region(region)));
    // The data are linked, then the applier goes on.
    for _ in 0..2 {
        assert!(member.install().is_none(), "scripts crash members between commands");
    }
}
