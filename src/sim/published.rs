//! What a leader publishes of the other members, in directed runs.
//!
//! Owns runs of three members with nothing wrong. What always holds: a leader that hears both others says so, whenever it was
//! elected. raft forgets whom it has heard each time it makes sure that a majority follows, which may be on the tick on
//! which leaders publish.

use crate::sim::member::{ELECTION_TICKS, Setup};
use crate::sim::trio::Trio;
use crate::types::{NodeId, RegionId};

const REGION: RegionId = RegionId(1);

#[test]
fn who_is_heard_of_is_published_as_live_whenever_the_leader_was_elected() {
    for elected_at in 0..ELECTION_TICKS as u32 {
        let mut trio = Trio::new(1, &Setup::default());
        trio.pass(elected_at);
        trio.elect(1, 1);
        trio.pass(ELECTION_TICKS as u32);
        trio.published.clear();

        for _ in 0..3 {
            // Something is new each time.
            let _answered = trio.write(1, REGION, 10);
            trio.pass(ELECTION_TICKS as u32);
        }

        let by_leader = trio.published.iter().filter(|(node, ..)| *node == 1);
        let progress: Vec<_> = by_leader.flat_map(|(_, _, members)| members.progress.clone()).collect();
        assert!(progress.len() >= 4, "elected at {elected_at}: {progress:?}");
        assert!(progress.iter().all(|(_, _, is_live)| *is_live), "elected at {elected_at}: {progress:?}");
    }
}

#[test]
fn who_is_away_is_published_so() {
    let mut trio = Trio::new(1, &Setup::default());
    trio.elect(1, 1);
    trio.pass(2 * ELECTION_TICKS as u32);
    trio.away = Some(3);
    let _answered = trio.write(1, REGION, 10);
    trio.pass(3 * ELECTION_TICKS as u32);

    let last = trio.published.iter().rfind(|(node, ..)| *node == 1).expect("it publishes");

    let live: Vec<_> = last.2.progress.iter().map(|(node, _, is_live)| (*node, *is_live)).collect();
    assert_eq!(live, [(NodeId(2), true), (NodeId(3), false)]);
}
