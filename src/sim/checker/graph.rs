//! The dependency graph.
//!
//! Owns a graph whose first nodes are the operations of the history; the others are *virtual nodes*, such as "all reads
//! of this version precede". An edge means that one node must precede another, and why. Real-time order has no edges:
//! each node has a span (not before, not after), and [`Graph::bounds`] narrows the spans along the edges.
//!
//! Why that is enough: let `from` of a node be the latest invocation among it and its predecessors, `to` the earliest
//! response among it and its successors. A path from `x` to `y` that uses real-time order once goes `x -> a`, `a`
//! answered before `b` was invoked, `b -> y`; such `a` and `b` exist exactly when `to(x) < from(y)`. A path that uses
//! it several times needs only its first and last use, unless a shorter cycle exists. So a cycle exists exactly when
//! the edges alone have one, or some node has `to < from`. This replaces the usual quadratic number of real-time edges,
//! or virtual nodes along the time axis, at no cost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::facts::Span;
use super::history::Key;

/// An operation, by its index in the history, or a virtual node.
pub(crate) type Node = usize;

/// An index into the edges. An inferred edge follows from edges with smaller ids only.
pub(crate) type EdgeId = usize;

/// Why one node precedes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A write-read dependency: the read returned the register's version that the write installed.
    WriteRead(Key),
    /// A write-read dependency: the read of the list returned an element that the write appended.
    AppendRead(Key),
    /// A read-write dependency: the read of the list lacks an element that the write appended.
    ReadAppend(Key),
    /// Leads from a write, and from each read of the version it installed, to the end of that version.
    VersionEnd(Key),
    /// A read-write dependency: the read returned the register's initial version, and so precedes each write.
    InitialRead(Key),
    /// A read-write dependency: both found the same version of the register and overwrote it.
    Overwrites(Key),
    /// One version of the register precedes another in the version order, because the write (or unrecovered read)
    /// `first` of the one precedes `until`, the end of the other.
    VersionOrder { key: Key, first: Node, until: Node },
    /// The log indexes that the store reported.
    LogOrder,
}

/// One node precedes another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub from: Node,
    pub to: Node,
    pub reason: Reason,
}

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    /// Along an edge.
    Edge(EdgeId),
    /// Real-time order: the first was answered before the second was invoked.
    RealTime(Node, Node),
}

/// Links that each begin where the one before ends, the first where the last ends.
pub(crate) type Cycle = Vec<Link>;

/// What follows from the edges and the spans.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// The position of each node in a topological order that is close to real-time order.
    pub position: Vec<usize>,
    /// The narrowed spans.
    pub spans: Vec<Span>,
}

impl Bounds {
    /// Whether `one` precedes `other` by real-time order, possibly with edges before and after.
    pub(crate) fn in_real_time(&self, one: Node, other: Node) -> bool {
        self.spans[one].to < self.spans[other].from
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Graph {
    spans: Vec<Span>,
    edges: Vec<Edge>,
    outgoing: Vec<Vec<EdgeId>>,
    incoming: Vec<Vec<EdgeId>>,
}

impl Graph {
    /// A graph of operations without edges.
    pub(crate) fn new(spans: &[Span]) -> Graph {
        Graph {
            spans: spans.to_vec(),
            edges: Vec::new(),
            outgoing: vec![Vec::new(); spans.len()],
            incoming: vec![Vec::new(); spans.len()],
        }
    }

    /// Adds a node that is no operation.
    pub(crate) fn add_virtual_node(&mut self) -> Node {
        self.spans.push(Span::ANY);
        self.outgoing.push(Vec::new());
        self.incoming.push(Vec::new());
        self.spans.len() - 1
    }

    /// Adds an edge: `from` precedes `to`.
    pub(crate) fn add(&mut self, from: Node, to: Node, reason: Reason) {
        let edge = self.edges.len();
        self.edges.push(Edge { from, to, reason });
        self.outgoing[from].push(edge);
        self.incoming[to].push(edge);
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The edge.
    pub(crate) fn edge(&self, edge: EdgeId) -> &Edge {
        &self.edges[edge]
    }

    /// The span of the node as given, not narrowed.
    pub(crate) fn span(&self, node: Node) -> Span {
        self.spans[node]
    }

    /// The outgoing, or the incoming, edges of the node.
    pub(crate) fn edges_at(&self, node: Node, direction: Direction) -> &[EdgeId] {
        match direction {
            Direction::Forward => &self.outgoing[node],
            Direction::Backward => &self.incoming[node],
        }
    }

    /// The head, or the tail, of the edge.
    pub(crate) fn far_end(&self, edge: EdgeId, direction: Direction) -> Node {
        match direction {
            Direction::Forward => self.edges[edge].to,
            Direction::Backward => self.edges[edge].from,
        }
    }

    /// The direct successors, or the direct predecessors, of the node.
    pub(crate) fn next(&self, node: Node, direction: Direction) -> impl Iterator<Item = Node> + '_ {
        self.edges_at(node, direction).iter().map(move |&edge| self.far_end(edge, direction))
    }

    /// Narrows the spans; the error is a cycle, if there is one.
    pub(crate) fn bounds(&self) -> Result<Bounds, Cycle> {
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

    /// Sorts topologically, always taking the node with the earliest `from` among those possible, and narrows `from` as
    /// it goes. Nodes on a cycle, and those after one, are left out.
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
pub(crate) enum Direction {
    Forward,
    Backward,
}
