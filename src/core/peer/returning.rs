//! A peer that comes back with less than it had.
//!
//! Owns both sides of it: the member whose log lost its end, and the leader that has an earlier boot of another member
//! on record. What always holds: a peer without its end neither votes nor campaigns, and obeys no TimeoutNow, until it
//! has back what it lost ([`LostEnd`]); a leader counts no acknowledgement of an earlier boot of a member once it hears
//! of a later one.

use raft::INVALID_ID;
use raft::eraftpb::Message;

use super::Peer;
use crate::core::planted::{self, Fault};
use crate::error::{Code, Error, Result};
use crate::types::{LogIndex, NodeId, Term};

/// Election timeouts without a leader after which members without their ends no longer count on others to come: time
/// enough for those who have theirs to say so by asking for votes.
const HOPELESS_TIMEOUTS: usize = 4;

impl Peer {
    /// What an earlier boot acknowledged may be gone with the end of its log. raft believes what it has on record,
    /// tells a commit that the member cannot follow, and takes its rejections for late ones.
    pub(super) fn forget_acknowledgements(&mut self, node: NodeId) {
        let next = self.raw.raft.raft_log.last_index() + 1;
        if self.is_leader()
            && let Some(progress) = self.raw.raft.mut_prs().get_mut(node.get())
        {
            progress.matched = 0;
            progress.committed_index = 0;
            progress.become_probe();
            progress.next_idx = next;
        }
    }

    /// True while this peer must stay out of elections.
    pub(super) fn lacks_end(&self) -> bool {
        self.lost_end.is_some() && !planted::has(Fault::LostEndIgnored)
    }

    /// A tick of a peer that must not campaign when its election timeout ends: it only forgets its leader.
    pub(super) fn tick_without_campaign(&mut self) {
        assert!(!self.is_leader(), "who must not lead does not");
        if self.raw.raft.election_elapsed + 1 < self.options.election_ticks {
            self.raw.tick();
        } else {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, INVALID_ID);
            self.timer.redraw_for_same_term(&mut self.raw.raft);
        }
    }

    /// Asks a leader how far its log is committed, and notices when nobody can lead.
    pub(super) fn seek_end(&mut self) {
        let has_leader = self.leader().is_some();
        let asked = self.asked();
        let Some(lost_end) = &mut self.lost_end else { return };
        lost_end.tick(has_leader);
        if has_leader
            && lost_end.needs_read_index()
            && let Some(id) = self.reading.reads.ask_renewal(asked)
        {
            self.raw.read_index(id);
        }
    }

    /// Lets a leader's commit index pass as far as this log is known to be the leader's.
    pub(super) fn doubt_commit(&self, heartbeat: &mut Message) {
        if let Some(lost_end) = self.lost_end.as_ref().filter(|_| self.lacks_end()) {
            let told = heartbeat.commit;
            heartbeat.commit = lost_end.believable(Term(heartbeat.term), LogIndex(heartbeat.commit)).get();
            assert!(heartbeat.commit <= told, "doubt adds nothing");
        }
    }

    /// An append that raft has taken shows how far the log is the leader's. `end` is its last entry.
    pub(super) fn verify_up_to(&mut self, term: Term, end: (LogIndex, Term)) {
        let raft = &self.raw.raft;
        let is_taken = Term(raft.term) == term && raft.raft_log.match_term(end.0.get(), end.1.get());
        if let Some(lost_end) = self.lost_end.as_mut().filter(|_| is_taken) {
            lost_end.verify(term, end.0);
        }
    }

    /// True, once, when this log has got back what it lost, durably.
    pub(super) fn try_recover_end(&mut self) -> Result<bool> {
        let Some(lost_end) = &self.lost_end else { return Ok(false) };
        let is_long = lost_end.leaderless_ticks() > HOPELESS_TIMEOUTS * self.options.election_ticks;
        if is_long && self.majority_lacks_end() {
            return Err(self.hopeless());
        }
        let log = &self.raw.raft.raft_log;
        let index = log.committed.min(log.persisted);
        let term =
            log.term(index).map_err(|error| Error::with_detail(Code::Corruption, error.to_string()))?;
        let is_back = lost_end.is_back((LogIndex(index), Term(term)));
        if is_back {
            self.lost_end = None;
            log::info!("region {}: the log has recovered the end that it had lost", self.region.id);
        }
        Ok(is_back)
    }

    /// Whether so many members lack their ends, this one among them, that the others are no quorum.
    fn majority_lacks_end(&self) -> bool {
        let has_end =
            |voter: &&u64| **voter != self.options.node.get() && !self.connections.lacks_end(NodeId(**voter));
        let members = &self.region.members;
        [&members.voters, &members.voters_outgoing]
            .into_iter()
            .any(|voters| !voters.is_empty() && voters.iter().filter(has_end).count() <= voters.len() / 2)
    }

    fn hopeless(&self) -> Error {
        let others = self.connections.without_end();
        let lacking: Vec<_> = others.chain([self.options.node]).map(|node| node.to_string()).collect();
        let detail = format!(
            "the raft logs of nodes {} have lost their ends, and without these nodes region {} has no majority: writes \
             that were acknowledged may be gone, so none of them helps to elect a leader. Start every member whose log is \
             whole; should they be too few for a majority, open as many of the others as complete one with \
             log.accept_lost_end set to the number that each of them names in the warning at its start, to go on without \
             what only they had",
            lacking.join(", "),
            self.region.id
        );
        Error::with_detail(Code::Corruption, detail)
    }
}
