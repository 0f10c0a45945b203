//! Short paths and cycles.
//!
//! Owns the search for the paths and cycles that explain a violation. It runs only once a history is known to be
//! impossible, so it may cost more than the check itself.

use super::graph::{Cycle, Direction, EdgeId, Graph, Link, Node};

/// How many of the nodes with contradictory spans are tried for the shortest cycle.
const STARTS_MAX: usize = 16;

/// Everything reachable from one node, nearest first, with the edge that leads there.
struct Reach {
    nearest: Vec<(Node, usize)>,
    via: Vec<Option<EdgeId>>,
    direction: Direction,
}

impl Graph {
    /// A path from `from` to `to` over edges with ids below `below` and real-time order; empty when there is none.
    pub(crate) fn path(&self, from: Node, to: Node, below: EdgeId) -> Vec<Link> {
        let onward = self.reach(from, Direction::Forward, below);
        let back = self.reach(to, Direction::Backward, below);
        let by_dependencies = onward.via[to].is_some().then(|| self.path_to(&onward, to));
        let by_real_time = self.real_time_path(&onward, &back);
        let either = by_dependencies.into_iter().chain(by_real_time);
        either.min_by_key(Vec::len).unwrap_or_default()
    }

    /// The shortest cycle through real-time order on which one of the `contradicted` nodes lies.
    pub(crate) fn real_time_cycle(&self, contradicted: &[Node]) -> Cycle {
        let cycles = contradicted.iter().take(STARTS_MAX).map(|&node| self.real_time_cycle_at(node));
        cycles.min_by_key(Vec::len).expect("at least one node is contradicted")
    }

    /// A cycle of edges alone, given the nodes that lie on none.
    pub(crate) fn dependency_cycle(&self, sorted: &[Node]) -> Cycle {
        let mut open = vec![true; self.len()];
        for &node in sorted {
            open[node] = false;
        }
        let start = self.node_on_cycle(&open);
        let onward = self.reach(start, Direction::Forward, usize::MAX);
        let closing = self.edges_at(start, Direction::Backward).iter().copied();
        let cycles = closing.filter_map(|edge| {
            let last = self.far_end(edge, Direction::Backward);
            (last == start || onward.via[last].is_some()).then(|| {
                let mut cycle = self.path_to(&onward, last);
                cycle.push(Link::Edge(edge));
                cycle
            })
        });
        cycles.min_by_key(Vec::len).expect("the node lies on a cycle")
    }

    /// Walks backward through unsorted nodes until it reaches one a second time.
    fn node_on_cycle(&self, open: &[bool]) -> Node {
        let mut visited = vec![false; self.len()];
        let mut node = open.iter().position(|&open| open).expect("some node could not be sorted");
        while !visited[node] {
            visited[node] = true;
            let mut before = self.next(node, Direction::Backward);
            node = before.find(|&node| open[node]).expect("a node is left out because one before it is");
        }
        node
    }

    /// `before -> node -> after`, where `after` was answered before `before` was invoked.
    fn real_time_cycle_at(&self, node: Node) -> Cycle {
        let onward = self.reach(node, Direction::Forward, usize::MAX);
        let back = self.reach(node, Direction::Backward, usize::MAX);
        self.real_time_path(&onward, &back).expect("a node is contradicted because of real time")
    }

    /// The shortest path from the start of `onward` to the start of `back` that uses real-time order once.
    fn real_time_path(&self, onward: &Reach, back: &Reach) -> Option<Vec<Link>> {
        let mut shortest: Option<(usize, Node, Node)> = None;
        let firsts = improving(&onward.nearest, |node| u64::MAX - self.span(node).to);
        let lasts = improving(&back.nearest, |node| self.span(node).from);
        for &(answered, far) in &firsts {
            for &(called, near) in &lasts {
                let crosses = self.span(answered).to < self.span(called).from;
                if crosses && shortest.is_none_or(|(length, _, _)| far + near < length) {
                    shortest = Some((far + near, answered, called));
                }
            }
        }
        let (_, answered, called) = shortest?;
        let mut path = self.path_to(onward, answered);
        path.push(Link::RealTime(answered, called));
        path.extend(self.path_to(back, called));
        Some(path)
    }

    fn reach(&self, start: Node, direction: Direction, below: EdgeId) -> Reach {
        let mut via = vec![None; self.len()];
        let mut nearest = vec![(start, 0)];
        let mut done = 0;
        while let Some(&(node, distance)) = nearest.get(done) {
            done += 1;
            for &edge in self.edges_at(node, direction).iter().filter(|&&edge| edge < below) {
                let next = self.far_end(edge, direction);
                if next != start && via[next].is_none() {
                    via[next] = Some(edge);
                    nearest.push((next, distance + 1));
                }
            }
        }
        Reach { nearest, via, direction }
    }

    /// The links between the start of `reach` and `end`, in the direction of the edges.
    fn path_to(&self, reach: &Reach, end: Node) -> Vec<Link> {
        let mut links = Vec::new();
        let mut node = end;
        while let Some(edge) = reach.via[node] {
            links.push(Link::Edge(edge));
            node = self.far_end(
                edge,
                if reach.direction == Direction::Forward { Direction::Backward } else { Direction::Forward },
            );
        }
        if reach.direction == Direction::Forward {
            links.reverse();
        }
        links
    }
}

/// Of nodes sorted by distance, those with a greater bound than all nearer ones: only they can be on a shortest path.
fn improving(nearest: &[(Node, usize)], bound: impl Fn(Node) -> u64) -> Vec<(Node, usize)> {
    let mut best = None;
    let better = nearest.iter().copied().filter(|&(node, _)| {
        let is_better = Some(bound(node)) > best;
        if is_better {
            best = Some(bound(node));
        }
        is_better
    });
    better.collect()
}
