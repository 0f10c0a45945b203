//! The feature level of a region.
//!
//! Owns when the level rises, and what is refused below it. A level stands for what may be in the log: builds that know
//! less cannot read it. What always holds: the level is part of the region's record and rises by an entry of the log, so
//! it is the same on every member at one place of the log, and never falls; a leader proposes that entry only when every
//! member of the configuration has said in its last handshake that it knows the level, and none of a later level is
//! proposed, forwarded or accepted before this member has applied it. That members of earlier builds are not connected
//! any more once it has risen is the transport's business, and with it those that had said so and have gone back since.

use bytes::Bytes;

use super::Peer;
use crate::core::command::{level_of_write, seal_level};
use crate::core::planted::{self, Fault};
use crate::error::{Code, Error};
use crate::types::{LogIndex, NodeId};

impl Peer {
    /// Below their level, deals with the writes that need a higher one; false when the others wait with them. They are
    /// refused while a member might not know them: nobody can say for how long that lasts, and they would hold up all that
    /// is sent behind them. But they wait where the level is about to rise: a member that decides alone, and has just been
    /// upgraded, never refuses one.
    pub(super) fn may_dispatch_below_level(&mut self) -> bool {
        let level = self.region.level;
        if !self.writes.pending.has_above(level) || planted::has(Fault::ConditionsBelowTheirLevel) {
            return true;
        }
        let is_about_to_rise = self.is_leader() || self.leader().is_none();
        let soon = if is_about_to_rise { self.level_of_all().max(level) } else { level };
        let early = self.writes.pending.take_above(soon);
        if !early.is_empty() {
            self.refuse_callers(early, &Error::with_detail(Code::Unsupported, self.what_is_missing()));
        }
        !self.writes.pending.has_above(level)
    }

    /// Whether this write may be in the log behind what this member has applied.
    pub(super) fn knows_write(&self, data: &[u8]) -> bool {
        level_of_write(data) <= self.region.level
    }

    /// The level has risen by the entry at `index`.
    pub(super) fn on_level(&mut self, level: u16, index: LogIndex) {
        assert!(level <= self.options.known_level, "an applier of this build has read it");
        let rises = self.region.raise_level(level, index);
        assert!(rises, "the applier says so once");
        log::info!("region {}: all members know feature level {level}", self.region.id);
    }

    /// Proposes to raise the level to what every member knows, if that is higher. To be called when one has said what it
    /// knows, when a leader may propose it for the first time, and now and then.
    pub(super) fn propose_level(&mut self) {
        if !self.is_leader() {
            return;
        }
        let level = self.level_of_all();
        // A change of the members that is not applied may add one that nobody has heard of.
        if level <= self.region.level || !self.has_applied_own_term() || self.raw.raft.has_pending_conf() {
            return;
        }
        if self.leadership.raised_in == self.term() {
            return;
        }
        assert!(level <= self.options.known_level || planted::is_any(), "it is one of all");
        let command = seal_level(level, self.region.epoch.version);
        // Refused for now is fine: the next look proposes it again.
        if self.append_as_leader(std::iter::once((command, Bytes::new()))).is_ok() {
            assert!(self.is_leader(), "only a leader proposes");
            log::debug!("region {}: proposing feature level {level}", self.region.id);
            self.leadership.raised_in = self.term();
        }
    }

    /// Whether no higher level is known to every member.
    pub(super) fn has_level_of_all(&self) -> bool {
        self.level_of_all() <= self.region.level
    }

    /// The level that every member of the configuration is known to know.
    fn level_of_all(&self) -> u16 {
        assert!(self.members().next().is_some() || !self.is_leader(), "who leads is a member");
        assert!(self.region.level <= self.options.known_level, "what is applied can be read");
        let levels = self.members().map(|node| self.level_of(node).unwrap_or(0));
        if planted::has(Fault::LevelOfAMajority) {
            let mut levels: Vec<_> = levels.collect();
            levels.sort_unstable();
            return levels[(levels.len() - 1) / 2];
        }
        levels.min().unwrap_or(0)
    }

    /// What `node` knows, by its own word.
    pub(super) fn level_of(&self, node: NodeId) -> Option<u16> {
        if node == self.options.node { Some(self.options.known_level) } else { self.connections.level(node) }
    }

    fn members(&self) -> impl Iterator<Item = NodeId> {
        let members = &self.region.members;
        let lists = [&members.voters, &members.learners, &members.voters_outgoing, &members.learners_next];
        lists.into_iter().flatten().map(|&node| NodeId(node))
    }

    /// Why writes that need a higher level are refused, for whoever is to do something about it.
    fn what_is_missing(&self) -> String {
        let level_of = |node| (node, self.level_of(node));
        let is_earlier =
            |(_, level): &(NodeId, Option<u16>)| level.is_some_and(|level| level < self.options.known_level);
        let why = if let Some((node, _)) = self.members().map(level_of).find(is_earlier) {
            format!("node {node} runs an earlier release that does not know such writes: upgrade it")
        } else if let Some((node, _)) = self.members().map(level_of).find(|(_, level)| level.is_none()) {
            format!("node {node} has not yet connected and said which release it runs")
        } else {
            "the leader has yet to hear from every member: retry".to_owned()
        };
        format!("region {} takes no such write until all members know it; {why}", self.region.id)
    }
}
