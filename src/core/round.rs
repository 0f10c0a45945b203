//! The round: the only place that knows the order of effects.
//!
//! Owns the one legal order in which inputs become effects, for all peers of a poller together. The raft poller
//! and the simulator run the same round; they differ in the [`RoundIo`] they bring. What always holds: nothing
//! that promises durability leaves before the write that makes it true; an error ends the round at once, and
//! its peers must not be used again.
//!
//! ```text
//!   ticks owed -> messages, writes, reads, reports          state changes only; a lost lease is withdrawn
//!   propose or forward the writes, ask for the reads        Peer::begin_round; event PROPOSED
//!        |
//!        v
//!   then passes, until no peer has anything to do:
//!     collect what each peer wants                          Peer::ready
//!     publish the leases                                    the end of one before what could make another leader
//!     send what promises nothing of this member's disk      appends, heartbeats, forwarded writes and their answers
//!     append + one sync for all peers                       entries, terms, votes
//!     find the proposals of what is committed               Peer::advance; event COMMITTED
//!     send votes and acknowledgements                       they promise the sync above
//!     make commits durable that change a configuration      rare
//!     hand committed entries to apply
//!        |
//!        v
//!   collect answers to reads, and failures
//! ```
//! Answers and committed entries are collected only: `RoundGuard::round` delivers the answers after the round, and then
//! hands the entries to the apply poller.

use std::collections::BTreeMap;

use crate::core::input::Input;
use crate::core::peer::Peer;
use crate::core::peer::ready::{PeerAdvanced, PeerReady};
use crate::core::planted::{self, Fault};
use crate::core::ports::{LogWrite, PeerMessage, RoundIo};
use crate::error::Result;
use crate::time::Timestamp;
use crate::types::RegionId;

/// The peers of one poller.
pub(crate) type Peers = BTreeMap<RegionId, Peer>;

/// What one round is fed.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// Ticks that are owed. They go first: a late burst after the messages would shorten the time in which a
    /// follower refuses votes for having heard its leader.
    pub ticks: u32,
    /// In order of arrival.
    pub inputs: Vec<(RegionId, Input)>,
    /// Regions that had more to do than the last round would take.
    pub again: Vec<RegionId>,
}

/// Runs one round: feeds the inputs and carries out every effect until nothing is left to do. Returns the regions
/// that had a part in it; all others are as they were.
///
/// # Errors
/// Those of [`RoundIo::append`] and of reading the log. The peers are half-way through a round then and must be
/// abandoned.
pub(crate) fn round(
    peers: &mut Peers,
    fed: Inputs,
    now: Timestamp,
    io: &mut dyn RoundIo,
) -> Result<Vec<RegionId>> {
    let touched = touched(peers, &fed);
    assert!(touched.is_sorted_by(|one, next| one < next), "a region has a part in a round once");
    feed(peers, fed, now);
    let sharers = touched.iter().filter(|region| peers[region].has_fresh()).count().max(1);
    touched.iter().for_each(|region| peer(peers, *region).begin_round(now, sharers, io));
    while pass(peers, &touched, io)? {}
    for region in &touched {
        let answers = peer(peers, *region).take_answers();
        answers.into_iter().for_each(|(completion, answer)| io.answer(completion, answer));
        #[cfg(any(test, feature = "simulation"))]
        peers[region].check_invariants();
    }
    Ok(touched)
}

/// The regions of this round: all of them when time has passed, else those that are spoken to.
fn touched(peers: &Peers, fed: &Inputs) -> Vec<RegionId> {
    if fed.ticks > 0 || peers.len() == 1 {
        return peers.keys().copied().collect();
    }
    let spoken_to = fed.inputs.iter().map(|(region, _)| *region);
    let mut touched: Vec<_> = spoken_to.chain(fed.again.iter().copied()).collect();
    touched.sort_unstable();
    touched.dedup();
    touched.retain(|region| peers.contains_key(region));
    touched
}

fn peer(peers: &mut Peers, region: RegionId) -> &mut Peer {
    peers.get_mut(&region).expect("no peer comes or goes within a round")
}

fn feed(peers: &mut Peers, fed: Inputs, now: Timestamp) {
    let ticks_late = planted::has(Fault::TicksAfterMessages);
    let tick = |peers: &mut Peers| {
        for _ in 0..fed.ticks {
            peers.values_mut().for_each(|peer| peer.on_tick(now));
        }
    };
    if !ticks_late {
        tick(peers);
    }
    for (region, input) in fed.inputs {
        match peers.get_mut(&region) {
            Some(peer) => peer.on_input(input, now),
            // A region this store has no peer of; what it carried answers itself when it is dropped.
            None => log::debug!("input for unknown region {region}"),
        }
    }
    if ticks_late {
        tick(peers);
    }
}

/// One pass over the peers that have something to do. False when none has.
fn pass(peers: &mut Peers, touched: &[RegionId], io: &mut dyn RoundIo) -> Result<bool> {
    let mut ready = ready(peers, touched)?;
    // Before any message leaves: one of them may make another member leader. Also of those that have nothing to send.
    touched.iter().for_each(|region| peer(peers, *region).publish_lease());
    if ready.is_empty() {
        return Ok(false);
    }
    send(ready.iter_mut().flat_map(|(_, peer)| std::mem::take(&mut peer.messages)).collect(), io);

    let writes = take_writes(&mut ready);
    assert!(writes.is_sorted_by(|one, next| one.region < next.region), "a region writes once in a pass");
    if !writes.is_empty() {
        let appended = io.append(&writes);
        if appended.is_err() && planted::has(Fault::SyncErrorRetried) {
            io.append(&writes)?;
        } else {
            appended?;
        }
    }

    let mut advanced = advance(peers, ready, writes, io);
    send(advanced.iter_mut().flat_map(|peer| std::mem::take(&mut peer.messages)).collect(), io);

    let guards: Vec<_> = advanced.iter_mut().filter_map(|peer| peer.commit_guard.take()).collect();
    if !guards.is_empty() {
        assert!(guards.iter().all(|guard| guard.entries.is_empty()), "a guard is a commit index alone");
        io.append(&guards)?;
    }
    advanced.into_iter().filter_map(|peer| peer.task).for_each(|task| io.apply(task));
    Ok(true)
}

fn ready(peers: &mut Peers, touched: &[RegionId]) -> Result<Vec<(RegionId, PeerReady)>> {
    let mut found = Vec::new();
    for &region in touched {
        found.extend(peer(peers, region).ready()?.map(|ready| (region, ready)));
    }
    Ok(found)
}

/// Moves the log writes together for the one append; `advance` gives them back.
fn take_writes(ready: &mut [(RegionId, PeerReady)]) -> Vec<LogWrite> {
    ready
        .iter_mut()
        .map(|(region, ready)| std::mem::replace(&mut ready.write, LogWrite::new(*region)))
        .filter(|write| !write.is_empty())
        .collect()
}

fn advance(
    peers: &mut Peers,
    ready: Vec<(RegionId, PeerReady)>,
    writes: Vec<LogWrite>,
    io: &mut dyn RoundIo,
) -> Vec<PeerAdvanced> {
    let mut writes = writes.into_iter().peekable();
    let mut advanced = Vec::with_capacity(ready.len());
    for (region, mut ready) in ready {
        if let Some(write) = writes.next_if(|write| write.region == region) {
            ready.write = write;
        }
        advanced.push(peer(peers, region).advance(ready, io));
    }
    assert!(writes.next().is_none(), "every write goes back to its peer");
    advanced
}

fn send(messages: Vec<PeerMessage>, io: &mut dyn RoundIo) {
    if !messages.is_empty() {
        io.send(messages);
    }
}
