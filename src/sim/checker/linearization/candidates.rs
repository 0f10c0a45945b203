//! Which operations can be linearized next.
//!
//! Owns the rules by which a linearization grows. What always holds: a write never overwrites a version that is still
//! to be read; a step is *safe*, and taken without a choice point, only if every linearization that extends this one
//! stays valid when the step is moved here.

use super::{Fate, Linearization, Node, ReadsFrom, Step, VersionId};

impl Linearization<'_> {
    /// Takes every safe step: a read that the current versions satisfy, or a write that nobody reads while nobody still
    /// has to read what it overwrites.
    pub(crate) fn take_safe_steps(&mut self) {
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

    /// The writes that can come next; the one with the earliest deadline (`Span::to`) at the end.
    pub(crate) fn candidates(&self) -> Vec<Node> {
        let open = self.open_writes.iter().rev().map(|&(_, write)| write);
        open.filter(|&write| self.is_useful(write) && self.may_overwrite(write) && self.is_satisfied(write))
            .collect()
    }

    /// Enables each operation whose predecessors in real-time order are all linearized.
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

    /// The operation that was answered first among those not yet linearized.
    pub(crate) fn first_response(&self) -> Option<Node> {
        self.by_response.get(self.responded).copied()
    }

    fn safe_step(&self) -> Option<Node> {
        let read = self.open_reads.iter().copied().find(|&read| self.is_satisfied(read));
        let write =
            || self.open_writes.iter().map(|&(_, write)| write).find(|&write| self.is_safe_write(write));
        read.or_else(write)
    }

    /// Whether the registers hold what the operation found.
    fn is_satisfied(&self, read: Node) -> bool {
        self.reads[read].iter().all(|&(register, source)| match source {
            ReadsFrom::Version(version) => self.current[register] == version,
            ReadsFrom::AnyEmpty => self.registers.versions[self.current[register]].is_empty,
        })
    }

    /// Whether every other read of the versions that the write would overwrite is linearized.
    fn may_overwrite(&self, write: Node) -> bool {
        self.writes[write].iter().all(|&(register, version)| {
            let current = self.current[register];
            let is_own =
                |&&(_, source): &&(usize, ReadsFrom)| matches!(source, ReadsFrom::Version(it) if it == current);
            self.unread[current] == self.reads[write].iter().filter(is_own).count()
                && self.stranded_reads(register, version).all(|read| read == write)
        })
    }

    /// The unrecovered reads that must be linearized before the empty register may get a value: no delete is left that
    /// could explain them later.
    pub(crate) fn stranded_reads(&self, register: usize, to: VersionId) -> impl Iterator<Item = Node> + '_ {
        let versions = &self.registers.versions;
        let is_filled = versions[self.current[register]].is_empty && !versions[to].is_empty;
        let next_delete = self.deletes[register].first().map_or(u64::MAX, |&(from, _)| from);
        let unrecovered =
            self.unrecovered[register].iter().take_while(move |&&(to, _)| is_filled && to < next_delete);
        unrecovered.map(|&(_, read)| read)
    }

    /// Whether linearizing the write now rules out nothing.
    fn is_safe_write(&self, write: Node) -> bool {
        let is_unobserved = |&(register, version): &(usize, VersionId)| {
            let (old, new) =
                (&self.registers.versions[self.current[register]], &self.registers.versions[version]);
            let is_unrecovered = !self.unrecovered[register].is_empty() && (old.is_empty || new.is_empty);
            new.reads.is_empty() && !is_unrecovered
        };
        self.fates[write] == Fate::Required
            && self.is_satisfied(write)
            && self.may_overwrite(write)
            && self.writes[write].iter().all(is_unobserved)
    }

    /// Whether the write took effect, or is worth trying because it could explain an unrecovered read.
    fn is_useful(&self, write: Node) -> bool {
        let explains = |&(register, version): &(usize, VersionId)| {
            self.registers.versions[version].is_empty && !self.unrecovered[register].is_empty()
        };
        self.fates[write] == Fate::Required || self.writes[write].iter().any(explains)
    }
}
