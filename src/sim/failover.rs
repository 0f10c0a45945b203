//! How long a write waits for a new leader.
//!
//! Owns directed runs in which only the network and the disks take time, so that the time from an election to the
//! answer to a write that waits for it is a number of round trips and syncs. What always holds: the bound is that number
//! plus a small slack. Each run begins with an established leader of three members, and ends with another one.

use crate::core::input::Input;
use crate::sim::chosen::CallId;
use crate::sim::cluster::Cluster;
use crate::sim::member::Setup;
use crate::sim::plan::{MILLISECOND, Plan};
use crate::sim::run::run_until;
use crate::sim::trace::Trace;
use crate::types::{NodeId, RegionId};

const REGION: RegionId = RegionId(1);
const ROUND_TRIP: u64 = 20 * MILLISECOND;
const SYNC: u64 = 10 * MILLISECOND;
/// Upper bound for everything else: events that are due at the same time still run one after the other.
const SLACK: u64 = MILLISECOND;

/// The writer's vote, with the write, has made the leader; its first entry with the write, the answer.
const OF_A_VOTER: u64 = 3 * ROUND_TRIP / 2 + SYNC;
/// The leader's first entry with the write, its acknowledgement.
const OF_THE_LEADER: u64 = ROUND_TRIP + SYNC;

/// One run.
struct Failover {
    cluster: Cluster,
    old: usize,
}

impl Failover {
    fn begin(seed: u64) -> Self {
        let mut plan = Plan::directed(1);
        plan.setup = Setup { elections: Some(seed), ..Setup::default() };
        (plan.members, plan.regions) = (3, 1);
        (plan.network.loss, plan.network.stragglers, plan.network.jitter) = (0, 0, 0);
        plan.network.delay = ROUND_TRIP / 2..ROUND_TRIP / 2;
        (plan.pace.sync, plan.pace.think_max, plan.pace.apply_max) = (SYNC..SYNC, 0, 0);
        let mut cluster = Cluster::new(plan, Trace::new(None, 0));
        let settled = 3 * cluster.plan.election_timeout();
        run_until(&mut cluster, settled).expect("no promise is broken");
        let old = cluster.leader(REGION).expect("elected");
        Self { cluster, old }
    }

    /// The member after the leader.
    fn follower(&self) -> usize {
        (self.old + 1) % 3
    }

    /// A write through `writer`.
    fn write(&mut self, writer: usize) -> (usize, CallId) {
        (writer, self.cluster.probe_write(writer, REGION).expect("it runs"))
    }

    fn pass(&mut self, time: u64) {
        let until = self.cluster.now + time;
        run_until(&mut self.cluster, until).expect("no promise is broken");
    }

    /// The leader loses power and stays down.
    fn lose_leader(&mut self) {
        self.cluster.hosts[self.old].stays_down = true;
        self.cluster.crash(self.old);
    }

    /// The other members notice that their connections to the leader are broken.
    fn notice(&mut self) {
        let node = NodeId(self.old as u64 + 1);
        for host in (0..3).filter(|&host| host != self.old) {
            self.cluster.hosts[host].member.feed_to(REGION, Input::Disconnected(node));
        }
    }

    /// Runs until another member leads; none if the leader stays.
    fn elect(&mut self) -> Option<usize> {
        let latest = self.cluster.now + 10 * self.cluster.plan.election_timeout();
        while self.cluster.now < latest {
            let leader = self.cluster.leader(REGION).filter(|&leader| leader != self.old);
            if leader.is_some() {
                return leader;
            }
            self.cluster.step().expect("no promise is broken");
        }
        None
    }

    /// How long from `elected` on until the write has succeeded.
    fn time_to_answer(&mut self, (_, write): (usize, CallId), elected: u64) -> u64 {
        while !self.cluster.calls.get(write).is_over() {
            self.cluster.step().expect("no promise is broken");
        }
        assert!(self.cluster.calls.get(write).is_ok());
        self.cluster.now - elected
    }
}

/// The longest times until a write of a follower was answered, in twenty runs: when the other follower was elected, and
/// when it was itself.
fn longest(run: impl Fn(&mut Failover) -> (usize, CallId)) -> (u64, u64) {
    let (mut of_voter, mut of_leader) = (Vec::new(), Vec::new());
    for seed in 1..=20 {
        let mut failover = Failover::begin(seed);
        let write = run(&mut failover);
        let leader = failover.elect().expect("two of three are up");
        let time = failover.time_to_answer(write, failover.cluster.now);
        if leader == write.0 { of_leader.push(time) } else { of_voter.push(time) }
    }
    assert!(of_voter.len() >= 5 && of_leader.len() >= 5, "one follower is elected as often as the other");
    (of_voter.into_iter().max().unwrap_or(0), of_leader.into_iter().max().unwrap_or(0))
}

fn assert_times((of_voter, of_leader): (u64, u64)) {
    assert!((OF_A_VOTER..OF_A_VOTER + SLACK).contains(&of_voter), "{of_voter} ns behind a vote");
    assert!((OF_THE_LEADER..OF_THE_LEADER + SLACK).contains(&of_leader), "{of_leader} ns at the leader");
}

#[test]
fn a_write_sent_to_the_failed_leader_takes_one_and_a_half_round_trips_and_one_sync() {
    assert_times(longest(|failover| {
        let write = failover.write(failover.follower());
        failover.pass(ROUND_TRIP / 4);
        failover.lose_leader();
        write
    }));
}

#[test]
fn a_write_made_while_there_is_no_leader_takes_one_and_a_half_round_trips_and_one_sync() {
    assert_times(longest(|failover| {
        failover.lose_leader();
        failover.notice();
        failover.write(failover.follower())
    }));
}

#[test]
fn a_write_that_waits_for_a_transfer_takes_one_and_a_half_round_trips_and_one_sync() {
    let mut measured = 0;
    for seed in 1..=20 {
        let mut failover = Failover::begin(seed);
        failover.cluster.transfer();
        failover.pass(ROUND_TRIP / 2);
        let writes = [0, 1, 2].map(|member| failover.write(member));
        // One transfer in four goes to the leader itself.
        let Some(leader) = failover.elect() else { continue };
        let elected = failover.cluster.now;
        for write in writes.into_iter().filter(|write| write.0 != leader) {
            let time = failover.time_to_answer(write, elected);
            assert!(
                (OF_A_VOTER..OF_A_VOTER + SLACK).contains(&time),
                "{time} ns, seed {seed}, at {}",
                write.0
            );
            measured += 1;
        }
    }
    assert!(measured >= 20, "most transfers go to another member");
}
