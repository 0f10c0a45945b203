//! The order that registers impose.
//!
//! Owns the *reigns*: the value that one write left in one register, from that write to the end of its last read.
//! Of two reigns of a register one is wholly before the other, so whatever is known to precede part of a reign
//! settles the order of both: if the write of one precedes any read (or the write) of the other, then all reads of
//! the one precede the write of the other. [`Registers::saturate`] adds these edges until nothing new follows.
//!
//! With distinct values and no deletes this decides a single register completely: two of the zones of Gibbons and
//! Korach clash exactly when two such edges close a cycle. Over several registers it finds what follows step by
//! step, which is much but not all (the general problem is NP-complete); the rest is left to the search.
//!
//! A read of None may follow the initial state or any delete. It joins a reign when only one is possible; until then
//! it is *vague* and stands for itself, ordered against reigns of values only.

use std::collections::{HashMap, HashSet};

use super::facts::{Facts, Fate, Register};
use super::graph::{Bounds, Cycle, Graph, Node, Reason, Way};
use super::history::Key;

/// Rounds of derivation before the rest is left to the search; histories of a store need fewer than ten.
const ROUNDS_MAX: usize = 50;

/// Pairs of reigns of one register that a round looks at, from the beginning of the history. A working store leaves
/// far fewer; one that shows old values everywhere would leave a quadratic number.
const PAIRS_MAX: usize = 2_000_000;

/// A place among the reigns of all registers.
pub type ReignId = usize;

/// See the module.
#[derive(Debug)]
pub struct Reign {
    /// None for the state before any write.
    pub write: Option<Node>,
    /// Whether the register holds nothing.
    pub is_empty: bool,
    /// Whether the write may never have happened: such a reign has no reads and takes part in no derivation.
    pub is_optional: bool,
    /// The reads known to show it.
    pub reads: Vec<Node>,
    /// The moment when its reads are over.
    end: Node,
}

/// One register.
#[derive(Debug)]
pub struct Chronicle {
    pub key: Key,
    /// All its reigns; the initial state first.
    pub reigns: Vec<ReignId>,
    /// Reads of None that several reigns may explain.
    pub vague: Vec<Node>,
}

/// All registers.
#[derive(Debug, Default)]
pub struct Registers {
    pub chronicles: Vec<Chronicle>,
    pub reigns: Vec<Reign>,
    /// The ends of pairs of which the first is known to be over before the second begins.
    ordered: HashSet<(Node, Node)>,
}

/// A reign, or a vague read, as it takes part in the derivation.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: Node,
    end: Node,
    is_empty: bool,
    from: u64,
    to: u64,
}

impl Registers {
    /// Gives every write its reign and every read its place, as far as it is plain.
    pub fn new(facts: &Facts, graph: &mut Graph) -> Registers {
        let mut registers = Registers::default();
        for (&key, register) in &facts.registers {
            registers.add_register(key, register, &facts.fates, graph);
        }
        registers
    }

    /// Derives edges until nothing new follows, or for so long that the search shall take over.
    pub fn saturate(&mut self, graph: &mut Graph) -> Result<Bounds, Cycle> {
        for _ in 0..ROUNDS_MAX {
            let bounds = graph.bounds()?;
            let edges = self.order_reigns(graph, &bounds) + self.place_vague_reads(graph, &bounds);
            if edges == 0 {
                return Ok(bounds);
            }
        }
        graph.bounds()
    }

    fn add_register(&mut self, key: Key, register: &Register, fates: &[Fate], graph: &mut Graph) {
        let initial = self.add_reign(Reign {
            write: None,
            is_empty: true,
            is_optional: false,
            reads: Vec::new(),
            end: graph.add_moment(),
        });
        let mut chronicle = Chronicle { key, reigns: vec![initial], vague: Vec::new() };
        let mut of_value = HashMap::new();
        for &(write, value) in &register.writes {
            let reign = self.add_write(key, initial, write, value, fates[write], graph);
            chronicle.reigns.push(reign);
            of_value.insert(value, reign);
        }
        let has_deletes = of_value.contains_key(&None);
        for &(read, value) in &register.reads {
            match value {
                None if has_deletes => chronicle.vague.push(read),
                None => self.join(key, read, initial, graph),
                Some(_) => self.join(key, read, of_value[&value], graph),
            }
        }
        self.chronicles.push(chronicle);
    }

    fn add_write(
        &mut self,
        key: Key,
        initial: ReignId,
        write: Node,
        value: Option<u64>,
        fate: Fate,
        graph: &mut Graph,
    ) -> ReignId {
        let end = graph.add_moment();
        let is_optional = fate == Fate::May;
        graph.add(self.reigns[initial].end, write, Reason::Initial(key));
        if !is_optional {
            graph.add(write, end, Reason::Lasts(key));
        }
        let is_empty = value.is_none();
        self.add_reign(Reign { write: Some(write), is_empty, is_optional, reads: Vec::new(), end })
    }

    fn add_reign(&mut self, reign: Reign) -> ReignId {
        self.reigns.push(reign);
        self.reigns.len() - 1
    }

    /// Notes that `read` shows the reign.
    fn join(&mut self, key: Key, read: Node, reign: ReignId, graph: &mut Graph) {
        let reign = &mut self.reigns[reign];
        assert!(!reign.is_optional, "a write that was seen is certain");
        if let Some(write) = reign.write {
            graph.add(write, read, Reason::Saw(key));
        }
        graph.add(read, reign.end, Reason::Lasts(key));
        reign.reads.push(read);
    }

    /// One round over all pairs of reigns that overlap in time; how many edges it added.
    fn order_reigns(&mut self, graph: &mut Graph, bounds: &Bounds) -> usize {
        let before = self.ordered.len();
        let mut search = Descent::new(graph.len());
        for place in 0..self.chronicles.len() {
            let chronicle = &self.chronicles[place];
            let stretches = self.stretches(chronicle, graph, bounds);
            let rivals = rivals(&stretches, &self.ordered);
            for (stretch, rivals) in stretches.iter().zip(&rivals) {
                let key = self.chronicles[place].key;
                let rivals: Vec<&Stretch> = rivals.iter().map(|&rival| &stretches[rival]).collect();
                for until in search.preceded(stretch, &rivals, graph, bounds) {
                    self.ordered.insert((stretch.end, until.end));
                    let reason = Reason::Succeeds { key, first: stretch.first, until: until.end };
                    graph.add(stretch.end, until.first, reason);
                }
            }
        }
        self.ordered.len() - before
    }

    fn stretches(&self, chronicle: &Chronicle, graph: &Graph, bounds: &Bounds) -> Vec<Stretch> {
        let reigns = chronicle.reigns.iter().map(|&reign| &self.reigns[reign]);
        let certain = reigns.filter(|reign| !reign.is_optional);
        let reigns = certain.filter_map(|reign| reign.write.map(|write| (write, reign.end, reign.is_empty)));
        let vague = chronicle.vague.iter().map(|&read| (read, read, true));
        let stretches = reigns.chain(vague).map(|(first, end, is_empty)| {
            let last = graph.next(end, Way::Back).map(|node| bounds.spans[node].to).max();
            let to = if first == end { bounds.spans[first].to } else { last.unwrap_or(u64::MAX) };
            Stretch { first, end, is_empty, from: bounds.spans[first].from, to }
        });
        let mut stretches: Vec<Stretch> = stretches.collect();
        stretches.sort_by_key(|stretch| (stretch.from, stretch.first));
        stretches
    }

    /// Lets each vague read join the one reign that can explain it; how many edges that added.
    fn place_vague_reads(&mut self, graph: &mut Graph, bounds: &Bounds) -> usize {
        let mut edges = 0;
        for place in 0..self.chronicles.len() {
            let vague = std::mem::take(&mut self.chronicles[place].vague);
            for read in vague {
                let chronicle = &self.chronicles[place];
                match self.explanation(chronicle, read, graph, bounds) {
                    Some(reign) => {
                        let key = chronicle.key;
                        self.join(key, read, reign, graph);
                        edges += 2;
                    }
                    None => self.chronicles[place].vague.push(read),
                }
            }
        }
        edges
    }

    /// The only reign that can explain the read of None. When there is none at all the last one that was refused
    /// is named: joining it closes a cycle, and so the contradiction is found and explained where all are.
    fn explanation(
        &self,
        chronicle: &Chronicle,
        read: Node,
        graph: &Graph,
        bounds: &Bounds,
    ) -> Option<ReignId> {
        let overwriting = self.newest_before(chronicle, read, graph, bounds);
        let mut refused = None;
        let mut possible = None;
        for &place in chronicle.reigns.iter().filter(|&&place| self.reigns[place].is_empty) {
            let reign = &self.reigns[place];
            let is_refused = match reign.write {
                None => overwriting.is_some(),
                Some(write) => {
                    bounds.by_time(read, write)
                        || overwriting.is_some_and(|newest| bounds.spans[write].to < newest)
                }
            };
            match possible {
                _ if is_refused && reign.is_optional => {}
                _ if is_refused => refused = Some(place),
                None if reign.is_optional => return None,
                None => possible = Some(place),
                Some(_) => return None,
            }
        }
        possible.or(refused)
    }

    /// How late a write of the register began that certainly precedes the read; None when there is no such write.
    fn newest_before(
        &self,
        chronicle: &Chronicle,
        read: Node,
        graph: &Graph,
        bounds: &Bounds,
    ) -> Option<u64> {
        let seen: Vec<Node> = graph.next(read, Way::Back).collect();
        let reigns = chronicle.reigns.iter().map(|&place| &self.reigns[place]);
        let writes = reigns.filter(|reign| !reign.is_optional).filter_map(|reign| reign.write);
        let before = writes.filter(|&write| bounds.by_time(write, read) || seen.contains(&write));
        before.map(|write| bounds.spans[write].from).max()
    }
}

/// For each stretch, those of which it is not known whether they come before or behind it. Takes the stretches sorted
/// by beginning.
fn rivals(stretches: &[Stretch], ordered: &HashSet<(Node, Node)>) -> Vec<Vec<usize>> {
    let mut rivals = vec![Vec::new(); stretches.len()];
    let mut running: Vec<usize> = Vec::new();
    let mut pairs = 0;
    for (place, stretch) in stretches.iter().enumerate() {
        running.retain(|&other| stretches[other].to >= stretch.from);
        for &other in &running {
            if pairs < PAIRS_MAX && stretch.may_be_ordered(&stretches[other], ordered) {
                pairs += 1;
                rivals[place].push(other);
                rivals[other].push(place);
            }
        }
        running.push(place);
    }
    rivals
}

impl Stretch {
    /// A vague read may belong to any empty reign, and says nothing about its place among them.
    fn is_vague(&self) -> bool {
        self.first == self.end
    }

    /// Whether the order of the two is unknown, and worth to be known.
    fn may_be_ordered(&self, other: &Stretch, ordered: &HashSet<(Node, Node)>) -> bool {
        let is_blurred = (self.is_vague() && other.is_empty) || (other.is_vague() && self.is_empty);
        let is_known =
            || ordered.contains(&(self.end, other.end)) || ordered.contains(&(other.end, self.end));
        !is_blurred && !is_known()
    }
}

/// Walks along the edges, one at a time, over the same marks.
struct Descent {
    /// The walk that last came by each node.
    visitor: Vec<u64>,
    /// The number of the current walk.
    walk: u64,
}

impl Descent {
    fn new(nodes: usize) -> Descent {
        Descent { visitor: vec![0; nodes], walk: 0 }
    }

    /// Of `rivals` those before whose end the stretch begins.
    fn preceded<'s>(
        &mut self,
        stretch: &Stretch,
        rivals: &[&'s Stretch],
        graph: &Graph,
        bounds: &Bounds,
    ) -> Vec<&'s Stretch> {
        let (mut found, open): (Vec<&Stretch>, Vec<&Stretch>) =
            rivals.iter().partition(|rival| bounds.by_time(stretch.first, rival.end));
        let Some(last) = open.iter().map(|rival| bounds.position[rival.end]).max() else { return found };
        self.descend(stretch.first, last, graph, bounds);
        found.extend(open.into_iter().filter(|rival| self.visitor[rival.end] == self.walk));
        found
    }

    /// Marks what is behind `start` and, in topological order, not behind `last`.
    fn descend(&mut self, start: Node, last: usize, graph: &Graph, bounds: &Bounds) {
        self.walk += 1;
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for next in graph.next(node, Way::Onward) {
                if self.visitor[next] != self.walk && bounds.position[next] <= last {
                    self.visitor[next] = self.walk;
                    open.push(next);
                }
            }
        }
    }
}
