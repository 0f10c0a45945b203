//! A member of a new cluster whose other members do not come.
//!
//! Owns the count of its campaigns. What always holds: it begins at once, and asks no more often than any member without
//! a leader once the others do not seem to come.

use raft::eraftpb::MessageType;

use crate::core::ports::PeerMessage;
use crate::core::region::Region;
use crate::sim::member::{ELECTION_TICKS, Member, Setup, TICK};
use crate::time::Timestamp;
use crate::types::NodeId;

/// The ticks on which a member that is alone from its first start asks the others for their votes.
fn campaigns(seed: u64, ticks: usize) -> Vec<usize> {
    let region = [Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)])];
    let setup = Setup { elections: Some(seed), ..Setup::default() };
    let mut member = Member::bootstrap_with(1, &region, setup);
    let mut now = Timestamp::default();
    let mut asks = |_: &usize| {
        now = now + TICK;
        member.owe_ticks(1);
        let sent = member.round(now, &mut Vec::new());
        let asks_2 = |message: &PeerMessage| {
            message.to() == NodeId(2)
                && message.raft().is_some_and(|raft| raft.get_msg_type() == MessageType::MsgRequestPreVote)
        };
        sent.iter().any(asks_2)
    };
    (1..=ticks).filter(&mut asks).collect()
}

#[test]
fn a_member_that_stays_alone_soon_campaigns_as_seldom_as_any_other() {
    const TIMEOUTS: usize = 100;
    for seed in 0..40 {
        let campaigns = campaigns(seed, TIMEOUTS * ELECTION_TICKS);

        assert!(campaigns[0] <= ELECTION_TICKS / 4, "the first comes soon: {campaigns:?}");
        let settled = campaigns.iter().filter(|&&tick| tick > 2 * ELECTION_TICKS).count();
        assert!(
            settled <= TIMEOUTS,
            "seed {seed}: {} campaigns in {TIMEOUTS} election timeouts, the first of them on ticks {:?}",
            campaigns.len(),
            &campaigns[..campaigns.len().min(12)]
        );
    }
}
