//! An order under construction.
//!
//! Owns which operations are placed, what the registers hold then, and which operations can come next. What always
//! holds: a placed node has all its predecessors placed, by edges and by real time; every step can be taken back, in
//! reverse. Which of several writes comes next is chosen elsewhere.

mod choices;
mod circles;
mod identity;

use std::collections::BTreeSet;

use identity::identity_of;

use super::facts::{Facts, Fate};
use super::graph::{Bounds, Graph, Node, Way};
use super::registers::{Registers, ReignId};

/// What a read wants to find in a register.
#[derive(Clone, Copy, Debug)]
enum Want {
    Reign(ReignId),
    Nothing,
}

/// One step that can be taken back.
#[derive(Clone, Copy, Debug)]
enum Step {
    Placed(Node),
    /// The next operation in the order of calls may now take effect.
    Arrived,
    /// A register passed to the next reign, from this one.
    Passed {
        register: usize,
        from: ReignId,
        filled_by: Option<Node>,
    },
}

/// A place to which an attempt can return.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    steps: usize,
    answered: usize,
}

/// See the module.
pub struct Attempt<'a> {
    graph: &'a Graph,
    bounds: &'a Bounds,
    registers: &'a Registers,
    fates: &'a [Fate],
    operations: usize,

    // What is fixed: by operation, what it writes and reads; who is called, and answered, after whom.
    writes: Vec<Vec<(usize, ReignId)>>,
    reads: Vec<Vec<(usize, Want)>>,
    by_call: Vec<Node>,
    by_answer: Vec<Node>,

    /// By register, the reign that it is in.
    current: Vec<ReignId>,
    /// By reign, its reads that are not placed.
    unread: Vec<usize>,
    /// By register, its vague reads that are not placed, by their last time.
    vague: Vec<BTreeSet<(u64, Node)>>,
    /// By register, the deletes that are not placed, by their first time.
    deletes: Vec<BTreeSet<(u64, Node)>>,
    /// By register, the write that last gave it a value when it held none.
    filled_by: Vec<Option<Node>>,
    /// By node, the edges that lead to it from nodes not placed; and one more until an operation arrived.
    blockers: Vec<usize>,
    placed: Vec<bool>,
    /// Nodes without blockers, not placed: moments, reads, and the other operations by their last time.
    moments: Vec<Node>,
    open_reads: BTreeSet<Node>,
    open_writes: BTreeSet<(u64, Node)>,
    /// How many of `by_call` arrived.
    arrived: usize,
    /// How many of `by_answer` are placed without a gap.
    answered: usize,
    left: usize,
    identity: u128,
    trail: Vec<Step>,
    steps: usize,
}

impl<'a> Attempt<'a> {
    /// An empty order over a saturated graph.
    pub fn new(
        facts: &'a Facts,
        graph: &'a Graph,
        registers: &'a Registers,
        bounds: &'a Bounds,
    ) -> Attempt<'a> {
        let operations = facts.history.len();
        let mut by_call: Vec<Node> = (0..operations).filter(|&node| facts.fates[node] != Fate::Out).collect();
        let mut by_answer: Vec<Node> =
            (0..operations).filter(|&node| facts.fates[node] == Fate::Must).collect();
        by_call.sort_by_key(|&node| (graph.span(node).from, node));
        by_answer.sort_by_key(|&node| (graph.span(node).to, node));
        let blockers = (0..graph.len())
            .map(|node| graph.edges_at(node, Way::Back).len() + usize::from(node < operations));
        let mut attempt = Attempt {
            graph,
            bounds,
            registers,
            fates: &facts.fates,
            operations,
            writes: vec![Vec::new(); operations],
            reads: vec![Vec::new(); operations],
            left: by_answer.len(),
            by_call,
            by_answer,
            current: Vec::new(),
            unread: registers.reigns.iter().map(|reign| reign.reads.len()).collect(),
            vague: Vec::new(),
            deletes: Vec::new(),
            filled_by: Vec::new(),
            blockers: blockers.collect(),
            placed: vec![false; graph.len()],
            moments: Vec::new(),
            open_reads: BTreeSet::new(),
            open_writes: BTreeSet::new(),
            arrived: 0,
            answered: 0,
            identity: 0,
            trail: Vec::new(),
            steps: 0,
        };
        attempt.note_registers();
        attempt.moments = (operations..graph.len()).filter(|&node| attempt.blockers[node] == 0).collect();
        attempt
    }

    fn note_registers(&mut self) {
        for (register, chronicle) in self.registers.chronicles.iter().enumerate() {
            self.current.push(chronicle.reigns[0]);
            self.filled_by.push(None);
            self.vague.push(BTreeSet::new());
            self.deletes.push(BTreeSet::new());
            for &read in &chronicle.vague {
                self.reads[read].push((register, Want::Nothing));
                self.vague[register].insert((self.bounds.spans[read].to, read));
            }
            for &reign in &chronicle.reigns {
                self.note_reign(register, reign);
            }
        }
    }

    fn note_reign(&mut self, register: usize, reign: ReignId) {
        if let Some(write) = self.registers.reigns[reign].write {
            self.writes[write].push((register, reign));
            if self.registers.reigns[reign].is_empty {
                self.deletes[register].insert((self.bounds.spans[write].from, write));
            }
        }
        for &read in &self.registers.reigns[reign].reads {
            self.reads[read].push((register, Want::Reign(reign)));
        }
    }

    /// Whether every operation that took effect is placed.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// How many operations that took effect are placed.
    pub fn len(&self) -> usize {
        self.by_answer.len() - self.left
    }

    /// How many steps were ever taken, also those taken back.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// A number that stands for the set of placed operations and what the registers hold.
    pub fn identity(&self) -> u128 {
        self.identity
    }

    /// The operations placed, in order.
    pub fn order(&self) -> Vec<usize> {
        let placed = self.trail.iter().filter_map(|step| match step {
            Step::Placed(node) if *node < self.operations => Some(*node),
            _ => None,
        });
        placed.collect()
    }

    /// The operations whose predecessors are all placed.
    pub fn open(&self) -> Vec<usize> {
        self.open_reads.iter().copied().chain(self.open_writes.iter().map(|&(_, write)| write)).collect()
    }

    /// Puts the node behind those already placed.
    pub fn place(&mut self, node: Node) {
        assert!(!self.placed[node], "a node is placed once");
        assert_eq!(self.blockers[node], 0, "nothing that must precede is missing");
        self.steps += 1;
        self.placed[node] = true;
        self.trail.push(Step::Placed(node));
        if node < self.operations {
            self.perform(node);
        }
        let graph = self.graph;
        for next in graph.next(node, Way::Onward) {
            self.unblock(next);
        }
    }

    fn perform(&mut self, node: Node) {
        self.close(node);
        self.identity ^= identity_of(0, node);
        self.left -= usize::from(self.fates[node] == Fate::Must);
        for place in 0..self.writes[node].len() {
            let (register, reign) = self.writes[node][place];
            let (from, filled_by) = (self.current[register], self.filled_by[register]);
            self.trail.push(Step::Passed { register, from, filled_by });
            if self.registers.reigns[from].is_empty && !self.registers.reigns[reign].is_empty {
                self.filled_by[register] = Some(node);
            }
            self.deletes[register].remove(&(self.bounds.spans[node].from, node));
            self.pass(register, reign);
        }
        for &(register, want) in &self.reads[node] {
            match want {
                Want::Reign(reign) => self.unread[reign] -= 1,
                Want::Nothing => drop(self.vague[register].remove(&(self.bounds.spans[node].to, node))),
            }
        }
    }

    /// Where the attempt stands, after it settled.
    pub fn mark(&self) -> Mark {
        assert!(self.moments.is_empty(), "an attempt is marked when it has settled");
        Mark { steps: self.trail.len(), answered: self.answered }
    }

    /// Takes back every step since the mark.
    pub fn take_back(&mut self, mark: Mark) {
        while self.trail.len() > mark.steps {
            match self.trail.pop().expect("the trail is longer than the mark") {
                Step::Placed(node) => self.displace(node),
                Step::Passed { register, from, filled_by } => {
                    self.filled_by[register] = filled_by;
                    self.pass(register, from);
                }
                Step::Arrived => {
                    self.arrived -= 1;
                    self.block(self.by_call[self.arrived]);
                }
            }
        }
        self.answered = mark.answered;
        self.moments.clear();
    }

    fn displace(&mut self, node: Node) {
        let graph = self.graph;
        for next in graph.next(node, Way::Onward) {
            self.block(next);
        }
        self.placed[node] = false;
        if node < self.operations {
            self.unperform(node);
            self.left += usize::from(self.fates[node] == Fate::Must);
            self.identity ^= identity_of(0, node);
            self.note_open(node);
        }
    }

    fn pass(&mut self, register: usize, to: ReignId) {
        self.identity ^= identity_of(1 + register, self.current[register]) ^ identity_of(1 + register, to);
        self.current[register] = to;
    }

    fn unperform(&mut self, node: Node) {
        let span = self.bounds.spans[node];
        for &(register, reign) in &self.writes[node] {
            if self.registers.reigns[reign].is_empty {
                self.deletes[register].insert((span.from, node));
            }
        }
        for &(register, want) in &self.reads[node] {
            match want {
                Want::Reign(reign) => self.unread[reign] += 1,
                Want::Nothing => drop(self.vague[register].insert((span.to, node))),
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
            self.moments.push(node);
        } else if self.reads[node].is_empty() {
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
