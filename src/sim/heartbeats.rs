//! Heartbeats of many regions in one message.
//!
//! Owns directed runs of three members that are compared with each other: the same calls, once with heartbeats as they
//! are sent, once with each of them taken out, delivered alone and handled by raft in a round of its own, as if no two
//! regions had anything to do with each other; and many idle regions with one. What always holds: nothing is lost unless a
//! member is deaf, and what happens follows from the seed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::completion::Waiter;
use crate::core::caller_write::CallerWrite;
use crate::core::command::{CommandBuilder, Operation};
use crate::core::heartbeats::Heartbeats;
use crate::core::input::Input;
use crate::core::peer::idling;
use crate::core::peer_status::PeerStatus;
use crate::core::ports::{Body, PeerMessage};
use crate::core::reads::Read;
use crate::sim::keys;
use crate::sim::member::{ELECTION_TICKS, Member, Setup, TICK};
use crate::sim::network::through_the_codec;
use crate::sim::random::Random;
use crate::time::Timestamp;
use crate::transport::protocol::Protocol;
use crate::types::{ApplyState, BOOTSTRAP_EPOCH, LogIndex, NodeId, RegionId};

const TIMEOUT: Duration = Duration::from_secs(5);

/// How heartbeats reach a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// As they were sent.
    Together,
    /// Each by itself, and handled before anything else, by raft.
    Apart,
}

struct Three {
    delivery: Delivery,
    now: Timestamp,
    members: Vec<Member>,
    inboxes: Vec<VecDeque<PeerMessage>>,
    /// The member that hears nothing.
    deaf: Option<usize>,
    /// The member that hears nothing until later.
    slow: Option<usize>,
    /// The member that hears now what has waited, one message after the other.
    late: Option<usize>,
    /// How many messages were sent.
    sent: usize,
}

/// All that can be seen of a peer.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    status: PeerStatus,
    /// For how many milliseconds it has a lease, and its callers.
    lease_ms: (u64, u64),
    engine: (ApplyState, u64),
    heard: (usize, Vec<u64>),
    /// What it has published of the others, if it leads.
    shown: Vec<(NodeId, LogIndex, bool)>,
}

impl Three {
    fn new(delivery: Delivery, regions: usize) -> Self {
        let voters: Vec<_> = (1..=3).map(NodeId).collect();
        let regions = keys::regions(regions, &voters);
        let member = |node| Member::bootstrap_with(node, &regions, Setup::default());
        let now = Timestamp::default() + Duration::from_secs(60);
        let (members, inboxes) = ((1..=3).map(member).collect(), vec![VecDeque::new(); 3]);
        let mut three = Self { delivery, now, members, inboxes, deaf: None, slow: None, late: None, sent: 0 };
        (0..3).for_each(|at| three.introduce(at));
        three
    }

    fn regions(&self) -> Vec<RegionId> {
        self.members[0].engine().regions().collect()
    }

    /// Connects a member to the others, and them to it.
    fn introduce(&mut self, at: usize) {
        let introductions: Vec<_> = self.members.iter().map(Member::introduction).collect();
        for region in self.regions() {
            for other in (0..3).filter(|&other| other != at) {
                self.members[other].feed_to(region, Input::Introduced(introductions[at]));
                self.members[at].feed_to(region, Input::Introduced(introductions[other]));
            }
        }
    }

    /// Lets time pass while nobody runs a round, and so owes the ticks at once.
    fn stand_still(&mut self, ticks: u32) {
        self.now = self.now + TICK * ticks;
        self.members.iter_mut().for_each(|member| member.owe_ticks(ticks));
        self.settle();
    }

    /// Lets the peers of all members catch up with what was done while they rested.
    fn catch_up(&mut self) {
        self.members.iter_mut().for_each(Member::catch_up);
    }

    /// Makes `leader` the leader of `regions`.
    fn elect(&mut self, leader: usize, regions: &[RegionId]) {
        regions.iter().for_each(|region| self.members[leader].feed_to(*region, Input::Campaign));
        self.settle();
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now + TICK;
            self.members.iter_mut().for_each(|member| member.owe_ticks(1));
            self.settle();
        }
    }

    fn settle(&mut self) {
        while (0..3).any(|at| self.step(at)) {}
    }

    /// Lets a member handle what there is for it; false when there is nothing.
    fn step(&mut self, at: usize) -> bool {
        let has_messages = !self.inboxes[at].is_empty() && self.slow != Some(at);
        while has_messages && let Some(message) = self.inboxes[at].pop_front() {
            if self.deaf == Some(at) {
                continue;
            }
            let are_heartbeats = matches!(message.body, Body::Heartbeats(_));
            for part in self.parts(message) {
                self.members[at].feed_message(through_the_codec(&part, Protocol::NEWEST));
                if self.delivery == Delivery::Apart && are_heartbeats {
                    self.run_round(at);
                }
            }
            if self.late == Some(at) && self.members[at].has_inputs() {
                self.run_round(at);
            }
        }
        let member = &mut self.members[at];
        let has_work = member.has_inputs() || member.has_more_to_propose();
        if has_work {
            self.run_round(at);
        }
        let applies = self.members[at].has_to_apply();
        if applies {
            self.members[at].apply(&mut Vec::new());
        }
        has_messages || has_work || applies
    }

    fn run_round(&mut self, at: usize) {
        idling::go_the_long_way(self.delivery == Delivery::Apart);
        for message in self.members[at].round(self.now, &mut Vec::new()) {
            self.sent += 1;
            self.inboxes[message.to().get() as usize - 1].push_back(message);
        }
        idling::go_the_long_way(false);
    }

    /// A message as it is delivered.
    fn parts(&self, message: PeerMessage) -> Vec<PeerMessage> {
        match message.body {
            Body::Heartbeats(they) if self.delivery == Delivery::Apart => {
                let singles = they.into_singles(message.region);
                let alone = |(region, single)| {
                    let (epoch, body) = (message.epoch, Body::Heartbeats(Heartbeats::of_one(single)));
                    PeerMessage { region, epoch, body }
                };
                singles.map(alone).collect()
            }
            _ => vec![message],
        }
    }

    fn call(&mut self, random: &mut Random) -> Arc<Waiter> {
        let (at, regions) = (random.index(3), self.regions());
        let region = random.pick(&regions);
        let waiter = Arc::new(Waiter::default());
        let (deadline, completion) = (self.now + TIMEOUT, waiter.completion());
        let input = if random.percent(50) {
            let mut builder = CommandBuilder::default();
            let key = [b'a' + (region.get() - 1) as u8];
            builder.push(Operation::Put { key: &key, value: &random.below(1 << 40).to_le_bytes() });
            Input::Write(CallerWrite {
                data: builder.seal(BOOTSTRAP_EPOCH.version),
                deadline,
                completion,
                was_proposed: false,
            })
        } else {
            Input::Read(Read { deadline, completion, min_index: LogIndex(0) })
        };
        self.members[at].feed_to(region, input);
        self.settle();
        waiter
    }

    /// The same step of the same run.
    fn act(&mut self, random: &mut Random) -> Option<bool> {
        match random.below(14) {
            0 => {
                let at = random.index(3);
                self.members[at].crash();
                self.inboxes[at].clear();
                self.members[at].restart();
                self.introduce(at);
                self.settle();
            }
            1 => {
                let (at, regions) = (random.index(3), self.regions());
                let region = random.pick(&regions);
                self.elect(at, &[region]);
            }
            2 => self.deaf = self.deaf.xor(Some(random.index(3))),
            3 => {
                self.late = self.slow;
                self.slow = self.slow.xor(Some(random.index(3)));
                self.settle();
                self.late = None;
            }
            4 => self.stand_still(2 + random.below(3) as u32),
            5..8 => {
                let waiter = self.call(random);
                return Some(waiter.wait(Duration::ZERO).is_some());
            }
            8 => self.pass(ELECTION_TICKS as u32),
            _ => self.pass(1 + random.below(3) as u32),
        }
        None
    }

    fn seen(&self) -> Vec<Seen> {
        let lasts = |holds: &dyn Fn(Timestamp) -> bool| {
            (0..2_000).take_while(|&ms| holds(self.now + Duration::from_millis(ms))).count() as u64
        };
        let mut seen = Vec::new();
        for (member, region) in
            self.members.iter().flat_map(|it| self.regions().into_iter().map(move |r| (it, r)))
        {
            let peer = member.peer_of(region).expect("it runs");
            let published = peer.published_lease();
            let held = lasts(&|then| peer.holds_lease(then));
            let glimpse = published.glimpse();
            let visible = glimpse.map_or(0, |glimpse| lasts(&|then| published.still_holds(glimpse, then)));
            let engine = member.engine().state_and_digest(region);
            let (status, lease_ms, heard) = (peer.status(), (held, visible), member.heard(region));
            let shown = peer.shown();
            seen.push(Seen { status, lease_ms, engine, heard, shown });
        }
        seen
    }
}

fn assert_same(together: &Three, apart: &Three, when: &str) {
    for (peer, (one, other)) in together.seen().into_iter().zip(apart.seen()).enumerate() {
        assert_eq!(one, other, "{when}, peer {peer}");
    }
}

#[test]
fn heartbeats_of_many_regions_in_one_message_are_to_each_region_what_one_of_its_own_is() {
    let mut answered = 0;
    for seed in 0..40 {
        let start = |delivery| {
            let mut three = Three::new(delivery, 5);
            for region in three.regions() {
                three.elect(region.get() as usize % 3, &[region]);
            }
            three.pass(ELECTION_TICKS as u32);
            (three, Random::new(seed))
        };
        let (mut together, mut random) = start(Delivery::Together);
        let (mut apart, mut same) = start(Delivery::Apart);
        assert_same(&together, &apart, &format!("seed {seed}, at the start"));

        for step in 0..60 {
            let outcomes = (together.act(&mut random), apart.act(&mut same));

            assert_eq!(outcomes.0, outcomes.1, "seed {seed}, step {step}");
            assert_same(&together, &apart, &format!("seed {seed}, step {step}"));
            // Both what stands for a peer at rest and the peer itself once it has caught up are compared.
            if seed % 2 == 0 && step % 3 == 0 {
                together.catch_up();
                assert_same(&together, &apart, &format!("seed {seed}, step {step}, caught up"));
            }
            answered += usize::from(outcomes.0 == Some(true));
        }
        assert!(together.sent < apart.sent, "they travelled together: {} and {}", together.sent, apart.sent);
    }
    assert!(answered > 100, "{answered} calls were answered at once");
    assert!(idling::shortcuts() > 10_000, "{} went the short way", idling::shortcuts());
    assert!(idling::renewals() > 500, "{} leases were renewed at rest", idling::renewals());
    assert!(idling::slept_ticks() > 10_000, "{} ticks were slept through", idling::slept_ticks());
}

/// How many messages cross in a second while nobody calls.
fn sent_while_idle(regions: usize) -> usize {
    let mut three = Three::new(Delivery::Together, regions);
    let all = three.regions();
    three.elect(0, &all);
    three.pass(2 * ELECTION_TICKS as u32);
    let before = three.sent;
    three.pass(ELECTION_TICKS as u32);
    three.sent - before
}

#[test]
fn idle_regions_of_one_leader_send_no_more_messages_than_one_of_them() {
    assert_eq!(sent_while_idle(64), sent_while_idle(1));
}
