//! Dead ends: partial linearizations that cannot be completed.
//!
//! Owns the wait-for graph of a partial linearization: an operation waits for its predecessors, a write for the reads
//! of the versions it would overwrite, an unrecovered read for the last delete that can explain it. Operations that
//! wait in a cycle can never be linearized. What always holds: the cycle persists as long as the writes of the
//! *conflict set* stay where they are. Waiting for any one of several deletes is not modelled, so some dead ends go
//! unnoticed.

use std::collections::HashMap;

use super::{Direction, Linearization, Node, ReadsFrom, VersionId};

/// One edge: the node waited for, and the linearized write that caused the wait, unless it exists in every order.
type Wait = (Node, Option<Node>);

impl Linearization<'_> {
    /// The conflict set of a cycle that arose when `write` was linearized, or of any cycle when no candidate is left.
    pub(crate) fn deadlock(&self, write: Node) -> Option<Vec<Node>> {
        let mut starts = self.pending_reads(write);
        if self.candidates().is_empty() {
            starts.extend(self.open());
        }
        WaitForGraph::new(self).find(&starts)
    }

    /// What the node currently waits for; with each the write that caused the wait, when the reason is neither an edge
    /// nor real-time order but a version of that write that is still to be read.
    fn waits_for(&self, node: Node) -> Vec<Wait> {
        let edges = self.graph.next(node, Direction::Backward).filter(|&before| !self.linearized[before]);
        let mut waits: Vec<Wait> = edges.map(|before| (before, None)).collect();
        if node >= self.operations {
            return waits;
        }
        let first = self.first_response();
        waits.extend(
            first
                .filter(|&first| self.graph.span(first).to < self.graph.span(node).from)
                .map(|first| (first, None)),
        );
        for &(register, version) in &self.writes[node] {
            let write = self.registers.versions[self.current[register]].write;
            let reads =
                self.unplaced_reads(self.current[register]).chain(self.stranded_reads(register, version));
            waits.extend(reads.filter(|&read| read != node).map(|read| (read, write)));
        }
        for &(register, source) in &self.reads[node] {
            waits.extend(
                self.only_delete(node, register, source).map(|write| (write, self.filled_by[register])),
            );
        }
        waits
    }

    /// The delete that an unrecovered read depends on, when only one is left that can explain it.
    fn only_delete(&self, read: Node, register: usize, source: ReadsFrom) -> Option<Node> {
        if matches!(source, ReadsFrom::Version(_)) || self.registers.versions[self.current[register]].is_empty
        {
            return None;
        }
        let until = self.bounds.spans[read].to;
        let mut deletes = self.deletes[register].iter().take_while(|&&(from, _)| from <= until);
        let only = deletes.next().map(|&(_, write)| write);
        only.filter(|_| deletes.next().is_none())
    }

    /// The reads, not yet linearized, of the versions that the write installs.
    fn pending_reads(&self, write: Node) -> Vec<Node> {
        self.writes[write].iter().flat_map(|&(_, version)| self.unplaced_reads(version)).collect()
    }

    fn unplaced_reads(&self, version: VersionId) -> impl Iterator<Item = Node> + '_ {
        self.registers.versions[version].reads.iter().copied().filter(|&read| !self.linearized[read])
    }
}

/// A depth-first search of the wait-for graph.
struct WaitForGraph<'s, 'a> {
    linearization: &'s Linearization<'a>,
    /// Whether a node is on the path (true) or was found to be on no cycle (false).
    visited: HashMap<Node, bool>,
    /// The nodes on the path: the waits of each still to be followed, and the write that made its predecessor wait for
    /// it.
    path: Vec<(Node, Vec<Wait>, Option<Node>)>,
}

impl<'s, 'a> WaitForGraph<'s, 'a> {
    fn new(linearization: &'s Linearization<'a>) -> WaitForGraph<'s, 'a> {
        WaitForGraph { linearization, visited: HashMap::new(), path: Vec::new() }
    }

    /// The conflict set of a cycle that can be reached from `starts`.
    fn find(mut self, starts: &[Node]) -> Option<Vec<Node>> {
        starts.iter().find_map(|&start| self.find_from(start))
    }

    fn find_from(&mut self, start: Node) -> Option<Vec<Node>> {
        if self.visited.contains_key(&start) {
            return None;
        }
        self.enter(start, None);
        while let Some((node, waits, _)) = self.path.last_mut() {
            let Some((next, cause)) = waits.pop() else {
                self.visited.insert(*node, false);
                self.path.pop();
                continue;
            };
            match self.visited.get(&next) {
                None => self.enter(next, cause),
                Some(false) => {}
                Some(true) => return Some(self.conflict_set(next, cause)),
            }
        }
        None
    }

    fn enter(&mut self, node: Node, cause: Option<Node>) {
        self.visited.insert(node, true);
        self.path.push((node, self.linearization.waits_for(node), cause));
    }

    /// The conflict set of the cycle that closes at `meeting`.
    fn conflict_set(&self, meeting: Node, closing: Option<Node>) -> Vec<Node> {
        let begins = self.path.iter().position(|&(node, _, _)| node == meeting);
        let begins = begins.expect("the cycle closes on the path");
        let steps = self.path[begins + 1..].iter().map(|&(_, _, cause)| cause);
        steps.chain([closing]).flatten().collect()
    }
}
