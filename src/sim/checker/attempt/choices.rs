//! What may come next.
//!
//! Owns the rules by which an order grows. What always holds: a write never ends what somebody still has to read; a
//! step is taken without choice only if it can be moved here in any order that can still follow.

use super::{Attempt, Fate, Node, ReignId, Step, Want};

impl Attempt<'_> {
    /// Takes every step that loses nothing: a read that the current state explains, or a write that nobody reads
    /// while nobody waits for what it overwrites, can be moved here in any order that can still follow.
    pub fn settle(&mut self) {
        loop {
            self.let_arrive();
            if let Some(moment) = self.moments.pop() {
                self.place(moment);
            } else if let Some(free) = self.free_step() {
                self.place(free);
            } else {
                return;
            }
        }
    }

    /// The writes that can come next; the one with the nearest last time at the end.
    pub fn choices(&self) -> Vec<Node> {
        let open = self.open_writes.iter().rev().map(|&(_, write)| write);
        open.filter(|&write| self.is_wanted(write) && self.is_allowed(write)).collect()
    }

    /// An operation may take effect once all that were answered before its call are placed.
    fn let_arrive(&mut self) {
        while self.by_answer.get(self.answered).is_some_and(|&node| self.placed[node]) {
            self.answered += 1;
        }
        let until = self.first_answer().map_or(u64::MAX, |node| self.graph.span(node).to);
        while let Some(&next) = self.by_call.get(self.arrived) {
            if self.graph.span(next).from > until {
                return;
            }
            self.arrived += 1;
            self.trail.push(Step::Arrived);
            self.unblock(next);
        }
    }

    /// Of the operations that are not placed the one that was answered first.
    pub fn first_answer(&self) -> Option<Node> {
        self.by_answer.get(self.answered).copied()
    }

    fn free_step(&self) -> Option<Node> {
        let read = self.open_reads.iter().copied().find(|&read| self.is_explained(read));
        let write =
            || self.open_writes.iter().map(|&(_, write)| write).find(|&write| self.is_harmless(write));
        read.or_else(write)
    }

    fn is_explained(&self, read: Node) -> bool {
        self.reads[read].iter().all(|&(register, want)| match want {
            Want::Reign(reign) => self.current[register] == reign,
            Want::Nothing => self.registers.reigns[self.current[register]].is_empty,
        })
    }

    /// Whether nobody still has to read what the write would overwrite.
    fn is_allowed(&self, write: Node) -> bool {
        self.writes[write].iter().all(|&(register, reign)| {
            self.unread[self.current[register]] == 0 && self.last_chances(register, reign).next().is_none()
        })
    }

    /// The vague reads that must come before the register, which holds nothing, may pass to a reign with a value:
    /// no delete is left that could still explain them.
    pub fn last_chances(&self, register: usize, to: ReignId) -> impl Iterator<Item = Node> + '_ {
        let reigns = &self.registers.reigns;
        let is_filled = reigns[self.current[register]].is_empty && !reigns[to].is_empty;
        let next_delete = self.deletes[register].first().map_or(u64::MAX, |&(from, _)| from);
        let vague = self.vague[register].iter().take_while(move |&&(to, _)| is_filled && to < next_delete);
        vague.map(|&(_, read)| read)
    }

    /// Whether the write can come now in any order that can come at all.
    fn is_harmless(&self, write: Node) -> bool {
        let nobody_cares = |&(register, reign): &(usize, ReignId)| {
            let (old, new) = (&self.registers.reigns[self.current[register]], &self.registers.reigns[reign]);
            let is_vague = !self.vague[register].is_empty() && (old.is_empty || new.is_empty);
            new.reads.is_empty() && !is_vague
        };
        self.fates[write] == Fate::Must
            && self.is_allowed(write)
            && self.writes[write].iter().all(nobody_cares)
    }

    /// Whether the write took effect, or may have to, for there are reads of None that it could explain.
    fn is_wanted(&self, write: Node) -> bool {
        let explains = |&(register, reign): &(usize, ReignId)| {
            self.registers.reigns[reign].is_empty && !self.vague[register].is_empty()
        };
        self.fates[write] == Fate::Must || self.writes[write].iter().any(explains)
    }
}
