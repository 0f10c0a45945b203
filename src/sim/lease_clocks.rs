//! A lease against clocks that are slewed or stopped.
//!
//! Owns one schedule, the worst that clocks can do to a lease: a leader renews it with one follower, whose next tick is
//! due at once, and then loses that follower; from then on the leader's clock runs slow and the others' fast, as a time
//! daemon slews them (chrony by up to 83,333 ppm by default, 100,000 at most), while a third member keeps asking the
//! follower for its vote. What always holds: while the first leader answers a read under its lease, nobody else
//! acknowledges a write. If the leader's clock stops, that cannot hold; then its lease lasts only until it expires by
//! that clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::completion::Waiter;
use crate::core::caller_write::CallerWrite;
use crate::core::command::{CommandBuilder, Operation};
use crate::core::input::Input;
use crate::core::peer_status::Role;
use crate::core::planted::{self, Fault};
use crate::core::reads::Read;
use crate::core::region::Region;
use crate::sim::clock::MemberClock;
use crate::sim::member::{ELECTION_TICKS, Member, Setup, TICK};
use crate::sim::network::through_the_codec;
use crate::sim::plan::{MICROSECOND, MILLISECOND, SECOND};
use crate::time::Timestamp;
use crate::transport::protocol::Protocol;
use crate::types::{BOOTSTRAP_EPOCH, LogIndex, NodeId};

/// Time advances in steps of this length.
const STEP: u64 = 100 * MICROSECOND;
/// The first leader, the last follower it reaches, and the next leader.
const LEADER: usize = 0;
const FOLLOWER: usize = 1;
const CANDIDATE: usize = 2;

struct Net {
    now: u64,
    members: Vec<Member>,
    clocks: Vec<MemberClock>,
    /// Links that drop everything, in both directions.
    cut: BTreeSet<(usize, usize)>,
}

impl Net {
    fn new() -> Self {
        let region = [Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)])];
        let setup = Setup::default();
        let member = |node| Member::bootstrap_with(node, &region, setup.clone());
        let clock = || MemberClock::new(0, 60 * SECOND, TICK, ELECTION_TICKS);
        let mut clocks: Vec<_> = (1..=3).map(|_| clock()).collect();
        // Its ticks are due one step after the leader's.
        clocks[FOLLOWER].jump(TICK.as_nanos() as u64 - STEP);
        Self { now: 0, members: (1..=3).map(member).collect(), clocks, cut: BTreeSet::new() }
    }

    fn local(&self, at: usize) -> Timestamp {
        Timestamp(self.clocks[at].local(self.now))
    }

    fn cut(&mut self, one: usize, other: usize) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Delivers everything; messages take no time.
    fn settle(&mut self) {
        while let Some(at) =
            (0..3).find(|&at| self.members[at].has_inputs() || self.members[at].has_to_apply())
        {
            let now = self.local(at);
            for message in self.members[at].round(now, &mut Vec::new()) {
                let to = message.to().get() as usize - 1;
                if !self.cut.contains(&(at, to)) {
                    self.members[to].feed_message(through_the_codec(&message, Protocol::NEWEST));
                }
            }
            self.members[at].apply(&mut Vec::new());
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for (member, clock) in self.members.iter_mut().zip(&mut self.clocks) {
            member.owe_ticks(clock.owed_ticks(self.now));
        }
        self.settle();
    }

    fn leads(&self, at: usize) -> bool {
        self.members[at].peer().status().role == Role::Leader
    }

    /// Whether a write is acknowledged immediately.
    fn writes(&mut self, at: usize, value: &[u8]) -> bool {
        let waiter = Arc::new(Waiter::default());
        let mut builder = CommandBuilder::default();
        builder.push(Operation::Put { key: b"x", value });
        let data = builder.seal(BOOTSTRAP_EPOCH.version);
        let deadline = self.local(at) + Duration::from_secs(5);
        self.members[at].feed(Input::Write(CallerWrite {
            data,
            deadline,
            completion: waiter.completion(),
            was_proposed: false,
        }));
        self.settle();
        waiter.wait(Duration::ZERO).is_some_and(|answer| answer.is_ok())
    }

    /// The result of a linearizable read, if it is answered immediately.
    fn reads(&mut self, at: usize) -> Option<Vec<u8>> {
        let waiter = Arc::new(Waiter::default());
        let deadline = self.local(at) + Duration::from_secs(5);
        let (completion, min_index) = (waiter.completion(), LogIndex(0));
        self.members[at].feed(Input::Read(Read { deadline, completion, min_index }));
        self.settle();
        let answered = waiter.wait(Duration::ZERO).is_some_and(|answer| answer.is_ok());
        answered
            .then(|| self.members[at].engine().data().get(&b"x"[..]).map(|stored| stored.value.clone()))
            .flatten()
    }

    /// Establishes a leader whose write all have, and cuts the link between it and the candidate.
    fn begin(&mut self) {
        self.members[LEADER].feed(Input::Campaign);
        self.settle();
        (0..500).for_each(|_| self.step());
        assert!(self.writes(LEADER, b"old"));
        (0..2_000).for_each(|_| self.step());
        self.cut(LEADER, CANDIDATE);
    }

    /// Advances until the idle leader has just renewed its lease.
    fn pass_a_renewal(&mut self) {
        let nearly_all =
            |net: &Self| net.local(LEADER) + Setup::default().lease_max - Duration::from_millis(1);
        let renewed = |net: &Self| net.members[LEADER].peer().holds_lease(nearly_all(net));
        while renewed(self) {
            self.step();
        }
        while !renewed(self) {
            self.step();
        }
    }

    fn slew(&mut self, leader_per_mille: u64, others_per_mille: u64) {
        for (at, clock) in self.clocks.iter_mut().enumerate() {
            clock.set_rate(self.now, if at == LEADER { leader_per_mille } else { others_per_mille });
        }
    }
}

impl Net {
    /// Cuts the first leader off from everyone; advances until the next leader has acknowledged x = new.
    fn depose(&mut self) {
        self.cut(LEADER, FOLLOWER);
        let end = self.now + 10 * SECOND;
        while !self.leads(CANDIDATE) {
            self.step();
            self.members[CANDIDATE].feed(Input::Campaign);
            self.settle();
            assert!(self.now < end, "a follower that hears nothing votes some day");
        }
        assert!(self.writes(CANDIDATE, b"new"));
    }
}

/// Plays the schedule. Returns the result of a read on the first leader at the moment the next one has acknowledged x =
/// new, if it is answered, and how long after the last renewal that was, in milliseconds of true time.
fn read_after_the_next_write(leader: u64, others: u64) -> (Option<Vec<u8>>, u64) {
    let mut net = Net::new();
    net.begin();
    net.pass_a_renewal();
    let renewed_at = net.now;
    net.slew(leader, others);
    net.depose();
    (net.reads(LEADER), (net.now - renewed_at) / MILLISECOND)
}

#[test]
fn a_deposed_leader_answers_no_read_however_the_clocks_are_slewed() {
    for (leader, others) in
        [(1_000, 1_000), (917, 1_000), (1_000, 1_083), (917, 1_083), (900, 1_100), (1_100, 900)]
    {
        let (shown, after_ms) = read_after_the_next_write(leader, others);

        assert_eq!(
            shown.map(|value| String::from_utf8_lossy(&value).into_owned()),
            None,
            "{after_ms} ms after the last renewal, clocks at {leader} and {others} per mille: another member has \
             acknowledged x = new"
        );
    }
}

#[test]
fn the_schedule_detects_a_lease_that_lasts_too_long() {
    for (leader, others) in [(900, 1_000), (1_000, 1_100)] {
        let shows = || read_after_the_next_write(leader, others);

        let (shown, _) = planted::with(Some(Fault::LeaseIgnoresClockRates), shows);

        assert_eq!(shown, Some(b"old".to_vec()), "{leader} and {others} per mille");
    }
}

#[test]
fn a_leader_whose_clock_stopped_serves_stale_reads_until_its_lease_ends_by_that_clock() {
    let mut net = Net::new();
    net.begin();
    net.pass_a_renewal();
    let now = net.now;
    net.clocks[LEADER].stop(now, now + 3_600 * SECOND);
    net.depose();

    let woken_at = net.now;
    net.clocks[LEADER].set_rate(woken_at, 1_000);
    assert_eq!(net.reads(LEADER), Some(b"old".to_vec()), "nothing tells it how long it was away");
    while net.reads(LEADER).is_some() {
        net.step();
    }

    let lease_ms = Setup::default().lease_max.as_millis() as u64;
    assert!((net.now - woken_at) / MILLISECOND <= lease_ms, "{} ms", (net.now - woken_at) / MILLISECOND);
    assert_eq!(net.reads(CANDIDATE), Some(b"new".to_vec()));
}
