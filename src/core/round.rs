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
//!     send what promises nothing of this member's disk      appends, heartbeats and their answers, forwarded writes
//!     append + one sync for all peers                       entries, terms, votes
//!     find the proposals of what is committed               Peer::advance; event COMMITTED
//!     send votes and acknowledgements                       they promise the sync above
//!     make commits durable that change a configuration      rare
//!     hand committed entries to apply
//!        |
//!        v
//!   collect answers to reads, and failures
//!   have raft snapshots made, sent or dropped               they promise nothing
//! ```
//! Answers and committed entries are collected only: `RoundGuard::round` delivers the answers after the round, and then
//! hands the entries to the apply poller.

use crate::core::gathered::Gathered;
use crate::core::heartbeats::Single;
use crate::core::input::Input;
use crate::core::peer::Peer;
use crate::core::peer::ready::{PeerAdvanced, PeerReady};
use crate::core::peers::Peers;
use crate::core::planted::{self, Fault};
use crate::core::ports::{LogWrite, PeerMessage, RoundIo};
use crate::error::Result;
use crate::time::Timestamp;
use crate::types::{BOOTSTRAP_REGION, RegionId};

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
/// that had a part in it. Of all others nothing is different but raft's own clocks, which may catch up later, and the lease,
/// which may be renewed: a tick or a heartbeat that brings no news costs next to nothing, however many regions there are.
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
    let mut concerned = concerned(peers, &fed);
    let mut gathered = Gathered::default();
    if fed.ticks > 0 {
        share_kept(peers);
    }
    concerned.by_heartbeats = feed(peers, fed, now, &mut gathered);
    share_list(peers);
    let touched = touched(peers, &concerned, &mut gathered);
    assert!(touched.is_sorted_by(|one, next| one < next), "a region has a part in a round once");
    let sharers = touched.iter().filter(|region| peers[region].has_pending()).count().max(1);
    touched.iter().for_each(|region| peer(peers, *region).begin_round(now, sharers, io));
    while pass(peers, &touched, &mut gathered, io)? {}
    for region in &touched {
        let answers = peer(peers, *region).take_answers();
        answers.into_iter().for_each(|(completion, answer)| io.answer(completion, answer));
    }
    for region in &touched {
        peer(peers, *region).take_errands().into_iter().for_each(|errand| io.run(errand));
    }
    for region in &touched {
        if let Some(members) = peer(peers, *region).take_moved() {
            io.members_moved(*region, members);
        }
    }
    #[cfg(any(test, feature = "simulation"))]
    concerned.regions(peers).iter().for_each(|region| peers[region].check_invariants());
    Ok(touched)
}

/// Tells the peer of the first region, before it takes its next step, which members the others still have.
fn share_kept(peers: &mut Peers) {
    let Some(version) = peers.get(&BOOTSTRAP_REGION).and_then(Peer::asks_for_kept) else { return };
    let others = || peers.iter().filter(|(region, _)| **region != BOOTSTRAP_REGION).map(|(_, peer)| peer);
    // What this member has of a region may be old, or nothing yet, and whom an earlier list named may have come since. Once
    // the region has settled on this list, or on a later one, nobody comes any more who is not in it.
    let knows_all = others().all(|peer| peer.settled_version() >= version);
    if knows_all || planted::has(Fault::KeptUnknownIgnored) {
        let kept = others().flat_map(Peer::all_members).collect();
        peer(peers, BOOTSTRAP_REGION).on_kept(version, kept);
    }
}

/// Tells all peers of a new list of members, which the first region has applied.
fn share_list(peers: &mut Peers) {
    if !peers.get(&BOOTSTRAP_REGION).is_some_and(Peer::has_new_list) {
        return;
    }
    if let Some(list) = peer(peers, BOOTSTRAP_REGION).take_new_list() {
        peers.values_mut().for_each(|peer| peer.on_list(&list));
    }
}

/// Which regions a round's inputs concern.
struct Concerned {
    /// All of them: time has passed, or there is only one.
    all: bool,
    /// They are spoken to, and have a part in the round whatever comes of it.
    by_inputs: Vec<RegionId>,
    /// They have a heartbeat with news, or such an answer to one.
    by_heartbeats: Vec<RegionId>,
}

impl Concerned {
    /// All of them, in their order.
    fn regions(&self, peers: &Peers) -> Vec<RegionId> {
        let mut regions: Vec<_> = if self.all {
            peers.regions().to_vec()
        } else {
            [&self.by_inputs[..], &self.by_heartbeats].concat()
        };
        regions.sort_unstable();
        regions.dedup();
        regions
    }
}

fn concerned(peers: &Peers, fed: &Inputs) -> Concerned {
    let others = fed.inputs.iter().filter(|(_, input)| !matches!(input, Input::Heartbeats(_)));
    let known = others.map(|(region, _)| *region).filter(|region| peers.position(*region).is_some());
    let mut by_inputs: Vec<_> = known.chain(fed.again.iter().copied()).collect();
    by_inputs.sort_unstable();
    by_inputs.dedup();
    Concerned { all: fed.ticks > 0 || peers.len() == 1, by_inputs, by_heartbeats: Vec::new() }
}

/// The regions that have a part in this round, once it is fed. Gathers what the others have to say of heartbeats.
fn touched(peers: &mut Peers, concerned: &Concerned, gathered: &mut Gathered) -> Vec<RegionId> {
    let position = |region| peers.position(region).expect("no peer comes or goes within a round");
    let places: Vec<_> = if concerned.all {
        (0..peers.len()).collect()
    } else {
        concerned.regions(peers).into_iter().map(position).collect()
    };
    let has_part = |at: usize| {
        let region = peers.regions()[at];
        let was_asked = concerned.by_inputs.binary_search(&region).is_ok();
        peers.has_part(at, was_asked, gathered).then_some(region)
    };
    places.into_iter().filter_map(has_part).collect()
}

fn peer(peers: &mut Peers, region: RegionId) -> &mut Peer {
    peers.get_mut(&region).expect("no peer comes or goes within a round")
}

/// Returns the regions of the heartbeats that brought news.
fn feed(peers: &mut Peers, fed: Inputs, now: Timestamp, gathered: &mut Gathered) -> Vec<RegionId> {
    let mut heard_news = Vec::new();
    let ticks_late = planted::has(Fault::TicksAfterMessages);
    let tick = |peers: &mut Peers| {
        for _ in 0..fed.ticks {
            peers.on_tick(now);
        }
    };
    if !ticks_late {
        tick(peers);
    }
    for (region, input) in fed.inputs {
        match (input, peers.position(region)) {
            (Input::Heartbeats(they), _) => {
                hear_all(peers, they.into_singles(region), now, gathered, &mut heard_news);
            }
            (input, Some(at)) => peers.awake(at).on_input(input, now),
            // A region this store has no peer of; what it carried answers itself when it is dropped.
            (_, None) => log::debug!("input for unknown region {region}"),
        }
    }
    if ticks_late {
        tick(peers);
    }
    assert!(
        heard_news.iter().all(|region| peers.position(*region).is_some()),
        "a heartbeat is heard by its peer"
    );
    heard_news
}

/// Hears heartbeats, of regions that rise. Adds those whose brought news.
fn hear_all(
    peers: &mut Peers,
    singles: impl Iterator<Item = (RegionId, Single)>,
    now: Timestamp,
    gathered: &mut Gathered,
    heard_news: &mut Vec<RegionId>,
) {
    let mut next = 0;
    for (region, single) in singles {
        let Some(at) = peers.position_from(next, region) else {
            log::debug!("heartbeat of unknown region {region}");
            continue;
        };
        assert_eq!(peers.regions()[at], region, "a heartbeat is heard by its peer");
        next = at + 1;
        if peers.hear(at, single, now, gathered) {
            heard_news.push(region);
        }
    }
}

/// One pass over the peers that have something to do. False when none has.
fn pass(
    peers: &mut Peers,
    touched: &[RegionId],
    gathered: &mut Gathered,
    io: &mut dyn RoundIo,
) -> Result<bool> {
    let mut ready = ready(peers, touched, gathered)?;
    // Before any message leaves: one of them may make another member leader. Also of those that have nothing to send.
    touched.iter().for_each(|region| peer(peers, *region).publish_lease());
    let early = ready.iter_mut().flat_map(|(_, peer)| std::mem::take(&mut peer.messages));
    send(gathered.take().into_iter().chain(early).collect(), io);
    if ready.is_empty() {
        return Ok(false);
    }

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

fn ready(
    peers: &mut Peers,
    touched: &[RegionId],
    gathered: &mut Gathered,
) -> Result<Vec<(RegionId, PeerReady)>> {
    let mut found = Vec::new();
    for &region in touched {
        let peer = peer(peers, region);
        peer.take_heartbeats(gathered);
        found.extend(peer.ready()?.map(|ready| (region, ready)));
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
    assert!(messages.iter().all(|message| message.from() != message.to()), "nobody speaks to itself");
    if !messages.is_empty() {
        io.send(messages);
    }
}
