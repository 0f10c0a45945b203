//! Three members that are stepped together.
//!
//! Owns message exchange for directed runs in which only the outcome matters: after each step the three members have
//! exchanged and applied everything there was. What always holds: every message arrives, immediately and in order,
//! except those of a member that is away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::completion::{Reply, Waiter};
use crate::core::caller_write::CallerWrite;
use crate::core::command::{CommandBuilder, Operation};
use crate::core::input::Input;
use crate::core::log::bytes_of;
use crate::core::ports::PeerMessage;
use crate::core::reads::Read;
use crate::core::region_members::RegionMembers;
use crate::error::Result;
use crate::sim::keys;
use crate::sim::member::{ELECTION_TICKS, Member, Setup, TICK};
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_EPOCH, LogIndex, NodeId, RegionId};

/// More exchanges than three members need to become idle.
const SETTLE_MAX: usize = 400;
/// Calls have a deadline even if they are never answered.
const TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Trio {
    members: Vec<Member>,
    now: Timestamp,
    /// The member whose engine accepts nothing.
    pub stalled: Option<u64>,
    /// The member that hears nothing and is not heard.
    pub away: Option<u64>,
    /// What members published of regions, each with the member.
    pub published: Vec<(u64, RegionId, RegionMembers)>,
    /// Bytes of the entries that were sent.
    pub sent: u64,
    /// The most of them that one member sent to another in one round.
    pub sent_at_once_max: u64,
}

impl Trio {
    /// Three members with this many regions on empty disks.
    pub(crate) fn new(regions: usize, setup: &Setup) -> Self {
        let voters: Vec<_> = (1..=3).map(NodeId).collect();
        let regions = keys::regions(regions, &voters);
        let members = (1..=3).map(|node| Member::bootstrap_with(node, &regions, setup.clone())).collect();
        let now = Timestamp::default() + Duration::from_secs(60);
        let (stalled, away, published) = (None, None, Vec::new());
        let mut trio = Self { members, now, stalled, away, published, sent: 0, sent_at_once_max: 0 };
        trio.introduce_all();
        trio
    }

    /// Introduces the current boot of each member to the others.
    fn introduce_all(&mut self) {
        let introductions: Vec<_> = self.members.iter().map(Member::introduction).collect();
        for member in &mut self.members {
            let regions: Vec<_> = member.engine().regions().collect();
            let node = NodeId(member.node);
            for introduction in introductions.iter().filter(|introduction| introduction.node != node) {
                for &region in &regions {
                    member.feed_to(region, Input::Introduced(*introduction));
                }
            }
        }
    }

    /// One of the members.
    pub(crate) fn member(&mut self, node: u64) -> &mut Member {
        &mut self.members[node as usize - 1]
    }

    /// Makes `node` the leader of the first `regions` regions.
    pub(crate) fn elect(&mut self, node: u64, regions: u64) {
        (1..=regions).for_each(|region| self.member(node).feed_to(RegionId(region), Input::Campaign));
        self.settle();
        // A heartbeat, so that the followers know what the leader has applied.
        self.pass(2);
    }

    /// Advances by this many ticks, flushing every engine whose log waits for a flush.
    pub(crate) fn flush_and_pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.pass(1);
            for member in self.members.iter_mut().filter(|member| member.wants_flush().is_some()) {
                member.flush();
            }
        }
    }

    /// All members lose power and restart, then abstain from voting for as long as a restart may require.
    pub(crate) fn restart_all(&mut self) {
        for member in &mut self.members {
            member.crash();
            member.restart();
        }
        self.introduce_all();
        self.pass(ELECTION_TICKS as u32);
    }

    fn settle(&mut self) {
        for _ in 0..SETTLE_MAX {
            if !self.exchange() {
                return;
            }
        }
        panic!("the members do not come to rest");
    }

    /// Runs a round of every member that has work. False when none had.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for node in 1..=3 {
            let (now, stalled) = (self.now, self.stalled == Some(node));
            let member = self.member(node);
            if member.has_to_apply() && !stalled {
                member.apply(&mut Vec::new());
                moved = true;
            }
            if !member.has_inputs() && !member.has_more_to_propose() {
                continue;
            }
            moved = true;
            let outcome = member.run_round(now, &mut Vec::new());
            assert!(outcome.end.is_none(), "no member crashes");
            let messages: Vec<_> = outcome.sent.into_iter().map(|(message, _)| message).collect();
            self.published
                .extend(outcome.published.into_iter().map(|(region, members)| (node, region, members)));
            self.measure(&messages);
            for message in messages {
                let to = message.to().get();
                if self.away.is_none_or(|away| away != node && away != to) {
                    self.member(to).feed_message(message);
                }
            }
        }
        moved
    }

    fn measure(&mut self, messages: &[PeerMessage]) {
        for to in 1..=3 {
            let appends = messages.iter().filter(|message| message.to() == NodeId(to));
            let entries = appends.filter_map(PeerMessage::raft).map(|append| bytes_of(&append.entries));
            let bytes: u64 = entries.sum();
            self.sent += bytes;
            self.sent_at_once_max = self.sent_at_once_max.max(bytes);
        }
    }

    /// Advances all members by this many ticks.
    pub(crate) fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now + TICK;
            self.members.iter_mut().for_each(|member| member.owe_ticks(1));
            self.settle();
        }
    }

    /// Writes a value of this many bytes.
    pub(crate) fn write(&mut self, node: u64, region: RegionId, value_bytes: usize) -> Arc<Waiter> {
        let mut builder = CommandBuilder::default();
        let key = [b'a' + (region.get() - 1) as u8];
        builder.push(Operation::Put { key: &key, value: &vec![7; value_bytes] });
        self.propose(node, region, builder.seal(BOOTSTRAP_EPOCH.version))
    }

    /// Hands a command to `node` as if it had been validated where the call was made.
    pub(crate) fn propose(&mut self, node: u64, region: RegionId, data: Bytes) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::default());
        let (deadline, completion) = (self.now + TIMEOUT, waiter.completion());
        self.member(node)
            .feed_to(region, Input::Write(CallerWrite { data, deadline, completion, was_proposed: false }));
        self.settle();
        waiter
    }

    /// Makes a read.
    pub(crate) fn read(&mut self, node: u64, region: RegionId) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::default());
        let (deadline, completion) = (self.now + TIMEOUT, waiter.completion());
        let read = Read { deadline, completion, min_index: LogIndex(0) };
        self.member(node).feed_to(region, Input::Read(read));
        self.settle();
        waiter
    }

    /// The answer to a call, which arrives by its deadline.
    pub(crate) fn answer(&mut self, call: &Waiter) -> Result<Reply> {
        loop {
            if let Some(answer) = call.wait(Duration::ZERO) {
                return answer;
            }
            self.pass(1);
        }
    }
}

/// The answer to a call that has already been answered.
pub(crate) fn at_once(call: &Waiter) -> Result<Reply> {
    call.wait(Duration::ZERO).expect("answered at once")
}
