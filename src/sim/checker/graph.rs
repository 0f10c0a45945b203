//! What must precede what.
//!
//! Owns a graph whose first nodes are the operations of the history; further nodes are mere moments, such as "all
//! reads of this value are over". An edge says that one must precede the other and why. The order of real time has
//! no edges: each node has a span (not before, not after), and [`Graph::bounds`] narrows the spans along the edges.
//!
//! Why that is enough: let `from` of a node be the latest call among it and its predecessors, `to` the earliest
//! answer among it and its successors. A chain that leaves real time out is a path. A chain from `x` to `y` that uses
//! real time once goes `x -> a`, `a` answered before `b` called, `b -> y`; such `a` and `b` exist exactly when
//! `to(x) < from(y)`. A chain that uses it several times needs only its first and last use, unless a shorter cycle
//! exists. So a cycle exists exactly when the edges alone have one, or some node has `to < from`. This takes the
//! place of the usual quadratic real-time edges, or of virtual nodes along the time axis, and costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::facts::Span;
use super::history::Key;

/// A place in the graph: an operation's place in the history, or a moment.
pub type Node = usize;

/// A place among the edges. A derived edge rests on edges with smaller places only.
pub type EdgeId = usize;

/// Why one node precedes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A read shows the value that the write left in the register.
    WriteRead(Key),
    /// A read shows an element that the write added to the list.
    AppendRead(Key),
    /// A read of the list lacks an element that the write added.
    ReadAppend(Key),
    /// Leads from a write, and from each read of what it left, to the end of that state of the register.
    VersionEnd(Key),
    /// A read found the register as it was before any write.
    InitialRead(Key),
    /// One state of the register ended before the next began, because the write (or vague read) `first` precedes
    /// `until`, the end of the next.
    VersionOrder { key: Key, first: Node, until: Node },
    /// The log positions that the store told.
    LogOrder,
}

/// One node precedes another.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub from: Node,
    pub to: Node,
    pub reason: Reason,
}

/// One step of a chain of reasons.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    /// Along an edge.
    Edge(EdgeId),
    /// The first was answered before the second was called.
    RealTime(Node, Node),
}

/// Links of which each begins where the one before ends, the first where the last ends.
pub type Cycle = Vec<Link>;

/// What follows from the edges and the spans.
#[derive(Debug)]
pub struct Bounds {
    /// Where each node stands in a topological order that is near to the order of time.
    pub position: Vec<usize>,
    /// The narrowed spans.
    pub spans: Vec<Span>,
}

impl Bounds {
    /// Whether `one` precedes `other` by real time, perhaps with edges before and after.
    pub fn in_real_time(&self, one: Node, other: Node) -> bool {
        self.spans[one].to < self.spans[other].from
    }
}

/// See the module.
#[derive(Debug)]
pub struct Graph {
    spans: Vec<Span>,
    edges: Vec<Edge>,
    outgoing: Vec<Vec<EdgeId>>,
    incoming: Vec<Vec<EdgeId>>,
}

impl Graph {
    /// A graph of operations without edges.
    pub fn new(spans: &[Span]) -> Graph {
        Graph {
            spans: spans.to_vec(),
            edges: Vec::new(),
            outgoing: vec![Vec::new(); spans.len()],
            incoming: vec![Vec::new(); spans.len()],
        }
    }

    /// Adds a node that stands for a moment.
    pub fn add_virtual_node(&mut self) -> Node {
        self.spans.push(Span::ANY);
        self.outgoing.push(Vec::new());
        self.incoming.push(Vec::new());
        self.spans.len() - 1
    }

    /// Adds that `from` precedes `to`.
    pub fn add(&mut self, from: Node, to: Node, reason: Reason) {
        let edge = self.edges.len();
        self.edges.push(Edge { from, to, reason });
        self.outgoing[from].push(edge);
        self.incoming[to].push(edge);
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The edge.
    pub fn edge(&self, edge: EdgeId) -> &Edge {
        &self.edges[edge]
    }

    /// The span the node was given, not narrowed.
    pub fn span(&self, node: Node) -> Span {
        self.spans[node]
    }

    /// The edges that leave, or lead to, the node.
    pub fn edges_at(&self, node: Node, direction: Direction) -> &[EdgeId] {
        match direction {
            Direction::Forward => &self.outgoing[node],
            Direction::Backward => &self.incoming[node],
        }
    }

    /// Where the edge leads to, or comes from.
    pub fn far_end(&self, edge: EdgeId, direction: Direction) -> Node {
        match direction {
            Direction::Forward => self.edges[edge].to,
            Direction::Backward => self.edges[edge].from,
        }
    }

    /// The nodes right behind, or right before, the node.
    pub fn next(&self, node: Node, direction: Direction) -> impl Iterator<Item = Node> + '_ {
        self.edges_at(node, direction).iter().map(move |&edge| self.far_end(edge, direction))
    }

    /// Narrows the spans; the cycle when there is one.
    pub fn bounds(&self) -> Result<Bounds, Cycle> {
        let (order, mut spans) = self.sort();
        if order.len() < self.len() {
            return Err(self.dependency_cycle(&order));
        }
        for &node in order.iter().rev() {
            let earliest = self.next(node, Direction::Forward).map(|next| spans[next].to).min();
            spans[node].to = spans[node].to.min(earliest.unwrap_or(u64::MAX));
        }
        let contradicted: Vec<Node> =
            order.iter().copied().filter(|&node| spans[node].to < spans[node].from).collect();
        if !contradicted.is_empty() {
            return Err(self.real_time_cycle(&contradicted));
        }
        let mut position = vec![0; order.len()];
        for (place, &node) in order.iter().enumerate() {
            position[node] = place;
        }
        Ok(Bounds { position, spans })
    }

    /// Sorts topologically, of all possible nodes the one that may happen first; narrows `from` on the direction. Nodes
    /// on a cycle, and those behind one, are left out.
    fn sort(&self) -> (Vec<Node>, Vec<Span>) {
        let mut spans = self.spans.clone();
        let mut missing: Vec<usize> = self.incoming.iter().map(Vec::len).collect();
        let free = (0..self.len()).filter(|&node| missing[node] == 0);
        let mut ready: BinaryHeap<_> = free.map(|node| Reverse((spans[node].from, node))).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse((from, node))) = ready.pop() {
            order.push(node);
            for next in self.next(node, Direction::Forward) {
                spans[next].from = spans[next].from.max(from);
                missing[next] -= 1;
                if missing[next] == 0 {
                    ready.push(Reverse((spans[next].from, next)));
                }
            }
        }
        (order, spans)
    }
}

/// A direction along the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}
