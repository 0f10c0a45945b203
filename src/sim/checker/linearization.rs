//! A partial linearization.
//!
//! Owns which operations are linearized, the versions that the registers hold then, and which operations can come next.
//! What always holds: all predecessors of a linearized node are linearized, by edges and by real-time order; every step
//! can be undone, in reverse order. Which of several candidate writes comes next is decided by the search.

mod candidates;
mod deadlock;
mod fingerprint;

use std::collections::BTreeSet;

use fingerprint::fingerprint_of;

use super::facts::{Facts, Fate};
use super::graph::{Bounds, Direction, Graph, Node};
use super::registers::{Registers, VersionId};

/// The version that a read needs a register to hold.
#[derive(Clone, Copy, Debug)]
enum ReadsFrom {
    Version(VersionId),
    AnyEmpty,
}

/// One step that can be undone.
#[derive(Clone, Copy, Debug)]
enum Step {
    Linearized(Node),
    /// The next operation of `by_invocation` was enabled.
    Enabled,
    /// A register went from this version to another.
    Installed {
        register: usize,
        from: VersionId,
        filled_by: Option<Node>,
    },
}

/// A state to which a linearization can be rewound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoint {
    steps: usize,
    responded: usize,
}

/// See the module.
pub(crate) struct Linearization<'a> {
    graph: &'a Graph,
    bounds: &'a Bounds,
    registers: &'a Registers,
    fates: &'a [Fate],
    operations: usize,

    // Fixed: by operation, the versions it writes and reads; operations by invocation, and by response.
    writes: Vec<Vec<(usize, VersionId)>>,
    reads: Vec<Vec<(usize, ReadsFrom)>>,
    by_invocation: Vec<Node>,
    by_response: Vec<Node>,

    /// By register, the version that it holds.
    current: Vec<VersionId>,
    /// By version, the number of its reads that are not linearized.
    unread: Vec<usize>,
    /// By register, its unrecovered reads that are not linearized, by `Span::to`.
    unrecovered: Vec<BTreeSet<(u64, Node)>>,
    /// By register, the deletes that are not linearized, by `Span::from`.
    deletes: Vec<BTreeSet<(u64, Node)>>,
    /// By register, the write that last gave it a value when it held none.
    filled_by: Vec<Option<Node>>,
    /// By node, the number of edges that lead to it from nodes not linearized; and one more until it is enabled.
    blockers: Vec<usize>,
    linearized: Vec<bool>,
    /// Nodes without blockers, not linearized: virtual nodes, reads of registers that write none, and the other
    /// operations by `Span::to`.
    virtual_nodes: Vec<Node>,
    open_reads: BTreeSet<Node>,
    open_writes: BTreeSet<(u64, Node)>,
    /// How many of `by_invocation` are enabled.
    enabled: usize,
    /// The length of the longest prefix of `by_response` that is linearized.
    responded: usize,
    remaining: usize,
    fingerprint: u128,
    trail: Vec<Step>,
    steps: usize,
}

impl<'a> Linearization<'a> {
    /// An empty linearization over a saturated graph.
    pub(crate) fn new(
        facts: &'a Facts,
        graph: &'a Graph,
        registers: &'a Registers,
        bounds: &'a Bounds,
    ) -> Linearization<'a> {
        let operations = facts.history.len();
        let mut by_invocation: Vec<Node> =
            (0..operations).filter(|&node| facts.fates[node] != Fate::Excluded).collect();
        let mut by_response: Vec<Node> =
            (0..operations).filter(|&node| facts.fates[node] == Fate::Required).collect();
        by_invocation.sort_by_key(|&node| (graph.span(node).from, node));
        by_response.sort_by_key(|&node| (graph.span(node).to, node));
        let blockers = (0..graph.len())
            .map(|node| graph.edges_at(node, Direction::Backward).len() + usize::from(node < operations));
        let mut linearization = Linearization {
            graph,
            bounds,
            registers,
            fates: &facts.fates,
            operations,
            writes: vec![Vec::new(); operations],
            reads: vec![Vec::new(); operations],
            remaining: by_response.len(),
            by_invocation,
            by_response,
            current: Vec::new(),
            unread: registers.versions.iter().map(|version| version.reads.len()).collect(),
            unrecovered: Vec::new(),
            deletes: Vec::new(),
            filled_by: Vec::new(),
            blockers: blockers.collect(),
            linearized: vec![false; graph.len()],
            virtual_nodes: Vec::new(),
            open_reads: BTreeSet::new(),
            open_writes: BTreeSet::new(),
            enabled: 0,
            responded: 0,
            fingerprint: 0,
            trail: Vec::new(),
            steps: 0,
        };
        linearization.note_registers();
        linearization.virtual_nodes =
            (operations..graph.len()).filter(|&node| linearization.blockers[node] == 0).collect();
        linearization
    }

    fn note_registers(&mut self) {
        for (register, key_versions) in self.registers.keys.iter().enumerate() {
            self.current.push(key_versions.versions[0]);
            self.filled_by.push(None);
            self.unrecovered.push(BTreeSet::new());
            self.deletes.push(BTreeSet::new());
            for &read in &key_versions.unrecovered {
                self.reads[read].push((register, ReadsFrom::AnyEmpty));
                self.unrecovered[register].insert((self.bounds.spans[read].to, read));
            }
            for &version in &key_versions.versions {
                self.note_version(register, version);
            }
        }
    }

    fn note_version(&mut self, register: usize, version: VersionId) {
        if let Some(write) = self.registers.versions[version].write {
            self.writes[write].push((register, version));
            if self.registers.versions[version].is_empty {
                self.deletes[register].insert((self.bounds.spans[write].from, write));
            }
        }
        for &read in &self.registers.versions[version].reads {
            self.reads[read].push((register, ReadsFrom::Version(version)));
        }
    }

    /// Whether every operation that took effect is linearized.
    pub(crate) fn is_complete(&self) -> bool {
        self.remaining == 0
    }

    /// How many operations that took effect are linearized.
    pub(crate) fn len(&self) -> usize {
        self.by_response.len() - self.remaining
    }

    /// How many steps were ever taken, including those undone.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// The fingerprint of the configuration: the set of linearized operations, and what the registers hold.
    pub(crate) fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// The linearized operations, in order.
    pub(crate) fn order(&self) -> Vec<usize> {
        let linearized = self.trail.iter().filter_map(|step| match step {
            Step::Linearized(node) if *node < self.operations => Some(*node),
            _ => None,
        });
        linearized.collect()
    }

    /// The operations whose predecessors are all linearized.
    pub(crate) fn open(&self) -> Vec<usize> {
        self.open_reads.iter().copied().chain(self.open_writes.iter().map(|&(_, write)| write)).collect()
    }

    /// Appends the node.
    pub(crate) fn linearize(&mut self, node: Node) {
        assert!(!self.linearized[node], "a node is linearized once");
        assert_eq!(self.blockers[node], 0, "its predecessors are linearized");
        self.steps += 1;
        self.linearized[node] = true;
        self.trail.push(Step::Linearized(node));
        if node < self.operations {
            self.apply(node);
        }
        let graph = self.graph;
        for next in graph.next(node, Direction::Forward) {
            self.unblock(next);
        }
    }

    fn apply(&mut self, node: Node) {
        self.close(node);
        self.fingerprint ^= fingerprint_of(0, node);
        self.remaining -= usize::from(self.fates[node] == Fate::Required);
        for place in 0..self.writes[node].len() {
            let (register, version) = self.writes[node][place];
            let (from, filled_by) = (self.current[register], self.filled_by[register]);
            self.trail.push(Step::Installed { register, from, filled_by });
            if self.registers.versions[from].is_empty && !self.registers.versions[version].is_empty {
                self.filled_by[register] = Some(node);
            }
            self.deletes[register].remove(&(self.bounds.spans[node].from, node));
            self.install(register, version);
        }
        for &(register, source) in &self.reads[node] {
            match source {
                ReadsFrom::Version(version) => self.unread[version] -= 1,
                ReadsFrom::AnyEmpty => {
                    self.unrecovered[register].remove(&(self.bounds.spans[node].to, node));
                }
            }
        }
    }

    /// The current state, to rewind to; every safe step must have been taken.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        assert!(self.virtual_nodes.is_empty(), "a checkpoint is taken when no safe step is left");
        Checkpoint { steps: self.trail.len(), responded: self.responded }
    }

    /// Undoes every step since the checkpoint.
    pub(crate) fn rewind(&mut self, checkpoint: Checkpoint) {
        while self.trail.len() > checkpoint.steps {
            match self.trail.pop().expect("the trail is longer than the checkpoint") {
                Step::Linearized(node) => self.undo(node),
                Step::Installed { register, from, filled_by } => {
                    self.filled_by[register] = filled_by;
                    self.install(register, from);
                }
                Step::Enabled => {
                    self.enabled -= 1;
                    self.block(self.by_invocation[self.enabled]);
                }
            }
        }
        self.responded = checkpoint.responded;
        self.virtual_nodes.clear();
    }

    fn undo(&mut self, node: Node) {
        let graph = self.graph;
        for next in graph.next(node, Direction::Forward) {
            self.block(next);
        }
        self.linearized[node] = false;
        if node < self.operations {
            self.unapply(node);
            self.remaining += usize::from(self.fates[node] == Fate::Required);
            self.fingerprint ^= fingerprint_of(0, node);
            self.note_open(node);
        }
    }

    fn install(&mut self, register: usize, to: VersionId) {
        self.fingerprint ^=
            fingerprint_of(1 + register, self.current[register]) ^ fingerprint_of(1 + register, to);
        self.current[register] = to;
    }

    fn unapply(&mut self, node: Node) {
        let span = self.bounds.spans[node];
        for &(register, version) in &self.writes[node] {
            if self.registers.versions[version].is_empty {
                self.deletes[register].insert((span.from, node));
            }
        }
        for &(register, source) in &self.reads[node] {
            match source {
                ReadsFrom::Version(version) => self.unread[version] += 1,
                ReadsFrom::AnyEmpty => drop(self.unrecovered[register].insert((span.to, node))),
            }
        }
    }

    fn unblock(&mut self, node: Node) {
        self.blockers[node] -= 1;
        if self.blockers[node] == 0 {
            self.note_open(node);
        }
    }

    fn block(&mut self, node: Node) {
        if self.blockers[node] == 0 {
            self.close(node);
        }
        self.blockers[node] += 1;
    }

    fn note_open(&mut self, node: Node) {
        if node >= self.operations {
            self.virtual_nodes.push(node);
        } else if self.reads[node].is_empty() || !self.writes[node].is_empty() {
            self.open_writes.insert((self.bounds.spans[node].to, node));
        } else {
            self.open_reads.insert(node);
        }
    }

    fn close(&mut self, node: Node) {
        self.open_reads.remove(&node);
        self.open_writes.remove(&(self.bounds.spans[node].to, node));
    }
}
