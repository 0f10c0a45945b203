//! The heartbeats of a round, gathered into one message for each member they go to.
//!
//! Owns which of them travel together. raft sends one for each region, follower and occasion; with many regions a
//! message for each would cost more than all that it says. What always holds: a message names each region once, by
//! rising numbers; a heartbeat is left out only when the same round has a later one of its region for the same member,
//! which says all that it said.

use crate::core::heartbeats::{HeartbeatKind, Heartbeats, OfRegion, Single};
use crate::core::ports::{Body, PeerMessage};
use crate::types::{RegionEpoch, RegionId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    messages: Vec<PeerMessage>,
}

impl Gathered {
    /// Adds a heartbeat of this region, or the answer to one.
    pub(crate) fn add(&mut self, region: RegionId, epoch: RegionEpoch, single: Single) {
        let newest = self.messages.iter_mut().rev().find_map(|message| match &mut message.body {
            Body::Heartbeats(they) if (they.to, they.kind) == (single.to, single.kind) => {
                Some((message.region, they))
            }
            _ => None,
        });
        if newest.is_none_or(|(named, they)| {
            !join(they, named, OfRegion { region, epoch, heartbeat: single.heartbeat })
        }) {
            self.messages.push(PeerMessage {
                region,
                epoch,
                body: Body::Heartbeats(Heartbeats::of_one(single)),
            });
        }
    }

    /// Takes out the messages.
    pub(crate) fn take(&mut self) -> Vec<PeerMessage> {
        let are_heartbeats = self.messages.iter().all(|message| matches!(message.body, Body::Heartbeats(_)));
        assert!(are_heartbeats, "nothing else is gathered");
        std::mem::take(&mut self.messages)
    }
}

/// Whether `next` could be added to a message that names the region `named`.
fn join(they: &mut Heartbeats, named: RegionId, next: OfRegion) -> bool {
    assert!(they.others.last().is_none_or(|last| last.region > named), "regions rise in a message");
    let (last, heartbeat) = match they.others.last_mut() {
        Some(last) => (last.region, &mut last.heartbeat),
        None => (named, &mut they.first),
    };
    if next.region > last {
        they.others.push(next);
        return true;
    }
    // A leader confirms with a question all that were asked before it, and asks with each heartbeat for its newest one:
    // the later heartbeat stands for both. Answers come in whatever order the heartbeats came in.
    let is_superseded = heartbeat.term <= next.heartbeat.term
        && match they.kind {
            HeartbeatKind::Heartbeat => heartbeat.read.is_none() || next.heartbeat.read.is_some(),
            HeartbeatKind::Answer => heartbeat.read.is_none() || next.heartbeat.read == heartbeat.read,
        };
    if next.region == last && is_superseded {
        *heartbeat = next.heartbeat;
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::heartbeats::Heartbeat;
    use crate::core::reads::READ_ID_BYTES;
    use crate::types::{BOOTSTRAP_EPOCH, LogIndex, NodeId, Term};

    const QUESTION: [u8; READ_ID_BYTES] = [7; READ_ID_BYTES];
    const LATER: [u8; READ_ID_BYTES] = [8; READ_ID_BYTES];

    fn said(commit: u64, read: Option<[u8; READ_ID_BYTES]>) -> Heartbeat {
        Heartbeat { term: Term(6), commit: LogIndex(commit), read }
    }

    fn add(gathered: &mut Gathered, kind: HeartbeatKind, to: u64, region: u64, heartbeat: Heartbeat) {
        let single = Single { from: NodeId(1), to: NodeId(to), kind, heartbeat };
        gathered.add(RegionId(region), BOOTSTRAP_EPOCH, single);
    }

    /// Type, recipient and, by region, what is said.
    type Taken = (HeartbeatKind, u64, Vec<(u64, Heartbeat)>);

    fn taken(gathered: &mut Gathered) -> Vec<Taken> {
        let of = |message: PeerMessage| {
            let Body::Heartbeats(they) = message.body else { panic!("heartbeats alone are gathered") };
            let (kind, to) = (they.kind, they.to.get());
            let singles = they.into_singles(message.region);
            (kind, to, singles.map(|(region, single)| (region.get(), single.heartbeat)).collect())
        };
        gathered.take().into_iter().map(of).collect()
    }

    #[test]
    fn what_goes_the_same_way_to_the_same_member_is_one_message() {
        use HeartbeatKind::{Answer, Heartbeat};
        let (mut gathered, it) = (Gathered::default(), said(5, None));
        for region in [1, 4, 9] {
            add(&mut gathered, Heartbeat, 2, region, it);
            add(&mut gathered, Heartbeat, 3, region, it);
        }
        add(&mut gathered, Answer, 2, 5, it);

        let (both, answer) = (vec![(1, it), (4, it), (9, it)], vec![(5, it)]);
        let expected = [(Heartbeat, 2, both.clone()), (Heartbeat, 3, both), (Answer, 2, answer)];
        assert_eq!(taken(&mut gathered), expected);
        assert_eq!(taken(&mut gathered), []);
    }

    #[test]
    fn a_heartbeat_gives_way_to_a_later_one_that_asks_no_less() {
        let mut gathered = Gathered::default();
        for heartbeat in [said(5, None), said(5, Some(QUESTION)), said(6, Some(LATER))] {
            add(&mut gathered, HeartbeatKind::Heartbeat, 2, 1, heartbeat);
        }
        let expected = (HeartbeatKind::Heartbeat, 2, vec![(1, said(6, Some(LATER)))]);
        assert_eq!(taken(&mut gathered), [expected]);

        let asks = [said(5, Some(QUESTION)), said(6, None)];
        asks.into_iter().for_each(|it| add(&mut gathered, HeartbeatKind::Heartbeat, 2, 1, it));
        let expected = asks.map(|it| (HeartbeatKind::Heartbeat, 2, vec![(1, it)]));
        assert_eq!(taken(&mut gathered), expected);
    }

    #[test]
    fn an_answer_gives_way_to_none_that_confirms_something_else() {
        let mut gathered = Gathered::default();
        let answers = [said(5, Some(LATER)), said(5, Some(QUESTION))];
        answers.into_iter().for_each(|it| add(&mut gathered, HeartbeatKind::Answer, 2, 1, it));

        assert_eq!(taken(&mut gathered), answers.map(|it| (HeartbeatKind::Answer, 2, vec![(1, it)])));
    }

    #[test]
    fn regions_that_go_back_begin_another_message() {
        let (mut gathered, it) = (Gathered::default(), said(5, None));
        for region in [2, 3, 1, 2] {
            add(&mut gathered, HeartbeatKind::Heartbeat, 2, region, it);
        }

        let regions: Vec<Vec<u64>> = taken(&mut gathered)
            .into_iter()
            .map(|(_, _, said)| said.into_iter().map(|it| it.0).collect())
            .collect();
        assert_eq!(regions, [[2, 3], [1, 2]]);
    }
}
