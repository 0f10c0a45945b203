//! A member of a new cluster whose other members never start.
//!
//! Owns the count of its campaigns, and its reads of its own data. What always holds: the member campaigns immediately, and later no more often than
//! any member without a leader, once it appears that the others will not start.

use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::MessageType;

use crate::completion::Waiter;
use crate::core::input::Input;
use crate::core::planted::{self, Fault};
use crate::core::ports::PeerMessage;
use crate::core::reads::Read;
use crate::core::region::Region;
use crate::error::Code;
use crate::sim::member::{ELECTION_TICKS, Member, Setup, TICK};
use crate::time::Timestamp;
use crate::types::{LogIndex, NodeId};

/// A member of three, of which only this one runs.
struct Lonely {
    member: Member,
    now: Timestamp,
}

impl Lonely {
    fn new(seed: u64) -> Self {
        let region = [Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)])];
        let setup = Setup { elections: Some(seed), ..Setup::default() };
        Self { member: Member::bootstrap_with(1, &region, setup), now: Timestamp::default() }
    }

    /// Advances by this many ticks. Returns those, counted from 1, on which it asks another member for its vote.
    fn campaigns(&mut self, ticks: usize) -> Vec<usize> {
        (1..=ticks).filter(|_| self.campaigns_on_next_tick()).collect()
    }

    fn campaigns_on_next_tick(&mut self) -> bool {
        self.now = self.now + TICK;
        self.member.owe_ticks(1);
        let sent = self.member.round(self.now, &mut Vec::new());
        let asks = |message: &PeerMessage| {
            let raft = message.raft();
            raft.is_some_and(|raft| raft.get_msg_type() == MessageType::MsgRequestPreVote)
        };
        sent.iter().any(asks)
    }
}

const TIMEOUTS: usize = 100;

/// The ticks on which a member campaigns within [`TIMEOUTS`] election timeouts, and how many come after the first two.
fn campaigns_alone(seed: u64) -> (Vec<usize>, usize) {
    let campaigns = Lonely::new(seed).campaigns(TIMEOUTS * ELECTION_TICKS);
    let settled = campaigns.iter().filter(|&&tick| tick > 2 * ELECTION_TICKS).count();
    (campaigns, settled)
}

#[test]
fn a_member_that_stays_alone_soon_campaigns_as_rarely_as_any_other() {
    for seed in 0..40 {
        let (campaigns, settled) = campaigns_alone(seed);

        assert!(campaigns[0] <= ELECTION_TICKS / 4, "the first comes soon: {campaigns:?}");
        assert!(
            settled <= TIMEOUTS,
            "seed {seed}: {} campaigns in {TIMEOUTS} election timeouts, the first of them on ticks {:?}",
            campaigns.len(),
            &campaigns[..campaigns.len().min(12)]
        );
    }
}

#[test]
fn a_member_that_never_stops_campaigning_for_a_first_leader_is_detected() {
    let (_, settled) = planted::with(Some(Fault::FirstLeaderAskedForForEver), || campaigns_alone(7));

    assert!(settled > TIMEOUTS, "{settled} campaigns");
}

#[test]
fn a_member_campaigns_as_soon_as_another_connects() {
    for seed in 0..40 {
        let mut lonely = Lonely::new(seed);
        lonely.campaigns(100 * ELECTION_TICKS);

        lonely.member.feed(Input::Connected(NodeId(2)));
        lonely.member.round(lonely.now, &mut Vec::new());

        let campaigns = lonely.campaigns(ELECTION_TICKS / 4);
        assert!(!campaigns.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_local_read_that_waits_in_vain_says_for_what_whether_it_comes_in_time_or_not() {
    let mut lonely = Lonely::new(7);
    let waiters = [Arc::new(Waiter::default()), Arc::new(Waiter::default())];
    for (waiter, deadline) in waiters.iter().zip([lonely.now, lonely.now + TICK / 2]) {
        let completion = waiter.completion();
        lonely.member.feed(Input::LocalRead(Read { deadline, completion, min_index: LogIndex(1000) }));
    }

    lonely.campaigns(1);

    for waiter in waiters {
        let late = waiter.wait(Duration::ZERO).expect("its deadline has passed").expect_err("too late");
        assert_eq!(late.code(), Code::ReadTimeout);
        assert!(late.detail().contains("applied it up to index 5, and min_index is 1000"), "{late}");
    }
}
