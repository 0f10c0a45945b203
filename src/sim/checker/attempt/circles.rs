//! Attempts that are lost.
//!
//! Owns what waits for what in an unfinished order: an operation for its predecessors, a write for the reads of what
//! it would overwrite, a vague read for the last delete that can explain it. When operations wait in a circle none
//! of them can ever be placed. What always holds: the circle stays closed for as long as the *culprits* are placed as
//! they are; waiting for one of several deletes is not followed, so some lost attempts are not seen.

use std::collections::HashMap;

use super::{Attempt, Node, ReignId, Want, Way};

/// One wait: for whom, and the placed write that made it so, if it is not so in every order.
type Wait = (Node, Option<Node>);

impl Attempt<'_> {
    /// The placed writes that keep a circle closed which arose when `write` was placed, or, when no write can be
    /// placed any more, any circle.
    pub fn circle(&self, write: Node) -> Option<Vec<Node>> {
        let mut starts = self.awaited_reads(write);
        if self.choices().is_empty() {
            starts.extend(self.open());
        }
        Circles::new(self).find(&starts)
    }

    /// What must be placed before the node can be, as things stand; with each the write that made it so, when it is
    /// not by edges or by time but because what that write left is not yet read.
    fn waits_for(&self, node: Node) -> Vec<Wait> {
        let edges = self.graph.next(node, Way::Back).filter(|&before| !self.placed[before]);
        let mut waits: Vec<Wait> = edges.map(|before| (before, None)).collect();
        if node >= self.operations {
            return waits;
        }
        let first = self.first_answer();
        waits.extend(
            first
                .filter(|&first| self.graph.span(first).to < self.graph.span(node).from)
                .map(|first| (first, None)),
        );
        for &(register, reign) in &self.writes[node] {
            let write = self.registers.reigns[self.current[register]].write;
            let reads = self.unplaced_reads(self.current[register]).chain(self.last_chances(register, reign));
            waits.extend(reads.map(|read| (read, write)));
        }
        for &(register, want) in &self.reads[node] {
            waits.extend(
                self.only_delete(node, register, want).map(|write| (write, self.filled_by[register])),
            );
        }
        waits
    }

    /// The delete that a vague read needs, when there is but one left that can explain it.
    fn only_delete(&self, read: Node, register: usize, want: Want) -> Option<Node> {
        if matches!(want, Want::Reign(_)) || self.registers.reigns[self.current[register]].is_empty {
            return None;
        }
        let until = self.bounds.spans[read].to;
        let mut deletes = self.deletes[register].iter().take_while(|&&(from, _)| from <= until);
        let only = deletes.next().map(|&(_, write)| write);
        only.filter(|_| deletes.next().is_none())
    }

    /// The reads not yet placed of what the write leaves.
    fn awaited_reads(&self, write: Node) -> Vec<Node> {
        self.writes[write].iter().flat_map(|&(_, reign)| self.unplaced_reads(reign)).collect()
    }

    fn unplaced_reads(&self, reign: ReignId) -> impl Iterator<Item = Node> + '_ {
        self.registers.reigns[reign].reads.iter().copied().filter(|&read| !self.placed[read])
    }
}

/// A walk along what waits for what.
struct Circles<'s, 'a> {
    attempt: &'s Attempt<'a>,
    /// Whether a node is on the way (true) or was found to be on no circle (false).
    visited: HashMap<Node, bool>,
    /// The nodes on the way: what each still waits for, and the write that made the one before it wait for it.
    way: Vec<(Node, Vec<Wait>, Option<Node>)>,
}

impl<'s, 'a> Circles<'s, 'a> {
    fn new(attempt: &'s Attempt<'a>) -> Circles<'s, 'a> {
        Circles { attempt, visited: HashMap::new(), way: Vec::new() }
    }

    /// The placed writes that keep a circle closed which can be reached from `starts`.
    fn find(mut self, starts: &[Node]) -> Option<Vec<Node>> {
        starts.iter().find_map(|&start| self.find_from(start))
    }

    fn find_from(&mut self, start: Node) -> Option<Vec<Node>> {
        if self.visited.contains_key(&start) {
            return None;
        }
        self.enter(start, None);
        while let Some((node, waits, _)) = self.way.last_mut() {
            let Some((next, culprit)) = waits.pop() else {
                self.visited.insert(*node, false);
                self.way.pop();
                continue;
            };
            match self.visited.get(&next) {
                None => self.enter(next, culprit),
                Some(false) => {}
                Some(true) => return Some(self.culprits(next, culprit)),
            }
        }
        None
    }

    fn enter(&mut self, node: Node, culprit: Option<Node>) {
        self.visited.insert(node, true);
        self.way.push((node, self.attempt.waits_for(node), culprit));
    }

    /// The culprits of the circle that closes at `meeting`.
    fn culprits(&self, meeting: Node, closing: Option<Node>) -> Vec<Node> {
        let begins = self.way.iter().position(|&(node, _, _)| node == meeting);
        let begins = begins.expect("the circle closes on the way");
        let steps = self.way[begins + 1..].iter().map(|&(_, _, culprit)| culprit);
        steps.chain([closing]).flatten().collect()
    }
}
