//! Invariants that must hold after every step of a cluster.
//!
//! Owns the guarantees of a raft group and of this store as checks, one function each, and the history they need to be
//! cheap: the cost of a check is proportional to what the step changed. What always holds: the checks inspect disks,
//! messages and engines directly and trust no member's statement about another; the first violation is kept, with the
//! region and the member that it concerns. A closed ledger records and checks nothing: then only what clients notice
//! counts.

use std::collections::BTreeMap;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, Entry, EntryType, Message, MessageType};

use crate::core::applier::{Applied, ApplyTask};
use crate::core::forwarding::{ForwardAnswer, Origin};
use crate::core::membership;
use crate::core::peer::Peer;
use crate::core::peer_status::{PeerStatus, Role};
use crate::core::ports::LogWrite;
use crate::core::region::Region;
use crate::sim::chosen::{CallId, Chosen, entry_digest};
use crate::sim::disk::{DiskLog, LogStatus};
use crate::sim::member::Member;
use crate::sim::verdicts::Verdicts;
use crate::types::{ApplyState, BOOTSTRAP_REGION, LogIndex, RegionId};

/// Ok if an invariant holds, otherwise how it was violated, in words.
pub(crate) type Check = Result<(), String>;

/// The history needed to check a run.
pub(crate) struct Ledger {
    /// For members 1, 2, ...
    logs: Vec<DiskLog>,
    regions: BTreeMap<RegionId, RegionLedger>,
    /// How many configurations and lists were chosen.
    configurations: usize,
    is_open: bool,
    broken: Option<String>,
}

/// The history of one region.
pub(crate) struct RegionLedger {
    region: RegionId,
    /// Term -> its leader.
    leaders: BTreeMap<u64, u64>,
    /// (index, term) -> (term of the preceding entry, digest), for every entry that any disk ever held.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
    /// What the members agreed on.
    pub chosen: Chosen,
    /// Outcomes of forwarded writes.
    verdicts: Verdicts,
    /// For members 1, 2, ...: the last observed state.
    known: Vec<Known>,
}

/// The last observed state of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Zero while it is down.
    term: u64,
    leads: bool,
    applied_own_term: bool,
    leader: u64,
    /// Counts the configurations up to the one that it has applied.
    conf_ver: u64,
    commit: u64,
    applied: u64,
    /// Of the engine, which survives a crash when the fields above do not.
    engine: ApplyState,
    disk: LogStatus,
}

impl Ledger {
    /// A ledger for members 1, 2, ... with these logs, of regions that begin so; open or closed.
    pub(crate) fn new(logs: Vec<DiskLog>, regions: &[Region], is_open: bool) -> Self {
        let members = logs.len();
        let ledger = |region: &Region| RegionLedger {
            region: region.id,
            leaders: BTreeMap::new(),
            entries: BTreeMap::new(),
            chosen: Chosen::new(region),
            verdicts: Verdicts::default(),
            known: vec![Known::default(); members],
        };
        let regions = regions.iter().map(|region| (region.id, ledger(region))).collect();
        Self { logs, regions, configurations: 0, is_open, broken: None }
    }

    /// The first violation.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Stops all checks.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }

    /// False when only what clients notice counts.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Records a violation in `check`, about `node`'s part in `region`, if it is the first.
    pub(crate) fn note_of(&mut self, node: u64, region: RegionId, check: Check) {
        self.note(check.map_err(|words| about(node, region, &words)));
    }

    /// Records a violation in `check` if it is the first.
    pub(crate) fn note(&mut self, check: Check) {
        if let (Err(words), None) = (check, &self.broken) {
            self.broken = Some(words);
        }
    }

    /// The history of one region.
    pub(crate) fn region(&self, region: RegionId) -> &RegionLedger {
        &self.regions[&region]
    }

    /// To be called when `node` is about to send.
    pub(crate) fn on_sending(&mut self, node: u64, region: RegionId, message: &Message) {
        if self.is_open {
            let disk = self.logs[slot(node)].status(region);
            self.note_of(node, region, promised_after_its_sync(node, message, disk));
        }
    }

    /// To be called when a leader is about to send this answer.
    pub(crate) fn on_sending_answer(&mut self, region: RegionId, answer: &ForwardAnswer) {
        if self.is_open {
            let ledger = self.regions.get_mut(&region).expect("a region of the cluster");
            let check = ledger.verdicts.on_answer(answer);
            self.note_of(answer.from.get(), region, check);
        }
    }

    /// To be called when a member's peer is notified of what took effect.
    pub(crate) fn on_reported(&mut self, member: Origin, applied: &Applied) {
        if self.is_open {
            let ledger = self.regions.get_mut(&applied.region).expect("a region of the cluster");
            let check = ledger.verdicts.on_own_applied(member, &applied.forwarded_from_here);
            self.note_of(member.node.get(), applied.region, check);
        }
    }

    /// To be called when the disk of `node` has lost the tail of its log.
    pub(crate) fn on_lost_end(&mut self, node: u64) {
        for (&region, ledger) in &mut self.regions {
            ledger.known[slot(node)].disk = self.logs[slot(node)].status(region);
        }
    }

    /// To be called when `node` hands committed entries to its applier.
    pub(crate) fn on_handed_over(&mut self, node: u64, task: &ApplyTask) {
        if self.is_open {
            let disk = self.logs[slot(node)].status(task.region);
            self.note_of(node, task.region, changes_wait_for_their_commit(node, task, disk));
        }
    }

    /// To be called when `node` has synced.
    pub(crate) fn on_synced(&mut self, node: u64, writes: &[LogWrite]) {
        if !self.is_open {
            return;
        }
        for write in writes {
            let ledger = self.regions.get_mut(&write.region).expect("a region of the cluster");
            let check = ledger.on_synced(node, &self.logs, write);
            self.note_of(node, write.region, check);
        }
    }

    /// To be called after every step, for the member that it concerned. Passes each call that took effect to
    /// `effective`.
    pub(crate) fn on_step(&mut self, member: &Member, effective: &mut dyn FnMut(RegionId, CallId)) {
        for (&region, ledger) in self.regions.iter_mut().filter(|_| self.is_open) {
            let check = ledger.on_step(member, &self.logs, effective);
            if let (Err(words), None) = (check, &self.broken) {
                self.broken = Some(about(member.node, region, &words));
            }
        }
        let count = self.regions.values().map(|ledger| ledger.chosen.configurations().count()).sum();
        if self.is_open && count != self.configurations {
            self.configurations = count;
            let check = self.first_region_drops_last();
            self.note(check);
        }
    }

    /// Whom the first region has dropped for a list no other has or takes again: it might lead that, and would never know
    /// that it is to go.
    fn first_region_drops_last(&self) -> Check {
        let Some(first) = self.regions.get(&BOOTSTRAP_REGION) else { return Ok(()) };
        let first = first.chosen.configurations();
        if first.list().is_none() {
            return Ok(());
        }
        for ledger in self.regions.values() {
            let members = ledger.chosen.configurations().newest().all_members();
            let dropped = members.into_iter().find(|node| first.has_dropped(*node));
            let region = ledger.region;
            holds(dropped.is_none(), || {
                format!("region {region} has {dropped:?}, whom region {BOOTSTRAP_REGION} has dropped")
            })?;
        }
        Ok(())
    }
}

fn about(node: u64, region: RegionId, words: &str) -> String {
    format!("region {region}, member {node}: {words}")
}

impl RegionLedger {
    /// The term in which `node` leads, if it does.
    pub(crate) fn leads(&self, node: u64) -> Option<u64> {
        let known = self.known[slot(node)];
        known.leads.then_some(known.term)
    }

    fn on_synced(&mut self, node: u64, logs: &[DiskLog], write: &LogWrite) -> Check {
        let disk = logs[slot(node)].status(write.region);
        let before = self.known[slot(node)].disk;
        self.known[slot(node)].disk = disk;
        disk_never_goes_back(node, before, disk)?;
        let Some(first) = write.entries.first() else { return Ok(()) };
        self.logs_match(node, &logs[slot(node)], write)?;
        if first.index <= before.last && first.index <= self.chosen.last() {
            self.chosen_stays_on_a_quorum(logs)?;
        }
        Ok(())
    }

    fn on_step(
        &mut self,
        member: &Member,
        logs: &[DiskLog],
        effective: &mut dyn FnMut(RegionId, CallId),
    ) -> Check {
        let node = member.node;
        let before = self.known[slot(node)];
        let now = before.seen(member, self.region);
        self.known[slot(node)] = now;
        let keeps_its_window = member.peer_of(self.region).is_none_or(Peer::keeps_its_window);
        holds(keeps_its_window, || "keeps more of forwarded writes than its window takes".to_owned())?;
        if now.leads && (now.term, true) != (before.term, before.leads) {
            self.one_leader_a_term(node, now.term)?;
            self.leader_has_all_that_was_chosen(node, now.term, &logs[slot(node)])?;
            self.leader_is_of_an_adjacent_configuration(node, now)?;
        }
        if now.leads && (now.conf_ver, true) != (before.conf_ver, before.leads) {
            leader_votes(member, self.region)?;
        }
        if now.commit != before.commit {
            self.learn_chosen(node, now.commit, logs, effective)?;
            self.committed_is_what_was_chosen(node, now.commit, &logs[slot(node)])?;
        }
        if now.engine != before.engine {
            self.applied_is_committed(node, now)?;
            // While a raft snapshot takes the place of the data, they are of no state, and nobody sees them.
            if member.engine().replaces(self.region).is_none() {
                let (_, digest) = member.engine().state_and_digest(self.region);
                self.equal_index_equal_state(node, now.engine, digest)?;
                self.equal_index_equal_members(node, now.engine, member.engine().region(self.region))?;
            }
        }
        if now.engine != before.engine
            || now.leader != before.leader
            || now.applied_own_term != before.applied_own_term
        {
            self.followers_stay_behind_their_leader(node)?;
        }
        Ok(())
    }

    /// Election safety.
    fn one_leader_a_term(&mut self, node: u64, term: u64) -> Check {
        let leader = *self.leaders.entry(term).or_insert(node);
        holds(leader == node, || format!("two leaders in term {term}: {leader} and {node}"))
    }

    /// Leader completeness.
    fn leader_has_all_that_was_chosen(&self, node: u64, term: u64, log: &DiskLog) -> Check {
        let last = self.chosen.last();
        let chosen = self.chosen.term_at(last).expect("the last one is there");
        let there = log.term_at(self.region, last) == Some(chosen) || log.truncated(self.region) >= last;
        // The leader of a term older than the chosen entry's need not have it.
        holds(there || chosen >= term, || {
            format!("{node} leads in term {term} without entry {last}/{chosen}, which was committed")
        })
    }

    /// Whoever is elected has applied the newest configuration, or lacks one change: the quorums of two that are further
    /// apart need not meet. One of an earlier term than what was chosen may have won with a quorum of its own time.
    fn leader_is_of_an_adjacent_configuration(&self, node: u64, known: Known) -> Check {
        let newest = self.chosen.configurations().newest().epoch.conf_ver;
        let chosen_in = self.chosen.term_at(self.chosen.last()).expect("the last one is there");
        holds(known.conf_ver + 1 >= newest || known.term < chosen_in, || {
            format!("{node} is elected by configuration {}, and {newest} is in force", known.conf_ver)
        })
    }

    /// Log matching: entries with the same index and term are equal, and so is the log before them.
    fn logs_match(&mut self, node: u64, log: &DiskLog, write: &LogWrite) -> Check {
        let first = write.entries.first().expect("the caller saw it").index;
        let mut term_before = log.term_at(self.region, first - 1).unwrap_or_default();
        for entry in &write.entries {
            let (place, content) = ((entry.index, entry.term), (term_before, entry_digest(entry)));
            let seen = *self.entries.entry(place).or_insert(content);
            holds(seen == content, || {
                format!("{node} holds another entry {}/{} than others did", entry.index, entry.term)
            })?;
            holds(term_before <= entry.term, || {
                format!("{node} holds terms that go back at {}", entry.index)
            })?;
            term_before = entry.term;
        }
        Ok(())
    }

    /// Every entry known to be committed is on the disks of a quorum, or was on one that has lost its tail.
    fn chosen_stays_on_a_quorum(&self, logs: &[DiskLog]) -> Check {
        let last = self.chosen.last();
        let term = self.chosen.term_at(last);
        let holds_it = |log: &&DiskLog| {
            let truncated = log.truncated(self.region) >= last;
            truncated || log.term_at(self.region, last) == term || log.lacks_end(self.region)
        };
        let has_it = |node: u64| logs.get(slot(node)).is_some_and(|log| holds_it(&log));
        holds(self.chosen.configurations().has_quorum(&has_it), || {
            let holders = logs.iter().filter(holds_it).count();
            format!("entry {last} is committed but on {holders} disks, which is no quorum")
        })
    }

    fn learn_chosen(
        &mut self,
        node: u64,
        commit: u64,
        logs: &[DiskLog],
        effective: &mut dyn FnMut(RegionId, CallId),
    ) -> Check {
        if commit <= self.chosen.last() {
            return Ok(());
        }
        for entry in logs[slot(node)].entries(self.region, self.chosen.last() + 1, commit) {
            self.new_voters_have_the_data(&entry, logs)?;
            let calls = self.chosen.push(&entry)?;
            calls.into_iter().for_each(|call| effective(self.region, call));
        }
        holds(self.chosen.last() == commit, || {
            format!("{node} commits {commit}, which its disk does not hold")
        })?;
        self.chosen_stays_on_a_quorum(logs)
    }

    /// Nobody is given a vote whose log has nothing yet.
    fn new_voters_have_the_data(&self, entry: &Entry, logs: &[DiskLog]) -> Check {
        let is_change = entry.get_entry_type() != EntryType::EntryNormal;
        let Some(change) = membership::parse(entry).filter(|_| is_change) else { return Ok(()) };
        let votes = |single: &&ConfChangeSingle| single.get_change_type() == ConfChangeType::AddNode;
        let mut voters = change.changes.iter().filter(votes).map(|single| single.node_id);
        let without =
            voters.find(|&node| logs.get(slot(node)).is_none_or(|log| log.status(self.region).last == 0));
        holds(without.is_none(), || format!("{without:?} is given a vote by {} and has no data", entry.index))
    }

    /// Committed entries are the same everywhere and never change.
    fn committed_is_what_was_chosen(&self, node: u64, commit: u64, log: &DiskLog) -> Check {
        let (own, chosen) = (log.term_at(self.region, commit), self.chosen.term_at(commit));
        holds(own.is_none() || own == chosen, || {
            format!("{node} commits {commit} of term {own:?}, others committed term {chosen:?} there")
        })
    }

    fn applied_is_committed(&self, node: u64, known: Known) -> Check {
        let (engine, chosen) = (known.engine.index.get(), self.chosen.last());
        holds(engine <= chosen, || format!("{node} applied {engine}, but only {chosen} is committed"))?;
        // The engine may be ahead of what the peer knows, never behind, unless the member is down.
        holds(known.term == 0 || known.applied <= engine, || {
            format!("{node} believes {} applied, its engine shows {engine}", known.applied)
        })
    }

    /// Same index, same data; this also finds data and apply state that do not change atomically.
    fn equal_index_equal_state(&self, node: u64, engine: ApplyState, digest: u64) -> Check {
        let index = engine.index.get();
        if index == 0 {
            // Of a member that has joined, and was given no data yet.
            return holds(digest == 0, || format!("{node} has data of no state"));
        }
        holds(self.chosen.state_at(index) == Some(digest), || {
            format!(
                "the engine of {node} says {index} and holds data that the log up to {index} does not make"
            )
        })?;
        let term = self.chosen.term_at(index);
        holds(term == Some(engine.term.get()), || {
            format!("the engine of {node} says {index}/{}, the log says term {term:?}", engine.term)
        })
    }

    /// Same index, same members, and the same list of them.
    fn equal_index_equal_members(&self, node: u64, engine: ApplyState, stored: &Region) -> Check {
        let of_log = self.chosen.configurations().at(engine.index.get());
        let is_equal = (stored.epoch, stored.list_version) == (of_log.epoch, of_log.list_version)
            && stored.settled_version == of_log.settled_version
            && (&stored.members, &stored.list) == (&of_log.members, &of_log.list);
        holds(is_equal || engine.index == LogIndex(0), || {
            format!(
                "the engine of {node} says {} and holds members that the log up to it does not make: {stored:?} instead of {of_log:?}",
                engine.index
            )
        })
    }

    /// No follower shows anything that its leader cannot show yet.
    fn followers_stay_behind_their_leader(&self, node: u64) -> Check {
        let moved = self.known[slot(node)];
        if moved.leads {
            let mut followers = (1..).zip(&self.known).filter(|(_, follower)| follower.leader == node);
            return followers.try_for_each(|(number, &follower)| behind(number, follower, node, moved));
        }
        match moved.leader {
            0 => Ok(()),
            leader => behind(node, moved, leader, self.known[slot(leader)]),
        }
    }
}

impl Known {
    fn seen(self, member: &Member, region: RegionId) -> Self {
        let (engine, _) = member.engine().state_and_digest(region);
        let Some(peer) = member.peer_of(region) else {
            return Self { engine, disk: self.disk, ..Self::default() };
        };
        let status: PeerStatus = peer.status();
        Self {
            term: status.term.get(),
            leads: status.role == Role::Leader,
            applied_own_term: status.role == Role::Leader && status.applied_term == status.term,
            leader: status.leader.map_or(0, |leader| leader.get()),
            conf_ver: peer.region().epoch.conf_ver,
            commit: status.commit_index.get(),
            applied: status.applied_index.get(),
            engine,
            disk: self.disk,
        }
    }
}

fn behind(node: u64, follower: Known, leader: u64, known: Known) -> Check {
    let concerns = known.applied_own_term && follower.term == known.term && node != leader;
    let (own, theirs) = (follower.engine.index, known.engine.index);
    holds(!concerns || own <= theirs, || {
        format!("{node} shows {own} while its leader {leader} shows no more than {theirs}")
    })
}

/// Whoever leads votes in the configuration that it has applied: one that was removed steps down at once, or members of the
/// list would go on following one that is not in it, and that an operator may switch off.
fn leader_votes(member: &Member, region: RegionId) -> Check {
    let members = member.peer_of(region).map(|peer| &peer.region().members);
    let has = |list: &[u64]| list.contains(&member.node);
    let votes = members.is_none_or(|members| has(&members.voters) || has(&members.voters_outgoing));
    holds(votes, || format!("{} leads and does not vote any more: {members:?}", member.node))
}

/// Term, vote and commit never go backwards on a disk.
fn disk_never_goes_back(node: u64, before: LogStatus, now: LogStatus) -> Check {
    holds(now.term >= before.term, || {
        format!("term {} on the disk of {node} became {}", before.term, now.term)
    })?;
    let revoted = now.term == before.term && before.vote != 0 && now.vote != before.vote;
    holds(!revoted, || {
        format!("{node} voted for {} and then for {} in term {}", before.vote, now.vote, now.term)
    })?;
    holds(now.commit >= before.commit, || {
        format!("commit {} on the disk of {node} became {}", before.commit, now.commit)
    })
}

/// No vote, acknowledgement or term is sent before the sync that makes it durable.
fn promised_after_its_sync(node: u64, message: &Message, disk: LogStatus) -> Check {
    use MessageType::{
        MsgAppendResponse, MsgRequestPreVote, MsgRequestPreVoteResponse, MsgRequestVote,
        MsgRequestVoteResponse,
    };
    let kind = message.get_msg_type();
    let about_the_next_term = matches!(kind, MsgRequestPreVote | MsgRequestPreVoteResponse);
    holds(about_the_next_term || message.term <= disk.term, || {
        format!("{node} speaks of term {} and its disk of {}", message.term, disk.term)
    })?;
    if message.term < disk.term {
        // Superseded within the same round: the disk has the later term, so the earlier message can violate nothing.
        return Ok(());
    }
    let vote = match kind {
        MsgRequestVote => node,
        MsgRequestVoteResponse if !message.reject => message.to,
        _ => 0,
    };
    holds(vote == 0 || (message.term, vote) == (disk.term, disk.vote), || {
        format!("{node} votes for {vote} in term {}, but its disk does not say so", message.term)
    })?;
    let acknowledged = if kind == MsgAppendResponse && !message.reject { message.index } else { 0 };
    holds(acknowledged <= disk.last, || {
        format!("{node} acknowledges entry {acknowledged}, but its disk ends at {}", disk.last)
    })
}

/// A membership change is applied only after a commit index that covers it is on the disk.
fn changes_wait_for_their_commit(node: u64, task: &ApplyTask, disk: LogStatus) -> Check {
    let change = task.entries.iter().rfind(|entry| entry.get_entry_type() != EntryType::EntryNormal);
    let index = change.map_or(0, |entry| entry.index);
    holds(index <= disk.commit, || {
        format!("{node} applies membership change {index}, its disk says commit {}", disk.commit)
    })
}

fn holds(condition: bool, words: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(words()) }
}

fn slot(node: u64) -> usize {
    node as usize - 1
}
