//! Short chains of reasons.
//!
//! Owns the search for the paths and cycles that a violation is explained with. It runs only once a history is known
//! to be impossible, so it may cost more than the check itself.

use super::graph::{Cycle, EdgeId, Graph, Link, Node, Way};

/// How many of the crossed nodes are tried for the shortest cycle.
const STARTS_MAX: usize = 16;

/// Everything reachable from one node, nearest first, with the edge that leads there.
struct Reach {
    nearest: Vec<(Node, usize)>,
    via: Vec<Option<EdgeId>>,
    way: Way,
}

impl Graph {
    /// A chain from `from` to `to` out of edges before `below` and real time; empty when there is none.
    pub fn chain(&self, from: Node, to: Node, below: EdgeId) -> Vec<Link> {
        let onward = self.reach(from, Way::Onward, below);
        let back = self.reach(to, Way::Back, below);
        let by_edges = onward.via[to].is_some().then(|| self.walk(&onward, to));
        let by_time = self.bridge(&onward, &back);
        let chains = by_edges.into_iter().chain(by_time);
        chains.min_by_key(Vec::len).unwrap_or_default()
    }

    /// The shortest of the cycles through real time on which one of the `crossed` nodes lies.
    pub fn cycle_through_time(&self, crossed: &[Node]) -> Cycle {
        let cycles = crossed.iter().take(STARTS_MAX).map(|&node| self.time_cycle_at(node));
        cycles.min_by_key(Vec::len).expect("at least one node is crossed")
    }

    /// A cycle of edges, given the nodes that lie on none.
    pub fn cycle_of_edges(&self, sorted: &[Node]) -> Cycle {
        let mut open = vec![true; self.len()];
        for &node in sorted {
            open[node] = false;
        }
        let start = self.node_on_cycle(&open);
        let onward = self.reach(start, Way::Onward, usize::MAX);
        let closing = self.edges_at(start, Way::Back).iter().copied();
        let cycles = closing.filter_map(|edge| {
            let last = self.far_end(edge, Way::Back);
            (last == start || onward.via[last].is_some()).then(|| {
                let mut cycle = self.walk(&onward, last);
                cycle.push(Link::Edge(edge));
                cycle
            })
        });
        cycles.min_by_key(Vec::len).expect("the node lies on a cycle")
    }

    /// Walks back through open nodes until one comes again.
    fn node_on_cycle(&self, open: &[bool]) -> Node {
        let mut visited = vec![false; self.len()];
        let mut node = open.iter().position(|&open| open).expect("some node could not be sorted");
        while !visited[node] {
            visited[node] = true;
            let mut before = self.next(node, Way::Back);
            node = before.find(|&node| open[node]).expect("a node is left out because one before it is");
        }
        node
    }

    /// `before -> node -> behind`, where `behind` was answered before `before` was called.
    fn time_cycle_at(&self, node: Node) -> Cycle {
        let onward = self.reach(node, Way::Onward, usize::MAX);
        let back = self.reach(node, Way::Back, usize::MAX);
        self.bridge(&onward, &back).expect("a node is crossed because of real time")
    }

    /// The shortest way from the start of `onward` to the start of `back` that uses real time once.
    fn bridge(&self, onward: &Reach, back: &Reach) -> Option<Vec<Link>> {
        let mut shortest: Option<(usize, Node, Node)> = None;
        let firsts = records(&onward.nearest, |node| u64::MAX - self.span(node).to);
        let lasts = records(&back.nearest, |node| self.span(node).from);
        for &(answered, far) in &firsts {
            for &(called, near) in &lasts {
                let crosses = self.span(answered).to < self.span(called).from;
                if crosses && shortest.is_none_or(|(length, _, _)| far + near < length) {
                    shortest = Some((far + near, answered, called));
                }
            }
        }
        let (_, answered, called) = shortest?;
        let mut chain = self.walk(onward, answered);
        chain.push(Link::Time(answered, called));
        chain.extend(self.walk(back, called));
        Some(chain)
    }

    fn reach(&self, start: Node, way: Way, below: EdgeId) -> Reach {
        let mut via = vec![None; self.len()];
        let mut nearest = vec![(start, 0)];
        let mut done = 0;
        while let Some(&(node, distance)) = nearest.get(done) {
            done += 1;
            for &edge in self.edges_at(node, way).iter().filter(|&&edge| edge < below) {
                let next = self.far_end(edge, way);
                if next != start && via[next].is_none() {
                    via[next] = Some(edge);
                    nearest.push((next, distance + 1));
                }
            }
        }
        Reach { nearest, via, way }
    }

    /// The links between the start of `reach` and `end`, in the direction of the edges.
    fn walk(&self, reach: &Reach, end: Node) -> Vec<Link> {
        let mut links = Vec::new();
        let mut node = end;
        while let Some(edge) = reach.via[node] {
            links.push(Link::Edge(edge));
            node = self.far_end(edge, if reach.way == Way::Onward { Way::Back } else { Way::Onward });
        }
        if reach.way == Way::Onward {
            links.reverse();
        }
        links
    }
}

/// Of nodes sorted by distance those that are better than all nearer ones: only they can be on a shortest chain.
fn records(nearest: &[(Node, usize)], worth: impl Fn(Node) -> u64) -> Vec<(Node, usize)> {
    let mut best = None;
    let better = nearest.iter().copied().filter(|&(node, _)| {
        let is_better = Some(worth(node)) > best;
        if is_better {
            best = Some(worth(node));
        }
        is_better
    });
    better.collect()
}
