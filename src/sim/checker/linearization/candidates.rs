//! What may come next.
//!
//! Owns the rules by which an order grows. What always holds: a write never ends what somebody still has to read; a
//! step is taken without choice only if it can be moved here in any order that can still follow.

use super::{Fate, Linearization, Node, ReadsFrom, Step, VersionId};

impl Linearization<'_> {
    /// Takes every step that loses nothing: a read that the current state explains, or a write that nobody reads
    /// while nobody waits for what it overwrites, can be moved here in any order that can still follow.
    pub fn take_safe_steps(&mut self) {
        loop {
            self.enable_invoked();
            if let Some(virtual_node) = self.virtual_nodes.pop() {
                self.linearize(virtual_node);
            } else if let Some(safe) = self.safe_step() {
                self.linearize(safe);
            } else {
                return;
            }
        }
    }

    /// The writes that can come next; the one with the nearest last time at the end.
    pub fn candidates(&self) -> Vec<Node> {
        let open = self.open_writes.iter().rev().map(|&(_, write)| write);
        open.filter(|&write| self.is_useful(write) && self.may_overwrite(write)).collect()
    }

    /// An operation may take effect once all that were responded before its call are linearized.
    fn enable_invoked(&mut self) {
        while self.by_response.get(self.responded).is_some_and(|&node| self.linearized[node]) {
            self.responded += 1;
        }
        let until = self.first_response().map_or(u64::MAX, |node| self.graph.span(node).to);
        while let Some(&next) = self.by_invocation.get(self.enabled) {
            if self.graph.span(next).from > until {
                return;
            }
            self.enabled += 1;
            self.trail.push(Step::Enabled);
            self.unblock(next);
        }
    }

    /// Of the operations that are not linearized the one that was responded first.
    pub fn first_response(&self) -> Option<Node> {
        self.by_response.get(self.responded).copied()
    }

    fn safe_step(&self) -> Option<Node> {
        let read = self.open_reads.iter().copied().find(|&read| self.is_satisfied(read));
        let write =
            || self.open_writes.iter().map(|&(_, write)| write).find(|&write| self.is_safe_write(write));
        read.or_else(write)
    }

    fn is_satisfied(&self, read: Node) -> bool {
        self.reads[read].iter().all(|&(register, source)| match source {
            ReadsFrom::Version(version) => self.current[register] == version,
            ReadsFrom::AnyEmpty => self.registers.versions[self.current[register]].is_empty,
        })
    }

    /// Whether nobody still has to read what the write would overwrite.
    fn may_overwrite(&self, write: Node) -> bool {
        self.writes[write].iter().all(|&(register, version)| {
            self.unread[self.current[register]] == 0
                && self.stranded_reads(register, version).next().is_none()
        })
    }

    /// The vague reads that must come before the register, which holds nothing, may pass to a reign with a value:
    /// no delete is remaining that could still explain them.
    pub fn stranded_reads(&self, register: usize, to: VersionId) -> impl Iterator<Item = Node> + '_ {
        let versions = &self.registers.versions;
        let is_filled = versions[self.current[register]].is_empty && !versions[to].is_empty;
        let next_delete = self.deletes[register].first().map_or(u64::MAX, |&(from, _)| from);
        let unrecovered =
            self.unrecovered[register].iter().take_while(move |&&(to, _)| is_filled && to < next_delete);
        unrecovered.map(|&(_, read)| read)
    }

    /// Whether the write can come now in any order that can come at all.
    fn is_safe_write(&self, write: Node) -> bool {
        let nobody_cares = |&(register, version): &(usize, VersionId)| {
            let (old, new) =
                (&self.registers.versions[self.current[register]], &self.registers.versions[version]);
            let is_unrecovered = !self.unrecovered[register].is_empty() && (old.is_empty || new.is_empty);
            new.reads.is_empty() && !is_unrecovered
        };
        self.fates[write] == Fate::Required
            && self.may_overwrite(write)
            && self.writes[write].iter().all(nobody_cares)
    }

    /// Whether the write took effect, or may have to, for there are reads of None that it could explain.
    fn is_useful(&self, write: Node) -> bool {
        let explains = |&(register, version): &(usize, VersionId)| {
            self.registers.versions[version].is_empty && !self.unrecovered[register].is_empty()
        };
        self.fates[write] == Fate::Required || self.writes[write].iter().any(explains)
    }
}
